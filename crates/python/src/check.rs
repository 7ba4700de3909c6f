//! What can be known of settings without binding an address or importing an application.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use pyo3::prelude::*;
use tidegate_supervisor::{AccessLogTarget, Address, Concurrency, EventLoop, Settings, Value, reload};

use crate::event_loop::UVLOOP_NEEDED;
use crate::host::GEVENT_NEEDED;
use crate::privileges;
use crate::refusal::Refusal;

/// Looks for the users, the directories and the files that the settings speak of.
pub(crate) fn check(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    privileges::look_up(py, settings)?;
    for bind in &settings.bind {
        if let Address::Unix(path) = &bind.address
            && let Err(reason) = can_be_a_socket(path)
        {
            let address = Value::Text(bind.to_string());
            return Err(settings.refusal_of("bind", Some(address), &reason).into());
        }
    }
    reload::check(settings)?;
    let access_log = match &settings.access_log {
        Some(AccessLogTarget::File(path)) => Some(path),
        _ => None,
    };
    if let Some(Err(reason)) = settings.control_socket.as_deref().map(can_be_a_socket) {
        return Err(settings.refusal("control-socket", &reason).into());
    }
    for files in &settings.static_files {
        if !files.directory.is_dir() {
            let value = Value::Text(files.to_string());
            return Err(settings.refusal_of("static", Some(value), "there is no such directory").into());
        }
    }
    for root in &settings.sendfile_root {
        if !root.is_dir() {
            let value = Value::Text(root.display().to_string());
            return Err(settings
                .refusal_of("sendfile-root", Some(value), "there is no such directory")
                .into());
        }
    }
    let files = [("pid-file", settings.pid_file.as_ref()), ("access-log", access_log)];
    for (name, path) in files {
        if let Some(Err(reason)) = path.map(|path| can_be_in_its_directory(path)) {
            return Err(settings.refusal(name, &reason).into());
        }
    }
    if let Some(Err(error)) = settings.log_config.as_ref().map(File::open) {
        return Err(settings.refusal("log-config", &format!("cannot be read: {error}")).into());
    }
    Ok(())
}

/// Looks for the packages that the settings ask for. Not where a server is to start: on some versions of Python the look alone imports
/// `threading`, which gevent must be there before.
pub(crate) fn check_packages(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    let is_missing = |package: &str| -> PyResult<bool> {
        Ok(py.import("importlib.util")?.call_method1("find_spec", (package,))?.is_none())
    };
    if settings.concurrency == Concurrency::Greenlets && is_missing("gevent")? {
        return Err(settings.refusal("concurrency", GEVENT_NEEDED).into());
    }
    if (settings.concurrency, settings.event_loop) == (Concurrency::Asyncio, EventLoop::Uvloop)
        && is_missing("uvloop")?
    {
        return Err(settings.refusal("loop", UVLOOP_NEEDED).into());
    }
    Ok(())
}

fn can_be_a_socket(path: &Path) -> Result<(), String> {
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => Err("the path exists and is not a socket".to_owned()),
        Ok(_) => Ok(()),
        Err(_) => can_be_in_its_directory(path),
    }
}

fn can_be_in_its_directory(path: &Path) -> Result<(), String> {
    match path.parent() {
        Some(directory) if directory != Path::new("") && !directory.is_dir() => {
            Err(format!("there is no directory {:?}", directory.display().to_string()))
        }
        _ if path.is_dir() => Err("this is a directory".to_owned()),
        _ => Ok(()),
    }
}

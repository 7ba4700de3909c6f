//! The command and the function: from what was asked for to a server that runs.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use log::Level;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PySystemExit, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use tidegate_engine::{
    LocalAddress, SignalHandlers, is_scheduled_as_most, raise_descriptor_limit, wake_in_turn,
};
use tidegate_supervisor::control::{self, Question};
use tidegate_supervisor::{self as supervisor, Concurrency, Outcome, Scheduling, Settings, Value, top};

use crate::applications::Applications;
use crate::check::{check, check_packages};
use crate::collector::Collector;
use crate::doctor;
use crate::host::{any_at_work, patch_standard_library};
use crate::loader::{self, Kind};
use crate::log_to_stderr;
use crate::refusal::{Culprit, Refusal};
use crate::run::{Post, host_name, run};
use crate::tls;
use crate::translate;
use crate::workers::supervise;

/// Exit statuses of the command.
pub(crate) const STATUS_OK: i32 = 0;
pub(crate) const STATUS_FAILED: i32 = 1;
const STATUS_BAD_SETTINGS: i32 = 2;

/// The command `tidegate`: `arguments` are those after the program's name. Gives the exit status.
///
/// # Errors
/// `SystemExit`, if it has ended the server.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<i32> {
    let cwd = std::env::current_dir()?;
    let settings = match supervisor::from_command_line(&arguments, &mut std::env::vars_os(), &cwd) {
        Ok(Outcome::Run(settings)) => settings,
        Ok(Outcome::Check(settings, report)) => {
            let checked = enter(&settings)
                .and_then(|()| check(py, &settings))
                .and_then(|()| tls::check(&settings))
                .and_then(|()| check_packages(py, &settings));
            return end(py, checked.map(|()| print(&report)));
        }
        Ok(Outcome::Examine(settings, show)) => {
            let examined = doctor::examine(py, &settings, show);
            return end(py, examined);
        }
        Ok(Outcome::Ask(socket, question)) => return Ok(py.detach(|| ask(&socket, question))),
        Ok(Outcome::Watch(socket)) => return Ok(py.detach(|| watch(&socket))),
        Ok(Outcome::WatchOnce(socket)) => {
            return Ok(py.detach(|| match top::once(&socket) {
                Ok(text) => print(&text),
                Err(error) => not_told(&socket, &error),
            }));
        }
        Ok(Outcome::Print(text)) => return Ok(print(&text)),
        Ok(Outcome::Migrate(request)) => return Ok(migrate(py, &request)),
        Err(error) => {
            say(&error.to_string());
            return Ok(STATUS_BAD_SETTINGS);
        }
    };
    let ended = run_command(py, &settings, cwd);
    end(py, ended)
}

/// The command's status, and a line on standard error if it failed.
fn end(py: Python<'_>, ended: Result<i32, Refusal>) -> PyResult<i32> {
    match ended {
        Ok(status) => Ok(status),
        Err(refusal) => {
            say(&format!("tidegate: {}", refusal.line));
            match refusal.cause {
                // To print it would end the process from in here.
                Some(cause) if cause.is_instance_of::<PySystemExit>(py) => Err(cause),
                Some(cause) => {
                    cause.print(py);
                    Ok(STATUS_FAILED)
                }
                None if refusal.culprit == Culprit::Application => Ok(STATUS_FAILED),
                None => Ok(STATUS_BAD_SETTINGS),
            }
        }
    }
}

/// Makes settings of another server's, and gives the exit status.
fn migrate(py: Python<'_>, request: &supervisor::migrate::Request) -> i32 {
    let mut evaluate = |file: &str| evaluate(py, file).map_err(|fault| fault.value(py).to_string());
    match request.run(&mut evaluate) {
        Ok(migrated) => {
            let _ = std::io::stdout().write_all(migrated.text.as_bytes());
            if migrated.is_whole { STATUS_OK } else { STATUS_FAILED }
        }
        Err(error) => {
            say(&error.to_string());
            STATUS_BAD_SETTINGS
        }
    }
}

/// The names in a file of gunicorn's, which is Python.
fn evaluate(py: Python<'_>, file: &str) -> PyResult<Vec<(String, Value)>> {
    let names = py.import("tidegate._migrate")?.call_method1("evaluate", (file,))?;
    let mut found = Vec::new();
    for (name, value) in names.cast::<PyDict>()? {
        // What is too large a number for a setting is one for nothing else.
        let value = value_of(&value).unwrap_or_else(|| Value::Text(value.to_string()));
        found.push((name.extract()?, value));
    }
    Ok(found)
}

/// Asks a server over its control socket and shows the answer.
fn ask(socket: &Path, question: Question) -> i32 {
    let answer = match control::ask(socket, question) {
        Ok(answer) => answer,
        Err(error) => return not_told(socket, &error),
    };
    if let Some(error) = answer["error"].as_str() {
        let report = answer["report"].as_str().filter(|report| !report.is_empty());
        say(&format!("tidegate: {error}{}", report.map_or_else(String::new, |report| format!("\n{report}"))));
        return STATUS_FAILED;
    }
    print(&format!("{answer:#}\n"))
}

/// Shows what a server is at, until somebody has seen enough.
fn watch(socket: &Path) -> i32 {
    let signals = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH];
    // Signal numbers are below 65 (signal(7)).
    let watched = SignalHandlers::install(&signals)
        .and_then(|(_handlers, signals)| top::watch(socket, &signals, libc::SIGWINCH as u8));
    match watched {
        Ok(None) => STATUS_OK,
        // As shells tell of a process that a signal has ended.
        Ok(Some(signal)) => 128 + i32::from(signal),
        Err(error) => not_told(socket, &error),
    }
}

/// Says why a server has told nothing.
fn not_told(socket: &Path, error: &std::io::Error) -> i32 {
    say(&format!("tidegate: {}: {}", socket.display(), top::in_words(error)));
    STATUS_FAILED
}

/// Text that was asked for.
pub(crate) fn print(text: &str) -> i32 {
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    STATUS_OK
}

/// Goes where relative paths start.
pub(crate) fn enter(settings: &Settings) -> Result<(), Refusal> {
    let Some(directory) = &settings.chdir else { return Ok(()) };
    std::env::set_current_dir(directory).map_err(|error| settings.refusal("chdir", &error.to_string()).into())
}

/// As the settings have it, for this process from here on. What somebody else has seen to is left alone, unless it is asked for.
pub(crate) fn schedule(settings: &Settings) {
    let is_asked = settings.scheduling == Scheduling::Batch;
    if !settings.wakes_in_turn() || !is_asked && !is_scheduled_as_most() {
        return;
    }
    if let Err(error) = wake_in_turn() {
        let level = if is_asked { Level::Warn } else { Level::Debug };
        log::log!(level, "scheduling stays as it is: {error}");
    }
}

/// As `python -m` does: modules in the working directory are found first.
pub(crate) fn import_from_here(py: Python<'_>) -> PyResult<()> {
    let directory = std::env::current_dir()?;
    py.import("sys")?.getattr("path")?.call_method1("insert", (0, directory.as_os_str()))?;
    Ok(())
}

fn run_command(py: Python<'_>, settings: &Settings, started_in: PathBuf) -> Result<i32, Refusal> {
    enter(settings)?;
    check(py, settings)?;
    import_from_here(py)?;
    log_to_stderr::set_level(translate::log_level(settings.log_level));
    if let Err(error) = raise_descriptor_limit(settings.connections_max) {
        log::warn!("the limit of open descriptors stays as it is: {error}");
    }
    if !settings.no_supervisor {
        return supervise(py, settings, started_in);
    }
    schedule(settings);
    let tls = tls::load(settings)?;
    // Loaded before anything is bound, so that nobody connects to a server that will not be.
    let applications = load(py, settings)?;
    let what = what_runs(&applications, settings);
    run(py, &applications, settings, Post::Alone { tls }, |_, entrances| {
        for entrance in entrances {
            let pid = std::process::id();
            say(&format!(
                "tidegate {} listening on {entrance} ({what}, pid {pid})",
                env!("CARGO_PKG_VERSION")
            ));
        }
        Ok(())
    })?;
    Ok(STATUS_OK)
}

/// The applications that the settings name.
pub(crate) fn load<'py>(py: Python<'py>, settings: &Settings) -> Result<Applications<'py>, Refusal> {
    if settings.concurrency == Concurrency::Greenlets {
        patch(py, settings)?;
    }
    configure_logging(py, settings)?;
    let collector = Collector::spare(py, settings.gc_threshold)?;
    let main = settings.app.as_ref().map(|spec| loader::load(py, spec, settings)).transpose()?;
    let applications = Applications::new(py, main, settings)?;
    collector.relax(py)?;
    Ok(applications)
}

/// By `--log-config`. Once gevent has patched what `logging` imports, and before an application can log.
fn configure_logging(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    let Some(path) = &settings.log_config else { return Ok(()) };
    let module = py.import("tidegate._log_config")?;
    match module.call_method1("configure", (path.as_os_str(),))?.extract::<Option<String>>()? {
        Some(reason) => Err(settings.refusal("log-config", &reason).into()),
        None => Ok(()),
    }
}

/// Interfaces and what requests run on, as the banner says it.
pub(crate) fn what_runs(applications: &Applications<'_>, settings: &Settings) -> String {
    let kinds = [Kind::Wsgi, Kind::Asgi].into_iter().filter(|&kind| applications.first(kind).is_some());
    let interfaces: Vec<_> = kinds.clone().map(|kind| kind.to_string()).collect();
    let hosts: Vec<_> = kinds.map(|kind| host_name(applications, settings, kind)).collect();
    format!("{}, {}", interfaces.join(" and "), hosts.join(" and "))
}

/// Has gevent patch the standard library before any application is imported.
fn patch(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    let modules = py.import("sys")?.getattr("modules")?;
    let specs = settings.app.iter().chain(settings.mounts.iter().map(|mount| &mount.app));
    for module in specs.map(|spec| spec.module.as_str()) {
        if modules.contains(module)? {
            let reason = format!("{module} was imported before gevent could patch the standard library");
            return Err(settings.refusal("concurrency", &reason).into());
        }
    }
    patch_standard_library(py).map_err(|(reason, cause)| {
        let refusal = Refusal::from(settings.refusal("concurrency", reason));
        Refusal { cause, ..refusal }
    })
}

/// Whether calls go on that have outlived their server.
#[pyfunction]
pub(crate) fn threads_are_at_work() -> bool {
    any_at_work()
}

/// Runs `application` in this process until it is stopped.
#[pyfunction]
#[pyo3(signature = (application, /, *, on_ready = None, **settings))]
pub(crate) fn serve(
    py: Python<'_>,
    application: Bound<'_, PyAny>,
    on_ready: Option<Bound<'_, PyAny>>,
    settings: Option<Bound<'_, PyDict>>,
) -> PyResult<()> {
    let mut values = Vec::new();
    for (name, value) in settings.iter().flatten() {
        // None stands for the default, as in signatures.
        if value.is_none() {
            continue;
        }
        let name: String = name.extract()?;
        let value = value_of(&value)
            .ok_or_else(|| PyTypeError::new_err(format!("{name}: not a value that a setting can have")))?;
        values.push((name, value));
    }
    let settings = supervisor::from_python(&values)
        .map_err(|error| PyValueError::new_err(error.message().to_owned()))?;
    log_to_stderr::set_level(translate::log_level(settings.log_level));
    let main = loader::tell(application, "the application".to_owned(), settings.interface)
        .map_err(|error| error.cause.unwrap_or_else(|| PyTypeError::new_err(error.line)))?;
    let outcome =
        Applications::new(py, Some(main), &settings).map_err(Refusal::from).and_then(|applications| {
            let post = Post::Alone { tls: tls::load(&settings)? };
            run(py, &applications, &settings, post, |py, entrances| match &on_ready {
                None => Ok(()),
                Some(on_ready) => {
                    let list = PyList::empty(py);
                    for entrance in entrances {
                        match &entrance.address {
                            LocalAddress::Inet(address) => {
                                list.append((address.ip().to_string(), address.port()))?;
                            }
                            LocalAddress::Unix(path) => list.append(path.as_os_str())?,
                        }
                    }
                    on_ready.call1((list,)).map(|_| ())
                }
            })
        });
    outcome.map_err(|refusal| match refusal.cause {
        Some(cause) => cause,
        None if refusal.culprit == Culprit::Settings => PyValueError::new_err(refusal.line),
        None if refusal.culprit == Culprit::Application => PyRuntimeError::new_err(refusal.line),
        None => PyOSError::new_err(refusal.line),
    })
}

/// What `socket.getsockname` and people's scripts give: text, numbers, paths, and lists and dicts of them.
fn value_of(value: &Bound<'_, PyAny>) -> Option<Value> {
    if let Ok(value) = value.extract::<bool>() {
        return Some(Value::Bool(value));
    }
    if let Ok(value) = value.extract::<i64>() {
        return Some(Value::Int(value));
    }
    if let Ok(value) = value.extract::<f64>() {
        return Some(Value::Float(value));
    }
    if let Ok(value) = value.extract::<String>() {
        return Some(Value::Text(value));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let items = value.try_iter().ok()?.map(|item| value_of(&item.ok()?));
        return Some(Value::List(items.collect::<Option<Vec<_>>>()?));
    }
    if let Ok(table) = value.cast::<PyDict>() {
        let pair = |(key, value): (Bound<'_, PyAny>, _)| {
            Some((key.extract::<String>().ok()?.replace('_', "-"), value_of(&value)?))
        };
        return Some(Value::Table(table.iter().map(pair).collect::<Option<_>>()?));
    }
    let path: std::path::PathBuf = value.extract().ok()?;
    Some(Value::Text(path.to_str()?.to_owned()))
}

pub(crate) fn say(line: &str) {
    // Standard error may be closed; then there is nobody to tell.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

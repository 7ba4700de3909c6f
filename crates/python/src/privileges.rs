//! What a daemon is to the system: its file of the process's number, its user and group, and the mode of files it makes.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use pyo3::exceptions::{PyKeyError, PyPermissionError};
use pyo3::prelude::*;
use rustix::process::{getegid, geteuid};
use tidegate_supervisor::{Address, Bind, Settings};

use crate::refusal::Refusal;

/// A file with this process's number, for as long as this lives.
pub(crate) struct PidFile {
    path: PathBuf,
    /// Where it is until it is put in its place.
    new: Option<PathBuf>,
    owner: u32,
}

impl PidFile {
    /// Writes the file beside its place, if the settings name one.
    pub(crate) fn write(settings: &Settings) -> Result<Option<Self>, Refusal> {
        let Some(path) = settings.pid_file.clone() else { return Ok(None) };
        let owner = std::process::id();
        // A new file takes its place: what is there, a link even, is not written to, and nobody finds it empty.
        let new = PathBuf::from(format!("{}.{owner}", path.display()));
        let written = fs::File::create_new(&new)
            .and_then(|mut file| file.write_all(format!("{owner}\n").as_bytes()))
            .map(|()| Self { path, new: Some(new), owner });
        written.map(Some).map_err(|error| settings.refusal("pid-file", &error.to_string()).into())
    }

    /// Puts it in its place. What is there already is written over: it may be of a server that was killed.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn put(&mut self) -> io::Result<()> {
        if let Some(new) = &self.new {
            fs::rename(new, &self.path)?;
            self.new = None;
        }
        Ok(())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Not by a worker, which has inherited it, and not that of a successor.
        let path = self.new.as_ref().unwrap_or(&self.path);
        let is_ours = || fs::read_to_string(path).is_ok_and(|number| number.trim() == self.owner.to_string());
        if std::process::id() == self.owner && is_ours() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Finds all users and groups that the settings name.
pub(crate) fn look_up(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    user_and_group(py, settings)?;
    socket_owner(py, settings).map(|_| ())
}

/// Gives the unix sockets that this process has bound to the owner that the settings name.
pub(crate) fn give_sockets_away(py: Python<'_>, settings: &Settings, bound: &[Bind]) -> Result<(), Refusal> {
    let Some((user, group)) = socket_owner(py, settings)? else { return Ok(()) };
    let chown = py.import("os")?.getattr("lchown")?;
    for path in unix_sockets(bound) {
        chown.call1((path, user, group.map_or(-1, i64::from))).map_err(|error| {
            match error.is_instance_of::<PyPermissionError>(py) {
                true => {
                    settings.refusal("unix-socket-owner", "only root may give them to another one").into()
                }
                false => Refusal::from(error),
            }
        })?;
    }
    Ok(())
}

fn unix_sockets(bound: &[Bind]) -> impl Iterator<Item = &PathBuf> {
    bound.iter().filter_map(|bind| if let Address::Unix(path) = &bind.address { Some(path) } else { None })
}

/// The numbers of `unix-socket-owner`.
fn socket_owner(py: Python<'_>, settings: &Settings) -> Result<Option<(u32, Option<u32>)>, Refusal> {
    const SETTING: &str = "unix-socket-owner";
    let Some(owner) = &settings.unix_socket_owner else { return Ok(None) };
    let user = find(py, settings, SETTING, USER, &owner.user)?;
    let group = owner.group.as_ref().map(|name| find(py, settings, SETTING, GROUP, name)).transpose()?;
    Ok(Some((user.id, group.map(|found| found.id))))
}

/// What `user` and `group` name.
fn user_and_group(py: Python<'_>, settings: &Settings) -> Result<(Option<Found>, Option<Found>), Refusal> {
    let user = settings.user.as_deref().map(|name| find(py, settings, USER, USER, name)).transpose()?;
    let group = settings.group.as_deref().map(|name| find(py, settings, GROUP, GROUP, name)).transpose()?;
    Ok((user, group))
}

/// Goes on as the user and the group of the settings. To be called with everything bound that only root may bind.
pub(crate) fn give_up_privileges(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    change_user(py, settings, |uid, gid| {
        let os = py.import("os")?;
        let chown = |path: &PathBuf, uid: Option<u32>, gid: Option<u32>| {
            os.call_method1("lchown", (path, uid.map_or(-1, i64::from), gid.map_or(-1, i64::from)))
        };
        let owner = settings.unix_socket_owner.as_ref();
        for path in unix_sockets(&settings.bind).chain(unix_sockets(&settings.admin)) {
            // Not what was given away.
            let uid = uid.filter(|_| owner.is_none());
            let gid = gid.filter(|_| owner.is_none_or(|owner| owner.group.is_none()));
            chown(path, uid, gid)?;
        }
        if let Some(path) = &settings.control_socket {
            chown(path, uid, gid)?;
        }
        Ok(())
    })
}

/// Goes on as a worker would, with nothing bound.
pub(crate) fn become_worker(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    change_user(py, settings, |_, _| Ok(()))
}

/// Before that, while it may, it gives away what is to be the new user's.
fn change_user(
    py: Python<'_>,
    settings: &Settings,
    give_away: impl FnOnce(Option<u32>, Option<u32>) -> PyResult<()>,
) -> Result<(), Refusal> {
    let os = py.import("os")?;
    if let Some(mask) = settings.umask {
        os.call_method1("umask", (mask,))?;
    }
    let (user, group) = user_and_group(py, settings)?;
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    let uid = user.as_ref().map(|found| found.id);
    let gid = group.map(|found| found.id).or(user.as_ref().and_then(|found| found.gid));
    if uid.is_some() && gid.is_none() {
        return Err(settings
            .refusal("user", "that user has no group of its own: name one with group")
            .into());
    }
    let is = |wanted: Option<u32>, id: u32| wanted.is_none_or(|wanted| wanted == id);
    if is(uid, geteuid().as_raw()) && is(gid, getegid().as_raw()) {
        // Such as the successor of one that has done so.
        return Ok(());
    }
    let change = || -> PyResult<()> {
        give_away(uid, gid)?;
        if let Some(gid) = gid {
            match user.as_ref().and_then(|found| found.name.as_deref()) {
                Some(name) => os.call_method1("initgroups", (name, gid))?,
                None => os.call_method1("setgroups", ([gid],))?,
            };
            os.call_method1("setgid", (gid,))?;
        }
        if let Some(uid) = uid {
            os.call_method1("setuid", (uid,))?;
        }
        Ok(())
    };
    change().map_err(|error| {
        let name = if uid.is_some() { "user" } else { "group" };
        if error.is_instance_of::<PyPermissionError>(py) {
            settings.refusal(name, "only root may run as another one").into()
        } else {
            Refusal::from(error)
        }
    })
}

/// A user or a group.
struct Found {
    id: u32,
    /// A user's own group.
    gid: Option<u32>,
    /// A user's name, if it has one.
    name: Option<String>,
}

const USER: &str = "user";
const GROUP: &str = "group";

/// Looks a name or a number up that is in `setting`.
fn find(
    py: Python<'_>,
    settings: &Settings,
    setting: &str,
    kind: &str,
    name: &str,
) -> Result<Found, Refusal> {
    let number = name.parse::<u32>().ok();
    let (module, prefix) = if kind == USER { ("pwd", "pw") } else { ("grp", "gr") };
    let module = py.import(module)?;
    let id = if kind == USER { "uid" } else { "gid" };
    let entry = match number {
        Some(number) => module.call_method1(format!("get{prefix}{id}").as_str(), (number,)),
        None => module.call_method1(format!("get{prefix}nam").as_str(), (name,)),
    };
    match (entry, number) {
        (Ok(entry), _) => Ok(Found {
            id: entry.getattr(format!("{prefix}_{id}").as_str())?.extract()?,
            gid: Some(entry.getattr(format!("{prefix}_gid").as_str())?.extract()?),
            name: Some(entry.getattr(format!("{prefix}_name").as_str())?.extract()?),
        }),
        // A number need not be anybody's.
        (Err(_), Some(number)) => Ok(Found { id: number, gid: None, name: None }),
        (Err(error), None) if error.is_instance_of::<PyKeyError>(py) => {
            Err(settings.refusal(setting, &format!("there is no such {kind}")).into())
        }
        (Err(error), None) => Err(error.into()),
    }
}

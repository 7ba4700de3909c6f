//! How one server succeeds another: the new one is a child of the old one, has its listening sockets, and stops it when it serves.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::Command;

use pyo3::prelude::*;
use rustix::process::{Pid, getppid, kill_process};
use tidegate_engine::Listener;
use tidegate_supervisor::supervisor::TAKEN_OVER;

/// Says who hands over, and under which numbers: `PID:FD,FD;FD`, the admin listener's last. No setting, and so without their prefix.
const VARIABLE: &str = "_TIDEGATE_SUCCEEDS";

/// The numbers of sockets that are handed over.
#[derive(Default)]
pub(crate) struct HandedOver {
    pub(crate) main: Vec<RawFd>,
    pub(crate) admin: Vec<RawFd>,
}

/// Who has handed sockets over to this process, and their numbers.
fn read() -> Option<(Pid, HandedOver)> {
    let text = std::env::var(VARIABLE).ok()?;
    let (pid, numbers) = text.split_once(':')?;
    let pid = Pid::from_raw(pid.parse().ok()?)?;
    let list = |numbers: &str| {
        let numbers = numbers.split(',').filter(|number| !number.is_empty());
        numbers.map(|number| number.parse().ok()).collect::<Option<Vec<_>>>()
    };
    // Servers without an admin listener have handed over `PID:FD,FD`.
    let (main, admin) = numbers.split_once(';').unwrap_or((numbers, ""));
    let numbers = HandedOver { main: list(main)?, admin: list(admin)? };
    // What this process starts inherits the variable, too.
    (getppid() == Some(pid)).then_some((pid, numbers))
}

/// The sockets that this process was handed over.
pub(crate) fn handed_over() -> HandedOver {
    read().map(|(_, numbers)| numbers).unwrap_or_default()
}

/// Whether another server is to be succeeded.
pub(crate) fn succeeds() -> bool {
    read().is_some()
}

/// Tells the predecessor, if there is one, that this server serves.
pub(crate) fn take_over() {
    if let Some((predecessor, _)) = read()
        && let Err(error) = kill_process(predecessor, TAKEN_OVER)
    {
        log::warn!("the former server cannot be told to stop: {error}");
    }
}

/// Starts the server anew as this one was started, in `directory`, with these sockets.
pub(crate) fn start(
    py: Python<'_>,
    main: &[Listener],
    admin: &[Listener],
    directory: &Path,
) -> PyResult<Pid> {
    let sys = py.import("sys")?;
    let program: String = sys.getattr("executable")?.extract()?;
    let command: Vec<String> = sys.getattr("orig_argv")?.extract()?;
    let copies = |listeners: &[Listener]| {
        listeners.iter().map(Listener::for_another_program).collect::<io::Result<Vec<_>>>()
    };
    let (main, admin) = (copies(main)?, copies(admin)?);
    let list = |sockets: &[OwnedFd]| {
        let numbers: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd().to_string()).collect();
        numbers.join(",")
    };
    let child = Command::new(program)
        .args(command.iter().skip(1))
        .current_dir(directory)
        // It is to tell systemd that it is well, which names the process that has to.
        .env_remove("WATCHDOG_PID")
        .env(VARIABLE, format!("{}:{};{}", std::process::id(), list(&main), list(&admin)))
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the system gave no process").into())
}

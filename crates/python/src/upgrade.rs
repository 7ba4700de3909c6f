//! How one server succeeds another: the new one is a child of the old one, has its listening sockets, and stops it when it serves.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::process::Command;

use pyo3::prelude::*;
use rustix::process::{Pid, getppid, kill_process};
use tidegate_engine::Listener;
use tidegate_supervisor::supervisor::TAKEN_OVER;

/// Says who hands over, and under which numbers: `PID:FD,FD`. No setting, and so without their prefix.
const VARIABLE: &str = "_TIDEGATE_SUCCEEDS";

/// Who has handed sockets over to this process, and their numbers.
fn read() -> Option<(Pid, Vec<RawFd>)> {
    let text = std::env::var(VARIABLE).ok()?;
    let (pid, numbers) = text.split_once(':')?;
    let pid = Pid::from_raw(pid.parse().ok()?)?;
    let numbers = numbers.split(',').map(|number| number.parse().ok()).collect::<Option<Vec<_>>>()?;
    // What this process starts inherits the variable, too.
    (getppid() == Some(pid)).then_some((pid, numbers))
}

/// The sockets that this process was handed over.
pub(crate) fn handed_over() -> Vec<RawFd> {
    read().map(|(_, numbers)| numbers).unwrap_or_default()
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
pub(crate) fn start(py: Python<'_>, listeners: &[Listener], directory: &Path) -> PyResult<Pid> {
    let sys = py.import("sys")?;
    let program: String = sys.getattr("executable")?.extract()?;
    let command: Vec<String> = sys.getattr("orig_argv")?.extract()?;
    let sockets = listeners.iter().map(Listener::for_another_program).collect::<io::Result<Vec<_>>>()?;
    let numbers: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd().to_string()).collect();
    let child = Command::new(program)
        .args(command.iter().skip(1))
        .current_dir(directory)
        // It is to tell systemd that it is well, which names the process that has to.
        .env_remove("WATCHDOG_PID")
        .env(VARIABLE, format!("{}:{}", std::process::id(), numbers.join(",")))
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the system gave no process").into())
}

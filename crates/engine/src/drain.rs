//! From a signal to the end: the first one drains, the second stops, and code that does not let go is left behind.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::shared::{Handle, Lifecycle};
use crate::sys::{self, SignalHandlers};

/// How long a server that was told to stop may take to let go before its process is ended.
const LAST_RESORT: Duration = Duration::from_secs(2);

/// How long it may take before application code is suspected of holding it up and is interrupted.
const PATIENCE: Duration = Duration::from_millis(300);

/// Signals turned into drain and stop, for as long as this lives. Costs a thread that sleeps.
#[derive(Debug)]
pub struct SignalWatch {
    handlers: Option<SignalHandlers>,
    listener: Option<JoinHandle<()>>,
    enforcer: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// Takes SIGTERM and SIGINT for `handle`. `interrupt` is called from another thread when application code must be made
    /// to let go; if the server has not ended soon after, `last_words` is called and the process ends with status 1.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AlreadyExists`] when another server in this process has them.
    pub fn start(
        handle: &Handle,
        graceful: Duration,
        interrupt: impl Fn() + Send + 'static,
        last_words: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
        // A handler must not wait.
        rustix::io::ioctl_fionbio(&write_end, true)?;
        let (say, hear) = channel();
        let handlers = SignalHandlers::install(&[libc::SIGTERM, libc::SIGINT], write_end)?;
        let of_listener = handle.clone();
        let listener = std::thread::Builder::new()
            .name("tidegate-signals".into())
            .spawn(move || listen(&read_end, &of_listener, &say))?;
        let of_enforcer = handle.clone();
        let enforcer = std::thread::Builder::new()
            .name("tidegate-stop".into())
            .spawn(move || enforce(&hear, &of_enforcer, graceful, &interrupt, &last_words))?;
        Ok(Self { handlers: Some(handlers), listener: Some(listener), enforcer: Some(enforcer) })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        // Closing the pipe ends the listener, which ends the enforcer.
        self.handlers = None;
        for thread in [self.listener.take(), self.enforcer.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

/// Reads signals until the pipe's other end is closed.
fn listen(pipe: &OwnedFd, handle: &Handle, say: &Sender<()>) {
    let mut byte = [0u8; 1];
    loop {
        match rustix::io::read(pipe, &mut byte) {
            Ok(0) => return,
            Ok(_) => {
                match handle.lifecycle() {
                    Lifecycle::Serving => handle.drain(),
                    Lifecycle::Draining | Lifecycle::Stopping => handle.stop(),
                }
                if say.send(()).is_err() {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// After the first signal: the grace, then a stop; after a stop: an interrupt, and at last the end of the process.
fn enforce(
    hear: &Receiver<()>,
    handle: &Handle,
    graceful: Duration,
    interrupt: &impl Fn(),
    last_words: &impl Fn(),
) {
    if hear.recv().is_err() {
        return;
    }
    while handle.lifecycle() != Lifecycle::Stopping {
        match hear.recv_timeout(graceful) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => handle.stop(),
            Ok(()) => {}
        }
    }
    let mut patience = PATIENCE;
    loop {
        match hear.recv_timeout(patience) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) if patience == PATIENCE => {
                interrupt();
                patience = LAST_RESORT;
            }
            Err(RecvTimeoutError::Timeout) => {
                last_words();
                sys::exit_now(1);
            }
            Ok(()) => {}
        }
    }
}

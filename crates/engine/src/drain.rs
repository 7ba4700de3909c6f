//! From a signal to the end: the first one drains, the second stops, and code that does not let go is left behind.

use std::io;
use std::iter;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

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
    /// Takes SIGTERM, which drains and then stops, and SIGINT and SIGQUIT, which stop, and what says the same on `orders`, the numbers of signals as
    /// bytes; at its end, SIGTERM is meant. `interrupt` is called from another thread when application code must be made
    /// to let go; if the server has not ended soon after, `last_words` is called and the process ends with status 1.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AlreadyExists`] when another server in this process has them.
    pub fn start(
        handle: &Handle,
        graceful: Duration,
        orders: Option<OwnedFd>,
        interrupt: impl Fn() + Send + 'static,
        last_words: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (say, hear) = channel();
        let (handlers, signals) = SignalHandlers::install(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT])?;
        let of_listener = handle.clone();
        let listener = std::thread::Builder::new()
            .name("tidegate-signals".into())
            .spawn(move || listen(&signals, orders, &of_listener, &say))?;
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

/// Reads signals, and orders as long as there are any, until the signals' pipe is closed at its other end.
fn listen(signals: &OwnedFd, mut orders: Option<OwnedFd>, handle: &Handle, say: &Sender<()>) {
    let mut was_told = false;
    loop {
        let mut watched: Vec<_> =
            iter::once(signals).chain(&orders).map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        // A supervisor that means a stop says so: its word to leave comes beside a SIGTERM that all processes of a group had, or is its own end.
        let is_order = watched[0].revents().is_empty();
        let number = match &orders {
            Some(stream) if is_order => read_byte(stream).unwrap_or_else(|| {
                orders = None;
                libc::SIGTERM
            }),
            _ => match read_byte(signals) {
                Some(number) => number,
                None => return,
            },
        };
        match number {
            libc::SIGTERM if is_order || !was_told => {
                was_told |= !is_order;
                handle.drain();
            }
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => handle.stop(),
            libc::SIGUSR1 => {
                handle.reopen_access_log();
                continue;
            }
            _ => continue,
        }
        if say.send(()).is_err() {
            return;
        }
    }
}

/// The next byte; none at the end, and where nothing can be read any more.
fn read_byte(stream: &OwnedFd) -> Option<i32> {
    let mut byte = [0];
    loop {
        match rustix::io::read(stream, &mut byte) {
            Ok(1..) => return Some(i32::from(byte[0])),
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return None,
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

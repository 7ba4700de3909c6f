//! From a signal to the end: the first one drains, the second stops, and code that does not let go is left behind.
//!
//! A server that load balancers know retires first: it goes on serving until they have seen that it is not ready any more.

use std::fmt;
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

/// How long the steps to the end may take.
#[derive(Clone, Copy, Debug)]
pub struct Graces {
    /// From a SIGTERM to the drain.
    pub retire: Duration,
    /// From the drain to the stop.
    pub drain: Duration,
}

/// What a supervisor says.
pub struct Orders {
    /// Bytes. The numbers of signals are taken as these; its end is SIGTERM, too.
    pub stream: OwnedFd,
    /// What is done about other bytes.
    pub others: Box<dyn FnMut(u8) + Send>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Signals turned into drain and stop, for as long as this lives. Costs a thread that sleeps.
#[derive(Debug)]
pub struct SignalWatch {
    handlers: Option<SignalHandlers>,
    listener: Option<JoinHandle<()>>,
    enforcer: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// Takes SIGTERM, which drains and then stops, and SIGINT and SIGQUIT, which stop, and `orders`. `interrupt` is called from another thread when application code must be made
    /// to let go; if the server has not ended soon after, `last_words` is called and the process ends with status 1.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AlreadyExists`] when another server in this process has them.
    pub fn start(
        handle: &Handle,
        graces: Graces,
        orders: Option<Orders>,
        interrupt: impl Fn() + Send + 'static,
        last_words: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (say, hear) = channel();
        let (handlers, signals) = SignalHandlers::install(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT])?;
        let of_listener = handle.clone();
        let listener = std::thread::Builder::new()
            .name("tidegate-signals".into())
            .spawn(move || listen(&signals, orders, &of_listener, graces, &say))?;
        let of_enforcer = handle.clone();
        let enforcer = std::thread::Builder::new()
            .name("tidegate-stop".into())
            .spawn(move || enforce(&hear, &of_enforcer, graces, &interrupt, &last_words))?;
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
fn listen(signals: &OwnedFd, mut orders: Option<Orders>, handle: &Handle, graces: Graces, say: &Sender<()>) {
    let mut was_told = false;
    loop {
        let mut watched: Vec<_> = iter::once(signals)
            .chain(orders.as_ref().map(|orders| &orders.stream))
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        // A supervisor that means a stop says so: its word to leave comes beside a SIGTERM that all processes of a group had, or is its own end.
        let is_order = watched[0].revents().is_empty();
        let number = match &orders {
            Some(Orders { stream, .. }) if is_order => read_byte(stream).unwrap_or_else(|| {
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
                // Nobody knows of one that does not accept yet.
                if is_order || graces.retire.is_zero() || handle.lifecycle() == Lifecycle::Waiting {
                    handle.drain();
                } else {
                    handle.retire();
                }
            }
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => handle.stop(),
            libc::SIGUSR1 => {
                handle.reopen_access_log();
                continue;
            }
            other => {
                if let Some(orders) = orders.as_mut().filter(|_| is_order)
                    && let Ok(byte) = u8::try_from(other)
                {
                    (orders.others)(byte);
                }
                continue;
            }
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

/// After the first signal: the graces, then a stop; after a stop: an interrupt, and at last the end of the process.
fn enforce(
    hear: &Receiver<()>,
    handle: &Handle,
    graces: Graces,
    interrupt: &impl Fn(),
    last_words: &impl Fn(),
) {
    if hear.recv().is_err() {
        return;
    }
    loop {
        let (grace, next): (_, fn(&Handle)) = match handle.lifecycle() {
            Lifecycle::Stopping => break,
            Lifecycle::Draining => (graces.drain, Handle::stop),
            Lifecycle::Waiting | Lifecycle::Serving | Lifecycle::Retiring => (graces.retire, Handle::drain),
        };
        match hear.recv_timeout(grace) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => next(handle),
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

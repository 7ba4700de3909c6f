//! Signals that Python has handlers for, heard of at once, wherever they were delivered.
//!
//! Python's own part of a handler only takes a note; the handler proper runs when the main thread next runs Python code. A signal that
//! comes just before that thread waits would be noticed with the next request only, were it not for the descriptor that Python writes to.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::gateway::{Mounts, Wsgi};

/// Runs the handlers of the application's own (SIGCHLD, SIGALRM, SIGUSR1) whose signals have come. What they raise outside of a request is
/// logged; only SystemExit and KeyboardInterrupt are meant for the server.
pub(super) fn run_signal_handlers(py: Python<'_>, mounts: &Mounts<Wsgi>) -> PyResult<()> {
    match py.check_signals() {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            mounts.log_error(py, "a signal handler failed", &error);
            Ok(())
        }
        other => other,
    }
}

/// Python writes to `heard`'s other end for as long as this lives.
pub(super) struct SignalPipe<'py> {
    heard: Option<OwnedFd>,
    _said: OwnedFd,
    used: bool,
    signal: Bound<'py, PyAny>,
}

impl<'py> SignalPipe<'py> {
    pub(super) fn new(py: Python<'py>) -> PyResult<Self> {
        let (heard, said) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(io::Error::from)?;
        // Not the module of Python code around it, in which a handler could run, and raise.
        let signal = py.import("_signal")?.into_any();
        // Refused off the main thread, where Python runs no handlers. One that the application has set is left to it.
        let former = signal.call_method1("set_wakeup_fd", (said.as_raw_fd(),));
        let used = match former.and_then(|former| former.extract::<i32>()) {
            Ok(-1) => true,
            Ok(former) => {
                signal.call_method1("set_wakeup_fd", (former,))?;
                false
            }
            Err(_) => false,
        };
        Ok(Self { heard: Some(heard), _said: said, used, signal })
    }

    /// Whether Python tells; if not, its handlers are to be given a chance now and then.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// The end to listen at: readable when a signal has come. Given once.
    pub(super) fn take_heard(&mut self) -> Option<OwnedFd> {
        self.heard.take()
    }
}

impl Drop for SignalPipe<'_> {
    fn drop(&mut self) {
        if self.used {
            // Python must not write to a descriptor that is about to be closed; on the main thread this does not fail.
            let _ = self.signal.call_method1("set_wakeup_fd", (-1,));
        }
    }
}

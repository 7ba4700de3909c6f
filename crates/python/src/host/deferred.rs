//! What applications want called when a client leaves. The reactor finds out without the interpreter, and in the middle of its
//! work; so it only takes note, and the host calls when it has turned the reactor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use pyo3::prelude::*;

use crate::error_log::ErrorLog;

/// Requests whose callbacks are due.
#[derive(Default)]
pub(crate) struct Deferred {
    due: Mutex<Vec<Arc<Callbacks>>>,
    any: AtomicBool,
}

impl Deferred {
    fn due(&self) -> MutexGuard<'_, Vec<Arc<Callbacks>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is to be called.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes those whose callbacks are due.
    pub(crate) fn take(&self) -> Vec<Arc<Callbacks>> {
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *self.due())
    }

    /// Calls what is due on this thread.
    pub(crate) fn call(&self, py: Python<'_>) {
        if self.any() {
            self.take().iter().for_each(|callbacks| callbacks.call(py));
        }
    }
}

/// Callbacks of one request, until its client leaves or it is over.
pub(crate) struct Callbacks {
    waiting: Mutex<Vec<Py<PyAny>>>,
    deferred: Arc<Deferred>,
}

impl Callbacks {
    pub(crate) fn new(deferred: Arc<Deferred>) -> Self {
        Self { waiting: Mutex::default(), deferred }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Py<PyAny>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, callback: Py<PyAny>) {
        self.waiting().push(callback);
    }

    /// Takes what was not called. To be dropped without any lock: it may run code.
    pub(crate) fn withdraw(&self) -> Vec<Py<PyAny>> {
        std::mem::take(&mut *self.waiting())
    }

    /// Calls what is there, each once whoever calls, and none that was withdrawn meanwhile. What fails is logged.
    pub(crate) fn call(&self, py: Python<'_>) {
        loop {
            let next = {
                let mut waiting = self.waiting();
                if waiting.is_empty() { None } else { Some(waiting.remove(0)) }
            };
            let Some(callback) = next else { return };
            if let Err(error) = callback.call0(py) {
                ErrorLog::new().say(py, "a callback on the client's departure failed", Some(&error));
            }
        }
    }
}

impl Wake for Callbacks {
    /// The client has left.
    fn wake(self: Arc<Self>) {
        let deferred = self.deferred.clone();
        deferred.due().push(self);
        deferred.any.store(true, Ordering::Release);
    }
}

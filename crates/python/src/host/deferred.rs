//! What applications want called when a client leaves. The reactor finds out without the interpreter, and in the middle of its
//! work; so it only takes note, and the host calls when it has turned the reactor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use pyo3::prelude::*;

/// Callbacks whose time has come.
#[derive(Default)]
pub(crate) struct Deferred {
    due: Mutex<Vec<Py<PyAny>>>,
    any: AtomicBool,
}

impl Deferred {
    fn due(&self) -> MutexGuard<'_, Vec<Py<PyAny>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is to be called.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes what is to be called.
    pub(crate) fn take(&self) -> Vec<Py<PyAny>> {
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *self.due())
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
    pub(crate) fn take(&self) -> Vec<Py<PyAny>> {
        std::mem::take(&mut *self.waiting())
    }
}

impl Wake for Callbacks {
    /// The client has left.
    fn wake(self: Arc<Self>) {
        let callbacks = self.take();
        if !callbacks.is_empty() {
            self.deferred.due().extend(callbacks);
            self.deferred.any.store(true, Ordering::Release);
        }
    }
}

//! Where application code runs, and how it waits.

mod asyncio;
mod bridge;
mod deferred;
mod greenlets;
mod hub;
mod inline;
mod parking;
mod pause;
mod place;
mod pool;
mod python_thread;
mod shortage;
mod signals;
mod system_thread;
mod thread_runs;
mod threads;

pub(crate) use asyncio::{Application, AsyncioHost};
pub(crate) use bridge::{AsyncioHub, await_};
pub(crate) use deferred::{Callbacks, Deferred};
pub(crate) use greenlets::{
    GEVENT_NEEDED, GreenletsHost, patch_standard_library, standard_library_is_patched,
};
pub(crate) use hub::GeventHub;
pub(crate) use inline::InlineHost;
pub(crate) use pause::{Awaited, Pauses, PausesIfAny};
pub(crate) use pool::Pool;
pub(crate) use python_thread::any_at_work;
pub(crate) use system_thread::sleeps_in;
pub(crate) use threads::{ThreadsHost, ThreadsOptions};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use pyo3::prelude::*;
use tidegate_engine::{Counter, Departure, Handle, Registration, Watch, monotonic_us};

/// What a gateway asks of the place its application runs in.
pub(crate) trait Host: Send + Sync {
    /// Lets time pass until `sign` is given, for `most` at the longest. May return early; the caller looks again.
    fn wait(&self, py: Python<'_>, sign: &dyn Sign, most: Option<Duration>) -> PyResult<()>;

    /// How many bytes of a response may be on their way when the application is asked for its next block.
    ///
    /// PEP 3333 asks that a block is sent, or sure to be sent, before the next one is asked for. Where nobody turns the reactor
    /// while the application runs, only bytes in the kernel's hands are sure.
    fn unsent_max(&self) -> u64;

    /// What this host is to call when it has turned the reactor.
    fn deferred(&self) -> &Arc<Deferred>;
}

/// Something to wait for, of which the reactor tells.
pub(crate) trait Sign: Sync {
    /// Has `waker` woken, once, when the sign is given; at once if it is already. What comes back is kept as long as that is wanted.
    fn wake(&self, waker: Waker) -> Option<Registration>;
}

/// Something may have changed for an exchange.
impl Sign for Watch {
    fn wake(&self, waker: Waker) -> Option<Registration> {
        self.wake_on_change(waker);
        None
    }
}

/// The client has left.
impl Sign for Departure {
    fn wake(&self, waker: Waker) -> Option<Registration> {
        let registration = self.wake_on_leaving(waker.clone());
        if registration.is_none() {
            waker.wake();
        }
        registration
    }
}

/// Waits without the interpreter. How long this thread, with work in hand, waits for the interpreter afterwards is counted.
pub(crate) fn away<T: Send>(py: Python<'_>, handle: &Handle, wait: impl FnOnce() -> T + Send) -> T {
    let Some(record) = handle.record() else { return py.detach(wait) };
    let (given, since_us) = py.detach(|| (wait(), monotonic_us()));
    record.add(Counter::InterpreterWaits, 1);
    record.add(Counter::InterpreterWaitUs, monotonic_us().saturating_sub(since_us));
    given
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change under the locks that this opens.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

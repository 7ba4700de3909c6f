//! `environ["tidegate.cancelled"]`: whether anybody still waits for the answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use pyo3::create_exception;
use pyo3::exceptions::{PyBaseException, PyValueError};
use pyo3::prelude::*;
use tidegate_engine::{Departure, Exchange, Registration};

use crate::host::{Callbacks, Host};

create_exception!(
    tidegate,
    ClientLeft,
    PyBaseException,
    "Raised in the greenlet of a request whose client has left, under --cancel-on-disconnect."
);

/// Longest wait before this looks again.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Counts the requests of a connection.
pub(crate) type RequestNumber = u64;

/// The client's departure. One for a connection: who has left once has left for good.
#[pyclass(frozen, module = "tidegate._tidegate")]
pub(crate) struct Cancelled {
    departure: Departure,
    /// Weak, as the host has the reactor, and that the connection, which keeps this.
    host: Weak<dyn Host>,
    /// The last request that has begun.
    number: AtomicU64,
    /// Callbacks, by the request that they are for: the end of one may come after the beginning of the next.
    registered: Mutex<Vec<Registered>>,
    /// There are any.
    any: AtomicBool,
}

struct Registered {
    number: RequestNumber,
    callbacks: Arc<Callbacks>,
    _place: Option<Registration>,
}

impl Cancelled {
    pub(crate) fn new(exchange: &Exchange, host: &Arc<dyn Host>) -> Self {
        Self {
            departure: exchange.departure(),
            host: Arc::downgrade(host),
            number: AtomicU64::new(0),
            registered: Mutex::default(),
            any: AtomicBool::new(false),
        }
    }

    fn registered(&self) -> MutexGuard<'_, Vec<Registered>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin_request(&self) -> RequestNumber {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The request is over. Gives what was not called and is not to be any more; to be dropped where no lock is held.
    pub(crate) fn end_request(&self, number: RequestNumber) -> Vec<Py<PyAny>> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut registered = self.registered();
        let ended: Vec<_> = registered.extract_if(.., |one| one.number == number).collect();
        self.any.store(!registered.is_empty(), Ordering::Release);
        drop(registered);
        ended.iter().flat_map(|one| one.callbacks.withdraw()).collect()
    }

    /// The callbacks of the request at hand.
    fn callbacks(&self, host: &Arc<dyn Host>) -> Arc<Callbacks> {
        let number = self.number.load(Ordering::Relaxed);
        let mut registered = self.registered();
        if let Some(one) = registered.iter().find(|one| one.number == number) {
            return one.callbacks.clone();
        }
        let callbacks = Arc::new(Callbacks::new(host.deferred().clone()));
        let place = self.departure.wake_on_leaving(Waker::from(callbacks.clone()));
        registered.push(Registered { number, callbacks: callbacks.clone(), _place: place });
        self.any.store(true, Ordering::Release);
        callbacks
    }
}

#[pymethods]
impl Cancelled {
    fn is_set(&self) -> bool {
        self.departure.has_left()
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let time = |seconds: f64| Duration::try_from_secs_f64(if seconds < 0.0 { 0.0 } else { seconds });
        let end = match timeout.map(time) {
            None => None,
            Some(Ok(time)) => Instant::now().checked_add(time),
            Some(Err(error)) => return Err(PyValueError::new_err(format!("timeout: {error}"))),
        };
        loop {
            if self.departure.has_left() {
                return Ok(true);
            }
            let left = end.map_or(WAIT_MAX, |end| end.saturating_duration_since(Instant::now()));
            let Some(host) = self.host.upgrade().filter(|_| !left.is_zero()) else { return Ok(false) };
            host.wait(py, &self.departure, Some(left.min(WAIT_MAX)))?;
        }
    }

    #[pyo3(signature = (callback, /))]
    fn add_callback(&self, py: Python<'_>, callback: Py<PyAny>) {
        let Some(host) = self.host.upgrade() else { return };
        let callbacks = self.callbacks(&host);
        callbacks.add(callback);
        // Looked for after it is there: either this sees the departure, or the reactor sees the callback.
        if self.departure.has_left() {
            callbacks.call(py);
        }
    }
}

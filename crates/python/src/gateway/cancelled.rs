//! `environ["tidegate.cancelled"]`: whether anybody still waits for the answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use pyo3::create_exception;
use pyo3::exceptions::{PyBaseException, PyValueError};
use pyo3::prelude::*;
use tidegate_engine::{Departure, Exchange};

use crate::host::{Callbacks, Host};

create_exception!(
    tidegate,
    ClientLeft,
    PyBaseException,
    "Raised in the greenlet of a request whose client has left, under --cancel-on-disconnect."
);

/// Longest wait before this looks again.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The client's departure. One for a connection: who has left once has left for good.
#[pyclass(frozen, module = "tidegate._tidegate")]
pub(crate) struct Cancelled {
    departure: Departure,
    host: Arc<dyn Host>,
    /// Those of the request at hand.
    callbacks: Mutex<Option<Arc<Callbacks>>>,
    /// Wakers or callbacks were left behind.
    used: AtomicBool,
}

impl Cancelled {
    pub(crate) fn new(exchange: &Exchange, host: Arc<dyn Host>) -> Self {
        Self {
            departure: exchange.departure(),
            host,
            callbacks: Mutex::new(None),
            used: AtomicBool::new(false),
        }
    }

    fn callbacks(&self) -> MutexGuard<'_, Option<Arc<Callbacks>>> {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request is over. Gives the callbacks that were not called, to be dropped where no lock is held.
    pub(crate) fn end_request(&self) -> Vec<Py<PyAny>> {
        if !self.used.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        self.departure.forget_wakers();
        let callbacks = self.callbacks().take();
        callbacks.map_or_else(Vec::new, |callbacks| callbacks.take())
    }
}

#[pymethods]
impl Cancelled {
    fn is_set(&self) -> bool {
        self.departure.has_left()
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let end = match timeout
            .map(|seconds| Duration::try_from_secs_f64(if seconds < 0.0 { 0.0 } else { seconds }))
        {
            None => None,
            Some(Ok(time)) => Instant::now().checked_add(time),
            Some(Err(error)) => return Err(PyValueError::new_err(format!("timeout: {error}"))),
        };
        self.used.store(true, Ordering::Relaxed);
        loop {
            if self.departure.has_left() {
                return Ok(true);
            }
            let left = end.map_or(WAIT_MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            self.host.wait(py, &self.departure, Some(left.min(WAIT_MAX)))?;
        }
    }

    #[pyo3(signature = (callback, /))]
    fn add_callback(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        self.used.store(true, Ordering::Relaxed);
        let (callbacks, fresh) = {
            let mut current = self.callbacks();
            let fresh = current.is_none();
            let callbacks =
                current.get_or_insert_with(|| Arc::new(Callbacks::new(self.host.deferred().clone())));
            (callbacks.clone(), fresh)
        };
        callbacks.add(callback);
        let here = !fresh || self.departure.wake_on_leaving(Waker::from(callbacks.clone()));
        if here && !self.departure.has_left() {
            return Ok(());
        }
        // Whoever takes a callback calls it, so that it is called once.
        for callback in callbacks.take() {
            callback.call0(py)?;
        }
        Ok(())
    }
}

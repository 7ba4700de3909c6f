//! `wsgi.input` (PEP 3333, "Input and Error Streams").

use std::sync::{Mutex, MutexGuard, PoisonError};

use memchr::memchr;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::ffi::Object;
use crate::gateway::Call;

/// The request body as a stream. At its end it gives `b""` for ever; a body cut short raises OSError.
#[pyclass(frozen, module = "tidegate._tidegate")]
pub(crate) struct WsgiInput {
    /// `None` for a request without a body.
    call: Option<Object<Call>>,
    held: Mutex<Held>,
}

/// Bytes taken from the exchange and not yet given to the application.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Held {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn add(&mut self, more: Vec<u8>) {
        if more.is_empty() {
            self.ended = true;
        } else if self.at == self.bytes.len() {
            self.bytes = more;
            self.at = 0;
        } else {
            self.bytes.drain(..self.at);
            self.at = 0;
            self.bytes.extend_from_slice(&more);
        }
    }

    fn take<'py>(&mut self, py: Python<'py>, count: usize) -> Bound<'py, PyBytes> {
        let taken = PyBytes::new(py, &self.bytes[self.at..self.at + count]);
        self.at += count;
        if self.at == self.bytes.len() {
            self.bytes = Vec::new();
            self.at = 0;
        }
        taken
    }
}

/// `None` and negative numbers mean "as much as there is".
fn limit(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

impl WsgiInput {
    pub(crate) fn new(call: Object<Call>) -> Self {
        Self { call: Some(call), held: Mutex::default() }
    }

    pub(crate) fn empty() -> Self {
        Self { call: None, held: Mutex::new(Held { ended: true, ..Held::default() }) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets more, without the lock: it may wait. False at the end.
    fn fetch(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(call) = &self.call else { return Ok(false) };
        let more = call.read_body(py)?;
        let mut held = self.held();
        held.add(more);
        Ok(!held.ended)
    }

    fn line<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut searched = 0;
        loop {
            {
                let mut held = self.held();
                let rest = held.rest();
                let end = memchr(b'\n', &rest[searched.min(rest.len())..]).map(|found| searched + found + 1);
                let enough = end.unwrap_or(rest.len()).min(most);
                if end.is_some() || enough == most || held.ended {
                    return Ok(held.take(py, enough));
                }
                searched = rest.len();
            }
            self.fetch(py)?;
        }
    }
}

#[pymethods]
impl WsgiInput {
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let most = limit(size);
        loop {
            {
                let mut held = self.held();
                let there = held.rest().len();
                if there >= most || held.ended {
                    return Ok(held.take(py, there.min(most)));
                }
            }
            self.fetch(py)?;
        }
    }

    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.line(py, limit(size))
    }

    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let enough = hint.filter(|hint| *hint > 0).map_or(usize::MAX, isize::unsigned_abs);
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < enough {
            let line = self.line(py, usize::MAX)?;
            if line.as_bytes().is_empty() {
                break;
            }
            total += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.line(py, usize::MAX)?;
        Ok(if line.as_bytes().is_empty() { None } else { Some(line) })
    }
}

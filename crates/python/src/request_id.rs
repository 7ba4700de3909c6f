//! The id of the request that is being answered, where Python code finds it: in a context variable (PEP 567).
//!
//! Setting one costs a request more than all else about its id, so it is done where somebody has asked for it, by importing
//! `tidegate.request_ids`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use tidegate_engine::Exchange;

use crate::ffi::{in_fresh_context, latin1, set_in_context};

static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Has the id of each request set in `variable`, a `contextvars.ContextVar`, from here on.
#[pyfunction]
pub(crate) fn set_request_ids_in(py: Python<'_>, variable: Py<PyAny>) {
    // There is one of it.
    let _ = VARIABLE.set(py, variable);
}

/// The id of an exchange, if it has one, as Python knows it.
pub(crate) fn of<'py>(py: Python<'py>, exchange: &Exchange) -> PyResult<Option<Bound<'py, PyString>>> {
    exchange.request_id().map(|id| latin1(py, id)).transpose()
}

/// Has what runs in the present context from here on find the id.
pub(crate) fn set(id: &Bound<'_, PyString>) -> PyResult<()> {
    VARIABLE.get(id.py()).map_or(Ok(()), |variable| set_in_context(variable.bind(id.py()), id))
}

/// Runs `work` where the id is found.
pub(crate) fn with<T>(id: &Bound<'_, PyString>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    in_fresh_context(id.py(), || set(id).and_then(|()| work()))?
}

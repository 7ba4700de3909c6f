//! The id of the request that is being answered, where Python code finds it: in a context variable (PEP 567).

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use tidegate_engine::Exchange;

use crate::ffi::{in_fresh_context, set_in_context};

/// The object of that name in the package.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let get = || Ok::<_, PyErr>(py.import("tidegate._request_id")?.getattr("request_id")?.unbind());
    Ok(VARIABLE.get_or_try_init(py, get)?.bind(py))
}

/// The id of an exchange, if it has one, as Python knows it.
pub(crate) fn of<'py>(py: Python<'py>, exchange: &Exchange) -> Option<Bound<'py, PyString>> {
    exchange.request_id().map(|id| PyString::new(py, id))
}

/// Has what runs in the present context from here on find the id.
pub(crate) fn set(id: &Bound<'_, PyString>) -> PyResult<()> {
    set_in_context(variable(id.py())?, id)
}

/// Runs `work` where the id is found, if there is one.
pub(crate) fn with<T>(
    py: Python<'_>,
    id: Option<&Bound<'_, PyString>>,
    work: impl FnOnce() -> T,
) -> PyResult<T> {
    match id {
        Some(id) => in_fresh_context(py, || set(id).map(|()| work()))?,
        None => Ok(work()),
    }
}

/// What is found where the caller runs.
pub(crate) fn current(py: Python<'_>) -> Option<String> {
    variable(py).and_then(|variable| variable.call_method0("get")?.extract()).ok()?
}

//! What keeps a server from running.

use pyo3::prelude::*;
use tidegate_supervisor::SettingsError;

use crate::loader::LoadError;

/// One line for the operator, and the traceback when code of the application's has failed.
pub(crate) struct Refusal {
    pub(crate) line: String,
    pub(crate) cause: Option<PyErr>,
    pub(crate) culprit: Culprit,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Culprit {
    Settings,
    System,
    Application,
}

impl Refusal {
    /// All that there is to say, for whoever reads it elsewhere.
    pub(crate) fn report(&self, py: Python<'_>) -> String {
        let formatted = |cause: &PyErr| -> PyResult<String> {
            let lines = py.import("traceback")?.call_method1("format_exception", (cause.value(py),))?;
            "".into_pyobject(py)?.call_method1("join", (lines,))?.extract()
        };
        let traceback =
            self.cause.as_ref().map(|cause| formatted(cause).unwrap_or_else(|_| cause.to_string()));
        format!("{}\n{}", self.line, traceback.unwrap_or_default()).trim_end().to_owned()
    }

    /// A setting that is right, but that the system does not go along with.
    pub(crate) fn of_system(error: SettingsError) -> Self {
        Self { culprit: Culprit::System, ..error.into() }
    }
}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        Self { line: error.message().to_owned(), cause: None, culprit: Culprit::Settings }
    }
}

impl From<PyErr> for Refusal {
    fn from(cause: PyErr) -> Self {
        Self { line: "the server failed".into(), cause: Some(cause), culprit: Culprit::System }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        Self { line: error.line, cause: error.cause, culprit: Culprit::System }
    }
}

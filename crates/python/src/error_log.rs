//! What the application does wrong, told through Python's `logging`, so that it ends up where the application's own log does.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::request_id;

/// The logger `tidegate.error`. `logging` is imported when there is something to say and not before: a greenlet host must
/// patch first.
pub(crate) struct ErrorLog {
    logger: PyOnceLock<Py<PyAny>>,
}

impl ErrorLog {
    pub(crate) const fn new() -> Self {
        Self { logger: PyOnceLock::new() }
    }

    /// Logs at level ERROR, with the traceback when there is one.
    pub(crate) fn say(&self, py: Python<'_>, text: &str, error: Option<&PyErr>) {
        self.say_of(py, None, text, error);
    }

    /// The same of a request, by its id if it has one.
    pub(crate) fn say_of(
        &self,
        py: Python<'_>,
        id: Option<&Bound<'_, PyString>>,
        text: &str,
        error: Option<&PyErr>,
    ) {
        let said = match id {
            Some(id) => request_id::with(id, || self.try_say(py, &format!("{text} [{id}]"), error)),
            None => self.try_say(py, text, error),
        };
        if let Err(failure) = said {
            // A handler of the application's that raises must not take the server with it.
            log::error!("{text} (and logging failed: {failure})");
        }
    }

    fn try_say(&self, py: Python<'_>, text: &str, error: Option<&PyErr>) -> PyResult<()> {
        let logger = self.logger.get_or_try_init(py, || {
            let logging = py.import("logging")?;
            Ok::<_, PyErr>(logging.call_method1("getLogger", ("tidegate.error",))?.unbind())
        })?;
        let logger = logger.bind(py);
        // `dictConfig` silences what was there before it, unless told otherwise; who wants silence sets a level.
        logger.setattr("disabled", false)?;
        let options = pyo3::types::PyDict::new(py);
        if let Some(error) = error {
            // Before 3.12 the traceback is not yet the exception's own.
            options.set_item("exc_info", (error.get_type(py), error.value(py), error.traceback(py)))?;
        }
        logger.call_method("error", ("%s", text), Some(&options))?;
        Ok(())
    }
}

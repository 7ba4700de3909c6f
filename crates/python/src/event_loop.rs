//! The event loop that an ASGI application is served on, and the application's lifespan around that.

use std::time::Duration;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidegate_supervisor::{self as supervisor, Lifespan, Settings};

use crate::error_log::ErrorLog;
use crate::serve::{Culprit, Refusal};

pub(crate) struct EventLoop<'py> {
    /// `tidegate.hosts.asyncio`
    module: Bound<'py, PyModule>,
    event_loop: Bound<'py, PyAny>,
    lifespan: Bound<'py, PyAny>,
}

impl<'py> EventLoop<'py> {
    /// Makes the loop, and has the application start up in it.
    pub(crate) fn start(
        py: Python<'py>,
        application: &Bound<'py, PyAny>,
        settings: &Settings,
    ) -> Result<Self, Refusal> {
        let module = py.import("tidegate.hosts.asyncio")?;
        let kind = match settings.event_loop {
            supervisor::EventLoop::Auto => "auto",
            supervisor::EventLoop::Asyncio => "asyncio",
            supervisor::EventLoop::Uvloop => "uvloop",
        };
        let event_loop = match module.call_method1("new_event_loop", (kind,)) {
            Err(error) if error.is_instance_of::<PyImportError>(py) => {
                return Err(Refusal::of_settings("loop uvloop needs uvloop: pip install 'tidegate[uvloop]'"));
            }
            made => made?,
        };
        let mode = match settings.lifespan {
            Lifespan::Auto => "auto",
            Lifespan::On => "on",
            Lifespan::Off => "off",
        };
        let timeout = Duration::from_millis(settings.lifespan_timeout_ms).as_secs_f64();
        let lifespan = module.call_method1("Lifespan", (application, mode, timeout, &event_loop))?;
        let started = Self { module, event_loop, lifespan };
        match started.lifespan.call_method0("start") {
            Ok(_) => Ok(started),
            Err(error) => {
                let refusal = started.refusal(py, error);
                if let Err(error) = started.module.call_method1("close_event_loop", (&started.event_loop,)) {
                    ErrorLog::new().say(py, "the event loop could not be closed", Some(&error));
                }
                Err(refusal)
            }
        }
    }

    pub(crate) fn bound(&self) -> &Bound<'py, PyAny> {
        &self.event_loop
    }

    /// What the application has put into its lifespan's state, if it has a lifespan.
    pub(crate) fn state(&self) -> PyResult<Option<Py<PyDict>>> {
        let state = self.lifespan.getattr("state")?;
        Ok(if state.is_none() { None } else { Some(state.cast_into::<PyDict>()?.unbind()) })
    }

    /// Has the application shut down, within `most`, and closes the loop.
    pub(crate) fn close(self, py: Python<'_>, most: Duration) -> Result<(), Refusal> {
        let stopped = self.lifespan.call_method1("stop", (most.as_secs_f64(),));
        let closed = self.module.call_method1("close_event_loop", (&self.event_loop,));
        stopped.map_err(|error| self.refusal(py, error))?;
        closed?;
        Ok(())
    }

    /// The line of a lifespan that failed, with what the application raised.
    fn refusal(&self, py: Python<'_>, error: PyErr) -> Refusal {
        let is_ours =
            self.module.getattr("LifespanError").is_ok_and(|kind| error.matches(py, kind).unwrap_or(false));
        if is_ours {
            let line = format!("lifespan: {}", error.value(py));
            return Refusal { line, cause: error.cause(py), culprit: Culprit::Application };
        }
        Refusal {
            line: "lifespan: the application failed".into(),
            cause: Some(error),
            culprit: Culprit::Application,
        }
    }
}

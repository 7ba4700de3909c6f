//! The event loop that applications are served on, and the lifespans of the ASGI applications around that.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidegate_supervisor::{self as supervisor, Settings};

use crate::applications::Applications;
use crate::error_log::ErrorLog;
use crate::loader::{Kind, Loaded};
use crate::refusal::{Culprit, Refusal};

pub(crate) const UVLOOP_NEEDED: &str = "needs uvloop: pip install 'tidegate[uvloop]'";

pub(crate) struct EventLoop<'py> {
    /// `tidegate.hosts.asyncio`
    module: Bound<'py, PyModule>,
    event_loop: Bound<'py, PyAny>,
    /// Those that have started, in that order, each with its application.
    lifespans: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
}

impl<'py> EventLoop<'py> {
    /// Makes the loop, and has the ASGI applications start up in it, one after the other.
    pub(crate) fn start(
        py: Python<'py>,
        applications: &Applications<'py>,
        settings: &Settings,
    ) -> Result<Self, Refusal> {
        let module = py.import("tidegate.hosts.asyncio")?;
        let kind = match settings.event_loop {
            supervisor::EventLoop::Auto => "auto",
            supervisor::EventLoop::Asyncio => "asyncio",
            supervisor::EventLoop::Uvloop => "uvloop",
        };
        let event_loop = match module.call_method1("new_event_loop", (kind,)) {
            Err(error) if error.is_instance_of::<PyModuleNotFoundError>(py) => {
                return Err(settings.refusal("loop", UVLOOP_NEEDED).into());
            }
            made => made?,
        };
        let mut started = Self { module, event_loop, lifespans: Vec::new() };
        for loaded in applications.all().filter(|loaded| loaded.interface == Kind::Asgi) {
            if let Err(refusal) = started.start_lifespan(loaded, settings) {
                let most = Duration::from_millis(settings.graceful_timeout_ms);
                if let Err(second) = started.close(py, most) {
                    ErrorLog::new().say(py, &second.line, second.cause.as_ref());
                }
                return Err(refusal);
            }
        }
        Ok(started)
    }

    fn start_lifespan(&mut self, loaded: &Loaded<'py>, settings: &Settings) -> Result<(), Refusal> {
        let application = &loaded.application;
        // Mounted twice, it is one application.
        if self.lifespan(application).is_some() {
            return Ok(());
        }
        let mode = match settings.lifespan {
            supervisor::Lifespan::Auto => "auto",
            supervisor::Lifespan::On => "on",
            supervisor::Lifespan::Off => "off",
        };
        let timeout = Duration::from_millis(settings.lifespan_timeout_ms).as_secs_f64();
        let lifespan =
            self.module.call_method1("Lifespan", (application, mode, timeout, &self.event_loop))?;
        lifespan.call_method0("start").map_err(|error| self.refusal(error))?;
        self.lifespans.push((application.clone(), lifespan));
        Ok(())
    }

    fn lifespan(&self, application: &Bound<'py, PyAny>) -> Option<&Bound<'py, PyAny>> {
        self.lifespans.iter().find(|(other, _)| other.is(application)).map(|(_, lifespan)| lifespan)
    }

    pub(crate) fn bound(&self) -> &Bound<'py, PyAny> {
        &self.event_loop
    }

    /// What an application has put into its lifespan's state, if it has a lifespan.
    pub(crate) fn state(&self, application: &Bound<'py, PyAny>) -> PyResult<Option<Py<PyDict>>> {
        let Some(lifespan) = self.lifespan(application) else { return Ok(None) };
        let state = lifespan.getattr("state")?;
        Ok(if state.is_none() { None } else { Some(state.cast_into::<PyDict>()?.unbind()) })
    }

    /// Has the applications shut down, the last first, within `most` in all, and closes the loop. The first failure is told of.
    pub(crate) fn close(self, py: Python<'_>, most: Duration) -> Result<(), Refusal> {
        let end = Instant::now() + most;
        let mut outcome = Ok(());
        for (_, lifespan) in self.lifespans.iter().rev() {
            let left = end.saturating_duration_since(Instant::now());
            if let Err(error) = lifespan.call_method1("stop", (left.as_secs_f64(),)) {
                let refusal = self.refusal(error);
                if outcome.is_ok() {
                    outcome = Err(refusal);
                } else {
                    ErrorLog::new().say(py, &refusal.line, refusal.cause.as_ref());
                }
            }
        }
        let closed = self.module.call_method1("close_event_loop", (&self.event_loop,));
        outcome?;
        closed?;
        Ok(())
    }

    /// The line of a lifespan that failed, with what the application raised.
    fn refusal(&self, error: PyErr) -> Refusal {
        let py = self.module.py();
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

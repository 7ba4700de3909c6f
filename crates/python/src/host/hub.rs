//! The loops around which greenlets run: gevent's here, asyncio's in `bridge`.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::host::lock;

/// A loop, and the greenlet that runs it.
pub(crate) trait Hub: Send + Sync {
    /// The greenlet that runs the loop: the parent of all that run requests, which switch to it when they wait.
    fn greenlet<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny>;

    /// Runs the loop until it is told to stop.
    fn run(self: Arc<Self>, py: Python<'_>) -> PyResult<()>;

    /// Whether it can be run again when something was raised in it.
    fn can_go_on(&self, py: Python<'_>) -> PyResult<bool>;

    /// Whether this was raised in it by a task, which the loop has let pass through.
    fn is_of_a_task(&self, _py: Python<'_>, _error: &PyErr) -> PyResult<bool> {
        Ok(false)
    }

    /// Whether it runs Python's handlers of signals as soon as they have come.
    fn hears_signals(&self) -> bool;

    /// To be called from the loop.
    fn stop(&self, py: Python<'_>) -> PyResult<()>;

    /// Has `turn` called whenever there is something to read.
    fn watch(&self, py: Python<'_>, descriptor: RawFd, turn: &Bound<'_, PyAny>) -> PyResult<()>;

    fn unwatch(&self, py: Python<'_>, descriptor: RawFd) -> PyResult<()>;

    /// Leaves the descriptor to the process that this one was forked from.
    fn disown(&self, py: Python<'_>) -> PyResult<()>;

    /// Has `callback` called in the loop's next round.
    fn soon(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<()>;

    /// Has `greenlet` go on when so much time has passed. To be cancelled by what comes back.
    fn later<'py>(&self, delay: Duration, greenlet: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;

    fn cancel(&self, timer: &Bound<'_, PyAny>) -> PyResult<()>;

    /// Runs `work`, which may wait, in a greenlet of its own.
    fn spawn(&self, work: &Bound<'_, PyAny>) -> PyResult<()>;

    /// An error unless `current`, the running greenlet, may wait for the loop.
    fn check_wait(&self, current: &Bound<'_, PyAny>) -> PyResult<()>;

    /// The loop gives its thread to a greenlet.
    fn give(&self, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }

    /// The loop has it again.
    fn take_back(&self, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }

    /// Lets the loop go on until somebody switches back. An error is what was thrown in.
    fn switch(&self, py: Python<'_>) -> PyResult<()> {
        self.greenlet(py).call_method0(intern!(py, "switch")).map(drop)
    }
}

/// Has a greenlet begin or go on, by `switch`, until one comes back. That may be another, which the application has made: it does not know
/// that the loop wants anything of it.
pub(super) fn go_on<'py>(
    hub: &dyn Hub,
    py: Python<'py>,
    switch: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<()> {
    hub.give(py)?;
    let outcome = switch();
    hub.take_back(py)?;
    outcome.map(drop)
}

/// gevent's.
pub(crate) struct GeventHub {
    hub: Py<PyAny>,
    /// The greenlet that has started the server and waits for its end.
    main: Py<PyAny>,
    watcher: Mutex<Option<Py<PyAny>>>,
}

impl GeventHub {
    pub(crate) fn start(py: Python<'_>) -> PyResult<Arc<Self>> {
        let gevent = py.import("gevent")?;
        // Starts the hub: a signal handler that raises in its first lines, and not in its loop, would end it for good.
        gevent.call_method1("sleep", (0,))?;
        Ok(Arc::new(Self {
            hub: gevent.call_method0("get_hub")?.unbind(),
            main: gevent.call_method0("getcurrent")?.unbind(),
            watcher: Mutex::new(None),
        }))
    }

    fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.hub.bind(py).getattr(intern!(py, "loop"))
    }
}

impl Hub for GeventHub {
    fn greenlet<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        self.hub.bind(py)
    }

    fn run(self: Arc<Self>, py: Python<'_>) -> PyResult<()> {
        self.switch(py)
    }

    fn can_go_on(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.hub.bind(py).getattr(intern!(py, "dead"))?.extract::<bool>()?)
    }

    fn hears_signals(&self) -> bool {
        false
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        // Not switched to from here: the hub is in the middle of a watcher's callback.
        self.soon(py, &self.main.bind(py).getattr(intern!(py, "switch"))?)
    }

    fn watch(&self, py: Python<'_>, descriptor: RawFd, turn: &Bound<'_, PyAny>) -> PyResult<()> {
        let read = 1;
        let watcher = self.event_loop(py)?.call_method1("io", (descriptor, read))?;
        watcher.call_method1("start", (turn,))?;
        *lock(&self.watcher) = Some(watcher.unbind());
        Ok(())
    }

    fn unwatch(&self, py: Python<'_>, _descriptor: RawFd) -> PyResult<()> {
        let watcher = lock(&self.watcher).take();
        if let Some(watcher) = watcher {
            watcher.call_method0(py, "stop")?;
            watcher.call_method0(py, "close")?;
        }
        Ok(())
    }

    fn disown(&self, py: Python<'_>) -> PyResult<()> {
        let watcher = lock(&self.watcher).as_ref().map(|watcher| watcher.clone_ref(py));
        watcher.map_or(Ok(()), |watcher| watcher.call_method0(py, "stop").map(drop))
    }

    fn soon(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        self.event_loop(py)?.call_method1(intern!(py, "run_callback"), (callback,)).map(drop)
    }

    fn later<'py>(&self, delay: Duration, greenlet: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = greenlet.py();
        let timer = self.event_loop(py)?.call_method1(intern!(py, "timer"), (delay.as_secs_f64(),))?;
        timer.call_method1(intern!(py, "start"), (greenlet.getattr(intern!(py, "switch"))?,))?;
        Ok(timer)
    }

    fn cancel(&self, timer: &Bound<'_, PyAny>) -> PyResult<()> {
        timer.call_method0(intern!(timer.py(), "stop"))?;
        timer.call_method0(intern!(timer.py(), "close")).map(drop)
    }

    fn spawn(&self, work: &Bound<'_, PyAny>) -> PyResult<()> {
        work.py().import("gevent")?.call_method1("spawn", (work,)).map(drop)
    }

    fn check_wait(&self, current: &Bound<'_, PyAny>) -> PyResult<()> {
        if current.is(&self.hub) {
            return Err(PyRuntimeError::new_err(
                "a callback of gevent's loop must not wait: spawn a greenlet",
            ));
        }
        Ok(())
    }
}

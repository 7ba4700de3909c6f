//! The bridge between synchronous and asynchronous code: asyncio's loop as the hub of greenlets, and `tidegate.await_`.
//!
//! ```text
//!  loop ── turn ──▶ greenlet of a request ── await_(…) ──▶ loop ── runs the task ── it is done ──▶ the greenlet
//! ```
//! While a greenlet runs, this thread has no running loop, as in a thread of its own: what a view calls, it may call here too.
//! Django's ORM, `asyncio.run` and asgiref's `async_to_sync` ask for that.

use std::cell::RefCell;
use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::{Arguments, Callable, Kind, Object};
use crate::host::asyncio::was_raised_in_a_task;
use crate::host::hub::{Hub, go_on};
use crate::host::lock;

thread_local! {
    /// The hub whose loop this thread runs.
    static HERE: RefCell<Option<Arc<AsyncioHub>>> = const { RefCell::new(None) };
}

/// Has [`HERE`] empty again, however the loop ends.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        let hub = HERE.take();
        drop(hub);
    }
}

/// asyncio's.
pub(crate) struct AsyncioHub {
    event_loop: Py<PyAny>,
    /// The greenlet that runs the loop, tasks included.
    hub: Py<PyAny>,
    greenlet: Py<PyAny>,
    getcurrent: Py<PyAny>,
    get_running_loop: Py<PyAny>,
    set_running_loop: Py<PyAny>,
    set_event_loop: Py<PyAny>,
    ensure_future: Py<PyAny>,
    /// The loop, for `ensure_future`.
    options: Py<PyDict>,
    resume: Kind<Resume>,
    begin: Kind<Begin>,
}

impl AsyncioHub {
    /// To be made by the greenlet that is to run the loop.
    pub(crate) fn new(py: Python<'_>, event_loop: Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let greenlet = py.import("greenlet")?;
        let asyncio = py.import("asyncio")?;
        let getcurrent = greenlet.getattr("getcurrent")?;
        let options = PyDict::new(py);
        options.set_item("loop", &event_loop)?;
        Ok(Arc::new(Self {
            event_loop: event_loop.unbind(),
            hub: getcurrent.call0()?.unbind(),
            greenlet: greenlet.getattr("greenlet")?.unbind(),
            getcurrent: getcurrent.unbind(),
            get_running_loop: asyncio.getattr("_get_running_loop")?.unbind(),
            set_running_loop: asyncio.getattr("_set_running_loop")?.unbind(),
            set_event_loop: asyncio.getattr("set_event_loop")?.unbind(),
            ensure_future: asyncio.getattr("ensure_future")?.unbind(),
            options: options.unbind(),
            resume: Kind::new(py)?,
            begin: Kind::new(py)?,
        }))
    }

    /// Whether code runs that belongs to a loop: a task's, or a callback's.
    fn in_loop(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.get_running_loop.bind(py).call0()?.is_none())
    }

    fn ensure_future<'py>(&self, awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = awaitable.py();
        self.ensure_future.bind(py).call((awaitable,), Some(self.options.bind(py)))
    }

    /// A task for `awaitable`, with a copy of this greenlet's context; a future is one already.
    fn task<'py>(
        self: &Arc<Self>,
        awaitable: &Bound<'py, PyAny>,
        current: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = awaitable.py();
        let event_loop = self.event_loop.bind(py);
        if event_loop.call_method0(intern!(py, "get_task_factory"))?.is_none()
            || py.import("asyncio")?.call_method1(intern!(py, "isfuture"), (awaitable,))?.extract()?
        {
            return self.ensure_future(awaitable);
        }
        // An application's own factory may have it begin at once. That is for the loop's greenlet as well: code that runs tasks in
        // greenlets itself comes back to where it has begun.
        let begin = Begin {
            hub: self.clone(),
            awaitable: awaitable.clone().unbind(),
            greenlet: current.clone().unbind(),
            begun: Mutex::new(None),
        };
        let begin = self.begin.object(py, begin)?;
        let handle = event_loop.call_method1(intern!(py, "call_soon"), (begin.as_any(py),))?;
        loop {
            if let Err(thrown) = self.switch(py) {
                handle.call_method0(intern!(py, "cancel"))?;
                return Err(thrown);
            }
            let begun = lock(&begin.begun).take();
            if let Some(begun) = begun {
                return begun.map(|task| task.into_bound(py));
            }
        }
    }

    /// Has a task wait for `awaitable`, and `current` for the task.
    fn wait_for<'py>(
        self: &Arc<Self>,
        awaitable: &Bound<'py, PyAny>,
        current: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = awaitable.py();
        let future = self.task(awaitable, &current)?;
        let is_done = || future.call_method0(intern!(py, "done"))?.extract::<bool>();
        if !is_done()? {
            let resume = self.resume.object(py, Resume::new(current))?;
            future.call_method1(intern!(py, "add_done_callback"), (resume.as_any(py),))?;
            let wait = || {
                while !is_done()? {
                    self.switch(py)?;
                }
                Ok(())
            };
            let outcome = wait();
            resume.over.store(true, Ordering::Release);
            if let Err(thrown) = outcome {
                // Nobody waits for it any more. What it makes of that is the loop's to tell; what was thrown comes first.
                let _ = future.call_method0(intern!(py, "cancel"));
                return Err(thrown);
            }
        }
        future.call_method0(intern!(py, "result"))
    }
}

impl Hub for AsyncioHub {
    fn greenlet<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        self.hub.bind(py)
    }

    fn run(self: Arc<Self>, py: Python<'_>) -> PyResult<()> {
        HERE.set(Some(self.clone()));
        let _running = Running;
        self.event_loop.call_method0(py, intern!(py, "run_forever")).map(drop)
    }

    fn can_go_on(&self, _py: Python<'_>) -> PyResult<bool> {
        Ok(true)
    }

    fn is_of_a_task(&self, py: Python<'_>, error: &PyErr) -> PyResult<bool> {
        was_raised_in_a_task(py, error)
    }

    fn hears_signals(&self) -> bool {
        true
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.event_loop.call_method0(py, intern!(py, "stop")).map(drop)
    }

    fn watch(&self, py: Python<'_>, descriptor: RawFd, turn: &Bound<'_, PyAny>) -> PyResult<()> {
        self.event_loop.call_method1(py, "add_reader", (descriptor, turn)).map(drop)
    }

    fn unwatch(&self, py: Python<'_>, descriptor: RawFd) -> PyResult<()> {
        self.event_loop.call_method1(py, "remove_reader", (descriptor,)).map(drop)
    }

    fn disown(&self, _py: Python<'_>) -> PyResult<()> {
        // The selector is the parent's too: what is taken from it here is taken from there.
        Ok(())
    }

    fn soon(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        self.event_loop.call_method1(py, intern!(py, "call_soon"), (callback,)).map(drop)
    }

    fn later<'py>(&self, delay: Duration, greenlet: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = greenlet.py();
        let resume = self.resume.object(py, Resume::new(greenlet.clone()))?;
        let call_later = intern!(py, "call_later");
        self.event_loop.bind(py).call_method1(call_later, (delay.as_secs_f64(), resume.as_any(py)))
    }

    fn cancel(&self, timer: &Bound<'_, PyAny>) -> PyResult<()> {
        timer.call_method0(intern!(timer.py(), "cancel")).map(drop)
    }

    fn spawn(&self, work: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = work.py();
        let greenlet = self.greenlet.bind(py).call1((work, &self.hub))?;
        go_on(self, py, || greenlet.call_method0(intern!(py, "switch")))
    }

    fn check_wait(&self, current: &Bound<'_, PyAny>) -> PyResult<()> {
        if current.is(&self.hub) || self.in_loop(current.py())? {
            return Err(PyRuntimeError::new_err(
                "asynchronous code must not wait for the client: that is for the WSGI application's own greenlet",
            ));
        }
        Ok(())
    }

    fn give(&self, py: Python<'_>) -> PyResult<()> {
        self.set_running_loop.call1(py, (py.None(),)).map(drop)
    }

    fn take_back(&self, py: Python<'_>) -> PyResult<()> {
        // First, as a signal handler may raise in what follows.
        self.set_running_loop.call1(py, (&self.event_loop,))?;
        // asyncio.run leaves the thread without a current loop, which others look for: asyncio.gather.
        self.set_event_loop.call1(py, (&self.event_loop,)).map(drop)
    }
}

/// Called by the loop when what a greenlet awaits is done, or its time is up.
struct Resume {
    greenlet: Py<PyAny>,
    /// It no longer waits.
    over: AtomicBool,
}

impl Resume {
    fn new(greenlet: Bound<'_, PyAny>) -> Self {
        Self { greenlet: greenlet.unbind(), over: AtomicBool::new(false) }
    }
}

impl Callable for Resume {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Resume";
    const NAME: &'static str = "resume";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 0..=1;

    fn call<'py>(resume: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        if !resume.over.load(Ordering::Acquire) {
            let switch = || resume.greenlet.bind(py).call_method0(intern!(py, "switch"));
            match HERE.with_borrow(Clone::clone) {
                Some(hub) => go_on(&*hub, py, switch)?,
                // The server has ended, without a greenlet that ends with its loop. Another loop may run by then.
                None => switch().map(drop)?,
            }
        }
        Ok(py.None().into_bound(py))
    }
}

/// Called by the loop to have a task begin.
struct Begin {
    hub: Arc<AsyncioHub>,
    awaitable: Py<PyAny>,
    greenlet: Py<PyAny>,
    begun: Mutex<Option<PyResult<Py<PyAny>>>>,
}

impl Callable for Begin {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Begin";
    const NAME: &'static str = "begin";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 0..=0;

    fn call<'py>(begin: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let begun = begin.hub.ensure_future(begin.awaitable.bind(py)).map(Bound::unbind);
        *lock(&begin.begun) = Some(begun);
        go_on(&*begin.hub, py, || begin.greenlet.bind(py).call_method0(intern!(py, "switch")))?;
        Ok(py.None().into_bound(py))
    }
}

/// Waits in synchronous code for asynchronous code, while the loop goes on.
#[pyfunction]
#[pyo3(signature = (awaitable, /))]
pub(crate) fn await_<'py>(awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = awaitable.py();
    if !py.import("asyncio")?.call_method0(intern!(py, "_get_running_loop"))?.is_none() {
        return Err(PyRuntimeError::new_err(
            "tidegate.await_ was called by code that an event loop runs, which can await for itself: \
             await it, instead of tidegate.await_",
        ));
    }
    let elsewhere =
        || PyRuntimeError::new_err("tidegate.await_ works in a WSGI application under --concurrency asyncio");
    let hub = HERE.with_borrow(Clone::clone).ok_or_else(elsewhere)?;
    let current = hub.getcurrent.bind(py).call0()?;
    if current.is(&hub.hub) {
        return Err(elsewhere());
    }
    hub.wait_for(awaitable, current)
}

//! How a task of asyncio waits for the reactor.
//!
//! What an awaitable of ours yields is a [`Pause`], which a task takes for a future. The host ends it in the reactor's turn by
//! calling the task, so that a message costs no trip through the loop's queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Wake, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit, intern};
use tidegate_engine::Watch;

use crate::ffi::in_context;
use crate::host::{AsyncioHost, lock};

/// Requests for which the reactor has done something since they were last looked at.
#[derive(Default)]
pub(crate) struct Woken(Mutex<Vec<Arc<Pauses>>>);

impl Woken {
    pub(crate) fn any(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    pub(crate) fn pop(&self) -> Option<Arc<Pauses>> {
        lock(&self.0).pop()
    }
}

/// What a task waits for.
pub(crate) trait Awaited: Send + Sync {
    /// Whether the pause may end.
    fn is_there(&self) -> bool;
    /// A place to wait for the next change of a connection; none when there is nothing to wait for any more.
    fn watch(&self) -> Option<Watch>;
    /// Of several pauses that may end these are first: who receives is told why others cannot go on.
    fn ends_first(&self) -> bool;
}

struct Waiting {
    pause: Py<Pause>,
    awaited: Box<dyn Awaited>,
    _watch: Option<Watch>,
}

/// The pauses of one request.
pub(crate) struct Pauses {
    itself: Weak<Pauses>,
    woken: Arc<Woken>,
    /// Among those that the host is to look at.
    listed: AtomicBool,
    waiting: Mutex<Vec<Waiting>>,
    event_loop: Py<PyAny>,
}

impl Pauses {
    pub(crate) fn new(woken: Arc<Woken>, event_loop: Py<PyAny>) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            itself: itself.clone(),
            woken,
            listed: AtomicBool::new(false),
            waiting: Mutex::default(),
            event_loop,
        })
    }

    /// A pause that the reactor ends when what is awaited is there, for a task to wait with.
    pub(crate) fn pause<'py>(
        &self,
        py: Python<'py>,
        awaited: Box<dyn Awaited>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let pause = Bound::new(py, Pause::new(self.event_loop.clone_ref(py)))?;
        let waiting = Waiting { pause: pause.clone().unbind(), awaited, _watch: None };
        if let Some(waiting) = self.register(waiting) {
            // Nothing to wait for: the task looks again at once.
            waiting.pause.get().end();
        }
        Ok(pause.into_any())
    }

    /// Has the reactor tell of the next change. What need not wait comes back.
    fn register(&self, mut waiting: Waiting) -> Option<Waiting> {
        let Some(watch) = waiting.awaited.watch() else { return Some(waiting) };
        if waiting.awaited.is_there() {
            return Some(waiting);
        }
        if let Some(itself) = self.itself.upgrade() {
            watch.wake_on_change(Waker::from(itself));
        }
        waiting._watch = Some(watch);
        lock(&self.waiting).push(waiting);
        None
    }

    /// Resumes the tasks whose pauses may end. To be called within a turn, where no task runs.
    ///
    /// # Errors
    /// What is meant to end the server: SystemExit and KeyboardInterrupt.
    pub(crate) fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.listed.store(false, Ordering::Release);
        let mut waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.sort_by_key(|waiting| !waiting.awaited.ends_first());
        let mut outcome = Ok(());
        for waiting in waiting {
            let pause = waiting.pause.clone_ref(py);
            if pause.get().is_over() {
                continue;
            }
            if waiting.awaited.is_there() || self.register(waiting).is_some() {
                outcome = outcome.and(Pause::resume(pause.bind(py)));
            }
        }
        outcome
    }

    /// Ends all pauses from within a task: the loop resumes whoever waits.
    pub(crate) fn end(&self, py: Python<'_>) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for waiting in waiting {
            Pause::schedule(waiting.pause.bind(py), State::Over);
        }
    }

    /// Lets go of what was cancelled, as by a timeout, and of what nobody waits with, as a task of another loop cannot: who gives up again
    /// and again may never be resumed. To be called when a task was thrown out of a wait.
    pub(crate) fn forget_those_over(&self) {
        let over: Vec<_> =
            lock(&self.waiting).extract_if(.., |waiting| waiting.pause.get().is_unused()).collect();
        drop(over);
    }

    fn any(&self) -> bool {
        !lock(&self.waiting).is_empty()
    }

    /// Whether a task waits whose pause [ends first](Awaited::ends_first).
    fn any_first(&self) -> bool {
        lock(&self.waiting)
            .iter()
            .any(|waiting| waiting.awaited.ends_first() && !waiting.pause.get().is_over())
    }
}

/// The pauses of a request, which most never need.
pub(crate) struct PausesIfAny {
    host: Arc<AsyncioHost>,
    made: OnceLock<Arc<Pauses>>,
}

impl PausesIfAny {
    pub(crate) fn new(host: Arc<AsyncioHost>) -> Self {
        Self { host, made: OnceLock::new() }
    }

    pub(crate) fn get(&self, py: Python<'_>) -> &Pauses {
        self.made.get_or_init(|| self.host.pauses(py))
    }

    /// As [`Pauses::any_first`].
    pub(crate) fn any_first(&self) -> bool {
        self.made.get().is_some_and(|pauses| pauses.any_first())
    }

    /// As [`Pauses::end`].
    pub(crate) fn end(&self, py: Python<'_>) {
        if let Some(pauses) = self.made.get().filter(|pauses| pauses.any()) {
            pauses.end(py);
        }
    }
}

impl Wake for Pauses {
    fn wake(self: Arc<Self>) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            let woken = self.woken.clone();
            lock(&woken.0).push(self);
        }
    }
}

/// What is called when a pause is over, and the context to call it in.
type Callback = (Py<PyAny>, Option<Py<PyAny>>);

enum State {
    Waiting,
    Over,
    Cancelled(Option<Py<PyAny>>),
}

/// What a task waits with: as much of `asyncio.Future` as tasks use.
#[pyclass(frozen, module = "tidegate._tidegate")]
pub(crate) struct Pause {
    event_loop: Py<PyAny>,
    /// Asked by tasks to tell a future that was awaited from one that was merely yielded.
    blocking: AtomicBool,
    state: Mutex<State>,
    callbacks: Mutex<Vec<Callback>>,
}

impl Pause {
    fn new(event_loop: Py<PyAny>) -> Self {
        Self {
            event_loop,
            blocking: AtomicBool::new(true),
            state: Mutex::new(State::Waiting),
            callbacks: Mutex::default(),
        }
    }

    fn is_over(&self) -> bool {
        !matches!(*lock(&self.state), State::Waiting)
    }

    fn is_unused(&self) -> bool {
        self.is_over() || lock(&self.callbacks).is_empty()
    }

    /// Ends it before anybody waits.
    fn end(&self) {
        *lock(&self.state) = State::Over;
    }

    /// Ends it and calls whoever waits.
    fn resume(pause: &Bound<'_, Self>) -> PyResult<()> {
        let py = pause.py();
        *lock(&pause.get().state) = State::Over;
        let callbacks = std::mem::take(&mut *lock(&pause.get().callbacks));
        let mut outcome = Ok(());
        for (callback, context) in callbacks {
            let call = || callback.call1(py, (pause,)).map(drop);
            let called = match &context {
                None => call(),
                Some(context) => match in_context(context.bind(py), call) {
                    Ok(called) => called,
                    // Its context is somebody else's at the moment: later, then.
                    Err(_) => {
                        pause.get().call_soon(pause, callback.clone_ref(py), Some(context.clone_ref(py)))
                    }
                },
            };
            outcome = outcome.and(called);
        }
        outcome
    }

    /// Ends it and has the loop call whoever waits. False when it is over already.
    fn schedule(pause: &Bound<'_, Self>, state: State) -> bool {
        {
            let mut present = lock(&pause.get().state);
            if !matches!(*present, State::Waiting) {
                return false;
            }
            *present = state;
        }
        let callbacks = std::mem::take(&mut *lock(&pause.get().callbacks));
        for (callback, context) in callbacks {
            if let Err(error) = pause.get().call_soon(pause, callback, context) {
                // The loop is closed: nobody is left to be called.
                log::debug!("a task could not be resumed: {error}");
            }
        }
        true
    }

    fn call_soon(
        &self,
        pause: &Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = pause.py();
        let options = PyDict::new(py);
        options.set_item(intern!(py, "context"), context)?;
        let call_soon = intern!(py, "call_soon");
        self.event_loop.bind(py).call_method(call_soon, (callback, pause), Some(&options)).map(drop)
    }
}

#[pymethods]
impl Pause {
    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, Ordering::Relaxed);
    }

    /// Asked by tasks of futures that have no `get_loop`: a value costs them less than a call.
    #[getter(_loop)]
    fn event_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    #[pyo3(signature = (callback, /, *, context = None))]
    fn add_done_callback(
        slf: Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        if slf.get().is_over() {
            return slf.get().call_soon(&slf, callback, context);
        }
        lock(&slf.get().callbacks).push((callback, context));
        Ok(())
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: Bound<'_, Self>, msg: Option<Py<PyAny>>) -> bool {
        Self::schedule(&slf, State::Cancelled(msg))
    }

    fn cancelled(&self) -> bool {
        matches!(*lock(&self.state), State::Cancelled(_))
    }

    fn done(&self) -> bool {
        self.is_over()
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        let message = match &*lock(&self.state) {
            State::Over => return Ok(()),
            State::Waiting => return Err(PyRuntimeError::new_err("the wait is not over")),
            State::Cancelled(message) => message.as_ref().map(|message| message.clone_ref(py)),
        };
        let kind = py.import("asyncio")?.getattr("CancelledError")?;
        let error = match message {
            Some(message) => kind.call1((message,))?,
            None => kind.call0()?,
        };
        Err(PyErr::from_value(error))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        if let Ok(callbacks) = self.callbacks.try_lock() {
            for (callback, context) in &*callbacks {
                visit.call(callback)?;
                visit.call(context)?;
            }
        }
        if let Ok(state) = self.state.try_lock()
            && let State::Cancelled(message) = &*state
        {
            visit.call(message)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        // Not under the lock: they may end a task, and that this pause.
        let callbacks = std::mem::take(&mut *lock(&self.callbacks));
        drop(callbacks);
    }
}

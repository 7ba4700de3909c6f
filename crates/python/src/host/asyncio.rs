//! One task for each request, on the loop of asyncio that watches the reactor's descriptor.
//!
//! ```text
//!  loop ── descriptor is readable ──▶ turn ── an exchange ──▶ task, eager where Python can ── waits ──▶ loop
//!                                      └─── a pause may end ──▶ the task that waits with it
//! ```
//! All of it happens on the loop's thread. The reactor's lock is never held while a task runs.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidegate_engine::{Admitted, Departure, Handle, Lifecycle, Reactor, Registration, RequestKey};

use crate::error_log::ErrorLog;
use crate::ffi::{Arguments, Callable, Kind, Object, ThreadIdent, call_on_main_thread, thread_ident};
use crate::gateway::{Asgi, Mounts, Run, Wsgi, not_found};
use crate::host::pause::{Pauses, Woken};
use crate::host::thread_runs::{stacks, thread_stack};
use crate::host::{Pool, lock};
use crate::overdue::{Runner, Stack};

/// Requests begun in one turn before the loop's other work has its, their own tasks among it: what they are made of is then still in the
/// processor's caches.
const BEGUN_MAX: usize = 64;

/// What an application's requests are given to.
pub(crate) enum Application {
    Asgi(Arc<Asgi>),
    /// On the pool.
    Wsgi(Arc<Wsgi>),
}

pub(crate) struct AsyncioHost {
    reactor: Mutex<Reactor>,
    handle: Handle,
    event_loop: Py<PyAny>,
    /// `asyncio.Task`, and what to call it with besides the coroutine, where tasks can be eager (Python 3.12).
    eager: Option<(Py<PyAny>, Py<PyDict>)>,
    cancel_on_disconnect: bool,
    /// Where WSGI applications run, if any are among those that are served.
    pool: Arc<Pool>,
    woken: Arc<Woken>,
    /// Tasks whose clients have left, to be cancelled.
    abandoned: Arc<Mutex<Vec<RequestKey>>>,
    /// Requests whose time is over.
    expired: Mutex<Vec<RequestKey>>,
    running: Mutex<HashMap<RequestKey, Running>>,
    /// Whose task takes a step just now, where somebody wants to know.
    tells_runs: bool,
    current: Mutex<Option<(RequestKey, Object<Run>)>>,
    ident: ThreadIdent,
    failure: Mutex<Option<PyErr>>,
    cancelled: AtomicBool,
    finished: AtomicBool,
    error_log: ErrorLog,
}

/// A task that runs a request.
pub(crate) struct Running {
    task: Py<PyAny>,
    run: Object<Run>,
}

/// Cancels the task of a request.
struct Abandon {
    key: RequestKey,
    departure: Departure,
    abandoned: Arc<Mutex<Vec<RequestKey>>>,
}

impl Wake for Abandon {
    fn wake(self: Arc<Self>) {
        // One whose time is over is told that.
        if !self.departure.is_expired() {
            lock(&self.abandoned).push(self.key);
        }
    }
}

impl AsyncioHost {
    pub(crate) fn new(
        py: Python<'_>,
        reactor: Reactor,
        event_loop: Bound<'_, PyAny>,
        cancel_on_disconnect: bool,
        tells_runs: bool,
        pool: Arc<Pool>,
    ) -> PyResult<Arc<Self>> {
        let handle = reactor.handle();
        let eager = if py.version_info() >= (3, 12) {
            let options = PyDict::new(py);
            options.set_item("loop", &event_loop)?;
            options.set_item("eager_start", true)?;
            Some((py.import("asyncio")?.getattr("Task")?.unbind(), options.unbind()))
        } else {
            None
        };
        Ok(Arc::new(Self {
            reactor: Mutex::new(reactor),
            handle,
            event_loop: event_loop.unbind(),
            eager,
            cancel_on_disconnect,
            pool,
            woken: Arc::default(),
            abandoned: Arc::default(),
            expired: Mutex::default(),
            running: Mutex::default(),
            tells_runs,
            current: Mutex::default(),
            ident: thread_ident(),
            failure: Mutex::new(None),
            cancelled: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            error_log: ErrorLog::new(),
        }))
    }

    /// What the awaitables of one request wait with.
    pub(crate) fn pauses(&self, py: Python<'_>) -> Arc<Pauses> {
        Pauses::new(self.woken.clone(), self.event_loop.clone_ref(py))
    }

    /// Serves until the server has ended.
    pub(crate) fn run(self: &Arc<Self>, py: Python<'_>, mounts: Arc<Mounts<Application>>) -> PyResult<()> {
        let event_loop = self.event_loop.bind(py);
        let descriptor = lock(&self.reactor).descriptor();
        let turn = Turn { host: self.clone(), mounts: mounts.clone(), process: std::process::id() };
        let turn = Kind::new(py)?.object(py, turn)?;
        event_loop.call_method1("add_reader", (descriptor, turn.as_any(py)))?;
        let mut outcome = Ok(());
        while outcome.is_ok() && !self.finished.load(Ordering::Acquire) {
            match event_loop.call_method0(intern!(py, "run_forever")) {
                Ok(_) => {}
                Err(error) if error.is_instance_of::<PyException>(py) => {
                    self.error_log.say(py, "a signal handler failed", Some(&error));
                }
                // The last means of a server that stops to end a call that computes; it found none.
                Err(error)
                    if error.is_instance_of::<PyKeyboardInterrupt>(py)
                        && self.handle.lifecycle() == Lifecycle::Stopping => {}
                Err(error) if was_raised_in_a_task(py, &error)? => {
                    self.error_log.say(
                        py,
                        "a task of the application's own ended with an exit",
                        Some(&error),
                    );
                }
                Err(error) => outcome = Err(error),
            }
        }
        self.handle.stop();
        if outcome.is_err() {
            // Nobody comes to see it any more: listeners and connections are closed here.
            lock(&self.reactor).turn(Some(Duration::ZERO))?;
        }
        event_loop.call_method1("remove_reader", (descriptor,))?;
        self.pool.end(py);
        match lock(&self.failure).take() {
            Some(failure) => Err(failure),
            None => outcome,
        }
    }

    /// The loop's callback. True when there is more to do at once.
    fn turn(self: &Arc<Self>, py: Python<'_>, mounts: &Arc<Mounts<Application>>) -> PyResult<bool> {
        if let Err(error) = lock(&self.reactor).poll(Some(Duration::ZERO)) {
            *lock(&self.failure) = Some(error.into());
            self.handle.stop();
            self.end(py);
            return Ok(false);
        }
        let (mut begun, mut outcome) = (0, Ok(()));
        while begun < BEGUN_MAX {
            let admitted = lock(&self.reactor).next_exchange_unless(|| self.woken.any());
            let resumed = self.resume_woken(py, &mut outcome);
            let Some(admitted) = admitted else {
                if resumed {
                    continue;
                }
                break;
            };
            begun += 1;
            // One that the server no longer waits for is cut by being dropped.
            if self.handle.lifecycle() != Lifecycle::Stopping {
                match mounts.find(admitted.exchange.head()) {
                    Some(Application::Asgi(gateway)) => self.begin(py, gateway, admitted)?,
                    Some(Application::Wsgi(_)) => self.pool.run(py, mounts, admitted)?,
                    None => not_found(admitted.exchange),
                }
            }
        }
        self.resume_woken(py, &mut outcome);
        outcome?;
        self.cancel_expired(py);
        self.cancel_abandoned(py);
        self.pool.recover(py, mounts)?;
        self.pool.call_deferred(py)?;
        if self.handle.lifecycle().is_ending() {
            self.end_if_over(py);
        }
        Ok(begun == BEGUN_MAX)
    }

    /// Lets the tasks go on for which the reactor has done something; what one raises keeps none of the others waiting. False when
    /// there is none.
    fn resume_woken(&self, py: Python<'_>, outcome: &mut PyResult<()>) -> bool {
        let mut any = false;
        while let Some(pauses) = self.woken.pop() {
            let resumed = pauses.resume(py);
            if outcome.is_ok() {
                *outcome = resumed;
            }
            any = true;
        }
        any
    }

    /// Has a task run a request; an eager one goes at once as far as it does without waiting.
    fn begin(self: &Arc<Self>, py: Python<'_>, gateway: &Arc<Asgi>, admitted: Admitted) -> PyResult<()> {
        let key = admitted.exchange.key();
        let departure = self.cancel_on_disconnect.then(|| admitted.exchange.departure());
        let run = match gateway.begin(py, self, key, admitted) {
            Ok(Some(run)) => run,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.error_log.say(py, "a request could not be begun", Some(&error));
                return Ok(());
            }
        };
        let task = match &self.eager {
            Some((task, options)) => task.bind(py).call((run.as_any(py),), Some(options.bind(py))),
            None => self.event_loop.bind(py).call_method1(intern!(py, "create_task"), (run.as_any(py),)),
        };
        match task {
            Ok(task) if !run.is_over() => {
                if let Some(departure) = departure.filter(|_| run.ends_with_its_client()) {
                    run.keep(self.watch_for_departure(&departure, key));
                }
                lock(&self.running).insert(key, Running { task: task.unbind(), run });
            }
            Ok(_) => {}
            Err(error) if error.is_instance_of::<PyException>(py) => {
                self.error_log.say(py, "a task could not be started", Some(&error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn watch_for_departure(&self, departure: &Departure, key: RequestKey) -> Option<Registration> {
        let abandon =
            Arc::new(Abandon { key, departure: departure.clone(), abandoned: self.abandoned.clone() });
        let registration = departure.wake_on_leaving(Waker::from(abandon.clone()));
        if registration.is_none() {
            abandon.wake();
            self.handle.wake();
        }
        registration
    }

    /// A request's task is at its end.
    pub(crate) fn task_over(&self, key: RequestKey) -> Option<Running> {
        if self.handle.lifecycle().is_ending() {
            // The last one to end must be seen to.
            self.handle.wake();
        }
        let mut running = lock(&self.running);
        // As a rule it never waited, and nothing does.
        if running.is_empty() { None } else { running.remove(&key) }
    }

    /// Whether the time of requests is limited, or told of.
    pub(crate) fn tells_runs(&self) -> bool {
        self.tells_runs
    }

    /// Takes note that a task takes a step; gives whose step it interrupts, to be restored.
    pub(crate) fn enter(
        &self,
        key: RequestKey,
        run: impl FnOnce() -> Object<Run>,
    ) -> Option<(RequestKey, Object<Run>)> {
        if !self.tells_runs {
            return None;
        }
        lock(&self.current).replace((key, run()))
    }

    /// Its step is over.
    pub(crate) fn leave(&self, former: Option<(RequestKey, Object<Run>)>) {
        if self.tells_runs {
            let current = std::mem::replace(&mut *lock(&self.current), former);
            drop(current);
        }
    }

    fn cancel_expired(&self, py: Python<'_>) {
        let expired = std::mem::take(&mut *lock(&self.expired));
        for key in expired {
            let task = lock(&self.running)
                .get(&key)
                .filter(|running| running.run.expire())
                .map(|running| running.task.clone_ref(py));
            if let Some(task) = task {
                self.cancel(py, &task);
            }
        }
    }

    fn cancel_abandoned(&self, py: Python<'_>) {
        let abandoned = std::mem::take(&mut *lock(&self.abandoned));
        for key in abandoned {
            // By now its response may be complete: the last of it and the end of the connection can come in one turn.
            let task = lock(&self.running)
                .get(&key)
                .filter(|running| running.run.ends_with_its_client())
                .map(|running| running.task.clone_ref(py));
            if let Some(task) = task {
                self.cancel(py, &task);
            }
        }
    }

    /// Ends the server when nothing is left to serve.
    fn end_if_over(&self, py: Python<'_>) {
        // What still runs has nobody to answer: it is cancelled, once, so that it can clean up.
        if self.handle.lifecycle() == Lifecycle::Stopping && !self.cancelled.swap(true, Ordering::AcqRel) {
            let running: Vec<_> =
                lock(&self.running).values().map(|running| running.task.clone_ref(py)).collect();
            running.iter().for_each(|task| self.cancel(py, task));
        }
        if lock(&self.reactor).is_finished() && lock(&self.running).is_empty() && self.pool.is_idle() {
            self.end(py);
        }
    }

    fn cancel(&self, py: Python<'_>, task: &Py<PyAny>) {
        if let Err(error) = task.call_method0(py, intern!(py, "cancel")) {
            self.error_log.say(py, "a task could not be cancelled", Some(&error));
        }
    }

    fn end(&self, py: Python<'_>) {
        if self.finished.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.event_loop.call_method0(py, intern!(py, "stop")) {
            lock(&self.failure).get_or_insert(error);
        }
    }
}

impl Runner for AsyncioHost {
    fn stack(&self, py: Python<'_>, key: RequestKey) -> Option<Stack> {
        let is_current = lock(&self.current).as_ref().is_some_and(|(current, _)| *current == key);
        if is_current {
            return thread_stack(py, self.ident);
        }
        let coroutine = lock(&self.running).get(&key).and_then(|running| running.run.awaited(py));
        match coroutine {
            Some(coroutine) => stacks(py)?
                .call_method1(intern!(py, "of_coroutine"), (coroutine, self.ident))
                .ok()?
                .extract()
                .ok(),
            None => self.pool.runs().stack(py, key),
        }
    }

    fn interrupt(&self, py: Python<'_>, key: RequestKey) {
        self.pool.runs().interrupt(py, key);
        lock(&self.expired).push(key);
        self.handle.wake();
    }

    /// The loop has not come to it: somebody computes. If it is this request, it is told where it is.
    fn insist(self: Arc<Self>, _py: Python<'_>, key: RequestKey) {
        self.pool.give_up(key);
        let is_current =
            |host: &Self| lock(&host.current).as_ref().is_some_and(|(current, _)| *current == key);
        if is_current(&self) {
            call_on_main_thread(move |py| {
                // A loop on another thread is left to come to it: what the main thread runs meanwhile is not the request.
                if thread_ident() != self.ident {
                    return Ok(());
                }
                let current = lock(&self.current);
                let expires = current.as_ref().filter(|(current, run)| *current == key && run.expire());
                let error = expires.map(|(_, run)| run.timeout_error(py));
                drop(current);
                error.map_or(Ok(()), Err)
            });
        }
    }
}

/// Whether it comes from a task, which asyncio lets SystemExit and KeyboardInterrupt pass through, and not from a signal handler.
pub(super) fn was_raised_in_a_task(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    let module = py.import("tidegate.hosts.asyncio")?;
    module.call_method1("was_raised_in_a_task", (error.traceback(py),))?.extract()
}

/// The callback of the reactor's descriptor.
struct Turn {
    host: Arc<AsyncioHost>,
    mounts: Arc<Mounts<Application>>,
    /// The process that serves: what an application forks has the loop too, and the parent's connections.
    process: u32,
}

impl Callable for Turn {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.LoopTurn";
    const NAME: &'static str = "turn";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 0..=0;

    fn call<'py>(turn: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let host = &turn.host;
        if std::process::id() != turn.process {
            return Ok(py.None().into_bound(py));
        }
        let more = host.turn(py, &turn.mounts);
        if !matches!(more, Ok(false)) {
            // Also what was left undone by an error, which is the loop's from here on: the descriptor stays readable.
            host.handle.wake();
        }
        more?;
        if let Some(delay) = host.pool.wants_turn_in() {
            let event_loop = host.event_loop.bind(py);
            event_loop.call_method1(intern!(py, "call_later"), (delay.as_secs_f64(), turn.as_any(py)))?;
        }
        Ok(py.None().into_bound(py))
    }
}

//! One greenlet for each request, around gevent's loop or asyncio's: calls wait without a thread.
//!
//! ```text
//!  hub ── descriptor is readable ──▶ turn ── an exchange ──▶ fresh greenlet ── waits ──▶ hub
//!                                      └─── a sign is given ──▶ the greenlet that waits for it
//! ```
//! All of it happens on the hub's thread, so that the reactor is turned by one at a time; its lock is never held across a switch.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use pyo3::exceptions::{PyException, PyKeyboardInterrupt, PyModuleNotFoundError};
use pyo3::intern;
use pyo3::prelude::*;
use tidegate_engine::{Admitted, Departure, Handle, Lifecycle, Reactor, RequestKey};

use crate::ffi::{
    Arguments, Callable, Kind, Object, ThreadIdent, call_on_main_thread, keep_frame_chunks, thread_ident,
};
use crate::gateway::{ClientLeft, Mounts, Wsgi};
use crate::host::hub::{Hub, go_on};
use crate::host::parking::park_until;
use crate::host::signals::{SignalPipe, run_signal_handlers};
use crate::host::thread_runs::stacks;
use crate::host::{Callbacks, Deferred, Host, Sign, lock};
use crate::overdue::{Runner, Stack, timeout_error};

/// Requests begun in one turn before the hub's other watchers have theirs.
const BEGUN_MAX: usize = 256;

/// Longest wait on a thread that is not the hub's, after which the caller looks again.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Bytes of a response that may be on their way when the application is asked for its next block.
const UNSENT_MAX: u64 = 64 * 1024;

/// Names a greenlet that waits.
type Wait = u64;

/// What is to be done in the hub.
#[derive(Default)]
struct Woken {
    waits: Mutex<Vec<Wait>>,
    /// Requests whose time is over.
    expired: Mutex<Vec<RequestKey>>,
    /// Requests whose clients have left.
    abandoned: Mutex<Vec<RequestKey>>,
}

/// Resumes a greenlet that waits.
struct Resume {
    wait: Wait,
    woken: Arc<Woken>,
    given: AtomicBool,
}

impl Wake for Resume {
    fn wake(self: Arc<Self>) {
        self.given.store(true, Ordering::Release);
        lock(&self.woken.waits).push(self.wait);
    }
}

/// Raises [`ClientLeft`] in the greenlet of a request.
struct Abandon {
    key: RequestKey,
    departure: Departure,
    woken: Arc<Woken>,
}

impl Wake for Abandon {
    fn wake(self: Arc<Self>) {
        // One whose time is over is told that.
        if !self.departure.is_expired() {
            lock(&self.woken.abandoned).push(self.key);
        }
    }
}

/// A greenlet that runs a request.
struct Running {
    greenlet: Py<PyAny>,
    /// It was told that the time of its request is over.
    is_expired: bool,
}

pub(crate) struct GreenletsHost {
    reactor: Mutex<Reactor>,
    handle: Handle,
    deferred: Arc<Deferred>,
    due: Kind<Due>,
    cancel_on_disconnect: bool,
    /// The thread of the hub, and what Python calls it by.
    thread: ThreadId,
    ident: ThreadIdent,
    hub: Arc<dyn Hub>,
    greenlet: Py<PyAny>,
    getcurrent: Py<PyAny>,
    /// What the greenlet that is about to start is to run.
    next: Mutex<Option<Admitted>>,
    running: Mutex<HashMap<RequestKey, Running>>,
    last_number: AtomicU64,
    waiting: Mutex<HashMap<Wait, Py<PyAny>>>,
    woken: Arc<Woken>,
    failure: Mutex<Option<PyErr>>,
    /// What ran when the server stopped was killed.
    killed: AtomicBool,
    finished: AtomicBool,
}

impl GreenletsHost {
    pub(crate) fn new(
        py: Python<'_>,
        reactor: Reactor,
        hub: Arc<dyn Hub>,
        cancel_on_disconnect: bool,
    ) -> PyResult<Arc<Self>> {
        let handle = reactor.handle();
        let greenlet = py.import("greenlet")?;
        keep_frame_chunks(py);
        Ok(Arc::new(Self {
            reactor: Mutex::new(reactor),
            handle,
            deferred: Arc::default(),
            due: Kind::new(py)?,
            cancel_on_disconnect,
            thread: thread::current().id(),
            ident: thread_ident(),
            hub,
            greenlet: greenlet.getattr("greenlet")?.unbind(),
            getcurrent: greenlet.getattr("getcurrent")?.unbind(),
            next: Mutex::new(None),
            running: Mutex::default(),
            last_number: AtomicU64::new(0),
            waiting: Mutex::default(),
            woken: Arc::default(),
            failure: Mutex::new(None),
            killed: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }))
    }

    /// Serves until the server has ended. The calling greenlet waits meanwhile, as any other.
    pub(crate) fn run(self: &Arc<Self>, py: Python<'_>, mounts: Arc<Mounts<Wsgi>>) -> PyResult<()> {
        let mut signals = if self.hub.hears_signals() { None } else { Some(SignalPipe::new(py)?) };
        let descriptor = {
            let mut reactor = lock(&self.reactor);
            if let Some(heard) = signals.as_mut().and_then(SignalPipe::take_heard) {
                reactor.rouse_by(heard)?;
            }
            reactor.descriptor()
        };
        let request = Kind::new(py)?.object(py, Request { host: self.clone(), mounts: mounts.clone() })?;
        let request = request.into_any(py).unbind();
        let process = std::process::id();
        let turn = Turn { host: self.clone(), mounts: mounts.clone(), request, process };
        let turn = Kind::new(py)?.object(py, turn)?;
        self.hub.watch(py, descriptor, turn.as_any(py))?;
        // What has come before Python could tell.
        let mut outcome = run_signal_handlers(py, &mounts);
        while outcome.is_ok() && !self.finished.load(Ordering::Acquire) {
            // What signal handlers of the application's own raise comes here; SystemExit and KeyboardInterrupt are meant for the server.
            match self.hub.clone().run(py) {
                Ok(()) => {}
                Err(error) if error.is_instance_of::<PyException>(py) && self.hub.can_go_on(py)? => {
                    mounts.log_error(py, "a signal handler failed", &error);
                }
                // The last means of a server that stops to end a call that computes; it found none.
                Err(error)
                    if error.is_instance_of::<PyKeyboardInterrupt>(py)
                        && self.handle.lifecycle() == Lifecycle::Stopping => {}
                // A request's SystemExit does not decide for all the others. Who waits for the task is told.
                Err(error) if self.hub.is_of_a_task(py, &error)? => {}
                Err(error) => outcome = Err(error),
            }
        }
        self.handle.stop();
        if outcome.is_err() {
            // Nobody comes to see it any more: listeners and connections are closed here.
            lock(&self.reactor).turn(Some(Duration::ZERO))?;
        }
        self.hub.unwatch(py, descriptor)?;
        match lock(&self.failure).take() {
            Some(failure) => Err(failure),
            None => outcome,
        }
    }

    fn on_hub_thread(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// The hub's callback. True when there is more to do at once.
    fn turn(&self, py: Python<'_>, mounts: &Mounts<Wsgi>, request: &Py<PyAny>) -> bool {
        if let Err(error) = lock(&self.reactor).poll(Some(Duration::ZERO)) {
            self.fail(py, error.into());
            return false;
        }
        let mut begun = 0;
        while begun < BEGUN_MAX {
            let Some(admitted) = lock(&self.reactor).next_exchange() else { break };
            begun += 1;
            // One that the server no longer waits for is cut by being dropped.
            if self.handle.lifecycle() != Lifecycle::Stopping {
                self.begin(py, mounts, request, admitted);
            }
        }
        self.resume_woken(py, mounts);
        self.call_deferred(py, mounts);
        if self.handle.lifecycle().is_ending() {
            self.end_if_over(py);
        }
        begun == BEGUN_MAX
    }

    /// Runs a request in a greenlet of its own, at once and as far as it goes without waiting.
    fn begin(&self, py: Python<'_>, mounts: &Mounts<Wsgi>, request: &Py<PyAny>, admitted: Admitted) {
        *lock(&self.next) = Some(admitted);
        let outcome = self
            .greenlet
            .bind(py)
            .call1((request, self.hub.greenlet(py)))
            .and_then(|greenlet| go_on(&*self.hub, py, || greenlet.call_method0(intern!(py, "switch"))));
        if let Err(error) = outcome {
            lock(&self.next).take();
            mounts.log_error(py, "a greenlet could not be started", &error);
        }
    }

    /// The life of a request's greenlet.
    fn serve(&self, py: Python<'_>, mounts: &Mounts<Wsgi>) {
        let Some(Admitted { exchange, permit }) = lock(&self.next).take() else { return };
        let key = exchange.key();
        match self.getcurrent.bind(py).call0() {
            Ok(current) => {
                let running = Running { greenlet: current.unbind(), is_expired: false };
                lock(&self.running).insert(key, running)
            }
            Err(error) => return mounts.log_error(py, "a greenlet does not know itself", &error),
        };
        let registration = self.cancel_on_disconnect.then(|| {
            let departure = exchange.departure();
            let abandon = Arc::new(Abandon { key, departure: departure.clone(), woken: self.woken.clone() });
            let registration = departure.wake_on_leaving(Waker::from(abandon.clone()));
            if registration.is_none() {
                // It has left before its turn; it is told so in its first wait.
                abandon.wake();
                self.handle.wake();
            }
            registration
        });
        // A panic is a mistake of ours, which costs one request; let into the hub, it would end the server.
        let _ = catch_unwind(AssertUnwindSafe(|| mounts.serve(py, exchange)));
        drop(registration);
        // Dropped without the lock, as everything that may run code.
        let running = lock(&self.running).remove(&key);
        drop(running);
        drop(permit);
        if self.handle.lifecycle().is_ending() {
            // The last one to end must be seen to.
            self.handle.wake();
        }
    }

    /// Switches to the greenlets whose sign was given, and into those whose clients have left.
    fn resume_woken(&self, py: Python<'_>, mounts: &Mounts<Wsgi>) {
        let waits = std::mem::take(&mut *lock(&self.woken.waits));
        for wait in waits {
            let waiting = lock(&self.waiting).remove(&wait);
            let resumed = waiting.map(|greenlet| {
                go_on(&*self.hub, py, || greenlet.bind(py).call_method0(intern!(py, "switch")))
            });
            if let Some(Err(error)) = resumed {
                mounts.log_error(py, "a greenlet could not be resumed", &error);
            }
        }
        let expired = std::mem::take(&mut *lock(&self.woken.expired));
        for key in expired {
            if let Some(greenlet) = self.note_expired(py, key) {
                self.throw(py, mounts, &greenlet, timeout_error());
            }
        }
        let abandoned = std::mem::take(&mut *lock(&self.woken.abandoned));
        for key in abandoned {
            let greenlet = lock(&self.running).get(&key).map(|running| running.greenlet.clone_ref(py));
            if let Some(greenlet) = greenlet {
                let error = ClientLeft::new_err("the client has left");
                self.throw(py, mounts, &greenlet, error);
            }
        }
    }

    /// The greenlet of a request whose time is over, if it runs and was not told yet.
    fn note_expired(&self, py: Python<'_>, key: RequestKey) -> Option<Py<PyAny>> {
        let mut running = lock(&self.running);
        let running = running.get_mut(&key).filter(|running| !running.is_expired)?;
        running.is_expired = true;
        Some(running.greenlet.clone_ref(py))
    }

    fn throw(&self, py: Python<'_>, mounts: &Mounts<Wsgi>, greenlet: &Py<PyAny>, error: PyErr) {
        let throw = || greenlet.bind(py).call_method1(intern!(py, "throw"), (error.into_value(py),));
        if let Err(error) = go_on(&*self.hub, py, throw) {
            mounts.log_error(py, "a greenlet could not be ended", &error);
        }
    }

    /// Calls what applications want called when a client leaves, in a greenlet: it may wait.
    fn call_deferred(&self, py: Python<'_>, mounts: &Mounts<Wsgi>) {
        if !self.deferred.any() {
            return;
        }
        for callbacks in self.deferred.take() {
            let spawned =
                self.due.object(py, Due { callbacks }).and_then(|due| self.hub.spawn(due.as_any(py)));
            if let Err(error) = spawned {
                mounts.log_error(py, "callbacks on the client's departure could not be called", &error);
            }
        }
    }

    fn fail(&self, py: Python<'_>, error: PyErr) {
        *lock(&self.failure) = Some(error);
        self.handle.stop();
        self.end(py);
    }

    /// Ends the server when nothing is left to serve.
    fn end_if_over(&self, py: Python<'_>) {
        if self.handle.lifecycle() == Lifecycle::Stopping {
            self.kill_running(py);
        }
        if lock(&self.reactor).is_finished() && lock(&self.running).is_empty() {
            self.end(py);
        }
    }

    /// What still runs has nobody to answer: its greenlets end as `gevent.kill` ends them. Once, so that they can clean up.
    fn kill_running(&self, py: Python<'_>) {
        if self.killed.swap(true, Ordering::AcqRel) {
            return;
        }
        let running: Vec<_> =
            lock(&self.running).values().map(|running| running.greenlet.clone_ref(py)).collect();
        for greenlet in running {
            // What a greenlet makes of it is its own affair; one that holds on ends with the process.
            let _ = go_on(&*self.hub, py, || greenlet.bind(py).call_method0(intern!(py, "throw")));
        }
    }

    fn end(&self, py: Python<'_>) {
        if self.finished.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.hub.stop(py) {
            lock(&self.failure).get_or_insert(error);
        }
    }
}

impl Runner for GreenletsHost {
    fn stack(&self, py: Python<'_>, key: RequestKey) -> Option<Stack> {
        let greenlet = lock(&self.running).get(&key)?.greenlet.clone_ref(py);
        stacks(py)?.call_method1(intern!(py, "of_greenlet"), (greenlet, self.ident)).ok()?.extract().ok()
    }

    fn interrupt(&self, _py: Python<'_>, key: RequestKey) {
        lock(&self.woken.expired).push(key);
        self.handle.wake();
    }

    /// The hub has not come to it: somebody computes. If it is this request, it is told where it is.
    fn insist(self: Arc<Self>, _py: Python<'_>, key: RequestKey) {
        let is_told = |running: &Running| running.is_expired;
        if lock(&self.running).get(&key).is_none_or(is_told) {
            return;
        }
        call_on_main_thread(move |py| {
            let current = self.getcurrent.bind(py).call0()?;
            let runs = |running: &Running| running.greenlet.bind(py).is(&current);
            let is_current = lock(&self.running).get(&key).is_some_and(runs);
            if is_current && self.note_expired(py, key).is_some() { Err(timeout_error()) } else { Ok(()) }
        });
    }
}

impl Host for GreenletsHost {
    fn wait(&self, py: Python<'_>, sign: &dyn Sign, most: Option<Duration>) -> PyResult<()> {
        if !self.on_hub_thread() {
            py.detach(|| park_until(sign, most.unwrap_or(WAIT_MAX).min(WAIT_MAX)));
            return Ok(());
        }
        let current = self.getcurrent.bind(py).call0()?;
        self.hub.check_wait(&current)?;
        let wait = self.last_number.fetch_add(1, Ordering::Relaxed);
        let resume = Arc::new(Resume { wait, woken: self.woken.clone(), given: AtomicBool::new(false) });
        let _registration = sign.wake(Waker::from(resume.clone()));
        if resume.given.load(Ordering::Acquire) {
            return Ok(());
        }
        let timer = match most {
            Some(most) => Some(self.hub.later(most, &current)?),
            None => None,
        };
        lock(&self.waiting).insert(wait, current.unbind());
        let outcome = self.hub.switch(py);
        let waiting = lock(&self.waiting).remove(&wait);
        drop(waiting);
        if let Some(timer) = timer {
            self.hub.cancel(&timer)?;
        }
        outcome
    }

    fn unsent_max(&self) -> u64 {
        UNSENT_MAX
    }

    fn deferred(&self) -> &Arc<Deferred> {
        &self.deferred
    }
}

/// What every request's greenlet runs.
struct Request {
    host: Arc<GreenletsHost>,
    mounts: Arc<Mounts<Wsgi>>,
}

impl Callable for Request {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Request";
    const NAME: &'static str = "request";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 0..=0;

    fn call<'py>(request: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        request.host.serve(py, &request.mounts);
        Ok(py.None().into_bound(py))
    }
}

/// What is to be called for one request whose client has left.
struct Due {
    callbacks: Arc<Callbacks>,
}

impl Callable for Due {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Due";
    const NAME: &'static str = "due";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 0..=0;

    fn call<'py>(due: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        due.callbacks.call(py);
        Ok(py.None().into_bound(py))
    }
}

/// The callback of the watcher of the reactor's descriptor.
struct Turn {
    host: Arc<GreenletsHost>,
    mounts: Arc<Mounts<Wsgi>>,
    request: Py<PyAny>,
    /// The process that serves: what an application forks has the hub too, and the parent's connections.
    process: u32,
}

impl Callable for Turn {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Turn";
    const NAME: &'static str = "turn";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 0..=0;

    fn call<'py>(turn: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        if std::process::id() != turn.process {
            turn.host.hub.disown(py)?;
            return Ok(py.None().into_bound(py));
        }
        if turn.host.turn(py, &turn.mounts, &turn.request) {
            turn.host.hub.soon(py, turn.as_any(py))?;
        }
        Ok(py.None().into_bound(py))
    }
}

/// What is said where gevent is missing.
pub(crate) const GEVENT_NEEDED: &str = "needs gevent: pip install 'tidegate[greenlets]'";

/// Makes the standard library wait in greenlets. To be called before anything else is imported that waits.
///
/// # Errors
/// What is missing, or what gevent raised.
pub(crate) fn patch_standard_library(py: Python<'_>) -> Result<(), (&'static str, Option<PyErr>)> {
    match py.import("gevent.monkey").and_then(|monkey| monkey.call_method0("patch_all")) {
        Ok(_) => Ok(()),
        Err(error) if error.is_instance_of::<PyModuleNotFoundError>(py) => Err((GEVENT_NEEDED, None)),
        Err(error) => Err(("gevent could not patch the standard library", Some(error))),
    }
}

/// Whether somebody has called `gevent.monkey.patch_all()` in this process; an error where gevent is missing.
pub(crate) fn standard_library_is_patched(py: Python<'_>) -> PyResult<bool> {
    let monkey = py.import("gevent.monkey")?;
    for module in ["socket", "threading", "time"] {
        if !monkey.call_method1("is_module_patched", (module,))?.extract::<bool>()? {
            return Ok(false);
        }
    }
    Ok(true)
}

//! The ASGI gateway (ASGI 3): one exchange, one call of the application, driven by one task.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyGeneratorExit, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use tidegate_engine::http::ws::{Upgrade, upgrade};
use tidegate_engine::{Admitted, Exchange, Permit, Registration, RequestKey};

use crate::applications::Mounted;
use crate::error_log::ErrorLog;
use crate::ffi::{Coroutine, Kind, Object, Step, is_coroutine, send_none};
use crate::gateway::asgi_http::{HttpCall, HttpCalls, is_about_departure};
use crate::gateway::asgi_scope::Scopes;
use crate::gateway::asgi_socket::{Left, SocketCall, SocketCalls};
use crate::gateway::error_response::{answer_error, status_of};
use crate::host::{AsyncioHost, lock};
use crate::overdue::TIMEOUT;
use crate::request_id;

/// An application, and all that its calls share.
pub(crate) struct Asgi {
    /// The number by which the engine knows the application.
    number: usize,
    application: Py<PyAny>,
    scopes: Scopes,
    calls: Arc<HttpCalls>,
    socket_calls: Arc<SocketCalls>,
    run: Kind<Run>,
    cancelled_error: Py<PyAny>,
    /// `tidegate.RequestTimeout`, and a cancellation as well.
    timeout_error: Py<PyType>,
    error_log: ErrorLog,
}

impl Asgi {
    /// `at` is where the application is mounted; `state` what its lifespan has put there.
    pub(crate) fn new(
        py: Python<'_>,
        application: Py<PyAny>,
        at: &Mounted,
        state: Option<Py<PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self {
            number: at.number,
            application,
            scopes: Scopes::new(py, &at.prefix, state)?,
            calls: HttpCalls::new(py)?,
            socket_calls: SocketCalls::new(py)?,
            run: Kind::coroutine(py)?,
            cancelled_error: py.import("asyncio")?.getattr("CancelledError")?.unbind(),
            timeout_error: py
                .import("tidegate.hosts.asyncio")?
                .getattr("RequestTimeout")?
                .cast_into::<PyType>()?
                .unbind(),
            error_log: ErrorLog::new(),
        })
    }

    /// What a task is to drive to answer a request; none when it is answered already.
    pub(crate) fn begin(
        self: &Arc<Self>,
        py: Python<'_>,
        host: &Arc<AsyncioHost>,
        key: RequestKey,
        admitted: Admitted,
    ) -> PyResult<Option<Object<Run>>> {
        let Admitted { exchange, permit } = admitted;
        exchange.begin(self.number);
        let id = request_id::of(py, &exchange)?;
        let (scope, call, permit) = match upgrade(exchange.head()) {
            Upgrade::NotAsked => {
                let scope = self.scopes.build(py, &exchange, id.as_ref())?;
                let call = self.calls.begin(py, exchange, host.clone())?;
                (scope, Call::Http(call), Some(permit))
            }
            Upgrade::Asked(handshake) => {
                let scope = self.scopes.build_socket(py, &exchange, &handshake, id.as_ref())?;
                let call = self.socket_calls.begin(py, exchange, handshake, permit, host.pauses(py))?;
                (scope, Call::Socket(call), None)
            }
            Upgrade::Refused(fault) => {
                log::debug!("a request for a WebSocket is refused: {fault}");
                exchange.refuse_upgrade(fault);
                return Ok(None);
            }
        };
        let run = Run {
            gateway: self.clone(),
            host: host.clone(),
            key,
            id: id.map(Bound::unbind),
            call,
            is_expired: AtomicBool::new(false),
            stage: Mutex::new(Stage::New(scope.unbind())),
            over: AtomicBool::new(false),
            permit: Mutex::new(permit),
        };
        self.run.object(py, run).map(Some)
    }

    fn end_http(
        &self,
        py: Python<'_>,
        call: &HttpCall,
        id: Option<&Bound<'_, PyString>>,
        error: Option<&PyErr>,
    ) {
        if !call.is_complete() {
            return self.fail(py, call, id, error);
        }
        if let Some(error) = error.filter(|error| !self.is_cancellation(py, error)) {
            // What ends a request whose time is over may come with the last of its response, which nobody gets.
            let gone =
                self.is_no_failure(py, error) && call.with_exchange(Exchange::has_left).unwrap_or(true);
            if !gone {
                self.error_log.say_of(py, id, "the application failed after its response", Some(error));
            }
        }
        drop(call.take_exchange(py));
    }

    fn end_socket(
        &self,
        py: Python<'_>,
        call: &SocketCall,
        id: Option<&Bound<'_, PyString>>,
        error: Option<&PyErr>,
    ) {
        let closed = call.is_closed();
        let left = call.end(py, error.is_some());
        match (error, left) {
            (Some(error), _) if closed && self.is_no_failure(py, error) => {}
            (Some(error), _) => {
                self.error_log.say_of(py, id, "the application failed on a WebSocket", Some(error));
            }
            (None, Left::Unanswered) => {
                let text = "the application has neither accepted nor closed a WebSocket [ASGI WebSocket]";
                self.error_log.say_of(py, id, text, None);
            }
            (None, Left::Answered) => {}
        }
    }

    /// Answers for an application that did not, as far as the client can still be told.
    #[cold]
    #[inline(never)]
    fn fail(&self, py: Python<'_>, call: &HttpCall, id: Option<&Bound<'_, PyString>>, error: Option<&PyErr>) {
        let started = call.is_started();
        let fault = call.body_fault();
        let Some(mut exchange) = call.take_exchange(py) else { return };
        let method = exchange.head().method();
        let target = String::from_utf8_lossy(exchange.head().target());
        let gone = exchange.is_lost() || exchange.has_left();
        let status = match (error, &fault) {
            (Some(error), _) if gone && self.is_no_failure(py, error) => None,
            (None, _) if gone => None,
            // The application only passes on what the client did.
            (None, Some(fault)) => status_of(fault),
            (Some(error), Some(fault)) if is_about_departure(py, error) => status_of(fault),
            (Some(error), _) => {
                let text = format!("the application failed on {method} {target:?}");
                self.error_log.say_of(py, id, &text, Some(error));
                Some((500, "Internal Server Error"))
            }
            (None, None) => {
                let what =
                    if started { "ended before its response was complete" } else { "sent no response" };
                let text = format!("the application {what} on {method} {target:?} [ASGI HTTP]");
                self.error_log.say_of(py, id, &text, None);
                Some((500, "Internal Server Error"))
            }
        };
        match status {
            Some((status, reason)) if !exchange.head_sent() => answer_error(&mut exchange, status, reason),
            _ => exchange.abort(),
        }
    }

    /// Where nobody is left to be answered: the server ends such tasks only. With somebody left it is the application that has
    /// cancelled its own, or that waited for one that was.
    fn is_no_failure(&self, py: Python<'_>, error: &PyErr) -> bool {
        self.is_cancellation(py, error) || is_about_departure(py, error)
    }

    fn is_cancellation(&self, py: Python<'_>, error: &PyErr) -> bool {
        error.matches(py, self.cancelled_error.bind(py)).unwrap_or(false)
    }
}

/// One call of the application, as the coroutine of its task.
pub(crate) struct Run {
    gateway: Arc<Asgi>,
    host: Arc<AsyncioHost>,
    key: RequestKey,
    /// That of the request, if it has one.
    id: Option<Py<PyString>>,
    call: Call,
    /// The application is told that the time is over.
    is_expired: AtomicBool,
    stage: Mutex<Stage>,
    over: AtomicBool,
    /// What the request holds while it runs.
    permit: Mutex<Option<Permit>>,
}

enum Call {
    Http(Object<HttpCall>),
    Socket(Object<SocketCall>),
}

enum Stage {
    /// With its scope.
    New(Py<PyDict>),
    /// The application's coroutine.
    Running(Py<PyAny>),
    Over,
}

impl Run {
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The application is to be told that the time is over. False when it was told before.
    pub(crate) fn expire(&self) -> bool {
        !self.is_expired.swap(true, Ordering::AcqRel)
    }

    /// What the application is told then. Task groups and scopes know cancellations only: of anything else their children would be left behind.
    pub(crate) fn timeout_error(&self, py: Python<'_>) -> PyErr {
        PyErr::from_type(self.gateway.timeout_error.bind(py).clone(), TIMEOUT)
    }

    fn is_expired(&self) -> bool {
        self.is_expired.load(Ordering::Acquire)
    }

    /// The application's coroutine, once it has begun and until it is over.
    pub(crate) fn awaited(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &*lock(&self.stage) {
            Stage::Running(coroutine) => Some(coroutine.clone_ref(py)),
            Stage::New(_) | Stage::Over => None,
        }
    }

    /// Whether it is to be cancelled when its client leaves, where that is wanted: a WebSocket receives a message instead, and what
    /// goes on after a response is not for the client.
    pub(crate) fn ends_with_its_client(&self) -> bool {
        matches!(&self.call, Call::Http(call) if !call.is_complete())
    }

    /// Its time was over before it has begun, as others had the loop.
    fn is_answered(&self) -> bool {
        match &self.call {
            Call::Http(call) => call.with_exchange(Exchange::is_expired).unwrap_or(false),
            Call::Socket(call) => call.is_expired(),
        }
    }

    /// Keeps what watches for the client's departure, until the response is complete.
    pub(crate) fn keep(&self, registration: Option<Registration>) {
        if let Call::Http(call) = &self.call {
            call.keep(registration);
        }
    }

    /// The application's coroutine, which is begun if it was not.
    fn coroutine<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let stage = std::mem::replace(&mut *lock(&self.stage), Stage::Over);
        let coroutine = match stage {
            Stage::Over => return Ok(None),
            Stage::Running(coroutine) => coroutine.into_bound(py),
            Stage::New(scope) => {
                if self.host.tells_runs() && self.is_answered() {
                    return Err(self.timeout_error(py));
                }
                if let Some(id) = &self.id {
                    // The context is the task's own.
                    request_id::set(id.bind(py))?;
                }
                let (receive, send) = match &self.call {
                    Call::Http(call) => (self.gateway.calls.receive(py, call)?, call.as_any(py)),
                    Call::Socket(call) => (self.gateway.socket_calls.receive(py, call)?, call.as_any(py)),
                };
                let application = self.gateway.application.bind(py);
                let made = application.call1((scope, receive, send))?;
                awaited(&made)?
            }
        };
        *lock(&self.stage) = Stage::Running(coroutine.clone().unbind());
        Ok(Some(coroutine))
    }

    fn go_on<'py>(
        this: &Object<Self>,
        py: Python<'py>,
        work: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Step<'py>>,
    ) -> PyResult<Step<'py>> {
        let former = this.host.enter(this.key, || this.clone_ref(py));
        let step = this.coroutine(py).and_then(|coroutine| coroutine.as_ref().map(work).transpose());
        this.host.leave(former);
        let step = match step {
            Ok(Some(step)) => Ok(step),
            Ok(None) => return Ok(Step::Return(None)),
            Err(error) => Err(error),
        };
        match step {
            Ok(Step::Yield(pause)) => Ok(Step::Yield(pause)),
            Ok(Step::Return(_)) => {
                this.end(py, None);
                Ok(Step::Return(None))
            }
            Err(error) => {
                this.end(py, Some(&error));
                // What ends the task from outside is for it to see. An application's own SystemExit is one more way to fail: one request's
                // code does not decide for all the others.
                let is_of_the_task =
                    this.gateway.is_cancellation(py, &error) || error.is_instance_of::<PyGeneratorExit>(py);
                if is_of_the_task { Err(error) } else { Ok(Step::Return(None)) }
            }
        }
    }

    fn end(&self, py: Python<'_>, error: Option<&PyErr>) {
        self.over.store(true, Ordering::Release);
        // Not under the lock: what is left of it may run code as it is dropped.
        let stage = std::mem::replace(&mut *lock(&self.stage), Stage::Over);
        drop(stage);
        let id = self.id.as_ref().map(|id| id.bind(py));
        match &self.call {
            Call::Http(call) => self.gateway.end_http(py, call, id, error),
            Call::Socket(call) => self.gateway.end_socket(py, call, id, error),
        }
        let permit = lock(&self.permit).take();
        drop(permit);
        drop(self.host.task_over(self.key));
    }
}

/// What an `await` of `made` would drive.
fn awaited<'py>(made: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = made.py();
    let wrong = || {
        let kind = made.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "the application must give an awaitable when it is called with scope, receive and send, not {kind} \
             [ASGI, Applications]"
        ))
    };
    if is_coroutine(made) {
        return Ok(made.clone());
    }
    match made.get_type().getattr_opt(intern!(py, "__await__"))? {
        Some(method) => method.call1((made,)),
        None => Err(wrong()),
    }
}

impl Coroutine for Run {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Request";

    fn step<'py>(this: &Object<Self>, py: Python<'py>) -> PyResult<Step<'py>> {
        Self::go_on(this, py, send_none)
    }

    fn throw<'py>(this: &Object<Self>, py: Python<'py>, error: PyErr) -> PyResult<Step<'py>> {
        let new = matches!(*lock(&this.stage), Stage::New(_));
        if new {
            // Cancelled before it has begun: the application is not called.
            this.end(py, Some(&error));
            return Err(error);
        }
        // asyncio has no other way to interrupt a task than to cancel it.
        let error = if this.is_expired() && this.gateway.is_cancellation(py, &error) {
            this.timeout_error(py)
        } else {
            error
        };
        Self::go_on(this, py, |coroutine| {
            // As generators do with what they delegate to: an iterator need not have it.
            let Some(throw) = coroutine.getattr_opt(intern!(py, "throw"))? else { return Err(error) };
            match throw.call1((error.into_value(py),)) {
                Ok(pause) => Ok(Step::Yield(pause)),
                Err(error) if error.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) => {
                    Ok(Step::Return(None))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn close(this: &Object<Self>, py: Python<'_>) -> PyResult<()> {
        let stage = std::mem::replace(&mut *lock(&this.stage), Stage::Over);
        let outcome = match stage {
            Stage::Running(coroutine) => match coroutine.bind(py).getattr_opt(intern!(py, "close"))? {
                Some(close) => close.call0().map(drop),
                None => Ok(()),
            },
            Stage::New(_) | Stage::Over => Ok(()),
        };
        if !this.is_over() {
            this.end(py, None);
        }
        outcome
    }
}

//! `send` and `receive` of one HTTP request (ASGI, "HTTP & WebSocket Protocol").
//!
//! ```text
//!  Idle ── http.response.start ──▶ Started ── body ──▶ Body ── last body ──▶ Over
//!                                     └──────────────────┴── last body, trailers due ──▶ Trailers ──▶ Over
//! ```

use std::ffi::CStr;
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use rustix::fs::{OFlags, SeekFrom};
use tidegate_engine::http::{BodyLength, FieldOutcome, ResponseHead, ResponseTrailers};
use tidegate_engine::{Block, BodyFault, BodyRead, Exchange, Registration, SendError, Sent, Watch};

use crate::ffi::{Arguments, Callable, Kind, Object, borrow_descriptor};
use crate::gateway::asgi_answer::{Answers, ClientDisconnected, Conversation, UNSENT_MAX, gone};
use crate::gateway::asgi_message::{Message, as_dict, kind_of};
use crate::gateway::asgi_scope::takes_trailers;
use crate::gateway::call::block_of;
use crate::gateway::rest_of_file::RestOfFile;
use crate::host::{AsyncioHost, Pauses, PausesIfAny, lock};

/// Messages that `send` still takes, for nobody, when the client has left and another task waited in `receive`. That task is told and
/// can end the one that sends where that is in code of the application's own, such as the generator of a stream, and not in `send`.
const LEEWAY: u32 = 16;

/// What all requests of an application have in common.
pub(crate) struct HttpCalls {
    call: Kind<HttpCall>,
    answers: Answers<HttpCall>,
    reasons: Vec<Box<[u8]>>,
    keys: Keys,
}

struct Keys {
    kind: Py<PyString>,
    status: Py<PyString>,
    headers: Py<PyString>,
    trailers: Py<PyString>,
    body: Py<PyString>,
    more_body: Py<PyString>,
    more_trailers: Py<PyString>,
    links: Py<PyString>,
    path: Py<PyString>,
    file: Py<PyString>,
    offset: Py<PyString>,
    count: Py<PyString>,
    request: Py<PyString>,
    disconnect: Py<PyString>,
}

impl HttpCalls {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Arc<Self>> {
        let key = |text| PyString::intern(py, text).unbind();
        Ok(Arc::new(Self {
            call: Kind::new(py)?,
            answers: Answers::new(py)?,
            reasons: reasons(py)?,
            keys: Keys {
                kind: key("type"),
                status: key("status"),
                headers: key("headers"),
                trailers: key("trailers"),
                body: key("body"),
                more_body: key("more_body"),
                more_trailers: key("more_trailers"),
                links: key("links"),
                path: key("path"),
                file: key("file"),
                offset: key("offset"),
                count: key("count"),
                request: key("http.request"),
                disconnect: key("http.disconnect"),
            },
        }))
    }

    /// Begins the call that answers `exchange`: its `send`.
    pub(crate) fn begin(
        self: &Arc<Self>,
        py: Python<'_>,
        exchange: Exchange,
        host: Arc<AsyncioHost>,
    ) -> PyResult<Object<HttpCall>> {
        let state = State {
            exchange: Some(exchange),
            registration: None,
            progress: Progress::Idle,
            head: None,
            trailers_due: false,
            trailers: ResponseTrailers::NONE,
            request_over: false,
            told_departure: false,
            sent_meanwhile: false,
            leeway: None,
            rest: None,
        };
        let pauses = PausesIfAny::new(host);
        self.call.object(
            py,
            HttpCall {
                state: Mutex::new(state),
                sent_at_once: AtomicU32::new(0),
                pauses,
                calls: self.clone(),
            },
        )
    }

    pub(crate) fn receive<'py>(
        &self,
        py: Python<'py>,
        call: &Object<HttpCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.answers.receive(py, call)
    }
}

/// Reason phrases by status, as Python knows them.
fn reasons(py: Python<'_>) -> PyResult<Vec<Box<[u8]>>> {
    let mut reasons = vec![Box::default(); 600];
    for status in py.import("http")?.getattr("HTTPStatus")?.try_iter()? {
        let status = status?;
        let phrase: String = status.getattr("phrase")?.extract()?;
        if let Some(reason) = reasons.get_mut(status.getattr("value")?.extract::<usize>()?) {
            *reason = phrase.into_bytes().into();
        }
    }
    Ok(reasons)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Idle,
    Started,
    Body,
    Trailers,
    Over,
}

struct State {
    exchange: Option<Exchange>,
    /// Has the task cancelled when the client leaves before the response is complete.
    registration: Option<Registration>,
    progress: Progress,
    head: Option<ResponseHead>,
    trailers_due: bool,
    trailers: ResponseTrailers,
    /// The application has had the whole request.
    request_over: bool,
    /// It was told that the client has left. Until then a client that has only closed its side still gets its response.
    told_departure: bool,
    /// A task waited in `receive` when the last message was sent, which was by another task then.
    sent_meanwhile: bool,
    /// See [`LEEWAY`]: how much is left of it, which is given once.
    leeway: Option<u32>,
    /// What the message that was sent last has left to send, as its client takes it.
    rest: Option<Rest>,
}

/// What is left of a message that names a file.
struct Rest {
    file: RestOfFile,
    more: bool,
    kind: Box<str>,
    rule: &'static str,
}

impl State {
    fn is_full(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.unsent() > UNSENT_MAX)
    }
}

/// One request, and its `send`. Its lock is held for moments, never while Python code runs.
pub(crate) struct HttpCall {
    state: Mutex<State>,
    sent_at_once: AtomicU32,
    pauses: PausesIfAny,
    calls: Arc<HttpCalls>,
}

impl HttpCall {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Ends the call's use of the exchange. Whoever still receives is told that the client is gone.
    pub(crate) fn take_exchange(&self, py: Python<'_>) -> Option<Exchange> {
        let exchange = {
            let mut state = self.state();
            state.registration = None;
            state.exchange.take()
        };
        self.pauses.end(py);
        exchange
    }

    /// Keeps what watches for the client's departure, until the response is complete.
    pub(crate) fn keep(&self, registration: Option<Registration>) {
        self.state().registration = registration;
    }

    pub(crate) fn with_exchange<T>(&self, work: impl FnOnce(&Exchange) -> T) -> Option<T> {
        self.state().exchange.as_ref().map(work)
    }

    /// Whether the application has begun its response, the head of which goes out with the first part of the body.
    pub(crate) fn is_started(&self) -> bool {
        self.state().progress != Progress::Idle
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state().progress == Progress::Over
    }

    fn start(&self, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let status = message.status(&keys.status)?;
        let reason = self.calls.reasons.get(usize::from(status)).map_or(&b""[..], |reason| reason);
        let mut head =
            ResponseHead::new(status, reason).map_err(|fault| message.wrong_value("status", fault))?;
        message.headers(&keys.headers, |message, name, value| {
            let outcome = head.field(name, value).map_err(|fault| {
                message.wrong_value("headers", format_args!("{:?}: {fault}", String::from_utf8_lossy(name)))
            })?;
            if outcome == FieldOutcome::DroppedHopByHop && !name.eq_ignore_ascii_case(b"trailer") {
                log::debug!("a hop-by-hop header of the application is dropped");
            }
            Ok(())
        })?;
        let trailers = message.flag(&keys.trailers)?;
        let mut state = self.state();
        if state.progress != Progress::Idle {
            return Err(message.out_of_order("the response was started already"));
        }
        state.progress = Progress::Started;
        state.head = Some(head);
        state.trailers_due = trailers;
        Ok(())
    }

    /// Sends a part of the body, before the first one the head.
    fn body(
        &self,
        py: Python<'_>,
        message: &Message<'_, '_>,
        block: Block<'_>,
        size: u64,
        more: bool,
    ) -> PyResult<()> {
        let over;
        let sent = {
            let mut state = self.state();
            match state.leeway {
                Some(0) => return Err(gone()),
                Some(left) => {
                    state.leeway = Some(left - 1);
                    return Ok(());
                }
                None if state.told_departure => return Err(gone()),
                None => {}
            }
            if state.rest.is_some() {
                return Err(message.out_of_order("what send() gave for the file before is to be awaited"));
            }
            state.sent_meanwhile = self.pauses.any_first();
            let State { exchange, registration, progress, head, trailers_due, .. } = &mut *state;
            let first = match progress {
                Progress::Started => true,
                Progress::Body => false,
                Progress::Idle => {
                    return Err(message.out_of_order("http.response.start must come first"));
                }
                Progress::Trailers | Progress::Over => {
                    return Err(message.out_of_order("the response is complete"));
                }
            };
            let Some(exchange) = exchange.as_mut() else { return Err(gone()) };
            let last = !more && !*trailers_due;
            let length = if last { BodyLength::Known(size) } else { BodyLength::Unknown };
            let head = head.as_ref().filter(|_| first).map(|head| (head, length));
            let sent = exchange.send(head, block, last);
            *progress = match (more, *trailers_due) {
                (true, _) => Progress::Body,
                (false, true) => Progress::Trailers,
                (false, false) => Progress::Over,
            };
            if last {
                *registration = None;
            }
            over = last || sent.is_err();
            match sent {
                // The task that receives is told by what follows.
                Err(SendError::Gone) if state.sent_meanwhile => {
                    state.leeway.get_or_insert(LEEWAY);
                    Ok(Sent::default())
                }
                sent => sent,
            }
        };
        if over {
            self.pauses.end(py);
        }
        self.check(message, sent)
    }

    fn check(&self, message: &Message<'_, '_>, sent: Result<Sent, SendError>) -> PyResult<()> {
        match sent {
            Ok(Sent { overrun: true, .. }) => {
                Err(message.invalid("more bytes than the content-length that http.response.start was given"))
            }
            Ok(Sent { missing: missing @ 1.., .. }) => Err(message.invalid(format_args!(
                "the response ends {missing} bytes short of its content-length: the connection is closed"
            ))),
            Ok(_) => Ok(()),
            Err(SendError::Gone) => Err(gone()),
            Err(SendError::Refused(fault)) => Err(message.out_of_order(fault)),
        }
    }

    fn trailers(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let mut trailers = self.state().trailers.clone();
        message.headers(&keys.headers, |message, name, value| {
            trailers.field(name, value).map_err(|fault| message.wrong_value("headers", fault))
        })?;
        let more = message.flag(&keys.more_trailers)?;
        let sent = {
            let mut state = self.state();
            if state.progress != Progress::Trailers {
                return Err(message.out_of_order("trailers follow the last http.response.body of a response that was started with \"trailers\""));
            }
            if more {
                state.trailers = trailers;
                return Ok(());
            }
            state.progress = Progress::Over;
            let takes = state.exchange.as_ref().is_some_and(|exchange| takes_trailers(exchange.head()));
            let trailers = if takes { trailers } else { ResponseTrailers::NONE };
            state.registration = None;
            state.exchange.as_mut().map(|exchange| exchange.finish(&trailers))
        };
        self.pauses.end(py);
        self.check(message, sent.unwrap_or(Err(SendError::Gone)))
    }

    fn early_hint(&self, message: &Message<'_, '_>) -> PyResult<()> {
        let mut head =
            ResponseHead::new(103, b"Early Hints").map_err(|fault| message.wrong_value("type", fault))?;
        for link in message.require(&self.calls.keys.links)?.try_iter()? {
            let link = link?;
            let link = link
                .cast::<PyBytes>()
                .map_err(|_| message.wrong_type("links", "an iterable of bytes", &link))?;
            head.field(b"Link", link.as_bytes()).map_err(|fault| message.wrong_value("links", fault))?;
        }
        let mut state = self.state();
        match state.progress {
            // The head goes out with the first part of the body.
            Progress::Idle | Progress::Started => {
                if let Some(exchange) = state.exchange.as_mut() {
                    exchange.send_informational(&head);
                }
                Ok(())
            }
            // Allowed, and of no use to anybody.
            Progress::Body => Ok(()),
            Progress::Trailers | Progress::Over => {
                Err(message.out_of_order("hints come before the last http.response.body"))
            }
        }
    }

    fn path_send(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<()> {
        let path = message.require(&self.calls.keys.path)?;
        if !path.is_instance_of::<PyString>() {
            return Err(message.wrong_type("path", "a str", &path));
        }
        let path: PathBuf = path.extract()?;
        if !path.is_absolute() {
            return Err(message.wrong_value("path", format_args!("{} is not absolute", path.display())));
        }
        // A pipe or a device is not waited for; what it is is seen then.
        let no_wait = OFlags::NONBLOCK.bits().cast_signed();
        let opened = File::options().read(true).custom_flags(no_wait).open(&path);
        let opened = opened.and_then(|file| file.metadata().map(|about| (file, about)));
        let (file, about) = opened.map_err(|error| message.failed("path", path.display(), &error))?;
        if !about.is_file() {
            return Err(message.wrong_value("path", "not a regular file"));
        }
        let length = about.len();
        self.file(py, message, RestOfFile { file, offset: 0, length }, false)
    }

    /// Sends a file, or what can be sent of it now.
    fn file(&self, py: Python<'_>, message: &Message<'_, '_>, file: RestOfFile, more: bool) -> PyResult<()> {
        let is_compressed = self.with_exchange(Exchange::is_compressing).unwrap_or(false);
        let size = file.length;
        let (block, rest) = file.split(is_compressed)?;
        self.body(py, message, block, size, more || rest.is_some())?;
        let rest = rest.map(|file| Rest { file, more, kind: message.kind.into(), rule: message.rule });
        self.state().rest = rest;
        Ok(())
    }

    fn zero_copy_send(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let descriptor = message.number("file", &message.require(&keys.file)?)?;
        let descriptor = RawFd::try_from(descriptor)
            .ok()
            .filter(|descriptor| *descriptor >= 0)
            .ok_or_else(|| message.wrong_value("file", "not a file descriptor"))?;
        let number = |key: &Py<PyString>, name: &str| match message.given(key)? {
            Some(value) => {
                let number = message.number(name, &value)?;
                u64::try_from(number).map(Some).map_err(|_| message.wrong_value(name, "a negative number"))
            }
            None => Ok(None),
        };
        let (offset, count) = (number(&keys.offset, "offset")?, number(&keys.count, "count")?);
        let more = message.flag(&keys.more_body)?;
        let borrowed: BorrowedFd<'_> = borrow_descriptor(descriptor);
        let file = File::from(borrowed.try_clone_to_owned()?);
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(message.wrong_value("file", "not a regular file"));
        }
        let from_position = offset.is_none();
        let offset = match offset {
            Some(offset) => offset,
            None => rustix::fs::tell(&file).map_err(std::io::Error::from)?,
        };
        let rest = about.len().saturating_sub(offset);
        let length = count.map_or(rest, |count| count.min(rest));
        if from_position {
            // As os.sendfile does it: the next message goes on from here.
            rustix::fs::seek(&file, SeekFrom::Start(offset + length)).map_err(std::io::Error::from)?;
        }
        self.file(py, message, RestOfFile { file, offset, length }, more)
    }

    /// Does what a message says.
    fn take(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let fields = as_dict(message)?;
        let keys = &self.calls.keys;
        let kind = kind_of(fields, &keys.kind)?;
        let kind = kind.to_str()?;
        let message = |rule| Message { fields, kind, rule };
        match kind {
            "http.response.start" => self.start(&message("ASGI HTTP, Response Start"))?,
            "http.response.body" => {
                let message = message("ASGI HTTP, Response Body");
                let more = message.flag(&keys.more_body)?;
                match message.bytes(&keys.body)? {
                    Some(body) => {
                        let size = body.as_bytes().len() as u64;
                        self.body(py, &message, block_of(&body)?, size, more)?;
                    }
                    None => self.body(py, &message, Block::EMPTY, 0, more)?,
                }
            }
            "http.response.trailers" => self.trailers(py, &message("ASGI HTTP Trailers"))?,
            "http.response.early_hint" => self.early_hint(&message("ASGI Early Hints"))?,
            "http.response.pathsend" => self.path_send(py, &message("ASGI Path Send"))?,
            "http.response.zerocopysend" => self.zero_copy_send(py, &message("ASGI Zero Copy Send"))?,
            other => {
                return Err(PyValueError::new_err(format!(
                    "{other:?} is no message that an HTTP request's application sends [ASGI HTTP]"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn body_fault(&self) -> Option<BodyFault> {
        self.with_exchange(Exchange::body_fault).flatten()
    }
}

impl Conversation for HttpCall {
    fn is_full(&self) -> bool {
        // Also of a client that has closed its own side: it may still read, or it may not, and then this is all that bounds what waits for it.
        self.state().is_full()
    }

    fn must_wait(&self) -> bool {
        let state = self.state();
        state.rest.is_some() || state.is_full()
    }

    fn send_rest(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(Rest { file, more, kind, rule }) = self.state().rest.take() else { return Ok(false) };
        let message = Message { fields: &PyDict::new(py), kind: &kind, rule };
        self.file(py, &message, file, more)?;
        Ok(true)
    }

    fn poll_receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let keys = &self.calls.keys;
        let (body, more) = {
            let mut state = self.state();
            let State { exchange, progress, request_over, told_departure, .. } = &mut *state;
            let told = match exchange.as_mut().filter(|_| *progress != Progress::Over) {
                None => (None, false),
                Some(exchange) if *request_over => {
                    if !exchange.has_left() {
                        return Ok(None);
                    }
                    (None, false)
                }
                Some(exchange) => match exchange.read_body() {
                    BodyRead::Wait => return Ok(None),
                    BodyRead::Data(bytes) => {
                        *request_over = exchange.body_is_over();
                        (Some(bytes), !*request_over)
                    }
                    BodyRead::End => {
                        *request_over = true;
                        (Some(Vec::new()), false)
                    }
                    // It will never be complete: the request is over in the application's eyes.
                    BodyRead::Fault(_) => (None, false),
                },
            };
            let first_told = told.0.is_none() && *progress != Progress::Over && !*told_departure;
            state.told_departure |= first_told;
            if first_told && state.sent_meanwhile {
                state.leeway.get_or_insert(LEEWAY);
            }
            told
        };
        let message = PyDict::new(py);
        match body {
            Some(body) => {
                message.set_item(&keys.kind, &keys.request)?;
                message.set_item(&keys.body, PyBytes::new(py, &body))?;
                message.set_item(&keys.more_body, more)?;
            }
            None => message.set_item(&keys.kind, &keys.disconnect)?,
        }
        Ok(Some(message))
    }

    /// Whether `receive` has something to say, as far as that can be told without taking it.
    fn is_readable(&self) -> bool {
        let state = self.state();
        match state.exchange.as_ref().filter(|_| state.progress != Progress::Over) {
            None => true,
            Some(exchange) if state.request_over => exchange.has_left(),
            Some(exchange) => exchange.has_body_news(),
        }
    }

    fn watch(&self) -> Option<Watch> {
        self.with_exchange(Exchange::watch)
    }

    fn sent_at_once(&self) -> &AtomicU32 {
        &self.sent_at_once
    }

    fn pauses(&self, py: Python<'_>) -> &Pauses {
        self.pauses.get(py)
    }

    fn is_gone(&self) -> bool {
        // One that has only closed its side gets its response.
        self.with_exchange(Exchange::is_lost).unwrap_or(false)
    }

    fn others_are_told(&self) -> bool {
        let mut state = self.state();
        if state.told_departure {
            state.leeway.get_or_insert(LEEWAY);
        }
        state.told_departure
    }

    fn receive_of(call: &Object<Self>) -> &Answers<Self> {
        &call.calls.answers
    }
}

/// `send(message)`
impl Callable for HttpCall {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Send";
    const NAME: &'static str = "send";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 1..=1;

    fn call<'py>(call: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        match call.take(py, &arguments.require(0)?) {
            Ok(()) => call.calls.answers.sent(py, call),
            Err(error) if error.is_instance_of::<ClientDisconnected>(py) => call.calls.answers.gone(py),
            Err(error) => Err(error),
        }
    }
}

/// Whether an application only passes on that its client has left.
pub(crate) fn is_about_departure(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<ClientDisconnected>(py) || error.is_instance_of::<PyOSError>(py)
}

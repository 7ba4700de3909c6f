//! `send` and `receive` of one WebSocket (ASGI, "HTTP & WebSocket Protocol").
//!
//! ```text
//!  Connecting ── websocket.accept ──▶ Open ── websocket.close, or the client's ──▶ Over
//!      ├── websocket.close: 403; a drain that receive() tells of: 503 ────────────▶ Over
//!      └── websocket.http.response.start ──▶ Denying ── last body ────────────────▶ Over
//! ```

use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use tidegate_engine::http::ws::{Handshake, Message as Incoming, MessageKind};
use tidegate_engine::http::{BodyLength, ResponseHead};
use tidegate_engine::{
    AcceptError, Block, Closed, Exchange, Permit, SendError, Watch, WebSocket, WebSocketRead,
};

use crate::ffi::{Arguments, Callable, Kind, Object};
use crate::gateway::asgi_answer::{Answers, Conversation, UNSENT_MAX, gone};
use crate::gateway::asgi_message::{Message, as_dict, kind_of};
use crate::gateway::call::block_of;
use crate::gateway::error_response::answer_error;
use crate::host::{Pauses, lock};

/// Codes of Close (RFC 6455 section 7.4.1, and its registry for 1012).
const NORMAL: u16 = 1000;
const LOST: u16 = 1006;
const INTERNAL_ERROR: u16 = 1011;
const RESTARTS: u16 = 1012;

/// What all WebSockets of an application have in common.
pub(crate) struct SocketCalls {
    call: Kind<SocketCall>,
    answers: Answers<SocketCall>,
    keys: Keys,
}

struct Keys {
    kind: Py<PyString>,
    subprotocol: Py<PyString>,
    headers: Py<PyString>,
    text: Py<PyString>,
    bytes: Py<PyString>,
    code: Py<PyString>,
    reason: Py<PyString>,
    status: Py<PyString>,
    body: Py<PyString>,
    more_body: Py<PyString>,
    connect: Py<PyString>,
    receive: Py<PyString>,
    disconnect: Py<PyString>,
}

impl SocketCalls {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Arc<Self>> {
        let key = |text| PyString::intern(py, text).unbind();
        Ok(Arc::new(Self {
            call: Kind::new(py)?,
            answers: Answers::new(py)?,
            keys: Keys {
                kind: key("type"),
                subprotocol: key("subprotocol"),
                headers: key("headers"),
                text: key("text"),
                bytes: key("bytes"),
                code: key("code"),
                reason: key("reason"),
                status: key("status"),
                body: key("body"),
                more_body: key("more_body"),
                connect: key("websocket.connect"),
                receive: key("websocket.receive"),
                disconnect: key("websocket.disconnect"),
            },
        }))
    }

    /// Begins the call that answers a request for a WebSocket: its `send`. The permit is given back when it is accepted: an
    /// open WebSocket is a connection, and no request that runs.
    pub(crate) fn begin(
        self: &Arc<Self>,
        py: Python<'_>,
        exchange: Exchange,
        handshake: Handshake,
        permit: Permit,
        pauses: Arc<Pauses>,
    ) -> PyResult<Object<SocketCall>> {
        let state = State {
            stage: Stage::Connecting { exchange, handshake: Box::new(handshake), _permit: permit },
            told_connect: false,
        };
        self.call.object(
            py,
            SocketCall {
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
        call: &Object<SocketCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.answers.receive(py, call)
    }
}

enum Stage {
    Connecting {
        exchange: Exchange,
        handshake: Box<Handshake>,
        _permit: Permit,
    },
    /// The head is sent with the first of the body.
    Denying {
        exchange: Exchange,
        head: Option<ResponseHead>,
        _permit: Permit,
    },
    Open(WebSocket),
    Over,
}

struct State {
    stage: Stage,
    told_connect: bool,
}

/// How an application has left its WebSocket.
pub(crate) enum Left {
    /// It has answered, and closed or not.
    Answered,
    /// It has not answered the request.
    Unanswered,
}

/// One WebSocket, and its `send`. Its lock is held for moments, never while Python code runs.
pub(crate) struct SocketCall {
    state: Mutex<State>,
    sent_at_once: AtomicU32,
    pauses: Arc<Pauses>,
    calls: Arc<SocketCalls>,
}

impl SocketCall {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The application has returned, or failed: what it has left open is closed.
    pub(crate) fn end(&self, py: Python<'_>, failed: bool) -> Left {
        let stage = std::mem::replace(&mut self.state().stage, Stage::Over);
        let left = match stage {
            Stage::Connecting { mut exchange, .. } => {
                if exchange.has_left() {
                    exchange.abort();
                    Left::Answered
                } else {
                    answer_error(&mut exchange, 500, "Internal Server Error");
                    Left::Unanswered
                }
            }
            Stage::Denying { exchange, .. } => {
                exchange.abort();
                Left::Answered
            }
            Stage::Open(mut socket) => {
                socket.close(if failed { INTERNAL_ERROR } else { NORMAL }, "");
                Left::Answered
            }
            Stage::Over => Left::Answered,
        };
        self.pauses.end(py);
        left
    }

    /// The time was over before it was accepted: its client has been answered.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(&self.state().stage, Stage::Connecting { exchange, .. } if exchange.is_expired())
    }

    /// The client has left, or the WebSocket is closed.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.state().stage {
            Stage::Connecting { exchange, .. } | Stage::Denying { exchange, .. } => exchange.has_left(),
            Stage::Open(socket) => socket.closed().is_some(),
            Stage::Over => true,
        }
    }

    fn accept(&self, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let subprotocol = message.given(&keys.subprotocol)?;
        let subprotocol = subprotocol.as_ref().map(|value| message.text("subprotocol", value)).transpose()?;
        let mut fields = Vec::new();
        message.headers(&keys.headers, |_, name, value| {
            fields.push((name.to_vec(), value.to_vec()));
            Ok(())
        })?;
        let mut state = self.state();
        let Stage::Connecting { exchange, handshake, .. } = &mut state.stage else {
            return Err(message.out_of_order("the WebSocket was accepted or closed already"));
        };
        match exchange.accept(handshake, subprotocol.map(str::as_bytes), &fields) {
            Ok(socket) => {
                let former = std::mem::replace(&mut state.stage, Stage::Open(socket));
                drop(state);
                drop(former);
                Ok(())
            }
            Err(AcceptError::Gone) => Err(gone()),
            Err(AcceptError::Refused(fault)) => Err(message.invalid(fault)),
        }
    }

    fn send_message(&self, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let (text, bytes) = (message.given(&keys.text)?, message.given(&keys.bytes)?);
        let sent = match (&text, bytes) {
            (Some(text), None) => {
                let text = message.text("text", text)?;
                self.with_open(message, |socket| {
                    socket.send(MessageKind::Text, Block::Borrowed(text.as_bytes()))
                })?
            }
            (None, Some(_)) => {
                let Some(bytes) = message.bytes(&keys.bytes)? else { return Ok(()) };
                let block = block_of(&bytes)?;
                self.with_open(message, |socket| socket.send(MessageKind::Binary, block))?
            }
            _ => return Err(message.invalid("either \"text\" or \"bytes\" must be given")),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(SendError::Gone) => Err(gone()),
            Err(SendError::Refused(fault)) => Err(message.wrong_value("type", fault)),
        }
    }

    fn with_open<T>(&self, message: &Message<'_, '_>, work: impl FnOnce(&mut WebSocket) -> T) -> PyResult<T> {
        match &mut self.state().stage {
            Stage::Open(socket) => Ok(work(socket)),
            Stage::Connecting { .. } | Stage::Denying { .. } => {
                Err(message.out_of_order("websocket.accept must come first"))
            }
            Stage::Over => Err(gone()),
        }
    }

    fn close(&self, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let code = match message.given(&keys.code)? {
            None => NORMAL,
            Some(value) => {
                let number = message.number("code", &value)?;
                u16::try_from(number)
                    .ok()
                    .filter(|code| tidegate_engine::http::ws::is_close_code(*code))
                    .ok_or_else(|| {
                        let fault =
                            "a code is 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455 section 7.4)";
                        message.wrong_value("code", fault)
                    })?
            }
        };
        // A refusal is told without its reason, so that it may be anything: FastAPI gives a list of what is wrong.
        let refuses = matches!(self.state().stage, Stage::Connecting { .. });
        let reason = message.given(&keys.reason)?.filter(|_| !refuses);
        let reason = reason.as_ref().map_or(Ok(""), |value| message.text("reason", value))?;
        let mut state = self.state();
        match &mut state.stage {
            Stage::Connecting { .. } => {
                let former = std::mem::replace(&mut state.stage, Stage::Over);
                drop(state);
                if let Stage::Connecting { mut exchange, .. } = former {
                    answer_error(&mut exchange, 403, "Forbidden");
                }
                Ok(())
            }
            Stage::Open(socket) => {
                if socket.closed().is_some() {
                    return Err(gone());
                }
                socket.close(code, reason);
                Ok(())
            }
            Stage::Denying { .. } => Err(message.out_of_order("a response was started")),
            Stage::Over => Err(gone()),
        }
    }

    fn deny(&self, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let status = message.status(&keys.status)?;
        let mut head =
            ResponseHead::new(status, b"").map_err(|fault| message.wrong_value("status", fault))?;
        message.headers(&keys.headers, |message, name, value| {
            head.field(name, value).map(drop).map_err(|fault| message.wrong_value("headers", fault))
        })?;
        let mut state = self.state();
        match std::mem::replace(&mut state.stage, Stage::Over) {
            Stage::Connecting { exchange, _permit, .. } => {
                state.stage = Stage::Denying { exchange, head: Some(head), _permit };
                Ok(())
            }
            other => {
                state.stage = other;
                Err(message.out_of_order("the WebSocket was answered already"))
            }
        }
    }

    fn deny_body(&self, message: &Message<'_, '_>) -> PyResult<()> {
        let keys = &self.calls.keys;
        let more = message.flag(&keys.more_body)?;
        let body = message.bytes(&keys.body)?;
        let block = body.as_ref().map_or(Ok(Block::EMPTY), block_of)?;
        let size = body.as_ref().map_or(0, |body| body.as_bytes().len() as u64);
        let mut state = self.state();
        let Stage::Denying { exchange, head, .. } = &mut state.stage else {
            return Err(message.out_of_order("websocket.http.response.start must come first"));
        };
        let length = if more { BodyLength::Unknown } else { BodyLength::Known(size) };
        let head = head.take();
        let sent = exchange.send(head.as_ref().map(|head| (head, length)), block, !more);
        if !more {
            state.stage = Stage::Over;
        }
        match sent {
            Ok(_) => Ok(()),
            Err(SendError::Gone) => Err(gone()),
            Err(SendError::Refused(fault)) => Err(message.wrong_value("body", fault)),
        }
    }
}

impl Conversation for SocketCall {
    fn is_full(&self) -> bool {
        match &self.state().stage {
            Stage::Open(socket) => socket.unsent() > UNSENT_MAX && socket.closed().is_none(),
            Stage::Denying { exchange, .. } => exchange.unsent() > UNSENT_MAX,
            Stage::Connecting { .. } | Stage::Over => false,
        }
    }

    fn poll_receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let keys = &self.calls.keys;
        let read = {
            let mut state = self.state();
            if !state.told_connect {
                state.told_connect = true;
                None
            } else {
                let lost = || WebSocketRead::Closed(Closed { code: LOST, reason: String::new() });
                Some(match &mut state.stage {
                    Stage::Open(socket) => socket.receive(),
                    Stage::Over => lost(),
                    Stage::Connecting { exchange, .. } | Stage::Denying { exchange, .. }
                        if exchange.has_left() =>
                    {
                        lost()
                    }
                    Stage::Connecting { exchange, .. } if exchange.server_ends() => {
                        answer_error(exchange, 503, "Service Unavailable");
                        let former = std::mem::replace(&mut state.stage, Stage::Over);
                        drop(state);
                        drop(former);
                        WebSocketRead::Closed(Closed { code: RESTARTS, reason: String::new() })
                    }
                    Stage::Connecting { .. } | Stage::Denying { .. } => return Ok(None),
                })
            }
        };
        let message = |kind: &Py<PyString>| {
            let message = PyDict::new(py);
            message.set_item(&keys.kind, kind)?;
            PyResult::Ok(message)
        };
        Ok(match read {
            None => Some(message(&keys.connect)?),
            Some(WebSocketRead::Wait) => None,
            Some(WebSocketRead::Message(Incoming { kind, data })) => {
                let message = message(&keys.receive)?;
                match kind {
                    MessageKind::Text => message.set_item(&keys.text, PyString::from_bytes(py, &data)?)?,
                    MessageKind::Binary => message.set_item(&keys.bytes, PyBytes::new(py, &data))?,
                }
                Some(message)
            }
            Some(WebSocketRead::Closed(Closed { code, reason })) => {
                let message = message(&keys.disconnect)?;
                message.set_item(&keys.code, code)?;
                message.set_item(&keys.reason, reason)?;
                Some(message)
            }
        })
    }

    fn is_readable(&self) -> bool {
        let state = self.state();
        !state.told_connect
            || match &state.stage {
                Stage::Connecting { exchange, .. } => exchange.has_left() || exchange.server_ends(),
                Stage::Denying { exchange, .. } => exchange.has_left(),
                Stage::Open(socket) => socket.has_news(),
                Stage::Over => true,
            }
    }

    fn watch(&self) -> Option<Watch> {
        match &self.state().stage {
            Stage::Connecting { exchange, .. } | Stage::Denying { exchange, .. } => Some(exchange.watch()),
            Stage::Open(socket) => Some(socket.watch()),
            Stage::Over => None,
        }
    }

    fn sent_at_once(&self) -> &AtomicU32 {
        &self.sent_at_once
    }

    fn pauses(&self, _py: Python<'_>) -> &Pauses {
        &self.pauses
    }

    fn is_gone(&self) -> bool {
        self.is_closed()
    }

    fn receive_of(call: &Object<Self>) -> &Answers<Self> {
        &call.calls.answers
    }
}

/// `send(message)`
impl Callable for SocketCall {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Send";
    const NAME: &'static str = "send";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 1..=1;

    fn call<'py>(call: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let argument = arguments.require(0)?;
        let fields = as_dict(&argument)?;
        let kind = kind_of(fields, &call.calls.keys.kind)?;
        let kind = kind.to_str()?;
        let message = |rule| Message { fields, kind, rule };
        match kind {
            "websocket.send" => call.send_message(&message("ASGI WebSocket, Send"))?,
            "websocket.accept" => call.accept(&message("ASGI WebSocket, Accept"))?,
            "websocket.close" => call.close(&message("ASGI WebSocket, Close"))?,
            "websocket.http.response.start" => call.deny(&message("ASGI WebSocket Denial Response"))?,
            "websocket.http.response.body" => call.deny_body(&message("ASGI WebSocket Denial Response"))?,
            other => {
                return Err(PyValueError::new_err(format!(
                    "{other:?} is no message that a WebSocket's application sends [ASGI WebSocket]"
                )));
            }
        }
        if kind != "websocket.send" && call.is_closed() {
            // Whoever receives has nothing more to wait for.
            call.pauses.end(py);
        }
        call.calls.answers.sent(py, call)
    }
}

//! A connection that is a WebSocket: messages that wait for the application, deadlines, and the way to its close.
//!
//! ```text
//!  Open ── the peer closes, or breaks a rule ──────────────▶ Flushing ──▶ Lingering ──▶ Closed
//!   └── this side closes (Close was sent) ── the peer answers ──▲
//!                                         └─ or does not in time ──▶ Closed
//! ```
//! What is sent and received after a Close is nobody's: messages are dropped, Pings not answered.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tidegate_http::RequestHead;
use tidegate_http::ws::{AcceptFault, Accepted, Event, Fault, Message, MessageKind, Socket as Protocol};

use crate::access_log::Noted;
use crate::changes::Watch;
use crate::clock::{self, Millis, NEVER};
use crate::connection::{Arrival, Connection, Core, Filled, Phase, Step};
use crate::exchange::{Block, SendError};
use crate::look::Turn;
use crate::output::{Flushed, with_scratch};
use crate::record::Gauge;
use crate::settings::Settings;
use crate::socket::Moved;

/// Codes of Close (RFC 6455 section 7.4.1, and its registry for 1012).
const NO_CODE: u16 = 1005;
const LOST: u16 = 1006;
const INTERNAL_ERROR: u16 = 1011;
const RESTARTS: u16 = 1012;

/// The head of a frame (RFC 6455 section 5.2). Read together with as many bytes as are read at once, so that a message of that size, such as
/// 64 KiB, comes in with one read.
pub(crate) const FRAME_HEAD_MAX: usize = 14;

/// Room for messages that a WebSocket keeps while it rests: one that comes is no reason to allocate.
const MESSAGES_KEPT: usize = 4;

/// What a message takes besides its bytes: many small ones are a load too.
const MESSAGE_OVERHEAD: usize = 64;

/// Bytes that wait to be sent from which on Pings are not answered: a peer that does not read cannot make this grow.
const UNSENT_FOR_PONG_MAX: u64 = 64 * 1024;

/// How a WebSocket was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// 1005 for a Close without a code, 1006 for a connection that was lost without one.
    pub code: u16,
    /// What the closing side says.
    pub reason: String,
}

/// What there is to receive.
#[derive(Debug)]
pub enum WebSocketRead {
    /// A message.
    Message(Message),
    /// Nothing yet.
    Wait,
    /// There will be no more.
    Closed(Closed),
}

/// Why a request was not answered with a WebSocket.
#[derive(Debug)]
pub enum AcceptError {
    /// The client has left, or the request was answered otherwise.
    Gone,
    /// The application asked for something that the protocol does not allow.
    Refused(AcceptFault),
}

/// The state of a WebSocket.
#[derive(Debug)]
pub(crate) struct Session {
    protocol: Protocol,
    /// What was read and is not parsed, as the application has enough to do.
    unread: Vec<u8>,
    messages: VecDeque<Message>,
    queued: usize,
    /// A rule that the peer broke, to be acted upon when the application has taken what came before.
    fault: Option<Fault>,
    closed: Option<Closed>,
    ping_at_ms: Millis,
    /// By when something must come from a peer that was sent a Ping.
    pong_by_ms: Millis,
    /// By when it must have answered a Close.
    close_by_ms: Millis,
}

impl Session {
    /// Nothing is read for now: there is enough for the application to do.
    fn is_full(&self, settings: &Settings) -> bool {
        (self.queued >= settings.websocket.queue_size_max || self.fault.is_some())
            && !self.protocol.close_sent()
    }

    /// The peer has shown that it is there.
    fn note_life(&mut self, settings: &Settings, now_ms: Millis) {
        self.pong_by_ms = NEVER;
        self.ping_at_ms =
            settings.websocket.ping_interval_ms.map_or(NEVER, |interval_ms| now_ms + interval_ms);
    }

    fn end(&mut self, code: u16, reason: &str) {
        if self.closed.is_none() {
            self.closed = Some(Closed { code, reason: reason.to_owned() });
        }
    }
}

impl Core {
    /// Leaves HTTP, after the head of the answer.
    pub(crate) fn open_websocket(
        &mut self,
        connection: &Connection,
        accepted: Accepted,
        now_ms: Millis,
    ) -> Result<(), AcceptError> {
        let unread = self.http.upgrade().ok_or(AcceptError::Gone)?;
        let settings = connection.settings();
        let mut session = Session {
            protocol: Protocol::new(settings.websocket.limits.clone(), accepted.compressed),
            unread,
            messages: VecDeque::new(),
            queued: 0,
            fault: None,
            closed: None,
            ping_at_ms: NEVER,
            pong_by_ms: NEVER,
            close_by_ms: NEVER,
        };
        session.note_life(settings, now_ms);
        self.websocket = Some(Box::new(session));
        self.close_after = true;
        self.phase = Phase::Open;
        self.forget_time();
        if let Some(record) = connection.shared.record() {
            self.is_websocket = true;
            record.shift(Gauge::WebSockets, true);
        }
        Ok(())
    }

    /// Reads messages as far as there is room for them.
    pub(crate) fn take_messages(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Step {
        // Put back at the end: what follows from a message concerns the whole connection.
        let Some(mut session) = self.websocket.take() else { return Step::Rest };
        let step = self.read_messages(connection, &mut session, turn);
        if self.phase == Phase::Closed {
            session.end(LOST, "");
        }
        self.websocket = Some(session);
        step
    }

    fn read_messages(
        &mut self,
        connection: &Arc<Connection>,
        session: &mut Session,
        turn: &mut Turn<'_>,
    ) -> Step {
        loop {
            if self.phase != Phase::Open {
                return Step::Again;
            }
            if session.is_full(connection.settings()) {
                return Step::Rest;
            }
            if !session.unread.is_empty() {
                let mut bytes = std::mem::take(&mut session.unread);
                let spent = self.parse_messages(connection, session, &mut bytes, turn.now_ms);
                bytes.drain(..spent);
                session.unread = bytes;
                continue;
            }
            if self.ended && !self.readable {
                self.lose(connection, io::ErrorKind::UnexpectedEof);
                return Step::Again;
            }
            match self.unread(turn) {
                Some(Filled::Enough) => return Step::Later,
                Some(_) => return Step::Rest,
                None => {}
            }
            let moved = connection.carrier.receive(turn.scratch);
            let size = turn.scratch.len();
            let filled = self.note_read(connection, turn, &moved, size);
            if let Filled::Lost = filled {
                return Step::Again;
            }
            if let Moved::Bytes(count) = moved {
                session.note_life(connection.settings(), turn.now_ms);
                let bytes = &mut turn.scratch[..count];
                let spent = self.parse_messages(connection, session, bytes, turn.now_ms);
                if self.phase == Phase::Open {
                    session.unread.extend_from_slice(&bytes[spent..]);
                }
            }
        }
    }

    /// Acts on what the bytes mean, until they are spent or there is no room. Says how many were.
    fn parse_messages(
        &mut self,
        connection: &Connection,
        session: &mut Session,
        bytes: &mut [u8],
        now_ms: Millis,
    ) -> usize {
        let mut spent = 0;
        // Sent together: a peer may send ten thousand Pings at once, and a system call for each would be all that the loop does.
        let mut pongs = Vec::new();
        while spent < bytes.len() && self.phase == Phase::Open && !session.is_full(connection.settings()) {
            let event = match session.protocol.next_event(&mut bytes[spent..]) {
                Ok((count, event)) => {
                    spent += count;
                    event
                }
                Err(fault) => {
                    if session.messages.is_empty() {
                        self.send_pongs(connection, &mut pongs, now_ms);
                        self.fail_websocket(connection, session, fault, now_ms);
                    } else {
                        session.fault = Some(fault);
                    }
                    spent = bytes.len();
                    break;
                }
            };
            match event {
                Event::NeedData => break,
                Event::Message(message) => {
                    if !session.protocol.close_sent() {
                        session.queued += message.data.len() + MESSAGE_OVERHEAD;
                        session.messages.push_back(message);
                    }
                }
                Event::Ping(payload) => {
                    if self.output.unsent() + pongs.len() as u64 <= UNSENT_FOR_PONG_MAX {
                        session.protocol.write_pong(&payload, &mut pongs);
                    }
                }
                // That it came is all that matters.
                Event::Pong(_) => {}
                Event::Close(reason) => {
                    session.end(reason.code.unwrap_or(NO_CODE), &reason.reason);
                    self.send_pongs(connection, &mut pongs, now_ms);
                    self.send_close(connection, session, reason.code, &reason.reason, now_ms);
                    self.end_websocket(now_ms);
                    spent = bytes.len();
                }
            }
        }
        self.send_pongs(connection, &mut pongs, now_ms);
        spent
    }

    /// Sends the answers to Pings that were put together, if any were.
    fn send_pongs(&mut self, connection: &Connection, pongs: &mut Vec<u8>, now_ms: Millis) {
        if !pongs.is_empty() {
            let flushed = self.send_bytes(connection, pongs, now_ms);
            pongs.clear();
            self.note_flushed(connection, &flushed, now_ms);
        }
    }

    /// Tells the peer which rule it broke, and closes.
    fn fail_websocket(
        &mut self,
        connection: &Connection,
        session: &mut Session,
        fault: Fault,
        now_ms: Millis,
    ) {
        log::debug!("{}: {} {fault}", connection.peer, fault.code());
        session.end(fault.code(), &fault.to_string());
        self.refused = true;
        self.send_close(connection, session, Some(fault.code()), &fault.to_string(), now_ms);
        self.end_websocket(now_ms);
    }

    /// The application has taken, and perhaps answered, all that came before the peer broke a rule.
    fn fail_in_order(&mut self, connection: &Connection) {
        let Some(mut session) = self.websocket.take() else { return };
        if let Some(fault) = session.fault.take()
            && self.phase == Phase::Open
        {
            self.fail_websocket(connection, &mut session, fault, clock::now_ms());
        }
        self.websocket = Some(session);
    }

    /// Sends a Close, unless one was sent.
    fn send_close(
        &mut self,
        connection: &Connection,
        session: &mut Session,
        code: Option<u16>,
        reason: &str,
        now_ms: Millis,
    ) {
        with_scratch(|out| {
            session.protocol.write_close(code, reason, out);
            let flushed = self.send_bytes(connection, out, now_ms);
            self.note_flushed(connection, &flushed, now_ms);
        });
    }

    /// Nothing more is to be received: what waits is sent, and the connection closed.
    fn end_websocket(&mut self, now_ms: Millis) {
        if self.phase == Phase::Open {
            self.phase = Phase::Flushing;
            self.since_ms = now_ms;
        }
    }

    /// This side closes: the peer is told, and has a while to answer.
    pub(crate) fn close_websocket(
        &mut self,
        connection: &Connection,
        code: u16,
        reason: &str,
        now_ms: Millis,
    ) {
        let Some(mut session) = self.websocket.take() else { return };
        if self.phase == Phase::Open && !session.protocol.close_sent() {
            session.end(code, reason);
            session.close_by_ms = now_ms + connection.settings().websocket.close_timeout_ms;
            (session.ping_at_ms, session.pong_by_ms) = (NEVER, NEVER);
            self.send_close(connection, &mut session, Some(code), reason, now_ms);
            if session.fault.is_some() {
                // An answer could not be read.
                self.refused = true;
                self.end_websocket(now_ms);
            }
        }
        self.websocket = Some(session);
    }

    /// The server drains: the peer may open another WebSocket, with its successor.
    pub(crate) fn close_for_drain(&mut self, connection: &Connection, now_ms: Millis) {
        self.close_websocket(connection, RESTARTS, "the server restarts", now_ms);
    }

    pub(crate) fn lose_websocket(&mut self) {
        if let Some(session) = &mut self.websocket {
            session.end(LOST, "");
            session.unread = Vec::new();
        }
    }

    pub(crate) fn websocket_wants_attention(&self, settings: &Settings) -> bool {
        self.websocket.as_ref().is_some_and(|session| {
            (self.readable || self.ended || !session.unread.is_empty()) && !session.is_full(settings)
        })
    }

    pub(crate) fn websocket_deadline_ms(&self, settings: &Settings) -> Millis {
        let Some(session) = &self.websocket else { return NEVER };
        let write_by_ms = self.write_deadline_ms(settings);
        session.ping_at_ms.min(session.pong_by_ms).min(session.close_by_ms).min(write_by_ms)
    }

    pub(crate) fn miss_websocket_deadline(&mut self, connection: &Connection) {
        let Some(mut session) = self.websocket.take() else { return };
        let now_ms = clock::now_ms();
        let settings = connection.settings();
        if self.write_deadline_ms(settings) <= now_ms {
            self.lose(connection, io::ErrorKind::TimedOut);
            session.end(LOST, "");
        } else if session.close_by_ms <= now_ms {
            self.close(connection);
        } else if session.is_full(settings) {
            // Its answer cannot be seen, as the application has enough to do.
            session.note_life(settings, now_ms);
        } else if session.pong_by_ms <= now_ms {
            log::debug!("{}: no answer to a Ping", connection.peer);
            session.end(INTERNAL_ERROR, "no answer to a Ping");
            self.send_close(connection, &mut session, Some(INTERNAL_ERROR), "no answer to a Ping", now_ms);
            self.end_websocket(now_ms);
        } else if session.ping_at_ms <= now_ms {
            session.ping_at_ms = NEVER;
            session.pong_by_ms = now_ms + settings.websocket.ping_timeout_ms;
            with_scratch(|out| {
                session.protocol.write_ping(&[], out);
                let flushed = self.send_bytes(connection, out, now_ms);
                self.note_flushed(connection, &flushed, now_ms);
            });
        }
        if self.phase == Phase::Closed {
            session.end(LOST, "");
        }
        self.websocket = Some(session);
    }
}

/// One open WebSocket. Dropped before it is closed, it closes with 1011.
#[derive(Debug)]
pub struct WebSocket {
    connection: Arc<Connection>,
    /// The request, and how it came, where it is logged.
    logged: Option<(RequestHead, Arrival)>,
    sent: u64,
}

impl WebSocket {
    pub(crate) fn new(connection: Arc<Connection>, logged: Option<(RequestHead, Arrival)>) -> Self {
        Self { connection, logged, sent: 0 }
    }

    /// Takes the next message.
    pub fn receive(&mut self) -> WebSocketRead {
        let mut core = self.connection.lock();
        let Some(session) = &mut core.websocket else { return WebSocketRead::Wait };
        if let Some(message) = session.messages.pop_front() {
            session.queued -= message.data.len() + MESSAGE_OVERHEAD;
            if session.messages.is_empty() && session.messages.capacity() > MESSAGES_KEPT {
                // Nothing of a busy time is kept by a WebSocket that rests.
                session.messages = VecDeque::new();
            }
            self.attend(&core);
            return WebSocketRead::Message(message);
        }
        if session.fault.is_some() {
            core.fail_in_order(&self.connection);
            self.attend(&core);
        }
        match core.websocket.as_ref().and_then(|session| session.closed.clone()) {
            Some(closed) => WebSocketRead::Closed(closed),
            None => WebSocketRead::Wait,
        }
    }

    /// Whether [`WebSocket::receive`] would give anything but a wait.
    pub fn has_news(&self) -> bool {
        let core = self.connection.lock();
        core.websocket.as_ref().is_some_and(|session| {
            !session.messages.is_empty() || session.fault.is_some() || session.closed.is_some()
        })
    }

    /// Sends a message, whole: it is in the kernel's hands or queued in order when this returns; see [`WebSocket::unsent`].
    ///
    /// # Errors
    /// [`SendError::Gone`] when it is closed.
    pub fn send(&mut self, kind: MessageKind, block: Block<'_>) -> Result<(), SendError> {
        let mut core = self.connection.lock();
        let Some(mut session) = core.websocket.take() else { return Err(SendError::Gone) };
        if core.phase != Phase::Open || session.protocol.close_sent() {
            core.websocket = Some(session);
            return Err(SendError::Gone);
        }
        let now_ms = clock::now_ms();
        core.begin_output(now_ms);
        let socket = &self.connection.carrier;
        let flushed = with_scratch(|out| {
            let data = match &block {
                Block::Shared(bytes) if !session.protocol.compresses(bytes.len()) => {
                    session.protocol.write_head(kind, bytes.len(), out);
                    self.sent += (out.len() + bytes.len()) as u64;
                    return core.output.send_large(socket, out, bytes.clone(), &[]);
                }
                Block::Shared(bytes) => bytes,
                Block::Borrowed(bytes) => *bytes,
                // Messages have no files.
                Block::File { .. } => return Flushed::All,
            };
            session.protocol.write_message(kind, data, out);
            self.sent += out.len() as u64;
            core.output.send(socket, out, false)
        });
        core.websocket = Some(session);
        core.note_flushed(&self.connection, &flushed, now_ms);
        let gone = core.phase != Phase::Open;
        self.attend(&core);
        if gone { Err(SendError::Gone) } else { Ok(()) }
    }

    /// Closes. The code is 1000, 1001 or one of those that applications may send (RFC 6455 section 7.4); the reason is cut to 123 bytes.
    pub fn close(&mut self, code: u16, reason: &str) {
        let mut core = self.connection.lock();
        core.close_websocket(&self.connection, code, reason, clock::now_ms());
        self.attend(&core);
    }

    /// How it was closed, if it was.
    pub fn closed(&self) -> Option<Closed> {
        self.connection.lock().websocket.as_ref().and_then(|session| session.closed.clone())
    }

    /// Bytes that the kernel has not taken yet.
    pub fn unsent(&self) -> u64 {
        self.connection.lock().output.unsent()
    }

    /// A place to wait for the reactor to move the connection.
    pub fn watch(&self) -> Watch {
        Watch::new(self.connection.clone())
    }

    fn attend(&self, core: &Core) {
        if core.wants_attention(self.connection.settings()) {
            self.connection.shared.attend(self.connection.clone());
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.close(INTERNAL_ERROR, "");
        if let (Some(access_log), Some((head, arrival))) =
            (&self.connection.shared.access_log, self.logged.take())
        {
            let client = self.connection.client(Some(&head));
            access_log.write(client, Some(&head), (101, &Noted::default()), self.sent, arrival);
        }
    }
}

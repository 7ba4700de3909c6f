//! The bytes of a connection that carries streams, between the `h2` crate and the socket.
//!
//! What the crate writes is gathered, and sent when it has been polled: many frames, one system call.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::{EARNED_BY_SENDING, Meter};
use crate::clock::Millis;
use crate::connection::Connection;
use crate::record::Counter;
use crate::socket::Moved;

/// From here on what is gathered is sent before more is taken.
const UNSENT_MAX: usize = 64 * 1024;

/// Memory that a line keeps for its next frames.
const KEPT_SIZE_MAX: usize = 16 * 1024;

/// Bytes that one connection may send in one turn before the others have theirs.
const TURN_OUTPUT: usize = 1024 * 1024;

/// A line, shared by a session and the crate, which reads and writes it.
#[derive(Debug)]
pub(super) struct Line {
    /// Weakly, as the connection has the session that has the crate's half.
    connection: Weak<Connection>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// What has come before the session began.
    early: Vec<u8>,
    pub(super) readable: bool,
    pub(super) ended: bool,
    /// Bytes that may be read, and written, in this turn.
    pub(super) budget: usize,
    output_budget: usize,
    /// A bound was reached: there is more to do.
    pub(super) more: bool,
    pub(super) now_ms: Millis,
    unsent: Vec<u8>,
    /// How much of it is sent.
    sent: usize,
    /// What was sent waits in the carrier.
    withheld: bool,
    pub(super) progress_ms: Millis,
    pub(super) lost: Option<io::ErrorKind>,
    pub(super) meter: Meter,
}

impl State {
    pub(super) fn any_unsent(&self) -> bool {
        self.sent < self.unsent.len() || self.withheld
    }

    /// Takes what could not be sent.
    pub(super) fn take_unsent(&mut self) -> Vec<u8> {
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.drain(..std::mem::take(&mut self.sent));
        unsent
    }

    fn receive(&mut self, connection: &Connection, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            self.meter.receive(&self.early[..count], self.now_ms);
            if self.meter.fault().is_some() {
                self.early.clear();
                return Poll::Pending;
            }
            buffer.put_slice(&self.early[..count]);
            self.early.drain(..count);
            return Poll::Ready(Ok(()));
        }
        if !self.readable || self.meter.is_overdrawn() || self.meter.fault().is_some() {
            return Poll::Pending;
        }
        if self.budget == 0 {
            self.more = true;
            return Poll::Pending;
        }
        let space = buffer.initialize_unfilled();
        let size = space.len();
        match connection.carrier.receive(space) {
            Moved::Bytes(count) => {
                self.readable = count == size || self.ended || connection.carrier.holds_more();
                self.budget = self.budget.saturating_sub(count);
                self.meter.receive(&space[..count], self.now_ms);
                if self.meter.fault().is_some() {
                    // The session ends it.
                    return Poll::Pending;
                }
                if let Some(record) = connection.shared.record() {
                    record.add(Counter::BytesIn, count as u64);
                }
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Moved::Blocked => {
                self.readable = false;
                Poll::Pending
            }
            Moved::End => {
                self.readable = false;
                self.ended = true;
                Poll::Ready(Ok(()))
            }
            Moved::Lost(kind) => Poll::Ready(Err(self.lose(kind))),
        }
    }

    fn lose(&mut self, kind: io::ErrorKind) -> io::Error {
        self.lost = Some(kind);
        kind.into()
    }

    /// Sends what was gathered, as far as the socket takes it.
    pub(super) fn flush(&mut self, connection: &Connection) {
        let before = self.sent;
        if self.withheld {
            match connection.carrier.flush() {
                Moved::Bytes(_) => self.progress_ms = self.now_ms,
                Moved::Lost(kind) => self.lost = Some(kind),
                Moved::Blocked | Moved::End => {}
            }
        }
        while self.sent < self.unsent.len() && self.lost.is_none() {
            match connection.carrier.send(&self.unsent[self.sent..], false) {
                Moved::Bytes(count) => self.sent += count,
                Moved::Blocked | Moved::End => break,
                Moved::Lost(kind) => self.lost = Some(kind),
            }
        }
        self.withheld = connection.carrier.is_pending();
        let count = self.sent - before;
        if count > 0 {
            self.progress_ms = self.now_ms;
            self.output_budget = self.output_budget.saturating_sub(count);
            if let Some(record) = connection.shared.record() {
                record.add(Counter::BytesOut, count as u64);
            }
        }
        if self.sent == self.unsent.len() {
            self.sent = 0;
            self.unsent.clear();
            if self.unsent.capacity() > KEPT_SIZE_MAX {
                self.unsent = Vec::new();
            }
        }
    }

    /// Whether more may be gathered.
    fn takes(&mut self, connection: &Connection) -> Poll<io::Result<()>> {
        if self.unsent.len() - self.sent >= UNSENT_MAX {
            if self.output_budget == 0 {
                self.more = true;
                return Poll::Pending;
            }
            self.flush(connection);
        }
        match self.lost {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None if self.unsent.len() - self.sent >= UNSENT_MAX => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }

    fn gather(&mut self, bytes: &[u8]) {
        if !self.any_unsent() {
            // Its time to be taken begins now.
            self.progress_ms = self.now_ms;
        }
        self.unsent.extend_from_slice(bytes);
    }
}

impl Line {
    /// A line on which `early` has come already.
    pub(super) fn new(
        connection: &Arc<Connection>,
        early: Vec<u8>,
        preface_size: usize,
        now_ms: Millis,
    ) -> Self {
        let state = State {
            early,
            readable: false,
            ended: false,
            budget: 0,
            output_budget: 0,
            more: false,
            now_ms,
            unsent: Vec::new(),
            sent: 0,
            withheld: false,
            progress_ms: now_ms,
            lost: None,
            meter: Meter::new(preface_size, now_ms),
        };
        Self { connection: Arc::downgrade(connection), state: Mutex::new(state) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of a response is sent.
    pub(super) fn note_response(&self) {
        self.lock().meter.earn(EARNED_BY_SENDING);
    }

    /// The socket of the connection sends no more, or is lost.
    pub(super) fn is_ended(&self) -> bool {
        self.connection.upgrade().is_none_or(|connection| connection.carrier.is_ended())
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut State, &Connection) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.connection.upgrade() {
            Some(connection) => work(&mut self.lock(), &connection),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl State {
    /// A turn begins.
    pub(super) fn begin(&mut self, now_ms: Millis, budget: usize) {
        self.now_ms = now_ms;
        self.budget = budget;
        self.output_budget = TURN_OUTPUT;
        self.more = false;
    }
}

/// The crate's half.
#[derive(Debug)]
pub(super) struct Io(pub(super) Arc<Line>);

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.with(|state, connection| state.receive(connection, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.with(|state, connection| {
            state.takes(connection).map_ok(|()| {
                state.gather(bytes);
                bytes.len()
            })
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.with(|state, connection| {
            state.takes(connection).map_ok(|()| {
                parts.iter().for_each(|part| state.gather(part));
                parts.iter().map(|part| part.len()).sum()
            })
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The session does it, when the crate has been polled.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

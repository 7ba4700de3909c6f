//! A connection that carries streams: the `h2` crate's connection, and what the reactor asks of it.
//!
//! The crate reads and writes through a [`Line`] while it is polled, and is polled whenever the reactor looks at the connection: for a wake of
//! the socket, for one of its own (a stream has something to send, or has taken something), and for a deadline.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::Reason;
use h2::server::{self, Builder, Handshake};
use tidegate_http as http;
use tidegate_http::RequestFault;

use super::head;
use super::line::{Io, Line};
use super::meter::RESET_COST;
use super::stream::Stream;
use crate::clock::{Millis, NEVER};
use crate::connection::Connection;
use crate::record::Counter;
use crate::settings::{Http2Settings, Settings};

/// The client's first bytes (RFC 9113 section 3.4).
const PREFACE_SIZE: usize = 24;

/// Streams that either side has reset and the crate still remembers, as frames for them may be on their way.
const RESET_STREAMS_MAX: usize = 64;

/// A stream that has begun.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) http: http::Stream,
    pub(crate) stream: Stream,
}

/// What a turn has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turned {
    /// Nothing is left but to send what waits, and to close.
    pub(crate) is_over: bool,
    /// There is more to do, after the others have had their turn.
    pub(crate) more: bool,
}

enum Stage {
    /// The preface has not come.
    Beginning(Handshake<Io, Bytes>),
    Open(server::Connection<Io, Bytes>),
    Over,
}

pub(crate) struct Session {
    stage: Stage,
    line: Arc<Line>,
    waker: Waker,
    began_ms: Millis,
    /// Since when there is no stream.
    idle_since_ms: Option<Millis>,
    /// The peer was told to begin nothing more.
    drains: bool,
    /// It was told that this is the end.
    ends: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

fn builder(settings: &Settings) -> Builder {
    let Http2Settings { streams_max, window_size, .. } = settings.http2;
    let head_size_max = u32::try_from(settings.http.head_size_max).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(streams_max)
        .initial_window_size(window_size)
        // Every stream's window fits in, so that none holds up another.
        .initial_connection_window_size(connection_window(streams_max, window_size))
        .max_header_list_size(head_size_max)
        .max_send_buffer_size(settings.http2.send_buffer_size)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(streams_max as usize)
        .enable_connect_protocol();
    builder
}

fn connection_window(streams_max: u32, window_size: u32) -> u32 {
    /// RFC 9113 section 6.9.1.
    const WINDOW_MAX: u32 = (1 << 31) - 1;
    streams_max.saturating_mul(window_size).clamp(u32::from(u16::MAX), WINDOW_MAX)
}

impl Session {
    /// A session on a connection of which `early` has been read.
    pub(crate) fn new(connection: &Arc<Connection>, early: Vec<u8>, now_ms: Millis) -> Self {
        let line = Arc::new(Line::new(connection, early, PREFACE_SIZE, now_ms));
        let handshake = builder(connection.settings()).handshake(Io(line.clone()));
        Self {
            stage: Stage::Beginning(handshake),
            line,
            waker: Waker::from(connection.clone()),
            began_ms: now_ms,
            idle_since_ms: Some(now_ms),
            drains: false,
            ends: false,
        }
    }

    /// Does what there is to do. Streams that begin are added to `opened`.
    pub(crate) fn turn(
        &mut self,
        connection: &Connection,
        (readable, ended): (&mut bool, &mut bool),
        (now_ms, budget): (Millis, &mut usize),
        opened: &mut Vec<Opened>,
    ) -> Turned {
        {
            let mut line = self.line.lock();
            line.begin(now_ms, *budget);
            (line.readable, line.ended) = (*readable, *ended);
        }
        let is_over = self.poll(connection, now_ms, opened).is_ready();
        let mut line = self.line.lock();
        line.flush(connection);
        (*readable, *ended, *budget) = (line.readable, line.ended, line.budget);
        let (lost, overdrawn, fault) = (line.lost.is_some(), line.meter.is_overdrawn(), line.meter.fault());
        // What was held back while much waited can be gathered now.
        let more = line.more;
        drop(line);
        self.idle_since_ms = match &self.stage {
            Stage::Open(crate_connection) if crate_connection.has_streams() || !opened.is_empty() => None,
            _ => self.idle_since_ms.or(Some(now_ms)),
        };
        if let Some(reason) = fault.filter(|_| !self.ends && !is_over) {
            log::debug!("{}: HTTP/2: a frame that may not be: {reason}", connection.peer);
            self.end(reason);
            return Turned { is_over: false, more: true };
        }
        if overdrawn && !self.ends && !is_over {
            log::debug!("{}: too many frames that lead nowhere", connection.peer);
            connection.shared.count(Counter::Http2Calmed);
            self.end(Reason::ENHANCE_YOUR_CALM);
            return Turned { is_over: false, more: true };
        }
        Turned { is_over: is_over || lost, more }
    }

    fn poll(&mut self, connection: &Connection, now_ms: Millis, opened: &mut Vec<Opened>) -> Poll<()> {
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        if let Stage::Beginning(handshake) = &mut self.stage {
            match Pin::new(handshake).poll(&mut context) {
                Poll::Ready(Ok(open)) => self.stage = Stage::Open(open),
                Poll::Ready(Err(error)) => return self.fail(connection, &error),
                Poll::Pending => return Poll::Pending,
            }
        }
        if !self.drains && connection.shared.lifecycle() > crate::shared::Lifecycle::Serving {
            self.drain(now_ms);
        }
        let Stage::Open(open) = &mut self.stage else { return Poll::Ready(()) };
        loop {
            match open.poll_accept(&mut context) {
                Poll::Ready(Some(Ok((request, mut respond)))) => {
                    connection.shared.count(Counter::Http2Streams);
                    let (parts, receive) = request.into_parts();
                    let ended = receive.is_end_stream();
                    let limits = &connection.shared.http;
                    let http = match head::of_request(&parts, !ended, limits) {
                        Ok(head) => {
                            // What follows such a head is no body.
                            let is_whole = ended || head.asks_for_websocket();
                            http::Stream::new(head, is_whole, limits)
                        }
                        Err(fault) if head::is_malformed(&fault) => {
                            refuse(connection, &fault);
                            self.line.lock().meter.charge(RESET_COST);
                            respond.send_reset(Reason::PROTOCOL_ERROR);
                            continue;
                        }
                        Err(fault) => http::Stream::refused(fault),
                    };
                    let receive = (!ended).then_some(receive);
                    let tls = connection.carrier.session().cloned();
                    let stream = Stream::new(self.line.clone(), tls, receive, respond);
                    opened.push(Opened { http, stream });
                }
                Poll::Ready(Some(Err(error))) => return self.fail(connection, &error),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn fail(&mut self, connection: &Connection, error: &h2::Error) -> Poll<()> {
        log::debug!("{}: HTTP/2: {error}", connection.peer);
        if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) && !error.is_remote() && !self.ends {
            connection.shared.count(Counter::Http2Calmed);
        }
        self.stage = Stage::Over;
        Poll::Ready(())
    }

    /// Has the peer begin nothing more; what has begun goes on. What it has sent before it knew of that is answered (RFC 9113 section 6.8): it has
    /// some time to say that it knows, however long nothing has come before.
    fn drain(&mut self, now_ms: Millis) {
        self.drains = true;
        self.idle_since_ms = self.idle_since_ms.map(|_| now_ms);
        if let Stage::Open(open) = &mut self.stage {
            open.graceful_shutdown();
        }
    }

    /// Ends everything, as soon as the peer was told.
    fn end(&mut self, reason: Reason) {
        self.ends = true;
        match &mut self.stage {
            Stage::Open(open) => open.abrupt_shutdown(reason),
            stage => *stage = Stage::Over,
        }
    }

    /// What waits, for whoever sends it now.
    pub(crate) fn take_unsent(&self) -> Vec<u8> {
        self.line.lock().take_unsent()
    }

    pub(crate) fn deadline_ms(&self, settings: &Settings) -> Millis {
        let line = self.line.lock();
        let write_by_ms =
            if line.any_unsent() { line.progress_ms + settings.write_timeout_ms } else { NEVER };
        if self.ends {
            // It is over as soon as the peer takes what waits.
            return write_by_ms;
        }
        let head_since_ms =
            if line.meter.any_frame() { line.meter.block_since_ms() } else { Some(self.began_ms) };
        let head_by_ms = head_since_ms.map_or(NEVER, |since_ms| since_ms + settings.head_timeout_ms);
        let idle_ms = if self.drains { settings.linger_ms } else { settings.keep_alive_timeout_ms };
        let idle_by_ms = self.idle_since_ms.map_or(NEVER, |since_ms| since_ms + idle_ms);
        write_by_ms.min(head_by_ms).min(idle_by_ms)
    }

    /// What was due has not happened. What is counted for it; `None` for a connection that has rested for long enough.
    pub(crate) fn miss_deadline(&mut self, settings: &Settings, now_ms: Millis) -> Option<Counter> {
        let line = self.line.lock();
        let writes = line.any_unsent() && line.progress_ms + settings.write_timeout_ms <= now_ms;
        let is_late = |since_ms: Millis| since_ms + settings.head_timeout_ms <= now_ms;
        let heads = if line.meter.any_frame() {
            line.meter.block_since_ms().is_some_and(is_late)
        } else {
            is_late(self.began_ms)
        };
        drop(line);
        if writes {
            return Some(Counter::TimeoutsWrite);
        }
        self.end(Reason::NO_ERROR);
        heads.then_some(Counter::TimeoutsHead)
    }
}

fn refuse(connection: &Connection, fault: &RequestFault) {
    log::debug!("{}: {} {fault}", connection.peer, fault.status());
    if let Some(observer) = &connection.shared.observer {
        observer.count_unread(fault.status());
    }
}

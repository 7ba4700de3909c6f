//! What comes in: bytes are read and parsed, heads and bodies gathered, as far as there is room for them.

use std::sync::Arc;

use tidegate_http::{self as http, Event, RequestFault};

use super::{Connection, Core, Filled, Phase, Step};
use crate::body::BodyFault;
use crate::body_clock::BodyClock;
use crate::clock::{self, Millis, NEVER};
use crate::keeper::RequestKey;
use crate::listener::Scheme;
use crate::look::Turn;
use crate::record::{Beginning, Counter, Flight};
use crate::settings::{Gathering, Settings};
use crate::socket::Moved;
use crate::tls::Handshake;
use crate::tracing::OpenSpan;

impl Core {
    /// Reads and parses: the next head, and the body as far as there is room for it.
    pub(super) fn take_in(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Step {
        loop {
            let in_body = matches!(self.phase, Phase::Gathering | Phase::Serving);
            if in_body {
                let room = connection.body_memory_max().saturating_sub(self.body.held());
                let ended = self.body.complete || self.body.fault.is_some();
                self.count_body(&connection.shared);
                if room == 0 && !ended && self.must_be_whole(connection.settings()) {
                    let scarce = connection.is_crowded();
                    if scarce {
                        self.http.shrink();
                    }
                    if let Err(error) = self.body.spill(scarce) {
                        log::error!("a request body cannot be kept in a temporary file: {error}");
                        self.body.fault = Some(BodyFault::Storage(error.kind()));
                    }
                    continue;
                }
                // The end of a body that fills the room exactly is still to be taken note of.
                if ended || (room == 0 && self.http.body_left() != Some(0)) {
                    return self.dispatch(connection, turn);
                }
                let direct = usize::try_from(self.http.direct_body()).unwrap_or(usize::MAX).min(room);
                if direct > 0 && self.readable {
                    match self.fill_body(connection, turn, direct) {
                        Filled::Some => continue,
                        Filled::Dry => {}
                        Filled::Enough => return Step::Later,
                        Filled::Lost => return Step::Again,
                    }
                }
            }
            match self.http.next_event() {
                Ok(Event::NeedData) => match self.fill(connection, turn) {
                    Filled::Some => {}
                    Filled::Enough => return Step::Later,
                    Filled::Lost => return Step::Again,
                    Filled::Dry => {
                        if self.phase == Phase::Waiting && self.http.head_started() {
                            self.enter_head(turn.now_ms);
                        }
                        // A client that waits for "100 Continue" sends nothing until the application asks for it, or until
                        // the gathering does, of a body that must be whole before it starts.
                        if self.phase == Phase::Gathering && self.http.expect_pending() {
                            // What would be turned away is not asked for.
                            let whole = self.must_be_whole(connection.settings());
                            if whole && !connection.shared.gates.is_full(self.way()) {
                                self.send_continue(connection, turn.now_ms);
                            } else {
                                return self.dispatch(connection, turn);
                            }
                        }
                        if self.phase == Phase::Gathering
                            && connection.settings().gathering_of(self.aside) == Gathering::WhatIsIn
                        {
                            return self.dispatch(connection, turn);
                        }
                        return Step::Rest;
                    }
                },
                Ok(Event::Request(mut head)) => {
                    let trace = connection.trace(&mut head);
                    let arrival = match connection.note_arrival(&mut head) {
                        Ok(arrival) => arrival,
                        Err(fault) => {
                            self.refuse(connection, &fault);
                            return Step::Again;
                        }
                    };
                    self.aside =
                        connection.settings().aside.as_ref().is_some_and(|aside| (aside.takes)(&head));
                    self.limit = connection.settings().limit_of(&head);
                    self.limit_time(connection, &head, arrival, turn.now_ms);
                    self.flight = connection.shared.observer.as_ref().map(|observer| {
                        let beginning = Beginning {
                            key: RequestKey { connection: connection.id, number: self.served },
                            began_us: arrival.started_us.unwrap_or_else(clock::now_us),
                            peer: connection.client(Some(&head)),
                            method: head.method(),
                            path: head.path(),
                            has_body: head.body() != http::BodyKind::Empty,
                            id: arrival.id_field(&head).map(|(_, id)| id),
                            front_queue_us: arrival.front_queue_us,
                        };
                        let open = |context| OpenSpan::new(context, head.clone(), connection);
                        Flight::begin(observer, &beginning, trace.map(open).map(Box::new))
                    });
                    self.head = Some((head, arrival));
                    self.phase = Phase::Gathering;
                    let time_us =
                        connection.settings().body_timeout_ms.map_or(NEVER, |time_ms| time_ms * 1000);
                    self.body_clock = BodyClock::Stopped { left_us: time_us };
                    self.body_clock.start(turn.now_ms);
                    if let Some(size_max) = connection.settings().body_size_max_of(self.limit)
                        && let Err(fault) = self.http.limit_body(size_max)
                    {
                        self.refuse(connection, &fault);
                        return Step::Again;
                    }
                    if connection.speaks.scheme == Scheme::Redirect {
                        // Whatever its body is, it goes elsewhere.
                        return self.dispatch(connection, turn);
                    }
                }
                Ok(Event::Data(data)) => {
                    self.body.push(data);
                    let count = data.len();
                    self.body_clock.earn(connection.settings(), count, turn.now_ms);
                }
                Ok(Event::End(_)) => self.body.complete = true,
                Ok(Event::Paused) => return Step::Rest,
                Ok(Event::Closed) => {
                    self.close(connection);
                    return Step::Again;
                }
                Err(fault) if self.phase == Phase::Serving || (in_body && fault.is_truncated()) => {
                    self.body.fault = Some(BodyFault::Request(fault));
                }
                Err(RequestFault::Http2Preface) if self.served == 0 && connection.takes_preface() => {
                    let early = self.http.take_preface().unwrap_or_default();
                    self.begin_session(connection, early, turn.now_ms);
                    return Step::Again;
                }
                Err(fault) => {
                    self.refuse(connection, &fault);
                    return Step::Again;
                }
            }
        }
    }

    /// Whether the body is to be gathered to its end before the application starts.
    fn must_be_whole(&self, settings: &Settings) -> bool {
        self.head.as_ref().is_some_and(|(head, _)| match settings.gathering_of(self.aside) {
            Gathering::All => true,
            Gathering::Chunked => head.body() == http::BodyKind::Chunked,
            Gathering::Nothing | Gathering::WhatIsIn => false,
        })
    }

    /// The first head has had its time since accept; a later one has it from its first byte.
    fn enter_head(&mut self, now_ms: Millis) {
        self.phase = Phase::Head;
        if self.served > 0 {
            self.since_ms = now_ms;
        }
    }

    /// Reads from the socket into the parser.
    pub(super) fn fill(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Filled {
        if let Some(unread) = self.unread(turn) {
            return unread;
        }
        let size = connection.settings().read_ahead_max.clamp(1, turn.scratch.len());
        let moved = match connection.carrier.is_ready() {
            true => connection.carrier.receive(&mut turn.scratch[..size]),
            false if *turn.handshake_us == 0 => return Filled::Enough,
            false => shake_hands(connection, turn, size),
        };
        if let Moved::Bytes(count) = moved {
            self.http.receive(&turn.scratch[..count]);
        }
        self.note_read(connection, turn, &moved, size)
    }

    /// Reads body bytes past the parser, which has nothing to say about them, to where the application takes them.
    fn fill_body(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>, most: usize) -> Filled {
        if let Some(unread) = self.unread(turn) {
            return unread;
        }
        let moved = connection.carrier.receive_onto(self.body.tail(), most);
        if let Moved::Bytes(count) = moved {
            self.http.direct_body_received(count);
            self.body_clock.earn(connection.settings(), count, turn.now_ms);
        }
        self.note_read(connection, turn, &moved, most)
    }

    /// Why the socket is not to be read now, if it is not.
    pub(crate) fn unread(&self, turn: &Turn<'_>) -> Option<Filled> {
        match self.readable {
            false => Some(Filled::Dry),
            true if turn.budget == 0 => Some(Filled::Enough),
            true => None,
        }
    }

    /// Draws the consequences of a read of at most `size` bytes.
    pub(crate) fn note_read(
        &mut self,
        connection: &Arc<Connection>,
        turn: &mut Turn<'_>,
        moved: &Moved,
        size: usize,
    ) -> Filled {
        match *moved {
            Moved::Bytes(count) => {
                turn.budget = turn.budget.saturating_sub(count);
                if let Some(record) = connection.shared.record().filter(|_| !self.http.is_stream()) {
                    record.add(Counter::BytesIn, count as u64);
                }
                // A short read has emptied the socket: what comes later makes a wake of its own (epoll(7), question 9). A stream may have
                // ended with it.
                let holds_more = connection.carrier.holds_more() || self.http.is_stream();
                self.readable = count == size || self.ended || holds_more;
                Filled::Some
            }
            Moved::Blocked => {
                self.readable = false;
                Filled::Dry
            }
            // The request is whole; its client waits for the response.
            Moved::End if self.http.is_stream() && self.phase != Phase::Open => {
                self.readable = false;
                self.http.receive_eof();
                Filled::Some
            }
            Moved::End => {
                self.readable = false;
                self.ended = true;
                connection.mark_left();
                self.http.receive_eof();
                Filled::Some
            }
            Moved::Lost(kind) => {
                self.lose(connection, kind);
                Filled::Lost
            }
        }
    }
}

/// Receives what there is where a handshake comes first, which takes its share of the time that a round has for them.
#[inline(never)]
fn shake_hands(connection: &Connection, turn: &mut Turn<'_>, size: usize) -> Moved {
    let began_us = clock::now_us();
    let moved = connection.carrier.receive(&mut turn.scratch[..size]);
    *turn.handshake_us = turn.handshake_us.saturating_sub(clock::now_us().saturating_sub(began_us));
    match connection.carrier.handshake() {
        Some(Handshake::Full) => connection.shared.count(Counter::HandshakesFull),
        Some(Handshake::Resumed) => connection.shared.count(Counter::HandshakesResumed),
        Some(Handshake::Failed) => connection.shared.count(Counter::HandshakesFailed),
        Some(Handshake::Unfinished) | None => {}
    }
    moved
}

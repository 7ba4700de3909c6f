//! What comes after a response: what waits is sent, what is left of the request is read, and the connection serves the next request or
//! ends; and what happens when a deadline is missed.

use std::io;
use std::sync::Arc;

use tidegate_http::{Event, RequestFault};

use super::{Connection, Core, DISCARD_MAX, Filled, LINGER_MAX, LINGER_MS, Phase, Step};
use crate::body::{Body, BodyFault};
use crate::clock::{Millis, NEVER};
use crate::cut::Cut;
use crate::look::Turn;
use crate::output::Flushed;
use crate::record::{Counter, Flight, Gauge};
use crate::settings::Settings;
use crate::shared::Lifecycle;
use crate::socket::Moved;

/// The reactor's slab, and the look at hand.
const HOLDERS: usize = 2;

impl Core {
    /// The response is complete: what remains is to send what waits, to read what the application has not, and to go on.
    pub(crate) fn complete(&mut self, connection: &Connection, now_ms: Millis) {
        self.phase = Phase::Flushing;
        self.forget_time();
        self.since_ms = now_ms;
        if self.output.is_empty() {
            self.end_flight(&connection.shared);
            if !self.http.is_stream() {
                self.start_next(connection, now_ms);
            } else if self.cut.is_none() {
                self.close(connection);
            }
            // What was sent of a stream that is cut goes out before its end is told: see wind_up.
        } else {
            self.observe(&connection.shared, Flight::write);
        }
    }

    /// On to the next request, if this connection may serve one and nothing of this one is left.
    pub(super) fn start_next(&mut self, connection: &Connection, now_ms: Millis) -> bool {
        let lifecycle = connection.shared.lifecycle();
        if lifecycle == Lifecycle::Stopping
            || self.close_after
            || !self.http.request_body_complete()
            || !self.http.start_next()
        {
            return false;
        }
        self.phase = Phase::Waiting;
        self.served += 1;
        self.body = Body::default();
        self.count_body(&connection.shared);
        self.dropped = 0;
        self.since_ms = now_ms;
        // A peer that was not told to close, as the drain began when the head was out already, may be about to send its next request.
        let idle_ms = match lifecycle {
            Lifecycle::Waiting | Lifecycle::Serving | Lifecycle::Retiring => {
                connection.settings().keep_alive_timeout_ms
            }
            Lifecycle::Draining | Lifecycle::Stopping => connection.settings().linger_ms,
        };
        self.idle_until_ms = now_ms + idle_ms;
        self.http.shrink();
        true
    }

    pub(super) fn wind_up(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Step {
        if !self.output.is_empty() {
            match self.flush(connection, turn.now_ms) {
                // The time to read what is left of the request begins when the response is out.
                Flushed::All => self.since_ms = turn.now_ms,
                Flushed::Enough => return Step::Later,
                Flushed::Blocked { .. } => return Step::Rest,
                Flushed::FileShort | Flushed::Lost(_) => return Step::Again,
            }
        }
        self.end_flight(&connection.shared);
        // Only for a connection that will be used again; otherwise it lingers, which drops more and ends better.
        let keeps = !self.close_after
            && !self.http.must_close()
            && connection.shared.lifecycle() != Lifecycle::Stopping;
        if keeps && !self.http.request_body_complete() && self.dropped <= DISCARD_MAX {
            match self.http.next_event() {
                Ok(Event::Data(data)) => self.dropped += data.len() as u64,
                Ok(Event::NeedData) => match self.fill(connection, turn) {
                    Filled::Some | Filled::Lost => {}
                    Filled::Dry => return Step::Rest,
                    Filled::Enough => return Step::Later,
                },
                Ok(Event::End(_)) => {}
                Ok(Event::Request(_) | Event::Paused | Event::Closed) | Err(_) => self.close_after = true,
            }
            return Step::Again;
        }
        if self.start_next(connection, turn.now_ms) {
            return Step::Again;
        }
        if self.websocket.is_some() && !self.lost {
            self.http.end_websocket();
            let _ = connection.carrier.conclude();
        }
        let peer_may_send = !self.http.is_stream()
            && (self.refused
                || self.readable
                || self.http.buffered() > 0
                || !self.http.request_body_complete());
        if self.ended && !self.readable || !peer_may_send {
            self.close_with(connection, Arc::strong_count(connection) > HOLDERS);
        } else {
            self.say_goodbye(connection);
            connection.carrier.shut_output();
            self.phase = Phase::Lingering;
            self.since_ms = turn.now_ms;
            self.dropped = 0;
        }
        Step::Again
    }

    /// Reads and forgets what the peer still sends, for a while.
    pub(super) fn linger(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Step {
        while self.readable {
            if turn.budget == 0 {
                return Step::Later;
            }
            match connection.carrier.receive(turn.scratch) {
                Moved::Bytes(count) if self.dropped + (count as u64) < LINGER_MAX => {
                    turn.budget = turn.budget.saturating_sub(count);
                    if let Some(record) = connection.shared.record() {
                        record.add(Counter::BytesIn, count as u64);
                    }
                    self.dropped += count as u64;
                }
                Moved::Blocked => self.readable = false,
                Moved::Bytes(_) | Moved::End | Moved::Lost(_) => {
                    self.close(connection);
                    return Step::Again;
                }
            }
        }
        Step::Rest
    }

    /// Sends what waits while the request goes on: of its response, or that its body is awaited. True when the socket would take more in a
    /// later turn.
    pub(super) fn flush_meanwhile(&mut self, connection: &Connection, now_ms: Millis) -> bool {
        !self.output.is_empty()
            && matches!(self.phase, Phase::Gathering | Phase::Queued(_) | Phase::Serving | Phase::Open)
            && self.flush(connection, now_ms) == Flushed::Enough
    }

    pub(super) fn flush(&mut self, connection: &Connection, now_ms: Millis) -> Flushed {
        let flushed = self.output.flush(&connection.carrier);
        self.note_flushed(connection, &flushed, now_ms);
        flushed
    }

    /// Draws the consequences of an attempt to send.
    pub(crate) fn note_flushed(&mut self, connection: &Connection, flushed: &Flushed, now_ms: Millis) {
        if let Some(record) = connection.shared.record().filter(|_| !self.http.is_stream()) {
            record.add(Counter::BytesOut, self.output.take_sent());
        }
        match flushed {
            Flushed::All | Flushed::Enough => self.progress_ms = now_ms,
            Flushed::Blocked { progress } => {
                if *progress {
                    self.progress_ms = now_ms;
                }
            }
            Flushed::FileShort => {
                log::warn!("{}: a file became shorter while it was being sent", connection.peer);
                self.cut.get_or_insert(Cut::Application);
                self.lose(connection, io::ErrorKind::UnexpectedEof);
            }
            Flushed::Lost(kind) => self.lose(connection, *kind),
        }
    }

    /// The peer is gone or is cut off; what the application still does leads nowhere.
    pub(crate) fn lose(&mut self, connection: &Connection, kind: io::ErrorKind) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.phase != Phase::Waiting {
            log::debug!("{}: the connection is lost: {kind}", connection.peer);
        }
        if !self.body.complete && self.body.fault.is_none() {
            self.body.fault = Some(BodyFault::Lost);
        }
        self.lost = true;
        self.cut.get_or_insert(Cut::Client);
        self.close(connection);
    }

    pub(crate) fn close(&mut self, connection: &Connection) {
        self.close_with(connection, true);
    }

    /// Closes. The socket is to be shut where somebody has the connection for longer, and its descriptor with it.
    fn close_with(&mut self, connection: &Connection, shuts: bool) {
        if let Phase::Queued(ticket) = self.phase {
            connection.shared.gates.leave(self.way(), ticket);
        }
        if !matches!(self.phase, Phase::Serving | Phase::Closed) {
            // What an application still has is over when the application is.
            self.end_flight(&connection.shared);
        }
        if std::mem::take(&mut self.is_websocket)
            && let Some(record) = connection.shared.record()
        {
            record.shift(Gauge::WebSockets, false);
        }
        connection.mark_left();
        self.say_goodbye(connection);
        if shuts || self.http.is_stream() {
            connection.carrier.shut();
        }
        self.output.clear();
        self.lose_websocket();
        self.end_session(&connection.shared);
        self.forget_time();
        self.head = None;
        self.phase = Phase::Closed;
    }

    /// Lets a peer know that all is said, if it is: a response that is not whole must not look as if it were.
    fn say_goodbye(&self, connection: &Connection) {
        if !self.lost && self.cut.is_none() && self.output.is_empty() {
            connection.carrier.say_goodbye();
        }
    }

    /// The time by which something must have happened.
    pub(super) fn deadline_ms(&self, settings: &Settings) -> Millis {
        match self.phase {
            Phase::Waiting => self.idle_until_ms,
            Phase::Head => self.since_ms + settings.head_timeout_ms,
            Phase::Gathering => self.body_clock.deadline_ms(),
            Phase::Serving | Phase::Flushing if !self.output.is_empty() => self.write_deadline_ms(settings),
            Phase::Serving if !self.body.complete && self.body.fault.is_none() => {
                self.body_clock.deadline_ms()
            }
            Phase::Open => self.websocket_deadline_ms(settings),
            Phase::Multiplexed => self.session_deadline_ms(settings),
            // The queue keeps its own time.
            Phase::Queued(_) | Phase::Serving | Phase::Closed => NEVER,
            Phase::Flushing | Phase::Lingering => self.since_ms + LINGER_MS,
        }
    }

    /// By when the peer must have taken some of the output that waits for it.
    pub(crate) fn write_deadline_ms(&self, settings: &Settings) -> Millis {
        if self.output.is_empty() { NEVER } else { self.progress_ms + settings.write_timeout_ms }
    }

    /// What was due has not happened.
    pub(super) fn miss_deadline(&mut self, connection: &Arc<Connection>) {
        let counter = match self.phase {
            Phase::Head => Some(Counter::TimeoutsHead),
            Phase::Gathering => Some(Counter::TimeoutsBody),
            Phase::Serving if self.output.is_empty() => Some(Counter::TimeoutsBody),
            Phase::Serving | Phase::Flushing => Some(Counter::TimeoutsWrite),
            Phase::Waiting
            | Phase::Queued(_)
            | Phase::Open
            | Phase::Multiplexed
            | Phase::Lingering
            | Phase::Closed => None,
        };
        if let Some(counter) = counter {
            connection.shared.count(counter);
        }
        match self.phase {
            Phase::Waiting | Phase::Lingering | Phase::Closed => self.close(connection),
            Phase::Head => self.refuse(connection, &RequestFault::HeadTimeout),
            Phase::Gathering => self.refuse(connection, &RequestFault::BodyTimeout),
            Phase::Queued(_) => {}
            Phase::Open => self.miss_websocket_deadline(connection),
            Phase::Multiplexed => self.miss_session_deadline(connection),
            Phase::Serving if self.output.is_empty() => self.body.fault = Some(BodyFault::TooSlow),
            Phase::Serving | Phase::Flushing => {
                self.cut.get_or_insert(Cut::WriteTimeout);
                self.lose(connection, io::ErrorKind::TimedOut);
            }
        }
    }
}

//! What becomes of a request that takes too long. Done by the keeper's thread, and without the interpreter.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_http::{self as http, BodyLength, RequestFault, RequestHead, ResponseTrailers};

use super::{Arrival, Connection, Core, Phase};
use crate::access_log::Noted;
use crate::body::BodyFault;
use crate::clock::{self, Millis, NEVER};
use crate::cut::Cut;
use crate::exchange::plain_head;
use crate::keeper::{Overdue, RequestKey, Verdict};
use crate::lane::Shed;
use crate::output::with_scratch;
use crate::record::{Counter, Stage};

const EXPIRED: &[u8] = b"The request took too long.\n";

/// What is kept of a request whose time is limited.
#[derive(Debug)]
pub(super) struct Timed {
    head: RequestHead,
    arrival: Arrival,
    began_ms: Millis,
    /// When it is called slow; [`NEVER`] when it was, or is not to be.
    slow_ms: Millis,
    /// When it is answered by the server.
    expires_ms: Millis,
}

impl Core {
    /// A request has begun: its head is in.
    pub(super) fn limit_time(
        &mut self,
        connection: &Arc<Connection>,
        head: &RequestHead,
        arrival: Arrival,
        now_ms: Millis,
    ) {
        let Some(keeper) = &connection.shared.keeper else { return };
        let settings = connection.settings();
        let after = |time_ms: Option<u64>| time_ms.map_or(NEVER, |time_ms| now_ms.saturating_add(time_ms));
        let (slow_ms, expires_ms) =
            (after(settings.slow_request_ms), after(settings.request_timeout_ms_of(self.limit)));
        let due_ms = slow_ms.min(expires_ms);
        if due_ms == NEVER {
            return;
        }
        self.timed = Some(Timed { head: head.clone(), arrival, began_ms: now_ms, slow_ms, expires_ms });
        self.alarm.get_or_insert_with(|| keeper.alarm(connection)).set(due_ms);
    }

    /// The request is answered, or will not be: its time is of no interest any more.
    pub(crate) fn forget_time(&mut self) {
        if self.timed.take().is_some() {
            self.alarm.iter().for_each(|alarm| alarm.set(NEVER));
        }
    }

    /// Ends a request that the application has had for too long. True when its client gets an answer.
    fn expire(&mut self, connection: &Connection, timed: &Timed, now_ms: Millis) -> bool {
        if !self.body.complete && self.body.fault.is_none() {
            self.body.fault = Some(BodyFault::Expired);
        }
        connection.expired.store(true, Ordering::Release);
        connection.shared.count(Counter::TimeoutsRequest);
        self.observe(&connection.shared, |flight, _| flight.expire());
        let answered = !self.http.head_sent() && self.answer_expired(connection, timed, now_ms);
        if !answered {
            // What was sent is all there will be, and must not look whole.
            self.cut.get_or_insert(Cut::RequestTimeout);
            self.lose(connection, io::ErrorKind::TimedOut);
            self.end_flight(&connection.shared);
            return false;
        }
        self.is_answered_for = true;
        self.observe(&connection.shared, |flight, observer| flight.answer(observer, 504, true));
        if let Some(access_log) = &connection.shared.access_log {
            let noted = Noted { cut: self.cut, ..Noted::default() };
            let body_size = if timed.head.method() == "HEAD" { 0 } else { EXPIRED.len() as u64 };
            let client = connection.client(Some(&timed.head));
            access_log.write(client, Some(&timed.head), (504, &noted), body_size, timed.arrival);
        }
        if self.phase == Phase::Closed {
            // Its client had gone.
            self.end_flight(&connection.shared);
        } else {
            self.close_after = true;
            self.complete(connection, now_ms);
        }
        true
    }

    /// Sends the answer (RFC 9110 section 15.6.5). False when there can be none.
    fn answer_expired(&mut self, connection: &Connection, timed: &Timed, now_ms: Millis) -> bool {
        // A constant, and valid.
        let Ok(head) = plain_head((504, b"Gateway Timeout")) else { return false };
        let date = clock::date(now_ms);
        let server = connection.settings().server.as_deref();
        // Closed, as what the application still does with this exchange must never come to be another one's.
        let extra = timed.arrival.id_field(&timed.head);
        let context = http::SendContext { date: &date, server, close: true, extra };
        self.begin_output(now_ms);
        with_scratch(|out| {
            let length = BodyLength::Known(EXPIRED.len() as u64);
            let written = self.http.send_head(&head, length, &context, out).and_then(|()| {
                let take = self.http.frame_data(EXPIRED.len(), out)?.take;
                if let Some(records) = self.http.response_records() {
                    records.begin(take as u64, out);
                }
                out.extend_from_slice(&EXPIRED[..take]);
                self.http.send_end(&ResponseTrailers::NONE, out)
            });
            if written.is_err() {
                return false;
            }
            let flushed = self.output.send(&connection.carrier, out, false);
            self.note_flushed(connection, &flushed, now_ms);
            true
        })
    }
}

/// What is left to do when the host knows of a request that is over its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// Nothing: the connection goes on.
    None,
    /// It ends, and those who want to know whether its client has left were told already, or are to be told now.
    Ends { tells: bool },
}

impl Connection {
    /// The time has come that was set for its request.
    pub(crate) fn on_overdue(self: &Arc<Self>, now_ms: Millis) -> Option<(Overdue, Parting)> {
        let mut core = self.lock();
        // By now it may be another one's, or nobody's.
        if core.alarm.as_ref().is_none_or(|alarm| alarm.at_ms() > now_ms) {
            return None;
        }
        let stage = match core.phase {
            Phase::Gathering => Stage::Body,
            Phase::Queued(_) => Stage::Queue,
            _ => Stage::Application,
        };
        let key = RequestKey { connection: self.id, number: core.served };
        let limit = core.limit;
        let timed = core.timed.as_mut()?;
        let overdue = |timed: &Timed, verdict| Overdue {
            key,
            head: timed.head.clone(),
            request_id: timed.arrival.id_field(&timed.head).map(|(_, id)| id.to_vec()),
            limit,
            verdict,
            stage,
            took: Duration::from_millis(now_ms.saturating_sub(timed.began_ms)),
        };
        if timed.expires_ms > now_ms {
            timed.slow_ms = NEVER;
            let (slow, expires_ms) = (overdue(timed, Verdict::Slow), timed.expires_ms);
            core.alarm.iter().for_each(|alarm| alarm.set(expires_ms));
            return Some((slow, Parting::None));
        }
        let timed = core.timed.take()?;
        core.alarm.iter().for_each(|alarm| alarm.set(NEVER));
        let mut expired = overdue(&timed, Verdict::Expired);
        match core.phase {
            // It is the client that has kept us waiting.
            Phase::Gathering => {
                self.shared.count(Counter::TimeoutsBody);
                core.refuse(self, &RequestFault::BodyTimeout);
            }
            Phase::Queued(ticket) => {
                self.shared.gates.leave(core.way(), ticket);
                let exchange = core.end_wait(self, ticket);
                drop(core);
                // It has not begun, and may be sent again.
                exchange
                    .into_iter()
                    .for_each(|exchange| exchange.turn_away(Shed::QueueTimeout, expired.took));
                return Some((expired, Parting::None));
            }
            Phase::Serving => {
                if !core.expire(self, &timed, now_ms) {
                    expired.verdict = Verdict::Cut;
                }
            }
            _ => return None,
        }
        drop(core);
        Some((expired, Parting::Ends { tells: self.left.note() }))
    }

    /// Tells those who wait for something of it that it has ended, and the reactor.
    pub(crate) fn part(self: &Arc<Self>, parting: Parting) {
        let Parting::Ends { tells } = parting else { return };
        if tells {
            self.left.tell();
        }
        self.changes.announce();
        self.shared.attend(self.clone());
    }
}

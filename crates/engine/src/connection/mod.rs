//! One connection: everything that can change its state, in one place.
//!
//! ```text
//!            first byte            head is in             may run                 response complete
//!  Waiting ────────────▶ Head ────────────▶ Gathering ────────────▶ Serving ────────────▶ Flushing
//!     ▲  │                 │  fault            │ │ must wait     its ▲ │ lost              │   │
//!     │  │                 │                   │ └───────▶ Queued ───┘ │                   │   │
//!     │  │                 │                   │ too slow     │ left   │                   │   │
//!     │  │ idle too long   ├───────────────────┴──▶ Flushing (4xx)      │                   │   │ must close
//!     │  │                 │                                  ▼        │                   │   │
//!     │  ▼                 ▼                                            ▼                   │   ▼
//!     │ Closed ◀───────────────────────────────────────────────────  Closed              Lingering ──▶ Closed
//!     └─────────────────────────────────── flushed, request read ───────────────────────────┘
//! ```
//! An exchange that is accepted as a WebSocket moves from Serving to Open, and on to Flushing when it is closed; see websocket.rs.
//! The reactor moves it on wakes and deadlines; an exchange moves it from Serving to Flushing, and on to Waiting itself when
//! nothing is left to do, which is the common path. `intake` has what comes before it, `origin` where it comes from, `ending` what comes after a response, `overdue` what
//! becomes of a request that takes too long. What waits its turn (Queued) is moved on by the gate in admission.rs. Both hold the core's lock, for short and never while application code runs.

mod ending;
mod intake;
mod origin;
mod overdue;
mod proxied;
mod streams;

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{fmt, io};

use tidegate_http as http;
use tidegate_http::{RequestFault, RequestHead};

use crate::access_log::Noted;
use crate::admission::{Admission, Admitted, Ticket, Way};
use crate::body::{Body, BodyFault};
use crate::body_clock::BodyClock;
use crate::carrier::Carrier;
use crate::changes::Changes;
use crate::clock::{self, Millis, NEVER};
use crate::cut::Cut;
use crate::departure::Left;
use crate::exchange::Exchange;
use crate::h2;
use crate::keeper::Alarm;
use crate::lane::TurnedAway;
use crate::listener::{Caller, LocalAddress, Scheme, Speaks};
use crate::look::{Looked, Next, OwnAnswer, Turn, Wake};
use crate::output::{Flushed, Output, with_scratch};
use crate::protocol::Protocol;
use crate::record::{Flight, Observer, Outlived};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::socket::{Moved, Peer};
use crate::timer::Timers;
use crate::websocket::Session;
use overdue::Timed;
pub(crate) use proxied::Proxied;

/// What is left of a request body when its response is complete is read and dropped up to this size, to keep the connection.
pub(crate) const DISCARD_MAX: u64 = 64 * 1024;

/// How long, and how much, a connection is read after its last response, so that the peer gets that response instead of a
/// reset (RFC 9112 section 9.6).
const LINGER_MS: Millis = 2_000;
const LINGER_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of request bodies that all connections together hold in memory before each is held to [`BODY_SHARE`] of its own: a thousand uploads
/// at once are no reason to run out of it.
const BODIES_MEMORY_MAX: usize = 64 * 1024 * 1024;
const BODY_SHARE: usize = 16 * 1024;

/// Where a connection stands; see the drawing above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    Head,
    Gathering,
    Queued(Ticket),
    Serving,
    /// A WebSocket.
    Open,
    /// It carries streams, each of which is a connection of its own here.
    Multiplexed,
    Flushing,
    Lingering,
    Closed,
}

/// What comes after one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The phase has changed: take the next step.
    Again,
    /// Nothing to do until something happens.
    Rest,
    /// There is more to do, after the others have had their turn.
    Later,
}

/// What one read came to.
pub(crate) enum Filled {
    Some,
    Dry,
    Enough,
    Lost,
}

/// What is known of how a request came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// When its head was in, by [`clock::now_us`], where it will be logged.
    pub(crate) started_us: Option<u64>,
    /// The place of its id among the fields of its head.
    pub(crate) id_place: Option<u32>,
    /// How long it had waited in front of this server by then, in microseconds, where that is said by somebody who is trusted.
    pub(crate) front_queue_us: Option<u32>,
}

impl Arrival {
    /// The field that has the request's id.
    pub(crate) fn id_field<'a>(&self, head: &'a RequestHead) -> Option<(&'a [u8], &'a [u8])> {
        head.field_at(self.id_place? as usize)
    }
}

pub(crate) struct Connection {
    pub(crate) slot: usize,
    pub(crate) id: u64,
    pub(crate) carrier: Carrier,
    pub(crate) peer: Peer,
    /// How it begins.
    pub(crate) speaks: Speaks,
    /// What it says of its requests is believed.
    is_trusted: bool,
    pub(crate) local: Arc<LocalAddress>,
    /// What a server in front has said of it, once it has.
    pub(crate) proxied: OnceLock<Arc<Proxied>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) left: Left,
    /// The time of a request was over while the application had it: nothing that comes from there counts any more. There is none after it.
    pub(crate) expired: AtomicBool,
    /// See [`Exchange::note`].
    pub(crate) note: OnceLock<Box<dyn Any + Send + Sync>>,
    core: Mutex<Core>,
    pub(crate) changes: Changes,
    /// Among those that the reactor is to look at; see [`Shared::attend`].
    pub(crate) attended: AtomicBool,
    /// The system tells the reactor of it.
    pub(crate) is_watched: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) http: Protocol,
    pub(crate) phase: Phase,
    pub(crate) body: Body,
    pub(crate) output: Output,
    /// What there is of a WebSocket, from its beginning on.
    pub(crate) websocket: Option<Box<Session>>,
    /// What carries its streams, from its beginning on.
    session: Option<Box<h2::Session>>,
    /// Close when the output is flushed.
    pub(crate) close_after: bool,
    /// The request that is being gathered, or that waits its turn, is one of [`Settings::aside`].
    aside: bool,
    /// What limits the time of the request at hand, and where that is looked at.
    timed: Option<Timed>,
    alarm: Option<Alarm>,
    /// It was answered for the application, and logged.
    pub(crate) is_answered_for: bool,
    /// Which of [`Settings::limits`] has the request that is at hand.
    pub(crate) limit: Option<usize>,
    /// The head of the request that is being gathered.
    head: Option<(RequestHead, Arrival)>,
    /// The socket may hold bytes: edge-triggered wakes come once.
    pub(crate) readable: bool,
    /// The peer sends no more once the socket is read empty.
    pub(crate) ended: bool,
    /// A request was refused, so what follows it was never looked at.
    pub(crate) refused: bool,
    /// Responses that are out, with the connection kept for more.
    pub(crate) served: u64,
    /// It did not come to an orderly end.
    pub(crate) lost: bool,
    /// Why its response is not whole.
    pub(crate) cut: Option<Cut>,
    /// The request that this connection has, as it is counted and shown, if it is.
    flight: Option<Flight>,
    /// What is shown of its last request, whose application goes on.
    outlived: Option<Outlived>,
    /// It is counted as a WebSocket.
    pub(crate) is_websocket: bool,
    pub(crate) since_ms: Millis,
    idle_until_ms: Millis,
    pub(crate) progress_ms: Millis,
    pub(crate) body_clock: BodyClock,
    dropped: u64,
    /// How many bytes of the body are in the count of all bodies.
    counted: usize,
    /// When the reactor will look next.
    scheduled_ms: Millis,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection {} from {}", self.id, self.peer)
    }
}

impl Connection {
    pub(crate) fn new(
        (slot, id): (usize, u64),
        carrier: Carrier,
        Caller { peer, local, speaks }: Caller,
        shared: Arc<Shared>,
        now_ms: Millis,
    ) -> Self {
        let core = Core {
            http: Protocol::Http1(http::Connection::of(speaks.dialect(), shared.http.clone())),
            phase: Phase::Waiting,
            body: Body::default(),
            output: Output::default(),
            websocket: None,
            session: None,
            close_after: false,
            aside: false,
            timed: None,
            alarm: None,
            is_answered_for: false,
            limit: None,
            head: None,
            readable: false,
            ended: false,
            refused: false,
            served: 0,
            lost: false,
            cut: None,
            flight: None,
            outlived: None,
            is_websocket: false,
            since_ms: now_ms,
            // The first head has its deadline from accept on, whether or not a byte has come.
            idle_until_ms: now_ms + shared.settings.head_timeout_ms,
            progress_ms: now_ms,
            body_clock: BodyClock::Stopped { left_us: NEVER },
            dropped: 0,
            counted: 0,
            scheduled_ms: NEVER,
        };
        Self {
            slot,
            id,
            carrier,
            peer,
            speaks,
            is_trusted: shared.settings.trusted_proxies.include(peer),
            local,
            proxied: OnceLock::new(),
            shared,
            left: Left::default(),
            expired: AtomicBool::new(false),
            note: OnceLock::new(),
            core: Mutex::new(core),
            changes: Changes::default(),
            attended: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        // No code that can panic half-way through a change runs under this lock.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its end goes out in one segment with the last bytes before it.
    pub(crate) fn ends_with_data(&self) -> bool {
        matches!((&self.carrier, self.peer), (Carrier::Plain(_), Peer::Inet(_)))
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.is_set()
    }

    pub(crate) fn mark_left(&self) {
        self.left.set();
    }

    /// Bytes of this request's body that may be in memory now.
    fn body_memory_max(&self) -> usize {
        let most = self.shared.settings.body_memory_max;
        if self.is_crowded() { most.min(BODY_SHARE) } else { most }
    }

    /// Bodies have as much memory as all of them may.
    fn is_crowded(&self) -> bool {
        self.shared.bodies_held.load(Ordering::Relaxed) > BODIES_MEMORY_MAX
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Takes note of a wake and does what follows.
    pub(crate) fn on_wake(self: &Arc<Self>, wake: Wake, turn: &mut Turn<'_>) -> Looked {
        let mut core = self.lock();
        if wake.ended && !core.ended {
            core.ended = true;
            self.mark_left();
        }
        core.readable |= wake.readable || wake.ended;
        // Where both sides have said that they send no more, that is all it means.
        let is_shut = core.phase == Phase::Flushing && core.output.is_empty();
        if wake.broken
            && !is_shut
            && !matches!(core.phase, Phase::Lingering | Phase::Waiting | Phase::Head | Phase::Multiplexed)
        {
            core.lose(self, io::ErrorKind::ConnectionReset);
        }
        let more = wake.writable && core.flush_meanwhile(self, turn.now_ms);
        if wake.writable && core.output.is_empty() && self.carrier.is_pending() {
            // Its part of a handshake.
            if let Moved::Lost(kind) = self.carrier.flush() {
                core.lose(self, kind);
            }
        }
        let more = core.advance(self, turn) || more;
        core.looked(self.settings(), more)
    }

    /// The request has waited for its turn as long as it may.
    pub(crate) fn on_queue_timeout(
        self: &Arc<Self>,
        ticket: Ticket,
        turned_away: TurnedAway,
        turn: &mut Turn<'_>,
    ) -> Looked {
        let mut core = self.lock();
        turn.turned_away = core.end_wait(self, ticket).map(|exchange| (exchange, turned_away));
        core.looked(self.settings(), false)
    }

    /// The turn of a waiting request has come.
    pub(crate) fn end_wait(self: &Arc<Self>, ticket: Ticket) -> Option<Exchange> {
        let exchange = self.lock().end_wait(self, ticket)?;
        // The system is asked of those that have been here for longer than since the last poll.
        let is_new = self.carrier.socket().is_some() && !self.is_watched.load(Ordering::Relaxed);
        if self.has_left() || !is_new && self.carrier.is_ended() {
            // It has left without the reactor having come to see it.
            log::debug!("{}: the client has left before its turn came", self.peer);
            exchange.abort();
            return None;
        }
        Some(exchange)
    }

    /// Goes on after an exchange has changed something.
    pub(crate) fn on_attention(self: &Arc<Self>, turn: &mut Turn<'_>) -> Looked {
        let mut core = self.lock();
        if let Carrier::Stream(stream) = &self.carrier {
            core.readable = true;
            if core.phase != Phase::Closed && stream.is_reset() {
                core.lose(self, io::ErrorKind::ConnectionReset);
            }
        }
        let more = core.flush_meanwhile(self, turn.now_ms);
        let more = core.advance(self, turn) || more;
        core.looked(self.settings(), more)
    }

    /// A look that was scheduled for `at_ms`.
    pub(crate) fn on_time(self: &Arc<Self>, at_ms: Millis, turn: &mut Turn<'_>) -> Looked {
        let mut core = self.lock();
        let mut more = false;
        // An earlier look may have replaced this one.
        if core.scheduled_ms == at_ms {
            core.scheduled_ms = NEVER;
            if core.phase == Phase::Waiting && core.deadline_ms(self.settings()) <= turn.now_ms {
                // A request that has come since the poll is answered, instead of being met with a reset. Not looked for where that takes a
                // handshake that there is no time for.
                core.readable |= self.carrier.is_ready() || *turn.handshake_us > 0;
                more = core.advance(self, turn);
            }
            if !more && core.deadline_ms(self.settings()) <= turn.now_ms {
                core.miss_deadline(self);
                more = core.advance(self, turn);
            }
        }
        core.looked(self.settings(), more)
    }

    /// The server has begun to drain.
    pub(crate) fn on_drain(self: &Arc<Self>, now_ms: Millis) -> Looked {
        let mut core = self.lock();
        match core.phase {
            // Its first request is about to come.
            Phase::Waiting if self.carrier.is_shaking_hands() => {}
            Phase::Waiting => core.idle_until_ms = core.idle_until_ms.min(now_ms + self.settings().linger_ms),
            Phase::Open => core.close_for_drain(self, now_ms),
            // It will find out, when it is looked at.
            Phase::Multiplexed => self.shared.attend(self.clone()),
            _ => {}
        }
        core.looked(self.settings(), false)
    }

    /// Cuts the connection at once.
    pub(crate) fn on_stop(&self) -> Looked {
        let mut core = self.lock();
        if core.phase == Phase::Serving && !core.body.complete && core.body.fault.is_none() {
            core.body.fault = Some(BodyFault::Stopped);
        }
        core.cut.get_or_insert(Cut::Stop);
        core.lose(self, io::ErrorKind::ConnectionAborted);
        core.looked(self.settings(), false)
    }

    /// It is new. What a front server hands on comes with it; a client's first request comes a moment later, with a wake.
    pub(crate) fn on_accept(self: &Arc<Self>, turn: &mut Turn<'_>) -> Looked {
        let mut core = self.lock();
        core.readable = self.speaks.dialect() != http::Dialect::Http1;
        let more = core.readable && core.advance(self, turn);
        core.looked(self.settings(), more)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let counted = self.core.get_mut().unwrap_or_else(PoisonError::into_inner).counted;
        self.shared.bodies_held.fetch_sub(counted, Ordering::Relaxed);
    }
}

impl Core {
    /// Takes note of what the request does, where that is counted and shown.
    pub(crate) fn observe(&mut self, shared: &Shared, note: impl FnOnce(&mut Flight, &Observer)) {
        if let (Some(flight), Some(observer)) = (&mut self.flight, &shared.observer) {
            note(flight, observer);
        }
    }

    /// The request is over.
    pub(crate) fn end_flight(&mut self, shared: &Shared) {
        if let (Some(flight), Some(observer)) = (self.flight.take(), &shared.observer) {
            self.outlived = flight.end(observer, self.cut);
        }
    }

    /// No application has the request any more.
    pub(crate) fn leave_application(&mut self, shared: &Shared) {
        self.observe(shared, |flight, _| flight.leave_application());
        if let (Some(outlived), Some(observer)) = (self.outlived.take(), &shared.observer) {
            outlived.end(observer);
        }
    }

    /// Brings what this body has in memory into the count of all bodies.
    pub(crate) fn count_body(&mut self, shared: &Shared) {
        let held = self.body.held();
        if held > self.counted {
            shared.bodies_held.fetch_add(held - self.counted, Ordering::Relaxed);
        } else if held < self.counted {
            shared.bodies_held.fetch_sub(self.counted - held, Ordering::Relaxed);
        }
        self.counted = held;
    }

    /// What the reactor has to do after a look.
    fn looked(&mut self, settings: &Settings, more: bool) -> Looked {
        if self.phase == Phase::Closed {
            return Looked { more, next: Next::Forget };
        }
        if !self.is_due_before_the_look(settings) {
            return Looked { more, next: Next::AsScheduled };
        }
        self.scheduled_ms = Timers::round_up(self.deadline_ms(settings));
        Looked { more, next: Next::LookAt(self.scheduled_ms) }
    }

    /// The deadline has moved to before the look that is scheduled. Both on the grid of looks, or it would always have.
    pub(crate) fn is_due_before_the_look(&self, settings: &Settings) -> bool {
        Timers::round_up(self.deadline_ms(settings)) < self.scheduled_ms
    }

    /// Takes steps until there is nothing to do. True when there is more in a later turn.
    fn advance(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> bool {
        loop {
            let step = match self.phase {
                _ if self.is_before_proxy_header(connection) => self.take_proxy_header(connection, turn),
                Phase::Waiting | Phase::Head | Phase::Gathering | Phase::Serving => {
                    self.take_in(connection, turn)
                }
                // Who has closed its side before its turn came is not waited with.
                Phase::Queued(_) if self.ended => {
                    log::debug!("{}: the client has left before its turn came", connection.peer);
                    self.cut = Some(Cut::Client);
                    self.close(connection);
                    Step::Again
                }
                Phase::Queued(_) => Step::Rest,
                Phase::Open => self.take_messages(connection, turn),
                Phase::Multiplexed => self.carry_streams(connection, turn),
                Phase::Flushing => self.wind_up(connection, turn),
                Phase::Lingering => self.linger(connection, turn),
                Phase::Closed => Step::Rest,
            };
            match step {
                Step::Again => {}
                Step::Rest => return false,
                Step::Later => return true,
            }
        }
    }

    /// Where the request at hand is counted, and waits.
    fn way(&self) -> Way {
        Way { aside: self.aside, limit: self.limit }
    }

    /// Lets a client that waits for it send its body (RFC 9110 section 10.1.1).
    pub(crate) fn send_continue(&mut self, connection: &Connection, now_ms: Millis) {
        with_scratch(|out| {
            if self.http.send_continue(out) {
                let flushed = self.send_bytes(connection, out, now_ms);
                self.note_flushed(connection, &flushed, now_ms);
            }
        });
    }

    /// Sends an interim response, if one may be sent now.
    pub(crate) fn send_informational(
        &mut self,
        connection: &Connection,
        head: &http::ResponseHead,
        now_ms: Millis,
    ) {
        with_scratch(|out| {
            if self.http.send_informational(head, out) {
                let flushed = self.send_bytes(connection, out, now_ms);
                self.note_flushed(connection, &flushed, now_ms);
            }
        });
    }

    /// Sends bytes that are all there is to send now.
    pub(crate) fn send_bytes(&mut self, connection: &Connection, bytes: &[u8], now_ms: Millis) -> Flushed {
        self.begin_output(now_ms);
        self.output.send(&connection.carrier, bytes, false)
    }

    /// From here on output may wait: a peer's time to take it begins now, and not with what it took last.
    pub(crate) fn begin_output(&mut self, now_ms: Millis) {
        if self.output.is_empty() {
            self.progress_ms = now_ms;
        }
    }

    /// Has the application run, now or when the request's turn comes; at most once for each head.
    fn dispatch(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Step {
        let Some((head, arrival)) = self.head.take() else { return Step::Rest };
        self.body_clock.stop(turn.now_ms);
        if let Some(seat) = &connection.settings().seat {
            seat.count_request();
        }
        self.observe(&connection.shared, Flight::queue);
        let redirects = connection.speaks.scheme == Scheme::Redirect;
        let own = connection.shared.health_for(&head).or(redirects.then_some(OwnAnswer::Redirect));
        if let Some(own) = own {
            self.observe(&connection.shared, |flight, _| flight.leave_trace());
            self.phase = Phase::Serving;
            let exchange = Exchange::new(connection.clone(), head, self.served, arrival);
            turn.own = Some((exchange, own));
            return Step::Rest;
        }
        if let Some(answer) = connection.settings().static_files.answer(&head) {
            self.phase = Phase::Serving;
            let exchange = Exchange::new(connection.clone(), head, self.served, arrival);
            turn.own = Some((exchange, OwnAnswer::File(answer)));
            return Step::Rest;
        }
        match connection.shared.gates.enter(connection, self.way(), turn.now_ms) {
            Admission::Run(permit) => {
                self.phase = Phase::Serving;
                let exchange = Exchange::new(connection.clone(), head, self.served, arrival);
                let admitted = Admitted { exchange, permit };
                if admitted.permit.goes_first() {
                    turn.ready.push_front(admitted);
                } else {
                    turn.ready.push_back(admitted);
                }
            }
            Admission::Wait(ticket) => {
                self.phase = Phase::Queued(ticket);
                self.head = Some((head, arrival));
                self.observe(&connection.shared, Flight::wait);
                if self.ended {
                    return Step::Again;
                }
            }
            Admission::TurnAway(turned_away) => {
                self.phase = Phase::Serving;
                let exchange = Exchange::new(connection.clone(), head, self.served, arrival);
                turn.turned_away = Some((exchange, turned_away));
            }
        }
        Step::Rest
    }

    /// The exchange of a request that waits with this ticket, if it still does.
    fn end_wait(&mut self, connection: &Arc<Connection>, ticket: Ticket) -> Option<Exchange> {
        if self.phase != Phase::Queued(ticket) {
            return None;
        }
        let (head, arrival) = self.head.take()?;
        self.phase = Phase::Serving;
        self.observe(&connection.shared, Flight::end_wait);
        Some(Exchange::new(connection.clone(), head, self.served, arrival))
    }

    /// Answers the peer's fault and closes; the application is not run.
    fn refuse(&mut self, connection: &Arc<Connection>, fault: &RequestFault) {
        if !fault.is_answered() {
            log::debug!("{}: closed: {fault}", connection.peer);
            self.close(connection);
            return;
        }
        log::debug!("{}: {} {fault}", connection.peer, fault.status());
        let head = self.head.take();
        self.forget_time();
        self.refused = true;
        match (&mut self.flight, &connection.shared.observer) {
            (Some(flight), Some(observer)) => flight.answer(observer, fault.status(), false),
            (None, Some(observer)) => observer.count_unread(fault.status()),
            (_, None) => {}
        }
        let now_ms = clock::now_ms();
        let date = clock::date(now_ms);
        let server = connection.settings().server.as_deref();
        let extra = head.as_ref().and_then(|(head, arrival)| arrival.id_field(head));
        let context = http::SendContext { date: &date, server, extra, close: true };
        with_scratch(|out| {
            let body_size = self.http.send_fault(fault, &context, out);
            if let Some(access_log) = &connection.shared.access_log {
                let (head, arrival) =
                    head.as_ref().map_or_else(Default::default, |(head, at)| (Some(head), *at));
                access_log.write(
                    connection.client(head),
                    head,
                    (fault.status(), &Noted::default()),
                    body_size,
                    arrival,
                );
            }
            let flushed = self.send_bytes(connection, out, now_ms);
            self.note_flushed(connection, &flushed, now_ms);
        });
        if self.phase != Phase::Closed {
            self.close_after = true;
            self.phase = Phase::Flushing;
        }
    }

    /// Whether the reactor has something to do for this connection after an exchange has touched it.
    pub(crate) fn wants_attention(&self, settings: &Settings) -> bool {
        match self.phase {
            Phase::Waiting => {
                self.readable || self.http.buffered() > 0 || self.is_due_before_the_look(settings)
            }
            Phase::Serving => {
                let more_is_in =
                    self.readable || self.http.buffered() > 0 || self.http.body_left() == Some(0);
                let open = !self.body.complete && self.body.fault.is_none();
                (open && more_is_in) || self.is_due_before_the_look(settings)
            }
            Phase::Open => self.websocket_wants_attention(settings) || self.is_due_before_the_look(settings),
            _ => true,
        }
    }
}

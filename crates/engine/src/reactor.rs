//! The reactor: one epoll instance with every socket, the timer and the wake-up in it, and so one descriptor for all.
//!
//! A turn is a poll and the handling of what it found, which yields exchanges to run. A thread of its own sleeps in the poll; an
//! outer event loop watches the descriptor and polls without waiting.

mod arrivals;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::access_log::AccessLog;
use crate::admission::{Admitted, Gates, Shed};
use crate::clock::{self, Millis, NEVER};
use crate::connection::Connection;
use crate::counted::counted;
use crate::exchange::RETRY_AFTER_MIN_S;
use crate::keeper::Overdue;
use crate::lane::TurnedAway;
use crate::listener::{Caller, Entrance, Listener, LocalAddress, Speaks};
use crate::look::{Looked, Next, OwnAnswer, Turn, Wake};
use crate::settings::Settings;
use crate::shared::{Handle, Lifecycle, Shared};
use crate::socket::Socket;
use crate::sys;
use crate::timer::{Target, Timers};
use crate::websocket::FRAME_HEAD_MAX;
use arrivals::Accepting;

const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
const ROUSER: Token = Token(usize::MAX - 2);
const BELL: Token = Token(usize::MAX - 3);
/// Listeners count down from here, connections count up from zero.
const LISTENER_TOP: usize = usize::MAX - 4;

/// Wakes handled in one turn.
const EVENTS_MAX: usize = 256;

/// Bytes that are read before those who wait for them go on: what they are to receive is then still in the processor's caches. Small
/// messages are read for all first, because each answer may have a client waked on another core.
const READ_ON_MAX: usize = 64 * 1024;

/// How long handshakes may take in one round, but for the last of them: each is a good deal of arithmetic, and they come in bursts.
const HANDSHAKES_US: u64 = 1_000;

/// A look that is for no connection.
const NOBODY: Target = (usize::MAX, 0);

/// How long the requests of one round may take before others are looked for: three times a coarse clock's tick.
const ROUND_MAX_MS: Millis = 30;

/// How often the log is told of requests that were turned away.
const TELL_EVERY_MS: Millis = 10_000;

/// Sockets, timers and wake-ups of one event loop.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    events: Events,
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    /// Those of streams too, which have no socket of their own.
    connections: Slab<Arc<Connection>>,
    /// Those that have come since the poll: one that is over by the next is spared being watched.
    unwatched: Vec<Target>,
    /// What exchanges have changed was looked at without a poll.
    has_skipped_poll: bool,
    /// How many of them are streams.
    streams: usize,
    next_id: u64,
    timers: Timers,
    rouser: Option<OwnedFd>,
    /// What sockets are read into; what stays is copied out.
    scratch: Vec<u8>,
    /// Bytes that were read since an exchange was asked for.
    read: usize,
    /// What is left of the time that this round has for handshakes.
    handshake_us: u64,
    ready: VecDeque<Admitted>,
    /// When the timer will go off for those that wait their turn.
    queue_look_ms: Millis,
    /// When the listeners are looked at for connections that were left to other workers.
    look_again_ms: Millis,
    /// Requests turned away since the log was told, and when it may be told again.
    turned_away: [u64; Shed::ALL.len()],
    tell_ms: Millis,
    /// What the last poll has found and is not handled yet.
    work: VecDeque<Work>,
    /// When it found it.
    polled_ms: Millis,
    /// The time for the work at hand, which may come long after the poll: applications run in between.
    now_ms: Millis,
    /// An outer loop watches the descriptor, so unfinished work must leave it readable.
    watched: bool,
    draining_until_ms: Millis,
    seen: Lifecycle,
}

impl Reactor {
    /// A reactor that accepts from `listeners` once it is opened ([`Handle::open`]).
    ///
    /// # Errors
    /// What the system says of epoll, eventfd or timerfd.
    pub fn new(
        listeners: Vec<Listener>,
        settings: Settings,
        access_log: Option<AccessLog>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let timers = Timers::new()?;
        let timer_fd = timers.descriptor().as_raw_fd();
        poll.registry().register(&mut SourceFd(&timer_fd), TIMER, Interest::READABLE)?;
        if let Some(seat) = &settings.seat {
            poll.registry().register(&mut SourceFd(&seat.bell()), BELL, Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            scratch: vec![0; settings.read_ahead_max.max(1) + FRAME_HEAD_MAX],
            read: 0,
            handshake_us: 0,
            shared: Arc::new(Shared::new(settings, access_log, waker)),
            listeners,
            connections: Slab::new(),
            unwatched: Vec::new(),
            has_skipped_poll: false,
            streams: 0,
            next_id: 0,
            timers,
            rouser: None,
            ready: VecDeque::new(),
            queue_look_ms: NEVER,
            look_again_ms: NEVER,
            turned_away: Default::default(),
            tell_ms: 0,
            work: VecDeque::new(),
            polled_ms: 0,
            now_ms: 0,
            watched: false,
            draining_until_ms: NEVER,
            seen: Lifecycle::Waiting,
        })
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Where it listens.
    pub fn entrances(&self) -> Vec<Entrance> {
        self.listeners.iter().map(Listener::entrance).collect()
    }

    /// Its listeners, until it drains or stops.
    pub fn listeners(&mut self) -> &mut [Listener] {
        &mut self.listeners
    }

    /// The one descriptor: readable whenever a turn would find something to do. Asked for by an outer loop that watches it.
    pub fn descriptor(&mut self) -> RawFd {
        self.watched = true;
        self.poll.as_raw_fd()
    }

    /// Serves a peer at the other end of a pair of sockets, as if it had connected, whether or not the listeners are open.
    ///
    /// # Errors
    /// What the system says.
    pub fn welcome_peer(&mut self, socket: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let local = self.listeners.first().map(|listener| Arc::new(listener.address().clone()));
        let local = local.unwrap_or_else(|| Arc::new(LocalAddress::Unix(PathBuf::new())));
        let caller = Caller { peer: crate::Peer::Unix, local, speaks: Speaks::default() };
        self.welcome(Socket::new(socket), caller, clock::now_ms());
        Ok(())
    }

    /// Has a thread of its own tell of requests that take too long, from here on and where the settings limit their time. It holds no lock then.
    ///
    /// # Errors
    /// What the system says of the thread.
    pub fn tell_overdue(&self, tell: impl Fn(Overdue) + Send + 'static) -> io::Result<()> {
        self.shared.keeper.as_ref().map_or(Ok(()), |keeper| keeper.start(tell))
    }

    /// Has a poll return when `pipe` becomes readable; what can be read from it is dropped.
    ///
    /// # Errors
    /// What the system says of epoll.
    pub fn rouse_by(&mut self, pipe: OwnedFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&pipe.as_raw_fd()), ROUSER, Interest::READABLE)?;
        self.rouser = Some(pipe);
        Ok(())
    }

    /// Nothing is left to serve, and nothing will come.
    pub fn is_finished(&self) -> bool {
        self.seen.is_ending() && self.connections.is_empty() && self.ready.is_empty()
    }

    /// Waits at most `max_wait` (`None`: as long as it takes) for something to happen, unless there is work left already.
    ///
    /// The part of a turn to spend without the interpreter; [`Reactor::next_exchange`] is the other.
    ///
    /// # Errors
    /// What the system says of epoll or timerfd; nothing that a peer does.
    pub fn poll(&mut self, max_wait: Option<Duration>) -> io::Result<()> {
        if !self.work.is_empty() {
            // What was answered meanwhile goes out before more is taken in.
            self.shared.take_attention_first(&mut self.work);
            return Ok(());
        }
        self.follow_lifecycle();
        self.shared.take_attention(&mut self.work);
        // What exchanges have left to do is done at once, but not time after time: others wait in the poll.
        self.has_skipped_poll = !self.watched && !self.has_skipped_poll && !self.work.is_empty();
        if self.has_skipped_poll {
            return Ok(());
        }
        self.watch_new();
        let unfinished =
            !self.work.is_empty() || !self.ready.is_empty() || self.listeners_want() || self.is_finished();
        let mut wait = if unfinished { Some(Duration::ZERO) } else { max_wait };
        self.schedule_queue();
        self.timers.arm(clock::now_ms)?;
        if wait != Some(Duration::ZERO) && !self.shared.fall_asleep() {
            wait = Some(Duration::ZERO);
        }
        let polled = self.poll.poll(&mut self.events, wait);
        self.shared.awake();
        match polled {
            // A signal came; its handler has run.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(()) => self.work.extend(self.events.iter().map(Work::of)),
        }
        self.work.push_back(Work::EndRound);
        self.polled_ms = clock::now_ms();
        self.now_ms = self.polled_ms;
        self.handshake_us = HANDSHAKES_US;
        if let Some(seat) = &self.shared.settings.seat {
            let accepts = matches!(self.seen, Lifecycle::Serving | Lifecycle::Retiring);
            seat.note_look(if accepts { self.polled_ms } else { 0 });
        }
        Ok(())
    }

    /// Handles what [`Reactor::poll`] has found, up to the first exchange that is ready for the application.
    ///
    /// One at a time, so that a request is answered while its socket is still in the processor's caches. `None` when all is
    /// handled, or waits for others to be over, or is to wait for the next poll; an outer loop asks until then before it watches the descriptor again.
    pub fn next_exchange(&mut self) -> Option<Admitted> {
        self.next_exchange_unless(|| false)
    }

    /// As [`Reactor::next_exchange`], but comes back without one when much has been read and `woken` says that somebody who waited for a
    /// connection may go on.
    pub fn next_exchange_unless(&mut self, woken: impl Fn() -> bool) -> Option<Admitted> {
        let now_ms = clock::now_ms();
        if !self.work.is_empty() {
            self.now_ms = now_ms;
        }
        // A round that takes long keeps others from being seen: the rest of its work is handled at once, so that requests are
        // counted, and those that are too many turned away; and the next poll comes before the next request.
        let long = now_ms > self.polled_ms + ROUND_MAX_MS;
        self.read = 0;
        let enough = |read| read >= READ_ON_MAX && woken();
        while (long || self.ready.is_empty() && !enough(self.read)) && self.handle_one() {}
        if long && (!self.ready.is_empty() || self.shared.gates.both().iter().any(|gate| gate.any_waits())) {
            if self.watched {
                self.shared.wake();
            }
            return None;
        }
        self.ready.pop_front().or_else(|| Gates::admit_waiting(&self.shared))
    }

    /// Polls, and handles all of what it finds; exchanges that become ready are kept for [`Reactor::next_exchange`].
    ///
    /// What a call does that waits in the middle of an exchange.
    ///
    /// # Errors
    /// As [`Reactor::poll`].
    pub fn turn(&mut self, max_wait: Option<Duration>) -> io::Result<()> {
        self.poll(max_wait)?;
        self.now_ms = clock::now_ms();
        while self.handle_one() {}
        Ok(())
    }

    /// Handles one piece of work. False when there is none.
    fn handle_one(&mut self) -> bool {
        let Some(work) = self.work.pop_front() else { return false };
        let now_ms = self.now_ms;
        match work {
            Work::Attend(connection) => {
                // Before the look: what changes after it asks for another.
                if connection.attended.swap(false, Ordering::AcqRel) {
                    self.look(&connection, now_ms, |connection, turn| connection.on_attention(turn));
                }
            }
            Work::Wake(number, wake) => {
                // A stream may have the place of a connection that has closed in this round; nothing wakes it.
                let woken = self.connections.get(number).filter(|known| known.carrier.socket().is_some());
                if let Some(connection) = woken.cloned() {
                    self.look(&connection, now_ms, |connection, turn| connection.on_wake(wake, turn));
                } else if let Some(listener) = self.listeners.get_mut(LISTENER_TOP.saturating_sub(number)) {
                    listener.ready = true;
                }
            }
            Work::TimerFired => self.timers.fired(),
            // mio empties the eventfd by itself; being awake is all it is for.
            Work::Woken => {}
            Work::Roused => {
                let mut bytes = [0; 64];
                while self
                    .rouser
                    .as_ref()
                    .is_some_and(|pipe| matches!(rustix::io::read(pipe, &mut bytes), Ok(1..)))
                {
                }
            }
            Work::BellRang => {
                if let Some(seat) = &self.shared.settings.seat {
                    seat.hear();
                }
                self.listeners.iter_mut().for_each(|listener| listener.ready = true);
            }
            Work::EndRound => self.end_round(),
            Work::Accept(accepting) => self.go_on_accepting(accepting),
        }
        true
    }

    /// What comes after all wakes of a round: a slot that they set free must not be used again while there are more for its
    /// former owner, so accepting is last; streams, which have no wakes, are opened at any time.
    fn end_round(&mut self) {
        self.follow_lifecycle();
        // By the time of the poll: what has come since is seen before it is missed.
        self.keep_deadlines(self.polled_ms);
        if self.watched {
            self.accept_all();
            self.watch_new();
            // From here on, whoever adds work wakes the outer loop; what is left already does so at once.
            self.schedule_queue();
            let armed = self.timers.arm(clock::now_ms).is_ok();
            let silent =
                armed && self.shared.fall_asleep() && !self.listeners_want() && self.ready.is_empty();
            if !silent {
                self.shared.wake();
            }
        } else {
            let accepting = self.begin_accepting();
            self.go_on_accepting(accepting);
        }
    }

    /// Lets one connection take its steps, and draws the consequences for timers and slots.
    fn look(
        &mut self,
        connection: &Arc<Connection>,
        now_ms: Millis,
        steps: impl FnOnce(&Arc<Connection>, &mut Turn<'_>) -> Looked,
    ) {
        let mut turn = Turn::new(now_ms, &mut self.scratch, &mut self.ready, &mut self.handshake_us);
        let Looked { more, next } = steps(connection, &mut turn);
        let turned_away = turn.turned_away.take();
        let own = turn.own.take();
        let opened = std::mem::take(&mut turn.opened);
        self.read += turn.spent();
        connection.changes.announce();
        if let Some((exchange, TurnedAway { shed, delay_ms })) = turned_away {
            exchange.turn_away(shed, Duration::from_millis(delay_ms));
            self.note_turned_away(shed, now_ms);
        }
        match own {
            Some((exchange, OwnAnswer::Well)) => exchange.affirm(),
            Some((exchange, OwnAnswer::Unwell)) => exchange.decline(RETRY_AFTER_MIN_S),
            Some((exchange, OwnAnswer::Redirect)) => exchange.redirect(),
            Some((exchange, OwnAnswer::File(answer))) => exchange.answer_with(answer),
            None => {}
        }
        if more {
            self.shared.attend(connection.clone());
        }
        if !opened.is_empty() {
            // If they are answered by then, it is looked at before the next: what they have brought goes out.
            self.work.push_front(Work::Attend(connection.clone()));
            opened.into_iter().for_each(|opened| self.open_stream(connection, opened, now_ms));
        }
        match next {
            Next::Forget => self.forget(connection),
            Next::LookAt(at_ms) => self.timers.push(at_ms, (connection.slot, connection.id)),
            Next::AsScheduled => {}
        }
    }

    /// Has the timer go off for the first that waits its turn: one entry for all of them.
    fn schedule_queue(&mut self) {
        let [main_ms, aside_ms] = self.shared.gates.both().map(|gate| gate.earliest_ms());
        let earliest_ms = main_ms.min(aside_ms);
        if earliest_ms < self.queue_look_ms {
            self.queue_look_ms = earliest_ms;
            self.timers.push(earliest_ms, NOBODY);
        }
    }

    fn note_turned_away(&mut self, shed: Shed, now_ms: Millis) {
        let is_first = !self.any_untold();
        self.turned_away[shed as usize] += 1;
        if now_ms >= self.tell_ms {
            self.tell_turned_away(now_ms);
        } else if is_first {
            self.timers.push(self.tell_ms, NOBODY);
        }
    }

    fn any_untold(&self) -> bool {
        self.turned_away.iter().any(|&count| count > 0)
    }

    fn tell_turned_away(&mut self, now_ms: Millis) {
        let counts = std::mem::take(&mut self.turned_away);
        let total: u64 = counts.iter().sum();
        let told = counts.iter().zip(Shed::ALL).filter(|(count, _)| **count > 0);
        let told: Vec<_> = told.map(|(count, shed)| format!("{count} {}", shed.reason())).collect();
        let total = counted(total, "request was", "requests were");
        log::warn!("{total} turned away: {}", told.join("; "));
        self.tell_ms = now_ms + TELL_EVERY_MS;
    }

    fn keep_deadlines(&mut self, now_ms: Millis) {
        // Taken out before the first look: one that is still due after its look is looked at in the next round.
        let due: Vec<_> = std::iter::from_fn(|| self.timers.pop_due(now_ms)).collect();
        for (at_ms, (slot, id)) in due {
            let found = self.connections.get(slot).filter(|connection| connection.id == id).cloned();
            if let Some(connection) = found {
                self.look(&connection, now_ms, |connection, turn| connection.on_time(at_ms, turn));
            }
        }
        if now_ms >= self.queue_look_ms {
            self.queue_look_ms = NEVER;
        }
        let expired = |shared: &Shared| shared.gates.both().iter().find_map(|gate| gate.pop_over(now_ms));
        while let Some((ticket, connection, turned_away)) = expired(&self.shared) {
            self.look(&connection, now_ms, |connection, turn| {
                connection.on_queue_timeout(ticket, turned_away, turn)
            });
        }
        if now_ms >= self.tell_ms && self.any_untold() {
            self.tell_turned_away(now_ms);
        }
        if now_ms >= self.draining_until_ms {
            if self.seen == Lifecycle::Draining {
                let open = counted(self.open() as u64, "connection is", "connections are");
                log::warn!("the grace is over: {open} cut");
            }
            Handle(self.shared.clone()).stop();
            self.follow_lifecycle();
        }
    }

    fn follow_lifecycle(&mut self) {
        let lifecycle = self.shared.lifecycle();
        if lifecycle == self.seen {
            return;
        }
        let before = std::mem::replace(&mut self.seen, lifecycle);
        if !lifecycle.is_ending() {
            if before == Lifecycle::Waiting
                && let Err(error) = self.watch_listeners()
            {
                log::error!("no connections can be waited for: {error}");
                Handle(self.shared.clone()).stop();
            }
            return;
        }
        let now_ms = clock::now_ms();
        if lifecycle == Lifecycle::Draining && before != Lifecycle::Waiting {
            // Who has connected in time is answered; a listener that is closed resets those in its backlog.
            self.listeners.iter_mut().for_each(|listener| listener.ready = true);
            self.now_ms = now_ms;
            self.accept_all();
        }
        // Closed at once, so that a successor may bind and peers are refused instead of left waiting.
        for listener in self.listeners.drain(..) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&listener.raw()));
        }
        let connections: Vec<_> = self.connections.iter().map(|(_, connection)| connection.clone()).collect();
        for connection in connections {
            self.look(&connection, now_ms, |connection, turn| {
                if lifecycle == Lifecycle::Stopping {
                    connection.on_stop()
                } else {
                    connection.on_drain(turn.now_ms)
                }
            });
        }
        match lifecycle {
            Lifecycle::Draining => {
                self.draining_until_ms = now_ms + self.shared.settings.graceful_timeout_ms;
                self.timers.push(self.draining_until_ms, NOBODY);
            }
            _ => {
                self.draining_until_ms = NEVER;
                self.ready.clear();
            }
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // A stream, and what carries streams, is held by what the h2 crate is to wake until it is closed.
        for connection in self.connections.drain().filter(|connection| connection.is_held()) {
            connection.on_stop();
        }
        self.shared.abandon();
    }
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::borrow(&self.poll)
    }
}

/// A piece of a round's work.
#[derive(Debug)]
pub(crate) enum Work {
    /// An exchange has changed this connection, unless it was looked at since.
    Attend(Arc<Connection>),
    /// The socket with this token woke.
    Wake(usize, Wake),
    TimerFired,
    Woken,
    Roused,
    /// Another worker leaves a connection to this one.
    BellRang,
    EndRound,
    /// More connections may be waiting.
    Accept(Accepting),
}

impl Work {
    fn of(event: &Event) -> Self {
        match event.token() {
            WAKER => Self::Woken,
            TIMER => Self::TimerFired,
            ROUSER => Self::Roused,
            BELL => Self::BellRang,
            Token(number) => Self::Wake(
                number,
                Wake {
                    readable: event.is_readable(),
                    writable: event.is_writable(),
                    ended: event.is_read_closed(),
                    broken: event.is_write_closed() || event.is_error(),
                },
            ),
        }
    }
}

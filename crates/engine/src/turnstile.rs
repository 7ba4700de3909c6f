//! A count of what runs and a queue of what waits, of whatever kind it is.
//!
//! Nothing that may run is forgotten: where a place is given back while one waits, whoever gives it back is told so.

use std::collections::BTreeMap;

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(all(loom, test))]
use loom::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(all(loom, test)))]
use std::sync::{Mutex, MutexGuard};

use crate::clock::{Millis, NEVER};

/// A place among those that wait: lower ones came first.
pub(crate) type Ticket = u64;

/// What becomes of one that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It runs, and is counted until [`Turnstile::give_back`].
    Run,
    Wait(Ticket),
    TurnAway,
}

#[derive(Debug)]
struct Waiting<T> {
    what: T,
    until_ms: Millis,
}

#[derive(Debug)]
struct State<T> {
    running: usize,
    /// Most that may run by themselves, how many more may beside those that do not end, and most that may wait.
    running_max: usize,
    lent: usize,
    waiting_max: usize,
    last: Ticket,
    /// In order of their coming. All wait equally long, so it is the order of their deadlines too.
    waiting: BTreeMap<Ticket, Waiting<T>>,
}

impl<T> State<T> {
    fn has_admissible(&self) -> bool {
        self.has_place() && !self.waiting.is_empty()
    }

    fn has_place(&self) -> bool {
        self.running < self.running_max + self.lent
    }
}

/// Lets so many run at once, and so many wait for it.
#[derive(Debug)]
pub(crate) struct Turnstile<T> {
    state: Mutex<State<T>>,
    /// How many wait, for those who only want to know whether any do.
    waiting_count: AtomicUsize,
}

impl<T> Turnstile<T> {
    /// Tickets begin after `before`, so that those of two turnstiles can be told apart.
    pub(crate) fn new(running_max: usize, waiting_max: usize, before: Ticket) -> Self {
        let running_max = running_max.max(1);
        let state =
            State { running: 0, running_max, lent: 0, waiting_max, last: before, waiting: BTreeMap::new() };
        Self { state: Mutex::new(state), waiting_count: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics half-way through a change under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_waiting(&self, state: &State<T>) {
        self.waiting_count.store(state.waiting.len(), Ordering::Release);
    }

    /// One more is ready to run. It is made only to wait.
    pub(crate) fn come(&self, until_ms: Millis, what: impl FnOnce() -> T) -> Entry {
        let mut state = self.lock();
        if state.has_place() && state.waiting.is_empty() {
            state.running += 1;
            return Entry::Run;
        }
        if state.waiting.len() >= state.waiting_max {
            return Entry::TurnAway;
        }
        state.last += 1;
        let ticket = state.last;
        state.waiting.insert(ticket, Waiting { what: what(), until_ms });
        self.note_waiting(&state);
        Entry::Wait(ticket)
    }

    /// The one with this ticket waits no longer.
    pub(crate) fn leave(&self, ticket: Ticket) {
        let mut state = self.lock();
        state.waiting.remove(&ticket);
        self.note_waiting(&state);
    }

    /// When the first of those that wait has waited for too long.
    pub(crate) fn earliest_ms(&self) -> Millis {
        if !self.any_waits() {
            return NEVER;
        }
        self.lock().waiting.values().next().map_or(NEVER, |first| first.until_ms)
    }

    /// Takes out one that has waited for too long.
    pub(crate) fn pop_expired(&self, now_ms: Millis) -> Option<(Ticket, T)> {
        let mut state = self.lock();
        let first = state.waiting.first_entry().filter(|first| first.get().until_ms <= now_ms)?;
        let (ticket, waiting) = first.remove_entry();
        self.note_waiting(&state);
        Some((ticket, waiting.what))
    }

    /// Gives the place of one that is over to the one that has waited longest, and not too long, and that `begin` does not refuse, as it
    /// may have left just now. When there is none, the place is still to be given back.
    pub(crate) fn pass_on<R>(
        &self,
        now_ms: impl Fn() -> Millis,
        mut begin: impl FnMut(Ticket, T) -> Option<R>,
    ) -> Option<R> {
        while self.any_waits() {
            let (ticket, what) = self.pop_waiting(now_ms())?;
            // The lock is free again: `begin` takes others, which come before it.
            let begun = begin(ticket, what);
            if begun.is_some() {
                return begun;
            }
        }
        None
    }

    /// None if fewer may run than when the place was given out.
    fn pop_waiting(&self, now_ms: Millis) -> Option<(Ticket, T)> {
        let mut state = self.lock();
        if state.running > state.running_max + state.lent {
            return None;
        }
        // Those whose time is up are the reactor's to turn away.
        let (&ticket, _) = state.waiting.iter().find(|(_, waiting)| waiting.until_ms > now_ms)?;
        let waiting = state.waiting.remove(&ticket)?;
        self.note_waiting(&state);
        Some((ticket, waiting.what))
    }

    /// Takes a free place for one that waits, to be passed on. False when there is none, or nobody wants it.
    pub(crate) fn take_place(&self) -> bool {
        if !self.any_waits() {
            return false;
        }
        let mut state = self.lock();
        let taken = state.has_admissible();
        state.running += usize::from(taken);
        taken
    }

    /// One is over, and its place was not passed on. True when one waits that may run now, of which somebody is to be told.
    pub(crate) fn give_back(&self) -> bool {
        let mut state = self.lock();
        state.running -= 1;
        state.has_admissible()
    }

    /// Whether one waits that may run.
    pub(crate) fn has_admissible(&self) -> bool {
        self.any_waits() && self.lock().has_admissible()
    }

    /// Changes how many may run. What runs already goes on. True as of [`Turnstile::give_back`].
    pub(crate) fn limit(&self, running_max: usize) -> bool {
        let mut state = self.lock();
        state.running_max = running_max.max(1);
        state.has_admissible()
    }

    /// So many of those that run do not end, and others may in their stead. True as of [`Turnstile::give_back`].
    pub(crate) fn lend(&self, count: usize) -> bool {
        let mut state = self.lock();
        state.lent = count;
        state.has_admissible()
    }

    /// Whether what comes now would be turned away.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        !state.has_place() && state.waiting.len() >= state.waiting_max
    }

    /// Whether any wait.
    pub(crate) fn any_waits(&self) -> bool {
        self.waiting_count.load(Ordering::Acquire) > 0
    }

    /// Forgets those that wait: there will be nobody to run them.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        self.note_waiting(&state);
        drop(state);
        drop(waiting);
    }
}

/// `make model` runs these.
#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sleep::Sleep;
    use crate::sleep::model::{Bell, explore};
    use loom::sync::Arc;
    use loom::thread::{self, JoinHandle};

    /// When a request has waited for too long; the time is 0 or this.
    const UNTIL_MS: Millis = 1;

    /// Where a request stands; locked as a connection is.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Phase {
        Coming,
        Queued(Ticket),
        Begun,
        Left,
        TurnedAway,
    }

    #[derive(Debug)]
    struct Request(Mutex<Phase>);

    struct Server {
        gate: Turnstile<Arc<Request>>,
        sleep: Sleep,
        reactor: Bell,
        running_max: usize,
        now_ms: Millis,
        // Not loom's, so that counting adds no interleavings. Threads take turns here.
        running: std::sync::atomic::AtomicUsize,
        left_over: std::sync::atomic::AtomicUsize,
    }

    impl Server {
        fn begin(&self) {
            let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(running <= self.running_max, "{running} run");
        }

        fn end(&self) {
            self.running.fetch_sub(1, Ordering::Relaxed);
        }

        /// One request less to hear of. Nothing is left that a wake-up could be lost of when the last has its own.
        fn settle(&self) {
            if self.left_over.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.reactor.ring();
            }
        }

        /// `Connection::end_wait`.
        fn end_wait(&self, ticket: Ticket, request: &Request, phase: Phase) -> Option<()> {
            let mut at = request.0.lock().unwrap();
            if *at != Phase::Queued(ticket) {
                return None;
            }
            *at = phase;
            if phase == Phase::Begun {
                self.begin();
            }
            self.settle();
            Some(())
        }

        fn pass_on(&self) -> bool {
            self.gate
                .pass_on(|| self.now_ms, |ticket, request| self.end_wait(ticket, &request, Phase::Begun))
                .is_some()
        }

        /// The end of a request and what a permit does then, passed on for as long as any wait, or not at all.
        fn finish(&self, passes_on: bool) {
            self.end();
            while passes_on && self.pass_on() {
                self.end();
            }
            self.drop_permit();
        }

        fn drop_permit(&self) {
            if self.gate.give_back() && self.sleep.must_be_woken() {
                self.reactor.ring();
            }
        }

        /// A request is ready to run; if it may, the reactor runs it itself.
        fn dispatch(&self, request: &Arc<Request>) {
            let mut at = request.0.lock().unwrap();
            match self.gate.come(UNTIL_MS, || request.clone()) {
                Entry::Run => {
                    *at = Phase::Begun;
                    self.begin();
                    self.settle();
                    drop(at);
                    self.finish(false);
                }
                Entry::Wait(ticket) => *at = Phase::Queued(ticket),
                Entry::TurnAway => unreachable!("more may wait than come"),
            }
        }

        fn turn_away(&self, now_ms: Millis) {
            while let Some((ticket, request)) = self.gate.pop_expired(now_ms) {
                let _ = self.end_wait(ticket, &request, Phase::TurnedAway);
            }
        }

        /// Turns until every request has begun or is gone. If a wake-up is lost, all threads are over but for this one, which loom
        /// calls a deadlock.
        fn turn_to_the_end(&self) {
            while self.left_over.load(Ordering::Relaxed) > 0 {
                self.turn_away(self.now_ms);
                while self.gate.take_place() {
                    if self.pass_on() {
                        self.finish(false);
                    } else {
                        self.drop_permit();
                    }
                }
                if self.sleep.fall_asleep(|| self.gate.has_admissible()) {
                    self.reactor.sleep();
                }
                self.sleep.awake();
            }
        }
    }

    /// So many requests run, as many as may, on threads of their own. `coming` come meanwhile, `then` something happens to them,
    /// and what becomes of them is looked at.
    fn requests_come(
        running_max: usize,
        coming: usize,
        now_ms: Millis,
        passes_on: bool,
        then: impl Fn(&Server, &[Arc<Request>]) + Send + Sync + 'static,
    ) {
        explore(1 + running_max, move || {
            let server = Arc::new(Server {
                gate: Turnstile::new(running_max, coming, 0),
                sleep: Sleep::default(),
                reactor: Bell::new(),
                running_max,
                now_ms,
                running: 0.into(),
                left_over: coming.into(),
            });
            let others: Vec<JoinHandle<()>> = (0..running_max)
                .map(|_| {
                    assert_eq!(server.gate.come(UNTIL_MS, || unreachable!()), Entry::Run);
                    server.begin();
                    let server = server.clone();
                    thread::spawn(move || server.finish(passes_on))
                })
                .collect();
            let requests: Vec<_> =
                (0..coming).map(|_| Arc::new(Request(Mutex::new(Phase::Coming)))).collect();
            requests.iter().for_each(|request| server.dispatch(request));
            then(&server, &requests);
            server.turn_to_the_end();
            others.into_iter().for_each(|other| other.join().unwrap());
            for request in &requests {
                let phase = *request.0.lock().unwrap();
                assert!(matches!(phase, Phase::Begun | Phase::Left | Phase::TurnedAway), "{phase:?}");
            }
            // As it was before: no place is lost, none is counted twice.
            let state = server.gate.lock();
            assert_eq!((state.running, state.waiting.len()), (0, 0));
        });
    }

    #[test]
    fn a_permit_that_is_dropped_wakes_the_reactor_or_is_seen_before_it_sleeps() {
        requests_come(1, 1, 0, false, |_, _| {});
        requests_come(1, 2, 0, false, |_, _| {});
    }

    #[test]
    fn a_permit_that_is_passed_on_is_used_once() {
        requests_come(1, 1, 0, true, |_, _| {});
        requests_come(1, 2, 0, true, |_, _| {});
    }

    #[test]
    fn two_permits_come_back_at_once() {
        requests_come(2, 1, 0, true, |_, _| {});
        requests_come(2, 1, 0, false, |_, _| {});
    }

    #[test]
    fn a_client_leaves_while_its_turn_comes() {
        requests_come(1, 2, 0, true, |server, requests| {
            let mut at = requests[0].0.lock().unwrap();
            if let Phase::Queued(ticket) = *at {
                server.gate.leave(ticket);
                *at = Phase::Left;
                server.settle();
            }
        });
    }

    #[test]
    fn a_request_is_turned_away_while_its_turn_comes() {
        requests_come(1, 2, 0, true, |server, _| server.turn_away(UNTIL_MS));
    }

    #[test]
    fn a_permit_is_not_passed_on_to_one_whose_time_is_up() {
        requests_come(1, 2, UNTIL_MS, true, |_, _| {});
    }

    #[test]
    fn fewer_may_run_for_a_while() {
        requests_come(2, 1, 0, true, |server, _| {
            let limit = |running_max| {
                if server.gate.limit(running_max) && server.sleep.must_be_woken() {
                    server.reactor.ring();
                }
            };
            limit(1);
            limit(2);
        });
    }
}

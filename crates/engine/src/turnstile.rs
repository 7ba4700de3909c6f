//! A count of what runs and the queues of what waits, of whatever kind it is.
//!
//! What comes, comes in a lane. A lane may run as many as it may while all lanes together run no more than all may; a lane beside
//! them has a number of its own. Of those that may run, the one that has waited longest is next, whatever its lane.
//!
//! Nothing that may run is forgotten: where a place is given back while one waits, whoever gives it back is told so. A place that one
//! leaves, in its lane and among all, lets at most one more run, so that passing it on is enough.

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
use crate::lane::{Lane, LanePlan, Shed, Ticket, TurnedAway};

/// Which of a turnstile's lanes.
pub(crate) type LaneNumber = usize;

/// What becomes of one that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It runs, and is counted until [`Turnstile::give_back`].
    Run,
    Wait(Ticket),
    TurnAway(TurnedAway),
}

#[derive(Debug)]
struct State<T> {
    /// What runs in all lanes but those beside.
    running: usize,
    /// Most of it that may, and how many more may in the stead of those that do not end.
    running_max: usize,
    lent: usize,
    last: Ticket,
    lanes: Box<[Lane<T>]>,
}

impl<T> State<T> {
    fn has_room(&self, lane: &Lane<T>) -> bool {
        lane.has_room() && (lane.plan.beside || self.running < self.running_max + self.lent)
    }

    /// The lane of the one that is next, if one may run: the one that has waited longest.
    fn first_admissible(&self) -> Option<LaneNumber> {
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| self.has_room(lane));
        let first = lanes.filter_map(|(number, lane)| Some((lane.first()?, number))).min()?;
        Some(first.1)
    }

    /// The same of those in lanes beside, or in the others, that have not waited for too long.
    fn first_in_time(&self, beside: bool, now_ms: Millis) -> Option<(Ticket, LaneNumber)> {
        let lanes = self.lanes.iter().enumerate();
        let lanes = lanes.filter(|(_, lane)| lane.plan.beside == beside && self.has_room(lane));
        lanes.filter_map(|(number, lane)| Some((lane.first_in_time(now_ms)?, number))).min()
    }

    fn occupy(&mut self, lane: LaneNumber) {
        let lane = &mut self.lanes[lane];
        lane.running += 1;
        self.running += usize::from(!lane.plan.beside);
    }

    fn vacate(&mut self, lane: LaneNumber) {
        let lane = &mut self.lanes[lane];
        lane.running -= 1;
        self.running -= usize::from(!lane.plan.beside);
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
    pub(crate) fn new(running_max: usize, lanes: &[LanePlan], before: Ticket) -> Self {
        let lanes = lanes.iter().map(|plan| Lane::new(*plan)).collect();
        let state = State { running: 0, running_max: running_max.max(1), lent: 0, last: before, lanes };
        Self { state: Mutex::new(state), waiting_count: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics half-way through a change under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_waiting(&self, state: &State<T>) {
        let waiting = state.lanes.iter().map(Lane::waiting_count).sum();
        self.waiting_count.store(waiting, Ordering::Release);
    }

    /// One more is ready to run. It is made only to wait.
    pub(crate) fn come(&self, lane: LaneNumber, now_ms: Millis, what: impl FnOnce() -> T) -> Entry {
        let mut state = self.lock();
        let mine = &state.lanes[lane];
        // Who has waited and may run as well has been told so, and is on its way: that is waited for, where there is where to wait.
        let goes_first = || mine.plan.beside || mine.is_full() || state.first_admissible().is_none();
        if state.has_room(mine) && (!self.any_waits() || goes_first()) {
            state.occupy(lane);
            return Entry::Run;
        }
        if mine.is_full() {
            let shed = if mine.has_room() { Shed::QueueFull } else { Shed::Limit };
            return Entry::TurnAway(TurnedAway { shed, delay_ms: mine.delay_ms(now_ms) });
        }
        state.last += 1;
        let ticket = state.last;
        state.lanes[lane].put(ticket, what(), now_ms);
        self.note_waiting(&state);
        Entry::Wait(ticket)
    }

    /// The one with this ticket waits no longer.
    pub(crate) fn leave(&self, lane: LaneNumber, ticket: Ticket) {
        let mut state = self.lock();
        state.lanes[lane].leave(ticket);
        self.note_waiting(&state);
    }

    /// When the first of those that wait has waited for too long.
    pub(crate) fn earliest_ms(&self) -> Millis {
        if !self.any_waits() {
            return NEVER;
        }
        self.lock().lanes.iter().map(Lane::earliest_ms).min().unwrap_or(NEVER)
    }

    /// Takes out one that has waited for too long.
    pub(crate) fn pop_over(&self, now_ms: Millis) -> Option<(Ticket, T, TurnedAway)> {
        if !self.any_waits() {
            return None;
        }
        let mut state = self.lock();
        let over = state.lanes.iter_mut().find_map(|lane| lane.pop_over(now_ms))?;
        self.note_waiting(&state);
        Some(over)
    }

    /// Gives the place of one that is over to the one that has waited longest, and not too long, and that `begin` does not refuse, as it
    /// may have left just now. `place` is the lane that it is in, before and after. When there is none, the place is still to be given back.
    pub(crate) fn pass_on<R>(
        &self,
        place: &mut LaneNumber,
        now_ms: impl Fn() -> Millis,
        mut begin: impl FnMut(Ticket, T) -> Option<R>,
    ) -> Option<R> {
        while self.any_waits() {
            let (ticket, what) = self.pop_waiting(place, now_ms())?;
            // The lock is free again: `begin` takes others, which come before it.
            let begun = begin(ticket, what);
            if begun.is_some() {
                return begun;
            }
        }
        None
    }

    /// None if fewer may run than when the place was given out.
    fn pop_waiting(&self, place: &mut LaneNumber, now_ms: Millis) -> Option<(Ticket, T)> {
        let mut state = self.lock();
        // A place beside is for those beside, and others are for others: there may be threads for them.
        let beside = state.lanes[*place].plan.beside;
        state.vacate(*place);
        // Those whose time is up are the reactor's to turn away.
        let next = state.first_in_time(beside, now_ms);
        *place = next.map_or(*place, |(_, lane)| lane);
        state.occupy(*place);
        let (ticket, lane) = next?;
        let what = state.lanes[lane].take(ticket, now_ms)?;
        self.note_waiting(&state);
        Some((ticket, what))
    }

    /// Takes a free place for one that waits, to be passed on. None when there is none, or nobody wants it.
    pub(crate) fn take_place(&self) -> Option<LaneNumber> {
        if !self.any_waits() {
            return None;
        }
        let mut state = self.lock();
        let lane = state.first_admissible()?;
        state.occupy(lane);
        Some(lane)
    }

    /// One is over, and its place was not passed on. True when one waits that may run now, of which somebody is to be told.
    pub(crate) fn give_back(&self, place: LaneNumber) -> bool {
        let mut state = self.lock();
        state.vacate(place);
        self.any_waits() && state.first_admissible().is_some()
    }

    /// Whether one waits that may run.
    pub(crate) fn has_admissible(&self) -> bool {
        self.any_waits() && self.lock().first_admissible().is_some()
    }

    /// Changes how many may run. What runs already goes on. True as of [`Turnstile::give_back`].
    pub(crate) fn limit(&self, running_max: usize) -> bool {
        let mut state = self.lock();
        state.running_max = running_max.max(1);
        state.first_admissible().is_some()
    }

    /// So many of those that run do not end, and others may in their stead. True as of [`Turnstile::give_back`].
    pub(crate) fn lend(&self, count: usize) -> bool {
        let mut state = self.lock();
        state.lent = count;
        state.first_admissible().is_some()
    }

    /// Whether what comes now would be turned away.
    pub(crate) fn is_full(&self, lane: LaneNumber) -> bool {
        let state = self.lock();
        let lane = &state.lanes[lane];
        !state.has_room(lane) && lane.is_full()
    }

    /// Whether any wait.
    pub(crate) fn any_waits(&self) -> bool {
        self.waiting_count.load(Ordering::Acquire) > 0
    }

    /// Forgets those that wait: there will be nobody to run them.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let waiting: Vec<_> = state.lanes.iter_mut().map(Lane::clear).collect();
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
    struct Request {
        at: Mutex<Phase>,
        lane: LaneNumber,
    }

    struct Server {
        gate: Turnstile<Arc<Request>>,
        sleep: Sleep,
        reactor: Bell,
        lanes: Vec<LanePlan>,
        running_max: usize,
        now_ms: Millis,
        // Not loom's, so that counting adds no interleavings. Threads take turns here.
        running: Vec<std::sync::atomic::AtomicUsize>,
        left_over: std::sync::atomic::AtomicUsize,
    }

    impl Server {
        fn begin(&self, lane: LaneNumber) {
            let running = self.running[lane].fetch_add(1, Ordering::Relaxed) + 1;
            assert!(running <= self.lanes[lane].running_max, "{running} run in lane {lane}");
            let all = self.running.iter().zip(&self.lanes).filter(|(_, plan)| !plan.beside);
            let running: usize = all.map(|(running, _)| running.load(Ordering::Relaxed)).sum();
            assert!(running <= self.running_max, "{running} run");
        }

        fn end(&self, lane: LaneNumber) {
            self.running[lane].fetch_sub(1, Ordering::Relaxed);
        }

        /// One request less to hear of. Nothing is left that a wake-up could be lost of when the last has its own.
        fn settle(&self) {
            if self.left_over.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.reactor.ring();
            }
        }

        /// `Connection::end_wait`.
        fn end_wait(&self, ticket: Ticket, request: &Request, phase: Phase) -> Option<()> {
            let mut at = request.at.lock().unwrap();
            if *at != Phase::Queued(ticket) {
                return None;
            }
            *at = phase;
            if phase == Phase::Begun {
                self.begin(request.lane);
            }
            self.settle();
            Some(())
        }

        fn pass_on(&self, place: &mut LaneNumber) -> bool {
            let begin = |ticket, request: Arc<Request>| self.end_wait(ticket, &request, Phase::Begun);
            self.gate.pass_on(place, || self.now_ms, begin).is_some()
        }

        /// The end of a request and what a permit does then, passed on for as long as any wait, or not at all.
        fn finish(&self, mut place: LaneNumber, passes_on: bool) {
            self.end(place);
            while passes_on && self.pass_on(&mut place) {
                self.end(place);
            }
            self.drop_permit(place);
        }

        fn drop_permit(&self, place: LaneNumber) {
            if self.gate.give_back(place) && self.sleep.must_be_woken() {
                self.reactor.ring();
            }
        }

        /// A request is ready to run; if it may, the reactor runs it itself.
        fn dispatch(&self, request: &Arc<Request>) {
            let mut at = request.at.lock().unwrap();
            match self.gate.come(request.lane, 0, || request.clone()) {
                Entry::Run => {
                    *at = Phase::Begun;
                    self.begin(request.lane);
                    self.settle();
                    drop(at);
                    self.finish(request.lane, false);
                }
                Entry::Wait(ticket) => *at = Phase::Queued(ticket),
                Entry::TurnAway(_) => unreachable!("more may wait than come"),
            }
        }

        fn turn_away(&self, now_ms: Millis) {
            while let Some((ticket, request, _)) = self.gate.pop_over(now_ms) {
                let _ = self.end_wait(ticket, &request, Phase::TurnedAway);
            }
        }

        /// Turns until every request has begun or is gone. If a wake-up is lost, all threads are over but for this one, which loom
        /// calls a deadlock.
        fn turn_to_the_end(&self) {
            while self.left_over.load(Ordering::Relaxed) > 0 {
                self.turn_away(self.now_ms);
                while let Some(mut place) = self.gate.take_place() {
                    if self.pass_on(&mut place) {
                        self.finish(place, false);
                    } else {
                        self.drop_permit(place);
                    }
                }
                if self.sleep.fall_asleep(|| self.gate.has_admissible()) {
                    self.reactor.sleep();
                }
                self.sleep.awake();
            }
        }
    }

    const ANY: LanePlan = LanePlan {
        running_max: usize::MAX,
        waiting_max: 9,
        wait_max_ms: UNTIL_MS,
        beside: false,
        codel: None,
    };
    /// One of it runs at a time.
    const SINGLE: LanePlan = LanePlan { running_max: 1, ..ANY };
    const BESIDE: LanePlan = LanePlan { beside: true, ..SINGLE };

    /// So many requests run, as many as may, on threads of their own. `coming` come meanwhile, `then` something happens to them,
    /// and what becomes of them is looked at.
    fn requests_come(
        running_max: usize,
        coming: usize,
        now_ms: Millis,
        passes_on: bool,
        then: impl Fn(&Server, &[Arc<Request>]) + Send + Sync + 'static,
    ) {
        come_in_lanes(running_max, &[ANY], (vec![0; running_max], vec![0; coming]), now_ms, passes_on, then);
    }

    /// The same with the lanes of those that run, and of those that come.
    fn come_in_lanes(
        running_max: usize,
        lanes: &[LanePlan],
        (running, coming): (Vec<LaneNumber>, Vec<LaneNumber>),
        now_ms: Millis,
        passes_on: bool,
        then: impl Fn(&Server, &[Arc<Request>]) + Send + Sync + 'static,
    ) {
        let lanes = lanes.to_vec();
        explore(1 + running.len(), move || {
            let server = Arc::new(Server {
                gate: Turnstile::new(running_max, &lanes, 0),
                sleep: Sleep::default(),
                reactor: Bell::new(),
                running: lanes.iter().map(|_| 0.into()).collect(),
                lanes: lanes.clone(),
                running_max,
                now_ms,
                left_over: coming.len().into(),
            });
            let others: Vec<JoinHandle<()>> = running
                .iter()
                .map(|&lane| {
                    assert_eq!(server.gate.come(lane, 0, || unreachable!()), Entry::Run);
                    server.begin(lane);
                    let server = server.clone();
                    thread::spawn(move || server.finish(lane, passes_on))
                })
                .collect();
            let request = |&lane: &LaneNumber| Arc::new(Request { at: Mutex::new(Phase::Coming), lane });
            let requests: Vec<_> = coming.iter().map(request).collect();
            requests.iter().for_each(|request| server.dispatch(request));
            then(&server, &requests);
            server.turn_to_the_end();
            others.into_iter().for_each(|other| other.join().unwrap());
            for request in &requests {
                let phase = *request.at.lock().unwrap();
                assert!(matches!(phase, Phase::Begun | Phase::Left | Phase::TurnedAway), "{phase:?}");
            }
            // As it was before: no place is lost, none is counted twice.
            let state = server.gate.lock();
            assert_eq!(state.running, 0);
            assert!(state.lanes.iter().all(|lane| (lane.running, lane.waiting_count()) == (0, 0)));
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
            let mut at = requests[0].at.lock().unwrap();
            if let Phase::Queued(ticket) = *at {
                server.gate.leave(requests[0].lane, ticket);
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
    fn one_that_waits_for_its_lane_is_not_forgotten_by_others() {
        for passes_on in [false, true] {
            come_in_lanes(2, &[ANY, SINGLE], (vec![1], vec![1, 0]), 0, passes_on, |_, _| {});
            come_in_lanes(1, &[ANY, SINGLE], (vec![1], vec![1, 0]), 0, passes_on, |_, _| {});
            come_in_lanes(2, &[ANY, SINGLE], (vec![0, 1], vec![1, 0]), 0, passes_on, |_, _| {});
        }
    }

    #[test]
    fn a_place_of_one_lane_is_passed_on_to_another() {
        come_in_lanes(1, &[ANY, SINGLE, SINGLE], (vec![1], vec![2, 1]), 0, true, |_, _| {});
        come_in_lanes(1, &[ANY, SINGLE, SINGLE], (vec![1], vec![2, 1]), 0, true, |server, requests| {
            let mut at = requests[0].at.lock().unwrap();
            if let Phase::Queued(ticket) = *at {
                server.gate.leave(requests[0].lane, ticket);
                *at = Phase::Left;
                server.settle();
            }
        });
    }

    #[test]
    fn a_lane_beside_is_no_matter_of_the_others() {
        for passes_on in [false, true] {
            come_in_lanes(1, &[ANY, BESIDE], (vec![0, 1], vec![1, 0]), 0, passes_on, |_, _| {});
        }
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

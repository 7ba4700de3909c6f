//! Requests of one kind: how many run, and the queue of those that wait for it.
//!
//! A queue may be watched as CoDel (RFC 8289) watches a router's. One that now and then is short is a buffer, and does its work; one in
//! which everybody has waited for longer than a target, for a whole interval, only makes everybody late. From then on, until somebody
//! is let through in time or nobody waits, who has waited for twice the target is turned away. Twice, as wangle has it: who is let
//! through is then still over the target, so that the queue is not taken for a short one only because it was cut; and where RFC 8289
//! drops one at a time, because TCP slows down for one loss, clients here do not know of one another. The last one in a queue is
//! left, as there: there would be nobody for the place that becomes free next.

use std::collections::BTreeMap;

use crate::clock::{Millis, NEVER};

/// A place among those that wait: lower ones came first.
pub(crate) type Ticket = u64;

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// As many wait as may.
    QueueFull,
    /// It has waited for as long as it may.
    QueueTimeout,
    /// As many requests of its paths run as may, and it is one of the two above.
    Limit,
    /// All have waited for too long, this one too.
    Codel,
}

impl Shed {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::QueueTimeout, Self::Limit, Self::Codel];

    /// What the log says of it, and what there is to set.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "as many run and wait as may (--threads, --max-concurrency, --queue-size)",
            Self::QueueTimeout => "waited for as long as they may (--queue-timeout)",
            Self::Limit => "as many of their paths run and wait as may (limits)",
            Self::Codel => "as all had waited for too long (--queue-target)",
        }
    }

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Limit => "limit",
            Self::Codel => "codel",
        }
    }
}

/// A request that is not to run: why, and how long the queue is in which it could not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnedAway {
    pub(crate) shed: Shed,
    pub(crate) delay_ms: Millis,
}

/// How long a queue may be, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codel {
    /// What a wait should not be longer than.
    pub target_ms: u64,
    /// How long all waits may be longer.
    pub interval_ms: u64,
}

/// What may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LanePlan {
    pub(crate) running_max: usize,
    pub(crate) waiting_max: usize,
    pub(crate) wait_max_ms: Millis,
    /// Runs beside the others, whose number it is not in.
    pub(crate) beside: bool,
    pub(crate) codel: Option<Codel>,
}

#[derive(Debug)]
struct Waiting<T> {
    what: T,
    since_ms: Millis,
}

#[derive(Debug)]
pub(crate) struct Lane<T> {
    pub(crate) plan: LanePlan,
    pub(crate) running: usize,
    /// In order of their coming. All wait equally long, so it is the order of their deadlines too.
    waiting: BTreeMap<Ticket, Waiting<T>>,
    /// From when on nobody was let through, or could have been, within the target.
    late_since_ms: Millis,
}

impl<T> Lane<T> {
    pub(crate) fn new(plan: LanePlan) -> Self {
        Self { plan, running: 0, waiting: BTreeMap::new(), late_since_ms: NEVER }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.running < self.plan.running_max
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= self.plan.waiting_max
    }

    /// The ticket of the one that has waited longest.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.waiting.keys().next().copied()
    }

    /// The same of those that have not waited for too long.
    pub(crate) fn first_in_time(&self, now_ms: Millis) -> Option<Ticket> {
        let in_time = self.waiting.iter().find(|(ticket, waiting)| !self.is_over(**ticket, waiting, now_ms));
        in_time.map(|(ticket, _)| *ticket)
    }

    pub(crate) fn put(&mut self, ticket: Ticket, what: T, now_ms: Millis) {
        self.waiting.insert(ticket, Waiting { what, since_ms: now_ms });
        if self.waiting.len() == 1 {
            self.look_anew();
        }
    }

    /// The turn of this one has come.
    pub(crate) fn take(&mut self, ticket: Ticket, now_ms: Millis) -> Option<T> {
        let waiting = self.waiting.remove(&ticket)?;
        let target_ms = self.plan.codel.map_or(0, |codel| codel.target_ms);
        if self.waiting.is_empty() || now_ms < waiting.since_ms.saturating_add(target_ms) {
            self.look_anew();
        }
        Some(waiting.what)
    }

    /// This one waits no longer.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
        if self.waiting.is_empty() {
            self.look_anew();
        }
    }

    /// Takes out one that has waited for too long.
    pub(crate) fn pop_over(&mut self, now_ms: Millis) -> Option<(Ticket, T, TurnedAway)> {
        let (&ticket, waiting) = self.waiting.first_key_value()?;
        if !self.is_over(ticket, waiting, now_ms) {
            return None;
        }
        let delay_ms = now_ms.saturating_sub(waiting.since_ms);
        let shed = match () {
            () if delay_ms < self.plan.wait_max_ms => Shed::Codel,
            () if self.has_room() => Shed::QueueTimeout,
            () => Shed::Limit,
        };
        let what = self.waiting.remove(&ticket)?.what;
        if self.waiting.is_empty() {
            self.look_anew();
        }
        Some((ticket, what, TurnedAway { shed, delay_ms }))
    }

    /// How long the first has waited.
    pub(crate) fn delay_ms(&self, now_ms: Millis) -> Millis {
        self.waiting.values().next().map_or(0, |first| now_ms.saturating_sub(first.since_ms))
    }

    /// When the first has waited for too long.
    pub(crate) fn earliest_ms(&self) -> Millis {
        let Some(first) = self.waiting.values().next() else { return NEVER };
        let timeout_ms = first.since_ms.saturating_add(self.plan.wait_max_ms);
        match self.plan.codel {
            Some(codel) if self.waiting.len() > 1 => {
                let late_ms = self.late_since_ms.saturating_add(codel.interval_ms);
                timeout_ms.min(late_ms.max(first.since_ms.saturating_add(codel.target_ms * 2)))
            }
            _ => timeout_ms,
        }
    }

    pub(crate) fn clear(&mut self) -> impl Sized + use<T> {
        std::mem::take(&mut self.waiting)
    }

    /// The queue was short: it is late at the earliest when the first has waited for longer than it should.
    fn look_anew(&mut self) {
        self.late_since_ms = match (self.plan.codel, self.waiting.values().next()) {
            (Some(codel), Some(first)) => first.since_ms.saturating_add(codel.target_ms),
            _ => NEVER,
        };
    }

    fn is_over(&self, ticket: Ticket, waiting: &Waiting<T>, now_ms: Millis) -> bool {
        let waited = |time_ms| waiting.since_ms.saturating_add(time_ms) <= now_ms;
        waited(self.plan.wait_max_ms)
            || self.plan.codel.is_some_and(|codel| {
                self.late_since_ms.saturating_add(codel.interval_ms) <= now_ms
                    && waited(codel.target_ms * 2)
                    && self.waiting.last_key_value().is_some_and(|(last, _)| *last != ticket)
            })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PLAN: LanePlan = LanePlan {
        running_max: 1,
        waiting_max: 100,
        wait_max_ms: 10_000,
        beside: false,
        codel: Some(Codel { target_ms: 10, interval_ms: 100 }),
    };

    /// A lane with one that has come each millisecond from 1 to `until_ms`, its ticket that millisecond.
    fn lane(plan: LanePlan, until_ms: Millis) -> Lane<()> {
        let mut lane = Lane::new(plan);
        (1..=until_ms).for_each(|now_ms| lane.put(now_ms, (), now_ms));
        lane
    }

    fn shed(lane: &mut Lane<()>, now_ms: Millis) -> Vec<(Ticket, Shed)> {
        let over = || lane.pop_over(now_ms).map(|(ticket, (), turned_away)| (ticket, turned_away.shed));
        std::iter::from_fn(over).collect()
    }

    #[test]
    fn a_queue_that_was_long_for_an_interval_is_cut_to_twice_the_target() {
        let mut lane = lane(PLAN, 111);
        assert_eq!(lane.earliest_ms(), 111);
        assert_eq!(shed(&mut lane, 110), []);
        let tickets: Vec<_> = shed(&mut lane, 111).into_iter().map(|(ticket, _)| ticket).collect();
        assert_eq!(tickets, (1..=91).collect::<Vec<_>>());
        assert_eq!(lane.first_in_time(111), Some(92));
        // Who is let through over the target does not end it.
        lane.take(92, 111).unwrap();
        assert_eq!(lane.earliest_ms(), 113);
        assert_eq!(shed(&mut lane, 113), [(93, Shed::Codel)]);
    }

    #[test]
    fn one_that_is_let_through_in_time_ends_it() {
        let mut lane = lane(PLAN, 3);
        lane.take(1, 5).unwrap();
        assert_eq!(shed(&mut lane, 111), [], "late since 12 at the earliest");
        assert_eq!(lane.earliest_ms(), 112);
        assert_eq!(shed(&mut lane, 112), [(2, Shed::Codel)]);
    }

    #[test]
    fn the_last_one_waits_for_the_place_that_becomes_free_next() {
        let mut lane = lane(PLAN, 2);
        assert_eq!(shed(&mut lane, 5_000), [(1, Shed::Codel)]);
        assert_eq!(lane.first_in_time(5_000), Some(2));
        assert_eq!(shed(&mut lane, 10_002), [(2, Shed::QueueTimeout)]);
        assert_eq!(lane.earliest_ms(), NEVER);
    }

    #[test]
    fn a_queue_without_a_target_is_left_alone_until_its_time_is_up() {
        let mut lane = lane(LanePlan { codel: None, ..PLAN }, 2);
        assert_eq!(shed(&mut lane, 10_000), []);
        lane.running = 1;
        assert_eq!(shed(&mut lane, 10_002), [(1, Shed::Limit), (2, Shed::Limit)]);
    }
}

//! Which requests run, which wait for their turn, and which are turned away.
//!
//! Counted in requests, so that idle connections count for nothing. A connection has one request at a time here, so that first
//! come, first served is fair among connections. Requests of paths with a number of their own ([`Limit::concurrency_max`]) are counted
//! among themselves too, and wait in a queue of their own; those that ask after the server's health run beside the others.
//!
//! ```text
//!  whole ─▶ running (a permit)  ─▶ over: the permit goes to the one that has waited longest, or back
//!    │         ▲
//!    ├▶ waiting ┤─▶ 503: its time is up          ─▶ dropped: its client has left
//!    └▶ 503: as many wait as may
//! ```

use std::fmt;
use std::sync::Arc;

use crate::clock::{self, Millis};
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::lane::{LanePlan, TurnedAway};
use crate::limit::{Limit, Priority};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::turnstile::{Entry, LaneNumber, Turnstile};

pub use crate::lane::Shed;
pub(crate) use crate::lane::Ticket;

/// How many requests run beside all that may, if they ask after the server's health ([`Priority::Health`]): a few balancers and
/// orchestrators at once.
pub const HEALTH_CONCURRENCY_MAX: usize = 4;

/// What becomes of a request that is ready to run.
pub(crate) enum Admission {
    Run(Permit),
    Wait(Ticket),
    TurnAway(TurnedAway),
}

/// The count of what runs and the queue of what waits. Its lock is taken after a connection's, never before.
pub(crate) type Gate = Turnstile<Arc<Connection>>;

/// The gates of a server: what stands aside has its own.
#[derive(Debug)]
pub(crate) struct Gates {
    main: Gate,
    aside: Gate,
    /// The lane of each of [`Settings::limits`]; other requests have the first.
    lanes: Box<[LaneNumber]>,
    /// The lane of those that ask after the server's health.
    health: Option<LaneNumber>,
}

/// Where a request is counted, and waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) aside: bool,
    pub(crate) limit: Option<usize>,
}

impl Gates {
    pub(crate) fn new(settings: &Settings) -> Self {
        let aside_max = settings.aside.as_ref().map_or(0, |aside| aside.concurrency_max);
        let general = LanePlan {
            running_max: usize::MAX,
            waiting_max: settings.queue_size_max,
            wait_max_ms: settings.queue_timeout_ms,
            beside: false,
            codel: settings.codel,
        };
        let mut plans = vec![general];
        let mut health = None;
        let mut lane_of = |limit: &Limit| {
            let plan = match (limit.priority, limit.concurrency_max) {
                (Priority::Normal, None) => return 0,
                (Priority::Normal, Some(running_max)) => LanePlan {
                    running_max,
                    waiting_max: limit.queue_size_max,
                    wait_max_ms: limit.queue_timeout_ms,
                    ..general
                },
                (Priority::Health, _) => {
                    LanePlan { running_max: HEALTH_CONCURRENCY_MAX, beside: true, ..general }
                }
            };
            let lane = if plan.beside { *health.get_or_insert(plans.len()) } else { plans.len() };
            if lane == plans.len() {
                plans.push(plan);
            }
            lane
        };
        let lanes = settings.limits.iter().map(&mut lane_of).collect();
        Self {
            main: Gate::new(settings.concurrency_max, &plans, 0),
            aside: Gate::new(aside_max, &plans, Ticket::MAX / 2),
            lanes,
            health,
        }
    }

    pub(crate) fn of(&self, aside: bool) -> &Gate {
        if aside { &self.aside } else { &self.main }
    }

    fn lane(&self, way: Way) -> LaneNumber {
        way.limit.and_then(|limit| self.lanes.get(limit)).map_or(0, |lane| *lane)
    }

    /// Whether a request that comes now would be turned away.
    pub(crate) fn is_full(&self, way: Way) -> bool {
        self.of(way.aside).is_full(self.lane(way))
    }

    /// The request with this ticket waits no longer.
    pub(crate) fn leave(&self, way: Way, ticket: Ticket) {
        self.of(way.aside).leave(self.lane(way), ticket);
    }

    pub(crate) fn both(&self) -> [&Gate; 2] {
        [&self.main, &self.aside]
    }

    /// A request of `connection` is ready to run.
    pub(crate) fn enter(&self, connection: &Arc<Connection>, way: Way, now_ms: Millis) -> Admission {
        let (aside, place) = (way.aside, self.lane(way));
        match self.of(aside).come(place, now_ms, || connection.clone()) {
            Entry::Run => Admission::Run(Permit { shared: connection.shared.clone(), aside, place }),
            Entry::Wait(ticket) => Admission::Wait(ticket),
            Entry::TurnAway(turned_away) => Admission::TurnAway(turned_away),
        }
    }

    /// The one that has waited longest, if one more may run.
    pub(crate) fn admit_waiting(shared: &Arc<Shared>) -> Option<Admitted> {
        let admit = |aside| {
            let place = shared.gates.of(aside).take_place()?;
            Permit { shared: shared.clone(), aside, place }.pass_on().ok()
        };
        admit(false).or_else(|| admit(true))
    }
}

/// The right to run one request. Dropped, it goes back, and whoever turns the reactor gives it to the next.
pub struct Permit {
    shared: Arc<Shared>,
    aside: bool,
    place: LaneNumber,
}

impl Permit {
    /// Whether the request goes before others that are ready.
    pub(crate) fn goes_first(&self) -> bool {
        Some(self.place) == self.shared.gates.health
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

impl Permit {
    /// After a request: goes on with the one that has waited longest, on the same permit. It comes back when none waits.
    ///
    /// # Errors
    /// The permit itself, when nothing waits.
    pub fn pass_on(mut self) -> Result<Admitted, Permit> {
        // It may have left just now.
        let gate = self.shared.gates.of(self.aside);
        let begin = |ticket, connection: Arc<Connection>| connection.end_wait(ticket);
        let next = gate.pass_on(&mut self.place, clock::now_ms, begin);
        match next {
            Some(exchange) => Ok(Admitted { exchange, permit: self }),
            None => Err(self),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.shared.gates.of(self.aside).give_back(self.place) {
            self.shared.wake_if_asleep();
        }
    }
}

/// A request that may run now.
#[derive(Debug)]
pub struct Admitted {
    /// The request.
    pub exchange: Exchange,
    /// To be kept until its application has returned.
    pub permit: Permit,
}

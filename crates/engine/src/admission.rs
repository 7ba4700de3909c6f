//! Which requests run, which wait for their turn, and which are turned away.
//!
//! Counted in requests, so that idle connections count for nothing. A connection has one request at a time here, so that first
//! come, first served is fair among connections.
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
use crate::settings::Settings;
use crate::shared::Shared;
use crate::turnstile::{Entry, Turnstile};

pub(crate) use crate::turnstile::Ticket;

/// What becomes of a request that is ready to run.
pub(crate) enum Admission {
    Run(Permit),
    Wait(Ticket),
    TurnAway,
}

/// The count of what runs and the queue of what waits. Its lock is taken after a connection's, never before.
pub(crate) type Gate = Turnstile<Arc<Connection>>;

/// The gates of a server: what stands aside has its own.
#[derive(Debug)]
pub(crate) struct Gates {
    main: Gate,
    aside: Gate,
}

impl Gates {
    pub(crate) fn new(settings: &Settings) -> Self {
        let aside_max = settings.aside.as_ref().map_or(0, |aside| aside.concurrency_max);
        Self {
            main: Gate::new(settings.concurrency_max, settings.queue_size_max, 0),
            aside: Gate::new(aside_max, settings.queue_size_max, Ticket::MAX / 2),
        }
    }

    pub(crate) fn of(&self, aside: bool) -> &Gate {
        if aside { &self.aside } else { &self.main }
    }

    pub(crate) fn both(&self) -> [&Gate; 2] {
        [&self.main, &self.aside]
    }

    /// A request of `connection` is ready to run.
    pub(crate) fn enter(&self, connection: &Arc<Connection>, aside: bool, until_ms: Millis) -> Admission {
        match self.of(aside).come(until_ms, || connection.clone()) {
            Entry::Run => Admission::Run(Permit { shared: connection.shared.clone(), aside }),
            Entry::Wait(ticket) => Admission::Wait(ticket),
            Entry::TurnAway => Admission::TurnAway,
        }
    }

    /// The one that has waited longest, if one more may run.
    pub(crate) fn admit_waiting(shared: &Arc<Shared>) -> Option<Admitted> {
        let admit = |aside| {
            let taken = shared.gates.of(aside).take_place();
            taken.then(|| Permit { shared: shared.clone(), aside })?.pass_on().ok()
        };
        admit(false).or_else(|| admit(true))
    }
}

/// The right to run one request. Dropped, it goes back, and whoever turns the reactor gives it to the next.
pub struct Permit {
    shared: Arc<Shared>,
    aside: bool,
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
    pub fn pass_on(self) -> Result<Admitted, Permit> {
        // It may have left just now.
        let gate = self.shared.gates.of(self.aside);
        let next = gate.pass_on(clock::now_ms, |ticket, connection| connection.end_wait(ticket));
        match next {
            Some(exchange) => Ok(Admitted { exchange, permit: self }),
            None => Err(self),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.shared.gates.of(self.aside).give_back() {
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

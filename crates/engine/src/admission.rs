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

impl Gate {
    /// A request of `connection` is ready to run.
    pub(crate) fn enter(&self, connection: &Arc<Connection>, until_ms: Millis) -> Admission {
        match self.come(until_ms, || connection.clone()) {
            Entry::Run => Admission::Run(Permit(connection.shared.clone())),
            Entry::Wait(ticket) => Admission::Wait(ticket),
            Entry::TurnAway => Admission::TurnAway,
        }
    }

    /// The one that has waited longest, if one more may run.
    pub(crate) fn admit_waiting(shared: &Arc<Shared>) -> Option<Admitted> {
        shared.gate.take_place().then(|| Permit(shared.clone()))?.pass_on().ok()
    }
}

/// The right to run one request. Dropped, it goes back, and whoever turns the reactor gives it to the next.
pub struct Permit(Arc<Shared>);

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
        let next = self.0.gate.pass_on(clock::now_ms, |ticket, connection| connection.end_wait(ticket));
        match next {
            Some(exchange) => Ok(Admitted { exchange, permit: self }),
            None => Err(self),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.0.gate.give_back() {
            self.0.wake_if_asleep();
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

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

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{self, Millis, NEVER};
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::shared::Shared;

/// A place among those that wait: lower ones came first.
pub(crate) type Ticket = u64;

/// What becomes of a request that is ready to run.
pub(crate) enum Admission {
    Run(Permit),
    Wait(Ticket),
    TurnAway,
}

#[derive(Debug)]
struct Waiting {
    connection: Arc<Connection>,
    until_ms: Millis,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Most that may run, and most that may wait for it.
    running_max: usize,
    waiting_max: usize,
    last: Ticket,
    /// In order of their coming. All wait equally long, so it is the order of their deadlines too.
    waiting: BTreeMap<Ticket, Waiting>,
}

/// The count of what runs and the queue of what waits. Its lock is taken after a connection's, never before.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// How many wait, for those who only want to know whether any do.
    waiting_count: AtomicUsize,
}

impl Gate {
    pub(crate) fn new(running_max: usize, waiting_max: usize) -> Self {
        let state = State { running_max: running_max.max(1), waiting_max, ..State::default() };
        Self { state: Mutex::new(state), waiting_count: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_waiting(&self, state: &State) {
        self.waiting_count.store(state.waiting.len(), Ordering::Release);
    }

    /// A request of `connection` is ready to run.
    pub(crate) fn enter(&self, connection: &Arc<Connection>, until_ms: Millis) -> Admission {
        let mut state = self.lock();
        if state.running < state.running_max && state.waiting.is_empty() {
            state.running += 1;
            return Admission::Run(Permit(connection.shared.clone()));
        }
        if state.waiting.len() >= state.waiting_max {
            return Admission::TurnAway;
        }
        state.last += 1;
        let ticket = state.last;
        state.waiting.insert(ticket, Waiting { connection: connection.clone(), until_ms });
        self.note_waiting(&state);
        Admission::Wait(ticket)
    }

    /// The request with this ticket waits no longer.
    pub(crate) fn leave(&self, ticket: Ticket) {
        let mut state = self.lock();
        state.waiting.remove(&ticket);
        self.note_waiting(&state);
    }

    /// When the first of those that wait has waited for too long.
    pub(crate) fn earliest_ms(&self) -> Millis {
        if self.waiting_count.load(Ordering::Acquire) == 0 {
            return NEVER;
        }
        self.lock().waiting.values().next().map_or(NEVER, |first| first.until_ms)
    }

    /// Takes out one that has waited for too long.
    pub(crate) fn pop_expired(&self, now_ms: Millis) -> Option<(Ticket, Arc<Connection>)> {
        let mut state = self.lock();
        let first = state.waiting.first_entry().filter(|first| first.get().until_ms <= now_ms)?;
        let (ticket, waiting) = first.remove_entry();
        self.note_waiting(&state);
        Some((ticket, waiting.connection))
    }

    /// Takes out the one that has waited longest and not too long, for a permit that is free; none if fewer may run than when it was
    /// given out.
    fn pop_waiting(&self, now_ms: Millis) -> Option<(Ticket, Arc<Connection>)> {
        if self.waiting_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut state = self.lock();
        if state.running > state.running_max {
            return None;
        }
        // Those whose time is up are the reactor's to turn away.
        let (&ticket, _) = state.waiting.iter().find(|(_, waiting)| waiting.until_ms > now_ms)?;
        let waiting = state.waiting.remove(&ticket)?;
        self.note_waiting(&state);
        Some((ticket, waiting.connection))
    }

    /// Changes how many may run. What runs already goes on.
    pub(crate) fn limit(&self, running_max: usize) {
        self.lock().running_max = running_max.max(1);
    }

    /// Whether what comes now would be turned away.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        state.running >= state.running_max && state.waiting.len() >= state.waiting_max
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

    /// Whether one waits that may run.
    pub(crate) fn has_admissible(&self) -> bool {
        if self.waiting_count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let state = self.lock();
        state.running < state.running_max && !state.waiting.is_empty()
    }

    /// The one that has waited longest, if one more may run.
    pub(crate) fn admit_waiting(shared: &Arc<Shared>) -> Option<Admitted> {
        let gate = &shared.gate;
        if gate.waiting_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        {
            let mut state = gate.lock();
            if state.running >= state.running_max || state.waiting.is_empty() {
                return None;
            }
            state.running += 1;
        }
        Permit(shared.clone()).pass_on().ok()
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
        while let Some((ticket, connection)) = self.0.gate.pop_waiting(clock::now_ms()) {
            // It may have left just now.
            if let Some(exchange) = connection.end_wait(ticket) {
                return Ok(Admitted { exchange, permit: self });
            }
        }
        Err(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let gate = &self.0.gate;
        gate.lock().running -= 1;
        if gate.has_admissible() {
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

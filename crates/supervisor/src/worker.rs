//! What the supervisor believes about one worker.
//!
//! ```text
//!  Starting ── says that it is ready ──▶ Waiting ── told to serve ──▶ Serving ── told to leave ──▶ Leaving ── outstays its grace ──▶ Killed
//!     │                                     └─────────────── not wanted any more ──────────────────────▲                              ▲
//!     ├──────────────────────────────────────────────────────────────── not wanted any more ───────────┘                              │
//!     └─────────────────────────────────────────────────────────────────── is too late ───────────────────────────────────────────────┘
//! ```
//! From each state its process may end; then the belief is dropped.

use crate::fleet::{Cause, Millis};

/// A worker's number, which no other worker of this supervisor has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// Workers that were started to serve the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u32);

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It loads the application.
    Starting {
        /// When that has taken too long.
        until: Millis,
    },
    /// It could serve.
    Waiting,
    /// It accepts connections.
    Serving {
        /// Since when.
        since: Millis,
    },
    /// It finishes what it has.
    Leaving {
        /// When its grace is over.
        until: Millis,
    },
    /// It was killed; its end is a matter of moments.
    Killed {
        /// Because it was not ready in time.
        too_late: bool,
    },
}

impl State {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Waiting => "waiting",
            Self::Serving { .. } => "serving",
            Self::Leaving { .. } => "leaving",
            Self::Killed { .. } => "killed",
        }
    }
}

/// One worker.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) generation: Generation,
    /// The worker that leaves when this one serves.
    pub(crate) replaces: Option<WorkerId>,
    /// Why it is to be replaced, if it is.
    pub(crate) used_up: Option<(Cause, String)>,
    pub(crate) state: State,
}

impl Worker {
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving { .. })
    }

    /// Serves, or is on its way to that.
    pub(crate) fn is_staying(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Waiting | State::Serving { .. })
    }

    /// Is one of those that there are to be: a successor waits for the end of one that was too late.
    pub(crate) fn counts(&self) -> bool {
        self.is_staying() || self.state == State::Killed { too_late: true }
    }

    /// Has not served yet.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Waiting)
    }

    /// When something is to be done about it if it does not move by itself.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        match self.state {
            State::Starting { until } | State::Leaving { until } => Some(until),
            State::Waiting | State::Serving { .. } | State::Killed { .. } => None,
        }
    }
}

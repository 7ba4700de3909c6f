//! What passes between the reactor and a connection that it looks at.

use std::collections::VecDeque;

use crate::admission::Admitted;
use crate::clock::Millis;
use crate::exchange::Exchange;
use crate::h2::Opened;
use crate::lane::TurnedAway;
use crate::static_files::FileAnswer;

/// Bytes that one connection may bring in one turn before the others have theirs.
const TURN_BUDGET: usize = 256 * 1024;

/// What a wake said of the socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wake {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer sends no more.
    pub(crate) ended: bool,
    /// Neither direction works any more.
    pub(crate) broken: bool,
}

/// What the server answers by itself.
pub(crate) enum OwnAnswer {
    /// That it is well.
    Well,
    /// That it is not.
    Unwell,
    /// That https is to be used.
    Redirect,
    /// A file, or why there is none.
    File(FileAnswer),
}

/// What a connection may use of the reactor while it is being looked at.
pub(crate) struct Turn<'a> {
    pub(crate) now_ms: Millis,
    pub(crate) scratch: &'a mut [u8],
    pub(crate) ready: &'a mut VecDeque<Admitted>,
    /// Requests to be turned away, once the connection's lock is open.
    pub(crate) turned_away: Option<(Exchange, TurnedAway)>,
    /// Requests that the server answers by itself; likewise.
    pub(crate) own: Option<(Exchange, OwnAnswer)>,
    pub(crate) budget: usize,
    /// What is left of the time that a round has for handshakes.
    pub(crate) handshake_us: &'a mut u64,
    /// Streams that have begun, likewise.
    pub(crate) opened: Vec<Opened>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        now_ms: Millis,
        scratch: &'a mut [u8],
        ready: &'a mut VecDeque<Admitted>,
        handshake_us: &'a mut u64,
    ) -> Self {
        Self {
            now_ms,
            scratch,
            ready,
            turned_away: None,
            own: None,
            budget: TURN_BUDGET,
            handshake_us,
            opened: Vec::new(),
        }
    }

    /// Bytes that the connection has brought in.
    pub(crate) fn spent(&self) -> usize {
        TURN_BUDGET - self.budget
    }
}

/// What a look at a connection leaves to the reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// There is more to do, after the others have had their turn.
    pub(crate) more: bool,
    pub(crate) next: Next,
}

/// When the reactor looks at a connection again without being woken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Its deadline is no earlier than the look that is scheduled.
    AsScheduled,
    /// At this time.
    LookAt(Millis),
    /// Never: it is over.
    Forget,
}

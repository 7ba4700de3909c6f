//! What a fleet is told, and what it says is to be done.

use std::fmt;

use super::Usage;
use crate::worker::WorkerId;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Finish what is in flight, and end.
    Stop,
    /// Likewise, at once, as another server has the sockets.
    HandOver,
    /// End at once.
    Quit,
    /// Replace all workers, if new ones can serve.
    Reload,
    /// One worker more, or fewer.
    Grow,
    /// See `Grow`.
    Shrink,
    /// So many workers.
    Resize(usize),
    /// Open log files anew.
    ReopenLogs,
    /// Start a new server that takes the sockets over.
    Upgrade,
}

/// Why a worker has another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Cause {
    /// It has had as many requests as it may.
    MaxRequests,
    /// It has served for as long as it may.
    MaxLifetime,
    /// It holds as much memory as it may.
    MaxRss,
    /// More of its threads than may do not come back.
    LostThreads,
    /// New code serves.
    Reload,
    /// It has ended by itself while it served.
    Ended,
    /// It was ended by a signal while it served.
    Killed,
    /// It did not move.
    Stuck,
    /// It served no more, though its process went on.
    Silent,
    /// It could not start, or not in time.
    NotStarted,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::MaxRequests,
        Self::MaxLifetime,
        Self::MaxRss,
        Self::LostThreads,
        Self::Reload,
        Self::Ended,
        Self::Killed,
        Self::Stuck,
        Self::Silent,
        Self::NotStarted,
    ];

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::MaxRequests => "max-requests",
            Self::MaxLifetime => "max-lifetime",
            Self::MaxRss => "max-rss",
            Self::LostThreads => "lost-threads",
            Self::Reload => "reload",
            Self::Ended => "ended",
            Self::Killed => "killed",
            Self::Stuck => "stuck",
            Self::Silent => "silent",
            Self::NotStarted => "not-started",
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "ended with status {status}"),
            Self::Signaled(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker could serve.
    Ready(WorkerId),
    /// A look at a worker.
    Used(WorkerId, Usage),
    /// A worker serves no more, though its process is not over.
    Silent(WorkerId),
    /// It has not moved for too long.
    Stuck(WorkerId),
    /// Its process is over, or could not be started.
    Ended(WorkerId, Ending),
    /// An operator's wish.
    Asked(Verb),
    /// Time has passed.
    Time,
}

/// What is to be told to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Begin to accept connections.
    Serve,
    /// Be not ready any more, and go on.
    Retire,
    /// Finish what is in flight, and end.
    Leave,
    /// End at once.
    Quit,
    /// Open log files anew.
    ReopenLogs,
    /// To one that does not listen yet: SIGTERM.
    Abandon,
    /// To one that does not listen any more: SIGKILL.
    Kill,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the process of a worker.
    Start(WorkerId),
    /// Tell the operator.
    Say(Saying),
    /// Tell a worker.
    Tell(WorkerId, Order),
    /// See to a change of the whole.
    Change(Change),
    /// Start a new server, with the sockets of this one.
    Upgrade,
    /// All is over: end with this status.
    End(i32),
}

/// What becomes of the server as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first worker serves: it has started.
    Opened,
    /// A reload has begun.
    Reloading,
    /// It is over: new workers serve.
    Reloaded,
    /// It is over, and this is why they do not.
    ReloadFailed(String),
    /// The server is to be sent nothing more.
    Retiring,
    /// Nobody is served any more who has not connected yet.
    Stopping,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// Whether something has failed.
    pub is_trouble: bool,
    /// The line.
    pub text: String,
}

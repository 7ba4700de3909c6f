//! The time that a request has from its head to its answer.
//!
//! It is kept by a thread of its own: a call that computes, or that holds the interpreter, may hold up the one that turns the reactor, and
//! its client is answered in time all the same. A connection has a place here from its first request on, and its requests only change
//! the time in it, so that a request costs two stores.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use slab::Slab;
use tidegate_http::RequestHead;

use crate::clock::{self, Millis, NEVER};
use crate::connection::Connection;
use crate::record::Stage;

/// Names a request, which no other one of this process has been or will be called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    pub(crate) connection: u64,
    pub(crate) number: u64,
}

/// What has come of a request that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes longer than requests should; nothing is done about it.
    Slow,
    /// Its client was answered.
    Expired,
    /// Its client was cut off, as it had a part of the response.
    Cut,
}

/// A request that takes long.
#[derive(Clone, Debug)]
pub struct Overdue {
    /// Which one.
    pub key: RequestKey,
    /// What was asked.
    pub head: RequestHead,
    /// Its id, if it has one.
    pub request_id: Option<Vec<u8>>,
    /// Which of the limits has it, by its number in the settings.
    pub limit: Option<usize>,
    /// What has come of it.
    pub verdict: Verdict,
    /// Where it is.
    pub stage: Stage,
    /// How long it has taken.
    pub took: Duration,
}

/// When a connection is to be looked at because of its request.
type DueAt = Arc<AtomicU64>;

struct Place {
    at_ms: DueAt,
    connection: Weak<Connection>,
}

/// A connection's place, for as long as this lives.
pub(crate) struct Alarm {
    at_ms: DueAt,
    number: usize,
    keeper: Arc<Keeper>,
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alarm {}", self.number)
    }
}

impl Alarm {
    /// Sets, or with [`NEVER`] takes back, the time for a look.
    pub(crate) fn set(&self, at_ms: Millis) {
        if at_ms == NEVER {
            // A thread that does not see it yet looks once more, and then finds it with the connection's lock.
            self.at_ms.store(at_ms, Ordering::Relaxed);
            return;
        }
        // Sequential: the thread looks at the times again once it has said that it sleeps.
        self.at_ms.store(at_ms, Ordering::SeqCst);
        if self.keeper.sleeps.load(Ordering::SeqCst) {
            self.keeper.wake();
        }
    }

    /// The time that is set.
    pub(crate) fn at_ms(&self) -> Millis {
        self.at_ms.load(Ordering::SeqCst)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let place = self.keeper.places().try_remove(self.number);
        drop(place);
    }
}

/// All places, and the thread that looks at them.
pub(crate) struct Keeper {
    places: Mutex<Slab<Place>>,
    /// The least time after its head at which a request may want a look.
    shortest: Duration,
    /// The thread sleeps until it is woken.
    sleeps: AtomicBool,
    ended: AtomicBool,
    thread: OnceLock<Thread>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("shortest", &self.shortest).finish_non_exhaustive()
    }
}

impl Keeper {
    pub(crate) fn new(shortest_ms: Millis) -> Arc<Self> {
        Arc::new(Self {
            places: Mutex::default(),
            shortest: Duration::from_millis(shortest_ms.max(1)),
            sleeps: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            thread: OnceLock::new(),
        })
    }

    fn places(&self) -> MutexGuard<'_, Slab<Place>> {
        // Nothing panics half-way through a change under this lock.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection.
    pub(crate) fn alarm(self: &Arc<Self>, connection: &Arc<Connection>) -> Alarm {
        let at_ms = Arc::new(AtomicU64::new(NEVER));
        let place = Place { at_ms: at_ms.clone(), connection: Arc::downgrade(connection) };
        let number = self.places().insert(place);
        Alarm { at_ms, number, keeper: self.clone() }
    }

    fn wake(&self) {
        self.thread.get().into_iter().for_each(Thread::unpark);
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Starts the thread. It tells of each request that takes long; no lock is held then.
    pub(crate) fn start(self: &Arc<Self>, tell: impl Fn(Overdue) + Send + 'static) -> io::Result<()> {
        let keeper = self.clone();
        let thread =
            std::thread::Builder::new().name("tidegate-timeout".into()).spawn(move || keeper.keep(&tell))?;
        let _ = self.thread.set(thread.thread().clone());
        Ok(())
    }

    fn keep(&self, tell: &impl Fn(Overdue)) {
        let mut was_idle = false;
        while !self.ended.load(Ordering::SeqCst) {
            let earliest_ms = self.look(tell);
            if earliest_ms != NEVER || !was_idle {
                was_idle = earliest_ms == NEVER;
                // What comes from here on is due after `shortest` at the earliest.
                let left = Duration::from_millis(earliest_ms.saturating_sub(clock::now_ms()));
                std::thread::park_timeout(left.min(self.shortest));
                continue;
            }
            // Nothing has happened for a while. Store before load, here and where a time is set.
            self.sleeps.store(true, Ordering::SeqCst);
            if self.look(tell) == NEVER && !self.ended.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.sleeps.store(false, Ordering::SeqCst);
            was_idle = false;
        }
    }

    /// Looks at those whose time has come, and gives the earliest of the others.
    fn look(&self, tell: &impl Fn(Overdue)) -> Millis {
        let now_ms = clock::now_ms();
        let mut earliest_ms = NEVER;
        // Let go without the lock: the last owner of a connection gives its place back.
        let mut due = Vec::new();
        for (_, place) in self.places().iter() {
            let at_ms = place.at_ms.load(Ordering::SeqCst);
            if at_ms > now_ms {
                earliest_ms = earliest_ms.min(at_ms);
            } else if let Some(connection) = place.connection.upgrade() {
                due.push((place.at_ms.clone(), connection));
            }
        }
        for (at_ms, connection) in due {
            if let Some((overdue, parting)) = connection.on_overdue(now_ms) {
                // Whoever runs it knows why before anybody is told that the client is gone.
                tell(overdue);
                connection.part(parting);
            }
            earliest_ms = earliest_ms.min(at_ms.load(Ordering::SeqCst));
        }
        earliest_ms
    }
}

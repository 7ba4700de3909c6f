//! Whether the client of a request has left, for code that is not in the middle of reading or writing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use slab::Slab;

use crate::connection::Connection;

/// That a peer has closed its side, or is lost: nobody may be waiting for the response. Never undone.
#[derive(Debug, Default)]
pub(crate) struct Left {
    left: AtomicBool,
    wakers: Mutex<Slab<Waker>>,
}

impl Left {
    fn wakers(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Wakers are called under the connection's lock: they take note, and act later.
    pub(crate) fn set(&self) {
        if self.note() {
            self.tell();
        }
    }

    /// Who looks sees that the client has left. True when those who wait for that are still to be told.
    pub(crate) fn note(&self) -> bool {
        !self.left.swap(true, Ordering::AcqRel)
    }

    /// Tells them.
    pub(crate) fn tell(&self) {
        // They stay in their places, which are given back by their owners.
        self.wakers().iter().for_each(|(_, waker)| waker.wake_by_ref());
    }
}

/// A look at a connection's departure that does not keep the connection.
#[derive(Clone, Debug)]
pub struct Departure(Weak<Connection>);

impl Departure {
    pub(crate) fn new(connection: &Arc<Connection>) -> Self {
        Self(Arc::downgrade(connection))
    }

    /// Whether the client has closed its side or is lost. Asks the system too: while an application runs inline nobody turns the
    /// reactor, which would tell. A client may close its side and still wait for the response.
    pub fn has_left(&self) -> bool {
        self.0.upgrade().is_none_or(|connection| connection.has_left() || connection.carrier.is_ended())
    }

    /// It has left because the time of its request was over.
    pub fn is_expired(&self) -> bool {
        self.0.upgrade().is_some_and(|connection| connection.expired.load(Ordering::Acquire))
    }

    /// Has `waker` woken, once, when the client leaves, unless the result is dropped before. `None` when it has left already. Wakers are
    /// called while the reactor is at work: they take note, and act later.
    pub fn wake_on_leaving(&self, waker: Waker) -> Option<Registration> {
        let connection = self.0.upgrade()?;
        let mut wakers = connection.left.wakers();
        if connection.left.is_set() {
            return None;
        }
        let place = wakers.insert(waker);
        drop(wakers);
        Some(Registration { connection: self.0.clone(), place })
    }
}

/// A waker's place with a connection, for as long as this lives.
#[derive(Debug)]
pub struct Registration {
    connection: Weak<Connection>,
    place: usize,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.upgrade() {
            let waker = connection.left.wakers().try_remove(self.place);
            drop(waker);
        }
    }
}

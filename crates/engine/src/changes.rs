//! Waiting, on a thread that does not turn the reactor, for the reactor to move a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::connection::Connection;

/// What wakes those who wait for one connection. Costs the reactor one load when nobody does.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    watchers: AtomicUsize,
    count: Mutex<u64>,
    changed: Condvar,
}

impl Changes {
    fn count(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reactor has looked at the connection, and has let go of its lock.
    pub(crate) fn announce(&self) {
        if self.watchers.load(Ordering::SeqCst) > 0 {
            *self.count() += 1;
            self.changed.notify_all();
        }
    }
}

/// A place to wait for the next change of a connection.
///
/// Made *before* the look that finds nothing, so that no change falls between that look and the wait: the look takes the
/// connection's lock, and whoever changes the connection afterwards sees the watcher that was counted before.
#[derive(Debug)]
pub struct Watch {
    connection: Arc<Connection>,
    seen: u64,
}

impl Watch {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        connection.changes.watchers.fetch_add(1, Ordering::SeqCst);
        let seen = *connection.changes.count();
        Self { connection, seen }
    }

    /// Waits until the reactor has moved the connection since this was made, or for `most`.
    pub fn wait(&self, most: Duration) {
        let changes = &self.connection.changes;
        let waited = changes.changed.wait_timeout_while(changes.count(), most, |count| *count == self.seen);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.changes.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

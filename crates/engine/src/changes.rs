//! Waiting, by code that does not turn the reactor, for the reactor to move a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::connection::Connection;

/// What wakes those who wait for one connection. Costs the reactor one load when nobody does.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    watchers: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    wakers: Vec<Waker>,
}

impl Changes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reactor has looked at the connection, and has let go of its lock.
    pub(crate) fn announce(&self) {
        if self.watchers.load(Ordering::SeqCst) > 0 {
            let mut state = self.state();
            state.count += 1;
            let wakers = std::mem::take(&mut state.wakers);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
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
        let seen = {
            let state = connection.changes.state();
            connection.changes.watchers.fetch_add(1, Ordering::SeqCst);
            state.count
        };
        Self { connection, seen }
    }

    /// Has `waker` woken, once, when the reactor has moved the connection since this was made; at once if it has already.
    pub fn wake_on_change(&self, waker: Waker) {
        let mut state = self.connection.changes.state();
        if state.count == self.seen {
            state.wakers.push(waker);
        } else {
            drop(state);
            waker.wake();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let changes = &self.connection.changes;
        // Under the lock, so that nobody's waker is added between the count and the clearing.
        let mut state = changes.state();
        if changes.watchers.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nobody waits: what was not woken is not to be.
            let unwoken = std::mem::take(&mut state.wakers);
            drop(state);
            drop(unwoken);
        }
    }
}

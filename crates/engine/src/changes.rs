//! Waiting, by code that does not turn the reactor, for the reactor to move a connection.

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(all(loom, test))]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
#[cfg(not(all(loom, test)))]
use std::sync::{Mutex, MutexGuard};
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

    /// Somebody will look at the connection, and wait if there is nothing yet. What has been announced so far.
    fn watch(&self) -> u64 {
        let state = self.state();
        self.watchers.fetch_add(1, Ordering::SeqCst);
        state.count
    }

    fn wake_on_change(&self, seen: u64, waker: Waker) {
        let mut state = self.state();
        if state.count == seen {
            // Who gives up and waits again is there already.
            if !state.wakers.iter().any(|known| known.will_wake(&waker)) {
                state.wakers.push(waker);
            }
        } else {
            drop(state);
            waker.wake();
        }
    }

    fn unwatch(&self) {
        // Under the lock, so that nobody's waker is added between the count and the clearing.
        let mut state = self.state();
        if self.watchers.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nobody waits: what was not woken is not to be.
            let unwoken = std::mem::take(&mut state.wakers);
            drop(state);
            drop(unwoken);
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
        let seen = connection.changes.watch();
        Self { connection, seen }
    }

    /// Has `waker` woken, once, when the reactor has moved the connection since this was made; at once if it has already.
    pub fn wake_on_change(&self, waker: Waker) {
        self.connection.changes.wake_on_change(self.seen, waker);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.changes.unwatch();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn who_waits_again_before_anything_has_changed_is_known_once() {
        let changes = Changes::default();
        let (first, second) = (Waker::from(Arc::new(Nobody)), Waker::from(Arc::new(Nobody)));
        let seen = changes.watch();
        for waker in [&first, &second, &first, &second] {
            changes.wake_on_change(seen, waker.clone());
        }
        assert_eq!(changes.state().wakers.len(), 2);
    }
}

/// `make model` runs these.
#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sleep::model::{Bell, explore};
    use loom::sync::atomic::AtomicBool;
    use loom::thread;
    use std::task::Wake;

    /// As a thread waits that does not turn the reactor (host/parking.rs), but for the end of its patience.
    struct Unpark {
        thread: Bell,
        given: AtomicBool,
    }

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.given.store(true, Ordering::Release);
            self.thread.ring();
        }
    }

    /// What a connection is here: how often it has been moved, under its lock.
    #[derive(Default)]
    struct Moved {
        times: Mutex<usize>,
        changes: Changes,
    }

    impl Moved {
        fn wait(&self, seen: u64) {
            let unpark = Arc::new(Unpark { thread: Bell::new(), given: AtomicBool::new(false) });
            self.changes.wake_on_change(seen, Waker::from(unpark.clone()));
            while !unpark.given.load(Ordering::Acquire) {
                unpark.thread.sleep();
            }
        }

        /// As a gateway waits for bytes of a body: the watch is kept for one wait.
        fn wait_for(&self, times: usize) {
            let moved = || *self.times.lock().unwrap() >= times;
            while !moved() {
                let seen = self.changes.watch();
                if !moved() {
                    self.wait(seen);
                }
                self.changes.unwatch();
            }
        }

        fn move_on(&self) {
            *self.times.lock().unwrap() += 1;
            self.changes.announce();
        }
    }

    /// The reactor moves a connection so many times, and so many threads wait for the last: if one of them is not woken, loom
    /// calls it a deadlock.
    fn moved(times: usize, waiting: usize) {
        explore(1 + waiting, move || {
            let connection = Arc::new(Moved::default());
            let others: Vec<_> = (0..waiting)
                .map(|_| {
                    let connection = connection.clone();
                    thread::spawn(move || connection.wait_for(times))
                })
                .collect();
            (0..times).for_each(|_| connection.move_on());
            others.into_iter().for_each(|other| other.join().unwrap());
            let state = connection.changes.state();
            assert!(state.wakers.is_empty() && connection.changes.watchers.load(Ordering::Relaxed) == 0);
        });
    }

    #[test]
    fn a_change_between_the_look_and_the_wait_is_not_missed() {
        moved(1, 1);
        moved(2, 1);
    }

    #[test]
    fn two_wait_for_the_same_change() {
        moved(1, 2);
        moved(2, 2);
    }

    #[test]
    fn one_that_waits_no_longer_does_not_take_the_waker_of_another_along() {
        explore(2, || {
            let connection = Arc::new(Moved::default());
            connection.changes.watch();
            let other = thread::spawn({
                let connection = connection.clone();
                move || connection.wait_for(1)
            });
            connection.changes.unwatch();
            connection.move_on();
            other.join().unwrap();
        });
    }
}

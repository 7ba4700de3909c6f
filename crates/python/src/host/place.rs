//! Where a thread that has nothing to do is given something.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::host::lock;

/// Kept in a list of those that wait: who takes a place out of the list gives it something.
pub(super) struct Place<T> {
    given: Mutex<Option<T>>,
    told: Condvar,
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { given: Mutex::new(None), told: Condvar::new() }
    }
}

impl<T> Place<T> {
    pub(super) fn give(&self, what: T) {
        *lock(&self.given) = Some(what);
        self.told.notify_one();
    }

    /// Waits for it, for `most` at the longest. To be called without the interpreter.
    pub(super) fn take(&self, most: Duration) -> Option<T> {
        let waited = self.told.wait_timeout_while(lock(&self.given), most, |given| given.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

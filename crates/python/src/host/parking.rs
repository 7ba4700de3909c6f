//! Waiting on a thread of the system that does not turn the reactor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::host::Sign;

struct Unpark {
    thread: Thread,
    given: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.given.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Waits for `sign`, for `most` at the longest. To be called without the interpreter.
pub(super) fn park_until(sign: &dyn Sign, most: Duration) {
    let unpark = Arc::new(Unpark { thread: thread::current(), given: AtomicBool::new(false) });
    let _registration = sign.wake(Waker::from(unpark.clone()));
    let end = Instant::now() + most;
    // A thread may be unparked for what it waited for earlier.
    while !unpark.given.load(Ordering::Acquire) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

//! A while in which no threads are started, as the system has refused one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long none are started.
pub(super) const SHORT: Duration = Duration::from_secs(1);

pub(super) struct Shortage {
    epoch: Instant,
    /// Milliseconds since `epoch`; 0 when there is none.
    until_ms: AtomicU64,
}

impl Shortage {
    pub(super) fn new() -> Self {
        Self { epoch: Instant::now(), until_ms: AtomicU64::new(0) }
    }

    pub(super) fn begin(&self) {
        self.until_ms.store((self.epoch.elapsed() + SHORT).as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.until_ms.load(Ordering::Relaxed) != 0
    }

    /// True when it has just ended: it may be tried again.
    pub(super) fn ends(&self) -> bool {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        let ends = until_ms != 0 && self.epoch.elapsed().as_millis() as u64 >= until_ms;
        if ends {
            self.until_ms.store(0, Ordering::Relaxed);
        }
        ends
    }
}

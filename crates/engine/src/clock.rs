//! The one place that reads a clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the engine started; the unit of every deadline.
pub(crate) type Millis = u64;

/// A deadline that never comes.
pub(crate) const NEVER: Millis = u64::MAX;

/// Monotonic time for deadlines, and the `Date` field's value, formatted once a second.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The text, and until when it holds.
    date: Mutex<(Millis, [u8; 29])>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), date: Mutex::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) }
    }

    /// Now, for deadlines.
    pub(crate) fn now_ms(&self) -> Millis {
        // Five hundred million years fit into 64 bits.
        self.start.elapsed().as_millis() as Millis
    }

    /// `now_ms` as IMF-fixdate (RFC 9110 section 5.6.7).
    pub(crate) fn date(&self, now_ms: Millis) -> [u8; 29] {
        let mut cached = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms >= cached.0 {
            let now = SystemTime::now();
            let into_second = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).subsec_millis();
            if let Ok(text) = httpdate::fmt_http_date(now).as_bytes().try_into() {
                // It holds until the wall clock's next second begins.
                *cached = (now_ms + 1000 - Millis::from(into_second), text);
            }
        }
        cached.1
    }
}

/// A moment to measure a request's duration from.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// The wall clock, for the access log.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

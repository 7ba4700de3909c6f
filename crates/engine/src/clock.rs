//! The one place that reads a clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sys;

/// Milliseconds since the engine started; the unit of every deadline.
pub(crate) type Millis = u64;

/// A deadline that never comes.
pub(crate) const NEVER: Millis = u64::MAX;

/// The longest tick of a kernel (100 Hz): what is due may not look due for so long.
pub(crate) const COARSENESS_MS: Millis = 10;

/// Monotonic time for deadlines, and the `Date` field's value, formatted once a second.
#[derive(Debug)]
pub(crate) struct Clock {
    start_ms: Millis,
    /// The text, and until when it holds.
    date: Mutex<(Millis, [u8; 29])>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start_ms: sys::coarse_ms(), date: Mutex::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) }
    }

    /// Now, for deadlines: up to [`COARSENESS_MS`] late, as it is read several times for each request.
    pub(crate) fn now_ms(&self) -> Millis {
        sys::coarse_ms().saturating_sub(self.start_ms)
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

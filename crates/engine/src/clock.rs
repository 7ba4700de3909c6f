//! The one place that reads a clock.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sys;

/// Milliseconds of the system's monotonic clock; the unit of every deadline.
pub(crate) type Millis = u64;

/// A deadline that never comes.
pub(crate) const NEVER: Millis = u64::MAX;

/// The longest tick of a kernel (100 Hz): what is due may not look due for so long.
pub(crate) const COARSENESS_MS: Millis = 10;

thread_local! {
    /// The `Date` field's value, and until when it holds. Each thread has its own, as all of them want it all the time.
    static DATE: Cell<(Millis, [u8; 29])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

/// Now, for deadlines: up to [`COARSENESS_MS`] late, as it is read several times for each request.
pub(crate) fn now_ms() -> Millis {
    sys::coarse_ms()
}

/// `now_ms` as IMF-fixdate (RFC 9110 section 5.6.7), formatted once a second.
pub(crate) fn date(now_ms: Millis) -> [u8; 29] {
    let (until_ms, text) = DATE.get();
    if now_ms < until_ms {
        return text;
    }
    let now = SystemTime::now();
    let into_second = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).subsec_millis();
    let text = httpdate::fmt_http_date(now).as_bytes().try_into().unwrap_or(text);
    // It holds until the wall clock's next second begins.
    DATE.set((now_ms + 1000 - Millis::from(into_second), text));
    text
}

/// A moment to measure a request's duration from.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Now, to measure the stages of a request by: the same in every process.
pub(crate) fn now_us() -> u64 {
    sys::precise_us()
}

/// The wall clock in milliseconds since 1970, up to [`COARSENESS_MS`] late, for ids that begin with it.
pub(crate) fn wall_ms() -> u64 {
    sys::coarse_wall_ms()
}

/// The wall clock, for the access log.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

//! How long a request has waited in front of this server, by what the server there says of when it began.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_http::RequestHead;

/// The fields that say it, the more usual one first. New Relic made them up; Heroku sends the first, nginx and Apache what they are told to.
const FIELDS: [&str; 2] = ["x-request-start", "x-queue-start"];

/// Digits of seconds, milliseconds, microseconds, nanoseconds since 1970, from 2001 to 2286: each has its own number.
const DIGITS: [(usize, u32); 4] = [(10, 0), (13, 3), (16, 6), (19, 9)];

/// Nobody waits for longer; a clock may be wrong by more.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How long a request that came at `now` has waited, in microseconds. What cannot be understood or be true says nothing; what is yet to
/// begin, by another clock, has not waited.
pub(crate) fn waited_us(head: &RequestHead, now: SystemTime) -> Option<u32> {
    let began = FIELDS.iter().find_map(|name| head.field(name)).and_then(parse)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    let waited = now.saturating_sub(began);
    if waited > WAIT_MAX || began.saturating_sub(now) > WAIT_MAX {
        return None;
    }
    // An hour has 3.6 * 10^9 of them.
    u32::try_from(waited.as_micros()).ok()
}

/// `t=1700000000.123`, `1700000000123`, `t=1700000000123456` and their like, as a time since 1970. In a list, the first: who stood in
/// front of all others.
fn parse(value: &[u8]) -> Option<Duration> {
    let value = value.split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    let value = value.strip_prefix(b"t=").unwrap_or(value);
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or_default());
    let (_, decimals) = *DIGITS.iter().find(|(count, _)| *count == whole.len())?;
    // In nanoseconds, for which 19 digits are enough.
    let mut number: u64 = 0;
    let zeros = std::iter::repeat(&b'0');
    let digits = whole.iter().chain(fraction.iter().chain(zeros).take(9 - decimals as usize));
    for digit in digits {
        number =
            number.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0').filter(|&n| n < 10)?))?;
    }
    fraction.iter().all(u8::is_ascii_digit).then_some(Duration::from_nanos(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_front_servers_notation_is_the_same_time() {
        for (text, ns) in [
            ("t=1700000000.123", 1_700_000_000_123_000_000),
            ("1700000000.123456", 1_700_000_000_123_456_000),
            ("t=1700000000", 1_700_000_000_000_000_000),
            ("1700000000123", 1_700_000_000_123_000_000),
            ("t=1700000000123.5", 1_700_000_000_123_500_000),
            ("t=1700000000123456", 1_700_000_000_123_456_000),
            ("t=1700000000123456789", 1_700_000_000_123_456_789),
            (" t=1700000000.123 , t=1700000001.0", 1_700_000_000_123_000_000),
            ("1700000000.1234567891234", 1_700_000_000_123_456_789),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Duration::from_nanos(ns)), "{text}");
        }
        for bad in [
            "",
            "t=",
            "now",
            "-1",
            "1",
            "17000000001",
            "t=170000000x.1",
            "1700000000.x",
            "1700000000.1.2",
            "t=\"1700000000\"",
            "1 700000000",
            "99999999999999999999999999",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

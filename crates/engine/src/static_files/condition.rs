//! What a client knows of a file already, and what it wants only then (RFC 9110 section 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::range::Wanted;

/// What tells one state of a file from another (RFC 9110 section 8.8).
#[derive(Clone, Debug)]
pub(super) struct Validators {
    /// With its quotes, and `W/` before them if it is weak.
    pub(super) etag: Option<Vec<u8>>,
    /// In whole seconds.
    pub(super) modified: Option<SystemTime>,
}

/// What a request comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Send(Wanted),
    NotModified,
    PreconditionFailed,
}

/// The conditions of a request, a field's first line where one is enough.
#[derive(Default)]
struct Conditions<'a> {
    if_match: Option<bool>,
    if_unmodified_since: Option<SystemTime>,
    if_none_match: Option<bool>,
    if_modified_since: Option<SystemTime>,
    if_range: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
}

/// What a GET, or a HEAD, with these fields comes to for a file of `size` bytes, in the order of RFC 9110 section 13.2.2.
pub(super) fn decide<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    is_get: bool,
    validators: &Validators,
    size: u64,
    now: SystemTime,
) -> Decision {
    let conditions = Conditions::of(fields, validators);
    let is_later = |since: SystemTime| validators.modified.is_some_and(|modified| modified > since);
    match (conditions.if_match, conditions.if_unmodified_since) {
        (Some(false), _) => return Decision::PreconditionFailed,
        (None, Some(since)) if is_later(since) => return Decision::PreconditionFailed,
        _ => {}
    }
    match (conditions.if_none_match, conditions.if_modified_since) {
        (Some(true), _) => return Decision::NotModified,
        (None, Some(since)) if validators.modified.is_some() && !is_later(since) => {
            return Decision::NotModified;
        }
        _ => {}
    }
    // Range is GET's alone (RFC 9110 section 14.2).
    let range = conditions.range.filter(|_| is_get);
    let is_same = conditions.if_range.is_none_or(|value| validators.are_strongly(value, now));
    Decision::Send(range.filter(|_| is_same).map_or(Wanted::Whole, |value| Wanted::of(value, size)))
}

impl<'a> Conditions<'a> {
    fn of(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, validators: &Validators) -> Self {
        let mut found = Self::default();
        for (name, value) in fields {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            match name.len() {
                5 if is("range") => found.range = found.range.or(Some(value)),
                8 if is("if-match") => {
                    *found.if_match.get_or_insert(false) |= validators.is_named(value, Comparison::Strong);
                }
                8 if is("if-range") => found.if_range = found.if_range.or(Some(value)),
                13 if is("if-none-match") => {
                    *found.if_none_match.get_or_insert(false) |= validators.is_named(value, Comparison::Weak);
                }
                17 if is("if-modified-since") => {
                    found.if_modified_since = found.if_modified_since.or_else(|| date(value));
                }
                19 if is("if-unmodified-since") => {
                    found.if_unmodified_since = found.if_unmodified_since.or_else(|| date(value));
                }
                _ => {}
            }
        }
        found
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

impl Validators {
    /// Whether a list of entity tags has the file's (RFC 9110 section 8.8.3.2).
    fn is_named(&self, list: &[u8], comparison: Comparison) -> bool {
        if list == b"*" {
            return true;
        }
        let Some(own) = &self.etag else { return false };
        let (own_weak, own) = split_weak(own);
        let mut rest = list;
        loop {
            rest = rest.trim_ascii_start();
            let (is_weak, tag) = split_weak(rest);
            let Some(end) = tag.get(1..).and_then(|inside| inside.iter().position(|&byte| byte == b'"'))
            else {
                return false;
            };
            let (tag, after) = tag.split_at(end + 2);
            if tag == own && (comparison == Comparison::Weak || !(is_weak || own_weak)) {
                return true;
            }
            match after.trim_ascii_start() {
                [b',', more @ ..] => rest = more,
                _ => return false,
            }
        }
    }

    /// Whether the value of If-Range stands for the very bytes that there are (RFC 9110 section 13.1.5).
    fn are_strongly(&self, value: &[u8], now: SystemTime) -> bool {
        if value.ends_with(b"\"") {
            return value != b"*" && self.is_named(value, Comparison::Strong);
        }
        // What was written within the second could be written once more in it (section 8.8.2.2).
        let settled = |modified: &SystemTime| {
            now.duration_since(*modified).is_ok_and(|age| age > Duration::from_secs(1))
        };
        self.modified.filter(settled).is_some_and(|modified| date(value) == Some(modified))
    }
}

fn split_weak(tag: &[u8]) -> (bool, &[u8]) {
    tag.strip_prefix(b"W/").map_or((false, tag), |tag| (true, tag))
}

/// A date in one of the three forms of RFC 9110 section 5.6.7; another is none.
pub(super) fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

/// A moment without its fraction, as dates of HTTP have none.
pub(super) fn whole_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_files::range::Part;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const SIZE: u64 = 10;

    fn decided(fields: &[(&str, &str)]) -> Decision {
        let validators = Validators { etag: Some(b"\"a,b\"".to_vec()), modified: date(THEN.as_bytes()) };
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        decide(fields, true, &validators, SIZE, whole_seconds(1_000_000_000))
    }

    fn whole() -> Decision {
        Decision::Send(Wanted::Whole)
    }

    fn part() -> Decision {
        Decision::Send(Wanted::Parts(vec![Part { offset: 0, length: 1 }]))
    }

    #[test]
    fn conditions_are_looked_at_in_the_order_of_the_rfc() {
        const ETAG: &str = "\"a,b\"";
        const RANGE: (&str, &str) = ("Range", "bytes=0-0");
        for (fields, expected) in [
            (&[][..], whole()),
            (&[("If-Match", ETAG)], whole()),
            (&[("If-Match", "*")], whole()),
            (&[("If-Match", "\"x\", \"a,b\"")], whole()),
            (&[("If-Match", "\"x\""), ("if-match", ETAG)], whole()),
            (&[("If-Match", "\"x\"")], Decision::PreconditionFailed),
            (&[("If-Match", "W/\"a,b\"")], Decision::PreconditionFailed),
            (&[("If-Match", "a,b")], Decision::PreconditionFailed),
            (&[("If-Match", "")], Decision::PreconditionFailed),
            (&[("If-Match", "\"")], Decision::PreconditionFailed),
            // Only where there is no If-Match.
            (&[("If-Match", ETAG), ("If-Unmodified-Since", OLD)], whole()),
            (&[("If-Unmodified-Since", OLD)], Decision::PreconditionFailed),
            (&[("If-Unmodified-Since", THEN)], whole()),
            (&[("If-Unmodified-Since", "yesterday")], whole()),
            (&[("If-None-Match", ETAG)], Decision::NotModified),
            (&[("If-None-Match", "*")], Decision::NotModified),
            (&[("If-None-Match", "W/\"a,b\"")], Decision::NotModified),
            (&[("If-None-Match", "\"x\" ,W/\"y\", \"a,b\"")], Decision::NotModified),
            (&[("If-None-Match", "\"a\"")], whole()),
            (&[("If-None-Match", "\"x\" \"a,b\"")], whole()),
            // Only where there is no If-None-Match.
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", NEW)], whole()),
            (&[("If-None-Match", ETAG), ("If-Modified-Since", OLD)], Decision::NotModified),
            (&[("If-Modified-Since", OLD)], whole()),
            (&[("If-Modified-Since", THEN)], Decision::NotModified),
            (&[("If-Modified-Since", NEW)], Decision::NotModified),
            (&[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], Decision::NotModified),
            (&[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], Decision::NotModified),
            (&[("If-Modified-Since", "1994")], whole()),
            (&[("If-Match", "\"x\""), ("If-None-Match", ETAG)], Decision::PreconditionFailed),
            (&[("If-None-Match", ETAG), RANGE], Decision::NotModified),
            (&[RANGE], part()),
            (&[RANGE, ("If-Range", ETAG)], part()),
            (&[RANGE, ("If-Range", "W/\"a,b\"")], whole()),
            (&[RANGE, ("If-Range", "\"x\"")], whole()),
            (&[RANGE, ("If-Range", "*")], whole()),
            (&[RANGE, ("If-Range", THEN)], part()),
            (&[RANGE, ("If-Range", NEW)], whole()),
            (&[RANGE, ("If-Range", OLD)], whole()),
            (&[("Range", "bytes=10-"), ("If-Range", "\"x\"")], whole()),
            (&[("Range", "bytes=10-")], Decision::Send(Wanted::Unsatisfiable)),
        ] {
            assert_eq!(decided(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_date_stands_for_bytes_only_when_its_second_is_over() {
        let validators = Validators { etag: None, modified: date(THEN.as_bytes()) };
        let modified = validators.modified.unwrap();
        assert!(!validators.are_strongly(THEN.as_bytes(), modified + Duration::from_millis(900)));
        assert!(validators.are_strongly(THEN.as_bytes(), modified + Duration::from_millis(1001)));
        assert!(!validators.are_strongly(THEN.as_bytes(), modified - Duration::from_secs(5)));
    }

    #[test]
    fn ranges_are_for_get_alone() {
        let validators = Validators { etag: None, modified: None };
        let fields = [(&b"Range"[..], &b"bytes=0-0"[..])];
        let now = whole_seconds(1_000_000_000);
        assert_eq!(decide(fields.into_iter(), false, &validators, SIZE, now), whole());
        assert_eq!(decide(fields.into_iter(), true, &validators, SIZE, now), part());
    }
}

//! Which parts of a file are asked for (RFC 9110 section 14).

/// Most parts of one answer. Who asks for more is given the whole: many small parts, or parts that overlap, cost a server more than they
/// could be of use to a client (RFC 9110 section 14.2).
const PARTS_MAX: usize = 16;

/// A part of a file, which is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Part {
    /// As Content-Range has it.
    pub(super) fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.offset, self.offset + self.length - 1)
    }
}

/// What a Range field asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it, or something that no answer is owed to.
    Whole,
    /// These parts, one at least, in the order that they were asked for.
    Parts(Vec<Part>),
    /// Nothing that there is.
    Unsatisfiable,
}

impl Wanted {
    /// From a field's value, of a file of so many bytes.
    pub(super) fn of(value: &[u8], size: u64) -> Self {
        // No part of nothing could be named in an answer; clients with a Range in every request mean the file.
        let Some(specs) = specs(value).filter(|_| size > 0) else { return Self::Whole };
        let mut parts: Vec<Part> = Vec::new();
        for spec in specs.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if spec.is_empty() {
                continue;
            }
            match part(spec, size) {
                None => return Self::Whole,
                Some(None) => {}
                Some(Some(part)) => {
                    let overlaps = |other: &Part| {
                        part.offset < other.offset + other.length && other.offset < part.offset + part.length
                    };
                    if parts.len() == PARTS_MAX || parts.iter().any(overlaps) {
                        return Self::Whole;
                    }
                    parts.push(part);
                }
            }
        }
        if parts.is_empty() { Self::Unsatisfiable } else { Self::Parts(parts) }
    }
}

/// What follows `bytes=`; `None` where the unit is another.
fn specs(value: &[u8]) -> Option<&[u8]> {
    let (unit, specs) = value.split_at_checked(b"bytes=".len())?;
    let is_named = specs.iter().any(|byte| byte.is_ascii_digit());
    (unit.eq_ignore_ascii_case(b"bytes=") && is_named).then_some(specs)
}

/// One part of a file of `size` bytes: `None` if it is none, `Some(None)` if the file has no such part.
fn part(spec: &[u8], size: u64) -> Option<Option<Part>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some((length > 0).then_some(Part { offset: size - length, length }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    let end = last.saturating_add(1).min(size);
    Some((first < size).then(|| Part { offset: first, length: end - first }))
}

/// Digits alone. What is too large for a number is larger than any file.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_the_rfc_has_them() {
        let parts = |list: &[(u64, u64)]| {
            Wanted::Parts(list.iter().map(|&(offset, length)| Part { offset, length }).collect())
        };
        for (value, size, expected) in [
            ("bytes=0-499", 10_000, parts(&[(0, 500)])),
            ("bytes=500-999", 10_000, parts(&[(500, 500)])),
            ("bytes=-500", 10_000, parts(&[(9_500, 500)])),
            ("bytes=9500-", 10_000, parts(&[(9_500, 500)])),
            ("bytes=0-0,-1", 10_000, parts(&[(0, 1), (9_999, 1)])),
            ("bytes= 0-0 , , 5-6 ", 10_000, parts(&[(0, 1), (5, 2)])),
            ("BYTES=5-6", 10_000, parts(&[(5, 2)])),
            ("bytes=0-99999999999999999999999", 10, parts(&[(0, 10)])),
            ("bytes=-99999999999999999999999", 10, parts(&[(0, 10)])),
            ("bytes=9-", 10, parts(&[(9, 1)])),
            ("bytes=10-", 10, Wanted::Unsatisfiable),
            ("bytes=10-20", 10, Wanted::Unsatisfiable),
            ("bytes=-0", 10, Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Wanted::Unsatisfiable),
            ("bytes=10-20,3-4", 10, parts(&[(3, 2)])),
            // What is no range is not heeded.
            ("bytes=5-4", 10, Wanted::Whole),
            ("bytes=0-0,5-4", 10, Wanted::Whole),
            ("bytes=", 10, Wanted::Whole),
            ("bytes=,", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes=a-b", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("bytes=1--2", 10, Wanted::Whole),
            ("bytes=0x1-2", 10, Wanted::Whole),
            ("lines=1-2", 10, Wanted::Whole),
            ("bytes 1-2", 10, Wanted::Whole),
            ("", 10, Wanted::Whole),
            ("bytes=0-", 0, Wanted::Whole),
            ("bytes=-5", 0, Wanted::Whole),
            // Nor are parts that overlap.
            ("bytes=0-5,5-6", 10, Wanted::Whole),
            ("bytes=0-,-1", 10, Wanted::Whole),
        ] {
            assert_eq!(Wanted::of(value.as_bytes(), size), expected, "{value} of {size}");
        }
    }

    #[test]
    fn who_asks_for_many_parts_is_given_the_whole() {
        let value = |count: usize| {
            let specs: Vec<_> = (0..count).map(|number| format!("{0}-{0}", number * 2)).collect();
            format!("bytes={}", specs.join(","))
        };
        let Wanted::Parts(parts) = Wanted::of(value(PARTS_MAX).as_bytes(), 1000) else { panic!() };
        assert_eq!(parts.len(), PARTS_MAX);
        assert_eq!(Wanted::of(value(PARTS_MAX + 1).as_bytes(), 1000), Wanted::Whole);
        assert_eq!(Wanted::of(value(5000).as_bytes(), 100_000), Wanted::Whole);
    }
}

//! Which trace a request belongs to (W3C Trace Context, section 3.2).

use crate::h1::RequestHead;

/// The one field that says it.
const FIELD: &str = "traceparent";

/// The length of a `traceparent` of version 00, which later versions may only add to.
const SIZE: usize = 55;

/// What a `traceparent` says. The ids are lowercase hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// The trace, by 32 digits, not all of them 0.
    pub trace_id: &'a [u8],
    /// The span of whoever has sent the request, by 16 digits, not all of them 0.
    pub span_id: &'a [u8],
    /// Whether the sender may have recorded it.
    pub sampled: bool,
}

impl<'a> TraceParent<'a> {
    /// What the head says. What is not as the specification has it says nothing, and neither do two fields, which belong to two traces.
    pub fn of(head: &'a RequestHead) -> Option<Self> {
        let mut values = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case(FIELD.as_bytes()));
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value)
    }

    fn parse(value: &'a [u8]) -> Option<Self> {
        let (known, added) = value.split_at_checked(SIZE)?;
        let [version, trace_id, span_id, flags] = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_id = |part: &[u8]| is_hex(part) && part.iter().any(|&byte| byte != b'0');
        // Later versions may have more behind a dash. ff is none.
        let is_version = match version {
            b"00" => added.is_empty(),
            later => is_hex(later) && later != b"ff" && (added.is_empty() || added[0] == b'-'),
        };
        let has_dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
        if !(is_version && has_dashes && is_id(trace_id) && is_id(span_id) && is_hex(flags)) {
            return None;
        }
        // The last bit of the last digit.
        let sampled = matches!(flags[1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f');
        Some(Self { trace_id, span_id, sampled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_read_strictly_and_later_versions_as_far_as_they_are_known() {
        for (value, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-02"), false),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), true),
        ] {
            let expected = TraceParent { trace_id: TRACE.as_bytes(), span_id: SPAN.as_bytes(), sampled };
            assert_eq!(TraceParent::parse(value.as_bytes()), Some(expected), "{value}");
        }
        for bad in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN} 01"),
            format!("00 {TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("0-0{TRACE}-{SPAN}-01"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0A-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01.what"),
            format!("00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

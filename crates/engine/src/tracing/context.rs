//! Which trace a request belongs to, by W3C Trace Context, and whether it is recorded.

use std::fmt;

use tidegate_http::{RequestHead, TraceParent};

use crate::random::RandomPool;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What names a span of the server's. All are numbers of random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    /// The span of whoever has sent the request.
    pub(super) parent_id: Option<[u8; 8]>,
}

impl TraceContext {
    fn traceparent(&self, sampled: bool) -> String {
        format!("00-{}-{}-0{}", Hex(&self.trace_id), Hex(&self.span_id), u8::from(sampled))
    }
}

/// Bytes of an id as lowercase hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        let pairs = digits.as_chunks_mut().0;
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        }
        let length = (self.0.len() * 2).min(digits.len());
        f.write_str(str::from_utf8(&digits[..length]).unwrap_or_default())
    }
}

/// A part of all traces, chosen by their ids, as others choose that have the same part (OpenTelemetry, "TraceState: Probability Sampling": by
/// the last 56 bits).
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Ids from here on are in it.
    threshold: u64,
}

impl Sample {
    const IDS: u64 = 1 << 56;

    /// From 0 to 1.
    pub(super) fn new(part: f64) -> Self {
        // Every whole number up to 2^56 has a place in the product, and a part beyond its range is cut off.
        Self { threshold: Self::IDS - ((part * Self::IDS as f64) as u64).min(Self::IDS) }
    }

    fn takes(self, trace_id: [u8; 16]) -> bool {
        let low = trace_id[9..].iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        low >= self.threshold
    }
}

/// Leaves a `traceparent` in the head that names the span the server gives the request. Only a trusted peer's own is followed: a stranger
/// must neither write into our traces nor decide what is recorded. One of a trusted peer that is not sampled is passed on as it came.
pub(super) fn assign(
    head: &mut RequestHead,
    is_trusted: bool,
    sample: Sample,
    random: &RandomPool,
) -> Option<TraceContext> {
    let no_ids = |error: &getrandom::Error| log::error!("a request has no trace: {error}");
    if is_trusted && let Some(parent) = TraceParent::of(head) {
        if !parent.sampled {
            return None;
        }
        let (trace_id, parent_id) = (bytes(parent.trace_id)?, bytes(parent.span_id)?);
        let span_id = random.take().inspect_err(no_ids).ok()?;
        let context = TraceContext { trace_id, span_id, parent_id: Some(parent_id) };
        head.replace_field(TRACEPARENT, Some(context.traceparent(true).as_bytes()));
        return Some(context);
    }
    // It is of the trace that is not followed.
    head.replace_field(TRACESTATE, None);
    let context = random.take::<24>().inspect_err(no_ids).ok().and_then(|random| {
        let (trace_id, span_id) = (*random.first_chunk()?, *random.last_chunk()?);
        Some(TraceContext { trace_id, span_id, parent_id: None })
    });
    let is_sampled = context.is_some_and(|context| sample.takes(context.trace_id));
    // What is not recorded says so, lest what comes after decides otherwise.
    let traceparent = context.map(|context| context.traceparent(is_sampled));
    head.replace_field(TRACEPARENT, traceparent.as_ref().map(String::as_bytes));
    context.filter(|_| is_sampled)
}

/// Hexadecimal digits as bytes.
fn bytes<const COUNT: usize>(digits: &[u8]) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_traces_is_recorded_by_the_end_of_their_ids() {
        let ids = [0, 0x40, 0x80, 0xc0, 0xff].map(|byte| {
            let mut id = [0xff; 16];
            id[9..].fill(byte);
            id
        });
        for (part, taken) in [(0.0, 0), (0.001, 1), (0.3, 2), (0.6, 3), (1.0, 5)] {
            let count = ids.iter().filter(|id| Sample::new(part).takes(**id)).count();
            assert_eq!(count, taken, "{part}");
        }
    }

    #[test]
    fn of_many_traces_the_part_is_recorded_that_was_asked_for() {
        let (random, sample) = (RandomPool::default(), Sample::new(0.25));
        let taken =
            (0..10_000).filter(|_| random.take().is_ok_and(|trace_id| sample.takes(trace_id))).count();
        assert!((2_000..3_000).contains(&taken), "{taken}");
    }

    #[test]
    fn ids_are_written_as_they_are_read() {
        let context = TraceContext { trace_id: [0xa0; 16], span_id: [7; 8], parent_id: None };
        assert_eq!(context.traceparent(true), format!("00-{}-{}-01", "a0".repeat(16), "07".repeat(8)));
        assert_eq!(bytes::<8>(b"0707070707070707"), Some([7; 8]));
    }
}

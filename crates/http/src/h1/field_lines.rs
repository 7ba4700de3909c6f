//! Field lines, of heads and of trailers.
//!
//! They go to httparse when all are there. The [`LineGate`](super::gate::LineGate) has made sure that they end in CRLF only, where httparse
//! takes LF too.

use httparse::Header;

use crate::error::RequestFault;
use crate::field::{FieldList, FieldSpan, Span, admit};
use crate::limits::UnderscoreNames;

/// A field line as it was read.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) value_span: Span,
}

/// Reads `count` field lines from `begin` to the blank line at the end of the list's bytes, shows each that is passed on to
/// `note`, and lists it.
pub(crate) fn read_fields(
    list: &mut FieldList,
    begin: usize,
    count: usize,
    policy: UnderscoreNames,
    fault: RequestFault,
    note: impl FnMut(Line<'_>) -> Result<(), RequestFault>,
) -> Result<(), RequestFault> {
    // An array must be set up before httparse fills it, so it is not much longer than the lines at hand.
    match count {
        0..=8 => read_fields_through(&mut [httparse::EMPTY_HEADER; 8], list, begin, policy, fault, note),
        9..=32 => read_fields_through(&mut [httparse::EMPTY_HEADER; 32], list, begin, policy, fault, note),
        _ => read_fields_through(&mut vec![httparse::EMPTY_HEADER; count], list, begin, policy, fault, note),
    }
}

fn read_fields_through<'a>(
    headers: &mut [Header<'a>],
    list: &'a mut FieldList,
    begin: usize,
    policy: UnderscoreNames,
    fault: RequestFault,
    mut note: impl FnMut(Line<'_>) -> Result<(), RequestFault>,
) -> Result<(), RequestFault> {
    let FieldList { bytes, spans } = list;
    let block = bytes.get(begin..).unwrap_or_default();
    // The gate has found the blank line at the end of the block, and none before: anything but "complete to the end" is a
    // line that httparse reads otherwise than the gate.
    let headers = match httparse::parse_headers(block, headers) {
        Ok(httparse::Status::Complete((size, headers))) if size == block.len() => headers,
        _ => return Err(fault),
    };
    // One more, for what the server may add.
    spans.reserve_exact(headers.len() + 1);
    for header in headers {
        let name = header.name.as_bytes();
        if admit(name, policy)? {
            let span = FieldSpan { name: Span::of(name, bytes), value: Span::of(header.value, bytes) };
            note(Line { name, value: header.value, value_span: span.value })?;
            spans.push(span);
        }
    }
    Ok(())
}

/// Fields that must not come as trailers: those that decide about framing, routing, credentials, conditions or content
/// (RFC 9110 section 6.5.1), sorted.
const NEVER_TRAILERS: [&str; 40] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "warning",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Whether a field may come as a trailer.
pub(crate) fn may_be_trailer(name: &[u8]) -> bool {
    !NEVER_TRAILERS.iter().any(|never| name.eq_ignore_ascii_case(never.as_bytes()))
}

//! Holds: the incremental chunked decoder agrees with one that sees all bytes at once, and with itself however the bytes are cut.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{control, pieces, read_one};
use tidegate_http::{Limits, RequestFault};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let Some((mut choices, body)) = control(data) else { return };
    let limits = Arc::new(Limits {
        body_size_max: [None, Some(64)][choices.below(2)],
        chunk_extension_size_max: [16_384, 16][choices.below(2)],
        trailer_size_max: [8_192, 48][choices.below(2)],
        ..Limits::default()
    });
    let wire = [HEAD, body].concat();
    let whole = read_one(&limits, [&wire[..]]);
    assert_eq!(read_one(&limits, pieces(&wire, &mut choices)), whole);
    assert_eq!(read_one(&limits, wire.chunks(1)), whole);
    assert!(whole.head.is_some());
    assert!(limits.body_size_max.is_none_or(|max| whole.body.len() as u64 <= max));
    match whole.fault {
        // How far the limits reach is for the tests; here they may only be stricter.
        Some(
            RequestFault::BodyTooLarge
            | RequestFault::ChunkExtensionsTooLarge
            | RequestFault::TooManyChunks
            | RequestFault::TrailersTooLarge
            | RequestFault::TrailerForbidden,
        ) => {}
        Some(_) => assert_eq!(decode(body), Decoded::Wrong),
        None if whole.trailers.is_some() => {
            assert_eq!(decode(body), Decoded::Complete { data: whole.body, left: whole.left });
        }
        None => assert_ne!(decode(body), Decoded::Wrong, "a mistake was not noticed"),
    }
});

#[derive(Debug, PartialEq, Eq)]
enum Decoded {
    Complete { data: Vec<u8>, left: usize },
    Incomplete,
    Wrong,
}

/// RFC 9112 section 7.1, read off the grammar. `Wrong` only where no continuation can be right.
fn decode(mut rest: &[u8]) -> Decoded {
    let mut data = Vec::new();
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return Decoded::Wrong;
        }
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            // An unfinished size line: it is wrong if no end of it could make it right.
            return if ["", "\r\n", "a\r\n", "\"\r\n", "a\"\r\n", ";a\r\n", "=a\r\n", "\n", "0\r\n"]
                .iter()
                .any(|end| {
                    let line = [rest, end.as_bytes()].concat();
                    size_line(&line).is_some()
                })
                || rest.is_empty()
            {
                Decoded::Incomplete
            } else {
                Decoded::Wrong
            };
        };
        let Some(size) = size_line(&rest[..=end]).filter(|&size| size <= i64::MAX as u64 - data.len() as u64)
        else {
            return Decoded::Wrong;
        };
        rest = &rest[end + 1..];
        if size == 0 {
            break;
        }
        let size = size as usize;
        if rest.len() < size {
            return Decoded::Incomplete;
        }
        data.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        match rest {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Decoded::Incomplete,
            _ => return Decoded::Wrong,
        }
    }
    // Trailers: whole lines are judged only when the section is complete, or when a line ends in LF alone.
    let mut wrong = false;
    loop {
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return Decoded::Incomplete };
        let Some(line) = rest[..end].strip_suffix(b"\r") else { return Decoded::Wrong };
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(0);
        wrong |= !is_token(&line[..colon])
            || line.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f);
    }
    if wrong { Decoded::Wrong } else { Decoded::Complete { data, left: rest.len() } }
}

/// `chunk-size [ chunk-ext ] CRLF`.
fn size_line(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
    if digits > 16 || size > i64::MAX as u64 {
        return None;
    }
    let mut rest = &line[digits..];
    while !rest.is_empty() {
        rest = blanks(rest).strip_prefix(b";")?;
        rest = token(blanks(rest))?;
        if let Some(value) = blanks(rest).strip_prefix(b"=") {
            let value = blanks(value);
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => quoted_string(quoted)?,
                None => token(value)?,
            };
        }
    }
    Some(size)
}

fn blanks(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count()..]
}

fn token(bytes: &[u8]) -> Option<&[u8]> {
    let size = bytes.iter().take_while(|byte| is_token(std::slice::from_ref(byte))).count();
    (size > 0).then(|| &bytes[size..])
}

/// What follows the closing quote.
fn quoted_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., after @ ..] => rest = after,
            [b'\\', ..] => return None,
            [b'\t' | b' '..=b'~' | 0x80.., after @ ..] => rest = after,
            _ => return None,
        }
    }
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

//! What the fields of a head say about its message.

use crate::error::RequestFault;
use crate::field::{Span, is_token, parse_length, trim};
use crate::h1::authority::{same_authority, split_port};
use crate::h1::body::BodyKind;
use crate::h1::field_lines::Line;
use crate::h1::request_line::{RequestLine, TargetForm, Version};

/// What the fields of a head say about its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) body: BodyKind,
    pub(crate) authority: Option<Span>,
    pub(crate) expects_continue: bool,
    pub(crate) keep_alive: bool,
    pub(crate) asks_for_websocket: bool,
}

/// Gathers [`Facts`] field by field.
#[derive(Default)]
pub(crate) struct FactFinder {
    host: Option<Span>,
    content_length: Option<u64>,
    transfer_encoding: Option<Span>,
    content_type: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
}

impl FactFinder {
    #[inline(always)]
    pub(crate) fn note(&mut self, field: Line<'_>) -> Result<(), RequestFault> {
        let Line { name, value, value_span } = field;
        // The length tells most names apart, so that most fields cost one comparison of numbers.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if split_port(value).is_none() {
                    return Err(RequestFault::HostSyntax);
                }
                once(self.host.replace(value_span))
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let known = value.eq_ignore_ascii_case(b"100-continue");
                self.expects_continue |= known;
                self.expects_other |= !known;
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(trim) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                Ok(())
            }
            12 if name.eq_ignore_ascii_case(b"content-type") => {
                once(std::mem::replace(&mut self.content_type, true).then_some(()))
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = parse_length(value).ok_or(RequestFault::ContentLength)?;
                once(self.content_length.replace(length))
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                once(self.transfer_encoding.replace(value_span))
            }
            _ => Ok(()),
        }
    }

    #[inline(always)]
    pub(crate) fn conclude(self, bytes: &[u8], line: &RequestLine) -> Result<Facts, RequestFault> {
        let http11 = line.version != Version::Http10;
        let body = match (self.content_length, self.transfer_encoding) {
            // HTTP/2 has frames of its own (RFC 9113 section 8.2.2).
            (_, Some(_)) if line.version == Version::Http2 => return Err(RequestFault::TransferEncoding),
            (Some(_), Some(_)) => return Err(RequestFault::TwoFramings),
            (None, Some(_)) if !http11 => return Err(RequestFault::TransferEncodingInHttp10),
            (None, Some(codings)) => {
                check_codings(codings.in_bytes(bytes))?;
                BodyKind::Chunked
            }
            (Some(length), None) => BodyKind::Length(length),
            (None, None) => BodyKind::Empty,
        };
        if http11 && self.host.is_none() {
            return Err(RequestFault::HostMissing);
        }
        let authority = if line.form == TargetForm::Absolute {
            let (authority, scheme) = (line.authority.in_bytes(bytes), line.scheme.in_bytes(bytes));
            if self.host.is_some_and(|host| !same_authority(host.in_bytes(bytes), authority, scheme)) {
                return Err(RequestFault::HostMismatch);
            }
            Some(line.authority)
        } else {
            self.host
        };
        // An expectation in HTTP/1.0 is ignored (RFC 9110 section 10.1.1).
        if http11 && self.expects_other {
            return Err(RequestFault::Expectation);
        }
        Ok(Facts {
            body,
            authority,
            expects_continue: http11 && self.expects_continue,
            keep_alive: !self.close && (http11 || self.keep_alive),
            asks_for_websocket: false,
        })
    }
}

/// Host, Content-Length, Content-Type and Transfer-Encoding do not repeat, not even with the same value.
fn once<T>(earlier: Option<T>) -> Result<(), RequestFault> {
    if earlier.is_some() { Err(RequestFault::FieldRepeated) } else { Ok(()) }
}

/// Exactly `chunked`, in any case. What is well-formed but not known here is told apart from what is malformed
/// (RFC 9112 section 6.1).
fn check_codings(value: &[u8]) -> Result<(), RequestFault> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.split(|&byte| byte == b',').map(trim).peekable();
    while let Some(coding) = codings.next() {
        let chunked_before_the_end = coding.eq_ignore_ascii_case(b"chunked") && codings.peek().is_some();
        // A parameter makes a coding something else than a token: chunked has none, and the others are not known anyway.
        if !is_token(coding) || chunked_before_the_end {
            return Err(RequestFault::TransferEncoding);
        }
    }
    Err(RequestFault::TransferCoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codings_are_told_from_malformed_ones() {
        for (value, verdict) in [
            ("chunked", Ok(())),
            ("CHUNKED", Ok(())),
            ("gzip", Err(RequestFault::TransferCoding)),
            ("gzip, chunked", Err(RequestFault::TransferCoding)),
            ("identity", Err(RequestFault::TransferCoding)),
            ("chunked, gzip", Err(RequestFault::TransferEncoding)),
            ("chunked, chunked", Err(RequestFault::TransferEncoding)),
            ("chunked;q=1", Err(RequestFault::TransferEncoding)),
            ("", Err(RequestFault::TransferEncoding)),
            (",chunked", Err(RequestFault::TransferEncoding)),
            ("chunked,", Err(RequestFault::TransferEncoding)),
        ] {
            assert_eq!(check_codings(value.as_bytes()), verdict, "{value}");
        }
    }
}

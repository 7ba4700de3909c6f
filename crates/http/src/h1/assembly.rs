//! Heads that do not come as HTTP/1.1 text: they are put together here, and held to the same rules.

use std::sync::Arc;

use crate::error::RequestFault;
use crate::field::{FieldList, Span, admit, is_token, is_value, trim};
use crate::h1::body::BodyKind;
use crate::h1::facts::FactFinder;
use crate::h1::field_lines::Line;
use crate::h1::head::{HEAD_SIZE_CEILING, Parts, RequestHead};
use crate::h1::request_line::{RequestLine, Version};
use crate::limits::Limits;

/// What a head says besides its fields.
#[derive(Clone, Copy, Debug)]
pub struct Assembly<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The target: path and query, or `*`, or in absolute form.
    pub target: &'a [u8],
    /// Whom the request is for, where that is said beside the fields (`:authority`): it stands as Host in their place.
    pub authority: Option<&'a [u8]>,
    /// The version.
    pub version: Version,
    /// Whether the message goes on after its head. Without Content-Length it then has a body of unknown length, [`BodyKind::Chunked`].
    pub goes_on: bool,
}

impl RequestHead {
    /// Puts a head together. Values are taken without the SP and HTAB around them; Cookie fields are joined (RFC 9113 section 8.2.3).
    ///
    /// # Errors
    /// A [`RequestFault`], as of the same head in HTTP/1.1.
    pub fn assemble<'a>(
        of: &Assembly<'_>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<Self, RequestFault> {
        const END: &[u8] = b" HTTP/1.1\r\n";
        if of.method.len() + of.target.len() + END.len() + 1 > limits.line_size_max {
            return Err(RequestFault::LineTooLong);
        }
        let mut bytes = Vec::with_capacity(512);
        for part in [of.method, b" ", of.target, END] {
            bytes.extend_from_slice(part);
        }
        let mut line = RequestLine::parse(&bytes)?;
        line.version = of.version;
        let mut list = FieldList { bytes, spans: Vec::with_capacity(16) };
        let mut facts = FactFinder::default();
        let size_max = limits.head_size_max.min(HEAD_SIZE_CEILING);
        if let Some(authority) = of.authority {
            push(&mut list, &mut facts, b"host", authority)?;
        }
        let mut cookies: Vec<u8> = Vec::new();
        for (count, (name, value)) in fields.enumerate() {
            if count >= limits.field_count_max {
                return Err(RequestFault::TooManyFields);
            }
            if name.len() + value.len() > limits.line_size_max {
                return Err(RequestFault::FieldTooLong);
            }
            // The colon and the line end, as in HTTP/1.1.
            if list.bytes.len() + cookies.len() + name.len() + value.len() + 4 > size_max {
                return Err(RequestFault::HeadTooLarge);
            }
            let value = trim(value);
            if !is_token(name) || !is_value(value) {
                return Err(RequestFault::FieldSyntax);
            }
            if !admit(name, limits.underscore_names)? {
                continue;
            }
            match (name.len(), of.authority) {
                (4, Some(authority)) if name.eq_ignore_ascii_case(b"host") => {
                    if !value.eq_ignore_ascii_case(authority) {
                        return Err(RequestFault::HostMismatch);
                    }
                }
                (6, _) if name.eq_ignore_ascii_case(b"cookie") => {
                    if !cookies.is_empty() {
                        cookies.extend_from_slice(b"; ");
                    }
                    cookies.extend_from_slice(value);
                }
                _ => push(&mut list, &mut facts, name, value)?,
            }
        }
        if !cookies.is_empty() {
            push(&mut list, &mut facts, b"cookie", &cookies)?;
        }
        let size = list.bytes.len() as u32;
        let mut facts = facts.conclude(&list.bytes, &line)?;
        if facts.body == BodyKind::Empty && of.goes_on {
            facts.body = BodyKind::Chunked;
        }
        if let (BodyKind::Length(length), Some(max)) = (facts.body, limits.body_size_max)
            && length > max
        {
            return Err(RequestFault::BodyTooLarge);
        }
        Ok(Self(Arc::new(Parts { list, line, facts, size, variables: None, forwarded: None })))
    }
}

fn push(list: &mut FieldList, facts: &mut FactFinder, name: &[u8], value: &[u8]) -> Result<(), RequestFault> {
    list.push(name, value);
    let value_span = list.spans.last().map_or(Span::default(), |field| field.value);
    facts.note(Line { name, value, value_span })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Assembly<'_> = Assembly {
        method: b"GET",
        target: b"/a?b=c",
        authority: Some(b"example.org"),
        version: Version::Http2,
        goes_on: false,
    };

    fn assemble(of: &Assembly<'_>, fields: &[(&str, &str)]) -> Result<RequestHead, RequestFault> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        RequestHead::assemble(of, fields, &Limits::default())
    }

    #[test]
    fn a_head_is_put_together_as_if_it_had_come_as_text() {
        let fields =
            [("cookie", "a=1"), ("x", " y "), ("cookie", "b=2"), ("host", "example.org"), ("proxy", "x")];
        let head = assemble(&GET, &fields).unwrap();
        assert_eq!((head.method(), head.path(), head.query()), ("GET", &b"/a"[..], &b"b=c"[..]));
        assert_eq!((head.version(), head.body()), (Version::Http2, BodyKind::Empty));
        assert_eq!(head.authority(), Some(&b"example.org"[..]));
        let fields: Vec<_> = head.fields().collect();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"host", b"example.org"), (b"x", b"y"), (b"cookie", b"a=1; b=2")];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_message_that_goes_on_has_a_body() {
        let of = Assembly { goes_on: true, ..GET };
        assert_eq!(assemble(&of, &[]).unwrap().body(), BodyKind::Chunked);
        assert_eq!(assemble(&of, &[("content-length", "3")]).unwrap().body(), BodyKind::Length(3));
    }

    #[test]
    fn it_is_held_to_the_rules_of_heads() {
        for (fields, fault) in [
            (&[("a b", "c")][..], RequestFault::FieldSyntax),
            (&[("a", "b\r\nc: d")], RequestFault::FieldSyntax),
            (&[("host", "example.com")], RequestFault::HostMismatch),
            (&[("content-length", "+1")], RequestFault::ContentLength),
            (&[("content-length", "1"), ("content-length", "1")], RequestFault::FieldRepeated),
            (&[("transfer-encoding", "chunked")], RequestFault::TransferEncoding),
            (&[("x", "y"); 101], RequestFault::TooManyFields),
        ] {
            assert_eq!(assemble(&GET, fields).unwrap_err(), fault, "{fields:?}");
        }
        let long = "x".repeat(16 * 1024);
        assert_eq!(assemble(&GET, &[("x", &long)]).unwrap_err(), RequestFault::FieldTooLong);
        assert_eq!(assemble(&GET, &[("x", &long[100..]); 5]).unwrap_err(), RequestFault::HeadTooLarge);
        for (of, fault) in [
            (Assembly { method: b"G T", ..GET }, RequestFault::RequestLine),
            (Assembly { target: b"", ..GET }, RequestFault::Target),
            (Assembly { target: b"/a b", ..GET }, RequestFault::RequestLine),
            (Assembly { target: b"/\r\nx", ..GET }, RequestFault::Target),
            (Assembly { target: long.as_bytes(), ..GET }, RequestFault::LineTooLong),
            (Assembly { authority: Some(b"a b"), ..GET }, RequestFault::HostSyntax),
            (Assembly { authority: None, ..GET }, RequestFault::HostMissing),
        ] {
            assert_eq!(assemble(&of, &[]).unwrap_err(), fault, "{of:?}");
        }
    }
}

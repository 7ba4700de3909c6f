//! Who did what wrong. The texts are constant: none repeats what was sent, so they can go into a response and a log.

use std::fmt;

use crate::h1::ResponseHead;

/// The peer broke a rule. What follows on its connection is never parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestFault {
    /// A line ends in LF alone, or CR stands without LF.
    LineEnd,
    /// More than one empty line before the request line.
    EmptyLine,
    /// The request line is not method, SP, target, SP, version.
    RequestLine,
    /// The method is not a token.
    Method,
    /// The target is of no form that goes with the method, or holds a byte it may not.
    Target,
    /// The target is absolute and its scheme is not http or https, or its authority is not valid.
    TargetAuthority,
    /// A well-formed version that is not spoken here.
    Version,
    /// CONNECT: tunnels are not opened here.
    Connect,
    /// The HTTP/2 preface.
    Http2Preface,
    /// The request line is longer than the limit.
    LineTooLong,
    /// A field line is longer than the limit.
    FieldTooLong,
    /// The head is larger than the limit.
    HeadTooLarge,
    /// There are more fields than the limit.
    TooManyFields,
    /// A field line is not a name, a colon and a value.
    FieldSyntax,
    /// A name holds `_` and the settings refuse that.
    UnderscoreName,
    /// No Host in HTTP/1.1.
    HostMissing,
    /// Host is not a host with or without a port.
    HostSyntax,
    /// Host and the authority of an absolute target are not the same.
    HostMismatch,
    /// The connection does not begin with a header of the PROXY protocol, as it must.
    ProxyHeader,
    /// Somebody who is not trusted has connected where servers in front say whose connection it is. The caller's to find.
    ProxyUntrusted,
    /// What a trusted server in front says of the request is malformed.
    Forwarded,
    /// Host, Content-Length, Content-Type or Transfer-Encoding comes twice.
    FieldRepeated,
    /// Content-Length is not a number, or too large for one.
    ContentLength,
    /// Content-Length beside Transfer-Encoding.
    TwoFramings,
    /// Transfer-Encoding is malformed, or `chunked` is not its last and only use.
    TransferEncoding,
    /// Transfer-Encoding in HTTP/1.0.
    TransferEncodingInHttp10,
    /// A transfer coding that is not known here.
    TransferCoding,
    /// An expectation other than `100-continue`.
    Expectation,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// A chunk's size line is malformed, or the size too large for a number.
    ChunkSize,
    /// A chunk's extension is malformed.
    ChunkExtension,
    /// Chunk extensions are larger than the limit.
    ChunkExtensionsTooLarge,
    /// A chunk's data is not followed by CRLF.
    ChunkEnd,
    /// The body comes in far more chunks than its size warrants.
    TooManyChunks,
    /// A trailer line is not a name, a colon and a value.
    TrailerSyntax,
    /// A trailer that would change framing, routing, credentials or content.
    TrailerForbidden,
    /// The trailer section is larger than the limits.
    TrailersTooLarge,
    /// HTTP where another protocol is spoken.
    PlainHttp,
    /// TLS where it is not spoken.
    PlainTls,
    /// A packet of uWSGI's protocol that is not a request.
    Modifier,
    /// A block of CGI variables, or what is around it, is malformed.
    Variables,
    /// There are more CGI variables than the limit.
    TooManyVariables,
    /// A body whose length the front server does not say.
    LengthMissing,
    /// The peer closed its side within a head.
    HeadTruncated,
    /// The peer closed its side within a body.
    Truncated,
    /// The head did not come in time. The caller's to find, as it has the clock.
    HeadTimeout,
    /// The body did not come in time. The caller's to find, as it has the clock.
    BodyTimeout,
}

impl RequestFault {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        self.answer().0
    }

    /// Whether the peer is told. Who speaks another protocol than the listener does would not understand.
    pub fn is_answered(&self) -> bool {
        !matches!(
            self,
            Self::PlainHttp | Self::PlainTls | Self::Modifier | Self::Variables | Self::TooManyVariables
        )
    }

    /// Whether the peer closed its side before the end of the body.
    pub fn is_truncated(&self) -> bool {
        *self == Self::Truncated
    }

    /// The one place that maps faults to statuses, and to the rule that was broken.
    fn answer(self) -> (u16, &'static str) {
        match self {
            Self::LineEnd => {
                (400, "lines end in CRLF, and CR and LF stand nowhere else (RFC 9112 section 2.2)")
            }
            Self::EmptyLine => {
                (400, "one empty line at most may come before a request line (RFC 9112 section 2.2)")
            }
            Self::RequestLine => {
                (400, "a request line is method, space, target, space, version (RFC 9112 section 3)")
            }
            Self::Method => (400, "a method is a token (RFC 9110 section 9.1)"),
            Self::Target => (400, "the request target is not valid for this method (RFC 9112 section 3.2)"),
            Self::TargetAuthority => {
                (400, "the request target names no valid http authority (RFC 9110 section 4.2)")
            }
            Self::Version => (505, "this server speaks HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)"),
            Self::Connect => (501, "this server opens no tunnels (RFC 9110 section 9.3.6)"),
            Self::Http2Preface => {
                (400, "HTTP/2 is not spoken here without TLS, unless by --http h2c (RFC 9113 section 3.3)")
            }
            Self::LineTooLong => (414, "the request line is longer than the limit (RFC 9112 section 3)"),
            Self::FieldTooLong => (431, "a field line is longer than the limit (RFC 6585 section 5)"),
            Self::HeadTooLarge => (431, "the request head is larger than the limit (RFC 6585 section 5)"),
            Self::TooManyFields => (431, "there are more fields than the limit (RFC 6585 section 5)"),
            Self::FieldSyntax => {
                (400, "a field line is a name, a colon and a value, unfolded (RFC 9112 section 5)")
            }
            Self::UnderscoreName => {
                (400, "field names with underscores are refused (RFC 3875 section 4.1.18)")
            }
            Self::HostMissing => (400, "an HTTP/1.1 request has a Host field (RFC 9112 section 3.2)"),
            Self::HostSyntax => (400, "Host is one host with or without a port (RFC 9110 section 7.2)"),
            Self::HostMismatch => {
                (400, "Host and the target's authority are the same (RFC 9112 section 3.2.2)")
            }
            Self::ProxyHeader => {
                (400, "this connection does not begin with a valid header of the PROXY protocol")
            }
            Self::ProxyUntrusted => (403, "this address takes connections of trusted proxies only"),
            Self::Forwarded => (400, "Forwarded or an X-Forwarded field is malformed (RFC 7239 section 4)"),
            Self::FieldRepeated => (400, "a field that may come once came twice (RFC 9110 section 5.3)"),
            Self::ContentLength => (400, "Content-Length is one decimal number (RFC 9112 section 6.2)"),
            Self::TwoFramings => {
                (400, "Content-Length is not sent beside Transfer-Encoding (RFC 9112 section 6.2)")
            }
            Self::TransferEncoding => (400, "Transfer-Encoding is malformed (RFC 9112 section 6.1)"),
            Self::TransferEncodingInHttp10 => {
                (400, "HTTP/1.0 has no Transfer-Encoding (RFC 9112 section 6.1)")
            }
            Self::TransferCoding => {
                (501, "the one transfer coding known here is chunked (RFC 9112 section 6.1)")
            }
            Self::Expectation => {
                (417, "the one expectation known here is 100-continue (RFC 9110 section 10.1.1)")
            }
            Self::BodyTooLarge => {
                (413, "the request body is larger than the limit (RFC 9110 section 15.5.14)")
            }
            Self::ChunkSize => {
                (400, "a chunk begins with its size in hexadecimal digits (RFC 9112 section 7.1)")
            }
            Self::ChunkExtension => (400, "a chunk extension is malformed (RFC 9112 section 7.1.1)"),
            Self::ChunkExtensionsTooLarge => {
                (400, "chunk extensions are larger than the limit (RFC 9112 section 7.1.1)")
            }
            Self::ChunkEnd => (400, "a chunk's data ends in CRLF (RFC 9112 section 7.1)"),
            Self::TooManyChunks => (400, "the body comes in too many small chunks (RFC 9112 section 7.1)"),
            Self::TrailerSyntax => {
                (400, "a trailer line is a name, a colon and a value (RFC 9112 section 7.1.2)")
            }
            Self::TrailerForbidden => {
                (400, "a field that may not be a trailer came as one (RFC 9110 section 6.5.1)")
            }
            Self::TrailersTooLarge => {
                (400, "the trailer section is larger than the limit (RFC 9112 section 7.1.2)")
            }
            Self::PlainHttp => (400, "this looks like HTTP, and another protocol is spoken here"),
            Self::PlainTls => (400, "this looks like TLS, and another protocol is spoken here"),
            Self::Modifier => {
                (400, "modifier1 is 0 or 30: no other packets of uWSGI's protocol are taken here")
            }
            Self::Variables => (400, "the block of CGI variables is malformed"),
            Self::TooManyVariables => (400, "there are more CGI variables than the limit"),
            Self::LengthMissing => (411, "a body has a CONTENT_LENGTH here (RFC 3875 section 4.1.2)"),
            Self::HeadTruncated => (400, "the connection was closed within the request head"),
            Self::Truncated => {
                (400, "the connection was closed before the end of the request body (RFC 9112 section 8)")
            }
            Self::HeadTimeout => (408, "the request head did not come in time (RFC 9110 section 15.5.9)"),
            Self::BodyTimeout => (408, "the request body did not come in time (RFC 9110 section 15.5.9)"),
        }
    }

    /// The head and the text of a response to it. Both are constant and valid, so that there is always one.
    pub(crate) fn response(&self) -> Option<(ResponseHead, String)> {
        let mut head = ResponseHead::new(self.status(), self.reason().as_bytes()).ok()?;
        head.field(b"Content-Type", b"text/plain; charset=utf-8").ok()?;
        Some((head, format!("{} {}: {self}\n", self.status(), self.reason())))
    }

    /// The reason phrase of [`RequestFault::status`].
    pub(crate) fn reason(&self) -> &'static str {
        match self.status() {
            408 => "Request Timeout",
            411 => "Length Required",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        }
    }
}

impl fmt::Display for RequestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.answer().1)
    }
}

impl std::error::Error for RequestFault {}

/// The application gave a status or a field that must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadFault {
    /// The status is not three digits, a space and a reason.
    StatusFormat,
    /// The status is none that a response can end with.
    StatusRange,
    /// The reason holds a control character.
    Reason,
    /// The field's name is empty or not a token.
    FieldName,
    /// The field's value holds a control character.
    FieldValue,
    /// Content-Length is not a number.
    ContentLength,
    /// Content-Length comes twice.
    ContentLengthRepeated,
    /// The field may not be a trailer.
    TrailerName,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StatusFormat => {
                "a status is three digits, a space and a reason (PEP 3333, \"The start_response() Callable\")"
            }
            Self::StatusRange => "a final status is 200 to 599 (RFC 9110 section 15)",
            Self::Reason => "a reason holds no control characters (RFC 9112 section 4)",
            Self::FieldName => "a field name is a token (RFC 9110 section 5.1)",
            Self::FieldValue => "a field value holds no control characters (RFC 9110 section 5.5)",
            Self::ContentLength => "Content-Length is one decimal number (RFC 9110 section 8.6)",
            Self::ContentLengthRepeated => "Content-Length is given once (RFC 9110 section 8.6)",
            Self::TrailerName => {
                "fields that decide about framing, routing, credentials or content are no trailers (RFC 9110 section 6.5.1)"
            }
        })
    }
}

impl std::error::Error for HeadFault {}

/// The caller asked for something out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendFault {
    /// No request waits for this: there is none, or its response is past this point.
    OutOfOrder,
    /// A 1xx head cannot be the final one.
    NotFinal,
}

impl fmt::Display for SendFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfOrder => {
                "this part of a response is out of order: head, body, end, once each for a request"
            }
            Self::NotFinal => "a 1xx status cannot be the final one (RFC 9110 section 15.2)",
        })
    }
}

impl std::error::Error for SendFault {}

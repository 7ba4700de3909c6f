//! Responses: heads that are valid as soon as they are filled, and how their bodies are delimited.

use memchr::{memchr, memchr_iter};

use crate::cgi::Dialect;
use crate::error::HeadFault;
use crate::field::{is_token, is_value, parse_length, trim};
use crate::h1::field_lines::may_be_trailer;
use crate::h1::request_line::Version;

/// How much of a response the caller knows when it sends the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// All of it: so many bytes. Becomes the Content-Length, unless the head has one.
    Known(u64),
    /// Not how long it is: chunked, or to a 1.0 peer up to the close of the connection, unless the head has a Content-Length.
    Unknown,
}

/// What a head is sent with, besides its fields.
#[derive(Clone, Copy, Debug)]
pub struct SendContext<'a> {
    /// The value of `Date`, an IMF-fixdate (RFC 9110 section 5.6.7), sent if the head has none.
    pub date: &'a [u8; 29],
    /// The value of `Server`, a valid field value, sent if the head has none.
    pub server: Option<&'a [u8]>,
    /// One field more, name and value, both valid, sent if the head has none of that name.
    pub extra: Option<(&'a [u8], &'a [u8])>,
    /// Whether the connection closes after this response for a reason of the caller's.
    pub close: bool,
}

/// How to send a piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// How many of the bytes to send.
    pub take: usize,
    /// What to send after them.
    pub suffix: &'static [u8],
    /// Whether the piece goes over the Content-Length and is cut there.
    pub overrun: bool,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseEnd {
    /// As its framing says.
    Complete,
    /// Before its Content-Length. The connection must close: the peer waits for the rest.
    Short {
        /// Bytes that were promised and did not come.
        missing: u64,
    },
}

/// What became of a response field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOutcome {
    /// It will be sent. (Content-Length will not where the status forbids it.)
    Added,
    /// It is about the connection and not the application's to send (PEP 3333, "Other HTTP Features").
    DroppedHopByHop,
}

/// The head of a response, checked as it is filled and already in the form it has on the wire.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Status line and fields, each with its CRLF, without those that are decided when the head is sent.
    bytes: Vec<u8>,
    status: u16,
    content_length: Option<u64>,
    has_date: bool,
    has_server: bool,
    /// A bit for the length and the first letter of each name: most looks for a name can end here.
    names: u64,
}

/// Room for the status line and a handful of fields: most heads need no second allocation.
const HEAD_SIZE_USUAL: usize = 256;

/// Where the reason begins in a status line.
const REASON_START: usize = "HTTP/1.1 200 ".len();

impl ResponseHead {
    /// A head with this status and no fields. The reason may be empty. 1xx is for
    /// [`send_informational`](crate::Connection::send_informational) only.
    ///
    /// # Errors
    /// [`HeadFault::StatusRange`] unless the status is 100 to 599; [`HeadFault::Reason`] if the reason holds a control
    /// character.
    pub fn new(status: u16, reason: &[u8]) -> Result<Self, HeadFault> {
        if !(100..=599).contains(&status) {
            return Err(HeadFault::StatusRange);
        }
        Self::begin(status, reason)
    }

    /// A head with a status as an application writes it, `200 OK`, and no fields.
    ///
    /// PEP 3333 asks for three digits, a space and a reason. A missing reason, with or without the space, is let pass, as it is
    /// by `wsgiref.validate`, which only warns: HTTP allows an empty one (RFC 9112 section 4), and the space is sent in any case.
    ///
    /// # Errors
    /// [`HeadFault::StatusFormat`] if it is of another form; [`HeadFault::StatusRange`] unless it is 200 to 599: a final status
    /// of RFC 9110 section 15; [`HeadFault::Reason`] if the reason holds a control character.
    pub fn from_status_line(status: &[u8]) -> Result<Self, HeadFault> {
        let (digits, reason) = match status {
            [a, b, c, b' ', reason @ ..] => (&[*a, *b, *c][..], reason),
            digits => (digits, &[][..]),
        };
        let &[hundreds @ b'0'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = digits else {
            return Err(HeadFault::StatusFormat);
        };
        let status =
            [hundreds, tens, ones].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        if !(200..=599).contains(&status) {
            return Err(HeadFault::StatusRange);
        }
        Self::begin(status, reason)
    }

    fn begin(status: u16, reason: &[u8]) -> Result<Self, HeadFault> {
        if !is_value(reason) {
            return Err(HeadFault::Reason);
        }
        let digit = |place| b'0' + (status / place % 10) as u8;
        let mut start = *b"HTTP/1.1 200 ";
        start[9..12].copy_from_slice(&[digit(100), digit(10), digit(1)]);
        let mut bytes = Vec::with_capacity(HEAD_SIZE_USUAL);
        bytes.extend_from_slice(&start);
        bytes.extend_from_slice(reason);
        bytes.extend_from_slice(b"\r\n");
        Ok(Self { bytes, status, content_length: None, has_date: false, has_server: false, names: 0 })
    }

    /// Adds a field. Names and values are bytes, latin-1 among them.
    ///
    /// # Errors
    /// [`HeadFault::FieldName`], [`HeadFault::FieldValue`], [`HeadFault::ContentLength`] or
    /// [`HeadFault::ContentLengthRepeated`]; nothing is added then.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<FieldOutcome, HeadFault> {
        if !is_token(name) {
            return Err(HeadFault::FieldName);
        }
        if !is_value(value) {
            return Err(HeadFault::FieldValue);
        }
        match name.len() {
            4 => self.has_date |= name.eq_ignore_ascii_case(b"date"),
            6 => self.has_server |= name.eq_ignore_ascii_case(b"server"),
            // As nearly everybody writes it, for WSGI and for ASGI, which is quicker to tell.
            14 if name == b"Content-Length"
                || name == b"content-length"
                || name.eq_ignore_ascii_case(b"content-length") =>
            {
                let length = parse_length(value).ok_or(HeadFault::ContentLength)?;
                if self.content_length.is_some() {
                    return Err(HeadFault::ContentLengthRepeated);
                }
                self.content_length = Some(length);
                return Ok(FieldOutcome::Added);
            }
            _ => {}
        }
        if is_hop_by_hop(name) {
            return Ok(FieldOutcome::DroppedHopByHop);
        }
        self.names |= name_bit(name);
        self.bytes.reserve(name.len() + value.len() + 4);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        Ok(FieldOutcome::Added)
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason of the status line.
    pub fn reason(&self) -> &[u8] {
        let line = self.bytes.get(REASON_START..).unwrap_or_default();
        line.split(|&byte| byte == b'\r').next().unwrap_or_default()
    }

    /// Names and values of the fields but Content-Length, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.bytes.split(|&byte| byte == b'\n').skip(1).filter_map(split_line)
    }

    /// The Content-Length field, if there is one.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    #[inline(never)]
    fn write_extra(&self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        if !self.has(name) {
            for part in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }

    /// Whether there is a field of this name, which is not Content-Length.
    pub fn has(&self, name: &[u8]) -> bool {
        if self.names & name_bit(name) == 0 {
            return false;
        }
        let mut lines = memchr_iter(b'\n', &self.bytes);
        lines.any(|end| {
            let line = &self.bytes[end + 1..];
            line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name)
        })
    }

    pub(crate) fn is_informational(&self) -> bool {
        self.status < 200
    }

    /// Writes an interim head, which has neither date nor framing.
    pub(crate) fn write_informational(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(b"\r\n");
    }

    /// Gives each field of the head to `field`, for a protocol that has no text.
    pub(crate) fn each_field(
        &self,
        plan: &Plan,
        context: &SendContext<'_>,
        mut field: impl FnMut(&[u8], &[u8]),
    ) {
        self.fields().for_each(|(name, value)| field(name, value));
        if !self.has_date {
            field(b"date", context.date);
        }
        if let (false, Some(server)) = (self.has_server, context.server) {
            field(b"server", server);
        }
        if let Some((name, value)) = context.extra.filter(|(name, _)| !self.has(name)) {
            field(name, value);
        }
        if let Announced::Length(length) = plan.announced {
            let mut digits = Vec::with_capacity(20);
            push_decimal(&mut digits, length);
            field(b"content-length", &digits);
        }
    }

    /// Writes the whole head.
    pub(crate) fn write(&self, plan: &Plan, context: &SendContext<'_>, out: &mut Vec<u8>) {
        let server_size = context.server.map_or(0, <[u8]>::len);
        out.reserve(self.bytes.len() + server_size + ADDED_SIZE_MAX);
        match self.bytes.strip_prefix(b"HTTP/1.1") {
            // A space, the digits and the reason follow.
            Some(rest) if matches!(plan.dialect, Dialect::Scgi | Dialect::FastCgi) => {
                out.extend_from_slice(b"Status:");
                out.extend_from_slice(rest);
            }
            _ => out.extend_from_slice(&self.bytes),
        }
        if !self.has_date {
            let mut line = *b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
            line[6..35].copy_from_slice(context.date);
            out.extend_from_slice(&line);
        }
        if let (false, Some(server)) = (self.has_server, context.server) {
            out.extend_from_slice(b"Server: ");
            out.extend_from_slice(server);
            out.extend_from_slice(b"\r\n");
        }
        if let Some((name, value)) = context.extra {
            self.write_extra(name, value, out);
        }
        match plan.announced {
            Announced::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                push_decimal(out, length);
                out.extend_from_slice(b"\r\n");
            }
            Announced::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Announced::Nothing => {}
        }
        out.extend_from_slice(match plan.persistence {
            Persistence::Close => b"Connection: close\r\n\r\n",
            Persistence::KeepAliveSaid => b"Connection: keep-alive\r\n\r\n",
            Persistence::KeepAlive | Persistence::Unsaid(_) => b"\r\n",
        });
    }
}

/// The fields after a body in chunks (RFC 9112 section 7.1.2), checked as they are added.
#[derive(Clone, Debug, Default)]
pub struct ResponseTrailers {
    bytes: Vec<u8>,
}

impl ResponseTrailers {
    /// None.
    pub const NONE: Self = Self { bytes: Vec::new() };

    /// Adds a field.
    ///
    /// # Errors
    /// [`HeadFault::FieldName`], [`HeadFault::FieldValue`], or [`HeadFault::TrailerName`] for a field that decides about framing,
    /// routing, credentials or content; nothing is added then.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
        if !is_token(name) {
            return Err(HeadFault::FieldName);
        }
        if !is_value(value) {
            return Err(HeadFault::FieldValue);
        }
        if !may_be_trailer(name) || is_hop_by_hop(name) {
            return Err(HeadFault::TrailerName);
        }
        for part in [name, b": ", value, b"\r\n"] {
            self.bytes.extend_from_slice(part);
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Names and values of the fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.bytes.split(|&byte| byte == b'\n').filter_map(split_line)
    }
}

/// Name and value of a field line without its LF.
fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    Some((name, trim(value.get(2..)?.strip_suffix(b"\r")?)))
}

fn name_bit(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    1 << ((name.len() + usize::from(first)) % 64)
}

/// More than the longest of all that [`ResponseHead::write`] adds in most cases, `Server` aside.
const ADDED_SIZE_MAX: usize = 160;

/// Fields about one connection (PEP 3333 refers to RFC 2616 section 13.5.1), and the two that are usual without a standard.
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    let candidates: &[&str] = match name.len() {
        2 => &["te"],
        7 => &["trailer", "upgrade"],
        8 => &["trailers"],
        10 => &["connection", "keep-alive"],
        16 => &["proxy-connection"],
        17 => &["transfer-encoding"],
        18 => &["proxy-authenticate"],
        19 => &["proxy-authorization"],
        _ => return false,
    };
    candidates.iter().any(|candidate| name.eq_ignore_ascii_case(candidate.as_bytes()))
}

/// What the head says about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

/// What the head says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persistence {
    /// It closes.
    Close,
    /// It stays, which goes without saying in HTTP/1.1.
    KeepAlive,
    /// It stays, which a 1.0 peer must be told.
    KeepAliveSaid,
    /// It stays or not, as the dialect has it.
    Unsaid(bool),
}

/// How the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// Not at all: what the application gives is dropped.
    Nothing,
    /// As it is, so many bytes still to come.
    Length(u64),
    /// In chunks.
    Chunked,
    /// As it is, up to the close of the connection.
    UntilClose,
}

/// How a response is delimited, by request, status and what is known of the body (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) outgoing: Outgoing,
    announced: Announced,
    persistence: Persistence,
    dialect: Dialect,
}

impl Plan {
    pub(crate) fn new(
        head: &ResponseHead,
        length: BodyLength,
        (dialect, version): (Dialect, Version),
        to_head: bool,
        keep_alive: bool,
    ) -> Self {
        let (announced, outgoing) = match (head.status, head.content_length, length) {
            // No content, and so no Content-Length (RFC 9110 section 8.6).
            (204, _, _) => (Announced::Nothing, Outgoing::Nothing),
            // The length of what a GET would have brought, if the application knows it (RFC 9110 section 8.6).
            (304, Some(length), _) => (Announced::Length(length), Outgoing::Nothing),
            (304, None, _) => (Announced::Nothing, Outgoing::Nothing),
            // Nothing given to HEAD does not mean that GET would bring nothing.
            (_, Some(length), _) if to_head => (Announced::Length(length), Outgoing::Nothing),
            (_, None, BodyLength::Known(length)) if to_head && length > 0 => {
                (Announced::Length(length), Outgoing::Nothing)
            }
            _ if to_head => (Announced::Nothing, Outgoing::Nothing),
            (_, Some(length), _) | (_, None, BodyLength::Known(length)) => {
                (Announced::Length(length), Outgoing::Length(length))
            }
            (_, None, BodyLength::Unknown) => match version {
                Version::Http11 => (Announced::Chunked, Outgoing::Chunked),
                // Frames tell where it ends.
                Version::Http2 => (Announced::Nothing, Outgoing::UntilClose),
                // A 1.0 peer knows no chunks (RFC 9112 section 6.1).
                Version::Http10 => (Announced::Nothing, Outgoing::UntilClose),
            },
        };
        let persistence = match version {
            // A front server would take it for one about its client's connection.
            _ if dialect != Dialect::Http1 => Persistence::Unsaid(keep_alive),
            _ if !keep_alive || outgoing == Outgoing::UntilClose => Persistence::Close,
            Version::Http11 | Version::Http2 => Persistence::KeepAlive,
            Version::Http10 => Persistence::KeepAliveSaid,
        };
        Self { outgoing, announced, persistence, dialect }
    }

    pub(crate) fn keeps_alive(&self) -> bool {
        match self.persistence {
            Persistence::Close => false,
            Persistence::KeepAlive | Persistence::KeepAliveSaid => true,
            Persistence::Unsaid(keep_alive) => keep_alive,
        }
    }
}

impl Outgoing {
    /// Frames a piece of the body: writes what comes before it.
    pub(crate) fn frame(&mut self, size: usize, out: &mut Vec<u8>) -> Framed {
        match self {
            Self::Nothing => Framed { take: 0, suffix: b"", overrun: false },
            Self::Length(remaining) => {
                let take = usize::try_from(*remaining).unwrap_or(usize::MAX).min(size);
                *remaining -= take as u64;
                Framed { take, suffix: b"", overrun: take < size }
            }
            // An empty chunk would end the body.
            Self::Chunked if size == 0 => Framed { take: 0, suffix: b"", overrun: false },
            Self::Chunked => {
                push_hexadecimal(out, size as u64);
                out.extend_from_slice(b"\r\n");
                Framed { take: size, suffix: b"\r\n", overrun: false }
            }
            Self::UntilClose => Framed { take: size, suffix: b"", overrun: false },
        }
    }

    /// Writes what comes after the body; only one in chunks can have trailers.
    pub(crate) fn end(self, trailers: &ResponseTrailers, out: &mut Vec<u8>) -> ResponseEnd {
        match self {
            Self::Length(missing @ 1..) => return ResponseEnd::Short { missing },
            Self::Chunked => {
                out.extend_from_slice(b"0\r\n");
                out.extend_from_slice(&trailers.bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Nothing | Self::Length(0) | Self::UntilClose => {}
        }
        ResponseEnd::Complete
    }
}

#[inline(always)]
fn push_decimal(out: &mut Vec<u8>, number: u64) {
    push_digits::<10>(out, number);
}

fn push_hexadecimal(out: &mut Vec<u8>, number: u64) {
    push_digits::<16>(out, number);
}

fn push_digits<const BASE: u64>(out: &mut Vec<u8>, mut number: u64) {
    // 2^64 has 20 decimal digits and fewer in any larger base.
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits_and_a_reason_that_may_be_empty() {
        for (line, wire) in [
            ("200 OK", "HTTP/1.1 200 OK\r\n"),
            ("599 a\tb  c", "HTTP/1.1 599 a\tb  c\r\n"),
            ("200 ", "HTTP/1.1 200 \r\n"),
            ("200", "HTTP/1.1 200 \r\n"),
        ] {
            let head = ResponseHead::from_status_line(line.as_bytes()).unwrap();
            assert_eq!(head.bytes, wire.as_bytes(), "{line:?}");
        }
        let head = ResponseHead::from_status_line(b"200 S\xe9").unwrap();
        assert_eq!(head.bytes, b"HTTP/1.1 200 S\xe9\r\n");
    }

    #[test]
    fn a_status_of_another_form_is_refused() {
        for line in
            ["", "OK", "2000 OK", "20 OK", " 200 OK", "200OK", "2xx OK", "-20 OK", "20", "200\tOK", "+200 OK"]
        {
            assert_eq!(
                ResponseHead::from_status_line(line.as_bytes()).unwrap_err(),
                HeadFault::StatusFormat,
                "{line:?}"
            );
        }
        for line in ["100 Continue", "101 Switching Protocols", "199 ", "600 ", "999 No", "000 "] {
            assert_eq!(
                ResponseHead::from_status_line(line.as_bytes()).unwrap_err(),
                HeadFault::StatusRange,
                "{line:?}"
            );
        }
        for line in ["200 OK\r\nX: y", "200 \r", "200 \n", "200 O\0K", "200 \x7f", "200 \x1b[0m"] {
            assert_eq!(
                ResponseHead::from_status_line(line.as_bytes()).unwrap_err(),
                HeadFault::Reason,
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_refused_field_leaves_no_trace() {
        let mut head = ResponseHead::new(200, b"OK").unwrap();
        let before = head.bytes.clone();
        for (name, value, fault) in [
            (&b""[..], &b"x"[..], HeadFault::FieldName),
            (b"a b", b"x", HeadFault::FieldName),
            (b"a:", b"x", HeadFault::FieldName),
            (b"a\r\nb", b"x", HeadFault::FieldName),
            (b"\xe9", b"x", HeadFault::FieldName),
            (b"a", b"x\r\ny: z", HeadFault::FieldValue),
            (b"a", b"x\n", HeadFault::FieldValue),
            (b"a", b"\0", HeadFault::FieldValue),
            (b"a", b"\x7f", HeadFault::FieldValue),
            (b"date", b"\n", HeadFault::FieldValue),
            (b"Content-Length", b"", HeadFault::ContentLength),
            (b"Content-Length", b"-1", HeadFault::ContentLength),
            (b"Content-Length", b"1, 1", HeadFault::ContentLength),
            (b"Connection", b"\n", HeadFault::FieldValue),
        ] {
            assert_eq!(head.field(name, value), Err(fault), "{name:?}: {value:?}");
        }
        assert_eq!((head.bytes, head.content_length, head.has_date), (before, None, false));
    }

    #[test]
    fn content_length_is_given_once() {
        let mut head = ResponseHead::new(200, b"OK").unwrap();
        assert_eq!(head.field(b"CONTENT-length", b"007"), Ok(FieldOutcome::Added));
        assert_eq!(head.content_length(), Some(7));
        assert_eq!(head.field(b"Content-Length", b"7"), Err(HeadFault::ContentLengthRepeated));
    }

    #[test]
    fn fields_about_the_connection_are_dropped() {
        let mut head = ResponseHead::new(200, b"OK").unwrap();
        let before = head.bytes.clone();
        for name in [
            "Connection",
            "Keep-Alive",
            "Proxy-Authenticate",
            "Proxy-Authorization",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Trailers",
            "Transfer-Encoding",
            "upgrade",
        ] {
            assert_eq!(head.field(name.as_bytes(), b"x"), Ok(FieldOutcome::DroppedHopByHop), "{name}");
        }
        assert_eq!(head.bytes, before);
        assert_eq!(head.field(b"Set-Cookie", b"a=b; \xe9\t"), Ok(FieldOutcome::Added));
        assert!(head.bytes.ends_with(b"Set-Cookie: a=b; \xe9\t\r\n"));
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 9, 10, 15, 16, 255, 256, u64::MAX] {
            let (mut decimal, mut hexadecimal) = (Vec::new(), Vec::new());
            push_decimal(&mut decimal, number);
            push_hexadecimal(&mut hexadecimal, number);
            assert_eq!(decimal, format!("{number}").into_bytes());
            assert_eq!(hexadecimal, format!("{number:x}").into_bytes());
        }
    }

    #[test]
    fn what_a_head_is_given_beside_its_fields_fits_into_what_is_reserved() {
        let longest = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: \r\nContent-Length: 18446744073709551615\r\n\
                       Connection: keep-alive\r\n\r\n";
        assert!(longest.len() <= ADDED_SIZE_MAX);
    }
}

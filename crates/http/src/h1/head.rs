//! Request heads: the strict gate, the request line, the fields, and what they say about the message.
//!
//! Three steps, each linear in the bytes it sees. The [`LineGate`](crate::h1::gate::LineGate) finds the end of the head as bytes arrive, so that no
//! byte is looked at twice for it. The request line is judged as soon as it is whole: a peer that speaks another protocol
//! may never send a blank line. The field lines go to httparse when the head is complete; the gate has made sure that they
//! end in CRLF only, where httparse takes LF too.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use httparse::Header;
use memchr::memchr;

use crate::error::RequestFault;
use crate::field::{FieldList, FieldSpan, Span, admit, is_tchar, is_token, parse_length, trim};
use crate::forwarded::{Forwarded, ForwardedRules, is_forwarded_field};
use crate::limits::{Limits, UnderscoreNames};

/// Heads are never larger than this, whatever the settings say: offsets into them are kept in 32 bits.
pub(crate) const HEAD_SIZE_CEILING: usize = 1 << 30;

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As CGI's SERVER_PROTOCOL has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// How a request's body is delimited (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// Neither Content-Length nor Transfer-Encoding: there is no body.
    Empty,
    /// Content-Length, which may be zero.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// The forms of a request target (RFC 9112 section 3.2). The authority form goes with CONNECT only, which is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// The methods with a name of their own here; the rest keep theirs in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Other(Span),
}

/// The head of one request. It owns its bytes; a clone costs nothing.
#[derive(Clone)]
pub struct RequestHead(pub(crate) Arc<Parts>);

/// In one piece, as a head goes through many hands.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) list: FieldList,
    pub(crate) line: RequestLine,
    pub(crate) facts: Facts,
    pub(crate) size: u32,
    /// Where those CGI variables are, in the list's bytes, that are no fields, if it came as such.
    pub(crate) variables: Option<Vec<FieldSpan>>,
    pub(crate) forwarded: Option<Box<Forwarded>>,
}

impl RequestHead {
    /// The method, case-sensitive, as sent.
    pub fn method(&self) -> &str {
        match self.0.line.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            // A method is a token, and so ASCII: the empty string is never taken.
            Method::Other(span) => std::str::from_utf8(span.in_bytes(&self.0.list.bytes)).unwrap_or_default(),
        }
    }

    /// The target as sent.
    pub fn target(&self) -> &[u8] {
        self.0.line.target.in_bytes(&self.0.list.bytes)
    }

    /// The form of the target.
    pub fn target_form(&self) -> TargetForm {
        self.0.line.form
    }

    /// The path, percent-encoded as sent; `/` where an absolute target has none, `*` for the asterisk form.
    pub fn path(&self) -> &[u8] {
        if self.0.line.path.is_empty() { b"/" } else { self.0.line.path.in_bytes(&self.0.list.bytes) }
    }

    /// What follows the first `?`, percent-encoded as sent; empty if there is none.
    pub fn query(&self) -> &[u8] {
        self.0.line.query.in_bytes(&self.0.list.bytes)
    }

    /// The version of the request line.
    pub fn version(&self) -> Version {
        self.0.line.version
    }

    /// Whom the request is for: the authority of an absolute target, otherwise the value of Host, which a client sends
    /// empty when it has no name to give (RFC 9112 section 3.2). `None` only for HTTP/1.0 without Host.
    pub fn authority(&self) -> Option<&[u8]> {
        self.0.facts.authority.map(|span| span.in_bytes(&self.0.list.bytes))
    }

    /// The host of the authority, without its port.
    pub fn host(&self) -> Option<&[u8]> {
        split_port(self.authority()?).map(|(host, _)| host)
    }

    /// The scheme of an absolute target, as sent.
    pub fn scheme(&self) -> Option<&[u8]> {
        match self.0.line.form {
            TargetForm::Absolute => Some(self.0.line.scheme.in_bytes(&self.0.list.bytes)),
            TargetForm::Origin | TargetForm::Asterisk => None,
        }
    }

    /// Names as sent, and values without the SP and HTAB around them, in order. `Proxy`, and names with `_` by policy,
    /// are left out.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.list.iter()
    }

    /// The first value of a name, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.0.list.get(name)
    }

    /// The field at this place among them.
    pub fn field_at(&self, place: usize) -> Option<(&[u8], &[u8])> {
        let FieldList { bytes, spans } = &self.0.list;
        spans.get(place).map(|field| (field.name.in_bytes(bytes), field.value.in_bytes(bytes)))
    }

    /// Has one field, or none, stand for all of this name, as the last of them: for what the server itself tells the application. It is not
    /// checked, and does not change what the head says about the message. Names that an application cannot tell apart (`-` and `_` in CGI)
    /// count as one.
    pub fn replace_field(&mut self, name: &str, value: Option<&[u8]>) {
        let list = &mut Arc::make_mut(&mut self.0).list;
        let FieldList { bytes, spans } = list;
        spans.retain(|field| !is_same_variable(field.name.in_bytes(bytes), name.as_bytes()));
        if let Some(value) = value {
            list.push(name.as_bytes(), value);
        }
    }

    /// What servers in front say of the request and is believed, if they say anything.
    pub fn forwarded(&self) -> Option<&Forwarded> {
        self.0.forwarded.as_deref()
    }

    /// Takes what the trusted server that has sent it says of the request; [`RequestHead::authority`] and Host are then what it says.
    /// `is_encrypted`: where it says nothing of the scheme, that is https.
    ///
    /// # Errors
    /// What it says is malformed, or would make an application see what it must not.
    pub fn believe(
        &mut self,
        rules: &ForwardedRules,
        is_encrypted: bool,
        is_trusted: impl Fn(IpAddr) -> bool,
    ) -> Result<(), RequestFault> {
        let Some(forwarded) = Forwarded::read(self, rules, is_encrypted, is_trusted)? else { return Ok(()) };
        if let Some(authority) = forwarded.authority() {
            self.replace_field("host", Some(authority));
            let parts = Arc::make_mut(&mut self.0);
            parts.facts.authority = parts.list.spans.last().map(|host| host.value);
        }
        Arc::make_mut(&mut self.0).forwarded = Some(Box::new(forwarded));
        Ok(())
    }

    /// Leaves out what only servers in front set, of a request that none of them has sent.
    pub fn drop_forwarded(&mut self) {
        let is_one = |(name, _): (&[u8], &[u8])| is_forwarded_field(name);
        if self.fields().any(is_one) {
            let FieldList { bytes, spans } = &mut Arc::make_mut(&mut self.0).list;
            spans.retain(|field| !is_forwarded_field(field.name.in_bytes(bytes)));
        }
    }

    /// How many fields there are.
    pub fn field_count(&self) -> usize {
        self.0.list.len()
    }

    /// How the body is delimited.
    pub fn body(&self) -> BodyKind {
        self.0.facts.body
    }

    /// Whether the client may be waiting for "100 Continue" before it sends the body. Never in HTTP/1.0.
    pub fn expects_continue(&self) -> bool {
        self.0.facts.expects_continue
    }

    /// Whether the client would like to send another request on this connection.
    pub fn keep_alive_wanted(&self) -> bool {
        self.0.facts.keep_alive
    }

    /// The same head, of a request that asks for a WebSocket in HTTP/2 (RFC 8441).
    pub fn asking_for_websocket(mut self) -> Self {
        Arc::make_mut(&mut self.0).facts.asks_for_websocket = true;
        self
    }

    /// Whether the request asks for a WebSocket in the way of HTTP/2.
    pub fn asks_for_websocket(&self) -> bool {
        self.0.facts.asks_for_websocket
    }

    /// Bytes from the request line to the blank line, both included.
    pub fn size(&self) -> usize {
        self.0.size as usize
    }

    /// Reads a complete head whose request line was read before. `bytes` is the head and nothing else.
    pub(crate) fn parse(
        bytes: Vec<u8>,
        line: RequestLine,
        field_lines: usize,
        limits: &Limits,
    ) -> Result<Self, RequestFault> {
        let size = bytes.len() as u32;
        let mut list = FieldList { bytes, spans: Vec::new() };
        let mut facts = FactFinder::default();
        let fields_begin = line.size as usize;
        read_fields(
            &mut list,
            fields_begin,
            field_lines,
            limits.underscore_names,
            RequestFault::FieldSyntax,
            |field| facts.note(field),
        )?;
        let facts = facts.conclude(&list.bytes, &line)?;
        if let (BodyKind::Length(length), Some(max)) = (facts.body, limits.body_size_max)
            && length > max
        {
            return Err(RequestFault::BodyTooLarge);
        }
        Ok(Self(Arc::new(Parts { list, line, facts, size, variables: None, forwarded: None })))
    }
}

/// Whether both names of fields are one CGI variable (RFC 3875 section 4.1.18).
pub fn is_same_variable(name: &[u8], other: &[u8]) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == other.len() && name.iter().zip(other).all(|(&a, &b)| folded(a) == folded(b))
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method())
            .field("target", &String::from_utf8_lossy(self.target()))
            .field("version", &self.version())
            .field("body", &self.body())
            .field("field_count", &self.field_count())
            .finish_non_exhaustive()
    }
}

/// A valid request line. Offsets count from its first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine {
    method: Method,
    target: Span,
    scheme: Span,
    authority: Span,
    path: Span,
    query: Span,
    /// With the CRLF.
    size: u32,
    pub(crate) version: Version,
    form: TargetForm,
}

impl RequestLine {
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// Reads a line that ends in CRLF (RFC 9112 section 3): exactly one SP between its parts.
    pub(crate) fn parse(with_end: &[u8]) -> Result<Self, RequestFault> {
        let line = with_end.strip_suffix(b"\r\n").ok_or(RequestFault::LineEnd)?;
        let method_end = line.iter().position(|&byte| !is_tchar(byte)).ok_or(RequestFault::RequestLine)?;
        if method_end == 0 || line[method_end] != b' ' {
            return Err(RequestFault::Method);
        }
        let target_start = method_end + 1;
        let target_size = line[target_start..]
            .iter()
            .position(|&byte| !TARGET_CHAR[byte as usize])
            .ok_or(RequestFault::RequestLine)?;
        let target_end = target_start + target_size;
        if line[target_end] != b' ' {
            return Err(RequestFault::Target);
        }
        let version = match &line[target_end + 1..] {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            b"HTTP/2.0" if line == b"PRI * HTTP/2.0" => return Err(RequestFault::Http2Preface),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(RequestFault::Version);
            }
            _ => return Err(RequestFault::RequestLine),
        };
        Self::of_parts(
            line,
            Span::new(0, method_end),
            Span::new(target_start, target_end),
            version,
            with_end.len(),
        )
    }

    /// The same of parts that came otherwise than in a line.
    pub(crate) fn of(
        bytes: &[u8],
        method: Span,
        target: Span,
        version: Version,
    ) -> Result<Self, RequestFault> {
        if !is_token(method.in_bytes(bytes)) {
            return Err(RequestFault::Method);
        }
        let target_bytes = target.in_bytes(bytes);
        if target_bytes.is_empty() || target_bytes.iter().any(|&byte| !TARGET_CHAR[byte as usize]) {
            return Err(RequestFault::Target);
        }
        Self::of_parts(bytes, method, target, version, 0)
    }

    /// Takes apart what holds no byte that it may not.
    #[inline(always)]
    fn of_parts(
        bytes: &[u8],
        method_span: Span,
        target_span: Span,
        version: Version,
        size: usize,
    ) -> Result<Self, RequestFault> {
        let target_bytes = target_span.in_bytes(bytes);
        let (target_start, target_end) = target_span.ends();
        let method = match method_span.in_bytes(bytes) {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"CONNECT" => return Err(RequestFault::Connect),
            _ => Method::Other(method_span),
        };
        let (mut form, mut scheme, mut authority) = (TargetForm::Origin, Span::default(), Span::default());
        let mut path_start = target_start;
        match target_bytes {
            [b'/', ..] => {}
            b"*" if method == Method::Options => form = TargetForm::Asterisk,
            _ => {
                form = TargetForm::Absolute;
                let (scheme_end, authority_end) = split_absolute(target_bytes)?;
                scheme = Span::new(target_start, target_start + scheme_end);
                path_start = target_start + authority_end;
                authority = Span::new(target_start + scheme_end + b"://".len(), path_start);
            }
        }
        let query_mark =
            memchr(b'?', &bytes[path_start..target_end]).map_or(target_end, |offset| path_start + offset);
        Ok(Self {
            method,
            target: target_span,
            scheme,
            authority,
            path: Span::new(path_start, query_mark),
            query: Span::new((query_mark + 1).min(target_end), target_end),
            size: size as u32,
            version,
            form,
        })
    }
}

/// Printable ASCII without the fragment, which is never sent (RFC 9112 section 3.2).
static TARGET_CHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_graphic() && byte as u8 != b'#';
        byte += 1;
    }
    table
};

/// Whether a request line can begin with this byte. Peers that speak another protocol (TLS, most of all) are told at once.
pub(crate) fn may_begin_request(byte: u8) -> bool {
    is_tchar(byte)
}

/// The ends of the scheme and of the authority in `http://authority/path` (RFC 9112 section 3.2.2).
fn split_absolute(target: &[u8]) -> Result<(usize, usize), RequestFault> {
    let scheme_end = memchr(b':', target).ok_or(RequestFault::Target)?;
    let (scheme, rest) = target.split_at(scheme_end);
    let rest = rest.strip_prefix(b"://").ok_or(RequestFault::Target)?;
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(RequestFault::TargetAuthority);
    }
    let authority_size = rest.iter().position(|&byte| byte == b'/' || byte == b'?').unwrap_or(rest.len());
    // An empty host must be rejected (RFC 9110 section 4.2.1), and user information with it (section 4.2.4).
    match split_port(&rest[..authority_size]) {
        Some((host, _)) if !host.is_empty() => Ok((scheme_end, scheme_end + b"://".len() + authority_size)),
        _ => Err(RequestFault::TargetAuthority),
    }
}

/// Splits `uri-host [ ":" port ]` (RFC 9110 section 4.2); `None` if it is anything else. An absent and an empty port are the
/// same, and so is no number.
pub(crate) fn split_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_size = match authority {
        [b'[', rest @ ..] => {
            // An IP-literal: the digits, colons and dots of an IPv6 address. Zones and future versions are not used in http.
            let inside = memchr(b']', rest)?;
            let valid = inside >= 2
                && rest[..inside]
                    .iter()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':' | b'.'));
            if !valid {
                return None;
            }
            inside + 2
        }
        _ => authority.iter().position(|&byte| !HOST_CHAR[byte as usize]).unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_size);
    match port {
        [] | b":" => Some((host, None)),
        [b':', digits @ ..] => {
            let number = parse_length(digits)?;
            Some((host, Some(u16::try_from(number).ok()?)))
        }
        _ => None,
    }
}

/// The bytes of a reg-name (RFC 3986 section 3.2.2) without the comma: a Host with one in it is two Hosts that somebody has
/// joined.
static HOST_CHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'%'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
};

/// Whether Host names the authority of the target: in any case, with the default port the same as none.
fn same_authority(host: &[u8], authority: &[u8], scheme: &[u8]) -> bool {
    let default_port = if scheme.len() == b"https".len() { 443 } else { 80 };
    match (split_port(host), split_port(authority)) {
        (Some((host, port)), Some((other, other_port))) => {
            host.eq_ignore_ascii_case(other)
                && port.unwrap_or(default_port) == other_port.unwrap_or(default_port)
        }
        _ => false,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for (authority, host, port) in [
            ("a", "a", None),
            ("a:", "a", None),
            ("a:80", "a", Some(80)),
            ("a:00080", "a", Some(80)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1.2.3.4]:1", "[2001:db8::1.2.3.4]", Some(1)),
            ("my_app", "my_app", None),
            ("a%20b", "a%20b", None),
            ("", "", None),
            (":80", "", Some(80)),
        ] {
            assert_eq!(split_port(authority.as_bytes()), Some((host.as_bytes(), port)), "{authority}");
        }
        for authority in [
            "a b", "a,b", "a/b", "u@a", "a:b", "a:65536", "a:-1", "a:1:2", "[", "[]", "[:", "[::1", "[::1]x",
            "[::g]", "::1", "a\\b", "a#b", "a?b", "a\"b", "<a>", "a:8 0",
        ] {
            assert_eq!(split_port(authority.as_bytes()), None, "{authority}");
        }
    }

    #[test]
    fn an_absolute_target_is_of_an_http_scheme() {
        assert_eq!(split_absolute(b"hTTp://a:1/b?c:d"), Ok((4, 10)));
        assert_eq!(split_absolute(b"https://a?b/c"), Ok((5, 9)));
        for target in ["ftp://a/", "ws://a/", "://a/", "http://", "http:///a", "http://:80/", "http://u@a/"] {
            assert_eq!(split_absolute(target.as_bytes()), Err(RequestFault::TargetAuthority), "{target}");
        }
        for target in ["a", "http:a", "http:/a", "h:443"] {
            assert_eq!(split_absolute(target.as_bytes()), Err(RequestFault::Target), "{target}");
        }
    }

    #[test]
    fn authorities_are_the_same_in_any_case_and_with_the_default_port() {
        for (host, authority, scheme, same) in [
            ("a", "A", "http", true),
            ("a:80", "a", "http", true),
            ("a", "a:443", "HTTPS", true),
            ("a:", "a:443", "https", true),
            ("a:80", "a", "https", false),
            ("a:8080", "a", "http", false),
            ("a", "b", "http", false),
            ("", "a", "http", false),
        ] {
            assert_eq!(
                same_authority(host.as_bytes(), authority.as_bytes(), scheme.as_bytes()),
                same,
                "{host} {authority}"
            );
        }
    }

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

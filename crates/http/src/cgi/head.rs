//! A request's head, made of the variables that a front server has sent. It keeps their bytes where they came.

use std::sync::Arc;

use crate::error::RequestFault;
use crate::field::{FieldList, FieldSpan, Span, admit, is_token, is_value, parse_length, trim};
use crate::h1::{BodyKind, Facts, Parts, RequestHead, RequestLine, Version, split_port};
use crate::limits::{Limits, UnderscoreNames};

/// Where those CGI variables are, in the bytes of a head's list, that are no fields, and those of them that are asked for with each request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    spans: Vec<FieldSpan>,
    script_name: Option<Span>,
    path_info: Option<Span>,
    is_told_secure: bool,
}

/// What the variables say of the request itself. What is said twice is what was said last.
#[derive(Default)]
struct Found {
    method: Span,
    target: Span,
    protocol: Span,
    script_name: Option<Span>,
    query: Span,
    /// Its place among the variables.
    path_info: Option<usize>,
    scheme: Span,
    https: Span,
    uwsgi_scheme: Span,
    content_length: Option<u64>,
    authority: Option<Span>,
}

/// Makes a head of names and values. `strips_script_name`: PATH_INFO begins with SCRIPT_NAME, which is to be taken off.
pub(super) fn read(
    list: FieldList,
    strips_script_name: bool,
    limits: &Limits,
) -> Result<RequestHead, RequestFault> {
    let FieldList { mut bytes, spans: mut pairs } = list;
    let size = bytes.len() as u32;
    let mut found = Found::default();
    // The first of the pairs, as they are found.
    let mut variables = 0;
    let mut fields: Vec<FieldSpan> = Vec::with_capacity(pairs.len());
    for place in 0..pairs.len() {
        let pair = pairs[place];
        let name = pair.name.in_bytes(&bytes);
        let is_prefixed = matches!(name, [b'H', b'T', b'T', b'P', b'_', _, ..]);
        if !is_prefixed && name != b"CONTENT_TYPE" && name != b"CONTENT_LENGTH" {
            if !is_for_servers(name) {
                found.note(name, pair.value, variables);
                pairs[variables] = pair;
                variables += 1;
            }
            continue;
        }
        let name_span = if is_prefixed { pair.name.without_first(b"HTTP_".len()) } else { pair.name };
        for byte in name_span.in_bytes_mut(&mut bytes) {
            *byte = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        }
        let (name, value) = (name_span.in_bytes(&bytes), trim(pair.value.in_bytes(&bytes)));
        if !is_token(name) || !is_value(value) {
            return Err(RequestFault::FieldSyntax);
        }
        if name.len() + value.len() > limits.line_size_max {
            return Err(RequestFault::FieldTooLong);
        }
        let field = FieldSpan { name: name_span, value: Span::of(value, &bytes) };
        let comes_once = match (name, is_prefixed) {
            // Said without the prefix; the front server has undone the codings.
            (b"content-type" | b"content-length", true) | (b"transfer-encoding", _) => continue,
            (_, false) if value.is_empty() => continue,
            (b"content-length", false) => {
                found.content_length = Some(parse_length(value).ok_or(RequestFault::ContentLength)?);
                true
            }
            (b"host", _) => {
                split_port(value).ok_or(RequestFault::HostSyntax)?;
                found.authority = Some(field.value);
                true
            }
            (_, is_prefixed) => !is_prefixed,
        };
        if !admit(name, UnderscoreNames::Keep)? {
            continue;
        }
        if comes_once
            && let Some(earlier) = fields.iter_mut().find(|other| other.name.in_bytes(&bytes) == name)
        {
            *earlier = field;
            continue;
        }
        if fields.len() == limits.field_count_max {
            return Err(RequestFault::TooManyFields);
        }
        fields.push(field);
    }
    pairs.truncate(variables);
    let script_name = found.script_name.unwrap_or_default();
    if found.target.is_empty() {
        let path_info = found.path_info.map_or(Span::default(), |place| pairs[place].value);
        found.target = push_target(&mut bytes, [script_name, path_info], found.query);
    }
    if let Some(place) = found.path_info.filter(|_| strips_script_name) {
        let path_info = &mut pairs[place].value;
        let script_name = script_name.in_bytes(&bytes);
        if path_info
            .in_bytes(&bytes)
            .strip_prefix(script_name)
            .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        {
            *path_info = path_info.without_first(script_name.len());
        }
    }
    if found.target.in_bytes(&bytes).len() > limits.line_size_max {
        return Err(RequestFault::LineTooLong);
    }
    let version = match found.protocol.in_bytes(&bytes) {
        b"HTTP/1.0" => Version::Http10,
        b"HTTP/2.0" | b"HTTP/2" => Version::Http2,
        _ => Version::Http11,
    };
    let line = RequestLine::of(&bytes, found.method, found.target, version)?;
    if let (Some(length), Some(max)) = (found.content_length, limits.body_size_max)
        && length > max
    {
        return Err(RequestFault::BodyTooLarge);
    }
    let body = found.content_length.map_or(BodyKind::Empty, BodyKind::Length);
    let facts = Facts {
        body,
        authority: found.authority,
        expects_continue: false,
        keep_alive: false,
        asks_for_websocket: false,
    };
    let variables = Variables {
        script_name: found.script_name,
        path_info: found.path_info.map(|place| pairs[place].value),
        is_told_secure: found.is_told_secure(&bytes),
        spans: pairs,
    };
    let list = FieldList { bytes, spans: fields };
    Ok(RequestHead(Arc::new(Parts { list, line, facts, size, variables: Some(variables), forwarded: None })))
}

impl Found {
    fn note(&mut self, name: &[u8], value: Span, place: usize) {
        match name {
            b"REQUEST_METHOD" => self.method = value,
            b"REQUEST_URI" => self.target = value,
            b"SERVER_PROTOCOL" => self.protocol = value,
            b"SCRIPT_NAME" => self.script_name = Some(value),
            b"QUERY_STRING" => self.query = value,
            b"PATH_INFO" => self.path_info = Some(place),
            b"REQUEST_SCHEME" => self.scheme = value,
            b"HTTPS" => self.https = value,
            b"UWSGI_SCHEME" => self.uwsgi_scheme = value,
            _ => {}
        }
    }

    /// In one of the ways in which it is said: uWSGI's own, the usual one of CGI, nginx's own.
    fn is_told_secure(&self, bytes: &[u8]) -> bool {
        if !self.uwsgi_scheme.is_empty() {
            return self.uwsgi_scheme.in_bytes(bytes) == b"https";
        }
        match self.https.in_bytes(bytes) {
            b"" => self.scheme.in_bytes(bytes) == b"https",
            https => https == b"1" || https.eq_ignore_ascii_case(b"on"),
        }
    }
}

/// Whether a variable is not for applications: what would have uWSGI load one, and what is this server's to say.
fn is_for_servers(name: &[u8]) -> bool {
    match name {
        b"UWSGI_SCHEME" => false,
        _ => [&b"UWSGI_"[..], b"wsgi.", b"tidegate."].iter().any(|prefix| name.starts_with(prefix)),
    }
}

/// The target of a request of which only path and query are known, behind all else.
fn push_target(bytes: &mut Vec<u8>, path: [Span; 2], query: Span) -> Span {
    let start = bytes.len();
    for part in path {
        for byte in part.in_bytes(bytes).to_vec() {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                    bytes.push(byte)
                }
                _ => {
                    let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half)];
                    bytes.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
    }
    if !query.is_empty() {
        let query = query.in_bytes(bytes).to_vec();
        bytes.push(b'?');
        bytes.extend_from_slice(&query);
    }
    Span::new(start, bytes.len())
}

impl RequestHead {
    /// What a front server says of the request in CGI variables, where it speaks a protocol of such: without those that say the
    /// request's fields, which are among [`RequestHead::fields`].
    pub fn variables(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let list = &self.0.list;
        self.variable_spans()
            .iter()
            .map(|span| (span.name.in_bytes(&list.bytes), span.value.in_bytes(&list.bytes)))
    }

    /// The last value of one of them.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        let bytes = &self.0.list.bytes;
        let found =
            self.variable_spans().iter().rfind(|span| span.name.in_bytes(bytes) == name.as_bytes())?;
        Some(found.value.in_bytes(bytes))
    }

    fn variable_spans(&self) -> &[FieldSpan] {
        self.0.variables.as_ref().map_or(&[], |variables| &variables.spans)
    }

    /// The variable SCRIPT_NAME.
    pub fn told_script_name(&self) -> Option<&[u8]> {
        Some(self.0.variables.as_ref()?.script_name?.in_bytes(&self.0.list.bytes))
    }

    /// The variable PATH_INFO.
    pub fn told_path_info(&self) -> Option<&[u8]> {
        Some(self.0.variables.as_ref()?.path_info?.in_bytes(&self.0.list.bytes))
    }

    /// Whether a front server says in variables that its client has used https.
    pub fn is_told_secure(&self) -> bool {
        self.0.variables.as_ref().is_some_and(|variables| variables.is_told_secure)
    }

    /// Whether a front server has handed it on in CGI variables.
    pub fn is_handed_on(&self) -> bool {
        self.0.variables.is_some()
    }
}

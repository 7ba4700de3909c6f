//! Request heads, and what can be asked of them.
//!
//! Three steps, each linear in the bytes it sees. The [`LineGate`](crate::h1::gate::LineGate) finds the end of the head as bytes arrive, so that no
//! byte is looked at twice for it. The request line (`request_line`) is judged as soon as it is whole, and the field lines (`field_lines`) when
//! the head is; what they say about the message is gathered on the way (`facts`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::cgi::Variables;
use crate::error::RequestFault;
use crate::field::FieldList;
use crate::forwarded::{Forwarded, ForwardedRules, is_forwarded_field};
use crate::h1::authority::split_port;
use crate::h1::body::BodyKind;
use crate::h1::facts::{FactFinder, Facts};
use crate::h1::field_lines::read_fields;
use crate::h1::request_line::{Method, RequestLine, TargetForm, Version};
use crate::limits::Limits;

/// Heads are never larger than this, whatever the settings say: offsets into them are kept in 32 bits.
pub(crate) const HEAD_SIZE_CEILING: usize = 1 << 30;

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
    /// If it came in such.
    pub(crate) variables: Option<Variables>,
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

//! The opening handshake (RFC 6455 section 4.2): what a request asks for, and the 101 that grants it.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};

use crate::field::{is_token, is_value, trim};
use crate::h1::{BodyKind, RequestHead, ResponseHead, SendContext, Version, is_hop_by_hop};
use crate::ws::error::{AcceptFault, HandshakeFault};
use crate::ws::extension::{self, Compression, Offer};

/// What a request's head says about becoming a WebSocket.
#[derive(Clone, Debug)]
pub enum Upgrade {
    /// Nothing: it is a request like any other.
    NotAsked,
    /// It asks, as it should.
    Asked(Handshake),
    /// It asks, but not as it should.
    Refused(HandshakeFault),
}

/// Reads a head: whether `websocket` is among the members of Upgrade, and whether the rest goes with it. What a front server hands on in
/// CGI variables cannot become one: Upgrade is between the front server and its client.
pub fn upgrade(head: &RequestHead) -> Upgrade {
    if head.is_handed_on() || (!head.asks_for_websocket() && !lists(head, "upgrade", b"websocket")) {
        return Upgrade::NotAsked;
    }
    match Handshake::read(head) {
        Ok(handshake) => Upgrade::Asked(handshake),
        Err(fault) => Upgrade::Refused(fault),
    }
}

/// A request for a WebSocket that may be granted. It owns its bytes.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// None in HTTP/2, where nothing is upgraded (RFC 8441 section 5).
    key: Option<[u8; KEY_SIZE]>,
    /// With a comma behind each.
    protocols: String,
    offer: Option<Offer>,
}

/// 16 bytes in base64.
const KEY_SIZE: usize = 24;

/// What the client must find hashed with its key (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Some clients make a key of 22 random digits, whose last may then hold bits that no byte has.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

impl Handshake {
    fn read(head: &RequestHead) -> Result<Self, HandshakeFault> {
        let upgrades = !head.asks_for_websocket();
        if upgrades && head.version() != Version::Http11 {
            return Err(HandshakeFault::Version);
        }
        if head.method() != "GET" {
            return Err(HandshakeFault::Method);
        }
        if upgrades && !lists(head, "connection", b"upgrade") {
            return Err(HandshakeFault::Connection);
        }
        if !matches!(head.body(), BodyKind::Empty | BodyKind::Length(0)) {
            return Err(HandshakeFault::Body);
        }
        if only(head, "sec-websocket-version") != Some(b"13") {
            return Err(HandshakeFault::ProtocolVersion);
        }
        let key = || only(head, "sec-websocket-key").and_then(valid_key).ok_or(HandshakeFault::Key);
        let key = if upgrades { Some(key()?) } else { None };
        let offer = extension::choose(values(head, "sec-websocket-extensions"))
            .map_err(|_| HandshakeFault::Extensions)?;
        let mut protocols = String::new();
        for protocol in members(head, "sec-websocket-protocol").filter(|member| is_token(member)) {
            // A token is ASCII, so that nothing is ever left out here.
            protocols.push_str(std::str::from_utf8(protocol).unwrap_or_default());
            protocols.push(',');
        }
        Ok(Self { key, protocols, offer })
    }

    /// The subprotocols that the client offers, in its order of preference. What is not a token is left out.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.split_terminator(',')
    }

    /// Whether compression is offered in a form that can be taken.
    pub fn offers_compression(&self) -> bool {
        self.offer.is_some()
    }

    /// Writes the complete head of the 101 response: the fields of the handshake, `Date` and `Server` where absent, and the
    /// application's `fields`. `compression` is whether the server wants it; the client must have offered it too.
    ///
    /// # Errors
    /// An [`AcceptFault`] for a subprotocol that was not offered and for a field that is not valid or not the application's to
    /// set: Sec-WebSocket-*, those about the connection, Content-Length and Transfer-Encoding. Nothing is written then.
    pub fn accept(
        &self,
        subprotocol: Option<&[u8]>,
        fields: &[(Vec<u8>, Vec<u8>)],
        compression: bool,
        context: &SendContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Accepted, AcceptFault> {
        let offer = self.granted(subprotocol, fields, compression)?;
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&self.accept_key());
        out.extend_from_slice(b"\r\n");
        if let Some(protocol) = subprotocol {
            write_field(b"Sec-WebSocket-Protocol", protocol, out);
        }
        if let Some(offer) = offer {
            out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
            offer.write(out);
            out.extend_from_slice(b"\r\n");
        }
        for (name, value) in fields {
            write_field(name, value, out);
        }
        let given = |name: &[u8]| fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        write_context(context, given, out);
        out.extend_from_slice(b"\r\n");
        Ok(Accepted { compressed: offer.map_or(Compression::OFF, Offer::compression) })
    }

    /// The same in HTTP/2: the head of a response after which the stream is the WebSocket's.
    ///
    /// # Errors
    /// As of [`Handshake::accept`].
    pub fn accept_stream(
        &self,
        subprotocol: Option<&[u8]>,
        fields: &[(Vec<u8>, Vec<u8>)],
        compression: bool,
    ) -> Result<(Accepted, ResponseHead), AcceptFault> {
        let offer = self.granted(subprotocol, fields, compression)?;
        let mut head = ResponseHead::new(200, b"OK").map_err(|_| AcceptFault::FieldValue)?;
        let mut put = |name: &[u8], value: &[u8]| {
            head.field(name, value).map(drop).map_err(|_| AcceptFault::FieldValue)
        };
        if let Some(protocol) = subprotocol {
            put(b"sec-websocket-protocol", protocol)?;
        }
        if let Some(offer) = offer {
            let mut value = Vec::new();
            offer.write(&mut value);
            put(b"sec-websocket-extensions", &value)?;
        }
        fields.iter().try_for_each(|(name, value)| put(name, value))?;
        Ok((Accepted { compressed: offer.map_or(Compression::OFF, Offer::compression) }, head))
    }

    /// What is granted of the offers, if the application asks for nothing that must not be sent.
    fn granted(
        &self,
        subprotocol: Option<&[u8]>,
        fields: &[(Vec<u8>, Vec<u8>)],
        compression: bool,
    ) -> Result<Option<Offer>, AcceptFault> {
        if subprotocol.is_some_and(|chosen| !self.protocols().any(|offered| offered.as_bytes() == chosen)) {
            return Err(AcceptFault::Subprotocol);
        }
        fields.iter().try_for_each(|(name, value)| check_field(name, value))?;
        Ok(self.offer.filter(|_| compression))
    }

    /// The proof that the request was understood (RFC 6455 section 4.2.2).
    fn accept_key(&self) -> [u8; 28] {
        let digest =
            Sha1::new().chain_update(self.key.unwrap_or_default()).chain_update(ACCEPT_SUFFIX).finalize();
        let mut encoded = [0; 28];
        // 20 bytes make 28 digits, always.
        let _ = BASE64.encode_slice(digest, &mut encoded);
        encoded
    }
}

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whether and how messages may be compressed, for [`Socket::new`](crate::ws::Socket::new).
    pub compressed: Compression,
}

impl HandshakeFault {
    /// The head and the text of a response, where nothing can be upgraded. They are constant and valid, so that there is always one.
    pub fn response(&self) -> Option<(ResponseHead, String)> {
        let mut head = ResponseHead::new(self.status(), self.reason().as_bytes()).ok()?;
        head.field(b"content-type", b"text/plain; charset=utf-8").ok()?;
        if *self == Self::ProtocolVersion {
            head.field(b"sec-websocket-version", b"13").ok()?;
        }
        Some((head, format!("{} {}: {self}\n", self.status(), self.reason())))
    }

    /// Writes a complete response with a constant text, after which the connection closes. A 426 says which version is spoken
    /// (RFC 6455 section 4.4) and what to upgrade to (RFC 9110 section 15.5.22).
    pub fn write_response(&self, context: &SendContext<'_>, out: &mut Vec<u8>) {
        let text = format!("{} {}: {self}\n", self.status(), self.reason());
        out.extend_from_slice(format!("HTTP/1.1 {} {}\r\n", self.status(), self.reason()).as_bytes());
        write_context(context, |_| false, out);
        write_field(b"Content-Type", b"text/plain; charset=utf-8", out);
        write_field(b"Content-Length", text.len().to_string().as_bytes(), out);
        if *self == Self::ProtocolVersion {
            write_field(b"Sec-WebSocket-Version", b"13", out);
            write_field(b"Upgrade", b"websocket", out);
            write_field(b"Connection", b"Upgrade, close", out);
        } else {
            write_field(b"Connection", b"close", out);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(text.as_bytes());
    }
}

fn check_field(name: &[u8], value: &[u8]) -> Result<(), AcceptFault> {
    const PREFIX: &[u8] = b"sec-websocket-";
    if !is_token(name) {
        return Err(AcceptFault::FieldName);
    }
    if !is_value(value) {
        return Err(AcceptFault::FieldValue);
    }
    let of_handshake =
        name.get(..PREFIX.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(PREFIX));
    if of_handshake || is_hop_by_hop(name) || name.eq_ignore_ascii_case(b"content-length") {
        return Err(AcceptFault::FieldReserved);
    }
    Ok(())
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes what goes with every head, unless it is `given`.
fn write_context(context: &SendContext<'_>, given: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    if !given(b"date") {
        write_field(b"Date", context.date, out);
    }
    if let Some(server) = context.server.filter(|_| !given(b"server")) {
        write_field(b"Server", server, out);
    }
    if let Some((name, value)) = context.extra.filter(|(name, _)| !given(name)) {
        write_field(name, value, out);
    }
}

/// The values of a field, in order.
fn values<'a>(head: &'a RequestHead, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    head.fields()
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// The members of a field that is a list, which several fields of a name make up together (RFC 9110 section 5.3).
fn members<'a>(head: &'a RequestHead, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    values(head, name).flat_map(|value| value.split(|&byte| byte == b',').map(trim))
}

/// Whether a list has a member, in any case.
fn lists(head: &RequestHead, name: &'static str, member: &[u8]) -> bool {
    members(head, name).any(|other| other.eq_ignore_ascii_case(member))
}

/// The value of a field that is there once.
fn only<'a>(head: &'a RequestHead, name: &'static str) -> Option<&'a [u8]> {
    let mut values = values(head, name);
    values.next().filter(|_| values.next().is_none())
}

fn valid_key(value: &[u8]) -> Option<[u8; KEY_SIZE]> {
    let key: [u8; KEY_SIZE] = value.try_into().ok()?;
    let mut decoded = [0; KEY_SIZE / 4 * 3];
    (BASE64.decode_slice(key, &mut decoded) == Ok(16)).then_some(key)
}

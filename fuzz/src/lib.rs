//! What the targets share: choices made from a few bytes of the input, and a connection that is fed in pieces.

use std::sync::Arc;

use tidegate_http::ws::{Compression, Upgrade, upgrade};
use tidegate_http::{BodyKind, Connection, Dialect, Event, Limits, RequestFault, RequestHead, SendContext};

/// What responses are sent with.
pub const CONTEXT: SendContext<'static> =
    SendContext { date: b"Sun, 06 Nov 1994 08:49:37 GMT", server: Some(b"tidegate"), extra: None, close: false };

/// A stream of choices that follows from a seed alone, so that every finding can be run again.
pub struct Choices(u64);

impl Choices {
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// Splits off the bytes that decide how the rest is sent.
pub fn control(data: &[u8]) -> Option<(Choices, &[u8])> {
    let (seed, wire) = data.split_first_chunk::<4>()?;
    Some((Choices::new(u64::from(u32::from_le_bytes(*seed))), wire))
}

/// Cuts bytes into pieces, often small ones.
pub fn pieces<'a>(mut wire: &'a [u8], choices: &mut Choices) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !wire.is_empty() {
        let most = [1, 2, 8, 64, wire.len()][choices.below(5)];
        let (piece, rest) = wire.split_at((1 + choices.below(most)).min(wire.len()));
        pieces.push(piece);
        wire = rest;
    }
    pieces
}

/// What a first request came to, in a form that can be compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub head: Option<Head>,
    pub body: Vec<u8>,
    pub trailers: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    pub fault: Option<RequestFault>,
    /// Bytes of the input behind the request.
    pub left: usize,
}

/// A head that owns all its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    pub target: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Vec<u8>,
    pub authority: Option<Vec<u8>>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: BodyKind,
    pub keep_alive: bool,
    pub size: usize,
}

/// Feeds the pieces to a new connection and reads one request.
pub fn read_one<'a>(limits: &Arc<Limits>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    read_one_of(Connection::new(limits.clone()), pieces)
}

/// Feeds the pieces to this one.
pub fn read_one_of<'a>(mut connection: Connection, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut read = Read::default();
    for piece in pieces {
        connection.receive(piece);
        loop {
            match connection.next_event() {
                Ok(Event::NeedData | Event::Paused) => break,
                Ok(Event::Request(head)) => {
                    assert!(read.head.is_none(), "a second request before the first was answered");
                    let owned = |fields: &mut dyn Iterator<Item = (&[u8], &[u8])>| {
                        fields.map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>()
                    };
                    read.head = Some(Head {
                        method: head.method().to_owned(),
                        target: head.target().to_vec(),
                        path: head.path().to_vec(),
                        query: head.query().to_vec(),
                        authority: head.authority().map(<[u8]>::to_vec),
                        fields: owned(&mut head.fields()),
                        variables: owned(&mut head.variables()),
                        body: head.body(),
                        keep_alive: head.keep_alive_wanted(),
                        size: head.size(),
                    });
                }
                Ok(Event::Data(data)) => {
                    assert!(!data.is_empty(), "data without bytes");
                    read.body.extend_from_slice(data);
                }
                Ok(Event::End(trailers)) => {
                    assert!(read.trailers.is_none(), "a second end");
                    let fields = trailers.fields().map(|(name, value)| (name.to_vec(), value.to_vec()));
                    read.trailers = Some(fields.collect());
                }
                Ok(Event::Closed) => panic!("closed without an end of the input"),
                Err(fault) => {
                    assert_eq!(connection.buffered(), 0, "refused bytes are kept");
                    read.fault = Some(fault);
                    break;
                }
            }
        }
    }
    // How much of an unfinished line is kept is nobody's business, but what lies behind a request is.
    read.left = if read.trailers.is_some() { connection.buffered() } else { 0 };
    read
}

/// The head at the beginning of some bytes, if there is one.
pub fn head_of(wire: &[u8]) -> Option<RequestHead> {
    let mut connection = Connection::new(Arc::new(Limits::default()));
    connection.receive(wire);
    match connection.next_event() {
        Ok(Event::Request(head)) => Some(head),
        _ => None,
    }
}

/// What is agreed on when a client offers these extensions.
pub fn agreed(extensions: &str) -> Compression {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n"
    );
    match head_of(request.as_bytes()).map(|head| upgrade(&head)) {
        Some(Upgrade::Asked(handshake)) => {
            let accepted = handshake.accept(None, &[], true, &CONTEXT, &mut Vec::new());
            accepted.expect("nothing is wrong").compressed
        }
        _ => panic!("a handshake: {extensions}"),
    }
}

/// Holds of requests that come as CGI variables: cuts do not matter, what is passed on is as in HTTP, what is for others is not passed on,
/// and a refusal is for ever.
pub fn holds_of_variables(dialect: Dialect, data: &[u8]) {
    let Some((mut choices, wire)) = control(data) else { return };
    let limits = Arc::new(Limits {
        head_size_max: [65_536, 256][choices.below(2)],
        field_count_max: [100, 3][choices.below(2)],
        line_size_max: [16_384, 64][choices.below(2)],
        body_size_max: [None, Some(64)][choices.below(2)],
        ..Limits::default()
    });
    let read = |pieces| read_one_of(Connection::of(dialect, limits.clone()), pieces);
    let whole = read(vec![wire]);
    assert_eq!(read(pieces(wire, &mut choices)), whole, "cuts matter");
    let Some(head) = &whole.head else { return };
    assert!(head.fields.len() <= limits.field_count_max && !head.keep_alive);
    assert!(matches!(head.body, BodyKind::Empty | BodyKind::Length(_)));
    for (name, value) in &head.fields {
        assert!(!name.is_empty() && !name.iter().any(|byte| byte.is_ascii_uppercase() || *byte == b'_'));
        assert!(value.iter().all(|byte| *byte >= b' ' && *byte != 0x7f || *byte == b'\t'));
        assert!(name != b"proxy" && name != b"transfer-encoding");
    }
    for name in [&b"content-length"[..], b"content-type", b"host"] {
        assert!(head.fields.iter().filter(|(other, _)| other == name).count() <= 1);
    }
    for (name, _) in &head.variables {
        assert!(!name.starts_with(b"wsgi.") && !name.starts_with(b"tidegate."));
        assert!(!name.starts_with(b"UWSGI_") || name == b"UWSGI_SCHEME");
    }
}

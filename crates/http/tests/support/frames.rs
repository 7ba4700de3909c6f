//! What a client of a WebSocket sends, and what a server's socket makes of it.

use std::sync::Arc;

use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress};
use tidegate_http::ws::{
    Accepted, CloseReason, Compression, Event, Fault, Limits, Message, MessageKind, Socket,
};
use tidegate_http::{Connection, Event as HttpEvent, Limits as HttpLimits, RequestHead, SendContext};

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame: its first byte and its payload.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(first, payload.len() as u64);
    out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// The head of a masked frame.
pub fn head(first: u8, size: u64) -> Vec<u8> {
    let mut out = vec![first];
    match size {
        0..=125 => out.push(0x80 | size as u8),
        126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&size.to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out
}

/// The payload of Close.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

pub fn text(data: impl AsRef<[u8]>) -> Event {
    Event::Message(Message { kind: MessageKind::Text, data: data.as_ref().to_vec() })
}

pub fn binary(data: impl AsRef<[u8]>) -> Event {
    Event::Message(Message { kind: MessageKind::Binary, data: data.as_ref().to_vec() })
}

pub fn closed(code: Option<u16>, reason: &str) -> Event {
    Event::Close(CloseReason { code, reason: reason.to_owned() })
}

/// What a client compresses a message to (RFC 7692 section 7.2.1).
pub fn compress(data: &[u8]) -> Vec<u8> {
    let mut compressor = Compress::new(Level::new(6), false);
    let mut out = Vec::with_capacity(data.len() * 2 + 64);
    compressor.compress_vec(data, &mut out, FlushCompress::Sync).expect("room");
    out.truncate(out.len() - 4);
    out
}

/// What a client with a window of so many bits makes of a compressed message (RFC 7692 section 7.2.2).
pub fn decompress(data: &[u8], window_bits: u8, size: usize) -> Vec<u8> {
    let mut decompressor = Decompress::new_with_window_bits(false, window_bits);
    let mut out = Vec::with_capacity(size + 1);
    let whole = [data, &[0, 0, 0xff, 0xff]].concat();
    decompressor.decompress_vec(&whole, &mut out, FlushDecompress::Sync).expect("valid in this window");
    assert_eq!(decompressor.total_in(), whole.len() as u64);
    out
}

/// The frames of a server: first byte and payload of each.
pub fn frames(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = wire {
        let (size, rest) = match second {
            126 => {
                let (size, rest) = rest.split_first_chunk().expect("a length");
                (u64::from(u16::from_be_bytes(*size)), rest)
            }
            127 => {
                let (size, rest) = rest.split_first_chunk().expect("a length");
                (u64::from_be_bytes(*size), rest)
            }
            size => (u64::from(*size), rest),
        };
        let least = [0, 126, 0x1_0000][usize::from(*second == 126) + 2 * usize::from(*second == 127)];
        assert!(size >= least, "a length in more bytes than it needs");
        let (payload, rest) = rest.split_at(size as usize);
        frames.push((*first, payload.to_vec()));
        wire = rest;
    }
    assert!(wire.is_empty(), "bytes that belong to no frame");
    frames
}

/// What became of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<Event>,
    pub fault: Option<Fault>,
}

/// Gives pieces to a socket, as an engine would.
pub fn feed<'a>(socket: &mut Socket, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Outcome::default();
    for piece in pieces {
        let mut owned = piece.to_vec();
        let mut input = &mut owned[..];
        loop {
            match socket.next_event(input) {
                Ok((size, Event::NeedData)) => {
                    assert_eq!(size, input.len(), "not all is consumed, and yet more is needed");
                    break;
                }
                Ok((size, event)) => {
                    outcome.events.push(event);
                    input = &mut input[size..];
                }
                Err(fault) => {
                    assert!(outcome.fault.is_none_or(|earlier| earlier == fault));
                    assert_eq!(socket.buffered(), 0, "refused bytes are kept");
                    outcome.fault = Some(fault);
                    break;
                }
            }
        }
    }
    outcome
}

/// What becomes of some bytes on a new socket. Says so only if it does not matter how they are cut.
pub fn read(limits: &Limits, compression: Compression, wire: &[u8]) -> Outcome {
    let limits = Arc::new(limits.clone());
    let socket = || Socket::new(limits.clone(), compression);
    let whole = feed(&mut socket(), [wire]);
    assert_eq!(feed(&mut socket(), wire.chunks(1)), whole, "byte by byte");
    let step = wire.len() / 512 + 1;
    for cut in (0..wire.len()).step_by(step) {
        let (first, second) = wire.split_at(cut);
        assert_eq!(feed(&mut socket(), [first, second]), whole, "cut at {cut}");
    }
    whole
}

pub const CONTEXT: SendContext<'static> = SendContext {
    date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    server: Some(b"tidegate"),
    extra: None,
    close: false,
};

/// The head of a request.
pub fn request(wire: &str) -> RequestHead {
    let mut connection = Connection::new(Arc::new(HttpLimits::default()));
    connection.receive(wire.as_bytes());
    match connection.next_event() {
        Ok(HttpEvent::Request(head)) => head,
        other => panic!("a request, not {other:?}: {wire}"),
    }
}

/// What is agreed on when a client offers these extensions.
pub fn agreed(extensions: &str) -> Compression {
    let head = request(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n"
    ));
    let tidegate_http::ws::Upgrade::Asked(handshake) = tidegate_http::ws::upgrade(&head) else {
        panic!("a handshake: {extensions}")
    };
    let Accepted { compressed } =
        handshake.accept(None, &[], true, &CONTEXT, &mut Vec::new()).expect("nothing is wrong");
    compressed
}

//! Holds: the incremental reader of frames agrees with one that sees all bytes at once, and with itself however the bytes are cut;
//! what is written for a message is that message.

#![no_main]

use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{agreed, control, pieces};
use tidegate_http::ws::{Compression, Event, Fault, Limits, MessageKind, Socket, is_close_code};

/// What was read, in a form that can be compared.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Broken(Fault),
}

fuzz_target!(|data: &[u8]| {
    let Some((mut choices, wire)) = control(data) else { return };
    let limits = Arc::new(Limits {
        message_size_max: [100_000, 64][choices.below(2)],
        frame_size_max: [100_000, 48][choices.below(2)],
    });
    let compression = if choices.below(2) == 0 {
        Compression::OFF
    } else {
        agreed(&format!("permessage-deflate; server_max_window_bits={}", 9 + choices.below(7)))
    };
    let whole = read(&limits, compression, [wire]);
    assert_eq!(read(&limits, compression, pieces(wire, &mut choices)), whole);
    assert_eq!(read(&limits, compression, wire.chunks(1)), whole);
    let other = Reader::default().read(wire, &limits, compression.is_on());
    assert_eq!(other.len(), whole.len());
    for (other, seen) in other.iter().zip(&whole) {
        assert!(other == seen || (compression.is_on() && is_of_content(other) && is_of_content(seen)));
    }
    let mut socket = Socket::new(limits, compression);
    for seen in &whole {
        write(&mut socket, seen);
    }
});

/// Feeds the pieces to a new socket.
fn read<'a>(
    limits: &Arc<Limits>,
    compression: Compression,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Seen> {
    let mut socket = Socket::new(limits.clone(), compression);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut owned = piece.to_vec();
        let mut input = &mut owned[..];
        loop {
            match socket.next_event(input) {
                Ok((size, Event::NeedData)) => {
                    assert_eq!(size, input.len(), "not all is consumed");
                    break;
                }
                Ok((size, event)) => {
                    input = &mut input[size..];
                    seen.push(match event {
                        Event::Message(message) if message.kind == MessageKind::Text => {
                            Seen::Text(message.data)
                        }
                        Event::Message(message) => Seen::Binary(message.data),
                        Event::Ping(payload) => Seen::Ping(payload.to_vec()),
                        Event::Pong(payload) => Seen::Pong(payload.to_vec()),
                        Event::Close(why) => Seen::Close(why.code, why.reason),
                        Event::NeedData => unreachable!("matched above"),
                    });
                }
                Err(fault) => {
                    assert_eq!(socket.buffered(), 0, "refused bytes are kept");
                    seen.push(Seen::Broken(fault));
                    return seen;
                }
            }
            // An eighth more than a message, for what cannot be compressed.
            assert!(socket.buffered() <= limits.message_size_max + limits.message_size_max / 8 + 64);
        }
    }
    seen
}

/// RFC 6455 section 5.2, read off the figure, with all bytes at hand.
#[derive(Default)]
struct Reader {
    seen: Vec<Seen>,
    /// Opcode, whether it is compressed, and the bytes of a message that has begun.
    message: Option<(u8, bool, Vec<u8>)>,
}

impl Reader {
    fn read(mut self, wire: &[u8], limits: &Limits, compression: bool) -> Vec<Seen> {
        let mut rest = wire;
        loop {
            match self.frame(rest, limits, compression) {
                Ok(Some(size)) => rest = &rest[size..],
                Ok(None) => return self.seen,
                Err(fault) => {
                    self.seen.push(Seen::Broken(fault));
                    return self.seen;
                }
            }
            if matches!(self.seen.last(), Some(Seen::Close(..))) {
                return self.seen;
            }
        }
    }

    /// Reads one frame and says how long it was; `None` if it is not whole.
    fn frame(&mut self, bytes: &[u8], limits: &Limits, compression: bool) -> Result<Option<usize>, Fault> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let (opcode, last, is_control) = (first & 15, first & 128 != 0, first & 8 != 0);
        if !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
            return Err(Fault::Opcode);
        }
        let is_compressed = first & 0x70 == 0x40 && compression && matches!(opcode, 1 | 2);
        if first & 0x70 != 0 && !is_compressed {
            return Err(Fault::ReservedBits);
        }
        if is_control && !last {
            return Err(Fault::ControlFragmented);
        }
        if second & 128 == 0 {
            return Err(Fault::Unmasked);
        }
        let short = usize::from(second & 127);
        if is_control && short > 125 {
            return Err(Fault::ControlTooLarge);
        }
        let length_bytes = [0, 2, 8][usize::from(short == 126) + 2 * usize::from(short == 127)];
        let Some(length) = bytes.get(2..2 + length_bytes) else { return Ok(None) };
        let size = if length_bytes == 0 {
            short as u64
        } else {
            length.iter().fold(0, |size, byte| size << 8 | u64::from(*byte))
        };
        if (length_bytes == 2 && size < 126) || (length_bytes == 8 && size < 65_536) {
            return Err(Fault::LengthForm);
        }
        if size >> 63 == 1 {
            return Err(Fault::LengthRange);
        }
        let head = 2 + length_bytes + 4;
        let Some(key) = bytes.get(head - 4..head) else { return Ok(None) };
        if !is_control {
            match (opcode, &mut self.message) {
                (0, None) => return Err(Fault::ContinuationUnexpected),
                (1 | 2, Some(_)) => return Err(Fault::ContinuationMissing),
                (1 | 2, message) => *message = Some((opcode, is_compressed, Vec::new())),
                _ => {}
            }
            if size > limits.frame_size_max as u64 {
                return Err(Fault::FrameTooLarge);
            }
            let (_, is_compressed, data) = self.message.as_ref().expect("a message has begun");
            let max = limits.message_size_max;
            let max = if *is_compressed { max + max / 8 + 64 } else { max };
            if data.len() as u64 + size > max as u64 {
                return Err(Fault::MessageTooLarge);
            }
        }
        let size = size as usize;
        let there: Vec<u8> =
            bytes[head..].iter().take(size).enumerate().map(|(index, byte)| byte ^ key[index % 4]).collect();
        let whole = there.len() == size;
        if is_control {
            if whole {
                self.seen.push(match opcode {
                    8 => close(&there)?,
                    9 => Seen::Ping(there),
                    _ => Seen::Pong(there),
                });
            }
            return Ok(whole.then_some(head + size));
        }
        let (opcode, is_compressed, data) = self.message.as_mut().expect("a message has begun");
        data.extend(there);
        if *opcode == 1 && !*is_compressed && wrong_text(data) {
            return Err(Fault::Text);
        }
        if !whole {
            return Ok(None);
        }
        if last {
            let (opcode, is_compressed, mut data) = self.message.take().expect("a message has begun");
            if is_compressed {
                data = inflate(&data, limits.message_size_max, opcode == 1)?;
            }
            if opcode == 1 && std::str::from_utf8(&data).is_err() {
                return Err(Fault::Text);
            }
            self.seen.push(if opcode == 1 { Seen::Text(data) } else { Seen::Binary(data) });
        }
        Ok(Some(head + size))
    }
}

/// Whether a message was refused for what it holds. Of several such reasons in a compressed one, which is found first depends on
/// how much is decompressed at once.
fn is_of_content(seen: &Seen) -> bool {
    matches!(seen, Seen::Broken(Fault::Text | Fault::MessageTooLarge | Fault::Compression))
}

/// Whether nothing that follows could make this UTF-8.
fn wrong_text(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_err_and(|error| error.error_len().is_some())
}

fn close(payload: &[u8]) -> Result<Seen, Fault> {
    match payload {
        [] => Ok(Seen::Close(None, String::new())),
        [_] => Err(Fault::CloseLength),
        [high, low, reason @ ..] => {
            let code = u16::from(*high) << 8 | u16::from(*low);
            if !is_close_code(code) {
                return Err(Fault::CloseCode);
            }
            let reason = String::from_utf8(reason.to_vec()).map_err(|_| Fault::CloseReason)?;
            Ok(Seen::Close(Some(code), reason))
        }
    }
}

/// RFC 7692 section 7.2.2, a byte of output at a time, by a decompressor that was never used.
fn inflate(data: &[u8], size_max: usize, is_text: bool) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    if data.is_empty() {
        return Ok(out);
    }
    let mut rest = [data, &[0, 0, 255, 255, 3, 0]].concat();
    let mut decompressor = Decompress::new(false);
    let mut streams = 1;
    loop {
        let (before, mut byte) = ((decompressor.total_in(), decompressor.total_out()), [0]);
        let status = decompressor
            .decompress(&rest, &mut byte, FlushDecompress::None)
            .map_err(|_| Fault::Compression)?;
        rest.drain(..(decompressor.total_in() - before.0) as usize);
        let given = decompressor.total_out() > before.1;
        if given {
            out.push(byte[0]);
        }
        if out.len() > size_max {
            return Err(Fault::MessageTooLarge);
        }
        if given && is_text && wrong_text(&out) {
            return Err(Fault::Text);
        }
        if status == Status::StreamEnd {
            if rest.is_empty() || rest.len() == 6 {
                return Ok(out);
            }
            if rest.len() < 6 || streams == 64 {
                return Err(Fault::Compression);
            }
            streams += 1;
            decompressor = Decompress::new(false);
        } else if !given && rest.is_empty() {
            return Err(Fault::Compression);
        }
    }
}

/// Sends back what was read, and reads it as a client would.
fn write(socket: &mut Socket, seen: &Seen) {
    let was_closed = socket.close_sent();
    let mut out = Vec::new();
    match seen {
        Seen::Text(data) => socket.write_message(MessageKind::Text, data, &mut out),
        Seen::Binary(data) => socket.write_message(MessageKind::Binary, data, &mut out),
        Seen::Ping(payload) => socket.write_pong(payload, &mut out),
        Seen::Pong(payload) => socket.write_ping(payload, &mut out),
        Seen::Close(code, reason) => socket.write_close(*code, reason, &mut out),
        Seen::Broken(fault) => socket.write_close(Some(fault.code()), &fault.to_string(), &mut out),
    }
    if was_closed {
        assert!(out.is_empty(), "something was written after Close");
        return;
    }
    let (first, payload) = frame_of(&out);
    match seen {
        Seen::Text(data) | Seen::Binary(data) => {
            assert_eq!(first & 0xbf, if matches!(seen, Seen::Text(_)) { 0x81 } else { 0x82 });
            if first & 0x40 == 0 {
                assert_eq!(payload, data);
            } else {
                assert!(payload.len() < data.len());
                assert_eq!(inflate(payload, data.len(), false).as_ref(), Ok(data));
            }
        }
        Seen::Ping(sent) => assert_eq!((first, payload), (0x8a, &sent[..])),
        Seen::Pong(sent) => assert_eq!((first, payload), (0x89, &sent[..])),
        Seen::Close(code, reason) => {
            assert_eq!(first, 0x88);
            assert_eq!(close(payload), Ok(Seen::Close(*code, reason.clone())));
        }
        Seen::Broken(_) => assert!(first == 0x88 && close(payload).is_ok()),
    }
}

/// The first byte and the payload of the one frame that was written.
fn frame_of(out: &[u8]) -> (u8, &[u8]) {
    let (size, payload) = match out[1] {
        126 => (usize::from(u16::from_be_bytes([out[2], out[3]])), &out[4..]),
        127 => (u64::from_be_bytes(out[2..10].try_into().expect("eight bytes")) as usize, &out[10..]),
        size => (usize::from(size), &out[2..]),
    };
    assert_eq!(payload.len(), size);
    (out[0], payload)
}

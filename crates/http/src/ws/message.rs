//! The message that is coming in: put together from its frames, checked as its bytes come.

use simdutf8::compat::from_utf8;

use crate::ws::deflate::inflate;
use crate::ws::error::Fault;
use crate::ws::event::{Message, MessageKind};
use crate::ws::limits::Limits;

/// What is set aside for a message before its bytes are there, however large it is announced.
///
/// 64 KiB: most messages are smaller and need no second allocation, and ten thousand peers that announce a large one and send
/// a byte of it cannot hold more than 640 MiB.
const ROOM_SIZE_MAX: usize = 64 * 1024;

/// A message up to the bytes that are there.
#[derive(Debug)]
pub(crate) struct Incoming {
    kind: MessageKind,
    /// Whether `data` is still compressed.
    compressed: bool,
    data: Vec<u8>,
    text: Text,
}

impl Incoming {
    pub(crate) fn new(kind: MessageKind, compressed: bool) -> Self {
        let text = match kind {
            MessageKind::Text => Text::Checked(0),
            MessageKind::Binary => Text::NotText,
        };
        Self { kind, compressed, data: Vec::new(), text }
    }

    /// Bytes that are there.
    pub(crate) fn size(&self) -> usize {
        self.data.len()
    }

    /// Judges a frame by its head, before anything is kept of it.
    pub(crate) fn admit(&self, frame_size: u64, limits: &Limits) -> Result<(), Fault> {
        if frame_size > limits.frame_size_max as u64 {
            return Err(Fault::FrameTooLarge);
        }
        // Neither can overflow: the one is a length in memory, the other below 2^63.
        if self.data.len() as u64 + frame_size > self.wire_size_max(limits) as u64 {
            return Err(Fault::MessageTooLarge);
        }
        Ok(())
    }

    /// The most that may come of this message as it is on the wire.
    fn wire_size_max(&self, limits: &Limits) -> usize {
        let plain = limits.message_size_max;
        if self.compressed {
            // What cannot be compressed grows: a fixed code spends nine bits on eight (RFC 1951 section 3.2.6), and each block
            // has a head.
            plain.saturating_add(plain / 8).saturating_add(64)
        } else {
            plain
        }
    }

    /// Takes in a piece that is not the end of the message. `left` more bytes of its frame follow, and then more frames unless
    /// it is the `last`.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        left: usize,
        last: bool,
        limits: &Limits,
    ) -> Result<(), Fault> {
        if piece.is_empty() {
            return Ok(());
        }
        let needed = self.data.len() + piece.len();
        if needed > self.data.capacity() {
            // Twice as much each time, so that each byte is moved once on average, but no more than can come.
            let announced = needed + left;
            let can_come = if last { announced } else { self.wire_size_max(limits) };
            let doubled = (2 * self.data.capacity()).max(announced.min(ROOM_SIZE_MAX));
            let room = doubled.min(can_come).max(needed);
            self.data.reserve_exact(room - self.data.len());
        }
        self.data.extend_from_slice(piece);
        if self.compressed { Ok(()) } else { self.text.check(&self.data) }
    }

    /// Takes in the end of the message. One that is whole in a piece is made from where it lies.
    pub(crate) fn finish(mut self, piece: &[u8], limits: &Limits) -> Result<Message, Fault> {
        let whole = self.data.is_empty();
        if !whole {
            self.push(piece, 0, true, limits)?;
        }
        let received = if whole { piece } else { &self.data };
        let data = if self.compressed {
            inflate(received, limits.message_size_max, |data| self.text.check(data))?
        } else if whole {
            self.text.check(piece)?;
            piece.to_vec()
        } else {
            // What is still to be handled may wait for long: it holds no more than it needs.
            self.data.shrink_to_fit();
            self.data
        };
        self.text.end(&data)?;
        Ok(Message { kind: self.kind, data })
    }
}

/// How far a message was checked to be UTF-8, if it is text.
#[derive(Debug)]
enum Text {
    Checked(usize),
    NotText,
}

impl Text {
    /// Checks what has come of a text, so that it fails at the first byte that no other can make right (RFC 6455 section 8.1).
    fn check(&mut self, data: &[u8]) -> Result<(), Fault> {
        let Self::Checked(end) = self else { return Ok(()) };
        match from_utf8(data.get(*end..).unwrap_or_default()) {
            Ok(text) => *end += text.len(),
            // The beginning of a character, which is three bytes at most.
            Err(error) if error.error_len().is_none() => *end += error.valid_up_to(),
            Err(_) => return Err(Fault::Text),
        }
        Ok(())
    }

    /// Nothing follows: no character may be left unfinished.
    fn end(&self, data: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Checked(end) if *end < data.len() => Err(Fault::Text),
            Self::Checked(_) | Self::NotText => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { message_size_max: 1 << 20, frame_size_max: 1 << 20 }
    }

    #[test]
    fn an_announced_size_alone_takes_no_memory_and_a_byte_of_it_a_modest_amount() {
        let mut message = Incoming::new(MessageKind::Binary, false);
        message.admit(1 << 20, &limits()).unwrap();
        assert_eq!(message.data.capacity(), 0);
        message.push(b"a", (1 << 20) - 1, true, &limits()).unwrap();
        assert_eq!(message.data.capacity(), ROOM_SIZE_MAX);
    }

    #[test]
    fn a_message_in_one_frame_never_has_more_room_than_it_needs() {
        for (size, piece) in [(100, 1), (100, 99), (ROOM_SIZE_MAX + 1, 100), (1 << 20, 65_536)] {
            let mut message = Incoming::new(MessageKind::Binary, false);
            let mut left = size;
            while left > piece {
                left -= piece;
                message.push(&vec![1; piece], left, true, &limits()).unwrap();
                assert!(message.data.capacity() <= size, "{size}");
            }
            let data = message.finish(&vec![1; left], &limits()).unwrap().data;
            assert_eq!((data.len(), data.capacity()), (size, size));
        }
    }

    #[test]
    fn fragments_of_a_byte_are_not_moved_with_each() {
        let mut message = Incoming::new(MessageKind::Binary, false);
        let mut moves = 0;
        for _ in 0..100_000 {
            let before = message.data.capacity();
            message.push(b"a", 0, false, &limits()).unwrap();
            moves += usize::from(message.data.capacity() != before);
        }
        assert!(moves <= 20, "{moves}");
        assert_eq!(message.finish(b"", &limits()).unwrap().data.capacity(), 100_000);
    }

    #[test]
    fn what_is_asked_for_is_bounded_by_what_a_message_may_be() {
        let limits = Limits { message_size_max: 1_000, frame_size_max: 1_000 };
        let mut message = Incoming::new(MessageKind::Binary, false);
        for _ in 0..900 {
            message.push(b"a", 0, false, &limits).unwrap();
        }
        assert!(message.data.capacity() <= 1_000);
    }

    #[test]
    fn sizes_that_would_overflow_are_refused() {
        let limits = Limits { message_size_max: usize::MAX, frame_size_max: usize::MAX };
        for compressed in [false, true] {
            let message = Incoming::new(MessageKind::Binary, compressed);
            message.admit(i64::MAX as u64, &limits).unwrap();
        }
        let message = Incoming::new(MessageKind::Binary, false);
        assert_eq!(message.admit(i64::MAX as u64, &self::limits()), Err(Fault::FrameTooLarge));
    }
}

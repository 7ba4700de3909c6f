//! The frames of RFC 6455, section 5, as far as a client that sends whole messages has to know them.

/// Opcodes (section 5.2). Zero continues a message.
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

const LAST: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// A control frame's payload is never longer (section 5.5), and a header that says so has no further length.
const SHORT_MAX: u64 = 125;

/// The longest header of a server's frame: two bytes and eight of length, without a key.
const HEADER_SIZE_MAX: usize = 10;

/// Returns one frame that holds the whole payload, masked as a client must (section 5.3).
pub fn masked(opcode: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![LAST | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(size), _) if u64::from(size) <= SHORT_MAX => frame.push(MASKED | size),
        (_, Ok(size)) => {
            frame.push(MASKED | 126);
            frame.extend(size.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// What the server's bytes say, bit by bit.
pub enum Piece<'a> {
    /// The next bytes of a message.
    Payload(&'a [u8]),
    /// The message has ended; it began with this opcode.
    End(u8),
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    Close,
}

/// No server may send this.
pub struct Malformed;

/// Takes frames apart, however they are cut. Payloads are not kept: they are handed on as they come.
#[derive(Default)]
pub struct Reader {
    header: [u8; HEADER_SIZE_MAX],
    filled: usize,
    frame: Option<Frame>,
    /// The opcode that the message at hand began with.
    message: u8,
    /// The payload of a control frame.
    control: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Frame {
    opcode: u8,
    last: bool,
    left: u64,
}

impl Reader {
    /// Takes from the input until there is something to tell; `None` when there is no more input.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Malformed> {
        loop {
            let Some(frame) = &mut self.frame else {
                if !self.begin(input)? {
                    return Ok(None);
                }
                continue;
            };
            if frame.left > 0 {
                let size = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
                if size == 0 {
                    return Ok(None);
                }
                let (payload, rest) = input.split_at(size);
                *input = rest;
                frame.left -= size as u64;
                if frame.opcode < CLOSE {
                    return Ok(Some(Piece::Payload(payload)));
                }
                self.control.extend_from_slice(payload);
                continue;
            }
            let frame = *frame;
            self.frame = None;
            match frame.opcode {
                CLOSE => return Ok(Some(Piece::Close)),
                PING => return Ok(Some(Piece::Ping(std::mem::take(&mut self.control)))),
                PONG => self.control.clear(),
                _ if frame.last => return Ok(Some(Piece::End(self.message))),
                _ => {}
            }
        }
    }

    /// Reads a header, as far as it is there; returns whether it is whole.
    fn begin(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        while self.filled < self.header_size() {
            let Some((byte, rest)) = input.split_first() else { return Ok(false) };
            self.header[self.filled] = *byte;
            self.filled += 1;
            *input = rest;
        }
        let [first, second, ..] = self.header;
        let mut size = u64::from(second & !MASKED);
        if self.filled > 2 {
            size = self.header[2..self.filled].iter().fold(0, |size, byte| size << 8 | u64::from(*byte));
        }
        self.filled = 0;
        let (opcode, last) = (first & 0x0F, first & LAST != 0);
        // No extension was asked for, and a server's frames are not masked.
        if first & RESERVED != 0 || second & MASKED != 0 {
            return Err(Malformed);
        }
        match opcode {
            0 => {}
            TEXT | BINARY => self.message = opcode,
            CLOSE | PING | PONG if last && size <= SHORT_MAX => {}
            _ => return Err(Malformed),
        }
        self.frame = Some(Frame { opcode, last, left: size });
        Ok(true)
    }

    /// How long the header is, by what is known of it.
    fn header_size(&self) -> usize {
        match self.header[1] & !MASKED {
            126 if self.filled >= 2 => 4,
            127 if self.filled >= 2 => HEADER_SIZE_MAX,
            _ => 2,
        }
    }
}

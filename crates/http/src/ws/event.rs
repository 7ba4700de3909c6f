//! What a WebSocket yields.

use std::fmt;
use std::ops::Deref;

use crate::ws::close::CloseReason;

/// The next thing that the peer's bytes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All bytes are spent: more are needed.
    NeedData,
    /// A whole message.
    Message(Message),
    /// A Ping, which a Pong with the same payload answers (RFC 6455 section 5.5.2).
    Ping(Payload),
    /// A Pong, asked for or not (RFC 6455 section 5.5.3).
    Pong(Payload),
    /// The peer closes. Nothing is parsed after this.
    Close(CloseReason),
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Text or bytes.
    pub kind: MessageKind,
    /// What was sent. Text is valid UTF-8.
    pub data: Vec<u8>,
}

/// What a message is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// The most that the payload of a control frame can be (RFC 6455 section 5.5).
pub(crate) const CONTROL_SIZE_MAX: usize = 125;

/// The payload of a control frame, up to 125 bytes.
#[derive(Clone)]
pub struct Payload {
    bytes: [u8; CONTROL_SIZE_MAX],
    size: u8,
}

impl Payload {
    pub(crate) const EMPTY: Self = Self { bytes: [0; CONTROL_SIZE_MAX], size: 0 };

    /// Appends what fits.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let begin = usize::from(self.size);
        let room = self.bytes.get_mut(begin..).unwrap_or_default();
        let size = piece.len().min(room.len());
        room[..size].copy_from_slice(&piece[..size]);
        self.size += size as u8;
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.size)).unwrap_or_default()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

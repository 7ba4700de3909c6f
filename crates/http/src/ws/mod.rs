//! WebSockets (RFC 6455) with compression (RFC 7692), server side, as bytes and events.
//!
//! [`upgrade`] finds out whether a request asks for one and [`Handshake::accept`] writes the answer. From then on a [`Socket`]
//! makes events of what the peer sends ([`Socket::next_event`]) and bytes of what it is to be told. It keeps no bytes that it has
//! not parsed: how much to read is the caller's to decide, and so are deadlines, answers to Ping and Close, and when the
//! connection ends.
//!
//! | module | what is in it |
//! |---|---|
//! | `handshake` | the request for a WebSocket, and the 101 |
//! | `extension` | which compression is agreed on |
//! | `state` | the states of a WebSocket |
//! | `frame` | frames: heads and masks |
//! | `message` | messages, put together from frames |
//! | `deflate` | DEFLATE for whole messages |
//! | `close` | Close: code and reason |
//! | `event` | what a WebSocket yields |
//! | `error` | who did what wrong: the peer ([`HandshakeFault`], [`Fault`]), the application ([`AcceptFault`]) |
//! | `limits` | how much a peer may send, with the reason for each number |

mod close;
mod deflate;
mod error;
mod event;
mod extension;
mod frame;
mod handshake;
mod limits;
mod message;
mod state;

use std::sync::Arc;

pub use close::{CloseReason, is_close_code};
pub use error::{AcceptFault, Fault, HandshakeFault};
pub use event::{Event, Message, MessageKind, Payload};
pub use extension::Compression;
pub use handshake::{Accepted, Handshake, Upgrade, upgrade};
pub use limits::Limits;

use close::cut_reason;
use deflate::deflate;
use event::CONTROL_SIZE_MAX;
use extension::WindowBits;
use frame::{FrameHead, HEAD_SIZE_MAX, HeadReader, Mask, Opcode};
use message::Incoming;
use state::{Move, Receiving, Sending, State};

/// Messages below this size are not compressed: of 128 bytes of JSON a twelfth is gained, of 64 nothing.
const COMPRESSED_SIZE_MIN: usize = 128;

/// A frame whose payload is coming in.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    /// Bytes of the payload that are still to come.
    left: usize,
    mask: Mask,
}

/// The server side of one open WebSocket.
///
/// Give it what is received until it needs more, and act on its events. What it writes is complete: frames may go out in the
/// order in which they were written, with nothing between them.
#[derive(Debug)]
pub struct Socket {
    limits: Arc<Limits>,
    compression: Compression,
    state: State,
    fault: Option<Fault>,
    head: HeadReader,
    frame: Option<Frame>,
    message: Option<Incoming>,
    /// The payload of the control frame that is coming in.
    control: Payload,
}

impl Socket {
    /// A WebSocket right after its handshake, with what [`Accepted`] says about compression.
    pub fn new(limits: Arc<Limits>, compressed: Compression) -> Self {
        Self {
            limits,
            compression: compressed,
            state: State::START,
            fault: None,
            head: HeadReader::default(),
            frame: None,
            message: None,
            control: Payload::EMPTY,
        }
    }

    /// Consumes a prefix of `input`, unmasking it in place, and says how long it is and what it means. Call again with the rest
    /// until that is [`Event::NeedData`]: then all is consumed, and what is incomplete is kept inside.
    ///
    /// # Errors
    /// A [`Fault`] where the peer broke a rule, and the same again from then on.
    pub fn next_event(&mut self, input: &mut [u8]) -> Result<(usize, Event), Fault> {
        match self.state.receiving {
            Receiving::Between | Receiving::Within => self.parse(input).map_err(|fault| self.refuse(fault)),
            Receiving::Refused => match self.fault {
                Some(fault) => Err(fault),
                None => Ok((input.len(), Event::NeedData)),
            },
            Receiving::Closed => Ok((input.len(), Event::NeedData)),
        }
    }

    fn parse(&mut self, input: &mut [u8]) -> Result<(usize, Event), Fault> {
        let mut begin = 0;
        loop {
            let rest = input.get_mut(begin..).unwrap_or_default();
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.head.read(rest, self.compression.is_on())? {
                    Some((head, size)) => {
                        begin += size;
                        self.begin_frame(&head)?
                    }
                    None => return Ok((input.len(), Event::NeedData)),
                },
            };
            let rest = input.get_mut(begin..).unwrap_or_default();
            let size = frame.left.min(rest.len());
            let (piece, _) = rest.split_at_mut(size);
            frame.mask.remove(piece);
            frame.left -= size;
            begin += size;
            if frame.left > 0 {
                self.push(&frame, piece)?;
                self.frame = Some(frame);
                return Ok((begin, Event::NeedData));
            }
            if let Some(event) = self.end_frame(&frame, piece)? {
                return Ok((begin, event));
            }
        }
    }

    /// Judges a frame by its head, before anything is kept of it.
    fn begin_frame(&mut self, head: &FrameHead) -> Result<Frame, Fault> {
        match head.opcode {
            Opcode::Data(kind) => {
                let step = if head.last { Move::Message } else { Move::Begin };
                self.state = self.state.after(step).ok_or(Fault::ContinuationMissing)?;
                let message = self.message.insert(Incoming::new(kind, head.compressed));
                message.admit(head.size, &self.limits)?;
            }
            Opcode::Continuation => {
                let step = if head.last { Move::End } else { Move::Continue };
                self.state = self.state.after(step).ok_or(Fault::ContinuationUnexpected)?;
                if let Some(message) = &self.message {
                    message.admit(head.size, &self.limits)?;
                }
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => self.control = Payload::EMPTY,
        }
        let left = usize::try_from(head.size).map_err(|_| Fault::FrameTooLarge)?;
        Ok(Frame { opcode: head.opcode, last: head.last, left, mask: head.mask })
    }

    /// Takes in a piece of a frame that is not its end.
    fn push(&mut self, frame: &Frame, piece: &[u8]) -> Result<(), Fault> {
        match (frame.opcode, &mut self.message) {
            (Opcode::Data(_) | Opcode::Continuation, Some(message)) => {
                message.push(piece, frame.left, frame.last, &self.limits)
            }
            (Opcode::Data(_) | Opcode::Continuation, None) => Ok(()),
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                self.control.push(piece);
                Ok(())
            }
        }
    }

    /// Takes in the end of a frame; `None` if its message goes on.
    fn end_frame(&mut self, frame: &Frame, piece: &[u8]) -> Result<Option<Event>, Fault> {
        let event = match frame.opcode {
            Opcode::Data(_) | Opcode::Continuation if frame.last => match self.message.take() {
                Some(message) => Event::Message(message.finish(piece, &self.limits)?),
                None => return Ok(None),
            },
            Opcode::Data(_) | Opcode::Continuation => {
                self.push(frame, piece)?;
                return Ok(None);
            }
            Opcode::Close => {
                self.control.push(piece);
                let reason = CloseReason::parse(&self.control)?;
                self.advance(Move::Close);
                self.message = None;
                Event::Close(reason)
            }
            Opcode::Ping => {
                self.control.push(piece);
                Event::Ping(self.control.clone())
            }
            Opcode::Pong => {
                self.control.push(piece);
                Event::Pong(self.control.clone())
            }
        };
        Ok(Some(event))
    }

    /// Ends parsing for good. Nothing that came in is kept.
    fn refuse(&mut self, fault: Fault) -> Fault {
        self.fault = Some(fault);
        self.frame = None;
        self.message = None;
        self.advance(Move::Refuse);
        fault
    }

    /// Makes a move that the state at hand allows. One that it does not would be a mistake of this file, and ends parsing.
    fn advance(&mut self, step: Move) {
        match self.state.after(step) {
            Some(state) => self.state = state,
            None => self.state.receiving = Receiving::Refused,
        }
    }

    /// Bytes of the message that is coming in.
    pub fn buffered(&self) -> usize {
        self.message.as_ref().map_or(0, Incoming::size)
    }

    /// Writes the head of a message of `size` bytes that is sent after it as it is, in one frame. For large messages that need
    /// not be copied. Like all that writes it does nothing once Close was written, and then the message must not follow either.
    pub fn write_head(&mut self, kind: MessageKind, size: usize, out: &mut Vec<u8>) {
        if !self.close_sent() {
            frame::write_head(Opcode::Data(kind), false, size, out);
        }
    }

    /// Writes a whole message in one frame, compressed if that was agreed on and makes it smaller.
    pub fn write_message(&mut self, kind: MessageKind, data: &[u8], out: &mut Vec<u8>) {
        match self.compression.window() {
            Some(window)
                if self.compresses(data.len()) && write_compressed(Opcode::Data(kind), data, window, out) => {
            }
            _ => self.write_frame(Opcode::Data(kind), data, out),
        }
    }

    /// Whether [`Socket::write_message`] would try to compress a message of this size.
    pub fn compresses(&self, size: usize) -> bool {
        self.compression.is_on() && size >= COMPRESSED_SIZE_MIN && !self.close_sent()
    }

    /// Writes a Ping with up to 125 bytes of payload; what is more is cut off.
    pub fn write_ping(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.write_control(Opcode::Ping, payload, out);
    }

    /// Writes a Pong with up to 125 bytes of payload; what is more is cut off.
    pub fn write_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.write_control(Opcode::Pong, payload, out);
    }

    /// Writes Close, after which nothing is written. A reason that is too long is cut to 123 bytes, between two characters. A
    /// code that must not be sent ([`is_close_code`]) counts as none, and a reason without a code cannot be sent.
    pub fn write_close(&mut self, code: Option<u16>, reason: &str, out: &mut Vec<u8>) {
        match code.filter(|&code| is_close_code(code)) {
            Some(code) => {
                let payload = [&code.to_be_bytes()[..], cut_reason(reason).as_bytes()].concat();
                self.write_control(Opcode::Close, &payload, out);
            }
            None => self.write_control(Opcode::Close, &[], out),
        }
        self.state = self.state.after(Move::SendClose).unwrap_or(self.state);
    }

    fn write_control(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        self.write_frame(opcode, payload.get(..CONTROL_SIZE_MAX).unwrap_or(payload), out);
    }

    fn write_frame(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        if !self.close_sent() {
            out.reserve(HEAD_SIZE_MAX + payload.len());
            frame::write_head(opcode, false, payload.len(), out);
            out.extend_from_slice(payload);
        }
    }

    /// Whether Close was written.
    pub fn close_sent(&self) -> bool {
        self.state.sending == Sending::Closed
    }

    /// Whether the peer has sent Close.
    pub fn close_received(&self) -> bool {
        self.state.receiving == Receiving::Closed
    }
}

/// Writes a compressed frame, if that makes it smaller. Otherwise nothing is written.
fn write_compressed(opcode: Opcode, data: &[u8], window: WindowBits, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    // The head of a larger frame holds its place, and is replaced when the size is known.
    frame::write_head(opcode, true, data.len(), out);
    let payload = out.len();
    if !deflate(data, window, out) {
        out.truncate(begin);
        return false;
    }
    let mut head = Vec::with_capacity(HEAD_SIZE_MAX);
    frame::write_head(opcode, true, out.len() - payload, &mut head);
    out.splice(begin..payload, head);
    true
}

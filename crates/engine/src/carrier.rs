//! What carries the bytes of a connection.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::h2::Stream;
use crate::socket::{Moved, Socket};

/// A byte stream in both directions, which never blocks.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A socket, and nothing else.
    Plain(Socket),
    /// One of many streams that share a connection.
    Stream(Arc<Stream>),
}

impl Carrier {
    /// The socket that the reactor watches for it, if it has one of its own.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Stream(_) => None,
        }
    }

    /// Whether nobody between the peer and this server can read along.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Stream(stream) => stream.is_encrypted(),
        }
    }

    /// Receives as many bytes as there are and fit: fewer only when there were no more.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive(buffer),
            Self::Stream(stream) => stream.receive(buffer),
        }
    }

    /// Receives at most `most` bytes onto the end of `buffer`.
    pub(crate) fn receive_onto(&self, buffer: &mut Vec<u8>, most: usize) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive_onto(buffer, most),
            Self::Stream(stream) => stream.receive_onto(buffer, most),
        }
    }

    /// `more` says that what follows belongs to it.
    pub(crate) fn send(&self, data: &[u8], more: bool) -> Moved {
        match self {
            Self::Plain(socket) => socket.send(data, more),
            Self::Stream(stream) => stream.send(data, more),
        }
    }

    /// Sends from the beginning of `data`, and takes off what was sent.
    pub(crate) fn send_shared(&self, data: &mut Bytes, more: bool) -> Moved {
        if let Self::Stream(stream) = self {
            return stream.send_shared(data, more);
        }
        let moved = self.send(data, more);
        if let Moved::Bytes(count) = moved {
            data.advance(count);
        }
        moved
    }

    pub(crate) fn send_vectored(&self, parts: &[IoSlice<'_>]) -> Moved {
        match self {
            Self::Plain(socket) => socket.send_vectored(parts),
            // What is sent in one frame is for it to decide: see Output::send_large.
            Self::Stream(_) => Moved::Blocked,
        }
    }

    /// Sends file bytes from `offset`, which moves with them.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize, more: bool) -> Moved {
        match self {
            Self::Plain(socket) => socket.send_file(file, offset, count),
            Self::Stream(stream) => stream.send_file(file, offset, count, more),
        }
    }

    /// All that was given to it is sent: an end that is to be said is said. Why it cannot be, if it cannot.
    pub(crate) fn conclude(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Plain(_) => None,
            Self::Stream(stream) => stream.conclude(),
        }
    }

    /// Whether the peer sends no more, or is lost, though what it has sent may not all be read.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_ended(),
            Self::Stream(stream) => stream.is_ended(),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_output(&self) {
        match self {
            Self::Plain(socket) => socket.shut_output(),
            Self::Stream(_) => {}
        }
    }

    /// Ends both directions at once, although the descriptor may live on in an exchange.
    pub(crate) fn shut(&self) {
        match self {
            Self::Plain(socket) => socket.shut(),
            Self::Stream(stream) => stream.shut(),
        }
    }
}

//! What carries the bytes of a connection.

use std::fs::File;
use std::io::IoSlice;

use crate::socket::{Moved, Socket};

/// A byte stream in both directions, which never blocks.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A socket, and nothing else.
    Plain(Socket),
}

impl Carrier {
    /// The socket that the reactor watches for it.
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
        }
    }

    /// Whether nobody between the peer and this server can read along.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Self::Plain(_) => false,
        }
    }

    /// Receives as many bytes as there are and fit: fewer only when there were no more.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive(buffer),
        }
    }

    /// Receives at most `most` bytes onto the end of `buffer`.
    pub(crate) fn receive_onto(&self, buffer: &mut Vec<u8>, most: usize) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive_onto(buffer, most),
        }
    }

    /// `more` says that what follows belongs to it.
    pub(crate) fn send(&self, data: &[u8], more: bool) -> Moved {
        match self {
            Self::Plain(socket) => socket.send(data, more),
        }
    }

    pub(crate) fn send_vectored(&self, parts: &[IoSlice<'_>]) -> Moved {
        match self {
            Self::Plain(socket) => socket.send_vectored(parts),
        }
    }

    /// Sends file bytes from `offset`, which moves with them.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> Moved {
        match self {
            Self::Plain(socket) => socket.send_file(file, offset, count),
        }
    }

    /// Whether the peer sends no more, or is lost, though what it has sent may not all be read.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_ended(),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_output(&self) {
        match self {
            Self::Plain(socket) => socket.shut_output(),
        }
    }

    /// Ends both directions at once, although the descriptor may live on in an exchange.
    pub(crate) fn shut(&self) {
        match self {
            Self::Plain(socket) => socket.shut(),
        }
    }
}

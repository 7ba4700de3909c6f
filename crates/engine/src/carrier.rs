//! What carries the bytes of a connection.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::h2::Stream;
use crate::socket::{Moved, Socket};
use crate::tls::{Handshake, TlsSession, TlsStream};

/// A byte stream in both directions, which never blocks.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A socket, and nothing else.
    Plain(Socket),
    /// A socket on which TLS is spoken.
    Tls(Box<TlsStream>),
    /// One of many streams that share a connection.
    Stream(Arc<Stream>),
}

impl Carrier {
    /// The socket that the reactor watches for it, if it has one of its own.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => Some(stream.socket()),
            Self::Stream(_) => None,
        }
    }

    /// Whether nobody between the peer and this server can read along.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
            Self::Stream(stream) => stream.tls().is_some(),
        }
    }

    /// What was agreed on with the peer, where something was.
    pub(crate) fn session(&self) -> Option<&Arc<TlsSession>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.session(),
            Self::Stream(stream) => stream.tls(),
        }
    }

    /// What has become of its handshake; none where it needs none, or needs none any more.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        match self {
            Self::Plain(_) | Self::Stream(_) => None,
            Self::Tls(stream) => Some(stream.handshake()),
        }
    }

    /// Whether bytes of the peer's can be received: a handshake may come before.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Stream(_) => true,
            Self::Tls(stream) => stream.session().is_some(),
        }
    }

    /// Whether the peer has begun with what comes before, and is not done with it.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Stream(_) => false,
            Self::Tls(stream) => stream.is_shaking_hands(),
        }
    }

    /// Receives as many bytes as there are and fit: fewer only when there were no more, or when it holds more.
    #[inline(always)]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive(buffer),
            Self::Tls(stream) => stream.receive(buffer),
            Self::Stream(stream) => stream.receive(buffer),
        }
    }

    /// Receives at most `most` bytes onto the end of `buffer`.
    pub(crate) fn receive_onto(&self, buffer: &mut Vec<u8>, most: usize) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive_onto(buffer, most),
            Self::Tls(stream) => stream.receive_onto(buffer, most),
            Self::Stream(stream) => stream.receive_onto(buffer, most),
        }
    }

    /// Whether something may be received though the socket tells of nothing.
    pub(crate) fn holds_more(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Stream(_) => false,
            Self::Tls(stream) => stream.holds_more(),
        }
    }

    /// `more` says that what follows belongs to it. What is taken may not be on its way yet: see [`Carrier::is_pending`].
    #[inline(always)]
    pub(crate) fn send(&self, data: &[u8], more: bool) -> Moved {
        match self {
            Self::Plain(socket) => socket.send(data, more),
            Self::Tls(stream) => stream.send(data, more),
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
            Self::Tls(stream) => stream.send_vectored(parts),
            // What is sent in one frame is for it to decide: see Output::send_large.
            Self::Stream(_) => Moved::Blocked,
        }
    }

    /// Sends file bytes from `offset`, which moves with them.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize, more: bool) -> Moved {
        match self {
            Self::Plain(socket) => socket.send_file(file, offset, count),
            Self::Tls(stream) => stream.send_file(file, offset, count),
            Self::Stream(stream) => stream.send_file(file, offset, count, more),
        }
    }

    /// Whether something that was taken, or that it says itself, waits for the socket to take it.
    pub(crate) fn is_pending(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Stream(_) => false,
            Self::Tls(stream) => stream.is_pending(),
        }
    }

    /// Sends that. `Bytes` when some of it was taken.
    pub(crate) fn flush(&self) -> Moved {
        match self {
            Self::Plain(_) | Self::Stream(_) => Moved::Blocked,
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// All that was given to it is sent: an end that is to be said is said. Why it cannot be, if it cannot.
    #[inline(always)]
    pub(crate) fn conclude(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Plain(_) | Self::Tls(_) => None,
            Self::Stream(stream) => stream.conclude(),
        }
    }

    /// Whether the peer sends no more, or is lost, though what it has sent may not all be read.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_ended(),
            Self::Tls(stream) => stream.socket().is_ended(),
            Self::Stream(stream) => stream.is_ended(),
        }
    }

    /// Tells the peer that nothing was cut off, where it could not know otherwise.
    pub(crate) fn say_goodbye(&self) {
        match self {
            Self::Plain(_) | Self::Stream(_) => {}
            Self::Tls(stream) => stream.say_goodbye(),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_output(&self) {
        if let Some(socket) = self.socket() {
            socket.shut_output();
        }
    }

    /// Ends both directions at once, although the descriptor may live on in an exchange.
    pub(crate) fn shut(&self) {
        match self {
            Self::Plain(socket) => socket.shut(),
            Self::Tls(stream) => stream.socket().shut(),
            Self::Stream(stream) => stream.shut(),
        }
    }
}

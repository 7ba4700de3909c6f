//! What carries the bytes of a connection.

use std::fs::File;
use std::io::IoSlice;

use crate::socket::{Moved, Socket};
use crate::tls::{Handshake, TlsSession, TlsStream};

/// A byte stream in both directions, which never blocks.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A socket, and nothing else.
    Plain(Socket),
    /// A socket on which TLS is spoken.
    Tls(Box<TlsStream>),
}

impl Carrier {
    /// The socket that the reactor watches for it.
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Whether nobody between the peer and this server can read along.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
        }
    }

    /// What was agreed on with the peer, where something was.
    pub(crate) fn session(&self) -> Option<&TlsSession> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.session(),
        }
    }

    /// What has become of its handshake; none where it needs none, or needs none any more.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.handshake()),
        }
    }

    /// Whether bytes of the peer's can be received: a handshake may come before.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.session().is_some(),
        }
    }

    /// Whether the peer has begun with what comes before, and is not done with it.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.is_shaking_hands(),
        }
    }

    /// Receives as many bytes as there are and fit: fewer only when there were no more, or when it holds more.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive(buffer),
            Self::Tls(stream) => stream.receive(buffer),
        }
    }

    /// Receives at most `most` bytes onto the end of `buffer`.
    pub(crate) fn receive_onto(&self, buffer: &mut Vec<u8>, most: usize) -> Moved {
        match self {
            Self::Plain(socket) => socket.receive_onto(buffer, most),
            Self::Tls(stream) => stream.receive_onto(buffer, most),
        }
    }

    /// Whether something may be received though the socket tells of nothing.
    pub(crate) fn holds_more(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.holds_more(),
        }
    }

    /// `more` says that what follows belongs to it. What is taken may not be on its way yet: see [`Carrier::is_pending`].
    pub(crate) fn send(&self, data: &[u8], more: bool) -> Moved {
        match self {
            Self::Plain(socket) => socket.send(data, more),
            Self::Tls(stream) => stream.send(data, more),
        }
    }

    pub(crate) fn send_vectored(&self, parts: &[IoSlice<'_>]) -> Moved {
        match self {
            Self::Plain(socket) => socket.send_vectored(parts),
            Self::Tls(stream) => stream.send_vectored(parts),
        }
    }

    /// Sends file bytes from `offset`, which moves with them.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> Moved {
        match self {
            Self::Plain(socket) => socket.send_file(file, offset, count),
            Self::Tls(stream) => stream.send_file(file, offset, count),
        }
    }

    /// Whether something that was taken, or that it says itself, waits for the socket to take it.
    pub(crate) fn is_pending(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.is_pending(),
        }
    }

    /// Sends that. `Bytes` when some of it was taken.
    pub(crate) fn flush(&self) -> Moved {
        match self {
            Self::Plain(_) => Moved::Blocked,
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Whether the peer sends no more, or is lost, though what it has sent may not all be read.
    pub(crate) fn is_ended(&self) -> bool {
        self.socket().is_ended()
    }

    /// Tells the peer that nothing was cut off, where it could not know otherwise.
    pub(crate) fn say_goodbye(&self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(stream) => stream.say_goodbye(),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_output(&self) {
        self.socket().shut_output();
    }

    /// Ends both directions at once, although the descriptor may live on in an exchange.
    pub(crate) fn shut(&self) {
        self.socket().shut();
    }
}

//! One connected byte stream, whatever carries it.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use crate::sys;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer; an IPv4 address that came in over an IPv6 socket is given as IPv4.
    Inet(SocketAddr),
    /// A process on this machine, over a unix socket: it has no address.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What one attempt to move bytes came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many bytes; never zero.
    Bytes(usize),
    /// Nothing to read, or no room, until the next wake.
    Blocked,
    /// Reading: the peer sends no more. Sending a file: it ended early.
    End,
    /// The connection is lost.
    Lost(io::ErrorKind),
}

fn moved(result: Result<usize, Errno>) -> Option<Moved> {
    match result {
        Ok(0) => Some(Moved::End),
        Ok(count) => Some(Moved::Bytes(count)),
        Err(Errno::AGAIN) => Some(Moved::Blocked),
        Err(Errno::INTR) => None,
        Err(error) => Some(Moved::Lost(io::Error::from(error).kind())),
    }
}

fn retry(mut operation: impl FnMut() -> Result<usize, Errno>) -> Moved {
    loop {
        if let Some(moved) = moved(operation()) {
            return moved;
        }
    }
}

/// A connected, non-blocking stream socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Moved {
        retry(|| rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()).map(|(count, _)| count))
    }

    /// What there is to receive, which stays there.
    pub(crate) fn peek(&self, buffer: &mut [u8]) -> Moved {
        retry(|| rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::PEEK).map(|(count, _)| count))
    }

    /// Receives at most `most` bytes onto the end of `buffer`.
    pub(crate) fn receive_onto(&self, buffer: &mut Vec<u8>, most: usize) -> Moved {
        retry(|| sys::receive_onto(&self.fd, buffer, most))
    }

    /// `more` tells TCP that what follows belongs into the same segment.
    pub(crate) fn send(&self, data: &[u8], more: bool) -> Moved {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        retry(|| rustix::net::send(&self.fd, data, flags))
    }

    pub(crate) fn send_vectored(&self, parts: &[IoSlice<'_>]) -> Moved {
        let mut control = SendAncillaryBuffer::default();
        retry(|| rustix::net::sendmsg(&self.fd, parts, &mut control, SendFlags::NOSIGNAL))
    }

    /// Sends file bytes from `offset`, which moves with them.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> Moved {
        retry(|| rustix::fs::sendfile(&self.fd, file, Some(&mut *offset), count))
    }

    /// Whether the peer sends no more, or is lost, though what it has sent may not all be read.
    pub(crate) fn is_ended(&self) -> bool {
        // POLLRDHUP, where the system has it, is set even while there is data; POLLHUP and POLLERR are always looked for.
        #[cfg(target_os = "linux")]
        let wanted = PollFlags::RDHUP;
        #[cfg(not(target_os = "linux"))]
        let wanted = PollFlags::empty();
        let mut look = [PollFd::new(&self.fd, wanted)];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut look, Some(&none)), Ok(1..)) && !look[0].revents().is_empty()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_output(&self) {
        // A peer that has gone makes this fail, and is what it would have told.
        let _ = rustix::net::shutdown(self.fd.as_fd(), Shutdown::Write);
    }

    /// Ends both directions at once, although the descriptor may live on in an exchange.
    pub(crate) fn shut(&self) {
        let _ = rustix::net::shutdown(self.fd.as_fd(), Shutdown::Both);
    }
}

//! The bytes of a connection, encrypted.
//!
//! What is received is read from the socket in large pieces, and only as much of it is decrypted as there is room for. What is sent is
//! encrypted in bounded pieces, and nothing is while the socket has not taken the piece before.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead as _, IoSlice, Read as _, Write};
use std::mem;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::ServerConnection;

use crate::socket::{Moved, Socket};

use super::certificates::Certificates;
use super::server::Tls;
use super::session::TlsSession;

/// Bytes that are read from a socket at once: those of two full records.
const READ_SIZE: usize = 33 * 1024;

/// Most reads at once: a peer can fill them with records that have nothing in them.
const READS_MAX: usize = 16;

/// Most bytes that are encrypted before the socket is asked to take them.
const PIECE_MAX: usize = 64 * 1024;

/// The first byte of a record with a handshake in it (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What a client is told that speaks HTTP in plain text.
const PLAIN_TEXT: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 56\r\n\
                          Connection: close\r\n\r\nThis port speaks HTTPS, and not HTTP: ask for https://.\n";

thread_local! {
    /// What sockets are read into, and files: once per thread instead of once per connection.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch<T>(size: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < size {
            scratch.resize(size, 0);
        }
        work(&mut scratch[..size])
    })
}

/// What has become of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// It is over, and was a whole one.
    Full,
    /// It is over, and was spared most of it.
    Resumed,
    /// It has failed.
    Failed,
    /// More is to come.
    Unfinished,
}

/// What has become of ciphertext that waited.
enum Flushed {
    /// The kernel has all of it; whether there was any.
    All {
        progress: bool,
    },
    /// The socket is full.
    Blocked {
        progress: bool,
    },
    Lost(io::ErrorKind),
}

#[derive(Debug)]
struct State {
    tls: ServerConnection,
    /// What was read from the socket and is not decrypted yet, as there was no room.
    backlog: Vec<u8>,
    /// The socket may hold more than was read from it.
    is_wet: bool,
    /// A byte has come.
    began: bool,
    /// Nothing more will come.
    ended: bool,
    /// The peer has broken the protocol, or speaks another one.
    failed: bool,
}

/// A socket on which TLS is spoken.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: Socket,
    certificates: Arc<Certificates>,
    session: OnceLock<Arc<TlsSession>>,
    state: Mutex<State>,
}

impl TlsStream {
    pub(crate) fn new(socket: Socket, tls: &Tls) -> io::Result<Self> {
        let (tls, certificates) = tls.connect()?;
        let state =
            State { tls, backlog: Vec::new(), is_wet: true, began: false, ended: false, failed: false };
        Ok(Self { socket, certificates, session: OnceLock::new(), state: Mutex::new(state) })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What was agreed on, once it is.
    pub(crate) fn session(&self) -> Option<&Arc<TlsSession>> {
        self.session.get()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has become of the handshake.
    pub(crate) fn handshake(&self) -> Handshake {
        match self.session.get() {
            Some(session) if session.is_resumed => Handshake::Resumed,
            Some(_) => Handshake::Full,
            None => {
                let state = self.lock();
                // One that has said nothing at all has looked whether anybody listens.
                let is_over = state.failed || state.began && state.ended;
                if is_over { Handshake::Failed } else { Handshake::Unfinished }
            }
        }
    }

    /// Whether the peer is in the middle of its handshake.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.session.get().is_none() && self.lock().began
    }

    /// Whether there may be something to receive though the socket is not said to have anything.
    pub(crate) fn holds_more(&self) -> bool {
        let state = self.lock();
        state.is_wet || state.ended || state.failed || !state.backlog.is_empty() || !state.tls.wants_read()
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Moved {
        let mut filled = 0;
        let end = self.take_in(|state| {
            let read = state.tls.reader().read(&mut buffer[filled..]);
            filled += read.unwrap_or(0);
            filled == buffer.len()
        });
        end.filter(|_| filled == 0).unwrap_or(Moved::Bytes(filled))
    }

    /// Receives at most `most` bytes onto the end of `buffer`.
    pub(crate) fn receive_onto(&self, buffer: &mut Vec<u8>, most: usize) -> Moved {
        let before = buffer.len();
        let end = self.take_in(|state| {
            let mut reader = state.tls.reader();
            while let Ok(chunk) = reader.fill_buf() {
                let count = chunk.len().min(before + most - buffer.len());
                buffer.extend_from_slice(&chunk[..count]);
                reader.consume(count);
                if count == 0 {
                    break;
                }
            }
            buffer.len() == before + most
        });
        end.filter(|_| buffer.len() == before).unwrap_or(Moved::Bytes(buffer.len() - before))
    }

    /// Decrypts what there is, and has `take` take it, until that says that it has enough or nothing more is in. Says what stands in
    /// the way then; that holds where nothing was taken.
    fn take_in(&self, mut take: impl FnMut(&mut State) -> bool) -> Option<Moved> {
        let mut state = self.lock();
        for _ in 0..READS_MAX {
            if take(&mut state) {
                return None;
            }
            if state.failed {
                return Some(Moved::Lost(io::ErrorKind::InvalidData));
            }
            if !state.backlog.is_empty() {
                let backlog = mem::take(&mut state.backlog);
                if let Some(lost) = self.decrypt(&mut state, &backlog, &mut take) {
                    return Some(lost);
                }
                continue;
            }
            if state.ended {
                return Some(Moved::End);
            }
            let read = with_scratch(READ_SIZE, |scratch| {
                let moved = self.socket.receive(scratch);
                let Moved::Bytes(count) = moved else { return Err(moved) };
                state.is_wet = count == scratch.len();
                let received = &scratch[..count];
                if !mem::replace(&mut state.began, true) {
                    if received[0] != HANDSHAKE_RECORD {
                        return Err(self.refuse(&mut state, received));
                    }
                    // Who sends no more before it has had an answer cannot finish its handshake: no arithmetic for that.
                    if self.socket.is_ended() {
                        return Err(Moved::End);
                    }
                }
                Ok(self.decrypt(&mut state, received, &mut take))
            });
            match read {
                Ok(None) if state.is_wet || state.ended || !state.backlog.is_empty() => {}
                // A short read has emptied the socket: what comes later makes a wake of its own.
                Ok(None) => {
                    take(&mut state);
                    return Some(Moved::Blocked);
                }
                Ok(lost) => return lost,
                Err(Moved::Blocked) => {
                    state.is_wet = false;
                    return Some(Moved::Blocked);
                }
                Err(Moved::End) => {
                    state.is_wet = false;
                    state.ended = true;
                    return Some(Moved::End);
                }
                Err(moved) => return Some(moved),
            }
        }
        // Should nothing have come of all that, nothing will.
        Some(Moved::Lost(io::ErrorKind::InvalidData))
    }

    /// Decrypts what was received, as far as there is room for it; the rest is kept. Says if the connection is lost by that.
    fn decrypt(
        &self,
        state: &mut State,
        mut received: &[u8],
        take: &mut impl FnMut(&mut State) -> bool,
    ) -> Option<Moved> {
        let mut enough = false;
        while !received.is_empty() && !enough && !state.ended {
            // It takes some at a time, and none once the peer has said that no more comes.
            match state.tls.read_tls(&mut received) {
                Ok(1..) => {}
                Ok(0) => break,
                Err(error) => return Some(self.fail(state, &error)),
            }
            match state.tls.process_new_packets() {
                Ok(io_state) => state.ended = io_state.peer_has_closed(),
                Err(error) => return Some(self.fail(state, &error)),
            }
            if self.session.get().is_none() && !state.tls.is_handshaking() {
                let _ = self.session.set(Arc::new(TlsSession::of(&state.tls, self.certificates.clone())));
            }
            enough = take(state);
        }
        if !state.ended {
            state.backlog.extend_from_slice(received);
        }
        // The server's part of a handshake, an answer to a new key: what is not taken now goes out with the next wake.
        match self.write(state, false) {
            Flushed::Lost(kind) => Some(Moved::Lost(kind)),
            Flushed::All { .. } | Flushed::Blocked { .. } => None,
        }
    }

    /// The peer has broken the protocol: it is told so, if that can be sent.
    fn fail(&self, state: &mut State, error: &dyn std::error::Error) -> Moved {
        log::debug!("TLS has failed: {error}");
        state.failed = true;
        self.write(state, false);
        Moved::Lost(io::ErrorKind::InvalidData)
    }

    /// The peer does not speak TLS.
    fn refuse(&self, state: &mut State, received: &[u8]) -> Moved {
        state.failed = true;
        if received[0].is_ascii_uppercase() {
            log::debug!("a request came in plain text");
            self.socket.send(PLAIN_TEXT.as_bytes(), false);
            self.socket.shut_output();
        }
        Moved::End
    }

    pub(crate) fn send(&self, data: &[u8], more: bool) -> Moved {
        self.send_vectored_more(&[IoSlice::new(data)], more)
    }

    pub(crate) fn send_vectored(&self, parts: &[IoSlice<'_>]) -> Moved {
        self.send_vectored_more(parts, false)
    }

    fn send_vectored_more(&self, parts: &[IoSlice<'_>], more: bool) -> Moved {
        let mut state = self.lock();
        self.send_with(&mut state, more, |tls| tls.writer().write_vectored(parts))
    }

    /// Sends file bytes from `offset`, which moves with them.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> Moved {
        let mut state = self.lock();
        let moved = with_scratch(PIECE_MAX, |scratch| {
            self.send_with(&mut state, false, |tls| {
                let piece = &mut scratch[..count.min(PIECE_MAX)];
                let count = loop {
                    match file.read_at(piece, *offset) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => break read?,
                    }
                };
                if count == 0 { Ok(0) } else { tls.writer().write(&piece[..count]) }
            })
        });
        if let Moved::Bytes(count) = moved {
            *offset += count as u64;
        }
        moved
    }

    /// Has a piece encrypted, once nothing waits any more that was encrypted before.
    fn send_with(
        &self,
        state: &mut State,
        more: bool,
        encrypt: impl FnOnce(&mut ServerConnection) -> io::Result<usize>,
    ) -> Moved {
        if self.session.get().is_none() || state.failed {
            return Moved::Lost(io::ErrorKind::NotConnected);
        }
        match self.write(state, false) {
            Flushed::All { .. } => {}
            Flushed::Blocked { .. } => return Moved::Blocked,
            Flushed::Lost(kind) => return Moved::Lost(kind),
        }
        let count = match encrypt(&mut state.tls) {
            Ok(0) => return Moved::End,
            Ok(count) => count,
            Err(error) => return Moved::Lost(error.kind()),
        };
        match self.write(state, more) {
            Flushed::Lost(kind) => Moved::Lost(kind),
            Flushed::All { .. } | Flushed::Blocked { .. } => Moved::Bytes(count),
        }
    }

    /// Whether there is ciphertext that the kernel has not taken.
    pub(crate) fn is_pending(&self) -> bool {
        self.lock().tls.wants_write()
    }

    /// Sends what waits of that. `Bytes`: some of it was taken, and all of it if none is pending now.
    pub(crate) fn flush(&self) -> Moved {
        match self.write(&mut self.lock(), false) {
            Flushed::All { progress: true } | Flushed::Blocked { progress: true } => Moved::Bytes(1),
            Flushed::All { progress: false } | Flushed::Blocked { progress: false } => Moved::Blocked,
            Flushed::Lost(kind) => Moved::Lost(kind),
        }
    }

    fn write(&self, state: &mut State, more: bool) -> Flushed {
        let mut progress = false;
        while state.tls.wants_write() {
            let mut out = Out { socket: &self.socket, more };
            match state.tls.write_tls(&mut out) {
                Ok(_) => progress = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Flushed::Blocked { progress };
                }
                Err(error) => return Flushed::Lost(error.kind()),
            }
        }
        Flushed::All { progress }
    }

    /// Tells the peer that all that was to be sent is sent, and no more of it was cut off (RFC 8446 section 6.1).
    pub(crate) fn say_goodbye(&self) {
        let mut state = self.lock();
        if self.session.get().is_some() && !state.failed {
            state.tls.send_close_notify();
            self.write(&mut state, false);
        }
    }
}

/// The socket, as what encrypts writes to it.
struct Out<'a> {
    socket: &'a Socket,
    more: bool,
}

fn written(moved: Moved) -> io::Result<usize> {
    match moved {
        Moved::Bytes(count) => Ok(count),
        Moved::Blocked | Moved::End => Err(io::ErrorKind::WouldBlock.into()),
        Moved::Lost(kind) => Err(kind.into()),
    }
}

impl Write for Out<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        written(self.socket.send(data, self.more))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [only] => self.write(only),
            parts => written(self.socket.send_vectored(parts)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

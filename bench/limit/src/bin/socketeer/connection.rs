//! One WebSocket: the opening handshake, then a message out and its echo in, again and again.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::frame::{self, Piece, Reader};
use crate::script::Script;

/// The key of RFC 6455, section 1.3, and what a server makes of it; a fixed one spares us SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A response's head that is longer than this is none.
const HEAD_SIZE_MAX: usize = 16 * 1024;

/// Of what a pong is masked with, see `script.rs`.
const CONTROL_KEY: [u8; 4] = [0x54, 0x69, 0x64, 0x65];

pub struct Connection {
    /// Decides, with the count of those sent, which message is next.
    number: usize,
    socket: OwnedFd,
    state: State,
    reader: Reader,
    /// Messages whose echo has come.
    echoed: usize,
    /// Of the message at hand: since when it is out, bytes sent, and bytes of the echo, which were right.
    since: Option<Instant>,
    sent: usize,
    received: usize,
    /// Since when the message was out whose echo has just come.
    answered: Option<Instant>,
    pong: Vec<u8>,
    pong_sent: usize,
}

enum State {
    /// The request and how much of it is out, and what has come of the response.
    Opening {
        request: Vec<u8>,
        sent: usize,
        head: Vec<u8>,
    },
    Open,
}

/// What a wake has come to: both, when a server echoes and then leaves.
pub struct Outcome {
    /// The echo is there, of a message that was sent then.
    pub echo: Option<Instant>,
    /// The connection is of no more use.
    pub failure: Option<Failure>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The socket failed or ended, or the server closed the WebSocket.
    Gone,
    /// The server did not open a WebSocket.
    Refused,
    /// What came back was not what was sent, or no frame that a server may send.
    Wrong,
}

impl Connection {
    /// Starts to connect; the wakes that follow open the WebSocket and send the first message.
    pub fn new(port: u16, number: usize, epoll: &OwnedFd) -> Result<Self, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        // Edge-triggered, and for writing once and for all: one wake when the connection is made.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(epoll, &socket, epoll::EventData::new_u64(number as u64), flags)?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
        Ok(Self {
            number,
            socket,
            state: State::Opening { request, sent: 0, head: Vec::new() },
            reader: Reader::default(),
            echoed: 0,
            since: None,
            sent: 0,
            received: 0,
            answered: None,
            pong: Vec::new(),
            pong_sent: 0,
        })
    }

    /// Sends the next message.
    pub fn send(&mut self, script: &Script) -> Outcome {
        self.since = Some(Instant::now());
        Outcome { echo: None, failure: self.write(script).err() }
    }

    /// Goes on after a wake, as far as it goes.
    pub fn ready(&mut self, script: &Script, buffer: &mut [u8]) -> Outcome {
        let failure = self.step(script, buffer).err();
        Outcome { echo: self.answered.take(), failure }
    }

    /// Whether an echo is waited for, be it that the message is not out yet.
    pub fn waits(&self) -> bool {
        self.since.is_some() || matches!(self.state, State::Opening { .. })
    }

    /// Says goodbye, without waiting for the answer.
    pub fn close(&self) {
        let status = 1000_u16.to_be_bytes();
        // Nobody is left to tell that it failed.
        let _ = rustix::io::write(&self.socket, &frame::masked(frame::CLOSE, &status, CONTROL_KEY));
    }

    fn step(&mut self, script: &Script, buffer: &mut [u8]) -> Result<(), Failure> {
        self.write(script)?;
        loop {
            let size = match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(0) => return Err(self.end()),
                Ok(size) => size,
                // While the connection is being made, too.
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(_) => return Err(self.end()),
            };
            self.take(script, &buffer[..size])?;
            // A short read emptied the socket: what comes later makes a new edge (epoll(7), question 9).
            if size < buffer.len() {
                return Ok(());
            }
        }
    }

    /// What the end of the socket means.
    fn end(&self) -> Failure {
        if matches!(self.state, State::Open) { Failure::Gone } else { Failure::Refused }
    }

    fn take(&mut self, script: &Script, mut input: &[u8]) -> Result<(), Failure> {
        if let State::Opening { head, .. } = &mut self.state {
            let before = head.len();
            head.extend_from_slice(input);
            let Some(size) = head.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4) else {
                return if head.len() > HEAD_SIZE_MAX { Err(Failure::Refused) } else { Ok(()) };
            };
            if !accepts(&head[..size]) {
                return Err(Failure::Refused);
            }
            input = &input[size - before..];
            self.state = State::Open;
            self.since = Some(Instant::now());
            self.write(script)?;
        }
        while let Some(piece) = self.reader.next(&mut input).map_err(|_| Failure::Wrong)? {
            match piece {
                Piece::Payload(bytes) => {
                    let expected = &script.message(self.number, self.echoed).payload;
                    let end = self.received + bytes.len();
                    if expected.get(self.received..end) != Some(bytes) {
                        return Err(Failure::Wrong);
                    }
                    self.received = end;
                }
                Piece::End(opcode) => {
                    let whole = self.received == script.message(self.number, self.echoed).payload.len();
                    // Only a message that is out has an echo.
                    let right = whole && opcode == script.opcode && self.since.is_some();
                    if !right {
                        return Err(Failure::Wrong);
                    }
                    self.answered = self.since.take();
                    self.echoed += 1;
                    (self.sent, self.received) = (0, 0);
                }
                Piece::Ping(payload) => {
                    // Of several that wait, the last may stand for all (section 5.5.3).
                    if self.pong_sent == 0 {
                        self.pong = frame::masked(frame::PONG, &payload, CONTROL_KEY);
                    }
                    self.write(script)?;
                }
                Piece::Close => return Err(Failure::Gone),
            }
        }
        Ok(())
    }

    /// Writes what there is to write: the request, or the rest of a pong, the message at hand, and then a pong.
    fn write(&mut self, script: &Script) -> Result<(), Failure> {
        if let State::Opening { request, sent, .. } = &mut self.state {
            return write_rest(&self.socket, request, sent).map(drop).map_err(|_| Failure::Refused);
        }
        if self.pong_sent > 0 && !self.write_pong()? {
            return Ok(());
        }
        if self.since.is_some() {
            let frame = &script.message(self.number, self.echoed).frame;
            if !write_rest(&self.socket, frame, &mut self.sent)? {
                return Ok(());
            }
        }
        self.write_pong().map(drop)
    }

    fn write_pong(&mut self) -> Result<bool, Failure> {
        let done = write_rest(&self.socket, &self.pong, &mut self.pong_sent)?;
        if done {
            self.pong.clear();
            self.pong_sent = 0;
        }
        Ok(done)
    }
}

/// Writes as much as there is room for; returns whether that was all.
fn write_rest(socket: &OwnedFd, bytes: &[u8], sent: &mut usize) -> Result<bool, Failure> {
    while *sent < bytes.len() {
        match rustix::io::write(socket, &bytes[*sent..]) {
            Ok(size) => *sent += size,
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(_) => return Err(Failure::Gone),
        }
    }
    Ok(true)
}

/// Whether the response opens a WebSocket (section 4.1).
fn accepts(head: &[u8]) -> bool {
    let Ok(head) = std::str::from_utf8(head) else { return false };
    let value = |name: &str| {
        head.split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    head.starts_with("HTTP/1.1 101")
        && value("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        && value("sec-websocket-accept") == Some(ACCEPT)
}

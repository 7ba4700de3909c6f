//! One connection of the crowd: a request out, its response in, again.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::plan::Plan;
use crate::report::Answer;

/// What one `read` takes; the responses of these loads are a few hundred bytes.
const READ_SIZE: usize = 4 * 1024;

/// A response's head that is longer than this is none.
const HEAD_SIZE_MAX: usize = 64 * 1024;

/// How a request ended.
pub struct Outcome {
    pub path: usize,
    pub arrived: Duration,
    pub answer: Answer,
}

pub struct Connection {
    port: u16,
    socket: Option<OwnedFd>,
    flight: Option<Flight>,
    /// What has come of the response.
    input: Vec<u8>,
    /// The socket was there before the request. Only then may a close in place of the response be the server's timeout
    /// for idle connections, which crossed the request.
    used: bool,
}

struct Flight {
    path: usize,
    arrived: Duration,
    sent: usize,
}

/// Where the body of a response ends (RFC 9112, section 6.3, without chunks, which no server here sends).
enum End {
    At(usize),
    WithTheConnection,
}

/// A whole response.
struct Response {
    status: u16,
    closes: bool,
}

/// The response is none that this client understands.
struct NotHttp;

impl Connection {
    pub fn new(port: u16) -> Self {
        Self { port, socket: None, flight: None, input: Vec::new(), used: false }
    }

    /// Connects without a request.
    pub fn open(&mut self, epoll: &OwnedFd, index: usize) {
        // What fails here fails again with the request, which tells it.
        self.socket = connect(self.port, epoll, index).ok();
        self.used = true;
    }

    /// Starts a request; returns its end if that is known at once.
    pub fn send(
        &mut self,
        epoll: &OwnedFd,
        index: usize,
        plan: &Plan,
        path: usize,
        arrived: Duration,
    ) -> Option<Outcome> {
        self.flight = Some(Flight { path, arrived, sent: 0 });
        self.ready(epoll, index, plan)
    }

    /// Goes on after a wake; returns the end of the request when it has come.
    pub fn ready(&mut self, epoll: &OwnedFd, index: usize, plan: &Plan) -> Option<Outcome> {
        loop {
            match self.step(epoll, index, plan) {
                Ok(None) => return None,
                Ok(Some(response)) => {
                    self.input.clear();
                    self.used = true;
                    if response.closes {
                        self.socket = None;
                    }
                    return self.end(Answer::Status(response.status));
                }
                Err(again) => {
                    self.socket = None;
                    if !again {
                        return self.end(Answer::Failed);
                    }
                    // What was idle may be closed, and is opened when it is wanted.
                    let flight = self.flight.as_mut()?;
                    flight.sent = 0;
                }
            }
        }
    }

    /// Drops what is in flight; returns its path and arrival.
    pub fn abandon(&mut self) -> Option<(usize, Duration)> {
        self.flight.take().map(|flight| (flight.path, flight.arrived))
    }

    fn end(&mut self, answer: Answer) -> Option<Outcome> {
        let flight = self.flight.take()?;
        self.input.clear();
        Some(Outcome { path: flight.path, arrived: flight.arrived, answer })
    }

    /// Writes and reads as far as it goes. The error says whether the request may be sent again on a new socket.
    fn step(&mut self, epoll: &OwnedFd, index: usize, plan: &Plan) -> Result<Option<Response>, bool> {
        if self.socket.is_none() {
            if self.flight.is_none() {
                return Ok(None);
            }
            self.used = false;
            self.socket = Some(connect(self.port, epoll, index).map_err(|_| false)?);
        }
        let Some(socket) = &self.socket else { return Ok(None) };
        let again = self.used && self.input.is_empty();
        if let Some(flight) = &mut self.flight {
            let request = &plan.paths[flight.path].request;
            while flight.sent < request.len() {
                match rustix::io::write(socket, &request[flight.sent..]) {
                    Ok(size) => flight.sent += size,
                    // While the connection is being made, too; it wakes us.
                    Err(Errno::AGAIN) => return Ok(None),
                    Err(Errno::INTR) => {}
                    Err(_) => return Err(again),
                }
            }
        }
        let mut block = [0; READ_SIZE];
        loop {
            match rustix::io::read(socket, &mut block) {
                Ok(0) => {
                    return match whole(&self.input, true) {
                        Ok(Some(response)) => Ok(Some(response)),
                        _ => Err(self.flight.is_none() || again),
                    };
                }
                Ok(size) => self.input.extend_from_slice(&block[..size]),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(_) => return Err(self.flight.is_none() || again),
            }
            if let Some(response) = whole(&self.input, false).map_err(|NotHttp| false)? {
                return Ok(Some(response));
            }
        }
    }
}

fn connect(port: u16, epoll: &OwnedFd, index: usize) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error),
    }
    // Edge-triggered, and for writing once and for all: one wake when the connection is made.
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(epoll, &socket, epoll::EventData::new_u64(index as u64), flags)?;
    Ok(socket)
}

/// Reads a response, if it is all there.
fn whole(input: &[u8], closed: bool) -> Result<Option<Response>, NotHttp> {
    let Some(head_size) = input.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
        return if input.len() > HEAD_SIZE_MAX { Err(NotHttp) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&input[..head_size]).map_err(|_| NotHttp)?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or(NotHttp)?;
    let mut closes = status_line.starts_with("HTTP/1.0");
    let mut end = End::WithTheConnection;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            end = End::At(head_size + value.parse::<usize>().map_err(|_| NotHttp)?);
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(NotHttp);
        }
    }
    Ok(match end {
        End::At(size) if input.len() >= size => Some(Response { status, closes }),
        End::WithTheConnection if closed => Some(Response { status, closes: true }),
        _ => None,
    })
}

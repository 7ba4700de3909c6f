//! The limit: what answering costs when a server does nothing but move bytes.
//!
//! One thread waits in edge-triggered epoll. For each readable connection it does one `read` and one `write` of a
//! fixed response. It parses nothing, so it is no HTTP server: it answers whatever arrives, and it is right only for
//! a client that waits for each response before it sends the next request, as `wrk` does.
//!
//! `limit PORT [BODY_SIZE [REQUEST_SIZE]]`: the response carries `BODY_SIZE` bytes (13 by default). With `REQUEST_SIZE`
//! it answers once per that many bytes received, which stands in for parsing when requests are larger than one
//! read; the client must then send requests of exactly that size.

use std::env;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// One turn's worth of wakes; more than the connections of any load, so that one `epoll_wait` takes them all.
const WAKES_PER_TURN: usize = 1024;

/// What one `read` takes: the size that servers use, larger than any request head.
const READ_SIZE: usize = 64 * 1024;

/// The marker of the listening socket among the wakes; a descriptor number never reaches it.
const LISTENER: u64 = u64::MAX;

/// What each connection is answered, and how many bytes make one request.
struct Plan {
    response: Vec<u8>,
    /// `None`: whatever one read brings is one request.
    request_size: Option<usize>,
}

/// One client.
struct Connection {
    socket: OwnedFd,
    /// Bytes received of the present request; counted only when the plan has a request size.
    received: usize,
    /// Bytes of the response that did not fit into the socket's buffer and wait for room.
    unsent: usize,
}

/// Whether a connection lives on.
#[derive(PartialEq)]
enum Fate {
    Open,
    Closed,
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).map(|text| text.parse::<usize>());
    let (Some(Ok(port)), body_size, request_size) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return usage();
    };
    let (Ok(port), Ok(body_size), Ok(request_size)) =
        (u16::try_from(port), body_size.transpose(), request_size.transpose())
    else {
        return usage();
    };
    let plan = Plan { response: response(body_size.unwrap_or(13)), request_size };
    match serve(port, &plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: limit PORT [BODY_SIZE [REQUEST_SIZE]]");
    ExitCode::from(2)
}

/// The response, with the fields that a WSGI server's answer to the same load has, so that both write as many bytes.
fn response(body_size: usize) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body_size}\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: limit\r\n\r\n"
    )
    .into_bytes();
    if body_size == 13 {
        bytes.extend_from_slice(b"Hello, World!");
    } else {
        bytes.resize(bytes.len() + body_size, b'x');
    }
    bytes
}

fn serve(port: u16, plan: &Plan) -> io::Result<()> {
    let listener = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    // An accepted socket inherits this, which saves one call for each connection.
    sockopt::set_tcp_nodelay(&listener, true)?;
    rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    rustix::net::listen(&listener, 4096)?;

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;

    // The index is the descriptor's number: the kernel hands out the lowest free one, so the table stays dense.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut wakes: Vec<epoll::Event> = Vec::with_capacity(WAKES_PER_TURN);
    let mut input = [MaybeUninit::<u8>::uninit(); READ_SIZE];
    loop {
        wakes.clear();
        match epoll::wait(&epoll, spare_capacity(&mut wakes), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for wake in &wakes {
            let token = wake.data.u64();
            if token == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            let Some(slot) = usize::try_from(token).ok().and_then(|index| connections.get_mut(index)) else {
                continue;
            };
            let Some(connection) = slot else { continue };
            if connection.ready(wake.flags, plan, &mut input) == Fate::Closed {
                *slot = None;
            }
        }
    }
}

/// Takes every waiting client. Level-triggered, so that stopping at an error loses none.
fn accept(listener: &OwnedFd, epoll: &OwnedFd, connections: &mut Vec<Option<Connection>>) -> io::Result<()> {
    loop {
        let socket = match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(error) => return Err(error.into()),
        };
        let Ok(index) = usize::try_from(socket.as_raw_fd()) else { continue };
        // Room to write is asked for from the start: under edge-triggering it costs one wake when the connection is
        // added, and saves a call whenever a response does not fit.
        epoll::add(
            epoll,
            &socket,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET,
        )?;
        if connections.len() <= index {
            connections.resize_with(index + 1, || None);
        }
        connections[index] = Some(Connection { socket, received: 0, unsent: 0 });
    }
}

impl Connection {
    fn ready(&mut self, flags: epoll::EventFlags, plan: &Plan, input: &mut [MaybeUninit<u8>]) -> Fate {
        if self.unsent > 0 && flags.contains(epoll::EventFlags::OUT) && self.send(plan) == Fate::Closed {
            return Fate::Closed;
        }
        if flags.contains(epoll::EventFlags::IN) { self.receive(plan, input) } else { Fate::Open }
    }

    fn receive(&mut self, plan: &Plan, input: &mut [MaybeUninit<u8>]) -> Fate {
        loop {
            let size = match rustix::io::read(&self.socket, &mut *input) {
                Ok((bytes, _)) if !bytes.is_empty() => bytes.len(),
                Ok(_) => return Fate::Closed,
                Err(Errno::AGAIN) => return Fate::Open,
                Err(Errno::INTR) => continue,
                Err(_) => return Fate::Closed,
            };
            let whole = match plan.request_size {
                None => true,
                Some(request_size) => {
                    self.received += size;
                    let whole = self.received >= request_size;
                    if whole {
                        self.received -= request_size;
                    }
                    whole
                }
            };
            if whole {
                self.unsent += plan.response.len();
                if self.send(plan) == Fate::Closed {
                    return Fate::Closed;
                }
            }
            // A short read emptied the socket: asking again would only cost a call, and what comes later makes a new
            // edge (epoll(7), question 9).
            if size < input.len() {
                return Fate::Open;
            }
        }
    }

    fn send(&mut self, plan: &Plan) -> Fate {
        while self.unsent > 0 {
            // What waits is a tail of the response, because a client sends nothing more until it has all of it.
            let Some(start) = plan.response.len().checked_sub(self.unsent) else { return Fate::Closed };
            match rustix::io::write(&self.socket, &plan.response[start..]) {
                Ok(size) => self.unsent -= size,
                Err(Errno::AGAIN) => return Fate::Open,
                Err(Errno::INTR) => {}
                Err(_) => return Fate::Closed,
            }
        }
        Fate::Open
    }
}

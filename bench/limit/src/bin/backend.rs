//! The service that applications wait for: answers any number of requests, each after the time that its path says.
//!
//! `backend PORT`: `GET /50` is answered with 13 bytes after 50 milliseconds. One thread, epoll and a heap of what is
//! due, so that whatever a load that goes through it shows is the server's and not the backend's. It parses
//! just that much, and is right only for clients that send a request after the response to the one before.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

const WAKES_PER_TURN: usize = 1024;

const READ_SIZE: usize = 16 * 1024;

/// A request that is longer than this is none of ours.
const REQUEST_SIZE_MAX: usize = 64 * 1024;

/// The marker of the listening socket among the wakes; a descriptor number never reaches it.
const LISTENER: u64 = u64::MAX;

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

struct Client {
    socket: OwnedFd,
    input: Vec<u8>,
    /// Tells this client from earlier ones that had the same descriptor, for which something may still be due.
    number: u64,
}

/// When, at which index, and to which client something is to be answered.
type Due = Reverse<(Instant, usize, u64)>;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(Ok(port)), None) = (arguments.next().map(|text| text.parse::<u16>()), arguments.next()) else {
        eprintln!("usage: backend PORT");
        return ExitCode::from(2);
    };
    match Backend::new(port).and_then(|mut backend| backend.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backend: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Backend {
    listener: OwnedFd,
    epoll: OwnedFd,
    /// The index is the descriptor's number.
    clients: Vec<Option<Client>>,
    due: BinaryHeap<Due>,
    accepted: u64,
}

impl Backend {
    fn new(port: u16) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // An accepted socket inherits this.
        sockopt::set_tcp_nodelay(&listener, true)?;
        rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        rustix::net::listen(&listener, 4096)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Self { listener, epoll, clients: Vec::new(), due: BinaryHeap::new(), accepted: 0 })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut wakes: Vec<epoll::Event> = Vec::with_capacity(WAKES_PER_TURN);
        loop {
            let wait = match self.answer_due() {
                Some(wait) => Some(Timespec::try_from(wait).map_err(io::Error::other)?),
                None => None,
            };
            wakes.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut wakes), wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for wake in &wakes {
                let token = wake.data.u64();
                if token == LISTENER {
                    self.accept()?;
                } else if let Ok(index) = usize::try_from(token) {
                    self.receive(index);
                }
            }
        }
    }

    /// Answers everything that is due; returns how long the next one has time.
    fn answer_due(&mut self) -> Option<Duration> {
        loop {
            let Reverse((when, index, number)) = *self.due.peek()?;
            let wait = when.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Some(wait);
            }
            self.due.pop();
            let Some(slot) = self.clients.get_mut(index) else { continue };
            let Some(client) = slot.as_ref().filter(|client| client.number == number) else { continue };
            // A client that waits for this response has room for a hundred bytes.
            if rustix::io::write(&client.socket, RESPONSE) != Ok(RESPONSE.len()) {
                *slot = None;
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let Ok(index) = usize::try_from(socket.as_raw_fd()) else { continue };
            epoll::add(
                &self.epoll,
                &socket,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN | epoll::EventFlags::ET,
            )?;
            if self.clients.len() <= index {
                self.clients.resize_with(index + 1, || None);
            }
            self.accepted += 1;
            self.clients[index] = Some(Client { socket, input: Vec::new(), number: self.accepted });
        }
    }

    fn receive(&mut self, index: usize) {
        let Some(slot) = self.clients.get_mut(index) else { return };
        let Some(client) = slot else { return };
        let mut block = [0; READ_SIZE];
        loop {
            match rustix::io::read(&client.socket, &mut block) {
                Ok(size) if size > 0 && client.input.len() < REQUEST_SIZE_MAX => {
                    client.input.extend_from_slice(&block[..size]);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => {
                    *slot = None;
                    return;
                }
            }
        }
        if !client.input.ends_with(b"\r\n\r\n") {
            return;
        }
        let Some(delay) = delay(&client.input) else {
            *slot = None;
            return;
        };
        client.input.clear();
        self.due.push(Reverse((Instant::now() + delay, index, client.number)));
    }
}

/// Reads the milliseconds out of `GET /50 HTTP/1.1`.
fn delay(request: &[u8]) -> Option<Duration> {
    let line = std::str::from_utf8(request).ok()?.split("\r\n").next()?;
    let path = line.split(' ').nth(1)?;
    Some(Duration::from_millis(u64::from(path.strip_prefix('/')?.parse::<u32>().ok()?)))
}

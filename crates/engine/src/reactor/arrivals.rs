//! Who comes and goes: connections that are accepted, streams that are opened on them, and both when they are over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::{LISTENER_TOP, NOBODY, Reactor, Work};
use crate::carrier::Carrier;
use crate::clock::{Millis, NEVER};
use crate::connection::Connection;
use crate::h2::Opened;
use crate::listener::{Accepted, Caller, Scheme};
use crate::record::Gauge;
use crate::socket::Socket;
use crate::timer::Timers;
use crate::tls::TlsStream;

/// Connections accepted from one listener in one round.
const ACCEPTS_MAX: usize = 512;

/// When a worker looks again for a connection that it has left to another one, at the least; timers are coarse.
const PASSED_ON_MS: Millis = 50;

/// First and longest pause after the system ran out of descriptors or memory.
const BACKOFF_FIRST_MS: Millis = 100;
const BACKOFF_MAX_MS: Millis = 1_000;

/// How far a round has come with accepting.
#[derive(Debug)]
pub(crate) struct Accepting {
    listener: usize,
    /// Connections accepted from that one.
    count: usize,
    /// The next connection is taken, whoever else could.
    takes_next: bool,
}

impl Reactor {
    pub(super) fn watch_listeners(&self) -> io::Result<()> {
        for (index, listener) in self.listeners.iter().enumerate() {
            let token = Token(LISTENER_TOP - index);
            #[cfg(target_os = "linux")]
            if self.shared.settings.seat.is_some() {
                crate::sys::watch_shared(&self.poll, listener.raw(), token.0)?;
                continue;
            }
            self.poll.registry().register(&mut SourceFd(&listener.raw()), token, Interest::READABLE)?;
        }
        Ok(())
    }

    pub(super) fn show_connections(&self) {
        if let Some(seat) = &self.shared.settings.seat {
            seat.set_connections(self.open());
        }
        if let Some(record) = self.shared.record() {
            record.set(Gauge::Connections, self.open() as u64);
        }
    }

    /// Connections that peers have made.
    pub(super) fn open(&self) -> usize {
        self.connections.len() - self.streams
    }

    fn has_room(&self) -> bool {
        self.open() < self.shared.settings.connections_max
    }

    pub(super) fn listeners_want(&self) -> bool {
        self.has_room()
            && self.listeners.iter().any(|listener| listener.ready && matches!(listener.retry_ms, 0 | NEVER))
    }

    pub(super) fn begin_accepting(&mut self) -> Accepting {
        // Who was asked to take a connection and has not is not asked twice for it.
        let takes_next = self.look_again_ms <= self.now_ms;
        if takes_next {
            self.look_again_ms = NEVER;
            self.listeners.iter_mut().for_each(|listener| listener.ready = true);
        }
        Accepting { listener: 0, count: 0, takes_next }
    }

    pub(super) fn accept_all(&mut self) {
        let mut accepting = self.begin_accepting();
        while self.accept_next(&mut accepting) {}
    }

    /// Accepts one connection. What came with it is answered before the next, and who has had its answer goes before that: what the system
    /// and this process have for one connection is used again for another while it is in the processor's caches.
    pub(super) fn go_on_accepting(&mut self, mut accepting: Accepting) {
        if self.accept_next(&mut accepting) {
            self.work.push_front(Work::Accept(accepting));
            self.shared.take_attention_first(&mut self.work);
        }
    }

    /// False when there is nobody more in this round.
    fn accept_next(&mut self, accepting: &mut Accepting) -> bool {
        let now_ms = self.now_ms;
        loop {
            let has_room = self.has_room();
            let connections = self.open();
            let Some(listener) = self.listeners.get_mut(accepting.listener) else { return false };
            if listener.retry_ms <= now_ms {
                listener.retry_ms = NEVER;
            }
            let mut accepts = listener.ready && listener.retry_ms == NEVER && accepting.count < ACCEPTS_MAX;
            if accepts
                && !self.seen.is_ending()
                && let Some(seat) = &self.shared.settings.seat
            {
                let passed_on =
                    (!accepting.takes_next || !has_room) && seat.passes_on(connections, has_room, now_ms);
                if passed_on || !has_room {
                    // Should who was asked be gone, or nobody wait now, it is looked after. What comes meanwhile is looked at as it comes.
                    // Where nobody was asked, this one takes it as soon as it has room.
                    listener.ready = !passed_on;
                    if self.look_again_ms == NEVER {
                        self.look_again_ms = Timers::round_up(now_ms + PASSED_ON_MS);
                        self.timers.push(self.look_again_ms, NOBODY);
                    }
                    accepts = false;
                }
            }
            if !accepts || !has_room {
                accepting.listener += 1;
                accepting.count = 0;
                continue;
            }
            accepting.count += 1;
            match listener.accept() {
                Accepted::Connection(fd, caller) => {
                    accepting.takes_next = false;
                    listener.backoff_ms = 0;
                    self.welcome(Socket::new(fd), caller, now_ms);
                    return true;
                }
                Accepted::Nobody => listener.ready = false,
                Accepted::Again => {}
                Accepted::Exhausted(error) => {
                    if listener.backoff_ms == 0 {
                        log::warn!("no new connections for now: {error}");
                    }
                    listener.backoff_ms = (listener.backoff_ms * 2).clamp(BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
                    listener.retry_ms = Timers::round_up(now_ms + listener.backoff_ms);
                    self.timers.push(listener.retry_ms, NOBODY);
                }
            }
        }
    }

    fn carrier(&self, socket: Socket, scheme: Scheme) -> io::Result<Carrier> {
        match (scheme, &self.shared.settings.tls) {
            (Scheme::Https, Some(tls)) => Ok(Carrier::Tls(Box::new(TlsStream::new(socket, tls)?))),
            (Scheme::Https, None) => Err(io::Error::other("there is no certificate")),
            _ => Ok(Carrier::Plain(socket)),
        }
    }

    pub(super) fn open_stream(&mut self, carrier: &Arc<Connection>, opened: Opened, now_ms: Millis) {
        // Each of many connections may have many.
        if self.streams >= self.shared.settings.connections_max {
            return opened.stream.refuse();
        }
        let entry = self.connections.vacant_entry();
        self.next_id += 1;
        let connection = carrier.of_stream((entry.key(), self.next_id), opened, now_ms);
        entry.insert(connection.clone());
        self.streams += 1;
        self.look(&connection, now_ms, |connection, turn| connection.on_attention(turn));
    }

    pub(super) fn welcome(&mut self, socket: Socket, caller: Caller, now_ms: Millis) {
        let carrier = match self.carrier(socket, caller.speaks.scheme) {
            Ok(carrier) => carrier,
            Err(error) => return log::error!("a connection could not be served: {error}"),
        };
        let entry = self.connections.vacant_entry();
        self.next_id += 1;
        let name = (entry.key(), self.next_id);
        let connection = Arc::new(Connection::new(name, carrier, caller, self.shared.clone(), now_ms));
        entry.insert(connection.clone());
        self.unwatched.push(name);
        self.show_connections();
        self.look(&connection, now_ms, |connection, turn| connection.on_accept(turn));
    }

    /// Has the system tell of new connections from here on, and of what has come on them already.
    pub(super) fn watch_new(&mut self) {
        // In their order, in which they are then told of.
        for (slot, id) in std::mem::take(&mut self.unwatched) {
            let known = self.connections.get(slot).filter(|connection| connection.id == id).cloned();
            let Some(connection) = known else { continue };
            let Some(socket) = connection.carrier.socket() else { continue };
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(slot);
            match self.poll.registry().register(&mut SourceFd(&socket.raw()), token, interest) {
                Ok(()) => connection.is_watched.store(true, Ordering::Relaxed),
                Err(error) => {
                    log::warn!("a connection could not be watched: {error}");
                    let now_ms = self.now_ms;
                    self.look(&connection, now_ms, |connection, _| connection.on_stop());
                }
            }
        }
    }

    pub(super) fn forget(&mut self, connection: &Arc<Connection>) {
        if self.connections.get(connection.slot).is_none_or(|known| known.id != connection.id) {
            return;
        }
        self.connections.remove(connection.slot);
        let Some(socket) = connection.carrier.socket() else {
            self.streams -= 1;
            return;
        };
        self.show_connections();
        // The descriptor may live on in an exchange, so closing it cannot be left to take it out of epoll.
        if connection.is_watched.load(Ordering::Relaxed) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&socket.raw()));
        }
        for listener in &mut self.listeners {
            // A descriptor and a place are free again: no need to sit out a pause.
            if listener.retry_ms != NEVER {
                listener.retry_ms = 0;
            }
        }
    }
}

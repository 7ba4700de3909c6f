//! The reactor from outside: turned by somebody who watches its one descriptor, as an event loop would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tidegate_engine::http::ws::{Upgrade, upgrade};
use tidegate_engine::http::{BodyLength, ResponseHead};
use tidegate_engine::{
    Admitted, BindAddress, BindOptions, Block, BodyRead, Exchange, Gathering, LocalAddress, Reactor,
    Scoreboard, SendError, Settings, bind_all,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Longer than any test takes unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Watched {
    reactor: Reactor,
    waiting: VecDeque<Exchange>,
    descriptor: RawFd,
    address: SocketAddr,
}

impl Watched {
    fn new(settings: Settings) -> Self {
        let bind = BindAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
        let listeners = bind_all(&[bind], BindOptions { backlog: 128, reuse_port: false }).unwrap();
        let mut reactor = Reactor::new(listeners, settings, None).unwrap();
        reactor.handle().open();
        let address = match &reactor.entrances()[0].address {
            LocalAddress::Inet(address) => *address,
            LocalAddress::Unix(_) => unreachable!("bound to TCP"),
        };
        let descriptor = reactor.descriptor();
        let mut watched = Self { reactor, waiting: VecDeque::new(), descriptor, address };
        // Takes in that it was opened.
        watched.look();
        watched
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn is_readable(&self, wait: Duration) -> bool {
        let fd = self.reactor.as_fd();
        assert_eq!(fd.as_raw_fd(), self.descriptor);
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
    }

    /// Turns whenever the descriptor says so, answering what comes, until `done`.
    fn serve_until(&mut self, mut answer: impl FnMut(Exchange), mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "the descriptor stayed silent");
            self.look();
            while let Some(exchange) = self.waiting.pop_front() {
                answer(exchange);
            }
        }
    }

    /// What an event loop's callback does, if the descriptor asks for it.
    fn look(&mut self) {
        if self.is_readable(Duration::from_millis(20)) {
            self.reactor.poll(Some(Duration::ZERO)).unwrap();
            while let Some(Admitted { exchange, .. }) = self.reactor.next_exchange() {
                self.waiting.push_back(exchange);
            }
        }
    }

    fn look_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look();
        }
    }

    fn next(&mut self) -> Exchange {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no exchange came");
            self.look();
            if let Some(exchange) = self.waiting.pop_front() {
                return exchange;
            }
        }
    }
}

fn answer(mut exchange: Exchange, body: &[u8]) {
    let head = ResponseHead::new(200, b"OK").unwrap();
    let length = BodyLength::Known(body.len() as u64);
    exchange.send(Some((&head, length)), Block::Borrowed(body), true).unwrap();
}

#[test]
fn whoever_watches_the_descriptor_misses_nothing() {
    let mut watched = Watched::new(Settings::default());
    assert!(!watched.is_readable(Duration::from_millis(50)), "an idle reactor is silent");
    let mut clients: Vec<_> = (0..50).map(|_| watched.connect()).collect();
    for client in &mut clients {
        client.write_all(GET).unwrap();
    }
    let mut served = 0;
    let counter = std::cell::Cell::new(0);
    watched.serve_until(
        |exchange| {
            answer(exchange, b"hello");
            served += 1;
            counter.set(served);
        },
        || counter.get() == 50,
    );
    for client in &mut clients {
        let mut received = [0; 512];
        let size = client.read(&mut received).unwrap();
        assert!(received[..size].ends_with(b"hello"));
    }
}

#[test]
fn work_left_over_by_a_bound_leaves_the_descriptor_readable() {
    let mut watched = Watched::new(Settings::default());
    let mut client = watched.connect();
    let count = 2_000;
    let writer = std::thread::spawn({
        let mut client = client.try_clone().unwrap();
        move || client.write_all(&GET.repeat(count)).unwrap()
    });
    let reader = std::thread::spawn(move || {
        let (mut found, mut received) = (0, Vec::new());
        let mut buffer = [0; 65536];
        while found < count {
            let size = client.read(&mut buffer).unwrap();
            assert!(size > 0, "closed after {found}");
            received.extend_from_slice(&buffer[..size]);
            found = received.windows(8).filter(|window| window == b"HTTP/1.1").count();
        }
    });
    let served = std::cell::Cell::new(0);
    watched.serve_until(
        |exchange| {
            answer(exchange, b"x");
            served.set(served.get() + 1);
        },
        || served.get() == count && reader.is_finished(),
    );
    writer.join().unwrap();
    reader.join().unwrap();
}

#[test]
fn an_exchange_that_is_answered_from_another_thread_wakes_the_reactor() {
    let mut watched = Watched::new(Settings::default());
    let mut client = watched.connect();
    // Two requests: the second can only be read after the first is answered.
    client.write_all(&GET.repeat(2)).unwrap();
    let first = watched.next();
    let other = std::thread::spawn(move || answer(first, b"one"));
    let second = watched.next();
    other.join().unwrap();
    answer(second, b"two");
}

#[test]
fn a_dropped_exchange_cuts_its_connection() {
    let mut watched = Watched::new(Settings::default());
    let mut client = watched.connect();
    client.write_all(GET).unwrap();
    drop(watched.next());
    let closed = std::cell::Cell::new(false);
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        received
    });
    watched.serve_until(
        |_| {},
        || {
            closed.set(reader.is_finished());
            closed.get()
        },
    );
    assert_eq!(reader.join().unwrap(), b"");
}

#[test]
fn a_peer_that_resets_is_known_while_its_exchange_is_open() {
    let mut watched = Watched::new(Settings::default());
    let mut client = watched.connect();
    client.write_all(GET).unwrap();
    let mut exchange = watched.next();
    assert!(!exchange.departure().has_left());
    // Unread data at close makes the kernel send a reset.
    let head = ResponseHead::new(200, b"OK").unwrap();
    exchange.send(Some((&head, BodyLength::Unknown)), Block::Borrowed(b"first"), false).unwrap();
    let mut one = [0];
    client.read_exact(&mut one).unwrap();
    drop(client);
    watched.serve_until(|_| {}, || exchange.departure().has_left());
    let lost = loop {
        match exchange.send(None, Block::Borrowed(b"more"), false) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(lost, SendError::Gone));
}

#[test]
fn a_body_that_is_longer_than_memory_is_streamed_and_a_chunked_one_is_whole() {
    let mut watched = Watched::new(Settings { body_memory_max: 1000, ..Settings::default() });
    let mut streaming = watched.connect();
    streaming.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n").unwrap();
    streaming.write_all(&[b'x'; 2000]).unwrap();
    let mut exchange = watched.next();
    assert_eq!(exchange.gathered_length(), None);
    assert!(matches!(exchange.read_body(), BodyRead::Data(_)));
    drop(exchange);

    let mut chunked = watched.connect();
    chunked.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..5 {
        chunked.write_all(b"3e8\r\n").unwrap();
        chunked.write_all(&[b'y'; 1000]).unwrap();
        chunked.write_all(b"\r\n").unwrap();
    }
    chunked.write_all(b"0\r\n\r\n").unwrap();
    let mut exchange = watched.next();
    assert_eq!(exchange.gathered_length(), Some(5000));
    let mut total = 0;
    loop {
        match exchange.read_body() {
            BodyRead::Data(bytes) => total += bytes.len(),
            BodyRead::End => break,
            other => unreachable!("{other:?}"),
        }
    }
    assert_eq!(total, 5000);
}

#[test]
fn a_client_that_takes_nothing_for_a_while_is_asked_for_its_body_once_it_does() {
    let mut watched = Watched::new(Settings { gathering: Gathering::All, ..Settings::default() });
    let (mut near, mut client) = UnixStream::pair().unwrap();
    watched.reactor.welcome_peer(near.try_clone().unwrap().into()).unwrap();
    // As if the response before had filled what the system holds for it.
    let mut filled = 0;
    while let Ok(count) = near.write(&[b'.'; 4096]) {
        filled += count;
    }
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    watched.reactor.turn(Some(Duration::ZERO)).unwrap();
    let reader = std::thread::spawn(move || {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut received = vec![0; filled + b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        client.read_exact(&mut received).unwrap();
        client.write_all(b"body").unwrap();
        (client, received.split_off(filled))
    });
    let mut exchange = watched.next();
    assert!(matches!(exchange.read_body(), BodyRead::Data(bytes) if *bytes == *b"body"));
    assert_eq!(reader.join().unwrap().1, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn a_peer_that_sends_without_end_brings_in_no_more_in_a_turn_the_longer_it_does() {
    let mut watched = Watched::new(Settings::default());
    let mut client = watched.connect();
    client.write_all(UPGRADE).unwrap();
    let mut exchange = watched.next();
    let Upgrade::Asked(handshake) = upgrade(exchange.head()) else { unreachable!("it asks for a WebSocket") };
    let _socket = exchange.accept(&handshake, None, &[]).unwrap();
    client.set_nonblocking(true).unwrap();

    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    let pings = ping.repeat(1000);
    let (mut sent, mut most) = (0, 0);
    let mut answers = vec![0; 1 << 20];
    for _ in 0..200 {
        // As much as the system takes: each time the reactor is woken.
        while let Ok(count) = client.write(&pings[sent % ping.len()..]) {
            sent += count;
        }
        watched.look();
        let mut answered = 0;
        while let Ok(count @ 1..) = client.read(&mut answers) {
            answered += count;
        }
        most = most.max(answered);
    }
    // As much as the budget of a turn is, 256 KiB, for the wake, and once more for what was left of the last one.
    assert!((1..=512 * 1024).contains(&most), "{most}");
}

#[test]
fn a_drain_ends_when_the_last_connection_has() {
    let mut watched = Watched::new(Settings::default());
    let mut client = watched.connect();
    client.write_all(GET).unwrap();
    let exchange = watched.next();
    watched.reactor.handle().drain();
    watched.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(!watched.reactor.is_finished());
    assert!(TcpStream::connect(watched.address).is_err(), "nobody listens any more");
    answer(exchange, b"last");
    let mut received = Vec::new();
    let reader = std::thread::spawn(move || {
        client.read_to_end(&mut received).unwrap();
        received
    });
    let end = Instant::now() + PATIENCE;
    while !watched.reactor.is_finished() {
        assert!(Instant::now() < end);
        watched.reactor.turn(Some(Duration::from_millis(20))).unwrap();
    }
    let received = String::from_utf8(reader.join().unwrap()).unwrap();
    assert!(received.contains("Connection: close\r\n"));
    assert!(received.ends_with("last"));
}

#[test]
fn a_place_that_is_free_again_is_given_at_once_where_nobody_else_could_take_the_connection() {
    for seat in [None, Scoreboard::new(1).unwrap().seat(0)] {
        let mut watched = Watched::new(Settings { connections_max: 1, seat, ..Settings::default() });
        let mut first = watched.connect();
        first.write_all(GET).unwrap();
        answer(watched.next(), b"first");
        let mut second = watched.connect();
        second.write_all(GET).unwrap();
        watched.look();
        assert!(watched.waiting.is_empty());
        drop(first);
        // One look closes and accepts, the next one reads.
        watched.look();
        watched.look();
        assert_eq!(watched.waiting.len(), 1);
    }
}

#[test]
fn a_deadline_that_is_set_in_a_round_makes_the_descriptor_readable_when_it_is_due() {
    let mut watched = Watched::new(Settings { head_timeout_ms: 300, ..Settings::default() });
    let mut silent = watched.connect();
    watched.look();
    assert!(watched.is_readable(PATIENCE), "nothing but the timer will come");
    silent.set_nonblocking(true).unwrap();
    watched.serve_until(drop, || silent.read(&mut [0; 1]).is_ok_and(|count| count == 0));
}

#[test]
fn waiting_for_a_stalled_body_makes_no_work() {
    let settings = Settings {
        head_timeout_ms: 600_000,
        body_timeout_ms: Some(59_990),
        body_memory_max: 1,
        ..Settings::default()
    };
    let mut watched = Watched::new(settings);
    let mut client = watched.connect();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nab").unwrap();
    let mut exchange = watched.next();
    while let BodyRead::Data(_) = exchange.read_body() {}
    // The first wait moves the deadline; the second does not.
    for _ in 0..3 {
        watched.look();
        assert!(matches!(exchange.read_body(), BodyRead::Wait));
    }
    assert!(
        !watched.is_readable(Duration::from_millis(100)),
        "nothing has happened, so there is nothing to do"
    );
}

/// How HTTP/2 begins: the preface and empty SETTINGS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The head of a GET, or of a POST whose body is to come.
fn http2_head(stream: u8, goes_on: bool) -> Vec<u8> {
    let (method, flags) = if goes_on { (0x83, 4) } else { (0x82, 5) };
    vec![0, 0, 6, 1, flags, 0, 0, 0, stream, method, 0x86, 0x84, 0x41, 1, b'a']
}

fn speaking_http2() -> Watched {
    let mut settings = Settings::default();
    settings.http2.in_plain_text = true;
    settings.gathering = Gathering::WhatIsIn;
    Watched::new(settings)
}

/// Reads frames up to the first of this kind, answers no ping, and gives its payload (RFC 9113 section 4.1).
fn read_frame(client: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
        client.read_exact(&mut payload).unwrap();
        if head[3] == kind {
            return payload;
        }
    }
}

#[test]
fn a_request_that_crosses_with_the_drain_of_a_long_idle_connection_is_answered() {
    const GOAWAY: u8 = 7;
    const PING: u8 = 6;
    let linger_ms = 1_000;
    let mut settings = Settings { linger_ms, ..Settings::default() };
    settings.http2.in_plain_text = true;
    let mut watched = Watched::new(settings);
    let mut client = watched.connect();
    client.write_all(&[HTTP2, &http2_head(1, false)].concat()).unwrap();
    answer(watched.next(), b"first");
    watched.look_for(Duration::from_millis(linger_ms + 100));
    watched.reactor.handle().drain();
    watched.look_for(Duration::from_millis(linger_ms / 5));
    // The client has not read that yet.
    client.write_all(&http2_head(3, false)).unwrap();
    answer(watched.next(), b"second");
    let reader = std::thread::spawn(move || {
        assert_eq!(read_frame(&mut client, GOAWAY), [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let asked = read_frame(&mut client, PING);
        client.write_all(&[&[0, 0, 8, PING, 1, 0, 0, 0, 0], &asked[..]].concat()).unwrap();
        assert_eq!(read_frame(&mut client, GOAWAY), [0, 0, 0, 3, 0, 0, 0, 0], "all that was taken");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    });
    watched.serve_until(|_| {}, || reader.is_finished());
    reader.join().unwrap();
}

#[test]
fn streams_are_freed_when_their_connection_is_lost() {
    let mut watched = speaking_http2();
    let counted = Arc::new(());
    let mut client = watched.connect();
    client.write_all(HTTP2).unwrap();
    let streams = (1..40).step_by(2);
    streams.for_each(|stream| client.write_all(&http2_head(stream, stream % 4 == 1)).unwrap());
    let mut exchanges: Vec<_> = (0..20).map(|_| watched.next()).collect();
    for exchange in &exchanges {
        exchange.note(|| counted.clone());
    }
    assert_eq!(Arc::strong_count(&counted), 21);
    // Some are answered, some are dropped, one is reset by the client, and the others are in hands when the client goes.
    exchanges.drain(..5).for_each(|exchange| answer(exchange, b"body"));
    exchanges.drain(..5);
    client.write_all(&[0, 0, 4, 3, 0, 0, 0, 0, 39, 0, 0, 0, 8]).unwrap();
    watched.serve_until(|_| {}, || Arc::strong_count(&counted) == 11);
    drop(client);
    watched.serve_until(|_| {}, || exchanges.iter().all(Exchange::has_left));
    drop(exchanges);
    watched.serve_until(|_| {}, || Arc::strong_count(&counted) == 1);
}

#[test]
fn a_reactor_that_goes_leaves_no_connection_behind() {
    for asks in [false, true] {
        let mut watched = speaking_http2();
        let mut client = watched.connect();
        client.write_all(HTTP2).unwrap();
        if asks {
            client.write_all(&http2_head(1, false)).unwrap();
            drop(watched.next());
        }
        let mut begun = [0; 9];
        let mut read = client.try_clone().unwrap();
        let reader = std::thread::spawn(move || read.read_exact(&mut begun).unwrap());
        watched.serve_until(|_| {}, || reader.is_finished());
        reader.join().unwrap();
        drop(watched);
        client.read_to_end(&mut Vec::new()).unwrap();
    }
}

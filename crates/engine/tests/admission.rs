//! Which requests run, which wait, and which are turned away: the gate from outside, through a reactor and real clients.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tidegate_engine::http::{BodyLength, ResponseHead};
use tidegate_engine::{Admitted, BindAddress, BindOptions, Block, LocalAddress, Reactor, Settings, bind_all};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Longer than any test takes unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Limited {
    reactor: Reactor,
    running: Vec<Admitted>,
    address: SocketAddr,
}

impl Limited {
    /// A reactor of which one request may run, and `waiting` may wait for `timeout_ms`.
    fn new(waiting: usize, timeout_ms: u64) -> Self {
        let bind = BindAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
        let listeners = bind_all(&[bind], BindOptions { backlog: 128, reuse_port: false }).unwrap();
        let settings = Settings {
            concurrency_max: 1,
            queue_size_max: waiting,
            queue_timeout_ms: timeout_ms,
            ..Settings::default()
        };
        let reactor = Reactor::new(listeners, settings, None).unwrap();
        reactor.handle().open();
        let address = match &reactor.entrances()[0].address {
            LocalAddress::Inet(address) => *address,
            LocalAddress::Unix(_) => unreachable!("bound to TCP"),
        };
        Self { reactor, running: Vec::new(), address }
    }

    fn ask(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(GET).unwrap();
        stream
    }

    /// Turns until `done`; what may run is kept.
    fn turn_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "it did not come to pass");
            self.reactor.poll(Some(Duration::from_millis(10))).unwrap();
            while let Some(admitted) = self.reactor.next_exchange() {
                self.running.push(admitted);
            }
        }
    }

    /// Turns until this client has its answer.
    fn status_of(&mut self, client: &mut TcpStream) -> u16 {
        client.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        self.turn_until(|_| {
            let mut piece = [0; 4096];
            if let Ok(count) = client.read(&mut piece) {
                received.extend_from_slice(&piece[..count]);
            }
            received.windows(4).any(|window| window == b"\r\n\r\n")
        });
        let text = String::from_utf8(received).unwrap();
        if text.contains(" 503 ") {
            assert!(text.contains("Retry-After: 1\r\n"), "{text}");
        }
        text[9..12].parse().unwrap()
    }

    /// Turns until everything that clients have sent was seen.
    fn settle(&mut self) {
        let mut rounds = 0;
        self.turn_until(|_| {
            rounds += 1;
            rounds > 5
        });
    }
}

fn answer(admitted: &mut Admitted) {
    let head = ResponseHead::new(200, b"OK").unwrap();
    let exchange = &mut admitted.exchange;
    exchange.send(Some((&head, BodyLength::Known(2))), Block::Borrowed(b"ok"), true).unwrap();
}

#[test]
fn what_is_over_waits_until_a_permit_comes_back() {
    let mut server = Limited::new(10, 60_000);
    let (mut first, mut second) = (server.ask(), server.ask());
    server.settle();
    assert_eq!(server.running.len(), 1, "one runs, one waits");
    let mut admitted = server.running.pop().unwrap();
    answer(&mut admitted);
    server.settle();
    assert!(server.running.is_empty(), "the permit is still out");
    drop(admitted);
    server.turn_until(|server| server.running.len() == 1);
    assert_eq!(server.status_of(&mut first), 200);
    answer(&mut server.running[0]);
    assert_eq!(server.status_of(&mut second), 200);
}

#[test]
fn a_permit_is_passed_on_in_the_order_of_coming() {
    let mut server = Limited::new(10, 60_000);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.ask());
        server.settle();
    }
    let mut admitted = server.running.pop().unwrap();
    for client in &mut clients {
        answer(&mut admitted);
        assert_eq!(server.status_of(client), 200);
        let Admitted { permit, .. } = admitted;
        match permit.pass_on() {
            Ok(next) => admitted = next,
            Err(_) => return,
        }
    }
    unreachable!("a fifth request was passed on");
}

#[test]
fn more_than_may_wait_are_turned_away_at_once() {
    let mut server = Limited::new(2, 60_000);
    let _held: Vec<_> = (0..3).map(|_| server.ask()).collect();
    server.settle();
    let mut fourth = server.ask();
    assert_eq!(server.status_of(&mut fourth), 503);
    // The connection is good for another request.
    fourth.write_all(GET).unwrap();
    assert_eq!(server.status_of(&mut fourth), 503);
    assert_eq!(server.running.len(), 1);
}

#[test]
fn a_request_is_turned_away_while_it_waits_too_long_and_not_only_when_its_turn_comes() {
    let mut server = Limited::new(10, 50);
    let _running = server.ask();
    server.settle();
    let mut late = server.ask();
    assert_eq!(server.status_of(&mut late), 503, "although nothing has come to an end");
    assert_eq!(server.running.len(), 1);
}

#[test]
fn a_client_that_leaves_gives_its_place_in_the_queue_to_others() {
    let mut server = Limited::new(1, 60_000);
    let _running = server.ask();
    server.settle();
    let leaving = server.ask();
    server.settle();
    drop(leaving);
    server.settle();
    let mut other = server.ask();
    server.settle();
    let mut admitted = server.running.pop().unwrap();
    answer(&mut admitted);
    let mut next = admitted.permit.pass_on().unwrap();
    answer(&mut next);
    assert_eq!(server.status_of(&mut other), 200, "it had the place, and its turn was next");
    assert!(next.permit.pass_on().is_err());
}

//! Many threads around one reactor, as a host of threads has them: whoever leads turns it, the others answer, wait for their clients
//! and pass permits on. Says little of its own: it is for sanitizers to look at (`make sanitize`), and must end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tidegate_engine::http::{BodyLength, ResponseHead};
use tidegate_engine::{
    Admitted, BindAddress, BindOptions, Block, BodyRead, Exchange, Gathering, Handle, LARGE_BLOCK_MIN,
    LocalAddress, Permit, Reactor, Settings, bind_all,
};

/// Longer than any wait unless the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that may run at once, and threads that run them beside the one that leads.
const RUNNING_MAX: usize = 3;
const CLIENTS: usize = 8;
const ROUNDS: usize = 40;

/// More than a socket takes at once, so that the reactor sends the rest.
const LARGE: usize = 512 * 1024;

struct Server {
    reactor: Mutex<Reactor>,
    handle: Handle,
    running: AtomicUsize,
    answered: AtomicUsize,
}

struct Unpark {
    thread: Thread,
    given: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.given.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Looks until there is something, and waits for the connection to be moved in between.
fn wait_for<T>(exchange: &mut Exchange, mut look: impl FnMut(&mut Exchange) -> Option<T>) -> T {
    loop {
        if let Some(found) = look(exchange) {
            return found;
        }
        let watch = exchange.watch();
        if let Some(found) = look(exchange) {
            return found;
        }
        let unpark = Arc::new(Unpark { thread: thread::current(), given: AtomicBool::new(false) });
        watch.wake_on_change(Waker::from(unpark.clone()));
        while !unpark.given.load(Ordering::Acquire) {
            thread::park_timeout(PATIENCE);
        }
    }
}

impl Server {
    /// What an application and a gateway do: the body is read, and echoed or answered with much. False when the client has left.
    fn answer(&self, exchange: &mut Exchange) -> bool {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(running <= RUNNING_MAX, "{running} run");
        let mut body = Vec::new();
        let whole = loop {
            let read = wait_for(exchange, |exchange| match exchange.read_body() {
                BodyRead::Wait => None,
                read => Some(read),
            });
            match read {
                BodyRead::Data(bytes) => body.extend_from_slice(&bytes),
                BodyRead::End => break true,
                BodyRead::Wait | BodyRead::Fault(_) => break false,
            }
        };
        let large = exchange.head().target() == b"/large";
        let size = if large { LARGE } else { body.len() };
        let head = ResponseHead::new(200, b"OK").unwrap();
        let head = Some((&head, BodyLength::Known(size as u64)));
        let departure = exchange.departure();
        let sent = if !whole {
            false
        } else if large {
            let piece = vec![b'x'; LARGE_BLOCK_MIN];
            let pieces = LARGE / LARGE_BLOCK_MIN;
            (0..pieces).all(|number| {
                let block = Block::Shared(piece.clone().into());
                let head = if number == 0 { head } else { None };
                let sent = exchange.send(head, block, number + 1 == pieces).is_ok();
                if sent && number + 1 < pieces {
                    wait_for(exchange, |exchange| (exchange.unsent() <= 64 * 1024).then_some(()));
                }
                sent
            })
        } else {
            exchange.send(head, Block::Borrowed(&body), true).is_ok()
        };
        let _ = departure.has_left();
        self.running.fetch_sub(1, Ordering::SeqCst);
        sent
    }

    /// Answers, and goes on with what waits for as long as the permit is passed on.
    fn run(&self, mut admitted: Admitted) -> Permit {
        loop {
            let Admitted { mut exchange, permit } = admitted;
            if self.answer(&mut exchange) {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            drop(exchange);
            match permit.pass_on() {
                Ok(next) => admitted = next,
                Err(permit) => return permit,
            }
        }
    }

    /// Leads for one round: what is ready is run here, or by the other threads. False when nothing is left to serve.
    fn lead(&self, give: &Sender<Admitted>) -> bool {
        let mut reactor = self.reactor.lock().unwrap();
        while let Some(admitted) = reactor.next_exchange() {
            give.send(admitted).unwrap();
        }
        if self.handle.lifecycle().is_ending() && reactor.is_finished() {
            return false;
        }
        reactor.poll(Some(PATIENCE)).unwrap();
        true
    }

    fn serve(&self, take: &Mutex<Receiver<Admitted>>) {
        loop {
            let taken = take.lock().unwrap().recv();
            let Ok(admitted) = taken else { return };
            drop(self.run(admitted));
        }
    }
}

/// One response; how long its body is.
fn read_response(stream: &mut BufReader<TcpStream>) -> usize {
    let mut size = 0;
    let mut line = String::new();
    loop {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "closed in the middle");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            size = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let copied = std::io::copy(&mut stream.by_ref().take(size as u64), &mut std::io::sink()).unwrap();
    assert_eq!(copied, size as u64);
    size
}

/// Asks in many ways. How many requests must be answered.
fn ask(address: SocketAddr, number: usize) -> usize {
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    };
    let mut stream = connect();
    let mut answered = 0;
    for round in 0..ROUNDS {
        match (number + round) % 5 {
            0 => {
                // Both are sent before the first is answered.
                stream.get_mut().write_all(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2)).unwrap();
                assert_eq!((read_response(&mut stream), read_response(&mut stream)), (0, 0));
                answered += 2;
            }
            1 => {
                let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n";
                stream.get_mut().write_all(head).unwrap();
                for _ in 0..3 {
                    stream.get_mut().write_all(&[b'b'; 1000]).unwrap();
                    thread::yield_now();
                }
                assert_eq!(read_response(&mut stream), 3000);
                answered += 1;
            }
            2 => {
                stream.get_mut().write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                assert_eq!(read_response(&mut stream), LARGE);
                answered += 1;
            }
            3 => {
                // Leaves while its request waits, runs, or is answered.
                let mut leaving = connect();
                leaving.get_mut().write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                if round % 2 == 0 {
                    let _ = leaving.read(&mut [0; 100]);
                }
            }
            _ => {
                let mut leaving = connect();
                let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\nonly this";
                leaving.get_mut().write_all(head).unwrap();
            }
        }
    }
    answered
}

fn serve_clients(gathering: Gathering) {
    let bind = BindAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let listeners = bind_all(&[bind], BindOptions { backlog: 128, reuse_port: false }).unwrap();
    let settings =
        Settings { concurrency_max: RUNNING_MAX, queue_size_max: 1_000, gathering, ..Settings::default() };
    let reactor = Reactor::new(listeners, settings, None).unwrap();
    reactor.handle().open();
    let LocalAddress::Inet(address) = reactor.entrances()[0].address.clone() else {
        unreachable!("bound to TCP")
    };
    let handle = reactor.handle();
    let server = Server {
        handle: handle.clone(),
        reactor: Mutex::new(reactor),
        running: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
    };
    let (give, take) = channel();
    let take = Mutex::new(take);
    let mut asked = 0;
    thread::scope(|scope| {
        for _ in 0..RUNNING_MAX {
            scope.spawn(|| server.serve(&take));
        }
        // Two take turns to lead, as leadership moves.
        for give in [give.clone(), give] {
            let server = &server;
            scope.spawn(move || while server.lead(&give) {});
        }
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || ask(address, number))).collect();
        for client in clients {
            asked += client.join().unwrap();
        }
        handle.drain();
    });
    assert!(server.answered.load(Ordering::Relaxed) >= asked);
    assert_eq!(server.running.load(Ordering::SeqCst), 0);
}

#[test]
fn threads_answer_pass_permits_on_and_take_turns_to_lead() {
    serve_clients(Gathering::All);
}

#[test]
fn threads_wait_for_bodies_that_are_streamed() {
    serve_clients(Gathering::Nothing);
}

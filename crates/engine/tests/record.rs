//! What is counted and shown of requests: by the reactor and by whoever answers, read by somebody else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_engine::http::{BodyLength, ResponseHead};
use tidegate_engine::{
    Admitted, BindAddress, BindOptions, Block, Class, Counter, Gauge, LocalAddress, METHODS, Peer, Reactor,
    Record, Records, Settings, Span, Stage, bind_all,
};

const GET: &[u8] = b"GET /page?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n";

/// Longer than any test takes unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Observed {
    reactor: Reactor,
    address: SocketAddr,
    records: Arc<Records>,
    record: Record,
}

impl Observed {
    fn new(settings: Settings) -> Self {
        let records = Records::new(1, 1).unwrap();
        let record = records.record(0).unwrap();
        let settings = Settings { record: Some(record.clone()), ..settings };
        let bind = BindAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
        let listeners = bind_all(&[bind], BindOptions { backlog: 128, reuse_port: false }).unwrap();
        let reactor = Reactor::new(listeners, settings, None).unwrap();
        reactor.handle().open();
        let LocalAddress::Inet(address) = reactor.entrances()[0].address else {
            unreachable!("bound to TCP")
        };
        Self { reactor, address, records, record }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Turns until `done` is given something.
    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "it does not come to that");
            self.reactor.turn(Some(Duration::from_millis(5))).unwrap();
            if let Some(given) = done(self) {
                return given;
            }
        }
    }

    fn next(&mut self) -> Admitted {
        self.until(|observed| observed.reactor.next_exchange())
    }

    /// In how many requests the server has now, and how many it has ended in this way.
    fn is_settled_with(&mut self, class: Class) {
        self.until(|observed| {
            let figures = observed.record.figures();
            (figures.in_flight() == 0 && figures.ended_as(class) == 1).then_some(())
        });
        assert!(self.record.requests().is_empty());
        assert_eq!(self.record.figures().ended(), 1);
    }
}

fn answer(admitted: Admitted, status: u16, body: &[u8]) {
    let Admitted { mut exchange, permit } = admitted;
    let head = ResponseHead::new(status, b"Said").unwrap();
    let length = BodyLength::Known(body.len() as u64);
    let _ = exchange.send(Some((&head, length)), Block::Borrowed(body), true);
    drop(permit);
}

#[test]
fn a_request_is_shown_with_its_stage_until_it_is_over() {
    let mut observed = Observed::new(Settings::default());
    let mut client = observed.connect();
    client
        .write_all(b"POST /upload?secret=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let shown = observed.until(|observed| observed.record.requests().pop());
    assert_eq!((shown.stage, shown.method(), &*shown.path), (Stage::Body, "POST", &b"/upload"[..]));
    assert_eq!((shown.number, shown.application, shown.status), (1, None, 0));
    assert_eq!(shown.peer, Peer::Inet(client.local_addr().unwrap()));

    client.write_all(b"1\r\nx\r\n0\r\n\r\n").unwrap();
    let admitted = observed.next();
    let shown = observed.record.requests().pop().unwrap();
    assert_eq!((shown.stage, shown.thread), (Stage::Queue, None));
    assert_eq!(observed.record.figures().running(), 0);

    admitted.exchange.begin(0);
    let shown = observed.record.requests().pop().unwrap();
    assert_eq!((shown.stage, shown.application), (Stage::Application, Some(0)));
    assert!(shown.thread.is_some() && shown.began_us <= shown.stage_began_us);
    let figures = observed.record.figures();
    assert_eq!((figures.in_flight(), figures.running()), (1, 1));

    answer(admitted, 200, b"hello");
    observed.is_settled_with(Class::Success);
    let figures = observed.record.figures();
    assert_eq!(figures.requests_of(Some(0), 2, Class::Success), 1, "{} of the application", METHODS[2]);
    for span in [Span::Queue, Span::Application, Span::Total] {
        assert_eq!(figures.histogram(span).count(), 1, "{span:?}");
    }
    let mut response = [0; 5];
    client.read_exact(&mut response).unwrap();
    assert!(figures.counter(Counter::BytesIn) > 80 && figures.counter(Counter::BytesOut) > 80);
    assert_eq!((figures.gauge(Gauge::Connections), figures.running()), (1, 0));
}

#[test]
fn a_response_that_its_client_does_not_take_is_in_its_last_stage() {
    let mut observed = Observed::new(Settings::default());
    let mut client = observed.connect();
    client.write_all(GET).unwrap();
    let admitted = observed.next();
    admitted.exchange.begin(0);
    let body = vec![b'x'; 32 << 20];
    answer(admitted, 200, &body);
    let shown = observed.record.requests().pop().unwrap();
    assert_eq!((shown.stage, shown.status, &*shown.path), (Stage::Write, 200, &b"/page"[..]));
    assert_eq!(observed.record.figures().running(), 0);
    let reader = std::thread::spawn(move || {
        let mut left = vec![0; 32 << 20];
        client.read_exact(&mut left).unwrap();
    });
    observed.is_settled_with(Class::Success);
    reader.join().unwrap();
}

#[test]
fn a_request_whose_client_has_left_is_shown_as_long_as_its_application_runs() {
    let mut observed = Observed::new(Settings::default());
    let mut client = observed.connect();
    client.write_all(GET).unwrap();
    let admitted = observed.next();
    admitted.exchange.begin(0);
    // So that what comes from the server is answered with a reset.
    client.shutdown(std::net::Shutdown::Both).unwrap();
    drop(client);
    observed.reactor.handle().stop();
    observed.until(|observed| observed.reactor.is_finished().then_some(()));
    assert_eq!(observed.record.requests().len(), 1);
    assert_eq!(observed.record.figures().gauge(Gauge::Connections), 0);
    answer(admitted, 200, b"hello");
    observed.is_settled_with(Class::Cut);
}

#[test]
fn what_waits_and_what_is_turned_away_is_counted() {
    let settings =
        Settings { concurrency_max: 1, queue_size_max: 1, queue_timeout_ms: 500, ..Settings::default() };
    let mut observed = Observed::new(settings);
    let mut clients: Vec<_> = (0..3).map(|_| observed.connect()).collect();
    clients[0].write_all(GET).unwrap();
    let runs = observed.next();
    runs.exchange.begin(0);
    clients[1].write_all(GET).unwrap();
    observed.until(|observed| (observed.record.figures().gauge(Gauge::Queued) == 1).then_some(()));
    clients[2].write_all(GET).unwrap();
    let shed = |observed: &Observed, counter| observed.record.figures().counter(counter);
    observed.until(|observed| (shed(observed, Counter::ShedQueueFull) == 1).then_some(()));
    observed.until(|observed| (shed(observed, Counter::ShedQueueTimeout) == 1).then_some(()));
    answer(runs, 200, b"hello");
    let figures = observed.record.figures();
    assert_eq!((figures.gauge(Gauge::Queued), figures.in_flight()), (0, 0));
    assert_eq!((figures.ended_as(Class::ServerError), figures.ended_as(Class::Success)), (2, 1));
    assert_eq!(figures.histogram(Span::Application).count(), 1);
}

#[test]
fn what_is_no_request_is_counted_by_its_answer() {
    let mut observed = Observed::new(Settings::default());
    observed.connect().write_all(b"nonsense\r\n\r\n").unwrap();
    observed.is_settled_with(Class::ClientError);
    let figures = observed.record.figures();
    assert_eq!(figures.requests_of(None, METHODS.len() - 1, Class::ClientError), 1);
}

#[test]
fn a_head_that_comes_too_slowly_is_counted_as_one() {
    let mut observed = Observed::new(Settings { head_timeout_ms: 100, ..Settings::default() });
    let mut client = observed.connect();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    observed.is_settled_with(Class::ClientError);
    assert_eq!(observed.record.figures().counter(Counter::TimeoutsHead), 1);
}

#[test]
fn what_a_worker_had_when_it_ended_is_cut_and_kept() {
    let mut observed = Observed::new(Settings::default());
    observed.connect().write_all(GET).unwrap();
    let admitted = observed.next();
    admitted.exchange.begin(0);
    observed.records.keep(0);
    let gone = observed.records.gone();
    assert_eq!(gone.requests_of(Some(0), 0, Class::Cut), 1);
    assert!(observed.record.requests().is_empty());
}

/// An application has a request whose time is over; and its client, which was answered or has gone.
fn expired(path: &str) -> (Observed, Admitted, TcpStream) {
    let settings = Settings { request_timeout_ms: Some(50), ..Settings::default() };
    let mut observed = Observed::new(settings);
    observed.reactor.tell_overdue(drop).unwrap();
    let mut client = observed.connect();
    write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let admitted = observed.next();
    admitted.exchange.begin(0);
    (observed, admitted, client)
}

fn expired_running(observed: &Observed) -> u64 {
    observed.record.figures().gauge(Gauge::ExpiredRunning)
}

#[test]
fn a_request_whose_time_is_over_is_shown_until_its_application_ends() {
    let (mut observed, admitted, client) = expired("/late");
    observed.until(|observed| (expired_running(observed) == 1).then_some(()));
    let shown = observed.record.requests().pop().unwrap();
    assert_eq!((shown.stage, shown.status, &*shown.path), (Stage::Expired, 504, &b"/late"[..]));
    let figures = observed.record.figures();
    assert_eq!((figures.in_flight(), figures.running(), figures.ended_as(Class::ServerError)), (0, 0, 1));
    for span in [Span::Application, Span::Total] {
        assert_eq!(figures.histogram(span).count(), 1, "{span:?}");
    }
    // Its connection ends before it does.
    drop(client);
    observed.until(|observed| (observed.record.figures().gauge(Gauge::Connections) == 0).then_some(()));
    assert_eq!(observed.record.requests().len(), 1);
    answer(admitted, 200, b"nobody's");
    assert_eq!(expired_running(&observed), 0);
    observed.is_settled_with(Class::ServerError);
}

#[test]
fn one_whose_response_was_cut_is_shown_likewise() {
    let (mut observed, mut admitted, _client) = expired("/stream");
    let head = ResponseHead::new(200, b"OK").unwrap();
    let block = Block::Borrowed(b"begun");
    admitted.exchange.send(Some((&head, BodyLength::Unknown)), block, false).unwrap();
    observed.until(|observed| (expired_running(observed) == 1).then_some(()));
    let shown = observed.record.requests().pop().unwrap();
    assert_eq!((shown.stage, shown.status), (Stage::Expired, 200));
    drop(admitted);
    assert_eq!(expired_running(&observed), 0);
    observed.is_settled_with(Class::Success);
}

#[test]
fn one_whose_client_had_gone_is_shown_likewise() {
    let (mut observed, admitted, client) = expired("/gone");
    // Answered with a reset, which the answer meets before the reactor hears of it.
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    let end = Instant::now() + PATIENCE;
    while observed.record.figures().counter(Counter::TimeoutsRequest) == 0 {
        assert!(Instant::now() < end, "its time is not over");
        std::thread::sleep(Duration::from_millis(1));
    }
    observed.until(|observed| (expired_running(observed) == 1).then_some(()));
    let shown = observed.record.requests().pop().unwrap();
    assert_eq!((shown.stage, shown.status), (Stage::Expired, 504));
    assert_eq!(observed.record.figures().running(), 0);
    drop(admitted);
    assert_eq!(expired_running(&observed), 0);
    observed.is_settled_with(Class::ServerError);
}

#[test]
fn one_that_no_application_had_is_over_with_its_answer() {
    let settings = Settings { request_timeout_ms: Some(50), ..Settings::default() };
    let mut observed = Observed::new(settings);
    observed.reactor.tell_overdue(drop).unwrap();
    let mut client = observed.connect();
    client.write_all(GET).unwrap();
    let admitted = observed.next();
    observed.is_settled_with(Class::ServerError);
    assert_eq!(expired_running(&observed), 0);
    drop(admitted);
    observed.is_settled_with(Class::ServerError);
}

#[test]
fn what_had_expired_when_its_worker_ended_is_counted_once() {
    let (mut observed, _admitted, _client) = expired("/late");
    observed.until(|observed| (expired_running(observed) == 1).then_some(()));
    observed.records.keep(0);
    let gone = observed.records.gone();
    assert_eq!((gone.ended(), gone.ended_as(Class::ServerError)), (1, 1));
    assert_eq!((expired_running(&observed), observed.record.requests().len()), (0, 0));
}

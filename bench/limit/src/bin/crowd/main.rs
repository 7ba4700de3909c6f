//! Many connections at once, over a mix of paths: what each waits, by path, by status and by time.
//!
//! `crowd PORT closed CONNECTIONS SECONDS PATH[=WEIGHT]...`: each connection sends its next request when it has the
//! answer to the one before. They are made before the first request, and the time begins when every one has had its
//! first answer, or after five seconds: how a server accepts thousands at once is not what is measured. A busy server
//! may leave some of them unaccepted for as long as the others keep it busy; they are counted. With 0 seconds, one
//! request each.
//!
//! `crowd PORT open CONNECTIONS RATE:SECONDS[,RATE:SECONDS...] PATH[=WEIGHT]...`: requests arrive at a rate, whatever
//! the server does with those before, as they do from people who do not know of each other; each takes a free
//! connection, of at most that many. The wait counts from the arrival, so that a server that stands still is charged
//! with all that arrived meanwhile.
//!
//! What is in flight at the end is waited for and counted among the waits. The result is one object of JSON. `wrk`
//! does none of this: it takes one path without a script, has no rate, counts from before it is connected, and drops
//! what is in flight at the end, the slowest requests first.

mod connection;
mod plan;
mod report;

use std::env;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use connection::{Connection, Outcome};
use plan::{Arrivals, Pace, Plan};
use report::{Answer, Record};

/// How long an answer is waited for after the last arrival; what is out then counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many connections a closed loop makes in a second, before its first request. All at once they would overflow the
/// queue of any listening socket, and the kernel would try again after one second, three, seven, fifteen.
const CONNECTS_PER_S: u32 = 4_000;

const SETTLING: Duration = Duration::from_millis(300);

/// How long the first answers of a closed loop are waited for.
const PREPARING: Duration = Duration::from_secs(5);

/// More than the wakes of a turn hardly ever are; the rest comes with the next turn.
const WAKES_PER_TURN: usize = 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(plan) = Plan::parse(&arguments) else {
        eprintln!("usage: crowd PORT closed CONNECTIONS SECONDS PATH[=WEIGHT]...");
        eprintln!("       crowd PORT open CONNECTIONS RATE:SECONDS[,RATE:SECONDS...] PATH[=WEIGHT]...");
        return ExitCode::from(2);
    };
    match Crowd::new(&plan).and_then(Crowd::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Crowd<'a> {
    plan: &'a Plan,
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Indices of connections that have nothing in flight; the last used one is the first taken.
    free: Vec<usize>,
    start: Instant,
    arrivals: Arrivals,
    /// Which connections have not had an answer yet, and how many were left when the time began.
    unanswered: Vec<bool>,
    unanswered_count: usize,
    starved: usize,
    begin: Option<Duration>,
    records: Vec<Record>,
    unsent: usize,
}

impl<'a> Crowd<'a> {
    fn new(plan: &'a Plan) -> io::Result<Self> {
        Ok(Self {
            plan,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: (0..plan.connections).map(|_| Connection::new(plan.port)).collect(),
            free: (0..plan.connections).rev().collect(),
            start: Instant::now(),
            arrivals: Arrivals::new(plan),
            unanswered: vec![true; plan.connections],
            unanswered_count: plan.connections,
            starved: 0,
            begin: plan.begins_at_once().then_some(Duration::ZERO),
            records: Vec::with_capacity(1 << 18),
            unsent: 0,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut wakes: Vec<epoll::Event> = Vec::with_capacity(WAKES_PER_TURN);
        if let Pace::Closed { .. } = self.plan.pace {
            self.connect_all(&mut wakes)?;
            for index in std::mem::take(&mut self.free) {
                self.send(index, Duration::ZERO);
            }
        }
        loop {
            let now = self.start.elapsed();
            if self.begin.is_none() && (self.unanswered_count == 0 || now >= PREPARING) {
                self.begin = Some(now);
                self.starved = self.unanswered_count;
            }
            let next = self.arrive_until(now);
            let in_flight = self.connections.len() - self.free.len();
            let end = self.end();
            let (Some(begin), Some(end)) = (self.begin, end) else {
                self.turn(&mut wakes, PREPARING - now)?;
                continue;
            };
            if (next.is_none() && in_flight == 0 && now >= end) || now >= end + PATIENCE {
                self.give_up();
                println!("{}", report::json(self.plan, begin, &self.records, self.unsent, self.starved));
                return Ok(());
            }
            // A closed loop has no arrivals of its own: it is woken by its answers.
            let due = next.unwrap_or(if in_flight == 0 { end } else { end + PATIENCE });
            self.turn(&mut wakes, due.saturating_sub(now))?;
        }
    }

    /// Makes all connections, and leaves the server a moment to accept them.
    fn connect_all(&mut self, wakes: &mut Vec<epoll::Event>) -> io::Result<()> {
        for index in 0..self.plan.connections {
            self.connections[index].open(&self.epoll, index);
            self.turn_until(wakes, Duration::from_secs(index as u64) / CONNECTS_PER_S)?;
        }
        self.turn_until(wakes, self.start.elapsed() + SETTLING)?;
        self.start = Instant::now();
        Ok(())
    }

    fn turn_until(&mut self, wakes: &mut Vec<epoll::Event>, time: Duration) -> io::Result<()> {
        while self.start.elapsed() < time {
            self.turn(wakes, time.saturating_sub(self.start.elapsed()))?;
        }
        Ok(())
    }

    /// When requests stop arriving, once that is known.
    fn end(&self) -> Option<Duration> {
        self.begin.map(|begin| begin + self.plan.length())
    }

    /// Lets everything arrive that is due; returns when the next one is.
    fn arrive_until(&mut self, now: Duration) -> Option<Duration> {
        while let Some(due) = self.arrivals.due() {
            if due > now {
                return Some(due);
            }
            self.arrive(due);
            self.arrivals.advance();
        }
        None
    }

    /// Takes a connection for a request that arrived at that time.
    fn arrive(&mut self, at: Duration) {
        match self.free.pop() {
            Some(index) => self.send(index, at),
            None => self.unsent += 1,
        }
    }

    fn send(&mut self, index: usize, at: Duration) {
        let path = self.arrivals.pick_path(self.plan);
        if let Some(outcome) = self.connections[index].send(&self.epoll, index, self.plan, path, at) {
            self.finish(index, outcome);
        }
    }

    fn turn(&mut self, wakes: &mut Vec<epoll::Event>, wait: Duration) -> io::Result<()> {
        wakes.clear();
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, spare_capacity(wakes), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for wake in wakes.iter() {
            let Ok(index) = usize::try_from(wake.data.u64()) else { continue };
            if let Some(outcome) = self.connections[index].ready(&self.epoll, index, self.plan) {
                self.finish(index, outcome);
            }
        }
        Ok(())
    }

    /// Writes down how a request ended and, in a closed loop, sends the next one.
    fn finish(&mut self, index: usize, outcome: Outcome) {
        let now = self.start.elapsed();
        self.records.push(Record {
            path: outcome.path,
            answer: outcome.answer,
            arrived: outcome.arrived,
            waited: now.saturating_sub(outcome.arrived),
        });
        self.free.push(index);
        if std::mem::take(&mut self.unanswered[index]) {
            self.unanswered_count -= 1;
        }
        // A server that is not there would be asked as fast as it refuses; a failure is told, not repeated.
        let goes_on = matches!(self.plan.pace, Pace::Closed { .. }) && outcome.answer != Answer::Failed;
        if goes_on && self.end().is_none_or(|end| now < end) {
            self.arrive(now);
        }
    }

    fn give_up(&mut self) {
        let now = self.start.elapsed();
        for connection in &mut self.connections {
            if let Some((path, arrived)) = connection.abandon() {
                let waited = now.saturating_sub(arrived);
                self.records.push(Record { path, answer: Answer::None, arrived, waited });
            }
        }
    }
}

//! Many WebSockets at once, each of which sends a message, waits for its echo and sends the next.
//!
//! `socketeer PORT CONNECTIONS SECONDS SIZE text|binary`: opens the WebSockets, a few at a time, and exchanges one
//! message on each. Then it prints how many are open and holds them, until its standard input comes to an end: whoever
//! measures looks at the server meanwhile. After that messages go to and fro for so many seconds, and what is in flight
//! at the end is waited for; with 0 seconds it is one message each, which shows that those held are still there. The
//! result is a second line, of JSON as the first.
//!
//! All messages are made and masked before, and what comes back is compared with what was sent, byte by byte, and not
//! kept: a message costs this client one read and one write, which is the least, so that what is measured is the server.

mod connection;
mod frame;
mod script;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use connection::{Connection, Failure, Outcome};
use script::Script;

/// How many may be opening at once: fewer than the queue of any listening socket takes, and a server that is slow at it
/// is asked as fast as it can.
const OPENING_MAX: usize = 128;

/// How long all of them together may take to open.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);

/// How long an echo is waited for after the end; a message that is out then counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(15);

/// More than the wakes of a turn hardly ever are; the rest comes with the next turn.
const WAKES_PER_TURN: usize = 1024;

/// What one `read` takes: more than the largest message, so that a whole one is a short read.
const READ_SIZE: usize = 128 * 1024;

/// The marker of standard input among the wakes; no connection has this number.
const INPUT: u64 = u64::MAX;

struct Plan {
    port: u16,
    connections: usize,
    time: Duration,
    script: Script,
}

impl Plan {
    /// Reads the arguments; `None` when they do not make sense.
    fn parse(arguments: &[String]) -> Option<Self> {
        let [port, connections, seconds, size, kind] = arguments else { return None };
        let opcode = match kind.as_str() {
            "text" => frame::TEXT,
            "binary" => frame::BINARY,
            _ => return None,
        };
        Some(Self {
            port: port.parse().ok()?,
            connections: connections.parse().ok().filter(|count| *count > 0)?,
            time: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
            script: Script::new(opcode, size.parse().ok()?),
        })
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(plan) = Plan::parse(&arguments) else {
        eprintln!("usage: socketeer PORT CONNECTIONS SECONDS SIZE text|binary");
        return ExitCode::from(2);
    };
    match Socketeer::new(&plan).and_then(Socketeer::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("socketeer: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Socketeer<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    /// `None`: failed, or not begun.
    connections: Vec<Option<Connection>>,
    /// Messages that are out, the first one of a connection that is opening among them.
    in_flight: usize,
    /// Whether each echo is followed by another message.
    goes_on: bool,
    /// How long each message took, since the time began.
    waits: Vec<Duration>,
    failures: Failures,
    input_ended: bool,
}

#[derive(Default)]
struct Failures {
    gone: usize,
    refused: usize,
    wrong: usize,
}

impl<'a> Socketeer<'a> {
    fn new(plan: &'a Plan) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(INPUT);
        let input_ended = match epoll::add(&epoll, io::stdin(), data, epoll::EventFlags::IN) {
            Ok(()) => false,
            // A file is never waited for: there is nobody who would say when to go on.
            Err(Errno::PERM) => true,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            plan,
            epoll,
            connections: (0..plan.connections).map(|_| None).collect(),
            in_flight: 0,
            goes_on: false,
            waits: Vec::with_capacity(1 << 20),
            failures: Failures::default(),
            input_ended,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut turns = Turns::new();
        let opening = self.open_all(&mut turns)?;
        let open = self.connections.iter().flatten().count();
        println!("{{\"open\": {open}, \"opening_s\": {:.6}}}", opening.as_secs_f64());
        io::stdout().flush()?;

        while !self.input_ended {
            self.turn(&mut turns, None)?;
        }
        self.waits.clear();
        let (seconds, in_time) = self.exchange(&mut turns)?;
        for connection in self.connections.iter().flatten() {
            connection.close();
        }
        println!("{}", self.json(seconds, in_time));
        Ok(())
    }

    /// Opens as many as the plan says and as the server lets; returns how long that took.
    fn open_all(&mut self, turns: &mut Turns) -> io::Result<Duration> {
        let start = Instant::now();
        let mut begun = 0;
        while begun < self.plan.connections || self.in_flight > 0 {
            while begun < self.plan.connections && self.in_flight < OPENING_MAX {
                self.connections[begun] = Some(Connection::new(self.plan.port, begun, &self.epoll)?);
                self.in_flight += 1;
                begun += 1;
            }
            let left = OPENING_PATIENCE.saturating_sub(start.elapsed());
            if left.is_zero() {
                // Those that are still on their way are none of ours any more, nor are those not begun.
                self.failures.refused += self.in_flight + self.plan.connections - begun;
                self.in_flight = 0;
                for slot in &mut self.connections {
                    *slot = slot.take().filter(|connection| !connection.waits());
                }
                break;
            }
            self.turn(turns, Some(left))?;
        }
        Ok(start.elapsed())
    }

    /// Lets messages go to and fro until the time is over; returns how long that was, and how many echoes came in it.
    fn exchange(&mut self, turns: &mut Turns) -> io::Result<(f64, usize)> {
        let start = Instant::now();
        self.goes_on = true;
        for number in 0..self.connections.len() {
            self.send(number);
        }
        let mut in_time = None;
        while self.in_flight > 0 {
            let now = start.elapsed();
            if now >= self.plan.time && in_time.is_none() {
                self.goes_on = false;
                in_time = Some((now.as_secs_f64(), self.waits.len()));
            }
            let end = self.plan.time + if in_time.is_some() { PATIENCE } else { Duration::ZERO };
            if now >= end {
                break;
            }
            self.turn(turns, Some(end - now))?;
        }
        // With no time there is one message each, and the time is what that takes.
        let all = (start.elapsed().as_secs_f64(), self.waits.len());
        Ok(in_time.filter(|_| !self.plan.time.is_zero()).unwrap_or(all))
    }

    fn send(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        self.in_flight += 1;
        let outcome = connection.send(&self.plan.script);
        self.finish(number, outcome);
    }

    fn turn(&mut self, turns: &mut Turns, wait: Option<Duration>) -> io::Result<()> {
        turns.wakes.clear();
        let wait = wait.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut turns.wakes), wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for wake in &turns.wakes {
            let token = wake.data.u64();
            if token == INPUT {
                self.read_input(&mut turns.buffer)?;
                continue;
            }
            let Ok(number) = usize::try_from(token) else { continue };
            let Some(connection) = &mut self.connections[number] else { continue };
            let outcome = connection.ready(&self.plan.script, &mut turns.buffer);
            self.finish(number, outcome);
        }
        Ok(())
    }

    /// Nothing is said on standard input; its end is what counts.
    fn read_input(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if rustix::io::read(io::stdin(), buffer)? == 0 {
            self.input_ended = true;
            epoll::delete(&self.epoll, io::stdin())?;
        }
        Ok(())
    }

    /// Writes down how a message fared, and sends the next one.
    fn finish(&mut self, number: usize, outcome: Outcome) {
        if let Some(since) = outcome.echo {
            self.waits.push(since.elapsed());
            self.in_flight -= 1;
        }
        if let Some(failure) = outcome.failure {
            let failed = self.connections[number].take();
            self.in_flight -= usize::from(failed.is_some_and(|connection| connection.waits()));
            match failure {
                Failure::Gone => self.failures.gone += 1,
                Failure::Refused => self.failures.refused += 1,
                Failure::Wrong => self.failures.wrong += 1,
            }
        } else if outcome.echo.is_some() && self.goes_on {
            self.send(number);
        }
    }

    fn json(mut self, seconds: f64, in_time: usize) -> String {
        self.waits.sort_unstable();
        // Nearest rank from above: of few messages, the 99th percentile is the slowest.
        let at = |percent: usize| {
            let rank = (self.waits.len() * percent).div_ceil(100).saturating_sub(1);
            self.waits.get(rank).map_or(0.0, |wait| wait.as_secs_f64() * 1e6)
        };
        format!(
            "{{\"seconds\": {seconds:.6}, \"messages\": {}, \"in_time\": {in_time}, \"p50_us\": {:.1}, \
             \"p99_us\": {:.1}, \"max_us\": {:.1}, \"refused\": {}, \"gone\": {}, \"wrong\": {}, \
             \"unanswered\": {}}}",
            self.waits.len(),
            at(50),
            at(99),
            at(100),
            self.failures.refused,
            self.failures.gone,
            self.failures.wrong,
            self.in_flight,
        )
    }
}

/// What each turn of the loop uses anew.
struct Turns {
    wakes: Vec<epoll::Event>,
    buffer: Vec<u8>,
}

impl Turns {
    fn new() -> Self {
        Self { wakes: Vec::with_capacity(WAKES_PER_TURN), buffer: vec![0; READ_SIZE] }
    }
}

//! The supervisor's loop: signals, words and ends of workers become events of the [`Fleet`], whose actions are carried out here.
//!
//! It is one thread that waits in one place. What it cannot do itself, a [`Host`] does.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use crate::fleet::{Action, Change, Ending, Event, Fleet, Millis, Order, Plan, Saying, Usage, Verb};
use crate::worker::WorkerId;

/// Most bytes of a word that a worker says.
const WORD_SIZE_MAX: usize = 4_096;

/// What starting a worker takes, which is not known here.
pub trait Host {
    /// Forks. Both the supervisor and the worker come back from it.
    ///
    /// # Errors
    /// What the system says.
    fn fork(&mut self) -> io::Result<Forked>;

    /// What a worker has used so far.
    fn usage(&mut self, pid: Pid) -> Usage;

    /// A process that `fork` has made is over.
    fn ended(&mut self, pid: Pid);

    /// Starts a new server that takes the sockets over, and tells this one to stop (SIGTERM) when it serves.
    ///
    /// # Errors
    /// What the system says.
    fn upgrade(&mut self) -> io::Result<Pid>;

    /// It has ended before that: this server goes on.
    fn upgrade_has_failed(&mut self);

    /// Tells the system and the operator of a change; at [`Change::Stopping`] also closes the listening sockets.
    fn changed(&mut self, change: Change);

    /// How often somebody wants to hear that the supervisor is well.
    fn well_every(&self) -> Option<Duration>;

    /// Says that it is.
    fn well(&mut self);

    /// Tells the operator.
    fn say(&mut self, saying: &Saying);
}

/// Who comes back from a fork.
#[derive(Clone, Copy, Debug)]
pub enum Forked {
    /// The supervisor, with the number of the worker's process.
    Parent(Pid),
    /// The worker.
    Child,
}

/// What this process is to be when the supervisor's loop has come back.
#[derive(Debug)]
pub enum Role {
    /// The supervisor, at its end, with its status.
    Supervisor(i32),
    /// A worker.
    Worker(Tether),
}

/// What a worker has of its supervisor.
#[derive(Debug)]
pub struct Tether {
    stream: UnixStream,
    /// Log files were to be opened anew while it waited to serve.
    reopens: bool,
}

/// The byte that says to serve; others are numbers of signals.
const SERVE: u8 = 0;

impl Tether {
    /// Says that this worker could serve, and waits until it may. False when it is not wanted any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn ready(&mut self) -> io::Result<bool> {
        self.stream.write_all(b"ready\n")?;
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return Ok(false),
                Ok(_) if byte[0] == SERVE => return Ok(true),
                Ok(_) if is_reopen(byte[0]) => self.reopens = true,
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether log files were to be opened anew while this worker waited to serve.
    pub fn reopens(&self) -> bool {
        self.reopens
    }

    /// The stream of orders, each of which is the number of the signal that would have the same effect; at its end the supervisor is
    /// gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn orders(&self) -> io::Result<OwnedFd> {
        Ok(self.stream.try_clone()?.into())
    }
}

fn is_reopen(byte: u8) -> bool {
    i32::from(byte) == Signal::USR1.as_raw()
}

/// A worker's process, as the supervisor has it.
struct Child {
    id: WorkerId,
    pid: Pid,
    stream: UnixStream,
    /// What it has said of a word that is not over.
    said: Vec<u8>,
    /// Since when it says no more, as its end is near.
    silent_since: Option<Millis>,
    is_reported: bool,
}

struct Supervisor<'a, H: Host> {
    fleet: Fleet,
    children: Vec<Child>,
    signals: OwnedFd,
    host: &'a mut H,
    began: Instant,
    /// The server that is to succeed this one.
    successor: Option<Pid>,
    /// When usage is looked at next, if it is.
    next_look: Option<Millis>,
    /// When somebody is to hear that all is well, and how often.
    next_well: Option<(Millis, Millis)>,
}

/// How long a process may go on that has closed its end.
const SILENCE_MAX_MS: Millis = 1_000;

/// How often usage is looked at.
const LOOK_EVERY_MS: Millis = 1_000;

/// The signals that operators give a supervisor, and that of a worker's end.
pub fn signals() -> Vec<i32> {
    let signals = [
        Signal::TERM,
        Signal::INT,
        Signal::QUIT,
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::TTIN,
        Signal::TTOU,
        Signal::CHILD,
    ];
    signals.map(Signal::as_raw).into()
}

/// Runs a fleet to its end. `signals` gives the numbers of the signals that this process has had, as bytes.
///
/// # Errors
/// What the system says; a worker that cannot be started is no error but one that has ended.
pub fn supervise(plan: Plan, signals: OwnedFd, host: &mut impl Host) -> io::Result<Role> {
    rustix::io::ioctl_fionbio(&signals, true)?;
    let fleet = Fleet::new(plan);
    let next_look = plan.limits.any().then_some(LOOK_EVERY_MS);
    let next_well = host
        .well_every()
        .and_then(|every| Millis::try_from(every.as_millis()).ok().filter(|every| *every > 0))
        .map(|every| (0, every));
    let mut supervisor = Supervisor {
        fleet,
        children: Vec::new(),
        signals,
        host,
        began: Instant::now(),
        successor: None,
        next_look,
        next_well,
    };
    let mut outcome = supervisor.handle(Event::Time)?;
    while outcome.is_none() {
        outcome = supervisor.turn()?;
    }
    // What this holds of the other workers must not be open in a worker, who would keep them from seeing the supervisor's end.
    Ok(outcome.unwrap_or(Role::Supervisor(0)))
}

impl<H: Host> Supervisor<'_, H> {
    fn now(&self) -> Millis {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Waits for something to happen and sees to it.
    fn turn(&mut self) -> io::Result<Option<Role>> {
        if let Some((at, every)) = self.next_well.filter(|(at, _)| self.now() >= *at) {
            self.host.well();
            self.next_well = Some((at.max(self.now()) + every, every));
        }
        self.wait()?;
        let mut events = self.verbs()?;
        events.extend(self.words());
        events.extend(self.endings()?);
        events.extend(self.silent());
        events.extend(self.looks());
        events.push(Event::Time);
        for event in events {
            if let Some(role) = self.handle(event)? {
                return Ok(Some(role));
            }
        }
        Ok(None)
    }

    fn wait(&self) -> io::Result<()> {
        let unreported = self.children.iter().filter(|child| !child.is_reported);
        let of_silence =
            unreported.filter_map(|child| child.silent_since).min().map(|since| since + SILENCE_MAX_MS);
        let deadline = self
            .fleet
            .deadline()
            .into_iter()
            .chain(of_silence)
            .chain(self.next_look)
            .chain(self.next_well.map(|(at, _)| at))
            .min();
        let timeout = deadline.map(|deadline| {
            let millis = deadline.saturating_sub(self.now());
            Timespec { tv_sec: (millis / 1_000) as i64, tv_nsec: (millis % 1_000 * 1_000_000) as _ }
        });
        let mut watched = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let heard = self.children.iter().filter(|child| child.silent_since.is_none());
        watched.extend(heard.map(|child| PollFd::from_borrowed_fd(child.stream.as_fd(), PollFlags::IN)));
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What operators ask for by signals.
    fn verbs(&mut self) -> io::Result<Vec<Event>> {
        let mut bytes = [0; 64];
        let count = match rustix::io::read(&self.signals, &mut bytes) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let verb = |&byte: &u8| match Signal::from_named_raw(i32::from(byte))? {
            Signal::TERM => Some(Verb::Stop),
            Signal::INT | Signal::QUIT => Some(Verb::Quit),
            Signal::HUP => Some(Verb::Reload),
            Signal::USR1 => Some(Verb::ReopenLogs),
            Signal::USR2 => Some(Verb::Upgrade),
            Signal::TTIN => Some(Verb::Grow),
            Signal::TTOU => Some(Verb::Shrink),
            _ => None,
        };
        Ok(bytes[..count].iter().filter_map(verb).map(Event::Asked).collect())
    }

    /// What workers say.
    fn words(&mut self) -> Vec<Event> {
        let now = self.now();
        let mut events = Vec::new();
        for child in &mut self.children {
            let mut bytes = [0; 512];
            loop {
                match child.stream.read(&mut bytes) {
                    Ok(0) => child.silent_since = child.silent_since.or(Some(now)),
                    Ok(count) => {
                        child.said.extend_from_slice(&bytes[..count]);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => child.silent_since = child.silent_since.or(Some(now)),
                }
                break;
            }
            while let Some(end) = child.said.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = child.said.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                if line == "ready" {
                    events.push(Event::Ready(child.id));
                }
            }
            if child.said.len() > WORD_SIZE_MAX {
                child.said.clear();
            }
        }
        events
    }

    /// Workers that have closed their end, and have not ended since.
    fn silent(&mut self) -> Vec<Event> {
        let now = self.now();
        let is_late = |child: &&mut Child| {
            !child.is_reported && child.silent_since.is_some_and(|since| now >= since + SILENCE_MAX_MS)
        };
        let late = self.children.iter_mut().filter(is_late).map(|child| {
            child.is_reported = true;
            Event::Silent(child.id)
        });
        late.collect()
    }

    /// What workers have used, when it is time to look.
    fn looks(&mut self) -> Vec<Event> {
        let now = self.now();
        if self.next_look.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.next_look = Some(now + LOOK_EVERY_MS);
        self.children.iter().map(|child| Event::Used(child.id, self.host.usage(child.pid))).collect()
    }

    /// Processes that have ended: workers, and as PID 1 whatever they have left behind.
    fn endings(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if self.successor == Some(pid) {
                        self.successor_has_ended(status);
                        continue;
                    }
                    let Some(index) = self.children.iter().position(|child| child.pid == pid) else {
                        continue;
                    };
                    if let Some(ending) = ending(status) {
                        let child = self.children.remove(index);
                        self.host.ended(pid);
                        events.push(Event::Ended(child.id, ending));
                    }
                }
                Ok(None) | Err(Errno::CHILD) => return Ok(events),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn handle(&mut self, event: Event) -> io::Result<Option<Role>> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.now();
            for action in self.fleet.handle(event, now) {
                match action {
                    Action::Start(id) => match self.start(id) {
                        Ok(None) => {}
                        Ok(role) => return Ok(role),
                        Err(error) => {
                            self.say(true, format!("worker {} cannot be started: {error}", id.0));
                            events.push(Event::Ended(id, Ending::Exited(1)));
                        }
                    },
                    Action::Tell(id, order) => self.tell(id, order),
                    Action::Say(saying) => self.host.say(&saying),
                    Action::Upgrade => self.upgrade(),
                    Action::Change(change) => self.host.changed(change),
                    Action::End(status) => return Ok(Some(Role::Supervisor(status))),
                }
            }
        }
        Ok(None)
    }

    fn say(&mut self, is_trouble: bool, text: String) {
        self.host.say(&Saying { is_trouble, text });
    }

    fn upgrade(&mut self) {
        if let Some(pid) = self.successor {
            return self.say(true, format!("an upgrade is under way already (pid {})", pid.as_raw_nonzero()));
        }
        match self.host.upgrade() {
            Ok(pid) => {
                self.successor = Some(pid);
                self.say(false, format!("upgrading: a new server is started (pid {})", pid.as_raw_nonzero()));
            }
            Err(error) => self.say(true, format!("the upgrade has failed: {error}; this server goes on")),
        }
    }

    fn successor_has_ended(&mut self, status: WaitStatus) {
        let Some(ending) = ending(status) else { return };
        self.successor = None;
        self.host.upgrade_has_failed();
        self.say(true, format!("the upgrade has failed: the new server {ending}; this one goes on"));
    }

    /// Starts the process of a worker, in which it gives its role.
    fn start(&mut self, id: WorkerId) -> io::Result<Option<Role>> {
        let (ours, theirs) = UnixStream::pair()?;
        match self.host.fork()? {
            Forked::Child => Ok(Some(Role::Worker(Tether { stream: theirs, reopens: false }))),
            Forked::Parent(pid) => {
                ours.set_nonblocking(true)?;
                self.children.push(Child {
                    id,
                    pid,
                    stream: ours,
                    said: Vec::new(),
                    silent_since: None,
                    is_reported: false,
                });
                Ok(None)
            }
        }
    }

    fn tell(&mut self, id: WorkerId, order: Order) {
        let Some(child) = self.children.iter_mut().find(|child| child.id == id) else { return };
        let byte = match order {
            Order::Serve => SERVE,
            Order::Leave => Signal::TERM.as_raw() as u8,
            Order::Quit => Signal::QUIT.as_raw() as u8,
            Order::ReopenLogs => Signal::USR1.as_raw() as u8,
            Order::Abandon | Order::Kill => {
                let signal = if order == Order::Kill { Signal::KILL } else { Signal::TERM };
                // It may have ended; that is told soon.
                let _ = kill_process(child.pid, signal);
                return;
            }
        };
        // One that is gone, or is stuck and has read none of a whole buffer of orders, is not told.
        let _ = child.stream.write_all(&[byte]);
    }
}

fn ending(status: WaitStatus) -> Option<Ending> {
    let exited = status.exit_status().map(Ending::Exited);
    exited.or_else(|| status.terminating_signal().map(Ending::Signaled))
}

//! The supervisor's loop: signals, words and ends of workers become events of the [`Fleet`], whose actions are carried out here.
//!
//! It is one thread that waits in one place. What it cannot do itself, a [`Host`] does.

mod answers;
mod view;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use serde_json::{Value, json};

use crate::control::Control;
use crate::fleet::{Action, Change, Ending, Event, Fleet, Millis, Order, Plan, Saying, Usage, Verb};
use crate::reload::Watcher;
use crate::tether::{Tether, order};
use crate::worker::{State, WorkerId};
use answers::{Awaited, Waiting};
pub use view::{View, WorkerView};

/// Most bytes of what a worker says at once, such as a traceback.
const WORD_SIZE_MAX: usize = 1 << 20;

/// How long workers may take to tell what their threads are at.
const STACKS_MAX_MS: Millis = 2_000;

/// In how many looks a worker is found to be stuck.
const LOOKS_STUCK: u32 = 4;

/// What starting a worker takes, which is not known here.
pub trait Host {
    /// Forks. Both the supervisor and the worker come back from it.
    ///
    /// # Errors
    /// What the system says.
    fn fork(&mut self) -> io::Result<Forked>;

    /// What a worker has used so far.
    fn usage(&mut self, pid: Pid) -> Usage;

    /// Has a worker's reactor turn, and gives how often it has for that reason; none for one that cannot be asked.
    fn pulse(&mut self, pid: Pid) -> Option<u64>;

    /// Whether who has connected to the control socket may have a say.
    fn may_ask(&self, client: BorrowedFd<'_>) -> bool;

    /// What there is to say about the server that does not change: its version, its addresses.
    fn about(&self) -> Value;

    /// What else is waited for, when it is readable, for [`Host::attend`] to see to.
    fn watched(&self) -> Option<BorrowedFd<'_>>;

    /// Sees to that. What requests are at that it is asked for is told later ([`Host::stack_told`]).
    fn attend(&mut self, view: &View) -> Vec<StackWanted>;

    /// Has a worker find which request it is to tell of.
    ///
    /// # Errors
    /// For whoever asks, when there is no such request.
    fn want_stack(&mut self, pid: Pid, request: u64) -> Result<(), String>;

    /// What a request is at that the host was asked for, or an object with an `error`.
    fn stack_told(&mut self, asker: u64, answer: &Value);

    /// The server, its workers and their requests; or why they cannot be shown.
    ///
    /// # Errors
    /// For whoever asks.
    fn state(&mut self, view: &View) -> Result<Value, String>;

    /// A process that `fork` has made is over.
    fn ended(&mut self, pid: Pid);

    /// Starts a new server that takes the sockets over, and tells this one so ([`TAKEN_OVER`]) when it serves.
    ///
    /// # Errors
    /// What the system says.
    fn upgrade(&mut self) -> io::Result<Pid>;

    /// It has ended before that, or is to: this server has no successor.
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

/// Somebody wants to know what a request is at.
#[derive(Clone, Copy, Debug)]
pub struct StackWanted {
    /// The host's number for who that is.
    pub asker: u64,
    /// The worker's number.
    pub worker: u32,
    /// The request's number there.
    pub request: u64,
}

/// What the server that succeeds this one sends when it serves. Not SIGTERM, by which an operator stops this server and what is to succeed
/// it; and nothing that could do any harm to a process that is not what it was.
pub const TAKEN_OVER: Signal = Signal::URG;

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
    since: Millis,
    /// How often its reactor has turned when it was to, and in how many looks that has not grown. Looks and not time, which goes on for a
    /// machine that is suspended.
    pulse: (Option<u64>, u32),
    is_stuck: bool,
    /// Its threads were asked for then, and it has not told yet.
    stacks_asked: Option<Millis>,
    /// What its threads are at, or were.
    stacks: String,
    /// Why it could not serve.
    report: String,
}

impl Child {
    fn ask_for_stacks(&mut self, now: Millis) {
        // One that was asked and has not told yet is not given more time.
        if self.stacks_asked.is_none() {
            self.stacks.clear();
            self.stacks_asked = Some(now);
            self.send(order::STACKS);
        }
    }

    fn send(&mut self, byte: u8) {
        // One that is gone, or is stuck and has read none of a whole buffer of orders, is not told.
        let _ = self.stream.write_all(&[byte]);
    }
}

struct Supervisor<'a, H: Host> {
    fleet: Fleet,
    watcher: Option<Watcher>,
    children: Vec<Child>,
    signals: OwnedFd,
    host: &'a mut H,
    began: Instant,
    /// The server that is to succeed this one.
    successor: Option<Pid>,
    /// When usage is looked at next, if it is.
    next_look: Option<Millis>,
    /// Workers are looked at this often, whether they move, and next at this time.
    next_pulse: Option<(Millis, Millis)>,
    control: Option<Control>,
    waiting: Vec<Waiting>,
    /// What the last worker said that could not serve.
    report: String,
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
        TAKEN_OVER,
    ];
    signals.map(Signal::as_raw).into()
}

/// What the loop listens to, and how closely it looks.
#[derive(Debug)]
pub struct Senses {
    /// Gives the numbers of the signals that this process has had, as bytes.
    pub signals: OwnedFd,
    /// Where control clients come in, if they do.
    pub control: Option<OwnedFd>,
    /// How long a worker may not move; none: for ever.
    pub stuck_ms: Option<Millis>,
    /// What sees that files have changed, if any are watched.
    pub watcher: Option<Watcher>,
}

/// Runs a fleet to its end.
///
/// # Errors
/// What the system says; a worker that cannot be started is no error but one that has ended.
pub fn supervise(plan: Plan, senses: Senses, host: &mut impl Host) -> io::Result<Role> {
    let Senses { signals, control, stuck_ms, watcher } = senses;
    rustix::io::ioctl_fionbio(&signals, true)?;
    let fleet = Fleet::new(plan);
    let next_look = plan.limits.any().then_some(LOOK_EVERY_MS);
    let next_well = host
        .well_every()
        .and_then(|every| Millis::try_from(every.as_millis()).ok().filter(|every| *every > 0))
        .map(|every| (0, every));
    let mut supervisor = Supervisor {
        fleet,
        watcher,
        children: Vec::new(),
        signals,
        host,
        began: Instant::now(),
        successor: None,
        next_look,
        next_pulse: stuck_ms.map(|most| ((most / Millis::from(LOOKS_STUCK)).max(1), 0)),
        control: control.map(Control::new),
        waiting: Vec::new(),
        report: String::new(),
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
        let is_wanted = self.wait()?;
        let mut events = self.verbs()?;
        events.extend(self.words());
        events.extend(self.questions());
        self.pulses();
        events.extend(self.stacks());
        self.give_up_stacks();
        events.extend(self.endings()?);
        events.extend(self.silent());
        events.extend(self.looks());
        events.extend(self.changes());
        events.push(Event::Time);
        for event in events {
            if let Some(role) = self.handle(event)? {
                return Ok(Some(role));
            }
        }
        if is_wanted {
            let view = self.view();
            let wanted = self.host.attend(&view);
            self.stacks_wanted(wanted);
        }
        Ok(None)
    }

    /// Whether the host has something to see to.
    fn wait(&self) -> io::Result<bool> {
        let unreported = self.children.iter().filter(|child| !child.is_reported);
        let of_silence =
            unreported.filter_map(|child| child.silent_since).min().map(|since| since + SILENCE_MAX_MS);
        let deadline = self
            .fleet
            .deadline()
            .into_iter()
            .chain(of_silence)
            .chain(self.next_look)
            .chain(self.next_pulse.map(|(_, at)| at))
            .chain(self.stacks_due())
            .chain(self.waiting.iter().filter_map(|waiting| waiting.until).min())
            .chain(self.watcher.as_ref().and_then(Watcher::due))
            .chain(self.next_well.map(|(at, _)| at))
            .min();
        let timeout = deadline.map(|deadline| {
            let millis = deadline.saturating_sub(self.now());
            Timespec { tv_sec: (millis / 1_000) as i64, tv_nsec: (millis % 1_000 * 1_000_000) as _ }
        });
        let mut watched = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let heard = self.children.iter().filter(|child| child.silent_since.is_none());
        watched.extend(heard.map(|child| PollFd::from_borrowed_fd(child.stream.as_fd(), PollFlags::IN)));
        let clients = self.control.iter().flat_map(Control::watched);
        watched.extend(clients.map(|(stream, flags)| PollFd::from_borrowed_fd(stream, flags)));
        let files = self.watcher.iter().map(Watcher::stream);
        watched.extend(files.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)));
        let of_host = self.host.watched().map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN));
        let is_watched = of_host.is_some();
        watched.extend(of_host);
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) => Ok(is_watched && watched.last().is_some_and(|last| !last.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
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
            TAKEN_OVER if self.successor.is_some() => Some(Verb::HandOver),
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
        let mut told = Vec::new();
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
                match serde_json::from_slice::<(String, String)>(&line) {
                    Ok((word, _)) if word == "ready" => events.push(Event::Ready(child.id)),
                    Ok((word, text)) if word == "failed" => child.report = text,
                    Ok((word, text)) if word == "stack" => told.push((child.id, text)),
                    Ok((word, text)) if word == "stacks" => {
                        child.stacks = text;
                        child.stacks_asked = None;
                    }
                    _ => {}
                }
            }
            if child.said.len() > WORD_SIZE_MAX {
                child.said.clear();
            }
        }
        told.iter().for_each(|(id, text)| self.stack_told(*id, text));
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

    /// A reload, when watched files have changed.
    fn changes(&mut self) -> Option<Event> {
        let now = self.now();
        let (sayings, is_time) = self.watcher.as_mut()?.look(now);
        sayings.iter().for_each(|saying| self.host.say(saying));
        is_time.then_some(Event::Asked(Verb::Reload))
    }

    /// Rings the workers, and asks those for their threads whose reactor has not turned for too long.
    fn pulses(&mut self) {
        let now = self.now();
        let Some((every, _)) = self.next_pulse.filter(|(_, at)| now >= *at) else { return };
        self.next_pulse = Some((every, now + every));
        let serve = |(id, _, state)| matches!(state, State::Serving { .. }).then_some(id);
        let serving: Vec<_> = self.fleet.workers().filter_map(serve).collect();
        for child in self.children.iter_mut().filter(|child| !child.is_stuck) {
            let pulse = self.host.pulse(child.pid);
            if pulse.is_none() || pulse != child.pulse.0 || !serving.contains(&child.id) {
                child.pulse = (pulse, 0);
                continue;
            }
            child.pulse.1 += 1;
            if child.pulse.1 >= LOOKS_STUCK {
                child.is_stuck = true;
                child.ask_for_stacks(now);
            }
        }
    }

    /// When the last may have told what its threads are at.
    fn stacks_due(&self) -> Option<Millis> {
        self.children.iter().filter_map(|child| child.stacks_asked).min().map(|asked| asked + STACKS_MAX_MS)
    }

    /// Whose threads were asked for: those that are stuck, and those that somebody wants to see.
    fn stacks(&mut self) -> Vec<Event> {
        let now = self.now();
        for child in &mut self.children {
            child.stacks_asked = child.stacks_asked.filter(|asked| now < asked + STACKS_MAX_MS);
        }
        let told = |child: &&Child| child.stacks_asked.is_none();
        let missing: Vec<_> =
            self.children.iter().filter(|child| !told(child)).map(|child| child.id).collect();
        let over = |what: &Awaited| matches!(what, Awaited::Stacks(ids) if !ids.iter().any(|id| missing.contains(id)));
        if self.waiting.iter().any(|waiting| over(&waiting.what)) {
            let workers = self.children.iter().filter(|child| !child.stacks.is_empty()).map(|child| {
                json!({"id": child.id.0, "pid": child.pid.as_raw_nonzero().get(), "stacks": child.stacks})
            });
            let answer = json!({"workers": workers.collect::<Vec<_>>()});
            self.answer(over, &answer);
        }
        let mut events = Vec::new();
        let stuck = self.children.iter_mut().filter(|child| child.is_stuck && child.stacks_asked.is_none());
        for child in stuck {
            let (id, pid) = (child.id, child.pid.as_raw_nonzero());
            let stacks = if child.stacks.is_empty() { "(it does not tell)" } else { child.stacks.trim_end() };
            let text = format!("worker {} does not move (pid {pid}); its threads:\n{stacks}", id.0);
            self.host.say(&Saying { is_trouble: true, text });
            child.is_stuck = false;
            child.pulse.1 = 0;
            events.push(Event::Stuck(id));
        }
        events
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
                        // Its last words, such as why it could not serve.
                        events.extend(self.words());
                        let child = self.children.remove(index);
                        self.host.ended(pid);
                        if !child.report.is_empty() {
                            self.report = child.report;
                        }
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
            if matches!(event, Event::Asked(Verb::Stop | Verb::Quit)) {
                self.call_off_upgrade();
            }
            let is_hand_over = event == Event::Asked(Verb::HandOver);
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
                    Action::Change(change) => {
                        self.settle_waiting(&change);
                        self.host.changed(change);
                    }
                    Action::End(status) => return Ok(Some(Role::Supervisor(status))),
                }
            }
            if is_hand_over {
                // What becomes of it is nothing to this server any more.
                self.successor = None;
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
            Err(error) => self.upgrade_has_failed(&format!("{error}; this server goes on")),
        }
    }

    fn upgrade_has_failed(&mut self, reason: &str) {
        let text = format!("the upgrade has failed: {reason}");
        self.answer(|what| *what == Awaited::Upgrade, &json!({"error": text}));
        self.say(true, text);
    }

    /// Who stops a server does not want another one in its place.
    fn call_off_upgrade(&mut self) {
        if let Some(pid) = self.successor.take() {
            self.host.upgrade_has_failed();
            self.say(false, format!("the upgrade is called off (pid {})", pid.as_raw_nonzero()));
            // It may have ended; nobody asks any more.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn successor_has_ended(&mut self, status: WaitStatus) {
        let Some(ending) = ending(status) else { return };
        self.successor = None;
        self.host.upgrade_has_failed();
        self.upgrade_has_failed(&format!("the new server {ending}; this one goes on"));
    }

    /// Starts the process of a worker, in which it gives its role.
    fn start(&mut self, id: WorkerId) -> io::Result<Option<Role>> {
        let (ours, theirs) = UnixStream::pair()?;
        match self.host.fork()? {
            Forked::Child => Ok(Some(Role::Worker(Tether::new(theirs)))),
            Forked::Parent(pid) => {
                ours.set_nonblocking(true)?;
                let now = self.now();
                self.children.push(Child {
                    id,
                    pid,
                    stream: ours,
                    said: Vec::new(),
                    silent_since: None,
                    is_reported: false,
                    since: now,
                    pulse: (None, 0),
                    is_stuck: false,
                    stacks_asked: None,
                    stacks: String::new(),
                    report: String::new(),
                });
                Ok(None)
            }
        }
    }

    fn tell(&mut self, id: WorkerId, order: Order) {
        let Some(child) = self.children.iter_mut().find(|child| child.id == id) else { return };
        let byte = match order {
            Order::Serve => order::SERVE,
            Order::Retire => order::RETIRE,
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
        child.send(byte);
    }
}

fn ending(status: WaitStatus) -> Option<Ending> {
    let exited = status.exit_status().map(Ending::Exited);
    exited.or_else(|| status.terminating_signal().map(Ending::Signaled))
}

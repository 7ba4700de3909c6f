//! The decisions of the supervisor: what happens to its workers comes in as events, and what is to be done goes out as actions.
//! No process is started here and no clock is read, so that every course of events can be tested.
//!
//! - `words`: events, actions and what is in them.
//! - `limits`: when a worker that serves well is replaced.

mod limits;
mod words;

use crate::counted::counted;
use crate::worker::{Generation, State, Worker, WorkerId};

pub use limits::{Limits, Usage};
pub use words::{Action, Cause, Change, Ending, Event, Order, Saying, Verb};

/// Milliseconds of a clock that never goes back.
pub type Millis = u64;

/// How long the process of a worker may live on beyond its grace: it ends itself, unless it is stuck in the system.
const GRACE_MARGIN_MS: Millis = 5_000;

/// A worker that ends earlier has not run: its successor waits.
const RUN_MIN_MS: Millis = 1_000;

/// How long the next start waits after one that failed; doubled with each.
const BACKOFF_FIRST_MS: Millis = 100;
const BACKOFF_MAX_MS: Millis = 30_000;

/// Starts that may fail in a row while nobody serves.
const FAILURES_MAX: u32 = 5;

/// A worker that ends with it has been told by its settings not to serve, which no code can mend.
const STATUS_BAD_SETTINGS: i32 = 2;

/// When a start is due that waits for a reload.
const NEVER: Millis = Millis::MAX;

/// What a fleet is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Workers that serve.
    pub workers: usize,
    /// How long a worker may take until it is ready.
    pub start_timeout_ms: Millis,
    /// How long one that leaves may take to finish what it has.
    pub grace_ms: Millis,
    /// How long all go on, not ready any more, after a stop was asked for.
    pub retire_ms: Millis,
    /// Most workers that may be asked for.
    pub workers_max: usize,
    /// Whether a reload replaces one worker after the other, instead of all of them at once.
    pub rolling: bool,
    /// Whether a reload comes as soon as code has changed, so that code that cannot start is no reason to end.
    pub patient: bool,
    /// When workers are replaced that serve well.
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No worker has served yet.
    Opening,
    Serving,
    /// Workers of the next generation are started.
    Reloading(Generation),
    /// Goes on until this time, and then ends.
    Retiring {
        until: Millis,
    },
    /// Ends with this status when the last worker has.
    Ending(i32),
}

/// The workers of a supervisor.
#[derive(Debug)]
pub struct Fleet {
    plan: Plan,
    phase: Phase,
    workers: Vec<Worker>,
    generation: Generation,
    /// The last one of which a worker was ready. Until then one is started and not all, so that what is broken fails once.
    proven: Option<Generation>,
    last_generation: u32,
    last_id: u32,
    /// When it was last asked what to do.
    now: Millis,
    /// Workers in a row that could not start or did not serve for long, and when the next may be started.
    failures: u32,
    failed_at: Millis,
    next_start: Millis,
    /// A reload was asked for while another was under way.
    reload_again: bool,
    /// How many workers had others put in their place, for each cause.
    restarts: [u64; Cause::ALL.len()],
    actions: Vec<Action>,
}

impl Fleet {
    /// A fleet that is to be started.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            phase: Phase::Opening,
            workers: Vec::new(),
            generation: Generation(1),
            proven: None,
            last_generation: 1,
            last_id: 0,
            now: 0,
            failures: 0,
            failed_at: 0,
            next_start: 0,
            reload_again: false,
            restarts: [0; Cause::ALL.len()],
            actions: Vec::new(),
        }
    }

    /// What is to be done because of `event`, in this order. The first event of a fleet is [`Event::Time`].
    pub fn handle(&mut self, event: Event, now: Millis) -> Vec<Action> {
        match event {
            Event::Ready(id) => self.ready(id),
            Event::Used(id, usage) => {
                let limits = self.plan.limits;
                if let Some(worker) = self.worker(id)
                    && let State::Serving { since } = worker.state
                    && worker.used_up.is_none()
                {
                    worker.used_up = limits.exceeded(id, now.saturating_sub(since), usage);
                }
            }
            Event::Silent(id) => self.silent(id, now),
            Event::Stuck(id) => self.stuck(id),
            Event::Ended(id, ending) => self.ended(id, ending, now),
            Event::Asked(verb) => self.asked(verb, now),
            Event::Time => {}
        }
        self.now = now;
        let has_run = |worker: &Worker| matches!(worker.state, State::Serving { since } if since >= self.failed_at && since + RUN_MIN_MS <= now);
        if self.failures > 0 && self.workers.iter().any(has_run) {
            self.failures = 0;
        }
        self.enforce(now);
        self.settle(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Time`] is due, if nothing else happens before.
    pub fn deadline(&self) -> Option<Millis> {
        let of_workers = self.workers.iter().filter_map(Worker::deadline).min();
        let wants_start = matches!(self.phase, Phase::Opening | Phase::Serving)
            && (self.missing() > 0 || self.to_be_replaced().is_some());
        let reloads = matches!(self.phase, Phase::Reloading(_));
        let of_phase = if let Phase::Retiring { until } = self.phase { Some(until) } else { None };
        // What could be started at once was, when it was last asked.
        let of_start =
            Some(self.next_start).filter(|at| (wants_start || reloads) && *at > self.now && *at < NEVER);
        of_workers.into_iter().chain(of_start).chain(of_phase).min()
    }

    /// The workers and how far they are, for whoever asks.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, Generation, State)> + '_ {
        self.workers.iter().map(|worker| (worker.id, worker.generation, worker.state))
    }

    /// Workers that are to serve.
    pub fn workers_wanted(&self) -> usize {
        self.plan.workers
    }

    /// How many workers had others put in their place, and why.
    pub fn restarts(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.into_iter().map(|cause| (cause, self.restarts[cause as usize]))
    }

    fn count(&mut self, cause: Cause) {
        self.restarts[cause as usize] += 1;
    }

    /// Most that may be asked for.
    pub fn workers_max(&self) -> usize {
        self.plan.workers_max
    }

    /// What it is about, in one word.
    pub fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Opening => "starting",
            Phase::Serving => "serving",
            Phase::Reloading(_) => "reloading",
            Phase::Retiring { .. } => "retiring",
            Phase::Ending(_) => "stopping",
        }
    }

    fn worker(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }

    fn say(&mut self, text: String) {
        self.actions.push(Action::Say(Saying { is_trouble: false, text }));
    }

    fn warn(&mut self, text: String) {
        self.actions.push(Action::Say(Saying { is_trouble: true, text }));
    }

    fn ready(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker(id).filter(|worker| matches!(worker.state, State::Starting { .. }))
        {
            worker.state = State::Waiting;
            let generation = worker.generation;
            self.proven = self.proven.max(Some(generation));
        }
    }

    /// It has left its loop, but something of the application's keeps the process, such as a thread.
    fn silent(&mut self, id: WorkerId, now: Millis) {
        if let Some(worker) = self.worker(id).filter(|worker| worker.is_serving()) {
            worker.state = State::Leaving { until: now + GRACE_MARGIN_MS };
            self.warn(format!("worker {} serves no more; it is replaced", id.0));
            self.count(Cause::Silent);
        }
    }

    fn stuck(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker(id).filter(|worker| worker.is_serving()) {
            worker.state = State::Killed { too_late: false };
            self.warn(format!("worker {} is stuck: it is killed and replaced", id.0));
            self.count(Cause::Stuck);
            self.tell(id, Order::Kill);
        }
    }

    fn ended(&mut self, id: WorkerId, ending: Ending, now: Millis) {
        let Some(index) = self.workers.iter().position(|worker| worker.id == id) else { return };
        let worker = self.workers.remove(index);
        match worker.state {
            State::Starting { .. } | State::Waiting => self.could_not_start(&worker, ending, now),
            State::Serving { since } => {
                self.warn(format!("worker {} {ending} while it served; it is replaced", id.0));
                self.count(if matches!(ending, Ending::Exited(_)) { Cause::Ended } else { Cause::Killed });
                if now.saturating_sub(since) < RUN_MIN_MS {
                    self.postpone(now);
                }
            }
            State::Killed { too_late: true } => self.could_not_start(&worker, ending, now),
            State::Leaving { .. } | State::Killed { too_late: false } => {}
        }
    }

    fn could_not_start(&mut self, worker: &Worker, ending: Ending, now: Millis) {
        let id = worker.id.0;
        match self.phase {
            Phase::Opening if self.plan.patient && ending != Ending::Exited(STATUS_BAD_SETTINGS) => {
                self.warn(format!(
                    "worker {id} {ending} before it could serve; it is started again when a file changes"
                ));
                self.next_start = if std::mem::take(&mut self.reload_again) { now } else { NEVER };
            }
            Phase::Opening => {
                let status = match ending {
                    // It has said why.
                    Ending::Exited(status @ 1..) => status,
                    _ => {
                        self.warn(format!(
                            "worker {id} {ending} before it could serve: the server does not start"
                        ));
                        1
                    }
                };
                self.end(status, Order::Quit, now);
            }
            Phase::Reloading(generation) if worker.generation == generation => {
                let serve = |other: &Worker| other.generation == generation && other.is_serving();
                let remains = if self.workers.iter().any(serve) {
                    // Those that were replaced are gone.
                    self.generation = generation;
                    "those that serve go on, old and new"
                } else {
                    "the former workers go on"
                };
                let reason = format!("worker {id} {ending} before it could serve; {remains}");
                self.warn(format!("the reload has failed: {reason}"));
                self.actions.push(Action::Change(Change::ReloadFailed(reason)));
                self.phase = Phase::Serving;
                self.dismiss(|other| other.generation == generation && other.is_new(), now);
                if self.generation == generation {
                    self.postpone(now);
                }
            }
            Phase::Retiring { .. } | Phase::Ending(_) => {}
            Phase::Serving | Phase::Reloading(_) => {
                self.count(Cause::NotStarted);
                self.postpone(now);
                let wait = self.next_start.saturating_sub(now);
                self.warn(format!(
                    "worker {id} {ending} before it could serve; the next is started in {wait} ms"
                ));
                if self.failures >= FAILURES_MAX
                    && !self.plan.patient
                    && !self.workers.iter().any(Worker::is_serving)
                {
                    self.warn(format!(
                        "{FAILURES_MAX} workers in a row could not start, and none serves: the server ends"
                    ));
                    self.end(1, Order::Quit, now);
                }
            }
        }
    }

    fn postpone(&mut self, now: Millis) {
        let wait = BACKOFF_FIRST_MS.checked_shl(self.failures).unwrap_or(BACKOFF_MAX_MS).min(BACKOFF_MAX_MS);
        self.failures += 1;
        self.failed_at = now;
        self.next_start = now + wait;
    }

    fn asked(&mut self, verb: Verb, now: Millis) {
        let is_ending = matches!(self.phase, Phase::Ending(_));
        match verb {
            Verb::Stop if is_ending => self.end(self.status(), Order::Quit, now),
            Verb::Stop
                if matches!(self.phase, Phase::Serving | Phase::Reloading(_)) && self.plan.retire_ms > 0 =>
            {
                self.retire(now);
            }
            Verb::Stop if matches!(self.phase, Phase::Retiring { .. }) => self.end(0, Order::Quit, now),
            Verb::Stop => self.end(0, Order::Leave, now),
            Verb::Quit => self.end(self.status(), Order::Quit, now),
            _ if is_ending => {}
            Verb::HandOver => self.end(0, Order::Leave, now),
            Verb::Reload => {
                if self.plan.patient {
                    self.failures = 0;
                    self.next_start = now;
                }
                match self.phase {
                    Phase::Serving => self.reload(),
                    Phase::Retiring { .. } => {}
                    Phase::Opening if self.workers.is_empty() => {}
                    _ => self.reload_again = true,
                }
            }
            Verb::Upgrade if matches!(self.phase, Phase::Retiring { .. }) => {}
            Verb::Upgrade => self.actions.push(Action::Upgrade),
            Verb::Grow => self.resize(self.plan.workers + 1),
            Verb::Shrink => self.resize(self.plan.workers - 1),
            Verb::Resize(workers) => self.resize(workers),
            Verb::ReopenLogs => {
                let ids: Vec<_> = self.workers.iter().map(|worker| worker.id).collect();
                for id in ids {
                    self.tell(id, Order::ReopenLogs);
                }
            }
        }
    }

    fn resize(&mut self, workers: usize) {
        let most = self.plan.workers_max;
        if workers > most {
            self.warn(format!("there are {most} workers at most: for more, start with more"));
        }
        self.plan.workers = workers.clamp(1, most);
    }

    /// Goes on until load balancers have seen that there is nothing to come here any more.
    fn retire(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Reloading(_)) {
            self.actions.push(Action::Change(Change::ReloadFailed("the server stops".to_owned())));
        }
        self.phase = Phase::Retiring { until: now + self.plan.retire_ms };
        self.say(format!(
            "stopping in {} s: this server is not ready any more",
            self.plan.retire_ms.div_ceil(1_000)
        ));
        self.actions.push(Action::Change(Change::Retiring));
        self.dismiss(Worker::is_new, now);
        let serving: Vec<_> =
            self.workers.iter().filter(|worker| worker.is_serving()).map(|worker| worker.id).collect();
        for id in serving {
            self.tell(id, Order::Retire);
        }
    }

    fn status(&self) -> i32 {
        if let Phase::Ending(status) = self.phase { status } else { 0 }
    }

    fn reload(&mut self) {
        self.reload_again = false;
        self.last_generation += 1;
        self.phase = Phase::Reloading(Generation(self.last_generation));
        self.actions.push(Action::Change(Change::Reloading));
        self.say("reloading: new workers are started".to_owned());
    }

    /// Ends the whole fleet.
    fn end(&mut self, status: i32, order: Order, now: Millis) {
        if !matches!(self.phase, Phase::Ending(_)) {
            self.actions.push(Action::Change(Change::Stopping));
        }
        self.phase = Phase::Ending(status);
        let staying: Vec<_> = self.workers.iter().map(|worker| worker.id).collect();
        for id in staying {
            self.send_away(id, order, now);
        }
    }

    /// Lets the workers go that `which` picks.
    fn dismiss(&mut self, which: impl Fn(&Worker) -> bool, now: Millis) {
        for id in self.staying(which) {
            self.send_away(id, Order::Leave, now);
        }
    }

    fn staying(&self, which: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        let picked = self.workers.iter().filter(|worker| worker.is_staying() && which(worker));
        picked.map(|worker| worker.id).collect()
    }

    /// Has one worker leave: who does not serve yet has nothing to finish.
    fn send_away(&mut self, id: WorkerId, order: Order, now: Millis) {
        let grace = self.plan.grace_ms;
        let Some(worker) = self.worker(id) else { return };
        let soon = State::Leaving { until: now + GRACE_MARGIN_MS };
        let (state, order) = match (worker.state, order) {
            (State::Killed { .. }, _) => return,
            (State::Starting { .. }, _) => (soon, Order::Abandon),
            (_, Order::Quit) => (soon, Order::Quit),
            (State::Leaving { .. }, _) => return,
            (State::Waiting | State::Serving { .. }, _) => {
                (State::Leaving { until: now + grace + GRACE_MARGIN_MS }, Order::Leave)
            }
        };
        worker.state = state;
        self.tell(id, order);
    }

    fn tell(&mut self, id: WorkerId, order: Order) {
        self.actions.push(Action::Tell(id, order));
    }

    /// Kills who is too late.
    fn enforce(&mut self, now: Millis) {
        let late: Vec<_> = self
            .workers
            .iter()
            .filter(|worker| worker.deadline().is_some_and(|deadline| deadline <= now))
            .map(|worker| (worker.id, worker.state))
            .collect();
        for (id, state) in late {
            let too_late = matches!(state, State::Starting { .. });
            let seconds = self.plan.start_timeout_ms.div_ceil(1_000);
            self.warn(if too_late {
                format!("worker {} was not ready within {seconds} s: it is killed", id.0)
            } else {
                format!("worker {} has not ended within its grace: it is killed", id.0)
            });
            if let Some(worker) = self.worker(id) {
                worker.state = State::Killed { too_late };
            }
            self.tell(id, Order::Kill);
        }
    }

    /// Brings the fleet one step nearer to what it is to be.
    fn settle(&mut self, now: Millis) {
        match self.phase {
            Phase::Ending(status) => {
                if self.workers.is_empty() {
                    self.actions.push(Action::End(status));
                }
                return;
            }
            Phase::Retiring { until } => {
                if now >= until || !self.workers.iter().any(Worker::is_serving) {
                    self.end(0, Order::Leave, now);
                    self.settle(now);
                }
                return;
            }
            Phase::Reloading(generation) => self.settle_reload(generation, now),
            Phase::Opening | Phase::Serving => {
                self.let_serve(|_| true, now);
                self.settle_size(now);
                self.settle_replacements(now);
            }
        }
        if self.reload_again && self.phase == Phase::Serving {
            self.reload();
            self.settle(now);
        }
    }

    /// Has the workers serve that are ready and that `which` picks; those that they replace leave.
    fn let_serve(&mut self, which: impl Fn(&Worker) -> bool, now: Millis) {
        let mut replaced = Vec::new();
        let mut ready = Vec::new();
        for worker in self.workers.iter_mut().filter(|worker| worker.state == State::Waiting && which(worker))
        {
            worker.state = State::Serving { since: now };
            ready.push(worker.id);
            replaced.extend(worker.replaces.take());
        }
        if ready.is_empty() {
            return;
        }
        for id in ready {
            self.tell(id, Order::Serve);
        }
        if self.phase == Phase::Opening {
            self.phase = Phase::Serving;
            self.actions.push(Action::Change(Change::Opened));
        }
        for id in replaced {
            self.send_away(id, Order::Leave, now);
        }
    }

    fn settle_reload(&mut self, next: Generation, now: Millis) {
        let wanted = self.plan.workers;
        let of_next = |worker: &&Worker| worker.generation == next && worker.is_staying();
        if self.plan.rolling {
            let ready =
                self.workers.iter().filter(of_next).filter(|worker| worker.state == State::Waiting).count();
            self.let_serve(|worker| worker.generation == next, now);
            // The oldest go first, one for each that came, unless there are too few.
            let serving = self.workers.iter().filter(|worker| worker.is_serving()).count();
            for _ in 0..ready.min(serving.saturating_sub(wanted)) {
                let oldest =
                    self.workers.iter().find(|worker| worker.generation < next && worker.is_staying());
                if let Some(id) = oldest.map(|worker| worker.id) {
                    self.count(Cause::Reload);
                    self.send_away(id, Order::Leave, now);
                }
            }
        }
        let all = self.workers.iter().filter(of_next).count();
        let starting = self
            .workers
            .iter()
            .filter(of_next)
            .filter(|worker| matches!(worker.state, State::Starting { .. }))
            .count();
        if all >= wanted && starting == 0 {
            self.let_serve(|worker| worker.generation == next, now);
            self.generation = next;
            self.phase = Phase::Serving;
            for id in self.staying(|worker| worker.generation < next) {
                self.count(Cause::Reload);
                self.send_away(id, Order::Leave, now);
            }
            let all = counted(all as u64, "new worker serves", "new workers serve");
            self.say(format!("reloaded: {all}"));
            self.actions.push(Action::Change(Change::Reloaded));
            self.settle_size(now);
            return;
        }
        if now < self.next_start {
            return;
        }
        if !self.plan.rolling {
            self.let_serve(|worker| worker.generation < next, now);
            // Who dies meanwhile is succeeded as at any other time.
            let former = |worker: &&Worker| worker.generation < next && worker.counts();
            let former = self.workers.iter().filter(former).count();
            for _ in former..wanted.min(former + self.starts_at_once(self.generation)) {
                self.start(self.generation, None, now);
            }
        }
        let at_once = if self.plan.rolling { 1 } else { self.starts_at_once(next) };
        for _ in starting..at_once.min(starting + wanted.saturating_sub(all)) {
            self.start(next, None, now);
        }
    }

    /// Workers that are to be started for there to be as many as wanted.
    fn missing(&self) -> usize {
        let counted =
            self.workers.iter().filter(|worker| worker.counts() && worker.replaces.is_none()).count();
        self.plan.workers.saturating_sub(counted)
    }

    /// Most workers that may be starting.
    fn starts_at_once(&self, generation: Generation) -> usize {
        if self.proven >= Some(generation) && self.failures == 0 { self.plan.workers } else { 1 }
    }

    fn settle_size(&mut self, now: Millis) {
        if now >= self.next_start {
            let starting =
                self.workers.iter().filter(|worker| matches!(worker.state, State::Starting { .. })).count();
            let most = self.starts_at_once(self.generation).saturating_sub(starting);
            for _ in 0..self.missing().min(most) {
                self.start(self.generation, None, now);
            }
        }
        let staying: Vec<_> = self
            .workers
            .iter()
            .filter(|worker| worker.is_staying() && worker.replaces.is_none())
            .map(|worker| worker.id)
            .collect();
        for &id in staying.iter().skip(self.plan.workers) {
            self.send_away(id, Order::Leave, now);
        }
    }

    /// A worker whose replacement is to be started: one at a time, so that there are never fewer than wanted.
    fn to_be_replaced(&self) -> Option<&Worker> {
        let under_way = self.workers.iter().any(|worker| worker.is_new() && worker.replaces.is_some());
        let mut wishes = self.workers.iter().filter(|worker| worker.is_serving() && worker.used_up.is_some());
        if under_way { None } else { wishes.next() }
    }

    fn settle_replacements(&mut self, now: Millis) {
        if now < self.next_start {
            return;
        }
        let wish = self.to_be_replaced().and_then(|worker| Some((worker.id, worker.used_up.clone()?)));
        if let Some((id, (cause, reason))) = wish {
            self.count(cause);
            self.say(format!("worker {} is replaced: {reason}", id.0));
            self.start(self.generation, Some(id), now);
        }
    }

    fn start(&mut self, generation: Generation, replaces: Option<WorkerId>, now: Millis) {
        self.last_id += 1;
        let id = WorkerId(self.last_id);
        self.workers.push(Worker {
            id,
            generation,
            replaces,
            used_up: None,
            state: State::Starting { until: now + self.plan.start_timeout_ms },
        });
        self.actions.push(Action::Start(id));
    }
}

//! Leader/Followers with lazy promotion: the thread that turns the reactor also runs the application, until a call blocks.
//!
//! ```text
//!               call blocks, or waits for its client
//!      leading ──────────────────────────────────────▶ serving ──▶ parked ──▶ retired
//!         ▲                                               ▲          │
//!         │            deposed a leader                   │ exchange │
//!         └───────────────────────────────────────────────┴──────────┘
//! ```
//! There is one thread more than may run the application, so that somebody can always lead. While calls habitually block, the
//! leader runs none itself: it hands each request to a parked thread. A thread parks before it gives its permit back, so that
//! whoever has a permit finds a thread. What waits for a permit waits in the engine.

mod monitor;

use std::cell::Cell;
use std::io;
use std::iter;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyConnectionResetError, PyException, PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use tidegate_engine::{
    Admitted, CallNumber, Counter, Gauge, Handle, Leadership, Lifecycle, Permit, Reactor, RequestKey, counted,
};

use crate::gateway::{Mounts, Wsgi};
use crate::host::parking::park_until;
use crate::host::place::Place;
use crate::host::shortage::Shortage;
use crate::host::signals::{SignalPipe, run_signal_handlers};
use crate::host::thread_runs::{ThreadRuns, tell_lost};
use crate::host::{Deferred, Host, Sign, away, lock, python_thread, system_thread};
use crate::overdue::{Runner, Stack};

/// Longest wait of a call for its client, after which it looks whether the server has ended.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How often signals are looked for when Python does not tell of them.
const LOOK_FOR_SIGNALS_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// How long a leader that waits for its client turns the reactor itself, when nobody can follow it, before it looks again.
const LEADERLESS: Duration = Duration::from_millis(10);

/// How long calls have to end when a signal handler has ended the server with SystemExit.
const LAST_RESORT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Bytes of a response that may be on their way when the application is asked for its next block: the leader sends them.
const UNSENT_MAX: u64 = 64 * 1024;

/// How often the first thread is started before what is raised meanwhile is taken for its own failure and not for a signal handler's.
const LEADER_STARTS_MAX: u32 = 16;

/// What a thread does next.
enum Role {
    Lead,
    Serve(Admitted),
    End,
}

/// What a thread begins with.
enum First {
    /// This, or a wait for a role.
    Given(Option<Role>),
    Taken,
    /// The thread is not counted on: should it begin after all, it ends at once.
    Withdrawn,
}

/// What a turn came to.
enum Turned {
    /// The leader is to run this.
    Run(Admitted),
    /// A new thread is to run this.
    Start(Admitted),
    /// Clients have left whose applications want to know.
    Deferred,
    Ended,
}

/// How a time as the leader ended.
enum Led {
    /// The call that was led from is over, and another thread leads. A call of the application leaves its permit.
    Deposed(Option<Permit>),
    ToTheEnd,
}

#[derive(Default)]
struct Pool {
    /// Last in, first out, so that as few threads as possible are at work and the others can go.
    parked: Vec<Arc<Place<Role>>>,
    /// Threads to be counted on, those that are being started among them.
    total: usize,
    /// Threads that have not ended.
    alive: usize,
}

/// What the operator decides about threads.
pub(crate) struct ThreadsOptions {
    /// Most calls at once.
    pub(crate) threads_max: usize,
    /// Threads beyond them, for requests that ask after the server's health.
    pub(crate) reserve: usize,
    /// Bytes; none for what `threading` has.
    pub(crate) stack_size: Option<u64>,
    /// How long a thread stays without work, unless it is the last.
    pub(crate) idle: Duration,
    /// Somebody wants to know which request runs where.
    pub(crate) tells_runs: bool,
    /// Most threads that are replaced because they do not come back.
    pub(crate) lost_max: usize,
}

thread_local! {
    /// The call that this thread runs as the leader.
    static LEADS_IN: Cell<Option<CallNumber>> = const { Cell::new(None) };
}

pub(crate) struct ThreadsHost {
    reactor: Mutex<Reactor>,
    handle: Handle,
    leadership: Leadership,
    deferred: Arc<Deferred>,
    options: ThreadsOptions,
    pool: Mutex<Pool>,
    runs: ThreadRuns,
    /// For the names of threads.
    started: AtomicUsize,
    /// The system's number of the thread that leads.
    leader: AtomicI32,
    /// Milliseconds since `epoch` until which calls count as blocking; 0 when they do not.
    eager_until_ms: AtomicU64,
    epoch: Instant,
    shortage: Shortage,
    /// A thread is at what applications want called when a client leaves.
    calls_deferred: AtomicBool,
    monitor: OnceLock<Thread>,
    monitor_sleeps: AtomicBool,
    ending: AtomicBool,
    /// What ended the server, if it was not the end of its work.
    failure: Mutex<Option<PyErr>>,
    /// Closed when the last thread has ended.
    finished: Mutex<Option<OwnedFd>>,
}

impl ThreadsHost {
    pub(crate) fn new(reactor: Reactor, options: ThreadsOptions) -> Arc<Self> {
        let handle = reactor.handle();
        Arc::new(Self {
            reactor: Mutex::new(reactor),
            handle,
            leadership: Leadership::default(),
            deferred: Arc::default(),
            runs: ThreadRuns::new(options.tells_runs),
            options,
            pool: Mutex::default(),
            started: AtomicUsize::new(0),
            leader: AtomicI32::new(0),
            eager_until_ms: AtomicU64::new(0),
            epoch: Instant::now(),
            shortage: Shortage::new(),
            calls_deferred: AtomicBool::new(false),
            monitor: OnceLock::new(),
            monitor_sleeps: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            failure: Mutex::new(None),
            finished: Mutex::new(None),
        })
    }

    /// Serves until the server has ended. The calling thread keeps out of it: signal handlers of the application's own run here.
    pub(crate) fn run(self: &Arc<Self>, py: Python<'_>, mounts: Arc<Mounts<Wsgi>>) -> PyResult<()> {
        // Before anybody accepts: those who connect may leave no descriptor.
        let signals = SignalPipe::new(py)?;
        let (ended, until) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        *lock(&self.finished) = Some(until);
        let host = self.clone();
        let monitor =
            std::thread::Builder::new().name("tidegate-monitor".into()).spawn(move || host.watch_calls())?;
        let _ = self.monitor.set(monitor.thread().clone());
        let outcome = match self.start_leader(py, &mounts) {
            Ok(()) => self.wait_for_end(py, &mounts, &ended, signals),
            Err(error) => Err(error),
        };
        self.ending.store(true, Ordering::SeqCst);
        monitor.thread().unpark();
        py.detach(|| drop(monitor.join()));
        match lock(&self.failure).take() {
            Some(failure) => Err(failure),
            None => outcome,
        }
    }

    /// Starts the first thread. Signal handlers may raise meanwhile, as this is the main thread: what they raise is logged, but for
    /// what is meant to end the server.
    fn start_leader(self: &Arc<Self>, py: Python<'_>, mounts: &Arc<Mounts<Wsgi>>) -> PyResult<()> {
        let mut starts = 0;
        loop {
            starts += 1;
            self.count_new_thread(&mut lock(&self.pool));
            let error = match self.start_thread(py, mounts, Some(Role::Lead)) {
                Ok(None) => return Ok(()),
                Ok(Some(error)) if error.is_instance_of::<PyException>(py) => {
                    mounts.log_error(py, "a signal handler failed", &error);
                    return Ok(());
                }
                Ok(Some(error)) => {
                    self.handle.stop();
                    return Err(error);
                }
                Err(refused) => refused.0,
            };
            // "can't start new thread", or the want of memory.
            let refused =
                error.is_instance_of::<PyRuntimeError>(py) || error.is_instance_of::<PyMemoryError>(py);
            if refused || starts == LEADER_STARTS_MAX || !error.is_instance_of::<PyException>(py) {
                return Err(error);
            }
            mounts.log_error(py, "a signal handler failed", &error);
        }
    }

    fn wait_for_end(
        &self,
        py: Python<'_>,
        mounts: &Mounts<Wsgi>,
        ended: &OwnedFd,
        mut signals: SignalPipe<'_>,
    ) -> PyResult<()> {
        let heard = signals.take_heard();
        let look_every = (!signals.is_used()).then_some(&LOOK_FOR_SIGNALS_EVERY);
        let mut outcome = Ok(());
        loop {
            // SystemExit and KeyboardInterrupt end the server, as they do without threads.
            if let Err(error) = run_signal_handlers(py, mounts) {
                self.handle.stop();
                outcome = Err(error);
            }
            // The other end is closed at the end.
            let most = if outcome.is_err() { Some(&LAST_RESORT) } else { look_every };
            let mut looks: Vec<_> =
                iter::once(ended).chain(&heard).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            let seen = py.detach(|| poll(&mut looks, most));
            let over = !looks[0].revents().is_empty();
            if over || (outcome.is_err() && matches!(seen, Ok(0))) {
                return outcome;
            }
            let mut bytes = [0; 64];
            while heard.as_ref().is_some_and(|heard| matches!(rustix::io::read(heard, &mut bytes), Ok(1..))) {
            }
        }
    }

    fn count_new_thread(&self, pool: &mut Pool) {
        pool.total += 1;
        pool.alive += 1;
        self.show_total(pool);
    }

    fn show_total(&self, pool: &Pool) {
        if let Some(record) = self.handle.record() {
            record.set(Gauge::Threads, pool.total as u64);
        }
    }

    /// Starts a thread, which is counted already, with a role, or to be parked. When the system has no more, the role comes back. A signal
    /// handler may raise although the thread has begun: then that error is given.
    fn start_thread(
        self: &Arc<Self>,
        py: Python<'_>,
        mounts: &Arc<Mounts<Wsgi>>,
        role: Option<Role>,
    ) -> Result<Option<PyErr>, Box<(PyErr, Option<Role>)>> {
        let first = Arc::new(Mutex::new(First::Given(role)));
        let Err(error) = self.start_python_thread(py, mounts, first.clone()) else { return Ok(None) };
        match std::mem::replace(&mut *lock(&first), First::Withdrawn) {
            First::Given(role) => {
                let mut pool = lock(&self.pool);
                pool.total -= 1;
                pool.alive -= 1;
                Err(Box::new((error, role)))
            }
            First::Taken | First::Withdrawn => Ok(Some(error)),
        }
    }

    fn start_python_thread(
        self: &Arc<Self>,
        py: Python<'_>,
        mounts: &Arc<Mounts<Wsgi>>,
        first: Arc<Mutex<First>>,
    ) -> PyResult<()> {
        let (host, mounts) = (self.clone(), mounts.clone());
        let name = format!("tidegate-{}", self.started.fetch_add(1, Ordering::Relaxed) + 1);
        python_thread::start(py, &name, self.options.stack_size, move |py| {
            let given = std::mem::replace(&mut *lock(&first), First::Taken);
            if let First::Given(role) = given {
                host.live(py, &mounts, role);
            }
        })
    }

    /// A thread's life.
    fn live(self: &Arc<Self>, py: Python<'_>, mounts: &Arc<Mounts<Wsgi>>, first: Option<Role>) {
        let place = Arc::new(Place::default());
        let (mut next, mut permit) = (first, None);
        while let Some(role) =
            next.take().or_else(|| away(py, &self.handle, || self.park(&place, permit.take())))
        {
            // A panic is a mistake of ours. On a thread that serves it costs one request; on the leader it ends the server, in order.
            match role {
                Role::Lead => match catch_unwind(AssertUnwindSafe(|| self.lead(py, mounts))) {
                    Ok(Ok(Led::Deposed(used))) => (next, permit) = after_call(used),
                    Ok(Ok(Led::ToTheEnd)) => self.end(),
                    Ok(Err(error)) => self.fail(error),
                    Err(_) => self.fail(PyRuntimeError::new_err("the thread that leads has panicked")),
                },
                Role::Serve(admitted) => {
                    let used = self.serve(py, mounts, admitted);
                    (next, permit) = after_call(Some(used));
                }
                Role::End => {
                    lock(&self.pool).total -= 1;
                    break;
                }
            }
        }
        let last = {
            let mut pool = lock(&self.pool);
            pool.alive -= 1;
            pool.alive == 0
        };
        if last {
            lock(&self.finished).take();
        }
    }

    /// Runs the application. Gives the permit back, for the next request.
    fn serve(&self, py: Python<'_>, mounts: &Mounts<Wsgi>, admitted: Admitted) -> Permit {
        let Admitted { exchange, permit } = admitted;
        // One that the server no longer waits for is cut by being dropped.
        if self.handle.lifecycle() != Lifecycle::Stopping {
            let was_lost = self.runs.run(py, exchange, |exchange| {
                let _ = catch_unwind(AssertUnwindSafe(|| mounts.serve(py, exchange)));
            });
            if was_lost {
                self.replace_lost();
            }
        }
        permit
    }

    /// Has requests run in the stead of those that do not end, as far as that may be.
    fn replace_lost(&self) {
        self.handle.show_lost_threads(self.runs.lost());
        self.handle.lend(self.lent());
    }

    /// Threads that there may be in the place of lost ones.
    fn lent(&self) -> usize {
        self.runs.lost().min(self.options.lost_max)
    }

    /// Waits for a role; none when the thread may go. A permit goes back when the thread can be found among the parked ones.
    fn park(&self, place: &Arc<Place<Role>>, permit: Option<Permit>) -> Option<Role> {
        {
            let mut pool = lock(&self.pool);
            // One that had been lost has been replaced.
            if self.ending.load(Ordering::Acquire) || pool.total > self.total_max() {
                pool.total -= 1;
                return None;
            }
            pool.parked.push(place.clone());
        }
        drop(permit);
        loop {
            if let Some(role) = place.take(self.options.idle) {
                return Some(role);
            }
            let mut pool = lock(&self.pool);
            let surplus = pool.parked.len() > 1;
            // Whoever takes a place out of the list gives it a role.
            if surplus && let Some(at) = pool.parked.iter().position(|parked| Arc::ptr_eq(parked, place)) {
                pool.parked.remove(at);
                pool.total -= 1;
                self.show_total(&pool);
                return None;
            }
        }
    }

    /// The server cannot go on.
    fn fail(&self, error: PyErr) {
        *lock(&self.failure) = Some(error);
        self.handle.stop();
        self.end();
    }

    /// Nothing is left to serve: all threads may go.
    fn end(&self) {
        let parked = {
            let mut pool = lock(&self.pool);
            self.ending.store(true, Ordering::SeqCst);
            std::mem::take(&mut pool.parked)
        };
        parked.iter().for_each(|place| place.give(Role::End));
    }

    /// Leads until leadership is lost or the server has ended.
    fn lead(self: &Arc<Self>, py: Python<'_>, mounts: &Arc<Mounts<Wsgi>>) -> PyResult<Led> {
        self.leader.store(system_thread::number(), Ordering::Release);
        self.have_a_follower(py, mounts);
        loop {
            let admitted = match self.next_inline() {
                Some(admitted) => admitted,
                None => match away(py, &self.handle, || self.turn())? {
                    Turned::Run(admitted) => {
                        self.have_a_follower(py, mounts);
                        admitted
                    }
                    Turned::Start(admitted) => match self.serve_on_a_new_thread(py, mounts, admitted) {
                        Some(admitted) => admitted,
                        None => {
                            // Calls may count as short again by now.
                            self.have_a_follower(py, mounts);
                            continue;
                        }
                    },
                    Turned::Deferred => {
                        // One thread at a time, for which there may be one more.
                        self.calls_deferred.store(true, Ordering::SeqCst);
                        self.have_a_follower(py, mounts);
                        let call = self.begin_call();
                        while self.deferred.any() {
                            self.deferred.call(py);
                        }
                        self.calls_deferred.store(false, Ordering::SeqCst);
                        if self.deferred.any() {
                            // What has come due since.
                            self.handle.wake();
                        }
                        if !self.end_call(call) {
                            return Ok(Led::Deposed(None));
                        }
                        continue;
                    }
                    Turned::Ended => return Ok(Led::ToTheEnd),
                },
            };
            let call = self.begin_call();
            let permit = self.serve(py, mounts, admitted);
            if !self.end_call(call) {
                return Ok(Led::Deposed(Some(permit)));
            }
        }
    }

    /// Whether there is something to call that no other thread is at.
    fn has_deferred(&self) -> bool {
        self.deferred.any() && !self.calls_deferred.load(Ordering::SeqCst)
    }

    /// Threads that there may be: one to lead, one for what is deferred while it is called, and those in the place of lost ones.
    fn total_max(&self) -> usize {
        let most = self.options.threads_max + self.options.reserve + self.lent();
        most + 1 + usize::from(self.calls_deferred.load(Ordering::SeqCst))
    }

    /// From here on the leader may be deposed.
    fn begin_call(&self) -> CallNumber {
        let call = self.leadership.begin();
        if self.monitor_sleeps.load(Ordering::SeqCst) {
            self.monitor.get().into_iter().for_each(Thread::unpark);
        }
        LEADS_IN.set(Some(call));
        call
    }

    /// Whether this thread still leads.
    fn end_call(&self, call: CallNumber) -> bool {
        LEADS_IN.set(None);
        self.leadership.end(call)
    }

    /// Whether the leader is to leave calls to others: they were seen to block.
    fn is_eager(&self) -> bool {
        let until_ms = self.eager_until_ms.load(Ordering::Relaxed);
        if until_ms == 0 {
            return false;
        }
        let over = self.since_epoch_ms() >= until_ms;
        if over {
            // Unless the monitor has just set it anew.
            let _ = self.eager_until_ms.compare_exchange(until_ms, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        !over
    }

    fn since_epoch_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// The next exchange of a round, while the leader may run it itself.
    fn next_inline(&self) -> Option<Admitted> {
        if self.is_eager() || self.has_deferred() {
            return None;
        }
        // A call that nobody could follow may still be turning it: that is not waited for with the interpreter in hand.
        match self.reactor.try_lock() {
            Ok(mut reactor) => reactor.next_exchange(),
            Err(_) => None,
        }
    }

    /// Turns the reactor without the interpreter, and hands out what others can run.
    fn turn(&self) -> io::Result<Turned> {
        let mut reactor = lock(&self.reactor);
        loop {
            while let Some(admitted) = reactor.next_exchange() {
                if !self.is_eager() {
                    return Ok(Turned::Run(admitted));
                }
                if let Some(turned) = self.assign(admitted) {
                    return Ok(turned);
                }
            }
            if self.has_deferred() {
                return Ok(Turned::Deferred);
            }
            if self.handle.lifecycle().is_ending() && reactor.is_finished() {
                return Ok(Turned::Ended);
            }
            reactor.poll(self.shortage.is_on().then_some(WAIT_MAX))?;
            if self.shortage.ends() {
                self.handle.limit_concurrency(None);
            }
        }
    }

    /// Gives an exchange to a parked thread. Otherwise it comes back, for a new thread, which is counted, or for the leader.
    fn assign(&self, admitted: Admitted) -> Option<Turned> {
        let mut pool = lock(&self.pool);
        let Some(place) = pool.parked.pop() else {
            if pool.total >= self.total_max() || self.shortage.is_on() {
                return Some(Turned::Run(admitted));
            }
            self.count_new_thread(&mut pool);
            return Some(Turned::Start(admitted));
        };
        drop(pool);
        place.give(Role::Serve(admitted));
        None
    }

    /// Gives an exchange to a new thread. It comes back, for the leader itself, when the system gives none.
    fn serve_on_a_new_thread(
        self: &Arc<Self>,
        py: Python<'_>,
        mounts: &Arc<Mounts<Wsgi>>,
        admitted: Admitted,
    ) -> Option<Admitted> {
        let refused = self.start_thread(py, mounts, Some(Role::Serve(admitted))).err()?;
        let (error, role) = *refused;
        self.become_short(&error);
        match role {
            Some(Role::Serve(admitted)) => Some(admitted),
            _ => None,
        }
    }

    /// The system gives no more threads: for a while only as many requests run as there are threads for, and none are started.
    fn become_short(&self, error: &PyErr) {
        // The one that leads is among them.
        let most = lock(&self.pool).total.saturating_sub(1).max(1);
        self.handle.limit_concurrency(Some(most));
        self.shortage.begin();
        let most = counted(most as u64, "request", "requests");
        log::warn!("no more than {most} at once for now, as no thread can be started: {error}");
    }

    /// A leader that may block needs somebody to follow it. Without one it goes on, and blocks everybody if it blocks.
    fn have_a_follower(self: &Arc<Self>, py: Python<'_>, mounts: &Arc<Mounts<Wsgi>>) {
        {
            let mut pool = lock(&self.pool);
            if !pool.parked.is_empty() || pool.total >= self.total_max() || self.shortage.is_on() {
                return;
            }
            self.count_new_thread(&mut pool);
        }
        if let Err(refused) = self.start_thread(py, mounts, None) {
            self.become_short(&refused.0);
        }
    }

    /// Takes leadership from the thread that is in `call` and gives it to a parked one. False when there is none, or the call is
    /// over.
    fn promote(&self, call: CallNumber) -> bool {
        let mut pool = lock(&self.pool);
        if pool.parked.is_empty() || !self.leadership.depose(call) {
            return false;
        }
        let place = pool.parked.pop();
        drop(pool);
        if let Some(record) = self.handle.record() {
            record.add(Counter::LeadershipMoves, 1);
        }
        place.into_iter().for_each(|place| place.give(Role::Lead));
        true
    }
}

impl Host for ThreadsHost {
    fn wait(&self, py: Python<'_>, sign: &dyn Sign, most: Option<Duration>) -> PyResult<()> {
        if self.ending.load(Ordering::Acquire) {
            return Err(PyConnectionResetError::new_err("the server has ended"));
        }
        if let Some(call) = LEADS_IN.get() {
            if !self.promote(call) && self.leadership.current() == Some(call) {
                // Nobody to follow, for the moment.
                return py.detach(|| match self.reactor.try_lock() {
                    Ok(mut reactor) => reactor.turn(Some(LEADERLESS)).map_err(PyErr::from),
                    // Somebody leads by now.
                    Err(_) => Ok(()),
                });
            }
            LEADS_IN.set(None);
        }
        py.detach(|| park_until(sign, most.unwrap_or(WAIT_MAX).min(WAIT_MAX)));
        Ok(())
    }

    fn deferred(&self) -> &Arc<Deferred> {
        &self.deferred
    }

    fn unsent_max(&self) -> u64 {
        // While the leader itself runs the application, nobody sends what is queued.
        if LEADS_IN.get().is_some() { 0 } else { UNSENT_MAX }
    }
}

impl Runner for ThreadsHost {
    fn stack(&self, py: Python<'_>, key: RequestKey) -> Option<Stack> {
        self.runs.stack(py, key)
    }

    fn interrupt(&self, py: Python<'_>, key: RequestKey) {
        self.runs.interrupt(py, key);
    }

    fn insist(self: Arc<Self>, _py: Python<'_>, key: RequestKey) {
        if self.runs.give_up(key) {
            tell_lost(self.runs.lost(), self.options.lost_max);
            self.replace_lost();
        }
    }
}

/// After a call: the request that has waited longest, or else the permit, to be given back when the thread is parked.
fn after_call(permit: Option<Permit>) -> (Option<Role>, Option<Permit>) {
    match permit.map(Permit::pass_on) {
        Some(Ok(admitted)) => (Some(Role::Serve(admitted)), None),
        Some(Err(permit)) => (None, Some(permit)),
        None => (None, None),
    }
}

//! Threads beside an asyncio loop, for the WSGI applications that are served along with ASGI ones.
//!
//! ```text
//!  loop ── request ──▶ a thread that waits, the last one first, or a new one ──▶ response, and the next request that waits
//! ```
//! The loop's thread turns the reactor; the threads answer their requests themselves, and wait with what the reactor tells them. What
//! waits for a thread waits in the engine: as many requests are let through as there may be threads.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use tidegate_engine::{Admitted, Gauge, Handle, Lifecycle, Permit, RequestKey, Shed, counted};

use crate::error_log::ErrorLog;
use crate::gateway::Mounts;
use crate::host::parking::park_until;
use crate::host::place::Place;
use crate::host::shortage::{SHORT, Shortage};
use crate::host::thread_runs::{ThreadRuns, tell_lost};
use crate::host::{Application, Deferred, Host, Sign, ThreadsOptions, away, lock, python_thread};

/// Longest wait of a call for its client, after which it looks whether the server has ended.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long threads have to leave when the server has ended.
const LEAVE: Duration = Duration::from_secs(2);

/// Bytes of a response that may be on their way when the application is asked for its next block: the loop sends them.
const UNSENT_MAX: u64 = 64 * 1024;

#[derive(Default)]
struct Threads {
    /// Without work: last in, first out, so that as few as possible are at work and the others can go.
    parked: Vec<Arc<Place<Option<Admitted>>>>,
    /// Threads to be counted on for requests, those that are being started among them.
    total: usize,
    /// Threads that have not ended, those for what is deferred among them.
    alive: usize,
    /// For threads that are being started, or else the first that is free.
    waiting: VecDeque<Admitted>,
    ending: bool,
}

pub(crate) struct Pool {
    handle: Handle,
    deferred: Arc<Deferred>,
    options: ThreadsOptions,
    runs: ThreadRuns,
    threads: Mutex<Threads>,
    /// A thread has ended.
    gone: Condvar,
    /// For the names of threads.
    started: AtomicUsize,
    /// A thread is at what applications want called when a client leaves.
    calls_deferred: AtomicBool,
    shortage: Shortage,
    /// The loop is to turn when the shortage ends, if nothing else has it turn.
    wants_turn: AtomicBool,
}

impl Pool {
    pub(crate) fn new(handle: Handle, options: ThreadsOptions) -> Arc<Self> {
        Arc::new(Self {
            handle,
            deferred: Arc::default(),
            runs: ThreadRuns::new(options.tells_runs),
            options,
            threads: Mutex::default(),
            gone: Condvar::new(),
            started: AtomicUsize::new(0),
            calls_deferred: AtomicBool::new(false),
            shortage: Shortage::new(),
            wants_turn: AtomicBool::new(false),
        })
    }

    /// Has a thread run a request of a WSGI application.
    ///
    /// # Errors
    /// What a signal handler raises to end the server.
    pub(super) fn run(
        self: &Arc<Self>,
        py: Python<'_>,
        mounts: &Arc<Mounts<Application>>,
        admitted: Admitted,
    ) -> PyResult<()> {
        let mut threads = lock(&self.threads);
        if let Some(place) = threads.parked.pop() {
            drop(threads);
            place.give(Some(admitted));
            return Ok(());
        }
        threads.waiting.push_back(admitted);
        drop(threads);
        self.have_one_more(py, mounts)
    }

    fn show_total(&self, threads: &Threads) {
        if let Some(record) = self.handle.record() {
            record.set(Gauge::Threads, threads.total as u64);
        }
    }

    /// Starts a thread for what waits, if the system has one.
    fn have_one_more(self: &Arc<Self>, py: Python<'_>, mounts: &Arc<Mounts<Application>>) -> PyResult<()> {
        let mut outcome = Ok(());
        if !self.shortage.is_on() {
            let mounts = mounts.clone();
            let (has_begun, raised) = self.start_thread(py, 1, move |pool, py| pool.live(py, &mounts));
            if has_begun {
                return raised;
            }
            outcome = raised;
        }
        let left = {
            let mut threads = lock(&self.threads);
            // Others come for what waits, if there are any.
            if threads.total == 0 { std::mem::take(&mut threads.waiting) } else { VecDeque::new() }
        };
        left.into_iter().for_each(|admitted| admitted.exchange.turn_away(Shed::QueueFull, Duration::ZERO));
        outcome
    }

    /// Ends a shortage whose time is up.
    ///
    /// # Errors
    /// As of [`Pool::run`].
    pub(super) fn recover(
        self: &Arc<Self>,
        py: Python<'_>,
        mounts: &Arc<Mounts<Application>>,
    ) -> PyResult<()> {
        if !self.shortage.ends() {
            return Ok(());
        }
        self.handle.limit_aside(None);
        let waiting = lock(&self.threads).waiting.len();
        (0..waiting).try_for_each(|_| self.have_one_more(py, mounts))
    }

    /// In how long the loop is to turn; said once in each shortage.
    pub(super) fn wants_turn_in(&self) -> Option<Duration> {
        // A little later, as some loops count in milliseconds.
        self.wants_turn.swap(false, Ordering::Relaxed).then_some(SHORT + Duration::from_millis(10))
    }

    /// Whether a thread has begun, and what a signal handler has raised meanwhile to end the server. `counted` is 1 for one that requests
    /// can count on, or 0.
    fn start_thread(
        self: &Arc<Self>,
        py: Python<'_>,
        counted: usize,
        live: impl Fn(&Self, Python<'_>) + Send + Sync + 'static,
    ) -> (bool, PyResult<()>) {
        {
            let mut threads = lock(&self.threads);
            threads.alive += 1;
            threads.total += counted;
            self.show_total(&threads);
        }
        let (pool, begun) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let name = format!("tidegate-{}", self.started.fetch_add(1, Ordering::Relaxed) + 1);
        let first = begun.clone();
        let started = python_thread::start(py, &name, self.options.stack_size, move |py| {
            if !first.swap(true, Ordering::AcqRel) {
                live(&pool, py);
                pool.count_ended();
            }
        });
        let Err(error) = started else { return (true, Ok(())) };
        // A signal handler may raise although the thread has begun; if it has not, it ends at once should it do so yet.
        let has_begun = begun.swap(true, Ordering::AcqRel);
        if !has_begun {
            lock(&self.threads).total -= counted;
            self.count_ended();
        }
        if !error.is_instance_of::<PyException>(py) {
            return (has_begun, Err(error));
        }
        if has_begun {
            ErrorLog::new().say(py, "a signal handler failed", Some(&error));
        } else {
            self.become_short(&error);
        }
        (has_begun, Ok(()))
    }

    /// In a thread of the pool it is the last thing done with the interpreter in hand: until then the thread is waited for.
    fn count_ended(&self) {
        lock(&self.threads).alive -= 1;
        self.gone.notify_all();
    }

    /// The system gives no more threads: for a while only as many requests run as there are threads for, and none are started.
    fn become_short(&self, error: &PyErr) {
        let most = lock(&self.threads).total;
        self.handle.limit_aside(Some(most));
        self.shortage.begin();
        self.wants_turn.store(true, Ordering::Relaxed);
        let most = counted(most as u64, "request", "requests");
        log::warn!("no more than {most} at once for now, as no thread can be started: {error}");
    }

    /// A thread's life.
    fn live(&self, py: Python<'_>, mounts: &Mounts<Application>) {
        let place = Arc::new(Place::default());
        let (mut next, mut permit) = (None, None);
        while let Some(Admitted { exchange, permit: used }) =
            next.take().or_else(|| away(py, &self.handle, || self.park(&place, permit.take())))
        {
            // One that the server no longer waits for is cut by being dropped.
            if self.handle.lifecycle() != Lifecycle::Stopping
                && let Some(Application::Wsgi(gateway)) = mounts.find(exchange.head())
            {
                // A panic is a mistake of ours; it costs one request.
                let was_lost = self.runs.run(py, exchange, |exchange| {
                    let _ = catch_unwind(AssertUnwindSafe(|| gateway.serve(py, exchange)));
                });
                if was_lost {
                    self.replace_lost();
                }
            }
            // What was let through before has the first thread that is free, if none could be started for it.
            if !lock(&self.threads).waiting.is_empty() {
                permit = Some(used);
                continue;
            }
            match used.pass_on() {
                Ok(admitted) => next = Some(admitted),
                Err(unused) => permit = Some(unused),
            }
        }
    }

    /// Has requests run in the stead of those that do not end, as far as that may be.
    fn replace_lost(&self) {
        self.handle.show_lost_threads(self.runs.lost());
        self.handle.lend_aside(self.lent());
    }

    /// Threads that there may be in the place of lost ones.
    fn lent(&self) -> usize {
        self.runs.lost().min(self.options.lost_max)
    }

    /// What runs on these threads.
    pub(super) fn runs(&self) -> &ThreadRuns {
        &self.runs
    }

    /// Counts on the thread of a request no longer.
    pub(super) fn give_up(&self, key: RequestKey) {
        if self.runs.give_up(key) {
            tell_lost(self.runs.lost(), self.options.lost_max);
            self.replace_lost();
        }
    }

    /// Waits for a request; none when the thread may go. A permit goes back when the thread can be found among those that wait, so
    /// that there is a thread for each that is given out.
    fn park(&self, place: &Arc<Place<Option<Admitted>>>, permit: Option<Permit>) -> Option<Admitted> {
        {
            let mut threads = lock(&self.threads);
            if let Some(admitted) = threads.waiting.pop_front() {
                return Some(admitted);
            }
            // One that had been lost has been replaced.
            if threads.ending || threads.total > self.options.threads_max + self.lent() {
                threads.total -= 1;
                return None;
            }
            threads.parked.push(place.clone());
        }
        drop(permit);
        if self.handle.lifecycle().is_ending() {
            // The loop must see that nothing is left.
            self.handle.wake();
        }
        loop {
            match place.take(self.options.idle) {
                Some(Some(admitted)) => return Some(admitted),
                Some(None) => {
                    lock(&self.threads).total -= 1;
                    return None;
                }
                None => {}
            }
            let mut threads = lock(&self.threads);
            // Who takes a place out of the list gives it something.
            if let Some(at) = threads.parked.iter().position(|parked| Arc::ptr_eq(parked, place)) {
                threads.parked.remove(at);
                threads.total -= 1;
                self.show_total(&threads);
                return None;
            }
        }
    }

    /// Has what is due called on a thread of its own: callbacks may wait.
    ///
    /// # Errors
    /// As of [`Pool::run`].
    pub(super) fn call_deferred(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if !self.deferred.any() || self.shortage.is_on() || self.calls_deferred.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let (has_begun, outcome) = self.start_thread(py, 0, |pool, py| {
            while pool.deferred.any() {
                pool.deferred.call(py);
            }
            pool.calls_deferred.store(false, Ordering::SeqCst);
            if pool.deferred.any() || pool.handle.lifecycle().is_ending() {
                // What has come due since; or the loop must see that nothing is left.
                pool.handle.wake();
            }
        });
        if !has_begun {
            // They are due until the next turn.
            self.calls_deferred.store(false, Ordering::SeqCst);
        }
        outcome
    }

    /// Whether nothing runs here.
    pub(super) fn is_idle(&self) -> bool {
        let threads = lock(&self.threads);
        threads.parked.len() == threads.total && !self.calls_deferred.load(Ordering::SeqCst)
    }

    /// Lets the threads go, and waits for them.
    pub(super) fn end(&self, py: Python<'_>) {
        let (parked, waiting) = {
            let mut threads = lock(&self.threads);
            threads.ending = true;
            (std::mem::take(&mut threads.parked), std::mem::take(&mut threads.waiting))
        };
        drop(waiting);
        parked.iter().for_each(|place| place.give(None));
        py.detach(|| {
            let waited =
                self.gone.wait_timeout_while(lock(&self.threads), LEAVE, |threads| threads.alive > 0);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        });
    }
}

impl Host for Pool {
    fn wait(&self, py: Python<'_>, sign: &dyn Sign, most: Option<Duration>) -> PyResult<()> {
        py.detach(|| park_until(sign, most.unwrap_or(WAIT_MAX).min(WAIT_MAX)));
        Ok(())
    }

    fn unsent_max(&self) -> u64 {
        UNSENT_MAX
    }

    fn deferred(&self) -> &Arc<Deferred> {
        &self.deferred
    }
}

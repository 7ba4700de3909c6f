//! Which requests run on which threads, where somebody wants to know.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use slab::Slab;
use tidegate_engine::{Exchange, RequestKey, counted};

use crate::ffi;
use crate::host::lock;
use crate::overdue::{RequestTimeout, Stack};

/// A request's thread.
struct Run {
    key: RequestKey,
    /// As Python calls it.
    thread: ffi::ThreadIdent,
    /// An exception was, or is still to be, raised there.
    is_interrupted: bool,
    /// It has not ended after that: its thread is not counted on any more.
    is_lost: bool,
}

/// The requests that run on threads of their own.
pub(crate) struct ThreadRuns {
    /// Somebody will ask.
    is_wanted: bool,
    /// Each request changes it twice, and few are ever looked for.
    running: Mutex<Slab<Run>>,
    lost: AtomicUsize,
}

impl ThreadRuns {
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, running: Mutex::default(), lost: AtomicUsize::new(0) }
    }

    /// Threads that do not come back.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// Runs a request on this thread. True when its thread had been lost.
    pub(crate) fn run(&self, py: Python<'_>, exchange: Exchange, work: impl FnOnce(Exchange)) -> bool {
        if !self.is_wanted {
            work(exchange);
            return false;
        }
        let run =
            Run { key: exchange.key(), thread: ffi::thread_ident(), is_interrupted: false, is_lost: false };
        let number = lock(&self.running).insert(run);
        // One that was answered before it has begun is not. Looked at from here on, where an interrupt finds it.
        if !exchange.is_expired() {
            work(exchange);
        }
        let Run { thread, is_interrupted, is_lost, .. } = lock(&self.running).remove(number);
        if is_interrupted {
            // What was not raised by now is not for what comes next on this thread.
            ffi::raise_in_thread(py, thread, None);
        }
        if is_lost {
            self.lost.fetch_sub(1, Ordering::Relaxed);
        }
        is_lost
    }

    pub(crate) fn stack(&self, py: Python<'_>, key: RequestKey) -> Option<Stack> {
        let thread = with_key(&mut lock(&self.running), key)?.thread;
        thread_stack(py, thread)
    }

    /// Raises an exception in the thread of a request, at its next step in Python.
    pub(crate) fn interrupt(&self, py: Python<'_>, key: RequestKey) {
        let kind = py.get_type::<RequestTimeout>();
        // Under the lock: the request is not over before it is raised.
        if let Some(run) = with_key(&mut lock(&self.running), key) {
            run.is_interrupted = true;
            ffi::raise_in_thread(py, run.thread, Some(kind.as_any()));
        }
    }

    /// Counts on the thread of a request no longer. False when it is over.
    pub(crate) fn give_up(&self, key: RequestKey) -> bool {
        let mut running = lock(&self.running);
        let Some(run) = with_key(&mut running, key).filter(|run| !run.is_lost) else { return false };
        run.is_lost = true;
        self.lost.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn with_key(running: &mut Slab<Run>, key: RequestKey) -> Option<&mut Run> {
    running.iter_mut().map(|(_, run)| run).find(|run| run.key == key)
}

/// Tells the operator of threads that do not come back. A worker that has lost as many as it may is replaced; where nobody does that, there
/// are fewer threads from then on.
pub(crate) fn tell_lost(lost: usize, lost_max: usize) {
    let stuck = counted(
        lost as u64,
        "thread does not come back from a request whose time is over",
        "threads do not come back from requests whose time is over",
    );
    if lost <= lost_max {
        let others = if lost == 1 { "another one takes its place" } else { "others take their places" };
        log::warn!("{stuck}; {others}");
    } else {
        let replaced = counted(lost_max as u64, "is", "are");
        log::error!("{stuck}, of which {replaced} replaced (--max-lost-threads)");
    }
}

/// What a thread is at.
pub(crate) fn thread_stack(py: Python<'_>, thread: ffi::ThreadIdent) -> Option<Stack> {
    let stack = stacks(py)?.call_method1(intern!(py, "of_thread"), (thread,)).ok()?;
    stack.extract().ok()
}

/// The module that knows how Python keeps them.
pub(crate) fn stacks(py: Python<'_>) -> Option<Bound<'_, PyModule>> {
    py.import("tidegate._stacks").ok()
}

//! The single-threaded mode that PEP 3333 asks for: the thread that turns the reactor runs the application.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use pyo3::prelude::*;
use tidegate_engine::{Admitted, Handle, Lifecycle, Reactor, RequestKey};

use crate::gateway::{Mounts, Wsgi};
use crate::host::parking::park_until;
use crate::host::signals::{SignalPipe, run_signal_handlers};
use crate::host::thread_runs::ThreadRuns;
use crate::host::{Deferred, Host, Sign, away};
use crate::overdue::{Runner, Stack};

/// Longest sleep of a call that waits: another thread of the application may have taken the wake-up meant for this one.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The reactor, turned by the thread that also runs the application.
pub(crate) struct InlineHost {
    reactor: Mutex<Reactor>,
    handle: Handle,
    deferred: Arc<Deferred>,
    runs: ThreadRuns,
    /// The one that serves.
    thread: ThreadId,
}

impl InlineHost {
    pub(crate) fn new(reactor: Reactor, tells_runs: bool) -> Arc<Self> {
        let handle = reactor.handle();
        Arc::new(Self {
            reactor: Mutex::new(reactor),
            handle,
            deferred: Arc::default(),
            runs: ThreadRuns::new(tells_runs),
            thread: thread::current().id(),
        })
    }

    fn reactor(&self) -> MutexGuard<'_, Reactor> {
        // A panic in a turn ends the server; a poisoned lock adds nothing to that.
        self.reactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next exchange of this round. Attached while it is looked for, as that takes moments and detaching does too.
    fn next_exchange(&self, py: Python<'_>) -> Option<Admitted> {
        match self.reactor.try_lock() {
            Ok(mut reactor) => reactor.next_exchange(),
            // Another thread of the application waits for a body of its own, and may need the interpreter to go on.
            Err(_) => py.detach(|| self.reactor().next_exchange()),
        }
    }

    /// Serves until the server has ended.
    pub(crate) fn run(&self, py: Python<'_>, mounts: &Mounts<Wsgi>) -> PyResult<()> {
        let outcome = self.serve(py, mounts);
        if outcome.is_err() {
            // Nobody comes to see it any more: listeners and connections are closed here.
            self.handle.stop();
            py.detach(|| self.reactor().turn(Some(Duration::ZERO)))?;
        }
        outcome
    }

    fn serve(&self, py: Python<'_>, mounts: &Mounts<Wsgi>) -> PyResult<()> {
        let mut signals = SignalPipe::new(py)?;
        if let Some(heard) = signals.take_heard() {
            self.reactor().rouse_by(heard)?;
        }
        let most = (!signals.is_used()).then_some(WAIT_MAX);
        loop {
            run_signal_handlers(py, mounts)?;
            away(py, &self.handle, || self.reactor().poll(most))?;
            while let Some(Admitted { exchange, permit }) = self.next_exchange(py) {
                // One that the server no longer waits for is cut by being dropped.
                if self.handle.lifecycle() != Lifecycle::Stopping {
                    self.runs.run(py, exchange.key(), || mounts.serve(py, exchange));
                }
                drop(permit);
            }
            self.deferred.call(py);
            if self.handle.lifecycle().is_ending() && py.detach(|| self.reactor().is_finished()) {
                return Ok(());
            }
        }
    }
}

impl Runner for InlineHost {
    fn stack(&self, py: Python<'_>, key: RequestKey) -> Option<Stack> {
        self.runs.stack(py, key)
    }

    fn interrupt(&self, py: Python<'_>, key: RequestKey) {
        self.runs.interrupt(py, key);
    }

    fn insist(self: Arc<Self>, _py: Python<'_>, _key: RequestKey) {
        // There is no other thread; should it never come back, the supervisor sees that the reactor does not turn.
    }
}

impl Host for InlineHost {
    fn wait(&self, py: Python<'_>, sign: &dyn Sign, most: Option<Duration>) -> PyResult<()> {
        if thread::current().id() != self.thread {
            // A thread of the application's own: the reactor is turned by the one that serves.
            py.detach(|| park_until(sign, most.unwrap_or(WAIT_MAX).min(WAIT_MAX)));
            return Ok(());
        }
        // When everything is being cut, one look is enough for the caller to find its own connection lost.
        let stopping = self.handle.lifecycle() == Lifecycle::Stopping;
        let max_wait = if stopping { Duration::ZERO } else { most.unwrap_or(WAIT_MAX).min(WAIT_MAX) };
        py.detach(|| self.reactor().turn(Some(max_wait)))?;
        self.deferred.call(py);
        py.check_signals()
    }

    fn unsent_max(&self) -> u64 {
        0
    }

    fn deferred(&self) -> &Arc<Deferred> {
        &self.deferred
    }
}

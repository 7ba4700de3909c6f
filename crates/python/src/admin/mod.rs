//! The admin listener: a reactor of its own, whose requests are answered here, without the interpreter and without a worker.
//!
//! - `answers`: what is answered under which path.
//! - `sight`: what is seen of a server at a moment, of all that is shown.
//! - `state`: that as JSON, for the page and for `tidegate ctl state`.
//! - `metrics`: that as OpenMetrics.
//! - `page`: what draws it in a browser.
//! - `alone`: all of that for a process without a supervisor.
//!
//! A supervisor turns it in its own loop: there is no thread in a process that forks. A process that serves alone has a thread for it, which
//! a stuck application does not hold up.

mod alone;
mod answers;
mod metrics;
mod page;
mod sight;
mod state;

pub(crate) use alone::Pulse;
pub(crate) use sight::{Application, Scope, Sight, memory_of};
pub(crate) use state::state;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidegate_engine::http::Limits;
use tidegate_engine::{Admitted, Exchange, Gathering, Lifecycle, Listener, Permit, Reactor, Settings};
use tidegate_supervisor::supervisor::StackWanted;

use answers::Answers;

/// Connections at once: some scrapers, and some operators with a page open.
const CONNECTIONS_MAX: usize = 64;

/// How long a client may take for a head and for a body, take nothing of an answer, and rest between two requests.
const HEAD_TIMEOUT_MS: u64 = 5_000;
const WRITE_TIMEOUT_MS: u64 = 10_000;
const KEEP_ALIVE_TIMEOUT_MS: u64 = 20_000;

/// Bytes of a request's head and body: nobody has to say much here.
const HEAD_SIZE_MAX: usize = 8 * 1024;
const BODY_SIZE_MAX: u64 = 1024;

/// What clients of the admin listener may do.
fn settings() -> Settings {
    let limits =
        Limits { head_size_max: HEAD_SIZE_MAX, body_size_max: Some(BODY_SIZE_MAX), ..Limits::default() };
    Settings {
        http: Arc::new(limits),
        head_timeout_ms: HEAD_TIMEOUT_MS,
        body_timeout_ms: Some(HEAD_TIMEOUT_MS),
        keep_alive_timeout_ms: KEEP_ALIVE_TIMEOUT_MS,
        write_timeout_ms: WRITE_TIMEOUT_MS,
        gathering: Gathering::Nothing,
        concurrency_max: CONNECTIONS_MAX,
        connections_max: CONNECTIONS_MAX,
        read_ahead_max: HEAD_SIZE_MAX,
        server: None,
        ..Settings::default()
    }
}

/// The listener and what it is asked about.
pub(crate) struct Admin {
    reactor: Reactor,
    answers: Answers,
    /// Those who wait to be told what a request is at, by the number that this has for each.
    waiting: Vec<(u64, Exchange, Permit)>,
    last_asker: u64,
    /// Another server has the sockets too, and serves.
    is_succeeded: bool,
}

impl Admin {
    /// Answers on `listeners`, from [`Handle::open`] on. By name, the page may be asked for by `allowed_hosts`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(listeners: Vec<Listener>, scope: Scope, allowed_hosts: &[String]) -> io::Result<Self> {
        let mut reactor = Reactor::new(listeners, settings(), None)?;
        // Its end is that of the process; from here on it is watched by others.
        reactor.descriptor();
        Ok(Self {
            reactor,
            answers: Answers::new(scope, allowed_hosts),
            waiting: Vec::new(),
            last_asker: 0,
            is_succeeded: false,
        })
    }

    /// Begins to answer, and says where, unless it has begun.
    pub(crate) fn open(&self) {
        let handle = self.reactor.handle();
        if handle.lifecycle() == Lifecycle::Waiting {
            handle.open();
            for entrance in self.reactor.entrances() {
                log::info!("the admin listener is on {entrance}");
            }
        }
    }

    /// Leaves the listening sockets to another server that has them too, and goes on with who has connected.
    pub(crate) fn leave(&mut self) {
        self.reactor.listeners().iter_mut().for_each(Listener::leave_file);
        self.reactor.handle().drain();
        self.is_succeeded = true;
    }

    /// Its listening sockets, as long as it has them.
    pub(crate) fn listeners(&mut self) -> &mut [Listener] {
        self.reactor.listeners()
    }

    /// Readable when there is something to do.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }

    /// Does it, without waiting. Gives whose stacks are asked for.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn turn(&mut self, sight: impl Fn(&Scope) -> Sight) -> io::Result<Vec<StackWanted>> {
        let is_succeeded = self.is_succeeded;
        self.wait_and_answer(Some(Duration::ZERO), |scope| {
            let mut sight = sight(scope);
            // Who has come to this process by chance asks about the service, which goes on.
            sight.is_ready |= is_succeeded;
            sight
        })
    }

    fn wait_and_answer(
        &mut self,
        most: Option<Duration>,
        sight: impl Fn(&Scope) -> Sight,
    ) -> io::Result<Vec<StackWanted>> {
        let mut wanted = Vec::new();
        self.reactor.poll(most)?;
        while let Some(Admitted { exchange, permit }) = self.reactor.next_exchange() {
            if let Some((worker, request)) = self.answers.stack_asked(exchange.head()) {
                self.last_asker += 1;
                wanted.push(StackWanted { asker: self.last_asker, worker, request });
                self.waiting.push((self.last_asker, exchange, permit));
                continue;
            }
            self.answers.answer(exchange, &sight);
            drop(permit);
        }
        Ok(wanted)
    }

    /// Answers who has asked what a request is at.
    pub(crate) fn tell_stack(&mut self, asker: u64, told: &Value) {
        let Some(at) = self.waiting.iter().position(|(waiting, ..)| *waiting == asker) else { return };
        let (_, exchange, permit) = self.waiting.swap_remove(at);
        answers::tell_stack(exchange, told);
        drop(permit);
    }
}

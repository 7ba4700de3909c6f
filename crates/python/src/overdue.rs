//! What is done about requests that take too long: what they are at is logged, and those whose time is over are interrupted.
//!
//! The engine has answered the client by then, on a thread that needs no interpreter. This needs it, and so is a thread of its own.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pyo3::create_exception;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use tidegate_engine::{Overdue, Reactor, RequestKey, Stage, Verdict, counted};
use tidegate_supervisor::{Limit, Own, Settings};

use crate::error_log::ErrorLog;

create_exception!(
    tidegate,
    RequestTimeout,
    PyBaseException,
    "Raised in a request that has taken longer than it may, by --request-timeout or by a timeout in [[limits]]."
);

/// How long a request may take to end once it was interrupted before more is done about it.
const PATIENCE: Duration = Duration::from_millis(200);

/// Requests of one second whose stacks are logged; of the others there is their number. A service that hangs makes thousands late at once.
const LOGGED_MAX: usize = 10;
const LOG_PERIOD: Duration = Duration::from_secs(1);

/// Texts that wait for the log; what comes on top is lost.
const UNLOGGED_MAX: usize = 64;

/// Calls, the newest last: one by one, and as tracebacks have them.
pub(crate) type Stack = (Vec<String>, String);

/// What runs requests, once there is something.
pub(crate) type RunnerIfAny = Arc<OnceLock<Weak<dyn Runner>>>;

/// What runs requests.
pub(crate) trait Runner: Send + Sync {
    /// What a request is at.
    fn stack(&self, py: Python<'_>, key: RequestKey) -> Option<Stack>;

    /// The time of a request is over: has [`RequestTimeout`] raised in it, where it waits or at its next step.
    fn interrupt(&self, py: Python<'_>, key: RequestKey);

    /// It goes on nevertheless.
    fn insist(self: Arc<Self>, py: Python<'_>, key: RequestKey);
}

/// What the exception says.
pub(crate) const TIMEOUT: &str =
    "the request has taken longer than it may, by --request-timeout or by a timeout in [[limits]]";

/// What a request whose time is over is told.
pub(crate) fn timeout_error() -> PyErr {
    RequestTimeout::new_err(TIMEOUT)
}

/// Which setting says how long a request may take: for each of the limits its own, if that is not the general one.
pub(crate) struct TimeoutSettings(Vec<Option<String>>);

impl TimeoutSettings {
    pub(crate) fn new(settings: &Settings) -> Self {
        let own = |limit: &Limit| {
            (limit.timeout_ms != Own::General).then(|| format!("timeout of [[limits]] {:?}", limit.path))
        };
        Self(settings.limits.iter().map(own).collect())
    }

    fn name(&self, limit: Option<usize>) -> &str {
        let own = limit.and_then(|limit| self.0.get(limit)?.as_deref());
        own.unwrap_or("--request-timeout")
    }
}

/// The threads, from before there is a host until it has served: one that looks and interrupts, and one that logs, as handlers of the
/// application's own may take their time.
pub(crate) struct Attendant([JoinHandle<()>; 2]);

impl Attendant {
    /// Listens to a reactor, whose requests may take what these settings say.
    ///
    /// # Errors
    /// What the system says of threads.
    pub(crate) fn start(
        reactor: &Reactor,
        settings: TimeoutSettings,
        runner: RunnerIfAny,
    ) -> io::Result<Self> {
        let (tell, overdue) = channel();
        let (say, texts) = sync_channel(UNLOGGED_MAX);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let logs = thread("tidegate-late-log").spawn(move || say_all(&texts))?;
        let attends = thread("tidegate-overdue").spawn(move || attend(&overdue, &settings, &runner, &say))?;
        // Nobody listens any more at the end.
        reactor.tell_overdue(move |overdue| drop(tell.send(overdue)))?;
        Ok(Self([attends, logs]))
    }

    /// Waits for the end, which comes when the engine keeps no time any more. Without the interpreter.
    pub(crate) fn join(self) {
        self.0.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// Logs what it is given, to the end.
fn say_all(texts: &Receiver<String>) {
    let error_log = ErrorLog::new();
    for text in texts {
        // None at the end of the interpreter.
        let _ = Python::try_attach(|py| error_log.say(py, &text, None));
    }
}

fn attend(
    overdue: &Receiver<Overdue>,
    settings: &TimeoutSettings,
    runs: &OnceLock<Weak<dyn Runner>>,
    say: &SyncSender<String>,
) {
    let mut log = Log::default();
    let mut interrupted: VecDeque<(Instant, RequestKey)> = VecDeque::new();
    loop {
        let left = interrupted.front().map(|(since, _)| PATIENCE.saturating_sub(since.elapsed()));
        let left = left.into_iter().chain(log.rest_is_due_in()).min();
        let first = match left {
            None => overdue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) => overdue.recv_timeout(left),
        };
        let first = match first {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => None,
            Ok(first) => Some(first),
        };
        let late: Vec<_> = first.into_iter().chain(overdue.try_iter()).collect();
        let Some(runs) = runs.get().and_then(Weak::upgrade) else { continue };
        // None at the end of the interpreter.
        let _ = Python::try_attach(|py| {
            let texts: Vec<_> = late.iter().filter_map(|one| log.text(py, settings, &*runs, one)).collect();
            for one in
                late.iter().filter(|one| one.verdict != Verdict::Slow && one.stage == Stage::Application)
            {
                runs.interrupt(py, one.key);
                interrupted.push_back((Instant::now(), one.key));
            }
            let due = interrupted.iter().take_while(|(since, _)| since.elapsed() >= PATIENCE).count();
            interrupted.drain(..due).for_each(|(_, key)| runs.clone().insist(py, key));
            // Where a handler takes none, the rest is not waited with.
            texts.into_iter().chain(log.rest()).for_each(|text| drop(say.try_send(text)));
        });
    }
}

/// What is said, and how much of it was in this period.
#[derive(Default)]
struct Log {
    since: Option<Instant>,
    said: usize,
    unsaid: usize,
}

impl Log {
    /// What is to be said of a request.
    fn text(
        &mut self,
        py: Python<'_>,
        settings: &TimeoutSettings,
        runs: &dyn Runner,
        overdue: &Overdue,
    ) -> Option<String> {
        if self.since.is_none_or(|since| since.elapsed() >= LOG_PERIOD) && self.unsaid == 0 {
            (self.since, self.said) = (Some(Instant::now()), 0);
        }
        if self.said >= LOGGED_MAX {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        let Overdue { key, head, request_id, limit, verdict, stage, took } = overdue;
        let setting = settings.name(*limit);
        let id =
            request_id.iter().map(|id| format!(" [{}]", String::from_utf8_lossy(id))).collect::<String>();
        let request = format!("{} {:?}{id}", head.method(), String::from_utf8_lossy(head.path()));
        let took = format!("{:.1} s", took.as_secs_f64());
        Some(match (verdict, stage) {
            (Verdict::Expired | Verdict::Cut, Stage::Body) => {
                format!("{request}: after {took} its body had not come: answered with 408 ({setting})")
            }
            (Verdict::Expired | Verdict::Cut, Stage::Queue) => {
                format!("{request}: after {took} its turn had not come: answered with 503 ({setting})")
            }
            (_, Stage::Application | Stage::Write | Stage::Expired) => {
                let what = match verdict {
                    Verdict::Slow => "has taken so long and goes on (--slow-request)".to_owned(),
                    Verdict::Expired => {
                        format!("is over its time: answered for the application with 504 ({setting})")
                    }
                    Verdict::Cut => format!("is over its time: its response is cut ({setting})"),
                };
                let at =
                    runs.stack(py, *key).map_or(String::new(), |(_, text)| format!("\nIt is at:\n{text}"));
                format!("{request}: {took}: it {what}{at}")
            }
            (Verdict::Slow, Stage::Body) => {
                format!("{request}: after {took} its body has not come (--slow-request)")
            }
            (Verdict::Slow, Stage::Queue) => {
                format!("{request}: after {took} its turn has not come (--slow-request)")
            }
        })
    }

    /// In how long there is something to say of those that were not said.
    fn rest_is_due_in(&self) -> Option<Duration> {
        (self.unsaid > 0)
            .then(|| self.since.map_or(Duration::ZERO, |since| LOG_PERIOD.saturating_sub(since.elapsed())))
    }

    fn rest(&mut self) -> Option<String> {
        self.rest_is_due_in().filter(Duration::is_zero)?;
        let unsaid = std::mem::take(&mut self.unsaid);
        let unsaid = counted(unsaid as u64, "more request", "more requests");
        Some(format!("{unsaid} took too long within a second"))
    }
}

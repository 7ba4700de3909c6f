//! A process that serves alone: its admin listener has a thread, and looks at the one server that there is.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::getpid;
use serde_json::{Value, json};
use tidegate_engine::{Handle, Lifecycle, Record, RequestKey, Seat};
use tidegate_supervisor::supervisor::{StackWanted, View, WorkerView};

use super::{Admin, Sight};
use crate::overdue::RunnerIfAny;
use crate::stacks;

/// The number of the one worker that such a process is.
const ALONE: u32 = 1;

/// The thread. Dropped, it ends.
pub(crate) struct AdminThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether the reactor of this process moves, which is found out when somebody wants to know: its bell is rung, and it has heard that when it
/// is looked at again.
pub(crate) struct Pulse {
    seat: Seat,
    /// How long it may not move; `None`: for ever.
    most: Option<Duration>,
    /// When it was rung last, and how often it had heard the bell before.
    rung: Cell<Option<(Instant, u64)>>,
}

impl Pulse {
    pub(crate) fn new(seat: Seat, stuck_timeout_ms: Option<u64>) -> Self {
        // As with workers, half of the time after which one is stuck.
        let most = stuck_timeout_ms.map(|time_ms| Duration::from_millis(time_ms) / 2);
        Self { seat, most, rung: Cell::new(None) }
    }

    /// Where the bell is.
    pub(crate) fn seat(&self) -> Seat {
        self.seat.clone()
    }

    fn is_slow(&self) -> bool {
        let heard = self.seat.heard();
        match self.rung.get() {
            Some((at, before)) if before == heard => self.most.is_some_and(|most| at.elapsed() >= most),
            _ => {
                self.rung.set(Some((Instant::now(), heard)));
                self.seat.ring();
                false
            }
        }
    }
}

/// Somebody wants to know what a request is at.
struct Question {
    asker: u64,
    request: u64,
    key: RequestKey,
    /// How long the answer is waited for, once it is asked for.
    until: Option<Instant>,
}

/// Those, of which one is under way: there is one thread that waits for the interpreter.
struct Questions {
    waiting: VecDeque<Question>,
    runner: RunnerIfAny,
    tell: Sender<(u64, Value)>,
    /// That of the reactor which is to be turned when something is told.
    handle: Handle,
}

impl Questions {
    /// How long nothing is to be done about them.
    fn left(&self) -> Option<Duration> {
        let until = self.waiting.front()?.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    fn answered(&mut self, asker: u64) {
        self.waiting.retain(|question| question.asker != asker);
    }

    /// Sees to the first of them, unless it is waited for, and gives those that cannot be answered.
    fn go_on(&mut self) -> Vec<Question> {
        let now = Instant::now();
        let mut unanswered = Vec::new();
        while let Some(mut question) = self.waiting.pop_front() {
            let goes_on = match question.until {
                Some(until) => until > now,
                None => self.ask(&question),
            };
            if goes_on {
                question.until = question.until.or(Some(now + stacks::INTERPRETER_WAIT));
                self.waiting.push_front(question);
                break;
            }
            unanswered.push(question);
        }
        unanswered
    }

    fn ask(&self, question: &Question) -> bool {
        let (tell, handle, asker) = (self.tell.clone(), self.handle.clone(), question.asker);
        stacks::tell_of_request(&self.runner, question.request, question.key, move |told| {
            // Nobody listens any more at the end.
            let _ = tell.send((asker, told));
            handle.wake();
        })
    }
}

impl Admin {
    /// Answers on a thread of its own, about the one server that this process has and that `serving` is a handle of.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start(
        mut self,
        serving: Handle,
        pulse: Pulse,
        runner: RunnerIfAny,
    ) -> io::Result<AdminThread> {
        self.open();
        let handle = self.reactor.handle();
        let began = Instant::now();
        let (tell, told) = channel();
        let mut questions = Questions { waiting: VecDeque::new(), runner, tell, handle: handle.clone() };
        let thread = std::thread::Builder::new().name("tidegate-admin".into()).spawn(move || {
            while !self.reactor.is_finished() {
                let turned = self.wait_and_answer(questions.left(), |scope| {
                    Sight::new(scope, &view(&serving, began, pulse.is_slow()), |_| Some(0))
                });
                let wanted = match turned {
                    Ok(wanted) => wanted,
                    Err(error) => {
                        log::error!("the admin listener has ended: {error}");
                        return;
                    }
                };
                for StackWanted { asker, worker, request } in wanted {
                    let requests = serving.record().filter(|_| worker == ALONE).map(Record::requests);
                    match requests.into_iter().flatten().find(|found| found.number == request) {
                        Some(found) => {
                            let key = found.key;
                            questions.waiting.push_back(Question { asker, request, key, until: None });
                        }
                        None => {
                            let error = format!("request {request} of worker {worker} is over");
                            self.tell_stack(asker, &json!({"worker": worker, "error": error}));
                        }
                    }
                }
                for (asker, told) in told.try_iter() {
                    questions.answered(asker);
                    self.tell_of_alone(asker, told);
                }
                for Question { asker, request, .. } in questions.go_on() {
                    self.tell_of_alone(asker, stacks::no_interpreter(request));
                }
            }
        })?;
        Ok(AdminThread { handle, thread: Some(thread) })
    }

    fn tell_of_alone(&mut self, asker: u64, mut told: Value) {
        told["worker"] = json!(ALONE);
        self.tell_stack(asker, &told);
    }
}

/// What a supervisor would see.
fn view(serving: &Handle, began: Instant, is_slow: bool) -> View {
    let lifecycle = serving.lifecycle();
    let (phase, state) = match lifecycle {
        Lifecycle::Waiting => ("starting", "starting"),
        Lifecycle::Serving => ("serving", "serving"),
        Lifecycle::Retiring => ("retiring", "serving"),
        Lifecycle::Draining | Lifecycle::Stopping => ("stopping", "leaving"),
    };
    let age_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let worker = WorkerView {
        id: ALONE,
        pid: getpid(),
        generation: 1,
        state,
        serves: matches!(lifecycle, Lifecycle::Serving | Lifecycle::Retiring),
        age_ms,
        is_slow,
    };
    View { phase, uptime_ms: age_ms, workers_wanted: 1, workers: vec![worker], restarts: Vec::new() }
}

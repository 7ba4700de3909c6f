//! What control clients ask, and when and what they are answered.

use serde_json::{Value, json};

use super::{Host, StackWanted, Supervisor};
use crate::control::{ClientId, Question};
use crate::fleet::{Change, Event, Millis, Usage, Verb};
use crate::tether::order;
use crate::worker::WorkerId;

/// Somebody who waits for something to be over.
#[derive(Debug)]
pub(super) struct Waiting {
    asker: Asker,
    pub(super) what: Awaited,
    /// Until when, if not for as long as it takes.
    pub(super) until: Option<Millis>,
}

/// Who that is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    Client(ClientId),
    /// Somebody whom the host has by this number.
    OfHost(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// That so many reloads are over.
    Reloads(u32),
    Upgrade,
    /// What these workers have to say.
    Stacks(Vec<WorkerId>),
    /// What this worker has to say of its request of this number.
    Stack(WorkerId, u64),
}

/// How long a worker may take to tell what a request is at; it waits for the interpreter for a second.
const STACK_MAX_MS: Millis = 3_000;

/// What becomes of a question.
enum Answered {
    Now(Value),
    /// This is done.
    Does(Verb),
    /// When this is over, and after this was done.
    Later(Awaited, Option<Verb>),
}

impl<H: Host> Supervisor<'_, H> {
    /// What control clients want.
    pub(super) fn questions(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let (control, host) = (self.control.as_mut(), &*self.host);
        let questions = control.map(|control| control.questions(|client| host.may_ask(client)));
        for (client, question) in questions.into_iter().flatten() {
            let verb = match self.consider(question) {
                Ok(Answered::Now(answer)) => {
                    self.answer_one(Asker::Client(client), &answer);
                    None
                }
                Ok(Answered::Does(verb)) => {
                    self.answer_one(Asker::Client(client), &json!({"ok": true}));
                    Some(verb)
                }
                Ok(Answered::Later(what, verb)) => {
                    self.wait_for(Asker::Client(client), what);
                    verb
                }
                Err(reason) => {
                    self.answer_one(Asker::Client(client), &json!({"error": reason}));
                    None
                }
            };
            events.extend(verb.map(Event::Asked));
        }
        events
    }

    fn consider(&mut self, question: Question) -> Result<Answered, String> {
        let phase = self.fleet.phase();
        if matches!(phase, "retiring" | "stopping")
            && !matches!(
                question,
                Question::Status | Question::Stacks | Question::Stack { .. } | Question::State
            )
        {
            return Err("the server is stopping".to_owned());
        }
        Ok(match question {
            Question::Status => Answered::Now(self.status()),
            Question::State => {
                let view = self.view();
                Answered::Now(self.host.state(&view)?)
            }
            Question::Stop => Answered::Does(Verb::Stop),
            Question::Workers(count) if count > self.fleet.workers_max() => {
                return Err(format!(
                    "there are {} workers at most; for more, start with more",
                    self.fleet.workers_max()
                ));
            }
            Question::Workers(count) => Answered::Does(Verb::Resize(count)),
            Question::Reload if phase == "starting" => return Err("the server is starting".to_owned()),
            Question::Reload => {
                self.report.clear();
                // One that is under way has read what is there too early.
                let count = if phase == "reloading" { 2 } else { 1 };
                Answered::Later(Awaited::Reloads(count), Some(Verb::Reload))
            }
            Question::Upgrade if self.successor.is_some() => return Err("an upgrade is under way".to_owned()),
            Question::Upgrade => Answered::Later(Awaited::Upgrade, Some(Verb::Upgrade)),
            Question::Stack { worker, request } => {
                Answered::Later(self.ask_for_stack(worker, request)?, None)
            }
            Question::Stacks => {
                let now = self.now();
                let told: Vec<_> = self.fleet.workers().map(|(id, ..)| id).collect();
                self.children.iter_mut().for_each(|child| child.ask_for_stacks(now));
                Answered::Later(Awaited::Stacks(told), None)
            }
        })
    }

    fn answer_one(&mut self, asker: Asker, answer: &Value) {
        match asker {
            Asker::Client(client) => {
                if let Some(control) = &mut self.control {
                    control.answer(client, answer);
                }
            }
            Asker::OfHost(number) => self.host.stack_told(number, answer),
        }
    }

    fn wait_for(&mut self, asker: Asker, what: Awaited) {
        let until = matches!(what, Awaited::Stack(..)).then(|| self.now() + STACK_MAX_MS);
        self.waiting.push(Waiting { asker, what, until });
    }

    /// Has a worker tell what a request is at.
    fn ask_for_stack(&mut self, worker: u32, request: u64) -> Result<Awaited, String> {
        let child = self.children.iter_mut().find(|child| child.id == WorkerId(worker));
        let child = child.ok_or_else(|| format!("there is no worker {worker}"))?;
        let is_another = |waiting: &Waiting| matches!(waiting.what, Awaited::Stack(id, other) if id == child.id && other != request);
        if self.waiting.iter().any(is_another) {
            // It has a place for one question.
            return Err("somebody asks for the stack of another request just now: ask again".to_owned());
        }
        self.host.want_stack(child.pid, request)?;
        let awaited = Awaited::Stack(child.id, request);
        // One answer is for all who have asked: orders that it had to leave would have to wait behind each.
        if self.waiting.iter().all(|waiting| waiting.what != awaited) {
            child.send(order::STACK);
        }
        Ok(awaited)
    }

    /// The host has been asked for stacks.
    pub(super) fn stacks_wanted(&mut self, wanted: Vec<StackWanted>) {
        for StackWanted { asker, worker, request } in wanted {
            match self.ask_for_stack(worker, request) {
                Ok(what) => self.wait_for(Asker::OfHost(asker), what),
                Err(reason) => self.host.stack_told(asker, &json!({"error": reason})),
            }
        }
    }

    /// A worker has told what a request is at.
    pub(super) fn stack_told(&mut self, id: WorkerId, text: &str) {
        let Ok(mut told) = serde_json::from_str::<Value>(text) else { return };
        let Some(request) = told["request"].as_u64() else { return };
        told["worker"] = json!(id.0);
        self.answer(|what| *what == Awaited::Stack(id, request), &told);
    }

    /// Those whose worker does not tell.
    pub(super) fn give_up_stacks(&mut self) {
        let now = self.now();
        let late: Vec<_> = self
            .waiting
            .iter()
            .filter(|waiting| waiting.until.is_some_and(|until| now >= until))
            .map(|waiting| waiting.what.clone())
            .collect();
        for what in late {
            self.answer(|other| *other == what, &json!({"error": "the worker does not tell"}));
        }
    }

    /// Answers all who wait for something that `is_over`.
    pub(super) fn answer(&mut self, is_over: impl Fn(&Awaited) -> bool, answer: &Value) {
        let (over, waiting) = self.waiting.drain(..).partition(|waiting| is_over(&waiting.what));
        self.waiting = waiting;
        let over: Vec<Waiting> = over;
        for waiting in over {
            self.answer_one(waiting.asker, answer);
        }
    }

    pub(super) fn settle_waiting(&mut self, change: &Change) {
        let answer = match change {
            Change::Reloaded => json!({"ok": true}),
            Change::ReloadFailed(reason) => {
                json!({"error": format!("the reload has failed: {reason}"), "report": self.report})
            }
            Change::Stopping => {
                if let Some(pid) = self.successor {
                    let pid = pid.as_raw_nonzero().get();
                    self.answer(|what| *what == Awaited::Upgrade, &json!({"ok": true, "pid": pid}));
                }
                return self.answer(|_| true, &json!({"error": "the server is stopping"}));
            }
            Change::Opened | Change::Reloading | Change::Retiring => return,
        };
        for waiting in &mut self.waiting {
            if let Awaited::Reloads(left) = &mut waiting.what {
                *left -= 1;
            }
        }
        self.answer(|what| *what == Awaited::Reloads(0), &answer);
    }

    fn status(&mut self) -> Value {
        let now = self.now();
        let beliefs: Vec<_> = self.fleet.workers().collect();
        let mut workers = Vec::with_capacity(beliefs.len());
        for (id, generation, state) in beliefs {
            let Some(child) = self.children.iter().find(|child| child.id == id) else { continue };
            let Usage { requests, connections, log_lines_lost, memory, lost_threads } =
                self.host.usage(child.pid);
            workers.push(json!({
                "id": id.0,
                "pid": child.pid.as_raw_nonzero().get(),
                "generation": generation.0,
                "state": state.word(),
                "age_s": (now - child.since) / 1_000,
                "requests": requests,
                "connections": connections,
                "log_lines_lost": log_lines_lost,
                "memory_bytes": memory,
                "lost_threads": lost_threads,
            }));
        }
        let mut status = self.host.about();
        status["pid"] = json!(std::process::id());
        status["state"] = json!(self.fleet.phase());
        status["uptime_s"] = json!(now / 1_000);
        status["workers_wanted"] = json!(self.fleet.workers_wanted());
        status["workers"] = json!(workers);
        status
    }
}

//! The server's spans: what it has seen of each request, told to an OpenTelemetry collector by a thread of its own, so that a slow
//! collector holds up nobody. docs/design/tracing.md says why it is done here.
//!
//! - `context`: which trace a request belongs to, and whether it is recorded.
//! - `span`: one request.
//! - `document`: spans as a collector reads them.
//! - `sender`: the thread.

mod context;
mod document;
mod sender;
mod span;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tidegate_http::RequestHead;

pub(crate) use context::TraceContext;
pub(crate) use span::{OpenSpan, Outcome};

use crate::background::Background;
use crate::random::RandomPool;
use crate::record::{Counter, Record};
use context::Sample;
use sender::{BATCH_MAX, Sender};
use span::Span;

/// Spans that wait for the collector; past this they are dropped and counted rather than kept without end. Each has a few hundred bytes.
const WAITING_MAX: usize = 16 * BATCH_MAX;

/// Whom to tell of requests, and of which.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingPlan {
    /// The collector, as `http://HOST:PORT` or with a path behind; spans go to `/v1/traces` below it.
    pub endpoint: String,
    /// The part, from 0 to 1, of the traces that begin here that is recorded.
    pub sample: f64,
    /// What the collector knows this server as (`service.name`).
    pub service_name: String,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Span>,
    /// Dropped because there were as many as may wait.
    dropped: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins spans and has them sent.
#[derive(Debug)]
pub struct Tracer {
    random: RandomPool,
    sample: Sample,
    queue: Arc<Queue>,
    record: Option<Record>,
    thread: Background,
}

impl Tracer {
    /// Starts the thread. Spans are counted in the record, where there is one.
    ///
    /// # Errors
    /// What the system says of the thread.
    pub fn start(plan: &TracingPlan, record: Option<Record>) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let sender = Sender::new(plan, queue.clone(), record.clone());
        let thread = Background::start("tidegate-spans", move || sender.run())?;
        Ok(Self { random: RandomPool::default(), sample: Sample::new(plan.sample), queue, record, thread })
    }

    /// Has the request's head name the span that it is given as the one to follow; none where it is not recorded. Places of fields change.
    pub(crate) fn assign(&self, head: &mut RequestHead, is_trusted: bool) -> Option<TraceContext> {
        context::assign(head, is_trusted, self.sample, &self.random)
    }

    /// A request is over.
    pub(crate) fn end(&self, span: OpenSpan, outcome: Outcome) {
        let span = span.end(outcome);
        let mut waiting = self.queue.lock();
        if waiting.spans.len() == WAITING_MAX {
            waiting.dropped += 1;
            drop(waiting);
            self.record.iter().for_each(|record| record.add(Counter::SpansDropped, 1));
            return;
        }
        waiting.spans.push_back(span);
        let count = waiting.spans.len();
        drop(waiting);
        // It sleeps until there is one, and then for a while until there are enough.
        if count == 1 || count == BATCH_MAX {
            self.queue.changed.notify_one();
        }
    }

    /// Sends what waits and ends the thread, unless the collector takes nothing any more.
    pub fn finish(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
        if !self.thread.finish() {
            log::error!("the last spans are lost: the collector does not take them");
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.finish();
    }
}

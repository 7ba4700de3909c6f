//! A request in flight, as its connection has it: from its head until all of its response is in the system's hands; and what is shown of it
//! from then on, where its application goes on although its time is over.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::figures::{Class, Counter, Gauge, OTHER, Span, method_number};
use super::table::{self, Beginning, Kept, Stage};
use super::{Record, SLOTS};
use crate::clock;
use crate::cut::Cut;
use crate::tracing::{OpenSpan, Outcome, Tracer};

thread_local! {
    /// The system's number of this thread, which is asked for once.
    static THREAD: Cell<i32> = const { Cell::new(0) };
}

fn this_thread() -> i32 {
    THREAD.with(|thread| {
        if thread.get() == 0 {
            thread.set(rustix::thread::gettid().as_raw_pid());
        }
        thread.get()
    })
}

/// A record as the worker writes it that it belongs to.
#[derive(Debug)]
pub(crate) struct Observer {
    record: Record,
    tracer: Option<Arc<Tracer>>,
    slots: Mutex<Slots>,
}

/// Which slots are free: those that were used, and all from `unused` on.
#[derive(Debug, Default)]
struct Slots {
    free: Vec<u16>,
    unused: u16,
}

impl Observer {
    pub(crate) fn new(record: Record, tracer: Option<Arc<Tracer>>) -> Self {
        Self { record, tracer, slots: Mutex::default() }
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_deref()
    }

    /// The one that was used last, whose memory is at hand.
    fn take_slot(&self) -> Option<u16> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.free.pop() {
            return Some(slot);
        }
        let slot = slots.unused;
        if usize::from(slot) >= SLOTS {
            return None;
        }
        slots.unused += 1;
        self.record.set(Gauge::SlotsUsed, u64::from(slots.unused));
        Some(slot)
    }

    fn free(&self, slot: Option<u16>) {
        if let Some(slot) = slot {
            table::end(self.record.slot(usize::from(slot)));
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(slot);
        }
    }

    /// Counts what could not be read as a request, and was answered with this status.
    pub(crate) fn count_unread(&self, status: u16) {
        self.record.add(Counter::Started, 1);
        let records = &self.record.records;
        records.layout.count_request(self.record.words(), None, OTHER, Class::of(status));
    }

    fn observe(&self, span: Span, time_us: u64) {
        self.record.records.layout.observe(self.record.words(), span, time_us);
    }
}

/// One request. Ended by [`Flight::end`] and by nothing else.
#[derive(Debug)]
pub(crate) struct Flight {
    slot: Option<u16>,
    began_us: u64,
    stage_began_us: u64,
    kept: Kept,
    thread: i32,
    /// Among those that wait for their turn.
    waits: bool,
    /// Its time is over, and an application has it.
    expired: bool,
    /// Where it is recorded in a trace.
    span: Option<Box<OpenSpan>>,
}

/// What is left of a request whose application has outlived it. Ended by [`Outlived::end`] and by nothing else.
#[derive(Debug)]
pub(crate) struct Outlived {
    slot: Option<u16>,
}

impl Flight {
    /// Its head is in.
    pub(crate) fn begin(observer: &Observer, beginning: &Beginning<'_>, span: Option<Box<OpenSpan>>) -> Self {
        let began_us = beginning.began_us;
        let record = &observer.record;
        let words = record.words();
        let number = words[Counter::Started as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let mut kept = Kept {
            // Without a body there is no time for it to come in.
            stage: if beginning.has_body { Stage::Body } else { Stage::Queue },
            method: method_number(beginning.method),
            status: 0,
            application: None,
            path_length: 0,
            id_length: 0,
        };
        let slot = observer.take_slot();
        if let Some(slot) = slot {
            let slot = record.slot(usize::from(slot));
            kept = table::begin(slot, number, kept, beginning);
        }
        if let Some(waited_us) = beginning.front_queue_us {
            observer.observe(Span::Front, u64::from(waited_us));
        }
        Self { slot, began_us, stage_began_us: began_us, kept, thread: 0, waits: false, expired: false, span }
    }

    /// Its body is as far in as it must be: its turn is to come, for which it must wait, or not.
    pub(crate) fn queue(&mut self, observer: &Observer) {
        if self.kept.stage == Stage::Body {
            self.go_on(observer, Stage::Queue);
        }
    }

    /// It is not its turn.
    pub(crate) fn wait(&mut self, observer: &Observer) {
        self.waits = true;
        observer.record.shift(Gauge::Queued, true);
    }

    /// Its turn has come, or it is not to come any more.
    pub(crate) fn end_wait(&mut self, observer: &Observer) {
        if std::mem::take(&mut self.waits) {
            observer.record.shift(Gauge::Queued, false);
        }
    }

    /// An application has it, on this thread.
    pub(crate) fn run(&mut self, observer: &Observer, application: usize) {
        if self.kept.stage == Stage::Queue {
            self.kept.application = Some(application);
            self.thread = this_thread();
            self.go_on(observer, Stage::Application);
        }
    }

    /// Its response begins. With `last` it is complete too, and what comes next is shown.
    pub(crate) fn answer(&mut self, observer: &Observer, status: u16, last: bool) {
        self.kept.status = status;
        if !last {
            self.show(observer);
        }
    }

    /// It is of no interest to those who look at traces.
    pub(crate) fn leave_trace(&mut self) {
        self.span = None;
    }

    /// The response is complete, and not all of it is sent.
    pub(crate) fn write(&mut self, observer: &Observer) {
        self.go_on(observer, Stage::Write);
    }

    /// Its time is over.
    pub(crate) fn expire(&mut self) {
        self.expired = self.kept.stage == Stage::Application;
    }

    /// Its application has ended.
    pub(crate) fn leave_application(&mut self) {
        self.expired = false;
    }

    fn go_on(&mut self, observer: &Observer, stage: Stage) {
        let now_us = clock::now_us();
        self.leave_stage(observer, stage, now_us);
        self.enter_stage(observer, stage, now_us);
    }

    fn enter_stage(&mut self, observer: &Observer, stage: Stage, now_us: u64) {
        self.kept.stage = stage;
        self.stage_began_us = now_us;
        self.show(observer);
    }

    /// Measures the stage that is over.
    fn leave_stage(&mut self, observer: &Observer, next: Stage, now_us: u64) {
        let took_us = now_us.saturating_sub(self.stage_began_us);
        if let Some(span) = &mut self.span {
            span.leave(self.kept.stage, took_us);
        }
        let span = match self.kept.stage {
            Stage::Queue if next == Stage::Application => Span::Queue,
            Stage::Application => Span::Application,
            Stage::Body | Stage::Queue | Stage::Write | Stage::Expired => return,
        };
        observer.observe(span, took_us);
    }

    fn show(&self, observer: &Observer) {
        if let Some(slot) = self.slot {
            let slot = observer.record.slot(usize::from(slot));
            table::go_on(slot, self.kept, self.stage_began_us, self.thread);
        }
    }

    /// All is over, but for an application that goes on nevertheless. `cut` says why, where its response is not whole.
    pub(crate) fn end(mut self, observer: &Observer, cut: Option<Cut>) -> Option<Outlived> {
        let now_us = clock::now_us();
        self.end_wait(observer);
        self.leave_stage(observer, Stage::Write, now_us);
        let took_us = now_us.saturating_sub(self.began_us);
        observer.observe(Span::Total, took_us);
        let Kept { application, method, status, .. } = self.kept;
        let record = &observer.record;
        record.records.layout.count_request(record.words(), application, method, Class::of(status));
        if let Some(cut) = cut.filter(|_| status != 0) {
            record.add(Counter::of_cut(cut), 1);
        }
        if let (Some(span), Some(tracer)) = (self.span.take(), &observer.tracer) {
            let took = Duration::from_micros(took_us);
            tracer.end(*span, Outcome { status, took, cut });
        }
        if self.expired {
            self.enter_stage(observer, Stage::Expired, now_us);
            record.shift(Gauge::ExpiredRunning, true);
            return Some(Outlived { slot: self.slot });
        }
        observer.free(self.slot);
        None
    }
}

impl Outlived {
    /// The application has ended.
    pub(crate) fn end(self, observer: &Observer) {
        observer.free(self.slot);
        observer.record.shift(Gauge::ExpiredRunning, false);
    }
}

//! A request in flight, as its connection has it: from its head until all of its response is in the system's hands.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::figures::{Class, Counter, Gauge, OTHER, Span, method_number};
use super::table::{self, Beginning, Kept, Stage};
use super::{Record, SLOTS};
use crate::clock;
use crate::cut::Cut;

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
    slots: Mutex<Slots>,
}

/// Which slots are free: those that were used, and all from `unused` on.
#[derive(Debug, Default)]
struct Slots {
    free: Vec<u16>,
    unused: u16,
}

impl Observer {
    pub(crate) fn new(record: Record) -> Self {
        Self { record, slots: Mutex::default() }
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
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

    fn give_back(&self, slot: u16) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(slot);
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
}

impl Flight {
    /// Its head is in.
    pub(crate) fn begin(observer: &Observer, beginning: &Beginning<'_>) -> Self {
        let began_us = clock::now_us();
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
            kept = table::begin(slot, number, began_us, kept, beginning);
        }
        if let Some(waited_us) = beginning.front_queue_us {
            observer.observe(Span::Front, u64::from(waited_us));
        }
        Self { slot, began_us, stage_began_us: began_us, kept, thread: 0, waits: false }
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

    /// The response is complete, and not all of it is sent.
    pub(crate) fn write(&mut self, observer: &Observer) {
        self.go_on(observer, Stage::Write);
    }

    fn go_on(&mut self, observer: &Observer, stage: Stage) {
        let now_us = clock::now_us();
        self.leave_stage(observer, stage, now_us);
        self.kept.stage = stage;
        self.stage_began_us = now_us;
        self.show(observer);
    }

    /// Measures the stage that is over.
    fn leave_stage(&self, observer: &Observer, next: Stage, now_us: u64) {
        let span = match self.kept.stage {
            Stage::Queue if next == Stage::Application => Span::Queue,
            Stage::Application => Span::Application,
            Stage::Body | Stage::Queue | Stage::Write => return,
        };
        observer.observe(span, now_us.saturating_sub(self.stage_began_us));
    }

    fn show(&self, observer: &Observer) {
        if let Some(slot) = self.slot {
            let slot = observer.record.slot(usize::from(slot));
            table::go_on(slot, self.kept, self.stage_began_us, self.thread);
        }
    }

    /// All is over. `cut` says why, where its response is not whole.
    pub(crate) fn end(mut self, observer: &Observer, cut: Option<Cut>) {
        let now_us = clock::now_us();
        self.end_wait(observer);
        self.leave_stage(observer, Stage::Write, now_us);
        observer.observe(Span::Total, now_us.saturating_sub(self.began_us));
        let Kept { application, method, status, .. } = self.kept;
        let record = &observer.record;
        record.records.layout.count_request(record.words(), application, method, Class::of(status));
        if let Some(cut) = cut.filter(|_| status != 0) {
            record.add(Counter::of_cut(cut), 1);
        }
        if let Some(slot) = self.slot {
            table::end(record.slot(usize::from(slot)));
            observer.give_back(slot);
        }
    }
}

//! What a worker counts, and which requests it has, in memory that whoever serves the admin listener reads. It is made before the fork, so
//! that a worker is seen into that is stuck, and what one has counted that was killed is not lost.
//!
//! All of it is words that are changed by atomic operations: a range for each worker, and one for the sums of those that are gone.
//!
//! - `figures`: counters, gauges and histograms, what they are called, and their sums.
//! - `table`: the requests in flight.
//! - `flight`: one of them, as its connection has it.

mod figures;
mod flight;
mod table;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use figures::known_method;
pub use figures::{BOUNDS_US, Class, Counter, Figures, Gauge, Histogram, METHODS, Runs, Span};
pub(crate) use flight::{Flight, Observer, Outlived};
pub(crate) use table::Beginning;
pub use table::{InFlight, Stage};

use crate::clock;
use crate::sys::SharedMemory;
use figures::{Layout, OTHER};
use table::SLOT_WORDS;

/// Requests in flight that are shown of each worker. Those that come while there are as many are counted and not shown.
const SLOTS: usize = 2_048;

/// The records of all workers that there may be at once.
#[derive(Debug)]
pub struct Records {
    words: SharedMemory<AtomicU64>,
    layout: Layout,
    workers: usize,
}

/// That of one worker.
#[derive(Clone, Debug)]
pub struct Record {
    records: Arc<Records>,
    index: usize,
}

/// Now, as [`InFlight`] has it.
pub fn monotonic_us() -> u64 {
    clock::now_us()
}

impl Records {
    /// For so many workers, each with so many applications.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(workers: usize, applications: usize) -> io::Result<Arc<Self>> {
        let layout = Layout::new(applications);
        let size = (workers + 1) * layout.size() + workers * SLOTS * SLOT_WORDS;
        Ok(Arc::new(Self { words: SharedMemory::zeros(size)?, layout, workers }))
    }

    /// The record of the worker with this index.
    pub fn record(self: &Arc<Self>, index: usize) -> Option<Record> {
        (index < self.workers).then(|| Record { records: self.clone(), index })
    }

    /// Keeps what a worker has counted that is gone, and makes its record that of the next one. What it had in flight was cut.
    pub fn keep(self: &Arc<Self>, index: usize) {
        let Some(record) = self.record(index) else { return };
        let (words, gone) = (record.words(), self.words_of(self.workers));
        let mut cut = self.layout.figures(words).in_flight();
        let unended = record.requests().into_iter().filter(|request| request.stage != Stage::Expired);
        for request in unended.take(usize::try_from(cut).unwrap_or(usize::MAX)) {
            self.layout.count_request(gone, request.application, request.method_number, Class::Cut);
            cut -= 1;
        }
        self.layout.requests(gone, None, OTHER, Class::Cut).fetch_add(cut, Ordering::Relaxed);
        self.layout.keep(words, gone);
        for slot in 0..record.slots_used() {
            record.slot(slot).iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// What workers have counted that are gone.
    pub fn gone(&self) -> Figures {
        self.layout.figures(self.words_of(self.workers))
    }

    fn words_of(&self, index: usize) -> &[AtomicU64] {
        let size = self.layout.size();
        &self.words.as_slice()[index * size..][..size]
    }
}

impl Record {
    fn words(&self) -> &[AtomicU64] {
        self.records.words_of(self.index)
    }

    /// Counts `count` more.
    pub fn add(&self, counter: Counter, count: u64) {
        self.words()[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Shows how much there is of something.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.gauge(gauge).store(value, Ordering::Relaxed);
    }

    /// There is one more, or with `false` one less.
    pub(crate) fn shift(&self, gauge: Gauge, up: bool) {
        self.gauge(gauge).fetch_add(if up { 1 } else { u64::MAX }, Ordering::Relaxed);
    }

    fn gauge(&self, gauge: Gauge) -> &AtomicU64 {
        &self.words()[Layout::gauge(gauge)]
    }

    /// What it has counted so far, and shows.
    pub fn figures(&self) -> Figures {
        self.records.layout.figures(self.words())
    }

    fn slots_used(&self) -> usize {
        let used = self.gauge(Gauge::SlotsUsed).load(Ordering::Acquire);
        usize::try_from(used).unwrap_or(SLOTS).min(SLOTS)
    }

    fn slot(&self, slot: usize) -> &[AtomicU64] {
        let Records { words, layout, workers } = &*self.records;
        let start = (workers + 1) * layout.size() + (self.index * SLOTS + slot) * SLOT_WORDS;
        &words.as_slice()[start..][..SLOT_WORDS]
    }

    /// The requests that it has in flight, and those whose applications have outlived them, in no order.
    pub fn requests(&self) -> Vec<InFlight> {
        (0..self.slots_used()).filter_map(|slot| table::read(self.slot(slot))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Arc<Records> {
        Records::new(2, 1).expect("memory")
    }

    #[test]
    fn what_a_worker_has_counted_is_kept_when_it_is_gone() {
        let records = records();
        let record = records.record(1).expect("a record");
        record.add(Counter::BytesIn, 5);
        record.set(Gauge::Connections, 3);
        let words = record.words();
        records.layout.count_request(words, Some(0), 0, Class::Success);
        records.layout.observe(words, Span::Total, 2_000);
        record.add(Counter::Started, 1);
        records.keep(1);
        let (gone, now) = (records.gone(), record.figures());
        assert_eq!((gone.counter(Counter::BytesIn), now.counter(Counter::BytesIn)), (5, 0));
        assert_eq!((gone.requests_of(Some(0), 0, Class::Success), now.ended()), (1, 0));
        assert_eq!((gone.histogram(Span::Total).count(), now.histogram(Span::Total).count()), (1, 0));
        assert_eq!((gone.gauge(Gauge::Connections), now.gauge(Gauge::Connections)), (0, 0));
    }

    #[test]
    fn what_a_worker_had_in_flight_when_it_was_killed_was_cut() {
        let records = records();
        let record = records.record(0).expect("a record");
        record.add(Counter::Started, 2);
        records.layout.count_request(record.words(), Some(0), 0, Class::Success);
        records.keep(0);
        assert_eq!(records.gone().requests_of(None, OTHER, Class::Cut), 1);
        assert_eq!((records.gone().ended(), records.gone().in_flight()), (2, 0));
        records.keep(0);
        assert_eq!(records.gone().ended(), 2);
    }

    #[test]
    fn there_are_as_many_records_as_were_asked_for() {
        let records = records();
        assert!(records.record(1).is_some() && records.record(2).is_none());
        records.keep(2);
    }
}

//! What a reactor shares with its connections, its exchanges and whoever stops it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_http::{Limits, RequestHead};

use crate::access_log::AccessLog;
use crate::admission::{Admitted, Gates};
use crate::connection::Connection;
use crate::keeper::{Keeper, RequestKey};
use crate::look::OwnAnswer;
use crate::reactor::Work;
use crate::record::{Counter, Gauge, Observer, Record};
use crate::request_id::RequestIds;
use crate::scoreboard::Seat;
use crate::settings::Settings;
use crate::sleep::Sleep;

/// How far the server is on its way from serving to its end. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Could serve, and does not accept yet.
    Waiting,
    /// Accepts and serves.
    Serving,
    /// Still does, but has itself taken for gone: it is not ready, and connections are not kept.
    Retiring,
    /// Accepts nothing new and finishes what is in flight.
    Draining,
    /// Cuts what is left.
    Stopping,
}

impl Lifecycle {
    /// Nothing new is accepted any more.
    pub fn is_ending(self) -> bool {
        self >= Self::Draining
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// Of the parser, which knows no paths: the settings' own, but for bodies, of which the most is taken that any request may have.
    pub(crate) http: Arc<Limits>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) gates: Gates,
    /// Where the time of requests is limited.
    pub(crate) keeper: Option<Arc<Keeper>>,
    pub(crate) request_ids: RequestIds,
    pub(crate) observer: Option<Observer>,
    /// Bytes of request bodies in memory, of all connections.
    pub(crate) bodies_held: AtomicUsize,
    lifecycle: AtomicU8,
    /// Connections that an exchange has changed and the reactor must look at; none when there is no reactor any more.
    attention: Mutex<Option<Vec<Arc<Connection>>>>,
    sleep: Sleep,
    waker: mio::Waker,
}

impl Shared {
    pub(crate) fn new(settings: Settings, access_log: Option<AccessLog>, waker: mio::Waker) -> Self {
        let observer = settings.record.clone().map(|record| Observer::new(record, settings.tracer.clone()));
        if let Some(record) = observer.as_ref().map(Observer::record) {
            let aside_max = settings.aside.as_ref().map(|aside| aside.concurrency_max);
            record.set(Gauge::RunningMax, (settings.concurrency_max + aside_max.unwrap_or(0)) as u64);
            record.set(
                Gauge::QueuedMax,
                (settings.queue_size_max * (1 + usize::from(aside_max.is_some()))) as u64,
            );
        }
        Self {
            gates: Gates::new(&settings),
            keeper: settings.shortest_time_ms().map(Keeper::new),
            http: parser_limits(&settings),
            request_ids: RequestIds::default(),
            observer,
            bodies_held: AtomicUsize::new(0),
            settings,
            access_log,
            lifecycle: AtomicU8::new(Lifecycle::Waiting as u8),
            attention: Mutex::new(Some(Vec::new())),
            sleep: Sleep::default(),
            waker,
        }
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        match self.lifecycle.load(Ordering::Acquire) {
            0 => Lifecycle::Waiting,
            1 => Lifecycle::Serving,
            2 => Lifecycle::Retiring,
            3 => Lifecycle::Draining,
            _ => Lifecycle::Stopping,
        }
    }

    /// What the server answers by itself to a request that asks how it is.
    pub(crate) fn health_for(&self, head: &RequestHead) -> Option<OwnAnswer> {
        let asks = |path: &Option<String>| path.as_ref().is_some_and(|path| path.as_bytes() == head.path());
        if asks(&self.settings.ready_path) {
            let lifecycle = self.lifecycle();
            let by_server = self.settings.ready_by_server || lifecycle == Lifecycle::Retiring;
            let is_well = lifecycle == Lifecycle::Serving;
            return by_server.then_some(if is_well { OwnAnswer::Well } else { OwnAnswer::Unwell });
        }
        asks(&self.settings.live_path).then_some(OwnAnswer::Well)
    }

    /// What this worker counts, if it does.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.observer.as_ref().map(Observer::record)
    }

    /// Counts one, if that is wanted.
    pub(crate) fn count(&self, counter: Counter) {
        if let Some(record) = self.record() {
            record.add(counter, 1);
        }
    }

    fn advance_lifecycle(&self, to: Lifecycle) {
        self.lifecycle.fetch_max(to as u8, Ordering::AcqRel);
        self.wake();
    }

    /// Has the reactor look at `connection` in its next turn: once, however often this is asked for, as each look may use all of what a
    /// connection may use of a turn.
    pub(crate) fn attend(&self, connection: Arc<Connection>) {
        if !connection.attended.swap(true, Ordering::AcqRel)
            && let Some(attention) = &mut *self.attention()
        {
            attention.push(connection);
        }
        self.wake_if_asleep();
    }

    /// Has the reactor look for work, if it would not do so by itself.
    pub(crate) fn wake_if_asleep(&self) {
        if self.sleep.must_be_woken() {
            self.wake();
        }
    }

    /// Moves what wants attention into the reactor's work.
    pub(crate) fn take_attention(&self, work: &mut VecDeque<Work>) {
        work.extend(self.attention().iter_mut().flat_map(|attention| attention.drain(..)).map(Work::Attend));
    }

    /// The same, before what is there.
    pub(crate) fn take_attention_first(&self, work: &mut VecDeque<Work>) {
        if let Some(attention) = &mut *self.attention() {
            attention.drain(..).rev().for_each(|connection| work.push_front(Work::Attend(connection)));
        }
    }

    /// The reactor is gone. What waits for it holds connections, and those hold this.
    pub(crate) fn abandon(&self) {
        let attention = self.attention().take();
        drop(attention);
        self.keeper.iter().for_each(|keeper| keeper.end());
        self.gates.both().iter().for_each(|gate| gate.clear());
    }

    fn attention(&self) -> MutexGuard<'_, Option<Vec<Arc<Connection>>>> {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reactor is about to sleep; false when there is work after all.
    pub(crate) fn fall_asleep(&self) -> bool {
        let asleep = self.sleep.fall_asleep(|| {
            self.attention().as_ref().is_some_and(|attention| !attention.is_empty())
                || self.gates.both().iter().any(|gate| gate.has_admissible())
        });
        if let Some(seat) = self.settings.seat.as_ref().filter(|_| asleep) {
            seat.set_waits(matches!(self.lifecycle(), Lifecycle::Serving | Lifecycle::Retiring));
        }
        asleep
    }

    pub(crate) fn awake(&self) {
        self.sleep.awake();
        if let Some(seat) = &self.settings.seat {
            seat.set_waits(false);
        }
    }

    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("the reactor cannot be woken: {error}");
        }
    }
}

fn parser_limits(settings: &Settings) -> Arc<Limits> {
    let body_size_max = settings.body_size_ceiling();
    if body_size_max == settings.http.body_size_max {
        return settings.http.clone();
    }
    Arc::new(Limits { body_size_max, ..(*settings.http).clone() })
}

/// A way to reach a reactor from any thread.
#[derive(Clone, Debug)]
pub struct Handle(pub(crate) Arc<Shared>);

impl Handle {
    /// Begins to accept.
    pub fn open(&self) {
        self.0.advance_lifecycle(Lifecycle::Serving);
    }

    /// Tells whoever asks that this server is not to be sent anything more, and goes on serving.
    pub fn retire(&self) {
        self.0.advance_lifecycle(Lifecycle::Retiring);
    }

    /// Stops accepting, finishes what is in flight, and ends after the grace at the latest.
    pub fn drain(&self) {
        self.0.advance_lifecycle(Lifecycle::Draining);
    }

    /// Cuts everything at once.
    pub fn stop(&self) {
        self.0.advance_lifecycle(Lifecycle::Stopping);
    }

    /// The request that has waited longest for its turn, if one waits and one more may run.
    pub fn admit_waiting(&self) -> Option<Admitted> {
        Gates::admit_waiting(&self.0)
    }

    /// Lets at most `most` requests (none of those that stand aside) run at once from here on, because the system gives no more to run
    /// them on; `None`: as many as the settings say.
    pub fn limit_concurrency(&self, most: Option<usize>) {
        self.limit(false, self.0.settings.concurrency_max, most);
    }

    /// The same for those that stand aside.
    pub fn limit_aside(&self, most: Option<usize>) {
        let settings_max = self.0.settings.aside.as_ref().map_or(0, |aside| aside.concurrency_max);
        self.limit(true, settings_max, most);
    }

    /// The request that the supervisor asks about: its number and its key.
    pub fn wanted(&self) -> Option<(u64, RequestKey)> {
        self.0.settings.seat.as_ref().map(Seat::wanted)
    }

    /// Lets the supervisor see how many threads do not come back.
    pub fn show_lost_threads(&self, count: usize) {
        if let Some(seat) = &self.0.settings.seat {
            seat.set_lost_threads(count);
        }
        if let Some(record) = self.record() {
            record.set(Gauge::ThreadsLost, count as u64);
        }
    }

    /// So many requests (none of those that stand aside) do not end, and as many others may run in their stead.
    pub fn lend(&self, count: usize) {
        self.lend_to(false, count);
    }

    /// The same for those that stand aside.
    pub fn lend_aside(&self, count: usize) {
        self.lend_to(true, count);
    }

    fn lend_to(&self, aside: bool, count: usize) {
        if self.0.gates.of(aside).lend(count) {
            self.0.wake_if_asleep();
        }
    }

    fn limit(&self, aside: bool, settings_max: usize, most: Option<usize>) {
        if self.0.gates.of(aside).limit(most.map_or(settings_max, |most| most.min(settings_max))) {
            self.0.wake_if_asleep();
        }
    }

    /// Has the reactor turned once more, by whoever waits for its descriptor.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Keeps no request's time any more.
    pub fn end_timeouts(&self) {
        self.0.keeper.iter().for_each(|keeper| keeper.end());
    }

    /// Writes what waits for the access log. For the end: what is logged after it is lost.
    pub fn finish_access_log(&self) {
        if let Some(access_log) = &self.0.access_log {
            access_log.finish();
        }
    }

    /// Has the access log's file opened anew, after it was moved away.
    pub fn reopen_access_log(&self) {
        if let Some(access_log) = &self.0.access_log {
            access_log.reopen();
        }
    }

    /// Where what is counted goes, if it is.
    pub fn record(&self) -> Option<&Record> {
        self.0.record()
    }

    /// How far it is.
    pub fn lifecycle(&self) -> Lifecycle {
        self.0.lifecycle()
    }
}

//! Counters, gauges and histograms: what there is, where each has its words, and sums of them.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cut::Cut;
use crate::lane::Shed;

/// What only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Requests whose head has come, or what could not be read as one.
    Started,
    /// Bytes that came in, and that went out, whatever they were.
    BytesIn,
    /// See `BytesIn`.
    BytesOut,
    /// Requests turned away: as many waited as may.
    ShedQueueFull,
    /// They have waited for too long.
    ShedQueueTimeout,
    /// As many ran at their path as may.
    ShedLimit,
    /// Requests have waited for too long for some time.
    ShedCodel,
    /// Heads that did not come in time.
    TimeoutsHead,
    /// Bodies that did not.
    TimeoutsBody,
    /// Responses that were not taken in time.
    TimeoutsWrite,
    /// Requests that were not answered in time.
    TimeoutsRequest,
    /// Responses that were cut after their head: the request took too long.
    CutRequestTimeout,
    /// The client did not take it in time.
    CutWriteTimeout,
    /// The client left.
    CutClient,
    /// The application failed.
    CutApplication,
    /// The server ended.
    CutStop,
    /// Leadership passed from one thread to another.
    LeadershipMoves,
    /// How often a thread with work has waited for the interpreter, and for how many microseconds.
    InterpreterWaits,
    /// See `InterpreterWaits`.
    InterpreterWaitUs,
    /// Spans that the collector has taken, and that it was not told of or has not.
    SpansSent,
    /// See `SpansSent`.
    SpansDropped,
    /// Handshakes of TLS that were whole ones, that went on from an earlier session, and that have failed.
    HandshakesFull,
    /// See `HandshakesFull`.
    HandshakesResumed,
    /// See `HandshakesFull`.
    HandshakesFailed,
    /// HTTP/2 streams that have begun.
    Http2Streams,
    /// HTTP/2 connections that were ended, as what came on them led nowhere.
    Http2Calmed,
}

impl Counter {
    /// What requests are counted by that are turned away for this reason.
    pub(crate) fn of_shed(shed: Shed) -> Self {
        match shed {
            Shed::QueueFull => Self::ShedQueueFull,
            Shed::QueueTimeout => Self::ShedQueueTimeout,
            Shed::Limit => Self::ShedLimit,
            Shed::Codel => Self::ShedCodel,
        }
    }

    /// What responses are counted by that are cut for this reason.
    pub(crate) fn of_cut(cut: Cut) -> Self {
        match cut {
            Cut::RequestTimeout => Self::CutRequestTimeout,
            Cut::WriteTimeout => Self::CutWriteTimeout,
            Cut::Client => Self::CutClient,
            Cut::Application => Self::CutApplication,
            Cut::Stop => Self::CutStop,
        }
    }
}

const COUNTERS: usize = Counter::Http2Calmed as usize + 1;

/// What goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Gauge {
    /// Connections that are open.
    Connections,
    /// Of those, WebSockets.
    WebSockets,
    /// Of all connections, those that speak HTTP/2.
    Http2,
    /// Requests that wait for their turn.
    Queued,
    /// Requests that are over, as their time was, while their applications go on.
    ExpiredRunning,
    /// Requests that may run at once, and that may wait for it.
    RunningMax,
    /// See `RunningMax`.
    QueuedMax,
    /// What requests run on, as [`Runs`].
    Runs,
    /// Threads that there are for requests.
    Threads,
    /// Threads that are stuck in calls that nobody waits for any more.
    ThreadsLost,
    /// How much of the table of requests in flight has been used.
    SlotsUsed,
}

const GAUGES: usize = Gauge::SlotsUsed as usize + 1;

/// What requests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Runs {
    /// On threads, of which there may be one.
    Threads = 1,
    /// Each in a greenlet.
    Greenlets,
    /// Each in a task of an event loop.
    Tasks,
}

/// How a request ended, by the status of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Class {
    /// 1xx: it is a WebSocket now.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// The client has left, or was cut off, before there was a response.
    Cut,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Cut,
    ];

    /// That of a status; 0 for none.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
            _ => Self::Cut,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Cut => "cut",
        }
    }
}

/// Methods that are told apart (RFC 9110 section 9, RFC 5789); the last stands for all others, as clients may invent any.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "other"];

/// The number of those.
pub(super) const OTHER: usize = METHODS.len() - 1;

/// The number of a method among [`METHODS`].
pub(super) fn method_number(method: &str) -> usize {
    METHODS.iter().position(|known| *known == method).unwrap_or(OTHER)
}

/// The method, if it is one of those that are told apart.
pub(crate) fn known_method(method: &str) -> Option<&'static str> {
    METHODS[..OTHER].iter().find(|known| **known == method).copied()
}

/// What is measured of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Span {
    /// In front of this server, where a trusted proxy says when it began.
    Front,
    /// From when it could run until its application began.
    Queue,
    /// Until its response was complete.
    Application,
    /// From its head's arrival until the system had all of the response.
    Total,
}

const SPANS: usize = Span::Total as usize + 1;

/// Upper bounds of a histogram's buckets but the last, which has none.
pub const BOUNDS_US: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// A histogram's buckets, and the sum of what is in them.
const SPAN_WORDS: usize = BUCKETS + 1;

/// Where what is in a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    applications: usize,
}

impl Layout {
    /// The first words that are summed up and are neither counters nor gauges.
    const SPANS: usize = COUNTERS + GAUGES;
    const REQUESTS: usize = Self::SPANS + SPANS * SPAN_WORDS;

    pub(super) fn new(applications: usize) -> Self {
        Self { applications }
    }

    /// Words of a record. A line of the processor's cache is that of one worker.
    pub(super) fn size(self) -> usize {
        let requests = (self.applications + 1) * METHODS.len() * Class::ALL.len();
        (Self::REQUESTS + requests).next_multiple_of(8)
    }

    pub(super) fn gauge(gauge: Gauge) -> usize {
        COUNTERS + gauge as usize
    }

    /// Those that no application has answered come last.
    fn request(self, application: Option<usize>, method: usize, class: Class) -> usize {
        let application = application.unwrap_or(self.applications).min(self.applications);
        let method = method.min(OTHER);
        Self::REQUESTS + (application * METHODS.len() + method) * Class::ALL.len() + class as usize
    }

    pub(super) fn requests(
        self,
        words: &[AtomicU64],
        application: Option<usize>,
        method: usize,
        class: Class,
    ) -> &AtomicU64 {
        &words[self.request(application, method, class)]
    }

    pub(super) fn count_request(
        self,
        words: &[AtomicU64],
        application: Option<usize>,
        method: usize,
        class: Class,
    ) {
        self.requests(words, application, method, class).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn observe(self, words: &[AtomicU64], span: Span, time_us: u64) {
        let words = &words[Self::SPANS + span as usize * SPAN_WORDS..][..SPAN_WORDS];
        let bucket = BOUNDS_US.partition_point(|&bound_us| bound_us < time_us);
        words[bucket].fetch_add(1, Ordering::Relaxed);
        words[BUCKETS].fetch_add(time_us, Ordering::Relaxed);
    }

    /// Adds all that was counted in `words` to `sums`, but what there is only as long as the worker is.
    pub(super) fn keep(self, words: &[AtomicU64], sums: &[AtomicU64]) {
        let counted = (0..COUNTERS).chain(Self::SPANS..self.size());
        for word in counted {
            sums[word].fetch_add(words[word].load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(super) fn figures(self, words: &[AtomicU64]) -> Figures {
        let words: Vec<_> = words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        Figures { words, layout: self }
    }
}

/// What was read of a record, or the sum of several.
#[derive(Clone, Debug)]
pub struct Figures {
    words: Vec<u64>,
    layout: Layout,
}

impl Figures {
    /// So many have been counted.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.words[counter as usize]
    }

    /// There is so much of it.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.words[Layout::gauge(gauge)]
    }

    /// What requests run on, when that is known.
    pub fn runs(&self) -> Option<Runs> {
        [Runs::Threads, Runs::Greenlets, Runs::Tasks]
            .into_iter()
            .find(|runs| *runs as u64 == self.gauge(Gauge::Runs))
    }

    /// How many requests of an application (none: those that no application answered), of the method with this number among
    /// [`METHODS`], ended like this.
    pub fn requests_of(&self, application: Option<usize>, method: usize, class: Class) -> u64 {
        self.words[self.layout.request(application, method, class)]
    }

    /// How many requests ended like this.
    pub fn ended_as(&self, class: Class) -> u64 {
        let counts = self.words[Layout::REQUESTS..].chunks_exact(Class::ALL.len());
        counts.map(|counts| counts[class as usize]).sum()
    }

    /// How many are over.
    pub fn ended(&self) -> u64 {
        self.words[Layout::REQUESTS..].iter().sum()
    }

    /// How many are not.
    pub fn in_flight(&self) -> u64 {
        // What was read one after the other need not fit together.
        self.counter(Counter::Started).saturating_sub(self.ended())
    }

    /// How many of them an application has.
    pub fn running(&self) -> u64 {
        self.histogram(Span::Queue).count().saturating_sub(self.histogram(Span::Application).count())
    }

    /// How long requests took.
    pub fn histogram(&self, span: Span) -> Histogram<'_> {
        let words = &self.words[Layout::SPANS + span as usize * SPAN_WORDS..][..SPAN_WORDS];
        Histogram { buckets: &words[..BUCKETS], sum_us: words[BUCKETS] }
    }

    /// Applications that are told apart.
    pub fn applications(&self) -> usize {
        self.layout.applications
    }
}

impl AddAssign<&Self> for Figures {
    fn add_assign(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word = word.wrapping_add(*more);
        }
    }
}

/// How many took how long.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    /// How many are between each bound of [`BOUNDS_US`] and the one before; the last, above all of them.
    pub buckets: &'a [u64],
    /// How long all of them took together.
    pub sum_us: u64,
}

impl Histogram<'_> {
    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let layout = Layout::new(0);
        let words: Vec<_> = (0..layout.size()).map(|_| AtomicU64::new(0)).collect();
        for time_us in [0, 100, 101, 60_000_000, 60_000_001] {
            layout.observe(&words, Span::Queue, time_us);
        }
        let figures = layout.figures(&words);
        let histogram = figures.histogram(Span::Queue);
        assert_eq!(histogram.buckets[..2], [2, 1]);
        assert_eq!(histogram.buckets[BUCKETS - 2..], [1, 1]);
        assert_eq!((histogram.count(), histogram.sum_us), (5, 120_000_202));
    }

    #[test]
    fn what_is_not_known_is_counted_as_other() {
        let layout = Layout::new(1);
        let words: Vec<_> = (0..layout.size()).map(|_| AtomicU64::new(0)).collect();
        layout.count_request(&words, Some(7), method_number("BREW"), Class::of(418));
        let figures = layout.figures(&words);
        assert_eq!(figures.requests_of(None, OTHER, Class::ClientError), 1);
        assert_eq!((figures.ended(), figures.ended_as(Class::ClientError)), (1, 1));
    }
}

//! The access log: one line a request, written by a thread of its own so that a slow disk holds up nobody.
//!
//! - `format`: what a line holds.
//! - `sink`: where lines go.
//! - `statsd`: what is told there of the same requests, by the same thread.

mod format;
mod sink;
mod statsd;

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tidegate_http::{RequestHead, ResponseHead};

pub(crate) use format::Noted;
pub use format::{AccessLogFormat, Atom, Piece, Shape};
pub use sink::{AccessLogTarget, Collector, CollectorAddress, Protocol};
pub use statsd::{StatsdPlan, WorkersGauge};

use crate::background::Background;
use crate::clock;
use crate::connection::Arrival;
use crate::cut::Cut;
use crate::limit::PathPattern;
use crate::scoreboard::Seat;
use crate::socket::Peer;
use format::Outcome;
use sink::{Sink, lines_in};
use statsd::{Statsd, Told, WAITING_MAX};

/// Bytes of lines that wait for the disk; past this they are dropped and counted rather than kept without end.
const PENDING_MAX: usize = 4 * 1024 * 1024;

/// Memory for lines that is kept when they are written.
const KEPT_MAX: usize = 256 * 1024;

/// How long lines are gathered when some were just written: to wake the writer for each would cost as much as the request.
const GATHER: Duration = Duration::from_millis(20);

/// The status from which on a response is an error (RFC 9110 section 15).
const ERROR_MIN: u16 = 400;

/// Which requests have a line.
#[derive(Clone, Debug, Default)]
pub struct AccessLogFilter {
    /// Those that took at least so long.
    pub slower_than: Option<Duration>,
    /// Those whose response has at least this status. With both of them, those that are either.
    pub status_min: Option<u16>,
    /// Not those whose path, as it was sent, has one of these patterns, unless they are answered with an error.
    pub excluded: Vec<PathPattern>,
}

impl AccessLogFilter {
    /// A response that was cut before its head has status 0, and is the worst of errors. One that was cut after it is none where
    /// its client has left: of streams that is the usual end.
    fn takes(&self, head: Option<&RequestHead>, status: u16, cut: Option<Cut>, took: Duration) -> bool {
        let is_broken = status == 0 || cut.is_some_and(|cut| cut != Cut::Client);
        let is_error = |least| status >= least || is_broken;
        let is_wanted = match (self.slower_than, self.status_min) {
            (None, None) => true,
            (slow, least) => slow.is_some_and(|slow| took >= slow) || least.is_some_and(is_error),
        };
        let is_excluded =
            || head.is_some_and(|head| self.excluded.iter().any(|pattern| pattern.matches(head.path())));
        is_wanted && (is_error(ERROR_MIN) || !is_excluded())
    }
}

/// An access log to be.
#[derive(Clone, Debug)]
pub struct AccessLogPlan {
    /// Where lines go.
    pub target: AccessLogTarget,
    /// What they hold.
    pub format: AccessLogFormat,
    /// Which requests have one.
    pub filter: AccessLogFilter,
}

thread_local! {
    /// Where a line is put together: once per thread instead of once per line.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    /// What statsd is to be told of.
    told: Vec<Told>,
    dropped: u64,
    /// The file is to be opened anew: what it was called may have been moved away.
    reopens: bool,
    closed: bool,
}

type Queue = Arc<(Mutex<Pending>, Condvar)>;

/// The writer's end. Dropped, it writes what waits and ends its thread.
#[derive(Debug)]
pub struct AccessLog {
    /// What lines hold, and which requests have one; none where statsd alone is told.
    lines: Option<(AccessLogFormat, AccessLogFilter)>,
    tells_statsd: bool,
    queue: Queue,
    writer: Background,
}

impl AccessLog {
    /// Opens the target, if there is one, and starts the writer, which tells statsd too, if it is to be told. Lines that it cannot write are
    /// counted at the seat, where there is one.
    ///
    /// # Errors
    /// What the system says of the target or the thread.
    pub fn start(
        plan: Option<AccessLogPlan>,
        statsd: Option<StatsdPlan>,
        seat: Option<Seat>,
    ) -> io::Result<Self> {
        let sink = plan.as_ref().map(|plan| Sink::open(&plan.target)).transpose()?;
        let statsd = statsd.map(Statsd::new).transpose()?;
        let tells_statsd = statsd.is_some();
        let queue = Queue::default();
        let of_writer = queue.clone();
        let writer = Background::start("tidegate-access-log", move || {
            write_lines(&of_writer, sink, statsd, seat);
        })?;
        let lines = plan.map(|plan| (plan.format, plan.filter));
        Ok(Self { lines, tells_statsd, queue, writer })
    }

    /// What the line will say of a response that begins.
    pub(crate) fn note(&self, head: &ResponseHead) -> Vec<Option<Vec<u8>>> {
        self.lines.as_ref().map_or_else(Vec::new, |(format, _)| format.note(head))
    }

    /// A request that is over. Without a head it could not be read; status 0 stands for one cut before its head.
    pub(crate) fn write(
        &self,
        peer: Peer,
        head: Option<&RequestHead>,
        (status, noted): (u16, &Noted),
        body_sent: u64,
        arrival: Arrival,
    ) {
        let since = |started_us| Duration::from_micros(clock::now_us().saturating_sub(started_us));
        let took = arrival.started_us.map_or(Duration::ZERO, since);
        let takes =
            |(_, filter): &&(AccessLogFormat, AccessLogFilter)| filter.takes(head, status, noted.cut, took);
        let format = self.lines.as_ref().filter(takes).map(|(format, _)| format);
        if format.is_none() && !self.tells_statsd {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            if let Some(format) = format {
                let (ended, front_queue_us) = (clock::wall(), arrival.front_queue_us);
                let outcome = Outcome { peer, head, status, body_sent, ended, took, noted, front_queue_us };
                format.write(&outcome, line);
            }
            self.push(line, Told { took, status });
        });
    }

    /// Leaves a line, which may be empty, and what statsd is to be told to the writer.
    fn push(&self, line: &[u8], told: Told) {
        let (pending, arrived) = &*self.queue;
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        let first = pending.lines.is_empty() && pending.told.is_empty();
        if self.tells_statsd && pending.told.len() < WAITING_MAX {
            pending.told.push(told);
        }
        if pending.lines.len() + line.len() > PENDING_MAX {
            pending.dropped += 1;
        } else {
            pending.lines.extend_from_slice(line);
        }
        drop(pending);
        if first {
            arrived.notify_one();
        }
    }

    /// Opens the file anew, once what waits is in the present one.
    pub(crate) fn reopen(&self) {
        let (pending, arrived) = &*self.queue;
        pending.lock().unwrap_or_else(PoisonError::into_inner).reopens = true;
        arrived.notify_one();
    }

    /// Writes what waits and ends the thread, unless nothing is taken from it any more.
    pub(crate) fn finish(&self) {
        let (pending, arrived) = &*self.queue;
        pending.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        arrived.notify_one();
        if !self.writer.finish() {
            log::error!("the access log's last lines are lost: nobody takes them");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Writes until all is over.
fn write_lines(queue: &Queue, mut sink: Option<Sink>, mut statsd: Option<Statsd>, seat: Option<Seat>) {
    let (pending, arrived) = &**queue;
    // So many times must lines be taken until a failure is over.
    let mut proofs = 0_u8;
    let mut lost = 0;
    let mut lines = Vec::new();
    loop {
        // The memory of those that are written is there for those to come.
        lines.clear();
        lines.shrink_to(KEPT_MAX);
        let (told, dropped, reopens, closed) = {
            let guard = pending.lock().unwrap_or_else(PoisonError::into_inner);
            let mut guard = arrived
                .wait_while(guard, |pending| {
                    pending.lines.is_empty() && pending.told.is_empty() && !pending.reopens && !pending.closed
                })
                .unwrap_or_else(PoisonError::into_inner);
            let Pending { lines: others, told, dropped, reopens, closed } = &mut *guard;
            std::mem::swap(others, &mut lines);
            (std::mem::take(told), std::mem::take(dropped), std::mem::take(reopens), *closed)
        };
        if let Some(statsd) = &mut statsd {
            statsd.tell(&told);
        }
        let written = sink.as_mut().map_or(Ok(()), |sink| sink.write(&lines));
        let unwritten = match written {
            Ok(()) => {
                proofs = proofs.saturating_sub(u8::from(!lines.is_empty()));
                0
            }
            Err((rest, error)) => {
                let unwritten = lines_in(rest);
                // Said once, not for every line.
                if proofs == 0 {
                    log::error!("the access log cannot be written: {error}");
                }
                proofs = sink.as_ref().map_or(1, Sink::proofs);
                unwritten
            }
        };
        if let Some(sink) = sink.as_mut().filter(|_| reopens) {
            sink.reopen();
        }
        if let Some(seat) = seat.as_ref().filter(|_| dropped + unwritten > 0) {
            seat.count_lines_lost(dropped + unwritten);
        }
        lost += dropped + unwritten;
        // While it fails there is no end to them.
        if lost > 0 && (proofs == 0 || closed) {
            log::error!("lines that the access log has lost: {lost}");
            lost = 0;
        }
        if closed {
            return;
        }
        let guard = pending.lock().unwrap_or_else(PoisonError::into_inner);
        let gathered =
            arrived.wait_timeout_while(guard, GATHER, |pending| !pending.reopens && !pending.closed);
        drop(gathered);
    }
}

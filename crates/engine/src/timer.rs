//! Deadlines of many connections on one timerfd.
//!
//! A connection's deadline moves with every request, so it is not kept here: here is only *when to look next*. An entry that
//! comes due makes the reactor look at the connection, which either is late or names its next time. A busy keep-alive
//! connection therefore costs one entry per timeout, not one per request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::{COARSENESS_MS, Millis, NEVER};

/// Wake-ups are put on this grid, so that ten thousand idle connections wake a server four times a second at most.
const GRAIN_MS: Millis = 250;

/// Which connection to look at: its slot, and its number because slots are used again.
pub(crate) type Target = (usize, u64);

/// The heap of times to look, and the timer that is set to the earliest.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Millis, Target)>>,
    fd: OwnedFd,
    armed_ms: Millis,
}

impl Timers {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { heap: BinaryHeap::new(), fd, armed_ms: NEVER })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The grid's next point at or after `due_ms`, the time at which a look really happens.
    pub(crate) fn round_up(due_ms: Millis) -> Millis {
        due_ms.div_ceil(GRAIN_MS).saturating_mul(GRAIN_MS)
    }

    pub(crate) fn push(&mut self, at_ms: Millis, target: Target) {
        self.heap.push(Reverse((at_ms, target)));
    }

    /// Takes one entry that is due.
    pub(crate) fn pop_due(&mut self, now_ms: Millis) -> Option<(Millis, Target)> {
        match self.heap.peek() {
            Some(Reverse((at_ms, _))) if *at_ms <= now_ms => self.heap.pop().map(|Reverse(entry)| entry),
            _ => None,
        }
    }

    /// The timer has gone off: it must be set again.
    pub(crate) fn fired(&mut self) {
        let mut count = [0u8; 8];
        // The count of expirations is of no interest, and EAGAIN only says that another look came first.
        let _ = rustix::io::read(&self.fd, &mut count);
        self.armed_ms = NEVER;
    }

    /// Sets the timer to the earliest entry, when that is not what it is set to.
    pub(crate) fn arm(&mut self, now_ms: impl FnOnce() -> Millis) -> io::Result<()> {
        let earliest_ms = self.heap.peek().map_or(NEVER, |Reverse((at_ms, _))| *at_ms);
        if earliest_ms >= self.armed_ms {
            // Going off early costs one look; setting it anew costs a system call each time.
            return Ok(());
        }
        // When it goes off, the coarse clock must show that the time has come. Never zero, which would disarm it.
        let delay_ms = earliest_ms.saturating_sub(now_ms()) + COARSENESS_MS;
        let value = Timespec {
            tv_sec: i64::try_from(delay_ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: (delay_ms % 1000 * 1_000_000) as _,
        };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            &self.fd,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: interval, it_value: value },
        )?;
        self.armed_ms = earliest_ms;
        Ok(())
    }
}

//! Who looks whether the leader's call blocks: a thread that needs no interpreter.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ThreadsHost;
use crate::host::system_thread;

/// How often the monitor looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// In how many looks in a row a call must be asleep to be taken for one that blocks.
const LOOKS_ASLEEP: u32 = 2;

/// After how many looks a call that computes has led for long enough: connections and deadlines want somebody too.
const LOOKS_BUSY: u32 = 10;

/// Looks without any call before the monitor sleeps.
const LOOKS_IDLE: u32 = 50;

/// How long calls count as blocking after one was seen to; twice as long each time that it proves true again, as finding out holds
/// everybody up for a moment.
const EAGER_MS: u64 = 100;
const EAGER_MAX_MS: u64 = 1_600;

impl ThreadsHost {
    /// The monitor's life: it looks whether the leader's call blocks.
    pub(super) fn watch_calls(&self) {
        let (mut seen, mut asleep, mut long, mut idle) = (None, 0, 0, 0);
        let (mut eager_ms, mut eager_until_ms) = (EAGER_MS, 0);
        while !self.ending.load(Ordering::Acquire) {
            let now = self.leadership.current();
            if now.is_none() {
                idle += 1;
            } else if now != seen {
                (idle, asleep, long) = (0, 0, 0);
            } else {
                long += 1;
                asleep =
                    if system_thread::sleeps(self.leader.load(Ordering::Acquire)) { asleep + 1 } else { 0 };
            }
            seen = now;
            // Once it may be descheduled, or waiting for the interpreter. One that computes is let be for longer, and is no sign that
            // others will block.
            let blocks = asleep >= LOOKS_ASLEEP;
            if (blocks || long >= LOOKS_BUSY)
                && let Some(call) = now
                && self.promote(call)
                && blocks
            {
                let now_ms = self.since_epoch_ms();
                let again = now_ms < eager_until_ms + eager_ms;
                eager_ms = if again { (eager_ms * 2).min(EAGER_MAX_MS) } else { EAGER_MS };
                eager_until_ms = now_ms + eager_ms;
                self.eager_until_ms.store(eager_until_ms, Ordering::Relaxed);
            }
            if idle < LOOKS_IDLE {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            // Store before load, here and where a call begins: either this sees the call, or the leader sees this.
            self.monitor_sleeps.store(true, Ordering::SeqCst);
            if self.leadership.current().is_none() && !self.ending.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.monitor_sleeps.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}

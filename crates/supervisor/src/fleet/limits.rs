//! What a worker may use, and has used.

use super::{Cause, Millis};
use crate::counted::counted;
use crate::worker::WorkerId;

/// What a worker may use before another one takes its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Requests.
    pub requests: Option<u64>,
    /// Time.
    pub lifetime_ms: Option<Millis>,
    /// Bytes of memory (RSS).
    pub memory: Option<u64>,
    /// Threads that do not come back, where requests have a time after which that is known.
    pub lost_threads: Option<u32>,
    /// By how much of each the limits of one worker may be lower than those of another, in percent, so that not all come to theirs at once.
    pub jitter_percent: u32,
    /// What the differences are drawn from.
    pub seed: u64,
}

/// What a worker has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests that it has begun.
    pub requests: u64,
    /// Connections that it has open.
    pub connections: u32,
    /// Lines of its access log that are lost.
    pub log_lines_lost: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Threads that do not come back.
    pub lost_threads: u32,
}

impl Limits {
    /// Whether there are any, and usage is to be looked at.
    pub fn any(&self) -> bool {
        self.requests.is_some()
            || self.lifetime_ms.is_some()
            || self.memory.is_some()
            || self.lost_threads.is_some()
    }

    /// A limit as it is for this worker.
    fn of(&self, id: WorkerId, limit: u64) -> u64 {
        // splitmix64, for differences that are spread evenly.
        let mut mixed = self.seed.wrapping_add(u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = u128::from(mixed ^ (mixed >> 31)) * u128::from(self.jitter_percent.min(100));
        let less = u128::from(limit) * drawn / 100 / (1u128 << 64);
        limit.saturating_sub(u64::try_from(less).unwrap_or(u64::MAX)).max(1)
    }

    /// Why a worker is to be replaced, if it is.
    pub(super) fn exceeded(&self, id: WorkerId, age_ms: Millis, usage: Usage) -> Option<(Cause, String)> {
        let over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= self.of(id, limit));
        if over(self.requests, usage.requests) {
            let requests = counted(usage.requests, "request", "requests");
            return Some((Cause::MaxRequests, format!("it has had {requests}")));
        }
        if over(self.memory, usage.memory) {
            return Some((Cause::MaxRss, format!("it holds {} MiB", usage.memory >> 20)));
        }
        if self.lost_threads.is_some_and(|most| usage.lost_threads > most) {
            let lost = u64::from(usage.lost_threads);
            let text = counted(lost, "of its threads does not come back", "of its threads do not come back");
            return Some((Cause::LostThreads, text));
        }
        let old = || (Cause::MaxLifetime, format!("it has served for {} s", age_ms / 1_000));
        over(self.lifetime_ms, age_ms).then(old)
    }
}

//! Who turns the reactor, in one word.
//!
//! The leader marks the calls that it runs itself. While it is in one, anybody may depose it; who does has exactly the right to
//! name the next leader. The leader learns of it when its call is over.
//!
//! ```text
//!          begin                        end
//!  leading ─────▶ in call n ─────────────────────▶ leading
//!                    │ depose (once)
//!                    ▼
//!                 leading, as another thread; `end` of call n fails
//! ```

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a leader's call, which tells calls apart for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallNumber(u64);

/// Twice the number of the last call, and one more while it runs.
#[derive(Debug, Default)]
pub struct Leadership(AtomicU64);

impl Leadership {
    /// The leader begins a call. To be called by the leader only.
    pub fn begin(&self) -> CallNumber {
        let word = self.0.load(Ordering::Relaxed) + 2;
        // Sequential: who begins a call looks next whether the monitor sleeps, and the monitor looks the other way round.
        self.0.store(word | 1, Ordering::SeqCst);
        CallNumber(word / 2)
    }

    /// The call is over. True if its thread still leads.
    pub fn end(&self, call: CallNumber) -> bool {
        let running = (call.0 * 2) | 1;
        self.0.compare_exchange(running, running - 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The call that the leader is in, if it is in one.
    pub fn current(&self) -> Option<CallNumber> {
        let word = self.0.load(Ordering::SeqCst);
        (word & 1 == 1).then_some(CallNumber(word / 2))
    }

    /// Takes leadership from the thread that is in `call`. True for one caller only, and never after the call's end.
    pub fn depose(&self, call: CallNumber) -> bool {
        self.end(call)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_deposed_once_and_not_after_its_end() {
        let leadership = Leadership::default();
        assert_eq!(leadership.current(), None);
        let first = leadership.begin();
        assert_eq!(leadership.current(), Some(first));
        assert!(leadership.depose(first));
        assert!(!leadership.depose(first) && !leadership.end(first));
        let second = leadership.begin();
        assert!(!leadership.depose(first), "the number of an earlier call is worth nothing");
        assert!(leadership.end(second));
        assert!(!leadership.depose(second));
    }
}

/// `make model` runs these.
#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// How many leaders there are more, or fewer, after a thread has tried to take over and, if it did, has led one call.
    fn follower(leadership: &Leadership) -> i32 {
        match leadership.current() {
            Some(call) if leadership.depose(call) => {
                let own = leadership.begin();
                if leadership.end(own) { 1 } else { 0 }
            }
            _ => 0,
        }
    }

    /// The leader runs `calls` calls while `followers` threads try to take over.
    fn leaders_after(calls: usize, followers: usize) {
        loom::model(move || {
            let leadership = Arc::new(Leadership::default());
            let followers: Vec<_> = (0..followers)
                .map(|_| {
                    let leadership = leadership.clone();
                    thread::spawn(move || follower(&leadership))
                })
                .collect();
            let still_leads = (0..calls).all(|_| {
                let call = leadership.begin();
                leadership.end(call)
            });
            let taken: i32 = followers.into_iter().map(|follower| follower.join().unwrap()).sum();
            assert_eq!(i32::from(still_leads) + taken, 1);
        });
    }

    #[test]
    fn one_of_many_followers_takes_over() {
        leaders_after(1, 2);
    }

    #[test]
    fn what_was_seen_of_one_call_does_not_end_another() {
        leaders_after(3, 1);
    }
}

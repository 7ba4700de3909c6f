//! Whether the reactor sleeps, so that it is woken when it must be and left alone when not.

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Set while the reactor sleeps or is about to: who adds work then must wake it.
#[derive(Debug, Default)]
pub(crate) struct Sleep(AtomicBool);

impl Sleep {
    /// The reactor is about to sleep; false when there is work after all.
    pub(crate) fn fall_asleep(&self, has_work: impl FnOnce() -> bool) -> bool {
        // Change before look, on both sides: either this sees the new work, or the one who adds it sees this. Swaps cost what
        // sequential stores do, and all changes of this word are in one order with them, for loom too.
        self.0.swap(true, Ordering::SeqCst);
        !has_work()
    }

    /// The reactor looks for work by itself.
    pub(crate) fn awake(&self) {
        self.0.swap(false, Ordering::SeqCst);
    }

    /// For who has added work: whether to wake the reactor. True for one of many.
    pub(crate) fn must_be_woken(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// `make model` runs these; turnstile.rs has more.
#[cfg(all(test, loom))]
pub(crate) mod model {
    use super::*;
    use loom::sync::mpsc::{Receiver, Sender, channel};
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    /// What a thread sleeps on: an eventfd for the reactor, the parking of a thread for others. A wake-up that comes before the sleep
    /// counts; of many, one. (loom's own parking forgets it when the thread waits for a mutex in between.)
    pub(crate) struct Bell {
        ring: Sender<()>,
        // Not loom's, which adds no interleavings: one thread sleeps, and what is between loom's own steps is one step.
        hear: std::sync::Mutex<Receiver<()>>,
        rung: std::sync::atomic::AtomicBool,
    }

    impl Bell {
        pub(crate) fn new() -> Self {
            let (ring, hear) = channel();
            Self { ring, hear: std::sync::Mutex::new(hear), rung: std::sync::atomic::AtomicBool::new(false) }
        }

        pub(crate) fn ring(&self) {
            if !self.rung.swap(true, Ordering::Relaxed) {
                self.ring.send(()).unwrap();
            }
        }

        /// If nobody ever rings, every other thread is over or waits too, which loom calls a deadlock.
        pub(crate) fn sleep(&self) {
            self.hear.lock().unwrap().recv().unwrap();
            self.rung.store(false, Ordering::Relaxed);
        }
    }

    /// Explores what two threads can do, and of three what they can when none is interrupted more often than this: all would
    /// take hours.
    pub(crate) fn explore(threads: usize, model: impl Fn() + Send + Sync + 'static) {
        let mut explorer = loom::model::Builder::new();
        explorer.preemption_bound = (threads > 2).then_some(3);
        explorer.check(model);
    }

    /// So many threads add work, and the reactor goes on until it has done all of it.
    fn work_comes_from(threads: usize) {
        explore(1 + threads, move || {
            let shared = Arc::new((Sleep::default(), Mutex::new(0), Bell::new()));
            let others: Vec<_> = (0..threads)
                .map(|_| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let (sleep, work, reactor) = &*shared;
                        *work.lock().unwrap() += 1;
                        if sleep.must_be_woken() {
                            reactor.ring();
                        }
                    })
                })
                .collect();
            let (sleep, work, reactor) = &*shared;
            let mut done = 0;
            while done < threads {
                if sleep.fall_asleep(|| *work.lock().unwrap() > 0) {
                    reactor.sleep();
                }
                sleep.awake();
                done += std::mem::take(&mut *work.lock().unwrap());
            }
            others.into_iter().for_each(|other| other.join().unwrap());
        });
    }

    #[test]
    fn work_is_seen_before_the_reactor_sleeps_or_wakes_it() {
        work_comes_from(1);
        work_comes_from(2);
    }
}

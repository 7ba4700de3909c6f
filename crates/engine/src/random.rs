//! Random bytes of the system's, which is asked for those of several requests at once.

use std::sync::{Mutex, PoisonError};

/// Up to 256 bytes the system gives whole (getrandom(2)). So many are 25 ids of requests, or those of 10 traces.
const SIZE: usize = 250;

/// Bytes of which those from `used` on nobody has had.
#[derive(Debug)]
struct Pool {
    bytes: [u8; SIZE],
    used: usize,
}

#[derive(Debug)]
pub(crate) struct RandomPool(Mutex<Pool>);

impl Default for RandomPool {
    fn default() -> Self {
        Self(Mutex::new(Pool { bytes: [0; SIZE], used: SIZE }))
    }
}

impl RandomPool {
    /// So many of them, of which there are never more than the pool holds.
    ///
    /// # Errors
    /// What the system says when it has none.
    pub(crate) fn take<const COUNT: usize>(&self) -> Result<[u8; COUNT], getrandom::Error> {
        const { assert!(COUNT <= SIZE) };
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.used + COUNT > SIZE {
            getrandom::fill(&mut pool.bytes)?;
            pool.used = 0;
        }
        let mut taken = [0; COUNT];
        taken.copy_from_slice(&pool.bytes[pool.used..][..COUNT]);
        pool.used += COUNT;
        Ok(taken)
    }
}

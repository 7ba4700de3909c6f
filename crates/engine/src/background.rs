//! Threads that deal with what requests leave to them, and that the end of the server waits for only so long.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long their end is waited for.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// A thread, until somebody has waited for its end.
#[derive(Debug)]
pub(crate) struct Background(Mutex<Option<(JoinHandle<()>, Receiver<()>)>>);

impl Background {
    /// Starts it.
    ///
    /// # Errors
    /// What the system says of the thread.
    pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (ends, ended) = channel::<()>();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            // Dropped at the end of the work, however that comes.
            let _ends = ends;
            work();
        })?;
        Ok(Self(Mutex::new(Some((thread, ended)))))
    }

    /// Waits until the work is over, which it was told to be. False when it has gone on for too long: it is left to itself.
    pub(crate) fn finish(&self) -> bool {
        let Some((thread, ended)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        match ended.recv_timeout(FINISH_MAX) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // One that panicked has nothing more to do.
                drop(thread.join());
                true
            }
        }
    }
}

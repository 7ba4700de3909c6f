//! What a worker and its supervisor say to one another, over a pair of sockets whose end tells either of the other's.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// What a worker has of its supervisor. Its orders are bytes: numbers of signals, which mean what these do, and those of [`order`].
#[derive(Clone, Debug)]
pub struct Tether(Arc<Mutex<UnixStream>>);

/// Orders that are no signals.
pub mod order {
    /// Begin to accept connections.
    pub const SERVE: u8 = 0;
    /// Be not ready any more, and go on.
    pub const RETIRE: u8 = 128;
    /// Tell what all threads are at.
    pub const STACKS: u8 = 129;
    /// Tell what one request is at.
    pub const STACK: u8 = 130;
}

impl Tether {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// Says that this worker could serve.
    ///
    /// # Errors
    /// What the system says.
    pub fn ready(&self) -> io::Result<()> {
        self.say("ready", "")
    }

    /// Says why it cannot.
    ///
    /// # Errors
    /// What the system says.
    pub fn failed(&self, report: &str) -> io::Result<()> {
        self.say("failed", report)
    }

    /// Says what its threads are at.
    ///
    /// # Errors
    /// What the system says.
    pub fn stacks(&self, text: &str) -> io::Result<()> {
        self.say("stacks", text)
    }

    /// Says what a request is at: an object with its number as `request`.
    ///
    /// # Errors
    /// What the system says.
    pub fn stack(&self, told: &Value) -> io::Result<()> {
        self.say("stack", &told.to_string())
    }

    fn say(&self, word: &str, text: &str) -> io::Result<()> {
        // A text is one line here, whatever is in it.
        let line = format!("{}\n", json!([word, text]));
        self.stream().write_all(line.as_bytes())
    }

    /// The stream of orders; at its end the supervisor is gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn orders(&self) -> io::Result<OwnedFd> {
        Ok(self.stream().try_clone()?.into())
    }

    fn stream(&self) -> MutexGuard<'_, UnixStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

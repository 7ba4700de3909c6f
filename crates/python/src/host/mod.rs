//! Where application code runs, and how it waits.

mod inline;
mod threads;

pub(crate) use inline::InlineHost;
pub(crate) use threads::ThreadsHost;

use pyo3::prelude::*;
use tidegate_engine::Watch;

/// What a gateway asks of the place its application runs in.
pub(crate) trait Host: Send + Sync {
    /// Lets time pass until something may have changed for the exchange that this thread answers, of which `watch` tells. May
    /// return early; the caller looks again.
    fn wait(&self, py: Python<'_>, watch: &Watch) -> PyResult<()>;

    /// How many bytes of a response may be on their way when the application is asked for its next block.
    ///
    /// PEP 3333 asks that a block is sent, or sure to be sent, before the next one is asked for. Where nobody turns the reactor
    /// while the application runs, only bytes in the kernel's hands are sure.
    fn unsent_max(&self) -> u64;
}

//! Which application has a request: by its path.

use pyo3::prelude::*;
use tidegate_engine::Exchange;
use tidegate_engine::http::RequestHead;

use crate::error_log::ErrorLog;
use crate::gateway::Wsgi;
use crate::gateway::error_response::answer_error;
use crate::gateway::place::{Place, below, decoded};

/// The gateways of a process's applications, by what they are mounted at.
pub(crate) struct Mounts<G> {
    /// Has what is below no mount.
    main: Option<G>,
    /// With their prefixes, longest first: paths, percent-decoded, that begin and do not end with a slash.
    mounted: Vec<(String, G)>,
    error_log: ErrorLog,
}

impl<G> Mounts<G> {
    pub(crate) fn new(main: Option<G>, mut mounted: Vec<(String, G)>) -> Self {
        mounted.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self { main, mounted, error_log: ErrorLog::new() }
    }

    /// The gateway that has a request.
    pub(crate) fn find(&self, head: &RequestHead) -> Option<&G> {
        if self.mounted.is_empty() {
            return self.main.as_ref();
        }
        let path = match head.is_handed_on() {
            true => Place::told_in(head).whole().into_owned().into(),
            false => decoded(head),
        };
        self.mounted
            .iter()
            .find(|(prefix, _)| below(&path, prefix.as_bytes()).is_some())
            .map(|(_, gateway)| gateway)
            .or(self.main.as_ref())
    }

    /// Tells the applications' log of a failure outside of any request.
    pub(crate) fn log_error(&self, py: Python<'_>, text: &str, error: &PyErr) {
        self.error_log.say(py, text, Some(error));
    }
}

impl Mounts<Wsgi> {
    /// Answers one exchange; whatever the application does, this thread goes on.
    pub(crate) fn serve(&self, py: Python<'_>, exchange: Exchange) {
        match self.find(exchange.head()) {
            Some(gateway) => gateway.serve(py, exchange),
            None => not_found(exchange),
        }
    }
}

/// Answers for the application that there is not.
#[cold]
#[inline(never)]
pub(crate) fn not_found(mut exchange: Exchange) {
    answer_error(&mut exchange, 404, "Not Found");
}

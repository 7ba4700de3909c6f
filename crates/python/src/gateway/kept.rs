//! What gateways keep with a connection: one after the other may have its requests.

use std::sync::OnceLock;

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use tidegate_engine::Exchange;

use crate::gateway::asgi_scope::Ends;
use crate::gateway::environ::Recurring;

#[derive(Default)]
pub(super) struct Kept {
    pub(super) for_environs: OnceLock<Recurring>,
    pub(super) for_scopes: OnceLock<Ends>,
}

impl Kept {
    pub(super) fn with(exchange: &Exchange) -> PyResult<&Self> {
        // Nobody else keeps anything there.
        exchange.note(Self::default).ok_or_else(|| PySystemError::new_err("a connection's note is another's"))
    }
}

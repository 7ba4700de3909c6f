//! The request body between the socket and the application: a bounded run of bytes, and how it ended.

use std::fmt;

use tidegate_http::RequestFault;

/// Why a body will never be complete.
#[derive(Clone, Debug)]
pub enum BodyFault {
    /// The peer broke a rule of the framing, or closed before the end.
    Request(RequestFault),
    /// The bytes came slower than the minimum rate.
    TooSlow,
    /// The connection is lost.
    Lost,
    /// The server was told to stop at once.
    Stopped,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(fault) => fault.fmt(f),
            Self::TooSlow => f.write_str("the request body came slower than the minimum rate"),
            Self::Lost => f.write_str("the client left before the request body was complete"),
            Self::Stopped => f.write_str("the server stops"),
        }
    }
}

/// Bytes that are in and not yet taken.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    pub(crate) complete: bool,
    pub(crate) fault: Option<BodyFault>,
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

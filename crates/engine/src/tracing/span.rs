//! One request, as its connection has it while it lasts and as it waits for the collector when it is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_http::{RequestHead, Version};

use super::TraceContext;
use crate::clock;
use crate::connection::Connection;
use crate::cut::Cut;
use crate::listener::LocalAddress;
use crate::record::{Stage, known_method};
use crate::socket::Peer;

/// Most bytes of each text that a client has sent: the collector is told what it was, not all of it.
const TEXT_MAX: usize = 1024;

/// A request that is recorded and goes on.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    context: TraceContext,
    began: SystemTime,
    head: RequestHead,
    peer: Peer,
    local: Arc<LocalAddress>,
    stages: Stages,
}

/// How long it was at each stage that the application's own spans cannot show, in microseconds; none of those that it did not come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stages {
    pub(super) queue_us: Option<u64>,
    pub(super) application_us: Option<u64>,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// That of the response; 0 where there was none.
    pub(crate) status: u16,
    pub(crate) took: Duration,
    /// Why the response is not whole, if it is not.
    pub(crate) cut: Option<Cut>,
}

impl OpenSpan {
    pub(crate) fn new(context: TraceContext, head: RequestHead, connection: &Connection) -> Self {
        let (peer, local) = (connection.client(&head), connection.local.clone());
        let (began, stages) = (clock::wall(), Stages::default());
        Self { context, began, head, peer, local, stages }
    }

    /// A stage is over.
    pub(crate) fn leave(&mut self, stage: Stage, took_us: u64) {
        match stage {
            Stage::Queue => self.stages.queue_us = Some(took_us),
            Stage::Application => self.stages.application_us = Some(took_us),
            Stage::Body | Stage::Write | Stage::Expired => {}
        }
    }

    /// Without the head, which may be large.
    pub(super) fn end(self, outcome: Outcome) -> Span {
        let Self { context, began, head, peer, local, stages } = self;
        let method = known_method(head.method());
        Span {
            context,
            began,
            took: outcome.took,
            method,
            sent_method: method.is_none().then(|| text(head.method().as_bytes())),
            path: text(head.path()),
            status: outcome.status,
            cut: outcome.cut,
            stages,
            client: match peer {
                Peer::Inet(address) => Some(address),
                Peer::Unix => None,
            },
            authority: head.authority().filter(|authority| !authority.is_empty()).map(text),
            local,
            version: head.version(),
            user_agent: head.field("user-agent").map(text),
        }
    }
}

/// A request that is over.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) context: TraceContext,
    pub(super) began: SystemTime,
    pub(super) took: Duration,
    /// None for one that is not known.
    pub(super) method: Option<&'static str>,
    pub(super) sent_method: Option<String>,
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) cut: Option<Cut>,
    pub(super) stages: Stages,
    pub(super) client: Option<SocketAddr>,
    pub(super) authority: Option<String>,
    pub(super) local: Arc<LocalAddress>,
    pub(super) version: Version,
    pub(super) user_agent: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned()
}

//! A connection that carries streams, as the reactor moves it; see h2/. And a stream, which is a connection that another one carries.

use std::io;
use std::sync::Arc;

use super::{Connection, Core, Phase, Step};
use crate::carrier::Carrier;
use crate::clock::{self, Millis, NEVER};
use crate::cut::Cut;
use crate::h2::{Opened, Session};
use crate::listener::{Caller, Scheme};
use crate::look::Turn;
use crate::protocol::Protocol;
use crate::record::{Counter, Gauge};
use crate::settings::Settings;
use crate::shared::Shared;

/// HTTP/2 in ALPN (RFC 9113 section 3.1).
const HTTP2_PROTOCOL: &[u8] = b"h2";

impl Connection {
    /// Whether a peer that begins with HTTP/2 is spoken to in it: over TLS where that was agreed on.
    pub(super) fn takes_preface(&self) -> bool {
        match self.carrier.session() {
            Some(session) => session.protocol.as_deref() == Some(HTTP2_PROTOCOL),
            None => self.settings().http2.in_plain_text && self.speaks.scheme == Scheme::Http,
        }
    }

    /// Whether it is a stream, or carries streams: it holds itself then, until it is closed.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.carrier, Carrier::Stream(_)) || self.lock().session.is_some()
    }

    /// The connection of a stream of this one.
    pub(crate) fn of_stream(
        self: &Arc<Self>,
        name: (usize, u64),
        Opened { http, stream }: Opened,
        now_ms: Millis,
    ) -> Arc<Self> {
        let stream = Arc::new(stream);
        let caller = Caller { peer: self.peer(), local: self.local().clone(), speaks: self.speaks };
        let carrier = Carrier::Stream(stream.clone());
        let mut connection = Self::new(name, carrier, caller, self.shared.clone(), now_ms);
        connection.proxied = self.proxied.clone();
        let core = connection.core.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        core.http = Protocol::Stream(http, stream.clone());
        core.close_after = true;
        let connection = Arc::new(connection);
        stream.set_waker(connection.clone().into());
        connection
    }
}

/// Has the reactor look at it: what the `h2` crate wakes when there is something to do.
impl std::task::Wake for Connection {
    fn wake(self: Arc<Self>) {
        let shared = self.shared.clone();
        shared.attend(self);
    }
}

impl Core {
    /// From here on the connection carries streams. `early` has been read of it.
    pub(crate) fn begin_session(&mut self, connection: &Arc<Connection>, early: Vec<u8>, now_ms: Millis) {
        self.session = Some(Box::new(Session::new(connection, early, now_ms)));
        self.phase = Phase::Multiplexed;
        if let Some(record) = connection.shared.record() {
            record.shift(Gauge::Http2, true);
        }
    }

    pub(super) fn carry_streams(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Step {
        let Some(session) = &mut self.session else { return Step::Rest };
        let socket = (&mut self.readable, &mut self.ended);
        let turned = session.turn(connection, socket, (turn.now_ms, &mut turn.budget), &mut turn.opened);
        if turned.is_over {
            let unsent = session.take_unsent();
            self.end_session(&connection.shared);
            self.begin_output(turn.now_ms);
            self.output.take_over(&connection.carrier, unsent);
            // What the peer still sends is not looked at.
            self.refused = true;
            self.close_after = true;
            self.phase = Phase::Flushing;
            self.since_ms = turn.now_ms;
            return Step::Again;
        }
        if turned.more { Step::Later } else { Step::Rest }
    }

    pub(super) fn end_session(&mut self, shared: &Shared) {
        if self.session.take().is_some()
            && let Some(record) = shared.record()
        {
            record.shift(Gauge::Http2, false);
        }
    }

    pub(super) fn session_deadline_ms(&self, settings: &Settings) -> Millis {
        self.session.as_ref().map_or(NEVER, |session| session.deadline_ms(settings))
    }

    pub(super) fn miss_session_deadline(&mut self, connection: &Arc<Connection>) {
        let Some(session) = &mut self.session else { return };
        let missed = session.miss_deadline(connection.settings(), clock::now_ms());
        missed.into_iter().for_each(|counter| connection.shared.count(counter));
        if missed == Some(Counter::TimeoutsWrite) {
            self.cut.get_or_insert(Cut::WriteTimeout);
            self.lose(connection, io::ErrorKind::TimedOut);
        }
    }
}

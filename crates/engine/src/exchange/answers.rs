//! What the server answers by itself, without an application.

use std::time::Duration;

use tidegate_http::{self as http, BodyLength, HeadFault, ResponseHead};

use super::{Block, Exchange};
use crate::admission::Shed;
use crate::clock;
use crate::connection::Phase;
use crate::output::with_scratch;
use crate::record::Counter;
use crate::redirect;
use crate::static_files::FileAnswer;

/// What a request is told that is turned away, and after how many seconds it may come again: those that are before it have had their turn
/// when the first of them has waited for so long again.
const TURNED_AWAY: &[u8] = b"The server is busy: too many requests wait for their turn.\n";
pub(crate) const RETRY_AFTER_MIN_S: u64 = 1;
const RETRY_AFTER_MAX_S: u64 = 60;

/// What is told who asks whether the server is well.
const WELL: &[u8] = b"ok\n";

/// What is told who comes to a listener that sends everybody to https.
const USE_HTTPS: &[u8] = b"This is served by https.\n";
const NO_HOST: &[u8] = b"This is served by https, and the request names no host.\n";

impl Exchange {
    /// Answers a request that is not run: more wait already than may, or it has waited for too long (RFC 9110 section 15.6.4). `delay` is
    /// how long the first of the queue has waited.
    pub fn turn_away(mut self, shed: Shed, delay: Duration) {
        log::debug!("{}: turned away: {}", self.connection.peer, shed.name());
        self.connection.shared.count(Counter::of_shed(shed));
        if let Some(logged) = &mut self.logged {
            logged.noted.shed = Some(shed);
        }
        let delay_s = delay.as_millis().div_ceil(1000) as u64;
        self.decline(delay_s.clamp(RETRY_AFTER_MIN_S, RETRY_AFTER_MAX_S));
    }

    /// Answers with 503.
    pub(crate) fn decline(self, retry_after_s: u64) {
        let retry_after = retry_after_s.to_string();
        self.answer_plainly(
            (503, b"Service Unavailable"),
            (b"Retry-After", retry_after.as_bytes()),
            TURNED_AWAY,
        );
    }

    /// Answers a request that asks whether the server is well, which it is.
    pub(crate) fn affirm(self) {
        self.answer_plainly((200, b"OK"), (b"Cache-Control", b"no-store"), WELL);
    }

    /// Answers without an application.
    pub(crate) fn answer_with(mut self, answer: FileAnswer) {
        // A client that has left is what the connection knows already.
        let _ = answer.send(&mut self);
    }

    /// Sends the client to https, for good.
    pub(crate) fn redirect(self) {
        match redirect::location(&self.head, self.connection.settings().https_port) {
            Some(location) => {
                let status = redirect::status(self.head.method());
                self.answer_plainly(status, (b"Location", &location), USE_HTTPS);
            }
            None => self.answer_plainly((400, b"Bad Request"), (b"Cache-Control", b"no-store"), NO_HOST),
        }
    }

    fn answer_plainly(mut self, status: (u16, &[u8]), field: (&[u8], &[u8]), body: &[u8]) {
        let head = plain_head(status).and_then(|mut head| {
            head.field(field.0, field.1)?;
            Ok(head)
        });
        // The head is a constant and valid; a client that has left is what the connection knows already.
        if let Ok(head) = head {
            let _ =
                self.send(Some((&head, BodyLength::Known(body.len() as u64))), Block::Borrowed(body), true);
        }
    }

    /// Answers a request for a WebSocket that cannot be answered with one, and closes.
    pub fn refuse_upgrade(mut self, fault: http::ws::HandshakeFault) {
        if self.head.version() == http::Version::Http2 {
            if let Some((head, text)) = fault.response() {
                let length = BodyLength::Known(text.len() as u64);
                // A client that has left is what the connection knows already.
                let _ = self.send(Some((&head, length)), Block::Borrowed(text.as_bytes()), true);
            }
            return;
        }
        let mut core = self.connection.lock();
        if core.phase == Phase::Serving && core.http.reject() {
            let now_ms = clock::now_ms();
            with_scratch(|out| {
                let date = clock::date(now_ms);
                let server = self.connection.shared.settings.server.as_deref();
                let context = http::SendContext { date: &date, server, extra: self.id_field(), close: true };
                fault.write_response(&context, out);
                let flushed = core.send_bytes(&self.connection, out, now_ms);
                core.note_flushed(&self.connection, &flushed, now_ms);
            });
            self.status = fault.status();
            core.observe(&self.connection.shared, |flight, observer| {
                flight.answer(observer, fault.status(), true);
            });
        }
        drop(core);
        self.leave(None);
    }
}

/// The head of an answer of the server's own, in plain text.
pub(crate) fn plain_head((status, reason): (u16, &[u8])) -> Result<ResponseHead, HeadFault> {
    let mut head = ResponseHead::new(status, reason)?;
    head.field(b"Content-Type", b"text/plain; charset=utf-8")?;
    Ok(head)
}

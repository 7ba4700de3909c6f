//! One request and its response, as the code that answers it sees them.

mod answers;
mod compressed;

use std::any::Any;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidegate_http::proxy::ProxyHeader;
use tidegate_http::{
    self as http, BodyLength, RequestHead, ResponseEnd, ResponseHead, ResponseTrailers, SendFault,
};

use crate::access_log::Noted;
use crate::body::BodyFault;
use crate::changes::Watch;
use crate::clock;
use crate::connection::{Arrival, Connection, Core, DISCARD_MAX, Phase};
use crate::cut::Cut;
use crate::departure::Departure;
use crate::keeper::RequestKey;
use crate::listener::LocalAddress;
use crate::output::{Flushed, with_scratch};
use crate::record::{Flight, Observer};
use crate::records;
use crate::settings::Settings;
use crate::shared::Lifecycle;
use crate::socket::Peer;
use crate::static_files::{FileAnswer, Replaced};
use crate::tls::TlsSession;
use crate::websocket::{AcceptError, WebSocket};
pub(crate) use answers::{RETRY_AFTER_MIN_S, plain_head};
use compressed::CompressedBody;

/// Blocks of at least this size are sent and kept by reference; below it a copy is cheaper.
pub const LARGE_BLOCK_MIN: usize = 16 * 1024;

const HSTS: &[u8] = b"Strict-Transport-Security";

/// Bytes of a response.
#[derive(Debug)]
pub enum Block<'a> {
    /// Borrowed; what the socket does not take at once is copied.
    Borrowed(&'a [u8]),
    /// Shared; what the socket does not take at once is kept by reference. For [`LARGE_BLOCK_MIN`] and more.
    Shared(Bytes),
    /// Part of a file, sent by the kernel.
    File {
        /// An open regular file.
        file: File,
        /// Where to begin.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
}

impl Block<'_> {
    /// No bytes.
    pub const EMPTY: Block<'static> = Block::Borrowed(&[]);

    fn len(&self) -> u64 {
        match self {
            Self::Borrowed(bytes) => bytes.len() as u64,
            Self::Shared(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// What became of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The block went over the announced Content-Length and was cut there.
    pub overrun: bool,
    /// The response ended this many bytes short of its Content-Length.
    pub missing: u64,
}

/// Why a response cannot go on.
#[derive(Debug)]
pub enum SendError {
    /// The client has left or was cut off.
    Gone,
    /// The application asked for something that the protocol does not allow.
    Refused(SendFault),
}

/// What there is of the request body.
#[derive(Debug)]
pub enum BodyRead {
    /// At least one byte.
    Data(Vec<u8>),
    /// All of it has been taken.
    End,
    /// Nothing yet: wait as the host waits, and ask again.
    Wait,
    /// There will be no more.
    Fault(BodyFault),
}

/// What the access log will say of an exchange, beside what it knows in any case.
#[derive(Debug)]
struct Logged {
    started_us: u64,
    noted: Noted,
}

/// One request, and the way to answer it. Dropped before its end, it cuts the connection.
#[derive(Debug)]
pub struct Exchange {
    connection: Arc<Connection>,
    head: RequestHead,
    /// How many responses the connection has had before this one.
    number: u64,
    /// Where it will be logged. Behind a pointer, as an exchange is moved about, mostly without.
    logged: Option<Box<Logged>>,
    id_place: Option<u32>,
    front_queue_us: Option<u32>,
    status: u16,
    body_sent: u64,
    /// The body, if it is being compressed.
    compressed: Option<Box<CompressedBody>>,
    /// What takes the place of the application's response when that is complete.
    replacement: Option<Box<FileAnswer>>,
    done: bool,
}

impl Exchange {
    pub(crate) fn new(connection: Arc<Connection>, head: RequestHead, number: u64, arrival: Arrival) -> Self {
        let Arrival { started_us, id_place, front_queue_us } = arrival;
        let logged = started_us.map(|started_us| Box::new(Logged { started_us, noted: Noted::default() }));
        Self {
            connection,
            head,
            number,
            logged,
            id_place,
            front_queue_us,
            status: 0,
            body_sent: 0,
            compressed: None,
            replacement: None,
            done: false,
        }
    }

    /// The request's head.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The request's id, of letters, digits and a few others; none where requests have none.
    pub fn request_id(&self) -> Option<&[u8]> {
        self.id_field().map(|(_, id)| id)
    }

    fn id_field(&self) -> Option<(&[u8], &[u8])> {
        self.head.field_at(self.id_place? as usize)
    }

    /// How long the request had waited in front of this server when it came, in microseconds, by what a trusted proxy says.
    pub fn front_queue_us(&self) -> Option<u32> {
        self.front_queue_us
    }

    /// An application is to answer it, the one with this number.
    pub fn begin(&self, application: usize) {
        if self.connection.shared.observer.is_some() {
            let run = |flight: &mut Flight, observer: &Observer| flight.run(observer, application);
            self.connection.lock().observe(&self.connection.shared, run);
        }
    }

    /// Whose connection it is.
    pub fn peer(&self) -> Peer {
        self.connection.peer()
    }

    /// Who asks: the peer, or whom a trusted server in front has named.
    pub fn client(&self) -> Peer {
        self.connection.client(Some(&self.head))
    }

    /// What a trusted server in front has said of the connection before its first byte.
    pub fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.connection.proxy_header()
    }

    /// What a gateway keeps with the connection for its next requests: made by the first call, found by the others.
    /// `None` when another type was kept there.
    pub fn note<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.connection.note.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// The address that was asked.
    pub fn local(&self) -> &Arc<LocalAddress> {
        self.connection.local()
    }

    /// Whether the application is told that the request came by https.
    pub fn is_secure(&self) -> bool {
        self.connection.is_secure(&self.head)
    }

    /// Whether that is so for all requests of the connection of which nothing else is said.
    pub fn is_encrypted(&self) -> bool {
        self.connection.is_encrypted()
    }

    /// What was agreed on with the client, where TLS is spoken.
    pub fn tls(&self) -> Option<&TlsSession> {
        self.connection.carrier.session().map(|session| &**session)
    }

    /// Tells whether the client has left, for as long as anybody asks.
    pub fn departure(&self) -> Departure {
        Departure::new(&self.connection)
    }

    /// The connection is gone or was cut before the response was out.
    pub fn is_lost(&self) -> bool {
        let core = self.connection.lock();
        (core.lost || self.is_expired()) && core.served == self.number
    }

    /// The head of the response is out: it can no longer be answered otherwise.
    pub fn head_sent(&self) -> bool {
        self.status != 0
    }

    /// What it is called by.
    pub fn key(&self) -> RequestKey {
        RequestKey { connection: self.connection.id, number: self.number }
    }

    /// Its time was over: the client was answered for the application, or cut off.
    pub fn is_expired(&self) -> bool {
        self.connection.expired.load(Ordering::Acquire)
    }

    /// A place to wait for the reactor to move this exchange's connection: make it, look, and wait if there is nothing yet.
    pub fn watch(&self) -> Watch {
        Watch::new(self.connection.clone())
    }

    /// Bytes of the response that the kernel has not taken yet.
    pub fn unsent(&self) -> u64 {
        let core = self.connection.lock();
        // What waits may be a later response's.
        if core.served == self.number { core.output.unsent() } else { 0 }
    }

    /// The decoded length of a request body that is wholly in and untaken.
    pub fn gathered_length(&self) -> Option<u64> {
        let core = self.connection.lock();
        core.body.complete.then(|| core.body.len())
    }

    /// Takes what is in of the request body. The first call that finds nothing sends "100 Continue" to a client that waits
    /// for it (RFC 9110 section 10.1.1).
    pub fn read_body(&mut self) -> BodyRead {
        let mut core = self.connection.lock();
        let read = if core.body.len() > 0 {
            core.body_clock.stop(clock::now_ms());
            core.body.take().map_or_else(
                |error| {
                    log::error!("a request body cannot be read from its temporary file: {error}");
                    BodyRead::Fault(BodyFault::Storage(error.kind()))
                },
                BodyRead::Data,
            )
        } else if let Some(fault) = &core.body.fault {
            BodyRead::Fault(fault.clone())
        } else if core.body.complete {
            BodyRead::End
        } else {
            let now_ms = clock::now_ms();
            core.body_clock.start(now_ms);
            core.send_continue(&self.connection, now_ms);
            BodyRead::Wait
        };
        core.count_body(&self.connection.shared);
        self.attend(&core);
        read
    }

    /// Whether [`Exchange::read_body`] would give anything but a wait.
    pub fn has_body_news(&self) -> bool {
        let core = self.connection.lock();
        core.body.len() > 0 || core.body.complete || core.body.fault.is_some()
    }

    /// Whether all of the request body has come and was taken.
    pub fn body_is_over(&self) -> bool {
        let core = self.connection.lock();
        core.body.complete && core.body.len() == 0
    }

    /// Whether the client has closed its side or is lost, as far as the reactor has seen.
    pub fn has_left(&self) -> bool {
        self.connection.has_left()
    }

    /// Whether the server has begun to drain or to stop.
    pub fn server_ends(&self) -> bool {
        self.connection.shared.lifecycle().is_ending()
    }

    /// The fault that ended the request body, if one did.
    pub fn body_fault(&self) -> Option<BodyFault> {
        self.connection.lock().body.fault.clone()
    }

    /// Sends a block, before it the head when one is given. With `last` the response is complete.
    ///
    /// The block is in the kernel's hands or queued in order when this returns; see [`Exchange::unsent`].
    ///
    /// # Errors
    /// [`SendError::Gone`] when nobody will read it; [`SendError::Refused`] when head and block do not go together.
    pub fn send(
        &mut self,
        head: Option<(&ResponseHead, BodyLength)>,
        block: Block<'_>,
        last: bool,
    ) -> Result<Sent, SendError> {
        self.give(head, block, last.then_some(&ResponseTrailers::NONE))
    }

    /// Whether what is sent next is compressed: by whoever sends it, and in memory, so that a large file is to be given in pieces.
    pub fn is_compressing(&self) -> bool {
        self.compressed.is_some()
    }

    /// Ends a response whose head and body were sent, with trailers if its body goes in chunks.
    ///
    /// # Errors
    /// As [`Exchange::send`].
    pub fn finish(&mut self, trailers: &ResponseTrailers) -> Result<Sent, SendError> {
        self.give(None, Block::EMPTY, Some(trailers))
    }

    /// Sends an interim response such as 103, if one may be sent to this client now (RFC 9110 section 15.2).
    pub fn send_informational(&mut self, head: &ResponseHead) {
        let connection = &self.connection;
        let mut core = connection.lock();
        if core.phase == Phase::Serving {
            core.send_informational(connection, head, clock::now_ms());
        }
        self.attend(&core);
    }

    /// As [`Exchange::send`], of what is neither compressed nor replaced.
    pub(crate) fn send_as_it_is(
        &mut self,
        head: Option<(&ResponseHead, BodyLength)>,
        block: Block<'_>,
        last: bool,
    ) -> Result<Sent, SendError> {
        self.send_part(head, block, last.then_some(&ResponseTrailers::NONE))
    }

    /// Sends a part: what names a file is replaced, and what is to be compressed is, before it goes out.
    fn give(
        &mut self,
        head: Option<(&ResponseHead, BodyLength)>,
        block: Block<'_>,
        end_with: Option<&ResponseTrailers>,
    ) -> Result<Sent, SendError> {
        if self.connection.shared.settings.sendfile.is_some() {
            return self.give_or_replace(head, block, end_with);
        }
        self.encode(head, block, end_with)
    }

    /// The same where the head may name a file that is to be sent instead.
    #[inline(never)]
    fn give_or_replace(
        &mut self,
        head: Option<(&ResponseHead, BodyLength)>,
        block: Block<'_>,
        end_with: Option<&ResponseTrailers>,
    ) -> Result<Sent, SendError> {
        let Settings { sendfile, static_files, .. } = &self.connection.shared.settings;
        if let (Some(sendfile), Some((head, length))) = (sendfile, head) {
            // A head after one that named a file: nothing was sent yet, and the response is another one.
            self.replacement = None;
            match sendfile.replace(static_files, &self.head, head) {
                Ok(Replaced::Not) => {}
                Ok(Replaced::Head(head)) => {
                    return self.encode(Some((&head, length)), block, end_with);
                }
                Ok(Replaced::By(answer)) => self.replacement = Some(Box::new(answer)),
                Err(fault) => {
                    // Fields that are valid in one head are so in another.
                    log::error!("a file cannot be answered with: {fault}");
                    return Err(SendError::Gone);
                }
            }
        }
        match (self.replacement.take(), end_with) {
            (None, _) => self.encode(head, block, end_with),
            (replacement, None) => {
                self.replacement = replacement;
                if self.is_lost() { Err(SendError::Gone) } else { Ok(Sent::default()) }
            }
            (Some(answer), Some(_)) => answer.send(self),
        }
    }

    /// Sends a part, compressed if that is wanted.
    fn encode(
        &mut self,
        head: Option<(&ResponseHead, BodyLength)>,
        block: Block<'_>,
        end_with: Option<&ResponseTrailers>,
    ) -> Result<Sent, SendError> {
        if let Some(compression) = self.connection.shared.settings.compression.clone() {
            return self.send_compressed(&compression, head, block, end_with);
        }
        self.send_part(head, block, end_with)
    }

    fn send_part(
        &mut self,
        head: Option<(&ResponseHead, BodyLength)>,
        block: Block<'_>,
        end_with: Option<&ResponseTrailers>,
    ) -> Result<Sent, SendError> {
        let connection = &self.connection;
        let mut core = connection.lock();
        if core.phase != Phase::Serving {
            return Err(SendError::Gone);
        }
        let now_ms = clock::now_ms();
        core.begin_output(now_ms);
        let secured = head.and_then(|(head, _)| self.with_hsts(head));
        let head = head.map(|(head, length)| (secured.as_ref().unwrap_or(head), length));
        let mut sent = Sent::default();
        let flushed = with_scratch(|out| {
            if let Some((head, length)) = head {
                let date = clock::date(now_ms);
                let context = http::SendContext {
                    date: &date,
                    server: connection.shared.settings.server.as_deref(),
                    extra: self.id_place.and_then(|place| self.head.field_at(place as usize)),
                    close: connection.shared.lifecycle() > Lifecycle::Serving || leaves_much_unread(&core),
                };
                core.http.send_head(head, length, &context, out)?;
                self.status = head.status();
                core.observe(&connection.shared, |flight, observer| {
                    flight.answer(observer, head.status(), end_with.is_some());
                });
                if let (Some(logged), Some(access_log)) = (&mut self.logged, &connection.shared.access_log) {
                    logged.noted.fields = access_log.note(head);
                }
            }
            let mut after: &[u8] = b"";
            let mut take = 0;
            if block.len() > 0 {
                let framed = core.http.frame_data(usize::try_from(block.len()).unwrap_or(usize::MAX), out)?;
                take = framed.take;
                after = framed.suffix;
                sent.overrun = framed.overrun;
            }
            self.body_sent += take as u64;
            let mut tail = Vec::new();
            if let Some(records) = core.http.response_records()
                && take > 0
            {
                if let Some(trailers) = end_with {
                    sent.missing = end(&mut core, trailers, &mut tail)?;
                }
                let carrier = &connection.carrier;
                return Ok(records::send(records, &mut core.output, carrier, out, (block, take), &tail));
            }
            if let Block::Borrowed(bytes) = &block {
                out.extend_from_slice(&bytes[..take]);
                out.extend_from_slice(after);
                if let Some(trailers) = end_with {
                    sent.missing = end(&mut core, trailers, out)?;
                }
            } else {
                tail.extend_from_slice(after);
                if let Some(trailers) = end_with {
                    sent.missing = end(&mut core, trailers, &mut tail)?;
                }
            }
            let is_last = end_with.is_some() && core.http.must_close() && connection.ends_with_data();
            let output = &mut core.output;
            Ok(match block {
                Block::Borrowed(_) if is_last => output.send_last(&connection.carrier, out),
                Block::Borrowed(_) => output.send(&connection.carrier, out, false),
                Block::Shared(bytes) => {
                    output.send_large(&connection.carrier, out, bytes.slice(..take), &tail)
                }
                Block::File { file, offset, .. } => match output.send(&connection.carrier, out, take > 0) {
                    Flushed::Lost(kind) => Flushed::Lost(kind),
                    flushed => {
                        // Reading a file can take a disk's time, so the reactor does it, piece by piece between others.
                        output.push_file(Arc::new(file), offset, take as u64);
                        output.push_bytes(Bytes::from(tail));
                        if flushed == Flushed::All && !output.is_empty() { Flushed::Enough } else { flushed }
                    }
                },
            })
        })
        .map_err(SendError::Refused)?;
        core.note_flushed(connection, &flushed, now_ms);
        if core.phase != Phase::Serving {
            return Err(SendError::Gone);
        }
        if end_with.is_some() {
            // What was promised and did not come leaves the peer waiting: only a close ends such a response.
            if sent.missing > 0 {
                core.close_after = true;
                core.cut.get_or_insert(Cut::Application);
            }
            let cut = core.cut;
            self.logged.iter_mut().for_each(|logged| logged.noted.cut = cut);
            core.complete(connection, now_ms);
            self.done = true;
        }
        if flushed == Flushed::Enough && core.phase == Phase::Serving {
            // The socket takes more, and so no wake will come for the rest.
            connection.shared.attend(connection.clone());
        } else {
            self.attend(&core);
        }
        drop(core);
        if end_with.is_some() {
            self.log();
        }
        Ok(sent)
    }

    /// The head with Strict-Transport-Security, where that is to be said and is not.
    fn with_hsts(&self, head: &ResponseHead) -> Option<ResponseHead> {
        let value = self.connection.settings().hsts.as_ref()?;
        // By plain text browsers take no notice of it, and it is not to be sent (RFC 6797 section 7.2).
        if !self.is_secure() || head.has(HSTS) {
            return None;
        }
        let mut secured = head.clone();
        secured.field(HSTS, value).is_ok().then_some(secured)
    }

    /// Answers the request with a WebSocket (RFC 6455 section 4.2.2). The exchange is over when that succeeds.
    ///
    /// # Errors
    /// [`AcceptError`]; unless the client is gone, the request can still be answered otherwise.
    pub fn accept(
        &mut self,
        handshake: &http::ws::Handshake,
        subprotocol: Option<&[u8]>,
        fields: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<WebSocket, AcceptError> {
        let compression = self.connection.shared.settings.websocket.compression;
        let mut core = self.connection.lock();
        if core.phase != Phase::Serving || core.http.head_sent() {
            return Err(AcceptError::Gone);
        }
        let now_ms = clock::now_ms();
        core.begin_output(now_ms);
        let flushed = with_scratch(|out| {
            let date = clock::date(now_ms);
            let server = self.connection.shared.settings.server.as_deref();
            let context = http::SendContext { date: &date, server, extra: self.id_field(), close: false };
            let accepted = if core.http.is_stream() {
                let granted = handshake.accept_stream(subprotocol, fields, compression);
                let (accepted, head) = granted.map_err(AcceptError::Refused)?;
                core.http
                    .send_head(&head, BodyLength::Unknown, &context, out)
                    .map_err(|_| AcceptError::Gone)?;
                accepted
            } else {
                handshake
                    .accept(subprotocol, fields, compression, &context, out)
                    .map_err(AcceptError::Refused)?
            };
            core.open_websocket(&self.connection, accepted, now_ms)?;
            core.observe(&self.connection.shared, |flight, observer| flight.answer(observer, 101, true));
            core.end_flight(&self.connection.shared);
            Ok(core.output.send(&self.connection.carrier, out, false))
        })?;
        core.note_flushed(&self.connection, &flushed, now_ms);
        if self.server_ends() {
            core.close_for_drain(&self.connection, now_ms);
        }
        self.attend(&core);
        drop(core);
        self.done = true;
        let arrival = self.arrival();
        let logged = self.logged.as_ref().map(|_| (self.head.clone(), arrival));
        Ok(WebSocket::new(self.connection.clone(), logged))
    }

    /// Ends a response that cannot be completed: what is queued is flushed and the connection closed, so that the peer
    /// sees that it is cut.
    pub fn abort(mut self) {
        self.cut();
    }

    fn cut(&mut self) {
        self.leave(Some(if self.has_left() { Cut::Client } else { Cut::Application }));
    }

    fn leave(&mut self, cut: Option<Cut>) {
        self.done = true;
        let mut core = self.connection.lock();
        if core.served == self.number {
            core.leave_application(&self.connection.shared);
        }
        if core.phase == Phase::Serving {
            core.cut = core.cut.or(cut);
            core.close_after = true;
            core.complete(&self.connection, clock::now_ms());
        } else if core.served == self.number {
            core.end_flight(&self.connection.shared);
        }
        self.attend(&core);
        let is_logged = core.is_answered_for;
        let cut = core.cut.filter(|_| core.served == self.number);
        drop(core);
        self.logged.iter_mut().for_each(|logged| logged.noted.cut = cut);
        if !is_logged {
            self.log();
        }
    }

    fn attend(&self, core: &Core) {
        if core.wants_attention(&self.connection.shared.settings) {
            self.connection.shared.attend(self.connection.clone());
        }
    }

    fn arrival(&self) -> Arrival {
        let started_us = self.logged.as_ref().map(|logged| logged.started_us);
        Arrival { started_us, id_place: self.id_place, front_queue_us: self.front_queue_us }
    }

    fn log(&self) {
        if let (Some(access_log), Some(logged)) = (&self.connection.shared.access_log, &self.logged) {
            let (client, answer) = (self.client(), (self.status, &logged.noted));
            access_log.write(client, Some(&self.head), answer, self.body_sent, self.arrival());
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.done {
            self.cut();
        }
    }
}

fn end(core: &mut Core, trailers: &ResponseTrailers, out: &mut Vec<u8>) -> Result<u64, SendFault> {
    Ok(match core.http.send_end(trailers, out)? {
        ResponseEnd::Complete => 0,
        ResponseEnd::Short { missing } => missing,
    })
}

/// Whether so much of the request body is still to come that reading it for the sake of the connection is not worth it.
fn leaves_much_unread(core: &Core) -> bool {
    core.http.body_left().is_none_or(|left| left > DISCARD_MAX)
}

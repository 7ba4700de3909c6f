//! One HTTP/1.1 connection, server side.
//!
//! `state` holds every move a connection can make. `head` reads the heads of requests, by `gate`, `request_line`, `authority`, `field_lines` and
//! `facts`, or by `assembly` where they come otherwise; `body` reads bodies, and `framing` writes responses. This file joins them; it owns
//! the input and the facts of the exchange at hand.

mod assembly;
mod authority;
mod body;
mod facts;
mod field_lines;
mod framing;
mod gate;
mod head;
mod input;
mod request_line;
mod state;

use std::mem;
use std::sync::Arc;

pub use assembly::Assembly;
pub(crate) use authority::split_port;
pub use body::BodyKind;
pub(crate) use facts::Facts;
pub(crate) use framing::is_hop_by_hop;
pub use framing::{
    BodyLength, FieldOutcome, Framed, ResponseEnd, ResponseHead, ResponseTrailers, SendContext,
};
pub(crate) use framing::{Outgoing, Plan};
pub(crate) use head::Parts;
pub use head::{RequestHead, is_same_variable};
pub(crate) use request_line::RequestLine;
pub use request_line::{TargetForm, Version};

use crate::cgi::fastcgi::{Records, ResponseRecords};
use crate::cgi::{Dialect, Packet, read_params};
use crate::error::{RequestFault, SendFault};
use crate::event::{Event, Trailers};
use crate::field::FieldList;
use crate::limits::Limits;
use body::{Decoded, Decoder};
use field_lines::{Line, may_be_trailer, read_fields};
use gate::{BlockLimits, LineGate};
use input::Input;
use request_line::may_begin_request;
pub(crate) use state::{Move, Receiving, Sending, State};

/// What must be known of a request until its response is complete.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    version: Version,
    to_head: bool,
    keep_alive: bool,
    /// The client may wait for "100 Continue", which was not sent, and no body byte has come.
    expect_pending: bool,
    outgoing: Outgoing,
}

impl Exchange {
    /// Before a head is in: as little is known as can be.
    const NONE: Self = Self {
        version: Version::Http11,
        to_head: false,
        keep_alive: false,
        expect_pending: false,
        outgoing: Outgoing::Nothing,
    };
}

/// The server side of one HTTP/1.1 connection.
///
/// Receive bytes, take events until [`Event::NeedData`] or [`Event::Paused`], send a response, [`Connection::start_next`].
/// A request's body may still be coming while its response goes out.
#[derive(Debug)]
pub struct Connection {
    limits: Arc<Limits>,
    dialect: Dialect,
    input: Input,
    state: State,
    fault: Option<RequestFault>,
    gate: LineGate,
    /// The request line of the head that is coming in.
    line: Option<RequestLine>,
    empty_line_skipped: bool,
    decoder: Decoder,
    /// What there is of FastCGI's, where it is spoken: `input` has the body alone then.
    records: Option<Box<Records>>,
    exchange: Exchange,
}

impl Connection {
    /// A connection on which nothing has been received.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self::of(Dialect::Http1, limits)
    }

    /// The same for peers that speak otherwise.
    pub fn of(dialect: Dialect, limits: Arc<Limits>) -> Self {
        let records = (dialect == Dialect::FastCgi).then(|| Box::new(Records::new(limits.head_size_max)));
        Self {
            limits,
            dialect,
            records,
            input: Input::default(),
            state: State::START,
            fault: None,
            gate: LineGate::default(),
            line: None,
            empty_line_skipped: false,
            decoder: Decoder::Length(0),
            exchange: Exchange::NONE,
        }
    }

    /// Takes in what the peer has sent.
    #[inline(always)]
    pub fn receive(&mut self, data: &[u8]) {
        if matches!(self.state.receiving, Receiving::Refused | Receiving::Closed) {
            return;
        }
        match &mut self.records {
            None => self.input.receive(data),
            Some(records) => records.receive(data, |body| self.input.receive(body)),
        }
    }

    /// The peer has closed its side: nothing more will be received.
    pub fn receive_eof(&mut self) {
        self.input.ended = true;
    }

    /// Received bytes that are not parsed yet.
    pub fn buffered(&self) -> usize {
        self.input.rest().len() + self.records.as_ref().map_or(0, |records| records.held())
    }

    /// What the received bytes mean, piece by piece.
    ///
    /// # Errors
    /// A [`RequestFault`] where the peer broke a rule, and the same again from then on.
    pub fn next_event(&mut self) -> Result<Event<'_>, RequestFault> {
        match self.state.receiving {
            Receiving::Head => self.next_head(),
            Receiving::Body => self.next_of_body(),
            Receiving::Done => Ok(Event::Paused),
            Receiving::Refused => match self.fault {
                Some(fault) => Err(fault),
                None => Ok(Event::Closed),
            },
            Receiving::Closed => Ok(Event::Closed),
        }
    }

    /// Lowers the limit of one body: that of the request whose head was given out last, of which nothing else was.
    ///
    /// # Errors
    /// [`RequestFault::BodyTooLarge`] where Content-Length tells that it is larger. From then on as of [`Connection::next_event`].
    pub fn limit_body(&mut self, size_max: u64) -> Result<(), RequestFault> {
        match &mut self.decoder {
            Decoder::Length(length) if *length > size_max => Err(self.refuse(RequestFault::BodyTooLarge)),
            Decoder::Length(_) => Ok(()),
            Decoder::Chunked(chunked) => {
                chunked.announced_max = Some(size_max);
                Ok(())
            }
        }
    }

    fn next_head(&mut self) -> Result<Event<'_>, RequestFault> {
        match self.read_head() {
            Ok(Some(head)) => {
                self.exchange = Exchange {
                    version: match self.dialect {
                        Dialect::Http1 => head.version(),
                        // Neither chunks nor interim responses.
                        Dialect::Uwsgi | Dialect::Scgi | Dialect::FastCgi => Version::Http10,
                    },
                    to_head: self.exchange.to_head,
                    keep_alive: match &self.records {
                        None => head.keep_alive_wanted(),
                        Some(records) => records.keeps_connection,
                    },
                    // Without a body there is nothing to wait for.
                    expect_pending: head.expects_continue()
                        && !matches!(head.body(), BodyKind::Empty | BodyKind::Length(0)),
                    outgoing: Outgoing::Nothing,
                };
                self.decoder = Decoder::new(head.body());
                self.advance(Move::HeadRead);
                Ok(Event::Request(head))
            }
            Ok(None) if !self.input.ended => Ok(Event::NeedData),
            Ok(None) if self.head_started() => Err(self.refuse(match self.dialect {
                Dialect::Http1 => RequestFault::HeadTruncated,
                Dialect::Uwsgi | Dialect::Scgi | Dialect::FastCgi => RequestFault::Variables,
            })),
            Ok(None) => {
                self.input.discard();
                self.advance(Move::Eof);
                Ok(Event::Closed)
            }
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    /// Reads a head if it is complete.
    fn read_head(&mut self) -> Result<Option<RequestHead>, RequestFault> {
        if self.dialect != Dialect::Http1 {
            return self.read_packet();
        }
        let limits = BlockLimits::of_head(&self.limits);
        let line = match self.line {
            Some(line) => line,
            None => match self.read_request_line(&limits)? {
                Some(line) => {
                    // Whatever becomes of the rest: a response to HEAD has no body.
                    self.exchange.to_head = line.is_head();
                    *self.line.insert(line)
                }
                None => return Ok(None),
            },
        };
        let Some(size) = self.gate.blank_line(self.input.rest(), &limits)? else { return Ok(None) };
        // The request line was counted by the gate too.
        let field_lines = self.gate.lines() - 1;
        self.gate = LineGate::default();
        self.line = None;
        self.empty_line_skipped = false;
        let bytes = self.input.take(size);
        RequestHead::parse(bytes, line, field_lines, &self.limits).map(Some)
    }

    /// Reads a head that comes as CGI variables, if it is complete.
    fn read_packet(&mut self) -> Result<Option<RequestHead>, RequestFault> {
        if let Some(records) = &mut self.records {
            let Some((bytes, has_body)) = records.variables()? else { return Ok(None) };
            let head = read_params(bytes, &self.limits)?;
            self.exchange.to_head = head.method() == "HEAD";
            return match head.body() {
                BodyKind::Empty if has_body => Err(RequestFault::LengthMissing),
                _ => Ok(Some(head)),
            };
        }
        let Some(packet) = Packet::find(self.dialect, self.input.rest(), &self.limits)? else {
            return Ok(None);
        };
        let bytes = self.input.take(packet.size());
        let head = packet.read(self.dialect, bytes, &self.limits)?;
        self.exchange.to_head = head.method() == "HEAD";
        Ok(Some(head))
    }

    fn read_request_line(&mut self, limits: &BlockLimits) -> Result<Option<RequestLine>, RequestFault> {
        match self.input.rest() {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => {
                // Some clients end a body with a CRLF too many (RFC 9112 section 2.2).
                if mem::replace(&mut self.empty_line_skipped, true) {
                    return Err(RequestFault::EmptyLine);
                }
                self.input.begin += 2;
                return self.read_request_line(limits);
            }
            [b'\r' | b'\n', ..] => return Err(RequestFault::LineEnd),
            [first, ..] if !may_begin_request(*first) => return Err(RequestFault::Method),
            [_, ..] => {}
        }
        let limits = BlockLimits {
            line_size_max: limits.line_size_max,
            block_size_max: limits.block_size_max,
            lines_max: limits.lines_max,
            line_fault: RequestFault::LineTooLong,
            block_fault: RequestFault::LineTooLong,
            lines_fault: limits.lines_fault,
        };
        match self.gate.first_line(self.input.rest(), &limits)? {
            Some(size) => RequestLine::parse(&self.input.rest()[..size]).map(Some),
            None => Ok(None),
        }
    }

    fn next_of_body(&mut self) -> Result<Event<'_>, RequestFault> {
        let input = &self.input.bytes[self.input.begin..];
        // From the first byte on, the client does not wait any more.
        if !input.is_empty() {
            self.exchange.expect_pending = false;
        }
        let (spent, decoded) = match self.decoder.decode(input, &self.limits) {
            Ok(step) => step,
            Err(fault) => return Err(self.refuse(fault)),
        };
        let begin = self.input.begin;
        self.input.begin += spent;
        let decoded = match (&self.records, decoded) {
            (None, decoded) | (Some(_), decoded @ (Decoded::Data(_) | Decoded::Trailers)) => decoded,
            (Some(records), decoded) => match records.body_is_whole() {
                Ok(true) if decoded == Decoded::NeedData => return Err(self.refuse(RequestFault::Truncated)),
                Ok(true) => Decoded::End,
                Ok(false) => {
                    // More of a body than was announced is nobody's.
                    if decoded == Decoded::End {
                        self.input.discard();
                    }
                    Decoded::NeedData
                }
                Err(fault) => return Err(self.refuse(fault)),
            },
        };
        match decoded {
            Decoded::NeedData if self.input.ended => Err(self.refuse(RequestFault::Truncated)),
            Decoded::NeedData => Ok(Event::NeedData),
            Decoded::Data(range) => {
                Ok(Event::Data(&self.input.bytes[begin + range.start..begin + range.end]))
            }
            Decoded::Trailers => match self.read_trailers() {
                Ok(Some(trailers)) => {
                    self.advance(Move::BodyRead);
                    Ok(Event::End(trailers))
                }
                Ok(None) if self.input.ended => Err(self.refuse(RequestFault::Truncated)),
                Ok(None) => Ok(Event::NeedData),
                Err(fault) => Err(self.refuse(fault)),
            },
            Decoded::End => {
                self.advance(Move::BodyRead);
                Ok(Event::End(Trailers::default()))
            }
        }
    }

    /// Reads a trailer section if it is complete.
    fn read_trailers(&mut self) -> Result<Option<Trailers>, RequestFault> {
        let limits = BlockLimits::of_trailers(&self.limits);
        let Some(size) = self.gate.blank_line(self.input.rest(), &limits)? else { return Ok(None) };
        let lines = self.gate.lines();
        self.gate = LineGate::default();
        if lines == 0 {
            self.input.begin += size;
            return Ok(Some(Trailers::default()));
        }
        let mut list = FieldList { bytes: self.input.take(size), spans: Vec::new() };
        let policy = self.limits.underscore_names;
        read_fields(&mut list, 0, lines, policy, RequestFault::TrailerSyntax, |Line { name, .. }| {
            if may_be_trailer(name) { Ok(()) } else { Err(RequestFault::TrailerForbidden) }
        })?;
        Ok(Some(Trailers::new(list)))
    }

    /// Ends parsing for good. Nothing of the input is kept.
    fn refuse(&mut self, fault: RequestFault) -> RequestFault {
        self.exchange.keep_alive = false;
        self.fault = Some(fault);
        // What begins HTTP/2 is for whoever speaks it.
        if fault != RequestFault::Http2Preface {
            self.input.discard();
        }
        if let Some(records) = &mut self.records {
            records.discard();
        }
        self.advance(Move::Refuse);
        fault
    }

    /// All that has come, where it is the beginning of HTTP/2: after [`RequestFault::Http2Preface`] as the first event.
    pub fn take_preface(&mut self) -> Option<Vec<u8>> {
        let is_preface = self.fault == Some(RequestFault::Http2Preface) && self.input.begin == 0;
        is_preface.then(|| mem::take(&mut self.input.bytes))
    }

    /// Makes a move that the state at hand allows. One that it does not would be a mistake of this file, and closes.
    fn advance(&mut self, step: Move) {
        match self.state.after(step) {
            Some(state) => self.state = state,
            None => {
                self.exchange.keep_alive = false;
                self.state.receiving = Receiving::Refused;
            }
        }
    }

    /// Body bytes that may be read from the socket past this connection, which has nothing to say about them: those of a
    /// Content-Length, while nothing is buffered. 0 otherwise.
    pub fn direct_body(&self) -> u64 {
        match self.decoder {
            Decoder::Length(remaining)
                if self.state.receiving == Receiving::Body
                    && self.input.is_empty()
                    && !self.input.ended
                    && self.records.is_none() =>
            {
                remaining
            }
            Decoder::Length(_) | Decoder::Chunked(_) => 0,
        }
    }

    /// How many bytes of the request body are still to be decoded; `None` while a chunked one does not say.
    pub fn body_left(&self) -> Option<u64> {
        match (self.state.receiving, &self.decoder) {
            (Receiving::Body, Decoder::Length(remaining)) => Some(*remaining),
            (Receiving::Body, Decoder::Chunked(_)) => None,
            _ => Some(0),
        }
    }

    /// Accounts for bytes that were read in this way; at most [`Connection::direct_body`].
    pub fn direct_body_received(&mut self, size: usize) {
        if let Decoder::Length(remaining) = &mut self.decoder {
            *remaining = remaining.saturating_sub(size as u64);
            self.exchange.expect_pending &= size == 0;
        }
    }

    /// Gives back the input buffer if nothing is in it.
    pub fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input.discard();
        }
    }

    /// Whether a part of the next head is in.
    pub fn head_started(&self) -> bool {
        let has_begun = self.records.as_ref().is_some_and(|records| records.has_begun());
        self.state.receiving == Receiving::Head
            && (self.line.is_some() || !self.input.is_empty() || has_begun)
    }

    /// Whether the request is read to its end.
    pub fn request_body_complete(&self) -> bool {
        self.state.receiving == Receiving::Done
    }

    /// Whether the client may be waiting for a "100 Continue" that was not sent. A final response then closes the connection:
    /// whether the body will still come is not known (RFC 9110 section 10.1.1).
    pub fn expect_pending(&self) -> bool {
        self.exchange.expect_pending && self.state.receiving == Receiving::Body && self.input.is_empty()
    }

    /// Writes "100 Continue" if the client may be waiting for it and no final head has been sent. Tells whether it did.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) -> bool {
        let due = self.state.sending == Sending::Head && self.expect_pending();
        if due {
            self.exchange.expect_pending = false;
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        due
    }

    /// Writes an interim response such as 103, if one may be sent: to a 1.1 client (RFC 9110 section 15.2), before the final
    /// head, and neither 100, which is [`Connection::send_continue`]'s, nor 101, which would end HTTP here. Tells whether it did.
    pub fn send_informational(&mut self, head: &ResponseHead, out: &mut Vec<u8>) -> bool {
        let due = self.state.sending == Sending::Head
            && self.exchange.version != Version::Http10
            && (102..200).contains(&head.status());
        if due {
            head.write_informational(out);
        }
        due
    }

    /// Writes the final head, with the framing that request, status and body call for, and `Date` and `Server` where absent.
    ///
    /// # Errors
    /// [`SendFault::NotFinal`] for a 1xx; [`SendFault::OutOfOrder`] if there is no request or its head has been answered.
    pub fn send_head(
        &mut self,
        head: &ResponseHead,
        body: BodyLength,
        context: &SendContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendFault> {
        if head.is_informational() {
            return Err(SendFault::NotFinal);
        }
        self.state = self.state.after(Move::FinalHead).ok_or(SendFault::OutOfOrder)?;
        let keep_alive = self.exchange.keep_alive && !context.close && !self.expect_pending();
        let (form, to_head) = ((self.dialect, self.exchange.version), self.exchange.to_head);
        let plan = Plan::new(head, body, form, to_head, keep_alive);
        self.exchange.keep_alive = plan.keeps_alive();
        self.exchange.outgoing = plan.outgoing;
        let start = out.len();
        head.write(&plan, context, out);
        if let Some(records) = self.response_records() {
            records.wrap(start, out);
        }
        Ok(())
    }

    /// Frames `size` bytes of body: writes what comes before them and says what to send of them and after them.
    ///
    /// Where there are [`Connection::response_records`], what is to be sent goes into those yet.
    ///
    /// # Errors
    /// [`SendFault::OutOfOrder`] unless the head was sent and the response not ended.
    pub fn frame_data(&mut self, size: usize, out: &mut Vec<u8>) -> Result<Framed, SendFault> {
        if self.state.sending != Sending::Body {
            return Err(SendFault::OutOfOrder);
        }
        Ok(self.exchange.outgoing.frame(size, out))
    }

    /// The records in which what is sent goes, where FastCGI is spoken.
    pub fn response_records(&self) -> Option<ResponseRecords> {
        self.records.as_ref().map(|records| records.response())
    }

    /// Ends the response: writes what comes after the body. Trailers are left out where the body is not in chunks.
    ///
    /// # Errors
    /// [`SendFault::OutOfOrder`] unless the head was sent and the response not ended.
    pub fn send_end(
        &mut self,
        trailers: &ResponseTrailers,
        out: &mut Vec<u8>,
    ) -> Result<ResponseEnd, SendFault> {
        self.state = self.state.after(Move::End).ok_or(SendFault::OutOfOrder)?;
        let end = self.exchange.outgoing.end(trailers, out);
        match self.response_records() {
            _ if end != ResponseEnd::Complete => self.exchange.keep_alive = false,
            Some(records) => records.write_end(out),
            None => {}
        }
        Ok(end)
    }

    /// Writes a complete response to a peer's fault, if it has one and no final head was sent. Its text is constant. The connection
    /// closes after it. Tells whether it was written.
    pub fn send_fault(&mut self, fault: &RequestFault, context: &SendContext<'_>, out: &mut Vec<u8>) -> bool {
        if !fault.is_answered() {
            return false;
        }
        let Some((head, text)) = fault.response() else { return false };
        if !self.reject() {
            return false;
        }
        let length = BodyLength::Known(text.len() as u64);
        let form = (self.dialect, self.exchange.version);
        let plan = Plan::new(&head, length, form, self.exchange.to_head, false);
        let start = out.len();
        head.write(&plan, context, out);
        if !self.exchange.to_head {
            out.extend_from_slice(text.as_bytes());
        }
        if let Some(records) = self.response_records() {
            records.wrap(start, out);
            records.write_end(out);
        }
        true
    }

    /// A complete response that closes the connection is written instead of the application's: not here, or in
    /// [`Connection::send_fault`]. False when the request is answered already; then it must not be.
    pub fn reject(&mut self) -> bool {
        let Some(state) = self.state.after(Move::Reject) else { return false };
        self.state = state;
        self.exchange.keep_alive = false;
        true
    }

    /// The request was answered by another protocol's beginning (RFC 9110 section 7.8): nothing more is HTTP. Gives what has come
    /// after the request, if it is read to its end and not answered otherwise; no bytes in any other case.
    pub fn upgrade(&mut self) -> Option<Vec<u8>> {
        self.state = self.state.after(Move::Upgrade)?;
        self.exchange.keep_alive = false;
        let rest = self.input.rest().to_vec();
        self.input.discard();
        Some(rest)
    }

    /// Whether the final head of the response was sent.
    pub fn head_sent(&self) -> bool {
        matches!(self.state.sending, Sending::Body | Sending::Done)
    }

    /// Whether the response is complete.
    pub fn response_complete(&self) -> bool {
        self.state.sending == Sending::Done
    }

    /// Whether the connection cannot serve another request once both sides are done.
    pub fn must_close(&self) -> bool {
        match self.state {
            State { receiving: Receiving::Refused | Receiving::Closed, .. } => true,
            State { sending: Sending::Idle, .. } => false,
            State { receiving: Receiving::Head | Receiving::Body | Receiving::Done, .. } => {
                !self.exchange.keep_alive
            }
        }
    }

    /// Goes on to the next request; what is buffered of it stays. False, and nothing changes, unless the request is read to
    /// its end, the response is complete, and the connection may go on.
    pub fn start_next(&mut self) -> bool {
        match self.state.after(Move::Next) {
            Some(state) if !self.must_close() => {
                self.state = state;
                self.exchange = Exchange::NONE;
                if let Some(records) = &mut self.records {
                    // More of a body than was announced is nobody's.
                    self.input.discard();
                    let next = records.start_next();
                    self.receive(&next);
                }
                true
            }
            _ => false,
        }
    }
}

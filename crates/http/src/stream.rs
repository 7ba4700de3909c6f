//! One request and its response where many share a connection: an HTTP/2 stream, as far as it is not about frames.
//!
//! The framing is another's: heads come and go as fields, bodies without anything around them. What is left is what holds for any
//! HTTP: which parts come in which order, how long a body may be, and what a head says about it.

use std::sync::Arc;

use crate::cgi::Dialect;
use crate::error::{RequestFault, SendFault};
use crate::event::{Event, Trailers};
use crate::h1::{
    BodyKind, BodyLength, Framed, Move, Outgoing, Plan, Receiving, RequestHead, ResponseEnd, ResponseHead,
    SendContext, Sending, State, Version,
};
use crate::limits::Limits;

/// The server side of one stream.
///
/// Take the head as the first event, say what was received of the body ([`Stream::body_received`]) and that it is over
/// ([`Stream::receive_eof`]), and send a response. There is one request on a stream.
#[derive(Debug)]
pub struct Stream {
    head: Option<RequestHead>,
    fault: Option<RequestFault>,
    state: State,
    /// Bytes of the body that are still to come, where that is known.
    left: Option<u64>,
    received: u64,
    size_max: Option<u64>,
    ended: bool,
    to_head: bool,
    expect_pending: bool,
    outgoing: Outgoing,
}

impl Stream {
    /// A stream that has begun with this head. `ended`: there is no body.
    pub fn new(head: RequestHead, ended: bool, limits: &Arc<Limits>) -> Self {
        let left = match head.body() {
            BodyKind::Length(length) => Some(length),
            BodyKind::Empty => Some(0),
            BodyKind::Chunked => None,
        };
        Self {
            to_head: head.method() == "HEAD",
            expect_pending: head.expects_continue() && !ended && left != Some(0),
            head: Some(head),
            fault: None,
            state: State::START,
            left,
            received: 0,
            size_max: limits.body_size_max,
            ended,
            outgoing: Outgoing::Nothing,
        }
    }

    /// A stream whose head is not taken.
    pub fn refused(fault: RequestFault) -> Self {
        Self {
            head: None,
            fault: Some(fault),
            state: State { receiving: Receiving::Refused, sending: Sending::Idle },
            left: None,
            received: 0,
            size_max: None,
            ended: false,
            to_head: false,
            expect_pending: false,
            outgoing: Outgoing::Nothing,
        }
    }

    /// What there is to know of the request.
    ///
    /// # Errors
    /// A [`RequestFault`] where the peer broke a rule, and the same again from then on.
    pub fn next_event(&mut self) -> Result<Event<'static>, RequestFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(head) = self.head.take() {
            self.advance(Move::HeadRead);
            return Ok(Event::Request(head));
        }
        match self.state.receiving {
            Receiving::Body if self.size_max.is_some_and(|most| self.received > most) => {
                Err(self.refuse(RequestFault::BodyTooLarge))
            }
            Receiving::Body if self.ended && self.left.is_some_and(|left| left > 0) => {
                Err(self.refuse(RequestFault::Truncated))
            }
            Receiving::Body if self.ended => {
                self.advance(Move::BodyRead);
                Ok(Event::End(Trailers::default()))
            }
            Receiving::Body => Ok(Event::NeedData),
            Receiving::Done => Ok(Event::Paused),
            Receiving::Head | Receiving::Refused | Receiving::Closed => Ok(Event::Closed),
        }
    }

    /// Lowers the limit of the body. As of [`Connection::limit_body`](crate::Connection::limit_body).
    ///
    /// # Errors
    /// [`RequestFault::BodyTooLarge`] where Content-Length tells that it is larger.
    pub fn limit_body(&mut self, size_max: u64) -> Result<(), RequestFault> {
        self.size_max = Some(self.size_max.map_or(size_max, |most| most.min(size_max)));
        match self.left {
            Some(left) if left > size_max => Err(self.refuse(RequestFault::BodyTooLarge)),
            _ => Ok(()),
        }
    }

    /// The request is whole.
    pub fn receive_eof(&mut self) {
        self.ended = true;
    }

    /// So many bytes of the body have come.
    pub fn body_received(&mut self, size: usize) {
        self.received += size as u64;
        self.left = self.left.map(|left| left.saturating_sub(size as u64));
        self.expect_pending &= size == 0;
    }

    /// Bytes of the body that may be received now: one more than there may be, so that a body that is too large is seen.
    pub fn direct_body(&self) -> u64 {
        if self.state.receiving != Receiving::Body || self.ended {
            return 0;
        }
        self.size_max.map_or(u64::MAX, |most| (most - most.min(self.received)).saturating_add(1))
    }

    /// How many bytes of the body are still to come; `None` where that is not known.
    pub fn body_left(&self) -> Option<u64> {
        match self.state.receiving {
            // Its end is a fact of its own.
            Receiving::Body if !self.ended => self.left.filter(|&left| left > 0),
            _ => Some(0),
        }
    }

    /// Whether the request is read to its end.
    pub fn request_body_complete(&self) -> bool {
        self.state.receiving == Receiving::Done
    }

    /// Whether the client may be waiting for a "100 Continue" that was not sent.
    pub fn expect_pending(&self) -> bool {
        self.expect_pending && self.state.receiving == Receiving::Body
    }

    /// Whether "100 Continue" is to be sent, which then counts as sent.
    pub fn take_continue(&mut self) -> bool {
        let due = self.state.sending == Sending::Head && self.expect_pending();
        self.expect_pending &= !due;
        due
    }

    /// Whether an interim response with this head may be sent now.
    pub fn takes_informational(&self, head: &ResponseHead) -> bool {
        self.state.sending == Sending::Head && (102..200).contains(&head.status())
    }

    /// Takes note of the final head, and gives `field` each field that is to be sent with it.
    ///
    /// # Errors
    /// As of [`Connection::send_head`](crate::Connection::send_head).
    pub fn send_head(
        &mut self,
        head: &ResponseHead,
        body: BodyLength,
        context: &SendContext<'_>,
        field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), SendFault> {
        if head.is_informational() {
            return Err(SendFault::NotFinal);
        }
        self.state = self.state.after(Move::FinalHead).ok_or(SendFault::OutOfOrder)?;
        let plan = Plan::new(head, body, (Dialect::Http1, Version::Http2), self.to_head, true);
        self.outgoing = plan.outgoing;
        head.each_field(&plan, context, field);
        Ok(())
    }

    /// How much of `size` bytes of body is to be sent.
    ///
    /// # Errors
    /// As of [`Connection::frame_data`](crate::Connection::frame_data).
    pub fn frame_data(&mut self, size: usize) -> Result<Framed, SendFault> {
        if self.state.sending != Sending::Body {
            return Err(SendFault::OutOfOrder);
        }
        Ok(self.outgoing.frame(size, &mut Vec::new()))
    }

    /// The response is over.
    ///
    /// # Errors
    /// As of [`Connection::send_end`](crate::Connection::send_end).
    pub fn send_end(&mut self) -> Result<ResponseEnd, SendFault> {
        self.state = self.state.after(Move::End).ok_or(SendFault::OutOfOrder)?;
        Ok(match self.outgoing {
            Outgoing::Length(missing @ 1..) => ResponseEnd::Short { missing },
            _ => ResponseEnd::Complete,
        })
    }

    /// Takes note of a complete response to a peer's fault: its fields go to `field`, its text to `out`. As of
    /// [`Connection::send_fault`](crate::Connection::send_fault).
    pub fn send_fault(
        &mut self,
        fault: &RequestFault,
        context: &SendContext<'_>,
        field: impl FnMut(&[u8], &[u8]),
        out: &mut Vec<u8>,
    ) -> bool {
        let Some((head, text)) = fault.response() else { return false };
        if !self.reject() {
            return false;
        }
        let length = BodyLength::Known(text.len() as u64);
        let plan = Plan::new(&head, length, (Dialect::Http1, Version::Http2), self.to_head, false);
        head.each_field(&plan, context, field);
        if !self.to_head {
            out.extend_from_slice(text.as_bytes());
        }
        true
    }

    /// A complete response is sent instead of the application's. False when the request is answered already.
    pub fn reject(&mut self) -> bool {
        let Some(state) = self.state.after(Move::Reject) else { return false };
        self.state = state;
        true
    }

    /// The head that was sent has begun another protocol: nothing more is HTTP. False where it has not, or has ended.
    pub fn upgrade(&mut self) -> bool {
        let due = self.state == State { receiving: Receiving::Done, sending: Sending::Body };
        if due {
            self.state = State { receiving: Receiving::Closed, sending: Sending::Done };
        }
        due
    }

    /// Whether the final head was sent.
    pub fn head_sent(&self) -> bool {
        matches!(self.state.sending, Sending::Body | Sending::Done)
    }

    fn refuse(&mut self, fault: RequestFault) -> RequestFault {
        self.fault = Some(fault);
        self.advance(Move::Refuse);
        fault
    }

    fn advance(&mut self, step: Move) {
        match self.state.after(step) {
            Some(state) => self.state = state,
            // A mistake of this file, which ends the stream.
            None => self.state.receiving = Receiving::Refused,
        }
    }
}

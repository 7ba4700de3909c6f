//! What a connection speaks, as far as requests and responses go.

use tidegate_http as http;
use tidegate_http::{
    BodyLength, Event, Framed, RequestFault, ResponseEnd, ResponseHead, ResponseRecords, ResponseTrailers,
    SendContext, SendFault,
};

use std::sync::Arc;

use crate::h2;

/// Bytes and events of one connection, or of one stream.
#[derive(Debug)]
pub(crate) enum Protocol {
    Http1(http::Connection),
    /// A stream: heads and ends go to what carries it, and only bodies through its output.
    Stream(http::Stream, Arc<h2::Stream>),
}

impl Protocol {
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(..))
    }

    pub(crate) fn next_event(&mut self) -> Result<Event<'_>, RequestFault> {
        match self {
            Self::Http1(http) => http.next_event(),
            Self::Stream(http, _) => http.next_event(),
        }
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1(http) => http.receive(bytes),
            // Its bytes are read past it.
            Self::Stream(..) => {}
        }
    }

    pub(crate) fn receive_eof(&mut self) {
        match self {
            Self::Http1(http) => http.receive_eof(),
            Self::Stream(http, _) => http.receive_eof(),
        }
    }

    pub(crate) fn limit_body(&mut self, size_max: u64) -> Result<(), RequestFault> {
        match self {
            Self::Http1(http) => http.limit_body(size_max),
            Self::Stream(http, _) => http.limit_body(size_max),
        }
    }

    /// What begins HTTP/2, where that has come.
    pub(crate) fn take_preface(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Http1(http) => http.take_preface(),
            Self::Stream(..) => None,
        }
    }

    pub(crate) fn buffered(&self) -> usize {
        match self {
            Self::Http1(http) => http.buffered(),
            Self::Stream(..) => 0,
        }
    }

    pub(crate) fn direct_body(&self) -> u64 {
        match self {
            Self::Http1(http) => http.direct_body(),
            Self::Stream(http, _) => http.direct_body(),
        }
    }

    pub(crate) fn direct_body_received(&mut self, size: usize) {
        match self {
            Self::Http1(http) => http.direct_body_received(size),
            Self::Stream(http, _) => http.body_received(size),
        }
    }

    pub(crate) fn body_left(&self) -> Option<u64> {
        match self {
            Self::Http1(http) => http.body_left(),
            Self::Stream(http, _) => http.body_left(),
        }
    }

    pub(crate) fn response_records(&self) -> Option<ResponseRecords> {
        match self {
            Self::Http1(http) => http.response_records(),
            Self::Stream(..) => None,
        }
    }

    pub(crate) fn shrink(&mut self) {
        if let Self::Http1(http) = self {
            http.shrink();
        }
    }

    pub(crate) fn head_started(&self) -> bool {
        match self {
            Self::Http1(http) => http.head_started(),
            Self::Stream(..) => false,
        }
    }

    pub(crate) fn request_body_complete(&self) -> bool {
        match self {
            Self::Http1(http) => http.request_body_complete(),
            Self::Stream(http, _) => http.request_body_complete(),
        }
    }

    pub(crate) fn expect_pending(&self) -> bool {
        match self {
            Self::Http1(http) => http.expect_pending(),
            Self::Stream(http, _) => http.expect_pending(),
        }
    }

    pub(crate) fn send_continue(&mut self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Http1(http) => http.send_continue(out),
            Self::Stream(http, stream) => {
                if http.take_continue() {
                    stream.send_informational(100, h2::Fields::new());
                }
                false
            }
        }
    }

    pub(crate) fn send_informational(&mut self, head: &ResponseHead, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Http1(http) => http.send_informational(head, out),
            Self::Stream(http, stream) => {
                if http.takes_informational(head) {
                    let mut fields = h2::Fields::new();
                    head.fields().for_each(|(name, value)| fields.push(name, value));
                    stream.send_informational(head.status(), fields);
                }
                false
            }
        }
    }

    #[inline(always)]
    pub(crate) fn send_head(
        &mut self,
        head: &ResponseHead,
        body: BodyLength,
        context: &SendContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendFault> {
        match self {
            Self::Http1(http) => http.send_head(head, body, context, out),
            Self::Stream(http, stream) => {
                let mut fields = h2::Fields::new();
                http.send_head(head, body, context, |name, value| fields.push(name, value))?;
                stream.set_head(head.status(), fields);
                Ok(())
            }
        }
    }

    pub(crate) fn frame_data(&mut self, size: usize, out: &mut Vec<u8>) -> Result<Framed, SendFault> {
        match self {
            Self::Http1(http) => http.frame_data(size, out),
            Self::Stream(http, _) => http.frame_data(size),
        }
    }

    pub(crate) fn send_end(
        &mut self,
        trailers: &ResponseTrailers,
        out: &mut Vec<u8>,
    ) -> Result<ResponseEnd, SendFault> {
        match self {
            Self::Http1(http) => http.send_end(trailers, out),
            Self::Stream(http, stream) => {
                let end = http.send_end()?;
                // What is short is not to look whole.
                if end == ResponseEnd::Complete {
                    stream.set_end(trailers);
                }
                Ok(end)
            }
        }
    }

    /// Sends a complete response to a peer's fault, if it may be sent. Says how long its body is.
    pub(crate) fn send_fault(
        &mut self,
        fault: &RequestFault,
        context: &SendContext<'_>,
        out: &mut Vec<u8>,
    ) -> u64 {
        match self {
            Self::Http1(http) => {
                http.send_fault(fault, context, out);
                memchr::memmem::find(out, b"\r\n\r\n").map_or(0, |end| out.len() - end - 4) as u64
            }
            Self::Stream(http, stream) => {
                let mut fields = h2::Fields::new();
                if http.send_fault(fault, context, |name, value| fields.push(name, value), out) {
                    stream.set_head(fault.status(), fields);
                    stream.set_end(&ResponseTrailers::NONE);
                }
                out.len() as u64
            }
        }
    }

    pub(crate) fn reject(&mut self) -> bool {
        match self {
            Self::Http1(http) => http.reject(),
            Self::Stream(http, _) => http.reject(),
        }
    }

    pub(crate) fn upgrade(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Http1(http) => http.upgrade(),
            Self::Stream(http, _) => http.upgrade().then(Vec::new),
        }
    }

    /// A WebSocket has come to its end: so does the stream that carries it.
    pub(crate) fn end_websocket(&self) {
        if let Self::Stream(_, stream) = self {
            stream.set_end(&ResponseTrailers::NONE);
        }
    }

    pub(crate) fn head_sent(&self) -> bool {
        match self {
            Self::Http1(http) => http.head_sent(),
            Self::Stream(http, _) => http.head_sent(),
        }
    }

    pub(crate) fn must_close(&self) -> bool {
        match self {
            Self::Http1(http) => http.must_close(),
            Self::Stream(..) => true,
        }
    }

    pub(crate) fn start_next(&mut self) -> bool {
        match self {
            Self::Http1(http) => http.start_next(),
            Self::Stream(..) => false,
        }
    }
}

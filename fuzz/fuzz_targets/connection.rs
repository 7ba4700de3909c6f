//! Holds: whatever is received and however it is answered, responses go out in order, each framed as it says, and none after the last.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Choices, control, pieces};
use tidegate_http::{BodyLength, Connection, Event, Limits, ResponseEnd, ResponseHead, SendContext, Version};

/// What a client reading the responses must find.
struct Expected {
    status: u16,
    to_head: bool,
    /// The body; `None` where the response was cut short on purpose.
    body: Option<Vec<u8>>,
}

/// A server that decides by `choices`, which are drawn per request so that cuts do not move them.
struct Server {
    connection: Connection,
    seed: u64,
    context: SendContext<'static>,
    out: Vec<u8>,
    expected: Vec<Expected>,
    to_head: bool,
    version: Version,
    requests: u64,
    /// What was seen, in a form that does not show the cuts.
    log: Vec<u8>,
    closed: bool,
}

fuzz_target!(|data: &[u8]| {
    let Some((mut choices, wire)) = control(data) else { return };
    let limits = Arc::new(Limits { body_size_max: [None, Some(16)][choices.below(2)], ..Limits::default() });
    let (seed, close, eof) = (choices.below(1 << 30) as u64, choices.below(8) == 0, choices.below(2) == 0);
    let run = |pieces: &[&[u8]]| {
        let mut server = Server::new(limits.clone(), seed, close);
        for piece in pieces {
            server.connection.receive(piece);
            server.serve();
        }
        if eof {
            server.connection.receive_eof();
            server.serve();
            assert!(server.closed, "neither open nor closed after the end of the input");
        }
        server.check_output();
        server
    };
    let whole = run(&[wire]);
    let cut = run(&pieces(wire, &mut choices));
    assert_eq!((&whole.log, whole.closed), (&cut.log, cut.closed), "cuts matter");
});

impl Server {
    fn new(limits: Arc<Limits>, seed: u64, close: bool) -> Self {
        Self {
            connection: Connection::new(limits),
            seed,
            context: SendContext { date: b"Sun, 06 Nov 1994 08:49:37 GMT", server: None, extra: None, close },
            out: Vec::new(),
            expected: Vec::new(),
            to_head: false,
            version: Version::Http11,
            requests: 0,
            log: Vec::new(),
            closed: false,
        }
    }

    fn choices(&self) -> Choices {
        Choices::new(self.seed.wrapping_add(self.requests.wrapping_mul(0x1_0001)))
    }

    fn serve(&mut self) {
        while !self.closed {
            match self.connection.next_event() {
                Ok(Event::NeedData) => {
                    assert!(
                        self.connection.buffered() <= 65_536 + 8_192,
                        "more is kept than one head or trailer section"
                    );
                    return;
                }
                Ok(Event::Request(head)) => {
                    self.requests += 1;
                    self.to_head = head.method() == "HEAD";
                    self.version = head.version();
                    self.log.extend_from_slice(head.method().as_bytes());
                    self.log.extend_from_slice(head.target());
                    self.log.push(b'\n');
                    // Some are answered before their body is read. Not those of a client that may be waiting: whether body bytes
                    // are in by then, and with it whether the connection must close, depends on the cuts.
                    if self.choices().below(4) == 0 && !head.expects_continue() {
                        self.answer();
                    }
                }
                Ok(Event::Data(data)) => {
                    assert!(!data.is_empty(), "data without bytes");
                    self.log.extend_from_slice(data);
                }
                Ok(Event::End(trailers)) => {
                    self.log.extend(trailers.fields().flat_map(|(name, value)| [name, value].concat()));
                    self.log.extend_from_slice(b"$\n");
                    assert!(self.connection.request_body_complete());
                }
                Ok(Event::Paused) => {
                    if !self.connection.response_complete() {
                        self.answer();
                    }
                    let must_close = self.connection.must_close();
                    assert_eq!(self.connection.start_next(), !must_close);
                    self.closed = must_close;
                    self.connection.shrink();
                }
                Ok(Event::Closed) => self.closed = true,
                Err(fault) => {
                    assert_eq!(self.connection.next_event().err(), Some(fault), "a fault does not stay");
                    assert_eq!(self.connection.buffered(), 0);
                    let sent = self.connection.head_sent();
                    assert_eq!(self.connection.send_fault(&fault, &self.context, &mut self.out), !sent);
                    if !sent {
                        self.expected.push(Expected {
                            status: fault.status(),
                            to_head: self.fault_to_head(),
                            body: None,
                        });
                    }
                    assert!(self.connection.must_close() && !self.connection.start_next());
                    self.log.extend_from_slice(fault.to_string().as_bytes());
                    self.closed = true;
                }
            }
        }
    }

    /// Whether the response that was just written has no body though it announces one.
    fn fault_to_head(&self) -> bool {
        self.out.ends_with(b"\r\n\r\n")
    }

    fn answer(&mut self) {
        let mut choices = self.choices();
        let status = [200, 204, 304, 404, 500][choices.below(5)];
        let mut head = ResponseHead::new(status, b"Reason").expect("a status");
        let given: Vec<Vec<u8>> =
            (0..choices.below(4)).map(|piece| vec![b'a' + piece as u8; choices.below(40)]).collect();
        let total: usize = given.iter().map(Vec::len).sum();
        let announced = [None, Some(total), Some(total / 2), Some(total + 1)][choices.below(4)];
        if let Some(length) = announced {
            head.field(b"Content-Length", length.to_string().as_bytes()).expect("a length");
        }
        let length =
            if choices.below(2) == 0 { BodyLength::Unknown } else { BodyLength::Known(total as u64) };
        self.connection.send_head(&head, length, &self.context, &mut self.out).expect("in order");
        let mut body = Vec::new();
        for piece in &given {
            let framed = self.connection.frame_data(piece.len(), &mut self.out).expect("in order");
            assert!(framed.take <= piece.len());
            self.out.extend_from_slice(&piece[..framed.take]);
            self.out.extend_from_slice(framed.suffix);
            body.extend_from_slice(&piece[..framed.take]);
        }
        let bodiless = self.to_head || status == 204 || status == 304;
        assert!(!bodiless || body.is_empty());
        match self
            .connection
            .send_end(&tidegate_http::ResponseTrailers::NONE, &mut self.out)
            .expect("in order")
        {
            ResponseEnd::Complete => {
                let expected = announced.map_or(total, |length| length.min(total));
                assert_eq!(body.len(), if bodiless { 0 } else { expected });
                self.expected.push(Expected { status, to_head: self.to_head, body: Some(body) });
            }
            ResponseEnd::Short { missing } => {
                assert_eq!(Some(body.len() + missing as usize), announced);
                assert!(self.connection.must_close());
                self.expected.push(Expected { status, to_head: self.to_head, body: None });
            }
        }
    }

    /// Reads the output as a client would.
    fn check_output(&self) {
        let mut rest = &self.out[..];
        for (number, expected) in self.expected.iter().enumerate() {
            let last = number + 1 == self.expected.len();
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut fields);
            let Ok(httparse::Status::Complete(size)) = response.parse(rest) else {
                panic!("no response: {rest:?}")
            };
            rest = &rest[size..];
            assert_eq!(response.code, Some(expected.status));
            let field = |name: &str| {
                response.headers.iter().find(|field| field.name == name).map(|field| field.value)
            };
            let length: Option<usize> = field("Content-Length")
                .map(|value| std::str::from_utf8(value).expect("text").parse().expect("a number"));
            let chunked = field("Transfer-Encoding").is_some();
            let closes = field("Connection") == Some(b"close");
            assert!(length.is_none() || !chunked);
            assert!(last || !closes, "a response after the last one");
            if expected.to_head || matches!(expected.status, 204 | 304) {
                assert!(expected.status != 204 || (length.is_none() && !chunked));
                continue;
            }
            let Some(body) = &expected.body else {
                assert!(
                    last && length.is_some_and(|length| length >= rest.len()),
                    "a short response is not the last"
                );
                return;
            };
            if chunked {
                loop {
                    let Ok(httparse::Status::Complete((size, data))) = httparse::parse_chunk_size(rest)
                    else {
                        panic!("no chunk")
                    };
                    rest = &rest[size + data as usize..];
                    rest = rest.strip_prefix(b"\r\n").expect("an end of the chunk");
                    if data == 0 {
                        break;
                    }
                }
            } else if let Some(length) = length {
                assert_eq!(&rest[..length], body);
                rest = &rest[length..];
            } else {
                assert!(
                    closes && self.version == Version::Http10 && rest == body,
                    "the end of this body cannot be found"
                );
                return;
            }
        }
        assert!(rest.is_empty(), "bytes that belong to no response");
    }
}

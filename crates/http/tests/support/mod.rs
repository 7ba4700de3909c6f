//! A server around a connection, without sockets: it reads each body whole and answers 200.

pub mod corpus;

use std::sync::Arc;

use tidegate_http::{
    BodyLength, Connection, Event, Limits, RequestFault, RequestHead, ResponseEnd, ResponseHead, SendContext,
};

/// A request as an application would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Vec<u8>,
    pub host: Option<Vec<u8>>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    pub complete: bool,
}

impl Seen {
    fn new(head: &RequestHead) -> Self {
        Self {
            method: head.method().to_owned(),
            target: head.target().to_owned(),
            path: head.path().to_owned(),
            query: head.query().to_owned(),
            host: head.authority().map(<[u8]>::to_owned),
            fields: owned(head.fields()),
            body: Vec::new(),
            trailers: Vec::new(),
            complete: false,
        }
    }
}

fn owned<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What a conversation came to. Equal for equal bytes, however they were cut on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    pub requests: Vec<Seen>,
    pub statuses: Vec<u16>,
    pub interim: usize,
    pub fault: Option<RequestFault>,
    pub closed: bool,
}

/// The server's end of a conversation.
pub struct Server {
    pub connection: Connection,
    pub conversation: Conversation,
    pub out: Vec<u8>,
    /// What the client does when it sees "100 Continue".
    pub on_continue: Vec<u8>,
}

pub const CONTEXT: SendContext<'static> = SendContext {
    date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    server: Some(b"tidegate"),
    extra: None,
    close: false,
};

impl Server {
    pub fn new(limits: Limits) -> Self {
        Self {
            connection: Connection::new(Arc::new(limits)),
            conversation: Conversation::default(),
            out: Vec::new(),
            on_continue: Vec::new(),
        }
    }

    pub fn receive(&mut self, data: &[u8]) {
        if !self.conversation.closed {
            self.connection.receive(data);
            self.serve();
        }
    }

    pub fn receive_eof(&mut self) {
        self.connection.receive_eof();
        if !self.conversation.closed {
            self.serve();
        }
    }

    fn serve(&mut self) {
        loop {
            match self.connection.next_event() {
                Ok(Event::NeedData) => {
                    if !self.on_continue.is_empty() && self.connection.send_continue(&mut self.out) {
                        self.conversation.interim += 1;
                        let body = std::mem::take(&mut self.on_continue);
                        self.connection.receive(&body);
                        continue;
                    }
                    return;
                }
                Ok(Event::Request(head)) => self.conversation.requests.push(Seen::new(&head)),
                Ok(Event::Data(data)) => {
                    assert!(!data.is_empty(), "data without bytes");
                    self.conversation.requests.last_mut().expect("a request").body.extend_from_slice(data);
                }
                Ok(Event::End(trailers)) => {
                    let seen = self.conversation.requests.last_mut().expect("a request");
                    seen.trailers = owned(trailers.fields());
                    seen.complete = true;
                    self.answer();
                    if !self.connection.start_next() {
                        assert!(self.connection.must_close());
                        self.conversation.closed = true;
                        return;
                    }
                }
                Ok(Event::Paused) => panic!("paused after the response was complete"),
                Ok(Event::Closed) => {
                    self.conversation.closed = true;
                    return;
                }
                Err(fault) => {
                    self.conversation.fault = Some(fault);
                    assert!(self.connection.send_fault(&fault, &CONTEXT, &mut self.out));
                    assert!(self.connection.must_close() && !self.connection.start_next());
                    assert_eq!(self.connection.next_event().unwrap_err(), fault, "a fault stays");
                    self.conversation.statuses.push(fault.status());
                    self.conversation.closed = true;
                    return;
                }
            }
        }
    }

    fn answer(&mut self) {
        let head = ResponseHead::new(200, b"OK").expect("a status");
        self.connection.send_head(&head, BodyLength::Known(2), &CONTEXT, &mut self.out).expect("in order");
        let framed = self.connection.frame_data(2, &mut self.out).expect("in order");
        self.out.extend_from_slice(&b"ok"[..framed.take]);
        assert_eq!(
            self.connection.send_end(&tidegate_http::ResponseTrailers::NONE, &mut self.out),
            Ok(ResponseEnd::Complete)
        );
        self.conversation.statuses.push(200);
    }
}

/// A conversation in which the client sends these pieces one after the other.
pub fn converse<'a>(
    limits: Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    eof: bool,
    on_continue: &[u8],
) -> Conversation {
    let mut server = Server::new(limits);
    server.on_continue = on_continue.to_owned();
    for piece in pieces {
        server.receive(piece);
    }
    if eof {
        server.receive_eof();
    }
    server.conversation
}

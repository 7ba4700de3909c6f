//! What a connection yields.

use crate::field::FieldList;
use crate::h1::RequestHead;

/// The next thing that the peer's bytes mean.
#[derive(Debug)]
pub enum Event<'a> {
    /// More bytes are needed: receive and ask again.
    NeedData,
    /// A request's head. [`Event::End`] follows in any case, [`Event::Data`] before it if there is a body.
    Request(RequestHead),
    /// Decoded body bytes, at least one. They are spent with the next call.
    Data(&'a [u8]),
    /// The request is wholly read. Comes once for every request, with or without a body.
    End(Trailers),
    /// The request is wholly read, and nothing more is parsed before [`start_next`](crate::Connection::start_next).
    Paused,
    /// The peer has closed its side between two requests: there will be no more.
    Closed,
}

/// The fields after a chunked body (RFC 9112 section 7.1.2). Fields that decide about framing, routing, credentials or
/// content are never among them: a peer that sends one is refused.
#[derive(Debug, Default)]
pub struct Trailers {
    list: FieldList,
}

impl Trailers {
    pub(crate) fn new(list: FieldList) -> Self {
        Self { list }
    }

    /// Names as sent, and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter()
    }

    /// The first value of a name, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.list.get(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.len() == 0
    }
}

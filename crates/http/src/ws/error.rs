//! Who did what wrong: the peer in its handshake ([`HandshakeFault`]) or later ([`Fault`]), the application ([`AcceptFault`]).
//! The texts are constant: none repeats what was sent.

use std::fmt;

/// The peer asked for a WebSocket in a way that cannot be answered with one. HTTP goes on, as far as the status lets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// The request is not HTTP/1.1.
    Version,
    /// The method is not GET.
    Method,
    /// `upgrade` is not among the members of Connection.
    Connection,
    /// The request has a body.
    Body,
    /// Sec-WebSocket-Version is not 13, absent or repeated.
    ProtocolVersion,
    /// Sec-WebSocket-Key is not 16 bytes in base64, absent or repeated.
    Key,
    /// Sec-WebSocket-Extensions is malformed.
    Extensions,
    /// The application speaks HTTP alone. The caller's to find; in HTTP/1.1, where such a request is one like any other, it is none.
    NotSpoken,
}

impl HandshakeFault {
    /// The status to answer with: 400, or 426 for a version that is not spoken here, or 501 where none is.
    pub fn status(&self) -> u16 {
        self.answer().0
    }

    /// The one place that maps faults to statuses, and to the rule that was broken.
    fn answer(self) -> (u16, &'static str) {
        match self {
            Self::Version => (400, "a WebSocket begins with an HTTP/1.1 request (RFC 6455 section 4.1)"),
            Self::Method => (400, "a WebSocket begins with a GET request (RFC 6455 section 4.1)"),
            Self::Connection => {
                (400, "upgrade is named in Connection as well as in Upgrade (RFC 6455 section 4.1)")
            }
            Self::Body => (400, "the request for a WebSocket has no body (RFC 6455 section 4.1)"),
            Self::ProtocolVersion => {
                (426, "the one version of WebSocket spoken here is 13 (RFC 6455 section 4.4)")
            }
            Self::Key => (400, "Sec-WebSocket-Key is 16 bytes in base64, once (RFC 6455 section 4.1)"),
            Self::NotSpoken => (501, "the application speaks no WebSocket (RFC 8441 section 4)"),
            Self::Extensions => (400, "Sec-WebSocket-Extensions is malformed (RFC 6455 section 9.1)"),
        }
    }

    /// The reason phrase of [`HandshakeFault::status`].
    pub(crate) fn reason(&self) -> &'static str {
        match self.status() {
            426 => "Upgrade Required",
            501 => "Not Implemented",
            _ => "Bad Request",
        }
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.answer().1)
    }
}

impl std::error::Error for HandshakeFault {}

/// The application accepted a WebSocket with something that must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptFault {
    /// The client has not offered this subprotocol.
    Subprotocol,
    /// The field's name is empty or not a token.
    FieldName,
    /// The field's value holds a control character.
    FieldValue,
    /// The field is the server's to set, or has no place in this response.
    FieldReserved,
}

impl fmt::Display for AcceptFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subprotocol => "a subprotocol is one that the client has offered (RFC 6455 section 4.2.2)",
            Self::FieldName => "a field name is a token (RFC 9110 section 5.1)",
            Self::FieldValue => "a field value holds no control characters (RFC 9110 section 5.5)",
            Self::FieldReserved => {
                "fields of the handshake, the connection and a body are not the application's to set \
                 (RFC 6455 section 4.2.2)"
            }
        })
    }
}

impl std::error::Error for AcceptFault {}

/// The peer broke a rule. What follows on its connection is never parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A reserved bit is set that no extension gives a meaning.
    ReservedBits,
    /// An opcode that is not known.
    Opcode,
    /// A frame without a mask.
    Unmasked,
    /// A length in more bytes than it needs.
    LengthForm,
    /// A length whose highest bit is set.
    LengthRange,
    /// A control frame in fragments.
    ControlFragmented,
    /// A control frame with more than 125 bytes.
    ControlTooLarge,
    /// A continuation of no message.
    ContinuationUnexpected,
    /// A message within another.
    ContinuationMissing,
    /// Close with a payload of one byte.
    CloseLength,
    /// Close with a code that must not be sent.
    CloseCode,
    /// Close with a reason that is not UTF-8.
    CloseReason,
    /// Text that is not UTF-8.
    Text,
    /// A compressed message that cannot be decompressed.
    Compression,
    /// A frame larger than the limit.
    FrameTooLarge,
    /// A message larger than the limit.
    MessageTooLarge,
}

impl Fault {
    /// The code to close with (RFC 6455 section 7.4.1).
    pub fn code(&self) -> u16 {
        self.answer().0
    }

    /// The one place that maps faults to close codes, and to the rule that was broken.
    fn answer(self) -> (u16, &'static str) {
        match self {
            Self::ReservedBits => {
                (1002, "reserved bits are zero unless an extension defines them (RFC 6455 section 5.2)")
            }
            Self::Opcode => (1002, "the opcode is a reserved one (RFC 6455 section 5.2)"),
            Self::Unmasked => (1002, "frames of a client are masked (RFC 6455 section 5.1)"),
            Self::LengthForm => {
                (1002, "a length is written in as few bytes as it needs (RFC 6455 section 5.2)")
            }
            Self::LengthRange => (1002, "the highest bit of a length is zero (RFC 6455 section 5.2)"),
            Self::ControlFragmented => (1002, "control frames are not fragmented (RFC 6455 section 5.5)"),
            Self::ControlTooLarge => {
                (1002, "control frames have a payload of 125 bytes at most (RFC 6455 section 5.5)")
            }
            Self::ContinuationUnexpected => (1002, "there is no message to continue (RFC 6455 section 5.4)"),
            Self::ContinuationMissing => {
                (1002, "a message ends before the next one begins (RFC 6455 section 5.4)")
            }
            Self::CloseLength => {
                (1002, "Close has no payload or one that begins with a code (RFC 6455 section 5.5.1)")
            }
            Self::CloseCode => (1002, "the code of Close must not be sent (RFC 6455 section 7.4)"),
            Self::CloseReason => (1007, "the reason of Close is UTF-8 (RFC 6455 section 5.5.1)"),
            Self::Text => (1007, "text is UTF-8 (RFC 6455 section 8.1)"),
            Self::Compression => (1007, "a compressed message is DEFLATE data (RFC 7692 section 7.2.2)"),
            Self::FrameTooLarge => (1009, "the frame is larger than the limit (RFC 6455 section 10.4)"),
            Self::MessageTooLarge => (1009, "the message is larger than the limit (RFC 6455 section 10.4)"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.answer().1)
    }
}

impl std::error::Error for Fault {}

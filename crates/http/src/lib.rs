//! HTTP/1.1 and WebSockets for servers, as bytes and events.
//!
//! A [`Connection`] is fed with what the socket brought ([`Connection::receive`]), asked what that means
//! ([`Connection::next_event`]) and told what to answer ([`Connection::send_head`], [`Connection::frame_data`],
//! [`Connection::send_end`]), which it turns into bytes. It refuses to know sockets, clocks, threads and applications:
//! the date comes in as an argument, deadlines are the caller's, and so is what a request means.
//!
//! | module | what is in it |
//! |---|---|
//! | `h1` | the connection: its states, heads, framing and bodies |
//! | `cgi` | requests that front servers hand on as CGI variables: uwsgi, SCGI, FastCGI |
//! | `stream` | one request and its response where many share a connection |
//! | `event` | what a connection yields |
//! | `error` | who did what wrong: the peer ([`RequestFault`]), the application ([`HeadFault`]), the caller ([`SendFault`]) |
//! | `limits` | how much a peer may send, with the reason for each number |
//! | `field` | names and values: which bytes they may hold, and lists of them |
//! | `forwarded` | what servers in front say of a request |
//! | [`proxy`] | the PROXY protocol, which may come before all else |
//! | `trace` | which trace a request belongs to |
//! | [`coding`] | compression of responses: negotiation, what heads say, the compressors |
//! | [`ws`] | WebSockets: the handshake, frames, messages, compression |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod cgi;
pub mod coding;
mod error;
mod event;
mod field;
mod forwarded;
mod h1;
mod limits;
pub mod proxy;
mod stream;
mod trace;
pub mod ws;

pub use cgi::Dialect;
pub use cgi::fastcgi::ResponseRecords;
pub use error::{HeadFault, RequestFault, SendFault};
pub use event::{Event, Trailers};
pub use forwarded::{Forwarded, ForwardedFact, ForwardedFields, ForwardedRules, is_forwarded_field};
pub use h1::{
    Assembly, BodyKind, BodyLength, Connection, FieldOutcome, Framed, RequestHead, ResponseEnd, ResponseHead,
    ResponseTrailers, SendContext, TargetForm, Version, is_same_variable,
};
pub use limits::{Limits, UnderscoreNames};
pub use stream::Stream;
pub use trace::TraceParent;

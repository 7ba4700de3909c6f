//! HTTP/2 (RFC 9113), by the `h2` crate, which is turned by the reactor: no runtime, and no task but a connection.
//!
//! | module | what is in it |
//! |---|---|
//! | `session` | a connection that carries streams: what the crate's connection is driven by |
//! | `line` | the bytes of such a connection, between the crate and the socket |
//! | `meter` | how much of what a peer sends leads nowhere |
//! | `stream` | one stream: what carries the bytes of one request and its response |
//! | `head` | heads of requests and of responses, as the crate has them |

mod head;
mod line;
mod meter;
mod session;
mod stream;

pub(crate) use head::Fields;
pub(crate) use session::{Opened, Session};
pub(crate) use stream::Stream;

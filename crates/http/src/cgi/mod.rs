//! Requests that a front server hands on as CGI variables (RFC 3875 section 4.1), and the protocols that carry them.
//!
//! - `uwsgi`, `scgi`: where a request's variables are in the input.
//! - `fastcgi`: the records in which FastCGI has them, and all else.
//! - `head`: the request's head, made of its variables.
//!
//! They are spoken by front servers that are trusted, but hand on much of what clients say: what an HTTP client could get wrong is judged
//! as in HTTP.

pub(crate) mod fastcgi;
mod head;
mod scgi;
mod uwsgi;

use std::ops::Range;

use crate::error::RequestFault;
use crate::field::{FieldList, FieldSpan, Span};
use crate::h1::RequestHead;
use crate::limits::Limits;
pub(crate) use head::Variables;

/// Variables that a request may have beside as many as it may have fields: what a front server says of its own. nginx does with 15,
/// Apache with all that mod_ssl knows with 60.
const OWN_VARIABLES_MAX: usize = 100;

/// How a listener's peers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// uWSGI's protocol: answered as in HTTP, but never in chunks.
    Uwsgi,
    /// SCGI: answered as by a CGI script (RFC 3875 section 6).
    Scgi,
    /// FastCGI: the same in records, so that the connection can be kept.
    FastCgi,
}

/// A request's variables at the beginning of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    variables: Range<usize>,
    /// What comes before the body.
    size: usize,
    /// PATH_INFO begins with SCRIPT_NAME, which is to be taken off.
    strips_script_name: bool,
}

impl Packet {
    /// Looks for one that is complete.
    pub(crate) fn find(
        dialect: Dialect,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<Self>, RequestFault> {
        let found = if dialect == Dialect::Scgi { scgi::find(input) } else { uwsgi::find(input) };
        let Some(packet) = found.map_err(|fault| told_apart(input, fault))? else { return Ok(None) };
        if packet.size > limits.head_size_max {
            return Err(RequestFault::HeadTooLarge);
        }
        Ok((packet.size <= input.len()).then_some(packet))
    }

    /// Bytes of it.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Reads it; `bytes` is the packet and nothing else.
    pub(crate) fn read(
        self,
        dialect: Dialect,
        bytes: Vec<u8>,
        limits: &Limits,
    ) -> Result<RequestHead, RequestFault> {
        let mut pairs = Pairs::new(limits);
        if dialect == Dialect::Scgi {
            scgi::list(&bytes, self.variables, &mut pairs)?;
        } else {
            uwsgi::list(&bytes, self.variables, &mut pairs)?;
        }
        head::read(FieldList { bytes, spans: pairs.spans }, self.strips_script_name, limits)
    }
}

/// Reads what FastCGI has in its records.
pub(crate) fn read_params(bytes: Vec<u8>, limits: &Limits) -> Result<RequestHead, RequestFault> {
    let mut pairs = Pairs::new(limits);
    fastcgi::list(&bytes, &mut pairs)?;
    head::read(FieldList { bytes, spans: pairs.spans }, false, limits)
}

/// Names and values, as they are found.
struct Pairs {
    spans: Vec<FieldSpan>,
    count_max: usize,
}

impl Pairs {
    fn new(limits: &Limits) -> Self {
        let count_max = limits.field_count_max.saturating_add(OWN_VARIABLES_MAX);
        Self { spans: Vec::with_capacity(32), count_max }
    }

    fn push(&mut self, name: Range<usize>, value: Range<usize>) -> Result<(), RequestFault> {
        if self.spans.len() == self.count_max {
            return Err(RequestFault::TooManyVariables);
        }
        if name.is_empty() {
            return Err(RequestFault::Variables);
        }
        let span = |range: Range<usize>| Span::new(range.start, range.end);
        self.spans.push(FieldSpan { name: span(name), value: span(value) });
        Ok(())
    }
}

/// Says of what is none of these protocols what it seems to be.
fn told_apart(input: &[u8], fault: RequestFault) -> RequestFault {
    match input.first() {
        Some(b'A'..=b'Z') => RequestFault::PlainHttp,
        Some(0x16) => RequestFault::PlainTls,
        _ => fault,
    }
}

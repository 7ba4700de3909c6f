//! Heads of requests and of responses, as the `h2` crate has them.
//!
//! The crate has refused what is not HTTP/2: names in upper case, fields about the connection, pseudo-fields that are missing, repeated or
//! not known (RFC 9113 sections 8.2 and 8.3).

use h2::ext;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tidegate_http::{Assembly, Limits, RequestFault, RequestHead, ResponseTrailers, Version};

/// Puts together the head of a request. `goes_on`: a body may follow.
pub(super) fn of_request(parts: &Parts, goes_on: bool, limits: &Limits) -> Result<RequestHead, RequestFault> {
    let protocol = parts.extensions.get::<ext::Protocol>().map(ext::Protocol::as_str);
    let method = match protocol {
        // It is what would be asked of HTTP/1.1 (RFC 8441 section 5).
        Some("websocket") => "GET",
        Some(_) => return Err(RequestFault::Connect),
        // It asks nobody for anything (RFC 9113 section 8.5).
        None if parts.method == Method::CONNECT && parts.uri.authority().is_none() => {
            return Err(RequestFault::HostMissing);
        }
        None if parts.method == Method::CONNECT => return Err(RequestFault::Connect),
        None => parts.method.as_str(),
    };
    let of = Assembly {
        method: method.as_bytes(),
        target: parts.uri.path_and_query().map_or("", |target| target.as_str()).as_bytes(),
        authority: parts.uri.authority().map(|authority| authority.as_str().as_bytes()),
        version: Version::Http2,
        goes_on: goes_on && protocol.is_none(),
    };
    if parts.headers.values().any(is_padded) {
        return Err(RequestFault::FieldSyntax);
    }
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let head = RequestHead::assemble(&of, fields, limits)?;
    Ok(if protocol.is_some() { head.asking_for_websocket() } else { head })
}

/// There is no space around a value (RFC 9113 section 8.2.1).
fn is_padded(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Whether a request is to be taken for no HTTP/2 at all (RFC 9113 section 8.1.1), instead of being answered.
pub(super) fn is_malformed(fault: &RequestFault) -> bool {
    fault.status() == 400 && *fault != RequestFault::UnderscoreName
}

/// Fields of a head that is put together.
#[derive(Debug)]
pub(crate) struct Fields(HeaderMap);

impl Fields {
    pub(crate) fn new() -> Self {
        // What most responses have; one more would take twice the memory.
        Self(HeaderMap::with_capacity(6))
    }

    /// Adds a field, which is valid.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            self.0.append(name, value);
        }
    }

    pub(super) fn into_response(self, status: u16) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.0;
        response
    }

    pub(super) fn of_trailers(trailers: &ResponseTrailers) -> HeaderMap {
        let mut fields = Self::new();
        trailers.fields().for_each(|(name, value)| fields.push(name, value));
        fields.0
    }
}

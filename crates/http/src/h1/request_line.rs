//! The request line (RFC 9112 section 3), judged as soon as it is whole: a peer that speaks another protocol may never send a blank line.

use memchr::memchr;

use crate::error::RequestFault;
use crate::field::{Span, is_tchar, is_token};
use crate::h1::authority::split_port;

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As CGI's SERVER_PROTOCOL has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// The forms of a request target (RFC 9112 section 3.2). The authority form goes with CONNECT only, which is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// The methods with a name of their own here; the rest keep theirs in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Other(Span),
}

/// A valid request line. Offsets count from its first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine {
    pub(super) method: Method,
    pub(super) target: Span,
    pub(super) scheme: Span,
    pub(super) authority: Span,
    pub(super) path: Span,
    pub(super) query: Span,
    /// With the CRLF.
    pub(super) size: u32,
    pub(crate) version: Version,
    pub(super) form: TargetForm,
}

impl RequestLine {
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// Reads a line that ends in CRLF (RFC 9112 section 3): exactly one SP between its parts.
    pub(crate) fn parse(with_end: &[u8]) -> Result<Self, RequestFault> {
        let line = with_end.strip_suffix(b"\r\n").ok_or(RequestFault::LineEnd)?;
        let method_end = line.iter().position(|&byte| !is_tchar(byte)).ok_or(RequestFault::RequestLine)?;
        if method_end == 0 || line[method_end] != b' ' {
            return Err(RequestFault::Method);
        }
        let target_start = method_end + 1;
        let target_size = line[target_start..]
            .iter()
            .position(|&byte| !TARGET_CHAR[byte as usize])
            .ok_or(RequestFault::RequestLine)?;
        let target_end = target_start + target_size;
        if line[target_end] != b' ' {
            return Err(RequestFault::Target);
        }
        let version = match &line[target_end + 1..] {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            b"HTTP/2.0" if line == b"PRI * HTTP/2.0" => return Err(RequestFault::Http2Preface),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(RequestFault::Version);
            }
            _ => return Err(RequestFault::RequestLine),
        };
        Self::of_parts(
            line,
            Span::new(0, method_end),
            Span::new(target_start, target_end),
            version,
            with_end.len(),
        )
    }

    /// The same of parts that came otherwise than in a line.
    pub(crate) fn of(
        bytes: &[u8],
        method: Span,
        target: Span,
        version: Version,
    ) -> Result<Self, RequestFault> {
        if !is_token(method.in_bytes(bytes)) {
            return Err(RequestFault::Method);
        }
        let target_bytes = target.in_bytes(bytes);
        if target_bytes.is_empty() || target_bytes.iter().any(|&byte| !TARGET_CHAR[byte as usize]) {
            return Err(RequestFault::Target);
        }
        Self::of_parts(bytes, method, target, version, 0)
    }

    /// Takes apart what holds no byte that it may not.
    #[inline(always)]
    fn of_parts(
        bytes: &[u8],
        method_span: Span,
        target_span: Span,
        version: Version,
        size: usize,
    ) -> Result<Self, RequestFault> {
        let target_bytes = target_span.in_bytes(bytes);
        let (target_start, target_end) = target_span.ends();
        let method = match method_span.in_bytes(bytes) {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"CONNECT" => return Err(RequestFault::Connect),
            _ => Method::Other(method_span),
        };
        let (mut form, mut scheme, mut authority) = (TargetForm::Origin, Span::default(), Span::default());
        let mut path_start = target_start;
        match target_bytes {
            [b'/', ..] => {}
            b"*" if method == Method::Options => form = TargetForm::Asterisk,
            _ => {
                form = TargetForm::Absolute;
                let (scheme_end, authority_end) = split_absolute(target_bytes)?;
                scheme = Span::new(target_start, target_start + scheme_end);
                path_start = target_start + authority_end;
                authority = Span::new(target_start + scheme_end + b"://".len(), path_start);
            }
        }
        let query_mark =
            memchr(b'?', &bytes[path_start..target_end]).map_or(target_end, |offset| path_start + offset);
        Ok(Self {
            method,
            target: target_span,
            scheme,
            authority,
            path: Span::new(path_start, query_mark),
            query: Span::new((query_mark + 1).min(target_end), target_end),
            size: size as u32,
            version,
            form,
        })
    }
}

/// Printable ASCII without the fragment, which is never sent (RFC 9112 section 3.2).
static TARGET_CHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_graphic() && byte as u8 != b'#';
        byte += 1;
    }
    table
};

/// Whether a request line can begin with this byte. Peers that speak another protocol (TLS, most of all) are told at once.
pub(crate) fn may_begin_request(byte: u8) -> bool {
    is_tchar(byte)
}

/// The ends of the scheme and of the authority in `http://authority/path` (RFC 9112 section 3.2.2).
fn split_absolute(target: &[u8]) -> Result<(usize, usize), RequestFault> {
    let scheme_end = memchr(b':', target).ok_or(RequestFault::Target)?;
    let (scheme, rest) = target.split_at(scheme_end);
    let rest = rest.strip_prefix(b"://").ok_or(RequestFault::Target)?;
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(RequestFault::TargetAuthority);
    }
    let authority_size = rest.iter().position(|&byte| byte == b'/' || byte == b'?').unwrap_or(rest.len());
    // An empty host must be rejected (RFC 9110 section 4.2.1), and user information with it (section 4.2.4).
    match split_port(&rest[..authority_size]) {
        Some((host, _)) if !host.is_empty() => Ok((scheme_end, scheme_end + b"://".len() + authority_size)),
        _ => Err(RequestFault::TargetAuthority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_target_is_of_an_http_scheme() {
        assert_eq!(split_absolute(b"hTTp://a:1/b?c:d"), Ok((4, 10)));
        assert_eq!(split_absolute(b"https://a?b/c"), Ok((5, 9)));
        for target in ["ftp://a/", "ws://a/", "://a/", "http://", "http:///a", "http://:80/", "http://u@a/"] {
            assert_eq!(split_absolute(target.as_bytes()), Err(RequestFault::TargetAuthority), "{target}");
        }
        for target in ["a", "http:a", "http:/a", "h:443"] {
            assert_eq!(split_absolute(target.as_bytes()), Err(RequestFault::Target), "{target}");
        }
    }
}

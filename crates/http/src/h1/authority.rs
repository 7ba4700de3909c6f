//! The authority of a request: a host and its port.

use memchr::memchr;

use crate::field::parse_length;

/// Splits `uri-host [ ":" port ]` (RFC 9110 section 4.2); `None` if it is anything else. An absent and an empty port are the
/// same, and so is no number.
pub(crate) fn split_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_size = match authority {
        [b'[', rest @ ..] => {
            // An IP-literal: the digits, colons and dots of an IPv6 address. Zones and future versions are not used in http.
            let inside = memchr(b']', rest)?;
            let valid = inside >= 2
                && rest[..inside]
                    .iter()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':' | b'.'));
            if !valid {
                return None;
            }
            inside + 2
        }
        _ => authority.iter().position(|&byte| !HOST_CHAR[byte as usize]).unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_size);
    match port {
        [] | b":" => Some((host, None)),
        [b':', digits @ ..] => {
            let number = parse_length(digits)?;
            Some((host, Some(u16::try_from(number).ok()?)))
        }
        _ => None,
    }
}

/// The bytes of a reg-name (RFC 3986 section 3.2.2) without the comma: a Host with one in it is two Hosts that somebody has
/// joined.
static HOST_CHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'%'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
};

/// Whether Host names the authority of the target: in any case, with the default port the same as none.
pub(super) fn same_authority(host: &[u8], authority: &[u8], scheme: &[u8]) -> bool {
    let default_port = if scheme.len() == b"https".len() { 443 } else { 80 };
    match (split_port(host), split_port(authority)) {
        (Some((host, port)), Some((other, other_port))) => {
            host.eq_ignore_ascii_case(other)
                && port.unwrap_or(default_port) == other_port.unwrap_or(default_port)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for (authority, host, port) in [
            ("a", "a", None),
            ("a:", "a", None),
            ("a:80", "a", Some(80)),
            ("a:00080", "a", Some(80)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1.2.3.4]:1", "[2001:db8::1.2.3.4]", Some(1)),
            ("my_app", "my_app", None),
            ("a%20b", "a%20b", None),
            ("", "", None),
            (":80", "", Some(80)),
        ] {
            assert_eq!(split_port(authority.as_bytes()), Some((host.as_bytes(), port)), "{authority}");
        }
        for authority in [
            "a b", "a,b", "a/b", "u@a", "a:b", "a:65536", "a:-1", "a:1:2", "[", "[]", "[:", "[::1", "[::1]x",
            "[::g]", "::1", "a\\b", "a#b", "a?b", "a\"b", "<a>", "a:8 0",
        ] {
            assert_eq!(split_port(authority.as_bytes()), None, "{authority}");
        }
    }

    #[test]
    fn authorities_are_the_same_in_any_case_and_with_the_default_port() {
        for (host, authority, scheme, same) in [
            ("a", "A", "http", true),
            ("a:80", "a", "http", true),
            ("a", "a:443", "HTTPS", true),
            ("a:", "a:443", "https", true),
            ("a:80", "a", "https", false),
            ("a:8080", "a", "http", false),
            ("a", "b", "http", false),
            ("", "a", "http", false),
        ] {
            assert_eq!(
                same_authority(host.as_bytes(), authority.as_bytes(), scheme.as_bytes()),
                same,
                "{host} {authority}"
            );
        }
    }
}

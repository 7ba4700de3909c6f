//! What servers in front say of a request: `Forwarded` (RFC 7239), or the `X-Forwarded-*` fields that came before it.
//!
//! Lists of hops are read from their end, where the nearest server has written: what stands before the first hop that is not itself
//! trusted is only a client's word.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use crate::error::RequestFault;
use crate::field::{is_tchar, is_token, trim};
use crate::h1::{RequestHead, split_port};

/// Which fields are believed. Only one kind is: a server in front that sets one passes the other on as a client has sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedFields {
    /// `X-Forwarded-For` and its like.
    XForwarded,
    /// `Forwarded`.
    Forwarded,
}

/// What they can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedFact {
    /// Who asks.
    For,
    /// The scheme that was asked by.
    Proto,
    /// Whom the request was for.
    Host,
    /// The port that was asked. `Forwarded` has it with the host.
    Port,
    /// What was taken off the path. `Forwarded` does not have it.
    Prefix,
}

/// What is believed.
#[derive(Clone, Debug)]
pub struct ForwardedRules {
    /// In which fields.
    pub fields: ForwardedFields,
    /// Which facts.
    pub facts: Vec<ForwardedFact>,
}

/// What was said of a request, and is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    client: Option<SocketAddr>,
    is_secure: Option<bool>,
    authority: Option<Vec<u8>>,
    prefix: Option<String>,
}

impl Forwarded {
    /// Who asks; port 0 where it is not known.
    pub fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// Whether the client has asked by TLS.
    pub fn is_secure(&self) -> Option<bool> {
        self.is_secure
    }

    /// The host that was asked, as in a URL, and its port; what the port is otherwise depends on the scheme.
    pub fn server(&self) -> Option<(&[u8], Option<u16>)> {
        split_port(self.authority.as_deref()?)
    }

    /// Whom the request was for, as a Host field has it.
    pub(crate) fn authority(&self) -> Option<&[u8]> {
        self.authority.as_deref()
    }

    /// What was taken off the path: from a slash to the end of a segment, and nothing in it that would be percent-encoded.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Reads the head of a request that a trusted server has sent.
    pub(crate) fn read(
        head: &RequestHead,
        rules: &ForwardedRules,
        is_encrypted: bool,
        is_trusted: impl Fn(IpAddr) -> bool,
    ) -> Result<Option<Self>, RequestFault> {
        let said = match rules.fields {
            ForwardedFields::XForwarded => x_forwarded(head, &rules.facts, is_encrypted, is_trusted),
            ForwardedFields::Forwarded => forwarded(head, &rules.facts, is_encrypted, is_trusted),
        };
        let said = said.ok_or(RequestFault::Forwarded)?;
        Ok((said != Self::default()).then_some(said))
    }
}

/// Whether a field is one that servers in front set, or that is taken for one.
pub fn is_forwarded_field(name: &[u8]) -> bool {
    const COMMON: &[u8] = b"x-forwarded-";
    // CGI cannot tell `_` from `-`.
    let is_like = |name: &[u8], other: &[u8]| crate::h1::is_same_variable(name, other);
    match name.len() {
        0..=8 => false,
        9 => is_like(name, b"forwarded") || is_like(name, b"x-real-ip"),
        _ => name.get(..COMMON.len()).is_some_and(|begin| is_like(begin, COMMON)),
    }
}

/// `None` for what is malformed.
fn x_forwarded(
    head: &RequestHead,
    facts: &[ForwardedFact],
    is_encrypted: bool,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<Forwarded> {
    let wants = |fact| facts.contains(&fact);
    let mut said = Forwarded::default();
    if wants(ForwardedFact::For) {
        let values: Vec<_> = values(head, "x-forwarded-for").collect();
        let hops = values.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
        let hops = hops.map(trim).filter(|hop| !hop.is_empty());
        said.client = walk(hops.map(Node::parse), is_trusted)?.0;
    }
    if wants(ForwardedFact::Proto) {
        said.is_secure =
            last(head, "x-forwarded-proto").map_or(Some(None), |value| scheme(value).map(Some))?;
    }
    let host = last(head, "x-forwarded-host").filter(|_| wants(ForwardedFact::Host));
    let port = last(head, "x-forwarded-port").filter(|_| wants(ForwardedFact::Port));
    if host.is_some() || port.is_some() {
        let port = port.map_or(Some(None), |digits| port_number(digits).map(Some))?;
        let host = host.or(head.authority()).unwrap_or_default();
        said.authority = authority(host, port, said.is_secure.unwrap_or(is_encrypted))?;
    }
    if wants(ForwardedFact::Prefix) {
        said.prefix = last(head, "x-forwarded-prefix").map_or(Some(None), prefix)?;
    }
    Some(said)
}

/// `None` for what is malformed.
fn forwarded(
    head: &RequestHead,
    facts: &[ForwardedFact],
    is_encrypted: bool,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<Forwarded> {
    let mut elements = Vec::new();
    for value in values(head, "forwarded") {
        parse_elements(value, &mut elements)?;
    }
    let wants = |fact| facts.contains(&fact);
    let hops = elements.iter().rev().map(|element| match &element.node {
        Some(node) => Node::parse(node),
        // Who has sent it is not said, and so not whether what stands before is to be believed.
        None => Some(Node::Hidden),
    });
    let (client, count) = walk(hops, is_trusted)?;
    // The first is nearest to the client; what it leaves out, the next may say.
    let mut believed = elements.get(elements.len() - count..)?.iter();
    let mut said = Forwarded { client: client.filter(|_| wants(ForwardedFact::For)), ..Forwarded::default() };
    if wants(ForwardedFact::Proto) {
        let proto = believed.clone().find_map(|element| element.proto.as_deref());
        said.is_secure = proto.map_or(Some(None), |value| scheme(value).map(Some))?;
    }
    if wants(ForwardedFact::Host)
        && let Some(host) = believed.find_map(|element| element.host.as_deref())
    {
        said.authority = authority(host, None, said.is_secure.unwrap_or(is_encrypted))?;
    }
    Some(said)
}

fn values<'a>(head: &'a RequestHead, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    head.fields()
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// What the nearest server says, where each may have added a value of its own.
fn last<'a>(head: &'a RequestHead, name: &'static str) -> Option<&'a [u8]> {
    let value = values(head, name).last()?;
    value.rsplit(|&byte| byte == b',').next().map(trim).filter(|value| !value.is_empty())
}

/// One hop: who has sent the request to the server that says so (RFC 7239 section 6).
#[derive(Debug, PartialEq, Eq)]
enum Node {
    Address(SocketAddr),
    /// `unknown`, or a name that means something to that server only.
    Hidden,
}

impl Node {
    /// Also an IPv6 address without brackets, as `X-Forwarded-For` has them.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Address(SocketAddr::new(address.to_canonical(), 0)));
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, port) = rest.split_once(']')?;
                let address: Ipv6Addr = inside.parse().ok()?;
                (Some(IpAddr::V6(address)), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let is_hidden = name.eq_ignore_ascii_case("unknown") || is_obfuscated(name);
                (if is_hidden { None } else { Some(IpAddr::V4(name.parse().ok()?)) }, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => 0,
            None => return None,
            Some(port) if is_obfuscated(port) => 0,
            Some(port) => port_number(port.as_bytes())?,
        };
        Some(
            name.map_or(Self::Hidden, |address| Self::Address(SocketAddr::new(address.to_canonical(), port))),
        )
    }
}

fn is_obfuscated(text: &str) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    matches!(text.as_bytes(), [b'_', rest @ ..] if !rest.is_empty() && rest.iter().all(allowed))
}

/// From the nearest hop to the first that is not trusted, who is the client, and how many hops that are. Where a hop is hidden, the one
/// before it is the last that is known.
fn walk(
    hops: impl Iterator<Item = Option<Node>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<(Option<SocketAddr>, usize)> {
    let (mut client, mut count) = (None, 0);
    for hop in hops {
        count += 1;
        match hop? {
            Node::Hidden => break,
            Node::Address(address) => {
                client = Some(address);
                if !is_trusted(address.ip()) {
                    break;
                }
            }
        }
    }
    Some((client, count))
}

/// Whether it is that of TLS. A request for a WebSocket may have its own.
fn scheme(value: &[u8]) -> Option<bool> {
    let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("https") || is("wss") => Some(true),
        () if is("http") || is("ws") => Some(false),
        () => None,
    }
}

fn port_number(digits: &[u8]) -> Option<u16> {
    let is_short = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_short)?.parse().ok().filter(|&port| port != 0)
}

/// The host, and the port in place of its own if one is said. The scheme's own port is left out.
fn authority(host: &[u8], port: Option<u16>, is_secure: bool) -> Option<Option<Vec<u8>>> {
    let (name, own) = split_port(host)?;
    if name.is_empty() {
        // There is no host that the port could be said of.
        return port.map(|_| None);
    }
    let Some(port) = port.or(own) else { return Some(Some(name.into())) };
    let default = if is_secure { 443 } else { 80 };
    let mut authority = name.to_vec();
    if port != default {
        authority.extend_from_slice(format!(":{port}").as_bytes());
    }
    Some(Some(authority))
}

/// A path that is the same percent-decoded. One slash at its end is left out.
fn prefix(value: &[u8]) -> Option<Option<String>> {
    let path = value.strip_suffix(b"/").unwrap_or(value);
    if path.is_empty() {
        return Some(None);
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:@/".contains(byte);
    let is_segment = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..");
    let is_path =
        path.iter().all(allowed) && path.strip_prefix(b"/")?.split(|&byte| byte == b'/').all(is_segment);
    String::from_utf8(path.to_vec()).ok().filter(|_| is_path).map(Some)
}

/// One element of `Forwarded`, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element<'a> {
    node: Option<Cow<'a, [u8]>>,
    host: Option<Cow<'a, [u8]>>,
    proto: Option<Cow<'a, [u8]>>,
}

/// Reads `Forwarded = 1#( [ pair ] *( ";" [ pair ] ) )` (RFC 7239 section 4), all of it: a quote that a client leaves open must not
/// swallow what a server has added.
fn parse_elements<'a>(value: &'a [u8], elements: &mut Vec<Element<'a>>) -> Option<()> {
    let mut rest = trim(value);
    let mut element = Element::default();
    let mut has_pair = false;
    loop {
        if let Some(equals) = rest.iter().position(|&byte| !is_tchar(byte)).filter(|&at| at > 0) {
            let (name, after) = rest.split_at(equals);
            let (value, after) = parse_value(after.strip_prefix(b"=")?)?;
            let slot = match () {
                () if name.eq_ignore_ascii_case(b"for") => Some(&mut element.node),
                () if name.eq_ignore_ascii_case(b"host") => Some(&mut element.host),
                () if name.eq_ignore_ascii_case(b"proto") => Some(&mut element.proto),
                () => None,
            };
            // None occurs more than once (section 4).
            if slot.is_some_and(|slot| slot.replace(value).is_some()) {
                return None;
            }
            has_pair = true;
            rest = trim(after);
        }
        match rest {
            [b';', after @ ..] => rest = trim(after),
            [] | [b',', ..] => {
                if std::mem::take(&mut has_pair) {
                    elements.push(std::mem::take(&mut element));
                }
                match rest {
                    [_, after @ ..] => rest = trim(after),
                    [] => return Some(()),
                }
            }
            _ => return None,
        }
    }
}

/// A token or a quoted string (RFC 9110 section 5.6), and what follows it.
fn parse_value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|&byte| !is_tchar(byte)).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        return is_token(token).then_some((token.into(), rest));
    };
    let end = memchr(b'"', quoted)?;
    if memchr(b'\\', &quoted[..end]).is_none() {
        return Some((quoted[..end].into(), &quoted[end + 1..]));
    }
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    loop {
        match bytes.next()? {
            (at, b'"') => return Some((value.into(), &quoted[at + 1..])),
            (_, b'\\') => value.push(*bytes.next()?.1),
            (_, &byte) => value.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<Node> {
        Some(Node::Address(text.parse().unwrap()))
    }

    #[test]
    fn a_hop_is_an_address_or_hidden() {
        for (text, node) in [
            ("192.0.2.1", address("192.0.2.1:0")),
            ("192.0.2.1:4711", address("192.0.2.1:4711")),
            ("192.0.2.1:_a", address("192.0.2.1:0")),
            ("2001:db8::1", address("[2001:db8::1]:0")),
            ("[2001:db8::1]", address("[2001:db8::1]:0")),
            ("[2001:DB8::1]:80", address("[2001:db8::1]:80")),
            ("::ffff:192.0.2.1", address("192.0.2.1:0")),
            ("[::ffff:192.0.2.1]:5", address("192.0.2.1:5")),
            ("unknown", Some(Node::Hidden)),
            ("Unknown:80", Some(Node::Hidden)),
            ("_hidden.one-2", Some(Node::Hidden)),
            ("_a:_b", Some(Node::Hidden)),
        ] {
            assert_eq!(Node::parse(text.as_bytes()), node, "{text}");
        }
        for bad in [
            "",
            "a",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.1:",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "192.0.2.1:80a",
            "192.0.2.1 ",
            "[192.0.2.1]",
            "[2001:db8::1",
            "[2001:db8::1]80",
            "[]",
            "[::g]",
            "2001:db8::1]:80",
            "fe80::1%eth0",
            "_",
            "_a b",
            "unknown:",
            "192.0.2.1:+80",
            "192.0.2.1:000080",
            "\u{e9}",
            "192.0.2.1:80:80",
        ] {
            assert_eq!(Node::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    fn walked(hops: &[&str]) -> Option<(Option<SocketAddr>, usize)> {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        walk(hops.iter().rev().map(|hop| Node::parse(hop.as_bytes())), is_trusted)
    }

    #[test]
    fn the_client_is_the_first_from_the_end_that_is_not_trusted() {
        for (hops, client, count) in [
            (&[][..], None, 0),
            (&["192.0.2.1"], Some("192.0.2.1:0"), 1),
            (&["192.0.2.9", "192.0.2.1"], Some("192.0.2.1:0"), 1),
            (&["192.0.2.9", "192.0.2.1", "10.0.0.1"], Some("192.0.2.1:0"), 2),
            (&["10.0.0.9", "10.0.0.1"], Some("10.0.0.9:0"), 2),
            (&["192.0.2.1", "unknown"], None, 1),
            (&["192.0.2.1", "_a", "10.0.0.1"], Some("10.0.0.1:0"), 2),
            // What a client has written there is never looked at.
            (&["<script>", "192.0.2.1", "10.0.0.1"], Some("192.0.2.1:0"), 2),
        ] {
            let client = client.map(|text| text.parse().unwrap());
            assert_eq!(walked(hops), Some((client, count)), "{hops:?}");
        }
        assert_eq!(walked(&["192.0.2.1", "oops"]), None);
    }

    fn elements(value: &str) -> Option<Vec<[Option<String>; 3]>> {
        let mut elements = Vec::new();
        parse_elements(value.as_bytes(), &mut elements)?;
        let text = |value: Option<Cow<'_, [u8]>>| value.map(|value| String::from_utf8(value.into()).unwrap());
        let texts = elements.into_iter().map(|element| [element.node, element.host, element.proto].map(text));
        Some(texts.collect())
    }

    #[test]
    fn elements_of_forwarded_are_pairs_with_tokens_or_quoted_strings() {
        let some = |text: &str| Some(text.to_owned());
        for (value, expected) in [
            ("", vec![]),
            (",, ;", vec![]),
            ("for=a", vec![[some("a"), None, None]]),
            ("FOR=\"[::1]:80\"", vec![[some("[::1]:80"), None, None]]),
            ("for=a;proto=https;host=\"h:1\"", vec![[some("a"), some("h:1"), some("https")]]),
            ("for=a ; proto=http , for=b", vec![[some("a"), None, some("http")], [some("b"), None, None]]),
            ("by=_x;secret=\"a\\\"b,;\";for=a", vec![[some("a"), None, None]]),
            ("host=\"a\\\\b\"", vec![[None, some("a\\b"), None]]),
            ("for=\"\"", vec![[some(""), None, None]]),
            (";;for=a;", vec![[some("a"), None, None]]),
        ] {
            assert_eq!(elements(value), Some(expected), "{value}");
        }
        for bad in [
            "for",
            "for=",
            "=a",
            "for a",
            "for=a b",
            "for=\"a",
            "for=\"a\\",
            "for=\"a\"b",
            "for=a;for=b",
            "for=[::1]",
            "for= a",
            "for =a",
            "for=a proto=b",
            "for=192.0.2.1:80",
            // What a server has added to a quote that a client left open.
            "for=x;y=\", for=192.0.2.1",
            "for=x;y=\", for=\"[::1]\"",
            "for=x;y=\", for=\"[::1]\", for=\"[::1]\"",
        ] {
            assert_eq!(elements(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        for (value, path) in
            [("/app", Some("/app")), ("/a/b.c/", Some("/a/b.c")), ("/", None), ("/~a:b", Some("/~a:b"))]
        {
            assert_eq!(prefix(value.as_bytes()), Some(path.map(str::to_owned)), "{value}");
        }
        for bad in [
            "app", "//app", "/a//b", "/a//", "/a/..", "/../a", "/.", "/a%2fb", "/a b", "/a?b", "/a#",
            "/\u{e9}", "http://a", "/a\\b",
        ] {
            assert_eq!(prefix(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_authority_has_the_port_that_is_said_unless_it_is_the_schemes_own() {
        for (host, port, is_secure, expected) in [
            ("a", None, false, "a"),
            ("a:80", None, false, "a"),
            ("a:80", None, true, "a:80"),
            ("a:443", None, true, "a"),
            ("a", Some(8443), true, "a:8443"),
            ("a:8000", Some(443), true, "a"),
            ("[::1]:1", Some(2), false, "[::1]:2"),
        ] {
            let expected = Some(Some(expected.as_bytes().to_vec()));
            assert_eq!(authority(host.as_bytes(), port, is_secure), expected, "{host} {port:?}");
        }
        assert_eq!(authority(b"", Some(80), false), Some(None));
        for bad in ["", "a b", "a,b", "u@a", "a:b", "a/b"] {
            assert_eq!(authority(bad.as_bytes(), None, false), None, "{bad}");
        }
    }

    #[test]
    fn fields_of_servers_in_front_are_known_by_their_names_however_they_are_written() {
        for name in
            ["Forwarded", "X-Forwarded-For", "x_forwarded_proto", "X-FORWARDED-SSL", "X-Real-IP", "x_real_ip"]
        {
            assert!(is_forwarded_field(name.as_bytes()), "{name}");
        }
        for name in ["", "X-Forwarded", "X-Request-ID", "Forwarded-For", "X-Real-Host", "Host"] {
            assert!(!is_forwarded_field(name.as_bytes()), "{name}");
        }
    }
}

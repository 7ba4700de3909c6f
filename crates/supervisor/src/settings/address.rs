//! Where to listen, as an operator writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::value::{Fault, digits};

/// What a bind address may look like, for help and error lines.
pub(super) const ACCEPTED: &str = "HOST:PORT, [V6]:PORT, unix:PATH, fd://N, or one of them after http://, https://, redirect://, uwsgi://, scgi:// or fastcgi://";

/// The port of an address that names none, as with gunicorn and uvicorn.
const PORT_DEFAULT: u16 = 8000;

/// unix(7): `sun_path` has 108 bytes, and the kernel's copy ends in a zero byte.
const UNIX_PATH_MAX: usize = 107;

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in plain text.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP in plain text, and each answer a redirect to https.
    Redirect,
    /// uWSGI's protocol, as `uwsgi_pass` of nginx and mod_proxy_uwsgi of Apache speak it.
    Uwsgi,
    /// SCGI.
    Scgi,
    /// FastCGI.
    FastCgi,
}

impl Scheme {
    const ALL: [Self; 6] = [Self::Http, Self::Https, Self::Redirect, Self::Uwsgi, Self::Scgi, Self::FastCgi];

    /// As it is written before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Redirect => "redirect",
            Self::Uwsgi => "uwsgi",
            Self::Scgi => "scgi",
            Self::FastCgi => "fastcgi",
        }
    }
}

/// What the name of a scheme begins with where the PROXY protocol comes first.
const PROXIED: &str = "proxy+";

/// Where to listen, and what is spoken there. `Display` gives the notation that is read back as the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// What is spoken; https where there is a certificate, and otherwise http, unless it is said.
    pub scheme: Option<Scheme>,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxied: bool,
    /// Where.
    pub address: Address,
}

impl Bind {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (word, rest) = match text.split_once("://") {
            // "fd://3" has none.
            Some((word, rest)) if word != "fd" => (word, rest),
            _ => return Ok(Self { scheme: None, proxied: false, address: Address::parse(text)? }),
        };
        let name = word.strip_prefix(PROXIED).unwrap_or(word);
        let known = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name);
        let scheme = known.ok_or_else(|| format!("{word:?} is not spoken"))?;
        // As it stands in a browser's address bar, but a server answers for all of its paths.
        let rest = rest.strip_suffix('/').filter(|_| !rest.starts_with("unix:")).unwrap_or(rest);
        let address = Address::parse(rest)?;
        Ok(Self { scheme: Some(scheme), proxied: name.len() < word.len(), address })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            let proxied = if self.proxied { PROXIED } else { "" };
            write!(f, "{proxied}{}://", scheme.name())?;
        }
        self.address.fmt(f)
    }
}

/// An address to listen on. `Display` gives the notation that is read back as the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp {
        /// A name or an address, IPv6 without brackets.
        host: String,
        /// The port; 0 lets the system choose one.
        port: u16,
    },
    /// A unix socket, relative to the directory that the server runs in.
    Unix(PathBuf),
    /// A listening socket that this process inherited.
    Fd(i32),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(number) => write!(f, "fd://{number}"),
        }
    }
}

impl Address {
    /// Whether a socket that listens here leaves none of `other`, so that they cannot both be listened on.
    pub(super) fn takes(&self, other: &Self) -> bool {
        let (Self::Tcp { host, port }, Self::Tcp { host: other_host, port: other_port }) = (self, other)
        else {
            return self == other;
        };
        let is_within = match (host.parse::<IpAddr>(), other_host.parse::<IpAddr>()) {
            (Ok(all), Ok(one)) if all.is_unspecified() => all.is_ipv4() == one.is_ipv4(),
            (Ok(one), Ok(other)) => one == other,
            _ => host.eq_ignore_ascii_case(other_host),
        };
        // Each port 0 is another port.
        is_within && port == other_port && *port != 0
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        // A variable that expands to nothing must not open the server to the world.
        if text.is_empty() {
            return Err("the address is empty".into());
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return digits(number)
                .and_then(|number| i32::try_from(number).ok())
                .map(Self::Fd)
                .ok_or_else(|| "the descriptor must be a number".into());
        }
        if text.contains("//") {
            return Err("not an address but a URL".into());
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            return Ok(Self::Tcp { host: v6(host)?, port: port_after(rest)? });
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("an IPv6 address needs brackets: [{text}]:{PORT_DEFAULT}"));
        }
        let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        if digits(host).is_some() {
            return Err(format!("a port alone is written with a colon: \":{host}\""));
        }
        Ok(Self::Tcp { host: name(host)?, port: port_after(rest)? })
    }
}

fn unix(path: &str) -> Result<Address, Fault> {
    match path.len() {
        0 => Err("the path is empty".into()),
        length if length > UNIX_PATH_MAX => {
            Err(format!("the path has {length} bytes, at most {UNIX_PATH_MAX} fit"))
        }
        _ if path.contains('\0') => Err("the path contains a zero byte".into()),
        _ => Ok(Address::Unix(path.into())),
    }
}

/// An address, with the zone of a link-local one behind `%` (RFC 4007 section 11).
fn v6(host: &str) -> Result<String, Fault> {
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    };
    let bad_zone =
        zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(|byte| byte.is_ascii_graphic()));
    if bad_zone || address.parse::<Ipv6Addr>().is_err() {
        return Err("not an IPv6 address between the brackets".into());
    }
    Ok(host.into())
}

fn name(host: &str) -> Result<String, Fault> {
    // Every IPv4 address, as gunicorn has it; a kernel without IPv6 would refuse [::].
    if host.is_empty() {
        return Ok(Ipv4Addr::UNSPECIFIED.to_string());
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
        return Err("not a host name".into());
    }
    // The system's resolver takes "127.1" and "1.2.3.999" for something; whoever wrote it meant an address.
    let numeric = host.rsplit('.').next().is_some_and(|label| digits(label).is_some());
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err("not an IPv4 address".into());
    }
    Ok(host.into())
}

/// The port after a host: `:PORT`, or nothing for the usual one.
fn port_after(rest: &str) -> Result<u16, Fault> {
    match rest.strip_prefix(':') {
        Some(port) => digits(port)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| "port must be 0 to 65535".into()),
        None if rest.is_empty() => Ok(PORT_DEFAULT),
        None => Err("a colon must follow the bracket".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_read_and_shown() {
        for (text, shown) in [
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:65535", "localhost:65535"),
            ("localhost", "localhost:8000"),
            (":9000", "0.0.0.0:9000"),
            ("[::]:80", "[::]:80"),
            ("[::1]", "[::1]:8000"),
            ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:app.sock", "unix:app.sock"),
            ("fd://3", "fd://3"),
        ] {
            let bind = Bind::parse(text).unwrap();
            assert_eq!(bind.to_string(), shown, "{text}");
            assert_eq!(Bind::parse(shown), Ok(bind), "{text}");
        }
    }

    #[test]
    fn what_is_spoken_stands_before_the_address() {
        for (text, scheme, proxied, address) in [
            ("http://localhost", Scheme::Http, false, "localhost:8000"),
            ("https://[::]:443", Scheme::Https, false, "[::]:443"),
            ("https://0.0.0.0:443/", Scheme::Https, false, "0.0.0.0:443"),
            ("redirect://:80", Scheme::Redirect, false, "0.0.0.0:80"),
            ("uwsgi://unix:/run/app.sock", Scheme::Uwsgi, false, "unix:/run/app.sock"),
            ("scgi://fd://3", Scheme::Scgi, false, "fd://3"),
            ("fastcgi://127.0.0.1:9000", Scheme::FastCgi, false, "127.0.0.1:9000"),
            ("proxy+https://:443", Scheme::Https, true, "0.0.0.0:443"),
        ] {
            let bind = Bind::parse(text).unwrap();
            let expected = Bind { scheme: Some(scheme), proxied, address: Address::parse(address).unwrap() };
            assert_eq!(bind, expected, "{text}");
            assert_eq!(Bind::parse(&bind.to_string()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_address_is_taken_by_itself_and_by_all_addresses_of_its_family() {
        for (one, other, takes) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            (":80", "127.0.0.1:80", true),
            ("127.0.0.1:80", ":80", false),
            (":80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "[0:0:0:0:0:0:0:1]:80", true),
            ("localhost:80", "LOCALHOST:80", true),
            ("unix:a", "unix:a", true),
            ("unix:a", "unix:b", false),
            ("fd://3", "fd://3", true),
        ] {
            let (one_bind, other_bind) = (Address::parse(one).unwrap(), Address::parse(other).unwrap());
            assert_eq!(one_bind.takes(&other_bind), takes, "{one} {other}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, fault) in [
            ("", "the address is empty"),
            (":", "port must be 0 to 65535"),
            ("127.0.0.1:99999", "port must be 0 to 65535"),
            ("127.0.0.1:", "port must be 0 to 65535"),
            ("127.0.0.1:+1", "port must be 0 to 65535"),
            ("localhost:http", "port must be 0 to 65535"),
            ("8000", "a port alone is written with a colon: \":8000\""),
            ("::1", "an IPv6 address needs brackets: [::1]:8000"),
            ("::", "an IPv6 address needs brackets: [::]:8000"),
            ("[::1", "the bracket is not closed"),
            ("[::1]8000", "a colon must follow the bracket"),
            ("[localhost]:80", "not an IPv6 address between the brackets"),
            ("[::1%]:80", "not an IPv6 address between the brackets"),
            ("1.2.3.999:80", "not an IPv4 address"),
            ("127.1:80", "not an IPv4 address"),
            ("a b:80", "not a host name"),
            ("häuser:80", "not a host name"),
            ("ws://localhost:80", "\"ws\" is not spoken"),
            ("proxy+fd://3", "\"proxy+fd\" is not spoken"),
            ("http://localhost:80/path", "port must be 0 to 65535"),
            ("http://", "the address is empty"),
            ("http://http://localhost:80", "not an address but a URL"),
            ("unix:", "the path is empty"),
            ("unix:a\0b", "the path contains a zero byte"),
            (&long, "the path has 108 bytes, at most 107 fit"),
            ("fd://", "the descriptor must be a number"),
            ("fd://-1", "the descriptor must be a number"),
            ("fd://4294967296", "the descriptor must be a number"),
        ] {
            assert_eq!(Bind::parse(text), Err(fault.into()), "{text}");
        }
    }
}

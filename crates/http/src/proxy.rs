//! The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): a server in front says, before the first byte of a connection,
//! whose connection it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use crate::error::RequestFault;

/// The longest line of version 1, with its end (section 2.1).
const LINE_SIZE_MAX: usize = 107;

/// Largest header of version 2 that is taken: a client's name, a host and an id fit ten times over, and so does a certificate, which is not read.
pub const HEADER_SIZE_MAX: usize = 8 * 1024;

/// Longest unique id (section 2.2.5).
const UNIQUE_ID_SIZE_MAX: usize = 128;

const LINE_BEGIN: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_SIZE: usize = 16;

/// Types of TLVs (section 2.2), and those within that of TLS (section 2.2.6).
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;
const TLS: u8 = 0x20;
const TLS_VERSION: u8 = 0x21;
const TLS_COMMON_NAME: u8 = 0x22;
const TLS_CIPHER: u8 = 0x23;

/// Bits of the field `client`: TLS was spoken; the client has shown a certificate, on this connection or earlier in its session.
const CLIENT_TLS: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The ends of the client's connection.
    pub ends: ProxiedEnds,
    /// The protocol that the client and the server in front have agreed on.
    pub alpn: Option<String>,
    /// The name of the server that the client has asked for, as by SNI.
    pub authority: Option<String>,
    /// What the connection is called by in front.
    pub unique_id: Option<Vec<u8>>,
    /// How the client is encrypted, if it is.
    pub tls: Option<ProxiedTls>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxiedEnds {
    /// That of the server in front itself, which may check whether this one is well, or not known.
    #[default]
    Own,
    /// That of a process on the same machine as the server in front.
    Unix,
    /// That of a client.
    Inet {
        /// The client.
        source: SocketAddr,
        /// What it has connected to.
        destination: SocketAddr,
    },
}

/// A client's TLS, as the server in front has seen it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxiedTls {
    /// `TLSv1.3`
    pub version: Option<String>,
    /// The name of the cipher.
    pub cipher: Option<String>,
    /// The common name of the client's certificate.
    pub client_name: Option<String>,
    /// Whether the client has shown a certificate that was found good.
    pub client_is_verified: bool,
}

impl ProxyHeader {
    /// Reads the beginning of a connection: the header and its size, or nothing while it is not whole.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, RequestFault> {
        let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
        let read = match () {
            () if begins(LINE_BEGIN) => read_line(bytes),
            () if begins(SIGNATURE) => read_binary(bytes),
            () => None,
        };
        read.ok_or(RequestFault::ProxyHeader)
    }
}

/// `None` for what is malformed, here and below.
fn read_line(bytes: &[u8]) -> Option<Option<(ProxyHeader, usize)>> {
    let seen = &bytes[..bytes.len().min(LINE_SIZE_MAX)];
    let Some(end) = memchr(b'\n', seen) else { return (seen.len() < LINE_SIZE_MAX).then_some(None) };
    let line = seen[..end].strip_suffix(b"\r")?.strip_prefix(LINE_BEGIN)?;
    let line = str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    let ends = match parts.next()? {
        // What follows it says nothing.
        "UNKNOWN" => ProxiedEnds::Own,
        family => {
            let address = |text: &str| match family {
                "TCP4" => text.parse().ok().map(IpAddr::V4),
                "TCP6" => text.parse().ok().map(IpAddr::V6),
                _ => None,
            };
            let (source, destination) = (address(parts.next()?)?, address(parts.next()?)?);
            let (source_port, destination_port) = (port(parts.next()?)?, port(parts.next()?)?);
            if parts.next().is_some() {
                return None;
            }
            inet((source, source_port), (destination, destination_port))
        }
    };
    Some(Some((ProxyHeader { ends, ..ProxyHeader::default() }, end + 1)))
}

/// One way to write each number (section 2.1).
fn port(digits: &str) -> Option<u16> {
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

fn inet(source: (IpAddr, u16), destination: (IpAddr, u16)) -> ProxiedEnds {
    let end = |(address, port): (IpAddr, u16)| SocketAddr::new(address.to_canonical(), port);
    ProxiedEnds::Inet { source: end(source), destination: end(destination) }
}

fn read_binary(bytes: &[u8]) -> Option<Option<(ProxyHeader, usize)>> {
    // Each byte is judged as soon as it is there: who speaks another version may never send more.
    let at = |place: usize| bytes.get(place).copied();
    let is_local = match at(12) {
        None => return Some(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return None,
    };
    let family = at(13);
    let ends_size = match family {
        None => return Some(None),
        Some(0x00) => 0,
        Some(0x11 | 0x12) => 12,
        Some(0x21 | 0x22) => 36,
        Some(0x31 | 0x32) => 216,
        // A health check of its own says nothing with it.
        Some(_) if is_local => 0,
        Some(_) => return None,
    };
    let (Some(high), Some(low)) = (at(14), at(15)) else { return Some(None) };
    let size = FIXED_SIZE + usize::from(u16::from_be_bytes([high, low]));
    if size > HEADER_SIZE_MAX || (size < FIXED_SIZE + ends_size && !is_local) {
        return None;
    }
    let Some(rest) = bytes.get(FIXED_SIZE..size) else { return Some(None) };
    if is_local {
        return Some(Some((ProxyHeader::default(), size)));
    }
    let (ends, tlvs) = rest.split_at_checked(ends_size)?;
    let mut header = ProxyHeader { ends: read_ends(ends)?, ..ProxyHeader::default() };
    for tlv in Tlvs(tlvs) {
        let (kind, value) = tlv?;
        match kind {
            ALPN => header.alpn = Some(text(value)),
            AUTHORITY => header.authority = Some(text(value)),
            UNIQUE_ID if value.len() > UNIQUE_ID_SIZE_MAX => return None,
            UNIQUE_ID => header.unique_id = Some(value.into()),
            TLS => header.tls = read_tls(value)?,
            _ => {}
        }
    }
    Some(Some((header, size)))
}

fn read_ends(bytes: &[u8]) -> Option<ProxiedEnds> {
    let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    Some(match bytes.len() {
        12 => {
            let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?)));
            inet((address(0)?, number(8)?), (address(4)?, number(10)?))
        }
        36 => {
            let address =
                |at: usize| Some(IpAddr::V6(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?)));
            inet((address(0)?, number(32)?), (address(16)?, number(34)?))
        }
        216 => ProxiedEnds::Unix,
        _ => ProxiedEnds::Own,
    })
}

fn read_tls(value: &[u8]) -> Option<Option<ProxiedTls>> {
    let (&[client, verify @ ..], tlvs) = value.split_first_chunk::<5>()?;
    if client & CLIENT_TLS == 0 {
        return Some(None);
    }
    let mut tls = ProxiedTls {
        client_is_verified: client & CLIENT_CERTIFICATE != 0 && verify == [0; 4],
        ..ProxiedTls::default()
    };
    for tlv in Tlvs(tlvs) {
        let (kind, value) = tlv?;
        match kind {
            TLS_VERSION => tls.version = Some(text(value)),
            TLS_COMMON_NAME => tls.client_name = Some(text(value)),
            TLS_CIPHER => tls.cipher = Some(text(value)),
            _ => {}
        }
    }
    Some(Some(tls))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Type, length, value; `None` is the last, where a value is cut off.
struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = Option<(u8, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = self.0.split_first_chunk::<3>().and_then(|(&[kind, high, low], rest)| {
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            self.0 = rest;
            Some((kind, value))
        });
        if one.is_none() {
            self.0 = &[];
        }
        Some(one)
    }
}

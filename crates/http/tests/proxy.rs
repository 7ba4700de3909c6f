//! The PROXY protocol: every header whole, byte by byte, and with what follows it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use tidegate_http::RequestFault;
use tidegate_http::proxy::{HEADER_SIZE_MAX, ProxiedEnds, ProxiedTls, ProxyHeader};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const IPV4_ENDS: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb];

fn inet(source: &str, destination: &str) -> ProxiedEnds {
    ProxiedEnds::Inet { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let size = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &size, rest].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], u16::try_from(value.len()).unwrap().to_be_bytes().as_slice(), value].concat()
}

/// Reads it whole, cut at each place, and with more behind it.
fn read(bytes: &[u8]) -> ProxyHeader {
    for cut in 0..bytes.len() {
        assert_eq!(ProxyHeader::read(&bytes[..cut]), Ok(None), "{cut} bytes of {bytes:?}");
    }
    let (header, size) = ProxyHeader::read(bytes).unwrap().unwrap();
    assert_eq!(size, bytes.len());
    let with_more = [bytes, b"GET / HTTP/1.1\r\n\r\n\x16\x03"].concat();
    assert_eq!(ProxyHeader::read(&with_more), Ok(Some((header.clone(), size))));
    header
}

/// Is refused whole, and so when more comes; until a byte is wrong there may be more to come.
fn refuse(bytes: &[u8]) {
    assert_eq!(ProxyHeader::read(bytes), Err(RequestFault::ProxyHeader), "{bytes:?}");
    let fault =
        (0..bytes.len()).find(|&cut| ProxyHeader::read(&bytes[..cut]).is_err()).unwrap_or(bytes.len());
    for cut in 0..fault {
        assert_eq!(ProxyHeader::read(&bytes[..cut]), Ok(None), "{cut} bytes of {bytes:?}");
    }
    for cut in fault..=bytes.len() {
        assert_eq!(
            ProxyHeader::read(&bytes[..cut]),
            Err(RequestFault::ProxyHeader),
            "{cut} bytes of {bytes:?}"
        );
    }
}

#[test]
fn a_line_names_the_ends_of_the_clients_connection() {
    for (line, ends) in [
        ("TCP4 192.0.2.1 198.51.100.2 4711 443", inet("192.0.2.1:4711", "198.51.100.2:443")),
        ("TCP6 2001:db8::1 2001:db8::2 65535 0", inet("[2001:db8::1]:65535", "[2001:db8::2]:0")),
        ("TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2", inet("192.0.2.1:1", "192.0.2.2:2")),
        ("UNKNOWN", ProxiedEnds::Own),
        ("UNKNOWN ffff::1 whatever 0 0", ProxiedEnds::Own),
    ] {
        let header = read(format!("PROXY {line}\r\n").as_bytes());
        assert_eq!(header, ProxyHeader { ends, ..ProxyHeader::default() }, "{line}");
    }
    // The longest that the specification names.
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    assert_eq!(longest.len(), 107);
    assert_eq!(read(longest.as_bytes()).ends, ProxiedEnds::Own);
}

#[test]
fn a_malformed_line_is_refused() {
    for line in [
        "TCP4 192.0.2.1 198.51.100.2 4711",
        "TCP4 192.0.2.1 198.51.100.2 4711 443 1",
        "TCP4 192.0.2.1 198.51.100.2 4711 65i",
        "TCP4 192.0.2.1 198.51.100.2 65iii 443",
        "TCP4 192.0.2.1 198.51.100.2 65536 443",
        "TCP4 192.0.2.1 198.51.100.2 -1 443",
        "TCP4 192.0.2.1 198.51.100.2 +1 443",
        "TCP4 192.0.2.1 198.51.100.2 0443 443",
        "TCP4 not-an-ip 198.51.100.2 4711 443",
        "TCP4 192.0.2.1 198.51.100 4711 443",
        "TCP4 192.0.2.01 198.51.100.2 4711 443",
        "TCP4 2001:db8::1 2001:db8::2 4711 443",
        "TCP6 192.0.2.1 198.51.100.2 4711 443",
        "TCP6 [2001:db8::1] [2001:db8::2] 4711 443",
        "TCP9 192.0.2.1 198.51.100.2 4711 443",
        "tcp4 192.0.2.1 198.51.100.2 4711 443",
        "TCP4  192.0.2.1 198.51.100.2 4711 443",
        "TCP4 192.0.2.1 198.51.100.2 4711 443 ",
        "TCP4\t192.0.2.1 198.51.100.2 4711 443",
        "",
        "TCP4",
        "\u{e9}",
    ] {
        refuse(format!("PROXY {line}\r\n").as_bytes());
    }
    refuse(b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n");
    refuse(b"proxy TCP4 192.0.2.1 198.51.100.2 4711 443\r\n");
    refuse(format!("PROXY UNKNOWN{}\r\n", " ".repeat(100)).as_bytes());
    refuse(format!("PROXY UNKNOWN {}", "a".repeat(100)).as_bytes());
}

#[test]
fn what_is_no_header_is_refused() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x00", b"PRI * HTTP/2.0\r\n", b"\r\n\r\nGET", b"\0"]
    {
        refuse(bytes);
    }
}

#[test]
fn a_binary_header_names_the_ends_of_the_clients_connection() {
    let ends = inet("192.0.2.1:4711", "198.51.100.2:443");
    for family in [0x11, 0x12] {
        assert_eq!(read(&binary(0x21, family, IPV4_ENDS)).ends, ends);
    }
    let mut ipv6 = [0; 36];
    ipv6[15] = 1;
    ipv6[31] = 2;
    ipv6[33] = 80;
    assert_eq!(read(&binary(0x21, 0x21, &ipv6)).ends, inet("[::1]:80", "[::2]:0"));
    assert_eq!(read(&binary(0x21, 0x31, &[b'a'; 216])).ends, ProxiedEnds::Unix);
    assert_eq!(read(&binary(0x21, 0x00, &[])), ProxyHeader::default());
}

#[test]
fn a_local_connection_says_nothing() {
    for (family, rest) in [(0x00, &b""[..]), (0x11, IPV4_ENDS), (0x00, b"whatever"), (0x77, b"")] {
        assert_eq!(read(&binary(0x20, family, rest)), ProxyHeader::default());
    }
}

#[test]
fn what_stands_behind_the_ends_is_read() {
    let tls = [
        &[0x07, 0, 0, 0, 0][..],
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x22, "Größe".as_bytes()),
        &tlv(0x23, b"TLS_AES_256_GCM_SHA384"),
        &tlv(0x25, b"RSA2048"),
    ]
    .concat();
    let rest = [
        IPV4_ENDS,
        &tlv(0x01, b"h2"),
        &tlv(0x02, b"shop.example"),
        &tlv(0x04, &[0; 20]),
        &tlv(0x05, b"\x00\xffid"),
        &tlv(0x20, &tls),
        &tlv(0xea, b"\x01vpce-1"),
    ]
    .concat();
    let header = read(&binary(0x21, 0x11, &rest));
    assert_eq!(
        header,
        ProxyHeader {
            ends: inet("192.0.2.1:4711", "198.51.100.2:443"),
            alpn: Some("h2".into()),
            authority: Some("shop.example".into()),
            unique_id: Some(b"\x00\xffid".into()),
            tls: Some(ProxiedTls {
                version: Some("TLSv1.3".into()),
                cipher: Some("TLS_AES_256_GCM_SHA384".into()),
                client_name: Some("Größe".into()),
                client_is_verified: true,
            }),
        }
    );
}

#[test]
fn a_client_is_verified_if_it_has_shown_a_certificate_that_is_good() {
    for (client, verify, is_verified) in [
        (0x01, 0, Some(false)),
        (0x03, 0, Some(true)),
        (0x05, 0, Some(true)),
        (0x03, 1, Some(false)),
        (0x02, 0, None),
    ] {
        let rest = [IPV4_ENDS, &tlv(0x20, &[client, 0, 0, 0, verify])].concat();
        let tls = read(&binary(0x21, 0x11, &rest)).tls;
        assert_eq!(tls.map(|tls| tls.client_is_verified), is_verified, "{client} {verify}");
    }
}

#[test]
fn a_malformed_binary_header_is_refused() {
    for command in [0x00, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        refuse(&binary(command, 0x11, IPV4_ENDS));
    }
    for family in [0x01, 0x10, 0x13, 0x41, 0xff] {
        refuse(&binary(0x21, family, IPV4_ENDS));
    }
    refuse(&binary(0x21, 0x11, &IPV4_ENDS[..11]));
    refuse(&binary(0x21, 0x21, IPV4_ENDS));
    refuse(&binary(0x21, 0x31, &[0; 215]));
    for cut_off in [
        &b"\x01"[..],
        b"\x01\0",
        b"\x01\0\x03h2",
        b"\x20\0\x02\x01\0",
        &tlv(0x20, b"\x01\0\0\0\0\x21\0\x09TLS"),
    ] {
        refuse(&binary(0x21, 0x11, &[IPV4_ENDS, cut_off].concat()));
    }
    refuse(&binary(0x21, 0x11, &[IPV4_ENDS, &tlv(0x05, &[b'a'; 129])].concat()));
}

#[test]
fn a_header_is_bounded() {
    let most = HEADER_SIZE_MAX - 16;
    let padded = |size: usize| {
        let padding = tlv(0x04, &vec![0; size - IPV4_ENDS.len() - 3]);
        binary(0x21, 0x11, &[IPV4_ENDS, &padding].concat())
    };
    assert_eq!(read(&padded(most)).ends, inet("192.0.2.1:4711", "198.51.100.2:443"));
    // Its size is enough to refuse it.
    assert_eq!(ProxyHeader::read(&padded(most + 1)[..16]), Err(RequestFault::ProxyHeader));
}

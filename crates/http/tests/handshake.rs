//! Opening handshakes through the public interface: which requests ask for a WebSocket, and what is answered.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "support/frames.rs"]
#[allow(dead_code, reason = "shared with the test of open WebSockets, which uses other parts of it")]
mod frames;

use frames::{CONTEXT, agreed, request};
use tidegate_http::SendContext;
use tidegate_http::ws::{AcceptFault, Compression, Handshake, HandshakeFault, Upgrade, upgrade};

const LINE: &str = "GET /chat HTTP/1.1";
const HOST: &str = "Host: a";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const VERSION: &str = "Sec-WebSocket-Version: 13";
/// The key of RFC 6455 section 1.3.
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const ALL: [&str; 6] = [LINE, HOST, UPGRADE, CONNECTION, VERSION, KEY];

fn upgrade_of(lines: &[&str]) -> Upgrade {
    upgrade(&request(&(lines.join("\r\n") + "\r\n\r\n")))
}

/// The usual request with some lines more.
fn handshake(more: &[&str]) -> Handshake {
    match upgrade_of(&[&ALL[..], more].concat()) {
        Upgrade::Asked(handshake) => handshake,
        other => panic!("a handshake, not {other:?}"),
    }
}

fn field(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}

/// What the usual request with some lines more is answered with.
fn accepted(more: &[&str], subprotocol: Option<&str>, fields: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut out = Vec::new();
    handshake(more)
        .accept(subprotocol.map(str::as_bytes), fields, true, &CONTEXT, &mut out)
        .expect("nothing is wrong");
    String::from_utf8(out).expect("text")
}

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const CLOSING: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: tidegate\r\n\r\n";

#[test]
fn requests_without_websocket_in_upgrade_are_like_any_other() {
    for more in [
        &[][..],
        &["Upgrade: h2c"],
        &["Upgrade: websockets"],
        &["Upgrade: websocket/13"],
        &["Upgrade: web, socket"],
        &["X-Upgrade: websocket"],
        &["Sec-WebSocket-Key1: x"],
    ] {
        let found = upgrade_of(&[&[LINE, HOST, CONNECTION, VERSION, KEY][..], more].concat());
        assert!(matches!(found, Upgrade::NotAsked), "{more:?}: {found:?}");
    }
}

#[test]
fn a_handshake_may_be_written_in_many_ways() {
    for lines in [
        &ALL[..],
        &[LINE, HOST, "upgrade: WebSocket", "connection: upgrade", VERSION, KEY],
        &[LINE, HOST, "Upgrade: h2c, WEBSOCKET ,x", "Connection: keep-alive, \t UPGRADE", VERSION, KEY],
        &[LINE, HOST, "Upgrade: h2c", UPGRADE, "Connection: keep-alive", CONNECTION, VERSION, KEY],
        &[LINE, HOST, UPGRADE, "Connection: ,,Upgrade,", VERSION, KEY],
        &[LINE, HOST, UPGRADE, CONNECTION, VERSION, KEY, "Content-Length: 0"],
        // Bits of the last digit that belong to no byte.
        &[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: abcdefghijklmnopqrstuv=="],
        &[LINE, HOST, UPGRADE, CONNECTION, VERSION, KEY, "Sec-WebSocket-Protocol:"],
        &[LINE, HOST, UPGRADE, CONNECTION, VERSION, KEY, "Sec-WebSocket-Extensions:"],
    ] {
        let found = upgrade_of(lines);
        assert!(matches!(found, Upgrade::Asked(_)), "{lines:?}: {found:?}");
    }
}

#[test]
fn a_handshake_that_is_not_as_it_should_be_is_refused() {
    use HandshakeFault as F;
    let post = "POST /chat HTTP/1.1";
    for (lines, fault) in [
        (&["GET /chat HTTP/1.0", HOST, UPGRADE, CONNECTION, VERSION, KEY][..], F::Version),
        (&[post, HOST, UPGRADE, CONNECTION, VERSION, KEY], F::Method),
        (&[post, HOST, UPGRADE, CONNECTION, VERSION, KEY, "Content-Length: 3"], F::Method),
        (&["HEAD /chat HTTP/1.1", HOST, UPGRADE, CONNECTION, VERSION, KEY], F::Method),
        (&[LINE, HOST, UPGRADE, VERSION, KEY], F::Connection),
        (&[LINE, HOST, UPGRADE, "Connection: keep-alive", VERSION, KEY], F::Connection),
        (&[LINE, HOST, UPGRADE, "Connection: websocket", VERSION, KEY], F::Connection),
        (&[LINE, HOST, UPGRADE, "Connection: upgraded", VERSION, KEY], F::Connection),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, KEY, "Content-Length: 1"], F::Body),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, KEY, "Transfer-Encoding: chunked"], F::Body),
        (&[LINE, HOST, UPGRADE, CONNECTION, KEY], F::ProtocolVersion),
        (&[LINE, HOST, UPGRADE, CONNECTION, "Sec-WebSocket-Version: 8", KEY], F::ProtocolVersion),
        (&[LINE, HOST, UPGRADE, CONNECTION, "Sec-WebSocket-Version: 013", KEY], F::ProtocolVersion),
        (&[LINE, HOST, UPGRADE, CONNECTION, "Sec-WebSocket-Version: 13, 8", KEY], F::ProtocolVersion),
        (&[LINE, HOST, UPGRADE, CONNECTION, "Sec-WebSocket-Version:", KEY], F::ProtocolVersion),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, VERSION, KEY], F::ProtocolVersion),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, KEY, KEY], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key:"], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE="], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZS4u"], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBs\tSBub25jZQ=="], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBs_SBub25jZQ=="], F::Key),
        (&[LINE, HOST, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: AAAAAAAAAAA="], F::Key),
    ] {
        let found = upgrade_of(lines);
        assert!(matches!(found, Upgrade::Refused(found) if found == fault), "{lines:?}: {found:?}");
        assert_eq!(fault.status(), if fault == F::ProtocolVersion { 426 } else { 400 });
    }
}

#[test]
fn a_refusal_is_a_whole_response_and_426_says_what_is_spoken() {
    let mut out = Vec::new();
    HandshakeFault::ProtocolVersion.write_response(&CONTEXT, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 426 Upgrade Required\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: tidegate\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 92\r\nSec-WebSocket-Version: 13\r\n\
         Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n\
         426 Upgrade Required: the one version of WebSocket spoken here is 13 (RFC 6455 section 4.4)\n"
    );
    out.clear();
    HandshakeFault::Key.write_response(&SendContext { server: None, ..CONTEXT }, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 400 Bad Request\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 86\r\nConnection: close\r\n\r\n\
         400 Bad Request: Sec-WebSocket-Key is 16 bytes in base64, once (RFC 6455 section 4.1)\n"
    );
}

#[test]
fn the_answer_proves_that_the_key_was_understood() {
    assert_eq!(accepted(&[], None, &[]), [ACCEPTED, CLOSING].concat());
}

#[test]
fn subprotocols_are_offered_in_one_list_and_one_of_them_may_be_chosen() {
    let more = ["Sec-WebSocket-Protocol: chat, superchat ,, b@d,", "sec-websocket-protocol: v2.example"];
    let handshake = handshake(&more);
    assert_eq!(handshake.protocols().collect::<Vec<_>>(), ["chat", "superchat", "v2.example"]);
    for chosen in ["chat", "superchat", "v2.example"] {
        let head = accepted(&more, Some(chosen), &[]);
        let line = format!("Sec-WebSocket-Protocol: {chosen}\r\n");
        assert_eq!(head, [ACCEPTED, &line, CLOSING].concat());
    }
    for chosen in ["Chat", "other", "", "b@d", "chat, superchat", "chat\r\nX: y"] {
        let mut out = b"before".to_vec();
        let result = handshake.accept(Some(chosen.as_bytes()), &[], true, &CONTEXT, &mut out);
        assert_eq!(result, Err(AcceptFault::Subprotocol), "{chosen}");
        assert_eq!(out, b"before");
    }
}

#[test]
fn a_client_that_offers_nothing_gets_nothing() {
    let handshake = handshake(&[]);
    assert_eq!(handshake.protocols().count(), 0);
    assert!(!handshake.offers_compression());
    let mut out = Vec::new();
    assert_eq!(handshake.accept(Some(b""), &[], true, &CONTEXT, &mut out), Err(AcceptFault::Subprotocol));
    let accepted = handshake.accept(None, &[], true, &CONTEXT, &mut out).expect("nothing is wrong");
    assert_eq!(accepted.compressed, Compression::OFF);
}

#[test]
fn the_applications_fields_are_sent_and_may_replace_date_and_server() {
    let fields = [field("Set-Cookie", "a=b"), field("X-Empty", ""), field("set-cookie", "c=\u{e9}")];
    let lines = "Set-Cookie: a=b\r\nX-Empty: \r\nset-cookie: c=\u{e9}\r\n";
    assert_eq!(accepted(&[], None, &fields), [ACCEPTED, lines, CLOSING].concat());
    let fields = [field("date", "now"), field("SERVER", "mine")];
    assert_eq!(accepted(&[], None, &fields), [ACCEPTED, "date: now\r\nSERVER: mine\r\n\r\n"].concat());
}

#[test]
fn fields_that_are_not_valid_or_not_the_applications_are_refused() {
    use AcceptFault as F;
    for (name, value, fault) in [
        ("", "x", F::FieldName),
        ("a b", "x", F::FieldName),
        ("a:", "x", F::FieldName),
        ("a\r\nb", "x", F::FieldName),
        ("\u{e9}", "x", F::FieldName),
        ("a", "x\r\ny: z", F::FieldValue),
        ("a", "x\n", F::FieldValue),
        ("a", "\0", F::FieldValue),
        ("a", "\u{7f}", F::FieldValue),
        ("Sec-WebSocket-Accept", "x", F::FieldReserved),
        ("sec-websocket-protocol", "chat", F::FieldReserved),
        ("Sec-WebSocket-Extensions", "permessage-deflate", F::FieldReserved),
        ("SEC-WEBSOCKET-ANYTHING", "", F::FieldReserved),
        ("Connection", "close", F::FieldReserved),
        ("upgrade", "h2c", F::FieldReserved),
        ("Content-Length", "0", F::FieldReserved),
        ("Transfer-Encoding", "chunked", F::FieldReserved),
        ("Keep-Alive", "timeout=5", F::FieldReserved),
    ] {
        let mut out = b"before".to_vec();
        let fields = [field("X-Right", "x"), field(name, value)];
        let result = handshake(&[]).accept(None, &fields, true, &CONTEXT, &mut out);
        assert_eq!(result, Err(fault), "{name:?}: {value:?}");
        assert_eq!(out, b"before");
    }
}

/// What is answered to these values of Sec-WebSocket-Extensions; empty if nothing.
fn answer_to(values: &[&str]) -> String {
    let lines: Vec<String> =
        values.iter().map(|value| format!("Sec-WebSocket-Extensions: {value}")).collect();
    let head = accepted(&lines.iter().map(String::as_str).collect::<Vec<_>>(), None, &[]);
    let extension = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    extension.unwrap_or_default().to_owned()
}

#[test]
fn compression_is_agreed_on_without_anything_kept_between_messages() {
    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (offer, answer) in [
        ("permessage-deflate", ""),
        ("permessage-deflate; client_max_window_bits", ""),
        ("permessage-deflate; client_max_window_bits=8", ""),
        ("permessage-deflate;client_max_window_bits = 15", ""),
        ("permessage-deflate; server_no_context_takeover", ""),
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", ""),
        ("permessage-deflate; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=\"10\"", "; server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=\"1\\0\"", "; server_max_window_bits=10"),
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10; server_no_context_takeover",
            "; server_max_window_bits=12",
        ),
        // Of what cannot be taken, the next offer is.
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", ""),
        ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits", ""),
        ("foo; a=\"b\"; b, permessage-deflate", ""),
        (",, permessage-deflate; mux=1 ,, permessage-deflate ,", ""),
        ("permessage-deflate; server_max_window_bits=11, permessage-deflate", "; server_max_window_bits=11"),
    ] {
        assert_eq!(answer_to(&[offer]), format!("{PLAIN}{answer}"), "{offer}");
        assert!(agreed(offer).is_on(), "{offer}");
    }
    assert_eq!(answer_to(&["foo", "permessage-deflate; x", "permessage-deflate"]), PLAIN);
}

#[test]
fn an_offer_that_cannot_be_honoured_is_declined() {
    for offer in [
        "",
        "foo",
        "permessage-bzip2",
        "PERMESSAGE-DEFLATE; nonsense",
        "permessage-deflate; nonsense",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=1x",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=+9",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    ] {
        assert_eq!(answer_to(&[offer]), "", "{offer}");
        assert!(!agreed(offer).is_on(), "{offer}");
    }
}

#[test]
fn extensions_that_are_no_list_of_extensions_are_refused() {
    for offer in [
        ";",
        "=",
        "permessage-deflate;",
        "permessage-deflate; =1",
        "permessage-deflate; a=",
        "permessage-deflate; a=\"",
        "permessage-deflate; a=\"\"",
        "permessage-deflate; a=\"b c\"",
        "permessage-deflate; a=\"b\\",
        "permessage-deflate; a=b c",
        "permessage-deflate a",
        "\"permessage-deflate\"",
        "permessage-deflate, ;",
        "permessage/deflate",
    ] {
        let line = format!("Sec-WebSocket-Extensions: {offer}");
        let found = upgrade_of(&[&ALL[..], &[&line]].concat());
        assert!(matches!(found, Upgrade::Refused(HandshakeFault::Extensions)), "{offer}: {found:?}");
    }
}

#[test]
fn compression_that_the_server_does_not_want_is_not_agreed_on() {
    let handshake = handshake(&["Sec-WebSocket-Extensions: permessage-deflate"]);
    assert!(handshake.offers_compression());
    let mut out = Vec::new();
    let accepted = handshake.accept(None, &[], false, &CONTEXT, &mut out).expect("nothing is wrong");
    assert_eq!(accepted.compressed, Compression::OFF);
    assert_eq!(String::from_utf8_lossy(&out), [ACCEPTED, CLOSING].concat());
}

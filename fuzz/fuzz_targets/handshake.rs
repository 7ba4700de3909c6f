//! Holds: what is taken for a request for a WebSocket is one, and the answer is a valid response that agrees to nothing that was
//! not offered.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{CONTEXT, control, head_of};
use tidegate_http::ws::{HandshakeFault, Upgrade, upgrade};
use tidegate_http::{BodyKind, RequestHead, Version};

fuzz_target!(|data: &[u8]| {
    let Some((mut choices, wire)) = control(data) else { return };
    let Some(head) = head_of(wire) else { return };
    let asked = members(&head, "upgrade").any(|member| member.eq_ignore_ascii_case("websocket"));
    match upgrade(&head) {
        Upgrade::NotAsked => assert!(!asked),
        Upgrade::Refused(fault) => {
            assert!(asked);
            let mut out = Vec::new();
            fault.write_response(&CONTEXT, &mut out);
            let version = fault == HandshakeFault::ProtocolVersion;
            let (status, fields, body) = response(&out);
            assert_eq!((status, fault.status()), if version { (426, 426) } else { (400, 400) });
            assert_eq!(field(&fields, "Content-Length"), Some(body.len().to_string()));
            assert_eq!(field(&fields, "Sec-WebSocket-Version").is_some(), version);
        }
        Upgrade::Asked(handshake) => {
            assert!(asked && head.method() == "GET" && head.version() == Version::Http11);
            assert!(members(&head, "connection").any(|member| member.eq_ignore_ascii_case("upgrade")));
            assert!(matches!(head.body(), BodyKind::Empty | BodyKind::Length(0)));
            let offered: Vec<String> = members(&head, "sec-websocket-protocol")
                .filter(|member| {
                    !member.is_empty()
                        && member
                            .bytes()
                            .all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte))
                })
                .collect();
            assert_eq!(handshake.protocols().collect::<Vec<_>>(), offered);
            let chosen = offered.get(choices.below(offered.len() + 1));
            let wanted = choices.below(2) == 0;
            let mut out = Vec::new();
            let accepted = handshake
                .accept(chosen.map(String::as_bytes), &[], wanted, &CONTEXT, &mut out)
                .expect("it was offered");
            let (status, fields, body) = response(&out);
            assert!(status == 101 && body.is_empty());
            assert_eq!(field(&fields, "Sec-WebSocket-Protocol").as_ref(), chosen);
            assert!(field(&fields, "Sec-WebSocket-Accept").is_some_and(|accept| accept.len() == 28));
            let extension = field(&fields, "Sec-WebSocket-Extensions");
            assert_eq!(extension.is_some(), accepted.compressed.is_on());
            assert!(extension.is_none() || wanted);
            if let Some(extension) = extension {
                let offers =
                    head.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-extensions"));
                let offers: Vec<u8> = offers.flat_map(|(_, value)| value.to_vec()).collect();
                let offers = String::from_utf8_lossy(&offers);
                assert!(offers.contains("permessage-deflate"));
                // A window is agreed on only with a client that asked for one (RFC 7692 section 7.1.2.1).
                assert!(!extension.contains("window") || offers.contains("server_max_window_bits"));
                assert!(!extension.contains("client_max_window_bits"));
            }
        }
    }
});

/// The members of a list, as text.
fn members<'a>(head: &'a RequestHead, name: &'a str) -> impl Iterator<Item = String> + 'a {
    head.fields().filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).flat_map(|(_, value)| {
        let value: String = value.iter().map(|byte| char::from(*byte)).collect();
        value.split(',').map(|member| member.trim_matches([' ', '\t']).to_owned()).collect::<Vec<_>>()
    })
}

/// The status, the fields and the body of a response.
fn response(out: &[u8]) -> (u16, Vec<(String, String)>, &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(size)) = response.parse(out) else { panic!("no response: {out:?}") };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = response.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
    (response.code.expect("a status"), fields, &out[size..])
}

fn field(fields: &[(String, String)], name: &str) -> Option<String> {
    fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

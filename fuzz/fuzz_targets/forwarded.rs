//! Holds: what a trusted proxy says is refused, or is a host and a path that can stand anywhere; what a client has put before what the
//! proxy says of the client does not change it.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::control;
use tidegate_http::{
    Connection, Event, ForwardedFact, ForwardedFields, ForwardedRules, Limits, RequestHead,
};

const FACTS: [ForwardedFact; 5] =
    [ForwardedFact::For, ForwardedFact::Proto, ForwardedFact::Host, ForwardedFact::Port, ForwardedFact::Prefix];
const CLIENT: &str = "192.0.2.1";

fuzz_target!(|data: &[u8]| {
    let Some((mut choices, value)) = control(data) else { return };
    if value.iter().any(u8::is_ascii_control) {
        // That would be other fields.
        return;
    }
    let fields = [ForwardedFields::XForwarded, ForwardedFields::Forwarded][choices.below(2)];
    let rules = ForwardedRules { fields, facts: FACTS.to_vec() };
    let name = match fields {
        ForwardedFields::Forwarded => "Forwarded",
        ForwardedFields::XForwarded => {
            ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix"]
                [choices.below(5)]
        }
    };
    let trusts_more = choices.below(2) == 0;
    if let Some(mut head) = head(&[(name, value)])
        && head.believe(&rules, false, |_| trusts_more).is_ok()
        && let Some(forwarded) = head.forwarded()
    {
        if let Some((host, _)) = forwarded.server() {
            assert!(!host.is_empty() && !host.iter().any(|byte| b" \t\r\n,/?#@\\\"<>".contains(byte)));
            assert!(head.authority().is_some_and(|authority| authority.starts_with(host)));
            assert_eq!(head.field("host"), head.authority());
        }
        if let Some(prefix) = forwarded.prefix() {
            assert!(prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains("//"));
            assert!(!prefix.split('/').any(|segment| segment == "." || segment == ".."));
            assert!(!prefix.contains(['%', '?', '#', '\\', ' ', ',', '"']));
        }
    }
    let (name, own) = match fields {
        ForwardedFields::Forwarded => ("Forwarded", format!("for={CLIENT}")),
        ForwardedFields::XForwarded => ("X-Forwarded-For", CLIENT.to_owned()),
    };
    let appended = [value, b", ", own.as_bytes()].concat();
    for lines in [&[(name, value), (name, own.as_bytes())][..], &[(name, &appended)]] {
        let Some(mut head) = head(lines) else { continue };
        match head.believe(&rules, false, |_| false) {
            Ok(()) => {
                let client = head.forwarded().and_then(|forwarded| forwarded.client());
                assert_eq!(client.map(|client| client.ip().to_string()).as_deref(), Some(CLIENT));
            }
            // A list of addresses is not read further than it is believed.
            Err(_) => assert_eq!(fields, ForwardedFields::Forwarded),
        }
    }
});

fn head(fields: &[(&str, &[u8])]) -> Option<RequestHead> {
    let mut wire = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for (name, value) in fields {
        wire.extend_from_slice(format!("{name}: ").as_bytes());
        wire.extend_from_slice(value);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    let mut connection = Connection::new(Arc::new(Limits::default()));
    connection.receive(&wire);
    match connection.next_event() {
        Ok(Event::Request(head)) => Some(head),
        _ => None,
    }
}

//! What a trusted proxy says of a request, as a head has it then.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_http::{
    Connection, Event, Forwarded, ForwardedFact, ForwardedFields, ForwardedRules, Limits, RequestFault,
    RequestHead,
};

const FACTS: [ForwardedFact; 5] = [
    ForwardedFact::For,
    ForwardedFact::Proto,
    ForwardedFact::Host,
    ForwardedFact::Port,
    ForwardedFact::Prefix,
];

fn head(text: &str) -> RequestHead {
    let mut connection = Connection::new(Arc::new(Limits::default()));
    connection.receive(text.replace('\n', "\r\n").as_bytes());
    let Ok(Event::Request(head)) = connection.next_event() else { unreachable!("not a head: {text}") };
    head
}

fn rules(fields: ForwardedFields) -> ForwardedRules {
    ForwardedRules { fields, facts: FACTS.into() }
}

fn is_trusted(address: IpAddr) -> bool {
    address.to_string().starts_with("10.")
}

fn names(head: &RequestHead) -> Vec<String> {
    head.fields().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

#[test]
fn the_host_that_is_said_takes_the_place_of_the_clients() {
    for (target, host) in [("/a?b", "Host: inner\n"), ("http://inner/a?b", "Host: inner\n")] {
        let mut head = head(&format!("GET {target} HTTP/1.1\n{host}X-Forwarded-Host: shop.example\n\n"));
        head.believe(&rules(ForwardedFields::XForwarded), false, is_trusted).unwrap();
        assert_eq!(head.authority(), Some(b"shop.example".as_slice()), "{target}");
        assert_eq!(head.field("host"), head.authority());
        assert_eq!((head.path(), head.query()), (b"/a".as_slice(), b"b".as_slice()));
        assert_eq!(names(&head), ["X-Forwarded-Host", "host"]);
    }
    let mut old = head("GET / HTTP/1.0\nX-Forwarded-Host: shop.example\nX-Forwarded-Port: 81\n\n");
    old.believe(&rules(ForwardedFields::XForwarded), false, is_trusted).unwrap();
    assert_eq!(old.authority(), Some(b"shop.example:81".as_slice()));
    assert_eq!(old.forwarded().and_then(Forwarded::server), Some((b"shop.example".as_slice(), Some(81))));
}

#[test]
fn where_no_scheme_is_said_the_usual_port_is_that_of_the_connections_own() {
    for (port, is_encrypted, expected) in [
        ("443", true, "inner"),
        ("80", true, "inner:80"),
        ("443", false, "inner:443"),
        ("80", false, "inner"),
    ] {
        let mut head = head(&format!("GET / HTTP/1.1\nHost: inner\nX-Forwarded-Port: {port}\n\n"));
        head.believe(&rules(ForwardedFields::XForwarded), is_encrypted, is_trusted).unwrap();
        assert_eq!(head.authority(), Some(expected.as_bytes()), "{port} {is_encrypted}");
    }
}

#[test]
fn a_port_alone_is_put_to_the_host_that_the_client_has_asked() {
    for (host, expected) in [("inner", Some("inner:81")), ("inner:8000", Some("inner:81")), ("", Some(""))] {
        let mut head = head(&format!("GET / HTTP/1.1\nHost: {host}\nX-Forwarded-Port: 81\n\n"));
        head.believe(&rules(ForwardedFields::XForwarded), false, is_trusted).unwrap();
        assert_eq!(head.authority(), expected.map(str::as_bytes));
    }
}

#[test]
fn only_the_facts_and_the_kind_that_are_asked_for_are_looked_at() {
    let text = "GET / HTTP/1.1\nHost: inner\nForwarded: oops\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: oops\n\n";
    let facts = vec![ForwardedFact::For];
    let mut one = head(text);
    one.believe(
        &ForwardedRules { fields: ForwardedFields::XForwarded, facts: facts.clone() },
        false,
        is_trusted,
    )
    .unwrap();
    let client = one.forwarded().and_then(Forwarded::client);
    assert_eq!(client, Some("192.0.2.1:0".parse().unwrap()));
    assert_eq!(one.forwarded().and_then(Forwarded::is_secure), None);
    let mut other = head(text);
    let rules = ForwardedRules { fields: ForwardedFields::Forwarded, facts };
    assert_eq!(other.believe(&rules, false, is_trusted), Err(RequestFault::Forwarded));
}

#[test]
fn a_request_of_which_nothing_is_said_stays_as_it_is() {
    for fields in [ForwardedFields::Forwarded, ForwardedFields::XForwarded] {
        let mut head =
            head("GET / HTTP/1.1\nHost: inner\nX-Forwarded-For: \nForwarded:\nX-Forwarded-Prefix: /\n\n");
        head.believe(&rules(fields), false, is_trusted).unwrap();
        assert_eq!(head.forwarded(), None);
        assert_eq!(head.field_count(), 4);
    }
}

#[test]
fn what_only_proxies_set_is_left_out() {
    let text = "GET / HTTP/1.1\nHost: a\nforwarded: for=b\nX-Forwarded-For: b\nX-REAL-IP: b\nX-Forwarded-Any: b\nX-Other: c\n\n";
    let mut head = head(text);
    head.drop_forwarded();
    assert_eq!(names(&head), ["Host", "X-Other"]);
    assert_eq!(head.authority(), Some(b"a".as_slice()));
}

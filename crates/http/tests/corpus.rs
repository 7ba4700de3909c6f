//! Every line of `tests/corpus/http1.tsv`: whole, split at every byte, and with a canary behind it.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::corpus::{self, Case};
use support::{Conversation, Seen, converse};
use tidegate_http::Limits;

const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n";

/// Up to this size an input is cut in two at every byte, above it at some.
const CUT_EVERYWHERE_MAX: usize = 2_048;

fn limits(case: &Case) -> Limits {
    Limits { body_size_max: case.number("body-size-max"), ..Limits::default() }
}

/// What the client sends when it sees "100 Continue".
fn on_continue(case: &Case) -> &'static [u8] {
    if !case.has("continue") {
        b""
    } else if case.input.windows(7).any(|part| part.eq_ignore_ascii_case(b"chunked")) {
        b"5\r\nhello\r\n0\r\n\r\n"
    } else {
        b"hello"
    }
}

fn send<'a>(case: &Case, pieces: impl IntoIterator<Item = &'a [u8]>) -> Conversation {
    converse(limits(case), pieces, case.has("eof"), on_continue(case))
}

fn check_statuses(case: &Case, seen: &[u16]) {
    let right = case.statuses.len() == seen.len()
        && case.statuses.iter().zip(seen).all(|(right, status)| right.contains(status));
    assert!(right, "{}: {seen:?} instead of {:?}", case.id, case.statuses);
}

fn check(case: &Case, conversation: &Conversation) {
    let id = &case.id;
    check_statuses(case, &conversation.statuses);
    assert_eq!(conversation.closed, case.has("close"), "{id}: {conversation:?}");
    let complete = conversation.requests.iter().filter(|seen| seen.complete).count();
    let answered = conversation.statuses.iter().filter(|&&status| status == 200).count();
    assert_eq!(complete, answered, "{id}");
    if case.has("truncated") {
        assert!(conversation.fault.is_some_and(|fault| fault.is_truncated()), "{id}: {conversation:?}");
    }
    if case.has("continue") || case.has("no-interim") {
        assert_eq!(conversation.interim, usize::from(case.has("continue")), "{id}");
    }
    for (name, value) in case.facts.iter().filter(|(name, _)| name != "body-size-max") {
        let seen = conversation.requests.last().unwrap_or_else(|| panic!("{id}: no request was seen"));
        check_fact(id, seen, name, value);
    }
}

fn check_fact(id: &str, seen: &Seen, name: &str, value: &[u8]) {
    let find = |list: &[(Vec<u8>, Vec<u8>)], name: &str| {
        list.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.clone())
    };
    let found = match name.split_once(':') {
        Some(("field", name)) => find(&seen.fields, name),
        Some(("trailer", name)) => find(&seen.trailers, name),
        Some(_) => panic!("{id}: no such word: {name}"),
        None => match name {
            "method" => Some(seen.method.clone().into_bytes()),
            "target" => Some(seen.target.clone()),
            "path" => Some(seen.path.clone()),
            "query" => Some(seen.query.clone()),
            "host" => seen.host.as_ref().map(|host| host.to_ascii_lowercase()),
            "body" => Some(seen.body.clone()),
            "body-size" => Some(seen.body.len().to_string().into_bytes()),
            _ => panic!("{id}: no such word: {name}"),
        },
    };
    assert_eq!(found.as_deref(), Some(value), "{id}: {name}");
}

fn check_absent(case: &Case, conversation: &Conversation) {
    for name in case.flags.iter().filter_map(|flag| flag.strip_prefix("no-field:")) {
        let seen = conversation.requests.last().expect("a request");
        assert!(!seen.fields.iter().any(|(other, _)| other == name.as_bytes()), "{}: {name}", case.id);
    }
}

#[test]
fn every_line_sent_whole_is_answered_as_it_says() {
    for case in corpus::read() {
        let conversation = send(&case, [&case.input[..]]);
        check(&case, &conversation);
        check_absent(&case, &conversation);
    }
}

#[test]
fn every_line_sent_byte_by_byte_is_answered_as_when_sent_whole() {
    for case in corpus::read() {
        let whole = send(&case, [&case.input[..]]);
        assert_eq!(send(&case, case.input.chunks(1)), whole, "{}", case.id);
    }
}

#[test]
fn every_line_cut_in_two_is_answered_as_when_sent_whole() {
    for case in corpus::read() {
        let whole = send(&case, [&case.input[..]]);
        let step = if case.input.len() <= CUT_EVERYWHERE_MAX { 1 } else { case.input.len() / 16 };
        for cut in (0..case.input.len()).step_by(step) {
            let (first, second) = case.input.split_at(cut);
            assert_eq!(send(&case, [first, second]), whole, "{} cut at {cut}", case.id);
        }
    }
}

#[test]
fn the_canary_is_answered_only_behind_what_leaves_the_connection_open() {
    for case in corpus::read() {
        if case.has("eof") || case.has("continue") {
            continue;
        }
        let whole = [&case.input[..], CANARY].concat();
        for conversation in
            [send(&case, [&whole[..]]), send(&case, [&case.input[..], CANARY]), send(&case, whole.chunks(1))]
        {
            let canaries = conversation.requests.iter().filter(|seen| seen.target == b"/canary").count();
            let mut statuses = conversation.statuses.clone();
            if case.has("close") {
                assert_eq!(canaries, 0, "{}", case.id);
            } else {
                assert_eq!((canaries, statuses.pop()), (1, Some(200)), "{}", case.id);
            }
            check_statuses(&case, &statuses);
        }
    }
}

#[test]
fn a_body_that_is_refused_at_its_head_gets_no_100_continue() {
    for case in corpus::read() {
        let mut server = support::Server::new(limits(&case));
        server.on_continue = b"x".to_vec();
        server.receive(&case.input);
        if server.conversation.requests.is_empty() {
            assert_eq!(server.conversation.interim, 0, "{}", case.id);
        }
    }
}

#[test]
fn the_corpus_holds_every_kind_of_body() {
    // A guard against a corpus that is read wrongly and so tests nothing.
    let cases = corpus::read();
    assert!(cases.len() > 300);
    let kinds = ["Content-Length: 3", "Transfer-Encoding: chunked", "Expect: 100-continue"];
    for kind in kinds {
        assert!(
            cases.iter().any(|case| case.input.windows(kind.len()).any(|part| part == kind.as_bytes())),
            "{kind}"
        );
    }
}

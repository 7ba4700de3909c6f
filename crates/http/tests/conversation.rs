//! Whole conversations through the public interface: order, framing, continuation, ends.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "shared with the corpus test, which uses other parts of it")]
mod support;

use std::sync::Arc;

use support::{CONTEXT, converse};
use tidegate_http::ResponseTrailers;
use tidegate_http::{
    BodyKind, BodyLength, Connection, Event, FieldOutcome, Limits, RequestFault, RequestHead, ResponseEnd,
    ResponseHead, SendContext, SendFault, TargetForm, UnderscoreNames, Version,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_10: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST_EXPECT: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

fn connection(received: &[u8]) -> Connection {
    connection_with(Limits::default(), received)
}

fn connection_with(limits: Limits, received: &[u8]) -> Connection {
    let mut connection = Connection::new(Arc::new(limits));
    connection.receive(received);
    connection
}

fn request(connection: &mut Connection) -> RequestHead {
    match connection.next_event() {
        Ok(Event::Request(head)) => head,
        other => panic!("a request, not {other:?}"),
    }
}

/// Reads to the end of the request.
fn body(connection: &mut Connection) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        match connection.next_event() {
            Ok(Event::Data(data)) => body.extend_from_slice(data),
            Ok(Event::End(_)) => return body,
            other => panic!("a body, not {other:?}"),
        }
    }
}

fn status(line: &str) -> ResponseHead {
    ResponseHead::from_status_line(line.as_bytes()).expect("a status")
}

/// Answers with this head and body, and yields the whole response and how it ended.
fn answer(
    connection: &mut Connection,
    head: &ResponseHead,
    length: BodyLength,
    pieces: &[&[u8]],
) -> (String, ResponseEnd) {
    let mut out = Vec::new();
    connection.send_head(head, length, &CONTEXT, &mut out).expect("in order");
    for piece in pieces {
        let framed = connection.frame_data(piece.len(), &mut out).expect("in order");
        out.extend_from_slice(&piece[..framed.take]);
        out.extend_from_slice(framed.suffix);
    }
    let end = connection.send_end(&ResponseTrailers::NONE, &mut out).expect("in order");
    (String::from_utf8(out).expect("text"), end)
}

const USUAL: &str = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: tidegate\r\n";

#[test]
fn a_request_is_head_then_end_then_pause_until_its_response_is_complete() {
    let mut connection = connection(GET);
    let head = request(&mut connection);
    assert_eq!((head.method(), head.path(), head.version()), ("GET", &b"/"[..], Version::Http11));
    assert_eq!((head.size(), head.field_count(), head.body()), (GET.len(), 1, BodyKind::Empty));
    assert!(matches!(connection.next_event(), Ok(Event::End(trailers)) if trailers.is_empty()));
    connection.receive(GET);
    assert!(matches!(connection.next_event(), Ok(Event::Paused)));
    assert!(!connection.start_next());
    answer(&mut connection, &status("200 OK"), BodyLength::Known(0), &[]);
    assert!(matches!(connection.next_event(), Ok(Event::Paused)));
    assert_eq!(connection.buffered(), GET.len());
    assert!(connection.start_next());
    request(&mut connection);
}

#[test]
fn an_idle_connection_is_small_and_holds_no_memory() {
    assert!(size_of::<Connection>() < 400, "{}", size_of::<Connection>());
    let mut connection = connection(GET);
    request(&mut connection);
    body(&mut connection);
    answer(&mut connection, &status("200 OK"), BodyLength::Known(0), &[]);
    assert!(connection.start_next());
    connection.shrink();
    assert_eq!(connection.buffered(), 0);
    assert!(!connection.head_started());
}

#[test]
fn shrinking_keeps_what_is_not_parsed_yet() {
    let mut connection = connection(b"GET / HT");
    assert!(matches!(connection.next_event(), Ok(Event::NeedData)));
    connection.shrink();
    assert!(connection.head_started());
    connection.receive(b"TP/1.1\r\nHost: a\r\n\r\n");
    request(&mut connection);
}

#[test]
fn a_close_between_requests_is_clean_and_within_one_is_not() {
    for (received, fault) in [
        (&b""[..], None),
        (b"\r\n", None),
        (b"\r", Some(RequestFault::HeadTruncated)),
        (b"GET / HTTP/1.1\r\nHost", Some(RequestFault::HeadTruncated)),
    ] {
        let mut connection = connection(received);
        connection.receive_eof();
        match (connection.next_event(), fault) {
            (Ok(Event::Closed), None) => {}
            (Err(found), Some(fault)) => assert_eq!(found, fault),
            (other, _) => panic!("{received:?}: {other:?}"),
        }
    }
}

#[test]
fn a_client_that_half_closes_after_its_request_is_answered() {
    let mut connection = connection(GET);
    connection.receive_eof();
    request(&mut connection);
    body(&mut connection);
    answer(&mut connection, &status("200 OK"), BodyLength::Known(0), &[]);
    assert!(connection.start_next());
    assert!(matches!(connection.next_event(), Ok(Event::Closed)));
    assert!(connection.must_close());
}

#[test]
fn nothing_is_kept_of_what_comes_after_a_fault() {
    let mut connection = connection(b"GET  / HTTP/1.1\r\n\r\n");
    assert!(connection.next_event().is_err());
    connection.receive(&GET.repeat(1000));
    assert_eq!(connection.buffered(), 0);
    assert_eq!(connection.next_event().unwrap_err(), RequestFault::RequestLine);
}

#[test]
fn a_body_may_be_read_past_the_connection_when_nothing_is_buffered() {
    let mut connection = connection(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabc");
    request(&mut connection);
    assert_eq!(connection.direct_body(), 0, "bytes are buffered");
    assert!(matches!(connection.next_event(), Ok(Event::Data(b"abc"))));
    assert_eq!(connection.direct_body(), 5);
    connection.direct_body_received(4);
    assert_eq!(connection.direct_body(), 1);
    assert!(matches!(connection.next_event(), Ok(Event::NeedData)));
    connection.direct_body_received(1);
    assert!(matches!(connection.next_event(), Ok(Event::End(_))));
    assert_eq!(connection.direct_body(), 0);
}

#[test]
fn a_chunked_body_is_never_read_past_the_connection() {
    let mut connection = connection(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    request(&mut connection);
    assert_eq!(connection.direct_body(), 0);
}

#[test]
fn a_response_may_end_before_its_request_does() {
    let mut connection = connection(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabc");
    request(&mut connection);
    answer(&mut connection, &status("200 OK"), BodyLength::Known(0), &[]);
    assert!(!connection.start_next(), "the request is still coming");
    assert!(!connection.must_close());
    connection.receive(b"defgh");
    assert_eq!(body(&mut connection), b"abcdefgh");
    assert!(connection.start_next());
}

#[test]
fn a_body_may_have_less_room_than_others() {
    let known = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunked =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    let two = [known.as_slice(), known].concat();
    for received in [&two[..], chunked] {
        let mut connection = connection(received);
        request(&mut connection);
        assert_eq!(connection.limit_body(5), Ok(()));
        assert_eq!(body(&mut connection), b"hello");
    }
    let mut connection = connection(known);
    request(&mut connection);
    assert_eq!(connection.limit_body(4), Err(RequestFault::BodyTooLarge));
    assert!(connection.must_close());
    let mut connection = self::connection(chunked);
    request(&mut connection);
    assert_eq!(connection.limit_body(4), Ok(()));
    assert!(matches!(connection.next_event(), Ok(Event::Data(b"he"))));
    assert!(matches!(connection.next_event(), Err(RequestFault::BodyTooLarge)));
}

#[test]
fn a_truncated_body_is_told_from_a_finished_one() {
    let mut connection = connection(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabc");
    connection.receive_eof();
    request(&mut connection);
    assert!(matches!(connection.next_event(), Ok(Event::Data(b"abc"))));
    assert!(connection.next_event().unwrap_err().is_truncated());
}

#[test]
fn a_known_length_becomes_content_length() {
    let mut connection = connection(GET);
    request(&mut connection);
    let mut head = status("200 OK");
    assert_eq!(head.field(b"Content-Type", b"text/plain"), Ok(FieldOutcome::Added));
    let (response, end) = answer(&mut connection, &head, BodyLength::Known(5), &[b"he", b"llo"]);
    assert_eq!(end, ResponseEnd::Complete);
    assert_eq!(
        response,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: tidegate\r\n\
         Content-Length: 5\r\n\r\nhello"
    );
}

#[test]
fn an_unknown_length_is_chunked_to_1_1_and_ends_with_the_connection_to_1_0() {
    let mut new = connection(GET);
    request(&mut new);
    body(&mut new);
    let (response, _) =
        answer(&mut new, &status("200 OK"), BodyLength::Unknown, &[b"hello", b"", b"0123456789abcdef"]);
    assert_eq!(
        response,
        format!("{USUAL}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n")
    );
    assert!(new.start_next());

    let mut old = connection(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    request(&mut old);
    body(&mut old);
    let (response, _) = answer(&mut old, &status("200 OK"), BodyLength::Unknown, &[b"hello"]);
    assert_eq!(response, format!("{USUAL}Connection: close\r\n\r\nhello"));
    assert!(!old.start_next());
}

#[test]
fn a_1_0_client_is_told_that_its_connection_stays_open() {
    let mut old = connection(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    request(&mut old);
    body(&mut old);
    let (response, _) = answer(&mut old, &status("200 OK"), BodyLength::Known(0), &[]);
    assert_eq!(response, format!("{USUAL}Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"));
    assert!(old.start_next());

    let mut plain = connection(GET_10);
    request(&mut plain);
    let (response, _) = answer(&mut plain, &status("200 OK"), BodyLength::Known(0), &[]);
    assert!(response.ends_with("Connection: close\r\n\r\n"), "{response}");
}

#[test]
fn a_response_to_head_has_the_fields_and_no_body() {
    for (given, length, announced) in [
        (Some("7"), BodyLength::Known(0), "Content-Length: 7\r\n"),
        (None, BodyLength::Known(5), "Content-Length: 5\r\n"),
        // An empty answer to HEAD says nothing about the length of what GET would bring.
        (None, BodyLength::Known(0), ""),
        (None, BodyLength::Unknown, ""),
    ] {
        let mut connection = connection(HEAD);
        request(&mut connection);
        body(&mut connection);
        let mut head = status("200 OK");
        if let Some(value) = given {
            head.field(b"content-length", value.as_bytes()).unwrap();
        }
        let (response, end) = answer(&mut connection, &head, length, &[b"hello"]);
        assert_eq!((response, end), (format!("{USUAL}{announced}\r\n"), ResponseEnd::Complete));
        assert!(connection.start_next());
    }
}

#[test]
fn no_content_and_not_modified_have_no_body() {
    for (line, announced) in [("204 No Content", ""), ("304 Not Modified", "Content-Length: 5\r\n")] {
        let mut connection = connection(GET);
        request(&mut connection);
        body(&mut connection);
        let mut head = status(line);
        head.field(b"Content-Length", b"5").unwrap();
        let (response, end) = answer(&mut connection, &head, BodyLength::Unknown, &[b"hello"]);
        assert_eq!(end, ResponseEnd::Complete);
        assert!(response.ends_with(&format!("Server: tidegate\r\n{announced}\r\n")), "{response}");
        assert!(connection.start_next());
    }
}

#[test]
fn what_goes_over_content_length_is_cut() {
    let mut connection = connection(GET);
    request(&mut connection);
    let mut out = Vec::new();
    connection.send_head(&status("200 OK"), BodyLength::Known(5), &CONTEXT, &mut out).unwrap();
    let framed = connection.frame_data(3, &mut out).unwrap();
    assert_eq!((framed.take, framed.overrun), (3, false));
    let framed = connection.frame_data(3, &mut out).unwrap();
    assert_eq!((framed.take, framed.overrun), (2, true));
    assert_eq!(connection.send_end(&ResponseTrailers::NONE, &mut out), Ok(ResponseEnd::Complete));
}

#[test]
fn what_stays_below_content_length_closes_the_connection() {
    let mut connection = connection(GET);
    request(&mut connection);
    body(&mut connection);
    let mut head = status("200 OK");
    head.field(b"Content-Length", b"9").unwrap();
    let (_, end) = answer(&mut connection, &head, BodyLength::Unknown, &[b"hello"]);
    assert_eq!(end, ResponseEnd::Short { missing: 4 });
    assert!(connection.must_close() && !connection.start_next());
}

#[test]
fn date_and_server_of_the_application_stand() {
    let mut connection = connection(GET);
    request(&mut connection);
    let mut head = status("200 OK");
    head.field(b"date", b"then").unwrap();
    head.field(b"SERVER", b"mine").unwrap();
    let (response, _) = answer(&mut connection, &head, BodyLength::Known(0), &[]);
    assert_eq!(response, "HTTP/1.1 200 OK\r\ndate: then\r\nSERVER: mine\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_field_of_the_servers_is_sent_unless_the_application_has_set_it() {
    let context = SendContext { server: None, extra: Some((b"X-Request-ID", b"ours")), ..CONTEXT };
    for (name, expected) in [
        (None, "X-Request-ID: ours\r\n"),
        (Some("x-request-id"), "x-request-id: mine\r\n"),
        (Some("X-Request-IDs"), "X-Request-IDs: mine\r\nX-Request-ID: ours\r\n"),
        (Some("X-Request"), "X-Request: mine\r\nX-Request-ID: ours\r\n"),
    ] {
        let mut connection = connection(GET);
        request(&mut connection);
        body(&mut connection);
        let mut head = status("200 OK");
        head.field(b"Date", b"then").unwrap();
        if let Some(name) = name {
            head.field(name.as_bytes(), b"mine").unwrap();
        }
        let mut out = Vec::new();
        connection.send_head(&head, BodyLength::Known(0), &context, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap().replace("Date: then\r\n", "");
        assert_eq!(out, format!("HTTP/1.1 200 OK\r\n{expected}Content-Length: 0\r\n\r\n"));
    }
}

#[test]
fn a_field_of_a_request_can_be_replaced_in_every_spelling() {
    let bytes =
        b"GET /a?b HTTP/1.1\r\nHost: a\r\nx-request-id: 1\r\nX_Request_ID: 2\r\nX-Request-IDs: 3\r\n\r\n";
    let limits = Limits { underscore_names: UnderscoreNames::Keep, ..Limits::default() };
    let mut connection = connection_with(limits, bytes);
    let mut head = request(&mut connection);
    head.replace_field("X-Request-ID", Some(b"ours"));
    let fields: Vec<_> = head.fields().skip(1).collect();
    assert_eq!(fields, [(&b"X-Request-IDs"[..], &b"3"[..]), (b"X-Request-ID", b"ours")]);
    head.replace_field("X-Request-ID", None);
    assert_eq!(head.field("x-request-id"), None);
    assert_eq!((head.target(), head.field("host"), head.field_count()), (&b"/a?b"[..], Some(&b"a"[..]), 2));
}

#[test]
fn a_server_that_drains_says_so() {
    let mut connection = connection(GET);
    request(&mut connection);
    body(&mut connection);
    let context = SendContext { close: true, server: None, ..CONTEXT };
    let mut out = Vec::new();
    connection.send_head(&status("200 OK"), BodyLength::Known(0), &context, &mut out).unwrap();
    connection.send_end(&ResponseTrailers::NONE, &mut out).unwrap();
    assert!(out.ends_with(b"Content-Length: 0\r\nConnection: close\r\n\r\n"));
    assert!(connection.must_close() && !connection.start_next());
}

#[test]
fn parts_of_a_response_out_of_order_are_refused() {
    let mut out = Vec::new();
    let mut connection = connection(GET);
    let head = status("200 OK");
    assert_eq!(
        connection.send_head(&head, BodyLength::Known(0), &CONTEXT, &mut out),
        Err(SendFault::OutOfOrder),
        "no request has been read"
    );
    request(&mut connection);
    assert_eq!(connection.frame_data(1, &mut out), Err(SendFault::OutOfOrder));
    assert_eq!(connection.send_end(&ResponseTrailers::NONE, &mut out), Err(SendFault::OutOfOrder));
    assert!(out.is_empty());
    connection.send_head(&head, BodyLength::Known(0), &CONTEXT, &mut out).unwrap();
    let size = out.len();
    assert_eq!(
        connection.send_head(&head, BodyLength::Known(0), &CONTEXT, &mut out),
        Err(SendFault::OutOfOrder)
    );
    connection.send_end(&ResponseTrailers::NONE, &mut out).unwrap();
    assert_eq!(connection.frame_data(1, &mut out), Err(SendFault::OutOfOrder));
    assert_eq!(connection.send_end(&ResponseTrailers::NONE, &mut out), Err(SendFault::OutOfOrder));
    assert_eq!(out.len(), size, "a refused call writes nothing");
}

#[test]
fn an_interim_head_is_never_the_final_one() {
    let mut connection = connection(GET);
    request(&mut connection);
    let mut out = Vec::new();
    let hints = ResponseHead::new(103, b"Early Hints").unwrap();
    assert_eq!(
        connection.send_head(&hints, BodyLength::Known(0), &CONTEXT, &mut out),
        Err(SendFault::NotFinal)
    );
    assert!(out.is_empty() && !connection.head_sent());
}

#[test]
fn a_100_continue_is_sent_once_and_only_to_a_client_that_waits() {
    let mut out = Vec::new();
    let mut waiting = connection(POST_EXPECT);
    assert!(!waiting.send_continue(&mut out), "no request has been read");
    request(&mut waiting);
    assert!(waiting.expect_pending());
    assert!(waiting.send_continue(&mut out));
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(!waiting.send_continue(&mut out) && !waiting.expect_pending());
    waiting.receive(b"hello");
    assert_eq!(body(&mut waiting), b"hello");
    answer(&mut waiting, &status("200 OK"), BodyLength::Known(0), &[]);
    assert!(waiting.start_next());

    let mut impatient = connection(&[POST_EXPECT, b"h"].concat());
    request(&mut impatient);
    assert!(!impatient.send_continue(&mut out), "body bytes have come");
    assert!(matches!(impatient.next_event(), Ok(Event::Data(b"h"))));
    assert!(!impatient.send_continue(&mut out), "body bytes have come and were taken");
}

#[test]
fn a_final_answer_in_place_of_100_continue_closes_the_connection() {
    let mut connection = connection(POST_EXPECT);
    request(&mut connection);
    let (response, _) = answer(&mut connection, &status("401 Unauthorized"), BodyLength::Known(0), &[]);
    assert!(response.ends_with("Connection: close\r\n\r\n"), "{response}");
    let mut out = Vec::new();
    assert!(!connection.send_continue(&mut out), "the final head has been sent");
    connection.receive(b"hello");
    body(&mut connection);
    assert!(connection.must_close() && !connection.start_next());
}

#[test]
fn early_hints_go_to_1_1_clients_before_the_final_head() {
    let mut hints = ResponseHead::new(103, b"Early Hints").unwrap();
    hints.field(b"Link", b"</style.css>; rel=preload").unwrap();
    let mut out = Vec::new();
    let mut new = connection(GET);
    request(&mut new);
    assert!(new.send_informational(&hints, &mut out));
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
    for forbidden in [100, 101, 200] {
        assert!(
            !new.send_informational(&ResponseHead::new(forbidden, b"").unwrap(), &mut out),
            "{forbidden}"
        );
    }
    answer(&mut new, &status("200 OK"), BodyLength::Known(0), &[]);
    assert!(!new.send_informational(&hints, &mut out), "the final head has been sent");

    let mut old = connection(GET_10);
    request(&mut old);
    assert!(!old.send_informational(&hints, &mut out));
}

#[test]
fn a_fault_is_answered_with_constant_text_and_a_close() {
    let mut connection = connection(b"GET /<script> HTTP/1.1\r\nHost: a\r\nX-Secret : evil\r\n\r\n");
    let fault = connection.next_event().unwrap_err();
    let mut out = Vec::new();
    assert!(connection.send_fault(&fault, &CONTEXT, &mut out));
    let response = String::from_utf8(out.clone()).unwrap();
    let (head, text) = response.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nDate: "),
        "{head}"
    );
    assert!(head.ends_with(&format!("Content-Length: {}\r\nConnection: close", text.len())), "{head}");
    assert_eq!(text, format!("400 Bad Request: {fault}\n"));
    assert!(!response.contains("script") && !response.contains("evil") && !response.contains("Secret"));
    assert!(!connection.send_fault(&fault, &CONTEXT, &mut out), "once");
}

#[test]
fn a_fault_in_a_head_request_is_answered_without_a_body() {
    let mut connection = connection(b"HEAD / HTTP/1.1\r\nHost : a\r\n\r\n");
    let fault = connection.next_event().unwrap_err();
    let mut out = Vec::new();
    assert!(connection.send_fault(&fault, &CONTEXT, &mut out));
    assert!(out.ends_with(b"\r\n\r\n"));
}

#[test]
fn a_fault_in_a_body_is_not_answered_once_the_response_has_begun() {
    let mut connection = connection(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx");
    request(&mut connection);
    let mut out = Vec::new();
    connection.send_head(&status("200 OK"), BodyLength::Unknown, &CONTEXT, &mut out).unwrap();
    let fault = connection.next_event().unwrap_err();
    let size = out.len();
    assert!(!connection.send_fault(&fault, &CONTEXT, &mut out));
    assert_eq!(out.len(), size);
    connection.frame_data(1, &mut out).unwrap();
    connection.send_end(&ResponseTrailers::NONE, &mut out).unwrap();
    assert!(connection.must_close() && !connection.start_next());
}

#[test]
fn every_limit_holds_at_its_last_byte() {
    let limits = Limits { head_size_max: 100, line_size_max: 60, field_count_max: 3, ..Limits::default() };
    let fault = |head: &str| converse(limits.clone(), [head.as_bytes()], false, b"").fault;
    let line = |size: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(size - "GET / HTTP/1.1".len()));
    assert_eq!(fault(&line(60)), Some(RequestFault::HostMissing), "the line is let through");
    assert_eq!(fault(&line(61)), Some(RequestFault::LineTooLong));
    let field =
        |size: usize| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(size - "Host: ".len()));
    assert_eq!(fault(&field(60)), None);
    assert_eq!(fault(&field(61)), Some(RequestFault::FieldTooLong));
    let head = |size: usize| {
        let rest = size - "GET / HTTP/1.1\r\nHost: a\r\nX: \r\nY: \r\n\r\n".len();
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\nY: {}\r\n\r\n",
            "x".repeat(rest / 2),
            "y".repeat(rest - rest / 2)
        )
    };
    assert_eq!(head(100).len(), 100);
    assert_eq!(fault(&head(100)), None);
    assert_eq!(fault(&head(101)), Some(RequestFault::HeadTooLarge));
    assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\nA: \r\nB: \r\n\r\n"), None);
    assert_eq!(
        fault("GET / HTTP/1.1\r\nHost: a\r\nA: \r\nB: \r\nC: \r\n\r\n"),
        Some(RequestFault::TooManyFields)
    );
}

#[test]
fn absurdly_large_limits_do_not_overflow() {
    let limits = Limits {
        head_size_max: usize::MAX,
        line_size_max: usize::MAX,
        field_count_max: usize::MAX,
        chunk_extension_size_max: usize::MAX,
        trailer_size_max: usize::MAX,
        trailer_count_max: usize::MAX,
        body_size_max: Some(u64::MAX),
        underscore_names: UnderscoreNames::Keep,
    };
    let sent =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\nA: b\r\n\r\n";
    assert_eq!(converse(limits, [&sent[..]], false, b"").statuses, [200]);
}

#[test]
fn names_with_underscores_follow_the_setting() {
    let sent: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX_A: b\r\n\r\n";
    let names = |policy| {
        let limits = Limits { underscore_names: policy, ..Limits::default() };
        let conversation = converse(limits, [sent], false, b"");
        (conversation.fault, conversation.requests.iter().map(|seen| seen.fields.len()).sum::<usize>())
    };
    assert_eq!(names(UnderscoreNames::Drop), (None, 1));
    assert_eq!(names(UnderscoreNames::Keep), (None, 2));
    assert_eq!(names(UnderscoreNames::Refuse), (Some(RequestFault::UnderscoreName), 0));
}

#[test]
fn a_target_is_split_into_its_parts() {
    let mut absolute = connection(b"GET HTTPS://a:443/b?c#".split_last().unwrap().1);
    absolute.receive(b" HTTP/1.1\r\nHost: A\r\n\r\n");
    let head = request(&mut absolute);
    assert_eq!(head.target_form(), TargetForm::Absolute);
    assert_eq!((head.scheme(), head.authority()), (Some(&b"HTTPS"[..]), Some(&b"a:443"[..])));
    assert_eq!(
        (head.path(), head.query(), head.target()),
        (&b"/b"[..], &b"c"[..], &b"HTTPS://a:443/b?c"[..])
    );

    let mut asterisk = connection(b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n");
    let head = request(&mut asterisk);
    assert_eq!(
        (head.target_form(), head.path(), head.authority()),
        (TargetForm::Asterisk, &b"*"[..], Some(&b""[..]))
    );

    let mut old = connection(b"GET /? HTTP/1.0\r\n\r\n");
    let head = request(&mut old);
    assert_eq!(
        (head.path(), head.query(), head.authority(), head.scheme()),
        (&b"/"[..], &b""[..], None, None)
    );
}

#[test]
fn a_peer_that_speaks_tls_is_told_at_its_first_byte() {
    let mut connection = connection(b"\x16");
    assert_eq!(connection.next_event().unwrap_err(), RequestFault::Method);
}

#[test]
fn ten_thousand_pipelined_requests_are_answered_in_order() {
    let sent: Vec<u8> = (0..10_000)
        .flat_map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes())
        .collect();
    for size in [sent.len(), 1_000, 7] {
        let conversation = converse(Limits::default(), sent.chunks(size), false, b"");
        assert_eq!(conversation.requests.len(), 10_000);
        for (number, seen) in conversation.requests.iter().enumerate() {
            assert_eq!(seen.target, format!("/{number}").as_bytes());
        }
    }
}

#[test]
fn any_cut_of_a_valid_conversation_gives_the_same_events() {
    let sent = b"\r\nPOST /1?a=b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\\\"\"\r\nhello\r\n1\r\n \r\n\
        0;z\r\nX: y\r\nZ: \t\r\n\r\nPUT http://b:80/ HTTP/1.1\r\nhost: B\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbodyGET /3 \
        HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\nHEAD * HTTP/1.1\r\n\r\n";
    let whole = converse(Limits::default(), [&sent[..]], true, b"");
    assert_eq!((&whole.statuses[..], whole.fault), (&[200, 200, 200, 400][..], Some(RequestFault::Target)));
    for first in 0..sent.len() {
        for second in (first..sent.len()).step_by(3) {
            let pieces = [&sent[..first], &sent[first..second], &sent[second..]];
            assert_eq!(converse(Limits::default(), pieces, true, b""), whole, "cut at {first} and {second}");
        }
    }
}

#[test]
fn a_missed_deadline_is_answered_with_408() {
    for fault in [RequestFault::HeadTimeout, RequestFault::BodyTimeout] {
        let mut connection = connection(b"GET / HT");
        assert!(matches!(connection.next_event(), Ok(Event::NeedData)));
        let mut out = Vec::new();
        assert!(connection.send_fault(&fault, &CONTEXT, &mut out));
        assert!(out.starts_with(b"HTTP/1.1 408 Request Timeout\r\n"));
        assert!(!connection.start_next());
    }
}

#[test]
fn heads_and_connections_may_move_between_threads() {
    fn movable<T: Send>() {}
    movable::<RequestHead>();
    movable::<Connection>();
    movable::<ResponseHead>();
    movable::<RequestFault>();
}

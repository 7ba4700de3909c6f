//! One request and its response where many share a connection.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use tidegate_http::{
    Assembly, BodyLength, Event, Limits, RequestFault, RequestHead, ResponseEnd, ResponseHead, SendContext,
    SendFault, Stream, Version,
};

fn limits(body_size_max: Option<u64>) -> Arc<Limits> {
    Arc::new(Limits { body_size_max, ..Limits::default() })
}

fn head(method: &str, goes_on: bool, fields: &[(&str, &str)]) -> RequestHead {
    let of = Assembly {
        method: method.as_bytes(),
        target: b"/",
        authority: Some(b"a"),
        version: Version::Http2,
        goes_on,
    };
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    RequestHead::assemble(&of, fields, &Limits::default()).unwrap()
}

fn context() -> SendContext<'static> {
    SendContext {
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        server: Some(b"tidegate"),
        extra: Some((b"X-Request-ID", b"7")),
        close: true,
    }
}

fn sent(stream: &mut Stream, head: &ResponseHead, length: BodyLength) -> Vec<String> {
    let mut fields = Vec::new();
    let push = |name: &[u8], value: &[u8]| {
        fields.push(format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    };
    stream.send_head(head, length, &context(), push).unwrap();
    fields
}

#[test]
fn a_request_without_a_body_is_whole_with_its_head() {
    let mut stream = Stream::new(head("GET", false, &[]), true, &limits(None));
    assert!(matches!(stream.next_event(), Ok(Event::Request(_))));
    assert!(matches!(stream.next_event(), Ok(Event::End(_))));
    assert!(matches!(stream.next_event(), Ok(Event::Paused)));
    assert!(stream.request_body_complete());
}

#[test]
fn a_body_is_whole_when_its_end_has_come() {
    let mut stream = Stream::new(head("POST", true, &[("content-length", "3")]), false, &limits(None));
    assert!(matches!(stream.next_event(), Ok(Event::Request(_))));
    assert!(matches!(stream.next_event(), Ok(Event::NeedData)));
    assert_eq!(stream.body_left(), Some(3));
    stream.body_received(3);
    assert!(matches!(stream.next_event(), Ok(Event::NeedData)));
    stream.receive_eof();
    assert!(matches!(stream.next_event(), Ok(Event::End(_))));
    assert_eq!(stream.body_left(), Some(0));
}

#[test]
fn a_body_that_ends_early_or_is_too_large_is_refused() {
    let mut short = Stream::new(head("POST", true, &[("content-length", "3")]), false, &limits(None));
    short.next_event().unwrap();
    short.body_received(2);
    short.receive_eof();
    assert_eq!(short.next_event().unwrap_err(), RequestFault::Truncated);

    let mut large = Stream::new(head("POST", true, &[]), false, &limits(Some(10)));
    large.next_event().unwrap();
    assert_eq!(large.direct_body(), 11);
    large.body_received(10);
    assert!(matches!(large.next_event(), Ok(Event::NeedData)));
    assert_eq!(large.direct_body(), 1);
    large.body_received(1);
    assert_eq!(large.next_event().unwrap_err(), RequestFault::BodyTooLarge);
    assert_eq!(large.next_event().unwrap_err(), RequestFault::BodyTooLarge);

    let mut told = Stream::new(head("POST", true, &[("content-length", "11")]), false, &limits(None));
    told.next_event().unwrap();
    assert_eq!(told.limit_body(10), Err(RequestFault::BodyTooLarge));
}

#[test]
fn a_head_is_given_field_by_field_with_what_the_server_adds() {
    let mut stream = Stream::new(head("GET", false, &[]), true, &limits(None));
    stream.next_event().unwrap();
    let mut response = ResponseHead::new(200, b"OK").unwrap();
    response.field(b"Content-Type", b"text/plain").unwrap();
    response.field(b"Connection", b"close").unwrap();
    assert_eq!(
        sent(&mut stream, &response, BodyLength::Known(3)),
        [
            "Content-Type: text/plain",
            "date: Sun, 06 Nov 1994 08:49:37 GMT",
            "server: tidegate",
            "X-Request-ID: 7",
            "content-length: 3"
        ]
    );
    let framed = stream.frame_data(5).unwrap();
    assert_eq!((framed.take, framed.overrun, framed.suffix), (3, true, &b""[..]));
    assert_eq!(stream.send_end(), Ok(ResponseEnd::Complete));
    assert_eq!(stream.send_end(), Err(SendFault::OutOfOrder));
}

#[test]
fn a_body_of_unknown_length_goes_as_it_is_and_one_that_is_short_is_told() {
    for (length, taken, end) in [
        (BodyLength::Unknown, 5, ResponseEnd::Complete),
        (BodyLength::Known(9), 5, ResponseEnd::Short { missing: 4 }),
    ] {
        let mut stream = Stream::new(head("GET", false, &[]), true, &limits(None));
        stream.next_event().unwrap();
        sent(&mut stream, &ResponseHead::new(200, b"").unwrap(), length);
        assert_eq!(stream.frame_data(5).unwrap().take, taken);
        assert_eq!(stream.send_end(), Ok(end));
    }
}

#[test]
fn a_response_to_head_has_no_body() {
    let mut stream = Stream::new(head("HEAD", false, &[]), true, &limits(None));
    stream.next_event().unwrap();
    let fields = sent(&mut stream, &ResponseHead::new(200, b"").unwrap(), BodyLength::Known(5));
    assert!(fields.contains(&"content-length: 5".to_owned()));
    assert_eq!(stream.frame_data(5).unwrap().take, 0);
}

#[test]
fn what_is_refused_is_answered_once() {
    let mut stream = Stream::refused(RequestFault::HeadTooLarge);
    assert_eq!(stream.next_event().unwrap_err(), RequestFault::HeadTooLarge);
    let (mut count, mut text) = (0, Vec::new());
    assert!(stream.send_fault(&RequestFault::HeadTooLarge, &context(), |_, _| count += 1, &mut text));
    assert!(count >= 4 && text.starts_with(b"431 "));
    assert!(!stream.send_fault(&RequestFault::HeadTooLarge, &context(), |_, _| {}, &mut text));
}

#[test]
fn a_client_that_waits_is_told_to_go_on_once() {
    let expects = head("POST", true, &[("expect", "100-continue")]);
    let mut stream = Stream::new(expects.clone(), false, &limits(None));
    stream.next_event().unwrap();
    assert!(stream.expect_pending() && stream.take_continue());
    assert!(!stream.take_continue());

    let mut eager = Stream::new(expects, false, &limits(None));
    eager.next_event().unwrap();
    eager.body_received(1);
    assert!(!eager.take_continue());
}

#[test]
fn a_websocket_takes_the_stream_over_after_its_head() {
    let mut stream = Stream::new(head("GET", false, &[]).asking_for_websocket(), true, &limits(None));
    stream.next_event().unwrap();
    stream.next_event().unwrap();
    assert!(!stream.upgrade());
    sent(&mut stream, &ResponseHead::new(200, b"").unwrap(), BodyLength::Unknown);
    assert!(stream.upgrade());
    assert!(matches!(stream.next_event(), Ok(Event::Closed)));
    assert_eq!(stream.frame_data(1), Err(SendFault::OutOfOrder));
}

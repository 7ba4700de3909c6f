//! Requests that come as CGI variables: each whole, byte by byte, and with bytes behind it.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use tidegate_http::{
    BodyKind, BodyLength, Connection, Dialect, Event, Limits, RequestFault, RequestHead, ResponseEnd,
    ResponseHead, ResponseTrailers, SendContext, Version,
};

const CONTEXT: SendContext<'static> =
    SendContext { date: b"Sun, 06 Nov 1994 08:49:37 GMT", server: None, extra: None, close: false };

type Pairs<'a> = &'a [(&'a str, &'a str)];

const USUAL: Pairs<'_> = &[
    ("REQUEST_METHOD", "POST"),
    ("REQUEST_URI", "/a%20b?c"),
    ("PATH_INFO", "/a b"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("HTTP_HOST", "harbour"),
    ("HTTP_X_TIDE", " neap "),
    ("CONTENT_TYPE", ""),
    ("CONTENT_LENGTH", "3"),
    ("UWSGI_FILE", "/etc/passwd"),
    ("wsgi.input", "no"),
];

fn uwsgi(pairs: Pairs<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&(part.len() as u16).to_le_bytes());
        block.extend_from_slice(part.as_bytes());
    }
    let size = (block.len() as u16).to_le_bytes();
    [&[0, size[0], size[1], 0], &block[..]].concat()
}

fn scgi(pairs: Pairs<'_>) -> Vec<u8> {
    let length = pairs.iter().rfind(|(name, _)| *name == "CONTENT_LENGTH").map_or("0", |(_, value)| value);
    let mut block = format!("CONTENT_LENGTH\0{length}\0SCGI\01\0").into_bytes();
    for (name, value) in pairs.iter().filter(|(name, _)| *name != "CONTENT_LENGTH") {
        block.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    [format!("{}:", block.len()).as_bytes(), &block, b","].concat()
}

fn record(kind: u8, id: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let size = (content.len() as u16).to_be_bytes();
    [&[1, kind, 0, id, size[0], size[1], padding, 0], content, &vec![0; padding.into()]].concat()
}

const BEGIN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
const BEGIN_AND_KEEP: [u8; 8] = [0, 1, 1, 0, 0, 0, 0, 0];

/// A request in records of which none holds much.
fn fastcgi(begin: [u8; 8], pairs: Pairs<'_>, body: &[u8]) -> Vec<u8> {
    let size = |part: &str| match part.len() {
        short @ ..128 => vec![short as u8],
        long => (long as u32 | 1 << 31).to_be_bytes().to_vec(),
    };
    let block: Vec<u8> = pairs
        .iter()
        .flat_map(|(name, value)| {
            [size(name), size(value), name.as_bytes().to_vec(), value.as_bytes().to_vec()]
        })
        .flatten()
        .collect();
    let mut wire = record(1, 7, &begin, 3);
    let piece = 50.max(block.len() / 20);
    block.chunks(piece).for_each(|content| wire.extend(record(4, 7, content, 5)));
    wire.extend(record(4, 7, b"", 1));
    body.chunks(2).for_each(|content| wire.extend(record(5, 7, content, 1)));
    wire.extend(record(5, 7, b"", 0));
    wire
}

const DIALECTS: [Dialect; 3] = [Dialect::Uwsgi, Dialect::Scgi, Dialect::FastCgi];

fn packet(dialect: Dialect, pairs: Pairs<'_>) -> Vec<u8> {
    request(dialect, pairs, b"")
}

fn request(dialect: Dialect, pairs: Pairs<'_>, body: &[u8]) -> Vec<u8> {
    match dialect {
        Dialect::Uwsgi => [&uwsgi(pairs), body].concat(),
        Dialect::Scgi => [&scgi(pairs), body].concat(),
        Dialect::FastCgi => fastcgi(BEGIN, pairs, body),
        Dialect::Http1 => panic!("not with variables"),
    }
}

/// What one request came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    method: String,
    target: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    variables: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    complete: bool,
    fault: Option<RequestFault>,
}

fn owned<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn read<'a>(dialect: Dialect, limits: &Limits, pieces: impl Iterator<Item = &'a [u8]>, ends: bool) -> Seen {
    let mut connection = Connection::of(dialect, Arc::new(limits.clone()));
    let mut seen = Seen::default();
    let mut take = |connection: &mut Connection| {
        loop {
            match connection.next_event() {
                Ok(Event::NeedData | Event::Paused | Event::Closed) => return,
                Ok(Event::Request(head)) => {
                    seen.method = head.method().to_owned();
                    seen.target = head.target().to_owned();
                    seen.fields = owned(head.fields());
                    seen.variables = owned(head.variables());
                }
                Ok(Event::Data(data)) => seen.body.extend_from_slice(data),
                Ok(Event::End(_)) => seen.complete = true,
                Err(fault) => {
                    seen.fault = Some(fault);
                    return;
                }
            }
        }
    };
    for piece in pieces {
        connection.receive(piece);
        take(&mut connection);
    }
    if ends {
        connection.receive_eof();
        take(&mut connection);
    }
    seen
}

/// The same in all the ways in which it can come.
fn seen(dialect: Dialect, limits: &Limits, wire: &[u8]) -> Seen {
    let whole = read(dialect, limits, [wire].into_iter(), false);
    assert_eq!(read(dialect, limits, wire.chunks(1), false), whole, "byte by byte");
    let trailing = [wire, b"GET / HTTP/1.1\r\n\r\n"].concat();
    if whole.complete || whole.fault.is_some() {
        assert_eq!(read(dialect, limits, [&trailing[..]].into_iter(), false), whole, "with bytes behind it");
    }
    whole
}

fn pairs(expected: Pairs<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    expected.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn head(dialect: Dialect, wire: &[u8]) -> RequestHead {
    let mut connection = Connection::of(dialect, Arc::new(Limits::default()));
    connection.receive(wire);
    match connection.next_event() {
        Ok(Event::Request(head)) => head,
        other => panic!("a request, not {other:?}"),
    }
}

#[test]
fn a_request_is_its_fields_its_variables_and_its_body() {
    for dialect in DIALECTS {
        let wire = request(dialect, USUAL, b"ebb");
        let seen = seen(dialect, &Limits::default(), &wire);
        assert_eq!((&*seen.method, &seen.target[..]), ("POST", &b"/a%20b?c"[..]));
        let mut fields = seen.fields;
        fields.sort();
        assert_eq!(fields, pairs(&[("content-length", "3"), ("host", "harbour"), ("x-tide", "neap")]));
        let variables: Vec<_> = seen.variables.into_iter().filter(|(name, _)| name != b"SCGI").collect();
        assert_eq!(variables, pairs(&USUAL[..4]));
        assert_eq!((&seen.body[..], seen.complete), (&b"ebb"[..], true));
    }
}

#[test]
fn the_head_says_what_the_variables_say() {
    for dialect in DIALECTS {
        let head = head(dialect, &packet(dialect, USUAL));
        assert!(head.is_handed_on() && !head.expects_continue() && !head.keep_alive_wanted());
        assert_eq!((head.path(), head.query()), (&b"/a%20b"[..], &b"c"[..]));
        assert_eq!((head.body(), head.version()), (BodyKind::Length(3), Version::Http11));
        assert_eq!(head.authority(), Some(&b"harbour"[..]));
        assert_eq!(head.field("x-tide"), Some(&b"neap"[..]));
        assert_eq!(head.variable("PATH_INFO"), Some(&b"/a b"[..]));
        assert_eq!(head.variable("UWSGI_FILE"), None);
    }
}

#[test]
fn what_is_said_twice_is_what_was_said_last() {
    let twice = [USUAL, &[("HTTP_HOST", "pier"), ("CONTENT_LENGTH", "4"), ("PATH_INFO", "/b")]].concat();
    let head = head(Dialect::Uwsgi, &uwsgi(&twice));
    assert_eq!((head.authority(), head.body()), (Some(&b"pier"[..]), BodyKind::Length(4)));
    assert_eq!(head.variable("PATH_INFO"), Some(&b"/b"[..]));
    assert_eq!(head.fields().filter(|(name, _)| *name == b"host" || *name == b"content-length").count(), 2);
}

#[test]
fn a_target_that_is_not_said_is_made_of_path_and_query() {
    let said = [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/a b"),
        ("PATH_INFO", "/%\u{e9}"),
        ("QUERY_STRING", "c=%20"),
    ];
    assert_eq!(head(Dialect::Uwsgi, &uwsgi(&said)).target(), b"/a%20b/%25%C3%A9?c=%20");
}

#[test]
fn the_script_name_is_taken_off_the_path_where_the_front_server_leaves_that_to_us() {
    for (path, rest) in [("/site/a", "/a"), ("/site", ""), ("/sites", "/sites"), ("/a", "/a")] {
        let said =
            [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path), ("PATH_INFO", path), ("SCRIPT_NAME", "/site")];
        let mut wire = uwsgi(&said);
        wire[0] = 30;
        assert_eq!(head(Dialect::Uwsgi, &wire).variable("PATH_INFO"), Some(rest.as_bytes()), "{path}");
    }
}

#[test]
fn what_would_be_refused_in_http_is_refused() {
    let long = "x".repeat(17_000);
    let target = format!("/{long}");
    for (name, value, fault) in [
        ("REQUEST_METHOD", "G T", RequestFault::Method),
        ("REQUEST_METHOD", "", RequestFault::Method),
        ("REQUEST_METHOD", "CONNECT", RequestFault::Connect),
        ("REQUEST_URI", "a", RequestFault::Target),
        ("REQUEST_URI", "/a b", RequestFault::Target),
        ("REQUEST_URI", &target, RequestFault::LineTooLong),
        ("HTTP_HOST", "a/b", RequestFault::HostSyntax),
        ("HTTP_X", "a\nb", RequestFault::FieldSyntax),
        ("HTTP_X Y", "a", RequestFault::FieldSyntax),
        ("HTTP_X", &long, RequestFault::FieldTooLong),
        ("CONTENT_LENGTH", "1,1", RequestFault::ContentLength),
        ("CONTENT_LENGTH", "99", RequestFault::BodyTooLarge),
    ] {
        let limits = Limits { body_size_max: Some(98), ..Limits::default() };
        let said = [USUAL, &[(name, value)]].concat();
        for dialect in DIALECTS {
            let seen = seen(dialect, &limits, &packet(dialect, &said));
            assert_eq!((seen.fault, fault.is_answered()), (Some(fault), true), "{name} {value:.20}");
        }
    }
}

#[test]
fn limits_are_those_of_http_and_a_few_variables_more() {
    let names: Vec<String> = (0..201).map(|number| format!("V{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let fields: Vec<String> = (0..101).map(|number| format!("HTTP_V{number}")).collect();
    let too_many: Vec<(&str, &str)> = fields.iter().map(|name| (name.as_str(), "")).collect();
    for dialect in DIALECTS {
        let fault = |limits: &Limits, said: Pairs<'_>| seen(dialect, limits, &packet(dialect, said)).fault;
        assert_eq!(fault(&Limits::default(), &many), Some(RequestFault::TooManyVariables));
        assert_eq!(fault(&Limits::default(), &too_many), Some(RequestFault::TooManyFields));
        let narrow = Limits { head_size_max: 100, ..Limits::default() };
        assert_eq!(fault(&narrow, USUAL), Some(RequestFault::HeadTooLarge));
    }
}

#[test]
fn what_is_not_uwsgi_is_told_by_its_first_byte_and_has_no_answer() {
    for (wire, fault) in [
        (&b"\x16\x26\0\0evil"[..], RequestFault::PlainTls),
        (b"\x0a\0\0\0", RequestFault::Modifier),
        (b"\x48\0\0\0", RequestFault::PlainHttp),
        (b"\xff", RequestFault::Modifier),
        (b"GET / HTTP/1.1\r\n\r\n", RequestFault::PlainHttp),
    ] {
        assert_eq!(seen(Dialect::Uwsgi, &Limits::default(), wire).fault, Some(fault), "{wire:?}");
        assert_eq!(seen(Dialect::Uwsgi, &Limits::default(), &wire[..1]).fault, Some(fault), "{wire:?}");
        let mut connection = Connection::of(Dialect::Uwsgi, Arc::new(Limits::default()));
        connection.receive(wire);
        assert!(connection.next_event().is_err());
        let mut out = Vec::new();
        assert!(!connection.send_fault(&fault, &CONTEXT, &mut out) && out.is_empty());
        assert!(connection.must_close());
    }
}

#[test]
fn malformed_blocks_are_refused_without_an_answer() {
    for block in
        [&b"\x04\0NAME\xff\0ab"[..], b"\xff\xffNAME", b"\x04\0NAME", b"\x04\0NAME\0", b"\x04", b"\0\0\0\0"]
    {
        let wire = [&[0, block.len() as u8, 0, 0], block].concat();
        // What lies behind the block does not count.
        let more = [&wire[..], &[b'x'; 300]].concat();
        for wire in [wire, more] {
            assert_eq!(
                seen(Dialect::Uwsgi, &Limits::default(), &wire).fault,
                Some(RequestFault::Variables),
                "{block:?}"
            );
        }
    }
    for wire in [
        &b":"[..],
        b"00:",
        b"01:",
        b"1x",
        b"-1:",
        b"1234567890",
        b"7:SCGI\x001\0,",
        b"16:CONTENT_LENGTH\x001,",
        b"17:CONTENT_LENGTH\x000\0;",
        b"19:CONTENT_LENGTH\x000\0AB,",
        b"20:CONTENT_LENGTH\x000\0AB\0,",
        b"19:CONTENT_LENGTH\x000\0\0\0,",
        b"0:,",
    ] {
        assert_eq!(
            seen(Dialect::Scgi, &Limits::default(), wire).fault,
            Some(RequestFault::Variables),
            "{}",
            String::from_utf8_lossy(wire)
        );
    }
}

#[test]
fn a_packet_that_ends_too_early_is_refused_without_an_answer() {
    for dialect in DIALECTS {
        let wire = packet(dialect, USUAL);
        // Where the head is not whole yet.
        let whole = if dialect == Dialect::FastCgi { wire.len() - 8 } else { wire.len() };
        for size in 1..whole {
            let seen = read(dialect, &Limits::default(), [&wire[..size]].into_iter(), true);
            assert_eq!(seen.fault, Some(RequestFault::Variables), "{size}");
        }
        let nothing = read(dialect, &Limits::default(), [].into_iter(), true);
        assert_eq!(nothing, Seen::default());
        let wire = request(dialect, USUAL, b"eb");
        let cut = read(dialect, &Limits::default(), [&wire[..]].into_iter(), true);
        assert_eq!((cut.fault, cut.complete), (Some(RequestFault::Truncated), false));
    }
}

/// The whole response to a request with this method.
fn answer(dialect: Dialect, method: &str, length: BodyLength, body: &[u8]) -> (String, ResponseEnd) {
    let mut connection = Connection::of(dialect, Arc::new(Limits::default()));
    connection.receive(&packet(dialect, &[("REQUEST_METHOD", method), ("REQUEST_URI", "/")]));
    assert!(matches!(connection.next_event(), Ok(Event::Request(_))));
    assert!(matches!(connection.next_event(), Ok(Event::End(_))));
    let mut out = Vec::new();
    let early = ResponseHead::new(103, b"Early Hints").unwrap();
    assert!(!connection.send_continue(&mut out) && !connection.send_informational(&early, &mut out));
    let mut head = ResponseHead::from_status_line(b"200 Very OK").unwrap();
    head.field(b"X-Accel-Redirect", b"/tide").unwrap();
    connection.send_head(&head, length, &CONTEXT, &mut out).expect("in order");
    let framed = connection.frame_data(body.len(), &mut out).expect("in order");
    out.extend_from_slice(&body[..framed.take]);
    out.extend_from_slice(framed.suffix);
    let end = connection.send_end(&ResponseTrailers::NONE, &mut out).expect("in order");
    assert!(connection.must_close() && !connection.start_next());
    (String::from_utf8(out).expect("text"), end)
}

#[test]
fn a_response_has_a_length_or_ends_with_the_connection_and_says_nothing_of_it() {
    const FIELDS: &str = "X-Accel-Redirect: /tide\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (dialect, line) in [(Dialect::Uwsgi, "HTTP/1.1 200 Very OK"), (Dialect::Scgi, "Status: 200 Very OK")]
    {
        let known = format!("{line}\r\n{FIELDS}Content-Length: 3\r\n\r\nebb");
        assert_eq!(answer(dialect, "GET", BodyLength::Known(3), b"ebb"), (known, ResponseEnd::Complete));
        let unknown = format!("{line}\r\n{FIELDS}\r\nebb");
        assert_eq!(answer(dialect, "GET", BodyLength::Unknown, b"ebb"), (unknown, ResponseEnd::Complete));
        let to_head = format!("{line}\r\n{FIELDS}Content-Length: 3\r\n\r\n");
        assert_eq!(answer(dialect, "HEAD", BodyLength::Known(3), b"ebb"), (to_head, ResponseEnd::Complete));
    }
}

#[test]
fn a_refusal_that_has_an_answer_is_in_the_dialect() {
    let said = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a b")];
    for (dialect, line) in [(Dialect::Uwsgi, "HTTP/1.1 400 "), (Dialect::Scgi, "Status: 400 ")] {
        let mut connection = Connection::of(dialect, Arc::new(Limits::default()));
        connection.receive(&packet(dialect, &said));
        let fault = connection.next_event().expect_err("refused");
        let mut out = Vec::new();
        assert!(connection.send_fault(&fault, &CONTEXT, &mut out));
        assert!(out.starts_with(line.as_bytes()), "{}", String::from_utf8_lossy(&out));
    }
}

#[test]
fn the_scheme_is_told_in_several_ways() {
    for (said, secure) in [
        (&[][..], false),
        (&[("HTTPS", "on")], true),
        (&[("HTTPS", "ON")], true),
        (&[("HTTPS", "1")], true),
        (&[("HTTPS", "off"), ("REQUEST_SCHEME", "https")], false),
        (&[("HTTPS", ""), ("REQUEST_SCHEME", "https")], true),
        (&[("UWSGI_SCHEME", "https")], true),
        (&[("UWSGI_SCHEME", "http"), ("HTTPS", "on")], false),
    ] {
        let said = [USUAL, said].concat();
        assert_eq!(
            head(Dialect::Uwsgi, &uwsgi(&said)).is_told_secure(),
            secure,
            "{:?}",
            &said[USUAL.len()..]
        );
    }
}

#[test]
fn a_connection_is_kept_where_fastcgi_says_so_and_serves_what_has_come_meanwhile() {
    let first = fastcgi(BEGIN_AND_KEEP, USUAL, b"ebb");
    let second = fastcgi(BEGIN, &[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/2")], b"");
    let wire = [first, second].concat();
    for size in [1, 9, wire.len()] {
        let mut connection = Connection::of(Dialect::FastCgi, Arc::new(Limits::default()));
        let mut pieces = wire.chunks(size);
        let (mut targets, mut body, mut out) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match connection.next_event().expect("well-formed") {
                Event::NeedData => match pieces.next() {
                    Some(piece) => connection.receive(piece),
                    None => break,
                },
                Event::Request(head) => targets.push(head.target().to_owned()),
                Event::Data(data) => body.extend_from_slice(data),
                Event::End(_) => {}
                Event::Paused => {
                    out.clear();
                    let head = ResponseHead::from_status_line(b"200 OK").unwrap();
                    connection.send_head(&head, BodyLength::Unknown, &CONTEXT, &mut out).unwrap();
                    connection.frame_data(3, &mut out).unwrap();
                    assert_eq!(connection.response_records().unwrap().begin(3, &mut out), 3);
                    out.extend_from_slice(b"ebb");
                    connection.send_end(&ResponseTrailers::NONE, &mut out).unwrap();
                    if !connection.start_next() {
                        break;
                    }
                }
                Event::Closed => break,
            }
        }
        assert_eq!((targets, &body[..]), (vec![b"/a%20b?c".to_vec(), b"/2".to_vec()], &b"ebb"[..]), "{size}");
        assert!(connection.must_close());
        let head = b"Status: 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        let end = [record(6, 7, b"", 0), record(3, 7, &[0; 8], 0)].concat();
        assert_eq!(out, [record(6, 7, head, 0), record(6, 7, b"ebb", 0), end].concat());
    }
}

#[test]
fn large_parts_of_a_response_go_in_several_records() {
    let mut connection = Connection::of(Dialect::FastCgi, Arc::new(Limits::default()));
    connection.receive(&packet(Dialect::FastCgi, &[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/")]));
    assert!(matches!(connection.next_event(), Ok(Event::Request(_))));
    let mut head = ResponseHead::from_status_line(b"200 OK").unwrap();
    head.field(b"X", &vec![b'x'; 100_000]).unwrap();
    let mut out = Vec::new();
    connection.send_head(&head, BodyLength::Known(70_000), &CONTEXT, &mut out).unwrap();
    assert_eq!(out[..8], [1, 6, 0, 7, 0xff, 0xf8, 0, 0]);
    assert_eq!(out[8 + 65_528..][..4], [1, 6, 0, 7]);
    assert_eq!(connection.frame_data(80_000, &mut out).unwrap().take, 70_000);
    let records = connection.response_records().unwrap();
    assert_eq!(records.begin(70_000, &mut out), 65_528);
    assert_eq!(records.begin(70_000 - 65_528, &mut out), 70_000 - 65_528);
    out.clear();
    assert_eq!((records.begin(0, &mut out), out.len()), (0, 0));
}

#[test]
fn records_that_are_out_of_place_are_refused() {
    let begun = record(1, 7, &BEGIN, 0);
    for (wire, fault) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), RequestFault::PlainHttp),
        (b"\x16\x03\x01".to_vec(), RequestFault::PlainTls),
        (b"\x02".to_vec(), RequestFault::Variables),
        (record(1, 0, &BEGIN, 0), RequestFault::Variables),
        (record(1, 7, &BEGIN[1..], 0), RequestFault::Variables),
        (record(1, 7, &[0, 2, 0, 0, 0, 0, 0, 0], 0), RequestFault::Variables),
        (record(4, 7, b"a", 0), RequestFault::Variables),
        (record(9, 0, b"", 0), RequestFault::Variables),
        ([&begun[..], &begun].concat(), RequestFault::Variables),
        ([&begun[..], &record(1, 8, &BEGIN, 0)].concat(), RequestFault::Variables),
        ([&begun[..], &record(5, 7, b"", 0)].concat(), RequestFault::Variables),
        ([&begun[..], &record(2, 7, b"", 0)].concat(), RequestFault::Truncated),
        (
            [&begun[..], &record(4, 7, b"\x04\x01NAM", 0), &record(4, 7, b"", 0), &record(5, 7, b"", 0)]
                .concat(),
            RequestFault::Variables,
        ),
        (
            [&begun[..], &record(4, 7, b"\x80\0\0", 0), &record(4, 7, b"", 0), &record(5, 7, b"", 0)]
                .concat(),
            RequestFault::Variables,
        ),
        (
            fastcgi(BEGIN, &[("REQUEST_METHOD", "PUT"), ("REQUEST_URI", "/")], b"ebb"),
            RequestFault::LengthMissing,
        ),
    ] {
        assert_eq!(seen(Dialect::FastCgi, &Limits::default(), &wire).fault, Some(fault), "{wire:?}");
    }
    let other = [
        &begun[..],
        &record(4, 7, b"\x0e\x03REQUEST_METHODGET\x0b\x01REQUEST_URI/", 0),
        &record(4, 7, b"", 0),
    ];
    let other = [&other.concat()[..], &record(5, 7, b"a", 0), &record(1, 8, &BEGIN, 0)].concat();
    assert_eq!(seen(Dialect::FastCgi, &Limits::default(), &other).fault, Some(RequestFault::LengthMissing));
}

#[test]
fn a_body_that_is_not_as_long_as_it_is_said_to_be_is_refused_or_cut() {
    let short = seen(Dialect::FastCgi, &Limits::default(), &fastcgi(BEGIN, USUAL, b"eb"));
    assert_eq!((short.fault, &short.body[..]), (Some(RequestFault::Truncated), &b"eb"[..]));
    let long = seen(Dialect::FastCgi, &Limits::default(), &fastcgi(BEGIN, USUAL, b"ebbs"));
    assert_eq!((long.fault, &long.body[..], long.complete), (None, &b"ebb"[..], true));
}

#[test]
fn more_of_a_body_than_was_announced_is_not_kept() {
    let mut connection = Connection::of(Dialect::FastCgi, Arc::new(Limits::default()));
    let wire = fastcgi(BEGIN, USUAL, b"ebb");
    connection.receive(&wire[..wire.len() - record(5, 7, b"", 0).len()]);
    for _ in 0..100 {
        while !matches!(connection.next_event().unwrap(), Event::NeedData) {}
        assert!(connection.buffered() < 100);
        connection.receive(&record(5, 7, &[b'x'; 60_000], 0));
    }
}

#[test]
fn what_is_damaged_on_its_way_is_read_the_same_however_it_is_cut() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: usize| {
        // xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % end
    };
    let limits = Limits { field_count_max: 3, body_size_max: Some(64), ..Limits::default() };
    for dialect in DIALECTS {
        let whole = request(dialect, USUAL, b"ebb");
        for _ in 0..20_000 {
            let mut wire = whole.clone();
            for _ in 0..=below(3) {
                let at = below(wire.len());
                match below(4) {
                    0 => wire[at] = below(256) as u8,
                    1 => wire[at] ^= 1 << below(8),
                    2 => drop(wire.splice(at..at, [below(256) as u8])),
                    _ => drop(wire.remove(at)),
                }
            }
            let first = read(dialect, &limits, [&wire[..]].into_iter(), false);
            let size = 1 + below(12);
            assert_eq!(read(dialect, &limits, wire.chunks(size), false), first, "{dialect:?} {wire:?}");
        }
    }
}

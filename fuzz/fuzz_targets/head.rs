//! Holds: an accepted head is strict HTTP/1.x byte for byte, judged by a second reader written without the first; cuts do not matter.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Head, control, pieces, read_one};
use tidegate_http::{BodyKind, Limits, UnderscoreNames};

fuzz_target!(|data: &[u8]| {
    let Some((mut choices, wire)) = control(data) else { return };
    let small = choices.below(4) == 0;
    let limits = Arc::new(Limits {
        head_size_max: if small { 128 } else { 65_536 },
        line_size_max: if small { 48 } else { 16_384 },
        field_count_max: if small { 3 } else { 100 },
        underscore_names: [UnderscoreNames::Drop, UnderscoreNames::Keep, UnderscoreNames::Refuse]
            [choices.below(3)],
        ..Limits::default()
    });
    let whole = read_one(&limits, [wire]);
    assert_eq!(read_one(&limits, pieces(wire, &mut choices)), whole);
    assert_eq!(read_one(&limits, wire.chunks(1)), whole);
    if let Some(head) = &whole.head {
        let begin = if wire.starts_with(b"\r\n") { 2 } else { 0 };
        judge(&wire[begin..begin + head.size], head, &limits);
    }
});

fn judge(bytes: &[u8], head: &Head, limits: &Limits) {
    assert!(bytes.len() <= limits.head_size_max);
    let text = bytes.strip_suffix(b"\r\n\r\n").expect("a blank line at the end");
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    for line in &lines {
        assert!(!line.is_empty() && line.len() <= limits.line_size_max);
        assert!(
            !line.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f),
            "a control character"
        );
    }
    let (request_line, fields) = lines.split_first().expect("a request line");
    assert!(fields.len() <= limits.field_count_max);

    let parts: Vec<_> = request_line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = parts[..] else { panic!("not three parts") };
    assert!(is_token(method) && method == head.method.as_bytes() && method != b"CONNECT");
    assert!(version == b"HTTP/1.1" || version == b"HTTP/1.0");
    assert!(target == head.target && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
    match target {
        [b'/', ..] => {}
        b"*" => assert_eq!(method, b"OPTIONS"),
        _ => assert!(
            target[..7].eq_ignore_ascii_case(b"http://") || target[..8].eq_ignore_ascii_case(b"https://")
        ),
    }
    if target[0] == b'/' {
        let joined = [&head.path[..], if target.contains(&b'?') { b"?" } else { b"" }, &head.query].concat();
        assert_eq!(joined, target);
    }

    let mut kept = head.fields.iter();
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    for line in fields {
        let colon = line.iter().position(|&byte| byte == b':').expect("a colon");
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        assert!(is_token(name));
        let dropped = name.contains(&b'_') && limits.underscore_names != UnderscoreNames::Keep;
        assert!(!dropped || limits.underscore_names == UnderscoreNames::Drop);
        if dropped || name.eq_ignore_ascii_case(b"proxy") {
            continue;
        }
        assert_eq!(kept.next(), Some(&(name.to_vec(), value.to_vec())));
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
            assert!(!value.iter().any(|byte| b" \t,/?#@\\".contains(byte)));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            let number: u64 = std::str::from_utf8(value).expect("digits").parse().expect("a number");
            assert!(value.iter().all(u8::is_ascii_digit) && head.body == BodyKind::Length(number));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
            assert!(
                value.eq_ignore_ascii_case(b"chunked")
                    && version == b"HTTP/1.1"
                    && head.body == BodyKind::Chunked
            );
        }
    }
    assert_eq!(kept.next(), None);
    assert!(hosts <= 1 && lengths + codings <= 1);
    assert!(hosts == 1 || version == b"HTTP/1.0");
    assert!(lengths + codings == 1 || head.body == BodyKind::Empty);
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let begin = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    &bytes[begin..end]
}

//! Open WebSockets through the public interface: what is read from whatever bytes, however they are cut, and what is written.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "support/frames.rs"]
#[allow(dead_code, reason = "shared with the test of handshakes, which uses other parts of it")]
mod frames;

use std::sync::Arc;

use frames::{
    BINARY, CLOSE, CONTINUATION, FIN, Outcome, PING, PONG, RSV1, TEXT, agreed, binary, close, closed,
    compress, decompress, feed, frame, frames, head, read, text,
};
use tidegate_http::ws::{Compression, Event, Fault, Limits, MessageKind, Payload, Socket, is_close_code};

/// A message that nobody else sends.
fn canary() -> Vec<u8> {
    frame(FIN | TEXT, b"canary")
}

fn socket(compression: Compression) -> Socket {
    Socket::new(Arc::new(Limits::default()), compression)
}

fn compressed() -> Compression {
    agreed("permessage-deflate")
}

fn ping(payload: &[u8]) -> Event {
    Event::Ping(payload_of(PING, payload))
}

fn pong(payload: &[u8]) -> Event {
    Event::Pong(payload_of(PONG, payload))
}

/// A payload can be had from a socket only.
fn payload_of(opcode: u8, bytes: &[u8]) -> Payload {
    let outcome = feed(&mut socket(Compression::OFF), [&frame(FIN | opcode, bytes)[..]]);
    match outcome.events.into_iter().next() {
        Some(Event::Ping(payload) | Event::Pong(payload)) if *payload == *bytes => payload,
        other => panic!("a control frame, not {other:?}"),
    }
}

/// Checks what becomes of frames, alone and with a canary behind them.
fn check(limits: &Limits, compression: Compression, name: &str, wire: &[u8], events: &[Event]) {
    let outcome = read(limits, compression, wire);
    assert_eq!(outcome, Outcome { events: events.to_vec(), fault: None }, "{name}");
    let mut with_canary = events.to_vec();
    if !matches!(events.last(), Some(Event::Close(_))) {
        with_canary.push(text("canary"));
    }
    let outcome = read(limits, compression, &[wire, &canary()].concat());
    assert_eq!(outcome, Outcome { events: with_canary, fault: None }, "{name} with a canary");
}

/// Checks that frames are refused after some events, and that what comes behind them is not read.
fn check_fault(
    limits: &Limits,
    compression: Compression,
    name: &str,
    wire: &[u8],
    events: &[Event],
    fault: Fault,
) {
    let expected = Outcome { events: events.to_vec(), fault: Some(fault) };
    assert_eq!(read(limits, compression, wire), expected, "{name}");
    assert_eq!(read(limits, compression, &[wire, &canary()].concat()), expected, "{name} with a canary");
}

#[test]
fn the_frames_of_rfc_6455_section_5_7_are_read() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    check(&Limits::default(), Compression::OFF, "masked text", &hello, &[text("Hello")]);
    let answer = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    check(&Limits::default(), Compression::OFF, "masked Pong", &answer, &[pong(b"Hello")]);
}

#[test]
fn the_frames_of_rfc_6455_section_5_7_are_written() {
    let (mut socket, mut out) = (socket(Compression::OFF), Vec::new());
    socket.write_message(MessageKind::Text, b"Hello", &mut out);
    assert_eq!(out, b"\x81\x05Hello");
    out.clear();
    socket.write_ping(b"Hello", &mut out);
    assert_eq!(out, b"\x89\x05Hello");
    out.clear();
    socket.write_head(MessageKind::Binary, 256, &mut out);
    socket.write_head(MessageKind::Binary, 65_536, &mut out);
    assert_eq!(out, b"\x82\x7e\x01\x00\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
}

#[test]
fn messages_of_every_form_of_length_are_read() {
    for size in [0, 1, 4, 63, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 200_000] {
        let data: Vec<u8> = (0..size).map(|index| b'a' + (index % 23) as u8).collect();
        let wire = [frame(FIN | TEXT, &data), frame(FIN | BINARY, &data)].concat();
        let outcome = feed(&mut socket(Compression::OFF), [&wire[..]]);
        assert_eq!(outcome.events, [text(&data), binary(&data)], "{size}");
        for piece in [1, 7, 1_000, 65_536] {
            assert_eq!(feed(&mut socket(Compression::OFF), wire.chunks(piece)), outcome, "{size}: {piece}");
        }
    }
}

#[test]
fn fragments_and_control_frames_between_them_are_read() {
    let limits = Limits::default();
    for (name, wire, events) in [
        ("two", vec![frame(TEXT, b"Hel"), frame(FIN, b"lo")], vec![text("Hello")]),
        ("empty", vec![frame(TEXT, b""), frame(FIN, b"")], vec![text("")]),
        (
            "many empty ones",
            vec![
                frame(BINARY, b""),
                frame(CONTINUATION, b"").repeat(300),
                frame(CONTINUATION, b"a"),
                frame(CONTINUATION, b"").repeat(300),
                frame(FIN, b"b"),
            ],
            vec![binary("ab")],
        ),
        (
            "a byte in each",
            vec![frame(BINARY, b"x"), frame(CONTINUATION, b"x").repeat(200), frame(FIN, b"x")],
            vec![binary(vec![b'x'; 202])],
        ),
        (
            "control frames between",
            vec![
                frame(TEXT, b"a"),
                frame(FIN | PING, b"1"),
                frame(CONTINUATION, b"b"),
                frame(FIN | PONG, b"2"),
                frame(FIN | PING, b""),
                frame(FIN, b"c"),
            ],
            vec![ping(b"1"), pong(b"2"), ping(b""), text("abc")],
        ),
        (
            "a character in pieces",
            vec![frame(TEXT, b"\xf0\x9f"), frame(CONTINUATION, b"\x90"), frame(FIN, b"\x98")],
            vec![text("\u{1f418}")],
        ),
        (
            "two messages",
            vec![frame(TEXT, b"a"), frame(FIN, b""), frame(BINARY, b"\xff"), frame(FIN, b"\xfe")],
            vec![text("a"), binary(b"\xff\xfe")],
        ),
        (
            "Close within a message",
            vec![frame(TEXT, b"never ended"), frame(FIN | CLOSE, &close(1001, b"gone"))],
            vec![closed(Some(1001), "gone")],
        ),
        (
            "the largest control frames",
            vec![frame(FIN | PING, &[7; 125]), frame(FIN | PONG, &[8; 125])],
            vec![ping(&[7; 125]), pong(&[8; 125])],
        ),
    ] {
        check(&limits, Compression::OFF, name, &wire.concat(), &events);
    }
}

#[test]
fn a_broken_rule_ends_parsing_with_its_fault() {
    use Fault as F;
    let limits = Limits { message_size_max: 1_000, frame_size_max: 800 };
    let unmasked = b"\x81\x05Hello".to_vec();
    let long = |first, size: u16| [&[first, 0xfe][..], &size.to_be_bytes(), b"mask"].concat();
    let longer = |first, size: u64| [&[first, 0xff][..], &size.to_be_bytes(), b"mask"].concat();
    let table: [(&str, Vec<u8>, &[Event], Fault); 42] = [
        ("RSV1", frame(FIN | RSV1 | TEXT, b"a"), &[], F::ReservedBits),
        ("RSV2", frame(FIN | 0x20 | TEXT, b"a"), &[], F::ReservedBits),
        ("RSV3", frame(FIN | 0x10 | BINARY, b"a"), &[], F::ReservedBits),
        ("all reserved bits", frame(FIN | 0x70 | PING, b"a"), &[], F::ReservedBits),
        ("opcode 3", frame(FIN | 3, b""), &[], F::Opcode),
        ("opcode 7", frame(FIN | 7, b"a"), &[], F::Opcode),
        ("opcode 11", frame(FIN | 11, b""), &[], F::Opcode),
        ("opcode 15", frame(FIN | 15, b"a"), &[], F::Opcode),
        ("opcode 3 in a fragment", frame(3, b"a"), &[], F::Opcode),
        ("no mask", unmasked.clone(), &[], F::Unmasked),
        ("no mask on Ping", b"\x89\x00".to_vec(), &[], F::Unmasked),
        ("no mask on Close", b"\x88\x02\x03\xe8".to_vec(), &[], F::Unmasked),
        ("two bytes for 0", long(0x81, 0), &[], F::LengthForm),
        ("two bytes for 125", long(0x82, 125), &[], F::LengthForm),
        ("eight bytes for 0", longer(0x82, 0), &[], F::LengthForm),
        ("eight bytes for 65535", longer(0x81, 65_535), &[], F::LengthForm),
        ("the highest bit", longer(0x82, 1 << 63), &[], F::LengthRange),
        ("all bits", longer(0x82, u64::MAX), &[], F::LengthRange),
        ("all other bits", longer(0x82, u64::MAX >> 1), &[], F::FrameTooLarge),
        ("Ping in fragments", frame(PING, b"a"), &[], F::ControlFragmented),
        ("Close in fragments", frame(CLOSE, b""), &[], F::ControlFragmented),
        ("Ping of 126", frame(FIN | PING, &[0; 126]), &[], F::ControlTooLarge),
        ("Pong of 70000", frame(FIN | PONG, &[0; 70_000]), &[], F::ControlTooLarge),
        ("Close of 126", frame(FIN | CLOSE, &[3; 126]), &[], F::ControlTooLarge),
        ("a continuation of nothing", frame(FIN, b"a"), &[], F::ContinuationUnexpected),
        ("a fragment of nothing", frame(CONTINUATION, b""), &[], F::ContinuationUnexpected),
        (
            "a continuation after the end",
            [frame(TEXT, b"a"), frame(FIN, b"b"), frame(FIN, b"c")].concat(),
            &[text("ab")],
            F::ContinuationUnexpected,
        ),
        (
            "a message within another",
            [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(),
            &[],
            F::ContinuationMissing,
        ),
        (
            "a fragment of another kind",
            [frame(TEXT, b"a"), frame(BINARY, b"b")].concat(),
            &[],
            F::ContinuationMissing,
        ),
        ("Close of one byte", frame(FIN | CLOSE, &[3]), &[], F::CloseLength),
        ("Close with 1005", frame(FIN | CLOSE, &close(1005, b"")), &[], F::CloseCode),
        ("Close with 2999", frame(FIN | CLOSE, &close(2999, b"x")), &[], F::CloseCode),
        ("a code before a reason", frame(FIN | CLOSE, &close(0, b"\xff")), &[], F::CloseCode),
        ("Close with latin-1", frame(FIN | CLOSE, &close(1000, b"\xe9")), &[], F::CloseReason),
        ("Close with half a character", frame(FIN | CLOSE, &close(1000, b"a\xc3")), &[], F::CloseReason),
        ("latin-1", frame(FIN | TEXT, b"caf\xe9"), &[], F::Text),
        ("half a character", frame(FIN | TEXT, b"caf\xc3"), &[], F::Text),
        (
            "half a character before an empty end",
            [frame(TEXT, b"\xe2\x82"), frame(FIN, b"")].concat(),
            &[],
            F::Text,
        ),
        ("a frame too large", frame(FIN | BINARY, &[0; 801]), &[], F::FrameTooLarge),
        (
            "a message too large",
            [frame(BINARY, &[0; 800]), frame(FIN, &[0; 201])].concat(),
            &[],
            F::MessageTooLarge,
        ),
        (
            "a message too large by its last fragment but one",
            [frame(TEXT, &[b'a'; 800]), frame(CONTINUATION, &[b'a'; 200]), frame(CONTINUATION, b"a")]
                .concat(),
            &[],
            F::MessageTooLarge,
        ),
        (
            "what was right before",
            [frame(FIN | TEXT, b"a"), frame(FIN | PING, b"b"), unmasked].concat(),
            &[text("a"), ping(b"b")],
            F::Unmasked,
        ),
    ];
    for (name, wire, events, fault) in table {
        check_fault(&limits, Compression::OFF, name, &wire, events, fault);
    }
}

#[test]
fn messages_up_to_the_limits_are_read() {
    let limits = Limits { message_size_max: 1_000, frame_size_max: 800 };
    let whole = frame(FIN | BINARY, &[1; 800]);
    check(&limits, Compression::OFF, "a frame", &whole, &[binary([1; 800])]);
    let parts = [frame(BINARY, &[1; 800]), frame(FIN, &[1; 200])].concat();
    check(&limits, Compression::OFF, "a message", &parts, &[binary([1; 1_000])]);
}

#[test]
fn a_frame_that_is_too_large_is_refused_at_its_head() {
    let limits = Arc::new(Limits { message_size_max: 1_000, frame_size_max: 800 });
    let mut socket = Socket::new(limits, Compression::OFF);
    let outcome = feed(&mut socket, [&head(FIN | BINARY, 801)[..]]);
    assert_eq!(outcome.fault, Some(Fault::FrameTooLarge));
}

#[test]
fn every_fault_closes_with_the_code_of_its_kind() {
    for (fault, code) in [
        (Fault::Opcode, 1002),
        (Fault::CloseCode, 1002),
        (Fault::CloseReason, 1007),
        (Fault::Text, 1007),
        (Fault::Compression, 1007),
        (Fault::FrameTooLarge, 1009),
        (Fault::MessageTooLarge, 1009),
    ] {
        assert_eq!(fault.code(), code, "{fault}");
        assert!(fault.to_string().contains("(RFC "), "{fault}");
    }
}

#[test]
fn close_codes_are_those_that_may_be_sent() {
    for code in 0..=u16::MAX {
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        assert_eq!(is_close_code(code), valid, "{code}");
        let outcome = feed(&mut socket(Compression::OFF), [&frame(FIN | CLOSE, &close(code, b"why"))[..]]);
        let expected = if valid {
            Outcome { events: vec![closed(Some(code), "why")], fault: None }
        } else {
            Outcome { events: vec![], fault: Some(Fault::CloseCode) }
        };
        assert_eq!(outcome, expected, "{code}");
    }
}

#[test]
fn close_may_be_empty_or_have_a_reason_of_123_bytes() {
    let limits = Limits::default();
    check(&limits, Compression::OFF, "empty", &frame(FIN | CLOSE, b""), &[closed(None, "")]);
    let reason = "é".repeat(61) + "!";
    let wire = frame(FIN | CLOSE, &close(4999, reason.as_bytes()));
    check(&limits, Compression::OFF, "long", &wire, &[closed(Some(4999), &reason)]);
}

#[test]
fn nothing_is_parsed_after_close() {
    let mut socket = socket(Compression::OFF);
    assert!(!socket.close_received());
    let wire = [frame(FIN | CLOSE, b""), b"\xff\xff not a frame".to_vec()].concat();
    let outcome = feed(&mut socket, [&wire[..], b"nor this"]);
    assert_eq!(outcome, Outcome { events: vec![closed(None, "")], fault: None });
    assert!(socket.close_received());
    assert_eq!(socket.buffered(), 0);
}

#[test]
fn text_fails_at_the_first_byte_that_no_other_can_make_right() {
    for bad in [
        &b"\x80"[..],
        b"ab\xc0\xaf",
        b"ab\xc1\x80",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xc3(",
        b"\xe2\x82(",
        b"\xf0\x9f\x90(",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64",
    ] {
        let first_wrong = (1..=bad.len())
            .find(|&end| std::str::from_utf8(&bad[..end]).is_err_and(|error| error.error_len().is_some()))
            .expect("none of these can be made right");
        // Behind enough that the parts lie anywhere in a word.
        for before in 0..70 {
            let data = [&vec![b'x'; before][..], bad, b"the rest"].concat();
            let right = before + first_wrong - 1;
            for fragment in [usize::MAX, 1, 3] {
                let mut socket = socket(Compression::OFF);
                for (index, byte) in data.iter().enumerate() {
                    // The bytes come one by one, in one frame or in fragments.
                    let starts = index % fragment == 0;
                    let size = fragment.min(data.len());
                    let mut wire = if starts {
                        head(if index == 0 { TEXT } else { CONTINUATION }, size as u64)
                    } else {
                        Vec::new()
                    };
                    let masked = frame(TEXT, &[&vec![0; index % size][..], &[*byte]].concat());
                    wire.extend(masked.last());
                    let outcome = feed(&mut socket, [&wire[..]]);
                    if index < right {
                        assert_eq!(outcome, Outcome::default(), "{bad:x?} at {index}");
                    } else {
                        assert_eq!(outcome.fault, Some(Fault::Text), "{bad:x?} at {index}");
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn every_character_may_be_cut_anywhere() {
    let all: String = [
        '\0',
        '\u{7f}',
        '\u{80}',
        '\u{7ff}',
        '\u{800}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{ffff}',
        '\u{10000}',
        '\u{10ffff}',
    ]
    .into_iter()
    .collect();
    for cut in 0..=all.len() {
        let (first, second) = all.as_bytes().split_at(cut);
        let wire = [frame(TEXT, first), frame(FIN, second)].concat();
        check(&Limits::default(), Compression::OFF, "a cut", &wire, &[text(&all)]);
    }
}

#[test]
fn the_messages_of_rfc_7692_section_7_2_3_are_read() {
    let first = FIN | RSV1 | TEXT;
    let table: [(&str, Vec<u8>); 7] = [
        ("one block", frame(first, b"\xf2\x48\xcd\xc9\xc9\x07\x00")),
        ("fragments", [frame(RSV1 | TEXT, b"\xf2\x48\xcd"), frame(FIN, b"\xc9\xc9\x07\x00")].concat()),
        ("no compression", frame(first, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")),
        ("the last block", frame(first, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")),
        ("the last block, without its padding", frame(first, b"\xf3\x48\xcd\xc9\xc9\x07\x00")),
        ("two blocks", frame(first, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")),
        ("not compressed at all", frame(FIN | TEXT, b"Hello")),
    ];
    for (name, wire) in table {
        check(&Limits::default(), compressed(), name, &wire, &[text("Hello")]);
    }
    for (name, payload) in [("a byte", &b"\0"[..]), ("none", b""), ("an empty block", b"\x02\0")] {
        check(&Limits::default(), compressed(), name, &frame(first, payload), &[text("")]);
    }
}

#[test]
fn compressed_messages_that_break_a_rule_are_refused() {
    let limits = Limits { message_size_max: 1_000, frame_size_max: 800 };
    let hello = compress(b"Hello");
    let first = FIN | RSV1 | TEXT;
    let table: [(&str, Vec<u8>, Fault); 14] = [
        ("RSV1 on Ping", frame(FIN | RSV1 | PING, b""), Fault::ReservedBits),
        ("RSV1 on Close", frame(FIN | RSV1 | CLOSE, b""), Fault::ReservedBits),
        (
            "RSV1 on a continuation",
            [frame(RSV1 | TEXT, &hello[..3]), frame(FIN | RSV1, &hello[3..])].concat(),
            Fault::ReservedBits,
        ),
        ("RSV1 and RSV2", frame(FIN | RSV1 | 0x20 | TEXT, &hello), Fault::ReservedBits),
        ("no DEFLATE data", frame(first, b"Hello"), Fault::Compression),
        ("a reserved kind of block", frame(first, b"\x07"), Fault::Compression),
        ("a block that is cut off", frame(first, &hello[..hello.len() - 2]), Fault::Compression),
        (
            "a stored block that is cut off",
            frame(FIN | RSV1 | BINARY, b"\x00\x05\x00\xfa\xff\x48\x65"),
            Fault::Compression,
        ),
        // The second message of RFC 7692 section 7.2.3.2, which refers back to the first.
        ("a message that refers to another", frame(first, b"\xf2\x00\x11\x00\x00"), Fault::Compression),
        (
            "garbage behind the last block",
            frame(first, b"\xf3\x48\xcd\xc9\xc9\x07\x00\xff"),
            Fault::Compression,
        ),
        ("more streams than make sense", frame(first, &b"\x03\x00".repeat(100)), Fault::Compression),
        ("latin-1", frame(first, &compress(b"caf\xe9")), Fault::Text),
        ("half a character", frame(first, &compress(b"caf\xc3")), Fault::Text),
        ("a byte too many", frame(first, &compress(&[b'a'; 1_001])), Fault::MessageTooLarge),
    ];
    for (name, wire, fault) in table {
        check_fault(&limits, compressed(), name, &wire, &[], fault);
    }
    let most = frame(first, &compress(&[b'a'; 1_000]));
    check(&limits, compressed(), "the most", &most, &[text([b'a'; 1_000])]);
}

#[test]
fn what_cannot_be_compressed_may_still_be_as_large_as_the_limit() {
    let limits = Limits { message_size_max: 100_000, frame_size_max: 200_000 };
    let data = noise(100_000);
    let wire = compress(&data);
    assert!(wire.len() > data.len());
    let outcome =
        feed(&mut Socket::new(Arc::new(limits), compressed()), [&frame(FIN | RSV1 | BINARY, &wire)[..]]);
    assert_eq!(outcome.events, [binary(&data)]);
}

#[test]
fn a_bomb_is_not_inflated_beyond_the_limit() {
    // 64 MiB of zeros in 64 KiB; in each of a thousand sockets only the first mebibyte is ever made.
    let bomb = frame(FIN | RSV1 | BINARY, &compress(&vec![0; 64 << 20]));
    assert!(bomb.len() < 100_000);
    let limits = Arc::new(Limits { message_size_max: 1 << 20, frame_size_max: 1 << 20 });
    for _ in 0..20 {
        let outcome = feed(&mut Socket::new(limits.clone(), compressed()), [&bomb[..]]);
        assert_eq!(outcome, Outcome { events: vec![], fault: Some(Fault::MessageTooLarge) });
    }
}

#[test]
fn an_invalid_text_is_not_inflated_further_than_to_its_fault() {
    let mut data = b"\xff".to_vec();
    data.resize(8 << 20, b'a');
    let wire = frame(FIN | RSV1 | TEXT, &compress(&data));
    let outcome = feed(&mut socket(compressed()), [&wire[..]]);
    assert_eq!(outcome.fault, Some(Fault::Text));
}

#[test]
fn compressed_messages_of_many_sockets_interleave() {
    let messages: Vec<Vec<u8>> = (0..8).map(|number| noise(3_000 + number)).collect();
    let mut sockets: Vec<Socket> = messages.iter().map(|_| socket(compressed())).collect();
    let wires: Vec<Vec<u8>> =
        messages.iter().map(|data| frame(FIN | RSV1 | BINARY, &compress(data))).collect();
    let mut events = vec![Vec::new(); messages.len()];
    for begin in (0..4_000).step_by(100) {
        for ((socket, wire), events) in sockets.iter_mut().zip(&wires).zip(&mut events) {
            let piece = wire.get(begin..wire.len().min(begin + 100)).unwrap_or_default();
            events.extend(feed(socket, [piece]).events);
        }
    }
    for (events, data) in events.iter().zip(&messages) {
        assert_eq!(events[..], [binary(data)]);
    }
}

#[test]
fn a_message_is_written_compressed_if_that_makes_it_smaller() {
    let json = br#"{"id": 1, "name": "somebody", "tags": ["one", "two", "three"]}, "#.repeat(2_000);
    for offer in ["permessage-deflate", "permessage-deflate; server_max_window_bits=9"] {
        let mut socket = socket(agreed(offer));
        for size in [127, 128, 500, 5_000, 100_000] {
            let data = &json[..size];
            let mut out = b"before".to_vec();
            socket.write_message(MessageKind::Text, data, &mut out);
            assert!(out.starts_with(b"before"));
            let [(first, payload)] = &frames(&out[6..])[..] else { panic!("one frame") };
            if size < 128 {
                assert_eq!((*first, &payload[..]), (FIN | TEXT, data));
            } else {
                assert_eq!(*first, FIN | RSV1 | TEXT, "{size}");
                assert!(payload.len() < size, "{size}");
                assert!(!payload.ends_with(&[0, 0, 0xff, 0xff]), "{size}");
                let bits = if offer.ends_with('9') { 9 } else { 15 };
                assert_eq!(decompress(payload, bits, size), data, "{size}");
            }
            assert_eq!(socket.compresses(size), size >= 128);
        }
        for size in [128, 200, 1_000, 70_000] {
            let mut out = Vec::new();
            let data = noise(size);
            socket.write_message(MessageKind::Binary, &data, &mut out);
            assert_eq!(frames(&out), [(FIN | BINARY, data)], "{size}");
        }
    }
}

#[test]
fn every_window_that_a_client_may_have_is_enough() {
    // Repeats at every distance up to the largest window.
    let mut data = noise(40_000);
    for distance in [300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 32_700] {
        let from = data.len() - distance;
        data.extend_from_within(from..from + 280);
    }
    for bits in 9..=15 {
        let mut socket = socket(agreed(&format!("permessage-deflate; server_max_window_bits={bits}")));
        for _ in 0..2 {
            let mut out = Vec::new();
            let text = data.iter().map(|byte| b'a' + byte % 16).collect::<Vec<_>>();
            socket.write_message(MessageKind::Binary, &text, &mut out);
            let [(first, payload)] = &frames(&out)[..] else { panic!("one frame") };
            assert_eq!(*first, FIN | RSV1 | BINARY);
            assert_eq!(decompress(payload, bits, text.len()), text, "{bits}");
        }
    }
}

#[test]
fn nothing_is_written_after_close() {
    for compression in [Compression::OFF, compressed()] {
        let (mut socket, mut out) = (socket(compression), Vec::new());
        assert!(!socket.close_sent());
        socket.write_close(Some(1000), "done", &mut out);
        assert!(socket.close_sent());
        socket.write_message(MessageKind::Text, &[b'a'; 1_000], &mut out);
        socket.write_head(MessageKind::Text, 1_000, &mut out);
        socket.write_ping(b"", &mut out);
        socket.write_pong(b"", &mut out);
        socket.write_close(None, "", &mut out);
        assert_eq!(out, b"\x88\x06\x03\xe8done");
        assert!(!socket.compresses(1_000));
        // What the peer still sends is read: it may not have seen Close yet.
        let wire = [canary(), frame(FIN | CLOSE, &close(1000, b""))].concat();
        assert_eq!(feed(&mut socket, [&wire[..]]).events, [text("canary"), closed(Some(1000), "")]);
    }
}

#[test]
fn a_reason_is_cut_between_two_characters() {
    for (code, reason, sent) in [
        (None, "", &b""[..]),
        (None, "without a code", b""),
        (Some(1005), "not to be sent", b""),
        (Some(65_535), "", b""),
        (Some(1000), "", b"\x03\xe8"),
        (Some(3000), "é", b"\x0b\xb8\xc3\xa9"),
    ] {
        let mut out = Vec::new();
        socket(Compression::OFF).write_close(code, reason, &mut out);
        assert_eq!(frames(&out), [(FIN | CLOSE, sent.to_vec())], "{code:?} {reason}");
    }
    for (character, before) in
        [("a", 0), ("é", 0), ("é", 1), ("€", 0), ("€", 1), ("🐘", 1), ("🐘", 2), ("🐘", 3)]
    {
        let reason = "x".repeat(before) + &character.repeat(130);
        let mut out = Vec::new();
        socket(Compression::OFF).write_close(Some(1000), &reason, &mut out);
        let [(_, payload)] = &frames(&out)[..] else { panic!("one frame") };
        let sent = std::str::from_utf8(&payload[2..]).expect("UTF-8");
        assert!(reason.starts_with(sent));
        assert!((124 - character.len()..=123).contains(&sent.len()), "{}", sent.len());
    }
}

#[test]
fn control_frames_hold_no_more_than_they_can() {
    let (mut socket, mut out) = (socket(compressed()), Vec::new());
    socket.write_ping(&[b'a'; 200], &mut out);
    socket.write_pong(&[b'b'; 200], &mut out);
    assert_eq!(frames(&out), [(FIN | PING, vec![b'a'; 125]), (FIN | PONG, vec![b'b'; 125])]);
}

#[test]
fn buffered_counts_what_is_kept_of_a_message() {
    let mut socket = socket(Compression::OFF);
    let wire = frame(FIN | BINARY, &[7; 1_000]);
    feed(&mut socket, [&wire[..4]]);
    assert_eq!(socket.buffered(), 0);
    feed(&mut socket, [&wire[4..508]]);
    assert_eq!(socket.buffered(), 500);
    assert_eq!(feed(&mut socket, [&wire[508..]]).events, [binary([7; 1_000])]);
    assert_eq!(socket.buffered(), 0);
}

#[test]
fn a_socket_at_rest_is_small() {
    assert!(size_of::<Socket>() < 288, "{}", size_of::<Socket>());
}

/// xorshift64: the same bytes in each run.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

/// Bytes that cannot be compressed.
fn noise(size: usize) -> Vec<u8> {
    let mut choices = Choices(size as u64 + 1);
    (0..size).map(|_| choices.next() as u8).collect()
}

#[test]
fn any_messages_are_read_as_they_were_sent_however_they_are_framed_and_cut() {
    for seed in 1..400 {
        let mut choices = Choices(seed * 0x9e37_79b9);
        let (mut wire, mut events) = (Vec::new(), Vec::new());
        for _ in 0..choices.below(8) {
            let size = [3, 130, 3_000][choices.below(3)];
            let is_text = choices.below(2) == 0;
            let data: Vec<u8> = if is_text {
                (0..choices.below(size))
                    .map(|_| ["a", "é", "€", "🐘"][choices.below(4)])
                    .collect::<String>()
                    .into()
            } else {
                (0..choices.below(size)).map(|_| choices.next() as u8).collect()
            };
            let is_compressed = choices.below(2) == 0;
            let payload = if is_compressed { compress(&data) } else { data.clone() };
            let mut first = if is_text { TEXT } else { BINARY } | if is_compressed { RSV1 } else { 0 };
            let mut rest = &payload[..];
            loop {
                let last = choices.below(3) == 0;
                let size = if last { rest.len() } else { choices.below(rest.len() + 1) };
                let (fragment, after) = rest.split_at(size);
                wire.extend(frame(first | if last { FIN } else { 0 }, fragment));
                if last {
                    break;
                }
                (first, rest) = (CONTINUATION, after);
                if choices.below(4) == 0 {
                    let payload = vec![b'p'; choices.below(126)];
                    wire.extend(frame(FIN | PING, &payload));
                    events.push(ping(&payload));
                }
            }
            events.push(if is_text { text(&data) } else { binary(&data) });
        }
        for _ in 0..4 {
            let mut pieces = Vec::new();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let most = [1, 2, 16, 200, rest.len()][choices.below(5)];
                let (piece, after) = rest.split_at((1 + choices.below(most)).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let outcome = feed(&mut socket(compressed()), pieces);
            assert_eq!(outcome, Outcome { events: events.clone(), fault: None }, "{seed}");
        }
    }
}

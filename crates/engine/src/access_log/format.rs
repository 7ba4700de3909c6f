//! What a line of the access log holds: a list of pieces, made once, and what each says of a request.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, tz::TimeZone};
use percent_encoding::percent_decode;
use tidegate_http::{RequestHead, ResponseHead, TraceParent, Version};

use crate::admission::Shed;
use crate::cut::Cut;
use crate::socket::Peer;

/// What is said of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Atom {
    /// What is never known, but has a place in each line.
    Nothing,
    /// The address of the client; `unix:` for one without.
    Client,
    /// The name of Basic authentication (RFC 7617), which nobody has checked.
    User,
    /// When the request came, in local time between brackets, as Common Log Format has it.
    Time,
    /// The same by RFC 3339, in UTC.
    Rfc3339,
    /// Method, target and protocol.
    RequestLine,
    /// The method.
    Method,
    /// The target as sent.
    Target,
    /// The path as sent.
    Path,
    /// The path percent-decoded.
    DecodedPath,
    /// What follows the `?`.
    Query,
    /// `HTTP/1.1`
    Protocol,
    /// Whom the request was for.
    Host,
    /// The status of the response; 0 if it was cut before its head.
    Status,
    /// Why the request was turned away, if it was.
    Shed,
    /// Why the response was cut, if it was.
    Cut,
    /// Bytes of its body.
    BodySent,
    /// A field of the request, the last one if it is repeated.
    RequestField(String),
    /// A field of the response that the application has set, the last one if it is repeated.
    ResponseField(String),
    /// How long it took, in whole seconds.
    Seconds,
    /// In whole milliseconds.
    Milliseconds,
    /// In whole microseconds.
    Microseconds,
    /// In seconds with six decimals.
    DecimalSeconds,
    /// How long it had waited in front of this server, in whole microseconds.
    FrontQueue,
    /// The trace that the client says it belongs to (W3C Trace Context).
    TraceId,
    /// The client's span of it.
    SpanId,
    /// The number of the process, between angle brackets but in JSON, as gunicorn has it.
    Process,
}

/// How an atom stands in its line, as in Python's `%` formatting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Least characters; spaces make up for what is missing.
    pub width: usize,
    /// Most characters, if there is a most.
    pub precision: Option<usize>,
    /// The spaces stand behind.
    pub left: bool,
    /// They are zeros.
    pub zeros: bool,
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The same in each line.
    Text(String),
    /// What is said of the request.
    Atom(Atom, Shape),
}

/// What a line holds.
#[derive(Clone, Debug)]
pub struct AccessLogFormat {
    pieces: Vec<Piece>,
    notation: Notation,
    /// The fields of responses that are in it, in its order.
    response_fields: Vec<String>,
    time_zone: TimeZone,
    process: u32,
}

/// How values stand in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// As they are, with `\xHH` for what could do harm and `-` for what there is not.
    Plain,
    /// As values of JSON, in ASCII.
    Json,
}

/// A request that is over, and what it came to.
pub(crate) struct Outcome<'a> {
    pub(crate) peer: Peer,
    /// None where it could not be read.
    pub(crate) head: Option<&'a RequestHead>,
    pub(crate) status: u16,
    pub(crate) body_sent: u64,
    pub(crate) ended: SystemTime,
    pub(crate) took: Duration,
    pub(crate) front_queue_us: Option<u32>,
    pub(crate) noted: &'a Noted,
}

/// What is known of an answer before its line is written.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Values of fields of the response, in the order in which the format has them.
    pub(crate) fields: Vec<Option<Vec<u8>>>,
    pub(crate) shed: Option<Shed>,
    pub(crate) cut: Option<Cut>,
}

thread_local! {
    /// The second that was last formatted, and its text: most lines have the same as the one before.
    static SECOND: RefCell<(i64, Vec<u8>)> = const { RefCell::new((i64::MIN, Vec::new())) };

    /// The address that was last formatted, and its text: a proxy's is the same for all.
    static ADDRESS: RefCell<(IpAddr, Vec<u8>)> =
        const { RefCell::new((IpAddr::V6(Ipv6Addr::UNSPECIFIED), Vec::new())) };
}

impl AccessLogFormat {
    /// The Common Log Format.
    pub fn common() -> Self {
        Self::custom(Self::common_pieces())
    }

    /// Common, then the quoted Referer and User-Agent.
    pub fn combined() -> Self {
        let mut pieces = Self::common_pieces();
        for name in ["referer", "user-agent"] {
            pieces.extend([text(" \""), atom(Atom::RequestField(name.into())), text("\"")]);
        }
        Self::custom(pieces)
    }

    /// An object of JSON. `request_id` is the field that has a request's id.
    pub fn json(request_id: Option<&str>) -> Self {
        let members = [
            ("time", Atom::Rfc3339),
            ("client", Atom::Client),
            ("method", Atom::Method),
            ("host", Atom::Host),
            ("path", Atom::Path),
            ("query", Atom::Query),
            ("protocol", Atom::Protocol),
            ("status", Atom::Status),
            ("shed", Atom::Shed),
            ("cut", Atom::Cut),
            ("bytes", Atom::BodySent),
            ("duration_us", Atom::Microseconds),
            ("referer", Atom::RequestField("referer".into())),
            ("user_agent", Atom::RequestField("user-agent".into())),
            ("pid", Atom::Process),
            ("request_id", request_id.map_or(Atom::Nothing, |name| Atom::RequestField(name.into()))),
            ("trace_id", Atom::TraceId),
            ("span_id", Atom::SpanId),
            ("front_queue_us", Atom::FrontQueue),
        ];
        let mut pieces = Vec::new();
        let mut before = "{";
        for (name, value) in members {
            pieces.extend([text(&format!("{before}\"{name}\":")), atom(value)]);
            before = ",";
        }
        pieces.push(text("}"));
        Self { notation: Notation::Json, ..Self::custom(pieces) }
    }

    /// These pieces, one after the other.
    pub fn custom(pieces: Vec<Piece>) -> Self {
        let named = |piece: &Piece| match piece {
            Piece::Atom(Atom::ResponseField(name), _) => Some(name.clone()),
            _ => None,
        };
        let response_fields = pieces.iter().filter_map(named).collect();
        let (time_zone, process) = (TimeZone::system(), std::process::id());
        Self { pieces, notation: Notation::Plain, response_fields, time_zone, process }
    }

    fn common_pieces() -> Vec<Piece> {
        let atoms = [Atom::Client, Atom::Time, Atom::RequestLine, Atom::Status, Atom::BodySent];
        let texts = ["", " - - ", " \"", "\" ", " "];
        texts.into_iter().zip(atoms).flat_map(|(before, value)| [text(before), atom(value)]).collect()
    }

    /// What will be said of a response's head, which is gone by the time that the line is written: [`Noted::fields`].
    pub(crate) fn note(&self, head: &ResponseHead) -> Vec<Option<Vec<u8>>> {
        let value = |name: &String| {
            if name.eq_ignore_ascii_case("content-length") {
                return head.content_length().map(|length| length.to_string().into_bytes());
            }
            let same = |(other, _): &(&[u8], _)| other.eq_ignore_ascii_case(name.as_bytes());
            head.fields().filter(same).last().map(|(_, value)| value.to_vec())
        };
        self.response_fields.iter().map(value).collect()
    }

    /// Writes a whole line.
    pub(crate) fn write(&self, outcome: &Outcome<'_>, line: &mut Vec<u8>) {
        let mut noted = outcome.noted.fields.iter();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Atom(Atom::ResponseField(_), shape) => {
                    let value = noted.next().and_then(Option::as_deref);
                    shape.apply(line, |line| self.text(value, line));
                }
                Piece::Atom(atom, shape) if *shape == Shape::default() => self.value(atom, outcome, line),
                Piece::Atom(atom, shape) => shape.apply(line, |line| self.value(atom, outcome, line)),
            }
        }
        line.push(b'\n');
    }

    fn value(&self, atom: &Atom, outcome: &Outcome<'_>, line: &mut Vec<u8>) {
        let Outcome { head, took, .. } = *outcome;
        match atom {
            Atom::Nothing => self.text(None, line),
            Atom::Client => match outcome.peer {
                Peer::Inet(address) if self.notation == Notation::Json => {
                    line.push(b'"');
                    push_address(line, address.ip());
                    line.push(b'"');
                }
                Peer::Inet(address) => push_address(line, address.ip()),
                Peer::Unix => self.text(Some(b"unix:"), line),
            },
            Atom::User => self.text(head.and_then(user).as_deref(), line),
            Atom::Time => self.push_time(began(outcome), line),
            Atom::Rfc3339 => push(line, format_args!("\"{:.6}\"", began(outcome))),
            Atom::RequestLine => match head {
                Some(head) => {
                    escape(head.method().as_bytes(), line);
                    line.push(b' ');
                    escape(head.target(), line);
                    line.push(b' ');
                    line.extend_from_slice(protocol(head));
                }
                None => line.push(b'-'),
            },
            Atom::Method => self.text(head.map(|head| head.method().as_bytes()), line),
            Atom::Target => self.text(head.map(RequestHead::target), line),
            Atom::Path => self.text(head.map(RequestHead::path), line),
            Atom::DecodedPath => {
                let decoded = head.map(|head| Cow::from(percent_decode(head.path())));
                self.text(decoded.as_deref(), line);
            }
            Atom::Query => self.text(head.map(RequestHead::query), line),
            Atom::Protocol => self.text(head.map(protocol), line),
            Atom::Host => self.text(head.and_then(RequestHead::authority), line),
            Atom::Status if outcome.status == 0 && self.notation == Notation::Json => {
                line.extend_from_slice(b"null");
            }
            Atom::Status if outcome.status == 0 => line.extend_from_slice(b"000"),
            Atom::Status => push_number(line, outcome.status),
            Atom::Shed => self.text(outcome.noted.shed.map(|shed| shed.name().as_bytes()), line),
            Atom::Cut => self.text(outcome.noted.cut.map(|cut| cut.name().as_bytes()), line),
            Atom::BodySent => push_number(line, outcome.body_sent),
            Atom::RequestField(name) => self.text(head.and_then(|head| last_field(head, name)), line),
            // It is among what was noted.
            Atom::ResponseField(_) => {}
            Atom::Seconds => push_number(line, took.as_secs()),
            Atom::Milliseconds => push_number(line, took.as_millis()),
            Atom::Microseconds => push_number(line, took.as_micros()),
            Atom::DecimalSeconds => {
                push(line, format_args!("{}.{:06}", took.as_secs(), took.subsec_micros()));
            }
            Atom::FrontQueue => match outcome.front_queue_us {
                Some(waited) => push_number(line, waited),
                None => self.text(None, line),
            },
            Atom::TraceId => {
                self.text(head.and_then(TraceParent::of).map(|parent| parent.trace_id), line);
            }
            Atom::SpanId => self.text(head.and_then(TraceParent::of).map(|parent| parent.span_id), line),
            Atom::Process if self.notation == Notation::Json => push_number(line, self.process),
            Atom::Process => push(line, format_args!("<{}>", self.process)),
        }
    }

    fn text(&self, value: Option<&[u8]>, line: &mut Vec<u8>) {
        match (value, self.notation) {
            (Some(value), Notation::Plain) => escape(value, line),
            (None, Notation::Plain) => line.push(b'-'),
            (Some(value), Notation::Json) => {
                line.push(b'"');
                escape_json(value, line);
                line.push(b'"');
            }
            (None, Notation::Json) => line.extend_from_slice(b"null"),
        }
    }

    fn push_time(&self, time: Timestamp, line: &mut Vec<u8>) {
        SECOND.with_borrow_mut(|(second, text)| {
            if *second != time.as_second() {
                text.clear();
                let zoned = time.to_zoned_datetime(self.time_zone.clone());
                push(text, format_args!("[{}]", zoned.strftime("%d/%b/%Y:%H:%M:%S %z")));
                *second = time.as_second();
            }
            line.extend_from_slice(text);
        });
    }
}

impl Shape {
    fn apply(&self, line: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = line.len();
        write(line);
        if let Some(most) = self.precision {
            line.truncate(start + whole_characters(&line[start..], most));
        }
        let missing = self.width.saturating_sub(line.len() - start);
        if missing > 0 {
            let at = if self.left { line.len() } else { start };
            let filling = if self.zeros && !self.left { b'0' } else { b' ' };
            line.splice(at..at, std::iter::repeat_n(filling, missing));
        }
    }
}

/// How many of at most `most` bytes can be kept without one that is escaped being cut: half of one could escape what follows.
fn whole_characters(escaped: &[u8], most: usize) -> usize {
    let mut end = 0;
    while end < escaped.len() {
        let size = match escaped[end..] {
            [b'\\', b'x', ..] => 4,
            [b'\\', ..] => 2,
            _ => 1,
        };
        if end + size > most {
            break;
        }
        end += size;
    }
    end.min(escaped.len())
}

fn text(text: &str) -> Piece {
    Piece::Text(text.into())
}

fn atom(atom: Atom) -> Piece {
    Piece::Atom(atom, Shape::default())
}

/// When the request came.
fn began(outcome: &Outcome<'_>) -> Timestamp {
    let began = outcome.ended.checked_sub(outcome.took).unwrap_or(outcome.ended);
    Timestamp::try_from(began).unwrap_or_default()
}

fn protocol(head: &RequestHead) -> &'static [u8] {
    match head.version() {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
        Version::Http2 => b"HTTP/2",
    }
}

fn last_field<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let same = |(other, _): &(&[u8], _)| other.eq_ignore_ascii_case(name.as_bytes());
    head.fields().filter(same).last().map(|(_, value)| value)
}

/// RFC 7617 section 2: the name ends at the first colon.
fn user(head: &RequestHead) -> Option<Vec<u8>> {
    let (scheme, credentials) = head.field("authorization")?.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = vec![0; credentials.len()];
    let size = STANDARD.decode_slice(credentials.trim_ascii(), &mut decoded).ok()?;
    decoded.truncate(size);
    decoded.truncate(decoded.iter().position(|&byte| byte == b':').unwrap_or(size));
    Some(decoded).filter(|name| !name.is_empty())
}

fn push_number(line: &mut Vec<u8>, number: impl itoa::Integer) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_address(line: &mut Vec<u8>, address: IpAddr) {
    ADDRESS.with_borrow_mut(|(last, text)| {
        if *last != address || text.is_empty() {
            text.clear();
            push(text, format_args!("{address}"));
            *last = address;
        }
        line.extend_from_slice(text);
    });
}

fn push(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = line.write_fmt(text);
}

/// Puts what a peer chose into a line so that it can neither end a field nor reach a terminal as a command.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    let does_harm = |byte: &u8| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\');
    let mut rest = text;
    while let Some(at) = rest.iter().position(does_harm) {
        line.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => line.extend_from_slice(&[b'\\', byte]),
            byte => push(line, format_args!("\\x{byte:02x}")),
        }
        rest = &rest[at + 1..];
    }
    line.extend_from_slice(rest);
}

/// The same between the quotes of a string of JSON (RFC 8259 section 7). What is not UTF-8 becomes U+FFFD.
fn escape_json(text: &[u8], line: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => line.extend_from_slice(&[b'\\', character as u8]),
                ' '..='~' => line.push(character as u8),
                // Controls beyond ASCII, and what turns the direction of writing, are harmless in this form too.
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        push(line, format_args!("\\u{unit:04x}"));
                    }
                }
            }
        }
        if !chunk.invalid().is_empty() {
            line.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = b"before".to_vec();
        write(&mut line);
        String::from_utf8_lossy(&line[6..]).into_owned()
    }

    #[test]
    fn what_a_peer_chose_cannot_end_a_field_or_command_a_terminal() {
        let text = b"/\x1b[31m\r\n\"\\\xe9\x7f\xc2\x9b ok\"";
        assert_eq!(written(|line| escape(text, line)), r#"/\x1b[31m\x0d\x0a\"\\\xe9\x7f\xc2\x9b ok\""#);
        assert_eq!(
            written(|line| escape_json(text, line)),
            r#"/\u001b[31m\u000d\u000a\"\\\ufffd\u007f\u009b ok\""#
        );
        assert_eq!(written(|line| escape_json("\u{1f600}".as_bytes(), line)), r"\ud83d\ude00");
    }

    #[test]
    fn a_shape_cuts_and_fills_as_python_does_and_nothing_in_two_that_is_escaped() {
        let shape = |width, precision, left, zeros| Shape { width, precision, left, zeros };
        for (shape, text, expected) in [
            (shape(4, None, false, false), "ab", "  ab"),
            (shape(4, None, true, false), "ab", "ab  "),
            (shape(4, None, false, true), "12", "0012"),
            (shape(4, None, true, true), "12", "12  "),
            (shape(1, None, false, false), "ab", "ab"),
            (shape(3, Some(1), false, false), "ab", "  a"),
            (shape(0, Some(0), false, false), "ab", ""),
            (shape(0, Some(9), false, false), "ab", "ab"),
            (shape(0, Some(2), false, false), "a\"b", "a"),
            (shape(0, Some(3), false, false), "a\"b", "a\\\""),
            (shape(0, Some(4), false, false), "a\x1bb", "a"),
        ] {
            let line = written(|line| shape.apply(line, |line| escape(text.as_bytes(), line)));
            assert_eq!(line, expected, "{shape:?} {text:?}");
        }
    }
}

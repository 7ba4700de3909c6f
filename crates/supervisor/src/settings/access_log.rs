//! The access log: where it goes, what its lines hold, and which requests have one.

use std::fmt;
use std::path::PathBuf;

use super::texts::path;
use super::value::{Fault, Value, digits, text};

/// Where the lines of the access log go. `Display` gives the notation that is read back as the same target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, relative to the directory that the server runs in.
    File(PathBuf),
    /// A program that collects lines.
    Collector(Collector),
}

/// A program that collects lines, each in a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Where it is, and so how it takes them.
    pub address: CollectorAddress,
    /// Its place in [`FACILITIES`] is its number.
    pub facility: u8,
    /// What lines are told by.
    pub tag: String,
}

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorAddress {
    /// The unix socket of a syslog.
    Syslog(PathBuf),
    /// The host and the UDP port of a syslog.
    SyslogAt(String, u16),
    /// The unix socket of systemd's journal.
    Journal(PathBuf),
}

/// What an access log target may look like.
pub(super) const TARGET_ACCEPTED: &str = "off, - for standard output, stderr, a path, syslog:[PATH], syslog://HOST[:PORT], \
                                          journald:[PATH], these three with ,facility=NAME and ,tag=NAME";

const SYSLOG: &str = "/dev/log";
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG_PORT: u16 = 514;
const TAG: &str = "tidegate";

/// RFC 3164: a tag is short, and what follows its letters ends it.
const TAG_SIZE_MAX: usize = 32;

/// By number (RFC 3164 section 4.1.1), as syslog(3) calls them.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "security", "console", "clock", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7",
];
const DAEMON: u8 = 3;

/// What a line of the access log holds. `Display` gives what was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// The Common Log Format.
    Common,
    /// Common, then the quoted Referer and User-Agent.
    Combined,
    /// An object of JSON.
    Json,
    /// These pieces, and the text that they come from.
    Custom(Vec<LogPiece>, String),
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece {
    /// The same in each line.
    Text(String),
    /// What is said of the request.
    Atom(LogAtom, LogShape),
}

/// What is said of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/logging.md says what each is, by its letter")]
pub enum LogAtom {
    Nothing,
    Client,
    User,
    Time,
    RequestLine,
    Method,
    Target,
    DecodedPath,
    Query,
    Protocol,
    Status,
    Shed,
    /// Why the response was cut, if it was.
    Cut,
    BodySent,
    RequestField(String),
    ResponseField(String),
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    Process,
    RequestId,
    FrontQueue,
    TraceId,
    SpanId,
}

/// How an atom stands in its line, as in Python's `%` formatting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogShape {
    /// Least characters; spaces make up for what is missing.
    pub width: usize,
    /// Most characters, if there is a most.
    pub precision: Option<usize>,
    /// The spaces stand behind.
    pub left: bool,
    /// They are zeros.
    pub zeros: bool,
}

/// What a format may be.
pub(super) const FORMAT_ACCEPTED: &str = "common, combined, json, or a text with %(h)s %(l)s %(u)s %(t)s %(r)s %(m)s %(U)s \
     %(q)s %(H)s %(s)s %(B)s %(b)s %(f)s %(a)s %(T)s %(M)s %(D)s %(L)s %(p)s %(shed)s %(cut)s %(request_id)s %(front_queue_us)s %(trace_id)s %(span_id)s %({FIELD}i)s %({FIELD}o)s %({VARIABLE}e)s";

/// Widest that a piece is made: a bound on what a slip of the finger takes of every line.
const WIDTH_MAX: u64 = 4096;

impl fmt::Display for AccessLogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Collector { address, facility, tag } = match self {
            Self::Stdout => return f.write_str("-"),
            Self::Stderr => return f.write_str("stderr"),
            Self::File(path) => return path.display().fmt(f),
            Self::Collector(collector) => collector,
        };
        match address {
            CollectorAddress::Syslog(path) => write!(f, "syslog:{}", path.display())?,
            CollectorAddress::SyslogAt(host, port) if host.contains(':') => {
                write!(f, "syslog://[{host}]:{port}")?;
            }
            CollectorAddress::SyslogAt(host, port) => write!(f, "syslog://{host}:{port}")?,
            CollectorAddress::Journal(path) => write!(f, "journald:{}", path.display())?,
        }
        if *facility != DAEMON {
            write!(f, ",facility={}", FACILITIES[usize::from(*facility)])?;
        }
        if tag != TAG {
            write!(f, ",tag={tag}")?;
        }
        Ok(())
    }
}

/// `off` or a target.
pub(super) fn target(value: &Value) -> Result<Option<AccessLogTarget>, Fault> {
    if *value == Value::Bool(false) {
        return Ok(None);
    }
    Ok(Some(match text(value)? {
        "off" => return Ok(None),
        "-" => AccessLogTarget::Stdout,
        "stderr" => AccessLogTarget::Stderr,
        text => match collector(text)? {
            Some(collector) => AccessLogTarget::Collector(collector),
            None => AccessLogTarget::File(path(text)?),
        },
    }))
}

/// `syslog:[PATH]`, `syslog://HOST[:PORT]` or `journald:[PATH]`, and what is said of it behind commas.
fn collector(text: &str) -> Result<Option<Collector>, Fault> {
    let (place, options) = text.split_once(',').unwrap_or((text, ""));
    let (scheme, rest) = place.split_once(':').unwrap_or((place, ""));
    let or_usual = |usual| path(if rest.is_empty() { usual } else { rest });
    let address = match (scheme, rest.strip_prefix("//")) {
        ("syslog", Some(authority)) => syslog_at(authority)?,
        ("syslog", None) => CollectorAddress::Syslog(or_usual(SYSLOG)?),
        ("journald", _) => CollectorAddress::Journal(or_usual(JOURNAL)?),
        _ => return Ok(None),
    };
    let mut collector = Collector { address, facility: DAEMON, tag: TAG.into() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("facility", name)) => {
                let number = FACILITIES.iter().position(|&other| other == name);
                collector.facility =
                    number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| {
                        format!("no such facility: {name}; there are {}", FACILITIES.join(", "))
                    })?;
            }
            Some(("tag", tag)) if is_tag(tag) => collector.tag = tag.into(),
            Some(("tag", _)) => return Err("a tag is 1 to 32 letters, digits, - . _".into()),
            _ => return Err(format!("neither facility=NAME nor tag=NAME: {option}")),
        }
    }
    Ok(Some(collector))
}

fn is_tag(tag: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=TAG_SIZE_MAX).contains(&tag.len()) && tag.bytes().all(good)
}

fn syslog_at(authority: &str) -> Result<CollectorAddress, Fault> {
    host_and_port(authority, SYSLOG_PORT).map(|(host, port)| CollectorAddress::SyslogAt(host, port))
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`
pub(super) fn host_and_port(authority: &str, port_default: u16) -> Result<(String, u16), Fault> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("the bracket is not closed")?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest {
        "" => Some(port_default),
        rest => rest.strip_prefix(':').and_then(digits).and_then(|port| u16::try_from(port).ok()),
    };
    match (host, port.filter(|&port| port > 0)) {
        ("", _) => Err("the host is missing".into()),
        (_, None) => Err("the port must be a number from 1 to 65535".into()),
        (host, Some(port)) => Ok((host.into(), port)),
    }
}

impl fmt::Display for AccessLogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Json => "json",
            Self::Custom(_, text) => text,
        })
    }
}

/// A word, or a text with gunicorn's atoms.
pub(super) fn format(value: &Value) -> Result<AccessLogFormat, Fault> {
    match text(value)? {
        "common" => Ok(AccessLogFormat::Common),
        "combined" => Ok(AccessLogFormat::Combined),
        "json" => Ok(AccessLogFormat::Json),
        text if !text.contains("%(") => Err("no such format".into()),
        text if text.contains(|character: char| character.is_control() && character != '\t') => {
            Err("it contains a control character".into())
        }
        text => Ok(AccessLogFormat::Custom(pieces(text)?, text.into())),
    }
}

/// Takes a text apart as Python's `text % atoms` does (library reference, "printf-style String Formatting").
fn pieces(mut rest: &str) -> Result<Vec<LogPiece>, Fault> {
    let mut pieces = Vec::new();
    while let Some((before, after)) = rest.split_once('%') {
        push_text(&mut pieces, before);
        if let Some(after) = after.strip_prefix('%') {
            push_text(&mut pieces, "%");
            rest = after;
            continue;
        }
        let (name, after) = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'))
            .ok_or("after % must come (NAME)s, or another %")?;
        let is_spec = |character: char| !character.is_ascii_digit() && !"-0.".contains(character);
        let end = after.find(is_spec).ok_or_else(|| format!("%({name}) must be followed by s"))?;
        let (spec, after) = after.split_at(end);
        let written = format!("%({name}){spec}{}", &after[..after.chars().next().map_or(0, char::len_utf8)]);
        let is_number = match after.as_bytes() {
            [b's', ..] => false,
            [b'd' | b'i', ..] if ["B", "T", "D", "M"].contains(&name) => true,
            [b'd' | b'i', ..] => return Err(format!("{written} is not a number: %({name})s")),
            _ => return Err(format!("{written}: only s, and d for numbers")),
        };
        let shape = shape(spec, is_number).ok_or_else(|| format!("{written}: no such width"))?;
        pieces.push(LogPiece::Atom(atom(name)?, shape));
        rest = &after[1..];
    }
    push_text(&mut pieces, rest);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<LogPiece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(LogPiece::Text(before)) => before.push_str(text),
        _ => pieces.push(LogPiece::Text(text.into())),
    }
}

/// `[-0][WIDTH][.PRECISION]`
fn shape(spec: &str, is_number: bool) -> Option<LogShape> {
    let flags_end = spec.find(|flag| flag != '-' && flag != '0').unwrap_or(spec.len());
    let (flags, sizes) = spec.split_at(flags_end);
    let (width, precision) = sizes.split_once('.').map_or((sizes, None), |(width, most)| (width, Some(most)));
    // As in Python, a dot alone is no digits at all.
    let size = |text: &str| match text {
        "" => Some(0),
        text => digits(text).filter(|&size| size <= WIDTH_MAX).and_then(|size| usize::try_from(size).ok()),
    };
    let precision = match precision {
        Some(_) if is_number => return None,
        Some(most) => Some(size(most)?),
        None => None,
    };
    let (left, zeros) = (flags.contains('-'), is_number && flags.contains('0'));
    Some(LogShape { width: size(width)?, precision, left, zeros })
}

/// What gunicorn calls so ("access_log_format" in its settings), as far as it is known outside of the application.
fn atom(name: &str) -> Result<LogAtom, Fault> {
    if let Some((key, kind)) = name.strip_prefix('{').and_then(|name| name.rsplit_once('}')) {
        let field = key.to_ascii_lowercase();
        let is_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        return match kind {
            "i" if is_name => Ok(LogAtom::RequestField(field)),
            "o" if is_name => Ok(LogAtom::ResponseField(field)),
            "e" => variable(key),
            _ => Err(format!("%({name})s: no such atom")),
        };
    }
    Ok(match name {
        "h" => LogAtom::Client,
        "l" => LogAtom::Nothing,
        "u" => LogAtom::User,
        "t" => LogAtom::Time,
        "r" => LogAtom::RequestLine,
        "m" => LogAtom::Method,
        "U" => LogAtom::DecodedPath,
        "q" => LogAtom::Query,
        "H" => LogAtom::Protocol,
        "s" => LogAtom::Status,
        "B" | "b" => LogAtom::BodySent,
        "f" => LogAtom::RequestField("referer".into()),
        "a" => LogAtom::RequestField("user-agent".into()),
        "T" => LogAtom::Seconds,
        "M" => LogAtom::Milliseconds,
        "D" => LogAtom::Microseconds,
        "L" => LogAtom::DecimalSeconds,
        "p" => LogAtom::Process,
        "shed" => LogAtom::Shed,
        "cut" => LogAtom::Cut,
        "request_id" => LogAtom::RequestId,
        "front_queue_us" => LogAtom::FrontQueue,
        "trace_id" => LogAtom::TraceId,
        "span_id" => LogAtom::SpanId,
        name => return Err(format!("%({name})s: no such atom")),
    })
}

/// A variable of the environ that the server makes of the request itself. What else is in it is between the gateway and the application.
fn variable(key: &str) -> Result<LogAtom, Fault> {
    let upper = key.to_ascii_uppercase();
    let field = |name: &str| LogAtom::RequestField(name.replace('_', "-").to_ascii_lowercase());
    Ok(match upper.as_str() {
        "REQUEST_METHOD" => LogAtom::Method,
        "RAW_URI" | "REQUEST_URI" => LogAtom::Target,
        "PATH_INFO" => LogAtom::DecodedPath,
        "QUERY_STRING" => LogAtom::Query,
        "SERVER_PROTOCOL" => LogAtom::Protocol,
        "REMOTE_ADDR" => LogAtom::Client,
        "CONTENT_TYPE" | "CONTENT_LENGTH" => field(&upper),
        "TIDEGATE.REQUEST_ID" => LogAtom::RequestId,
        "TIDEGATE.FRONT_QUEUE_US" => LogAtom::FrontQueue,
        upper => match upper.strip_prefix("HTTP_").filter(|name| !name.is_empty()) {
            Some(name) => field(name),
            None => {
                return Err(format!(
                    "%({{{key}}}e)s cannot be had: the log knows of the environ HTTP_*, CONTENT_TYPE, CONTENT_LENGTH, PATH_INFO, \
                     QUERY_STRING, RAW_URI, REMOTE_ADDR, REQUEST_METHOD, REQUEST_URI, SERVER_PROTOCOL, tidegate.request_id, tidegate.front_queue_us"
                ));
            }
        },
    })
}

/// The path of a request as it is sent, in which each `*` stands for any characters.
pub(super) fn excluded(text: &str) -> Result<String, Fault> {
    match text {
        path if !path.starts_with('/') => Err("it does not begin with /".into()),
        path if !path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'?' && byte != b'#') => {
            Err("not a path as it is sent, without its query".into())
        }
        _ => Ok(text.into()),
    }
}

/// A file that is told by its ending how it is read.
pub(super) fn log_config(text: &str) -> Result<PathBuf, Fault> {
    let path = path(text)?;
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json" | "toml" | "ini" | "conf") => Ok(path),
        _ => Err("its name must say what it is".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn unix(path: &str) -> CollectorAddress {
        CollectorAddress::Syslog(path.into())
    }

    fn syslog(address: CollectorAddress, facility: u8, tag: &str) -> Option<AccessLogTarget> {
        Some(AccessLogTarget::Collector(Collector { address, facility, tag: tag.into() }))
    }

    #[test]
    fn a_target_is_a_stream_a_file_or_a_collector_and_is_shown_as_it_is_typed() {
        let at = |host: &str, port| CollectorAddress::SyslogAt(host.into(), port);
        for (text, shown, expected) in [
            ("off", "off", None),
            ("-", "-", Some(AccessLogTarget::Stdout)),
            ("stderr", "stderr", Some(AccessLogTarget::Stderr)),
            ("logs/off", "logs/off", Some(AccessLogTarget::File("logs/off".into()))),
            ("./syslog", "./syslog", Some(AccessLogTarget::File("./syslog".into()))),
            ("syslog.log", "syslog.log", Some(AccessLogTarget::File("syslog.log".into()))),
            ("syslog", "syslog:/dev/log", syslog(unix("/dev/log"), 3, "tidegate")),
            ("syslog:", "syslog:/dev/log", syslog(unix("/dev/log"), 3, "tidegate")),
            ("syslog:/a", "syslog:/a", syslog(unix("/a"), 3, "tidegate")),
            (
                "syslog:,tag=site,facility=local0",
                "syslog:/dev/log,facility=local0,tag=site",
                syslog(unix("/dev/log"), 16, "site"),
            ),
            ("syslog://a", "syslog://a:514", syslog(at("a", 514), 3, "tidegate")),
            ("syslog://a:5140", "syslog://a:5140", syslog(at("a", 5140), 3, "tidegate")),
            ("syslog://[::1]:1,tag=b", "syslog://[::1]:1,tag=b", syslog(at("::1", 1), 3, "b")),
            (
                "journald,tag=b",
                "journald:/run/systemd/journal/socket,tag=b",
                syslog(CollectorAddress::Journal("/run/systemd/journal/socket".into()), 3, "b"),
            ),
        ] {
            let read = target(&typed(text));
            assert_eq!(read, Ok(expected), "{text}");
            let again = read.ok().flatten().map_or_else(|| "off".to_owned(), |target| target.to_string());
            assert_eq!(again, shown, "{text}");
            assert_eq!(target(&typed(&again)), target(&typed(text)), "{text}");
        }
        assert_eq!(target(&Value::Bool(false)), Ok(None));
        assert!(target(&Value::Bool(true)).is_err());
    }

    #[test]
    fn a_target_that_cannot_be_is_refused() {
        for text in [
            "",
            "syslog://",
            "syslog://:514",
            "syslog://a:",
            "syslog://a:0",
            "syslog://a:65536",
            "syslog://a:b",
            "syslog://[::1",
            "syslog://[::1]x",
            "syslog:,facility=local8",
            "syslog:,tag=",
            "syslog:,tag=a b",
            "syslog:,severity=info",
            "syslog:,tag",
        ] {
            assert!(target(&typed(text)).is_err(), "{text}");
        }
    }

    fn custom(text: &str) -> Result<Vec<LogPiece>, Fault> {
        match format(&typed(text))? {
            AccessLogFormat::Custom(pieces, typed) => {
                assert_eq!(typed, text);
                Ok(pieces)
            }
            other => Err(other.to_string()),
        }
    }

    #[test]
    fn a_format_is_taken_apart_as_python_does() {
        let atom = |atom, width, precision, left, zeros| {
            LogPiece::Atom(atom, LogShape { width, precision, left, zeros })
        };
        let field = |name: &str| LogAtom::RequestField(name.into());
        assert_eq!(
            custom("%(h)s 100%% \"%(r)s\"%({X-Request-Id}i)-8.4s%(D)06d%({HTTP_X_A}e)s%({ETag}o)s."),
            Ok(vec![
                atom(LogAtom::Client, 0, None, false, false),
                LogPiece::Text(" 100% \"".into()),
                atom(LogAtom::RequestLine, 0, None, false, false),
                LogPiece::Text("\"".into()),
                atom(field("x-request-id"), 8, Some(4), true, false),
                atom(LogAtom::Microseconds, 6, None, false, true),
                atom(field("x-a"), 0, None, false, false),
                atom(LogAtom::ResponseField("etag".into()), 0, None, false, false),
                LogPiece::Text(".".into()),
            ])
        );
    }

    #[test]
    fn a_format_that_cannot_be_is_refused_by_the_name_of_the_atom() {
        for (text, fault) in [
            ("jsn", "no such format"),
            ("%(h)s\n", "it contains a control character"),
            ("%(x)s", "%(x)s: no such atom"),
            ("%(h)s %({a}x)s", "%({a}x)s: no such atom"),
            ("%({}i)s", "%({}i)s: no such atom"),
            ("%(h)", "%(h) must be followed by s"),
            ("%(h", "after % must come (NAME)s, or another %"),
            ("100% %(h)s", "after % must come (NAME)s, or another %"),
            ("%(h)x", "%(h)x: only s, and d for numbers"),
            ("%(h)é", "%(h)é: only s, and d for numbers"),
            ("%(s)d", "%(s)d is not a number: %(s)s"),
            ("%(h)99999s", "%(h)99999s: no such width"),
            ("%(h)1.2.3s", "%(h)1.2.3s: no such width"),
            (
                "%({wsgi.errors}e)s",
                "%({wsgi.errors}e)s cannot be had: the log knows of the environ HTTP_*, CONTENT_TYPE, \
                 CONTENT_LENGTH, PATH_INFO, QUERY_STRING, RAW_URI, REMOTE_ADDR, REQUEST_METHOD, REQUEST_URI, SERVER_PROTOCOL, tidegate.request_id, tidegate.front_queue_us",
            ),
        ] {
            assert_eq!(custom(text), Err(fault.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_excluded_path_is_one_that_can_be_sent_or_has_stars() {
        for (text, good) in [
            ("/health", true),
            ("/static/*", true),
            ("/*", true),
            ("/", true),
            ("health", false),
            ("*", false),
            ("/*.css", true),
            ("/a?b", false),
            ("/a b", false),
            ("", false),
        ] {
            assert_eq!(excluded(text).is_ok(), good, "{text}");
        }
    }
}

//! Settings with a grammar of their own.

use std::fmt;
use std::path::PathBuf;

use glob::Pattern;

use super::value::{Fault, Value, count, digits, text};

/// Which settings file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// `tidegate.toml` and `pyproject.toml` of the directory that the server runs in, where they exist.
    Search,
    /// No file.
    None,
    /// This file alone.
    File(PathBuf),
}

/// The value of `Server` when a setting says no more than that it is sent: no version, which would only help a scanner.
const SERVER: &str = "tidegate";

/// Longest `Server` value; it goes out with every response.
const SERVER_SIZE_MAX: usize = 256;

/// `on`, `off` or the text itself.
pub(super) fn server_header(value: &Value) -> Result<Option<String>, Fault> {
    let text = match value {
        Value::Bool(true) => return Ok(Some(SERVER.into())),
        Value::Bool(false) => return Ok(None),
        value => text(value)?,
    };
    match text {
        "on" | "true" => Ok(Some(SERVER.into())),
        "off" | "false" => Ok(None),
        "" => Err("the text is empty".into()),
        text if text.len() > SERVER_SIZE_MAX => Err("the text is too long".into()),
        // RFC 9110 section 5.5: visible characters, with spaces between them.
        text if text.trim() != text || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            Err("not fit for a header field".into())
        }
        text => Ok(Some(text.into())),
    }
}

/// Fields that the server or the client would take for something else than an id.
const MEANINGFUL: [&str; 24] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "location",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "server",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];
const HEADER_SIZE_MAX: usize = 64;

/// The name of a field that is free for an id.
pub(super) fn request_id_header(value: &Value) -> Result<String, Fault> {
    let name = text(value)?;
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > HEADER_SIZE_MAX {
        return Err("it is not 1 to 64 characters long".into());
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err("not a name".into());
    }
    if MEANINGFUL.contains(&lower.as_str()) || lower.starts_with("sec-") || lower.starts_with("x-forwarded-")
    {
        return Err("that field means something else".into());
    }
    Ok(name.into())
}

/// The name or the number of a user or a group.
pub(super) fn name(value: &Value) -> Result<String, Fault> {
    match value {
        Value::Int(number) => {
            u32::try_from(*number).map(|number| number.to_string()).map_err(|_| "out of range".into())
        }
        value => match text(value)? {
            "" => Err("the text is empty".into()),
            name => Ok(name.into()),
        },
    }
}

/// Whom something belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// A name or a number.
    pub user: String,
    /// A name or a number.
    pub group: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

/// A user, or a user and a group as chown(1) takes them.
pub(super) fn owner(value: &Value) -> Result<Owner, Fault> {
    let name = name(value)?;
    let (user, group) = match name.split_once(':') {
        Some((user, group)) => (user.to_owned(), Some(group.to_owned())),
        None => (name, None),
    };
    if user.is_empty() || group.as_deref() == Some("") {
        return Err("a name is empty".into());
    }
    Ok(Owner { user, group })
}

/// The name of a host, as a Host field has it without a port.
pub(super) fn host_name(text: &str) -> Result<String, Fault> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match text {
        "" => Err("the name is empty".into()),
        name if name.bytes().all(is_name) => Ok(name.to_ascii_lowercase()),
        _ => Err("not the name of a host".into()),
    }
}

/// The path of a request, as it stands in a request line.
pub(super) fn ready_path(value: &Value) -> Result<String, Fault> {
    match text(value)? {
        path if !path.starts_with('/') => Err("it does not begin with /".into()),
        path if !path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'?' && byte != b'#') => {
            Err("not a path".into())
        }
        path => Ok(path.into()),
    }
}

/// Most workers of a server: a bound on what a slip of the finger starts.
const WORKERS_MAX: u64 = 1024;

/// `auto` or a number.
pub(super) fn workers(value: &Value) -> Result<Option<usize>, Fault> {
    if *value == Value::Text("auto".into()) {
        return Ok(None);
    }
    let number = count(value)?;
    let number = Some(number).filter(|number| (1..=WORKERS_MAX).contains(number));
    number.and_then(|number| usize::try_from(number).ok()).map(Some).ok_or_else(|| "out of range".into())
}

/// `none` or a path.
pub(super) fn config(value: &Value) -> Result<Config, Fault> {
    match text(value)? {
        "none" => Ok(Config::None),
        text => Ok(Config::File(path(text)?)),
    }
}

/// What [`glob`] takes.
pub(super) const GLOB: &str = "a pattern with *, **, ? or [...], without a slash at its beginning";

/// A pattern for names or paths of files.
pub(super) fn glob(text: &str) -> Result<Pattern, Fault> {
    // A directory's name may be typed with a slash behind it, and a path with "./" before it.
    let pattern = text.trim_end_matches('/');
    match pattern.strip_prefix("./").unwrap_or(pattern) {
        "" => Err("it matches nothing".into()),
        pattern if pattern.starts_with('/') => Err("paths begin at a watched directory".into()),
        pattern => Pattern::new(pattern).map_err(|error| error.msg.to_owned()),
    }
}

/// A path that the system can take.
pub(super) fn path(text: &str) -> Result<PathBuf, Fault> {
    match text {
        "" => Err("the path is empty".into()),
        text if text.contains('\0') => Err("the path contains a zero byte".into()),
        text => Ok(text.into()),
    }
}

/// Permission bits in octal digits, as chmod(1) takes them.
///
/// A number without quotes is refused, since 660 would be taken for decimal by one reader and for octal by the next.
pub(super) fn mode(value: &Value) -> Result<u32, Fault> {
    let Value::Text(text) = value else {
        return Err("must be text in quotes, \"0660\"".into());
    };
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| digits(text).is_some() && *mode <= 0o777)
        .ok_or_else(|| "not a mode in octal digits".into())
}

/// A prefix of paths as SCRIPT_NAME has it (RFC 3875 section 4.1.13): empty, or from a slash to the end of a segment.
pub(super) fn script_name(value: &Value) -> Result<String, Fault> {
    match text(value)? {
        "" => Ok(String::new()),
        text => prefix(text),
    }
}

/// A prefix of paths that is not empty.
pub(super) fn prefix(text: &str) -> Result<String, Fault> {
    match text {
        text if !text.starts_with('/') => Err("must begin with a slash".into()),
        text if text.ends_with('/') => Err("must not end with a slash".into()),
        // Its UTF-8 bytes are compared with paths that are percent-decoded, and go into a CGI variable as they are.
        text if text.contains(['%', '?', '#']) || text.contains(char::is_control) => {
            Err("must be a plain path, without %, ? and #".into())
        }
        text => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_mode_is_octal_digits_and_at_most_all_nine_bits() {
        for (value, expected) in [
            (typed("0660"), Some(0o660)),
            (typed("600"), Some(0o600)),
            (typed("777"), Some(0o777)),
            (typed("1777"), None),
            (typed("0o660"), None),
            (typed("+660"), None),
            (typed("rw"), None),
            (typed(""), None),
            (typed("888"), None),
            (Value::Int(660), None),
            (Value::Int(0o660), None),
        ] {
            assert_eq!(mode(&value).ok(), expected, "{value}");
        }
    }

    #[test]
    fn an_owner_is_a_user_or_a_user_and_a_group() {
        for (value, expected) in [
            (typed("www"), Some("www")),
            (typed("www:33"), Some("www:33")),
            (Value::Int(33), Some("33")),
            (typed(""), None),
            (typed(":www"), None),
            (typed("www:"), None),
            (Value::Int(-1), None),
            (Value::Bool(true), None),
        ] {
            let owner = owner(&value).ok().map(|owner| owner.to_string());
            assert_eq!(owner.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_server_header_is_a_switch_or_a_field_value() {
        for (value, expected) in [
            (typed("on"), Some(Some("tidegate"))),
            (Value::Bool(true), Some(Some("tidegate"))),
            (typed("off"), Some(None)),
            (Value::Bool(false), Some(None)),
            (typed("my server/1"), Some(Some("my server/1"))),
            (typed(""), None),
            (typed(" a"), None),
            (typed("a\r\nSet-Cookie: b"), None),
            (typed("é"), None),
            (Value::Int(1), None),
        ] {
            let read = server_header(&value).ok();
            assert_eq!(read.as_ref().map(|header| header.as_deref()), expected, "{value}");
        }
    }

    #[test]
    fn a_script_name_begins_with_a_slash_and_does_not_end_with_one() {
        for (text, good) in [
            ("", true),
            ("/app", true),
            ("/a/b", true),
            ("/café", true),
            ("/", false),
            ("app", false),
            ("/app/", false),
            ("/a%20b", false),
            ("/a?b", false),
            ("/a\nb", false),
            ("/日本", true),
        ] {
            assert_eq!(script_name(&typed(text)).is_ok(), good, "{text:?}");
        }
    }
}

//! Where statsd is, and what is added to each figure.

use std::fmt;
use std::path::PathBuf;

use super::access_log::host_and_port;
use super::texts::path;
use super::value::{Fault, Value, text};

/// What an address of statsd's may look like.
pub(super) const ACCEPTED: &str = "HOST, HOST:PORT, [V6]:PORT, or unix:PATH";

/// The one that statsd has by itself.
const PORT: u16 = 8125;

const SIZE_MAX: usize = 256;

/// Where statsd is. `Display` gives the notation that is read back as the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatsdAddress {
    /// By UDP.
    Udp(String, u16),
    /// A unix socket that takes datagrams.
    Unix(PathBuf),
}

impl fmt::Display for StatsdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Udp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// As gunicorn writes it too, with `//` behind `unix:`.
pub(super) fn address(value: &Value) -> Result<StatsdAddress, Fault> {
    let text = text(value)?;
    match text.strip_prefix("unix:") {
        Some(rest) => path(rest.strip_prefix("//").unwrap_or(rest)).map(StatsdAddress::Unix),
        None if text.contains(['/', ' ', '@', '#']) => Err("not an address".into()),
        None => host_and_port(text, PORT).map(|(host, port)| StatsdAddress::Udp(host, port)),
    }
}

/// With one dot at its end, as gunicorn has it, or nothing.
pub(super) fn prefix(value: &Value) -> Result<String, Fault> {
    let text = fit(text(value)?, "")?.trim_end_matches('.');
    Ok(if text.is_empty() { String::new() } else { format!("{text}.") })
}

/// `name:value` between commas.
pub(super) fn tags(value: &Value) -> Result<String, Fault> {
    fit(text(value)?, ":,").map(str::to_owned)
}

/// Without what ends a name, a value or a line of statsd's, but for what is `allowed`.
fn fit<'a>(text: &'a str, allowed: &str) -> Result<&'a str, Fault> {
    let bad = |character: char| {
        !character.is_ascii_graphic() || ":,|@#".contains(character) && !allowed.contains(character)
    };
    match text {
        text if text.len() > SIZE_MAX => Err("the text is too long".into()),
        text if text.contains(bad) => Err("it has a character that statsd would take for its own".into()),
        text => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_typed_or_with_the_usual_port() {
        for (typed, shown) in [
            ("localhost:8126", "localhost:8126"),
            ("localhost", "localhost:8125"),
            ("[::1]:1", "[::1]:1"),
            ("unix:/run/statsd", "unix:/run/statsd"),
            ("unix:///run/statsd", "unix:/run/statsd"),
        ] {
            let address = address(&Value::Text(typed.into())).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(shown));
        }
        for bad in ["", "localhost:0", "localhost:x", "udp://localhost", "unix:", ":8125"] {
            assert!(address(&Value::Text(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_ends_in_one_dot_and_nothing_can_end_a_figure() {
        for (typed, expected) in [("", ""), ("site", "site."), ("site.", "site."), ("a.b..", "a.b.")] {
            assert_eq!(prefix(&Value::Text(typed.into())).as_deref(), Ok(expected));
        }
        assert_eq!(tags(&Value::Text("env:live,a".into())).as_deref(), Ok("env:live,a"));
        for bad in ["a b", "a|c", "a\n", "a#b", "a@b", "\u{e9}"] {
            assert!(prefix(&Value::Text(bad.into())).is_err(), "{bad}");
            assert!(tags(&Value::Text(bad.into())).is_err(), "{bad}");
        }
        assert!(prefix(&Value::Text("a:b".into())).is_err());
    }
}

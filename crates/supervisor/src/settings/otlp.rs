//! Where spans go, how many of them, and under which name.

use super::access_log::host_and_port;
use super::value::{Fault, Value, text};

/// What the address of a collector may look like.
pub(super) const ENDPOINT_ACCEPTED: &str =
    "http://HOST, http://HOST:PORT or http://[V6]:PORT, with or without a path";

/// What a part may be.
pub(super) const SAMPLE_ACCEPTED: &str = "0 to 1";

/// What a service may be called.
pub(super) const SERVICE_NAME_ACCEPTED: &str = "1 to 255 characters";

const HTTP_PORT: u16 = 80;

/// Names and values of attributes have no limit of their own; what is longer is a mistake.
const SERVICE_NAME_MAX: usize = 255;

/// What is added to a collector's address, so that it may stand there already.
const TRACES: &str = "/v1/traces";

/// Without a slash at its end, and without the path that is the same everywhere.
pub(super) fn endpoint(value: &Value) -> Result<String, Fault> {
    let text = text(value)?;
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(match text.split_once("://") {
            Some(("https", _)) => {
                "only http is spoken: what encrypts on the way further is a collector beside this server"
                    .into()
            }
            _ => "it does not begin with http://".into(),
        });
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if text.contains(|character: char| !character.is_ascii_graphic() || "?#@\\".contains(character)) {
        return Err("it has more than a host, a port and a path".into());
    }
    host_and_port(authority, HTTP_PORT)?;
    let text = text.trim_end_matches('/');
    Ok(text.strip_suffix(TRACES).unwrap_or(text).trim_end_matches('/').into())
}

/// A part of a whole.
pub(super) fn sample(value: &Value) -> Result<f64, Fault> {
    let number = match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (0.0..=1.0).contains(&number) => Ok(number),
        Some(_) => Err("out of range".into()),
        None => Err("not a number".into()),
    }
}

/// A name that people read.
pub(super) fn service_name(value: &Value) -> Result<String, Fault> {
    match text(value)? {
        "" => Err("the text is empty".into()),
        text if text.chars().count() > SERVICE_NAME_MAX => Err("the text is too long".into()),
        text if text.contains(char::is_control) => Err("it has a control character".into()),
        text => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_where_spans_go_without_the_path_that_is_the_same_everywhere() {
        for (typed, expected) in [
            ("http://localhost:4318", "http://localhost:4318"),
            ("http://localhost:4318/", "http://localhost:4318"),
            ("http://localhost:4318/v1/traces", "http://localhost:4318"),
            ("http://[::1]:4318/otlp/v1/traces/", "http://[::1]:4318/otlp"),
            ("http://collector.monitoring.svc", "http://collector.monitoring.svc"),
        ] {
            assert_eq!(endpoint(&Value::Text(typed.into())).as_deref(), Ok(expected));
            assert_eq!(endpoint(&Value::Text(expected.into())).as_deref(), Ok(expected));
        }
        for bad in [
            "",
            "localhost:4318",
            "https://localhost:4318",
            "grpc://localhost:4317",
            "unix:/run/collector",
            "http://",
            "http:///v1/traces",
            "http://:4318",
            "http://localhost:0",
            "http://localhost:port",
            "http://user:secret@localhost",
            "http://localhost/?a=1",
            "http://localhost/#a",
            "http://local host",
            "http://[::1",
            "http://localhost\n",
        ] {
            assert!(endpoint(&Value::Text(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_is_at_most_the_whole() {
        for (typed, expected) in [
            (Value::Int(1), 1.0),
            (Value::Float(0.25), 0.25),
            (Value::Text("0".into()), 0.0),
            (Value::Text("1e-3".into()), 0.001),
        ] {
            assert_eq!(sample(&typed), Ok(expected));
        }
        for bad in ["", "half", "1.1", "-0.1", "nan", "inf", "50%"] {
            assert!(sample(&Value::Text(bad.into())).is_err(), "{bad}");
        }
    }
}

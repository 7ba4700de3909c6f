//! A value as it was given, before anything is known of the setting it is for, and the readings of it.
//!
//! Flags and variables give text; files and Python give typed values. Each reading takes both, so that `10`, `"10"`
//! and `"10s"` mean the same number of seconds wherever they stand.

use std::fmt;

/// A value as an operator or a program gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text, with or without a unit.
    Text(String),
    /// Several values.
    List(Vec<Value>),
    /// Values by name.
    Table(Vec<(String, Value)>),
}

/// Most characters of a value that an error line repeats.
const SHOWN_MAX: usize = 200;

/// TOML notation; what is too long for an error line is cut by [`Value::excerpt`], not here.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => quoted(text, f),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{value}")?;
                }
                f.write_str("]")
            }
            Self::Table(pairs) => {
                f.write_str("{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { " " })?;
                    if is_bare_key(key) {
                        f.write_str(key)?
                    } else {
                        quoted(key, f)?
                    }
                    write!(f, " = {value}")?;
                }
                f.write_str(" }")
            }
        }
    }
}

impl From<Value> for serde_json::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(value) => value.into(),
            Value::Int(value) => value.into(),
            Value::Float(value) => value.into(),
            Value::Text(text) => text.into(),
            Value::List(values) => values.into_iter().map(Self::from).collect(),
            Value::Table(pairs) => pairs.into_iter().map(|(key, value)| (key, Self::from(value))).collect(),
        }
    }
}

/// Whether a part of a TOML key needs no quotes.
pub(super) fn is_bare_key(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A TOML basic string: control characters are escaped, so that the result is always on one line.
fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            // U+2028 and U+2029 end a line in some terminals and log viewers.
            character if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') => {
                write!(f, "\\u{:04X}", u32::from(character))?;
            }
            character => write!(f, "{character}")?,
        }
    }
    f.write_str("\"")
}

impl Value {
    /// Texts that one source gave for one setting; `None` when there are none.
    pub(crate) fn one_or_several(mut texts: Vec<String>) -> Option<Self> {
        match texts.len() {
            0 | 1 => texts.pop().map(Self::Text),
            _ => Some(Self::List(texts.into_iter().map(Self::Text).collect())),
        }
    }

    /// The value as an error line shows it: one line, not too long.
    pub fn excerpt(&self) -> String {
        let mut shown = self.to_string();
        if let Some((end, _)) = shown.char_indices().nth(SHOWN_MAX) {
            shown.truncate(end);
            shown.push_str("...");
        }
        shown
    }
}

/// What is wrong with a value, without the setting's name.
pub(super) type Fault = String;

/// One of `true`, `false` and their usual synonyms.
pub(super) fn switch(value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("not a truth value".into()),
        },
        _ => Err("not a truth value".into()),
    }
}

/// Text as it stands.
pub(super) fn text(value: &Value) -> Result<&str, Fault> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err("must be text in quotes".into()),
    }
}

/// A whole number.
pub(super) fn count(value: &Value) -> Result<u64, Fault> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Text(text) => digits(text),
        _ => None,
    };
    number.ok_or_else(|| "not a whole number".into())
}

const SIZE_UNITS: [(&str, u64); 5] =
    [("", 1), ("b", 1), ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30)];

/// A number of bytes: `65536`, `64KiB`, `1MiB`, `2GiB`.
pub(super) fn size(value: &Value) -> Result<u64, Fault> {
    let size = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Text(text) => {
            let (number, unit) = split_unit(text);
            let factor = SIZE_UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
            digits(number).zip(factor).and_then(|(number, (_, factor))| number.checked_mul(*factor))
        }
        _ => None,
    };
    size.ok_or_else(|| "not a size".into())
}

const DURATION_UNITS: [(&str, f64); 5] =
    [("", 1_000.0), ("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0), ("h", 3_600_000.0)];

/// Longest duration that is read at all; each setting's own range lies far below.
const DURATION_READ_MAX_MS: f64 = 1e15;

/// Milliseconds of a duration: seconds as a plain number, or with a unit `500ms`, `10s`, `2m`, `1h`.
pub(super) fn duration_ms(value: &Value) -> Result<u64, Fault> {
    let milliseconds = match value {
        Value::Int(seconds) => Some(*seconds as f64 * 1_000.0),
        Value::Float(seconds) => Some(seconds * 1_000.0),
        Value::Text(text) => {
            let (number, unit) = split_unit(text);
            // f64 also reads "inf", "nan", "1e3" and signs, none of which is a duration.
            let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let factor = DURATION_UNITS.iter().find(|(name, _)| unit == *name);
            number
                .parse::<f64>()
                .ok()
                .filter(|_| plain)
                .zip(factor)
                .map(|(number, (_, factor))| number * factor)
        }
        _ => None,
    };
    match milliseconds {
        // A value that rounds to nothing must not turn into 0, which some settings read as "off".
        Some(value) if value > 0.0 && value < 1.0 => Err("less than a millisecond".into()),
        Some(value) if (0.0..=DURATION_READ_MAX_MS).contains(&value) => Ok(value.round() as u64),
        _ => Err("not a duration".into()),
    }
}

/// The word for no deadline.
pub(super) const OFF: &str = "off";

/// The same, or none: 0, `off` or `false`.
pub(super) fn duration_ms_or_none(value: &Value) -> Result<Option<u64>, Fault> {
    match value {
        Value::Bool(false) => Ok(None),
        Value::Text(word) if word == OFF => Ok(None),
        value => Ok(Some(duration_ms(value)?).filter(|time_ms| *time_ms > 0)),
    }
}

/// The notation that [`duration_ms`] reads back, in the largest unit that needs no fraction.
pub(crate) fn shown_duration(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0s".into(),
        value if value.is_multiple_of(3_600_000) => format!("{}h", value / 3_600_000),
        // 90 s are better known than 1.5 m, and 120 s than 2 m.
        value if value.is_multiple_of(60_000) && value > 120_000 => format!("{}m", value / 60_000),
        value if value.is_multiple_of(1_000) => format!("{}s", value / 1_000),
        value => format!("{value}ms"),
    }
}

/// The notation that [`size`] reads back, in the largest unit that needs no fraction.
pub(crate) fn shown_size(size: u64) -> String {
    let (unit, factor) = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .find(|(_, factor)| size > 0 && size.is_multiple_of(*factor))
        .unwrap_or(("", 1));
    format!("{}{unit}", size / factor)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.trim_end_matches(' '), unit)
}

/// Decimal digits and nothing else: no sign, no space, no underscore.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn durations_are_read_in_seconds_unless_a_unit_says_otherwise() {
        for (value, expected) in [
            (typed("10"), Some(10_000)),
            (typed("10s"), Some(10_000)),
            (typed("10 s"), Some(10_000)),
            (typed("0.5"), Some(500)),
            (typed("1.5m"), Some(90_000)),
            (typed("500ms"), Some(500)),
            (typed("2m"), Some(120_000)),
            (typed("1h"), Some(3_600_000)),
            (typed("0"), Some(0)),
            (Value::Int(3), Some(3_000)),
            (Value::Float(0.25), Some(250)),
            (typed(""), None),
            (typed("s"), None),
            (typed("-1"), None),
            (typed("1e3"), None),
            (typed("inf"), None),
            (typed("NaN"), None),
            (typed("10S"), None),
            (typed("10 min"), None),
            (typed("0.0001"), None),
            (typed("9999999999999999999"), None),
            (Value::Int(-1), None),
            (Value::Int(i64::MAX), None),
            (Value::Float(f64::NAN), None),
            (Value::Float(f64::INFINITY), None),
            (Value::Bool(true), None),
        ] {
            assert_eq!(duration_ms(&value).ok(), expected, "{value}");
        }
    }

    #[test]
    fn sizes_are_read_in_bytes_unless_a_unit_says_otherwise() {
        for (value, expected) in [
            (typed("65536"), Some(65_536)),
            (typed("64KiB"), Some(65_536)),
            (typed("64kib"), Some(65_536)),
            (typed("64 KiB"), Some(65_536)),
            (typed("10B"), Some(10)),
            (typed("1MiB"), Some(1 << 20)),
            (typed("2GiB"), Some(2 << 30)),
            (typed("0"), Some(0)),
            (Value::Int(7), Some(7)),
            (typed("64K"), None),
            (typed("64KB"), None),
            (typed("1.5KiB"), None),
            (typed("+5"), None),
            (typed("1_000"), None),
            (typed("18446744073709551615GiB"), None),
            (Value::Int(-7), None),
            (Value::Float(7.0), None),
        ] {
            assert_eq!(size(&value).ok(), expected, "{value}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back_as_the_same_number() {
        for number in
            [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 120_000, 180_000, 3_600_000, 3_660_000, 86_400_000]
        {
            assert_eq!(duration_ms(&typed(&shown_duration(number))), Ok(number));
            assert_eq!(size(&typed(&shown_size(number))), Ok(number));
        }
    }

    #[test]
    fn an_excerpt_is_always_one_line_and_never_long() {
        assert_eq!(typed("a\n\"b\"\u{1b}[0m\u{2028}").excerpt(), r#""a\n\"b\"\u001B[0m\u2028""#);
        assert_eq!(typed(&"ü".repeat(10_000)).excerpt().chars().count(), SHOWN_MAX + 3);
    }
}

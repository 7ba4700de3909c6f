//! What can become of another server's option, and the readings of its values.

use crate::settings::{Value, digits, shown_duration, shown_size};

/// An option as it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    /// As the table spells it, or as it was typed where no table does.
    pub(super) name: String,
    pub(super) value: Value,
    /// Where it stands: a line, or the command line.
    pub(super) place: String,
}

/// A value in our notation. `None`: it says what is so anyway. An error: why it cannot be, and what to do instead.
pub(super) type Reading = Result<Option<Value>, String>;

/// What becomes of an option.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// This setting, its value read so; the note says what is different.
    Becomes { setting: &'static str, read: fn(&Value) -> Reading, note: &'static str },
    /// Something in the environment or the command that the server is started by.
    Start { put: fn(&mut Start, &Value) -> Result<(), String>, note: &'static str },
    /// Decided together with other options; the note is for the page.
    Together(&'static str),
    /// Nothing, for this reason.
    NotNeeded(&'static str),
    /// Nothing: it cannot be done, and this is to be used instead.
    Instead(&'static str),
    /// As [`Fate::Instead`], unless the value is one of these, which are what is so anyway.
    InsteadUnless(&'static [&'static str], &'static str),
}

/// One line of a table.
pub(super) struct Entry {
    /// All its names. One that ends in `*` stands for all that begin so.
    pub(super) names: &'static [&'static str],
    /// Further spellings on a command line.
    pub(super) flags: &'static [&'static str],
    /// Values that follow it on a command line.
    pub(super) takes: Takes,
    pub(super) fate: Fate,
}

/// How many values follow an option on a command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// None: it is a switch. Where `--no-NAME` exists, that turns it off.
    Nothing,
    /// One, or none at the end of the line or before another option.
    AtMostOne,
    One,
    Two,
}

impl Entry {
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => *own == name,
        })
    }

    pub(super) const fn switch(self) -> Self {
        Self { takes: Takes::Nothing, ..self }
    }

    pub(super) const fn takes(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }

    pub(super) const fn flags(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }
}

const fn entry(names: &'static [&'static str], fate: Fate) -> Entry {
    Entry { names, flags: &[], takes: Takes::One, fate }
}

pub(super) const fn becomes(
    names: &'static [&'static str],
    setting: &'static str,
    read: fn(&Value) -> Reading,
    note: &'static str,
) -> Entry {
    entry(names, Fate::Becomes { setting, read, note })
}

pub(super) const fn start(
    names: &'static [&'static str],
    put: fn(&mut Start, &Value) -> Result<(), String>,
    note: &'static str,
) -> Entry {
    entry(names, Fate::Start { put, note })
}

pub(super) const fn together(names: &'static [&'static str], note: &'static str) -> Entry {
    entry(names, Fate::Together(note))
}

pub(super) const fn not_needed(names: &'static [&'static str], reason: &'static str) -> Entry {
    entry(names, Fate::NotNeeded(reason))
}

pub(super) const fn instead(names: &'static [&'static str], what: &'static str) -> Entry {
    entry(names, Fate::Instead(what))
}

pub(super) const fn instead_unless(
    names: &'static [&'static str],
    fine: &'static [&'static str],
    what: &'static str,
) -> Entry {
    entry(names, Fate::InsteadUnless(fine, what))
}

/// How the server is started, beside its settings.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) variables: Vec<(String, String)>,
    pub(super) python_path: Vec<String>,
    /// The virtual environment whose `tidegate` it is.
    pub(super) virtualenv: Option<String>,
    pub(super) chdir: Option<String>,
}

pub(super) fn chdir(start: &mut Start, value: &Value) -> Result<(), String> {
    start.chdir = Some(plain(value));
    Ok(())
}

pub(super) fn virtualenv(start: &mut Start, value: &Value) -> Result<(), String> {
    start.virtualenv = Some(plain(value));
    Ok(())
}

/// NAME=VALUE.
pub(super) fn variable(start: &mut Start, value: &Value) -> Result<(), String> {
    for text in texts(value) {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text}: not NAME=VALUE"))?;
        start.variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(())
}

/// A value as text, without TOML's quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Each of a list, or the one.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::List(values) => values.iter().map(plain).collect(),
        value => vec![plain(value)],
    }
}

/// Whether it says that something is not wanted.
pub(super) fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(is_on) => !is_on,
        Value::Int(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::Text(text) => matches!(text.as_str(), "" | "0" | "false" | "off" | "no" | "none"),
        Value::List(values) => values.is_empty(),
        Value::Table(pairs) => pairs.is_empty(),
    }
}

/// A whole number, from 0 on.
pub(super) fn number_of(value: &Value) -> Result<u64, String> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Text(text) => digits(text.trim()),
        // A switch with a number for a value is 1 when it is merely on.
        Value::Bool(is_on) => Some(u64::from(*is_on)),
        _ => None,
    };
    number.ok_or_else(|| format!("{value} is not a whole number"))
}

fn int(number: u64) -> Reading {
    i64::try_from(number).map(|number| Some(Value::Int(number))).map_err(|_| "too large a number".to_owned())
}

pub(super) fn text(value: &Value) -> Reading {
    Ok(Some(Value::Text(plain(value))))
}

pub(super) fn number(value: &Value) -> Reading {
    int(number_of(value)?)
}

/// Where 0 means no limit, and here that is said by saying nothing.
pub(super) fn number_or_none(value: &Value) -> Reading {
    match number_of(value)? {
        0 => Ok(None),
        number => int(number),
    }
}

fn seconds_of(value: &Value) -> Result<u64, String> {
    let seconds = match value {
        Value::Float(seconds) => *seconds,
        Value::Text(text) => {
            text.trim().parse().map_err(|_| format!("{value} is not a number of seconds"))?
        }
        value => number_of(value)? as f64,
    };
    let milliseconds = (seconds * 1_000.0).round();
    // What exceeds it is no time limit of anybody's, and each setting has a range of its own far below.
    match (0.0..1e15).contains(&milliseconds) {
        true => Ok(milliseconds as u64),
        false => Err(format!("{value} is not a number of seconds")),
    }
}

pub(super) fn seconds(value: &Value) -> Reading {
    Ok(Some(Value::Text(shown_duration(seconds_of(value)?))))
}

/// Where 0 means no limit.
pub(super) fn seconds_or_off(value: &Value) -> Reading {
    Ok(Some(match seconds_of(value)? {
        0 => Value::Text("off".to_owned()),
        number => Value::Text(shown_duration(number)),
    }))
}

/// Where 0 leaves it at what the server has for a default.
pub(super) fn seconds_or_none(value: &Value) -> Reading {
    match seconds_of(value)? {
        0 => Ok(None),
        number => Ok(Some(Value::Text(shown_duration(number)))),
    }
}

pub(super) fn milliseconds(value: &Value) -> Reading {
    Ok(Some(Value::Text(shown_duration(number_of(value)?))))
}

pub(super) fn bytes(value: &Value) -> Reading {
    Ok(Some(Value::Text(shown_size(number_of(value)?))))
}

pub(super) fn bytes_or_unlimited(value: &Value) -> Reading {
    match number_of(value)? {
        0 => Ok(Some(Value::Text("unlimited".to_owned()))),
        number => Ok(Some(Value::Text(shown_size(number)))),
    }
}

fn multiplied(value: &Value, unit: u64) -> Reading {
    match number_of(value)?.checked_mul(unit) {
        Some(0) => Ok(None),
        Some(size) => Ok(Some(Value::Text(shown_size(size)))),
        None => Err("too large a number".to_owned()),
    }
}

pub(super) fn mebibytes(value: &Value) -> Reading {
    multiplied(value, 1 << 20)
}

/// A thread's stack, where 0 is the system's.
pub(super) fn kibibytes(value: &Value) -> Reading {
    multiplied(value, 1 << 10)
}

/// On or nothing.
pub(super) fn on(value: &Value) -> Reading {
    Ok((!is_off(value)).then_some(Value::Bool(true)))
}

/// Permission bits. A number comes from a program, where it is one; text is in octal digits.
pub(super) fn octal(value: &Value) -> Reading {
    match value {
        Value::Int(number) => Ok(Some(Value::Text(format!("{number:03o}")))),
        // As Python writes it.
        Value::Text(text) => Ok(Some(Value::Text(text.trim_start_matches("0o").to_owned()))),
        _ => Err("not a mode in octal digits".to_owned()),
    }
}

/// From the usual names of levels.
pub(super) fn level(value: &Value) -> Reading {
    let level = match plain(value).to_ascii_lowercase().as_str() {
        "emerg" | "alert" | "crit" | "critical" | "fatal" | "error" => "error",
        "warn" | "warning" => "warning",
        "notice" | "info" => "info",
        "debug" | "notset" => "debug",
        text if text.starts_with("trace") => "debug",
        _ => return Err("log-level is one of error, warning, info, debug".to_owned()),
    };
    Ok(Some(Value::Text(level.to_owned())))
}

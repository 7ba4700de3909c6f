//! The kinds of values: what is accepted, how it is shown, and the way into and out of [`Settings`].

use super::Settings;
use super::choice::Choice;
use super::value::{self, Fault, OFF, Value};

/// The place of a number in [`Settings`]; `None` is the absence of a limit.
#[derive(Clone, Copy)]
pub(crate) struct NumberField {
    /// False when the number does not fit the field.
    pub(super) put: fn(&mut Settings, Option<u64>) -> bool,
    pub(super) get: fn(&Settings) -> Option<u64>,
}

/// Least and most, both accepted.
#[derive(Clone, Copy)]
pub(crate) struct Range(pub(super) u64, pub(super) u64);

/// What a setting's value is.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Yes or no.
    Switch(fn(&mut Settings) -> &mut bool),
    /// A time, its range in milliseconds; 0 and the word `off` mean none where that is allowed.
    Duration { range: Range, can_be_off: bool, field: NumberField },
    /// A number of bytes; this word, where there is one, means that none is set.
    Size { range: Range, none: Option<&'static str>, field: NumberField },
    /// A number; the note says what else a reader of an error line should know.
    Count { range: Range, note: &'static str, field: NumberField },
    /// One word of a few.
    Choice(fn(&mut Settings) -> &mut dyn Choice),
    /// What has a grammar of its own.
    Special {
        placeholder: &'static str,
        accepted: &'static str,
        put: fn(&mut Settings, &Value) -> Result<(), Fault>,
        get: fn(&Settings) -> Option<Value>,
    },
}

impl Kind {
    /// Reads a value and puts it into its field.
    pub(super) fn put(&self, settings: &mut Settings, typed: &Value) -> Result<(), Fault> {
        match self {
            Self::Switch(field) => *field(settings) = value::switch(typed)?,
            Self::Duration { range, can_be_off: true, field } => match value::duration_ms_or_none(typed)? {
                None => {
                    (field.put)(settings, None);
                }
                Some(number) => range.put(number, value::shown_duration, field, settings)?,
            },
            Self::Duration { range, can_be_off: false, field } => {
                range.put(value::duration_ms(typed)?, value::shown_duration, field, settings)?;
            }
            Self::Size { none: Some(word), field, .. } if is_word(typed, word) => {
                (field.put)(settings, None);
            }
            Self::Size { range, field, .. } => {
                range.put(value::size(typed)?, value::shown_size, field, settings)?
            }
            Self::Count { range, field, .. } => {
                range.put(value::count(typed)?, |number| number.to_string(), field, settings)?;
            }
            Self::Choice(field) => {
                if !field(settings).choose(value::text(typed)?) {
                    return Err("no such choice".into());
                }
            }
            Self::Special { put, .. } => put(settings, typed)?,
        }
        Ok(())
    }

    /// The value as [`Kind::put`] reads it back; `None` when nothing is set.
    pub(super) fn show(&self, settings: &Settings) -> Option<Value> {
        Some(match self {
            Self::Switch(field) => Value::Bool(*field(&mut settings.clone())),
            Self::Duration { field, .. } => {
                Value::Text((field.get)(settings).map_or_else(|| OFF.into(), value::shown_duration))
            }
            Self::Size { none, field, .. } => Value::Text(match (field.get)(settings) {
                Some(number) => value::shown_size(number),
                None => (*none)?.into(),
            }),
            Self::Count { field, .. } => Value::Int((field.get)(settings)?.try_into().ok()?),
            Self::Choice(field) => Value::Text(field(&mut settings.clone()).word().into()),
            Self::Special { get, .. } => get(settings)?,
        })
    }

    /// What may be written, for error lines and the documentation.
    pub(crate) fn accepted(&self) -> String {
        match self {
            Self::Switch(_) => "true, false".into(),
            Self::Duration { range, can_be_off, .. } => {
                let Range(least, most) = *range;
                let (least, most) = (value::shown_duration(least), value::shown_duration(most));
                let off = if *can_be_off { ", or 0 or \"off\" for none" } else { "" };
                format!("{least} to {most} (seconds, or with ms, s, m, h){off}")
            }
            Self::Size { range, none, .. } => {
                let Range(least, most) = *range;
                let (least, most) = (value::shown_size(least), value::shown_size(most));
                let none = none.map_or_else(String::new, |word| format!(", or \"{word}\""));
                format!("{least} to {most} (bytes, or with KiB, MiB, GiB){none}")
            }
            Self::Count { range: Range(least, most), note, .. } if least == most => {
                format!("{least} ({note})")
            }
            Self::Count { range: Range(least, most), note: "", .. } => format!("{least} to {most}"),
            Self::Count { range: Range(least, most), note, .. } => format!("{least} to {most} ({note})"),
            Self::Choice(_) => self.words().join(", "),
            Self::Special { accepted, .. } => (*accepted).into(),
        }
    }

    /// The words to choose from; none for what is no choice.
    pub(crate) fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Choice(field) => field(&mut Settings::blank()).words(),
            _ => &[],
        }
    }

    /// What stands for the value in help.
    pub(crate) fn placeholder(&self) -> &'static str {
        match self {
            Self::Switch(_) => "BOOL",
            Self::Duration { .. } => "TIME",
            Self::Size { .. } => "SIZE",
            Self::Count { .. } => "N",
            Self::Choice(_) => "CHOICE",
            Self::Special { placeholder, .. } => placeholder,
        }
    }
}

impl Range {
    /// The least that is accepted.
    pub(crate) fn least(self) -> u64 {
        self.0
    }

    fn put(
        self,
        number: u64,
        show: fn(u64) -> String,
        field: &NumberField,
        settings: &mut Settings,
    ) -> Result<(), Fault> {
        let Self(least, most) = self;
        if number < least {
            return Err(format!("must be at least {}", show(least)));
        }
        if number > most || !(field.put)(settings, Some(number)) {
            return Err(format!("must be at most {}", show(most)));
        }
        Ok(())
    }
}

fn is_word(typed: &Value, word: &str) -> bool {
    matches!(typed, Value::Text(text) if text == word)
}

/// Puts a number or its absence into a field of any integer type.
pub(super) fn assign_or_none<T: TryFrom<u64>>(field: &mut Option<T>, number: Option<u64>) -> bool {
    let fitting = number.and_then(|number| T::try_from(number).ok());
    let fits = fitting.is_some() == number.is_some();
    if fits {
        *field = fitting;
    }
    fits
}

/// Puts a number into a field of any integer type; a field without room for "none" refuses that.
pub(super) fn assign<T: TryFrom<u64>>(field: &mut T, number: Option<u64>) -> bool {
    match number.and_then(|number| T::try_from(number).ok()) {
        Some(number) => {
            *field = number;
            true
        }
        None => false,
    }
}

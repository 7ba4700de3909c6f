//! The command lines of other servers.

use super::option::{Entry, Given, Takes};
use crate::settings::Value;

/// The name that the arguments without a name have.
pub(super) const POSITIONAL: &str = "APPLICATION";

/// What the reports say of where an option stands.
const PLACE: &str = "command line";

/// Reads arguments by a table, as argparse, optparse and click do where they agree.
pub(super) fn read(table: &'static [Entry], arguments: &[String]) -> Result<Vec<Given>, String> {
    let mut given = Vec::new();
    let mut words = arguments.iter().map(String::as_str).peekable();
    let mut add = |name: &str, value| {
        given.push(Given { name: name.to_owned(), value, place: PLACE.to_owned() });
    };
    while let Some(word) = words.next() {
        if word == "--" {
            words.by_ref().for_each(|word| add(POSITIONAL, Value::Text(word.to_owned())));
            break;
        }
        if !word.starts_with('-') || word == "-" {
            add(POSITIONAL, Value::Text(word.to_owned()));
            continue;
        }
        let (flag, attached) = match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((flag, value)) => (flag, Some(value)),
            None if !word.starts_with("--") && word.len() > 2 && word.is_char_boundary(2) => {
                (&word[..2], Some(word[2..].trim_start_matches('=')))
            }
            None => (word, None),
        };
        let Some((entry, name, is_on)) = find(table, flag) else {
            // What follows may be its value: whoever reads the report sees both.
            add(flag, attached.map_or(Value::Bool(true), |value| Value::Text(value.to_owned())));
            continue;
        };
        let missing = || format!("{flag}: a value is missing");
        match (entry.takes, attached) {
            (Takes::Nothing, _) => add(&name, Value::Bool(is_on)),
            (Takes::One | Takes::AtMostOne, Some(value)) => add(&name, Value::Text(value.to_owned())),
            (Takes::One, None) => add(&name, Value::Text(words.next().ok_or_else(missing)?.to_owned())),
            (Takes::AtMostOne, None) => match words.next_if(|word| !word.starts_with('-')) {
                Some(value) => add(&name, Value::Text(value.to_owned())),
                None => add(&name, Value::Bool(true)),
            },
            (Takes::Two, first) => {
                let first = first.or_else(|| words.next()).ok_or_else(missing)?;
                let second = words.next().ok_or_else(missing)?;
                add(&name, Value::List(vec![Value::Text(first.to_owned()), Value::Text(second.to_owned())]));
            }
        }
    }
    Ok(given)
}

/// The entry that a flag belongs to, the name that it has there, and whether a switch is turned on by it.
fn find(table: &'static [Entry], flag: &str) -> Option<(&'static Entry, String, bool)> {
    let typed = flag.strip_prefix("--").unwrap_or_default();
    if let Some((entry, name)) = named(table, typed) {
        return Some((entry, name, true));
    }
    if let Some(entry) = table.iter().find(|entry| entry.flags.contains(&flag)) {
        return Some((entry, entry.names[0].to_owned(), true));
    }
    if let Some((entry, name)) = typed.strip_prefix("no-").and_then(|typed| named(table, typed))
        && entry.takes == Takes::Nothing
    {
        return Some((entry, name, false));
    }
    // A beginning that only one option has. All but click take it for the whole.
    let begins = |own: &&&'static str| !typed.is_empty() && own.replace('_', "-").starts_with(typed);
    let mut found = table.iter().filter_map(|entry| Some((entry, entry.names.iter().find(begins)?)));
    let (entry, name) = found.next().filter(|_| found.next().is_none())?;
    Some((entry, (*name).to_owned(), true))
}

/// Names have hyphens on every command line, and gunicorn's have underscores elsewhere.
fn named(table: &'static [Entry], typed: &str) -> Option<(&'static Entry, String)> {
    [typed.to_owned(), typed.replace('-', "_")].into_iter().find_map(|name| {
        let entry = table.iter().find(|entry| entry.is_named(&name))?;
        Some((entry, name))
    })
}

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
            (Takes::Nothing, _) => add(name, Value::Bool(is_on)),
            (Takes::One | Takes::AtMostOne, Some(value)) => add(name, Value::Text(value.to_owned())),
            (Takes::One, None) => add(name, Value::Text(words.next().ok_or_else(missing)?.to_owned())),
            (Takes::AtMostOne, None) => match words.next_if(|word| !word.starts_with('-')) {
                Some(value) => add(name, Value::Text(value.to_owned())),
                None => add(name, Value::Bool(true)),
            },
            (Takes::Two, first) => {
                let first = first.or_else(|| words.next()).ok_or_else(missing)?;
                let second = words.next().ok_or_else(missing)?;
                add(name, Value::List(vec![Value::Text(first.to_owned()), Value::Text(second.to_owned())]));
            }
        }
    }
    Ok(given)
}

/// The entry that a flag belongs to, the name that it has there, and whether a switch is turned on by it.
fn find(table: &'static [Entry], flag: &str) -> Option<(&'static Entry, &'static str, bool)> {
    let spelled = |entry: &'static Entry| {
        let own = entry.names.iter().find(|name| is_flag_of(flag, name));
        own.or_else(|| entry.flags.contains(&flag).then(|| &entry.names[0])).map(|name| (entry, *name, true))
    };
    if let Some(found) = table.iter().find_map(spelled) {
        return Some(found);
    }
    let (name, is_on) = match flag.strip_prefix("--no-") {
        Some(name) => (format!("--{name}"), false),
        None => (flag.to_owned(), true),
    };
    if !is_on
        && let Some((entry, own, _)) = table.iter().find_map(|entry| {
            let own = entry.names.iter().find(|own| is_flag_of(&name, own))?;
            (entry.takes == Takes::Nothing).then_some((entry, *own, false))
        })
    {
        return Some((entry, own, false));
    }
    // A beginning that only one option has. All but click take it for the whole.
    let begins = |own: &&&'static str| flag.len() > 3 && long(own).starts_with(flag);
    let mut found = table.iter().filter_map(|entry| Some((entry, *entry.names.iter().find(begins)?, true)));
    found.next().filter(|_| found.next().is_none())
}

fn is_flag_of(flag: &str, name: &str) -> bool {
    flag.strip_prefix("--").is_some_and(|typed| typed == name || format!("--{typed}") == long(name))
}

fn long(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

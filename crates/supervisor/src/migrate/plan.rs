//! What has been decided about the options given, and the two texts that are made from it: tidegate.toml and the report.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::option::{Entry, Fate, Given, Reading, Start, is_off, plain, texts};
use crate::settings::{SETTINGS, Value};

/// What became of an option.
#[derive(Debug, PartialEq)]
enum Verdict {
    Translated(String),
    NotNeeded(String),
    Impossible(String),
    Unknown(String),
}

pub(super) struct Plan {
    table: &'static [Entry],
    /// Where the other server is started.
    pub(super) cwd: PathBuf,
    given: Vec<Given>,
    verdicts: BTreeMap<usize, Verdict>,
    /// What speaks of no option that was given: what the other server does without being told.
    others: Vec<Verdict>,
    /// By setting, with the option that it comes from.
    settings: BTreeMap<&'static str, (Value, String)>,
    pub(super) start: Start,
    /// What is left to do by hand, or to know.
    remarks: Vec<String>,
}

impl Plan {
    pub(super) fn new(table: &'static [Entry], cwd: PathBuf, given: Vec<Given>) -> Self {
        Self {
            table,
            cwd,
            given,
            verdicts: BTreeMap::new(),
            others: Vec::new(),
            settings: BTreeMap::new(),
            start: Start::default(),
            remarks: Vec::new(),
        }
    }

    /// Every time one of these was given, in order, but for those about which it is decided.
    pub(super) fn all(&self, names: &[&str]) -> Vec<(usize, Value)> {
        let given = self.given.iter().enumerate().filter(|(index, _)| !self.verdicts.contains_key(index));
        given
            .filter(|(_, given)| names.contains(&given.name.as_str()))
            .map(|(index, given)| (index, given.value.clone()))
            .collect()
    }

    /// The last time that one of these was given, which is the one that counts.
    pub(super) fn last(&mut self, names: &[&str]) -> Option<(usize, Value)> {
        let mut all = self.all(names);
        let last = all.pop();
        for (index, _) in all {
            self.not_needed(index, "it is given again, and the last one counts");
        }
        last
    }

    /// All that was given.
    pub(super) fn given(&self) -> Vec<(usize, String, Value)> {
        let all = self.given.iter().enumerate();
        all.map(|(index, given)| (index, given.name.clone(), given.value.clone())).collect()
    }

    /// As it was typed.
    pub(super) fn name(&self, index: usize) -> &str {
        &self.given[index].name
    }

    pub(super) fn place(&self, index: usize) -> &str {
        &self.given[index].place
    }

    pub(super) fn has(&self, setting: &str) -> bool {
        self.settings.contains_key(setting)
    }

    pub(super) fn is(&self, setting: &str, value: &Value) -> bool {
        self.settings.get(setting).is_some_and(|(own, _)| own == value)
    }

    pub(super) fn is_decided(&self, index: usize) -> bool {
        self.verdicts.contains_key(&index)
    }

    /// Puts a setting, if it takes the value, and says so of the option.
    pub(super) fn becomes(&mut self, index: usize, setting: &'static str, value: Value, note: &str) {
        let from = format!("{} ({})", self.given[index].name, self.given[index].place);
        let verdict = self.put(setting, value, from, note);
        self.verdicts.insert(index, verdict);
    }

    /// Adds to a setting that holds a list.
    pub(super) fn joins(&mut self, index: usize, setting: &'static str, text: String, note: &str) {
        self.joins_value(index, setting, Value::Text(text), note);
    }

    /// The same of what is no text.
    pub(super) fn joins_value(&mut self, index: usize, setting: &'static str, value: Value, note: &str) {
        let mut values = match self.settings.get(setting) {
            Some((Value::List(values), _)) => values.clone(),
            _ => Vec::new(),
        };
        if !values.contains(&value) {
            values.push(value);
        }
        self.becomes(index, setting, Value::List(values), note);
    }

    /// Puts a setting that stands for what the other server does without being told.
    pub(super) fn adds(&mut self, setting: &'static str, value: Value, reason: &str) {
        let verdict = self.put(setting, value, reason.to_owned(), reason);
        self.others.push(verdict);
    }

    fn put(&mut self, name: &'static str, value: Value, from: String, note: &str) -> Verdict {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            return Verdict::Impossible(format!("this version has no {name}"));
        };
        if let Some(fault) = setting.fault(&value) {
            let accepted = setting.kind.accepted();
            return Verdict::Impossible(format!("{name} = {value}: {fault}; accepted: {accepted}"));
        }
        let text = with_note(format!("{name} = {value}"), note);
        self.settings.insert(setting.name, (value, from));
        Verdict::Translated(text)
    }

    /// Says that an option has gone into the way the server is started.
    pub(super) fn starts(&mut self, index: usize, note: &str) {
        self.verdicts
            .insert(index, Verdict::Translated(with_note("how it is started, see below".into(), note)));
    }

    /// Says that an option is part of what another one has become.
    pub(super) fn is_part(&mut self, index: usize, of: &str) {
        self.verdicts.insert(index, Verdict::Translated(of.to_owned()));
    }

    pub(super) fn not_needed(&mut self, index: usize, reason: &str) {
        self.verdicts.insert(index, Verdict::NotNeeded(reason.to_owned()));
    }

    pub(super) fn impossible(&mut self, index: usize, instead: &str) {
        self.verdicts.insert(index, Verdict::Impossible(instead.to_owned()));
    }

    /// Says what cannot be done though no option asks for it.
    pub(super) fn lacks(&mut self, what: &str) {
        self.others.push(Verdict::Impossible(what.to_owned()));
    }

    pub(super) fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// Decides about each option by what its table says of it alone, but for those about which more was known.
    pub(super) fn decide_the_rest(&mut self) {
        // From the last, which is the one that counts.
        for index in (0..self.given.len()).rev() {
            if self.verdicts.contains_key(&index) {
                continue;
            }
            let Given { name, value, .. } = self.given[index].clone();
            match self.table.iter().find(|entry| entry.is_named(&name)).map(|entry| entry.fate) {
                Some(Fate::Becomes { setting, .. }) if is_list(setting) => {}
                Some(Fate::Becomes { setting, .. }) if self.has(setting) => {
                    self.not_needed(
                        index,
                        &format!("{setting} is taken from elsewhere, the last one that counts"),
                    );
                }
                Some(Fate::Becomes { setting, read, note }) => {
                    self.becomes_read(index, setting, read(&value), note);
                }
                Some(Fate::Start { .. } | Fate::Together(_)) | None => {}
                Some(Fate::NotNeeded(reason)) => self.not_needed(index, reason),
                Some(Fate::Instead(_)) if is_off(&value) => self.not_needed(index, "it is off"),
                Some(Fate::Instead(what)) => self.impossible(index, what),
                Some(Fate::InsteadUnless(fine, what)) => match fine.contains(&plain(&value).as_str()) {
                    true => self.not_needed(index, "it is so anyway"),
                    false if is_off(&value) => self.not_needed(index, "it is off"),
                    false => self.impossible(index, what),
                },
            }
        }
        // In their order, as one may add to what another has put.
        for index in 0..self.given.len() {
            if self.verdicts.contains_key(&index) {
                continue;
            }
            let Given { name, value, .. } = self.given[index].clone();
            let verdict = match self.table.iter().find(|entry| entry.is_named(&name)).map(|entry| entry.fate)
            {
                Some(Fate::Becomes { .. }) if is_off(&value) => Verdict::NotNeeded("it is off".to_owned()),
                Some(Fate::Becomes { setting, note, .. }) => {
                    texts(&value).into_iter().for_each(|text| self.joins(index, setting, text, note));
                    continue;
                }
                Some(Fate::Start { .. }) if is_off(&value) => Verdict::NotNeeded("it is off".to_owned()),
                Some(Fate::Start { put, note }) => match put(&mut self.start, &value) {
                    Ok(()) => Verdict::Translated(with_note("how it is started, see below".into(), note)),
                    Err(fault) => Verdict::Impossible(fault),
                },
                Some(Fate::Together(note)) if is_off(&value) => {
                    Verdict::NotNeeded(with_note("it is off".to_owned(), note))
                }
                Some(Fate::Together(note)) => Verdict::Impossible(format!(
                    "nothing was made of it beside the other options; usually: {note}"
                )),
                _ => Verdict::Unknown("no option that is known here; nothing was made of it".to_owned()),
            };
            self.verdicts.insert(index, verdict);
        }
    }

    pub(super) fn becomes_read(&mut self, index: usize, setting: &'static str, read: Reading, note: &str) {
        match read {
            Ok(Some(value)) => self.becomes(index, setting, value, note),
            Ok(None) => self.not_needed(index, &format!("{setting} is so anyway")),
            Err(instead) => self.impossible(index, &instead),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        let wanting = |verdict: &Verdict| matches!(verdict, Verdict::Impossible(_) | Verdict::Unknown(_));
        !self.verdicts.values().chain(&self.others).any(wanting)
    }

    /// The settings file, in the order of the table of settings.
    pub(super) fn toml(&self, command: &str) -> String {
        let mut text = format!("# Made by: {command}\n");
        let mut category = None;
        for setting in SETTINGS {
            let Some((value, from)) = self.settings.get(setting.name) else {
                continue;
            };
            if category != Some(setting.category) {
                let _ = write!(text, "\n# {}\n", setting.category.title());
                category = Some(setting.category);
            }
            let _ = writeln!(text, "{} = {value}  # {}", setting.name, one_line(from));
        }
        text
    }

    /// What became of each option. `path` is the file that was written.
    pub(super) fn report(&self, path: Option<&Path>) -> String {
        let mut text = path.map_or_else(String::new, |path| format!("{} is written.\n\n", path.display()));
        self.group(&mut text, "Translated", |verdict| match verdict {
            Verdict::Translated(text) => Some(text),
            _ => None,
        });
        self.group(&mut text, "Not needed", |verdict| match verdict {
            Verdict::NotNeeded(text) => Some(text),
            _ => None,
        });
        self.group(&mut text, "Cannot be done", |verdict| match verdict {
            Verdict::Impossible(text) => Some(text),
            _ => None,
        });
        self.group(&mut text, "Unknown", |verdict| match verdict {
            Verdict::Unknown(text) => Some(text),
            _ => None,
        });
        if !self.remarks.is_empty() {
            let _ = writeln!(text, "To do and to know ({})", self.remarks.len());
            for remark in &self.remarks {
                let _ = writeln!(text, "  {}", remark.replace('\n', "\n  "));
            }
            text.push('\n');
        }
        let _ = write!(text, "Start it by\n  {}\n", self.start_command(path));
        text
    }

    fn group(&self, text: &mut String, title: &str, wanted: fn(&Verdict) -> Option<&String>) {
        let of_options = self.verdicts.iter().filter_map(|(&index, verdict)| {
            let Given { name, value, place } = &self.given[index];
            let value = match value {
                Value::Bool(true) => String::new(),
                value => format!(" = {}", one_line(&excerpt(&plain(value)))),
            };
            wanted(verdict).map(|said| format!("  {name}{value} ({place}): {}\n", one_line(said)))
        });
        let of_others = self.others.iter().filter_map(|verdict| Some(format!("  {}\n", wanted(verdict)?)));
        let lines: Vec<_> = of_options.chain(of_others).collect();
        if !lines.is_empty() {
            let _ = write!(text, "{title} ({})\n{}\n", lines.len(), lines.concat());
        }
    }

    fn start_command(&self, path: Option<&Path>) -> String {
        let mut words: Vec<String> = Vec::new();
        let Start { variables, python_path, virtualenv, chdir } = &self.start;
        let set = |(name, value): &(String, String)| format!("{name}={}", shell_word(value));
        words.extend(variables.iter().map(set));
        if !python_path.is_empty() {
            words.push(format!("PYTHONPATH={}", shell_word(&python_path.join(":"))));
        }
        words.push(match virtualenv {
            Some(directory) => shell_word(&format!("{}/bin/tidegate", directory.trim_end_matches('/'))),
            None => "tidegate".to_owned(),
        });
        if let Some(directory) = chdir {
            words.push(format!("--chdir {}", shell_word(directory)));
        }
        // In --chdir, or else where it is started, tidegate.toml is found by its name.
        let is_found = path.is_some_and(|path| path.ends_with("tidegate.toml")) && chdir.is_none();
        if let Some(path) = path.filter(|_| !is_found) {
            words.push(format!("--config {}", shell_word(&path.display().to_string())));
        }
        words.join(" ")
    }
}

/// Whether a setting may be given several times.
fn is_list(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name && setting.repeats)
}

fn with_note(text: String, note: &str) -> String {
    if note.is_empty() { text } else { format!("{text} ({note})") }
}

/// Most characters of a value that the report repeats.
const SHOWN_MAX: usize = 100;

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whatever a file holds must not end a line of ours, nor move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// As a shell takes it for one word.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |character: char| character.is_alphanumeric() || "-_./:=,@%+".contains(character);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

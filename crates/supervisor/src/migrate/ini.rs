//! uWSGI's ini files: sections, includes, magic variables, placeholders, loops and conditions, as uWSGI itself evaluates them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::option::Given;
use crate::settings::Value;

/// Files within files; more is a circle.
const DEPTH_MAX: usize = 16;

/// Rounds in which placeholders are put in place of placeholders; more is a circle.
const ROUNDS_MAX: usize = 16;

/// Longest value that is made of placeholders: one that holds itself twice would double in each round.
const VALUE_SIZE_MAX: usize = 1 << 14;

struct Reader<'a> {
    cwd: &'a Path,
    variables: &'a BTreeMap<String, String>,
    found: Vec<Given>,
    /// The condition or loop whose lines are read. Inner ones do not exist.
    logic: Option<Logic>,
}

/// What becomes of the lines between `if-...` or `for` and its end.
enum Logic {
    /// Each is taken once for each of these, which stand for `%(_)`.
    Repeat(Vec<String>),
    /// Whether they count is not known here.
    Unknown(String),
}

/// The options in `file`, which may be `FILE` or `FILE:SECTION`.
pub(super) fn read(
    file: &str,
    cwd: &Path,
    variables: &BTreeMap<String, String>,
    is_option: fn(&str) -> bool,
) -> Result<Vec<Given>, String> {
    let mut reader = Reader { cwd, variables, found: Vec::new(), logic: None };
    reader.file(file, None, 0)?;
    if reader.found.is_empty() {
        return Err(format!("{file}: no option in a section [uwsgi]; FILE:SECTION names another section"));
    }
    Ok(reader.finish(is_option))
}

impl Reader<'_> {
    fn file(&mut self, named: &str, from: Option<&Path>, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("{named}: includes itself"));
        }
        let (name, section) = match named.rsplit_once(':') {
            Some((name, section)) if !section.contains('/') => (name, section),
            _ => (named, "uwsgi"),
        };
        let path = match from {
            Some(from) if name.is_empty() => from.to_owned(),
            _ => self.find(name, from),
        };
        if path
            .extension()
            .is_some_and(|ending| ending == "xml" || ending == "json" || ending == "yaml" || ending == "yml")
        {
            return Err(format!(
                "{name}: only ini files are read: write its options as lines KEY = VALUE below [uwsgi]"
            ));
        }
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let mut current = String::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_matches([' ', '\t', '\r']);
            if let Some(title) = line.strip_prefix('[') {
                current = title.trim_end_matches(']').to_owned();
            } else if !line.is_empty() && !line.starts_with([';', '#']) && current == section {
                let line = self.magic(line, name, &path);
                let (key, value) = line.split_once('=').unwrap_or((&line, ""));
                let value = value.trim_matches([' ', '\t', '\r']);
                let place = match from {
                    None => format!("line {}", index + 1),
                    Some(_) => format!("{name}, line {}", index + 1),
                };
                self.option(key.trim_end_matches([' ', '\t']), value, place, &path, depth)?;
            }
        }
        Ok(())
    }

    /// Relative to the working directory, as in uWSGI; a report is often made elsewhere, so that what is beside the
    /// including file will do.
    fn find(&self, name: &str, from: Option<&Path>) -> PathBuf {
        let path = self.cwd.join(name);
        let beside = from.and_then(Path::parent).map(|directory| directory.join(name));
        match beside {
            Some(beside) if !path.exists() => beside,
            _ => path,
        }
    }

    fn option(
        &mut self,
        key: &str,
        value: &str,
        place: String,
        path: &Path,
        depth: usize,
    ) -> Result<(), String> {
        if matches!(key, "end" | "endfor" | "endif" | "end-if" | "end-for") {
            self.logic = None;
            return Ok(());
        }
        match &self.logic {
            None => self.add(key, value.to_owned(), place, path, depth),
            Some(Logic::Unknown(condition)) => {
                // A name that no table has: it is reported, and nothing is made of it.
                let name = format!("{key} under \"{condition}\"");
                self.found.push(Given { name, value: flag_or_text(value), place });
                Ok(())
            }
            Some(Logic::Repeat(items)) => {
                for item in items.clone() {
                    self.add(key, value.replace("%(_)", &item), place.clone(), path, depth)?;
                }
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        key: &str,
        value: String,
        place: String,
        path: &Path,
        depth: usize,
    ) -> Result<(), String> {
        if key.starts_with("if-")
            || matches!(key, "for" | "for-glob" | "for-times" | "for-readline")
            || matches!(key, "ifenv" | "ifexists" | "ifdir" | "ifplugin")
        {
            self.logic = Some(self.condition(key, &value));
            return Ok(());
        }
        if matches!(key, "ini" | "include" | "inherit") {
            let value = self.variables_in(&value);
            return self.file(&value, Some(path), depth + 1);
        }
        // set = NAME=VALUE is another way to write NAME = VALUE.
        if let ("set" | "set-placeholder" | "set-ph", Some((name, value))) = (key, value.split_once('=')) {
            self.found.push(Given { name: name.to_owned(), value: flag_or_text(value), place });
            return Ok(());
        }
        self.found.push(Given { name: key.to_owned(), value: flag_or_text(&value), place });
        Ok(())
    }

    fn condition(&self, key: &str, argument: &str) -> Logic {
        let argument = self.variables_in(argument);
        let path = self.cwd.join(&argument);
        let (name, wanted) = match argument.split_once('=') {
            Some((name, wanted)) => (name, Some(wanted)),
            None => (argument.as_str(), None),
        };
        let same = |value: &str| wanted.is_none_or(|wanted| wanted == value);
        let variable = self.variables.get(name).filter(|value| same(value));
        let option = self.found.iter().find(|given| given.name == name);
        let option = option.map(|given| super::option::plain(&given.value)).filter(|value| same(value));
        let hostname = hostname();
        let holds = match key.trim_start_matches("if").trim_start_matches('-').trim_start_matches("not-") {
            "env" => variable.is_some(),
            "opt" => option.is_some(),
            "exists" => path.exists(),
            "file" => path.is_file(),
            "dir" | "directory" => path.is_dir(),
            "hostname" => argument == hostname,
            "for" | "for-times" if key.starts_with("for") => {
                let times = argument.parse().unwrap_or(0);
                return Logic::Repeat(match key {
                    "for-times" => (1..=times).map(|number: u16| number.to_string()).collect(),
                    _ => argument.split_whitespace().map(str::to_owned).collect(),
                });
            }
            _ => return Logic::Unknown(format!("{key} = {argument}")),
        };
        if holds == key.contains("not-") {
            return Logic::Repeat(Vec::new());
        }
        let value = match key {
            "if-env" | "ifenv" => variable.cloned().unwrap_or_default(),
            "if-opt" => option.unwrap_or_default(),
            _ => argument,
        };
        Logic::Repeat(vec![value])
    }

    /// uWSGI's magic variables, which are put in place when a file is read. What is of the moment or the user is left.
    fn magic(&self, line: &str, name: &str, path: &Path) -> String {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let directory = path.parent().unwrap_or(Path::new("/"));
        let last = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            let mut characters = after.chars();
            let value = match characters.next() {
                Some('%') => "%".to_owned(),
                Some('v') => self.cwd.display().to_string(),
                Some('o') => name.to_owned(),
                Some('p') => path.display().to_string(),
                Some('s') => last(path.file_name()),
                Some('n') => last(path.file_stem()),
                Some('e') => last(path.extension()),
                Some('d') => format!("{}/", directory.display().to_string().trim_end_matches('/')),
                Some('c') => last(directory.file_name()),
                Some('h') => hostname(),
                Some('k') => std::thread::available_parallelism().map_or(1, usize::from).to_string(),
                Some(digit) if digit.is_ascii_digit() => {
                    let parts = directory.iter().skip(1);
                    last(parts.into_iter().nth(digit.to_digit(10).unwrap_or(0) as usize))
                }
                _ => {
                    text.push('%');
                    rest = after;
                    continue;
                }
            };
            // How many processors there are is better asked when the server starts.
            let is_all = line.split_once('=').is_some_and(|(_, value)| value.trim() == "%k");
            text.push_str(if is_all { "auto" } else { &value });
            rest = characters.as_str();
        }
        text + rest
    }

    /// `$(NAME)` and `$NAME`... the former alone, as in uWSGI. What is not set here is left as it stands.
    fn variables_in(&self, text: &str) -> String {
        replaced(text, "$(", |name| self.variables.get(name).cloned())
    }

    /// Puts variables and placeholders in, and takes out the names that served as placeholders alone: what they held has
    /// gone into options.
    fn finish(mut self, is_option: fn(&str) -> bool) -> Vec<Given> {
        let mut used = Vec::new();
        for index in 0..self.found.len() {
            if let Value::Text(text) = &self.found[index].value {
                self.found[index].value = Value::Text(self.variables_in(text));
            }
        }
        for _ in 0..ROUNDS_MAX {
            let before = self.found.clone();
            for given in &mut self.found {
                if let Value::Text(text) = &given.value {
                    let value = |name: &str| {
                        used.extend(name.split_whitespace().map(str::to_owned));
                        computed(name, &before)
                    };
                    let replaced = replaced(text, "%(", value);
                    if replaced.len() <= VALUE_SIZE_MAX {
                        given.value = Value::Text(replaced);
                    }
                }
            }
            if self.found == before {
                break;
            }
        }
        self.found.retain(|given| is_option(&given.name) || !used.contains(&given.name));
        self.found
    }
}

/// Whether a value holds something that could not be put in place.
pub(super) fn unresolved(text: &str) -> bool {
    ["$(", "%(", "@("].iter().any(|opening| text.contains(opening))
        || text
            .split('%')
            .skip(1)
            .any(|rest| rest.starts_with(['u', 'U', 'g', 'G', 'i', 'j', 't', 'T', 'V', 'x', 'X']))
}

fn flag_or_text(value: &str) -> Value {
    match value {
        "" => Value::Bool(true),
        "true" | "false" => Value::Bool(value == "true"),
        text => Value::Text(text.to_owned()),
    }
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Puts what `value` gives in place of what stands between `opening` and `)`.
fn replaced(text: &str, opening: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(opening) {
        made.push_str(before);
        let found = after.split_once(')').and_then(|(name, behind)| Some((value(name)?, behind)));
        match found {
            Some((value, behind)) => {
                made.push_str(&value);
                rest = behind;
            }
            None => {
                made.push_str(opening);
                rest = after;
            }
        }
    }
    made + rest
}

/// A placeholder: an option's value, or several of them and numbers joined or reckoned with, from left to right.
fn computed(expression: &str, given: &[Given]) -> Option<String> {
    let value_of = |name: &str| {
        let given = given.iter().find(|given| given.name == name)?;
        Some(super::option::plain(&given.value))
    };
    if !expression.contains(' ') {
        return value_of(expression);
    }
    let mut total = String::new();
    let mut operator = "";
    for token in expression.split_whitespace() {
        match token {
            "+" | "-" | "*" | "/" => operator = token,
            "++" | "--" => {
                let step = if token == "++" { 1 } else { -1 };
                total = whole(&total).saturating_add(step).to_string();
                operator = "";
            }
            token => {
                let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
                let value = if is_number { token.to_owned() } else { value_of(token)? };
                let (left, right) = (whole(&total), whole(&value));
                total = match operator {
                    "+" => left.saturating_add(right).to_string(),
                    "-" => left.saturating_sub(right).to_string(),
                    "*" => left.saturating_mul(right).to_string(),
                    "/" => left.checked_div(right).unwrap_or(0).to_string(),
                    _ => total + &value,
                };
            }
        }
    }
    Some(total)
}

/// The number that a text begins with.
fn whole(text: &str) -> i64 {
    let end = text.bytes().skip(1).position(|byte| !byte.is_ascii_digit()).map_or(text.len(), |end| end + 1);
    text.get(..end).and_then(|number| number.parse().ok()).unwrap_or(0)
}

//! `tidegate migrate`: settings made from those of another server, and a report of what became of each option.
//!
//! - `option`: what can become of an option, and the readings of values.
//! - `uwsgi`, `gunicorn`, `granian`, `mod_wsgi`: a table of options each, and what is decided by several of them together.
//! - `ini`: uWSGI's files, with their includes, placeholders and conditions.
//! - `arguments`: command lines of the others.
//! - `application`: from what they call an application to what is called one here.
//! - `files`: from what they call directories that are served to those of `static`.
//! - `plan`: what has been decided so far, and the two texts made from it.
//! - `page`: the tables as they stand in docs/migrate-*.md.

mod application;
mod arguments;
mod files;
mod granian;
mod gunicorn;
mod ini;
mod mod_wsgi;
mod option;
mod page;
mod plan;
mod uwsgi;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::settings::{SettingsError, Value};
use option::{Entry, Given};
use plan::Plan;

pub use page::rewritten;

/// The server whose settings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// uWSGI, by an ini file.
    Uwsgi,
    /// gunicorn, by its Python file and its arguments.
    Gunicorn,
    /// Granian, by its arguments.
    Granian,
    /// mod_wsgi-express, by its arguments.
    ModWsgi,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Uwsgi, Self::Gunicorn, Self::Granian, Self::ModWsgi];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uwsgi => "uwsgi",
            Self::Gunicorn => "gunicorn",
            Self::Granian => "granian",
            Self::ModWsgi => "mod_wsgi",
        }
    }

    fn options(self) -> &'static [Entry] {
        match self {
            Self::Uwsgi => uwsgi::OPTIONS,
            Self::Gunicorn => gunicorn::OPTIONS,
            Self::Granian => granian::OPTIONS,
            Self::ModWsgi => mod_wsgi::OPTIONS,
        }
    }
}

/// What `tidegate migrate` was asked for.
#[derive(Debug)]
pub struct Request {
    pub(crate) source: Source,
    /// The other server's file, as it was typed.
    pub(crate) file: Option<String>,
    /// The other server's arguments.
    pub(crate) arguments: Vec<String>,
    /// Where the settings go; `-` prints them.
    pub(crate) output: String,
    /// Whether a file that is there already may be lost.
    pub(crate) force: bool,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) cwd: PathBuf,
}

/// Evaluates a gunicorn file, which is Python: names and what they hold, or why there are none.
pub type Evaluate<'a> = dyn FnMut(&str) -> Result<Vec<(String, Value)>, String> + 'a;

/// What `tidegate migrate` has made.
#[derive(Debug)]
pub struct Migrated {
    /// For standard output.
    pub text: String,
    /// Whether every option was translated or is not needed.
    pub is_whole: bool,
}

impl Request {
    /// Reads the other server's settings, writes ours, and reports.
    ///
    /// # Errors
    /// What could not be read or written, in one line; the command then ends with status 2.
    pub fn run(&self, evaluate: &mut Evaluate<'_>) -> Result<Migrated, SettingsError> {
        let mut plan = Plan::new(self.source.options(), self.cwd.clone(), self.read(evaluate)?);
        match self.source {
            Source::Uwsgi => uwsgi::decide(&mut plan),
            Source::Gunicorn => gunicorn::decide(&mut plan),
            Source::Granian => granian::decide(&mut plan),
            Source::ModWsgi => mod_wsgi::decide(&mut plan),
        }
        plan.decide_the_rest();
        let toml = plan.toml(&self.command());
        let text = if self.output == "-" {
            // Standard output is the file then; the report stands in it as comments.
            let report: String = plan.report(None).lines().map(|line| format!("# {line}\n")).collect();
            format!("{}\n{toml}", report.replace("# \n", "#\n"))
        } else {
            let path = self.cwd.join(&self.output);
            self.write(&path, &toml)?;
            plan.report(Some(&path))
        };
        Ok(Migrated { text, is_whole: plan.is_whole() })
    }

    fn read(&self, evaluate: &mut Evaluate<'_>) -> Result<Vec<Given>, SettingsError> {
        if self.source == Source::Uwsgi {
            let file = self.file.as_deref().unwrap_or_default();
            return ini::read(file, &self.cwd, &self.variables, uwsgi::is_option).map_err(SettingsError::new);
        }
        let mut given =
            arguments::read(self.source.options(), &self.arguments).map_err(SettingsError::new)?;
        if self.source == Source::Gunicorn {
            let file = self.file.clone().or_else(|| gunicorn::config_file(&given, &self.cwd));
            if let Some(file) = file {
                let names =
                    evaluate(&file).map_err(|fault| SettingsError::new(format!("{file}: {fault}")))?;
                let text = fs::read_to_string(self.cwd.join(&file)).unwrap_or_default();
                // Arguments come later, as they win.
                given.splice(0..0, gunicorn::settings_of(&file, &text, names));
            }
        }
        if given.is_empty() {
            let name = self.source.name();
            return Err(SettingsError::new(format!(
                "migrate {name}: nothing to migrate; usage: tidegate migrate {name} {}",
                usage(self.source)
            )));
        }
        Ok(given)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let mut options = OpenOptions::new();
        options.write(true);
        match self.force {
            true => options.create(true).truncate(true),
            false => options.create_new(true),
        };
        let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            let path = path.display();
            SettingsError::new(match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    format!("{path}: is there already; --force writes over it, --output names another")
                }
                _ => format!("{path}: cannot be written: {error}"),
            })
        })
    }

    /// What was typed, for the first line of the file.
    fn command(&self) -> String {
        let mut words = vec!["tidegate migrate".to_owned(), self.source.name().to_owned()];
        words.extend(self.file.as_deref().map(plan::shell_word));
        if !self.arguments.is_empty() {
            words.push("--".to_owned());
            words.extend(self.arguments.iter().map(|word| plan::shell_word(word)));
        }
        words.join(" ")
    }
}

/// What follows the name of a source.
pub(crate) fn usage(source: Source) -> &'static str {
    match source {
        Source::Uwsgi => "FILE.ini",
        Source::Gunicorn => "[FILE] [-- ARGUMENTS]",
        Source::Granian | Source::ModWsgi => "-- ARGUMENTS",
    }
}

#[cfg(test)]
mod tests {
    use super::option::Fate;
    use super::*;
    use crate::settings::SETTINGS;

    #[test]
    fn every_setting_that_a_table_names_exists() {
        for entry in Source::ALL.iter().flat_map(|source| source.options()) {
            if let Fate::Becomes { setting, .. } = entry.fate {
                assert!(SETTINGS.iter().any(|own| own.name == setting), "{:?}: {setting}", entry.names);
            }
        }
    }

    #[test]
    fn no_option_stands_in_a_table_twice() {
        for source in Source::ALL {
            let names: Vec<_> = source.options().iter().flat_map(|entry| entry.names).collect();
            for (index, name) in names.iter().enumerate() {
                assert!(!names[..index].contains(name), "{}: {name}", source.name());
            }
        }
    }
}

//! Where a value came from, and the one line that says what is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::table::{SETTINGS, Setting, VARIABLE_PREFIX};
use super::value::{Fault, Value, is_bare_key};

/// Where the effective value of a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A flag or the positional argument.
    CommandLine,
    /// The environment variable of this name.
    Variable(String),
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// The name of its `[env.NAME]` table that holds the value.
        env: Option<String>,
    },
    /// A keyword argument of `tidegate.serve()`.
    Python,
}

/// The name of the file whose settings lie in `[tool.tidegate]`.
pub(super) const PYPROJECT: &str = "pyproject.toml";

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("by default"),
            Self::CommandLine => f.write_str("from the command line"),
            Self::Variable(name) => write!(f, "from the variable {name}"),
            Self::File { path, env } => write!(f, "from {}", Place(path, env.as_deref())),
            Self::Python => f.write_str("from tidegate.serve()"),
        }
    }
}

impl Origin {
    /// The setting's name as it is spelled where this origin is.
    pub(super) fn spell(&self, setting: &Setting) -> String {
        match self {
            Self::CommandLine if !setting.is_positional() => setting.flag(),
            Self::Python => setting.keyword(),
            _ => setting.name.to_owned(),
        }
    }
}

/// A table of a settings file as a line names it, without line ends.
pub(super) struct Place<'a>(pub(super) &'a Path, pub(super) Option<&'a str>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, env) = self;
        let ours = path.file_name().is_some_and(|name| name == PYPROJECT);
        match (ours, env) {
            (true, None) => f.write_str("[tool.tidegate] in ")?,
            (true, Some(env)) => write!(f, "[tool.tidegate.env.{}] in ", key(env))?,
            (false, None) => {}
            (false, Some(env)) => write!(f, "[env.{}] in ", key(env))?,
        }
        f.write_str(&one_line(&path.display().to_string()))
    }
}

/// A part of a TOML key: bare, or in quotes.
fn key(name: &str) -> String {
    if is_bare_key(name) { name.to_owned() } else { Value::Text(name.into()).excerpt() }
}

/// Why the settings cannot be used. `Display` is one line, for standard error before exit status 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tidegate: {}", self.0)
    }
}

impl std::error::Error for SettingsError {}

impl SettingsError {
    /// The line without the program's name, for an exception.
    pub fn message(&self) -> &str {
        &self.0
    }

    pub(crate) fn new(message: impl AsRef<str>) -> Self {
        Self(one_line(message.as_ref()))
    }

    /// A value that does not fit.
    pub(super) fn value(setting: &Setting, value: &Value, origin: &Origin, fault: &str) -> Self {
        let (name, value, accepted) = (origin.spell(setting), value.excerpt(), setting.kind.accepted());
        Self::new(format!("{name} {value} ({origin}): {fault}; accepted: {accepted}"))
    }

    /// A setting that exists but cannot be given there.
    pub(crate) fn misplaced(setting: &Setting, origin: &Origin, reason: &str) -> Self {
        Self::new(format!("{} ({origin}): {reason}", origin.spell(setting)))
    }

    /// A name that nothing has. `known` are the names that could stand there, as they are spelled there.
    pub(crate) fn unknown(
        what: &str,
        typed: &str,
        place: &dyn fmt::Display,
        known: impl Iterator<Item = String>,
        help: &str,
    ) -> Self {
        let advice = match nearest(typed, known) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("\"{help}\" lists all"),
        };
        Self::new(format!("{} ({place}): no such {what}; {advice}", Value::Text(typed.into()).excerpt()))
    }

    /// A name that no setting has. `spell` gives a setting's name as it is spelled there, if it can stand there.
    pub(super) fn unknown_setting(
        typed: &str,
        place: &dyn fmt::Display,
        spell: impl Fn(&Setting) -> Option<String>,
    ) -> Self {
        Self::unknown("setting", typed, place, SETTINGS.iter().filter_map(spell), "tidegate --help")
    }
}

/// What is wrong with a key of a table that may have `keys`.
pub(super) fn no_such_key(typed: &str, keys: &[&str]) -> Fault {
    let known = nearest(typed, keys.iter().map(|&key| key.to_owned()));
    let advice = known.map_or_else(|| keys.join(", "), |known| format!("did you mean {known}?"));
    format!("{}: no such key; {advice}", Value::Text(typed.into()).excerpt())
}

/// The known name that a slip may have turned into the typed one, or that it is the beginning of.
fn nearest(typed: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let typed = bare(typed);
    // One slip in three letters; beyond that, unlike names come out as near.
    let slips_max = (typed.len() / 3).max(1);
    let ranked = known.filter_map(|name| {
        let candidate = bare(&name);
        let slips = strsim::osa_distance(&typed, &candidate);
        let is_beginning = typed.len() >= BEGINNING_MIN && candidate.starts_with(&typed);
        (slips <= slips_max || is_beginning).then_some((slips, name))
    });
    ranked.min_by_key(|(slips, _)| *slips).map(|(_, name)| name)
}

/// Fewest letters that say something as the beginning of a name.
const BEGINNING_MIN: usize = 3;

/// Longest name that is compared with the known ones: the work grows with the product of the lengths.
const COMPARED_MAX: usize = 64;

/// A name without what all names of its source share, and without what people mix up.
fn bare(name: &str) -> String {
    let name = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    name.chars().filter(|c| !matches!(c, '-' | '_')).take(COMPARED_MAX).flat_map(char::to_lowercase).collect()
}

/// Messages of libraries and paths may hold line ends and control sequences; a line may not.
fn one_line(text: &str) -> String {
    text.split(char::is_control)
        .map(str::trim_end)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

//! The sources of settings and their precedence: flag, variable, `tidegate.toml`, `pyproject.toml`, default. In each file the chosen
//! `[env.NAME]` table comes before the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::{PYPROJECT, Place};
use super::table::VARIABLE_PREFIX;
use super::{Config, Origin, Reach, SETTINGS, Setting, Settings, SettingsError, Value};

/// The file that holds nothing but settings.
const TIDEGATE_TOML: &str = "tidegate.toml";

/// Largest settings file: far above any real one, far below what would hurt (a device, a log named by mistake).
const FILE_SIZE_MAX: u64 = 1 << 20;

/// The key of a file's tables for one environment each, which is the name of the setting that chooses one.
const ENV: &str = "env";

const ENV_IS_CHOSEN: &str = "must be tables, [env.NAME]; --env or TIDEGATE_ENV chooses one";

/// What was typed, by setting. What is added first wins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// What was read, in that order.
    sources: Vec<Origin>,
    /// The environments that files have tables for.
    envs: BTreeSet<String>,
}

impl Typed {
    /// Takes a value in, unless a higher source has given one. It must be right in any case.
    pub(crate) fn add(
        &mut self,
        setting: &'static Setting,
        value: Value,
        origin: Origin,
    ) -> Result<(), SettingsError> {
        check(setting, &value, &origin)?;
        if !self.sources.contains(&origin) {
            self.sources.push(origin.clone());
        }
        self.values.entry(setting.name).or_insert((value, origin));
        Ok(())
    }

    /// Adds what the environment holds. Every variable that begins with our prefix must be a setting's.
    pub(crate) fn add_environment(
        &mut self,
        variables: &mut dyn Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), SettingsError> {
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if !name.starts_with(VARIABLE_PREFIX) || is_service_link(&name, &value.to_string_lossy()) {
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) else {
                return Err(SettingsError::unknown_setting(&name, &"from the environment", |s| {
                    Some(s.variable())
                }));
            };
            let origin = Origin::Variable(name.into_owned());
            let value =
                value.into_string().map_err(|_| SettingsError::misplaced(setting, &origin, "not UTF-8"))?;
            let values = match setting.repeats {
                true => value.split(',').map(|part| part.trim().to_owned()).collect(),
                false => vec![value],
            };
            if let Some(value) = Value::one_or_several(values) {
                self.add(setting, value, origin)?;
            }
        }
        Ok(())
    }

    /// Adds what the files hold that `config` and `chdir`, as given so far, point to.
    pub(crate) fn add_files(&mut self, cwd: &Path) -> Result<(), SettingsError> {
        let so_far = self.clone().settings()?;
        let directory = so_far.chdir.as_ref().map_or_else(|| cwd.to_owned(), |directory| cwd.join(directory));
        if !directory.is_dir() {
            return Err(self.refuse("chdir", "no such directory"));
        }
        match &so_far.config {
            Config::None => {}
            Config::File(path) => {
                let path = cwd.join(path);
                let text = read(&path)
                    .map_err(|error| self.refuse("config", &format!("cannot be read: {error}")))?;
                self.add_file(&path, &text, true, so_far.env.as_deref())?;
            }
            Config::Search => {
                for path in [directory.join(TIDEGATE_TOML), directory.join(PYPROJECT)] {
                    match read(&path) {
                        Ok(text) => self.add_file(&path, &text, false, so_far.env.as_deref())?,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => {
                            return Err(SettingsError::new(format!(
                                "{}: cannot be read: {error}",
                                path.display()
                            )));
                        }
                    }
                }
            }
        }
        match so_far.env {
            Some(env) if !self.envs.contains(&env) => {
                let known = match self.envs.iter().cloned().map(Value::Text).collect::<Vec<_>>() {
                    none if none.is_empty() => "no file has any".to_owned(),
                    some => format!("there are {}", Value::List(some).excerpt()),
                };
                Err(self.refuse(ENV, &format!("no settings file has such a table; {known}")))
            }
            _ => Ok(()),
        }
    }

    /// The line for a value that was readable, but turned out not to fit the file system.
    fn refuse(&self, name: &'static str, fault: &str) -> SettingsError {
        match (SETTINGS.iter().find(|setting| setting.name == name), self.values.get(name)) {
            (Some(setting), Some((value, origin))) => SettingsError::value(setting, value, origin, fault),
            // Nobody gave it: the working directory itself is gone.
            _ => SettingsError::new(format!("{name}: {fault}")),
        }
    }

    fn add_file(
        &mut self,
        path: &Path,
        text: &str,
        is_named: bool,
        chosen: Option<&str>,
    ) -> Result<(), SettingsError> {
        let mut document = text.parse::<toml::Table>().map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1);
            SettingsError::new(format!("{}, line {line}: {}", path.display(), error.message()))
        })?;
        if path.file_name().is_some_and(|name| name == PYPROJECT) {
            let table = match document.get_mut("tool") {
                Some(toml::Value::Table(tool)) => tool.remove("tidegate"),
                _ => None,
            };
            document = match table {
                Some(toml::Value::Table(table)) => table,
                None if !is_named => return Ok(()),
                _ => return Err(SettingsError::new(format!("{}: no such table", Place(path, None)))),
            };
        }
        let envs = match document.remove(ENV) {
            Some(toml::Value::Table(envs)) => envs,
            None => toml::Table::new(),
            Some(_) => {
                let origin = Origin::File { path: path.to_owned(), env: None };
                return Err(SettingsError::new(format!("{ENV} ({origin}): {ENV_IS_CHOSEN}")));
            }
        };
        let origin = |env: Option<&str>| Origin::File { path: path.to_owned(), env: env.map(str::to_owned) };
        for (name, table) in envs {
            let origin = origin(Some(&name));
            let toml::Value::Table(table) = table else {
                return Err(SettingsError::new(format!("{ENV} ({origin}): {ENV_IS_CHOSEN}")));
            };
            // A table that is not chosen must be right too, so that it does not turn out not to be when it is needed.
            let values = settings_of(table, &origin)?;
            if chosen == Some(&name) {
                self.add_all(values, &origin)?;
            }
            self.envs.insert(name);
        }
        let origin = origin(None);
        let values = settings_of(document, &origin)?;
        self.add_all(values, &origin)
    }

    fn add_all(
        &mut self,
        values: Vec<(&'static Setting, Value)>,
        origin: &Origin,
    ) -> Result<(), SettingsError> {
        self.sources.push(origin.clone());
        values.into_iter().try_for_each(|(setting, value)| self.add(setting, value, origin.clone()))
    }

    /// The step from what was typed to what the server runs on.
    pub(crate) fn settings(mut self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::blank();
        for setting in SETTINGS {
            let default = setting.default.map(|text| (Value::Text(text.into()), Origin::Default));
            let Some((value, origin)) = self.values.remove(setting.name).or(default) else {
                continue;
            };
            setting
                .kind
                .put(&mut settings, &value)
                .map_err(|fault| SettingsError::value(setting, &value, &origin, &fault))?;
            settings.origins.insert(setting.name, origin);
        }
        settings.sources = self.sources;
        Ok(settings)
    }
}

/// What a table of a file holds, each value checked.
fn settings_of(table: toml::Table, origin: &Origin) -> Result<Vec<(&'static Setting, Value)>, SettingsError> {
    let mut values = Vec::new();
    for (name, value) in table {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            // The tables of environments go by the name of the setting, and are not nested.
            let is_outer = matches!(origin, Origin::File { env: None, .. });
            let spell =
                |s: &Setting| (s.reach != Reach::Start || is_outer && s.name == ENV).then(|| s.name.into());
            return Err(SettingsError::unknown_setting(&name, origin, spell));
        };
        if setting.reach == Reach::Start {
            let (flag, variable) = (setting.flag(), setting.variable());
            let reason = format!("decides what is read of files; accepted: {flag}, {variable}");
            return Err(SettingsError::misplaced(setting, origin, &reason));
        }
        let value = value_of(value, setting.tables.is_some()).map_err(|fault| {
            let accepted = setting.kind.accepted();
            SettingsError::misplaced(setting, origin, &format!("{fault}; accepted: {accepted}"))
        })?;
        check(setting, &value, origin)?;
        values.push((setting, value));
    }
    Ok(values)
}

fn check(setting: &Setting, value: &Value, origin: &Origin) -> Result<(), SettingsError> {
    setting
        .kind
        .put(&mut Settings::blank(), value)
        .map_err(|fault| SettingsError::value(setting, value, origin, &fault))
}

/// Settings from the keyword arguments of `tidegate.serve()`. The surroundings of a library call are its caller's, so
/// neither variables nor files are read.
///
/// # Errors
/// The first name that is no setting's, or value that does not fit, in itself or beside the others.
pub fn from_python(values: &[(String, Value)]) -> Result<Settings, SettingsError> {
    let mut typed = Typed::default();
    for (keyword, value) in values {
        let spell = |setting: &Setting| (setting.reach == Reach::Everywhere).then(|| setting.keyword());
        let Some(setting) = SETTINGS.iter().find(|setting| setting.keyword() == *keyword) else {
            return Err(SettingsError::unknown_setting(keyword, &Origin::Python, spell));
        };
        if setting.reach != Reach::Everywhere {
            let reason = "only for the command, since a call brings its application and its directory";
            return Err(SettingsError::misplaced(setting, &Origin::Python, reason));
        }
        typed.add(setting, value.clone(), Origin::Python)?;
    }
    let settings = typed.settings()?;
    settings.conflicts()?;
    Ok(settings)
}

/// Whether Kubernetes made this variable: for a service called `tidegate` it gives every container of the namespace
/// `TIDEGATE_SERVICE_HOST`, `TIDEGATE_PORT=tcp://...`, `TIDEGATE_PORT_80_TCP_ADDR` and their like.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_protocol =
        |text: &str| ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_protocol(value))
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_SIZE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a settings file"));
    }
    Ok(text)
}

fn value_of(value: toml::Value, tables: bool) -> Result<Value, &'static str> {
    Ok(match value {
        toml::Value::String(text) => Value::Text(text),
        toml::Value::Integer(number) => Value::Int(number),
        toml::Value::Float(number) => Value::Float(number),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Array(values) => {
            Value::List(values.into_iter().map(|value| value_of(value, tables)).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(pairs) if tables => {
            let pairs = pairs.into_iter().map(|(key, value)| Ok((key, value_of(value, false)?)));
            Value::Table(pairs.collect::<Result<_, _>>()?)
        }
        toml::Value::Table(_) => return Err("must not be a table"),
        toml::Value::Datetime(_) => return Err("must not be a date or a time"),
    })
}

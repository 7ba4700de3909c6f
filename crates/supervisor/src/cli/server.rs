//! The server's own command line: flags made from the table of settings, and help.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, SUBCOMMANDS, Surroundings, plain};
use crate::settings::{Kind, Origin, SETTINGS, Setting, Settings, SettingsError, Typed, Value};
use crate::settings_page::{facts, wrap};

pub(super) const USAGE: &str = "tidegate [OPTIONS] MODULE[:ATTR]";

/// Columns of help texts: what fits a terminal of 80.
const HELP_WIDTH: usize = 68;

pub(super) fn run(matches: ArgMatches, surroundings: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    let settings = settings(matches, surroundings)?;
    check(&settings)?;
    Ok(Outcome::Run(settings))
}

/// The settings in force, with what was matched of [`with_settings`].
pub(crate) fn settings(
    mut matches: ArgMatches,
    surroundings: Surroundings<'_>,
) -> Result<Settings, SettingsError> {
    let mut typed = Typed::default();
    add_flags(&mut typed, &mut matches)?;
    typed.add_environment(surroundings.variables)?;
    typed.add_files(surroundings.cwd)?;
    typed.settings()
}

/// Whether there is something to serve, in a way that can be.
pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    if settings.app.is_none() && settings.mounts.is_empty() {
        let advice = "\"tidegate --help\" lists all options";
        return Err(SettingsError::new(format!("no application is named; usage: {USAGE}; {advice}")));
    }
    settings.conflicts()
}

pub(super) fn command() -> Command {
    let print_help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let print_version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    let command = plain("tidegate")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Tidegate serves Python web applications.")
        .override_usage(USAGE)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(print_help.help("Print help; --help says more than -h"))
        .arg(print_version.help("Print the version"));
    with_settings(command).after_help(after_help())
}

/// Adds the flags of these settings.
pub(super) fn with_some_settings(command: Command, names: &[&str]) -> Command {
    command.args(SETTINGS.iter().filter(|setting| names.contains(&setting.name)).map(arg))
}

/// Adds the flag of each setting.
pub(crate) fn with_settings(command: Command) -> Command {
    command.args(SETTINGS.iter().map(arg))
}

fn after_help() -> String {
    let width = SUBCOMMANDS.iter().map(|sub| sub.name.len()).max().unwrap_or_default();
    let line = |sub: &&super::Subcommand| format!("  {:width$}  {}\n", sub.name, sub.about);
    let lines: String = SUBCOMMANDS.iter().map(line).collect();
    format!("Instead of serving, as the first argument:\n{lines}\n{SOURCES}")
}

const SOURCES: &str = "\
Each setting can also be given as a variable (TIDEGATE_HEAD_TIMEOUT), in
tidegate.toml (head-timeout = \"10s\"), or in [tool.tidegate] of pyproject.toml.
A flag wins over a variable, and a variable over the files, in this order.";

fn arg(setting: &'static Setting) -> Arg {
    let mut arg = Arg::new(setting.name)
        .value_name(setting.kind.placeholder())
        .value_parser(value_parser!(OsString))
        .action(ArgAction::Append)
        // So that "-1" meets the setting's own range check.
        .allow_negative_numbers(true)
        .help(short_help(setting))
        .long_help(long_help(setting));
    if !setting.repeats {
        // The last one wins: scripts put the caller's flags behind their own.
        arg = arg.action(ArgAction::Set);
    }
    if setting.is_positional() {
        return arg;
    }
    if let Kind::Switch(_) = setting.kind {
        arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    if let Some(short) = setting.short {
        arg = arg.short(short);
    }
    arg.long(setting.name).help_heading(setting.category.title())
}

fn short_help(setting: &Setting) -> String {
    match setting.default {
        Some("" | "false") | None => setting.help.to_owned(),
        // A list of many is in the long help.
        Some(default) if default.len() > HELP_WIDTH => setting.help.to_owned(),
        Some(default) => format!("{} [default: {default}]", setting.help),
    }
}

fn long_help(setting: &Setting) -> String {
    let mut text = wrap(setting.help, HELP_WIDTH);
    if !setting.doc.is_empty() {
        text.push('\n');
        text.push_str(&wrap(setting.doc, HELP_WIDTH));
    }
    for (name, value) in facts(setting) {
        text.push('\n');
        text.push_str(&wrap(&format!("{name}: {value}"), HELP_WIDTH));
    }
    text
}

fn add_flags(typed: &mut Typed, matches: &mut ArgMatches) -> Result<(), SettingsError> {
    for setting in SETTINGS {
        // Some subcommands take some of the flags.
        let Ok(Some(values)) = matches.try_remove_many::<OsString>(setting.name) else {
            continue;
        };
        let values = values
            .map(|value| value.into_string())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| SettingsError::misplaced(setting, &Origin::CommandLine, "not UTF-8"))?;
        if let Some(value) = Value::one_or_several(values) {
            typed.add(setting, value, Origin::CommandLine)?;
        }
    }
    Ok(())
}

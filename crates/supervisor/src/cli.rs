//! The command line: flags made from the table of settings, help, and errors in one line.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::settings::{Kind, Origin, SETTINGS, Setting, Settings, SettingsError, Typed, Value};
use crate::settings_page::{facts, wrap};

/// What the command line asks for.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process, and it is taken apart at once")]
pub enum Outcome {
    /// To serve with these settings, in which an application is named.
    Run(Settings),
    /// To print this text on standard output and end with status 0.
    Print(String),
}

const USAGE: &str = "tidegate [OPTIONS] MODULE[:ATTR]";

/// The flag that shows settings instead of using them.
const PRINT_SETTINGS: &str = "print-settings";

/// Flags that are no settings, for the advice on unknown ones.
const OTHER_FLAGS: [&str; 3] = ["--print-settings", "--help", "--version"];

/// Columns of help texts: what fits a terminal of 80.
const HELP_WIDTH: usize = 68;

/// Reads the arguments (without the program's name), the variables, and the files that they point to.
///
/// # Errors
/// What is wrong, in one line; the command then ends with status 2.
pub fn from_command_line(
    args: &[OsString],
    env: &mut dyn Iterator<Item = (OsString, OsString)>,
    cwd: &Path,
) -> Result<Outcome, SettingsError> {
    let mut matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Outcome::Print(error.render().to_string()));
        }
        Err(error) => return Err(in_one_line(&error)),
    };
    let mut typed = Typed::default();
    add_flags(&mut typed, &mut matches)?;
    typed.add_environment(env)?;
    typed.add_files(cwd)?;
    let settings = typed.settings()?;
    if matches.get_flag(PRINT_SETTINGS) {
        return Ok(Outcome::Print(settings.to_toml()));
    }
    if settings.app.is_none() && settings.mounts.is_empty() {
        let advice = "\"tidegate --help\" lists all options";
        return Err(SettingsError::new(format!("no application is named; usage: {USAGE}; {advice}")));
    }
    Ok(Outcome::Run(settings))
}

fn command() -> Command {
    let print_settings = Arg::new(PRINT_SETTINGS)
        .long(PRINT_SETTINGS)
        .action(ArgAction::SetTrue)
        .help("Print every setting and where it came from, and exit");
    let print_help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let print_version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    Command::new("tidegate")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Tidegate serves Python web applications.")
        .override_usage(USAGE)
        // No column is too wide for short help to stay on one line.
        .term_width(0)
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(print_settings)
        .arg(print_help.help("Print help; --help says more than -h"))
        .arg(print_version.help("Print the version"))
        .args(SETTINGS.iter().map(arg))
        .after_help(AFTER_HELP)
}

const AFTER_HELP: &str = "\
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
        let Some(values) = matches.remove_many::<OsString>(setting.name) else {
            continue;
        };
        let values = values
            .map(|value| value.into_string())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| SettingsError::misplaced(setting, &Origin::CommandLine, "not UTF-8"))?;
        if let Some(value) = Value::one_or_several(values) {
            typed.add(setting, value, Origin::CommandLine);
        }
    }
    Ok(())
}

/// The parser's own errors take several lines; ours are one, with our advice.
fn in_one_line(error: &clap::Error) -> SettingsError {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => "",
    };
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let spell = |setting: &Setting| (!setting.is_positional()).then(|| setting.flag());
            SettingsError::unknown(argument, &Origin::CommandLine, spell, &OTHER_FLAGS)
        }
        ErrorKind::UnknownArgument => {
            let shown = Value::Text(argument.into()).excerpt();
            SettingsError::new(format!(
                "{shown} (from the command line): an application is named already; usage: {USAGE}"
            ))
        }
        ErrorKind::InvalidValue | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            let name = argument.split([' ', '=', '[']).next().unwrap_or_default().trim_start_matches('-');
            let accepted =
                SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.kind.accepted());
            let accepted = accepted.map_or_else(String::new, |accepted| format!("; accepted: {accepted}"));
            SettingsError::new(format!("--{name} (from the command line): a value is missing{accepted}"))
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            SettingsError::new(format!("{} (from the command line)", line.trim_start_matches("error: ")))
        }
    }
}

//! What the parser finds wrong. Its own errors take several lines; ours are one, with our advice.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Subcommand, server};
use crate::settings::{Origin, SETTINGS, SettingsError, Value};

/// The line for an error of `command`, which is the server's or a subcommand's.
pub(super) fn in_one_line(
    error: &clap::Error,
    command: &Command,
    subcommand: Option<&Subcommand>,
) -> SettingsError {
    let help = subcommand.map_or("tidegate --help".to_owned(), |sub| format!("tidegate {} --help", sub.name));
    let place = Origin::CommandLine;
    let argument = said(error, ContextKind::InvalidArg);
    let line = match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            return SettingsError::unknown("option", argument, &place, flags(command).into_iter(), &help);
        }
        ErrorKind::UnknownArgument if subcommand.is_none() => {
            format!("{} ({place}): an application is named already", excerpt(argument))
        }
        ErrorKind::UnknownArgument => format!("{} ({place}): not expected here", excerpt(argument)),
        ErrorKind::InvalidSubcommand => {
            let word = said(error, ContextKind::InvalidSubcommand);
            let words: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            format!("{} ({place}): no such subcommand; accepted: {}", excerpt(word), words.join(", "))
        }
        ErrorKind::InvalidValue | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            let name = argument.split([' ', '=', '[']).next().unwrap_or_default();
            let fault = match said(error, ContextKind::InvalidValue) {
                "" => "a value is missing".to_owned(),
                value => format!("{}: no such choice", excerpt(value)),
            };
            let setting = SETTINGS.iter().find(|setting| setting.flag() == name);
            let accepted = match (setting, error.get(ContextKind::ValidValue)) {
                (Some(setting), _) => format!("; accepted: {}", setting.kind.accepted()),
                (None, Some(ContextValue::Strings(words))) => format!("; accepted: {}", words.join(", ")),
                _ => String::new(),
            };
            let line = format!("{name} ({place}): {fault}{accepted}");
            if subcommand.is_none() {
                return SettingsError::new(line);
            }
            line
        }
        ErrorKind::MissingSubcommand | ErrorKind::MissingRequiredArgument => "an argument is missing".into(),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            format!("{} ({place})", line.trim_start_matches("error: "))
        }
    };
    let usage = match subcommand {
        Some(subcommand) => format!("tidegate {} {}", subcommand.name, subcommand.usage),
        None => server::USAGE.to_owned(),
    };
    SettingsError::new(format!("{line}; usage: {usage}"))
}

fn said(error: &clap::Error, kind: ContextKind) -> &str {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text,
        _ => "",
    }
}

fn excerpt(text: &str) -> String {
    Value::Text(text.into()).excerpt()
}

/// The long flags of a command and of what is below it.
fn flags(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_long()).map(|name| format!("--{name}"));
    own.chain(command.get_subcommands().flat_map(flags)).collect()
}

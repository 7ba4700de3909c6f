//! `tidegate completions`: what a shell needs to complete our arguments.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, ValueHint};
use clap_complete::{Shell, generate};

use super::{Outcome, SUBCOMMANDS, Subcommand, Surroundings, server};
use crate::settings::{SETTINGS, SettingsError};

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "completions",
    usage: "bash|zsh|fish",
    about: "Print a script that has the shell complete arguments",
    arguments,
    run,
};

const SHELL: &str = "SHELL";

fn arguments(command: Command) -> Command {
    command.arg(Arg::new(SHELL).required(true).value_parser(["bash", "zsh", "fish"]))
}

fn run(mut matches: ArgMatches, _: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    let shell = match matches.remove_one::<String>(SHELL).as_deref() {
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        _ => Shell::Bash,
    };
    let subcommands = SUBCOMMANDS.iter().map(|sub| sub.command());
    let mut command = with_words(server::command().subcommands(subcommands));
    let mut script = Vec::new();
    generate(shell, &mut command, "tidegate", &mut script);
    String::from_utf8(script).map(Outcome::Print).map_err(|_| SettingsError::new("the script is not UTF-8"))
}

/// Says what values there are and which are paths. Not to the parser: what it finds wrong would not be said as for the other sources.
fn with_words(command: Command) -> Command {
    let told = |arg: Arg| match SETTINGS.iter().find(|setting| arg.get_id() == setting.name) {
        None => arg,
        Some(setting) => match (setting.kind.words(), setting.kind.placeholder()) {
            ([], "DIR") => arg.value_hint(ValueHint::DirPath),
            ([], "PATH" | "TARGET") => arg.value_hint(ValueHint::FilePath),
            ([], _) => arg.value_hint(ValueHint::Other),
            (words, _) => arg.value_parser(PossibleValuesParser::new(words)),
        },
    };
    command.mut_args(told).mut_subcommands(with_words)
}

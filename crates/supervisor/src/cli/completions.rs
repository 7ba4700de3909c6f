//! `tidegate completions`: what a shell needs to complete our arguments.

use clap::{Arg, ArgMatches, Command};
use clap_complete::{Shell, generate};

use super::{Outcome, SUBCOMMANDS, Subcommand, Surroundings, server};
use crate::settings::SettingsError;

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
    let mut command = server::command().subcommands(SUBCOMMANDS.iter().map(|sub| sub.command()));
    let mut script = Vec::new();
    generate(shell, &mut command, "tidegate", &mut script);
    String::from_utf8(script).map(Outcome::Print).map_err(|_| SettingsError::new("the script is not UTF-8"))
}

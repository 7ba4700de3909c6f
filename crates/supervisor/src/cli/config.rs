//! `tidegate config`: the settings, looked at without serving.

use clap::{ArgMatches, Command};

use super::{Outcome, Subcommand, Surroundings, plain, server};
use crate::settings::SettingsError;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "config",
    usage: "check|show [OPTIONS] [MODULE[:ATTR]]",
    about: "Check the settings, or show them and where each came from",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    let check = plain("check").about("Say whether the server would take its settings");
    let show = plain("show").about("Print every setting and where it came from");
    command
        .subcommand_required(true)
        .subcommand(server::with_settings(check))
        .subcommand(server::with_settings(show))
}

fn run(mut matches: ArgMatches, surroundings: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    let Some((verb, matches)) = matches.remove_subcommand() else {
        return Err(SettingsError::new("config: an argument is missing"));
    };
    let settings = server::settings(matches, surroundings)?;
    if verb == "show" {
        return Ok(Outcome::Print(settings.to_toml()));
    }
    server::check_application(&settings)?;
    Ok(Outcome::Print("ok\n".to_owned()))
}

//! `tidegate doctor`: what a server with these settings would find, and what to do about it.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Outcome, Subcommand, Surroundings, server};
use crate::settings::SettingsError;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "doctor",
    usage: "[OPTIONS] [MODULE[:ATTR]]",
    about: "Check what the server would find here, and say what to do",
    arguments,
    run,
};

const JSON: &str = "json";
const ALL: &str = "all";

fn arguments(command: Command) -> Command {
    let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Print JSON, all checks in it");
    let all = Arg::new(ALL).long(ALL).action(ArgAction::SetTrue).help("Print what is well, too");
    server::with_settings(command.arg(json).arg(all))
}

fn run(matches: ArgMatches, surroundings: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    let show = match (matches.get_flag(JSON), matches.get_flag(ALL)) {
        (true, _) => Show::Json,
        (false, true) => Show::All,
        (false, false) => Show::Trouble,
    };
    let settings = server::settings(matches, surroundings)?;
    // Without an application there is still a machine to look at.
    settings.conflicts()?;
    Ok(Outcome::Examine(settings, show))
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// To people: what is to be done.
    Trouble,
    /// To people: everything.
    All,
    /// To programs.
    Json,
}

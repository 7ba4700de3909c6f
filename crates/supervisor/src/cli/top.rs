//! `tidegate top`: a server that runs is watched.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::ctl::{WHERE, control_socket};
use super::{Outcome, Subcommand, Surroundings, server};
use crate::settings::SettingsError;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "top",
    usage: "[--once] [OPTIONS]",
    about: "Watch a running server: requests in flight, workers, figures",
    arguments,
    run,
};

const ONCE: &str = "once";

fn arguments(command: Command) -> Command {
    let once = Arg::new(ONCE).long(ONCE).action(ArgAction::SetTrue);
    server::with_some_settings(command.arg(once.help("Print one frame as plain text, and end")), &WHERE)
}

fn run(matches: ArgMatches, surroundings: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    let once = matches.get_flag(ONCE);
    let socket = control_socket("top", matches, surroundings)?;
    Ok(if once { Outcome::WatchOnce(socket) } else { Outcome::Watch(socket) })
}

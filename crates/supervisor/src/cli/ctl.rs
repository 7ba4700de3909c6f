//! `tidegate ctl`: a server that runs is asked, or told what to do.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::{Outcome, Subcommand, Surroundings, plain, server};
use crate::control::{Question, VERBS};
use crate::settings::SettingsError;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "ctl",
    usage: "status|reload|stop|workers N|stacks|state|upgrade [OPTIONS]",
    about: "Ask a running server, or tell it what to do",
    arguments,
    run,
};

const COUNT: &str = "N";

/// Settings that say where the server is to be found.
pub(super) const WHERE: [&str; 4] = ["control-socket", "chdir", "config", "env"];

fn arguments(command: Command) -> Command {
    VERBS.iter().fold(command.subcommand_required(true), |command, &(verb, about)| {
        let mut arguments = plain(verb).about(about);
        if verb == "workers" {
            arguments = arguments.arg(Arg::new(COUNT).required(true));
        }
        command.subcommand(server::with_some_settings(arguments, &WHERE))
    })
}

fn run(mut matches: ArgMatches, surroundings: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    let missing = || SettingsError::new("an argument is missing");
    let (verb, mut matches) = matches.remove_subcommand().ok_or_else(missing)?;
    let question = match Question::named(&verb) {
        Some(question) => question,
        None => {
            let count = matches.remove_one::<String>(COUNT).unwrap_or_default();
            let number = count.parse().ok().filter(|&number| number > 0);
            let refused =
                || SettingsError::new(format!("ctl workers {count:?}: accepted: a number from 1 on"));
            Question::Workers(number.ok_or_else(refused)?)
        }
    };
    Ok(Outcome::Ask(control_socket("ctl", matches, surroundings)?, question))
}

/// The control socket that the server has which these arguments are about.
pub(super) fn control_socket(
    command: &str,
    matches: ArgMatches,
    surroundings: Surroundings<'_>,
) -> Result<PathBuf, SettingsError> {
    let settings = server::settings(matches, surroundings)?;
    let socket = settings.control_socket.as_ref().map(|socket| settings.within_chdir(socket));
    socket.ok_or_else(|| {
        SettingsError::new(format!(
            "{command}: no control-socket is set: name the server's by --control-socket, or in the variables and files that it reads"
        ))
    })
}

//! `tidegate config`: the settings, looked at without serving.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Outcome, Subcommand, Surroundings, plain, server};
use crate::settings::SettingsError;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "config",
    usage: "check|show [OPTIONS] [MODULE[:ATTR]]",
    about: "Check the settings, or show them and where each came from",
    arguments,
    run,
};

const JSON: &str = "json";

fn arguments(command: Command) -> Command {
    let check = plain("check").about("Say whether the server would take its settings, and what was read");
    let show = plain("show").about("Print every setting and where it came from, as a file that can be used");
    let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Print JSON instead");
    command
        .subcommand_required(true)
        .subcommand(server::with_settings(check))
        .subcommand(server::with_settings(show.arg(json)))
}

fn run(mut matches: ArgMatches, surroundings: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    match matches.remove_subcommand() {
        Some((verb, matches)) if verb == "show" => {
            let json = matches.get_flag(JSON);
            let settings = server::settings(matches, surroundings)?;
            Ok(Outcome::Print(if json { settings.to_json() } else { settings.to_toml() }))
        }
        Some((_, matches)) => {
            let settings = server::settings(matches, surroundings)?;
            server::check(&settings)?;
            let mut report = "ok\n".to_owned();
            for source in settings.sources() {
                report.push_str(&format!("  {source}\n"));
            }
            Ok(Outcome::Check(settings, report))
        }
        None => Err(SettingsError::new("an argument is missing")),
    }
}

//! `tidegate migrate`: settings from another server's.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Outcome, Subcommand, Surroundings, plain};
use crate::migrate::{Request, Source, usage};
use crate::settings::SettingsError;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "migrate",
    usage: "uwsgi FILE.ini | gunicorn [FILE] [-- ARGUMENTS] | granian -- ARGUMENTS | mod_wsgi -- ARGUMENTS",
    about: "Write tidegate.toml from another server's settings, and report",
    arguments,
    run,
};

const FILE: &str = "FILE";
const ARGUMENTS: &str = "ARGUMENTS";

fn arguments(command: Command) -> Command {
    command.subcommand_required(true).subcommands(Source::ALL.map(source))
}

fn source(source: Source) -> Command {
    let about = match source {
        Source::Uwsgi => "Read an ini file of uWSGI's; FILE.ini:SECTION names a section",
        Source::Gunicorn => {
            "Read gunicorn's Python file (gunicorn.conf.py where none is named) and its arguments"
        }
        Source::Granian => "Read Granian's arguments",
        Source::ModWsgi => "Read the arguments of mod_wsgi-express",
    };
    let output =
        Arg::new("output").short('o').long("output").value_name("PATH").default_value("tidegate.toml");
    let force = Arg::new("force").short('f').long("force").action(ArgAction::SetTrue);
    let mut command = plain(source.name())
        .about(about)
        .override_usage(format!("tidegate migrate {} [OPTIONS] {}", source.name(), usage(source)))
        .arg(output.help("Where the settings go; - prints them").allow_hyphen_values(true))
        .arg(force.help("Write over a file that is there"));
    if matches!(source, Source::Uwsgi | Source::Gunicorn) {
        command =
            command.arg(Arg::new(FILE).required(source == Source::Uwsgi).help("The other server's file"));
    }
    if source != Source::Uwsgi {
        let arguments = Arg::new(ARGUMENTS).last(true).num_args(1..).allow_hyphen_values(true);
        command = command.arg(arguments.help("The other server's arguments"));
    }
    command
}

fn run(mut matches: ArgMatches, surroundings: Surroundings<'_>) -> Result<Outcome, SettingsError> {
    let named = matches.remove_subcommand();
    let found = named.and_then(|(name, matches)| {
        Some((Source::ALL.into_iter().find(|source| source.name() == name)?, matches))
    });
    let Some((source, mut matches)) = found else {
        return Err(SettingsError::new("migrate: an argument is missing"));
    };
    let file =
        (matches!(source, Source::Uwsgi | Source::Gunicorn)).then(|| matches.remove_one(FILE)).flatten();
    let arguments = (source != Source::Uwsgi).then(|| matches.remove_many::<String>(ARGUMENTS)).flatten();
    // What is no UTF-8 is no part of a setting.
    let variables = surroundings
        .variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Outcome::Migrate(Request {
        source,
        file,
        arguments: arguments.map(Iterator::collect).unwrap_or_default(),
        output: matches.remove_one("output").unwrap_or_default(),
        force: matches.get_flag("force"),
        variables: variables.collect(),
        cwd: surroundings.cwd.to_owned(),
    }))
}

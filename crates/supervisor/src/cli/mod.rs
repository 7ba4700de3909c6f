//! The command line: the server's own, and the subcommands beside it.
//!
//! - `server`: the server's options, made from the table of settings.
//! - `config`, `doctor`, `ctl`, `top`, `migrate`, `completions`: subcommands.
//! - `fault`: what the parser finds wrong, in one line.

mod completions;
mod config;
mod ctl;
mod doctor;
mod fault;
mod migrate;
mod server;
mod top;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

pub use doctor::Show;

use crate::control::Question;
use crate::migrate::Request;
use crate::settings::{Settings, SettingsError};

/// What the command line asks for.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process, and it is taken apart at once")]
pub enum Outcome {
    /// To serve with these settings, in which an application is named.
    Run(Settings),
    /// To see whether the system goes along with these settings, and then to print this text.
    Check(Settings, String),
    /// To look at what a server with these settings would find here.
    Examine(Settings, Show),
    /// To print this text on standard output and end with status 0.
    Print(String),
    /// To ask the server that has this control socket.
    Ask(PathBuf, Question),
    /// To show what the server that has this control socket is at.
    Watch(PathBuf),
    /// To show that once, as plain text.
    WatchOnce(PathBuf),
    /// To make settings of another server's.
    Migrate(Request),
}

/// The words that may stand first, in the order of help. Another subcommand is a line here.
pub(crate) static SUBCOMMANDS: &[&Subcommand] = &[
    &config::SUBCOMMAND,
    &doctor::SUBCOMMAND,
    &ctl::SUBCOMMAND,
    &top::SUBCOMMAND,
    &migrate::SUBCOMMAND,
    &completions::SUBCOMMAND,
];

/// What the command does instead of serving when its first argument is this word.
pub(crate) struct Subcommand {
    pub(crate) name: &'static str,
    /// What follows the name.
    pub(crate) usage: &'static str,
    /// One sentence.
    pub(crate) about: &'static str,
    /// Adds what it takes.
    pub(crate) arguments: fn(Command) -> Command,
    pub(crate) run: fn(ArgMatches, Surroundings<'_>) -> Result<Outcome, SettingsError>,
}

/// What the command was started among.
pub(crate) struct Surroundings<'a> {
    pub(crate) variables: &'a mut dyn Iterator<Item = (OsString, OsString)>,
    /// The working directory.
    pub(crate) cwd: &'a Path,
}

impl Subcommand {
    fn command(&self) -> Command {
        let usage = format!("tidegate {} {}", self.name, self.usage);
        (self.arguments)(plain(self.name).about(self.about).override_usage(usage))
    }
}

/// Reads the arguments (without the program's name), the variables, and the files that they point to.
///
/// # Errors
/// What is wrong, in one line; the command then ends with status 2.
pub fn from_command_line(
    args: &[OsString],
    variables: &mut dyn Iterator<Item = (OsString, OsString)>,
    cwd: &Path,
) -> Result<Outcome, SettingsError> {
    let surroundings = Surroundings { variables, cwd };
    let subcommand = args.first().and_then(|word| SUBCOMMANDS.iter().find(|sub| word == sub.name));
    let (mut command, args, run) = match subcommand {
        Some(subcommand) => (subcommand.command(), &args[1..], subcommand.run),
        None => (server::command(), args, server::run as _),
    };
    match command.try_get_matches_from_mut(args) {
        Ok(matches) => run(matches, surroundings),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Outcome::Print(error.render().to_string()))
        }
        Err(error) => Err(fault::in_one_line(&error, &command, subcommand.copied())),
    }
}

/// What all commands have in common.
fn plain(name: &'static str) -> Command {
    // No column is too wide for short help to stay on one line.
    Command::new(name)
        .term_width(0)
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_subcommand(true)
}

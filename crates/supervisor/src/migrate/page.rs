//! The tables of options, as docs/migrate-*.md have them.

use super::Source;
use super::arguments::POSITIONAL;
use super::option::{Entry, Fate};

/// What stands before the generated part of a page; what is behind it is written anew.
const MARKER: &str =
    "<!-- What follows is written by `make docs` from crates/supervisor/src/migrate/; a test compares. -->\n";

/// The page with its table of options as it is now. What stands above the table is left.
pub fn rewritten(source: Source, page: &str) -> String {
    let prose = page.split_once(MARKER).map_or(page, |(prose, _)| prose);
    let mut text = format!("{prose}{MARKER}\n| option | what becomes of it |\n|---|---|\n");
    for entry in source.options() {
        text.push_str(&line(source, entry));
    }
    text
}

fn line(source: Source, entry: &Entry) -> String {
    let spelled = |name: &&str| match (source, *name) {
        (_, POSITIONAL) => "the application".to_owned(),
        (Source::Uwsgi | Source::Gunicorn, name) => format!("`{name}`"),
        (Source::Granian | Source::ModWsgi, name) => format!("`--{name}`"),
    };
    let names: Vec<_> = entry.names.iter().map(spelled).collect();
    let fate = match entry.fate {
        Fate::Becomes { setting, note: "", .. } => format!("`{setting}`"),
        Fate::Becomes { setting, note, .. } => format!("`{setting}` ({note})"),
        Fate::Start { note, .. } => format!("how it is started: {note}"),
        Fate::Together(note) => note.to_owned(),
        Fate::NotNeeded(reason) => format!("not needed: {reason}"),
        Fate::Instead(what) => format!("**instead**: {what}"),
        Fate::InsteadUnless(fine, what) => {
            format!("not needed where it is `{}`, else **instead**: {what}", fine.join("`, `"))
        }
    };
    format!("| {} | {} |\n", names.join(", "), fate.replace('|', "\\|"))
}

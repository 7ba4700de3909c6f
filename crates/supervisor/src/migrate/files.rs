//! Directories of files, from what they are called elsewhere to tables of `static`.

use std::path::Path;

use super::plan::Plan;
use crate::settings::Value;

const SINGLE: &str = "a single file: serve the directory that it lies in, or let the application or the proxy in front answer with it";
const DIFFERENCES: &str = "Names that begin with a dot, and links that lead out of a directory or are absolute, are not served: docs/static.md.";

/// To be told where the other server says nothing of it.
pub(super) const KEPT: &str =
    "Clients may keep files for 60 seconds, or as long as the max-age of static says.";

/// The file that stands for its directory where nothing else is said.
const INDEX_USUAL: &str = "index.html";

/// A directory that is served below a prefix.
pub(super) struct Files {
    pub(super) prefix: String,
    pub(super) directory: String,
    pub(super) index: Option<String>,
    /// `None`: what is usual here.
    pub(super) max_age: Option<Value>,
    /// What is no file is for the application.
    pub(super) falls_through: bool,
}

impl Files {
    /// Adds them to what is served, for the option with this index.
    pub(super) fn serve(self, plan: &mut Plan, index: usize, note: &str) {
        let from = plan.start.chdir.as_ref().map_or(plan.cwd.clone(), |chdir| plan.cwd.join(chdir));
        if from.join(&self.directory).is_file() {
            return plan.impossible(index, SINGLE);
        }
        plan.joins_value(index, "static", self.table(), note);
        plan.remark(DIFFERENCES);
    }

    fn table(self) -> Value {
        let prefix = match self.prefix.trim_end_matches('/') {
            "" => "/",
            prefix => prefix,
        };
        let text = |text: &str| Value::Text(text.to_owned());
        let index = match self.index.as_deref() {
            Some(INDEX_USUAL) => None,
            index => Some(text(index.unwrap_or("off"))),
        };
        let pairs = [
            ("prefix", Some(text(prefix))),
            ("dir", Some(Value::Text(self.directory))),
            ("index", index),
            ("max-age", self.max_age),
            ("fallthrough", self.falls_through.then_some(Value::Bool(true))),
        ];
        Value::Table(pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

/// A directory that is looked for from where the other server is started, and not from --chdir.
pub(super) fn from_start(plan: &Plan, directory: &str) -> String {
    match plan.start.chdir {
        Some(_) if Path::new(directory).is_relative() => plan.cwd.join(directory).display().to_string(),
        _ => directory.to_owned(),
    }
}

//! What `tidegate doctor` looks at that is neither Python's nor the engine's.
//!
//! - `machine`: the files in which the kernel tells of itself, control groups among them.
//! - `capacity`: what there is of descriptors, memory, processors and processes, and what the settings ask for.
//! - `places`: addresses, directories and files.
//! - `holder`: who has an address.
//! - `surroundings`: what the server is started by: root, a container, systemd.

mod capacity;
mod holder;
mod machine;
mod places;
mod surroundings;

use std::fmt::Write;
use std::str::FromStr;

use serde_json::{Value, json};

pub use capacity::{Runs, capacity, memory_of_its_own, of_the_application};
pub use machine::Machine;
pub use places::{places, places_of_workers};
pub use surroundings::{is_public, surroundings};

use crate::cli::Show;

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked, in a word.
    pub name: String,
    /// Whether it is well.
    pub verdict: Verdict,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do; nothing where it is well.
    pub remedy: String,
}

/// Whether something is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing is to be done.
    Ok,
    /// It could be better.
    Advice,
    /// The server would not start, or not do what its settings say.
    Wrong,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Wrong => "wrong",
        }
    }

    /// As terminals have it (ECMA-48, SGR).
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Advice => "\x1b[33m",
            Self::Wrong => "\x1b[31m",
        }
    }
}

/// By its word.
impl FromStr for Verdict {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Ok, Self::Advice, Self::Wrong].into_iter().find(|verdict| verdict.word() == word).ok_or(())
    }
}

impl Finding {
    /// That something is well.
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Ok, found: found.into(), remedy: String::new() }
    }

    /// That something could be better.
    pub fn advice(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Advice, remedy: remedy.into(), ..Self::ok(name, found) }
    }

    /// That something is wrong.
    pub fn wrong(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Wrong, ..Self::advice(name, found, remedy) }
    }

    /// As a program reads it.
    pub fn to_json(&self) -> Value {
        let Self { name, verdict, found, remedy } = self;
        json!({"name": name, "verdict": verdict.word(), "found": found, "remedy": remedy})
    }

    /// What [`Finding::to_json`] gave.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let verdict = text("verdict")?.parse().ok()?;
        Some(Self { name: text("name")?, verdict, found: text("found")?, remedy: text("remedy")? })
    }
}

/// The worst of the verdicts.
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}

/// The findings as they are printed.
pub fn report(findings: &[Finding], show: Show, coloured: bool) -> String {
    if show == Show::Json {
        let checks: Vec<_> = findings.iter().map(Finding::to_json).collect();
        return format!("{:#}\n", json!({"verdict": worst(findings).word(), "checks": checks}));
    }
    let shown = |finding: &&Finding| show == Show::All || finding.verdict != Verdict::Ok;
    let width = findings.iter().filter(shown).map(|finding| finding.name.len()).max().unwrap_or_default();
    let verdict_width = Verdict::Advice.word().len();
    let indent = verdict_width + width + 4;
    let mut text = String::new();
    for Finding { name, verdict, found, remedy } in findings.iter().filter(shown) {
        let (start, end) = if coloured { (verdict.colour(), "\x1b[0m") } else { ("", "") };
        let word = verdict.word();
        // To a String nothing fails.
        let _ = writeln!(text, "{start}{word:verdict_width$}{end}  {name:width$}  {found}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "{:indent$}{remedy}", "");
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let counts = [Verdict::Ok, Verdict::Advice, Verdict::Wrong].map(|verdict| (count(verdict), verdict));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts.map(|(count, verdict)| format!("{count} {}", verdict.word())).collect();
    let _ = writeln!(text, "{} checks: {}", findings.len(), counts.join(", "));
    text
}

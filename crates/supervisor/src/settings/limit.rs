//! Limits for the requests of some paths, as an operator writes them: a table, or a line of a flag or a variable.

use glob::Pattern;

use super::choice::Choice as _;
use super::error::no_such_key;
use super::kind::Range;
use super::value::{self, Fault, OFF, Value, text};
use super::{Priority, shown_duration, shown_size};

/// What limits look like, for help and error lines.
pub(super) const ACCEPTED: &str = "[[limits]] tables with path (exact, or with *) and any of timeout, max-concurrency, queue-size, \
                                   queue-timeout, max-body-size, priority; on a line \"/PATH KEY=VALUE ...\"";

/// Most tables: every request is compared with each, up to the first whose path it has.
const TABLES_MAX: usize = 100;

const COUNT_MAX: u64 = 1_000_000;
/// Of the time of all requests, and of those of some paths, in milliseconds.
pub(super) const TIMEOUT_RANGE: Range = Range(10, 24 * 3_600_000);
const QUEUE_TIMEOUT_MAX_MS: u64 = 3_600_000;
const KEYS: [&str; 7] =
    ["path", "timeout", "max-concurrency", "queue-size", "queue-timeout", "max-body-size", "priority"];

/// What a table says of something that there is a setting of for all paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Own {
    /// Nothing: it is as for other paths.
    #[default]
    General,
    /// That these paths have no such limit.
    Unlimited,
    /// The limit of these paths.
    Of(u64),
}

impl Own {
    /// The limit that holds for these paths, where `general` holds for others.
    pub fn or(self, general: Option<u64>) -> Option<u64> {
        match self {
            Self::General => general,
            Self::Unlimited => None,
            Self::Of(limit) => Some(limit),
        }
    }

    fn shown(self, unlimited: &str, show: fn(u64) -> String) -> Option<Value> {
        match self {
            Self::General => None,
            Self::Unlimited => Some(Value::Text(unlimited.into())),
            Self::Of(limit) => Some(Value::Text(show(limit))),
        }
    }
}

/// What holds for the requests of some paths. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which: a path, percent-decoded, in which each `*` stands for any characters.
    pub path: String,
    /// From the arrival of a head to the end of its response.
    pub timeout_ms: Own,
    /// Most of them that run at once in a worker; `None`: as many as run at all.
    pub max_concurrency: Option<usize>,
    /// Most that wait for their turn; `None`: as many as of other requests.
    pub queue_size: Option<usize>,
    /// How long one may wait; `None`: as long as others.
    pub queue_timeout_ms: Option<u64>,
    /// Largest body.
    pub body_size_max: Own,
    /// Whether they go before others.
    pub priority: Priority,
}

/// Any number of tables, none of which is out of reach behind an earlier one.
pub(super) fn limits(value: &Value) -> Result<Vec<Limit>, Fault> {
    let typed = match value {
        Value::List(values) => values.as_slice(),
        single => std::slice::from_ref(single),
    };
    if typed.len() > TABLES_MAX {
        return Err(format!("more than {TABLES_MAX} tables"));
    }
    let mut limits: Vec<Limit> = Vec::new();
    for (index, value) in typed.iter().enumerate() {
        let number = index + 1;
        let limit = Limit::read(value).map_err(|fault| format!("table {number}, {fault}"))?;
        if let Some(at) = limits.iter().position(|earlier| earlier.takes_all_of(&limit)) {
            let (first, path) = (&limits[at].path, &limit.path);
            return Err(format!(
                "table {number}, path {path:?}: never reached, as table {} has {first:?}",
                at + 1
            ));
        }
        limits.push(limit);
    }
    Ok(limits)
}

impl Limit {
    fn read(value: &Value) -> Result<Self, Fault> {
        let pairs = match value {
            Value::Table(pairs) => pairs.clone(),
            Value::Text(line) => of_line(line)?,
            _ => return Err("which is none".into()),
        };
        let mut limit = Self {
            path: String::new(),
            timeout_ms: Own::General,
            max_concurrency: None,
            queue_size: None,
            queue_timeout_ms: None,
            body_size_max: Own::General,
            priority: Priority::Normal,
        };
        for (key, value) in &pairs {
            limit.put(key, value).map_err(|fault| match KEYS.contains(&key.as_str()) {
                true => format!("{key} {}: {fault}", value.excerpt()),
                false => fault,
            })?;
        }
        limit.check()
    }

    fn put(&mut self, key: &str, value: &Value) -> Result<(), Fault> {
        match key {
            "path" => self.path = path(text(value)?)?,
            "timeout" => {
                self.timeout_ms = match value::duration_ms_or_none(value)? {
                    None => Own::Unlimited,
                    Some(time_ms) => {
                        let Range(least, most) = TIMEOUT_RANGE;
                        Own::Of(between(time_ms, least, most, shown_duration)?)
                    }
                }
            }
            "max-concurrency" => self.max_concurrency = Some(number(value, 1)?),
            "queue-size" => self.queue_size = Some(number(value, 0)?),
            "queue-timeout" => {
                let time_ms = value::duration_ms(value)?;
                self.queue_timeout_ms = Some(between(time_ms, 1, QUEUE_TIMEOUT_MAX_MS, shown_duration)?);
            }
            "max-body-size" => {
                self.body_size_max = match value {
                    Value::Text(word) if word == "unlimited" => Own::Unlimited,
                    value => Own::Of(value::size(value)?),
                }
            }
            "priority" => {
                if !self.priority.choose(text(value)?) {
                    return Err(format!("one of {}", self.priority.words().join(", ")));
                }
            }
            key => return Err(no_such_key(key, &KEYS)),
        }
        Ok(())
    }

    /// What keys ask of one another.
    fn check(self) -> Result<Self, Fault> {
        let Self { path, max_concurrency, queue_size, queue_timeout_ms, priority, .. } = &self;
        if path.is_empty() {
            return Err("path: it is missing".into());
        }
        let queues = [
            ("max-concurrency", max_concurrency.is_some()),
            ("queue-size", queue_size.is_some()),
            ("queue-timeout", queue_timeout_ms.is_some()),
        ];
        let given = queues.iter().find(|(_, is_given)| *is_given);
        match (priority, given) {
            (Priority::Health, Some((key, _))) => {
                Err(format!("{key} of {path:?}: not with priority = \"health\""))
            }
            (Priority::Normal, Some((key, _))) if max_concurrency.is_none() => {
                Err(format!("{key} of {path:?}: only with max-concurrency"))
            }
            _ => Ok(self),
        }
    }

    /// No path of `later` gets past this one.
    fn takes_all_of(&self, later: &Self) -> bool {
        // A * of the later pattern, taken for a letter, is matched by nothing but a * of this one.
        let escaped: Vec<_> = self.path.split('*').map(Pattern::escape).collect();
        Pattern::new(&escaped.join("*")).is_ok_and(|pattern| pattern.matches(&later.path))
    }

    /// As it is read back.
    pub(super) fn shown(&self) -> Value {
        let count =
            |number: Option<usize>| number.and_then(|number| i64::try_from(number).ok()).map(Value::Int);
        let values = [
            Some(Value::Text(self.path.clone())),
            self.timeout_ms.shown(OFF, shown_duration),
            count(self.max_concurrency),
            count(self.queue_size),
            self.queue_timeout_ms.map(|time_ms| Value::Text(shown_duration(time_ms))),
            self.body_size_max.shown("unlimited", shown_size),
            (self.priority != Priority::Normal).then(|| Value::Text(self.priority.word().into())),
        ];
        let pairs = KEYS.into_iter().zip(values);
        Value::Table(pairs.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

/// A path, and what follows it on the line.
fn of_line(line: &str) -> Result<Vec<(String, Value)>, Fault> {
    let mut words = line.split_ascii_whitespace();
    let path = words.next().map(|path| ("path".to_owned(), Value::Text(path.to_owned())));
    let pairs = words.map(|word| {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?}: not KEY=VALUE"))?;
        Ok((key.to_owned(), Value::Text(value.to_owned())))
    });
    path.map(Ok).into_iter().chain(pairs).collect()
}

fn path(text: &str) -> Result<String, Fault> {
    match text {
        text if !text.starts_with('/') => Err("it must begin with a slash".into()),
        // It is compared with paths that are percent-decoded.
        text if text.contains(['%', '?', '#']) || text.contains(char::is_control) => {
            Err("it must be a plain path, without %, ? and #".into())
        }
        text => Ok(text.into()),
    }
}

fn number(value: &Value, least: u64) -> Result<usize, Fault> {
    let number = between(value::count(value)?, least, COUNT_MAX, |number| number.to_string())?;
    usize::try_from(number).map_err(|_| "out of range".into())
}

fn between(number: u64, least: u64, most: u64, show: fn(u64) -> String) -> Result<u64, Fault> {
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("it must be {} to {}", show(least), show(most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(lines: &[&str]) -> Value {
        Value::List(lines.iter().map(|&line| Value::Text(line.into())).collect())
    }

    #[test]
    fn a_line_and_a_table_say_the_same() {
        let line =
            "/reports/* timeout=30s max-concurrency=4 queue-size=0 queue-timeout=500ms max-body-size=1MiB";
        let limit = &limits(&typed(&[line])).unwrap()[0];
        assert_eq!(
            *limit,
            Limit {
                path: "/reports/*".into(),
                timeout_ms: Own::Of(30_000),
                max_concurrency: Some(4),
                queue_size: Some(0),
                queue_timeout_ms: Some(500),
                body_size_max: Own::Of(1 << 20),
                priority: Priority::Normal,
            }
        );
        let pair = |key: &str, value| (key.to_owned(), value);
        let table = Value::Table(vec![
            pair("max-body-size", Value::Int(1 << 20)),
            pair("max-concurrency", Value::Int(4)),
            pair("path", Value::Text("/reports/*".into())),
            pair("queue-size", Value::Int(0)),
            pair("queue-timeout", Value::Float(0.5)),
            pair("timeout", Value::Int(30)),
        ]);
        assert_eq!(limits(&table).unwrap()[0], *limit);
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for line in [
            "/",
            "/live priority=health",
            "/upload timeout=off max-body-size=unlimited",
            "/reports/* timeout=90s max-concurrency=4 queue-size=8 queue-timeout=2s max-body-size=1KiB",
        ] {
            let read = limits(&typed(&[line])).unwrap();
            assert_eq!(limits(&read[0].shown()).unwrap(), read, "{line}");
        }
        let shown = limits(&typed(&["/a timeout=off max-concurrency=4"])).unwrap()[0].shown();
        assert_eq!(shown.to_string(), r#"{ path = "/a", timeout = "off", max-concurrency = 4 }"#);
    }

    #[test]
    fn no_time_limit_is_written_as_everywhere() {
        for value in [Value::Int(0), Value::Bool(false), Value::Text("0".into()), Value::Text("off".into())] {
            let table = Value::Table(vec![
                ("path".into(), Value::Text("/a".into())),
                ("timeout".into(), value.clone()),
            ]);
            assert_eq!(limits(&table).map(|limits| limits[0].timeout_ms), Ok(Own::Unlimited), "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_of_its_table_and_key() {
        for (lines, fault) in [
            (&["/a", ""][..], "table 2, path: it is missing"),
            (&["a"], "table 1, path \"a\": it must begin with a slash"),
            (&["/a?b"], "table 1, path \"/a?b\": it must be a plain path, without %, ? and #"),
            (&["/a%20b"], "table 1, path \"/a%20b\": it must be a plain path, without %, ? and #"),
            (&["/a timeout"], "table 1, \"timeout\": not KEY=VALUE"),
            (&["/a timeout=soon"], "table 1, timeout \"soon\": not a duration"),
            (&["/a timeout=9ms"], "table 1, timeout \"9ms\": it must be 10ms to 24h"),
            (&["/a timeout=25h"], "table 1, timeout \"25h\": it must be 10ms to 24h"),
            (&["/a max-concurrency=0"], "table 1, max-concurrency \"0\": it must be 1 to 1000000"),
            (&["/a queue-size=1"], "table 1, queue-size of \"/a\": only with max-concurrency"),
            (&["/a queue-timeout=1"], "table 1, queue-timeout of \"/a\": only with max-concurrency"),
            (&["/a max-body-size=1K"], "table 1, max-body-size \"1K\": not a size"),
            (&["/a priority=high"], "table 1, priority \"high\": one of normal, health"),
            (
                &["/a priority=health max-concurrency=1"],
                "table 1, max-concurrency of \"/a\": not with priority = \"health\"",
            ),
            (
                &["/a max-concurency=1"],
                "table 1, \"max-concurency\": no such key; did you mean max-concurrency?",
            ),
            (&["/a", "/a"], "table 2, path \"/a\": never reached, as table 1 has \"/a\""),
            (&["/a/*", "/b", "/a/b/*"], "table 3, path \"/a/b/*\": never reached, as table 1 has \"/a/*\""),
        ] {
            assert_eq!(limits(&typed(lines)), Err(fault.into()), "{lines:?}");
        }
        assert_eq!(limits(&Value::Int(1)), Err("table 1, which is none".into()));
        assert_eq!(limits(&typed(&["/a"; TABLES_MAX + 1])), Err("more than 100 tables".into()));
    }

    #[test]
    fn what_an_earlier_pattern_leaves_is_for_later_ones() {
        for lines in [["/a", "/a/*"], ["/a/b", "/a/*"], ["/*.csv", "/*"], ["/a*", "/*a"], ["/[ab]", "/a"]] {
            assert!(limits(&typed(&lines)).is_ok(), "{lines:?}");
        }
    }
}

//! Directories that are served, as an operator writes them: a table, or a line of a flag or a variable.

use std::fmt;
use std::path::PathBuf;

use super::error::no_such_key;
use super::shown_duration;
use super::texts;
use super::value::{self, Fault, OFF, Value, text};

/// What directories look like, for help and error lines.
pub(super) const ACCEPTED: &str = "[[static]] tables with prefix and dir and any of index, max-age, immutable, precompressed, \
                                   fallthrough, internal; on a line \"/PREFIX=DIR KEY=VALUE ...\"";

/// Most tables: every request is compared with each.
const TABLES_MAX: usize = 100;

/// In milliseconds, as all times are read: ten years.
const MAX_AGE_MAX_MS: u64 = 10 * 365 * 24 * 3_600_000;
const MAX_AGE_USUAL_S: u64 = 60;
const INDEX_USUAL: &str = "index.html";
const HASHED: &str = "hashed";

const KEYS: [&str; 8] =
    ["prefix", "dir", "index", "max-age", "immutable", "precompressed", "fallthrough", "internal"];

/// Which files never change under their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Immutable {
    /// None.
    None,
    /// All.
    All,
    /// Those with a hash in their names.
    Hashed,
    /// Those whose paths below the prefix are like this, each `*` standing for any characters.
    Like(String),
}

/// A directory that is served below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticDirectory {
    /// Empty, or from a slash to the end of a segment; percent-decoded.
    pub prefix: String,
    /// Where the files are.
    pub directory: PathBuf,
    /// The file that stands for its directory.
    pub index: Option<String>,
    /// In seconds; `None`: nothing is said.
    pub max_age_s: Option<u64>,
    /// Which files never change under their names.
    pub immutable: Immutable,
    /// Whether encodings of a file are looked for beside it.
    pub precompressed: bool,
    /// What is not found is for the application.
    pub falls_through: bool,
    /// Only for what applications name.
    pub internal: bool,
}

/// Any number of tables, none of the same prefix as another.
pub(super) fn directories(value: &Value) -> Result<Vec<StaticDirectory>, Fault> {
    let typed = match value {
        Value::List(values) => values.as_slice(),
        single => std::slice::from_ref(single),
    };
    if typed.len() > TABLES_MAX {
        return Err(format!("more than {TABLES_MAX} tables"));
    }
    let mut directories: Vec<StaticDirectory> = Vec::new();
    for (index, value) in typed.iter().enumerate() {
        let read = StaticDirectory::read(value);
        let directory = match typed {
            [_] => read?,
            _ => read.map_err(|fault| format!("table {}, {fault}", index + 1))?,
        };
        if let Some(other) = directories.iter().find(|other| other.prefix == directory.prefix) {
            return Err(format!("{other} and {directory} have the same prefix"));
        }
        directories.push(directory);
    }
    Ok(directories)
}

impl StaticDirectory {
    fn read(value: &Value) -> Result<Self, Fault> {
        let pairs = match value {
            Value::Table(pairs) => pairs.clone(),
            Value::Text(line) => of_line(line)?,
            _ => return Err("which is none".into()),
        };
        let mut read = Self {
            prefix: String::new(),
            directory: PathBuf::new(),
            index: Some(INDEX_USUAL.into()),
            max_age_s: Some(MAX_AGE_USUAL_S),
            immutable: Immutable::None,
            precompressed: true,
            falls_through: false,
            internal: false,
        };
        for needed in ["prefix", "dir"] {
            if !pairs.iter().any(|(key, _)| key == needed) {
                return Err(format!("{needed}: it is missing"));
            }
        }
        for (key, value) in &pairs {
            read.put(key, value).map_err(|fault| match KEYS.contains(&key.as_str()) {
                true => format!("{key} {}: {fault}", value.excerpt()),
                false => fault,
            })?;
        }
        if read.prefix.is_empty() && !read.falls_through {
            return Err("prefix \"/\": only with fallthrough, or nothing is left for the application".into());
        }
        if read.internal && read.falls_through {
            return Err(format!("internal of {read}: not with fallthrough"));
        }
        Ok(read)
    }

    fn put(&mut self, key: &str, value: &Value) -> Result<(), Fault> {
        match key {
            "prefix" => {
                self.prefix = match text(value)? {
                    "/" => String::new(),
                    prefix => texts::prefix(prefix)?,
                }
            }
            "dir" => self.directory = texts::path(text(value)?)?,
            "index" => self.index = index(value)?,
            "max-age" => self.max_age_s = max_age_s(value)?,
            "immutable" => self.immutable = immutable(value)?,
            "precompressed" => self.precompressed = value::switch(value)?,
            "fallthrough" => self.falls_through = value::switch(value)?,
            "internal" => self.internal = value::switch(value)?,
            key => return Err(no_such_key(key, &KEYS)),
        }
        Ok(())
    }

    /// Whether all requests of paths below `prefix` are answered with its files.
    pub(super) fn takes_all_below(&self, prefix: &str) -> bool {
        let rest = prefix.strip_prefix(self.prefix.as_str());
        !self.falls_through && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// As it is read back.
    pub(super) fn shown(&self) -> Value {
        let plain = Value::Text;
        let prefix = if self.prefix.is_empty() { "/" } else { &self.prefix };
        let values = [
            Some(plain(prefix.into())),
            Some(plain(self.directory.display().to_string())),
            match &self.index {
                None => Some(plain(OFF.into())),
                Some(index) => (index != INDEX_USUAL).then(|| plain(index.clone())),
            },
            match self.max_age_s {
                None => Some(plain(OFF.into())),
                Some(MAX_AGE_USUAL_S) => None,
                Some(max_age_s) => Some(plain(shown_duration(max_age_s * 1000))),
            },
            match &self.immutable {
                Immutable::None => None,
                Immutable::All => Some(Value::Bool(true)),
                Immutable::Hashed => Some(plain(HASHED.into())),
                Immutable::Like(pattern) => Some(plain(pattern.clone())),
            },
            (!self.precompressed).then_some(Value::Bool(false)),
            self.falls_through.then_some(Value::Bool(true)),
            self.internal.then_some(Value::Bool(true)),
        ];
        let pairs = KEYS.into_iter().zip(values);
        Value::Table(pairs.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

impl fmt::Display for StaticDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.prefix.is_empty() { "/" } else { &self.prefix };
        write!(f, "{prefix}={}", self.directory.display())
    }
}

/// A prefix and a directory, and what follows them on the line: names of directories may hold spaces, so that it is read from the end.
fn of_line(line: &str) -> Result<Vec<(String, Value)>, Fault> {
    let mut rest = line.trim_end();
    let mut pairs = Vec::new();
    while let Some((before, last)) = rest.rsplit_once(' ')
        && let Some((key, value)) = last.split_once('=')
        && KEYS.contains(&key)
    {
        pairs.push((key.to_owned(), Value::Text(value.to_owned())));
        rest = before.trim_end();
    }
    let (prefix, directory) = rest.split_once('=').ok_or("an equals sign must follow the prefix")?;
    pairs.push(("dir".to_owned(), Value::Text(directory.to_owned())));
    pairs.push(("prefix".to_owned(), Value::Text(prefix.to_owned())));
    pairs.reverse();
    Ok(pairs)
}

fn index(value: &Value) -> Result<Option<String>, Fault> {
    match value {
        Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(INDEX_USUAL.into())),
        value => match text(value)? {
            OFF | "false" => Ok(None),
            "" | "." | ".." => Err("not the name of a file".into()),
            name if name.contains(['/', '\0']) => Err("not the name of a file".into()),
            name => Ok(Some(name.into())),
        },
    }
}

fn max_age_s(value: &Value) -> Result<Option<u64>, Fault> {
    match value {
        Value::Bool(false) => return Ok(None),
        Value::Text(word) if word == OFF => return Ok(None),
        _ => {}
    }
    match value::duration_ms(value)? {
        time_ms if time_ms > MAX_AGE_MAX_MS => {
            Err(format!("it must be at most {}", shown_duration(MAX_AGE_MAX_MS)))
        }
        time_ms if time_ms % 1000 != 0 => Err("it must be whole seconds".into()),
        time_ms => Ok(Some(time_ms / 1000)),
    }
}

fn immutable(value: &Value) -> Result<Immutable, Fault> {
    match value {
        Value::Text(word) if word == HASHED => Ok(Immutable::Hashed),
        Value::Text(pattern) if pattern.contains('*') => Ok(Immutable::Like(pattern.clone())),
        value => match value::switch(value) {
            Ok(true) => Ok(Immutable::All),
            Ok(false) => Ok(Immutable::None),
            Err(_) => Err("neither true, false nor hashed, and no pattern with *".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<StaticDirectory, Fault> {
        directories(&Value::Text(text.into())).map(|mut read| read.remove(0))
    }

    #[test]
    fn a_line_and_a_table_say_the_same() {
        let read = line(
            "/a=my files index=start.html max-age=1h immutable=hashed precompressed=off fallthrough=true",
        )
        .unwrap();
        let expected = StaticDirectory {
            prefix: "/a".into(),
            directory: "my files".into(),
            index: Some("start.html".into()),
            max_age_s: Some(3600),
            immutable: Immutable::Hashed,
            precompressed: false,
            falls_through: true,
            internal: false,
        };
        assert_eq!(read, expected);
        let pair = |key: &str, value| (key.to_owned(), value);
        let table = Value::Table(vec![
            pair("dir", Value::Text("my files".into())),
            pair("fallthrough", Value::Bool(true)),
            pair("immutable", Value::Text("hashed".into())),
            pair("index", Value::Text("start.html".into())),
            pair("max-age", Value::Int(3600)),
            pair("precompressed", Value::Bool(false)),
            pair("prefix", Value::Text("/a".into())),
        ]);
        assert_eq!(directories(&table), Ok(vec![expected]));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in [
            "/a=dir",
            "/=public fallthrough=true",
            "/a=/srv/a=b index=off max-age=off immutable=true",
            "/a=/srv/a=b x=y max-age=0 immutable=*.min.* precompressed=false",
            "/files=/srv/files internal=true",
        ] {
            let read = line(text).unwrap();
            assert_eq!(directories(&read.shown()), Ok(vec![read]), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, fault) in [
            ("", "an equals sign must follow the prefix"),
            ("/a", "an equals sign must follow the prefix"),
            ("a=dir", "prefix \"a\": must begin with a slash"),
            ("/a/=dir", "prefix \"/a/\": must not end with a slash"),
            ("/a%20=dir", "prefix \"/a%20\": must be a plain path, without %, ? and #"),
            ("/a=", "dir \"\": the path is empty"),
            ("/=dir", "prefix \"/\": only with fallthrough, or nothing is left for the application"),
            ("/a=dir index=a/b", "index \"a/b\": not the name of a file"),
            ("/a=dir max-age=soon", "max-age \"soon\": not a duration"),
            ("/a=dir max-age=1500ms", "max-age \"1500ms\": it must be whole seconds"),
            ("/a=dir max-age=99999999h", "max-age \"99999999h\": it must be at most 87600h"),
            (
                "/a=dir immutable=some",
                "immutable \"some\": neither true, false nor hashed, and no pattern with *",
            ),
            ("/a=dir fallthrough=maybe", "fallthrough \"maybe\": not a truth value"),
            ("/a=dir internal=on fallthrough=on", "internal of /a=dir: not with fallthrough"),
        ] {
            assert_eq!(line(text), Err(fault.into()), "{text}");
        }
        let table = Value::Table(vec![("prefx".into(), Value::Text("/a".into()))]);
        assert_eq!(directories(&table), Err("prefix: it is missing".into()));
        let lines = ["/a=dir", "/b=dir", "/a=other"].map(|line| Value::Text(line.into()));
        let fault = "/a=dir and /a=other have the same prefix";
        assert_eq!(directories(&Value::List(lines.into())), Err(fault.into()));
    }

    #[test]
    fn a_directory_takes_what_is_below_its_prefix_whole_segments_of_it() {
        let read = line("/a=dir").unwrap();
        assert!(read.takes_all_below("/a") && read.takes_all_below("/a/b"));
        assert!(!read.takes_all_below("/ab") && !read.takes_all_below("/"));
        assert!(!line("/a=dir fallthrough=on").unwrap().takes_all_below("/a"));
    }
}

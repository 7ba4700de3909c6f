//! Certificates and what else is said of TLS, as an operator writes it.

use std::fmt;
use std::path::PathBuf;

use super::ClientAuth;
use super::choice::Choice as _;
use super::error::no_such_key;
use super::texts;
use super::value::{Fault, Value, digits, text};

/// What certificates look like, for help and error lines.
pub(super) const ACCEPTED: &str = "[[certificates]] tables with certfile and any of keyfile, ocsp-file, names; on a line \
                                   \"certfile=FILE KEY=VALUE ...\", with commas between names";

/// Most tables.
const TABLES_MAX: usize = 1_000;

const KEYS: [&str; 4] = ["certfile", "keyfile", "ocsp-file", "names"];

/// A certificate, for clients that ask for one of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The file with its chain.
    pub certfile: PathBuf,
    /// The file with its key; `None`: the same.
    pub keyfile: Option<PathBuf>,
    /// The file with what an OCSP responder has said of it.
    pub ocsp_file: Option<PathBuf>,
    /// Names of hosts, `*.` before one for those below it; none: those that the certificate has.
    pub names: Vec<String>,
}

/// Any number of tables.
pub(super) fn certificates(value: &Value) -> Result<Vec<Certificate>, Fault> {
    let typed = match value {
        Value::List(values) => values.as_slice(),
        single => std::slice::from_ref(single),
    };
    if typed.len() > TABLES_MAX {
        return Err(format!("more than {TABLES_MAX} tables"));
    }
    let read = |(index, value)| {
        Certificate::read(value).map_err(|fault| format!("table {number}, {fault}", number = index + 1))
    };
    typed.iter().enumerate().map(read).collect()
}

impl Certificate {
    fn read(value: &Value) -> Result<Self, Fault> {
        let pairs = match value {
            Value::Table(pairs) => pairs.clone(),
            Value::Text(line) => of_line(line)?,
            _ => return Err("which is none".into()),
        };
        let mut certificate = Self::default();
        for (key, value) in &pairs {
            certificate.put(key, value).map_err(|fault| match KEYS.contains(&key.as_str()) {
                true => format!("{key} {}: {fault}", value.excerpt()),
                false => fault,
            })?;
        }
        match certificate.certfile.as_os_str().is_empty() {
            true => Err("certfile: it is missing".into()),
            false => Ok(certificate),
        }
    }

    fn put(&mut self, key: &str, value: &Value) -> Result<(), Fault> {
        match key {
            "certfile" => self.certfile = texts::path(text(value)?)?,
            "keyfile" => self.keyfile = Some(texts::path(text(value)?)?),
            "ocsp-file" => self.ocsp_file = Some(texts::path(text(value)?)?),
            "names" => {
                let names = match value {
                    Value::List(names) => names.iter().map(text).collect::<Result<Vec<_>, _>>()?,
                    value => text(value)?.split(',').collect(),
                };
                self.names =
                    names.into_iter().map(|name| server_name(name.trim())).collect::<Result<_, _>>()?;
            }
            key => return Err(no_such_key(key, &KEYS)),
        }
        Ok(())
    }

    pub(super) fn shown(&self) -> Value {
        let path = |path: &PathBuf| Value::Text(path.display().to_string());
        let names = || Value::List(self.names.iter().cloned().map(Value::Text).collect());
        let values = [
            Some(path(&self.certfile)),
            self.keyfile.as_ref().map(path),
            self.ocsp_file.as_ref().map(path),
            (!self.names.is_empty()).then(names),
        ];
        let pairs = KEYS.into_iter().zip(values);
        Value::Table(pairs.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

fn of_line(line: &str) -> Result<Vec<(String, Value)>, Fault> {
    let pair = |word: &str| {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?}: not KEY=VALUE"))?;
        Ok((key.to_owned(), Value::Text(value.to_owned())))
    };
    line.split_ascii_whitespace().map(pair).collect()
}

/// The name of a host, or `*.` and one.
fn server_name(name: &str) -> Result<String, Fault> {
    let star = if name.starts_with("*.") { "*." } else { "" };
    Ok(format!("{star}{}", texts::host_name(&name[star.len()..])?))
}

/// Cipher suites, by their names at IANA.
pub(super) const SUITES: [&str; 9] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

pub(super) fn suite(name: &str) -> Result<String, Fault> {
    match SUITES.contains(&name) {
        true => Ok(name.into()),
        false => Err("there is no such suite".into()),
    }
}

/// How long browsers are to come by https alone, and to what (RFC 6797 section 6.1). `Display` is the field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    age_s: u64,
    subdomains: bool,
    preload: bool,
}

/// A hundred years.
const HSTS_MAX_S: u64 = 100 * 366 * 86_400;

/// `SECONDS`, and directives behind it.
pub(super) fn hsts(value: &Value) -> Result<Hsts, Fault> {
    let typed = match value {
        Value::Int(number) => number.to_string(),
        value => text(value)?.to_owned(),
    };
    let mut parts = typed.split(';').map(str::trim);
    let age_s = parts.next().and_then(digits).filter(|age_s| *age_s <= HSTS_MAX_S);
    let mut hsts = Hsts { age_s: age_s.ok_or("not a number of seconds")?, subdomains: false, preload: false };
    for part in parts {
        match part.to_ascii_lowercase().as_str() {
            "includesubdomains" => hsts.subdomains = true,
            "preload" => hsts.preload = true,
            _ => return Err(format!("{part:?} is no directive")),
        }
    }
    Ok(hsts)
}

impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", self.age_s)?;
        self.write_directives(f)
    }
}

impl Hsts {
    fn write_directives(&self, out: &mut impl fmt::Write) -> fmt::Result {
        if self.subdomains {
            out.write_str("; includeSubDomains")?;
        }
        if self.preload { out.write_str("; preload") } else { Ok(()) }
    }

    /// As it is typed.
    pub(super) fn shown(&self) -> Value {
        let mut typed = self.age_s.to_string();
        let _ = self.write_directives(&mut typed);
        Value::Text(typed)
    }
}

/// One of the words for it.
pub(super) fn client_auth(value: &Value) -> Result<ClientAuth, Fault> {
    let mut choice = ClientAuth::None;
    if choice.choose(text(value)?) { Ok(choice) } else { Err("no such choice".into()) }
}

/// `1.2` or `1.3`, which files may have as numbers.
pub(super) fn only_tls13(value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Text(version) if version == "1.2" => Ok(false),
        Value::Text(version) if version == "1.3" => Ok(true),
        Value::Float(version) if *version == 1.2 => Ok(false),
        Value::Float(version) if *version == 1.3 => Ok(true),
        _ => Err("no such version".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_certificate_is_a_table_or_a_line() {
        let pairs = [
            ("certfile", typed("a.pem")),
            ("names", Value::List(vec![typed("A.example"), typed("*.b.example")])),
        ];
        let table = Value::Table(pairs.map(|(key, value)| (key.to_owned(), value)).into());
        let line = typed("certfile=a.pem names=a.example,*.b.example");
        let read = certificates(&table).unwrap();
        assert_eq!(certificates(&line).as_ref(), Ok(&read));
        assert_eq!(read[0].names, ["a.example", "*.b.example"]);
        assert_eq!(certificates(&read[0].shown()), Ok(read));
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said() {
        for (line, fault) in [
            ("keyfile=a", "table 1, certfile: it is missing"),
            ("a.pem", "table 1, \"a.pem\": not KEY=VALUE"),
            ("certfile=", "table 1, certfile \"\": the path is empty"),
            ("certfile=a names=", "table 1, names \"\": the name is empty"),
            ("certfile=a names=a/b", "table 1, names \"a/b\": not the name of a host"),
            ("certfile=a keyfil=b", "table 1, \"keyfil\": no such key; did you mean keyfile?"),
        ] {
            assert_eq!(certificates(&typed(line)), Err(fault.into()), "{line}");
        }
    }

    #[test]
    fn hsts_is_seconds_and_directives() {
        for (value, expected) in [
            (Value::Int(300), Some("max-age=300")),
            (typed("0"), Some("max-age=0")),
            (typed("300;includesubdomains"), Some("max-age=300; includeSubDomains")),
            (typed("300; includeSubDomains; preload"), Some("max-age=300; includeSubDomains; preload")),
            (typed(""), None),
            (typed("1y"), None),
            (typed("300; max-age=1"), None),
            (typed("300\r\nSet-Cookie: a"), None),
            (Value::Int(-1), None),
        ] {
            let read = hsts(&value).ok();
            assert_eq!(read.as_ref().map(ToString::to_string).as_deref(), expected, "{value}");
            if let Some(read) = read {
                assert_eq!(hsts(&read.shown()), Ok(read));
            }
        }
    }
}

//! Which responses are compressed, as an operator writes it.

use std::fmt;

use super::value::{Fault, Value, text};

pub(super) const CODINGS_ACCEPTED: &str = "gzip, br, zstd, or several with commas between them";
pub(super) const TYPES_ACCEPTED: &str =
    "TYPE/SUBTYPE, with at most one * (text/*, application/*+json), or several with commas between them";

/// What is text, and the formats that are not packed themselves.
pub(super) const TYPES_DEFAULT: &str = "text/*, application/json, application/*+json, application/javascript, \
    application/xml, application/*+xml, application/x-ndjson, application/yaml, application/wasm, image/svg+xml";

/// A way to compress. `Display` gives its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952
    Gzip,
    /// RFC 7932
    Brotli,
    /// RFC 8878
    Zstd,
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

/// Codings, none of them twice.
pub(super) fn codings(value: &Value) -> Result<Vec<Coding>, Fault> {
    let mut codings = Vec::new();
    for word in words(value)? {
        let coding = match word.as_str() {
            "gzip" => Coding::Gzip,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            _ => return Err(format!("no such coding: {}", Value::Text(word).excerpt())),
        };
        if codings.contains(&coding) {
            return Err(format!("{coding} stands there twice"));
        }
        codings.push(coding);
    }
    Ok(codings)
}

/// Patterns of media types, in lower case.
pub(super) fn types(value: &Value) -> Result<Vec<String>, Fault> {
    let mut types = words(value)?;
    for kind in &mut types {
        kind.make_ascii_lowercase();
        let is_token = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&byte);
            !part.is_empty() && part.bytes().all(fits)
        };
        let is_type = kind.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
        if !is_type || kind.bytes().filter(|byte| *byte == b'*').count() > 1 {
            return Err(format!("not a type: {}", Value::Text(kind.clone()).excerpt()));
        }
    }
    Ok(types)
}

fn words(value: &Value) -> Result<Vec<String>, Fault> {
    let typed = match value {
        Value::List(values) => values.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut words = Vec::new();
    for typed in typed {
        words.extend(text(typed)?.split(',').map(|word| word.trim().to_owned()));
    }
    if words.iter().any(String::is_empty) {
        return Err("the text is empty".into());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn codings_are_listed_in_one_text_or_several() {
        use Coding::{Brotli, Gzip, Zstd};
        let list = |texts: &[&str]| Value::List(texts.iter().map(|text| typed(text)).collect());
        for (value, expected) in [
            (typed("gzip"), Some(vec![Gzip])),
            (typed("zstd, br,gzip"), Some(vec![Zstd, Brotli, Gzip])),
            (list(&["br", "gzip"]), Some(vec![Brotli, Gzip])),
            (list(&["br,zstd", "gzip"]), Some(vec![Brotli, Zstd, Gzip])),
            (list(&[]), Some(vec![])),
            (typed("deflate"), None),
            (typed("gzip,gzip"), None),
            (typed("gzip,"), None),
            (typed(""), None),
            (Value::Bool(true), None),
        ] {
            assert_eq!(codings(&value).ok(), expected, "{value}");
        }
    }

    #[test]
    fn types_have_two_parts_and_one_star_at_most() {
        for (text, good) in [
            (TYPES_DEFAULT, true),
            ("text/html", true),
            ("TEXT/*", true),
            ("*/*", false),
            ("*/json", true),
            ("text", false),
            ("text/", false),
            ("text/html; charset=utf-8", false),
            ("a/b/c", false),
            ("text/html,", false),
        ] {
            assert_eq!(types(&typed(text)).is_ok(), good, "{text:?}");
        }
    }
}

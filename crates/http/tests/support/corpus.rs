//! Reads `tests/corpus/http1.tsv`; its head comment describes the format.

use std::path::Path;

/// One line of the corpus.
#[derive(Debug)]
pub struct Case {
    pub id: String,
    /// For each response, the statuses that are right.
    pub statuses: Vec<Vec<u16>>,
    /// Words without `=`.
    pub flags: Vec<String>,
    /// Words with `=`: name and unescaped value.
    pub facts: Vec<(String, Vec<u8>)>,
    pub input: Vec<u8>,
}

impl Case {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|other| other == flag)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        let (_, value) = self.facts.iter().find(|(other, _)| other == name)?;
        Some(String::from_utf8_lossy(value).parse().expect("a number"))
    }
}

/// Every line.
pub fn read() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/http1.tsv");
    let text = std::fs::read_to_string(path).expect("the corpus");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(read_line).collect()
}

fn read_line(line: &str) -> Case {
    let [id, expect, input] = line.split('\t').collect::<Vec<_>>().try_into().expect("three columns");
    let mut words = expect.split(' ');
    let statuses = match words.next().expect("a status") {
        "-" => Vec::new(),
        list => list
            .split(',')
            .map(|one| one.split('|').map(|status| status.parse().expect("a status")).collect())
            .collect(),
    };
    let (mut flags, mut facts) = (Vec::new(), Vec::new());
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => facts.push((name.to_owned(), unescape(value))),
            None => flags.push(word.to_owned()),
        }
    }
    Case { id: id.to_owned(), statuses, flags, facts, input: unescape(input) }
}

/// The bytes that an escaped text stands for.
pub fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (escape, after) = rest[at + 1..].split_at(1);
        rest = after;
        match escape {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "0" => bytes.push(0),
            "\\" => bytes.push(b'\\'),
            "x" => {
                let (digits, after) = rest.split_at(2);
                bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                rest = after;
            }
            "{" => {
                let (generator, after) = rest.split_once("\\}").expect("an end");
                let (count, text) = generator.split_once(' ').expect("a count");
                bytes.extend(unescape(text).repeat(count.parse().expect("a count")));
                rest = after;
            }
            other => panic!("no escape: {other}"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

//! What holds for the requests of some paths.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use percent_encoding::percent_decode;

/// What holds for the requests of some paths. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Which, percent-decoded.
    pub path: PathPattern,
    /// How long a request may take, from the arrival of its head on. `None`: as long as it takes.
    pub timeout_ms: Option<u64>,
    /// Most of them that run at once; `None`: as many as run at all.
    pub concurrency_max: Option<usize>,
    /// Most that wait for their turn, where there is such a number.
    pub queue_size_max: usize,
    /// How long one waits before it is turned away.
    pub queue_timeout_ms: u64,
    /// Largest body; `None`: any.
    pub body_size_max: Option<u64>,
    /// Whether they go before others.
    pub priority: Priority,
}

/// Which requests go before others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// None.
    Normal,
    /// Those that ask whether the server is well: they run though as many run as may.
    Health,
}

impl Limit {
    /// The first of `limits` that has requests of this path, as it was sent.
    pub(crate) fn find(limits: &[Self], path: &[u8]) -> Option<usize> {
        // As it was sent, a path could be spelled past its limit.
        let path: Cow<'_, [u8]> =
            if memchr(b'%', path).is_some() { percent_decode(path).into() } else { path.into() };
        limits.iter().position(|limit| limit.path.matches(&path))
    }
}

/// A path in which each `*` stands for any bytes, none and slashes among them.
#[derive(Clone, Debug)]
pub struct PathPattern {
    first: Vec<u8>,
    /// What stands after each `*`.
    rest: Vec<Vec<u8>>,
}

impl PathPattern {
    /// Reads a pattern; there is none that could be wrong.
    pub fn new(text: &str) -> Self {
        let mut pieces = text.split('*').map(|piece| piece.as_bytes().to_owned());
        Self { first: pieces.next().unwrap_or_default(), rest: pieces.collect() }
    }

    /// Whether it is a pattern of this path.
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some(mut left) = path.strip_prefix(self.first.as_slice()) else { return false };
        let Some((last, middle)) = self.rest.split_last() else { return left.is_empty() };
        for piece in middle {
            // The first place is the best: it leaves the most for those that follow.
            let Some(at) = memmem::find(left, piece) else { return false };
            left = &left[at + piece.len()..];
        }
        left.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_path_in_which_stars_stand_for_anything() {
        for (pattern, path, matches) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/", false),
            ("/a*", "/a", true),
            ("/a/*", "/a", false),
            ("/a/*", "/a/b/c", true),
            ("/*.csv", "/x/y.csv", true),
            ("/*.csv", "/x/y.csv.gz", false),
            ("/users/*/report", "/users/7/report", true),
            ("/users/*/report", "/users/report", false),
            ("/a*b*b", "/ab", false),
            ("/a*b*b", "/abb", true),
            ("/a*bc*c", "/abc", false),
            ("/a**b", "/ab", true),
        ] {
            assert_eq!(PathPattern::new(pattern).matches(path.as_bytes()), matches, "{pattern} {path}");
        }
    }
}

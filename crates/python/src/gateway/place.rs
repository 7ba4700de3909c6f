//! Where in an application a request is: SCRIPT_NAME and PATH_INFO.

use std::borrow::Cow;

use memchr::memchr;
use percent_encoding::percent_decode;
use tidegate_engine::http::{RequestHead, TargetForm};

/// Both as they are given to applications: decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) script_name: Cow<'a, [u8]>,
    pub(super) path_info: Cow<'a, [u8]>,
}

/// The path of a request, percent-decoded once. `*` names no path, so it gives an empty one.
pub(super) fn decoded(head: &RequestHead) -> Cow<'_, [u8]> {
    let path = head.path();
    match head.target_form() {
        TargetForm::Asterisk => Cow::Borrowed(b""),
        _ if memchr(b'%', path).is_some() => percent_decode(path).into(),
        _ => Cow::Borrowed(path),
    }
}

/// What follows a prefix of whole segments: "/apple" is not below "/app".
pub(super) fn below<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(prefix).filter(|rest| matches!(rest, [] | [b'/', ..]))
}

impl<'a> Place<'a> {
    /// By what a front server says in CGI variables.
    pub(super) fn told_in(head: &'a RequestHead) -> Self {
        // PEP 3333: the root of a server is an empty SCRIPT_NAME.
        let script_name = head.told_script_name().filter(|name| *name != b"/").unwrap_or_default();
        if let Some(path_info) = head.told_path_info() {
            return Self { script_name: script_name.into(), path_info: path_info.into() };
        }
        let path = head.variable("DOCUMENT_URI").map_or_else(|| decoded(head), Cow::Borrowed);
        let size = script_name.len();
        match below(&path, script_name).filter(|rest| !rest.is_empty()) {
            Some(_) => Self { script_name: script_name.into(), path_info: without_first(path, size) },
            // Front servers that take the whole path for that of a script say it here.
            None => Self { script_name: Cow::Borrowed(b""), path_info: path },
        }
    }

    /// Where it is for an application that has a name of its own, which may be more or less of what was said.
    pub(super) fn within(self, script_name: &'a [u8]) -> Self {
        if script_name.len() <= self.script_name.len() {
            return self;
        }
        let whole = self.whole();
        match below(&whole, script_name) {
            Some(_) => Self {
                script_name: script_name.into(),
                path_info: without_first(whole.into_owned().into(), script_name.len()),
            },
            None => self,
        }
    }

    /// The path from the root on.
    pub(super) fn whole(&self) -> Cow<'_, [u8]> {
        match self.script_name.is_empty() {
            true => Cow::Borrowed(&self.path_info),
            false => [&*self.script_name, &*self.path_info].concat().into(),
        }
    }
}

/// The host that was asked, in place of the name of a server that a front server has given none.
pub(super) fn host_of_unnamed(head: &RequestHead) -> Option<&[u8]> {
    let is_unnamed = head.variable("SERVER_NAME").is_some_and(<[u8]>::is_empty);
    head.host().filter(|host| is_unnamed && !host.is_empty())
}

/// The rest of a path.
pub(super) fn without_first(path: Cow<'_, [u8]>, size: usize) -> Cow<'_, [u8]> {
    match path {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[size..]),
        Cow::Owned(mut bytes) => Cow::Owned(bytes.split_off(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(script_name: &'a str, path_info: &'a str) -> Place<'a> {
        Place { script_name: script_name.as_bytes().into(), path_info: path_info.as_bytes().into() }
    }

    #[test]
    fn an_application_with_a_name_of_its_own_has_that_or_a_longer_one() {
        for (script_name, path_info, own, expected) in [
            ("", "/a/b", "", place("", "/a/b")),
            ("", "/a/b", "/a", place("/a", "/b")),
            ("/a", "/b", "/a", place("/a", "/b")),
            ("/a/b", "/c", "/a", place("/a/b", "/c")),
            ("/a", "/b/c", "/a/b", place("/a/b", "/c")),
            ("/a", "/bc", "/a/b", place("/a", "/bc")),
            ("", "/a", "/a", place("/a", "")),
        ] {
            assert_eq!(
                place(script_name, path_info).within(own.as_bytes()),
                expected,
                "{script_name} {path_info}"
            );
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        assert_eq!(below(b"/app/a", b"/app"), Some(&b"/a"[..]));
        assert_eq!(below(b"/app", b"/app"), Some(&b""[..]));
        assert_eq!(below(b"/apple", b"/app"), None);
        assert_eq!(below(b"/a", b""), Some(&b"/a"[..]));
    }
}

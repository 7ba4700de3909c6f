//! What a request's path says of a place below a directory. It is percent-decoded once, by who knows where the directory begins.

/// A directory of names that begin with a dot and are served all the same (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// Longest path that is looked for: what Linux takes.
const PATH_SIZE_MAX: usize = 4096;

/// A path that leads down from a directory, without slashes at its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathBelow<'a> {
    /// Empty: the directory itself.
    pub(super) path: &'a [u8],
    /// It ended in a slash.
    pub(super) names_directory: bool,
}

impl<'a> PathBelow<'a> {
    /// Of what follows a mount's prefix: nothing, or a slash and names. `None` where no file can be meant: a path that leads elsewhere,
    /// that another system or another server reads otherwise, or one with a name that is hidden.
    pub(super) fn of_request(rest: &'a [u8]) -> Option<Self> {
        let Some(inside) = rest.strip_prefix(b"/") else {
            return Some(Self { path: b"", names_directory: false });
        };
        let path = inside.strip_suffix(b"/").unwrap_or(inside);
        let is_fit = |name: &[u8]| !name.is_empty() && (name[0] != b'.' || name == WELL_KNOWN);
        let is_plain = path.len() < PATH_SIZE_MAX
            && !path.iter().any(|byte| matches!(byte, 0 | b'\\'))
            && (path.is_empty() || path.split(|&byte| byte == b'/').all(is_fit));
        // "/static//" is no directory's name either.
        (is_plain && !(path.is_empty() && inside == b"/"))
            .then_some(Self { path, names_directory: inside.is_empty() || inside.len() > path.len() })
    }
}

/// Of a path that an application names, what follows `root`, a directory's. `None` where it is not below it, as it is written.
pub(super) fn below_root<'a>(path: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let inside = path.strip_prefix(root)?.strip_prefix(b"/")?;
    let is_plain = inside.len() < PATH_SIZE_MAX
        && !inside.contains(&0)
        && !inside.split(|&byte| byte == b'/').any(|name| name == b"..");
    let start = inside.iter().position(|&byte| byte != b'/')?;
    is_plain.then_some(&inside[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_down_and_nowhere_else() {
        for (rest, path, names_directory) in [
            ("", "", false),
            ("/", "", true),
            ("/a.css", "a.css", false),
            ("/a/b/c", "a/b/c", false),
            ("/a/", "a", true),
            ("/a..b", "a..b", false),
            ("/.well-known/x", ".well-known/x", false),
            ("/a b\u{e9}", "a b\u{e9}", false),
        ] {
            let expected = PathBelow { path: path.as_bytes(), names_directory };
            assert_eq!(PathBelow::of_request(rest.as_bytes()), Some(expected), "{rest:?}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_path() {
        for rest in [
            "/..",
            "/../x",
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/.",
            "/.",
            "//",
            "//etc",
            "/a//b",
            "/a//",
            "///",
            "/.git/config",
            "/a/.htaccess",
            "/a\0b",
            "/a\\b",
            "/..\\x",
            "/.well-known/..",
            "/.well-knownx",
        ] {
            assert_eq!(PathBelow::of_request(rest.as_bytes()), None, "{rest:?}");
        }
        let long = [b"/", vec![b'a'; PATH_SIZE_MAX].as_slice()].concat();
        assert_eq!(PathBelow::of_request(&long), None);
    }

    #[test]
    fn an_application_names_files_below_a_root() {
        for (path, root, expected) in [
            ("/srv/files/a", "/srv/files", Some("a")),
            ("/srv/files/a", "/srv/files/", Some("a")),
            ("/srv/files//a/.b", "/srv/files", Some("a/.b")),
            ("/a", "/", Some("a")),
            ("/srv/files", "/srv/files", None),
            ("/srv/files/", "/srv/files", None),
            ("/srv/filesx/a", "/srv/files", None),
            ("/srv/files/../a", "/srv/files", None),
            ("/srv/files/a/..", "/srv/files", None),
            ("srv/files/a", "/srv/files", None),
            ("", "/srv/files", None),
        ] {
            let found = below_root(path.as_bytes(), root.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{path:?} {root:?}");
        }
    }
}

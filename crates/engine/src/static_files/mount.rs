//! Directories that are served below prefixes of paths, before any application is asked.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::{memchr, memrchr};
use percent_encoding::percent_decode;
use tidegate_http::coding::{self, Coding};
use tidegate_http::{HeadFault, RequestHead, ResponseHead, TargetForm};

use super::answer::{Described, FileAnswer};
use super::condition::Validators;
use super::directory::{Directory, Found, OpenFile};
use super::path::PathBelow;
use crate::clock;
use crate::limit::PathPattern;

/// As long as anything is kept (RFC 9111 section 1.2.2: no longer than 2^31 seconds; by custom, a year).
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Fewest hexadecimal digits of a name that are taken for a hash.
const HASH_SIZE_MIN: usize = 8;

/// What is looked for beside a file, where a client likes all of them as well: the smallest is usually first.
const ENCODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// A directory that is served below a prefix.
#[derive(Clone, Debug)]
pub struct StaticMount {
    /// Empty, or a path that begins and does not end with a slash; percent-decoded.
    pub prefix: String,
    /// Where the files are.
    pub directory: Arc<Directory>,
    /// The file that stands for its directory.
    pub index: Option<String>,
    /// For how long what was got may be used without being asked for again; `None`: nothing is said of it.
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

/// Which files never change under their names.
#[derive(Clone, Debug)]
pub enum Immutable {
    /// None.
    None,
    /// All.
    All,
    /// Those with a hash in their names.
    Hashed,
    /// Those whose paths below the prefix are like this.
    Like(PathPattern),
}

/// All directories that are served.
#[derive(Clone, Debug, Default)]
pub struct StaticFiles {
    /// Longest prefix first.
    mounts: Vec<StaticMount>,
}

impl StaticFiles {
    /// These, the longest prefix first.
    pub fn new(mut mounts: Vec<StaticMount>) -> Self {
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
        Self { mounts }
    }

    /// The answer to a request, unless it is for the application.
    #[inline]
    pub(crate) fn answer(&self, request: &RequestHead) -> Option<FileAnswer> {
        if self.mounts.is_empty() { None } else { self.look(request) }
    }

    #[inline(never)]
    fn look(&self, request: &RequestHead) -> Option<FileAnswer> {
        if request.target_form() == TargetForm::Asterisk {
            return None;
        }
        let path = decoded(request.path());
        let (mount, rest) = self.find(&path)?;
        let answer = mount.answer(request, rest);
        // The fields of such answers are valid.
        answer.inspect_err(|fault| log::error!("a file cannot be answered with: {fault}")).ok().flatten()
    }

    /// The mount that has a decoded path, and what follows its prefix.
    fn find<'a, 'p>(&'a self, path: &'p [u8]) -> Option<(&'a StaticMount, &'p [u8])> {
        self.mounts.iter().find_map(|mount| {
            let rest = path.strip_prefix(mount.prefix.as_bytes())?;
            // "/staticX" is not below "/static".
            (rest.is_empty() || rest[0] == b'/').then_some((mount, rest))
        })
    }

    /// What an application means by a path of an internal mount, as a request would have it.
    pub(super) fn open_internal(&self, target: &[u8]) -> Option<Found> {
        let path = decoded(target.split(|&byte| byte == b'?').next().unwrap_or_default());
        let (mount, rest) = self.find(&path)?;
        let below = PathBelow::of_request(rest).filter(|_| mount.internal)?;
        Some(if below.names_directory { Found::Nothing } else { mount.directory.open(below.path) })
    }
}

fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'%', path).is_some() { percent_decode(path).into() } else { path.into() }
}

impl StaticMount {
    /// `None`: it is for the application.
    fn answer(&self, request: &RequestHead, rest: &[u8]) -> Result<Option<FileAnswer>, HeadFault> {
        let is_read = matches!(request.method(), "GET" | "HEAD");
        if self.falls_through && !is_read {
            return Ok(None);
        }
        let not_found = || FileAnswer::plain((404, "Not Found\n"), None);
        if self.internal {
            return not_found().map(Some);
        }
        if !is_read {
            return FileAnswer::plain((405, "Method Not Allowed\n"), Some((b"Allow", b"GET, HEAD")))
                .map(Some);
        }
        let below = PathBelow::of_request(rest);
        let answer = below.map_or(Ok(None), |below| self.answer_with(request, below))?;
        match answer {
            Some(answer) => Ok(Some(answer)),
            None if self.falls_through => Ok(None),
            None => not_found().map(Some),
        }
    }

    fn answer_with(
        &self,
        request: &RequestHead,
        below: PathBelow<'_>,
    ) -> Result<Option<FileAnswer>, HeadFault> {
        let index = || {
            self.index.as_ref().map(|index| match below.path {
                b"" => index.as_bytes().to_vec(),
                path => [path, b"/", index.as_bytes()].concat(),
            })
        };
        let path = match below {
            PathBelow { names_directory: true, .. } => index().map(Cow::Owned),
            PathBelow { path: b"", .. } => None,
            PathBelow { path, .. } => Some(Cow::Borrowed(path)),
        };
        let found = match &path {
            Some(path) => {
                let kind = ContentType::of(path);
                let negotiates = self.precompressed && kind.may_be_compressed();
                let encoded = negotiates.then(|| self.open_encoded(request, path)).flatten();
                if let Some((open, encoding)) = encoded {
                    return self.file(request, path, open, kind, Some(encoding)).map(Some);
                }
                match self.directory.open(path) {
                    Found::File(open) => return self.file(request, path, open, kind, None).map(Some),
                    other => other,
                }
            }
            None => Found::Directory,
        };
        match found {
            // So that what a page says of its neighbours is read as it is meant.
            Found::Directory if !below.names_directory => {
                let has_index = |index: Vec<u8>| matches!(self.directory.open(&index), Found::File(_));
                index().is_some_and(has_index).then(|| to_directory(request)).transpose()
            }
            Found::File(_) | Found::Directory | Found::Nothing => Ok(None),
            Found::Failed(error) => {
                log::error!("a file below {:?} cannot be opened: {error}", self.directory.path());
                FileAnswer::plain((503, "Service Unavailable\n"), Some((b"Retry-After", b"1"))).map(Some)
            }
        }
    }

    /// What lies beside the file in the encoding that the client likes best.
    fn open_encoded(&self, request: &RequestHead, path: &[u8]) -> Option<(OpenFile, Coding)> {
        let fields = request.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"accept-encoding"));
        coding::ranked(fields.map(|(_, value)| value), ENCODINGS).find_map(|encoding| {
            match self.directory.open(&[path, b".", extension(encoding).as_bytes()].concat()) {
                Found::File(open) => Some((open, encoding)),
                _ => None,
            }
        })
    }

    fn file(
        &self,
        request: &RequestHead,
        path: &[u8],
        open: OpenFile,
        kind: ContentType,
        encoding: Option<Coding>,
    ) -> Result<FileAnswer, HeadFault> {
        let add = |head: &mut ResponseHead| {
            if let Some(encoding) = encoding {
                head.field(b"Content-Encoding", encoding.name().as_bytes())?;
            }
            if self.precompressed && kind.may_be_compressed() {
                head.field(b"Vary", b"Accept-Encoding")?;
            }
            match self.max_age_s {
                _ if self.immutable.has(path) => drop(head.field(b"Cache-Control", IMMUTABLE.as_bytes())?),
                Some(0) => drop(head.field(b"Cache-Control", b"no-cache")?),
                Some(max_age_s) => {
                    let value = format!("public, max-age={max_age_s}");
                    head.field(b"Cache-Control", value.as_bytes())?;
                }
                None => {}
            }
            head.field(b"X-Content-Type-Options", b"nosniff").map(|_| ())
        };
        let validators = Validators::of_file(&open, encoding.map(extension));
        let described = Described { content_type: &kind.value(), validators, add: &add };
        FileAnswer::of_file(request, open, &described, clock::wall())
    }
}

/// What the name of a file in an encoding has at its end.
fn extension(encoding: Coding) -> &'static str {
    match encoding {
        Coding::Brotli => "br",
        Coding::Zstd => "zst",
        Coding::Gzip => "gz",
    }
}

/// Has the client ask for the directory of this name with a slash behind it. By the name alone: a front server may have taken something from
/// the path's beginning.
fn to_directory(request: &RequestHead) -> Result<FileAnswer, HeadFault> {
    let path = request.path();
    let name = &path[memrchr(b'/', path).map_or(0, |slash| slash + 1)..];
    let mut location = [b"./", name, b"/"].concat();
    if !request.query().is_empty() {
        location.push(b'?');
        location.extend_from_slice(request.query());
    }
    FileAnswer::plain((301, "Moved Permanently\n"), Some((b"Location", &location)))
}

/// What a file is, by its name.
#[derive(Clone, Copy)]
pub(super) struct ContentType(&'static str);

impl ContentType {
    pub(super) fn of(path: &[u8]) -> Self {
        let name = &path[memrchr(b'/', path).map_or(0, |slash| slash + 1)..];
        let extension = memrchr(b'.', name).and_then(|dot| std::str::from_utf8(&name[dot + 1..]).ok());
        let known = extension.and_then(|extension| mime_guess::from_ext(extension).first_raw());
        Self(match known {
            // The one name that is left of it (RFC 9239).
            Some("application/javascript") => "text/javascript",
            Some(known) => known,
            None => "application/octet-stream",
        })
    }

    pub(super) fn value(self) -> Cow<'static, [u8]> {
        match self.0 {
            text if text.starts_with("text/") => [text, "; charset=utf-8"].concat().into_bytes().into(),
            other => other.as_bytes().into(),
        }
    }

    /// Whether it is worth to look for encodings: what is compressed by itself has none.
    fn may_be_compressed(self) -> bool {
        let is_compressed = ["image/", "video/", "audio/", "font/woff"];
        self.0 == "image/svg+xml" || !is_compressed.iter().any(|start| self.0.starts_with(start))
    }
}

impl Immutable {
    fn has(&self, path: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Hashed => is_hashed(&path[memrchr(b'/', path).map_or(0, |slash| slash + 1)..]),
            Self::Like(pattern) => pattern.matches(path),
        }
    }
}

/// Whether a name has a hash between its beginning and its last dot: letters and digits, as a date has none of the former and a word none of
/// the latter.
fn is_hashed(name: &[u8]) -> bool {
    let Some(end) = memrchr(b'.', name) else { return false };
    name[..end].split(|byte| matches!(byte, b'.' | b'-' | b'_')).skip(1).any(|piece| {
        piece.len() >= HASH_SIZE_MIN
            && piece.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && piece.iter().any(u8::is_ascii_digit)
            && piece.iter().any(u8::is_ascii_lowercase)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_name_says() {
        for (path, content_type, may_be_compressed) in [
            ("a.html", "text/html; charset=utf-8", true),
            ("dir.d/a.CSS", "text/css; charset=utf-8", true),
            ("a.js", "text/javascript; charset=utf-8", true),
            ("a.mjs", "text/javascript; charset=utf-8", true),
            ("a.json", "application/json", true),
            ("a.svg", "image/svg+xml", true),
            ("a.png", "image/png", false),
            ("a.woff2", "font/woff2", false),
            ("a.wasm", "application/wasm", true),
            ("a.mp4", "video/mp4", false),
            ("a.tar.gz", "application/gzip", true),
            ("README", "application/octet-stream", true),
            ("dir.css/README", "application/octet-stream", true),
            ("a.", "application/octet-stream", true),
            ("", "application/octet-stream", true),
        ] {
            let kind = ContentType::of(path.as_bytes());
            assert_eq!(*kind.value(), *content_type.as_bytes(), "{path}");
            assert_eq!(kind.may_be_compressed(), may_be_compressed, "{path}");
        }
    }

    #[test]
    fn a_hash_in_a_name_is_told_from_words_and_dates() {
        for (name, expected) in [
            ("app.5f2a9c3b.js", true),
            ("app-5f2a9c3b01.min.css", true),
            ("app_0123456789ab.png", true),
            ("app.js", false),
            ("5f2a9c3b.js", false),
            ("report-20240131.pdf", false),
            ("the-defaced.html", false),
            ("app.5f2a9c3.js", false),
            ("app.5F2A9C3B.js", false),
            ("app.5f2a9c3b", false),
        ] {
            assert_eq!(is_hashed(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn the_longest_prefix_of_whole_names_has_a_path() {
        let mount = |prefix: &str| StaticMount {
            prefix: prefix.into(),
            directory: Arc::new(Directory::new("/".into())),
            index: None,
            max_age_s: None,
            immutable: Immutable::None,
            precompressed: false,
            falls_through: false,
            internal: false,
        };
        let files = StaticFiles::new(vec![mount("/a"), mount("/a/b"), mount("/c")]);
        let found = |path: &'static str| {
            files
                .find(path.as_bytes())
                .map(|(mount, rest)| (mount.prefix.as_str(), std::str::from_utf8(rest).unwrap()))
        };
        assert_eq!(found("/a"), Some(("/a", "")));
        assert_eq!(found("/a/x"), Some(("/a", "/x")));
        assert_eq!(found("/a/b/x"), Some(("/a/b", "/x")));
        assert_eq!(found("/a/bx"), Some(("/a", "/bx")));
        assert_eq!(found("/ax"), None);
        assert_eq!(found("/"), None);
        let root = StaticFiles::new(vec![mount(""), mount("/c")]);
        assert_eq!(
            root.find(b"/x").map(|(mount, rest)| (mount.prefix.as_str(), rest)),
            Some(("", &b"/x"[..]))
        );
    }
}

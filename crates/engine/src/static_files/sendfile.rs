//! Files that an application names in the head of its response, and the server sends in its stead.

use std::sync::Arc;

use tidegate_http::{HeadFault, RequestHead, ResponseHead};

use super::answer::{Described, FileAnswer};
use super::condition::{Validators, date};
use super::directory::{Directory, Found, OpenFile};
use super::mount::{ContentType, StaticFiles};
use super::path::below_root;
use crate::clock;

/// The field by which applications name files.
#[derive(Clone, Debug)]
pub enum SendfileHeader {
    /// `X-Sendfile`: a path of the system's, below one of these.
    Sendfile(Vec<Arc<Directory>>),
    /// `X-Accel-Redirect`: a path below an internal one of the [`StaticFiles`].
    AccelRedirect,
}

/// What becomes of an application's response.
pub(crate) enum Replaced {
    /// It names no file.
    Not,
    /// It names one, and is no response that has a body: the field is for nobody.
    Head(ResponseHead),
    /// This takes its place.
    By(FileAnswer),
}

/// Fields that say something of the bytes that are sent, which are not the application's.
const OF_BYTES: [&str; 5] = ["etag", "last-modified", "accept-ranges", "content-range", "content-type"];

impl SendfileHeader {
    fn name(&self) -> &'static str {
        match self {
            Self::Sendfile(_) => "X-Sendfile",
            Self::AccelRedirect => "X-Accel-Redirect",
        }
    }

    /// What becomes of the response with `head`, as the application has it, to `request`.
    pub(crate) fn replace(
        &self,
        files: &StaticFiles,
        request: &RequestHead,
        head: &ResponseHead,
    ) -> Result<Replaced, HeadFault> {
        let is_named = |name: &[u8]| name.eq_ignore_ascii_case(self.name().as_bytes());
        let Some((_, value)) = head.fields().find(|(name, _)| is_named(name)) else {
            return Ok(Replaced::Not);
        };
        if !matches!(head.status(), 200 | 206) {
            let mut without = ResponseHead::new(head.status(), head.reason())?;
            for (name, value) in head.fields().filter(|(name, _)| !is_named(name)) {
                without.field(name, value)?;
            }
            if let Some(length) = head.content_length() {
                without.field(b"Content-Length", length.to_string().as_bytes())?;
            }
            return Ok(Replaced::Head(without));
        }
        let (field, path) = (self.name(), String::from_utf8_lossy(value));
        let failed = || FileAnswer::plain((500, "Internal Server Error\n"), None);
        let answer = match self.open(files, value) {
            Some(Found::File(open)) => self.answer(request, head, value, open),
            Some(Found::Directory | Found::Nothing) => {
                log::warn!("{field} names {path:?}, which there is not, or which leads elsewhere");
                FileAnswer::plain((404, "Not Found\n"), None)
            }
            Some(Found::Failed(error)) => {
                log::error!("{field} names {path:?}, which cannot be opened: {error}");
                failed()
            }
            None => {
                let among = match self {
                    Self::Sendfile(_) => "which is below no --sendfile-root",
                    Self::AccelRedirect => "which is below no internal prefix of --static",
                };
                log::error!("{field} names {path:?}, {among}");
                failed()
            }
        };
        answer.map(Replaced::By)
    }

    /// `None`: it is not where files are that may be named.
    fn open(&self, files: &StaticFiles, value: &[u8]) -> Option<Found> {
        match self {
            Self::Sendfile(roots) => roots.iter().find_map(|root| {
                let below = below_root(value, root.path().as_os_str().as_encoded_bytes())?;
                Some(root.open(below))
            }),
            Self::AccelRedirect => files.open_internal(value),
        }
    }

    /// The file, with all else that the application says.
    fn answer(
        &self,
        request: &RequestHead,
        head: &ResponseHead,
        path: &[u8],
        open: OpenFile,
    ) -> Result<FileAnswer, HeadFault> {
        let given = |wanted: &str| {
            let is_wanted = |name: &[u8]| name.eq_ignore_ascii_case(wanted.as_bytes());
            head.fields().find(|(name, _)| is_wanted(name)).map(|(_, value)| value)
        };
        let mut validators = Validators::of_file(&open, None);
        if let Some(etag) = given("etag") {
            validators.etag = Some(etag.to_vec());
        }
        if let Some(modified) = given("last-modified").and_then(date) {
            validators.modified = Some(modified);
        }
        let guessed = ContentType::of(path).value();
        let add = |answer: &mut ResponseHead| {
            for (name, value) in head.fields() {
                let is_left_out = |other: &&str| name.eq_ignore_ascii_case(other.as_bytes());
                if !OF_BYTES.iter().chain([&self.name()]).any(is_left_out) {
                    answer.field(name, value)?;
                }
            }
            Ok(())
        };
        let content_type = given("content-type").unwrap_or(&guessed);
        FileAnswer::of_file(request, open, &Described { content_type, validators, add: &add }, clock::wall())
    }
}

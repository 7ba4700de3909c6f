//! Which responses are compressed, and what their heads say then.

use memchr::memmem;

use super::Coding;
use crate::error::HeadFault;
use crate::field::trim;
use crate::h1::ResponseHead;

/// A media type, or many of them: a star stands for any text.
#[derive(Clone, Debug)]
pub struct TypePattern {
    before: String,
    /// What follows the star, where there is one.
    after: Option<String>,
}

/// Whose readers wait for each event as it comes, and so a type that is only compressed where it is named.
const EVENT_STREAM: &str = "text/event-stream";

impl TypePattern {
    /// `text/html`, `text/*` or `application/*+json`, in any case.
    pub fn new(pattern: &str) -> Self {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.split_once('*') {
            Some((before, after)) => Self { before: before.into(), after: Some(after.into()) },
            None => Self { before: pattern, after: None },
        }
    }

    fn matches(&self, kind: &[u8]) -> bool {
        let before = self.before.as_bytes();
        let Some(after) = &self.after else { return kind.eq_ignore_ascii_case(before) };
        let Some((start, rest)) = kind.split_at_checked(before.len()) else { return false };
        let end = rest.len().checked_sub(after.len()).map(|place| &rest[place..]);
        start.eq_ignore_ascii_case(before)
            && end.is_some_and(|end| end.eq_ignore_ascii_case(after.as_bytes()))
            && !kind.eq_ignore_ascii_case(EVENT_STREAM.as_bytes())
    }
}

/// Whether a response may be compressed at all: it has a body of one of these types, whole and not encoded yet, and nothing says that it
/// must stay as it is.
pub fn may_be_encoded(head: &ResponseHead, types: &[TypePattern]) -> bool {
    if matches!(head.status(), 100..=199 | 204..=206 | 304) {
        return false;
    }
    let mut fits = false;
    for (name, value) in head.fields() {
        match Meaning::of(name) {
            Meaning::Type => {
                let kind = trim(value.split(|&byte| byte == b';').next().unwrap_or_default());
                fits = types.iter().any(|pattern| pattern.matches(kind));
            }
            Meaning::Final => return false,
            Meaning::CacheControl if members(value).any(|it| it.eq_ignore_ascii_case(b"no-transform")) => {
                return false;
            }
            Meaning::CacheControl | Meaning::Vary | Meaning::Tag | Meaning::Ranges | Meaning::None => {}
        }
    }
    fits
}

/// The head of a response that would have been another for another client: `Vary` says so (RFC 9110 section 12.5.5).
///
/// # Errors
/// None for a head that was valid.
pub fn varied(head: &ResponseHead) -> Result<ResponseHead, HeadFault> {
    rewritten(head, false)
}

/// The head of a response that is compressed, without Content-Length. Its entity tag is a weak one from now on, since other bytes go
/// under it too (RFC 9110 section 8.8.1), and ranges are not offered, as they would be of other bytes.
///
/// # Errors
/// None for a head that was valid.
pub fn encoded(head: &ResponseHead, coding: Coding) -> Result<ResponseHead, HeadFault> {
    let mut encoded = rewritten(head, true)?;
    encoded.field(b"Content-Encoding", coding.name().as_bytes())?;
    Ok(encoded)
}

/// The head of a 304 that confirms what was compressed: with the weak tag under which the client has it, as caches find by it what to
/// freshen (RFC 9111 section 4.3.4). `None` where the client does not ask with it.
///
/// # Errors
/// None for a head that was valid.
pub fn confirmed<'a>(
    head: &ResponseHead,
    mut if_none_match: impl Iterator<Item = &'a [u8]>,
) -> Option<Result<ResponseHead, HeadFault>> {
    if head.status() != 304 {
        return None;
    }
    let (_, tag) = head.fields().find(|(name, _)| Meaning::of(name) == Meaning::Tag)?;
    let weak = weak_tag(tag).filter(|weak| weak.len() > tag.len())?;
    if_none_match.any(|tags| memmem::find(tags, &weak).is_some()).then(|| rewritten(head, true))
}

fn rewritten(head: &ResponseHead, encoded: bool) -> Result<ResponseHead, HeadFault> {
    let mut new = ResponseHead::new(head.status(), head.reason())?;
    let mut vary = Vec::new();
    for (name, value) in head.fields() {
        match Meaning::of(name) {
            Meaning::Vary => vary.extend(members(value)),
            Meaning::Ranges if encoded => {}
            Meaning::Tag if encoded => {
                if let Some(weak) = weak_tag(value) {
                    new.field(name, &weak)?;
                }
            }
            _ => {
                new.field(name, value)?;
            }
        }
    }
    if !vary.iter().any(|name| name.eq_ignore_ascii_case(b"accept-encoding") || *name == b"*") {
        vary.push(b"Accept-Encoding");
    }
    new.field(b"Vary", &vary.join(&b", "[..]))?;
    if let Some(length) = head.content_length().filter(|_| !encoded) {
        new.field(b"Content-Length", length.to_string().as_bytes())?;
    }
    Ok(new)
}

/// `None` for what is no entity tag, which would not be one as a weak one either.
fn weak_tag(tag: &[u8]) -> Option<Vec<u8>> {
    match tag {
        [b'W', b'/', ..] => Some(tag.to_vec()),
        [b'"', .., b'"'] => Some([b"W/", tag].concat()),
        _ => None,
    }
}

fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// What a field of a response has to do with compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    None,
    Type,
    CacheControl,
    Vary,
    Tag,
    Ranges,
    /// The bytes must stay what they are: they are encoded, or a part, or there is a digest of them (RFC 9530).
    Final,
}

impl Meaning {
    fn of(name: &[u8]) -> Self {
        let names: &[(&str, Self)] = match name.len() {
            4 => &[("vary", Self::Vary), ("etag", Self::Tag)],
            6 => &[("digest", Self::Final)],
            11 => &[("content-md5", Self::Final), ("repr-digest", Self::Final)],
            12 => &[("content-type", Self::Type)],
            13 => &[
                ("cache-control", Self::CacheControl),
                ("content-range", Self::Final),
                ("accept-ranges", Self::Ranges),
            ],
            14 => &[("content-digest", Self::Final)],
            16 => &[("content-encoding", Self::Final)],
            _ => return Self::None,
        };
        let found = names.iter().find(|(other, _)| name.eq_ignore_ascii_case(other.as_bytes()));
        found.map_or(Self::None, |(_, meaning)| *meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::new(status, b"As It Is").unwrap();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    fn fields(head: &ResponseHead) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        head.fields().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn types() -> Vec<TypePattern> {
        ["text/*", "application/json", "application/*+json"].map(TypePattern::new).to_vec()
    }

    #[test]
    fn types_are_compared_without_parameters_and_case() {
        for (kind, fits) in [
            ("text/html", true),
            ("Text/HTML; charset=utf-8", true),
            ("application/json", true),
            ("application/json;charset=utf-8", true),
            ("application/problem+json", true),
            ("application/+json", true),
            ("application/jsonp", false),
            ("application/octet-stream", false),
            ("image/png", false),
            ("text", false),
            ("", false),
            ("text/event-stream", false),
            ("text/Event-Stream; charset=utf-8", false),
        ] {
            assert_eq!(may_be_encoded(&head(200, &[("Content-Type", kind)]), &types()), fits, "{kind}");
        }
        assert!(!may_be_encoded(&head(200, &[]), &types()));
        let named = [TypePattern::new("text/event-stream")];
        assert!(may_be_encoded(&head(200, &[("content-type", "text/event-stream")]), &named));
    }

    #[test]
    fn what_must_stay_as_it_is_does() {
        for (name, value, fits) in [
            ("Content-Encoding", "gzip", false),
            ("content-encoding", "identity", false),
            ("Content-Range", "bytes 0-1/2", false),
            ("Cache-Control", "private, No-Transform", false),
            ("Cache-Control", "no-transformation, private", true),
            ("Content-Digest", "sha-256=:AA==:", false),
            ("Repr-Digest", "sha-256=:AA==:", false),
            ("Digest", "x", false),
            ("Content-MD5", "x", false),
            ("ETag", "\"x\"", true),
        ] {
            let head = head(200, &[("Content-Type", "text/html"), (name, value)]);
            assert_eq!(may_be_encoded(&head, &types()), fits, "{name}: {value}");
        }
        for (status, fits) in
            [(200, true), (404, true), (500, true), (204, false), (205, false), (206, false), (304, false)]
        {
            assert_eq!(may_be_encoded(&head(status, &[("Content-Type", "text/html")]), &types()), fits);
        }
    }

    #[test]
    fn vary_is_one_field_that_names_accept_encoding_once() {
        for (before, after) in [
            (&[][..], "Accept-Encoding"),
            (&["Cookie"], "Cookie, Accept-Encoding"),
            (&["Cookie , Origin", "Accept"], "Cookie, Origin, Accept, Accept-Encoding"),
            (&["accept-encoding"], "accept-encoding"),
            (&["Cookie, ACCEPT-ENCODING"], "Cookie, ACCEPT-ENCODING"),
            (&["*"], "*"),
            (&[""], "Accept-Encoding"),
        ] {
            let pairs: Vec<_> = before.iter().map(|value| ("Vary", *value)).collect();
            let varied = varied(&head(200, &pairs)).unwrap();
            assert_eq!(fields(&varied), [("Vary".into(), after.into())], "{before:?}");
        }
    }

    #[test]
    fn an_encoded_head_has_a_weak_tag_no_length_and_no_ranges() {
        let plain = head(
            203,
            &[("A", "b"), ("ETag", "\"x\""), ("Content-Length", "7"), ("Accept-Ranges", "bytes"), ("C", "d")],
        );
        let head = encoded(&plain, Coding::Brotli).unwrap();
        let expected = [
            ("A", "b"),
            ("ETag", "W/\"x\""),
            ("C", "d"),
            ("Vary", "Accept-Encoding"),
            ("Content-Encoding", "br"),
        ];
        assert_eq!(fields(&head), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((head.status(), head.reason(), head.content_length()), (203, &b"As It Is"[..], None));
        assert_eq!(varied(&plain).unwrap().content_length(), Some(7));
    }

    #[test]
    fn a_tag_that_is_none_is_left_out_and_a_weak_one_stays() {
        for (before, after) in
            [("W/\"x\"", Some("W/\"x\"")), ("\"\"", Some("W/\"\"")), ("x", None), ("\"", None)]
        {
            let head = encoded(&head(200, &[("ETag", before)]), Coding::Gzip).unwrap();
            let tag = fields(&head).into_iter().find(|(name, _)| name == "ETag").map(|(_, value)| value);
            assert_eq!(tag.as_deref(), after, "{before}");
        }
    }

    #[test]
    fn a_304_has_the_tag_that_the_client_has() {
        let tag_of = |status, tag, asked: &[&str]| {
            let head = head(status, &[("ETag", tag)]);
            let head = confirmed(&head, asked.iter().map(|tags| tags.as_bytes()))?.unwrap();
            Some(fields(&head)[0].1.clone())
        };
        assert_eq!(tag_of(304, "\"x\"", &["W/\"x\""]).as_deref(), Some("W/\"x\""));
        assert_eq!(tag_of(304, "\"x\"", &["\"y\"", "\"z\", W/\"x\""]).as_deref(), Some("W/\"x\""));
        assert_eq!(tag_of(304, "\"x\"", &["\"x\""]), None);
        assert_eq!(tag_of(304, "\"x\"", &["W/\"xx\""]), None);
        assert_eq!(tag_of(304, "W/\"x\"", &["W/\"x\""]), None);
        assert_eq!(tag_of(200, "\"x\"", &["W/\"x\""]), None);
    }
}

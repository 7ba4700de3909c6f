//! Ids of requests: that of the server in front, or one of our own.
//!
//! It stands in the request's head, so that whoever looks there finds it: the application, the access log.

use tidegate_http::{RequestHead, is_same_variable};
use uuid::Builder;

use crate::clock;
use crate::random::RandomPool;

/// Longest id that is taken from another server: those in use have 16 to 100 characters, and it goes into every line of a log.
const SIZE_MAX: usize = 128;

/// Gives requests their ids.
#[derive(Debug, Default)]
pub(crate) struct RequestIds {
    pool: RandomPool,
}

impl RequestIds {
    /// Leaves one valid id in the head, in the field of this name, and tells its place.
    pub(crate) fn assign(&self, head: &mut RequestHead, name: &str, is_trusted: bool) -> Option<u32> {
        if is_trusted && let Some(place) = the_one_valid(head, name) {
            return u32::try_from(place).ok();
        }
        let id = self.make();
        head.replace_field(name, id.as_ref().map(<[u8; 36]>::as_slice));
        id.and_then(|_| u32::try_from(head.field_count()).ok()?.checked_sub(1))
    }

    /// A UUID of version 7 (RFC 9562 section 5.7): by time, which keeps logs and tables in order. None where the system has no random
    /// numbers.
    fn make(&self) -> Option<[u8; 36]> {
        let random =
            self.pool.take().inspect_err(|error| log::error!("a request has no id: {error}")).ok()?;
        let mut text = [0; 36];
        Builder::from_unix_timestamp_millis(clock::wall_ms(), &random)
            .as_uuid()
            .hyphenated()
            .encode_lower(&mut text);
        Some(text)
    }
}

/// The place of the one field of this name, if it has an id that can stand anywhere unchanged: in a header, a log, a URL, a page. One that CGI
/// takes for it counts too.
fn the_one_valid(head: &RequestHead, name: &str) -> Option<usize> {
    let mut fields =
        head.fields().enumerate().filter(|(_, (other, _))| is_same_variable(other, name.as_bytes()));
    let (place, (first, value)) = fields.next()?;
    let is_the_one = first.eq_ignore_ascii_case(name.as_bytes()) && fields.next().is_none();
    (is_the_one && is_valid(value)).then_some(place)
}

/// Letters, digits, and what common ids have beside them: UUIDs, base64, ULIDs, `Root=1-67891233-abcdef;Parent=1` of AWS.
fn is_valid(id: &[u8]) -> bool {
    let is_common = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:;@".contains(byte);
    (1..=SIZE_MAX).contains(&id.len()) && id.iter().all(is_common)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_and_no_two_are_the_same() {
        let ids = RequestIds::default();
        let made: BTreeSet<_> = (0..1000).filter_map(|_| ids.make()).collect();
        assert_eq!(made.len(), 1000);
        for id in &made {
            assert!(uuid::Uuid::try_parse_ascii(id).is_ok_and(|id| id.get_version_num() == 7), "{id:?}");
        }
    }

    #[test]
    fn an_id_is_bounded_and_harmless() {
        for good in
            ["a", "0198c0de-0000-7000-8000-000000000000", "Root=1-67891233-abcdef012345;Self=1", "a+/="]
        {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        assert!(is_valid(&[b'a'; SIZE_MAX]) && !is_valid(&[b'a'; SIZE_MAX + 1]));
        for bad in ["", "a b", "a,b", "a\"", "<a>", "a\\", "a%0a", "\u{e9}", "a\tb", "a'", "$a", "{a}"] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}

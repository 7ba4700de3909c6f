//! `Accept-Encoding` (RFC 9110 section 12.5.3).

use std::cmp::Reverse;

use super::Coding;
use crate::field::trim;

/// What a client is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The coding it likes best of those that are offered; none where it would rather have none.
    pub coding: Option<Coding>,
    /// It does not take a response without one.
    pub must_be_encoded: bool,
}

/// In thousandths.
type Weight = u16;

const WEIGHT_MAX: Weight = 1000;

/// What the fields say of each coding; nothing where it is not named.
#[derive(Default)]
struct Weights {
    codings: [Option<Weight>; Coding::ALL.len()],
    identity: Option<Weight>,
    others: Option<Weight>,
}

impl Weights {
    fn of_fields<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut weights = Self::default();
        for value in values {
            value.split(|&byte| byte == b',').for_each(|member| weights.note(member));
        }
        weights
    }

    fn note(&mut self, member: &[u8]) {
        let mut parts = member.split(|&byte| byte == b';').map(trim);
        let name = parts.next().unwrap_or_default();
        // What cannot be read is no consent.
        let weight = parts.find_map(weight_text).map_or(WEIGHT_MAX, |text| weight(text).unwrap_or(0));
        if let Some(coding) = Coding::from_name(name) {
            self.codings[coding as usize] = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            self.identity = Some(weight);
        } else if name == b"*" {
            self.others = Some(weight);
        }
    }

    fn of(&self, coding: Coding) -> Weight {
        self.codings[coding as usize].or(self.others).unwrap_or(0)
    }

    /// Whether the client takes it, and likes it as well as no coding.
    fn has_consent(&self, coding: Coding) -> bool {
        self.of(coding) >= self.identity.unwrap_or(0).max(1)
    }
}

/// Chooses by the values of all `Accept-Encoding` fields. The client's weights come first, then the order of `offered`.
pub fn choose<'a>(values: impl Iterator<Item = &'a [u8]>, offered: &[Coding]) -> Choice {
    let weights = Weights::of_fields(values);
    // The first of several that are the greatest.
    let best = offered.iter().copied().rev().max_by_key(|coding| weights.of(*coding));
    let identity = weights.identity.or(weights.others.filter(|weight| *weight == 0));
    Choice {
        coding: best.filter(|coding| weights.has_consent(*coding)),
        must_be_encoded: identity == Some(0),
    }
}

/// Those of `offered` that the client likes as well as no coding, in the order in which [`choose`] would have them.
pub fn ranked<'a, const N: usize>(
    values: impl Iterator<Item = &'a [u8]>,
    mut offered: [Coding; N],
) -> impl Iterator<Item = Coding> {
    let weights = Weights::of_fields(values);
    offered.sort_by_key(|coding| Reverse(weights.of(*coding)));
    offered.into_iter().filter(move |coding| weights.has_consent(*coding))
}

fn weight_text(parameter: &[u8]) -> Option<&[u8]> {
    match parameter {
        [b'q' | b'Q', b'=', text @ ..] => Some(text),
        _ => None,
    }
}

/// `0` to `1`, with at most three digits after the point (RFC 9110 section 12.4.2).
fn weight(text: &[u8]) -> Option<Weight> {
    let (whole, fraction) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => WEIGHT_MAX,
        _ => return None,
    };
    for (digit, worth) in fraction.iter().zip([100, 10, 1]) {
        weight += Weight::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?) * worth;
    }
    (weight <= WEIGHT_MAX).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    fn chosen(values: &[&str]) -> (Option<&'static str>, bool) {
        let Choice { coding, must_be_encoded } =
            choose(values.iter().map(|value| value.as_bytes()), &OFFERED);
        (coding.map(Coding::name), must_be_encoded)
    }

    #[test]
    fn the_client_weighs_and_the_order_of_what_is_offered_decides_between_equals() {
        for (value, expected) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, br", Some("br")),
            ("gzip;q=0.9, br;q=0.8", Some("gzip")),
            ("gzip;q=0.801,br;q=0.8", Some("gzip")),
            ("GZIP ; Q=0.5", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.5, gzip", Some("gzip")),
            ("*, zstd;q=0", Some("br")),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("deflate", None),
            ("", None),
            (",, ,", None),
            ("identity", None),
            ("identity;q=0.5, gzip;q=0.4", None),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
            ("gzip;level=9;q=0.5, br;q=0.4", Some("gzip")),
        ] {
            assert_eq!(chosen(&[value]), (expected, false), "{value:?}");
        }
        assert_eq!(chosen(&[]), (None, false));
        assert_eq!(chosen(&["deflate", "br"]), (Some("br"), false));
    }

    #[test]
    fn all_that_a_client_takes_are_ranked_as_they_would_be_chosen() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", "zstd br gzip"),
            ("gzip;q=1, br;q=0.5", "gzip br"),
            ("*;q=0.5, gzip", "gzip zstd br"),
            ("*, zstd;q=0", "br gzip"),
            ("gzip;q=0.5, identity", ""),
            ("gzip;q=0.4, br, identity;q=0.5", "br"),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("gzip;q=0", ""),
            (",,;;,q=1", ""),
            ("", ""),
        ] {
            let found: Vec<_> = ranked([value.as_bytes()].into_iter(), OFFERED).map(Coding::name).collect();
            assert_eq!(found.join(" "), expected, "{value:?}");
            assert_eq!(chosen(&[value]).0, found.first().copied(), "{value:?}");
        }
    }

    #[test]
    fn a_weight_that_is_none_is_no_consent() {
        for weight in ["", "2", "1.1", "1.001", "0.1234", "-1", ".5", "0,5", "0.x", "1.", "0."] {
            let expected = if weight == "1." { Some("gzip") } else { None };
            assert_eq!(chosen(&[&format!("gzip;q={weight}")]).0, expected, "{weight:?}");
        }
    }

    #[test]
    fn a_response_without_a_coding_can_be_refused() {
        assert_eq!(chosen(&["gzip, identity;q=0"]), (Some("gzip"), true));
        assert_eq!(chosen(&["gzip, *;q=0"]), (Some("gzip"), true));
        assert_eq!(chosen(&["gzip, identity;q=0.1, *;q=0"]), (Some("gzip"), false));
        assert_eq!(chosen(&["*;q=0"]), (None, true));
    }
}

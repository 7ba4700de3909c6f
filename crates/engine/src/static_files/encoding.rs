//! Which of the encodings that a file may lie beside itself in a client takes (RFC 9110 section 12.5.3).

/// An encoding of a file that lies beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Zstandard,
    Gzip,
}

impl Encoding {
    /// Where a client likes all of them as well: the smallest is usually first.
    pub(super) const ALL: [Self; 3] = [Self::Brotli, Self::Zstandard, Self::Gzip];

    /// As Content-Encoding has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstandard => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What the file's name has at its end.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstandard => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// The encodings that a client takes, the one that it likes best first. A client that likes none as well as the file itself takes none.
pub(super) fn accepted<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = Encoding> {
    // In thousandths, as qvalues have three digits (RFC 9110 section 12.4.2).
    let (mut named, mut any, mut identity) = ([None; 3], None, None);
    for item in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(weight).unwrap_or(1000);
        if name == b"*" {
            any = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            identity = Some(weight);
        }
        for (place, encoding) in named.iter_mut().zip(Encoding::ALL) {
            let other = if encoding == Encoding::Gzip { "x-gzip" } else { encoding.name() };
            if [encoding.name(), other].iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
                *place = Some(weight);
            }
        }
    }
    let least = identity.unwrap_or(1).max(1);
    let mut ranked = Encoding::ALL.map(Some);
    let weight_of = |encoding: &Option<Encoding>| {
        encoding.and_then(|encoding| named[encoding as usize].or(any)).unwrap_or(0)
    };
    ranked.sort_by_key(|encoding| std::cmp::Reverse(weight_of(encoding)));
    for encoding in &mut ranked {
        if weight_of(encoding) < least {
            *encoding = None;
        }
    }
    ranked.into_iter().flatten()
}

/// `q=0.5`; what is no weight but stands in its place is none at all.
fn weight(parameter: &[u8]) -> Option<u32> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    let (whole, decimals) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return Some(0),
    };
    let mut thousandths = u32::from(whole - b'0') * 1000;
    for (digit, unit) in decimals.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return Some(0);
        }
        thousandths += u32::from(digit - b'0') * unit;
    }
    Some(thousandths.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_given_what_it_likes_best_and_nothing_that_it_does_not_take() {
        for (fields, expected) in [
            (&["gzip, deflate, br, zstd"][..], "br zstd gzip"),
            (&["gzip"], "gzip"),
            (&["GZIP"], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["gzip", "br"], "br gzip"),
            (&["gzip;q=1, br;q=0.5"], "gzip br"),
            (&["br ; q=0.3 , zstd;q=0.301"], "zstd br"),
            (&["*"], "br zstd gzip"),
            (&["*;q=0.5, gzip"], "gzip br zstd"),
            (&["*, br;q=0"], "zstd gzip"),
            (&["gzip;q=0"], ""),
            (&["gzip;q=0.000"], ""),
            (&["identity"], ""),
            (&["gzip;q=0.5, identity"], ""),
            (&["gzip;q=0.5, identity;q=0.5"], "gzip"),
            (&["identity;q=0, gzip;q=0.1"], "gzip"),
            (&["br;q=2, gzip"], "gzip"),
            (&["br;q=0.1234, gzip"], "gzip"),
            (&["br;q=, gzip;q=1.000"], "gzip"),
            (&["br;level=1;q=0.2, gzip"], "gzip br"),
            (&[""], ""),
            (&["brx, xgzip, deflate"], ""),
            (&[",,;;,q=1"], ""),
            (&[], ""),
        ] {
            let found: Vec<_> =
                accepted(fields.iter().map(|field| field.as_bytes())).map(Encoding::name).collect();
            assert_eq!(found.join(" "), expected, "{fields:?}");
        }
    }
}

//! Names and values: which bytes they may hold, and lists of them that own their bytes.

use crate::error::RequestFault;
use crate::limits::UnderscoreNames;

/// tchar of RFC 9110 section 5.6.2.
static TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
            | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

pub(crate) fn is_tchar(byte: u8) -> bool {
    TCHAR[byte as usize]
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    // Without branches, as names are short and nearly always right.
    !bytes.is_empty() && bytes.iter().fold(true, |valid, &byte| valid & is_tchar(byte))
}

/// VCHAR, SP, HTAB and obs-text (RFC 9110 section 5.5). Written without branches, so that it runs many bytes at a time.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |valid, &byte| valid & ((byte >= b' ') & (byte != 0x7f) | (byte == b'\t')))
}

/// Without the SP and HTAB around it; no other byte is white space in a field value.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// 1*DIGIT up to 2^63-1: what fits into a signed number everywhere further on.
pub(crate) fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (number <= i64::MAX as u64).then_some(number)
}

/// Whether a received field is passed on.
pub(crate) fn admit(name: &[u8], policy: UnderscoreNames) -> Result<bool, RequestFault> {
    // `Proxy` would become HTTP_PROXY, which libraries in the application take for their own setting (CVE-2016-5385).
    if name.len() == 5 && name.eq_ignore_ascii_case(b"proxy") {
        return Ok(false);
    }
    if policy != UnderscoreNames::Keep && name.iter().fold(false, |found, &byte| found | (byte == b'_')) {
        return if policy == UnderscoreNames::Refuse { Err(RequestFault::UnderscoreName) } else { Ok(false) };
    }
    Ok(true)
}

/// A run of bytes in a buffer. 32 bits are enough: heads are capped far below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The callers' offsets are below [`HEAD_SIZE_CEILING`](crate::h1::HEAD_SIZE_CEILING).
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Where `part` lies in `whole`, which it was cut from.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        Self::new(start, start + part.len())
    }

    pub(crate) fn ends(self) -> (usize, usize) {
        (self.start as usize, self.end as usize)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Without so many bytes at its beginning.
    pub(crate) fn without_first(self, size: usize) -> Self {
        Self { start: (self.start + size as u32).min(self.end), end: self.end }
    }

    pub(crate) fn in_bytes_mut(self, bytes: &mut [u8]) -> &mut [u8] {
        bytes.get_mut(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub(crate) fn in_bytes(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Where a field's name and value are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldSpan {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// Fields and the bytes they lie in.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldList {
    pub(crate) bytes: Vec<u8>,
    pub(crate) spans: Vec<FieldSpan>,
}

impl FieldList {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|span| (span.name.in_bytes(&self.bytes), span.value.in_bytes(&self.bytes)))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Adds one, and its bytes.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.spans
            .push(FieldSpan { name: Span::new(start, middle), value: Span::new(middle, self.bytes.len()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_space_and_tab_are_trimmed() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b"\x85a\xa0"), b"\x85a\xa0");
        assert_eq!(trim(b" \t"), b"");
    }

    #[test]
    fn lengths_are_digits_that_fit_into_63_bits() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(parse_length(b"0000000010"), Some(10));
        assert_eq!(parse_length(b"9223372036854775807"), Some(i64::MAX as u64));
        for bad in [
            "",
            "+3",
            "-1",
            "-0",
            "0_1",
            "0x3",
            "3.0",
            "3 1",
            "3Z",
            "9223372036854775808",
            "99999999999999999999",
        ] {
            assert_eq!(parse_length(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn values_hold_no_control_characters_but_the_tab() {
        for byte in 0..=255u8 {
            let valid = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(is_value(&[b'a', byte, b'b']), valid, "{byte:#x}");
        }
    }

    #[test]
    fn proxy_is_dropped_in_any_case() {
        assert_eq!(admit(b"pRoXy", UnderscoreNames::Keep), Ok(false));
        assert_eq!(admit(b"Proxy-Authorization", UnderscoreNames::Drop), Ok(true));
    }

    #[test]
    fn underscore_names_follow_the_policy() {
        assert_eq!(admit(b"X_A", UnderscoreNames::Drop), Ok(false));
        assert_eq!(admit(b"X_A", UnderscoreNames::Refuse), Err(RequestFault::UnderscoreName));
        assert_eq!(admit(b"X_A", UnderscoreNames::Keep), Ok(true));
    }
}

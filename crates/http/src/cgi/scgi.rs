//! SCGI: the variables as one netstring, each name and each value with a NUL behind it.
//!
//! ```text
//! size of the variables (decimal)  ":"  name NUL value NUL ...  ","
//! ```

use std::ops::Range;

use memchr::memchr;

use super::{Packet, Pairs};
use crate::error::RequestFault;

/// Digits of a size; more would say more than any limit on heads.
const DIGITS_MAX: usize = 9;

/// Looks for the size.
pub(super) fn find(input: &[u8]) -> Result<Option<Packet>, RequestFault> {
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let begins_with_zero = digits > 1 && input[0] == b'0';
    if digits > DIGITS_MAX || begins_with_zero || (digits == 0 && !input.is_empty()) {
        return Err(RequestFault::Variables);
    }
    match input.get(digits) {
        None => return Ok(None),
        Some(b':') => {}
        Some(_) => return Err(RequestFault::Variables),
    }
    let size = input[..digits].iter().fold(0, |size, digit| size * 10 + usize::from(digit - b'0'));
    let start = digits + 1;
    Ok(Some(Packet { variables: start..start + size, size: start + size + 1, strips_script_name: false }))
}

/// Finds the variables. The specification has the body's length come first and in any case.
pub(super) fn list(bytes: &[u8], block: Range<usize>, pairs: &mut Pairs) -> Result<(), RequestFault> {
    let (block_end, first) = (block.end, b"CONTENT_LENGTH\0");
    if bytes.get(block_end) != Some(&b',') || !bytes[block.clone()].starts_with(first) {
        return Err(RequestFault::Variables);
    }
    let part = |at: usize| Some(at..at + memchr(0, bytes.get(at..block_end)?)?);
    let mut at = block.start;
    while at < block_end {
        let name = part(at).ok_or(RequestFault::Variables)?;
        let value = part(name.end + 1).ok_or(RequestFault::Variables)?;
        at = value.end + 1;
        pairs.push(name, value)?;
    }
    Ok(())
}

//! uWSGI's protocol: a header of four bytes, then variables, each a name and a value that have their sizes before them.
//!
//! ```text
//! modifier1 (1)  size of the variables (2, little endian)  modifier2 (1)
//! then, as often as it goes:  size (2, little endian)  name  size (2, little endian)  value
//! ```

use std::ops::Range;

use super::{Packet, Pairs};
use crate::error::RequestFault;

const HEADER_SIZE: usize = 4;

/// What modifier1 is for a request that an application answers.
const REQUEST: u8 = 0;

/// The same where the front server leaves it to this one to take SCRIPT_NAME off PATH_INFO.
const REQUEST_BELOW_SCRIPT_NAME: u8 = 30;

/// Looks for the header. All other kinds of packets, which in uWSGI evaluate code, spool, cache and reload, are none here.
pub(super) fn find(input: &[u8]) -> Result<Option<Packet>, RequestFault> {
    let strips_script_name = match input.first() {
        None => return Ok(None),
        Some(&REQUEST) => false,
        Some(&REQUEST_BELOW_SCRIPT_NAME) => true,
        Some(_) => return Err(RequestFault::Modifier),
    };
    let [_, low, high, _modifier2, ..] = *input else { return Ok(None) };
    let size = HEADER_SIZE + usize::from(u16::from_le_bytes([low, high]));
    Ok(Some(Packet { variables: HEADER_SIZE..size, size, strips_script_name }))
}

/// Finds the variables.
pub(super) fn list(bytes: &[u8], block: Range<usize>, pairs: &mut Pairs) -> Result<(), RequestFault> {
    let block_end = block.end;
    let part = |at: usize| {
        let size = bytes.get(at..block_end)?.first_chunk()?;
        let start = at + size.len();
        let end = start + usize::from(u16::from_le_bytes(*size));
        (end <= block_end).then_some(start..end)
    };
    let mut at = block.start;
    while at < block_end {
        let name = part(at).ok_or(RequestFault::Variables)?;
        let value = part(name.end).ok_or(RequestFault::Variables)?;
        at = value.end;
        pairs.push(name, value)?;
    }
    Ok(())
}

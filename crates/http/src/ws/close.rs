//! Close: its code and its reason.

use crate::ws::error::Fault;
use crate::ws::event::CONTROL_SIZE_MAX;

/// Why the peer closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseReason {
    /// The code, if one was sent. One that must not be sent is a fault.
    pub code: Option<u16>,
    /// The reason; empty if none was sent.
    pub reason: String,
}

/// The most that a reason can be beside a code.
const REASON_SIZE_MAX: usize = CONTROL_SIZE_MAX - 2;

/// Whether a code may be in a Close frame: the ones that are defined for it, and those of libraries, frameworks and
/// applications (RFC 6455 section 7.4.2; 1012 to 1014 are from IANA's registry). 1005, 1006 and 1015 stand for what is never
/// sent.
pub fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl CloseReason {
    /// Reads the payload of a Close frame (RFC 6455 section 5.5.1).
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Fault> {
        let (code, reason) = match payload {
            [] => return Ok(Self::default()),
            [_] => return Err(Fault::CloseLength),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        if !is_close_code(code) {
            return Err(Fault::CloseCode);
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Fault::CloseReason)?;
        Ok(Self { code: Some(code), reason: reason.to_owned() })
    }
}

/// The longest beginning of a reason that fits beside a code and is still UTF-8.
pub(crate) fn cut_reason(reason: &str) -> &str {
    let most = reason.len().min(REASON_SIZE_MAX);
    // A character has four bytes at most.
    let end = (most.saturating_sub(3)..=most).rev().find(|&end| reason.is_char_boundary(end));
    end.and_then(|end| reason.get(..end)).unwrap_or_default()
}

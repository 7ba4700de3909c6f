//! The line gate: where a block of lines ends, and what no line of it may be.

use memchr::{memchr, memchr_iter};

use crate::error::RequestFault;
use crate::h1::head::HEAD_SIZE_CEILING;
use crate::limits::Limits;

/// Finds the end of a block of lines as it arrives, and refuses what no line may be: an end in LF alone, too long, too many.
///
/// Offsets count from the block's first byte, so the buffer may move beneath.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineGate {
    scanned: usize,
    line_start: usize,
    lines: usize,
}

/// The limits of one kind of block, and what it means to pass them.
pub(crate) struct BlockLimits {
    pub(crate) line_size_max: usize,
    pub(crate) block_size_max: usize,
    pub(crate) lines_max: usize,
    pub(crate) line_fault: RequestFault,
    pub(crate) block_fault: RequestFault,
    pub(crate) lines_fault: RequestFault,
}

impl BlockLimits {
    pub(crate) fn of_head(limits: &Limits) -> Self {
        Self {
            line_size_max: limits.line_size_max,
            block_size_max: limits.head_size_max.min(HEAD_SIZE_CEILING),
            lines_max: limits.field_count_max.saturating_add(1),
            line_fault: RequestFault::FieldTooLong,
            block_fault: RequestFault::HeadTooLarge,
            lines_fault: RequestFault::TooManyFields,
        }
    }

    pub(crate) fn of_trailers(limits: &Limits) -> Self {
        let fault = RequestFault::TrailersTooLarge;
        Self {
            line_size_max: limits.line_size_max,
            block_size_max: limits.trailer_size_max.min(HEAD_SIZE_CEILING),
            lines_max: limits.trailer_count_max,
            line_fault: fault,
            block_fault: fault,
            lines_fault: fault,
        }
    }
}

impl LineGate {
    /// Lines seen so far, the blank one not among them.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Looks for the end of the next line only.
    pub(crate) fn first_line(
        &mut self,
        block: &[u8],
        limits: &BlockLimits,
    ) -> Result<Option<usize>, RequestFault> {
        let from = self.scanned;
        if let Some(offset) = memchr(b'\n', block.get(from..).unwrap_or_default()) {
            self.line(block, from + offset, limits)?;
            return Ok(Some(self.scanned));
        }
        self.partial_line(block, limits)?;
        Ok(None)
    }

    /// Looks for the blank line that ends the block; yields the block's size with it.
    pub(crate) fn blank_line(
        &mut self,
        block: &[u8],
        limits: &BlockLimits,
    ) -> Result<Option<usize>, RequestFault> {
        let from = self.scanned;
        for offset in memchr_iter(b'\n', block.get(from..).unwrap_or_default()) {
            if self.line(block, from + offset, limits)? {
                return Ok(Some(self.scanned));
            }
        }
        self.partial_line(block, limits)?;
        Ok(None)
    }

    /// Takes note of a line that ends at `line_feed`. True if it is blank.
    fn line(&mut self, block: &[u8], line_feed: usize, limits: &BlockLimits) -> Result<bool, RequestFault> {
        self.check_reach(line_feed, limits)?;
        if line_feed == self.line_start || block[line_feed - 1] != b'\r' {
            return Err(RequestFault::LineEnd);
        }
        let blank = line_feed - self.line_start == 1;
        if !blank {
            self.lines += 1;
            if self.lines > limits.lines_max {
                return Err(limits.lines_fault);
            }
        }
        self.scanned = line_feed + 1;
        self.line_start = self.scanned;
        Ok(blank)
    }

    /// The line that has no end yet would have it at the end of what is there, at the earliest.
    fn partial_line(&mut self, block: &[u8], limits: &BlockLimits) -> Result<(), RequestFault> {
        self.scanned = block.len();
        self.check_reach(block.len(), limits)
    }

    /// Whether a line may end as late as at `line_feed`. Which of two limits is named depends on where they are and not
    /// on how the bytes were cut on their way.
    fn check_reach(&self, line_feed: usize, limits: &BlockLimits) -> Result<(), RequestFault> {
        let line_reach = self.line_start.saturating_add(limits.line_size_max).saturating_add(1);
        let block_reach = limits.block_size_max.saturating_sub(1);
        if line_feed <= line_reach.min(block_reach) {
            return Ok(());
        }
        Err(if line_reach < block_reach { limits.line_fault } else { limits.block_fault })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_looks_at_each_byte_once() {
        let limits = BlockLimits::of_head(&Limits { field_count_max: usize::MAX - 1, ..Limits::default() });
        let block = b"a: b\r\n".repeat(10_000);
        let mut gate = LineGate::default();
        for size in 1..=block.len() {
            assert_eq!(gate.blank_line(&block[..size], &limits), Ok(None));
            assert_eq!(gate.scanned, size, "what was scanned is not scanned again");
        }
        assert_eq!(gate.lines(), 10_000);
    }

    #[test]
    fn a_line_feed_alone_is_found_before_anything_behind_it() {
        let limits = BlockLimits::of_head(&Limits::default());
        assert_eq!(LineGate::default().blank_line(b"a: b\n\r\n", &limits), Err(RequestFault::LineEnd));
        assert_eq!(LineGate::default().blank_line(b"\n", &limits), Err(RequestFault::LineEnd));
        assert_eq!(LineGate::default().blank_line(b"a: b\r\n\n", &limits), Err(RequestFault::LineEnd));
    }
}

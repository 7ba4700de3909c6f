//! What has come and is not parsed yet.

use std::mem;

/// Room for what [`RequestHead::replace_field`](crate::RequestHead::replace_field) adds in most cases.
const ADDED_FIELD_SIZE: usize = 64;

/// Received bytes that are not parsed yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) bytes: Vec<u8>,
    /// Where the unparsed ones begin.
    pub(super) begin: usize,
    pub(super) ended: bool,
}

impl Input {
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begin == self.bytes.len()
    }

    #[inline(always)]
    pub(super) fn receive(&mut self, data: &[u8]) {
        // What was parsed is dropped when it is at least half of the buffer, so that each byte is moved once on average.
        if self.begin > 0 && self.begin >= self.bytes.len() - self.begin {
            self.bytes.drain(..self.begin);
            self.begin = 0;
        }
        if self.bytes.capacity() == 0 {
            // What is usual: a whole head, which will take the buffer away with it, and may be given a field more.
            self.bytes = Vec::with_capacity(data.len() + ADDED_FIELD_SIZE);
        }
        self.bytes.extend_from_slice(data);
    }

    /// Takes the next `size` bytes out, with the buffer around them if it holds nothing else.
    #[inline(always)]
    pub(super) fn take(&mut self, size: usize) -> Vec<u8> {
        if self.begin == 0 && size == self.bytes.len() {
            return mem::take(&mut self.bytes);
        }
        let taken = self.rest()[..size].to_vec();
        self.begin += size;
        taken
    }

    pub(super) fn discard(&mut self) {
        self.bytes = Vec::new();
        self.begin = 0;
    }
}

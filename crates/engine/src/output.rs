//! Response bytes between the application and the socket.
//!
//! What the socket takes at once is never stored. What it does not take waits here, in order, and the reactor flushes it;
//! large blocks and files wait as references, not as copies.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::socket::{Moved, Socket};

/// Most bytes of a file handed to the kernel in one call, so that one peer with a fast link cannot hold up a turn.
const FILE_PIECE_MAX: usize = 1024 * 1024;

thread_local! {
    /// Where a response is put together before it goes to the socket: once per thread instead of once per response.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends out an empty buffer.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        work(scratch)
    })
}

#[derive(Debug)]
enum Segment {
    Bytes(Bytes),
    File { file: File, offset: u64, remaining: u64 },
}

/// How far a flush came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is in the kernel's hands.
    All,
    /// The socket is full; a wake will come. Says whether anything moved.
    Blocked { progress: bool },
    /// The bound on work was reached while the socket still takes more.
    Enough,
    /// A file ended before the length that was promised for it.
    FileShort,
    /// The connection is lost.
    Lost(io::ErrorKind),
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Output {
    segments: VecDeque<Segment>,
    unsent: u64,
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes that the kernel has not taken yet.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, segment: Segment) {
        let size = match &segment {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::File { remaining, .. } => *remaining,
        };
        if size > 0 {
            self.unsent += size;
            self.segments.push_back(segment);
        }
    }

    pub(crate) fn push_bytes(&mut self, bytes: Bytes) {
        self.push(Segment::Bytes(bytes));
    }

    pub(crate) fn push_file(&mut self, file: File, offset: u64, length: u64) {
        self.push(Segment::File { file, offset, remaining: length });
    }

    /// Sends `bytes` after what already waits; what the socket does not take is copied and kept.
    pub(crate) fn send(&mut self, socket: &Socket, bytes: &[u8], more: bool) -> Flushed {
        if !self.is_empty() {
            self.push_bytes(Bytes::copy_from_slice(bytes));
            return Flushed::Blocked { progress: false };
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match socket.send(rest, more) {
                Moved::Bytes(count) => rest = &rest[count..],
                Moved::Blocked | Moved::End => {
                    self.push_bytes(Bytes::copy_from_slice(rest));
                    return Flushed::Blocked { progress: rest.len() < bytes.len() };
                }
                Moved::Lost(kind) => return Flushed::Lost(kind),
            }
        }
        Flushed::All
    }

    /// Sends `before`, `data` and `after` in one call without copying `data`; what is left of `data` is kept by reference.
    pub(crate) fn send_large(
        &mut self,
        socket: &Socket,
        before: &[u8],
        data: Bytes,
        after: &[u8],
    ) -> Flushed {
        if !self.is_empty() {
            self.push_bytes(Bytes::copy_from_slice(before));
            self.push_bytes(data);
            self.push_bytes(Bytes::copy_from_slice(after));
            return Flushed::Blocked { progress: false };
        }
        let parts = [IoSlice::new(before), IoSlice::new(&data), IoSlice::new(after)];
        let sent = match socket.send_vectored(&parts) {
            Moved::Bytes(count) => count,
            Moved::Blocked | Moved::End => 0,
            Moved::Lost(kind) => return Flushed::Lost(kind),
        };
        let data_sent = sent.saturating_sub(before.len()).min(data.len());
        let after_sent = sent.saturating_sub(before.len() + data.len());
        self.push_bytes(Bytes::copy_from_slice(&before[sent.min(before.len())..]));
        self.push_bytes(data.slice(data_sent..));
        self.push_bytes(Bytes::copy_from_slice(&after[after_sent..]));
        // After a short count the socket must be asked again: only an attempt that fails promises a wake.
        self.flush(socket)
    }

    /// Sends what waits, up to a bound of work.
    pub(crate) fn flush(&mut self, socket: &Socket) -> Flushed {
        let mut progress = false;
        let mut pieces = 0;
        loop {
            let more = self.segments.len() > 1;
            let Some(segment) = self.segments.front_mut() else { return Flushed::All };
            if pieces == 8 {
                return Flushed::Enough;
            }
            pieces += 1;
            let (moved, left) = match segment {
                Segment::Bytes(bytes) => {
                    let moved = socket.send(bytes, more);
                    if let Moved::Bytes(count) = moved {
                        let _ = bytes.split_to(count);
                    }
                    (moved, bytes.len() as u64)
                }
                Segment::File { file, offset, remaining } => {
                    let piece = usize::try_from(*remaining).unwrap_or(FILE_PIECE_MAX).min(FILE_PIECE_MAX);
                    let moved = socket.send_file(file, offset, piece);
                    if let Moved::Bytes(count) = moved {
                        *remaining -= count as u64;
                    }
                    (moved, *remaining)
                }
            };
            match moved {
                Moved::Bytes(count) => {
                    progress = true;
                    self.unsent -= count as u64;
                    if left == 0 {
                        self.segments.pop_front();
                    }
                }
                Moved::Blocked => return Flushed::Blocked { progress },
                Moved::End => return Flushed::FileShort,
                Moved::Lost(kind) => return Flushed::Lost(kind),
            }
        }
    }
}

//! Response bytes between the application and the socket.
//!
//! What the socket takes at once is never stored. What it does not take waits here, in order, and the reactor flushes it;
//! large blocks and files wait as references, not as copies.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::ResponseRecords;

use crate::carrier::Carrier;
use crate::socket::Moved;

/// Most bytes of a file handed to the kernel in one call, so that one peer with a fast link cannot hold up a turn.
const FILE_PIECE_MAX: usize = 1024 * 1024;

/// Most bytes of small blocks that are put together to one: a peer that is slow to take many of them costs what they hold, not an
/// allocation and a system call for each.
const COPIED_SIZE_MAX: usize = 16 * 1024;

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
    Copied(BytesMut),
    File(FilePart),
    /// Framed record by record as it is sent.
    InRecords(ResponseRecords, FilePart),
}

#[derive(Debug)]
struct FilePart {
    file: Arc<File>,
    offset: u64,
    remaining: u64,
}

impl FilePart {
    /// Takes off what goes into the next record; with what comes before it.
    fn take_record(&mut self, records: ResponseRecords) -> (Bytes, Self) {
        let mut header = Vec::new();
        let size = records.begin(self.remaining, &mut header) as u64;
        let content = Self { file: self.file.clone(), offset: self.offset, remaining: size };
        self.offset += size;
        self.remaining -= size;
        (header.into(), content)
    }
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
    /// Bytes that it has taken since that was asked.
    sent: u64,
    /// The carrier has something that the kernel has not taken.
    withheld: bool,
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && !self.withheld
    }

    /// Bytes that the kernel has not taken yet.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Bytes that the kernel has taken since this was asked before.
    pub(crate) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, segment: Segment) {
        let size = match &segment {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::Copied(bytes) => bytes.len() as u64,
            Segment::File(part) | Segment::InRecords(_, part) => part.remaining,
        };
        if size > 0 {
            self.unsent += size;
            self.segments.push_back(segment);
        }
    }

    /// What was sent before it may still wait in the carrier.
    pub(crate) fn take_over(&mut self, carrier: &Carrier, unsent: Vec<u8>) {
        self.withheld = carrier.is_pending();
        self.push_bytes(unsent.into());
    }

    pub(crate) fn push_bytes(&mut self, bytes: Bytes) {
        self.push(Segment::Bytes(bytes));
    }

    fn push_copy(&mut self, bytes: &[u8]) {
        match self.segments.back_mut() {
            Some(Segment::Copied(last)) if last.len() + bytes.len() <= COPIED_SIZE_MAX => {
                last.extend_from_slice(bytes);
                self.unsent += bytes.len() as u64;
            }
            _ => self.push(Segment::Copied(BytesMut::from(bytes))),
        }
    }

    pub(crate) fn push_file(&mut self, file: Arc<File>, offset: u64, length: u64) {
        self.push(Segment::File(FilePart { file, offset, remaining: length }));
    }

    pub(crate) fn push_file_in_records(
        &mut self,
        records: ResponseRecords,
        file: Arc<File>,
        offset: u64,
        length: u64,
    ) {
        self.push(Segment::InRecords(records, FilePart { file, offset, remaining: length }));
    }

    /// Sends `bytes` after what already waits; what the socket does not take is copied and kept.
    pub(crate) fn send(&mut self, carrier: &Carrier, bytes: &[u8], more: bool) -> Flushed {
        if !self.is_empty() {
            self.push_copy(bytes);
            return Flushed::Blocked { progress: false };
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match carrier.send(rest, more) {
                Moved::Bytes(count) => {
                    rest = &rest[count..];
                    self.sent += count as u64;
                }
                Moved::Blocked | Moved::End => {
                    self.push_copy(rest);
                    self.withheld = carrier.is_pending();
                    return Flushed::Blocked { progress: rest.len() < bytes.len() };
                }
                Moved::Lost(kind) => return Flushed::Lost(kind),
            }
        }
        // What follows brings the end.
        if more { Flushed::All } else { self.all_is_taken(carrier) }
    }

    /// Sends the last bytes of a connection, and says so in the same segment.
    pub(crate) fn send_last(&mut self, carrier: &Carrier, bytes: &[u8]) -> Flushed {
        let flushed = self.send(carrier, bytes, true);
        if flushed == Flushed::All {
            carrier.shut_output();
        }
        flushed
    }

    /// Everything is in the carrier's hands, if not in the kernel's.
    #[inline(always)]
    fn all_is_taken(&mut self, carrier: &Carrier) -> Flushed {
        if let Some(kind) = carrier.conclude() {
            return Flushed::Lost(kind);
        }
        self.withheld = carrier.is_pending();
        if self.withheld { Flushed::Blocked { progress: true } } else { Flushed::All }
    }

    /// Sends `before`, `data` and `after` in one call without copying `data`; what is left of `data` is kept by reference.
    pub(crate) fn send_large(
        &mut self,
        carrier: &Carrier,
        before: &[u8],
        data: Bytes,
        after: &[u8],
    ) -> Flushed {
        if !self.is_empty() {
            self.push_copy(before);
            self.push_bytes(data);
            self.push_copy(after);
            return Flushed::Blocked { progress: false };
        }
        if let Carrier::Stream(_) = carrier {
            self.push_copy(before);
            self.push_bytes(data);
            self.push_copy(after);
            return self.flush(carrier);
        }
        let parts = [IoSlice::new(before), IoSlice::new(&data), IoSlice::new(after)];
        let sent = match carrier.send_vectored(&parts) {
            Moved::Bytes(count) => count,
            Moved::Blocked | Moved::End => 0,
            Moved::Lost(kind) => return Flushed::Lost(kind),
        };
        self.sent += sent as u64;
        let data_sent = sent.saturating_sub(before.len()).min(data.len());
        let after_sent = sent.saturating_sub(before.len() + data.len());
        self.push_copy(&before[sent.min(before.len())..]);
        self.push_bytes(data.slice(data_sent..));
        self.push_copy(&after[after_sent..]);
        // After a short count the socket must be asked again: only an attempt that fails promises a wake.
        self.flush(carrier)
    }

    /// Sends what waits, up to a bound of work.
    pub(crate) fn flush(&mut self, carrier: &Carrier) -> Flushed {
        let mut progress = false;
        if self.withheld {
            match carrier.flush() {
                Moved::Lost(kind) => return Flushed::Lost(kind),
                moved => progress = matches!(moved, Moved::Bytes(_)),
            }
            self.withheld = carrier.is_pending();
            if self.withheld {
                return Flushed::Blocked { progress };
            }
        }
        let mut pieces = 0;
        loop {
            let more = self.segments.len() > 1;
            let Some(segment) = self.segments.front_mut() else { return self.all_is_taken(carrier) };
            if pieces == 8 {
                self.withheld = carrier.is_pending();
                return Flushed::Enough;
            }
            pieces += 1;
            let (moved, left) = match segment {
                Segment::Bytes(bytes) => (carrier.send_shared(bytes, more), bytes.len() as u64),
                Segment::Copied(bytes) => send_from(carrier, bytes, more),
                Segment::File(FilePart { file, offset, remaining }) => {
                    let piece = usize::try_from(*remaining).unwrap_or(FILE_PIECE_MAX).min(FILE_PIECE_MAX);
                    let moved = carrier.send_file(file, offset, piece, more || piece as u64 != *remaining);
                    if let Moved::Bytes(count) = moved {
                        *remaining -= count as u64;
                    }
                    (moved, *remaining)
                }
                Segment::InRecords(records, part) => {
                    let (header, content) = part.take_record(*records);
                    if part.remaining == 0 {
                        self.segments.pop_front();
                    }
                    self.unsent += header.len() as u64;
                    self.segments.push_front(Segment::File(content));
                    self.segments.push_front(Segment::Bytes(header));
                    continue;
                }
            };
            match moved {
                Moved::Bytes(count) => {
                    progress = true;
                    self.unsent -= count as u64;
                    self.sent += count as u64;
                    if left == 0 {
                        self.segments.pop_front();
                    }
                }
                Moved::Blocked => {
                    self.withheld = carrier.is_pending();
                    return Flushed::Blocked { progress };
                }
                Moved::End => return Flushed::FileShort,
                Moved::Lost(kind) => return Flushed::Lost(kind),
            }
        }
    }
}

/// Sends from the beginning of `bytes`, which is taken off. Says what is left, too.
fn send_from(carrier: &Carrier, bytes: &mut impl Buf, more: bool) -> (Moved, u64) {
    let moved = carrier.send(bytes.chunk(), more);
    if let Moved::Bytes(count) = moved {
        bytes.advance(count);
    }
    (moved, bytes.remaining() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Socket;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn many_small_blocks_for_a_peer_that_takes_none_are_kept_as_a_few_and_come_in_order() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let carrier = Carrier::Plain(Socket::new(near.into()));
        let (mut output, mut sent) = (Output::default(), Vec::new());
        while output.is_empty() {
            output.send(&carrier, &[0; 1000], false);
            sent.extend_from_slice(&[0; 1000]);
        }
        for number in 0..20_000_u16 {
            output.send(&carrier, &number.to_be_bytes(), false);
            sent.extend_from_slice(&number.to_be_bytes());
        }
        output.send_large(&carrier, b"before", Bytes::from_static(b"large"), b"after");
        sent.extend_from_slice(b"beforelargeafter");
        assert!(output.segments.len() <= 3 + 40_000 / COPIED_SIZE_MAX + 2, "{}", output.segments.len());

        let mut received = Vec::new();
        let mut buffer = vec![0; 4096];
        while received.len() < sent.len() {
            let count = far.read(&mut buffer).unwrap();
            received.extend_from_slice(&buffer[..count]);
            output.flush(&carrier);
        }
        assert!(received == sent && output.is_empty() && output.unsent() == 0);
    }
}

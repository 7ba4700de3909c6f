//! Responses in FastCGI's records: a block goes in as many as it takes.

use std::sync::Arc;

use bytes::Bytes;

use tidegate_http::ResponseRecords;

use crate::carrier::Carrier;
use crate::exchange::Block;
use crate::output::{Flushed, Output};

/// Sends what stands in `out`, then `take` bytes of the block in records, then `end`.
pub(crate) fn send(
    records: ResponseRecords,
    output: &mut Output,
    carrier: &Carrier,
    out: &mut Vec<u8>,
    (block, take): (Block<'_>, usize),
    end: &[u8],
) -> Flushed {
    let was_empty = output.is_empty();
    match block {
        Block::Borrowed(bytes) => {
            let mut rest = &bytes[..take];
            while !rest.is_empty() {
                let (content, after) = rest.split_at(records.begin(rest.len() as u64, out));
                out.extend_from_slice(content);
                rest = after;
            }
            out.extend_from_slice(end);
            return output.send(carrier, out, false);
        }
        Block::Shared(bytes) => {
            let mut rest = bytes.slice(..take);
            while !rest.is_empty() {
                let content = rest.split_to(records.begin(rest.len() as u64, out));
                output.push_bytes(Bytes::copy_from_slice(out));
                output.push_bytes(content);
                out.clear();
            }
        }
        Block::File { file, offset, .. } => {
            output.push_bytes(Bytes::copy_from_slice(out));
            output.push_file_in_records(records, Arc::new(file), offset, take as u64);
        }
    }
    output.push_bytes(Bytes::copy_from_slice(end));
    // What waited already has met a full socket, of which a wake will tell. A file is read by the reactor.
    if was_empty { Flushed::Enough } else { Flushed::Blocked { progress: false } }
}

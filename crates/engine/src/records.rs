//! Responses in FastCGI's records: a block goes in as many as it takes.

use std::sync::Arc;

use bytes::Bytes;

use crate::carrier::Carrier;
use crate::connection::Core;
use crate::exchange::Block;
use crate::output::Flushed;

/// Sends what stands in `out`, then `take` bytes of the block in records, then `end`.
pub(crate) fn send(
    core: &mut Core,
    carrier: &Carrier,
    out: &mut Vec<u8>,
    (block, take): (Block<'_>, usize),
    end: &[u8],
) -> Flushed {
    let was_empty = core.output.is_empty();
    match block {
        Block::Borrowed(bytes) => {
            let mut rest = &bytes[..take];
            while !rest.is_empty() {
                let (content, after) = rest.split_at(core.http.begin_record(rest.len() as u64, out));
                out.extend_from_slice(content);
                rest = after;
            }
            out.extend_from_slice(end);
            return core.output.send(carrier, out, false);
        }
        Block::Shared(bytes) => {
            let mut rest = bytes.slice(..take);
            while !rest.is_empty() {
                let content = rest.split_to(core.http.begin_record(rest.len() as u64, out));
                core.output.push_bytes(Bytes::copy_from_slice(out));
                core.output.push_bytes(content);
                out.clear();
            }
        }
        Block::File { file, mut offset, .. } => {
            let (file, stop) = (Arc::new(file), offset + take as u64);
            while offset < stop {
                let size = core.http.begin_record(stop - offset, out) as u64;
                core.output.push_bytes(Bytes::copy_from_slice(out));
                core.output.push_file(file.clone(), offset, size);
                out.clear();
                offset += size;
            }
        }
    }
    core.output.push_bytes(Bytes::copy_from_slice(end));
    // What waited already has met a full socket, of which a wake will tell. A file is read by the reactor.
    if was_empty { Flushed::Enough } else { Flushed::Blocked { progress: false } }
}

//! DEFLATE for whole messages (RFC 7692 section 7.2).
//!
//! Nothing is kept from one message to the next, so a thread has one compressor and one decompressor for all its connections,
//! and a connection that is at rest has none.

use std::cell::Cell;

use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress, Status};

use crate::ws::error::Fault;
use crate::ws::extension::WindowBits;

/// What ends a message and is not sent (RFC 7692 section 7.2.1), and an empty last block, by which is known that the message
/// ended where a block did.
const TAIL: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// The part of [`TAIL`] that a compressor writes.
const FLUSHED: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// What is set aside for a message before it is known to be larger.
const ROOM_SIZE_MIN: usize = 256;

/// The fastest. A KiB of JSON becomes a third of it in 4 us; the next level makes a quarter of it, in 10.
const LEVEL: Level = Level::new(1);

/// How many streams of blocks a message may be. A stream ends where a block says that it is the last, and another may follow
/// (RFC 7692 section 7.2.3.4). No encoder ends more than one for a message, and each is work without data.
const STREAMS_MAX: usize = 64;

type Deflaters = [Cell<Option<Compress>>; WindowBits::COUNT];

thread_local! {
    static INFLATER: Cell<Option<Decompress>> = const { Cell::new(None) };
    /// One for each window, as it is set for life. All but the largest are rarely asked for.
    static DEFLATERS: Deflaters = const { [const { Cell::new(None) }; WindowBits::COUNT] };
}

/// Decompresses a whole message. `check` sees all that is there of it whenever there is more, so that what is wrong with it is
/// known before the rest is decompressed.
pub(crate) fn inflate(
    data: &[u8],
    size_max: usize,
    check: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<Vec<u8>, Fault> {
    let kept = INFLATER.try_with(Cell::take).ok().flatten();
    let mut inflater = kept.unwrap_or_else(|| Decompress::new(false));
    let message = inflate_with(&mut inflater, data, size_max, check)?;
    inflater.reset(false);
    // A thread that is about to end keeps nothing.
    let _ = INFLATER.try_with(|slot| slot.set(Some(inflater)));
    Ok(message)
}

fn inflate_with(
    inflater: &mut Decompress,
    data: &[u8],
    size_max: usize,
    mut check: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    // An empty message is a byte (RFC 7692 section 7.2.3.6), but some send none.
    if data.is_empty() {
        return Ok(out);
    }
    // One more than may be tells that there is too much.
    let room_max = size_max.saturating_add(1);
    let mut streams = 1;
    for (mut rest, of_message) in [(data, true), (&TAIL[..], false)] {
        loop {
            if out.len() == out.capacity() {
                let room = (4 * data.len()).max(2 * out.capacity()).max(ROOM_SIZE_MIN).min(room_max);
                out.reserve_exact(room - out.len());
            }
            let (taken, given) = (inflater.total_in(), out.len());
            let status = inflater.decompress_vec(rest, &mut out, FlushDecompress::None);
            let taken = (inflater.total_in() - taken) as usize;
            rest = rest.get(taken..).unwrap_or_default();
            if out.len() > size_max {
                return Err(Fault::MessageTooLarge);
            }
            if out.len() > given {
                check(&out)?;
            }
            match status {
                // The last block was the message's own (RFC 7692 section 7.2.3.4), or that of the tail.
                Ok(Status::StreamEnd) if rest.is_empty() => {
                    // What is still to be handled may wait for long: it holds no more than it needs.
                    out.shrink_to_fit();
                    return Ok(out);
                }
                Ok(Status::StreamEnd) if of_message && streams < STREAMS_MAX => {
                    streams += 1;
                    inflater.reset(false);
                }
                Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => {}
                Ok(Status::Ok | Status::BufError) if rest.is_empty() => break,
                Ok(_) | Err(_) => return Err(Fault::Compression),
            }
        }
    }
    Err(Fault::Compression)
}

/// Compresses a whole message to the end of `out`, if that makes it smaller. Otherwise `out` is as it was.
pub(crate) fn deflate(data: &[u8], window: WindowBits, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    // Room for what grows, too: a fixed code spends nine bits on eight at worst (RFC 1951 section 3.2.6).
    out.reserve(data.len() + data.len() / 8 + ROOM_SIZE_MIN);
    let take = |slots: &Deflaters| slots.get(window.index()).and_then(Cell::take);
    let kept = DEFLATERS.try_with(take).ok().flatten();
    let mut deflater = kept.unwrap_or_else(|| Compress::new_with_window_bits(LEVEL, false, window.get()));
    let status = deflater.compress_vec(data, out, FlushCompress::Sync);
    // Room left over tells that all was written.
    let complete = matches!(status, Ok(Status::Ok))
        && deflater.total_in() == data.len() as u64
        && out.len() < out.capacity()
        && out.ends_with(FLUSHED);
    // One that has still to write is not used again: zlib-rs 0.6.8 does not forget all of it when it is reset, and panics later.
    if complete {
        deflater.reset();
        let _ = DEFLATERS.try_with(|slots| {
            if let Some(slot) = slots.get(window.index()) {
                slot.set(Some(deflater));
            }
        });
    }
    let end = out.len().saturating_sub(FLUSHED.len());
    let smaller = complete && end < begin + data.len();
    out.truncate(if smaller { end } else { begin });
    smaller
}

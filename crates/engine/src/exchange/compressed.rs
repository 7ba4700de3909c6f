//! Responses that are compressed on their way out.
//!
//! The work is done here, on the thread that gives the block and without the connection's lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tidegate_http::coding::{self, BodyShape, Coding, Encoder, EncoderFault};
use tidegate_http::{BodyLength, ResponseHead, ResponseTrailers};

use super::{Block, Exchange, LARGE_BLOCK_MIN, SendError, Sent};
use crate::compression::{Compression, KeptEncoder, Treatment};

/// Bytes of a file that are in memory at once.
const FILE_PIECE_SIZE: usize = 64 * 1024;

/// A body of which blocks are still to come.
#[derive(Debug)]
pub(super) struct CompressedBody {
    encoder: KeptEncoder,
    /// What the application has still to give, where it has said how much it will.
    left: Option<u64>,
}

/// Why a block was not compressed.
enum Failure {
    Encoder(EncoderFault),
    File(io::Error),
}

impl Exchange {
    /// As `send_part`, in a server that compresses.
    pub(super) fn send_compressed(
        &mut self,
        compression: &Compression,
        head: Option<(&ResponseHead, BodyLength)>,
        block: Block<'_>,
        end_with: Option<&ResponseTrailers>,
    ) -> Result<Sent, SendError> {
        let Some((head, length)) = head else {
            return match self.compressed.take() {
                Some(body) => self.go_on(*body, None, block, end_with),
                None => self.send_part(None, block, end_with),
            };
        };
        let to_head = self.head.method() == "HEAD";
        let size = head.content_length().or(match length {
            // Nothing given to HEAD does not mean that GET would bring nothing.
            BodyLength::Known(0) if to_head => None,
            BodyLength::Known(size) => Some(size),
            // So large a block is not taken up, though more may follow.
            BodyLength::Unknown => Some(block.len()).filter(|size| *size > compression.size_max()),
        });
        let (coding, must_be) = match compression.treat(&self.head, head, size) {
            Treatment::Plain => return self.send_part(Some((head, length)), block, end_with),
            Treatment::Headed(head) => return self.send_part(Some((&head, length)), block, end_with),
            Treatment::Encoded { coding, must_be } => (coding, must_be),
        };
        if to_head {
            let head = encoded(head, coding)?;
            return self.send_part(Some((&head, BodyLength::Unknown)), block, end_with);
        }
        // What announces its length mostly comes in one block, and its end after it.
        let is_whole = head.content_length().map_or(end_with.is_some(), |size| size == block.len());
        if is_whole {
            if let Some(bytes) = whole(coding, &block).filter(|it| must_be || (it.len() as u64) < block.len())
            {
                let head = encoded(head, coding)?;
                let length = BodyLength::Known(bytes.len() as u64);
                return self.send_bytes(Some((&head, length)), bytes, end_with);
            }
        } else if let Some(Ok(encoder)) = compression.keep(coding) {
            let head = encoded(head, coding)?;
            return self.go_on(CompressedBody { encoder, left: size }, Some(&head), block, end_with);
        }
        let head = coding::varied(head).map_err(|_| SendError::Gone)?;
        self.send_part(Some((&head, length)), block, end_with)
    }

    /// Sends a block, before the first one the head.
    fn go_on(
        &mut self,
        mut body: CompressedBody,
        head: Option<&ResponseHead>,
        block: Block<'_>,
        end_with: Option<&ResponseTrailers>,
    ) -> Result<Sent, SendError> {
        let take = body.left.map_or(block.len(), |left| left.min(block.len()));
        let overrun = take < block.len();
        body.left = body.left.map(|left| left - take);
        let missing = body.left.filter(|_| end_with.is_some()).unwrap_or(0);
        let is_over = end_with.is_some() && missing == 0;
        let mut out = Vec::new();
        let mut taken = compress(&mut body.encoder.encoder, &block, take, &mut out);
        let mut kept = None;
        if is_over {
            taken = taken.and_then(|()| body.encoder.finish(&mut out).map_err(Failure::Encoder));
        } else {
            if take > 0 {
                taken = taken.and_then(|()| body.encoder.encoder.flush(&mut out).map_err(Failure::Encoder));
            }
            kept = Some(Box::new(body));
        }
        let peer = self.connection.peer;
        match taken {
            Ok(()) => {}
            Err(Failure::Encoder(fault)) => {
                log::error!("{peer}: {fault}: the response is cut");
                self.cut();
                return Err(SendError::Gone);
            }
            Err(Failure::File(error)) => {
                log::warn!("{peer}: a file could not be read to the end that it had: {error}");
                self.cut();
                return Err(SendError::Gone);
            }
        }
        let head = head.map(|head| (head, BodyLength::Unknown));
        self.send_bytes(head, out, end_with.filter(|_| is_over))?;
        if missing > 0 {
            // Its end would say that it is whole.
            self.cut();
        } else {
            self.compressed = kept;
        }
        Ok(Sent { overrun, missing })
    }

    fn send_bytes(
        &mut self,
        head: Option<(&ResponseHead, BodyLength)>,
        bytes: Vec<u8>,
        end_with: Option<&ResponseTrailers>,
    ) -> Result<Sent, SendError> {
        if bytes.len() >= LARGE_BLOCK_MIN {
            self.send_part(head, Block::Shared(Bytes::from(bytes)), end_with)
        } else {
            self.send_part(head, Block::Borrowed(&bytes), end_with)
        }
    }
}

fn encoded(head: &ResponseHead, coding: Coding) -> Result<ResponseHead, SendError> {
    // One that was valid stays so.
    coding::encoded(head, coding).map_err(|_| SendError::Gone)
}

/// A whole body; nothing where that fails, and it can still be sent as it is.
fn whole(coding: Coding, block: &Block<'_>) -> Option<Vec<u8>> {
    let size = usize::try_from(block.len()).ok()?;
    let mut encoder = Encoder::new(coding, BodyShape::Whole(size)).ok()?;
    let mut out = Vec::new();
    compress(&mut encoder, block, block.len(), &mut out).ok()?;
    encoder.finish(&mut out).ok()?;
    Some(out)
}

/// Compresses the first `take` bytes of a block.
fn compress(encoder: &mut Encoder, block: &Block<'_>, take: u64, out: &mut Vec<u8>) -> Result<(), Failure> {
    let of = |bytes: &[u8]| bytes.len().min(usize::try_from(take).unwrap_or(usize::MAX));
    match block {
        Block::Borrowed(bytes) => encoder.take(&bytes[..of(bytes)], out).map_err(Failure::Encoder),
        Block::Shared(bytes) => encoder.take(&bytes[..of(bytes)], out).map_err(Failure::Encoder),
        Block::File { file, offset, .. } => compress_file(encoder, file, *offset, take, out),
    }
}

fn compress_file(
    encoder: &mut Encoder,
    file: &File,
    mut offset: u64,
    mut left: u64,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut piece = vec![0; usize::try_from(left).unwrap_or(FILE_PIECE_SIZE).min(FILE_PIECE_SIZE)];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(FILE_PIECE_SIZE).min(piece.len());
        file.read_exact_at(&mut piece[..size], offset).map_err(Failure::File)?;
        encoder.take(&piece[..size], out).map_err(Failure::Encoder)?;
        offset += size as u64;
        left -= size as u64;
    }
    Ok(())
}

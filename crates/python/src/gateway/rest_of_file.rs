//! A file that is sent as an application's answer.

use std::fs::File;
use std::io;

use tidegate_engine::Block;

/// Bytes of a file that are compressed at once: others have their turn after them, and the client takes them first.
const COMPRESSED_PIECE_MAX: u64 = 64 * 1024;

/// The part of a regular file that is still unsent.
pub(crate) struct RestOfFile {
    pub(crate) file: File,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl RestOfFile {
    /// What is sent of it next, and what is left after that: nothing, unless it is compressed on its way.
    pub(crate) fn split(self, is_compressed: bool) -> io::Result<(Block<'static>, Option<Self>)> {
        let Self { file, offset, length } = self;
        let piece = if is_compressed { length.min(COMPRESSED_PIECE_MAX) } else { length };
        let rest = match length - piece {
            0 => None,
            length => Some(Self { file: file.try_clone()?, offset: offset + piece, length }),
        };
        Ok((Block::File { file, offset, length: piece }, rest))
    }
}

//! The request body between the socket and the application: a bounded run of bytes, and how it ended.
//!
//! A body that must be whole before the application starts goes on in an unlinked temporary file when memory is full.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::{fmt, io};

use tidegate_http::RequestFault;

/// Why a body will never be complete.
#[derive(Clone, Debug)]
pub enum BodyFault {
    /// The peer broke a rule of the framing, or closed before the end.
    Request(RequestFault),
    /// The bytes came slower than the minimum rate.
    TooSlow,
    /// The temporary file that was to hold it failed.
    Storage(io::ErrorKind),
    /// The connection is lost.
    Lost,
    /// The server was told to stop at once.
    Stopped,
    /// The request has taken longer than it may.
    Expired,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(fault) => fault.fmt(f),
            Self::TooSlow => f.write_str("the request body came slower than the minimum rate"),
            Self::Storage(kind) => {
                write!(f, "the request body could not be kept in a temporary file: {kind}")
            }
            Self::Lost => f.write_str("the client left before the request body was complete"),
            Self::Stopped => f.write_str("the server stops"),
            Self::Expired => f.write_str("the request has taken longer than it may"),
        }
    }
}

/// Most bytes of a temporary file that are in memory at once.
const FILE_PIECE_MAX: u64 = 256 * 1024;

/// Bytes that are in and not yet taken.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    file: Option<BodyFile>,
    pub(crate) complete: bool,
    pub(crate) fault: Option<BodyFault>,
}

/// What came before the bytes in memory.
#[derive(Debug)]
struct BodyFile {
    file: File,
    written: u64,
    read: u64,
}

impl Body {
    /// Bytes in memory.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that are in and not yet taken, wherever they are.
    pub(crate) fn len(&self) -> u64 {
        let in_file = self.file.as_ref().map_or(0, |file| file.written - file.read);
        in_file + self.bytes.len() as u64
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// The end of what is in memory, for a socket to receive onto.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves what is in memory to the temporary file, and gives the memory back too if it is scarce. For a body of which nothing has been
    /// taken.
    pub(crate) fn spill(&mut self, scarce: bool) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BodyFile { file: tempfile::tempfile()?, written: 0, read: 0 }),
        };
        file.file.write_all_at(&self.bytes, file.written)?;
        file.written += self.bytes.len() as u64;
        if scarce {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
        Ok(())
    }

    /// Takes bytes from the front; none when none are in.
    pub(crate) fn take(&mut self) -> io::Result<Vec<u8>> {
        if let Some(file) = &mut self.file
            && file.read < file.written
        {
            let size = (file.written - file.read).min(FILE_PIECE_MAX);
            let mut piece = vec![0; size as usize];
            file.file.read_exact_at(&mut piece, file.read)?;
            file.read += size;
            return Ok(piece);
        }
        Ok(std::mem::take(&mut self.bytes))
    }
}

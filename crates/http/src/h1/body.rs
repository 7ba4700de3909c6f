//! Request bodies: where their bytes begin and end in the input.

use std::ops::Range;

use crate::error::RequestFault;
use crate::field::is_tchar;
use crate::limits::Limits;

/// Chunks that any body may have, however small they are.
const CHUNKS_FREE: u64 = 16_384;

/// Past [`CHUNKS_FREE`], chunks must bring this many bytes each on average: the work for a chunk is then at most twice that
/// for its bytes. 16: a server-sent event or a line of JSON is longer.
const CHUNK_DATA_MIN: u64 = 16;

/// Hexadecimal digits of a chunk size, leading zeros among them: those of 64 bits. More are work without data.
const CHUNK_DIGITS_MAX: u8 = 16;

/// How a request's body is delimited (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// Neither Content-Length nor Transfer-Encoding: there is no body.
    Empty,
    /// Content-Length, which may be zero.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// What the next bytes of a body are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All input is spent.
    NeedData,
    /// Body bytes, at this place of the input; not empty.
    Data(Range<usize>),
    /// A trailer section begins, which is empty if a blank line comes first.
    Trailers,
    /// The body is complete.
    End,
}

/// Reads one request's body.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// A number of bytes still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
}

impl Decoder {
    pub(crate) fn new(kind: BodyKind) -> Self {
        match kind {
            BodyKind::Empty => Self::Length(0),
            BodyKind::Length(length) => Self::Length(length),
            BodyKind::Chunked => Self::Chunked(Chunked::default()),
        }
    }

    /// Reads on. Also tells how many bytes of the input are spent, the data among them.
    pub(crate) fn decode(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Decoded), RequestFault> {
        match self {
            Self::Length(0) => Ok((0, Decoded::End)),
            Self::Length(remaining) => Ok(take_data(remaining, input, 0)),
            Self::Chunked(chunked) => chunked.decode(input, limits),
        }
    }
}

/// Up to `remaining` bytes of data from `begin` on.
fn take_data(remaining: &mut u64, input: &[u8], begin: usize) -> (usize, Decoded) {
    let available = input.len() - begin;
    let size = usize::try_from(*remaining).unwrap_or(usize::MAX).min(available);
    if size == 0 {
        return (begin, Decoded::NeedData);
    }
    *remaining -= size as u64;
    (begin + size, Decoded::Data(begin..begin + size))
}

/// Where in the chunked coding (RFC 9112 section 7.1) the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// First digit of a size.
    #[default]
    Size,
    /// Further digits, or what follows them.
    SizeMore,
    /// White space after the size or an extension: only ";" goes on.
    BeforeSemicolon,
    /// White space after ";".
    BeforeName,
    Name,
    /// White space after a name: "=" or ";".
    AfterName,
    /// White space after "=".
    BeforeValue,
    Token,
    Quoted,
    /// After a backslash in a quoted string.
    Escaped,
    /// After the quote that ends a quoted string.
    AfterValue,
    /// The LF that ends a size line.
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    /// After the last chunk's line.
    Trailers,
}

/// Reads the chunked coding.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    position: Position,
    digits: u8,
    /// The size being read, then the data bytes of this chunk that are still to come.
    remaining: u64,
    chunks: u64,
    /// Data bytes announced so far.
    announced: u64,
    /// Most of them, where this one body has a limit of its own.
    pub(crate) announced_max: Option<u64>,
    extension_size: usize,
}

impl Chunked {
    fn decode(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Decoded), RequestFault> {
        let mut at = 0;
        loop {
            match self.position {
                Position::Data => {
                    let (spent, decoded) = take_data(&mut self.remaining, input, at);
                    if self.remaining == 0 {
                        self.position = Position::DataCarriageReturn;
                    }
                    return Ok((spent, decoded));
                }
                Position::Trailers => return Ok((at, Decoded::Trailers)),
                _ => {}
            }
            let Some(&byte) = input.get(at) else { return Ok((at, Decoded::NeedData)) };
            at += 1;
            self.position = self.step(byte, limits)?;
        }
    }

    /// Takes one byte that is not data.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<Position, RequestFault> {
        use Position as P;
        let next = match (self.position, byte) {
            (P::Size | P::SizeMore, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return self.digit(byte),
            (P::Size, _) => return Err(RequestFault::ChunkSize),
            (P::SizeMore | P::Name | P::AfterName | P::Token | P::AfterValue | P::BeforeSemicolon, b';') => {
                P::BeforeName
            }
            (P::SizeMore | P::Name | P::Token | P::AfterValue, b'\r') => return Ok(P::SizeLineFeed),
            (P::SizeMore, b' ' | b'\t') => P::BeforeSemicolon,
            (P::SizeMore, _) => return Err(RequestFault::ChunkSize),
            // White space around ";" and "=" is bad, but must be read (RFC 9110 section 5.6.3).
            (P::BeforeSemicolon | P::BeforeName | P::AfterName | P::BeforeValue, b' ' | b'\t') => {
                self.position
            }
            (P::BeforeName | P::Name, _) if is_tchar(byte) => P::Name,
            (P::Name, b' ' | b'\t') => P::AfterName,
            (P::Name | P::AfterName, b'=') => P::BeforeValue,
            (P::BeforeValue | P::Token, _) if is_tchar(byte) => P::Token,
            (P::BeforeValue, b'"') => P::Quoted,
            (P::Token | P::AfterValue, b' ' | b'\t') => P::BeforeSemicolon,
            (P::Quoted, b'"') => P::AfterValue,
            (P::Quoted, b'\\') => P::Escaped,
            (P::Quoted | P::Escaped, b'\t' | b' '..=b'~' | 0x80..) => P::Quoted,
            (
                P::BeforeSemicolon
                | P::BeforeName
                | P::Name
                | P::AfterName
                | P::BeforeValue
                | P::Token
                | P::Quoted
                | P::Escaped
                | P::AfterValue,
                _,
            ) => return Err(RequestFault::ChunkExtension),
            (P::SizeLineFeed, b'\n') => return self.size_line_read(limits),
            (P::DataCarriageReturn, b'\r') => return Ok(P::DataLineFeed),
            (P::DataLineFeed, b'\n') => return Ok(P::Size),
            (P::SizeLineFeed, _) => return Err(RequestFault::LineEnd),
            (P::DataCarriageReturn | P::DataLineFeed | P::Data | P::Trailers, _) => {
                return Err(RequestFault::ChunkEnd);
            }
        };
        // Every byte that comes here is part of an extension.
        self.extension_size += 1;
        if self.extension_size > limits.chunk_extension_size_max {
            return Err(RequestFault::ChunkExtensionsTooLarge);
        }
        Ok(next)
    }

    fn digit(&mut self, byte: u8) -> Result<Position, RequestFault> {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.digits += 1;
        // 63 bits, as for Content-Length.
        if self.digits > CHUNK_DIGITS_MAX || self.remaining > i64::MAX as u64 >> 4 {
            return Err(RequestFault::ChunkSize);
        }
        self.remaining = self.remaining << 4 | u64::from(value);
        Ok(Position::SizeMore)
    }

    /// The size is known: is it more than the limits allow?
    fn size_line_read(&mut self, limits: &Limits) -> Result<Position, RequestFault> {
        self.digits = 0;
        if self.remaining == 0 {
            return Ok(Position::Trailers);
        }
        self.announced = self
            .announced
            .checked_add(self.remaining)
            .filter(|&announced| announced <= i64::MAX as u64)
            .ok_or(RequestFault::ChunkSize)?;
        if [limits.body_size_max, self.announced_max].into_iter().flatten().any(|max| self.announced > max) {
            return Err(RequestFault::BodyTooLarge);
        }
        self.chunks += 1;
        if self.chunks > CHUNKS_FREE + self.announced / CHUNK_DATA_MIN {
            return Err(RequestFault::TooManyChunks);
        }
        Ok(Position::Data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &[u8], limits: &Limits) -> Result<Vec<u8>, RequestFault> {
        let mut decoder = Decoder::new(BodyKind::Chunked);
        let (mut at, mut data) = (0, Vec::new());
        loop {
            let (spent, decoded) = decoder.decode(&body[at..], limits)?;
            match decoded {
                Decoded::Data(range) => data.extend_from_slice(&body[at + range.start..at + range.end]),
                Decoded::NeedData | Decoded::Trailers | Decoded::End => return Ok(data),
            }
            at += spent;
        }
    }

    #[test]
    fn small_chunks_are_let_through_up_to_a_number_that_grows_with_the_data() {
        let limits = Limits::default();
        let few = b"1\r\nx\r\n".repeat(CHUNKS_FREE as usize);
        assert_eq!(decode(&few, &limits).map(|data| data.len()), Ok(CHUNKS_FREE as usize));
        let many = b"1\r\nx\r\n".repeat(CHUNKS_FREE as usize * 2);
        assert_eq!(decode(&many, &limits), Err(RequestFault::TooManyChunks));
        let full = b"10\r\n0123456789abcdef\r\n".repeat(CHUNKS_FREE as usize * 4);
        assert_eq!(decode(&full, &limits).map(|data| data.len()), Ok(CHUNKS_FREE as usize * 4 * 16));
    }

    #[test]
    fn extensions_are_counted_over_the_whole_body() {
        let limits = Limits { chunk_extension_size_max: 6, ..Limits::default() };
        assert_eq!(decode(b"1;ab\r\nx\r\n1;ab\r\nx\r\n", &limits), Ok(b"xx".to_vec()));
        assert_eq!(
            decode(b"1;ab\r\nx\r\n1;abc\r\nx\r\n", &limits),
            Err(RequestFault::ChunkExtensionsTooLarge)
        );
    }

    #[test]
    fn a_body_is_too_large_as_soon_as_a_chunk_says_so() {
        let limits = Limits { body_size_max: Some(5), ..Limits::default() };
        assert_eq!(decode(b"5\r\nhello\r\n", &limits), Ok(b"hello".to_vec()));
        assert_eq!(decode(b"5\r\nhello\r\n1\r\n", &limits), Err(RequestFault::BodyTooLarge));
        assert_eq!(decode(b"6\r\n", &limits), Err(RequestFault::BodyTooLarge));
    }

    #[test]
    fn sizes_that_do_not_fit_into_63_bits_together_are_refused() {
        let limits = Limits::default();
        assert_eq!(decode(b"7fffffffffffffff\r\n", &limits), Ok(Vec::new()));
        assert_eq!(decode(b"8000000000000000", &limits), Err(RequestFault::ChunkSize));
        assert_eq!(decode(b"00000000000000001", &limits), Err(RequestFault::ChunkSize));
        assert_eq!(decode(b"1\r\nx\r\n7fffffffffffffff\r\n", &limits), Err(RequestFault::ChunkSize));
    }
}

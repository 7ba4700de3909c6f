//! The compressors behind one type: bytes in, bytes out.
//!
//! Levels are those at which a processor makes what a link of some tens of MB/s takes, and windows are small enough for hundreds of
//! streams at once: what each holds is told in docs/compression.md.

use std::fmt;
use std::io::Write;
use std::mem;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, Compression as Level, FlushCompress, Status};
use zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use super::Coding;

/// What is known of a body before it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyShape {
    /// So many bytes, which come at once.
    Whole(usize),
    /// Bytes that come in time: the compressor may have to be kept for long, and holds less.
    Stream,
}

/// A compressor does not work: for want of memory, most likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderFault;

impl fmt::Display for EncoderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a compressor failed")
    }
}

impl std::error::Error for EncoderFault {}

/// One level above what is quick and poor.
const GZIP_LEVEL: Level = Level::new(5);
/// The largest: 32 KiB.
const GZIP_WINDOW_BITS: u8 = 15;

/// Quality and window. Below 17 bits a quality of 5 has tables of 32 MiB in this crate.
const BROTLI_WHOLE: (i32, i32) = (5, 18);
const BROTLI_STREAM: (i32, i32) = (4, 16);
const BROTLI_BUFFER_SIZE: usize = 4096;

const ZSTD_LEVEL: i32 = 3;
/// Window and tables, as powers of two.
const ZSTD_WHOLE: (u32, u32) = (17, 15);
const ZSTD_STREAM: (u32, u32) = (16, 14);

/// What room there is at least for what a compressor gives.
const ROOM_SIZE_MIN: usize = 4096;

/// A body on its way into a coding. What it gives goes to the end of `out`.
pub struct Encoder(Inner);

enum Inner {
    Gzip(Compress),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(CCtx<'static>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// One that has been given nothing yet.
    ///
    /// # Errors
    /// [`EncoderFault`]
    pub fn new(coding: Coding, shape: BodyShape) -> Result<Self, EncoderFault> {
        Ok(Self(match coding {
            Coding::Gzip => Inner::Gzip(Compress::new_gzip(GZIP_LEVEL, GZIP_WINDOW_BITS)),
            Coding::Brotli => Inner::Brotli(Box::new(brotli(shape))),
            Coding::Zstd => Inner::Zstd(zstd(shape)?),
        }))
    }

    /// Takes in bytes; some of what they become may come later.
    ///
    /// # Errors
    /// [`EncoderFault`]; nothing more can be made of it then.
    pub fn take(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncoderFault> {
        match &mut self.0 {
            Inner::Gzip(gzip) => deflate(gzip, data, FlushCompress::None, out),
            Inner::Brotli(brotli) => {
                lend(brotli, out, |brotli| brotli.write_all(data).map_err(|_| EncoderFault))
            }
            Inner::Zstd(zstd) => run(zstd, data, Directive::ZSTD_e_continue, out),
        }
    }

    /// Gives all that was taken in, so that the peer can read it.
    ///
    /// # Errors
    /// As [`Encoder::take`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncoderFault> {
        match &mut self.0 {
            Inner::Gzip(gzip) => deflate(gzip, b"", FlushCompress::Sync, out),
            Inner::Brotli(brotli) => lend(brotli, out, |brotli| brotli.flush().map_err(|_| EncoderFault)),
            Inner::Zstd(zstd) => run(zstd, b"", Directive::ZSTD_e_flush, out),
        }
    }

    /// Gives the rest, and the end by which the peer knows that nothing is missing.
    ///
    /// # Errors
    /// As [`Encoder::take`].
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), EncoderFault> {
        match self.0 {
            Inner::Gzip(mut gzip) => deflate(&mut gzip, b"", FlushCompress::Finish, out),
            Inner::Brotli(brotli) => {
                out.append(&mut brotli.into_inner());
                Ok(())
            }
            Inner::Zstd(mut zstd) => run(&mut zstd, b"", Directive::ZSTD_e_end, out),
        }
    }
}

fn brotli(shape: BodyShape) -> CompressorWriter<Vec<u8>> {
    let ((quality, lgwin), size_hint) = match shape {
        BodyShape::Whole(size) => (BROTLI_WHOLE, size),
        BodyShape::Stream => (BROTLI_STREAM, 0),
    };
    let parameters = BrotliEncoderParams { quality, lgwin, size_hint, ..Default::default() };
    CompressorWriter::with_params(Vec::new(), BROTLI_BUFFER_SIZE, &parameters)
}

fn zstd(shape: BodyShape) -> Result<CCtx<'static>, EncoderFault> {
    let mut zstd = CCtx::try_create().ok_or(EncoderFault)?;
    let ((window, table), size) = match shape {
        BodyShape::Whole(size) => (ZSTD_WHOLE, Some(size as u64)),
        BodyShape::Stream => (ZSTD_STREAM, None),
    };
    let parameters = [
        CParameter::CompressionLevel(ZSTD_LEVEL),
        CParameter::WindowLog(window),
        CParameter::HashLog(table),
        CParameter::ChainLog(table),
    ];
    for parameter in parameters {
        zstd.set_parameter(parameter).map_err(|_| EncoderFault)?;
    }
    zstd.set_pledged_src_size(size).map_err(|_| EncoderFault)?;
    Ok(zstd)
}

fn room(data: &[u8], out: &mut Vec<u8>) {
    if out.len() == out.capacity() {
        out.reserve((data.len() / 4).max(ROOM_SIZE_MIN));
    }
}

fn deflate(
    gzip: &mut Compress,
    mut data: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Result<(), EncoderFault> {
    loop {
        room(data, out);
        let taken = gzip.total_in();
        let status = gzip.compress_vec(data, out, flush).map_err(|_| EncoderFault)?;
        data = data.get((gzip.total_in() - taken) as usize..).unwrap_or_default();
        // Room left over tells that all was written.
        let is_through = data.is_empty() && out.len() < out.capacity();
        match (flush, status) {
            (_, Status::StreamEnd) => return Ok(()),
            (FlushCompress::Finish, _) => {}
            _ if is_through => return Ok(()),
            _ => {}
        }
    }
}

/// Lends a writer `out` to write to.
fn lend(
    brotli: &mut CompressorWriter<Vec<u8>>,
    out: &mut Vec<u8>,
    work: impl FnOnce(&mut CompressorWriter<Vec<u8>>) -> Result<(), EncoderFault>,
) -> Result<(), EncoderFault> {
    mem::swap(brotli.get_mut(), out);
    let outcome = work(brotli);
    mem::swap(brotli.get_mut(), out);
    outcome
}

fn run(
    zstd: &mut CCtx<'_>,
    data: &[u8],
    directive: Directive,
    out: &mut Vec<u8>,
) -> Result<(), EncoderFault> {
    let mut input = InBuffer::around(data);
    loop {
        room(data, out);
        let begin = out.len();
        let mut output = OutBuffer::around_pos(out, begin);
        let left = zstd.compress_stream2(&mut output, &mut input, directive).map_err(|_| EncoderFault)?;
        let is_through = match directive {
            // What is left is for later.
            Directive::ZSTD_e_continue => input.pos() == data.len(),
            Directive::ZSTD_e_flush | Directive::ZSTD_e_end => left == 0,
        };
        if is_through {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Something between words and noise.
    fn body(size: usize) -> Vec<u8> {
        let mut seed: u32 = 1;
        let words = ["alpha ", "beta ", "gamma ", "delta\n", "epsilon ", "<p>", "</p>"];
        let mut body = Vec::new();
        while body.len() < size {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            body.extend_from_slice(words[(seed >> 16) as usize % words.len()].as_bytes());
            body.push((seed >> 8) as u8);
        }
        body.truncate(size);
        body
    }

    fn decoded(coding: Coding, mut bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        let outcome = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut body),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut body),
            Coding::Zstd => return unzstd(&mut bytes),
        };
        (body, outcome.is_ok())
    }

    fn unzstd(bytes: &mut &[u8]) -> (Vec<u8>, bool) {
        let mut context = zstd_safe::DCtx::create();
        let mut body = Vec::new();
        let mut input = InBuffer::around(bytes);
        loop {
            room(b"", &mut body);
            let begin = body.len();
            let mut output = OutBuffer::around_pos(&mut body, begin);
            let left = context.decompress_stream(&mut output, &mut input).unwrap();
            if left == 0 {
                return (body, input.pos() == bytes.len());
            }
            if input.pos() == bytes.len() && body.len() < body.capacity() {
                return (body, false);
            }
        }
    }

    #[test]
    fn what_comes_out_is_what_went_in_however_it_was_cut() {
        for coding in Coding::ALL {
            for size in [0, 1, 1000, 4096, 100_000, 1_000_000] {
                for piece in [1, 17, 4096, 65_536, 1_000_000] {
                    if size / piece > 5000 {
                        continue;
                    }
                    let body = body(size);
                    for shape in [BodyShape::Whole(size), BodyShape::Stream] {
                        let mut encoder = Encoder::new(coding, shape).unwrap();
                        let mut out = Vec::new();
                        for piece in body.chunks(piece) {
                            encoder.take(piece, &mut out).unwrap();
                        }
                        encoder.finish(&mut out).unwrap();
                        let (decoded, complete) = decoded(coding, &out);
                        assert!(complete && decoded == body, "{coding:?} {size} {piece} {shape:?}");
                        assert!(size < 4096 || out.len() < size);
                    }
                }
            }
        }
    }

    #[test]
    fn after_each_flush_all_is_there_and_without_the_end_it_is_seen_to_be_cut() {
        let body = body(50_000);
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, BodyShape::Stream).unwrap();
            let (mut out, mut given) = (Vec::new(), 0);
            for piece in [1, 10, 100, 1000, 10_000, 38_889] {
                encoder.take(&body[given..given + piece], &mut out).unwrap();
                encoder.flush(&mut out).unwrap();
                given += piece;
                let (decoded, complete) = decoded(coding, &out);
                assert!(!complete && decoded == body[..given], "{coding:?} {piece}");
            }
            // Flushed again, there is little to give.
            let flushed = out.len();
            encoder.flush(&mut out).unwrap();
            assert!(out.len() - flushed <= 16);
            encoder.finish(&mut out).unwrap();
            assert_eq!(decoded(coding, &out), (body.clone(), true));
        }
    }

    #[test]
    fn what_does_not_compress_grows_by_little() {
        let mut seed: u64 = 7;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u8
        })
        .take(100_000)
        .collect();
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, BodyShape::Whole(noise.len())).unwrap();
            let mut out = Vec::new();
            encoder.take(&noise, &mut out).unwrap();
            encoder.finish(&mut out).unwrap();
            assert!(out.len() < noise.len() + 200, "{coding:?} {}", out.len());
        }
    }
}

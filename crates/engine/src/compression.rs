//! What the operator decides about compressed responses, and what that means for one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_http::coding::{self, BodyShape, Coding, Encoder, EncoderFault, TypePattern};
use tidegate_http::{RequestHead, ResponseHead};

/// Most compressors that are kept between the blocks of a response: the largest hold some 800 KiB, so these 200 MiB. Further responses
/// that come in blocks are not compressed.
const KEPT_MAX: usize = 256;

/// Which responses are compressed.
#[derive(Clone, Debug)]
pub struct Compression {
    codings: Vec<Coding>,
    types: Vec<TypePattern>,
    size_min: u64,
    size_max: u64,
    kept: Arc<AtomicUsize>,
}

/// What becomes of a response.
pub(crate) enum Treatment {
    /// It is sent as it is.
    Plain,
    /// It is sent as it is, with this head.
    Headed(ResponseHead),
    /// It is compressed, if that makes it smaller or it must be.
    Encoded { coding: Coding, must_be: bool },
}

impl Compression {
    /// `codings` in the order in which they are preferred where a client has no preference. Bodies that are known to be below or above these
    /// sizes, in bytes, are not compressed.
    pub fn new(codings: Vec<Coding>, types: Vec<TypePattern>, size_min: u64, size_max: u64) -> Self {
        Self { codings, types, size_min, size_max, kept: Arc::default() }
    }

    /// `size` is that of the body that a GET is answered with, where it is known.
    pub(crate) fn treat(&self, request: &RequestHead, head: &ResponseHead, size: Option<u64>) -> Treatment {
        if let Some(confirmed) = coding::confirmed(head, values(request, "if-none-match")) {
            return confirmed.map_or(Treatment::Plain, Treatment::Headed);
        }
        if !coding::may_be_encoded(head, &self.types) {
            return Treatment::Plain;
        }
        let choice = coding::choose(values(request, "accept-encoding"), &self.codings);
        let least = if choice.must_be_encoded { 1 } else { self.size_min };
        match choice.coding {
            Some(coding) if size.is_none_or(|size| (least..=self.size_max).contains(&size)) => {
                Treatment::Encoded { coding, must_be: choice.must_be_encoded }
            }
            _ => coding::varied(head).map_or(Treatment::Plain, Treatment::Headed),
        }
    }

    /// Bodies of this size are compressed at most.
    pub(crate) fn size_max(&self) -> u64 {
        self.size_max
    }

    /// A compressor for a body that comes in blocks; none where too many are kept already.
    pub(crate) fn keep(&self, coding: Coding) -> Option<Result<KeptEncoder, EncoderFault>> {
        let place = Place(self.kept.clone());
        if place.0.fetch_add(1, Ordering::Relaxed) >= KEPT_MAX {
            return None;
        }
        Some(Encoder::new(coding, BodyShape::Stream).map(|encoder| KeptEncoder { encoder, place }))
    }
}

/// A compressor that is kept between blocks.
#[derive(Debug)]
pub(crate) struct KeptEncoder {
    pub(crate) encoder: Encoder,
    place: Place,
}

impl KeptEncoder {
    /// Gives the end of the body.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> Result<(), EncoderFault> {
        let Self { encoder, place } = self;
        let outcome = encoder.finish(out);
        drop(place);
        outcome
    }
}

/// One of those that are counted.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn values<'a>(request: &'a RequestHead, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let named = move |(other, _): &(&[u8], &[u8])| other.eq_ignore_ascii_case(name.as_bytes());
    request.fields().filter(named).map(|(_, value)| value)
}

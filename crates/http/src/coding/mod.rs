//! Content codings: which one a client takes, which responses may have one, and what turns their bytes into it
//! (RFC 9110 section 8.4).
//!
//! | module | what is in it |
//! |---|---|
//! | `negotiation` | `Accept-Encoding` |
//! | `response` | which responses are compressed, and what their heads say then |
//! | `encoder` | the compressors |

mod encoder;
mod negotiation;
mod response;

pub use encoder::{BodyShape, Encoder, EncoderFault};
pub use negotiation::{Choice, choose, ranked};
pub use response::{TypePattern, confirmed, encoded, may_be_encoded, varied};

/// The codings that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952
    Gzip,
    /// RFC 7932
    Brotli,
    /// RFC 8878
    Zstd,
}

impl Coding {
    const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// As fields have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// RFC 9110 section 8.4.1.3 has `x-gzip` for gzip.
    fn from_name(name: &[u8]) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

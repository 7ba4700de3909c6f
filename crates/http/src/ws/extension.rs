//! Which extension is used: permessage-deflate (RFC 7692), if the client offers it in a form that can be taken.

use crate::field::{is_tchar, is_token};

/// The base-2 logarithm of the window that compression may refer back into, 9 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowBits(u8);

impl WindowBits {
    pub(crate) const MAX: Self = Self(15);

    /// 8 is legal (RFC 7692 section 7.1.2.1), but zlib and its kin cannot compress into so small a window.
    fn new(bits: u8) -> Option<Self> {
        matches!(bits, 9..=15).then_some(Self(bits))
    }

    /// How many there are.
    pub(crate) const COUNT: usize = 7;

    pub(crate) fn get(self) -> u8 {
        self.0
    }

    /// Counts them from zero.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0.saturating_sub(9))
    }
}

/// What was agreed about compression in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression(Option<WindowBits>);

impl Compression {
    /// Messages are not compressed.
    pub const OFF: Self = Self(None);

    /// Whether messages may be compressed.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn window(self) -> Option<WindowBits> {
        self.0
    }
}

/// An offer of permessage-deflate that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// How large a window the client has for what it receives, if it says so.
    server_window: Option<WindowBits>,
}

impl Offer {
    pub(crate) fn compression(self) -> Compression {
        Compression(Some(self.server_window.unwrap_or(WindowBits::MAX)))
    }

    /// Writes the value of the response's Sec-WebSocket-Extensions.
    ///
    /// Neither side keeps anything from one message to the next, whatever the client has offered (a server may ask for both,
    /// RFC 7692 sections 7.1.1.1 and 7.1.1.2): a window for each side of each connection would be its largest part by far.
    /// The client's window may be as large as it likes.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        if let Some(WindowBits(bits)) = self.server_window {
            out.extend_from_slice(b"; server_max_window_bits=");
            out.extend_from_slice(bits.to_string().as_bytes());
        }
    }

    /// Takes an offer unless it has a parameter that is not known, not valid, repeated or cannot be honoured (RFC 7692
    /// section 7.1).
    fn take(parameters: &[Parameter<'_>]) -> Option<Self> {
        let mut offer = Self { server_window: None };
        for (index, Parameter { name, value }) in parameters.iter().enumerate() {
            if parameters.iter().take(index).any(|earlier| earlier.name == *name) {
                return None;
            }
            match (*name, value) {
                (
                    b"server_no_context_takeover" | b"client_no_context_takeover" | b"client_max_window_bits",
                    None,
                ) => {}
                (b"client_max_window_bits", Some(value)) => {
                    window_bits(value)?;
                }
                (b"server_max_window_bits", Some(value)) => {
                    offer.server_window = Some(WindowBits::new(window_bits(value)?)?);
                }
                _ => return None,
            }
        }
        Some(offer)
    }
}

/// 8 to 15, without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// Chooses the first offer that can be taken from the values of Sec-WebSocket-Extensions, in the client's order of preference.
///
/// # Errors
/// The fields are not of the grammar in RFC 6455 section 9.1.
pub(crate) fn choose<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Offer>, Malformed> {
    let mut chosen = None;
    for value in values {
        let mut rest = Cursor(value);
        while let Some(Extension { name, parameters }) = rest.extension()? {
            if name == b"permessage-deflate" && chosen.is_none() {
                chosen = Offer::take(&parameters);
            }
        }
    }
    Ok(chosen)
}

/// Sec-WebSocket-Extensions is not a list of extensions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

struct Extension<'a> {
    name: &'a [u8],
    parameters: Vec<Parameter<'a>>,
}

struct Parameter<'a> {
    name: &'a [u8],
    value: Option<Vec<u8>>,
}

/// The part of a field value that is not read yet.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// The next member of the list; `None` at the end.
    fn extension(&mut self) -> Result<Option<Extension<'a>>, Malformed> {
        // Empty members are skipped (RFC 9110 section 5.6.1.2).
        while self.take(b',') {}
        if self.0.is_empty() {
            return Ok(None);
        }
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.take(b';') {
            let name = self.token()?;
            let value = if self.take(b'=') { Some(self.value()?) } else { None };
            parameters.push(Parameter { name, value });
        }
        let ended = self.0.is_empty() || self.take(b',');
        if ended { Ok(Some(Extension { name, parameters })) } else { Err(Malformed) }
    }

    /// Takes a byte with the white space around it, if it is the next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                self.skip_blanks();
                true
            }
            _ => false,
        }
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let size = self.0.iter().take_while(|byte| is_tchar(**byte)).count();
        let (token, rest) = self.0.split_at(size);
        self.0 = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// A token, or one in quotes (RFC 6455 section 9.1).
    fn value(&mut self) -> Result<Vec<u8>, Malformed> {
        let Some(mut rest) = self.0.strip_prefix(b"\"") else { return self.token().map(<[u8]>::to_vec) };
        let mut value = Vec::new();
        loop {
            match rest {
                [b'"', after @ ..] => {
                    self.0 = after;
                    return if is_token(&value) { Ok(value) } else { Err(Malformed) };
                }
                [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                    value.push(*byte);
                    rest = after;
                }
                [] => return Err(Malformed),
            }
        }
    }
}

//! Which client a ticket's session is of.
//!
//! rustls tells nobody of that before it resumes the session, and then it is too late for a whole handshake. So this reads what rustls puts into a
//! ticket (`ServerSessionValue` there). Of what does not look like that to its last byte, no session is resumed.

use rustls_pki_types::CertificateDer;

/// The certificates that the client has shown when the session began, its own first; none where it has shown none.
pub(super) fn client_chain(session: &[u8]) -> Option<Vec<CertificateDer<'_>>> {
    let mut reader = Reader(session);
    let _server_name = reader.optional(1)?;
    let _version_and_suite = reader.take(4)?;
    let _secret = reader.vector(1)?;
    let _extended_secret = reader.take(1)?;
    let chain = reader.optional(3)?;
    let _protocol = reader.optional(1)?;
    let _resumption_data = reader.vector(2)?;
    let _age = reader.take(12)?;
    if !reader.0.is_empty() {
        return None;
    }
    let mut reader = Reader(chain.unwrap_or_default());
    let mut certificates = Vec::new();
    while !reader.0.is_empty() {
        certificates.push(reader.vector(3)?.into());
    }
    Some(certificates)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    /// What comes after its size, which is a number of so many bytes.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let size = self.take(width)?.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
        self.take(size)
    }

    /// The same after a byte that says whether there is one.
    fn optional(&mut self, width: usize) -> Option<Option<&'a [u8]>> {
        match self.take(1)? {
            [0] => Some(None),
            [1] => self.vector(width).map(Some),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of TLS 1.3, for a name, with these two certificates, and HTTP/2 agreed on.
    const SESSION: &[u8] = b"\x01\x01a\x03\x04\x13\x01\x02\xaa\xbb\x00\
        \x01\x00\x00\x09\x00\x00\x03one\x00\x00\x00\x01\x02h2\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

    #[test]
    fn the_clients_certificates_are_found() {
        let chain = client_chain(SESSION).unwrap();
        assert_eq!(chain, [CertificateDer::from(&b"one"[..]), CertificateDer::from(&b""[..])]);
        let without = [b"\x00\x03\x03\xc0\x2b\x01\xaa\x01\x00\x00\x00\x00", &[0; 12][..]].concat();
        assert_eq!(client_chain(&without), Some(Vec::new()));
    }

    #[test]
    fn what_is_shorter_or_longer_than_a_session_is_none() {
        for size in 0..SESSION.len() {
            assert_eq!(client_chain(&SESSION[..size]), None, "{size}");
        }
        assert_eq!(client_chain(&[SESSION, b"\x00"].concat()), None);
    }
}

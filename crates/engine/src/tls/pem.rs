//! Files of certificates, keys and lists of revoked certificates, in PEM (RFC 7468).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// Largest file: far above any chain or list of authorities.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// Largest list of revoked certificates.
const CRL_SIZE_MAX: u64 = 64 << 20;

/// Largest answer of an OCSP responder; a handshake has it in it.
const OCSP_SIZE_MAX: u64 = 16 << 10;

/// Modes with which others than owner and group may read a file.
const OTHERS_MAY_READ: u32 = 0o004;

fn read(path: &Path, size_max: u64) -> Result<Vec<u8>, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(size_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > size_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    };
    read().map_err(|error| of_file(path, &error.to_string()))
}

/// The reason, with the file that it is about before it.
fn of_file(path: &Path, reason: &str) -> String {
    format!("{}: {reason}", path.display())
}

/// A chain, or any number of authorities; at least one certificate.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path, FILE_SIZE_MAX)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(of_file(path, "there is no certificate in PEM in it")),
        Err(error) => Err(of_file(path, &in_words(&error))),
    }
}

/// A private key: PKCS #8, SEC 1 or PKCS #1.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(path, FILE_SIZE_MAX)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted(&bytes) => Err(of_file(
            path,
            "the key is encrypted: \"openssl pkey -in KEY -out NEW\" makes one that is not",
        )),
        Err(pem::Error::NoItemsFound) => Err(of_file(path, "there is no private key in PEM in it")),
        Err(error) => Err(of_file(path, &in_words(&error))),
    }
}

/// By PKCS #8, or as OpenSSL did it before (RFC 1421).
fn is_encrypted(bytes: &[u8]) -> bool {
    let has = |text: &[u8]| memchr::memmem::find(bytes, text).is_some();
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// Lists of revoked certificates, at least one.
pub(super) fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = read(path, CRL_SIZE_MAX)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(of_file(path, "there is no list of revoked certificates (X509 CRL) in PEM in it")),
        Err(error) => Err(of_file(path, &in_words(&error))),
    }
}

/// The answer of an OCSP responder, in DER.
pub(super) fn ocsp(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read(path, OCSP_SIZE_MAX)?;
    // An OCSPResponse is a SEQUENCE (RFC 6960 section 4.2.1).
    match bytes.first() {
        Some(0x30) => Ok(bytes),
        _ => Err(of_file(path, "not the answer of an OCSP responder in DER")),
    }
}

/// Whether anybody on this machine may read a key.
pub(super) fn is_public(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.mode() & OTHERS_MAY_READ != 0)
}

fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of PEM does not end".into(),
        pem::Error::IllegalSectionStart { .. } => "a section of PEM does not begin as one does".into(),
        pem::Error::Base64Decode(_) => "a section of PEM is not base64".into(),
        error => error.to_string(),
    }
}

/// A certificate as text.
pub(super) fn text_of(certificate: &[u8]) -> String {
    const LINE: usize = 64;
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut text = String::with_capacity(encoded.len() + encoded.len() / LINE + 56);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

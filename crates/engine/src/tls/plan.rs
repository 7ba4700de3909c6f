//! What the operator decides about TLS, as plain values, and what is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

/// A certificate to show, with the files that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePlan {
    /// Its chain in PEM, its own certificate first.
    pub certfile: PathBuf,
    /// Its key in PEM; `None`: in the same file.
    pub keyfile: Option<PathBuf>,
    /// What an OCSP responder has said of it, in DER, to be stapled.
    pub ocsp_file: Option<PathBuf>,
    /// Whom it is shown to: clients that ask for one of these names. None: those that the certificate itself has.
    pub names: Vec<String>,
    /// It stands in a table of certificates, and not in settings of its own.
    pub in_table: bool,
}

/// Whether clients are asked for certificates of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not.
    #[default]
    None,
    /// They may have none, but not a bad one.
    Optional,
    /// They must have one.
    Required,
}

/// All of it. Paths hold from the working directory of the time when it is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPlan {
    /// At least one; the first is shown to clients that ask for none of the others.
    pub certificates: Vec<CertificatePlan>,
    /// TLS 1.2 is not spoken.
    pub only_tls13: bool,
    /// Cipher suites by the names of [`TLS_SUITES`], the best first; empty: all of them.
    pub suites: Vec<String>,
    /// Who signs the clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether they are asked for them.
    pub client_auth: ClientAuth,
    /// Clients' certificates that have been revoked.
    pub client_crl: Option<PathBuf>,
    /// Protocols that are offered by ALPN, the best first.
    pub protocols: Vec<Vec<u8>>,
}

impl TlsPlan {
    /// Every file that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let of_certificates = self.certificates.iter().flat_map(|certificate| {
            let rest = certificate.keyfile.iter().chain(&certificate.ocsp_file);
            std::iter::once(&certificate.certfile).chain(rest)
        });
        of_certificates.chain(&self.client_ca).chain(&self.client_crl).map(PathBuf::as_path)
    }
}

/// Why it cannot be put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// The setting that it is about.
    pub setting: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl TlsFault {
    pub(super) fn new(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting, reason: reason.into() }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.reason)
    }
}

impl std::error::Error for TlsFault {}

/// A cipher suite: its number, its name at IANA, and OpenSSL's name for it, which mod_ssl's variables have.
pub(super) struct Suite {
    pub(super) number: u16,
    name: &'static str,
    pub(super) name_of_openssl: &'static str,
}

const fn suite(number: u16, name: &'static str, name_of_openssl: &'static str) -> Suite {
    Suite { number, name, name_of_openssl }
}

/// All that there are: those of TLS 1.3, and of TLS 1.2 those with forward secrecy and authenticated encryption.
const SUITES: [Suite; 9] = [
    suite(0x1302, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    suite(0x1301, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    suite(0x1303, "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    suite(0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    suite(0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    suite(0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    suite(0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    suite(0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    suite(0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
];

/// The names of all cipher suites that there are.
pub const TLS_SUITES: [&str; 9] = {
    let mut names = [""; 9];
    let mut index = 0;
    while index < SUITES.len() {
        names[index] = SUITES[index].name;
        index += 1;
    }
    names
};

impl Suite {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.name == name)
    }

    pub(super) fn of_number(number: u16) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.number == number)
    }
}

//! What is known of a connection once its handshake is over.

use std::sync::{Arc, OnceLock};

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use rustls_pki_types::CertificateDer;

use super::certificates::Certificates;
use super::identity::Identity;
use super::pem;
use super::plan::Suite;

/// What was agreed on, and who the client is.
#[derive(Debug)]
pub struct TlsSession {
    /// The number of the version: 0x0304 for TLS 1.3.
    pub version: u16,
    /// The number of the cipher suite.
    pub suite: u16,
    /// It goes on from an earlier connection's.
    pub is_resumed: bool,
    /// The host that the client has asked for, in lower case.
    pub server_name: Option<String>,
    /// What was chosen by ALPN.
    pub protocol: Option<Vec<u8>>,
    chain: Vec<CertificateDer<'static>>,
    identity: OnceLock<Option<Identity>>,
    certificates: Arc<Certificates>,
}

impl TlsSession {
    pub(super) fn of(connection: &ServerConnection, certificates: Arc<Certificates>) -> Self {
        Self {
            version: connection.protocol_version().map_or(0, u16::from),
            suite: connection.negotiated_cipher_suite().map_or(0, |suite| suite.suite().into()),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: connection.server_name().map(str::to_owned),
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            chain: connection.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
            identity: OnceLock::new(),
            certificates,
        }
    }

    /// The version as mod_ssl calls it.
    pub fn version_name(&self) -> &'static str {
        match ProtocolVersion::from(self.version) {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLSv1.3",
        }
    }

    /// The cipher suite as OpenSSL, and mod_ssl with it, calls it.
    pub fn suite_name(&self) -> &'static str {
        Suite::of_number(self.suite).map_or("", |suite| suite.name_of_openssl)
    }

    /// The certificate that the client was shown, in PEM.
    pub fn server_certificate(&self) -> &str {
        &self.certificates.find(self.server_name.as_deref()).text
    }

    /// The client's certificate, and those that lead from it to an authority, in PEM; none where it has none.
    pub fn client_chain(&self) -> impl Iterator<Item = String> {
        self.chain.iter().map(|certificate| pem::text_of(certificate))
    }

    /// What the client's certificate says, if it has one.
    pub fn client(&self) -> Option<&Identity> {
        let read = || self.chain.first().and_then(|certificate| Identity::read(certificate));
        self.identity.get_or_init(read).as_ref()
    }
}

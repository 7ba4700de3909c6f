//! TLS: what a server shows and asks for, and the connections that speak it.
//!
//! - `plan`: what the operator decides, and what is wrong with it.
//! - `pem`: files of certificates, keys and lists of revoked ones.
//! - `certificates`: which certificate is shown to whom.
//! - `tickets`: the keys of session tickets, the same in every worker.
//! - `remembered`: whose session a ticket holds.
//! - `server`: what is in force, made anew when its files change.
//! - `stream`: the bytes of a connection, encrypted.
//! - `session`: what is known of a connection once the handshake is over.
//! - `identity`: what a client's certificate says.
//! - `development`: a certificate for a machine on which an application is written.
//!
//! The protocol itself is rustls's.

mod certificates;
mod development;
mod identity;
mod pem;
mod plan;
mod remembered;
mod server;
mod session;
mod stream;
mod tickets;

pub use development::{DevelopmentCertificate, development_certificate};
pub use identity::Identity;
pub use plan::{CertificatePlan, ClientAuth, TLS_SUITES, TlsFault, TlsPlan};
pub use server::Tls;
pub use session::TlsSession;

pub(crate) use stream::{Handshake, TlsStream};

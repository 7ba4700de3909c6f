//! Which certificate is shown to whom.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::clock;

use super::identity;
use super::pem;
use super::plan::{CertificatePlan, TlsFault};

/// One that can be shown.
#[derive(Debug)]
pub(super) struct Certificate {
    key: Arc<CertifiedKey>,
    /// Itself, in PEM.
    pub(super) text: String,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Certificates {
    /// For clients that name no host, or one that there is no other one for.
    first: Arc<Certificate>,
    by_name: HashMap<String, Arc<Certificate>>,
    /// Those of `*.NAME`, by the name.
    by_parent: HashMap<String, Arc<Certificate>>,
}

impl Certificates {
    /// Reads them, of which there must be one.
    pub(super) fn load(plans: &[CertificatePlan], provider: &CryptoProvider) -> Result<Self, TlsFault> {
        let mut first = None;
        let (mut by_name, mut by_parent) = (HashMap::new(), HashMap::new());
        for plan in plans {
            let (certificate, names) = load(plan, provider)?;
            let certificate = Arc::new(certificate);
            first.get_or_insert_with(|| certificate.clone());
            for name in names {
                // The first that has a name keeps it.
                match name.strip_prefix("*.") {
                    Some(parent) => by_parent.entry(parent.to_owned()).or_insert_with(|| certificate.clone()),
                    None => by_name.entry(name).or_insert_with(|| certificate.clone()),
                };
            }
        }
        let first = first.ok_or_else(|| TlsFault::new("certfile", "there is no certificate"))?;
        Ok(Self { first, by_name, by_parent })
    }

    /// The one for clients that ask for this host, in lower case.
    pub(super) fn find(&self, name: Option<&str>) -> &Arc<Certificate> {
        let named = name.and_then(|name| {
            // A star stands for one label (RFC 6125 section 6.4.3).
            let parent = || name.split_once('.').and_then(|(_, parent)| self.by_parent.get(parent));
            self.by_name.get(name).or_else(parent)
        });
        named.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()).key.clone())
    }
}

/// Reads one, and gives it with the names that it is shown for.
fn load(plan: &CertificatePlan, provider: &CryptoProvider) -> Result<(Certificate, Vec<String>), TlsFault> {
    let fault = |setting: &'static str| {
        move |reason: String| TlsFault::new(if plan.in_table { "certificates" } else { setting }, reason)
    };
    let chain = pem::certificates(&plan.certfile).map_err(fault("certfile"))?;
    let keyfile = plan.keyfile.as_ref().unwrap_or(&plan.certfile);
    let of_key = if plan.keyfile.is_some() { "keyfile" } else { "certfile" };
    let key = pem::key(keyfile).map_err(fault(of_key))?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| fault(of_key)(format!("{}: {error}", keyfile.display())))?;
    if pem::is_public(keyfile) {
        log::warn!("{}: anybody on this machine may read this key", keyfile.display());
    }
    let (text, names, end) = match chain.first() {
        Some(own) => (pem::text_of(own), identity::host_names(own), identity::end_of(own)),
        None => Default::default(),
    };
    if end.is_some_and(|end| end < clock::wall()) {
        log::warn!("{}: this certificate has expired", plan.certfile.display());
    }
    let mut key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            let certfile = plan.certfile.display();
            return Err(fault(of_key)(format!("{}: not the key of {certfile}", keyfile.display())));
        }
        Err(error) => return Err(fault("certfile")(format!("{}: {error}", plan.certfile.display()))),
    }
    if let Some(path) = &plan.ocsp_file {
        key.ocsp = Some(pem::ocsp(path).map_err(fault("ocsp-file"))?);
    }
    let names = match plan.names.is_empty() {
        true => names,
        false => plan.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
    };
    Ok((Certificate { key: Arc::new(key), text }, names))
}

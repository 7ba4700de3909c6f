//! From the operator's settings of TLS to what is in force, with everything read that they name.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_engine::{
    CertificatePlan, ClientAuth, DevelopmentCertificate, Tls, TlsPlan, development_certificate,
};
use tidegate_supervisor::{self as supervisor, HttpVersions, Settings};

use crate::refusal::Refusal;

/// Reads all files, if there is a certificate at all.
pub(crate) fn load(settings: &Settings) -> Result<Option<Arc<Tls>>, Refusal> {
    if !settings.has_certificate() {
        return Ok(None);
    }
    let mut plan = plan(settings);
    if settings.dev_cert {
        plan.certificates.push(development(settings)?);
    }
    let loaded = Tls::load(plan);
    loaded
        .map(|tls| Some(Arc::new(tls)))
        .map_err(|fault| settings.refusal(fault.setting, &fault.reason).into())
}

/// Looks whether they can be read. A certificate for development is not made for that.
pub(crate) fn check(settings: &Settings) -> Result<(), Refusal> {
    if settings.dev_cert { Ok(()) } else { load(settings).map(drop) }
}

fn plan(settings: &Settings) -> TlsPlan {
    let own = settings.certfile.as_ref().map(|certfile| CertificatePlan {
        certfile: certfile.clone(),
        keyfile: settings.keyfile.clone(),
        ocsp_file: settings.ocsp_file.clone(),
        names: Vec::new(),
        in_table: false,
    });
    let others = settings.certificates.iter().map(|certificate| CertificatePlan {
        certfile: certificate.certfile.clone(),
        keyfile: certificate.keyfile.clone(),
        ocsp_file: certificate.ocsp_file.clone(),
        names: certificate.names.clone(),
        in_table: true,
    });
    TlsPlan {
        certificates: own.into_iter().chain(others).collect(),
        only_tls13: settings.only_tls13,
        suites: settings.tls_ciphers.clone(),
        client_ca: settings.client_ca.clone(),
        client_auth: match settings.client_auth {
            Some(supervisor::ClientAuth::None) => ClientAuth::None,
            Some(supervisor::ClientAuth::Optional) => ClientAuth::Optional,
            // Who names authorities means them.
            Some(supervisor::ClientAuth::Required) | None => ClientAuth::Required,
        },
        client_crl: settings.client_crl.clone(),
        protocols: protocols(settings.http),
    }
}

/// What is offered by ALPN, the best first.
fn protocols(http: HttpVersions) -> Vec<Vec<u8>> {
    let all = [b"h2".to_vec(), b"http/1.1".to_vec()];
    all.into_iter().skip(usize::from(http == HttpVersions::One)).collect()
}

fn development(settings: &Settings) -> Result<CertificatePlan, Refusal> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let refuse = |reason: &str| Refusal::from(settings.refusal("dev-cert", reason));
    let directory =
        caches.ok_or_else(|| refuse("there is no place for it: HOME is not set"))?.join("tidegate");
    let made = development_certificate(&directory);
    let DevelopmentCertificate { file, names } =
        made.map_err(|error| refuse(&format!("it cannot be kept in {}: {error}", directory.display())))?;
    log::info!(
        "a certificate for development, which clients do not know: {} ({})",
        file.display(),
        names.join(", ")
    );
    Ok(CertificatePlan { certfile: file, keyfile: None, ocsp_file: None, names: Vec::new(), in_table: false })
}

//! A certificate for a machine on which an application is written: it vouches for itself, and so for nothing.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};

use crate::clock;

use super::{identity, pem};

/// How long it holds; browsers take none that holds for longer than a year or two.
const DAYS: i64 = 365;

/// One that holds no longer than this is made anew.
const SPARE_S: u64 = 14 * 86_400;

const FILE: &str = "development.pem";

/// Where it is, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevelopmentCertificate {
    /// Certificate and key, readable by their owner alone.
    pub file: PathBuf,
    /// Names and addresses of this machine.
    pub names: Vec<String>,
}

/// The certificate that is kept in `directory`, which is made if need be, and the certificate too.
///
/// # Errors
/// What the system says of the directory.
pub fn development_certificate(directory: &Path) -> io::Result<DevelopmentCertificate> {
    let names = names();
    let file = directory.join(FILE);
    if !is_good(&file, &names) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let text = make(&names).map_err(io::Error::other)?;
        // Put in its place whole: another server may read it meanwhile.
        let new = directory.join(format!("{FILE}.{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&new, &file));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
    }
    Ok(DevelopmentCertificate { file, names })
}

/// What this machine is called, as far as that needs nobody to be asked.
fn names() -> Vec<String> {
    let mut names: Vec<_> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let system = rustix::system::uname();
    let own = system.nodename().to_string_lossy().to_ascii_lowercase();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !own.is_empty() && own.bytes().all(is_name) && !names.contains(&own) {
        names.push(own);
    }
    names
}

fn is_good(file: &Path, names: &[String]) -> bool {
    let Ok(chain) = pem::certificates(file) else { return false };
    let Some(own) = chain.first().filter(|_| pem::key(file).is_ok()) else { return false };
    let hosts = identity::host_names(own);
    let is_address = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
    let left = identity::end_of(own).and_then(|end| end.duration_since(clock::wall()).ok());
    left.is_some_and(|left| left.as_secs() > SPARE_S)
        && names.iter().all(|name| is_address(name) || hosts.contains(name))
}

fn make(names: &[String]) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Tidegate, for development");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = Timestamp::try_from(clock::wall()).unwrap_or_default();
    let today = TimeZone::UTC.to_datetime(now).date();
    let day = |days: i64| {
        let date = today.saturating_add(Span::new().days(days));
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(-1);
    params.not_after = day(DAYS);
    let certificate = params.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

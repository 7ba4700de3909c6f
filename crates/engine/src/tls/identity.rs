//! What a certificate says of whom it is for.

use std::fmt::Write as _;
use std::time::SystemTime;

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

/// Whom a certificate is for, who says so, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The distinguished name of its owner (RFC 4514).
    pub subject: String,
    /// That of its issuer.
    pub issuer: String,
    /// Its number, in hexadecimal digits.
    pub serial: String,
    /// From when on it holds, as OpenSSL shows it: `Nov 26 09:00:00 2026 GMT`.
    pub starts: String,
    /// Until when.
    pub ends: String,
}

impl Identity {
    /// Reads a certificate in DER; `None` for what is none.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let certificate = certificate.tbs_certificate();
        let mut serial = String::new();
        for byte in certificate.serial_number().as_bytes() {
            let _ = write!(serial, "{byte:02X}");
        }
        let validity = certificate.validity();
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial,
            starts: shown(&validity.not_before),
            ends: shown(&validity.not_after),
        })
    }
}

fn shown(time: &Time) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = time.to_date_time();
    let month = MONTHS.get(usize::from(time.month()).wrapping_sub(1)).copied().unwrap_or_default();
    let (day, year) = (time.day(), time.year());
    format!("{month} {day:2} {:02}:{:02}:{:02} {year} GMT", time.hour(), time.minutes(), time.seconds())
}

/// The names of hosts that a certificate is for (RFC 6125: those of subjectAltName), in lower case.
pub(super) fn host_names(certificate: &[u8]) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(names)))) = names else { return Vec::new() };
    let host_name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string().to_ascii_lowercase()),
        _ => None,
    };
    names.iter().filter_map(host_name).collect()
}

/// When a certificate ends to hold, if it is one.
pub(super) fn end_of(certificate: &[u8]) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_system_time())
}

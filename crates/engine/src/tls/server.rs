//! What is in force, made anew when its files change.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::clock::{self, Millis};
use crate::sys::SharedMemory;

use super::certificates::Certificates;
use super::pem;
use super::plan::{ClientAuth, Suite, TlsFault, TlsPlan};
use super::tickets::{TicketSecrets, Tickets};

/// How often files are looked at, as connections come in.
const LOOK_EVERY_MS: Millis = 1_000;

/// What has changed this lately may go on changing: a key may come after its certificate.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A server's end of TLS.
#[derive(Debug)]
pub struct Tls {
    plan: TlsPlan,
    secrets: Arc<TicketSecrets>,
    current: Mutex<Current>,
    look_ms: AtomicU64,
    /// Of which state of the files the log was told last, by any of the processes that share this.
    told: SharedMemory<AtomicU64>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    /// The state of the files that it was read from, or that nothing could be read from.
    seen: Stamp,
}

/// The state of files, as far as it changes when they are written or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    number: u64,
    /// When the last of them was changed, in seconds since 1970.
    changed_s: i64,
    /// One of them is where this user may not look.
    is_hidden: bool,
}

impl Stamp {
    fn of<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        let mut hasher = DefaultHasher::new();
        let (mut changed_s, mut is_hidden) = (0, false);
        for file in files {
            let found = file.metadata();
            is_hidden |= found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
            let found = found.ok();
            if let Some(found) = &found {
                changed_s = changed_s.max(found.ctime());
            }
            let looks = |found: std::fs::Metadata| {
                let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
                (found.dev(), found.ino(), found.len(), times)
            };
            found.map(looks).hash(&mut hasher);
        }
        Self { number: hasher.finish(), changed_s, is_hidden }
    }

    fn is_settled(&self) -> bool {
        let age = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // What was changed in the future is an affair of clocks, and no reason to wait for that.
        let changed = Duration::from_secs(self.changed_s.unsigned_abs());
        age.checked_sub(changed).is_none_or(|since| since > SETTLED_AFTER)
    }
}

impl Tls {
    /// Reads all files of a plan. To be called before workers are forked, and before privileges are dropped.
    ///
    /// # Errors
    /// What is wrong with the first that is.
    pub fn load(mut plan: TlsPlan) -> Result<Self, TlsFault> {
        plan.resolve();
        let secrets = TicketSecrets::new(clock::now_ms());
        let secrets = secrets.map_err(|error| TlsFault::new("certfile", error.to_string()))?;
        let secrets = Arc::new(secrets);
        let seen = Stamp::of(plan.files());
        let (config, certificates) = load(&plan, &secrets)?;
        let told = SharedMemory::new(1).map_err(|error| TlsFault::new("certfile", error.to_string()))?;
        Ok(Self {
            plan,
            secrets,
            current: Mutex::new(Current { config, certificates, seen }),
            look_ms: AtomicU64::new(0),
            told,
        })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // What is put there is made before the lock is taken.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, by what its files say now.
    pub(super) fn connect(&self) -> io::Result<(ServerConnection, Arc<Certificates>)> {
        let now_ms = clock::now_ms();
        let look_ms = self.look_ms.load(Ordering::Relaxed);
        if now_ms >= look_ms {
            self.look_ms.store(now_ms + LOOK_EVERY_MS, Ordering::Relaxed);
            if look_ms > 0 {
                self.look(false);
            }
        }
        let (config, certificates) = {
            let current = self.current();
            (current.config.clone(), current.certificates.clone())
        };
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok((connection, certificates))
    }

    /// Reads the files anew if they have changed, because the operator says that they have. Where something is wrong with them, all stays as it
    /// is, and the log is told.
    pub fn renew(&self) {
        self.look(true);
    }

    /// Comes up to date, as the process is about to be forked.
    pub fn follow(&self) {
        self.secrets.move_on(clock::now_ms());
        self.look(false);
    }

    fn look(&self, by_order: bool) {
        let seen = Stamp::of(self.plan.files());
        if seen == self.current().seen || !by_order && (seen.is_hidden || !seen.is_settled()) {
            return;
        }
        let is_first = self.told.as_slice().first().is_none_or(|told| {
            // 0 is the state that nobody was told of.
            told.swap(seen.number.max(1), Ordering::Relaxed) != seen.number.max(1)
        });
        match load(&self.plan, &self.secrets) {
            Ok((config, certificates)) => {
                *self.current() = Current { config, certificates, seen };
                if is_first {
                    log::info!("the files of TLS have changed and were read anew");
                }
            }
            Err(fault) => {
                self.current().seen = seen;
                if is_first {
                    log::error!("{fault}; what was read before stays in force");
                }
            }
        }
    }
}

impl TlsPlan {
    /// Makes its paths independent of the working directory, which an application may change.
    fn resolve(&mut self) {
        let resolve = |path: &mut PathBuf| {
            if let Ok(absolute) = std::path::absolute(&path) {
                *path = absolute;
            }
        };
        for certificate in &mut self.certificates {
            resolve(&mut certificate.certfile);
            certificate.keyfile.iter_mut().chain(&mut certificate.ocsp_file).for_each(resolve);
        }
        self.client_ca.iter_mut().chain(&mut self.client_crl).for_each(resolve);
    }
}

fn load(
    plan: &TlsPlan,
    secrets: &Arc<TicketSecrets>,
) -> Result<(Arc<ServerConfig>, Arc<Certificates>), TlsFault> {
    let provider = Arc::new(provider(plan)?);
    let certificates = Arc::new(Certificates::load(&plan.certificates, &provider)?);
    let versions: &[_] = match plan.only_tls13 {
        true => &[&rustls::version::TLS13],
        false => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|_| TlsFault::new("tls-ciphers", "none of them is one of a version that is spoken"))?;
    let (builder, tickets) = match clients(plan, &provider)? {
        None => (builder.with_no_client_auth(), Tickets::new(secrets.clone(), &[], None)),
        Some((verifier, asks)) => {
            let asks: Vec<_> = asks.iter().map(Vec::as_slice).collect();
            let tickets = Tickets::new(secrets.clone(), &asks, Some(verifier.clone()));
            (builder.with_client_cert_verifier(verifier), tickets)
        }
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.alpn_protocols.clone_from(&plan.protocols);
    config.ticketer = Arc::new(tickets);
    // Tickets hold all that there is to know of a session.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok((Arc::new(config), certificates))
}

fn provider(plan: &TlsPlan) -> Result<CryptoProvider, TlsFault> {
    let mut provider = aws_lc_rs::default_provider();
    if !plan.suites.is_empty() {
        let all = std::mem::take(&mut provider.cipher_suites);
        let wanted = |name: &String| {
            let number = Suite::named(name)?.number;
            all.iter().find(|suite| u16::from(suite.suite()) == number).copied()
        };
        let found: Option<_> = plan.suites.iter().map(wanted).collect();
        provider.cipher_suites =
            found.ok_or_else(|| TlsFault::new("tls-ciphers", "there is no such suite"))?;
    }
    Ok(provider)
}

/// Who looks at clients' certificates, and all that decides about what is found, for tickets.
type Clients = (Arc<dyn rustls::server::danger::ClientCertVerifier>, Vec<Vec<u8>>);

fn clients(plan: &TlsPlan, provider: &Arc<CryptoProvider>) -> Result<Option<Clients>, TlsFault> {
    let (Some(path), false) = (&plan.client_ca, plan.client_auth == ClientAuth::None) else {
        return Ok(None);
    };
    let mut asks = vec![format!("{:?}", plan.client_auth).into_bytes()];
    let mut roots = RootCertStore::empty();
    for authority in pem::certificates(path).map_err(|reason| TlsFault::new("client-ca", reason))? {
        asks.push(authority.to_vec());
        roots.add(authority).map_err(|error| {
            TlsFault::new("client-ca", format!("{}: not an authority: {error}", path.display()))
        })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(path) = &plan.client_crl {
        let lists = pem::revoked(path).map_err(|reason| TlsFault::new("client-crl", reason))?;
        asks.extend(lists.iter().map(|list| list.to_vec()));
        // As nginx does it: each authority of a chain has a list in the file, and a list that is out of date vouches for nobody.
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if plan.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| {
        let setting = if plan.client_crl.is_some() { "client-crl" } else { "client-ca" };
        TlsFault::new(setting, error.to_string())
    })?;
    Ok(Some((verifier, asks)))
}

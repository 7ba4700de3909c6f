//! The keys of session tickets: by them a client that comes again is spared most of the handshake (RFC 8446 section 2.2, RFC 5077),
//! whichever worker it comes to.
//!
//! The first secret is made before workers are forked. Time is cut in periods, and each period's secret is the hash of the one before: all
//! processes come to the same one without speaking to one another, and none can go back to those that it has left behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use rustls::server::ProducesTickets;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::UnixTime;

use crate::clock::{self, Millis};

use super::remembered::client_chain;

/// How long a secret makes tickets. They are taken for as long again.
const PERIOD_MS: Millis = 6 * 3_600_000;

const SECRET_LEN: usize = 32;
type Secret = [u8; SECRET_LEN];

/// Which key a ticket was made with: only ours is looked for in it.
const NUMBER_LEN: usize = 8;

/// The secret of the period before this one, from which all later ones follow.
#[derive(Debug)]
struct Chain {
    period: u64,
    secret: Secret,
}

/// What tickets are made with; forked processes each have their copy.
#[derive(Debug)]
pub(super) struct TicketSecrets(Mutex<Chain>);

impl TicketSecrets {
    pub(super) fn new(now_ms: Millis) -> Result<Self, getrandom::Error> {
        let mut secret = [0; SECRET_LEN];
        getrandom::fill(&mut secret)?;
        Ok(Self(Mutex::new(Chain { period: (now_ms / PERIOD_MS).saturating_sub(1), secret })))
    }

    /// Forgets the secrets of periods that are over.
    pub(super) fn move_on(&self, now_ms: Millis) -> u64 {
        let period = now_ms / PERIOD_MS;
        let mut chain = lock(&self.0);
        while chain.period + 1 < period {
            chain.secret = next(&chain.secret);
            chain.period += 1;
        }
        chain.period + 1
    }

    /// The secrets of the period before this one, and of this one.
    fn both(&self) -> [Secret; 2] {
        let chain = lock(&self.0);
        [chain.secret, next(&chain.secret)]
    }
}

fn next(secret: &Secret) -> Secret {
    derive(secret, b"next", b"")
}

fn derive(secret: &Secret, what: &[u8], audience: &[u8]) -> Secret {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(what);
    context.update(audience);
    let mut derived = [0; SECRET_LEN];
    derived.copy_from_slice(context.sign().as_ref());
    derived
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys of a period and of the one before it.
#[derive(Default)]
struct Keys {
    period: u64,
    before: Option<RandomizedNonceKey>,
    now: Option<RandomizedNonceKey>,
}

/// Makes tickets, and takes those that were made for the same audience.
pub(super) struct Tickets {
    secrets: Arc<TicketSecrets>,
    audience: Vec<u8>,
    /// Who looks at clients' certificates, where they are asked for them.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    keys: Mutex<Keys>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// `asks` is what is asked of clients. A ticket vouches for what was asked when it was made: where something else is, it is worth nothing. So it is
    /// where `verifier` would not let its client in any more.
    pub(super) fn new(
        secrets: Arc<TicketSecrets>,
        asks: &[&[u8]],
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in asks {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let audience = context.finish().as_ref().to_vec();
        Self { secrets, audience, verifier, keys: Mutex::default() }
    }

    /// Whether the client of this session would be let in if it came now: its certificate may have expired since, and so may the list of those that
    /// are revoked. Sessions beget sessions, so there is no other end to what is remembered (RFC 8446 section 4.6.1).
    fn still_lets_in(&self, session: &[u8]) -> bool {
        let Some(verifier) = &self.verifier else { return true };
        let Some(chain) = client_chain(session) else { return false };
        let now = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        chain.split_first().map_or(!verifier.client_auth_mandatory(), |(own, others)| {
            verifier.verify_client_cert(own, others, UnixTime::since_unix_epoch(now)).is_ok()
        })
    }

    fn with_keys<T>(&self, work: impl FnOnce(&Keys) -> T) -> T {
        let period = self.secrets.move_on(clock::now_ms());
        let mut keys = lock(&self.keys);
        if keys.period != period || keys.now.is_none() {
            let [before, now] = self.secrets.both().map(|secret| {
                let key = derive(&secret, b"ticket", &self.audience);
                RandomizedNonceKey::new(&AES_256_GCM, &key).ok()
            });
            *keys = Keys { period, before, now };
        }
        work(&keys)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        (PERIOD_MS / 1000) as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.with_keys(|keys| {
            let number = keys.period.to_be_bytes();
            let mut sealed = plain.to_vec();
            let nonce = keys.now.as_ref()?.seal_in_place_append_tag(Aad::from(number), &mut sealed).ok()?;
            Some([&number, nonce.as_ref().as_slice(), &sealed].concat())
        })
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_first_chunk::<NUMBER_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        self.with_keys(|keys| {
            let period = u64::from_be_bytes(*number);
            let key = match keys.period.checked_sub(period)? {
                0 => keys.now.as_ref()?,
                1 => keys.before.as_ref()?,
                _ => return None,
            };
            let mut opened = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length = key.open_in_place(nonce, Aad::from(*number), &mut opened).ok()?.len();
            opened.truncate(length);
            Some(opened)
        })
        .filter(|session| self.still_lets_in(session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> TicketSecrets {
        TicketSecrets::new(clock::now_ms()).unwrap()
    }

    fn copy(secrets: &TicketSecrets) -> TicketSecrets {
        let Chain { period, secret } = *lock(&secrets.0);
        TicketSecrets(Mutex::new(Chain { period, secret }))
    }

    #[test]
    fn what_one_process_makes_another_one_takes_that_was_forked_beside_it() {
        let parent = secrets();
        let (one, other) = (Arc::new(copy(&parent)), Arc::new(copy(&parent)));
        let ticket = Tickets::new(one, &[b"nobody"], None).encrypt(b"session").unwrap();
        assert_eq!(
            Tickets::new(other, &[b"nobody"], None).decrypt(&ticket).as_deref(),
            Some(&b"session"[..])
        );
    }

    #[test]
    fn a_ticket_is_worth_nothing_where_something_else_is_asked_or_once_it_is_changed() {
        let secrets = Arc::new(secrets());
        let mut ticket = Tickets::new(secrets.clone(), &[b"nobody"], None).encrypt(b"session").unwrap();
        assert_eq!(Tickets::new(secrets.clone(), &[b"an authority"], None).decrypt(&ticket), None);
        for index in 0..ticket.len() {
            ticket[index] ^= 1;
            assert_eq!(
                Tickets::new(secrets.clone(), &[b"nobody"], None).decrypt(&ticket),
                None,
                "byte {index}"
            );
            ticket[index] ^= 1;
        }
        assert_eq!(Tickets::new(secrets, &[b"nobody"], None).decrypt(&ticket[..20]), None);
    }

    #[test]
    fn processes_that_move_on_at_different_times_come_to_the_same_secrets_and_forget_the_old_ones() {
        let parent = secrets();
        let late = copy(&parent);
        let first = parent.both();
        let mut now_ms = clock::now_ms();
        for _ in 0..3 {
            now_ms += PERIOD_MS;
            parent.move_on(now_ms);
        }
        late.move_on(now_ms);
        assert_eq!(parent.both(), late.both());
        assert!(!parent.both().contains(&first[0]) && !parent.both().contains(&first[1]));
    }
}

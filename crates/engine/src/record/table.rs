//! The table of requests in flight: slots of a fixed size, each written by whoever has the request's connection locked, and read by
//! another process at any time.
//!
//! A slot begins with a sequence number, which is odd while the slot is being written. Who reads one that has changed meanwhile reads it
//! again: nobody is ever waited for, and a worker that was killed in the middle of a change leaves a slot that is not shown.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::keeper::RequestKey;
use crate::socket::Peer;

/// Words of a slot: four lines of the processor's cache.
pub(super) const SLOT_WORDS: usize = 32;

const SEQUENCE: usize = 0;
/// 0 in a slot that is free.
const NUMBER: usize = 1;
const BEGAN: usize = 2;
/// What changes with the stage, up to the peer.
const STAGE_BEGAN: usize = 3;
/// Stage, method and status, the application's number plus one, and the lengths of path and name: see [`Kept`].
const KEPT: usize = 4;
const THREAD: usize = 5;
const PORT: usize = 6;
const ADDRESS: usize = 7;
const ID: usize = 9;
/// The two numbers of its key.
const KEY: usize = 15;
const PATH: usize = 17;

/// Most bytes of a path, and of a request's id, that are kept.
const PATH_MAX: usize = (SLOT_WORDS - PATH) * 8;
const ID_MAX: usize = (KEY - ID) * 8;

/// A peer without an address; ports have fewer bits.
const NO_PORT: u64 = u64::MAX;

/// How often a slot is read that is being written.
const READS_MAX: usize = 8;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Its body is gathered.
    Body,
    /// It waits for its turn.
    Queue,
    /// The application runs.
    Application,
    /// The application is done, and the client still takes what it has said.
    Write,
    /// It is over, and counted, as its time was; the application goes on.
    Expired,
}

impl Stage {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Queue => "queue",
            Self::Application => "application",
            Self::Write => "write",
            Self::Expired => "expired",
        }
    }
}

/// What is in one word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) stage: Stage,
    pub(super) method: usize,
    pub(super) status: u16,
    pub(super) application: Option<usize>,
    pub(super) path_length: usize,
    pub(super) id_length: usize,
}

impl Kept {
    fn pack(self) -> u64 {
        let application = self.application.map_or(0, |number| number as u64 + 1).min(0xFFFF);
        self.stage as u64
            | (self.method as u64 & 0xFF) << 8
            | u64::from(self.status) << 16
            | application << 32
            | (self.path_length as u64 & 0xFF) << 48
            | (self.id_length as u64) << 56
    }

    fn unpack(word: u64) -> Self {
        let byte = |at: u32| (word >> at) as usize & 0xFF;
        Self {
            stage: match byte(0) {
                0 => Stage::Body,
                1 => Stage::Queue,
                2 => Stage::Application,
                3 => Stage::Write,
                _ => Stage::Expired,
            },
            method: byte(8),
            status: (word >> 16) as u16,
            application: usize::from((word >> 32) as u16).checked_sub(1),
            path_length: byte(48).min(PATH_MAX),
            id_length: byte(56).min(ID_MAX),
        }
    }
}

/// A request in flight, as it was read.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Its number, which no other request of this worker has had.
    pub number: u64,
    /// What the worker calls it by.
    pub key: RequestKey,
    /// The number of its method among [`super::METHODS`].
    pub(super) method_number: usize,
    /// Its path without a query, or as much of it as there is room for.
    pub path: Vec<u8>,
    /// Who asks.
    pub peer: Peer,
    /// The number of the application that has it.
    pub application: Option<usize>,
    /// How far it is.
    pub stage: Stage,
    /// When its head had come, by [`crate::monotonic_us`].
    pub began_us: u64,
    /// Since when it is so far.
    pub stage_began_us: u64,
    /// The system's number of the thread on which the application was begun.
    pub thread: Option<i32>,
    /// What it is called where requests are followed through several servers.
    pub id: Vec<u8>,
    /// That of its response, if that has begun.
    pub status: u16,
}

impl InFlight {
    /// Its method, or `other`.
    pub fn method(&self) -> &'static str {
        super::METHODS[self.method_number.min(super::METHODS.len() - 1)]
    }
}

/// Changes a slot.
fn write(slot: &[AtomicU64], change: impl FnOnce()) {
    let sequence = slot[SEQUENCE].load(Ordering::Relaxed) | 1;
    slot[SEQUENCE].store(sequence, Ordering::Relaxed);
    // Before any of the change is seen.
    fence(Ordering::Release);
    change();
    slot[SEQUENCE].store(sequence.wrapping_add(1), Ordering::Release);
}

fn put(slot: &[AtomicU64], at: usize, value: u64) {
    slot[at].store(value, Ordering::Relaxed);
}

fn put_bytes(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
    }
}

fn get_bytes(words: &[AtomicU64], length: usize) -> Vec<u8> {
    let words = words.iter().take(length.div_ceil(8));
    let mut bytes: Vec<_> = words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    bytes.truncate(length);
    bytes
}

/// What is told of a request that begins.
pub(crate) struct Beginning<'a> {
    pub(crate) key: RequestKey,
    /// When its head was in, by [`crate::monotonic_us`].
    pub(crate) began_us: u64,
    pub(crate) peer: Peer,
    pub(crate) method: &'a str,
    pub(crate) path: &'a [u8],
    pub(crate) has_body: bool,
    /// Its id, if requests have one.
    pub(crate) id: Option<&'a [u8]>,
    /// How long it had waited in front of this server, in microseconds, where that is known.
    pub(crate) front_queue_us: Option<u32>,
}

/// A request that begins. Gives what is kept of it in one word.
pub(super) fn begin(slot: &[AtomicU64], number: u64, mut kept: Kept, beginning: &Beginning<'_>) -> Kept {
    let Beginning { key, began_us, peer, path, id, .. } = beginning;
    let id = id.unwrap_or_default();
    kept.path_length = path.len().min(PATH_MAX);
    kept.id_length = id.len().min(ID_MAX);
    write(slot, || {
        put(slot, NUMBER, number);
        put(slot, KEY, key.connection);
        put(slot, KEY + 1, key.number);
        put(slot, BEGAN, *began_us);
        put(slot, STAGE_BEGAN, *began_us);
        put(slot, KEPT, kept.pack());
        put(slot, THREAD, 0);
        match *peer {
            Peer::Inet(address) => {
                let octets = match address.ip() {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                put(slot, PORT, u64::from(address.port()));
                put_bytes(&slot[ADDRESS..ID], &octets);
            }
            Peer::Unix => put(slot, PORT, NO_PORT),
        }
        put_bytes(&slot[ID..KEY], &id[..kept.id_length]);
        put_bytes(&slot[PATH..], &path[..kept.path_length]);
    });
    kept
}

/// One that has come further.
pub(super) fn go_on(slot: &[AtomicU64], kept: Kept, stage_began_us: u64, thread: i32) {
    write(slot, || {
        put(slot, STAGE_BEGAN, stage_began_us);
        put(slot, KEPT, kept.pack());
        put(slot, THREAD, u64::from(thread.unsigned_abs()));
    });
}

/// It is over: the slot is free.
pub(super) fn end(slot: &[AtomicU64]) {
    write(slot, || put(slot, NUMBER, 0));
}

/// What is in a slot, unless it is free.
pub(super) fn read(slot: &[AtomicU64]) -> Option<InFlight> {
    let get = |at: usize| slot[at].load(Ordering::Relaxed);
    for _ in 0..READS_MAX {
        let sequence = slot[SEQUENCE].load(Ordering::Acquire);
        if sequence % 2 == 1 {
            std::hint::spin_loop();
            continue;
        }
        let number = get(NUMBER);
        if number == 0 {
            return None;
        }
        let kept = Kept::unpack(get(KEPT));
        let mut octets = [0; 16];
        octets.copy_from_slice(&get_bytes(&slot[ADDRESS..ID], 16));
        let peer = match u16::try_from(get(PORT)) {
            Ok(port) => Peer::Inet(SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), port)),
            Err(_) => Peer::Unix,
        };
        let request = InFlight {
            number,
            key: RequestKey { connection: get(KEY), number: get(KEY + 1) },
            method_number: kept.method,
            path: get_bytes(&slot[PATH..], kept.path_length),
            peer,
            application: kept.application,
            stage: kept.stage,
            began_us: get(BEGAN),
            stage_began_us: get(STAGE_BEGAN),
            thread: i32::try_from(get(THREAD)).ok().filter(|thread| *thread != 0),
            id: get_bytes(&slot[ID..KEY], kept.id_length),
            status: kept.status,
        };
        // After all of it was read.
        fence(Ordering::Acquire);
        if get(SEQUENCE) == sequence {
            return Some(request);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn beginning(peer: Peer, path: &[u8]) -> Beginning<'_> {
        Beginning {
            key: RequestKey { connection: 1, number: 2 },
            began_us: 1_000,
            peer,
            method: "GET",
            path,
            has_body: false,
            id: Some(b"an-id"),
            front_queue_us: None,
        }
    }

    fn slot() -> Vec<AtomicU64> {
        (0..SLOT_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn kept(method: usize) -> Kept {
        Kept { stage: Stage::Body, method, status: 0, application: None, path_length: 0, id_length: 0 }
    }

    #[test]
    fn what_is_written_is_read() {
        let slot = slot();
        assert!(read(&slot).is_none());
        for peer in ["192.0.2.1:80", "[2001:db8::1]:65535"] {
            let peer = Peer::Inet(peer.parse().expect("an address"));
            let begun = begin(&slot, 7, kept(2), &beginning(peer, b"/slow"));
            let further = Kept { stage: Stage::Application, application: Some(3), status: 200, ..begun };
            go_on(&slot, further, 1_500, 42);
            let request = read(&slot).expect("a request");
            assert_eq!((request.number, request.method(), &*request.path), (7, "POST", &b"/slow"[..]));
            assert_eq!(
                (request.peer, request.application, request.stage),
                (peer, Some(3), Stage::Application)
            );
            assert_eq!((request.began_us, request.stage_began_us, request.thread), (1_000, 1_500, Some(42)));
            assert_eq!((request.status, &*request.id), (200, &b"an-id"[..]));
            assert_eq!(request.key, RequestKey { connection: 1, number: 2 });
        }
        let long = Beginning { id: Some(&[b'i'; 128]), ..beginning(Peer::Unix, &[b'x'; 1_000]) };
        begin(&slot, 8, kept(0), &long);
        let request = read(&slot).expect("a request");
        assert_eq!(request.id, [b'i'; ID_MAX]);
        assert_eq!((request.peer, request.path.len(), request.thread), (Peer::Unix, PATH_MAX, None));
        end(&slot);
        assert!(read(&slot).is_none());
    }

    #[test]
    fn a_slot_that_is_being_written_is_never_read_half_changed() {
        let (slot, over) = (slot(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..20_000_u64 {
                    let path = [b'a' + (number % 26) as u8; 100];
                    let id = Some(&path[..40]);
                    let same = Beginning { id, began_us: number, ..beginning(Peer::Unix, &path) };
                    let begun = begin(&slot, number, kept(0), &same);
                    go_on(&slot, begun, number, 1);
                }
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) {
                let Some(request) = read(&slot) else { continue };
                let letter = b'a' + (request.number % 26) as u8;
                assert_eq!((request.began_us, request.stage_began_us), (request.number, request.number));
                assert!(request.path.iter().chain(&request.id).all(|byte| *byte == letter), "{request:?}");
            }
        });
    }

    #[test]
    fn a_slot_whose_writer_was_killed_is_not_shown() {
        let slot = slot();
        begin(&slot, 1, kept(0), &beginning(Peer::Unix, b"/"));
        slot[SEQUENCE].fetch_add(1, Ordering::Relaxed);
        assert!(read(&slot).is_none());
        // Who comes next makes it whole again.
        begin(&slot, 2, kept(0), &beginning(Peer::Unix, b"/"));
        assert_eq!(read(&slot).map(|request| request.number), Some(2));
    }
}

//! How much of what a peer sends leads nowhere.
//!
//! Frames that ask for no request and bring none of its body cost this server work all the same, and a peer needs few of them in honest
//! use. Each is charged to an account that fills up with time and with what is really done: who overdraws it is told to calm down.
//! (CVE-2019-9512, 9514, 9515, 9518: floods of PING, RST_STREAM, SETTINGS, empty DATA; CVE-2023-44487: rapid reset; CVE-2024-27316 and others:
//! CONTINUATION; CVE-2025-8671: resets that a server is made to send.)
//!
//! Frames whose heads alone break a rule are found here too: the crate has one error for all of them, or waits for what never comes.

use h2::Reason;

use crate::clock::Millis;

/// What is in an account at most, and at first: a page that is left by its reader resets a hundred streams at once.
const BALANCE_MAX: u64 = 4_000;

/// What time brings: a keep-alive PING now and then, a window that is opened.
const EARNED_PER_SECOND: u64 = 100;

/// What a response, or a piece of one, brings.
pub(super) const EARNED_BY_SENDING: u64 = 20;

/// What a stream costs that either side resets: the work of a request whose response nobody takes.
pub(super) const RESET_COST: u64 = 20;

/// Size of a frame's head (RFC 9113 section 4.1).
const FRAME_HEAD_SIZE: usize = 9;

/// Types of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection, and keeps its account.
#[derive(Debug)]
pub(super) struct Meter {
    head: [u8; FRAME_HEAD_SIZE],
    head_size: usize,
    /// Bytes of the frame at hand that are still to come.
    payload_left: usize,
    /// Bytes before the first frame that are still to come.
    preface_left: usize,
    balance: u64,
    counted_ms: Millis,
    any_frame: bool,
    /// Since when a block of fields, or a frame's head, is under way.
    block_since_ms: Option<Millis>,
    /// What is wrong with a frame that has come.
    fault: Option<Reason>,
}

impl Meter {
    pub(super) fn new(preface_size: usize, now_ms: Millis) -> Self {
        Self {
            head: [0; FRAME_HEAD_SIZE],
            head_size: 0,
            payload_left: 0,
            preface_left: preface_size,
            balance: BALANCE_MAX,
            counted_ms: now_ms,
            any_frame: false,
            block_since_ms: None,
            fault: None,
        }
    }

    /// Takes note of what was received.
    pub(super) fn receive(&mut self, mut bytes: &[u8], now_ms: Millis) {
        let elapsed_ms = now_ms.saturating_sub(self.counted_ms);
        if elapsed_ms >= 1000 {
            self.counted_ms = now_ms;
            self.earn(elapsed_ms / 1000 * EARNED_PER_SECOND);
        }
        let skip = self.preface_left.min(bytes.len());
        self.preface_left -= skip;
        bytes = &bytes[skip..];
        loop {
            let skip = self.payload_left.min(bytes.len());
            self.payload_left -= skip;
            bytes = &bytes[skip..];
            if bytes.is_empty() {
                return;
            }
            let take = (FRAME_HEAD_SIZE - self.head_size).min(bytes.len());
            self.head[self.head_size..self.head_size + take].copy_from_slice(&bytes[..take]);
            self.head_size += take;
            bytes = &bytes[take..];
            if self.head_size == FRAME_HEAD_SIZE {
                self.head_size = 0;
                self.begin_frame(now_ms);
            }
        }
    }

    fn begin_frame(&mut self, now_ms: Millis) {
        let [high, middle, low, kind, flags, ..] = self.head;
        let size = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.payload_left = size;
        self.any_frame = true;
        self.fault = self.fault.or(fault_of(kind, flags, size));
        if matches!(kind, HEADERS | CONTINUATION) {
            let is_open = flags & END_HEADERS == 0;
            self.block_since_ms = if is_open { self.block_since_ms.or(Some(now_ms)) } else { None };
        }
        self.charge(match kind {
            DATA if size > 0 || flags & END_STREAM != 0 => 0,
            HEADERS => 1,
            RST_STREAM => RESET_COST,
            DATA | SETTINGS => 10,
            CONTINUATION => 5,
            _ => 1,
        });
    }

    /// Whether the first frame has begun, which is the peer's SETTINGS.
    pub(super) fn any_frame(&self) -> bool {
        self.any_frame
    }

    /// Since when the head of a request is under way, if one is.
    pub(super) fn block_since_ms(&self) -> Option<Millis> {
        self.block_since_ms
    }

    pub(super) fn charge(&mut self, cost: u64) {
        self.balance = self.balance.saturating_sub(cost);
    }

    pub(super) fn earn(&mut self, gain: u64) {
        // An overdrawn account stays so.
        if self.balance > 0 {
            self.balance = self.balance.saturating_add(gain).min(BALANCE_MAX);
        }
    }

    /// The peer has sent too much that leads nowhere.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.balance == 0
    }

    /// The rule that a frame has broken.
    pub(super) fn fault(&self) -> Option<Reason> {
        self.fault
    }
}

/// What is wrong with a frame by its head alone: its length (RFC 9113 sections 6.3 to 6.9), or that a client sends it (section 8.4).
fn fault_of(kind: u8, flags: u8, size: usize) -> Option<Reason> {
    let has_its_size = match kind {
        PUSH_PROMISE => return Some(Reason::PROTOCOL_ERROR),
        PRIORITY => size == 5,
        RST_STREAM | WINDOW_UPDATE => size == 4,
        SETTINGS if flags & ACK != 0 => size == 0,
        SETTINGS => size.is_multiple_of(6),
        PING => size == 8,
        _ => true,
    };
    (!has_its_size).then_some(Reason::FRAME_SIZE_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let size = payload.len() as u32;
        [&size.to_be_bytes()[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes =
            [b"PRI".to_vec(), frame(SETTINGS, 0, b""), frame(PING, 0, b"12345678"), frame(DATA, 0, b"abc")]
                .concat();
        for size in 1..bytes.len() {
            let mut meter = Meter::new(3, 0);
            assert!(!meter.any_frame());
            bytes.chunks(size).for_each(|piece| meter.receive(piece, 0));
            assert!(meter.any_frame());
            assert_eq!(meter.balance, BALANCE_MAX - 11);
        }
    }

    #[test]
    fn a_flood_overdraws_an_account_and_an_honest_pace_does_not() {
        for (kind, payload) in [(DATA, &b""[..]), (RST_STREAM, b"1234"), (SETTINGS, b""), (PING, b"12345678")]
        {
            let mut meter = Meter::new(0, 0);
            let count = (0..BALANCE_MAX + 1)
                .take_while(|_| {
                    meter.receive(&frame(kind, 0, payload), 0);
                    !meter.is_overdrawn()
                })
                .count();
            assert!(count < BALANCE_MAX as usize, "{kind}");
            let mut meter = Meter::new(0, 0);
            for second in 0..100_000 {
                meter.receive(&frame(kind, 0, payload), second * 1000);
                assert!(!meter.is_overdrawn());
            }
        }
    }

    #[test]
    fn what_is_done_earns_what_its_frames_cost() {
        let mut meter = Meter::new(0, 0);
        for _ in 0..100_000 {
            meter.receive(&frame(HEADERS, END_HEADERS | END_STREAM, b"abc"), 0);
            meter.receive(&frame(WINDOW_UPDATE, 0, b"1234"), 0);
            meter.earn(EARNED_BY_SENDING);
            meter.receive(&frame(DATA, 0, b"abc"), 0);
        }
        assert!(!meter.is_overdrawn());
    }

    #[test]
    fn a_frame_is_as_long_as_its_type_has_it() {
        for (kind, flags, size, fault) in [
            (SETTINGS, 0, 12, None),
            (SETTINGS, 0, 13, Some(Reason::FRAME_SIZE_ERROR)),
            (SETTINGS, ACK, 0, None),
            (SETTINGS, ACK, 6, Some(Reason::FRAME_SIZE_ERROR)),
            (PING, 0, 8, None),
            (PING, 0, 6, Some(Reason::FRAME_SIZE_ERROR)),
            (PRIORITY, 0, 4, Some(Reason::FRAME_SIZE_ERROR)),
            (RST_STREAM, 0, 3, Some(Reason::FRAME_SIZE_ERROR)),
            (WINDOW_UPDATE, 0, 5, Some(Reason::FRAME_SIZE_ERROR)),
            (PUSH_PROMISE, 0, 4, Some(Reason::PROTOCOL_ERROR)),
            (DATA, 0, 1000, None),
            (200, 0, 1, None),
        ] {
            let mut meter = Meter::new(0, 0);
            meter.receive(&frame(kind, flags, &vec![0; size]), 0);
            assert_eq!(meter.fault(), fault, "{kind} {flags} {size}");
        }
    }

    #[test]
    fn a_block_of_fields_is_under_way_until_its_end() {
        let mut meter = Meter::new(0, 0);
        meter.receive(&frame(HEADERS, 0, b"abc"), 5);
        meter.receive(&frame(CONTINUATION, 0, b"abc"), 6);
        assert_eq!(meter.block_since_ms(), Some(5));
        meter.receive(&frame(CONTINUATION, END_HEADERS, b"abc"), 7);
        assert_eq!(meter.block_since_ms(), None);
    }
}

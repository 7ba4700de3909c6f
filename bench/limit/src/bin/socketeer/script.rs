//! What the connections say: a few messages, made and masked once, of which each connection sends one after the other.

use crate::frame;

/// How many there are, unless they are large: enough that neighbours say different things.
const MESSAGES: usize = 64;

/// How much memory they may take in all: no more than a core's cache.
const SIZE_MAX: usize = 512 * 1024;

pub struct Script {
    pub opcode: u8,
    pub messages: Vec<Message>,
}

pub struct Message {
    pub payload: Vec<u8>,
    /// The payload as the client sends it.
    pub frame: Vec<u8>,
}

impl Script {
    pub fn new(opcode: u8, size: usize) -> Self {
        let count = (SIZE_MAX / size.max(1)).clamp(2, MESSAGES);
        let mut numbers = Numbers(size as u64);
        let messages = (0..count).map(|_| Message::new(opcode, size, &mut numbers)).collect();
        Self { opcode, messages }
    }

    /// Returns the message that a connection sends when it has sent so many.
    pub fn message(&self, connection: usize, sent: usize) -> &Message {
        &self.messages[(connection + sent) % self.messages.len()]
    }
}

impl Message {
    fn new(opcode: u8, size: usize, numbers: &mut Numbers) -> Self {
        let payload: Vec<u8> = (0..size)
            .map(|_| {
                let [byte, ..] = numbers.next();
                // Any byte is binary; text is letters.
                if opcode == frame::TEXT { b'a' + byte % 26 } else { byte }
            })
            .collect();
        // A browser's key is unpredictable, for the sake of proxies that might take what a script says for a request (RFC
        // 6455, section 10.3). There is none between us and the server.
        let [a, b, c, d, ..] = numbers.next();
        let frame = frame::masked(opcode, &payload, [a, b, c, d]);
        Self { payload, frame }
    }
}

/// SplitMix64: the same messages in each run, so that no server has easier ones.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_be_bytes()
    }
}

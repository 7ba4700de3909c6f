//! How much a peer may send, with the reason for each number.

/// Bounds on what one WebSocket accepts. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One message, decompressed. More is answered with 1009: at the frame that announces it, or where decompression
    /// crosses it.
    ///
    /// 16 MiB: an application is given messages whole, so this much is held for each connection that sends one.
    pub message_size_max: usize,
    /// The payload of one frame as it comes. More is answered with 1009 at the frame's head.
    ///
    /// 16 MiB: most clients send a message as one frame, so there is no reason for a smaller number.
    pub frame_size_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_size_max: 16 * 1024 * 1024, frame_size_max: 16 * 1024 * 1024 }
    }
}

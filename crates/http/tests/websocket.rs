//! WebSockets through the public interface.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use tidegate_http::ws::{Compression, Event, Limits, Message, MessageKind, Socket};

#[test]
fn a_masked_text_of_the_rfc_is_read() {
    let mut socket = Socket::new(Arc::new(Limits::default()), Compression::OFF);
    let mut input = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let (size, event) = socket.next_event(&mut input).unwrap();
    let message = Message { kind: MessageKind::Text, data: b"Hello".to_vec() };
    assert_eq!((size, event), (11, Event::Message(message)));
}

//! The answer of a listener that sends everybody to https.

use tidegate_http::{RequestHead, TargetForm};

/// The port of https, which its URLs need not name.
const USUAL_PORT: u16 = 443;

/// Where a request is to be made instead: at the same host, which the parser has found to be one. `None` where it names none.
pub(crate) fn location(head: &RequestHead, https_port: u16) -> Option<Vec<u8>> {
    let host = head.host().filter(|host| !host.is_empty())?;
    let mut location = [b"https://", host].concat();
    if https_port != USUAL_PORT {
        location.extend_from_slice(format!(":{https_port}").as_bytes());
    }
    match head.target_form() {
        TargetForm::Asterisk => location.push(b'/'),
        TargetForm::Origin | TargetForm::Absolute => {
            location.extend_from_slice(if head.path().is_empty() { b"/" } else { head.path() });
            if !head.query().is_empty() {
                location.push(b'?');
                location.extend_from_slice(head.query());
            }
        }
    }
    Some(location)
}

/// The status of the answer: for good, and by the same method where that is not one of those that browsers keep (RFC 9110 sections
/// 15.4.2 and 15.4.9).
pub(crate) fn status(method: &str) -> (u16, &'static [u8]) {
    match method {
        "GET" | "HEAD" => (301, b"Moved Permanently"),
        _ => (308, b"Permanent Redirect"),
    }
}

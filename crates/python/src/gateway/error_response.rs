//! Responses that the server gives for an application that gave none.

use tidegate_engine::http::{BodyLength, ResponseHead};
use tidegate_engine::{Block, BodyFault, Exchange, SendError};

/// Answers with the status and its reason. A client that has left is not told.
pub(crate) fn answer_error(exchange: &mut Exchange, status: u16, reason: &str) {
    if let Err(SendError::Refused(fault)) = send(exchange, status, reason) {
        log::error!("an error response could not be sent: {fault}");
    }
}

/// What the client is told of a body that never came to its end, if anything.
pub(crate) fn status_of(fault: &BodyFault) -> Option<(u16, &'static str)> {
    match fault {
        BodyFault::Request(fault) => match fault.status() {
            413 => Some((413, "Content Too Large")),
            _ => Some((400, "Bad Request")),
        },
        BodyFault::TooSlow => Some((408, "Request Timeout")),
        BodyFault::Storage(_) => Some((500, "Internal Server Error")),
        BodyFault::Lost | BodyFault::Stopped | BodyFault::Expired => None,
    }
}

fn send(exchange: &mut Exchange, status: u16, reason: &str) -> Result<(), SendError> {
    let text = format!("{reason}\n");
    let head = ResponseHead::new(status, reason.as_bytes()).and_then(|mut head| {
        head.field(b"Content-Type", b"text/plain; charset=utf-8")?;
        Ok(head)
    });
    match head {
        Ok(head) => {
            let length = BodyLength::Known(text.len() as u64);
            exchange.send(Some((&head, length)), Block::Borrowed(text.as_bytes()), true).map(|_| ())
        }
        // The head is a constant and valid.
        Err(_) => Ok(()),
    }
}

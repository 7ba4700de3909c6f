//! The answer that a file is: its head by what the client knows and wants of it, and its bytes.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use tidegate_http::{BodyLength, HeadFault, RequestHead, ResponseHead};

use super::condition::{Decision, Validators, decide, whole_seconds};
use super::directory::OpenFile;
use super::range::{Part, Wanted};
use crate::exchange::{Block, Exchange, LARGE_BLOCK_MIN, SendError, Sent, plain_head};

thread_local! {
    /// Where the bytes of small files go on their way from the system and to it.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGE_BLOCK_MIN]);
}

/// A response of the server's own with a file in it, or without.
#[derive(Debug)]
pub(crate) struct FileAnswer {
    head: ResponseHead,
    body: AnswerBody,
}

#[derive(Debug)]
enum AnswerBody {
    Text(&'static [u8]),
    File(File, Part),
    /// Each part with what comes before it, and what comes after all of them.
    Parts(File, Vec<(Vec<u8>, Part)>, Vec<u8>),
}

/// What an answer says of a file beside its bytes.
pub(super) struct Described<'a> {
    pub(super) content_type: &'a [u8],
    pub(super) validators: Validators,
    /// Adds the fields that do not depend on which bytes are sent.
    pub(super) add: &'a dyn Fn(&mut ResponseHead) -> Result<(), HeadFault>,
}

impl FileAnswer {
    /// A status, its name and an end of line as text, and a field.
    pub(super) fn plain(
        (status, text): (u16, &'static str),
        field: Option<(&[u8], &[u8])>,
    ) -> Result<Self, HeadFault> {
        let mut head = plain_head((status, text.trim_ascii_end().as_bytes()))?;
        if let Some((name, value)) = field {
            head.field(name, value)?;
        }
        Ok(Self { head, body: AnswerBody::Text(text.as_bytes()) })
    }

    /// The answer to `request` with this file.
    pub(super) fn of_file(
        request: &RequestHead,
        open: OpenFile,
        described: &Described<'_>,
        now: SystemTime,
    ) -> Result<Self, HeadFault> {
        let OpenFile { file, size, .. } = open;
        let validators = &described.validators;
        let decision = match request.method() {
            method @ ("GET" | "HEAD") => decide(request.fields(), method == "GET", validators, size, now),
            _ => Decision::Send(Wanted::Whole),
        };
        let wanted = match decision {
            Decision::PreconditionFailed => return Self::plain((412, "Precondition Failed\n"), None),
            Decision::NotModified => {
                let mut head = ResponseHead::new(304, b"Not Modified")?;
                described.add_to(&mut head, now)?;
                return Ok(Self { head, body: AnswerBody::Text(b"") });
            }
            Decision::Send(wanted) => wanted,
        };
        match wanted {
            Wanted::Unsatisfiable => {
                let field = format!("bytes */{size}");
                Self::plain((416, "Range Not Satisfiable\n"), Some((b"Content-Range", field.as_bytes())))
            }
            Wanted::Whole => {
                let mut head = ResponseHead::new(200, b"OK")?;
                head.field(b"Content-Type", described.content_type)?;
                described.add_to(&mut head, now)?;
                announce(&mut head, size)?;
                Ok(Self { head, body: AnswerBody::File(file, Part { offset: 0, length: size }) })
            }
            Wanted::Parts(parts) => {
                let mut head = ResponseHead::new(206, b"Partial Content")?;
                if let [part] = parts[..] {
                    head.field(b"Content-Type", described.content_type)?;
                    head.field(b"Content-Range", part.content_range(size).as_bytes())?;
                    described.add_to(&mut head, now)?;
                    announce(&mut head, part.length)?;
                    return Ok(Self { head, body: AnswerBody::File(file, part) });
                }
                let boundary = boundary();
                let content_type = format!("multipart/byteranges; boundary={boundary}");
                head.field(b"Content-Type", content_type.as_bytes())?;
                described.add_to(&mut head, now)?;
                let introduce = |part: Part| {
                    let mut before = format!("\r\n--{boundary}\r\nContent-Type: ").into_bytes();
                    before.extend_from_slice(described.content_type);
                    let range = part.content_range(size);
                    before.extend_from_slice(format!("\r\nContent-Range: {range}\r\n\r\n").as_bytes());
                    (before, part)
                };
                let parts: Vec<_> = parts.into_iter().map(introduce).collect();
                let after = format!("\r\n--{boundary}--\r\n").into_bytes();
                let inside: u64 = parts.iter().map(|(before, part)| before.len() as u64 + part.length).sum();
                announce(&mut head, inside + after.len() as u64)?;
                Ok(Self { head, body: AnswerBody::Parts(file, parts, after) })
            }
        }
    }

    /// Sends it as all there is of the response.
    pub(crate) fn send(self, exchange: &mut Exchange) -> Result<Sent, SendError> {
        let Self { head, body } = self;
        if exchange.head().method() == "HEAD" {
            let length = if let AnswerBody::Text(text) = body { text.len() as u64 } else { 0 };
            return exchange.send_as_it_is(Some((&head, BodyLength::Known(length))), Block::EMPTY, true);
        }
        match body {
            AnswerBody::Text(text) => {
                let length = BodyLength::Known(text.len() as u64);
                exchange.send_as_it_is(Some((&head, length)), Block::Borrowed(text), true)
            }
            AnswerBody::File(file, part) => send_part(exchange, Some(&head), file, part, true),
            AnswerBody::Parts(file, parts, after) => {
                exchange.send_as_it_is(Some((&head, BodyLength::Unknown)), Block::EMPTY, false)?;
                for (before, part) in parts {
                    exchange.send_as_it_is(None, Block::Borrowed(&before), false)?;
                    match file.try_clone() {
                        Ok(file) => send_part(exchange, None, file, part, false)?,
                        Err(error) => {
                            log::error!("a file cannot be sent in parts: {error}");
                            break;
                        }
                    };
                }
                exchange.send_as_it_is(None, Block::Borrowed(&after), true)
            }
        }
    }
}

/// Small parts with what comes before them, in one call of the system's; large ones by the system alone.
fn send_part(
    exchange: &mut Exchange,
    head: Option<&ResponseHead>,
    file: File,
    Part { offset, length }: Part,
    last: bool,
) -> Result<Sent, SendError> {
    // Known by the head's own Content-Length, which a file that is shorter by now falls short of.
    let head = head.map(|head| (head, BodyLength::Unknown));
    let Some(size) = usize::try_from(length).ok().filter(|&size| size < LARGE_BLOCK_MIN) else {
        return exchange.send_as_it_is(head, Block::File { file, offset, length }, last);
    };
    BUFFER.with_borrow_mut(|buffer| {
        let mut count = 0;
        while count < size {
            match file.read_at(&mut buffer[count..size], offset + count as u64) {
                Ok(0) => {
                    log::warn!("a file became shorter while it was being sent");
                    break;
                }
                Ok(more) => count += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::error!("a file cannot be read: {error}");
                    break;
                }
            }
        }
        exchange.send_as_it_is(head, Block::Borrowed(&buffer[..count]), last)
    })
}

fn announce(head: &mut ResponseHead, length: u64) -> Result<(), HeadFault> {
    head.field(b"Content-Length", itoa::Buffer::new().format(length).as_bytes()).map(|_| ())
}

/// What stands between parts, and in none of them: nobody could have written it there.
fn boundary() -> String {
    let mut bytes = [0; 16];
    // A system without randomness has one that could be guessed, which harms nobody but who wrote the file.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

impl Described<'_> {
    fn add_to(&self, head: &mut ResponseHead, now: SystemTime) -> Result<(), HeadFault> {
        if let Some(etag) = &self.validators.etag {
            head.field(b"ETag", etag)?;
        }
        if let Some(modified) = self.validators.modified {
            // Not later than Date (RFC 9110 section 8.8.2.1).
            head.field(b"Last-Modified", httpdate::fmt_http_date(modified.min(now)).as_bytes())?;
        }
        head.field(b"Accept-Ranges", b"bytes")?;
        (self.add)(head)
    }
}

impl Validators {
    /// Of a file as it is: the times of two files that differ do, or their sizes. `encoding` tells its encodings apart.
    pub(super) fn of_file(open: &OpenFile, encoding: Option<&str>) -> Self {
        let OpenFile { size, modified_s, modified_ns, .. } = open;
        let (dash, encoding) = encoding.map_or(("", ""), |encoding| ("-", encoding));
        let etag = format!("\"{modified_s:x}-{modified_ns:x}-{size:x}{dash}{encoding}\"").into_bytes();
        Self { etag: Some(etag), modified: Some(whole_seconds(*modified_s)) }
    }
}

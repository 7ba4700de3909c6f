//! The access log: one line a request, written by a thread of its own so that a slow disk holds up nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use jiff::{Timestamp, tz::TimeZone};
use tidegate_http::{RequestHead, Version};

use crate::clock;
use crate::socket::Peer;

/// Lines that wait for the disk; past this they are dropped and counted rather than kept without end.
const PENDING_MAX: usize = 4 * 1024 * 1024;

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// The Common Log Format.
    Common,
    /// Common, then the quoted Referer and User-Agent.
    Combined,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// A file, opened for appending.
    File(PathBuf),
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    dropped: u64,
    /// The file is to be opened anew: what it was called may have been moved away.
    reopens: bool,
    closed: bool,
}

/// Where the writer writes.
enum Sink {
    Stdout(io::Stdout),
    File(File, PathBuf),
}

type Queue = Arc<(Mutex<Pending>, Condvar)>;

/// The writer's end. Dropped, it writes what waits and ends its thread.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessLogFormat,
    time_zone: TimeZone,
    queue: Queue,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    /// What the system says of the file or the thread.
    pub fn start(target: &AccessLogTarget, format: AccessLogFormat) -> io::Result<Self> {
        let sink = match target {
            AccessLogTarget::Stdout => Sink::Stdout(io::stdout()),
            AccessLogTarget::File(path) => Sink::File(append_to(path)?, path.clone()),
        };
        let queue = Queue::default();
        let of_writer = queue.clone();
        let writer = std::thread::Builder::new()
            .name("tidegate-access-log".into())
            .spawn(move || write_lines(&of_writer, sink))?;
        Ok(Self { format, time_zone: TimeZone::system(), queue, writer: Mutex::new(Some(writer)) })
    }

    /// A request that an application has answered. Status 0 stands for one cut before its head.
    pub(crate) fn served(
        &self,
        peer: Peer,
        head: &RequestHead,
        status: u16,
        body_sent: u64,
        started: Instant,
    ) {
        let mut line = Vec::with_capacity(256);
        self.begin(&mut line, peer, started);
        escape(head.method().as_bytes(), &mut line);
        line.push(b' ');
        escape(head.target(), &mut line);
        line.extend_from_slice(match head.version() {
            Version::Http10 => b" HTTP/1.0\" ",
            Version::Http11 => b" HTTP/1.1\" ",
        });
        self.end(line, status, body_sent, Some(head));
    }

    /// A request that was refused before it could be read.
    pub(crate) fn refused(&self, peer: Peer, status: u16, sent: u64) {
        let mut line = Vec::with_capacity(96);
        self.begin(&mut line, peer, clock::instant());
        line.extend_from_slice(b"-\" ");
        self.end(line, status, sent, None);
    }

    fn begin(&self, line: &mut Vec<u8>, peer: Peer, started: Instant) {
        match peer {
            Peer::Inet(address) => push(line, format_args!("{}", address.ip())),
            Peer::Unix => line.extend_from_slice(b"unix:"),
        }
        let began = clock::wall().checked_sub(started.elapsed()).unwrap_or_else(clock::wall);
        let time = Timestamp::try_from(began).unwrap_or_default().to_zoned_datetime(self.time_zone.clone());
        push(line, format_args!(" - - [{}] \"", time.strftime("%d/%b/%Y:%H:%M:%S %z")));
    }

    fn end(&self, mut line: Vec<u8>, status: u16, body_sent: u64, head: Option<&RequestHead>) {
        push(&mut line, format_args!("{status:03} {body_sent}"));
        if self.format == AccessLogFormat::Combined {
            for name in ["referer", "user-agent"] {
                line.extend_from_slice(b" \"");
                escape(head.and_then(|head| head.field(name)).unwrap_or(b"-"), &mut line);
                line.push(b'"');
            }
        }
        line.push(b'\n');
        let (pending, arrived) = &*self.queue;
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.lines.len() + line.len() > PENDING_MAX {
            pending.dropped += 1;
            return;
        }
        let first = pending.lines.is_empty();
        pending.lines.extend_from_slice(&line);
        drop(pending);
        if first {
            arrived.notify_one();
        }
    }
}

impl AccessLog {
    /// Opens the file anew, once what waits is in the present one.
    pub(crate) fn reopen(&self) {
        let (pending, arrived) = &*self.queue;
        pending.lock().unwrap_or_else(PoisonError::into_inner).reopens = true;
        arrived.notify_one();
    }

    /// Writes what waits and ends the thread.
    pub(crate) fn finish(&self) {
        let (pending, arrived) = &*self.queue;
        pending.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        arrived.notify_one();
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A writer that panicked has nothing more to write.
            let _ = writer.join();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.finish();
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn push(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = line.write_fmt(text);
}

/// Puts what a peer chose into a line so that it can neither end a field nor reach a terminal as a command.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            0x20..=0x7e => line.push(byte),
            _ => push(line, format_args!("\\x{byte:02x}")),
        }
    }
}

impl Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(lines).and_then(|()| stdout.flush()),
            Self::File(file, _) => file.write_all(lines),
        }
    }

    fn reopen(&mut self) {
        if let Self::File(file, path) = self {
            match append_to(path) {
                Ok(new) => *file = new,
                Err(error) => log::error!("the access log {path:?} cannot be opened anew: {error}"),
            }
        }
    }
}

fn write_lines(queue: &Queue, mut sink: Sink) {
    let (pending, arrived) = &**queue;
    let mut failing = false;
    loop {
        let (lines, dropped, reopens, closed) = {
            let guard = pending.lock().unwrap_or_else(PoisonError::into_inner);
            let mut guard = arrived
                .wait_while(guard, |pending| pending.lines.is_empty() && !pending.reopens && !pending.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let Pending { lines, dropped, reopens, closed } = &mut *guard;
            (std::mem::take(lines), std::mem::take(dropped), std::mem::take(reopens), *closed)
        };
        match sink.write(&lines) {
            Ok(()) => failing = false,
            // Said once, not for every line.
            Err(error) if !failing => {
                failing = true;
                log::error!("the access log cannot be written: {error}");
            }
            Err(_) => {}
        }
        if reopens {
            sink.reopen();
        }
        if dropped > 0 {
            log::warn!("the access log could not keep up: {dropped} lines dropped");
        }
        if closed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_chose_cannot_end_a_field_or_command_a_terminal() {
        let mut line = Vec::new();
        escape(b"/\x1b[31m\n\"\\\xe9 ok", &mut line);
        assert_eq!(line, b"/\\x1b[31m\\x0a\\\"\\\\\\xe9 ok");
    }
}

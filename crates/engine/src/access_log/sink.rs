//! Where lines of the access log go: a file, or a collector that takes datagrams.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use memchr::{memchr, memchr_iter};

use crate::clock;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, opened for appending.
    File(PathBuf),
    /// Another program.
    Collector(Collector),
}

/// A program that collects lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// How it takes them.
    pub protocol: Protocol,
    /// Where it is.
    pub address: CollectorAddress,
    /// Its number (RFC 3164 section 4.1.1).
    pub facility: u8,
    /// What lines are told by.
    pub tag: String,
}

/// How a collector takes lines: each in a datagram of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 3164.
    Syslog,
    /// systemd's "Native Journal Protocol".
    Journal,
}

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A host and a port.
    Udp(String, u16),
}

/// The severity of all lines: informational (RFC 3164 section 4.1.1).
const SEVERITY: u8 = 6;

/// Most bytes of a line that are sent: what rsyslog takes unless told otherwise.
const DATAGRAM_LINE_MAX: usize = 8 * 1024;

/// How long one datagram may wait for a collector that does not read.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);

/// What has the lines.
#[derive(Debug)]
pub(super) enum Sink {
    /// A stream, and where it is opened anew.
    File(File, Option<PathBuf>),
    Datagrams(Socket, Collector),
}

#[derive(Debug)]
pub(super) enum Socket {
    /// Not connected, as the collector may be started anew.
    Unix(UnixDatagram, PathBuf),
    Udp(UdpSocket),
}

/// Lines that were not written, the first one perhaps in part.
type Unwritten<'a> = (&'a [u8], io::Error);

impl Sink {
    pub(super) fn open(target: &AccessLogTarget) -> io::Result<Self> {
        Ok(match target {
            // By descriptor: what Rust's own handle holds back, and the lock on it, could keep the process from ending.
            AccessLogTarget::Stdout => Self::File(io::stdout().as_fd().try_clone_to_owned()?.into(), None),
            AccessLogTarget::Stderr => Self::File(io::stderr().as_fd().try_clone_to_owned()?.into(), None),
            AccessLogTarget::File(path) => Self::File(append_to(path)?, Some(path.clone())),
            AccessLogTarget::Collector(collector) => {
                let socket = match &collector.address {
                    CollectorAddress::Unix(path) => {
                        UnixDatagram::unbound()?.connect(path)?;
                        let socket = UnixDatagram::unbound()?;
                        socket.set_write_timeout(Some(DATAGRAM_TIMEOUT))?;
                        Socket::Unix(socket, path.clone())
                    }
                    CollectorAddress::Udp(host, port) => Socket::Udp(connect(host, *port)?),
                };
                Self::Datagrams(socket, collector.clone())
            }
        })
    }

    pub(super) fn write<'a>(&mut self, lines: &'a [u8]) -> Result<(), Unwritten<'a>> {
        match self {
            Self::File(file, _) => write_all(file, lines),
            Self::Datagrams(socket, collector) => send_all(socket, collector, lines),
        }
    }

    pub(super) fn reopen(&mut self) {
        if let Self::File(file, Some(path)) = self {
            match append_to(path) {
                Ok(new) => *file = new,
                Err(error) => log::error!("the access log {path:?} cannot be opened anew: {error}"),
            }
        }
    }
}

pub(super) fn lines_in(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Connected, so that it is told when nobody listens there.
fn connect(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in std::net::ToSocketAddrs::to_socket_addrs(&(host, port))? {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        match UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn write_all<'a>(file: &mut File, mut lines: &'a [u8]) -> Result<(), Unwritten<'a>> {
    while !lines.is_empty() {
        match file.write(lines) {
            Ok(0) => return Err((lines, ErrorKind::WriteZero.into())),
            Ok(count) => lines = &lines[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((lines, error)),
        }
    }
    Ok(())
}

/// After the first line that is not taken the rest is given up: each may wait, and more come.
fn send_all<'a>(socket: &Socket, collector: &Collector, mut lines: &'a [u8]) -> Result<(), Unwritten<'a>> {
    let (mut datagram, after) = collector.frame();
    let start = datagram.len();
    while !lines.is_empty() {
        let end = memchr(b'\n', lines).unwrap_or(lines.len());
        datagram.truncate(start);
        datagram.extend_from_slice(&lines[..end.min(DATAGRAM_LINE_MAX)]);
        datagram.extend_from_slice(after.as_bytes());
        let sent = match socket {
            Socket::Unix(socket, path) => socket.send_to(&datagram, path),
            Socket::Udp(socket) => socket.send(&datagram),
        };
        match sent {
            Ok(_) => lines = lines.get(end + 1..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((lines, error)),
        }
    }
    Ok(())
}

impl Collector {
    /// What stands before and behind each line.
    fn frame(&self) -> (Vec<u8>, String) {
        let Self { facility, tag, .. } = self;
        let process = std::process::id();
        match self.protocol {
            Protocol::Syslog => {
                let priority = facility * 8 + SEVERITY;
                let time = Timestamp::try_from(clock::wall()).unwrap_or_default();
                let time = time.to_zoned_datetime(TimeZone::system());
                let time = time.strftime("%b %e %H:%M:%S");
                // The one on this machine knows where it is, and takes a host for the tag.
                let host = match &self.address {
                    CollectorAddress::Unix(_) => String::new(),
                    CollectorAddress::Udp(..) => host_name() + " ",
                };
                (format!("<{priority}>{time} {host}{tag}[{process}]: ").into(), String::new())
            }
            Protocol::Journal => (
                b"MESSAGE=".to_vec(),
                format!(
                    "\nPRIORITY={SEVERITY}\nSYSLOG_FACILITY={facility}\nSYSLOG_IDENTIFIER={tag}\nSYSLOG_PID={process}\n"
                ),
            ),
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

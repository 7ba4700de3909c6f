//! Where lines of the access log go: a file, or a collector that takes datagrams.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use memchr::{memchr, memchr_iter, memrchr};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, AtFlags, CWD, accessat};

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
pub(super) const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);

/// Most bytes that all workers can put into one pipe without theirs being mixed (PIPE_BUF, pipe(7)).
const WHOLE_MAX: usize = 4096;

/// What has the lines.
#[derive(Debug)]
pub(super) enum Sink {
    Stream(Stream),
    /// None while it cannot be opened.
    File(PathBuf, Option<Stream>),
    Datagrams(Socket, Collector),
}

#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    /// Most bytes that are written at a time, if they hold more than one line.
    whole_max: usize,
    /// The last line has no end, as what takes it was full.
    cut: bool,
}

#[derive(Debug)]
pub(super) enum Socket {
    /// Not connected, as the collector may be started anew.
    Unix(UnixDatagram, PathBuf),
    /// None until there is something to send, and after a failure: the host may have another address.
    Udp(Option<UdpSocket>, String, u16),
}

/// Lines that were not written, the first one perhaps in part.
type Unwritten<'a> = (&'a [u8], io::Error);

impl AccessLogTarget {
    /// Looks whether there is what is to take the lines. Later it may go and come.
    ///
    /// # Errors
    /// What the system says of it.
    pub fn look(&self) -> io::Result<()> {
        match self {
            Self::Collector(Collector { address: CollectorAddress::Unix(path), .. }) => {
                UnixDatagram::unbound()?.connect(path)
            }
            Self::Collector(Collector { address: CollectorAddress::Udp(host, port), .. }) => {
                connect(host, *port).map(drop)
            }
            // A pipe is not opened for a look: its reader would take the close for the end.
            Self::File(path) if path.metadata().is_ok_and(|found| !found.is_file()) => {
                Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?)
            }
            Self::File(path) => append_to(path).map(drop),
            Self::Stdout | Self::Stderr => Ok(()),
        }
    }
}

impl Sink {
    pub(super) fn open(target: &AccessLogTarget) -> io::Result<Self> {
        Ok(Self::Stream(match target {
            // By descriptor: what Rust's own handle holds back, and the lock on it, could keep the process from ending.
            AccessLogTarget::Stdout => Stream::new(io::stdout().as_fd().try_clone_to_owned()?.into())?,
            AccessLogTarget::Stderr => Stream::new(io::stderr().as_fd().try_clone_to_owned()?.into())?,
            // Whoever starts a server has looked; a worker that takes the place of another serves without it.
            AccessLogTarget::File(path) => return Ok(Self::File(path.clone(), Stream::open(path).ok())),
            AccessLogTarget::Collector(collector) => {
                let socket = match &collector.address {
                    CollectorAddress::Unix(path) => {
                        let socket = UnixDatagram::unbound()?;
                        socket.set_write_timeout(Some(DATAGRAM_TIMEOUT))?;
                        Socket::Unix(socket, path.clone())
                    }
                    CollectorAddress::Udp(host, port) => Socket::Udp(None, host.clone(), *port),
                };
                return Ok(Self::Datagrams(socket, collector.clone()));
            }
        }))
    }

    pub(super) fn write<'a>(&mut self, lines: &'a [u8]) -> Result<(), Unwritten<'a>> {
        match self {
            Self::Stream(stream) | Self::File(_, Some(stream)) => stream.write_all(lines),
            Self::File(_, None) if lines.is_empty() => Ok(()),
            Self::File(path, none) => match Stream::open(path) {
                Ok(stream) => none.insert(stream).write_all(lines),
                Err(error) => Err((lines, error)),
            },
            Self::Datagrams(socket, collector) => send_all(socket, collector, lines),
        }
    }

    /// How many times in a row lines must be taken after a failure until it is over. By UDP, a failure is that of the datagram before.
    pub(super) fn proofs(&self) -> u8 {
        if matches!(self, Self::Datagrams(Socket::Udp(..), _)) { 2 } else { 1 }
    }

    pub(super) fn reopen(&mut self) {
        if let Self::File(path, stream) = self {
            match Stream::open(path) {
                Ok(new) => *stream = Some(new),
                Err(error) => log::error!("the access log {path:?} cannot be opened anew: {error}"),
            }
        }
    }
}

impl Stream {
    fn open(path: &Path) -> io::Result<Self> {
        append_to(path).and_then(Self::new)
    }

    fn new(file: File) -> io::Result<Self> {
        // What is written to a file at once is in it as one.
        let whole_max = if file.metadata()?.is_file() { usize::MAX } else { WHOLE_MAX };
        Ok(Self { file, whole_max, cut: false })
    }

    fn write_all<'a>(&mut self, mut lines: &'a [u8]) -> Result<(), Unwritten<'a>> {
        let mut begun = false;
        while !lines.is_empty() {
            let next = if self.cut { b"\n" } else { &lines[..self.whole_lines(lines)] };
            match self.file.write(next).and_then(at_least_one) {
                Ok(_) if self.cut => self.cut = false,
                Ok(count) => {
                    begun = !lines[..count].ends_with(b"\n");
                    lines = &lines[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever has the other end may have made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What there is to say of it, writing says.
                    let _ = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None);
                }
                Err(error) => {
                    self.cut |= begun;
                    return Err((lines, error));
                }
            }
        }
        Ok(())
    }

    /// The size of as many lines as are to be written at a time, or of a longer one.
    fn whole_lines(&self, lines: &[u8]) -> usize {
        match lines.get(..self.whole_max) {
            None => lines.len(),
            Some(most) => {
                memrchr(b'\n', most).or_else(|| memchr(b'\n', lines)).map_or(lines.len(), |end| end + 1)
            }
        }
    }
}

pub(super) fn lines_in(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

fn at_least_one(count: usize) -> io::Result<usize> {
    if count == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(count) }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Connected, so that it is told when nobody listens there.
pub(super) fn connect(host: &str, port: u16) -> io::Result<UdpSocket> {
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

/// After the first line that is not taken the rest is given up: each may wait, and more come.
fn send_all<'a>(
    socket: &mut Socket,
    collector: &Collector,
    mut lines: &'a [u8],
) -> Result<(), Unwritten<'a>> {
    let (mut datagram, after) = collector.frame();
    let start = datagram.len();
    while !lines.is_empty() {
        let end = memchr(b'\n', lines).unwrap_or(lines.len());
        datagram.truncate(start);
        datagram.extend_from_slice(&lines[..end.min(DATAGRAM_LINE_MAX)]);
        datagram.extend_from_slice(after.as_bytes());
        let sent = match socket {
            Socket::Unix(socket, path) => socket.send_to(&datagram, path),
            Socket::Udp(socket, host, port) => {
                let connected = socket.take().map_or_else(|| connect(host, *port), Ok);
                connected
                    .and_then(|connected| connected.send(&datagram).inspect(|_| *socket = Some(connected)))
            }
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

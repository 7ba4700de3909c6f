//! What statsd is told of requests: under the names, and in the form, that gunicorn gives them (its `instrument/statsd.py`).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::sink::{CollectorAddress, DATAGRAM_TIMEOUT, connect};

/// Most requests that wait to be told of; of more nothing is told.
pub(super) const WAITING_MAX: usize = 65_536;

/// Largest datagram: what goes through Ethernet in one piece, with room for the headers of tunnels.
const DATAGRAM_MAX: usize = 1_400;

/// Whom to tell, and what stands around each figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsdPlan {
    /// Where it is.
    pub address: CollectorAddress,
    /// Stands before each name, with its dot; or nothing.
    pub prefix: String,
    /// `name:value` pairs between commas, as Datadog takes them; or nothing.
    pub tags: String,
}

/// Tells statsd how many workers there are, and waits for nobody: its host's address is looked up once.
#[derive(Debug)]
pub struct WorkersGauge {
    plan: StatsdPlan,
    socket: Socket,
}

impl WorkersGauge {
    /// Prepares for it.
    ///
    /// # Errors
    /// What the system says of the address.
    pub fn connect(plan: StatsdPlan) -> io::Result<Self> {
        let socket = match &plan.address {
            CollectorAddress::Unix(_) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Socket::Unix(socket)
            }
            CollectorAddress::Udp(host, port) => {
                let socket = connect(host, *port)?;
                socket.set_nonblocking(true)?;
                Socket::Udp(Some(socket))
            }
        };
        Ok(Self { plan, socket })
    }

    /// There are so many now. What is not taken is lost.
    pub fn tell(&self, count: usize) {
        let line = self.plan.line(format_args!("gunicorn.workers:{count}|g"));
        let send = || match (&self.socket, &self.plan.address) {
            (Socket::Unix(socket), CollectorAddress::Unix(path)) => socket.send_to(&line, path),
            (Socket::Udp(Some(socket)), _) => socket.send(&line),
            _ => Err(io::ErrorKind::NotConnected.into()),
        };
        // The first may fail for what became of one before (ICMP port unreachable, udp(7)).
        if let Err(error) = send().or_else(|_| send()) {
            log::debug!("statsd is not told of workers: {error}");
        }
    }
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) took: Duration,
    pub(super) status: u16,
}

/// The one that tells.
#[derive(Debug)]
pub(super) struct Statsd {
    plan: StatsdPlan,
    socket: Socket,
    /// It could not be told the last time, which was said.
    fails: bool,
}

#[derive(Debug)]
enum Socket {
    /// Not connected, as it may be started anew.
    Unix(UnixDatagram),
    /// None until there is something to tell, and after a failure: the host may have another address.
    Udp(Option<UdpSocket>),
}

impl Statsd {
    pub(super) fn new(plan: StatsdPlan) -> io::Result<Self> {
        let socket = match plan.address {
            CollectorAddress::Unix(_) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(DATAGRAM_TIMEOUT))?;
                Socket::Unix(socket)
            }
            CollectorAddress::Udp(..) => Socket::Udp(None),
        };
        Ok(Self { plan, socket, fails: false })
    }

    /// Tells of requests, in as few datagrams as they fit into. What is not taken is lost.
    pub(super) fn tell(&mut self, requests: &[Told]) {
        let mut datagrams: Vec<Vec<u8>> = Vec::new();
        for line in self.plan.lines(requests) {
            match datagrams.last_mut().filter(|last| last.len() + 1 + line.len() <= DATAGRAM_MAX) {
                Some(last) => {
                    last.push(b'\n');
                    last.extend_from_slice(&line);
                }
                None => datagrams.push(line),
            }
        }
        // After the first that is not taken the rest is given up: each may wait, and more come.
        let _ = datagrams.iter().all(|datagram| self.send(datagram));
    }

    fn send(&mut self, datagram: &[u8]) -> bool {
        let sent = match (&mut self.socket, &self.plan.address) {
            (Socket::Unix(socket), CollectorAddress::Unix(path)) => socket.send_to(datagram, path),
            (Socket::Udp(socket), CollectorAddress::Udp(host, port)) => {
                let connected = socket.take().map_or_else(|| connect(host, *port), Ok);
                connected
                    .and_then(|connected| connected.send(datagram).inspect(|_| *socket = Some(connected)))
            }
            _ => return false,
        };
        match sent {
            Ok(_) => self.fails = false,
            Err(error) => {
                if !self.fails {
                    log::warn!("statsd cannot be told: {error}");
                }
                self.fails = true;
            }
        }
        !self.fails
    }
}

impl StatsdPlan {
    /// Counters are summed up; each duration is told, so that statsd can say what the slowest took.
    fn lines<'a>(&'a self, requests: &'a [Told]) -> impl Iterator<Item = Vec<u8>> + 'a {
        let mut statuses = BTreeMap::new();
        for request in requests {
            *statuses.entry(request.status).or_insert(0_u64) += 1;
        }
        // A response that was cut before its head has no status.
        let statuses = statuses.into_iter().filter(|(status, _)| *status > 0);
        let statuses = statuses.map(|(status, count)| {
            self.line(format_args!("gunicorn.request.status.{status}:{count}|c|@1.0"))
        });
        let total = (!requests.is_empty())
            .then(|| self.line(format_args!("gunicorn.requests:{}|c|@1.0", requests.len())));
        let durations = requests.iter().map(|request| {
            let took_ms = request.took.as_micros() as f64 / 1e3;
            self.line(format_args!("gunicorn.request.duration:{took_ms:?}|ms"))
        });
        total.into_iter().chain(statuses).chain(durations)
    }

    fn line(&self, figure: std::fmt::Arguments<'_>) -> Vec<u8> {
        let mut line = self.prefix.clone().into_bytes();
        // Writing to a Vec cannot fail.
        let _ = line.write_fmt(figure);
        if !self.tags.is_empty() {
            let _ = write!(line, "|#{}", self.tags);
        }
        line
    }
}

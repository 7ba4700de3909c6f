//! Connections that a server in front has taken for somebody else, and says so before their first byte (the PROXY protocol).

use std::sync::Arc;

use tidegate_http::RequestFault;
use tidegate_http::proxy::{HEADER_SIZE_MAX, ProxiedEnds, ProxyHeader};

use super::{Connection, Core, Filled, Phase, Step};
use crate::listener::{LocalAddress, Scheme};
use crate::look::Turn;
use crate::socket::{Moved, Peer};

/// Whose connection it is.
#[derive(Debug)]
pub(crate) struct Proxied {
    pub(super) peer: Peer,
    pub(super) is_trusted: bool,
    pub(super) local: Arc<LocalAddress>,
    pub(super) header: ProxyHeader,
}

impl Proxied {
    fn new(header: ProxyHeader, connection: &Connection) -> Self {
        let trusted_proxies = &connection.settings().trusted_proxies;
        // The server in front has said whose connection it is, and nothing of what comes over it: that is trusted only where its client is,
        // who must be known for that.
        let (peer, is_trusted, local) = match header.ends {
            ProxiedEnds::Own => (connection.peer, false, connection.local.clone()),
            // A process on the machine of the server in front.
            ProxiedEnds::Unix => (Peer::Unix, false, connection.local.clone()),
            ProxiedEnds::Inet { source, destination } => {
                let peer = Peer::Inet(source);
                (peer, trusted_proxies.include(peer), Arc::new(LocalAddress::Inet(destination)))
            }
        };
        Self { peer, is_trusted, local, header }
    }
}

impl Connection {
    /// What a server in front has said of it.
    pub(crate) fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.proxied.get().map(|proxied| &proxied.header)
    }

    /// The header that it begins with has not come.
    pub(super) fn awaits_proxy_header(&self) -> bool {
        self.speaks.proxied && self.proxied.get().is_none()
    }
}

impl Core {
    /// Takes the header that the connection begins with, and nothing of what follows it, which may be TLS.
    pub(super) fn take_proxy_header(&mut self, connection: &Arc<Connection>, turn: &mut Turn<'_>) -> Step {
        match self.unread(turn) {
            None => {}
            Some(Filled::Enough) => return Step::Later,
            Some(_) => return Step::Rest,
        }
        if !connection.is_trusted {
            return self.refuse_proxied(connection, &RequestFault::ProxyUntrusted);
        }
        let Some(socket) = connection.carrier.socket() else { return Step::Rest };
        let most = HEADER_SIZE_MAX.min(turn.scratch.len());
        match socket.peek(&mut turn.scratch[..most]) {
            Moved::Bytes(count) => match ProxyHeader::read(&turn.scratch[..count]) {
                Ok(Some((header, size))) => {
                    // It is there, so it comes at once.
                    socket.receive(&mut turn.scratch[..size]);
                    let _ = connection.proxied.set(Arc::new(Proxied::new(header, connection)));
                    Step::Again
                }
                Ok(None) if !self.ended => {
                    self.readable = false;
                    Step::Rest
                }
                Ok(None) => self.refuse_proxied(connection, &RequestFault::ProxyHeader),
                Err(fault) => self.refuse_proxied(connection, &fault),
            },
            Moved::Blocked => {
                self.readable = false;
                Step::Rest
            }
            Moved::End => {
                self.close(connection);
                Step::Again
            }
            Moved::Lost(kind) => {
                self.lose(connection, kind);
                Step::Again
            }
        }
    }

    /// Answers where that can be read; elsewhere the end says enough.
    fn refuse_proxied(&mut self, connection: &Arc<Connection>, fault: &RequestFault) -> Step {
        match connection.speaks.scheme {
            Scheme::Http | Scheme::Redirect => self.refuse(connection, fault),
            Scheme::Https | Scheme::Uwsgi | Scheme::Scgi | Scheme::FastCgi => {
                log::debug!("{}: {} {fault}", connection.peer, fault.status());
                self.close(connection);
            }
        }
        Step::Again
    }

    /// Whether it is the header that is to be read next.
    pub(super) fn is_before_proxy_header(&self, connection: &Connection) -> bool {
        let is_over = matches!(self.phase, Phase::Flushing | Phase::Lingering | Phase::Closed);
        connection.awaits_proxy_header() && !is_over
    }
}

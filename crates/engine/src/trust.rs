//! Whose word about requests is taken: of the servers in front of this one.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::socket::Peer;

/// Peers that stand in front of this server.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// Those with these addresses.
    pub networks: Vec<IpNet>,
    /// Those that come by a unix socket.
    pub unix: bool,
}

impl TrustedProxies {
    pub(crate) fn include(&self, peer: Peer) -> bool {
        match peer {
            Peer::Inet(address) => self.include_address(address.ip()),
            Peer::Unix => self.unix,
        }
    }

    pub(crate) fn include_address(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

//! Who stands in front of the server, as an operator writes it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::value::Fault;

/// Bits before an IPv4 address that is written in IPv6 (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX_LEN: u8 = 96;

/// What a trusted proxy may look like, for help and error lines.
pub(super) const ACCEPTED: &str = "an address, a network (10.0.0.0/8), or unix";

/// A peer, or some, whose word about requests is taken. `Display` gives the notation that is read back as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Those that have connected to a unix socket.
    Unix,
    /// Those with these addresses.
    Network(IpNet),
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl TrustedProxy {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| "neither an address nor a network")?;
        // What stands behind the prefix would mean nothing, and may have been meant.
        if network != network.trunc() {
            return Err(format!("the network is {}, the address {}", network.trunc(), network.addr()));
        }
        Ok(Self::Network(canonical(network)))
    }
}

/// A network of IPv4 addresses as such, also where it is written in IPv6: peers are known by their IPv4 addresses.
fn canonical(network: IpNet) -> IpNet {
    let within = network.prefix_len().checked_sub(MAPPED_PREFIX_LEN);
    match (network.addr(), within) {
        (IpAddr::V6(address), Some(length)) => {
            let mapped = address.to_ipv4_mapped().map(IpAddr::V4);
            mapped.and_then(|address| IpNet::new(address, length).ok()).unwrap_or(network)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_is_an_address_a_network_or_a_unix_socket_and_is_shown_as_it_is_typed() {
        for text in ["unix", "127.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "fd00::/8", "::/0"] {
            assert_eq!(TrustedProxy::parse(text).map(|proxy| proxy.to_string()).as_deref(), Ok(text));
        }
        // Peers on an IPv6 socket that came by IPv4 are known by their IPv4 address.
        assert_eq!(TrustedProxy::parse("::ffff:10.0.0.1"), TrustedProxy::parse("10.0.0.1"));
        assert_eq!(TrustedProxy::parse("::ffff:10.0.0.0/104"), TrustedProxy::parse("10.0.0.0/8"));
        for bad in [
            "",
            "*",
            "localhost",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.1:80",
            "[::1]",
            "unix:/run/a",
        ] {
            assert!(TrustedProxy::parse(bad).is_err(), "{bad}");
        }
    }
}

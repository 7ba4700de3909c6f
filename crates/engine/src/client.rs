//! Who a front server says that its client is.

use std::net::{IpAddr, SocketAddr};

use tidegate_http::RequestHead;

use crate::socket::Peer;

/// The client by the CGI variables of a request; one that has no address is on a unix socket of the front server. `None` where nothing is said.
pub(crate) fn told_in(head: &RequestHead) -> Option<Peer> {
    let address: Option<IpAddr> = parsed(head.variable("REMOTE_ADDR")?);
    let port = head.variable("REMOTE_PORT").and_then(parsed).unwrap_or(0);
    Some(address.map_or(Peer::Unix, |address| Peer::Inet(SocketAddr::new(address.to_canonical(), port))))
}

fn parsed<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

//! Where requests come from: who has sent them, to whom, by which scheme, and who is believed about that.

use std::sync::Arc;

use tidegate_http::{Forwarded, RequestFault, RequestHead};

use super::{Arrival, Connection, Proxied};
use crate::listener::LocalAddress;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::socket::Peer;
use crate::tracing::TraceContext;
use crate::{client, clock, front_queue};

impl Connection {
    /// Whose connection it is.
    pub(crate) fn peer(&self) -> Peer {
        self.proxied.get().map_or(self.peer, |proxied| proxied.peer)
    }

    /// Who has sent the request with this head: the peer, or whom it has sent it for.
    pub(crate) fn client(&self, head: Option<&RequestHead>) -> Peer {
        let in_variables = head.filter(|head| head.is_handed_on()).and_then(client::told_in);
        let in_fields = || head.and_then(RequestHead::forwarded).and_then(Forwarded::client).map(Peer::Inet);
        in_variables.or_else(in_fields).unwrap_or_else(|| self.peer())
    }

    /// What the peer has connected to.
    pub(crate) fn local(&self) -> &Arc<LocalAddress> {
        self.proxied.get().map_or(&self.local, |proxied| &proxied.local)
    }

    /// Whether nobody between the peer and the first of the servers here can read along.
    pub(crate) fn is_encrypted(&self) -> bool {
        let is_in_front = |proxied: &Arc<Proxied>| proxied.header.tls.is_some();
        self.carrier.is_encrypted() || self.proxied.get().is_some_and(is_in_front)
    }

    /// Whether the client of the request with this head is told to have asked by https.
    pub(crate) fn is_secure(&self, head: &RequestHead) -> bool {
        let told = head.forwarded().and_then(Forwarded::is_secure);
        told.unwrap_or_else(|| self.is_encrypted()) || head.is_told_secure()
    }

    /// Whether what the peer says of its requests is believed.
    pub(super) fn is_trusted(&self) -> bool {
        self.proxied.get().map_or(self.is_trusted, |proxied| proxied.is_trusted)
    }

    /// A head is in: has it name the server's span as its parent, where there are such. Places of its fields change.
    pub(super) fn trace(&self, head: &mut RequestHead) -> Option<TraceContext> {
        self.shared.observer.as_ref()?.tracer()?.assign(head, self.is_trusted())
    }

    /// A head is in: takes note of what will be asked of it later.
    pub(super) fn note_arrival(&self, head: &mut RequestHead) -> Result<Arrival, RequestFault> {
        let started_us = self.shared.access_log.is_some().then(clock::now_us);
        let mut arrival = Arrival { started_us, ..Arrival::default() };
        let Settings { request_id_header, drops_forwarded, .. } = self.settings();
        if self.is_trusted() || *drops_forwarded || request_id_header.is_some() {
            self.note_origin(head, &mut arrival)?;
        }
        Ok(arrival)
    }

    /// Gives a request its id, and takes note of what a front server says of it. Places of its fields change.
    #[inline(never)]
    pub(super) fn note_origin(
        &self,
        head: &mut RequestHead,
        arrival: &mut Arrival,
    ) -> Result<(), RequestFault> {
        let Shared { settings, request_ids, .. } = &*self.shared;
        let is_trusted = self.is_trusted();
        match &settings.forwarded {
            // What it says in variables is more than fields, which it may have passed on as they came.
            Some(rules) if is_trusted && !head.is_handed_on() => {
                let is_included = |address| settings.trusted_proxies.include_address(address);
                head.believe(rules, self.is_encrypted(), is_included)?;
            }
            _ if !is_trusted && settings.drops_forwarded => head.drop_forwarded(),
            _ => {}
        }
        if let Some(name) = &settings.request_id_header {
            arrival.id_place = request_ids.assign(head, name, is_trusted);
        }
        if is_trusted {
            arrival.front_queue_us = front_queue::waited_us(head, clock::wall());
        }
        Ok(())
    }
}

//! Destination NAT: the server sees the client's own address, so its replies must come back through us: we are its way to clients.
//!
//! Nothing is remembered for it: a server's address and port belong to one service, so that a reply says by whom it must seem to be sent. Only the station
//! that sent the client's last packet is noted, to save the routing table a question.

use crate::{
    forward::{Sent, neighbor, translation},
    maps,
    packet::Packet,
    service,
};
use xdp_common::{
    addr::Port,
    flow::{FlowKey, mix},
    reason::Reason,
    server::Hop,
    settings::Settings,
};

/// Translates what the stage before left: a client's packet for its server, or what may be a server's reply.
#[inline(always)]
pub(crate) fn send(packet: &mut Packet<'_>) -> Result<Sent, Reason> {
    let work = maps::work().ok_or(Reason::Internal)?;
    let settings = maps::settings().ok_or(Reason::Internal)?;
    let key = work.key;
    let (to, hop) = if work.server == 0 {
        let to = service_of(&key, settings).ok_or(Reason::NoService)?;
        // Before anything is changed: what answers the host's own checks is the host's.
        (to, neighbor::way(packet, &way_to(&key, settings), &to)?)
    } else {
        let server = maps::server(work.server).ok_or(Reason::Internal)?;
        note_way(&key, &neighbor::back(packet).ok_or(Reason::Truncated)?, settings);
        (FlowKey { destination: server.address, destination_port: server.port_for(key.destination_port), ..key }, server.hop)
    };
    translation::rewrite(packet, &key, &to)?;
    let interface = neighbor::address(packet, &hop, &to)?;
    if work.server != 0 {
        maps::count_server(work.server, work.length, work.flows);
    }
    Ok(Sent { interface, reason: work.reason })
}

/// Returns a reply's flow as its client knows it, if it is a reply.
#[inline(always)]
pub(crate) fn service_of(key: &FlowKey, settings: &Settings) -> Option<FlowKey> {
    let own = service::of_server(&key.source, key.source_port, key.protocol, settings);
    let entry = own.or_else(|| service::of_server(&key.source, Port::new(0), key.protocol, settings))?;
    let port = entry.ring().0 as u16;
    let source = *maps::service_address(entry.parts().id)?;
    Some(FlowKey { source, source_port: if port == 0 { key.source_port } else { Port::new(port) }, ..*key })
}

/// Returns the id of the service that a reply is from, if it is one.
#[inline(always)]
pub(crate) fn service_id_of(key: &FlowKey, settings: &Settings) -> Option<u16> {
    let own = service::of_server(&key.source, key.source_port, key.protocol, settings);
    let entry = own.or_else(|| service::of_server(&key.source, Port::new(0), key.protocol, settings))?;
    Some(entry.parts().id)
}

/// Returns the place and the tag of a client's next hop.
#[inline(always)]
fn place(key: &xdp_common::addr::Addr, settings: &Settings) -> (u32, u64) {
    let [high, low] = key.words();
    let hash = mix(mix(settings.key.0[1] ^ high, low), 0xd1a7);
    (hash as u32, hash & !0xffff)
}

#[inline(always)]
fn note_way(key: &FlowKey, back: &Hop, settings: &Settings) {
    let (index, tag) = place(&key.source, settings);
    maps::note_client_hop(index, tag | u64::from(neighbor::note(back)));
}

/// Returns the noted way to a client; all zero has the routing table asked.
#[inline(always)]
fn way_to(key: &FlowKey, settings: &Settings) -> Hop {
    let (index, tag) = place(&key.destination, settings);
    let noted = maps::client_hop(index).unwrap_or(0);
    let hop = if noted & !0xffff == tag { maps::return_hop((noted & 0xffff) as u32) } else { None };
    hop.copied().unwrap_or_default()
}

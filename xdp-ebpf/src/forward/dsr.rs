//! Direct server return: only the link addresses change; the server holds the virtual address and answers the client itself.

use crate::{
    choose,
    forward::{Sent, neighbor},
    packet::Packet,
    parse::Flow,
    stats,
};
use xdp_common::{flow::FlowKey, reason::Reason, service::Service, settings::Settings};

/// Sends a client's packet to a server on the same link.
#[inline(always)]
pub(crate) fn send(packet: &mut Packet<'_>, flow: &Flow, service: &Service, settings: &Settings) -> Result<Sent, Reason> {
    let head = service.parts();
    let place = choose::place(flow, &head, settings);
    let (chosen, age) = choose::server(service, &head, flow, &place, settings)?;
    let to = FlowKey { destination: chosen.server.address, ..flow.key };
    let interface = neighbor::address(packet, &chosen.server.hop, &to)?;
    stats::count_server(chosen.id, flow, age);
    Ok(Sent { interface, reason: Reason::Forwarded })
}

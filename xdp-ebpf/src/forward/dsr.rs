//! Direct server return: only the link addresses change; the server holds the virtual address and answers the client itself.

use crate::{
    forward::{Sent, neighbor},
    packet::Packet,
};
use xdp_common::{flow::FlowKey, reason::Reason, server::Server};

/// Sends a client's packet to a server on the same link.
#[inline(always)]
pub(crate) fn send(packet: &mut Packet<'_>, key: &FlowKey, server: &Server) -> Result<Sent, Reason> {
    let to = FlowKey { destination: server.address, ..*key };
    let interface = neighbor::address(packet, &server.hop, &to)?;
    Ok(Sent { interface, reason: Reason::Forwarded })
}

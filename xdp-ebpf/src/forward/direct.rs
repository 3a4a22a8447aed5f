//! Services that need no entry for a translation: one choice of the server, then the mode's own way to it.

use crate::{
    choose::{self, Chosen},
    forward::{Sent, Step, dsr},
    maps,
    packet::Packet,
    parse::Flow,
    stats,
};
use xdp_common::{
    flow::{FlowKey, Place},
    maps::Stage,
    reason::Reason,
    service::{Forward, Head, Service},
    settings::Settings,
};

/// What the next stage must know of a packet whose server is chosen; each CPU has one.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) key: FlowKey,
    pub(crate) forward: Forward,
    /// Its id; 0 for what may be a server's reply.
    pub(crate) server: u16,
    /// Tells flows apart for whoever spreads tunnels over queues and paths.
    pub(crate) spread: u32,
    /// Bytes of the frame, and new flows it begins, for the server's counters.
    pub(crate) length: u64,
    pub(crate) flows: u64,
    /// Why it is sent.
    pub(crate) reason: Reason,
}

/// Sends a client's packet to its server, or leaves that to the next stage.
#[inline(always)]
pub(crate) fn send(packet: &mut Packet<'_>, flow: &Flow, service: &Service, settings: &Settings) -> Result<Step, Reason> {
    let head = service.parts();
    let place = choose::place(&flow.key, &head, settings);
    let (Chosen { id, server }, age) = choose::server(service, &head, flow, &place, settings)?;
    if head.forward == Forward::Dsr {
        let sent = dsr::send(packet, &flow.key, server)?;
        stats::count_server(id, flow, age);
        return Ok(Step::Sent(sent));
    }
    let stage = if head.forward == Forward::Dnat { Stage::Dnat } else { Stage::Tunnel };
    onward(
        stage,
        Work {
            key: flow.key,
            forward: head.forward,
            server: id.0,
            spread: place.line,
            length: flow.length,
            flows: stats::flows(age),
            reason: Reason::Forwarded,
        },
    )
}

/// Leaves what may be a server's reply to the stage that knows.
#[inline(always)]
pub(crate) fn reply(flow: &Flow) -> Result<Step, Reason> {
    let (forward, reason) = (Forward::Dnat, Reason::Returned);
    onward(Stage::Dnat, Work { key: flow.key, forward, server: 0, spread: 0, length: flow.length, flows: 0, reason })
}

/// Sends an ICMP error on to the server of the flow it is about.
#[inline(always)]
pub(crate) fn pass_on(packet: &mut Packet<'_>, key: &FlowKey, head: &Head, chosen: &Chosen, place: &Place) -> Result<Step, Reason> {
    if head.forward == Forward::Dsr {
        let sent = dsr::send(packet, key, chosen.server)?;
        return Ok(Step::Sent(Sent { reason: Reason::Relayed, ..sent }));
    }
    let (length, server) = (packet.length(), chosen.id.0);
    onward(Stage::Tunnel, Work { key: *key, forward: head.forward, server, spread: place.line, length, flows: 0, reason: Reason::Relayed })
}

#[inline(always)]
fn onward(stage: Stage, work: Work) -> Result<Step, Reason> {
    maps::leave(&work).ok_or(Reason::Internal)?;
    Ok(Step::Onward(stage))
}

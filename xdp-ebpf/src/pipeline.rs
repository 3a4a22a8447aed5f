//! The way of a packet, and nothing else.

use crate::{
    forward::{Step, direct, nat},
    notes::Notes,
    packet::Packet,
    parse::{self, Flow},
    service, watch,
};
use xdp_common::{
    maps::Stage,
    reason::Reason,
    service::{Forward, OnNone, Service},
    settings::{COOKIES, GUARDED, SHORTENED, Settings, TAGGED},
};

/// Balances a packet: a server's reply returns to its client, a client's packet goes to a server, all else is not ours.
#[inline(always)]
pub(crate) fn balance(packet: &mut Packet<'_>, settings: &Settings) -> Result<Step, Reason> {
    if packet.notes().is_none() && watch::is_due(settings) {
        return Ok(Step::Onward(Stage::Watch));
    }
    let flow = match parse::flow(packet) {
        Ok(flow) => flow,
        Err(Reason::NotTransport) if parse::is_icmp(packet) => return Ok(Step::Onward(Stage::Icmp)),
        Err(Reason::Vlan) if settings.has(TAGGED) => return Ok(Step::Onward(Stage::Untag)),
        Err(reason) => return Err(reason),
    };
    if flow.synchronizes() && settings.has(SHORTENED) && !packet.notes().has(Notes::SHORTENED) {
        return Ok(Step::Onward(Stage::Shorten));
    }
    if let Some(reply) = nat::find_reply(&flow, settings) {
        return nat::reply(packet, &flow, &reply).map(Step::Sent);
    }
    let Some(service) = service::find(&flow.key, settings) else { return foreign(&flow, settings) };
    if settings.has(GUARDED) && !packet.notes().has(Notes::ADMITTED) {
        return Ok(Step::Onward(Stage::Guard));
    }
    let head = service.parts();
    match to_server(packet, &flow, service, settings) {
        Err(Reason::NoServer) if head.on_none == OnNone::Reset && flow.can_be_reset() => Ok(Step::Onward(Stage::Reset)),
        // Only said where the service has its flows reset.
        Err(Reason::ServerGone) if flow.can_be_reset() => Ok(Step::Onward(Stage::Reset)),
        step => step,
    }
}

/// Leaves what is for no service to the host, unless it may be a reply that has to be translated, or opens one connection of too many.
#[inline(always)]
fn foreign(flow: &Flow, settings: &Settings) -> Result<Step, Reason> {
    if settings.has(COOKIES) && flow.opens() {
        return Ok(Step::Onward(Stage::Cookie));
    }
    if settings.returns == 0 { Err(Reason::NoService) } else { direct::reply(flow) }
}

#[inline(always)]
fn to_server(packet: &mut Packet<'_>, flow: &Flow, service: &Service, settings: &Settings) -> Result<Step, Reason> {
    match service.parts().forward {
        Forward::Nat => nat::send(packet, flow, service, settings).map(Step::Sent),
        Forward::Dsr | Forward::Ipip | Forward::Gue | Forward::Dnat => direct::send(packet, flow, service, settings),
    }
}

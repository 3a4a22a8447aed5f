//! The way of a packet, and nothing else.

use crate::{
    forward::{Sent, dsr, nat},
    maps,
    packet::Packet,
    parse::{self, Flow},
    service,
};
use xdp_common::{
    reason::Reason,
    service::{Forward, Service},
    settings::Settings,
};

/// Balances a packet: a server's reply returns to its client, a client's packet goes to a server, all else is not ours.
#[inline(always)]
pub(crate) fn balance(packet: &mut Packet<'_>) -> Result<Sent, Reason> {
    let flow = parse::flow(packet)?;
    let settings = maps::settings().ok_or(Reason::Internal)?;
    if let Some(reply) = nat::find_reply(&flow, settings) {
        return nat::reply(packet, &flow, &reply);
    }
    let service = service::find(&flow, settings).ok_or(Reason::NoService)?;
    to_server(packet, &flow, service, settings)
}

#[inline(always)]
fn to_server(packet: &mut Packet<'_>, flow: &Flow, service: &Service, settings: &Settings) -> Result<Sent, Reason> {
    match service.parts().forward {
        Forward::Nat => nat::send(packet, flow, service, settings),
        Forward::Dsr => dsr::send(packet, flow, service, settings),
    }
}

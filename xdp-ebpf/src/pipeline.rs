//! The way of a packet, and nothing else.

use crate::{
    forward::{Step, direct, nat},
    maps,
    packet::Packet,
    parse::{self, Flow},
    service,
};
use xdp_common::{
    maps::Stage,
    reason::Reason,
    service::{Forward, Service},
    settings::Settings,
};

/// Balances a packet: a server's reply returns to its client, a client's packet goes to a server, all else is not ours.
#[inline(always)]
pub(crate) fn balance(packet: &mut Packet<'_>) -> Result<Step, Reason> {
    let flow = match parse::flow(packet) {
        Ok(flow) => flow,
        Err(Reason::NotTransport) if parse::is_icmp(packet) => return Ok(Step::Onward(Stage::Icmp)),
        Err(reason) => return Err(reason),
    };
    let settings = maps::settings().ok_or(Reason::Internal)?;
    if let Some(reply) = nat::find_reply(&flow, settings) {
        return nat::reply(packet, &flow, &reply).map(Step::Sent);
    }
    let service = service::find(&flow.key, settings).ok_or(Reason::NoService)?;
    if !settings.guard.is_idle() && !maps::take_admission() {
        return Ok(Step::Onward(Stage::Guard));
    }
    to_server(packet, &flow, service, settings)
}

#[inline(always)]
fn to_server(packet: &mut Packet<'_>, flow: &Flow, service: &Service, settings: &Settings) -> Result<Step, Reason> {
    match service.parts().forward {
        Forward::Nat => nat::send(packet, flow, service, settings).map(Step::Sent),
        Forward::Dsr | Forward::Ipip | Forward::Gue => direct::send(packet, flow, service, settings),
    }
}

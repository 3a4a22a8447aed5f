//! Which server: by the service's policy, from its ring.
//!
//! A new flow gets the ring's current server or the next of the sequence. An established flow of a `dsr` service is looked up in [`flows`], and only where the
//! ring cannot know it: its slot changed, or the policy does not repeat itself. `nat` services remember every flow themselves.

use crate::{flows, maps, parse::Flow, stats::Age};
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use xdp_common::{
    flow::{FlowKey, Place, ServerId, Slot, TCP, scale},
    reason::Reason,
    server::Server,
    service::{Choice, Head, OnDead, Service, Tracking},
    settings::Settings,
};

/// A server that may be used.
#[derive(Clone, Copy)]
pub(crate) struct Chosen {
    pub(crate) id: ServerId,
    pub(crate) server: &'static Server,
}

/// Places a flow by its service's policy.
#[inline(always)]
pub(crate) fn place(key: &FlowKey, head: &Head, settings: &Settings) -> Place {
    match head.choice {
        Choice::Source => key.place_by_source(&settings.key),
        Choice::Tuple | Choice::RoundRobin | Choice::LeastConn => key.place_by_tuple(&settings.key),
    }
}

/// Chooses for a new flow.
#[inline(always)]
pub(crate) fn fresh(service: &Service, head: &Head, place: &Place) -> Result<Chosen, Reason> {
    let slot = match head.choice {
        Choice::Source | Choice::Tuple => ring_slot(service, place)?,
        Choice::RoundRobin => next_slot(service, head)?,
        Choice::LeastConn => return lighter(service, head),
    };
    usable(slot.current(), head).ok_or(Reason::NoServer)
}

/// Finds the server of a packet whose flow may be established.
#[inline(always)]
pub(crate) fn server(service: &Service, head: &Head, flow: &Flow, place: &Place, settings: &Settings) -> Result<(Chosen, Age), Reason> {
    if !head.choice.is_hash() || head.tracking == Tracking::Always {
        return flows::follow(flow, place, settings, head, || fresh(service, head, place));
    }
    let slot = ring_slot(service, place)?;
    if slot.is_settled() {
        let chosen = usable(slot.current(), head).ok_or(Reason::NoServer)?;
        return Ok((chosen, if flow.opens() { Age::New } else { Age::Known }));
    }
    flows::follow(flow, place, settings, head, || by_changed_slot(slot, flow, head))
}

/// Returns the server of an established flow, as far as it is known, and remembers nothing.
#[inline(always)]
pub(crate) fn known(service: &Service, head: &Head, place: &Place, settings: &Settings) -> Option<Chosen> {
    if let Some(server) = flows::peek(place, settings) {
        return usable(server, head);
    }
    if !head.choice.is_hash() {
        return None;
    }
    usable(ring_slot(service, place).ok()?.server_without_entry(), head)
}

/// Returns a server by id, if it is this service's and may be used.
#[inline(always)]
pub(crate) fn usable(id: ServerId, head: &Head) -> Option<Chosen> {
    let server = maps::server(id.0)?;
    (server.is_usable() && server.service == head.id).then_some(Chosen { id, server })
}

/// Chooses where the ring has changed and the flow is not remembered: one that does not open now is older than the change.
#[inline(always)]
fn by_changed_slot(slot: Slot, flow: &Flow, head: &Head) -> Result<Chosen, Reason> {
    let id = if flow.opens() { slot.current() } else { slot.server_without_entry() };
    if let Some(chosen) = usable(id, head) {
        return Ok(chosen);
    }
    if ends_with_server(flow, head) {
        return Err(Reason::ServerGone);
    }
    usable(slot.current(), head).ok_or(Reason::NoServer)
}

/// Tells whether a packet's flow is not to outlive its server.
#[inline(always)]
pub(crate) fn ends_with_server(flow: &Flow, head: &Head) -> bool {
    head.on_dead == OnDead::Reset && flow.key.protocol == TCP && !flow.opens()
}

/// Chooses of two random servers the one that has less to do; kept out of line, since only new flows come here.
#[inline(never)]
fn lighter(service: &Service, head: &Head) -> Result<Chosen, Reason> {
    // SAFETY: the helper takes nothing and returns an integer.
    let [one, two] = [unsafe { bpf_get_prandom_u32() }, unsafe { bpf_get_prandom_u32() }];
    let (first, slots) = service.ring();
    if slots == 0 {
        return Err(Reason::NoServer);
    }
    let one = maps::ring_slot(first + scale(one, slots)).ok_or(Reason::Internal)?.current();
    let two = maps::ring_slot(first + scale(two, slots)).ok_or(Reason::Internal)?.current();
    let chosen = match (usable(one, head), usable(two, head)) {
        (Some(one), Some(two)) if maps::load(two.id.0).is_lighter_than(maps::load(one.id.0)) => two,
        (Some(one), _) => one,
        (None, two) => two.ok_or(Reason::NoServer)?,
    };
    maps::add_load(chosen.id.0);
    Ok(chosen)
}

#[inline(always)]
fn ring_slot(service: &Service, place: &Place) -> Result<Slot, Reason> {
    let (first, slots) = service.ring();
    if slots == 0 {
        return Err(Reason::NoServer);
    }
    maps::ring_slot(first + scale(place.ring, slots)).ok_or(Reason::Internal)
}

#[inline(always)]
fn next_slot(service: &Service, head: &Head) -> Result<Slot, Reason> {
    let (first, slots) = service.ring();
    if slots == 0 {
        return Err(Reason::NoServer);
    }
    let turn = maps::next_turn(head.id).ok_or(Reason::Internal)?;
    maps::ring_slot(first + (turn % u64::from(slots)) as u32).ok_or(Reason::Internal)
}

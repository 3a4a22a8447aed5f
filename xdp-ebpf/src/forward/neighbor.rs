//! The next hop: from an entry that is already at hand, from the kernel's routing table when that is empty.

use crate::{maps, packet::Packet};
use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Query},
    helpers::generated::bpf_fib_lookup,
};
use xdp_common::{
    flow::{FlowKey, mix},
    lane::Lane,
    limits::{RETURN_HOP_PROBES, RETURN_HOPS},
    reason::Reason,
    server::Hop,
    settings::TAGGED,
    wire::Ethernet,
};

/// Address families as the routing table names them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Addresses a frame to its next hop and returns the interface to leave by.
#[inline(always)]
pub(crate) fn address(packet: &mut Packet<'_>, hop: &Hop, to: &FlowKey) -> Result<u32, Reason> {
    let hop = way(packet, hop, to).map_err(|_| Reason::NoNextHop)?;
    let ethernet = packet.head_mut::<Ethernet>().ok_or(Reason::Truncated)?;
    ethernet.first = hop.first.to_ne_bytes();
    ethernet.second = hop.second.to_ne_bytes();
    Ok(hop.interface)
}

/// Returns the next hop, asked for where it is not at hand; [`Reason::NoService`] says that the packet is for the host itself.
#[inline(always)]
pub(crate) fn way(packet: &Packet<'_>, hop: &Hop, to: &FlowKey) -> Result<Hop, Reason> {
    if hop.interface != 0 { Ok(*hop) } else { look_up(packet, to) }
}

/// Returns the way back to whoever sent this frame.
#[inline(always)]
pub(crate) fn back(packet: &Packet<'_>) -> Option<Hop> {
    let ethernet = packet.head::<Ethernet>()?;
    let (first, second) = (u64::from_ne_bytes(ethernet.first), u32::from_ne_bytes(ethernet.second));
    let sender = first >> 48 | u64::from(second) << 16;
    Some(Hop { first: sender | first << 48, second: (first >> 16) as u32, interface: packet.lane().0 })
}

/// Returns the index of a next hop towards clients, noting it if there is room; 0 is "ask the routing table".
#[inline(always)]
pub(crate) fn note(hop: &Hop) -> u16 {
    // The topmost bits: those below depend on part of the link address only.
    let first = (mix(hop.first, u64::from(hop.second) | u64::from(hop.interface) << 32) >> 52) as u16;
    for probe in 0..RETURN_HOP_PROBES as u16 {
        let index = u32::from(first.wrapping_add(probe)) & (RETURN_HOPS - 1);
        if index == 0 {
            continue;
        }
        let Some(known) = maps::return_hop(index) else { return 0 };
        if known == hop || known.first == 0 && maps::put_return_hop(index, hop) {
            return index as u16;
        }
    }
    0
}

/// Asks the kernel's routing and neighbour tables; kept out of line, since entries are warm.
#[inline(never)]
fn look_up(packet: &Packet<'_>, to: &FlowKey) -> Result<Hop, Reason> {
    let query = maps::question().ok_or(Reason::Internal)?;
    // SAFETY: the query is plain integers and unions of them, for which zero is valid.
    *query = unsafe { core::mem::zeroed() };
    query.l4_protocol = to.protocol;
    query.sport = to.source_port.word();
    query.dport = to.destination_port.word();
    query.ifindex = packet.device();
    if to.destination.is_v4() {
        query.family = AF_INET;
        query.__bindgen_anon_3.ipv4_src = to.source.v4_word();
        query.__bindgen_anon_4.ipv4_dst = to.destination.v4_word();
    } else {
        query.family = AF_INET6;
        query.__bindgen_anon_3.ipv6_src = halves(to.source.words());
        query.__bindgen_anon_4.ipv6_dst = halves(to.destination.words());
    }
    let context = packet.context().as_ptr();
    // SAFETY: the context is the program's own and the query has its true size.
    let result = unsafe { bpf_fib_lookup(context, query, size_of::<Query>() as i32, 0) };
    match result as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => Ok(Hop::new(query.dmac, query.smac, lane_of(query.ifindex)?)),
        // The host has the address itself; or it forwards nothing, and so sends nothing on that is not its own.
        BPF_FIB_LKUP_RET_NOT_FWDED | BPF_FIB_LKUP_RET_FWD_DISABLED => Err(Reason::NoService),
        _ => Err(Reason::NoNextHop),
    }
}

/// Returns the lane that a device of the routing table stands for.
#[inline(always)]
fn lane_of(device: u32) -> Result<u32, Reason> {
    let tagged = maps::settings().is_some_and(|settings| settings.has(TAGGED));
    let vlan = if tagged { maps::vlan(device) } else { None };
    let lane = vlan.map_or(device, |vlan| vlan.interface);
    if vlan.is_none() && Lane(device).vlan() != 0 { Err(Reason::NoNextHop) } else { Ok(lane) }
}

#[inline(always)]
fn halves([high, low]: [u64; 2]) -> [u32; 4] {
    [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32]
}

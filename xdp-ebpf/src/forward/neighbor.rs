//! The next hop: from an entry that is already at hand, from the kernel's routing table when that is empty.

use crate::packet::Packet;
use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Query},
    helpers::generated::bpf_fib_lookup,
};
use xdp_common::{flow::FlowKey, reason::Reason, server::Hop, wire::Ethernet};

/// Address families as the routing table names them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Addresses a frame to its next hop and returns the interface to leave by.
#[inline(always)]
pub(crate) fn address(packet: &mut Packet<'_>, hop: &Hop, to: &FlowKey) -> Result<u32, Reason> {
    let hop = if hop.interface != 0 { *hop } else { look_up(packet, to).ok_or(Reason::NoNextHop)? };
    let ethernet = packet.head_mut::<Ethernet>().ok_or(Reason::Truncated)?;
    ethernet.first = hop.first.to_ne_bytes();
    ethernet.second = hop.second.to_ne_bytes();
    Ok(hop.interface)
}

/// Returns the way back to whoever sent this frame.
#[inline(always)]
pub(crate) fn back(packet: &Packet<'_>) -> Option<Hop> {
    let ethernet = packet.head::<Ethernet>()?;
    let (first, second) = (u64::from_ne_bytes(ethernet.first), u32::from_ne_bytes(ethernet.second));
    let sender = first >> 48 | u64::from(second) << 16;
    Some(Hop { first: sender | first << 48, second: (first >> 16) as u32, interface: packet.interface() })
}

/// Asks the kernel's routing and neighbour tables; kept out of line, since entries are warm.
#[inline(never)]
fn look_up(packet: &Packet<'_>, to: &FlowKey) -> Option<Hop> {
    // SAFETY: the query is plain integers and unions of them, for which zero is valid.
    let mut query: Query = unsafe { core::mem::zeroed() };
    query.l4_protocol = to.protocol;
    query.sport = to.source_port.word();
    query.dport = to.destination_port.word();
    query.ifindex = packet.interface();
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
    // SAFETY: the context is the program's own and the query lives on our stack with its true size.
    let result = unsafe { bpf_fib_lookup(context, &raw mut query, size_of::<Query>() as i32, 0) };
    (result == i64::from(BPF_FIB_LKUP_RET_SUCCESS)).then(|| Hop::new(one_by_one(&query.dmac), one_by_one(&query.smac), query.ifindex))
}

/// Copies an address that lies on the stack byte by byte: wider loads would be misaligned there, which the verifier allows only in packets.
#[inline(always)]
fn one_by_one(bytes: &[u8; 6]) -> [u8; 6] {
    // SAFETY: a reference to a byte is valid to read from.
    core::array::from_fn(|index| unsafe { (&raw const bytes[index]).read_volatile() })
}

#[inline(always)]
fn halves([high, low]: [u64; 2]) -> [u32; 4] {
    [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32]
}

//! The other end of tunnels: takes packets out of IP in IP and of UDP on servers whose kernel cannot, and gives them to the host.
//!
//! Only what is for one of the given addresses is looked at; all else, fragments among it, passes as it is. It works for IPv4 and IPv6 in either, and for
//! both variants of Generic UDP Encapsulation that carry IP packets: with its header (version 0, no options) and without (version 1).

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::generated::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, HashMap, PerCpuArray},
    programs::XdpContext,
};
use xdp_common::{
    addr::Addr,
    decap::{Fate, MOST_ENDS, Settings},
    flow::UDP,
    wire::{self, Ethernet, IN_V4, IN_V6, IPV4, IPV6, Ipv4, Ipv6, Udp},
};

#[map]
static DECAP_SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
static DECAP_ENDS: HashMap<Addr, u32> = HashMap::pinned(MOST_ENDS, 0);
#[map]
static DECAP_FATES: PerCpuArray<u64> = PerCpuArray::pinned(Fate::ALL.len() as u32, 0);

/// The head of a frame: Ethernet, a network header and whatever the pipeline wants to see after it.
#[repr(C)]
struct Frame<Network, Rest> {
    ethernet: Ethernet,
    network: Network,
    rest: Rest,
}

/// A tunnel found: how many bytes of headers go, and how.
struct Tunnel {
    headers: usize,
    fate: Fate,
}

/// Takes a packet out of its tunnel.
#[xdp]
fn l4d_decap(context: XdpContext) -> u32 {
    let Some(tunnel) = find(&context) else { return XDP_PASS };
    let Some(ethertype) = version(&context, tunnel.headers) else {
        count(Fate::Malformed);
        return XDP_PASS;
    };
    let Some(ethernet) = head::<Ethernet>(&context) else { return XDP_PASS };
    let (first, second) = (ethernet.first, ethernet.second);
    // SAFETY: the context is the program's own; no view of the frame outlives the call.
    if unsafe { bpf_xdp_adjust_head(context.ctx, tunnel.headers as i32) } != 0 {
        return XDP_PASS;
    }
    // From here on the frame has no head of its own: without a new one it cannot pass.
    let Some(ethernet) = head_mut::<Ethernet>(&context) else { return XDP_DROP };
    *ethernet = Ethernet { first, second, ethertype: ethertype.to_ne_bytes() };
    count(tunnel.fate);
    XDP_PASS
}

/// Finds out whether a packet came by a tunnel that ends here.
#[inline(always)]
fn find(context: &XdpContext) -> Option<Tunnel> {
    let ethertype = u16::from_ne_bytes(head::<Ethernet>(context)?.ethertype);
    if ethertype == IPV4 {
        let ip = &head::<Frame<Ipv4, ()>>(context)?.network;
        let (to, protocol) = (wire::v4_addr(&ip.destination), ip.protocol);
        if ip.version_length != 0x45 || ip.is_fragment() {
            return None;
        }
        return ends::<Ipv4>(context, &to, protocol);
    }
    if ethertype == IPV6 {
        let ip = &head::<Frame<Ipv6, ()>>(context)?.network;
        let (to, protocol) = (wire::v6_addr(&ip.destination), ip.next_header);
        return ends::<Ipv6>(context, &to, protocol);
    }
    None
}

#[inline(always)]
fn ends<Network>(context: &XdpContext, to: &Addr, protocol: u8) -> Option<Tunnel> {
    let headers = match protocol {
        IN_V4 | IN_V6 => size_of::<Network>(),
        UDP => size_of::<Network>() + over_udp::<Network>(context)?,
        _ => return None,
    };
    // SAFETY: the value is not looked at, only whether there is one.
    unsafe { DECAP_ENDS.get(to) }?;
    Some(Tunnel { headers, fate: if protocol == UDP { Fate::Gue } else { Fate::Ipip } })
}

/// Returns how many bytes lie between the IP headers of a packet to our port.
#[inline(always)]
fn over_udp<Network>(context: &XdpContext) -> Option<usize> {
    let frame = head::<Frame<Network, (Udp, [u8; 4])>>(context)?;
    let (udp, gue) = &frame.rest;
    if udp.ports.destination() != DECAP_SETTINGS.get(0)?.port {
        return None;
    }
    match gue[0] >> 4 {
        // Variant 1: the first byte is already that of the packet.
        4 | 6 => Some(size_of::<Udp>()),
        // Variant 0 without options or control messages.
        0 if gue[0] == 0 && (gue[1] == IN_V4 || gue[1] == IN_V6) && gue[2] == 0 && gue[3] == 0 => Some(size_of::<Udp>() + 4),
        _ => None,
    }
}

/// Returns the EtherType of the packet within, if that is one.
#[inline(always)]
fn version(context: &XdpContext, headers: usize) -> Option<u16> {
    let start = context.data() + size_of::<Ethernet>() + headers;
    if start + size_of::<Ipv4>() > context.data_end() {
        return None;
    }
    // SAFETY: the frame has at least an IPv4 header more, checked above; any byte is valid.
    match unsafe { *(start as *const u8) } >> 4 {
        4 => Some(IPV4),
        6 if start + size_of::<Ipv6>() <= context.data_end() => Some(IPV6),
        _ => None,
    }
}

#[inline(always)]
fn count(fate: Fate) {
    if let Some(counter) = DECAP_FATES.get_ptr_mut(fate as u32) {
        // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
        unsafe { *counter += 1 };
    }
}

/// Views the first bytes of the frame, if there are enough; `T` is made of bytes alone.
#[inline(always)]
fn head<T>(context: &XdpContext) -> Option<&T> {
    // SAFETY: in bounds, as `start` checked; `wire` asserts that headers are plain bytes of alignment 1.
    start::<T>(context).map(|start| unsafe { &*start })
}

#[inline(always)]
#[expect(clippy::mut_from_ref, reason = "the context is a handle; the entry point holds the only view")]
fn head_mut<T>(context: &XdpContext) -> Option<&mut T> {
    // SAFETY: as in `head`; the entry point keeps no other view.
    start::<T>(context).map(|start| unsafe { &mut *start })
}

#[inline(always)]
fn start<T>(context: &XdpContext) -> Option<*mut T> {
    let (start, end) = (context.data(), context.data_end());
    (start + size_of::<T>() <= end).then_some(start as *mut T)
}

/// The licence the kernel asks for before it lends GPL-only helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The host has nothing to run: `cargo xtask build-ebpf` makes the program.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

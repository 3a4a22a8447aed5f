//! The programs of `cargo xtask bench l4` that stand around the balancer: traffic generator, floors and sink.
//!
//! [`generate`] is run by `BPF_PROG_TEST_RUN` and redirects each frame into a veth; at its peer stands the balancer or a floor; whatever comes back ends in
//! [`sink`]. The object is compiled by the benchmark alone, into `target/`, and is no part of l4d.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod pattern;

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX},
    helpers::bpf_redirect,
    macros::{map, xdp},
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};
use pattern::{FRAME_WORDS, Pattern, Reply};
use xdp_common::{
    checksum::Change,
    wire::{Ethernet, Ipv4, Tcp},
};

#[map]
static PATTERN: Array<Pattern> = Array::with_max_entries(1, 0);
/// The number of the next flow.
#[map]
static NEXT: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
#[map]
static REPLIES: Array<Reply> = Array::with_max_entries(pattern::REPLIES, 0);
/// How many frames came back.
#[map]
static RECEIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The part of a frame that flows differ in.
#[repr(C)]
struct Frame {
    ethernet: Ethernet,
    ip: Ipv4,
    tcp: Tcp,
}

/// Where a flow comes from and where it goes, as its words lie in the headers.
struct Ends {
    source: u32,
    destination: u32,
    ports: u32,
}

/// Builds one frame from scratch, since recycled pages still hold what the balancer made of them, and sends it off.
#[xdp]
fn generate(context: XdpContext) -> u32 {
    let Some(interface) = build(&context) else { return XDP_ABORTED };
    // SAFETY: the helper takes two integers and touches no memory of ours.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// The cheapest program there is.
#[xdp]
fn floor_drop(_context: XdpContext) -> u32 {
    XDP_DROP
}

/// The cheapest program that sends a frame back: it swaps the link addresses.
#[xdp]
fn floor_tx(context: XdpContext) -> u32 {
    let Some(start) = start::<Ethernet>(&context) else { return XDP_ABORTED };
    // SAFETY: `start` checked that the frame holds an Ethernet header, which any bytes are; this is the only reference to it.
    let ethernet = unsafe { &mut *start };
    let (first, second) = (u64::from_ne_bytes(ethernet.first), u32::from_ne_bytes(ethernet.second));
    ethernet.first = (first >> 48 | u64::from(second) << 16 | first << 48).to_ne_bytes();
    ethernet.second = ((first >> 16) as u32).to_ne_bytes();
    XDP_TX
}

/// Counts what comes back and ends it.
#[xdp]
fn sink(_context: XdpContext) -> u32 {
    if let Some(received) = RECEIVED.get_ptr_mut(0) {
        // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
        unsafe { *received += 1 };
    }
    XDP_DROP
}

/// Builds the next frame and returns the interface it leaves by.
#[inline(always)]
fn build(context: &XdpContext) -> Option<u32> {
    let pattern = PATTERN.get(0)?;
    let flow = next_flow(pattern)?;
    let start = start::<[u64; FRAME_WORDS]>(context)?;
    for (index, word) in pattern.template.iter().enumerate() {
        // SAFETY: `start` checked that the frame holds all words; `index` counts them.
        let place = unsafe { start.cast::<u64>().add(index) };
        // SAFETY: as above; no reference into the frame is alive.
        unsafe { place.write_unaligned(*word) };
    }
    // SAFETY: a frame of alignment 1 lies within the words just written, any bytes are one, and this is the only reference to it.
    let frame = unsafe { &mut *start.cast::<Frame>() };
    let to = if pattern.replies != 0 { of_server(flow, frame)? } else { of_client(flow, frame) };
    address(frame, &to);
    Some(pattern.interface)
}

/// Takes the next flow's number.
#[inline(always)]
fn next_flow(pattern: &Pattern) -> Option<u32> {
    let next = NEXT.get_ptr_mut(0)?;
    // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
    let next = unsafe { &mut *next };
    let flow = *next;
    *next = if flow + 1 >= pattern.flows { 0 } else { flow + 1 };
    Some(flow)
}

/// Returns the ends of a client's flow: its number, scattered one to one over 24 bits of address and 8 of port.
#[inline(always)]
fn of_client(flow: u32, template: &Frame) -> Ends {
    let scattered = flow.wrapping_mul(0x9e37_79b1);
    let source = 0x2000_0000 | scattered >> 8;
    let port = (1024 + (scattered & 0xff) * 64) as u16;
    let ports = &template.tcp.ports;
    Ends {
        source: source.to_be(),
        destination: u32::from_ne_bytes(template.ip.destination),
        ports: u32::from(port.to_be()) | ports.word() & 0xffff_0000,
    }
}

/// Returns the ends of a server's reply.
#[inline(always)]
fn of_server(flow: u32, template: &Frame) -> Option<Ends> {
    let reply = REPLIES.get(flow)?;
    let source = u32::from_be_bytes(template.ip.source) + u32::from(reply.server);
    let ports = template.tcp.ports.word() & 0xffff | u32::from(reply.port) << 16;
    Some(Ends { source: source.to_be(), destination: reply.destination, ports })
}

/// Gives a frame other ends, checksums kept right.
#[inline(always)]
fn address(frame: &mut Frame, ends: &Ends) {
    let (ip, tcp) = (&mut frame.ip, &mut frame.tcp);
    let addresses =
        Change::none().word(u32::from_ne_bytes(ip.source), ends.source).word(u32::from_ne_bytes(ip.destination), ends.destination);
    ip.source = ends.source.to_ne_bytes();
    ip.destination = ends.destination.to_ne_bytes();
    ip.checksum = addresses.apply(u16::from_ne_bytes(ip.checksum)).to_ne_bytes();
    let change = addresses.word(tcp.ports.word(), ends.ports);
    tcp.ports.source = (ends.ports as u16).to_ne_bytes();
    tcp.ports.destination = ((ends.ports >> 16) as u16).to_ne_bytes();
    tcp.checksum = change.apply(u16::from_ne_bytes(tcp.checksum)).to_ne_bytes();
}

/// Returns where the frame begins, if it holds a whole `T`.
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

/// The host has nothing to run: `cargo xtask bench` makes the programs.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

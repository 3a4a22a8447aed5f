//! The XDP program: forwards TCP and UDP to servers in the kernel.
//!
//! A packet's way: this entry point → [`pipeline`] → [`parse`] → [`service`] → perhaps [`guard`] → [`choose`] (ring, and [`flows`] only where it must) → [`forward`] →
//! back here, perhaps by another program, to which a [`Stage`](xdp_common::maps::Stage) leads, where its [`Reason`] is counted and becomes the verdict. No other file names a verdict.
//!
//! The crate also compiles for the host, where its pure parts are tested; only `target_arch = "bpf"` makes a program of it.

#![cfg_attr(
    target_arch = "bpf",
    no_std,
    no_main,
    feature(core_intrinsics),
    expect(internal_features, reason = "stable has no atomics for BPF")
)]

mod atomic;
mod choose;
mod flows;
mod forward;
mod guard;
mod icmp;
mod maps;
mod packet;
mod parse;
mod pipeline;
mod relay;
mod reset;
mod service;
mod stats;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use forward::{Sent, Step};
use packet::Packet;
use xdp_common::reason::Reason;

/// Balances one packet.
#[xdp]
fn l4d(context: XdpContext) -> u32 {
    let mut packet = Packet::new(&context);
    let step = pipeline::balance(&mut packet);
    take(&packet, step)
}

/// Answers an ICMP message, or sends it on to whom it concerns.
#[xdp]
fn l4d_icmp(context: XdpContext) -> u32 {
    let mut packet = Packet::new(&context);
    let step = relay::handle(&mut packet);
    take(&packet, step)
}

/// Admits a packet to its service, or drops it.
#[xdp]
fn l4d_guard(context: XdpContext) -> u32 {
    let packet = Packet::new(&context);
    let step = guard::admit(&packet);
    take(&packet, step)
}

/// Translates a packet of a service whose servers see the client's address, or a reply of one of them.
#[xdp]
fn l4d_dnat(context: XdpContext) -> u32 {
    let mut packet = Packet::new(&context);
    let sent = forward::dnat::send(&mut packet);
    finish(&packet, sent)
}

/// Answers a segment by a reset.
#[xdp]
fn l4d_reset(context: XdpContext) -> u32 {
    let mut packet = Packet::new(&context);
    let sent = reset::answer(&mut packet);
    finish(&packet, sent)
}

/// Puts a packet into the tunnel to the server that was chosen.
#[xdp]
fn l4d_tunnel(context: XdpContext) -> u32 {
    let mut packet = Packet::new(&context);
    let sent = forward::tunnel::send(&mut packet);
    finish(&packet, sent)
}

/// Ends with a packet, or has another program go on with it.
#[inline(always)]
fn take(packet: &Packet<'_>, step: Result<Step, Reason>) -> u32 {
    let sent = match step {
        Ok(Step::Sent(sent)) => Ok(sent),
        Ok(Step::Onward(stage)) => {
            maps::go_on(packet.context(), stage);
            Err(Reason::Internal)
        }
        Err(reason) => Err(reason),
    };
    finish(packet, sent)
}

/// Counts what became of a packet and returns the verdict.
#[inline(always)]
fn finish(packet: &Packet<'_>, sent: Result<Sent, Reason>) -> u32 {
    let (verdict, reason) = match sent {
        Ok(sent) => (leave_by(sent.interface, packet.interface()), sent.reason),
        Err(reason) if reason.passes() => (XDP_PASS, reason),
        Err(reason) => (XDP_DROP, reason),
    };
    stats::count(reason);
    verdict
}

/// Returns the verdict that sends a packet out of an interface.
#[inline(always)]
fn leave_by(interface: u32, arrived_on: u32) -> u32 {
    if interface == arrived_on {
        return XDP_TX;
    }
    // SAFETY: the helper takes two integers and touches no memory of ours.
    unsafe { bpf_redirect(interface, 0) as u32 }
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

//! The XDP program: forwards TCP and UDP to servers in the kernel.
//!
//! A packet's way: this entry point → [`pipeline`] → [`parse`] → [`service`] → [`choose`] (ring, and [`flows`] only where it must) → [`forward`] →
//! back here, where its [`Reason`](xdp_common::reason::Reason) is counted and becomes the verdict. No other file names a verdict.
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
mod maps;
mod packet;
mod parse;
mod pipeline;
mod service;
mod stats;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use packet::Packet;

/// Balances one packet.
#[xdp]
fn l4d(context: XdpContext) -> u32 {
    let mut packet = Packet::new(&context);
    let (verdict, reason) = match pipeline::balance(&mut packet) {
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

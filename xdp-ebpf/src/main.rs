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

mod answer;
mod atomic;
mod choose;
mod cookie;
mod flows;
mod forward;
mod guard;
mod icmp;
mod maps;
mod notes;
mod packet;
mod parse;
mod pipeline;
mod relay;
mod reset;
mod service;
mod shorten;
mod stats;
mod vlan;
mod watch;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use forward::{Sent, Step};
use notes::Notes;
use packet::Packet;
use xdp_common::{lane::Lane, reason::Reason};

/// Balances one packet.
#[xdp]
fn l4d(context: XdpContext) -> u32 {
    let Some(settings) = maps::settings() else { return XDP_DROP };
    let notes = if settings.features == 0 { Notes::NONE } else { Notes::take() };
    let mut packet = Packet::new(&context, notes);
    let step = pipeline::balance(&mut packet, settings);
    take(&mut packet, step)
}

/// Has the sender of a segment that opens a connection ask for segments no longer than its service allows.
#[xdp]
fn l4d_shorten(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let step = shorten::shorten(&mut packet);
    take(&mut packet, step)
}

/// Takes the tag off a frame of a VLAN.
#[xdp]
fn l4d_untag(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let step = vlan::untag(&mut packet);
    take(&mut packet, step)
}

/// Answers an ICMP message, or sends it on to whom it concerns.
#[xdp]
fn l4d_icmp(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let step = relay::handle(&mut packet);
    take(&mut packet, step)
}

/// Admits a packet to its service, or drops it.
#[xdp]
fn l4d_guard(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let step = guard::admit(&packet);
    take(&mut packet, step)
}

/// Translates a packet of a service whose servers see the client's address, or a reply of one of them.
#[xdp]
fn l4d_dnat(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let sent = forward::dnat::send(&mut packet);
    finish(&mut packet, sent)
}

/// Answers a segment by a reset.
#[xdp]
fn l4d_reset(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let sent = reset::answer(&mut packet);
    finish(&mut packet, sent)
}

/// Answers a segment that opens one connection of too many with a listener of the host.
#[xdp]
fn l4d_cookie(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let step = cookie::answer(&mut packet);
    take(&mut packet, step)
}

/// Puts a packet into the tunnel to the server that was chosen.
#[xdp]
fn l4d_tunnel(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let sent = forward::tunnel::send(&mut packet);
    finish(&mut packet, sent)
}

/// Looks whether a packet that arrives is one that somebody wants to see.
#[xdp]
fn l4d_watch(context: XdpContext) -> u32 {
    let mut packet = Packet::under_way(&context);
    let step = watch::look(&packet);
    take(&mut packet, step)
}

/// Shows what became of a packet that somebody wants to see.
#[xdp]
fn l4d_report(context: XdpContext) -> u32 {
    watch::report(&Packet::new(&context, Notes::NONE))
}

/// Logs a line of a packet.
#[xdp]
fn l4d_log(context: XdpContext) -> u32 {
    watch::log(&Packet::new(&context, Notes::NONE))
}

/// Ends with a packet, or has another program go on with it.
#[inline(always)]
fn take(packet: &mut Packet<'_>, step: Result<Step, Reason>) -> u32 {
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
fn finish(packet: &mut Packet<'_>, sent: Result<Sent, Reason>) -> u32 {
    let leaves_by = sent.as_ref().map_or(0, |sent| Lane(sent.interface).interface());
    let (verdict, reason) = match sent {
        Ok(sent) => leave_by(packet, sent),
        Err(reason) if reason.passes() => (pass(packet), reason),
        Err(reason) => (XDP_DROP, reason),
    };
    stats::count(reason);
    if packet.notes().has(Notes::WATCHED) {
        watch::end(packet, reason, verdict, leaves_by);
    }
    verdict
}

/// Returns the verdict that sends a packet out by a lane.
#[inline(always)]
fn leave_by(packet: &mut Packet<'_>, Sent { interface, reason }: Sent) -> (u32, Reason) {
    let arrived_on = packet.interface();
    if interface == arrived_on {
        return (XDP_TX, reason);
    }
    let lane = Lane(interface);
    if lane.vlan() != 0 && !vlan::tag_for(packet, lane) {
        return (XDP_DROP, Reason::NoHeadroom);
    }
    if lane.interface() == arrived_on {
        return (XDP_TX, reason);
    }
    // SAFETY: the helper takes two integers and touches no memory of ours.
    (unsafe { bpf_redirect(lane.interface(), 0) as u32 }, reason)
}

/// Returns the verdict that leaves a packet to the host, as it came.
#[inline(always)]
fn pass(packet: &mut Packet<'_>) -> u32 {
    if vlan::restore(packet) { XDP_PASS } else { XDP_DROP }
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

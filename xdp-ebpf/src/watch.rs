//! Watching packets: what somebody captures, and what is logged of some.
//!
//! A packet that arrives is looked at by a program of its own before anything else, and shown again by another where it ends; the way between them is that of
//! every packet. Where nobody watches, a packet pays one look at a word it has in hand.

use crate::{forward::Step, maps, notes::Notes, packet::Packet};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use xdp_common::{
    addr::{Addr, Port},
    flow::{TCP, UDP},
    maps::Stage,
    reason::Reason,
    settings::{CAPTURED, LOGGED, Settings},
    watch::{ARRIVED, CAPTURE, Event, LOG, Sighting},
    wire::{self, Ethernet, IPV4, IPV6, Ipv4, Ipv6, PROVIDER_VLAN, Tagged, VLAN},
};

/// Tells whether a packet that arrives is to be looked at.
#[inline(always)]
pub(crate) fn is_due(settings: &Settings) -> bool {
    settings.has_any(CAPTURED | LOGGED) && (settings.has(CAPTURED) || settings.logs(random()))
}

/// Looks at a packet that has arrived.
#[inline(always)]
pub(crate) fn look(packet: &Packet<'_>) -> Result<Step, Reason> {
    let settings = maps::settings().ok_or(Reason::Internal)?;
    let seen = maps::sighting().ok_or(Reason::Internal)?;
    *seen = Sighting { number: seen.number + 1, length: length(packet), ..Sighting::default() };
    let _not_ip = read(packet, seen);
    if settings.has(CAPTURED) {
        if maps::watch().is_some_and(|watch| watch.wants(seen)) {
            seen.purpose = CAPTURE;
            show(packet, seen, packet.interface(), ARRIVED);
        }
        // Nobody has thrown the dice yet.
        if settings.logs(random()) {
            seen.purpose |= LOG;
        }
    } else {
        seen.purpose = LOG;
    }
    Notes::add(if seen.purpose == 0 { Notes::SEEN } else { Notes::SEEN | Notes::WATCHED });
    Ok(Step::Onward(Stage::Balance))
}

/// Has the end of a watched packet shown; comes back only where that cannot be.
#[inline(always)]
pub(crate) fn end(packet: &Packet<'_>, reason: Reason, verdict: u32, leaves_by: u32) {
    let Some(seen) = maps::sighting() else { return };
    (seen.reason, seen.verdict, seen.leaves_by) = (reason as u32, verdict, leaves_by);
    maps::go_on(packet.context(), Stage::Report);
}

/// Shows what became of a packet, and returns the verdict.
#[inline(always)]
pub(crate) fn report(packet: &Packet<'_>) -> u32 {
    let Some(seen) = maps::sighting() else { return 0 };
    if seen.purpose & CAPTURE != 0 {
        show(packet, seen, seen.leaves_by, seen.reason);
    }
    if seen.purpose & LOG != 0 {
        maps::go_on(packet.context(), Stage::Log);
    }
    seen.verdict
}

/// Logs a line of a packet, and returns the verdict; l4d puts the numbers into words.
#[inline(always)]
pub(crate) fn log(packet: &Packet<'_>) -> u32 {
    let Some(seen) = maps::sighting() else { return 0 };
    let (source, destination) = (bytes(&seen.source), bytes(&seen.destination));
    let (from, to) = (u32::from(seen.source_port.number()), u32::from(seen.destination_port.number()));
    aya_log_ebpf::info!(
        packet.context(),
        "{} {:i} {} {:i} {} {} {} {}",
        seen.protocol,
        source,
        from,
        destination,
        to,
        seen.length,
        packet.interface(),
        seen.reason
    );
    seen.verdict
}

/// Shows the frame as it is.
#[inline(always)]
fn show(packet: &Packet<'_>, seen: &Sighting, interface: u32, reason: u32) {
    let length = length(packet);
    // SAFETY: the helper takes nothing and touches no memory.
    let nanos = unsafe { bpf_ktime_get_ns() };
    let snap = maps::watch().map_or(0, |watch| watch.snap);
    let event = Event { number: seen.number, nanos, interface, length, reason, verdict: seen.verdict };
    maps::show(packet.context(), &event, length.min(snap));
}

/// Returns how many bytes the frame has, made narrow only where the compiler no longer knows it for the difference of two pointers, which the verifier refuses to
/// see narrowed.
#[inline(always)]
fn length(packet: &Packet<'_>) -> u32 {
    core::hint::black_box(packet.length()) as u32
}

/// Reads who speaks to whom, behind a tag if there is one.
#[inline(always)]
fn read(packet: &Packet<'_>, seen: &mut Sighting) -> Option<()> {
    let outer = u16::from_ne_bytes(packet.head::<Ethernet>()?.ethertype);
    if outer == VLAN || outer == PROVIDER_VLAN {
        let inner = u16::from_ne_bytes(packet.head::<Tagged>()?.ethertype);
        return read_ip(packet, seen, inner, size_of::<Tagged>() as u64);
    }
    read_ip(packet, seen, outer, size_of::<Ethernet>() as u64)
}

#[inline(always)]
fn read_ip(packet: &Packet<'_>, seen: &mut Sighting, version: u16, at: u64) -> Option<()> {
    let payload = match version {
        IPV4 => {
            let ip = packet.at::<Ipv4>(at)?;
            (seen.source, seen.destination, seen.protocol) =
                (wire::v4_addr(&ip.source), wire::v4_addr(&ip.destination), u32::from(ip.protocol));
            if ip.is_fragment() {
                return None;
            }
            at + u64::from(ip.version_length & 15) * 4
        }
        IPV6 => {
            let ip = packet.at::<Ipv6>(at)?;
            (seen.source, seen.destination, seen.protocol) =
                (wire::v6_addr(&ip.source), wire::v6_addr(&ip.destination), u32::from(ip.next_header));
            at + size_of::<Ipv6>() as u64
        }
        _ => return None,
    };
    if seen.protocol != u32::from(TCP) && seen.protocol != u32::from(UDP) {
        return None;
    }
    let [a, b, c, d] = *packet.at::<[u8; 4]>(payload)?;
    (seen.source_port, seen.destination_port) = (Port::new(u16::from_be_bytes([a, b])), Port::new(u16::from_be_bytes([c, d])));
    Some(())
}

#[inline(always)]
fn bytes(address: &Addr) -> [u8; 16] {
    let [first, second] = address.words();
    (u128::from(first) | u128::from(second) << 64).to_ne_bytes()
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: the helper takes nothing and touches no memory.
    unsafe { bpf_get_prandom_u32() }
}

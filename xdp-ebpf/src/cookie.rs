//! SYN cookies for the host's own listeners: where more connections open than are believed, the answer to a SYN is made here, out of a secret of the
//! kernel, and nothing is remembered until its sender has shown that it is there. The acknowledgement then goes to the host, which knows the cookie.
//!
//! No options but the longest segment are agreed on: the rest would have to be hidden in a time stamp, to which the kernel adds a secret of its own.

use crate::{
    answer,
    forward::{Sent, Step, direct, neighbor},
    guard, maps,
    packet::{Frame, Packet},
    parse, service,
};
use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_tcp_raw_gen_syncookie_ipv4, bpf_tcp_raw_gen_syncookie_ipv6, bpf_xdp_load_bytes},
};
use xdp_common::{
    guard::{Counted, PacePlace},
    reason::Reason,
    wire::{ACK, Ipv4, Ipv6, SYN, Tcp},
};

/// As long as a TCP header with its options can be.
const LONGEST: usize = 60;
/// The option that says how long segments may be, and its bytes.
const SEGMENT_SIZE: [u8; 2] = [2, 4];
/// What a client may send before it hears more.
const WINDOW: u16 = u16::MAX;

/// Answers a segment that opens a connection with a listener of the host, or leaves it to the host while they are few.
#[inline(always)]
pub(crate) fn answer(packet: &mut Packet<'_>) -> Result<Step, Reason> {
    let settings = maps::settings().ok_or(Reason::Internal)?;
    let flow = parse::flow(packet)?;
    let key = flow.key;
    // Nobody opens and ends at once.
    let opens = !flow.finishes() && !flow.resets();
    let Some(listener) = service::of_listener(&key.destination, key.destination_port, settings).filter(|_| opens) else {
        return if settings.returns == 0 { Err(Reason::NoService) } else { direct::reply(&flow) };
    };
    let place = PacePlace::of(&key.destination, Counted::Openings, &settings.key);
    if guard::keeps_pace(&place, (listener.ring as u32).max(1)) {
        return Err(Reason::NoService);
    }
    let back = neighbor::back(packet).ok_or(Reason::Truncated)?;
    if key.source.is_v4() {
        let segment = packet.head::<Frame<Ipv4, Tcp>>().ok_or(Reason::Truncated)?.transport;
        let (cookie, size) = v4(packet, &segment)?;
        answer::v4(packet, &key, acknowledgement(&segment, cookie), [size])?;
    } else {
        let segment = packet.head::<Frame<Ipv6, Tcp>>().ok_or(Reason::Truncated)?.transport;
        let (cookie, size) = v6(packet, &segment)?;
        answer::v6(packet, &key, acknowledgement(&segment, cookie), [size])?;
    }
    let interface = neighbor::address(packet, &back, &key)?;
    Ok(Step::Sent(Sent { interface, reason: Reason::Cookie }))
}

/// Makes the header of the segment that accepts a connection.
#[inline(always)]
fn acknowledgement(segment: &Tcp, cookie: u32) -> Tcp {
    let next = u32::from_be_bytes(segment.sequence).wrapping_add(1);
    Tcp {
        sequence: cookie.to_be_bytes(),
        acknowledgement: next.to_be_bytes(),
        flags: SYN | ACK,
        window: WINDOW.to_be_bytes(),
        ..answer::header(segment, 1)
    }
}

/// Asks the kernel for a cookie, and returns with it the option that says how long segments may be.
#[inline(always)]
fn v4(packet: &mut Packet<'_>, segment: &Tcp) -> Result<(u32, [u8; 4]), Reason> {
    let (mut header, length) = copied(packet, size_of::<Frame<Ipv4, ()>>() as u32, segment)?;
    let frame = packet.head_mut::<Frame<Ipv4, Tcp>>().ok_or(Reason::Truncated)?;
    // SAFETY: an IPv4 header, and as many bytes of a TCP header as are said.
    made(unsafe { bpf_tcp_raw_gen_syncookie_ipv4((&raw mut frame.network).cast(), header.as_mut_ptr().cast(), length) })
}

/// Does as [`v4`] for IPv6.
#[inline(always)]
fn v6(packet: &mut Packet<'_>, segment: &Tcp) -> Result<(u32, [u8; 4]), Reason> {
    let (mut header, length) = copied(packet, size_of::<Frame<Ipv6, ()>>() as u32, segment)?;
    let frame = packet.head_mut::<Frame<Ipv6, Tcp>>().ok_or(Reason::Truncated)?;
    // SAFETY: as in `v4`, with an IPv6 header.
    made(unsafe { bpf_tcp_raw_gen_syncookie_ipv6((&raw mut frame.network).cast(), header.as_mut_ptr().cast(), length) })
}

/// Copies a TCP header with its options: the kernel wants to read as many bytes as the header says, the verifier to know that they are there.
#[inline(always)]
fn copied(packet: &Packet<'_>, place: u32, segment: &Tcp) -> Result<([u8; LONGEST], u32), Reason> {
    let mut header = [0; LONGEST];
    const PLAIN: u32 = size_of::<Tcp>() as u32;
    // Opaque, so that what is compared is what is used: the verifier wants to know the least as well.
    let options = core::hint::black_box((u32::from(segment.offset >> 4) * 4).wrapping_sub(PLAIN));
    if options > LONGEST as u32 - PLAIN {
        return Err(Reason::NoService);
    }
    let length = PLAIN + options;
    // SAFETY: the context is the program's own, and the buffer takes as many bytes.
    let copied = unsafe { bpf_xdp_load_bytes(packet.context().as_ptr().cast(), place, header.as_mut_ptr().cast(), length) };
    if copied == 0 { Ok((header, length)) } else { Err(Reason::NoService) }
}

/// Takes apart what the kernel made; where it refuses, the host is to judge the segment.
#[inline(always)]
fn made(cookie: i64) -> Result<(u32, [u8; 4]), Reason> {
    if cookie < 0 {
        return Err(Reason::NoService);
    }
    let [high, low] = ((cookie >> 32) as u16).to_be_bytes();
    let [kind, length] = SEGMENT_SIZE;
    Ok((cookie as u32, [kind, length, high, low]))
}

//! Resets: what a client is told when its server is dead and its service says so. Made of the segment itself, and returned to the station it came from.

use crate::{
    forward::{Sent, neighbor},
    packet::{Frame, Head, Packet},
    parse,
};
use xdp_common::{
    checksum::Sum,
    flow::{FlowKey, TCP},
    reason::Reason,
    wire::{ACK, Ethernet, FIN, Ipv4, Ipv6, Ports, RST, SYN, Tcp},
};

/// Hops an answer may take.
const HOPS: u8 = 64;
/// A TCP header without options, in words, where a header has it.
const PLAIN: u8 = 5 << 4;

/// Answers a segment by a reset (RFC 9293, 3.10.7.1).
#[inline(always)]
pub(crate) fn answer(packet: &mut Packet<'_>) -> Result<Sent, Reason> {
    let key = parse::flow(packet)?.key;
    if key.protocol != TCP {
        return Err(Reason::ServerGone);
    }
    let back = neighbor::back(packet).ok_or(Reason::Truncated)?;
    if key.source.is_v4() {
        v4(packet, &key)?
    } else {
        v6(packet, &key)?
    }
    let interface = neighbor::address(packet, &back, &key)?;
    Ok(Sent { interface, reason: Reason::Reset })
}

#[inline(always)]
fn v4(packet: &mut Packet<'_>, key: &FlowKey) -> Result<(), Reason> {
    let frame = packet.head::<Frame<Ipv4, Tcp>>().ok_or(Reason::Truncated)?;
    let payload = u16::from_be_bytes(frame.network.length).wrapping_sub(size_of::<Ipv4>() as u16);
    let reset = reset(&frame.transport, payload);
    let frame = cut::<Ipv4>(packet)?;
    let length = (size_of::<Ipv4>() + size_of::<Tcp>()) as u16;
    let (source, destination) = (key.destination.v4_word(), key.source.v4_word());
    let fixed = [u32::from_be(0x4500_0000 | length as u32), u32::from_be(0x4000), u32::from_be((HOPS as u32) << 24 | (TCP as u32) << 16)];
    let sum = fixed.iter().fold(Sum::none(), |sum, word| sum.word(*word)).word(source).word(destination);
    frame.network = Ipv4 {
        version_length: 0x45,
        tos: 0,
        length: length.to_be_bytes(),
        identification: [0; 2],
        fragment: [0x40, 0],
        ttl: HOPS,
        protocol: TCP,
        checksum: sum.field().to_ne_bytes(),
        source: source.to_ne_bytes(),
        destination: destination.to_ne_bytes(),
    };
    frame.transport = sealed(reset, Sum::none().word(source).word(destination));
    Ok(())
}

#[inline(always)]
fn v6(packet: &mut Packet<'_>, key: &FlowKey) -> Result<(), Reason> {
    let frame = packet.head::<Frame<Ipv6, Tcp>>().ok_or(Reason::Truncated)?;
    let reset = reset(&frame.transport, u16::from_be_bytes(frame.network.payload_length));
    let frame = cut::<Ipv6>(packet)?;
    let (source, destination) = (key.destination.words(), key.source.words());
    frame.network = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_length: (size_of::<Tcp>() as u16).to_be_bytes(),
        next_header: TCP,
        hop_limit: HOPS,
        source: bytes(source),
        destination: bytes(destination),
    };
    frame.transport = sealed(reset, Sum::none().words(source).words(destination));
    Ok(())
}

/// Cuts the frame off behind a TCP header without options.
#[inline(always)]
fn cut<'p, Network>(packet: &'p mut Packet<'_>) -> Result<&'p mut Frame<Network, Tcp>, Reason>
where
    Frame<Network, Tcp>: Head,
{
    let length = (size_of::<Ethernet>() + size_of::<Network>() + size_of::<Tcp>()) as u64;
    if packet.length() < length || !packet.cut(length) {
        return Err(Reason::Truncated);
    }
    packet.head_mut().ok_or(Reason::Truncated)
}

/// Makes the header of the reset that a segment of so many bytes, its header included, is answered by.
#[inline(always)]
fn reset(segment: &Tcp, length: u16) -> Tcp {
    let ports = Ports { source: segment.ports.destination, destination: segment.ports.source };
    let plain = Tcp {
        ports,
        sequence: [0; 4],
        acknowledgement: [0; 4],
        offset: PLAIN,
        flags: RST,
        window: [0; 2],
        checksum: [0; 2],
        urgent: [0; 2],
    };
    if segment.flags & ACK != 0 {
        return Tcp { sequence: segment.acknowledgement, ..plain };
    }
    let data = length.wrapping_sub(u16::from(segment.offset >> 4) * 4);
    let taken = u32::from(data) + u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
    let next = u32::from_be_bytes(segment.sequence).wrapping_add(taken);
    Tcp { acknowledgement: next.to_be_bytes(), flags: RST | ACK, ..plain }
}

/// Returns a header with its checksum; the addresses are summed up already.
#[inline(always)]
fn sealed(tcp: Tcp, addresses: Sum) -> Tcp {
    let sum = addresses.word(u32::from_be((TCP as u32) << 16 | size_of::<Tcp>() as u32)).word(tcp.ports.word());
    let sum = sum.word(u32::from_ne_bytes(tcp.sequence)).word(u32::from_ne_bytes(tcp.acknowledgement));
    let sum = sum.word(u32::from_ne_bytes([tcp.offset, tcp.flags, 0, 0]));
    Tcp { checksum: sum.field().to_ne_bytes(), ..tcp }
}

#[inline(always)]
fn bytes([high, low]: [u64; 2]) -> [u8; 16] {
    (u128::from(high) | u128::from(low) << 64).to_ne_bytes()
}

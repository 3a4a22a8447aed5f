//! What we say ourselves, by ICMP, to whoever sent a packet: made of the packet itself, and returned to the station it came from.

use crate::{
    forward::{Sent, neighbor},
    packet::{Frame, Head, Message, Packet},
};
use xdp_common::{
    checksum::Sum,
    flow::FlowKey,
    reason::Reason,
    wire::{Ethernet, ICMP, ICMPV6, IPV4, IPV6, Icmp, Ipv4, Ipv6},
};

/// Words of an IPv4 packet that an error quotes: its header, its ports and more.
const QUOTE_V4: usize = 16;
/// Words of an IPv6 packet that an error quotes.
const QUOTE_V6: usize = 32;
/// Hops an answer may take.
const HOPS: u8 = 64;
/// The least MTU of a link that carries IPv6; senders take no lower one.
const LEAST_MTU_V6: u16 = 1280;

/// Tells a client that its packet is longer than what fits, in the name of the service.
#[inline(always)]
pub(crate) fn too_big(packet: &mut Packet<'_>, key: &FlowKey, longest: u16) -> Result<Sent, Reason> {
    let back = neighbor::back(packet).ok_or(Reason::Truncated)?;
    if key.source.is_v4() {
        let [high, low] = longest.to_be_bytes();
        let icmp = Icmp { kind: 3, code: 4, checksum: [0; 2], rest: [0, 0, high, low] };
        quote::<Ipv4, QUOTE_V4>(packet)?;
        v4_error(packet, key, icmp)?;
    } else {
        let [high, low] = longest.max(LEAST_MTU_V6).to_be_bytes();
        let icmp = Icmp { kind: 2, code: 0, checksum: [0; 2], rest: [0, 0, high, low] };
        quote::<Ipv6, QUOTE_V6>(packet)?;
        v6_error(packet, key, icmp)?;
    }
    let interface = neighbor::address(packet, &back, key)?;
    Ok(Sent { interface, reason: Reason::TooBig })
}

/// Leaves of a frame what an error quotes of it, with room for the error in front.
#[inline(always)]
fn quote<Network, const WORDS: usize>(packet: &mut Packet<'_>) -> Result<(), Reason>
where
    Frame<Network, Message<WORDS>>: Head,
{
    let quoted = (size_of::<Ethernet>() + WORDS * 4) as u64;
    if packet.length() < quoted || !packet.resize(quoted) {
        return Err(Reason::Truncated);
    }
    let room = size_of::<Network>() + size_of::<Icmp>();
    if packet.grow(room as u16) { Ok(()) } else { Err(Reason::NoHeadroom) }
}

#[inline(always)]
fn v4_error(packet: &mut Packet<'_>, key: &FlowKey, icmp: Icmp) -> Result<(), Reason> {
    let frame = packet.head_mut::<Frame<Ipv4, Message<QUOTE_V4>>>().ok_or(Reason::Truncated)?;
    let length = (size_of::<Ipv4>() + size_of::<Message<QUOTE_V4>>()) as u16;
    let (source, destination) = (key.destination.v4_word(), key.source.v4_word());
    let fixed = [u32::from_be(0x4500_0000 | length as u32), 0, u32::from_be((HOPS as u32) << 24 | (ICMP as u32) << 16)];
    let sum = fixed.iter().fold(Sum::none(), |sum, word| sum.word(*word)).word(source).word(destination);
    frame.ethernet.ethertype = IPV4.to_ne_bytes();
    frame.network = Ipv4 {
        version_length: 0x45,
        tos: 0,
        length: length.to_be_bytes(),
        identification: [0; 2],
        fragment: [0; 2],
        ttl: HOPS,
        protocol: ICMP,
        checksum: sum.field().to_ne_bytes(),
        source: source.to_ne_bytes(),
        destination: destination.to_ne_bytes(),
    };
    finish(&mut frame.transport, icmp, Sum::none());
    Ok(())
}

#[inline(always)]
fn v6_error(packet: &mut Packet<'_>, key: &FlowKey, icmp: Icmp) -> Result<(), Reason> {
    let frame = packet.head_mut::<Frame<Ipv6, Message<QUOTE_V6>>>().ok_or(Reason::Truncated)?;
    let length = size_of::<Message<QUOTE_V6>>() as u16;
    let (source, destination) = (key.destination.words(), key.source.words());
    frame.ethernet.ethertype = IPV6.to_ne_bytes();
    frame.network = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_length: length.to_be_bytes(),
        next_header: ICMPV6,
        hop_limit: HOPS,
        source: bytes(source),
        destination: bytes(destination),
    };
    let pseudo = Sum::none().words(source).words(destination).word(u32::from_be(length.into())).word(u32::from_be(ICMPV6.into()));
    finish(&mut frame.transport, icmp, pseudo);
    Ok(())
}

/// Writes the head of a message before what it quotes, with the checksum over both.
#[inline(always)]
fn finish<const WORDS: usize>(message: &mut Message<WORDS>, icmp: Icmp, pseudo: Sum) {
    let head = u32::from_ne_bytes([icmp.kind, icmp.code, 0, 0]);
    let mut sum = pseudo.word(head).word(u32::from_ne_bytes(icmp.rest));
    for word in &message.payload {
        sum = sum.word(u32::from_ne_bytes(*word));
    }
    message.icmp = Icmp { checksum: sum.field().to_ne_bytes(), ..icmp };
}

#[inline(always)]
fn bytes([high, low]: [u64; 2]) -> [u8; 16] {
    (u128::from(high) | u128::from(low) << 64).to_ne_bytes()
}

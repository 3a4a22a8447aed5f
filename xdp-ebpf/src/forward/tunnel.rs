//! Tunnels: the client's packet goes whole to the server, in an IP header of its own or in UDP; the server holds the virtual address and answers the client
//! itself, whatever network it is in.
//!
//! A packet that would not fit the way to its server is answered by [`icmp`] instead of being fragmented.

use crate::{
    forward::{Sent, direct::Work, neighbor},
    icmp, maps,
    packet::{Frame, Packet},
};
use xdp_common::{
    addr::Addr,
    checksum::Sum,
    flow::{FlowKey, UDP},
    reason::Reason,
    server::Server,
    service::Forward,
    wire::{Ethernet, ICMP, IN_V4, IN_V6, IPV4, IPV6, Ipv4, Ipv6, Ports, Udp},
};

/// Hops a tunnel may take.
const HOPS: u8 = 64;

/// What the outer header says of the packet within.
struct Inner {
    /// Bytes from its IP header on, without what pads short frames.
    length: u16,
    /// DSCP and ECN, which the outer header repeats (RFC 6040, normal mode).
    class: u8,
    /// Its protocol number within IP.
    protocol: u8,
}

/// Sends the client's packet that the stage before left through a tunnel, or answers it where it would be too long.
#[inline(always)]
pub(crate) fn send(packet: &mut Packet<'_>) -> Result<Sent, Reason> {
    let work = maps::work().ok_or(Reason::Internal)?;
    let server = maps::server(work.server).ok_or(Reason::Internal)?;
    let sent = wrap(packet, work, server)?;
    if sent.reason == Reason::Forwarded {
        maps::count_server(work.server, work.length, work.flows);
    }
    Ok(sent)
}

#[inline(always)]
fn wrap(packet: &mut Packet<'_>, work: &Work, server: &Server) -> Result<Sent, Reason> {
    let Work { key, forward, spread, .. } = *work;
    let key = &key;
    let inner = inner(packet, key)?;
    let overhead = forward.overhead(server.address.is_v4());
    let longest = server.mtu.wrapping_sub(overhead);
    if server.mtu != 0 && inner.length > longest {
        return icmp::too_big(packet, key, longest);
    }
    if server.source == Addr::default() {
        return Err(Reason::NoNextHop);
    }
    match (server.address.is_v4(), forward == Forward::Gue) {
        (true, true) => {
            grow(packet, overhead)?;
            v4(packet, server, &inner, inner.length + overhead, UDP)?;
            let frame = packet.head_mut::<Frame<Ipv4, Udp>>().ok_or(Reason::Truncated)?;
            frame.transport = udp(server, &inner, spread);
        }
        (true, false) => {
            grow(packet, overhead)?;
            v4(packet, server, &inner, inner.length + overhead, inner.protocol)?;
        }
        (false, true) => {
            let udp = summed(packet, key, server, udp(server, &inner, spread))?;
            grow(packet, overhead)?;
            v6(packet, server, &inner, inner.length + size_of::<Udp>() as u16, UDP, spread)?;
            packet.head_mut::<Frame<Ipv6, Udp>>().ok_or(Reason::Truncated)?.transport = udp;
        }
        (false, false) => {
            grow(packet, overhead)?;
            v6(packet, server, &inner, inner.length, inner.protocol, spread)?;
        }
    }
    let to = FlowKey { source: server.source, destination: server.address, source_port: key.source_port, ..*key };
    Ok(Sent { interface: neighbor::address(packet, &server.hop, &to)?, reason: work.reason })
}

#[inline(always)]
fn grow(packet: &mut Packet<'_>, overhead: u16) -> Result<(), Reason> {
    if packet.grow(overhead) { Ok(()) } else { Err(Reason::NoHeadroom) }
}

#[inline(always)]
fn inner(packet: &Packet<'_>, key: &FlowKey) -> Result<Inner, Reason> {
    if key.source.is_v4() {
        let ip = &packet.head::<Frame<Ipv4, ()>>().ok_or(Reason::Truncated)?.network;
        return Ok(Inner { length: u16::from_be_bytes(ip.length), class: ip.tos, protocol: IN_V4 });
    }
    let ip = &packet.head::<Frame<Ipv6, ()>>().ok_or(Reason::Truncated)?.network;
    let [first, second, ..] = ip.version_class_label;
    // `parse` made sure that the frame holds all of it, so that the sum is at most what a frame can hold.
    let length = u16::from_be_bytes(ip.payload_length).wrapping_add(size_of::<Ipv6>() as u16);
    Ok(Inner { length, class: first << 4 | second >> 4, protocol: IN_V6 })
}

#[inline(always)]
fn v4(packet: &mut Packet<'_>, server: &Server, inner: &Inner, length: u16, protocol: u8) -> Result<(), Reason> {
    let frame = packet.head_mut::<Frame<Ipv4, ()>>().ok_or(Reason::Truncated)?;
    let (source, destination) = (server.source.v4_word(), server.address.v4_word());
    // May not be fragmented, so that it needs no identification (RFC 6864).
    let words = [word([0x45, inner.class], length), word([0, 0], 0x4000), word([HOPS, protocol], 0)];
    let sum = words.iter().fold(Sum::none(), |sum, word| sum.word(*word)).word(source).word(destination);
    frame.ethernet.ethertype = IPV4.to_ne_bytes();
    frame.network = Ipv4 {
        version_length: 0x45,
        tos: inner.class,
        length: length.to_be_bytes(),
        identification: [0; 2],
        fragment: [0x40, 0],
        ttl: HOPS,
        protocol,
        checksum: sum.field().to_ne_bytes(),
        source: source.to_ne_bytes(),
        destination: destination.to_ne_bytes(),
    };
    Ok(())
}

#[inline(always)]
fn v6(packet: &mut Packet<'_>, server: &Server, inner: &Inner, length: u16, protocol: u8, spread: u32) -> Result<(), Reason> {
    let frame = packet.head_mut::<Frame<Ipv6, ()>>().ok_or(Reason::Truncated)?;
    frame.ethernet.ethertype = IPV6.to_ne_bytes();
    // The label tells flows apart for whoever spreads tunnels over paths (RFC 6438).
    let label = spread & 0xf_ffff;
    let first = 6 << 28 | u32::from(inner.class) << 20 | label;
    frame.network = Ipv6 {
        version_class_label: first.to_be_bytes(),
        payload_length: length.to_be_bytes(),
        next_header: protocol,
        hop_limit: HOPS,
        source: bytes(server.source),
        destination: bytes(server.address),
    };
    Ok(())
}

/// Makes the UDP header; its source port tells flows apart for whoever spreads tunnels over queues and paths.
#[inline(always)]
fn udp(server: &Server, inner: &Inner, spread: u32) -> Udp {
    let ports = Ports { source: (spread as u16 | 0xc000).to_be_bytes(), destination: server.tunnel_port.word().to_ne_bytes() };
    // No checksum over IPv4: the packet within has its own.
    Udp { ports, length: (inner.length + size_of::<Udp>() as u16).to_be_bytes(), checksum: [0; 2] }
}

/// Gives the UDP header its checksum, which IPv6 wants.
///
/// The packet within need not be read for it: with its own checksums right its sum is known from its headers. A datagram without one gives none to
/// the tunnel either (RFC 6935).
#[inline(always)]
fn summed(packet: &Packet<'_>, key: &FlowKey, server: &Server, udp: Udp) -> Result<Udp, Reason> {
    let inner = if key.source.is_v4() {
        let ip = &packet.head::<Frame<Ipv4, ()>>().ok_or(Reason::Truncated)?.network;
        let length = u16::from_be_bytes(ip.length).wrapping_sub(size_of::<Ipv4>() as u16);
        if key.protocol == UDP && packet.head::<Frame<Ipv4, Udp>>().ok_or(Reason::Truncated)?.transport.checksum == [0, 0] {
            return Ok(udp);
        }
        if key.protocol == ICMP {
            // Both header and message sum up to nothing.
            return Ok(sealed(udp, server, Sum::none()));
        }
        // The header sums up to nothing, the segment to the opposite of its pseudo header.
        Sum::none().word(!key.source.v4_word()).word(!key.destination.v4_word()).word(!word([0, key.protocol], length))
    } else {
        let ip = &packet.head::<Frame<Ipv6, ()>>().ok_or(Reason::Truncated)?.network;
        let [a, b] = ip.payload_length;
        // Addresses stand in both the header and the pseudo header, and so do length and protocol.
        let header =
            Sum::none().word(u32::from_ne_bytes(ip.version_class_label)).word(u32::from_ne_bytes([a, b, ip.next_header, ip.hop_limit]));
        header.word(!word([0, ip.next_header], u16::from_be_bytes([a, b])))
    };
    Ok(sealed(udp, server, inner))
}

/// Returns the UDP header with its checksum over a payload of known sum.
#[inline(always)]
fn sealed(udp: Udp, server: &Server, inner: Sum) -> Udp {
    let length = u16::from_be_bytes(udp.length);
    let outer = inner.words(server.source.words()).words(server.address.words()).word(word([0, UDP], length));
    let sum = outer.word(udp.ports.word()).word(u32::from_ne_bytes([udp.length[0], udp.length[1], 0, 0])).field();
    Udp { checksum: if sum == 0 { [0xff, 0xff] } else { sum.to_ne_bytes() }, ..udp }
}

/// Returns four bytes of a header as the word they are in memory.
#[inline(always)]
const fn word([a, b]: [u8; 2], half: u16) -> u32 {
    let [c, d] = half.to_be_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[inline(always)]
fn bytes(address: Addr) -> [u8; 16] {
    let [high, low] = address.words();
    (u128::from(high) | u128::from(low) << 64).to_ne_bytes()
}

const _: () = assert!(size_of::<Frame<Ipv4, Udp>>() == size_of::<Ethernet>() + 28);

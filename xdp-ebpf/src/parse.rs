//! Packet → [`Flow`], by value; nothing after this reads addresses or ports from the wire.

use crate::{
    maps,
    packet::{Frame, Head, Packet},
};
use xdp_common::{
    addr::Addr,
    flow::{FlowKey, TCP, UDP},
    reason::Reason,
    wire::{self, ACK, Ethernet, FIN, ICMP, ICMPV6, IPV4, IPV6, IPV6_FRAGMENT, Ipv4, Ipv6, PROVIDER_VLAN, RST, SYN, Tcp, Udp, VLAN},
};

/// What the pipeline knows of a packet.
pub(crate) struct Flow {
    pub(crate) key: FlowKey,
    /// Bytes of the frame.
    pub(crate) length: u64,
    /// TCP flags; none for UDP.
    flags: u8,
}

impl Flow {
    /// Tells whether this packet opens a TCP connection.
    #[inline(always)]
    pub(crate) const fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// Tells whether this packet is one of the two that open a TCP connection.
    #[inline(always)]
    pub(crate) const fn synchronizes(&self) -> bool {
        self.flags & SYN != 0
    }

    /// Tells whether its sender sends no more.
    #[inline(always)]
    pub(crate) const fn finishes(&self) -> bool {
        self.flags & FIN != 0
    }

    /// Tells whether a reset is an answer to it: to a segment that is none itself.
    #[inline(always)]
    pub(crate) const fn can_be_reset(&self) -> bool {
        self.key.protocol == TCP && !self.resets()
    }

    /// Tells whether it resets the connection.
    #[inline(always)]
    pub(crate) const fn resets(&self) -> bool {
        self.flags & RST != 0
    }
}

/// Reads the flow of a packet.
#[inline(always)]
pub(crate) fn flow(packet: &Packet<'_>) -> Result<Flow, Reason> {
    let ethernet = packet.head::<Ethernet>().ok_or(Reason::NotIp)?;
    let version = u16::from_ne_bytes(ethernet.ethertype);
    if version != IPV4 && version != IPV6 {
        return Err(if version == VLAN || version == PROVIDER_VLAN { Reason::Vlan } else { Reason::NotIp });
    }
    let link = maps::link(packet.interface()).ok_or(Reason::Internal)?;
    // Whoever took a tag off has looked at the address of its VLAN's device.
    if ethernet.destination() != link.address && packet.notes().taken_off().is_none() {
        return Err(Reason::NotForUs);
    }
    if version == IPV4 { v4(packet) } else { v6(packet) }
}

/// Tells whether a packet of no transport protocol is an ICMP message.
#[inline(always)]
pub(crate) fn is_icmp(packet: &Packet<'_>) -> bool {
    let protocol = match is_v4(packet) {
        Some(true) => packet.head::<Frame<Ipv4, ()>>().map(|frame| frame.network.protocol == ICMP),
        Some(false) => packet.head::<Frame<Ipv6, ()>>().map(|frame| frame.network.next_header == ICMPV6),
        None => None,
    };
    protocol == Some(true)
}

/// Tells whether an IP packet is of IPv4.
#[inline(always)]
pub(crate) fn is_v4(packet: &Packet<'_>) -> Option<bool> {
    Some(u16::from_ne_bytes(packet.head::<Ethernet>()?.ethertype) == IPV4)
}

#[inline(always)]
fn v4(packet: &Packet<'_>) -> Result<Flow, Reason> {
    let ip = &packet.head::<Frame<Ipv4, ()>>().ok_or(Reason::Truncated)?.network;
    let (protocol, addresses) = (ip.protocol, (wire::v4_addr(&ip.source), wire::v4_addr(&ip.destination)));
    if ip.version_length != 0x45 {
        return Err(if ip.version_length > 0x45 && ip.version_length <= 0x4f { Reason::Options } else { Reason::Truncated });
    }
    if ip.is_fragment() {
        return Err(Reason::Fragment);
    }
    let claimed = u64::from(u16::from_be_bytes(ip.length));
    let payload = claimed.checked_sub(size_of::<Ipv4>() as u64).ok_or(Reason::Truncated)?;
    let room = packet.length() - size_of::<Frame<Ipv4, ()>>() as u64;
    match protocol {
        TCP => tcp::<Ipv4>(packet, addresses, payload, room),
        UDP => udp::<Ipv4>(packet, addresses, payload, room),
        _ => Err(Reason::NotTransport),
    }
}

#[inline(always)]
fn v6(packet: &Packet<'_>) -> Result<Flow, Reason> {
    let ip = &packet.head::<Frame<Ipv6, ()>>().ok_or(Reason::Truncated)?.network;
    if ip.version_class_label[0] >> 4 != 6 {
        return Err(Reason::Truncated);
    }
    let addresses = (wire::v6_addr(&ip.source), wire::v6_addr(&ip.destination));
    // A mapped address never is on a wire (RFC 4942, 2.2). Taken as it stands, it would make this packet one of IPv4 to all that follows.
    if addresses.0.is_v4() || addresses.1.is_v4() {
        return Err(Reason::NoService);
    }
    let payload = u64::from(u16::from_be_bytes(ip.payload_length));
    let room = packet.length() - size_of::<Frame<Ipv6, ()>>() as u64;
    match ip.next_header {
        TCP => tcp::<Ipv6>(packet, addresses, payload, room),
        UDP => udp::<Ipv6>(packet, addresses, payload, room),
        IPV6_FRAGMENT => Err(Reason::Fragment),
        // Hop-by-hop, routing and destination options.
        0 | 43 | 60 => Err(Reason::Options),
        _ => Err(Reason::NotTransport),
    }
}

#[inline(always)]
fn tcp<Network>(packet: &Packet<'_>, addresses: (Addr, Addr), payload: u64, room: u64) -> Result<Flow, Reason>
where
    Frame<Network, Tcp>: Head,
{
    if payload < size_of::<Tcp>() as u64 || payload > room {
        return Err(Reason::Truncated);
    }
    let tcp = &packet.head::<Frame<Network, Tcp>>().ok_or(Reason::Truncated)?.transport;
    Ok(Flow { key: key(addresses, &tcp.ports, TCP), length: packet.length(), flags: tcp.flags })
}

#[inline(always)]
fn udp<Network>(packet: &Packet<'_>, addresses: (Addr, Addr), payload: u64, room: u64) -> Result<Flow, Reason>
where
    Frame<Network, Udp>: Head,
{
    if payload < size_of::<Udp>() as u64 || payload > room {
        return Err(Reason::Truncated);
    }
    let udp = &packet.head::<Frame<Network, Udp>>().ok_or(Reason::Truncated)?.transport;
    Ok(Flow { key: key(addresses, &udp.ports, UDP), length: packet.length(), flags: 0 })
}

#[inline(always)]
fn key((source, destination): (Addr, Addr), ports: &wire::Ports, protocol: u8) -> FlowKey {
    FlowKey { source, destination, source_port: ports.source(), destination_port: ports.destination(), protocol }
}

//! Header layouts as they lie in a frame; every struct has alignment 1 and any bytes are a valid value.

use crate::addr::{Addr, Port};

/// EtherType of IPv4, as it lies in memory.
pub const IPV4: u16 = 0x0800u16.to_be();
/// EtherType of IPv6, as it lies in memory.
pub const IPV6: u16 = 0x86ddu16.to_be();
/// EtherType of a VLAN's tag (IEEE 802.1Q), as it lies in memory.
pub const VLAN: u16 = 0x8100u16.to_be();
/// EtherType of a provider's tag (IEEE 802.1ad), as it lies in memory.
pub const PROVIDER_VLAN: u16 = 0x88a8u16.to_be();
/// Protocol number of IPv4 in IP.
pub const IN_V4: u8 = 4;
/// Protocol number of IPv6 in IP.
pub const IN_V6: u8 = 41;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// IPv6 next header of a fragment.
pub const IPV6_FRAGMENT: u8 = 44;
/// TCP flag: no more data from the sender.
pub const FIN: u8 = 1;
/// TCP flag: opens a connection.
pub const SYN: u8 = 2;
/// TCP flag: resets it.
pub const RST: u8 = 4;
/// TCP flag: the acknowledgement counts.
pub const ACK: u8 = 16;

/// An Ethernet header without tags.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    /// Destination address and the first two bytes of the source address.
    pub first: [u8; 8],
    /// The other four bytes of the source address.
    pub second: [u8; 4],
    /// EtherType.
    pub ethertype: [u8; 2],
}

impl Ethernet {
    /// Returns the destination address in the lower six bytes.
    #[inline(always)]
    pub const fn destination(&self) -> u64 {
        u64::from_ne_bytes(self.first) & 0xffff_ffff_ffff
    }
}

/// An Ethernet header with one tag.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tagged {
    /// Everything before the tag, and the tag's EtherType.
    pub ethernet: Ethernet,
    /// Priority in the upper four bits, number of the VLAN in the others.
    pub tag: [u8; 2],
    /// EtherType of what follows.
    pub ethertype: [u8; 2],
}

/// An IPv4 header without options.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv4 {
    /// Version and header length in words of four bytes.
    pub version_length: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of the packet.
    pub length: [u8; 2],
    /// Identification.
    pub identification: [u8; 2],
    /// Flags and fragment offset.
    pub fragment: [u8; 2],
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: [u8; 2],
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// Tells whether this is one part of a larger packet.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        // More-fragments flag or any offset.
        u16::from_ne_bytes(self.fragment) & 0x3fffu16.to_be() != 0
    }
}

/// An IPv6 header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    /// Version, traffic class and flow label.
    pub version_class_label: [u8; 4],
    /// Length of what follows.
    pub payload_length: [u8; 2],
    /// What follows.
    pub next_header: u8,
    /// Time to live.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

/// Returns an IPv6 address as it lies in a header.
#[inline(always)]
pub const fn v6_addr(bytes: &[u8; 16]) -> Addr {
    let whole = u128::from_ne_bytes(*bytes);
    Addr::from_words([whole as u64, (whole >> 64) as u64])
}

/// Returns an IPv4 address as it lies in a header.
#[inline(always)]
pub const fn v4_addr(bytes: &[u8; 4]) -> Addr {
    Addr::from_v4_word(u32::from_ne_bytes(*bytes))
}

/// The ports that TCP and UDP begin with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The sender's.
    pub source: [u8; 2],
    /// The receiver's.
    pub destination: [u8; 2],
}

impl Ports {
    /// Returns the sender's port.
    #[inline(always)]
    pub const fn source(&self) -> Port {
        Port::from_word(u16::from_ne_bytes(self.source))
    }

    /// Returns the receiver's port.
    #[inline(always)]
    pub const fn destination(&self) -> Port {
        Port::from_word(u16::from_ne_bytes(self.destination))
    }

    /// Returns both as one word for checksums.
    #[inline(always)]
    pub const fn word(&self) -> u32 {
        u16::from_ne_bytes(self.source) as u32 | (u16::from_ne_bytes(self.destination) as u32) << 16
    }
}

/// A TCP header without options.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Both ports.
    pub ports: Ports,
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// Header length in the upper four bits.
    pub offset: u8,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: [u8; 2],
    /// Checksum.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// A UDP header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Udp {
    /// Both ports.
    pub ports: Ports,
    /// Length with this header.
    pub length: [u8; 2],
    /// Checksum; 0 over IPv4 is none.
    pub checksum: [u8; 2],
}

/// The head of an ICMP message of either version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: [u8; 2],
    /// Depends on the type: identifier and number of an echo, MTU of a too-big.
    pub rest: [u8; 4],
}

const _: () = assert!(size_of::<Icmp>() == 8);
const _: () = assert!(size_of::<Ethernet>() == 14 && size_of::<Tagged>() == 18 && size_of::<Ipv4>() == 20 && size_of::<Ipv6>() == 40);
const _: () = assert!(size_of::<Tcp>() == 20 && size_of::<Udp>() == 8 && align_of::<Tcp>() == 1 && align_of::<Ipv6>() == 1);

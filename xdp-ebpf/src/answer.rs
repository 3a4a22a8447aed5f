//! Segments that the program itself answers by: made in the frame they answer, and returned to the station it came from.

use crate::packet::{Frame, Head, Packet};
use xdp_common::{
    checksum::Sum,
    flow::{FlowKey, TCP},
    reason::Reason,
    wire::{Ethernet, Ipv4, Ipv6, Ports, Tcp},
};

/// Hops an answer may take.
const HOPS: u8 = 64;

/// A TCP header and the words of its options.
#[repr(C)]
pub(crate) struct Segment<const WORDS: usize> {
    tcp: Tcp,
    options: [[u8; 4]; WORDS],
}

/// Returns the header of an answer to a segment with so many words of options; sequence numbers, flags and window are missing.
#[inline(always)]
pub(crate) const fn header(segment: &Tcp, words: u8) -> Tcp {
    Tcp {
        ports: Ports { source: segment.ports.destination, destination: segment.ports.source },
        sequence: [0; 4],
        acknowledgement: [0; 4],
        offset: ((size_of::<Tcp>() as u8) / 4 + words) << 4,
        flags: 0,
        window: [0; 2],
        checksum: [0; 2],
        urgent: [0; 2],
    }
}

/// Puts an answer in the place of a segment of IPv4.
#[inline(always)]
pub(crate) fn v4<const WORDS: usize>(packet: &mut Packet<'_>, key: &FlowKey, tcp: Tcp, options: [[u8; 4]; WORDS]) -> Result<(), Reason> {
    let frame = resized::<Ipv4, WORDS>(packet)?;
    let length = (size_of::<Ipv4>() + size_of::<Segment<WORDS>>()) as u16;
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
    frame.transport = sealed(tcp, options, Sum::none().word(source).word(destination));
    Ok(())
}

/// Does as [`v4`] for IPv6.
#[inline(always)]
pub(crate) fn v6<const WORDS: usize>(packet: &mut Packet<'_>, key: &FlowKey, tcp: Tcp, options: [[u8; 4]; WORDS]) -> Result<(), Reason> {
    let frame = resized::<Ipv6, WORDS>(packet)?;
    let (source, destination) = (key.destination.words(), key.source.words());
    frame.network = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_length: (size_of::<Segment<WORDS>>() as u16).to_be_bytes(),
        next_header: TCP,
        hop_limit: HOPS,
        source: bytes(source),
        destination: bytes(destination),
    };
    frame.transport = sealed(tcp, options, Sum::none().words(source).words(destination));
    Ok(())
}

/// Makes the frame as long as an answer is.
#[inline(always)]
fn resized<'p, Network, const WORDS: usize>(packet: &'p mut Packet<'_>) -> Result<&'p mut Frame<Network, Segment<WORDS>>, Reason>
where
    Frame<Network, Segment<WORDS>>: Head,
{
    let length = (size_of::<Ethernet>() + size_of::<Network>() + size_of::<Segment<WORDS>>()) as u64;
    if !packet.resize(length) {
        return Err(Reason::Truncated);
    }
    packet.head_mut().ok_or(Reason::Truncated)
}

/// Returns a segment with its checksum; the addresses are summed up already.
#[inline(always)]
fn sealed<const WORDS: usize>(tcp: Tcp, options: [[u8; 4]; WORDS], addresses: Sum) -> Segment<WORDS> {
    let length = size_of::<Segment<WORDS>>() as u32;
    let sum = addresses.word(u32::from_be((TCP as u32) << 16 | length)).word(tcp.ports.word());
    let sum = sum.word(u32::from_ne_bytes(tcp.sequence)).word(u32::from_ne_bytes(tcp.acknowledgement));
    let [high, low] = tcp.window;
    let sum = sum.word(u32::from_ne_bytes([tcp.offset, tcp.flags, high, low]));
    let sum = options.iter().fold(sum, |sum, word| sum.word(u32::from_ne_bytes(*word)));
    Segment { tcp: Tcp { checksum: sum.field().to_ne_bytes(), ..tcp }, options }
}

#[inline(always)]
fn bytes([high, low]: [u64; 2]) -> [u8; 16] {
    (u128::from(high) | u128::from(low) << 64).to_ne_bytes()
}

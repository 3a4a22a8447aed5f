//! Resets: what a client is told when its server is dead and its service says so.

use crate::{
    answer,
    forward::{Sent, neighbor},
    packet::{Frame, Packet},
    parse,
};
use xdp_common::{
    flow::TCP,
    reason::Reason,
    wire::{ACK, FIN, Ipv4, Ipv6, RST, SYN, Tcp},
};

/// Answers a segment by a reset (RFC 9293, 3.10.7.1).
#[inline(always)]
pub(crate) fn answer(packet: &mut Packet<'_>) -> Result<Sent, Reason> {
    let key = parse::flow(packet)?.key;
    if key.protocol != TCP {
        return Err(Reason::ServerGone);
    }
    let back = neighbor::back(packet).ok_or(Reason::Truncated)?;
    if key.source.is_v4() {
        let frame = packet.head::<Frame<Ipv4, Tcp>>().ok_or(Reason::Truncated)?;
        let payload = u16::from_be_bytes(frame.network.length).wrapping_sub(size_of::<Ipv4>() as u16);
        let reset = reset(&frame.transport, payload);
        answer::v4(packet, &key, reset, [])?;
    } else {
        let frame = packet.head::<Frame<Ipv6, Tcp>>().ok_or(Reason::Truncated)?;
        let reset = reset(&frame.transport, u16::from_be_bytes(frame.network.payload_length));
        answer::v6(packet, &key, reset, [])?;
    }
    let interface = neighbor::address(packet, &back, &key)?;
    Ok(Sent { interface, reason: Reason::Reset })
}

/// Makes the header of the reset that a segment of so many bytes, its header included, is answered by.
#[inline(always)]
fn reset(segment: &Tcp, length: u16) -> Tcp {
    let plain = answer::header(segment, 0);
    if segment.flags & ACK != 0 {
        return Tcp { sequence: segment.acknowledgement, flags: RST, ..plain };
    }
    let data = length.wrapping_sub(u16::from(segment.offset >> 4) * 4);
    let taken = u32::from(data) + u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
    let next = u32::from_be_bytes(segment.sequence).wrapping_add(taken);
    Tcp { acknowledgement: next.to_be_bytes(), flags: RST | ACK, ..plain }
}

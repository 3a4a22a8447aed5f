//! Rewriting addresses and ports, checksums kept right.

use crate::packet::{Frame, Head, Packet};
use xdp_common::{
    checksum::Change,
    flow::{FlowKey, TCP},
    reason::Reason,
    wire::{Ipv4, Ipv6, Ports, Tcp, Udp},
};

/// A transport header, seen as what a translation changes.
trait Translated {
    fn ports(&mut self) -> &mut Ports;
    fn apply(&mut self, change: Change);
}

impl Translated for Tcp {
    #[inline(always)]
    fn ports(&mut self) -> &mut Ports {
        &mut self.ports
    }

    #[inline(always)]
    fn apply(&mut self, change: Change) {
        self.checksum = change.apply(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
    }
}

impl Translated for Udp {
    #[inline(always)]
    fn ports(&mut self) -> &mut Ports {
        &mut self.ports
    }

    #[inline(always)]
    fn apply(&mut self, change: Change) {
        // Zero says that the sender made no checksum (RFC 768); a sum that comes out as zero is sent as its other form.
        if self.checksum != [0, 0] {
            let sum = change.apply(u16::from_ne_bytes(self.checksum));
            self.checksum = if sum == 0 { [0xff, 0xff] } else { sum.to_ne_bytes() };
        }
    }
}

/// Gives a packet the addresses and ports of another flow.
#[inline(always)]
pub(crate) fn rewrite(packet: &mut Packet<'_>, from: &FlowKey, to: &FlowKey) -> Result<(), Reason> {
    match (from.source.is_v4(), from.protocol == TCP) {
        (true, true) => v4::<Tcp>(packet, from, to),
        (true, false) => v4::<Udp>(packet, from, to),
        (false, true) => v6::<Tcp>(packet, from, to),
        (false, false) => v6::<Udp>(packet, from, to),
    }
}

#[inline(always)]
fn v4<Transport: Translated>(packet: &mut Packet<'_>, from: &FlowKey, to: &FlowKey) -> Result<(), Reason>
where
    Frame<Ipv4, Transport>: Head,
{
    let frame = packet.head_mut::<Frame<Ipv4, Transport>>().ok_or(Reason::Truncated)?;
    let addresses =
        Change::none().word(from.source.v4_word(), to.source.v4_word()).word(from.destination.v4_word(), to.destination.v4_word());
    let ip = &mut frame.network;
    ip.source = to.source.v4_word().to_ne_bytes();
    ip.destination = to.destination.v4_word().to_ne_bytes();
    ip.checksum = addresses.apply(u16::from_ne_bytes(ip.checksum)).to_ne_bytes();
    transport(&mut frame.transport, addresses, to);
    Ok(())
}

#[inline(always)]
fn v6<Transport: Translated>(packet: &mut Packet<'_>, from: &FlowKey, to: &FlowKey) -> Result<(), Reason>
where
    Frame<Ipv6, Transport>: Head,
{
    let frame = packet.head_mut::<Frame<Ipv6, Transport>>().ok_or(Reason::Truncated)?;
    let addresses = Change::none().words(from.source.words(), to.source.words()).words(from.destination.words(), to.destination.words());
    frame.network.source = bytes(to.source.words());
    frame.network.destination = bytes(to.destination.words());
    transport(&mut frame.transport, addresses, to);
    Ok(())
}

#[inline(always)]
fn transport(header: &mut impl Translated, addresses: Change, to: &FlowKey) {
    let ports = header.ports();
    let old = ports.word();
    ports.source = to.source_port.word().to_ne_bytes();
    ports.destination = to.destination_port.word().to_ne_bytes();
    let change = addresses.word(old, ports.word());
    header.apply(change);
}

#[inline(always)]
fn bytes([high, low]: [u64; 2]) -> [u8; 16] {
    (u128::from(high) | u128::from(low) << 64).to_ne_bytes()
}

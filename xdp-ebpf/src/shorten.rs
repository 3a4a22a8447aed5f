//! The longest segment: what both sides ask each other for when a connection opens is made less where its service says so.
//!
//! Only segments with a SYN come here. One without the option is left alone: it asks for 536 bytes, or 1220 over IPv6, which is short enough.

use crate::{
    forward::{Step, dnat, nat},
    maps,
    notes::Notes,
    packet::{Frame, Packet},
    parse::{self, Flow},
    service,
};
use xdp_common::{
    checksum::Change,
    maps::Stage,
    reason::Reason,
    settings::Settings,
    wire::{Ipv4, Ipv6, Tcp},
};

/// The option that says how long segments may be, and its bytes.
const KIND: u8 = 2;
const LENGTH: u8 = 4;
/// Options that are one byte: the end of all, and nothing.
const END: u8 = 0;
const NOTHING: u8 = 1;
/// As many options are looked at: more than any stack puts before this one, which mostly comes first.
const STEPS: u32 = 12;
/// Where an option can begin at all, as a mask.
const PLACES: u64 = 63;

/// The four bytes of the option.
type Asked = [u8; 4];

/// Shortens what the sender of a segment asks for.
#[inline(always)]
pub(crate) fn shorten(packet: &mut Packet<'_>) -> Result<Step, Reason> {
    let settings = maps::settings().ok_or(Reason::Internal)?;
    let flow = parse::flow(packet)?;
    let most = service_of(&flow, settings).and_then(maps::segment_size).unwrap_or(0);
    if most != 0 {
        let network = if flow.key.source.is_v4() { size_of::<Frame<Ipv4, ()>>() } else { size_of::<Frame<Ipv6, ()>>() };
        // Whatever is wrong with its options is for its receiver to judge.
        let _unchanged = apply(packet, network as u64, most);
    }
    Notes::add(Notes::SHORTENED);
    Ok(Step::Onward(Stage::Balance))
}

/// Returns the service that a segment is to or from.
#[inline(always)]
fn service_of(flow: &Flow, settings: &Settings) -> Option<u16> {
    if flow.opens() {
        return service::find(&flow.key, settings).map(|service| service.parts().id);
    }
    if let Some(reply) = nat::find_reply(flow, settings) {
        return Some(reply.service());
    }
    if settings.returns == 0 { None } else { dnat::service_id_of(&flow.key, settings) }
}

#[inline(always)]
fn apply(packet: &mut Packet<'_>, transport: u64, most: u16) -> Option<()> {
    let header = packet.at::<Tcp>(transport)?;
    let options = u64::from(header.offset >> 4).checked_mul(4)?.checked_sub(size_of::<Tcp>() as u64)?;
    let first = transport + size_of::<Tcp>() as u64;
    let mut place = 0;
    for _ in 0..STEPS {
        if place + u64::from(LENGTH) > options {
            return None;
        }
        let [kind, length, high, low] = *packet.at::<Asked>(first + (place & PLACES))?;
        if kind == KIND {
            let asked = u16::from_be_bytes([high, low]);
            return if length == LENGTH && asked > most { write(packet, transport, first + (place & PLACES), asked, most) } else { None };
        }
        place = match kind {
            END => return None,
            NOTHING => place + 1,
            // A length that leads nowhere is for the receiver to judge.
            _ if length < 2 => return None,
            _ => place + u64::from(length),
        };
    }
    None
}

#[inline(always)]
fn write(packet: &mut Packet<'_>, transport: u64, place: u64, asked: u16, most: u16) -> Option<()> {
    let [high, low] = most.to_be_bytes();
    let option = packet.at_mut::<Asked>(place)?;
    option[2] = high;
    option[3] = low;
    // Headers have even lengths, so that the number lies across two words of the sum where its option begins at an odd byte.
    let word = |number: u16| {
        let [high, low] = number.to_be_bytes();
        if place & 1 == 0 { u32::from_ne_bytes([high, low, 0, 0]) } else { u32::from_ne_bytes([0, high, low, 0]) }
    };
    let change = Change::none().word(word(asked), word(most));
    let header = packet.at_mut::<Tcp>(transport)?;
    header.checksum = change.apply(u16::from_ne_bytes(header.checksum)).to_ne_bytes();
    Some(())
}

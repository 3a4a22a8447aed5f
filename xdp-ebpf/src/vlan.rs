//! VLANs: the tag comes off before anything else looks at a frame, and goes on when the frame leaves for a VLAN, or the host takes it after all.
//!
//! Frames without tags pay nothing for it. What has more than one tag is the host's, and so is what is tagged for a VLAN that it has no device for.

use crate::{forward::Step, maps, notes::Notes, packet::Packet};
use xdp_common::{
    lane::Lane,
    maps::Stage,
    reason::Reason,
    wire::{Ethernet, IPV4, IPV6, PROVIDER_VLAN, Tagged, VLAN},
};

/// Bytes of a tag.
const TAG: u16 = 4;
/// Bits of a tag that are the number of its VLAN.
const NUMBER: u16 = 0xfff;

/// Both hardware addresses of a frame, as whole words: on the stack, bytes of them would be misaligned words.
struct Stations {
    first: u64,
    second: u32,
}

impl Stations {
    #[inline(always)]
    fn of(head: &Ethernet) -> Self {
        Self { first: u64::from_ne_bytes(head.first), second: u32::from_ne_bytes(head.second) }
    }

    #[inline(always)]
    fn write(&self, head: &mut Ethernet, ethertype: u16) {
        head.first = self.first.to_ne_bytes();
        head.second = self.second.to_ne_bytes();
        head.ethertype = ethertype.to_ne_bytes();
    }
}

/// Takes the tag off a frame and notes it.
#[inline(always)]
pub(crate) fn untag(packet: &mut Packet<'_>) -> Result<Step, Reason> {
    let head = packet.head::<Tagged>().ok_or(Reason::NotIp)?;
    let (stations, outer) = (Stations::of(&head.ethernet), u16::from_ne_bytes(head.ethernet.ethertype));
    let (tag, ethertype) = (u16::from_be_bytes(head.tag), u16::from_ne_bytes(head.ethertype));
    if outer != VLAN || ethertype == VLAN || ethertype == PROVIDER_VLAN {
        return Err(Reason::Vlan);
    }
    if ethertype != IPV4 && ethertype != IPV6 {
        return Err(Reason::NotIp);
    }
    // Number 0 says that there is nothing but a priority: the frame belongs to the network without tags.
    let notes = if tag & NUMBER == 0 { Notes::NONE } else { note(packet, &stations, tag)? };
    if !packet.shrink(TAG) {
        return Err(Reason::Vlan);
    }
    // The frame has lost its head: without a new one it cannot pass.
    let head = packet.head_mut::<Ethernet>().ok_or(Reason::Internal)?;
    stations.write(head, ethertype);
    notes.hand_on();
    Ok(Step::Onward(Stage::Balance))
}

#[inline(always)]
fn note(packet: &Packet<'_>, stations: &Stations, tag: u16) -> Result<Notes, Reason> {
    let lane = Lane::tagged(packet.interface(), tag & NUMBER).ok_or(Reason::Vlan)?;
    let vlan = maps::vlan(lane.0).ok_or(Reason::Vlan)?;
    if stations.first & 0xffff_ffff_ffff != vlan.address {
        return Err(Reason::NotForUs);
    }
    Ok(Notes::tag(tag, vlan.interface))
}

/// Puts the tag of the VLAN on that a frame leaves for; its priority is that of the tag it came with.
#[inline(never)]
pub(crate) fn tag_for(packet: &mut Packet<'_>, lane: Lane) -> bool {
    let priority = packet.notes().taken_off().unwrap_or(0) & !NUMBER;
    put_on(packet, lane.vlan() | priority)
}

/// Puts back what was taken off a frame that the host gets after all.
#[inline(never)]
pub(crate) fn restore(packet: &mut Packet<'_>) -> bool {
    match packet.notes().taken_off() {
        Some(tag) => put_on(packet, tag),
        None => true,
    }
}

#[inline(always)]
fn put_on(packet: &mut Packet<'_>, tag: u16) -> bool {
    let Some(head) = packet.head::<Ethernet>() else { return false };
    let (stations, ethertype) = (Stations::of(head), u16::from_ne_bytes(head.ethertype));
    if !packet.grow(TAG) {
        return false;
    }
    let Some(head) = packet.head_mut::<Tagged>() else { return false };
    stations.write(&mut head.ethernet, VLAN);
    head.tag = tag.to_be_bytes();
    head.ethertype = ethertype.to_ne_bytes();
    true
}

//! What one program notes of the packet under way for those that go on with it; each CPU has one word.
//!
//! The first program takes the word and so forgets what is stale: only a word that says to be [fresh](Notes::FRESH) is of the packet at hand.

use crate::maps;
use xdp_common::{
    lane::Lane,
    settings::{CAPTURED, LOGGED, Settings, TAGGED},
};

/// What is noted: the tag that was taken off in the lowest 16 bits, the index of the VLAN's device in the upper 32.
#[derive(Clone, Copy)]
pub(crate) struct Notes(u64);

impl Notes {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);
    /// A tag was taken off.
    const TAGGED: u64 = 1 << 16;
    /// The guard has let the packet in.
    pub(crate) const ADMITTED: u64 = 1 << 17;
    /// It asks for no longer segments than it may.
    pub(crate) const SHORTENED: u64 = 1 << 18;
    /// It was looked at, whether somebody wants to see it.
    pub(crate) const SEEN: u64 = 1 << 19;
    /// Somebody does.
    pub(crate) const WATCHED: u64 = 1 << 20;
    /// The first program is to go on with it.
    const FRESH: u64 = 1 << 31;

    /// Makes a note of a tag that was taken off, and of the device of its VLAN.
    #[inline(always)]
    pub(crate) const fn tag(tag: u16, device: u32) -> Self {
        Self(tag as u64 | Self::TAGGED | (device as u64) << 32)
    }

    /// Takes what is noted of the packet that the first program begins or goes on with.
    #[inline(always)]
    pub(crate) fn take() -> Self {
        let Some(word) = maps::notes() else { return Self::NONE };
        let kept = if word & Self::FRESH == 0 { 0 } else { word & !Self::FRESH };
        maps::note(kept);
        Self(kept)
    }

    /// Returns what a later program finds noted.
    #[inline(always)]
    pub(crate) fn of_stage(settings: &Settings) -> Self {
        if settings.has_any(TAGGED | LOGGED | CAPTURED) { Self(maps::notes().unwrap_or(0)) } else { Self::NONE }
    }

    /// Adds to what is noted for the first program, which goes on.
    #[inline(always)]
    pub(crate) fn add(what: u64) {
        maps::note(maps::notes().unwrap_or(0) | what | Self::FRESH);
    }

    /// Adds this to what is noted for the first program, which goes on.
    #[inline(always)]
    pub(crate) fn hand_on(self) {
        Self::add(self.0);
    }

    /// Tells whether nothing is noted: the packet has just arrived.
    #[inline(always)]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Tells whether something is noted.
    #[inline(always)]
    pub(crate) const fn has(self, what: u64) -> bool {
        self.0 & what != 0
    }

    /// Returns the tag that was taken off.
    #[inline(always)]
    pub(crate) const fn taken_off(self) -> Option<u16> {
        if self.has(Self::TAGGED) { Some(self.0 as u16) } else { None }
    }

    /// Returns the lane of a frame that came in by this interface.
    #[inline(always)]
    pub(crate) const fn lane(self, interface: u32) -> Lane {
        if self.has(Self::TAGGED) { Lane(interface | (self.0 as u32 & 0xfff) << 20) } else { Lane(interface) }
    }

    /// Returns the device by which the host sees a frame that came in by this interface.
    #[inline(always)]
    pub(crate) const fn device(self, interface: u32) -> u32 {
        if self.has(Self::TAGGED) { (self.0 >> 32) as u32 } else { interface }
    }
}

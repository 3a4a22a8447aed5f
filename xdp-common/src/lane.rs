//! Where frames arrive and leave: an interface, and on it the network without tags or one of its VLANs.

/// Bits of the word that are the interface's index.
const INDEX_BITS: u32 = 20;

/// An interface by its index and a VLAN by its number; without a number it is the network of frames that bear no tag.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u32);

impl Lane {
    /// Makes a lane; none for an index that leaves no room for the number, and for what is no number of a VLAN.
    pub const fn tagged(interface: u32, vlan: u16) -> Option<Self> {
        if interface >> INDEX_BITS != 0 || vlan == 0 || vlan > 0xffe { None } else { Some(Self(interface | (vlan as u32) << INDEX_BITS)) }
    }

    /// Returns the index of the interface that frames are on.
    #[inline(always)]
    pub const fn interface(self) -> u32 {
        self.0 & ((1 << INDEX_BITS) - 1)
    }

    /// Returns the number of the VLAN; 0 is none.
    #[inline(always)]
    pub const fn vlan(self) -> u16 {
        (self.0 >> INDEX_BITS) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_keeps_its_parts() {
        let lane = Lane::tagged(0xf_ffff, 0xffe).unwrap();
        assert_eq!((lane.interface(), lane.vlan()), (0xf_ffff, 0xffe));
        assert_eq!((Lane(7).interface(), Lane(7).vlan()), (7, 0));
        for (interface, vlan) in [(1 << 20, 7), (2, 0), (2, 0xfff), (2, 0x1000)] {
            assert_eq!(Lane::tagged(interface, vlan), None, "{interface} {vlan}");
        }
    }
}

//! Settings of the whole data plane and the interfaces it runs on; written by l4d before the program is attached.

use crate::{
    addr::{Addr, Port},
    flow::{HashKey, mix, scale},
    guard::Guard,
    limits::POOL_SLOTS,
};

/// A feature in [`Settings::features`]: some source, prefix or rate is guarded against.
pub const GUARDED: u64 = 1;
/// A feature: interfaces have VLANs.
pub const TAGGED: u64 = 1 << 1;
/// A feature: some service has its segments kept short.
pub const SHORTENED: u64 = 1 << 2;
/// A feature: a line is logged of some packets, one of two to the power of the number at [`LOG_SHIFT`].
pub const LOGGED: u64 = 1 << 3;
/// A feature: listeners of the host are kept from floods by cookies.
pub const COOKIES: u64 = 1 << 4;
/// Where the number of [`LOGGED`] begins.
pub const LOG_SHIFT: u32 = 8;
/// The rarest that packets are logged, as a power of two.
pub const RAREST: u32 = 31;
/// A feature: somebody captures packets. Not l4d's, so in the upper half.
pub const CAPTURED: u64 = 1 << 32;

/// Settings that, but for the guard, the counts and the features, never change while the program is attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`ABI_VERSION`](crate::limits::ABI_VERSION) of whoever wrote the maps.
    pub abi_version: u32,
    /// Lines of the flow table; a power of two.
    pub flow_lines: u32,
    /// Secret of all hashes.
    pub key: HashKey,
    /// Translated ports of one source address: the first.
    pub nat_first_port: u16,
    /// And how many, as a power of two.
    pub nat_ports_shift: u16,
    /// How many addresses have services of many ports.
    pub ranges: u16,
    /// How many servers have an entry for the replies of [`Forward::Dnat`](crate::service::Forward::Dnat), as far as 16 bits can say.
    pub returns: u16,
    /// Buckets of the NAT table for servers of IPv4, which come first.
    pub nat_buckets_v4: u32,
    /// Buckets of the NAT table for servers of IPv6, which follow.
    pub nat_buckets_v6: u32,
    /// What is guarded.
    pub guard: Guard,
    /// What not every packet pays for unless somebody uses it: the lower half is l4d's.
    pub features: u64,
}

impl Settings {
    /// Returns a number as it is, but to the verifier as one of which nothing is known: it then follows one state instead of one for each number.
    #[inline(always)]
    pub const fn blur(&self, number: u32) -> u32 {
        number.wrapping_add(self.guard.zero)
    }

    /// Tells whether a feature is in use.
    #[inline(always)]
    pub const fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Tells whether any of some features is in use.
    #[inline(always)]
    pub const fn has_any(&self, features: u64) -> bool {
        self.features & features != 0
    }

    /// Tells whether a packet with this random number is one of those that are logged.
    #[inline(always)]
    pub const fn logs(&self, random: u32) -> bool {
        self.has(LOGGED) && random & ((1 << (self.features >> LOG_SHIFT & RAREST as u64)) - 1) == 0
    }

    /// Returns the translated port of a NAT entry.
    #[inline(always)]
    pub const fn nat_port(&self, index: u32) -> Port {
        Port::new(self.nat_first_port.wrapping_add((index & ((1 << self.nat_ports_shift) - 1)) as u16))
    }

    /// Returns which source address a NAT entry uses.
    #[inline(always)]
    pub const fn nat_address_index(&self, index: u32) -> u32 {
        index >> self.nat_ports_shift
    }

    /// Tells whether a port can be a translated one.
    #[inline(always)]
    pub const fn is_nat_port(&self, port: Port) -> bool {
        (port.number() as u32).wrapping_sub(self.nat_first_port as u32) >> self.nat_ports_shift == 0
    }

    /// Returns the entry that a source address and port translate back to.
    #[inline(always)]
    pub const fn nat_index(&self, address_index: u32, port: Port) -> u32 {
        address_index << self.nat_ports_shift | (port.number() as u32).wrapping_sub(self.nat_first_port as u32)
    }
}

/// Returns where the search for a source address begins in the pool table.
#[inline(always)]
pub const fn pool_slot(address: &Addr, key: &HashKey) -> u32 {
    let [high, low] = address.words();
    scale((mix(mix(key.0[0] ^ high, low), 0) >> 32) as u32, POOL_SLOTS)
}

/// An interface that takes part; also one of its VLANs, by its [`Lane`](crate::lane::Lane), and the lane of a VLAN's own device, by the device's index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its link address in the lower six bytes, as a frame loaded as one word shows it; frames for others are not ours.
    pub address: u64,
    /// Its index; 0 is a free place. The device's own index for a VLAN, and the lane for a device.
    pub interface: u32,
    /// Fills the word.
    pub spare: u32,
}

impl Link {
    /// Makes a link from its address and index.
    pub const fn new(address: [u8; 6], interface: u32) -> Self {
        let [a, b, c, d, e, f] = address;
        Self { address: u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]), interface, spare: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_is_its_index() {
        for (first, shift) in [(16_384, 14), (32_768, 15), (1024, 10)] {
            let settings = Settings { nat_first_port: first, nat_ports_shift: shift, ..Settings::default() };
            for index in [0, 1, (1 << shift) - 1, 1 << shift, 5 << shift | 77] {
                let port = settings.nat_port(index);
                assert!(settings.is_nat_port(port));
                assert_eq!(settings.nat_index(settings.nat_address_index(index), port), index);
            }
            assert!(!settings.is_nat_port(Port::new(first - 1)));
            assert!(!settings.is_nat_port(Port::new(80)));
        }
    }
}

//! Source addresses and ports of full NAT: which there are, and where each stands in the pool table. Pure.

use std::net::IpAddr;

use xdp_common::{
    flow::HashKey,
    limits::{NAT_WAYS, POOL_ADDRESSES, POOL_PROBES, POOL_SLOTS},
    nat::PoolSlot,
    settings::pool_slot,
};

/// The translated ports of each source address: a power of two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// How many, as a power of two.
    pub shift: u32,
}

impl Ports {
    /// Ports above the system's range for services and below Linux's default range for its own connections.
    pub const SHARED: Self = Self { first: 16_384, shift: 14 };
    /// The upper half: for addresses that the host itself does not use.
    pub const DEDICATED: Self = Self { first: 32_768, shift: 15 };

    /// Returns the last port.
    pub const fn last(self) -> u16 {
        (self.first as u32 + (1 << self.shift) - 1) as u16
    }

    /// Tells whether any port lies in a range.
    pub const fn overlaps(self, first: u16, last: u16) -> bool {
        self.first <= last && first <= self.last()
    }
}

/// Source addresses by index, those of IPv4 first, and their ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    ports: Ports,
}

/// Why addresses cannot be a pool.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Too many of them.
    #[error("{0} source addresses, of which at most {POOL_ADDRESSES} can be used")]
    TooMany(usize),
    /// One found no place under this key.
    #[error("source address {0} collides with others under this hash key; choose another `hash-key`")]
    Collision(IpAddr),
}

impl Pool {
    /// Makes a pool.
    ///
    /// # Errors
    /// More addresses than fit.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>, ports: Ports) -> Result<Self, Error> {
        let (mut v4, mut v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        for family in [&mut v4, &mut v6] {
            let mut seen = std::collections::HashSet::new();
            family.retain(|address| seen.insert(*address));
        }
        let count = v4.len() + v6.len();
        if count > POOL_ADDRESSES as usize { Err(Error::TooMany(count)) } else { Ok(Self { v4, v6, ports }) }
    }

    /// Returns the translated ports.
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Returns the addresses in the order of their indices.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4.iter().chain(&self.v6).copied()
    }

    /// Tells whether flows of a family can be translated.
    pub fn serves(&self, address: IpAddr) -> bool {
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        !family.is_empty()
    }

    /// Returns how many flows can be translated at once.
    pub fn capacity(&self) -> u64 {
        (self.v4.len() as u64 + self.v6.len() as u64) << self.ports.shift
    }

    /// Returns the numbers of NAT buckets for both families.
    pub fn buckets(&self) -> (u32, u32) {
        let of = |family: &[IpAddr]| ((family.len() as u32) << self.ports.shift) / NAT_WAYS as u32;
        (of(&self.v4), of(&self.v6))
    }

    /// Returns the table that finds an address's index.
    ///
    /// # Errors
    /// An address that finds no place near its own.
    pub fn table(&self, key: &HashKey) -> Result<Vec<PoolSlot>, Error> {
        let mut table = vec![PoolSlot::default(); POOL_SLOTS as usize];
        for (index, ip) in self.addresses().enumerate() {
            let first = pool_slot(&ip.into(), key);
            let free = (0..POOL_PROBES).map(|probe| ((first + probe) % POOL_SLOTS) as usize).find(|at| table[*at] == PoolSlot::default());
            table[free.ok_or(Error::Collision(ip))?] = PoolSlot { address: ip.into(), index: index as u32, spare: 0 };
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn addresses_of_v4_come_first_and_once() {
        let v6: IpAddr = "fd00::1".parse().unwrap();
        let pool = Pool::new([v6, address(2), address(1), address(2)], Ports::SHARED).unwrap();
        assert_eq!(pool.addresses().collect::<Vec<_>>(), [address(2), address(1), v6]);
        assert_eq!(pool.buckets(), (2 * 4096, 4096));
        assert_eq!(pool.capacity(), 3 * 16_384);
    }

    #[test]
    fn every_address_of_a_full_pool_is_found() {
        let pool = Pool::new((0..POOL_ADDRESSES as u8).map(address), Ports::DEDICATED).unwrap();
        let key = HashKey([0x1234, 0x9876_5432]);
        let table = pool.table(&key).unwrap();
        for (index, ip) in pool.addresses().enumerate() {
            let first = pool_slot(&ip.into(), &key);
            let found = (0..POOL_PROBES).map(|probe| table[((first + probe) % POOL_SLOTS) as usize]).find(|slot| slot.address == ip.into());
            assert_eq!(found.map(|slot| slot.index), Some(index as u32));
        }
    }

    #[test]
    fn ranges_tell_overlap() {
        assert!(!Ports::SHARED.overlaps(32_768, 60_999));
        assert!(Ports::DEDICATED.overlaps(32_768, 60_999));
        assert_eq!((Ports::SHARED.last(), Ports::DEDICATED.last()), (32_767, 65_535));
    }
}

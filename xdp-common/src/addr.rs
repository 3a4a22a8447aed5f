//! Addresses and ports as both sides store them: big-endian in memory, compared as whole words, read in host order.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The lower half of `::ffff:0:0`, the prefix of mapped IPv4 addresses, as it lies in memory.
const MAPPED: u64 = 0xffff_0000;

/// An IPv6 address, or an IPv4 address mapped into `::ffff:0:0/96`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addr {
    /// The sixteen bytes in network order, loaded as two words.
    words: [u64; 2],
}

impl Addr {
    /// Makes an address from the four bytes of an IPv4 header, loaded as one word.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self { words: [0, MAPPED | (word as u64) << 32] }
    }

    /// Makes an address from the sixteen bytes of an IPv6 header, loaded as two words.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// Returns the bytes as two words.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        self.words
    }

    /// Returns the four bytes an IPv4 header holds, as one word; of an IPv6 address its last four.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        (self.words[1] >> 32) as u32
    }

    /// Tells whether this is a mapped IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] as u32 == MAPPED as u32
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4_word(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => {
                let whole = u128::from_ne_bytes(v6.octets());
                Self { words: [whole as u64, (whole >> 64) as u64] }
            }
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            return Self::V4(Ipv4Addr::from(addr.v4_word().to_ne_bytes()));
        }
        let whole = addr.words[0] as u128 | (addr.words[1] as u128) << 64;
        Self::V6(Ipv6Addr::from(whole.to_ne_bytes()))
    }
}

/// A TCP or UDP port.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Port(u16);

impl Port {
    /// Makes a port from its number.
    #[inline(always)]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// Makes a port from two bytes of a header, loaded as one word.
    #[inline(always)]
    pub const fn from_word(word: u16) -> Self {
        Self(word)
    }

    /// Returns the two bytes of a header as one word.
    #[inline(always)]
    pub const fn word(self) -> u16 {
        self.0
    }

    /// Returns the port's number.
    #[inline(always)]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["10.0.0.1", "255.255.255.255", "0.0.0.0", "::", "fd77::10", "2001:db8:1:2:3:4:5:6"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
            assert_eq!(Addr::from(ip).is_v4(), ip.is_ipv4());
        }
    }

    #[test]
    fn v4_word_is_what_a_header_holds() {
        let addr = Addr::from(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(addr.v4_word().to_ne_bytes(), [10, 0, 0, 1]);
        assert_eq!(Addr::from_v4_word(u32::from_ne_bytes([10, 0, 0, 1])), addr);
    }

    #[test]
    fn mapped_v6_equals_v4() {
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(Addr::from(mapped), Addr::from(IpAddr::from([10, 0, 0, 1])));
    }

    #[test]
    fn ports_keep_network_order_in_memory() {
        assert_eq!(Port::new(80).word().to_ne_bytes(), [0, 80]);
        assert_eq!(Port::from_word(Port::new(8080).word()).number(), 8080);
    }
}

//! Sets of networks, as ranges of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) struct Network {
    address: IpAddr,
    length: u32,
}

impl Network {
    /// Reads `address`, `address/bits` or `address/mask`; of IPv4, zeros in the middle may be left out: `127.1/8`.
    pub(in crate::rules) fn parse(text: &str) -> Option<Self> {
        let (address, mask) = text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
        if let Some(address) = ipv4(address) {
            let length = match mask {
                None => 32,
                Some(mask) if mask.contains('.') => mask_length(mask.parse().ok()?)?,
                Some(bits) => digits(bits).filter(|bits| *bits <= 32)?,
            };
            return Some(Self { address: address.into(), length });
        }
        let address: Ipv6Addr = address.parse().ok()?;
        let length = mask.map_or(Some(128), |bits| digits(bits).filter(|bits| *bits <= 128))?;
        Some(Self { address: address.into(), length })
    }

    /// Returns the address as it was written.
    pub(in crate::rules) fn address(self) -> IpAddr {
        self.address
    }

    /// Returns how many leading bits count.
    pub(in crate::rules) fn length(self) -> u32 {
        self.length
    }

    /// Returns the first and the last address.
    fn range(self) -> (u128, u128) {
        let (value, width) = match self.address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let free = width - self.length;
        let host = if free == 128 { u128::MAX } else { (1 << free) - 1 };
        (value & !host, value | host)
    }
}

/// Returns the address with all but its leading bits cleared.
pub(in crate::rules) fn masked(address: IpAddr, length: u32) -> IpAddr {
    let network = Network { address, length };
    match address {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(network.range().0).expect("a part of an IPv4 address")).into(),
        IpAddr::V6(_) => Ipv6Addr::from(network.range().0).into(),
    }
}

fn digits(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn mask_length(mask: Ipv4Addr) -> Option<u32> {
    let bits = u32::from(mask);
    (bits.leading_ones() + bits.trailing_zeros() == 32).then(|| bits.leading_ones())
}

/// Reads an IPv4 address of which zero octets in the middle may be left out.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u8> = text.split('.').map(|part| digits(part).and_then(|part| part.try_into().ok())).collect::<Option<_>>()?;
    let mut octets = [0; 4];
    let (last, first) = parts.split_last()?;
    if first.is_empty() || first.len() > 3 {
        return None;
    }
    octets[..first.len()].copy_from_slice(first);
    octets[3] = *last;
    Some(octets.into())
}

/// A set of networks.
#[derive(Debug)]
pub(in crate::rules) struct Addresses {
    /// Both ends belong to it. Invariant: sorted, and none overlaps the next.
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Addresses {
    /// Makes the set of everything in these networks.
    pub(in crate::rules) fn new(networks: &[Network]) -> Self {
        let of = |v4| merged(networks.iter().filter(|network| network.address.is_ipv4() == v4).map(|network| network.range()).collect());
        Self { v4: of(true), v6: of(false) }
    }

    /// Tells whether an address belongs to the set; one family is looked up in the other where it can be written in it.
    pub(in crate::rules) fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                contains(&self.v4, u128::from(u32::from(address)))
                    || (!self.v6.is_empty() && contains(&self.v6, u128::from(address.to_ipv6_mapped())))
            }
            IpAddr::V6(address) => {
                contains(&self.v6, u128::from(address))
                    || (!self.v4.is_empty() && embedded(address).is_some_and(|inner| contains(&self.v4, u128::from(u32::from(inner)))))
            }
        }
    }
}

/// Returns the IPv4 address in `::ffff:a.b.c.d`, `::a.b.c.d` or `2002:a.b.c.d::`.
pub(in crate::rules) fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let value = u128::from(address);
    let low = u32::try_from(value & u128::from(u32::MAX)).ok().map(Ipv4Addr::from);
    match value >> 32 {
        0 | 0xffff => low,
        _ if value >> 112 == 0x2002 => u32::try_from((value >> 80) & u128::from(u32::MAX)).ok().map(Ipv4Addr::from),
        _ => None,
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn contains(ranges: &[(u128, u128)], value: u128) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= value);
    after > 0 && value <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_in_every_form_haproxy_reads() {
        let cases = [
            ("10.0.0.12", "10.0.0.12", 32),
            ("10.0.0.0/8", "10.0.0.0", 8),
            ("10.0.0.0/255.255.0.0", "10.0.0.0", 16),
            ("0.0.0.0/0.0.0.0", "0.0.0.0", 0),
            ("192.168.1", "192.168.0.1", 32),
            ("10.12/8", "10.0.0.12", 8),
            ("127.1", "127.0.0.1", 32),
            ("::1", "::1", 128),
            ("fd00::/8", "fd00::", 8),
        ];
        for (text, address, length) in cases {
            assert_eq!(Network::parse(text), Some(Network { address: address.parse().unwrap(), length }), "{text}");
        }
        for text in ["", "10", "10.0.0.0/33", "10.0.0.0/255.0.255.0", "1.2.3.4.5", "256.0.0.1", "fd00::/129", "host", "10.0.0.0/+8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn families_meet_where_an_address_can_be_written_in_both() {
        let set = |text: &str| Addresses::new(&[Network::parse(text).unwrap()]);
        let cases = [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", true),
            ("10.0.0.0/8", "2002:a01:203::1", true),
            ("10.0.0.0/8", "2003:a01:203::1", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::/0", "10.1.2.3", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("fd00::/8", "fe00::", false),
        ];
        for (network, address, expected) in cases {
            assert_eq!(set(network).contain(address.parse().unwrap()), expected, "{address} in {network}");
        }
    }

    #[test]
    fn nested_networks_are_one() {
        let networks: Vec<_> = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"].iter().filter_map(|text| Network::parse(text)).collect();
        assert_eq!(Addresses::new(&networks).v4.len(), 1);
    }

    #[test]
    fn masks_clear_the_host() {
        assert_eq!(masked("10.1.2.3".parse().unwrap(), 16), "10.1.0.0".parse::<IpAddr>().unwrap());
        assert_eq!(masked("fd00::1".parse().unwrap(), 0), "::".parse::<IpAddr>().unwrap());
    }
}

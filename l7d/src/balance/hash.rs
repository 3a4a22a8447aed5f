//! Hashes that decide who goes where: the same input must give the same output in every thread and process.

use std::net::IpAddr;

/// Returns the hash of an address; an IPv4 address mapped into IPv6 counts as itself.
pub(crate) fn of_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => of_bytes(&address.octets()),
        IpAddr::V6(address) => of_bytes(&address.octets()),
    }
}

/// FNV-1a, then the finalizer of SplitMix64: neighbouring inputs, which addresses mostly are, spread over the whole range.
fn of_bytes(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (folded ^ folded >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_address_hashes_as_itself() {
        assert_eq!(of_address("::ffff:192.0.2.1".parse().unwrap()), of_address("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn neighbours_spread_evenly() {
        let mut counts = [0u32; 7];
        for host in 0..=255u8 {
            for net in 0..=31u8 {
                counts[usize::try_from(of_address([10, 0, net, host].into()) % 7).unwrap()] += 1;
            }
        }
        let fair = 256 * 32 / 7;
        assert!(counts.iter().all(|count| count.abs_diff(fair) < fair / 8), "{counts:?}");
    }
}

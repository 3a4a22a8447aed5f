//! Hashes that decide who goes where: the same input must give the same output in every thread and process.
//!
//! With a map, equal weights and no avalanche these choices are HAProxy's for the same configuration, except where `wt6` is asked
//! for: in its place stands a function of our own that is as little affected by regular input.

use std::net::IpAddr;

use control::config::{HashFunction, HashType};

/// Makes numbers of what choices stick to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher {
    function: HashFunction,
    avalanche: bool,
}

impl Hasher {
    /// Returns the hasher a backend is configured with.
    pub(crate) fn new(hash: HashType) -> Self {
        Self { function: hash.function(), avalanche: hash.avalanche() }
    }

    /// Returns the hasher of a function, the outcome of which is mixed if `avalanche` says so.
    pub(crate) fn of(function: HashFunction, avalanche: bool) -> Self {
        Self { function, avalanche }
    }

    /// Mixes the bits of a number.
    pub(crate) fn mixed(number: u32) -> u32 {
        avalanche(number)
    }

    /// Hashes the address of a client: as in HAProxy that is a number already, whatever the function.
    pub(crate) fn client(self, address: IpAddr) -> u32 {
        match address.to_canonical() {
            IpAddr::V4(address) => self.finish(address.to_bits()),
            IpAddr::V6(address) => self.finish(fold(&address.octets())),
        }
    }

    /// Hashes an address as the value of an expression.
    pub(crate) fn address(self, address: IpAddr) -> u32 {
        if self.function == HashFunction::None {
            return self.client(address);
        }
        match address.to_canonical() {
            IpAddr::V4(address) => self.text(&address.octets()),
            IpAddr::V6(address) => self.text(&address.octets()),
        }
    }

    /// Hashes a text.
    pub(crate) fn text(self, text: &[u8]) -> u32 {
        self.finish(match self.function {
            HashFunction::Sdbm => sdbm(text),
            HashFunction::Djb2 => text.iter().fold(5381, |hash: u32, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte))),
            HashFunction::Wt6 => u32::try_from(spread(text) >> 32).expect("half of the bits are left"),
            HashFunction::Crc32 => crc32(text),
            HashFunction::None => leading_number(text),
        })
    }

    fn finish(self, hash: u32) -> u32 {
        if self.avalanche { avalanche(hash) } else { hash }
    }
}

/// FNV-1a, mixed: neighbouring inputs, which names and addresses mostly are, spread over the whole range.
pub(crate) fn spread(text: &[u8]) -> u64 {
    mix(text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finalizer of SplitMix64.
pub(super) fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn sdbm(text: &[u8]) -> u32 {
    text.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(65_599).wrapping_add(u32::from(*byte)))
}

fn crc32(text: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text);
    crc.sum()
}

/// Returns the decimal number a text begins with, or 0.
fn leading_number(text: &[u8]) -> u32 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u32, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
}

fn fold(octets: &[u8; 16]) -> u32 {
    let (words, _) = octets.as_chunks::<4>();
    words.iter().fold(0, |folded, word| folded ^ u32::from_be_bytes(*word))
}

/// Robert Jenkins' 32-bit integer hash, in which every bit of the input affects every bit of the output.
fn avalanche(a: u32) -> u32 {
    let a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    let a = a ^ 0xc761_c23c ^ a >> 19;
    let a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    let a = a.wrapping_add(0xd3a2_646c) ^ a << 9;
    let a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    let a = a ^ 0xb55a_4f09 ^ a >> 16;
    // HAProxy was seen to spread the lowest bits to the highest once more.
    a.wrapping_mul(0xc000_0001)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [HashFunction; 5] = [HashFunction::Sdbm, HashFunction::Djb2, HashFunction::Wt6, HashFunction::Crc32, HashFunction::None];

    fn hasher(function: HashFunction) -> Hasher {
        Hasher { function, avalanche: false }
    }

    #[test]
    fn functions_are_the_published_ones() {
        assert_eq!(hasher(HashFunction::Sdbm).text(b"ab"), 97 * 65_599 + 98);
        assert_eq!(hasher(HashFunction::Djb2).text(b"ab"), (5381 * 33 + 97) * 33 + 98);
        assert_eq!(hasher(HashFunction::Crc32).text(b"123456789"), 0xcbf4_3926);
        assert_eq!(hasher(HashFunction::None).text(b"00042x7"), 42);
    }

    #[test]
    fn client_is_its_number_and_mapped_it_is_itself() {
        for function in ALL {
            let hasher = hasher(function);
            assert_eq!(hasher.client("192.0.2.1".parse().unwrap()), 0xc000_0201);
            assert_eq!(hasher.client("::ffff:192.0.2.1".parse().unwrap()), 0xc000_0201);
            assert_eq!(hasher.client("1:2:3:4:5:6:7:8".parse().unwrap()), 0x0001_0002 ^ 0x0003_0004 ^ 0x0005_0006 ^ 0x0007_0008);
            assert_eq!(hasher.address("::ffff:192.0.2.1".parse().unwrap()), hasher.address("192.0.2.1".parse().unwrap()));
        }
    }

    #[test]
    fn regular_texts_spread_evenly() {
        for function in ALL {
            for avalanche in [false, true] {
                let hasher = Hasher { function, avalanche };
                let mut counts = [0u32; 7];
                for number in 0..7000 {
                    let text = if function == HashFunction::None { number.to_string() } else { format!("/images/{number}.png") };
                    counts[hasher.text(text.as_bytes()) as usize % 7] += 1;
                }
                assert!(counts.iter().all(|count| count.abs_diff(1000) < 200), "{function:?} {avalanche} {counts:?}");
            }
        }
    }

    #[test]
    fn avalanche_changes_half_of_the_bits() {
        for bit in 0..32 {
            let changed: u32 = (0..1000u32).map(|input| (avalanche(input) ^ avalanche(input ^ 1 << bit)).count_ones()).sum();
            assert!((12_000..20_000).contains(&changed), "bit {bit}: {changed}");
        }
    }
}

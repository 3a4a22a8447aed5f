//! Watching: which frames an operator wants to see, and what the program says of each.
//!
//! Nothing is watched until a bit of [`Settings::features`](crate::settings::Settings::features) says so; packets of an unwatched data plane pay nothing.

use crate::addr::{Addr, Port};

/// How many prefixes a [`Watch`] can name.
pub const HOSTS: usize = 4;
/// How many ports it can name.
pub const PORTS: usize = 4;
/// The [reason](Event::reason) of a frame that has just arrived.
pub const ARRIVED: u32 = u32::MAX;
/// What becomes of a watched packet: it is captured.
pub const CAPTURE: u32 = 1;
/// What becomes of a watched packet: a line is logged of it.
pub const LOG: u32 = 1 << 1;

/// Which frames are captured, written by whoever captures before the data plane is told to look.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// One of them must hold the source or the destination.
    pub hosts: [Prefix; HOSTS],
    /// One of them must be the source's or the destination's port; all 0 is any port, or none.
    pub ports: [u32; PORTS],
    /// The protocol number; 0 is any, that of ICMP stands for both versions.
    pub protocol: u32,
    /// The most bytes of a frame that are captured.
    pub snap: u32,
}

/// A prefix of addresses, as words that are compared under a mask.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The bits that must be.
    pub address: [u64; 2],
    /// The bits that count.
    pub mask: [u64; 2],
}

impl Prefix {
    /// Holds every address, and what has none.
    pub const ANY: Self = Self { address: [0; 2], mask: [0; 2] };
    /// Holds no address.
    pub const NONE: Self = Self { address: [1; 2], mask: [0; 2] };

    /// Makes the prefix of so many leading bits of an address.
    pub fn new(address: core::net::IpAddr, length: u8) -> Self {
        let length = u32::from(length) + if address.is_ipv4() { 96 } else { 0 };
        let mask = u128::from_ne_bytes(u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0).to_be_bytes());
        let mask = [mask as u64, (mask >> 64) as u64];
        let [first, second] = Addr::from(address).words();
        Self { address: [first & mask[0], second & mask[1]], mask }
    }

    /// Tells whether it holds an address.
    #[inline(always)]
    pub const fn holds(&self, address: &Addr) -> bool {
        let [first, second] = address.words();
        first & self.mask[0] == self.address[0] && second & self.mask[1] == self.address[1]
    }
}

/// What is seen of a frame, and what is to be done with it; one for each CPU, of the packet under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Who sent it; zeros of what is not IP.
    pub source: Addr,
    /// Whom it is for.
    pub destination: Addr,
    /// The number of the packet on this CPU.
    pub number: u64,
    /// The sender's port; 0 where there is none.
    pub source_port: Port,
    /// The receiver's port.
    pub destination_port: Port,
    /// The protocol number in IP.
    pub protocol: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// [`CAPTURE`] and [`LOG`].
    pub purpose: u32,
    /// What became of it: the index of its [`Reason`](crate::reason::Reason).
    pub reason: u32,
    /// The program's verdict.
    pub verdict: u32,
    /// The interface it leaves by.
    pub leaves_by: u32,
    /// Fills the word.
    pub spare: u32,
}

impl Watch {
    /// Tells whether a frame is wanted.
    #[inline(always)]
    pub const fn wants(&self, seen: &Sighting) -> bool {
        self.has_host(seen) && self.has_port(seen) && self.has_protocol(seen.protocol)
    }

    #[inline(always)]
    const fn has_host(&self, seen: &Sighting) -> bool {
        let mut at = 0;
        while at < HOSTS {
            let prefix = &self.hosts[at];
            if prefix.holds(&seen.source) || prefix.holds(&seen.destination) {
                return true;
            }
            at += 1;
        }
        false
    }

    #[inline(always)]
    const fn has_port(&self, seen: &Sighting) -> bool {
        let (source, destination) = (seen.source_port.number() as u32, seen.destination_port.number() as u32);
        let mut at = 0;
        while at < PORTS {
            let port = self.ports[at];
            if port != 0 && (port == source || port == destination) {
                return true;
            }
            at += 1;
        }
        self.ports[0] == 0
    }

    #[inline(always)]
    const fn has_protocol(&self, protocol: u32) -> bool {
        use crate::wire::{ICMP, ICMPV6};
        self.protocol == 0 || self.protocol == protocol || self.protocol == ICMP as u32 && protocol == ICMPV6 as u32
    }
}

/// What comes before the bytes of every captured frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The number of the packet on its CPU: it arrives and leaves under the same.
    pub number: u64,
    /// Nanoseconds of the monotonic clock.
    pub nanos: u64,
    /// The interface it arrived on, or leaves by.
    pub interface: u32,
    /// Bytes of the frame, of which fewer may follow.
    pub length: u32,
    /// What became of it: the index of its [`Reason`](crate::reason::Reason), or [`ARRIVED`].
    pub reason: u32,
    /// The program's verdict; 0 of one that arrived.
    pub verdict: u32,
}

impl Event {
    /// Bytes of an event.
    pub const SIZE: usize = size_of::<Self>();

    /// Returns the event as it lies in memory.
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (number, nanos) = (self.number.to_ne_bytes(), self.nanos.to_ne_bytes());
        let words = [self.interface, self.length, self.reason, self.verdict];
        let mut at = 0;
        while at < 8 {
            bytes[at] = number[at];
            bytes[8 + at] = nanos[at];
            at += 1;
        }
        let mut word = 0;
        while word < 4 {
            let value = words[word].to_ne_bytes();
            let mut at = 0;
            while at < 4 {
                bytes[16 + word * 4 + at] = value[at];
                at += 1;
            }
            word += 1;
        }
        bytes
    }

    /// Reads an event.
    pub fn read(bytes: &[u8; Self::SIZE]) -> Self {
        let long = |at: usize| u64::from_ne_bytes(core::array::from_fn(|byte| bytes[at + byte]));
        let word = |at: usize| u32::from_ne_bytes(core::array::from_fn(|byte| bytes[at + byte]));
        Self { number: long(0), nanos: long(8), interface: word(16), length: word(20), reason: word(24), verdict: word(28) }
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    fn seen(source: &str, destination: &str, ports: (u16, u16), protocol: u32) -> Sighting {
        let addr = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap());
        Sighting {
            source: addr(source),
            destination: addr(destination),
            source_port: Port::new(ports.0),
            destination_port: Port::new(ports.1),
            protocol,
            ..Sighting::default()
        }
    }

    fn prefix(text: &str, length: u8) -> Prefix {
        Prefix::new(text.parse().unwrap(), length)
    }

    const EVERYTHING: Watch = Watch { hosts: [Prefix::ANY; HOSTS], ports: [0; PORTS], protocol: 0, snap: 100 };

    #[test]
    fn a_watch_without_conditions_wants_everything() {
        assert!(EVERYTHING.wants(&seen("10.0.0.1", "10.0.0.2", (1, 2), 6)));
        assert!(EVERYTHING.wants(&Sighting::default()));
    }

    #[test]
    fn hosts_are_alternatives_for_either_end() {
        let watch = Watch { hosts: [prefix("10.1.0.0", 16), prefix("2001:db8::", 32), Prefix::NONE, Prefix::NONE], ..EVERYTHING };
        assert!(watch.wants(&seen("10.1.2.3", "192.0.2.1", (1, 2), 6)));
        assert!(watch.wants(&seen("192.0.2.1", "10.1.255.255", (1, 2), 17)));
        assert!(watch.wants(&seen("2001:db8:1::1", "::1", (1, 2), 6)));
        assert!(!watch.wants(&seen("10.2.0.1", "192.0.2.1", (1, 2), 6)));
        assert!(!watch.wants(&seen("2001:db9::1", "::1", (1, 2), 6)));
        assert!(!watch.wants(&Sighting::default()), "what is not IP has no host");
    }

    #[test]
    fn prefixes_of_all_lengths_hold_what_they_say() {
        for length in 0..=32 {
            let held = prefix("203.0.113.77", length);
            for other in 0..32 {
                let address = Addr::from(IpAddr::V4((u32::from_be_bytes([203, 0, 113, 77]) ^ 1 << (31 - other)).into()));
                assert_eq!(held.holds(&address), other >= length, "/{length}, bit {other}");
            }
        }
        assert!(!prefix("203.0.113.77", 0).holds(&Addr::from("2001:db8::1".parse::<IpAddr>().unwrap())));
    }

    #[test]
    fn ports_and_protocols_narrow_it_down() {
        let watch = Watch { ports: [80, 443, 0, 0], protocol: 6, ..EVERYTHING };
        assert!(watch.wants(&seen("10.0.0.1", "10.0.0.2", (5000, 80), 6)));
        assert!(watch.wants(&seen("10.0.0.1", "10.0.0.2", (443, 5000), 6)));
        assert!(!watch.wants(&seen("10.0.0.1", "10.0.0.2", (5000, 81), 6)));
        assert!(!watch.wants(&seen("10.0.0.1", "10.0.0.2", (5000, 80), 17)));
        assert!(!watch.wants(&seen("10.0.0.1", "10.0.0.2", (0, 0), 6)), "no port is none of those that are named");
        let icmp = Watch { protocol: 1, ..EVERYTHING };
        assert!(icmp.wants(&seen("::1", "::1", (0, 0), 58)) && icmp.wants(&seen("10.0.0.1", "10.0.0.2", (0, 0), 1)));
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = Event { number: 1 << 40, nanos: u64::MAX - 7, interface: 3, length: 1514, reason: ARRIVED, verdict: 4 };
        assert_eq!(Event::read(&event.bytes()), event);
    }
}

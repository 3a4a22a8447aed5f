//! Servers as the data plane knows them, one cache line each, and their counters.

use crate::addr::{Addr, Port};

/// How to reach a neighbour: the first twelve bytes of the Ethernet header and the interface to send on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Destination address and the first two bytes of the source address, as they lie in a frame.
    pub first: u64,
    /// The other four bytes of the source address.
    pub second: u32,
    /// The [`Lane`](crate::lane::Lane) it is on; 0: not known, the program asks the kernel's routing table.
    pub interface: u32,
}

impl Hop {
    /// Makes a hop from both link addresses.
    pub const fn new(destination: [u8; 6], source: [u8; 6], interface: u32) -> Self {
        let [a, b, c, d, e, f] = destination;
        let [g, h, i, j, k, l] = source;
        Self { first: u64::from_ne_bytes([a, b, c, d, e, f, g, h]), second: u32::from_ne_bytes([i, j, k, l]), interface }
    }
}

/// One server of one service.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: Addr,
    /// Where it listens; 0: at the port that the client asked for.
    pub port: Port,
    /// The service it belongs to; an entry of another service that carries this id is a stranger's.
    pub service: u16,
    /// [`Server::USABLE`] while its flows may go to it, drained and removed servers included.
    pub flags: u32,
    /// Its next hop.
    pub hop: Hop,
    /// What tunnels to it say they come from.
    pub source: Addr,
    /// The longest packet that fits the way to it, tunnel headers included; 0 is no limit.
    pub mtu: u16,
    /// The UDP port at which it ends tunnels.
    pub tunnel_port: Port,
    /// What l4d notes for itself, so that the next one finds it; the program does not look at it.
    pub note: u32,
}

impl Server {
    /// Flows may go to this server; without it they move.
    pub const USABLE: u32 = 1;

    /// Returns the words of this entry as they lie in the map.
    pub const fn to_words(&self) -> [u64; 8] {
        let [high, low] = self.address.words();
        let place = self.port.word() as u64 | (self.service as u64) << 16 | (self.flags as u64) << 32;
        let [source_high, source_low] = self.source.words();
        let rest = self.hop.second as u64 | (self.hop.interface as u64) << 32;
        let tunnel = self.mtu as u64 | (self.tunnel_port.word() as u64) << 16 | (self.note as u64) << 32;
        [high, low, place, self.hop.first, rest, source_high, source_low, tunnel]
    }

    /// Reads an entry from its words.
    pub const fn from_words(words: [u64; 8]) -> Self {
        let [high, low, place, first, rest, source_high, source_low, tunnel] = words;
        Self {
            address: Addr::from_words([high, low]),
            port: Port::from_word(place as u16),
            service: (place >> 16) as u16,
            flags: (place >> 32) as u32,
            hop: Hop { first, second: rest as u32, interface: (rest >> 32) as u32 },
            source: Addr::from_words([source_high, source_low]),
            mtu: tunnel as u16,
            tunnel_port: Port::from_word((tunnel >> 16) as u16),
            note: (tunnel >> 32) as u32,
        }
    }

    /// Returns where it listens for what is sent to a port of the service.
    #[inline(always)]
    pub const fn port_for(&self, asked: Port) -> Port {
        if self.port.word() == 0 { asked } else { self.port }
    }

    /// Tells whether flows may go to this server.
    #[inline(always)]
    pub const fn is_usable(&self) -> bool {
        self.flags & Self::USABLE != 0
    }
}

/// How much a server has to do: open flows, and the weight they are shared by; a word of which the program changes the count alone.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load(pub u64);

impl Load {
    /// Makes a load.
    pub const fn new(flows: u32, weight: u32) -> Self {
        Self(flows as u64 | (weight as u64) << 32)
    }

    /// Returns the open flows, as far as they are known.
    #[inline(always)]
    pub const fn flows(self) -> u32 {
        self.0 as u32
    }

    /// Returns the weight, at least 1.
    #[inline(always)]
    pub const fn weight(self) -> u32 {
        let weight = (self.0 >> 32) as u32;
        if weight == 0 { 1 } else { weight }
    }

    /// Tells whether one more flow is less for this server's weight than for another's.
    #[inline(always)]
    pub const fn is_lighter_than(self, other: Self) -> bool {
        (self.flows() as u64 + 1) * (other.weight() as u64) < (other.flows() as u64 + 1) * self.weight() as u64
    }
}

/// What one CPU has sent to a server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets from clients.
    pub packets: u64,
    /// Bytes of those packets, Ethernet header included.
    pub bytes: u64,
    /// New flows given to the server: connections opened, UDP flows first seen.
    pub flows: u64,
}

const _: () = assert!(size_of::<Server>() == 64 && size_of::<Hop>() == 16 && size_of::<Counters>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_entry() {
        let server = Server {
            address: Addr::from_words([1, 2]),
            port: Port::new(8080),
            service: 7,
            flags: Server::USABLE,
            hop: Hop::new([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], 3),
            source: Addr::from_words([3, 4]),
            mtu: 1500,
            tunnel_port: Port::new(6080),
            note: 0x1234_5678,
        };
        assert_eq!(Server::from_words(server.to_words()), server);
        assert_eq!(core::mem::offset_of!(Server, port), 16);
        assert_eq!(core::mem::offset_of!(Server, service), 18);
        assert_eq!(core::mem::offset_of!(Server, flags), 20);
        assert_eq!(core::mem::offset_of!(Server, hop), 24);
        assert_eq!(core::mem::offset_of!(Server, source), 40);
        assert_eq!(core::mem::offset_of!(Server, mtu), 56);
        assert_eq!(core::mem::offset_of!(Server, tunnel_port), 58);
    }

    #[test]
    fn loads_are_compared_by_weight() {
        assert!(Load::new(3, 2).is_lighter_than(Load::new(2, 1)) && !Load::new(2, 1).is_lighter_than(Load::new(3, 2)));
        assert!(!Load::new(5, 1).is_lighter_than(Load::new(5, 1)));
        assert!(Load::new(0, 0).is_lighter_than(Load::new(1, 1)), "a weight that is not known yet is one");
    }

    #[test]
    fn a_hop_is_the_head_of_a_frame() {
        let hop = Hop::new([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], 3);
        assert_eq!(hop.first.to_ne_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(hop.second.to_ne_bytes(), [9, 10, 11, 12]);
    }
}

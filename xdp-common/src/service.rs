//! Services: a virtual address, port and protocol, and how its flows are chosen and forwarded.
//!
//! The table is ours, not a kernel hash map: two services fill a cache line, and each may stand in either of two buckets. The daemon fills it word by
//! word: [`Service::head`] is written last and cleared first, so that a reader never sees half a service.
//!
//! A service of many ports does not stand there. An address that has such services has one entry, of the protocol [`ranged`], whose ring is a run of
//! [`Segment`]s in the order of their ports; a segment names a [`RangeService`]. They are asked for when no service has the port itself.

use crate::{
    addr::{Addr, Port},
    flow::{FlowKey, HashKey, mix, scale},
    limits::{BUCKET_SERVICES, SERVICE_BUCKETS},
};

/// How packets reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// Addresses and ports rewritten both ways.
    Nat,
    /// Link address rewritten; the server answers the client itself.
    Dsr,
    /// The whole packet in another IP header, IPv4 or IPv6 in either; the server answers the client itself.
    Ipip,
    /// The whole packet in UDP (Generic UDP Encapsulation, variant 1: the inner IP header follows at once); the server answers the client itself.
    Gue,
    /// The destination rewritten: the server sees the client's address, and its replies come back through us.
    Dnat,
}

impl Forward {
    /// All ways, in the order of their numbers in a head.
    pub const ALL: [Self; 5] = [Self::Nat, Self::Dsr, Self::Ipip, Self::Gue, Self::Dnat];

    /// Returns the word for it in configurations and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Dnat => "dnat",
        }
    }

    #[inline(always)]
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Nat,
            1 => Self::Dsr,
            2 => Self::Ipip,
            3 => Self::Gue,
            _ => Self::Dnat,
        }
    }

    /// Returns how many bytes it puts before a packet for a server of IPv4 or IPv6.
    #[inline(always)]
    pub const fn overhead(self, to_v4: bool) -> u16 {
        let ip = if to_v4 { 20 } else { 40 };
        match self {
            Self::Nat | Self::Dsr | Self::Dnat => 0,
            Self::Ipip => ip,
            Self::Gue => ip + 8,
        }
    }
}

/// How the server of a new flow is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// By the source address, on a hash ring.
    Source,
    /// By the five-tuple, on a hash ring.
    Tuple,
    /// The next of a weighted sequence.
    RoundRobin,
    /// Of two random ones the one with fewer open flows for its weight.
    LeastConn,
}

impl Choice {
    /// Tells whether it is by a hash ring, and so repeats itself.
    #[inline(always)]
    pub const fn is_hash(self) -> bool {
        matches!(self, Self::Source | Self::Tuple)
    }
}

/// What becomes of the connections of a server that died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDead {
    /// Their next packets go to another server, whose reset ends them.
    #[default]
    Move,
    /// Their next packets are answered by a reset at once.
    Reset,
}

/// What becomes of packets for a service none of whose servers can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnNone {
    /// They are dropped: a client tries again.
    #[default]
    Drop,
    /// TCP is answered by a reset: a client knows at once.
    Reset,
}

/// Whether flows are remembered while their ring slot is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tracking {
    /// Only where the ring changed: enough for TCP, whose first packet is known by its flag.
    WhereChanged,
    /// Always: UDP flows, and choices that do not repeat.
    Always,
}

/// One service; all zero is a free place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The virtual address.
    pub address: Addr,
    /// Port, protocol, policy and id: see [`Head`].
    pub head: u64,
    /// First slot in the ring map and how many: see [`Service::ring`].
    pub ring: u64,
}

/// The parts of [`Service::head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The virtual port.
    pub port: Port,
    /// The protocol number, never 0.
    pub protocol: u8,
    /// How packets reach the server.
    pub forward: Forward,
    /// How the server is chosen.
    pub choice: Choice,
    /// Whether flows are remembered.
    pub tracking: Tracking,
    /// What becomes of the connections of a dead server.
    pub on_dead: OnDead,
    /// What becomes of packets that no server can take.
    pub on_none: OnNone,
    /// The service's id, never 0.
    pub id: u16,
}

/// Returns the protocol of the entry that leads to the ranges of an address.
#[inline(always)]
pub const fn ranged(protocol: u8) -> u8 {
    protocol | 0x80
}

/// A service of many ports, by its id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeService {
    /// The service; its head has the first port.
    pub service: Service,
    /// The number of the last port.
    pub last: u64,
}

/// Ports that one service has, those taken out that a narrower one has.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment(pub u64);

impl Segment {
    /// Makes a segment of the ports from `first` to `last`.
    pub const fn new(first: u16, last: u16, service: u16) -> Self {
        Self(first as u64 | (last as u64) << 16 | (service as u64) << 32)
    }

    /// Returns the number of the first port.
    #[inline(always)]
    pub const fn first(self) -> u16 {
        self.0 as u16
    }

    /// Returns the number of the last port.
    #[inline(always)]
    pub const fn last(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Returns the id of the service.
    #[inline(always)]
    pub const fn service(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// Bits of a head that name the service: port and protocol.
const NAME: u64 = 0xff_ffff;

/// Bits of a head that stand for policies.
const TRACKED: u64 = 1 << 40;
const DEAD_RESET: u64 = 1 << 41;
const NONE_RESET: u64 = 1 << 42;

/// Returns the protocol of the entry of a server, by its address and port, that leads its replies back through [`Forward::Dnat`]; its ring is the number
/// of the port that they come from for the client, or 0 for the server's own.
#[inline(always)]
pub const fn returned(protocol: u8) -> u8 {
    protocol | 0x40
}

/// Returns the protocol of the entry of a listener of the host, by its address and port; its ring is how many connections a second are believed.
#[inline(always)]
pub const fn listened(protocol: u8) -> u8 {
    protocol | 0xc0
}

impl Head {
    /// Packs the parts.
    pub const fn pack(&self) -> u64 {
        let forward = self.forward as u64;
        let choice = match self.choice {
            Choice::Source => 0,
            Choice::Tuple => 1,
            Choice::RoundRobin => 2,
            Choice::LeastConn => 3,
        };
        let tracking = match self.tracking {
            Tracking::WhereChanged => 0,
            Tracking::Always => TRACKED,
        };
        let dead = if matches!(self.on_dead, OnDead::Reset) { DEAD_RESET } else { 0 };
        let none = if matches!(self.on_none, OnNone::Reset) { NONE_RESET } else { 0 };
        self.port.word() as u64
            | (self.protocol as u64) << 16
            | forward << 24
            | choice << 32
            | tracking
            | dead
            | none
            | (self.id as u64) << 48
    }
}

impl Service {
    /// Tells whether this place is taken.
    #[inline(always)]
    pub const fn is_taken(&self) -> bool {
        self.head != 0
    }

    /// Tells whether this service takes the packets of a flow.
    #[inline(always)]
    pub fn takes(&self, flow: &FlowKey) -> bool {
        self.is(&flow.destination, flow.destination_port, flow.protocol)
    }

    /// Tells whether this is the entry of an address, port and protocol.
    #[inline(always)]
    pub fn is(&self, address: &Addr, port: Port, protocol: u8) -> bool {
        self.head & NAME == (port.word() as u64 | (protocol as u64) << 16) && self.address == *address
    }

    /// Returns the parts of the head.
    #[inline(always)]
    pub const fn parts(&self) -> Head {
        Head {
            port: Port::from_word(self.head as u16),
            protocol: (self.head >> 16) as u8,
            forward: Forward::from_number((self.head >> 24) as u8),
            choice: match (self.head >> 32) as u8 {
                0 => Choice::Source,
                1 => Choice::Tuple,
                2 => Choice::RoundRobin,
                _ => Choice::LeastConn,
            },
            tracking: if self.head & TRACKED == 0 { Tracking::WhereChanged } else { Tracking::Always },
            on_dead: if self.head & DEAD_RESET == 0 { OnDead::Move } else { OnDead::Reset },
            on_none: if self.head & NONE_RESET == 0 { OnNone::Drop } else { OnNone::Reset },
            id: (self.head >> 48) as u16,
        }
    }

    /// Packs a place in the ring map.
    pub const fn pack_ring(first: u32, slots: u32) -> u64 {
        first as u64 | (slots as u64) << 32
    }

    /// Returns the first slot of its ring and how many there are.
    #[inline(always)]
    pub const fn ring(&self) -> (u32, u32) {
        (self.ring as u32, (self.ring >> 32) as u32)
    }
}

/// One cache line of the service table.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(pub [Service; BUCKET_SERVICES]);

const _: () = assert!(size_of::<Service>() == 32 && size_of::<Bucket>() == 64 && size_of::<RangeService>() == 40);

/// Returns the two buckets in which a service may stand.
#[inline(always)]
pub const fn buckets(address: &Addr, port: Port, protocol: u8, key: &HashKey) -> [u32; 2] {
    let [high, low] = address.words();
    let hash = mix(mix(key.0[1] ^ high, low), port.word() as u64 | (protocol as u64) << 16);
    [scale(hash as u32, SERVICE_BUCKETS), scale((hash >> 32) as u32, SERVICE_BUCKETS)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    #[test]
    fn heads_keep_their_parts() {
        for forward in Forward::ALL {
            for choice in [Choice::Source, Choice::Tuple, Choice::RoundRobin, Choice::LeastConn] {
                for tracking in [Tracking::WhereChanged, Tracking::Always] {
                    for (on_dead, on_none) in [(OnDead::Move, OnNone::Reset), (OnDead::Reset, OnNone::Drop)] {
                        let head = Head { port: Port::new(443), protocol: 17, forward, choice, tracking, on_dead, on_none, id: 0xfedc };
                        let service = Service { head: head.pack(), ..Service::default() };
                        assert_eq!(service.parts(), head);
                    }
                }
            }
        }
    }

    #[test]
    fn segments_keep_their_parts() {
        let segment = Segment::new(1, 65_535, 0xfedc);
        assert_eq!((segment.first(), segment.last(), segment.service()), (1, 65_535, 0xfedc));
    }

    #[test]
    fn a_service_takes_its_own_flows_only() {
        let address = Addr::from(IpAddr::from([10, 0, 0, 10]));
        let head = Head {
            port: Port::new(80),
            protocol: 6,
            forward: Forward::Nat,
            choice: Choice::Source,
            tracking: Tracking::WhereChanged,
            on_dead: OnDead::Move,
            on_none: OnNone::Drop,
            id: 1,
        };
        let service = Service { address, head: head.pack(), ring: 0 };
        let flow = FlowKey {
            source: Addr::from(IpAddr::from([192, 0, 2, 1])),
            destination: address,
            source_port: Port::new(4000),
            destination_port: Port::new(80),
            protocol: 6,
        };
        assert!(service.takes(&flow));
        assert!(!service.takes(&FlowKey { protocol: 17, ..flow }));
        assert!(!service.takes(&FlowKey { destination_port: Port::new(81), ..flow }));
        assert!(!service.takes(&FlowKey { destination: flow.source, ..flow }));
    }
}

//! Kinds of traffic, and the frame each is made from.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use super::pattern::{FRAME_WORDS, Pattern};
use crate::link::Mac;
use crate::packet::{self, Flow};

/// Hardware address of the generator's end of every cable.
pub(super) const GENERATOR_MAC: Mac = Mac([0x02, 0x4c, 0x41, 0x42, 1, 1]);
/// Hardware address of the balancer's end of every cable.
pub(super) const BALANCER_MAC: Mac = Mac([0x02, 0x4c, 0x41, 0x42, 1, 2]);
/// The service.
pub(super) const VIP: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 0, 10), 80);
/// The address before that of the first server, and the port of all of them.
pub(super) const BEFORE_SERVERS: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 3, 0, 0), 80);

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Clients,
    /// The servers of translated flows, to the addresses of the balancer.
    Servers,
}

/// What the packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// They open connections.
    Syn,
    /// They belong to open ones.
    Ack,
}

/// One kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) origin: Origin,
    pub(super) segment: Segment,
    /// How many flows take turns.
    pub(super) flows: u32,
}

impl Traffic {
    /// Connections that are opened and never used, each packet another.
    pub(super) const FLOOD: Self = Self { origin: Origin::Clients, segment: Segment::Syn, flows: u32::MAX };

    /// Open connections.
    pub(super) const fn established(origin: Origin, flows: u32) -> Self {
        Self { origin, segment: Segment::Ack, flows }
    }

    /// Tells whether flows never repeat.
    pub(super) const fn is_flood(self) -> bool {
        self.flows == Self::FLOOD.flows
    }

    /// Returns what the generator is told, for a cable of this interface.
    pub(super) fn pattern(self, interface: u32) -> Pattern {
        let at = |(ip, port): (Ipv4Addr, u16)| SocketAddr::new(ip.into(), port);
        let anyone = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let flow = match self.origin {
            Origin::Clients => Flow { from: anyone, to: at(VIP) },
            Origin::Servers => Flow { from: at(BEFORE_SERVERS), to: anyone },
        };
        let flags = match self.segment {
            Segment::Syn => "S",
            Segment::Ack => ".",
        };
        let frame = packet::tcp(flow, flags).macs(GENERATOR_MAC, BALANCER_MAC).payload(&[0; PAYLOAD]).build();
        Pattern { template: words(&frame), interface, flows: self.flows, replies: u64::from(self.origin == Origin::Servers) }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_flood() {
            return f.write_str("syn-flood");
        }
        let flows = match self.flows {
            1_000_000.. => format!("{}m", self.flows / 1_000_000),
            1_000.. => format!("{}k", self.flows / 1_000),
            flows => flows.to_string(),
        };
        match self.origin {
            Origin::Clients => write!(f, "{flows}"),
            Origin::Servers => write!(f, "reply-{flows}"),
        }
    }
}

/// Bytes that fill a frame up to 64.
const PAYLOAD: usize = 64 - 54;

fn words(frame: &[u8]) -> [u64; FRAME_WORDS] {
    let mut words = frame.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("chunks of eight bytes")));
    std::array::from_fn(|_| words.next().expect("a frame has 64 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_fits_the_generators_frame() {
        for traffic in [Traffic::FLOOD, Traffic::established(Origin::Clients, 1), Traffic::established(Origin::Servers, 1)] {
            let pattern = traffic.pattern(7);
            let bytes: Vec<u8> = pattern.template.iter().flat_map(|word| word.to_ne_bytes()).collect();
            assert_eq!(bytes.len(), 64);
            assert_eq!(bytes[..6], BALANCER_MAC.0, "{traffic}");
        }
    }

    #[test]
    fn names_are_short() {
        let names = [1, 10_000, 1_000_000].map(|flows| Traffic::established(Origin::Clients, flows).to_string());
        assert_eq!(names, ["1", "10k", "1m"]);
        assert_eq!(Traffic::established(Origin::Servers, 10_000).to_string(), "reply-10k");
        assert_eq!(Traffic::FLOOD.to_string(), "syn-flood");
    }
}

//! Flows: their key and keyed hash, ring slots, and the words of the flow table, as bit layouts with their rules.
//!
//! A hash-balanced service remembers a flow only while its ring slot is *tracked*, that is while the slot has changed servers and older flows
//! may still belong to the previous one. [`Slot`] says which, [`FlowWord`] is what is remembered, and [`Slot::changed_to`] with
//! [`Slot::server_without_entry`] are the whole rule: an entry always wins, a new connection goes to `current`, and a flow without entry is older
//! than the change and goes to `previous`.

use crate::{
    addr::{Addr, Port},
    limits::{FLOW_WAYS, IDLE_BEFORE_EVICTION, LINE_SLOTS},
};

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// What names a flow on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Who sent the packet.
    pub source: Addr,
    /// Whom it is for.
    pub destination: Addr,
    /// The sender's port.
    pub source_port: Port,
    /// The receiver's port.
    pub destination_port: Port,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
}

/// Secret of the flow hash; nodes that share it choose alike.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey(pub [u64; 2]);

/// Where a flow stands: its place on a ring, its line in the flow table and what tells it apart there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position on any ring, as a fraction of 2^32.
    pub ring: u32,
    /// Spread over the lines of a table, as a fraction of 2^32.
    pub line: u32,
    /// What a flow word keeps; its upper bits give the ring slot back.
    pub fingerprint: u32,
}

/// Returns the place on a ring that a fingerprint remembers, for a ring that the source alone or the whole tuple chooses from.
pub const fn ring_of_fingerprint(fingerprint: u32, by_source: bool) -> u32 {
    if by_source { fingerprint & SOURCE_BITS } else { fingerprint }
}

/// Bits of a fingerprint that hold the ring position when only the source chooses; the others tell flows of one source apart.
const SOURCE_BITS: u32 = 0xffff_c000;

impl FlowKey {
    /// Places a flow whose whole five-tuple chooses the server.
    #[inline(always)]
    pub const fn place_by_tuple(&self, key: &HashKey) -> Place {
        let hash = self.tuple_hash(key);
        let high = (hash >> 32) as u32;
        Place { ring: high, line: hash as u32, fingerprint: high }
    }

    /// Places a flow whose source address alone chooses the server.
    #[inline(always)]
    pub const fn place_by_source(&self, key: &HashKey) -> Place {
        let hash = self.tuple_hash(key);
        let ring = (source_hash(&self.source, key) >> 32) as u32 & SOURCE_BITS;
        Place { ring, line: hash as u32, fingerprint: ring | (hash >> 32) as u32 & !SOURCE_BITS }
    }

    #[inline(always)]
    const fn tuple_hash(&self, key: &HashKey) -> u64 {
        let ports = self.source_port.word() as u64 | (self.destination_port.word() as u64) << 16 | (self.protocol as u64) << 32;
        let addresses = if self.source.is_v4() {
            mix(key.0[0], self.source.v4_word() as u64 | (self.destination.v4_word() as u64) << 32)
        } else {
            let source = mix(mix(key.0[0], self.source.words()[0]), self.source.words()[1]);
            mix(mix(source, self.destination.words()[0]), self.destination.words()[1])
        };
        mix(mix(addresses, ports), key.0[1])
    }
}

#[inline(always)]
const fn source_hash(source: &Addr, key: &HashKey) -> u64 {
    let first = if source.is_v4() { key.0[0] } else { mix(key.0[0], source.words()[0]) };
    mix(mix(first, source.words()[1]), key.0[1])
}

/// One keyed multiply–xorshift step.
#[inline(always)]
pub const fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

/// Maps a fraction of 2^32 onto `0..size` without dividing.
#[inline(always)]
pub const fn scale(fraction: u32, size: u32) -> u32 {
    ((fraction as u64 * size as u64) >> 32) as u32
}

/// A server's id; 0 is none.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u16);

impl ServerId {
    /// No server.
    pub const NONE: Self = Self(0);
}

/// One slot of a ring: the server of new flows, and the server that flows without an entry belong to.
///
/// `previous` equal to `current`: the slot is *settled* and the flow table is not asked. `previous` of none: tracked, and flows without
/// entry belong to `current` (the slot came back to the server it had when tracking began). `current` of none: nobody takes new flows, but
/// established ones go on.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// Makes a settled slot.
    pub const fn settled(server: ServerId) -> Self {
        Self(server.0 as u32 | (server.0 as u32) << 16)
    }

    const fn tracked(current: ServerId, previous: ServerId) -> Self {
        Self(current.0 as u32 | (previous.0 as u32) << 16)
    }

    /// Makes a slot from its word in the map.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// Returns the word in the map.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Returns the server of new flows.
    #[inline(always)]
    pub const fn current(self) -> ServerId {
        ServerId(self.0 as u16)
    }

    const fn previous(self) -> ServerId {
        ServerId((self.0 >> 16) as u16)
    }

    /// Tells whether all flows of this slot agree with the ring.
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        self.current().0 == self.previous().0
    }

    /// Returns the server of an established flow that has no entry.
    #[inline(always)]
    pub const fn server_without_entry(self) -> ServerId {
        let previous = self.previous();
        if previous.0 == 0 { self.current() } else { previous }
    }

    /// Returns the slot after the ring gave it to `server`, keeping established flows where they are.
    #[must_use]
    pub fn changed_to(self, server: ServerId) -> Self {
        let before = self.server_without_entry();
        if self.current() == server {
            self
        } else if before == ServerId::NONE {
            Self::settled(server)
        } else if before == server {
            Self::tracked(server, ServerId::NONE)
        } else {
            Self::tracked(server, before)
        }
    }

    /// Returns the slot after the ring gave it to `server` because its current one is dead: where nothing was tracked, nothing needs to be.
    #[must_use]
    pub fn replaced_by(self, server: ServerId) -> Self {
        if self.is_settled() { Self::settled(server) } else { self.changed_to(server) }
    }

    /// Returns the slot once `gone` is dead: its flows without entry move to the current server.
    #[must_use]
    pub fn without(self, gone: ServerId) -> Self {
        if self.previous() == gone && self.current() != gone { Self::tracked(self.current(), ServerId::NONE) } else { self }
    }

    /// Returns the server before the change, if that may still have flows without entry.
    pub fn former(self) -> Option<ServerId> {
        let previous = self.previous();
        (previous != ServerId::NONE && !self.is_settled()).then_some(previous)
    }

    /// Returns the slot when no remembered flow disagrees with the ring any more.
    #[must_use]
    pub fn closed(self) -> Self {
        Self::settled(self.current())
    }
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Seen once; makes room first, so that a flood cannot push out real flows.
    New,
    /// Both ends have taken part, or it was seen again.
    Confirmed,
    /// Ended or ending.
    Closing,
}

/// State and time of a flow in 16 bits: two bits of state, fourteen of time in ticks of 2^30 ns, wrapping after four and a half hours.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u16);

/// Bits of a stamp that hold the time.
const TICKS: u16 = 0x3fff;
/// By how much a stamp may be ahead of whoever looks at it: the daemon reads its clock once for a whole table.
const AHEAD: u16 = 60;

impl Stamp {
    /// Stamps a state with the time.
    #[inline(always)]
    pub const fn new(state: State, now: u16) -> Self {
        let state = match state {
            State::New => 0,
            State::Confirmed => 1,
            State::Closing => 2,
        };
        Self(state << 14 | now & TICKS)
    }

    /// Makes a stamp from its bits.
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Returns the bits.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns how far the flow has come.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self.0 >> 14 {
            0 => State::New,
            1 => State::Confirmed,
            _ => State::Closing,
        }
    }

    /// Returns how many ticks ago the flow was last seen.
    ///
    /// One seen a little after `now` is one that another CPU renewed since `now` was read, and not one from the last time round.
    #[inline(always)]
    pub const fn idle(self, now: u16) -> u16 {
        let ticks = now.wrapping_sub(self.0) & TICKS;
        if ticks > TICKS - AHEAD { 0 } else { ticks }
    }
}

/// One remembered flow: fingerprint, server and stamp; server none is an empty place.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowWord(u64);

impl FlowWord {
    /// Remembers that the flow of this fingerprint belongs to a server.
    #[inline(always)]
    pub const fn new(fingerprint: u32, server: ServerId, stamp: Stamp) -> Self {
        Self(fingerprint as u64 | (server.0 as u64) << 32 | (stamp.bits() as u64) << 48)
    }

    /// Makes a word from its bits.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns what tells the flow apart.
    #[inline(always)]
    pub const fn fingerprint(self) -> u32 {
        self.0 as u32
    }

    /// Returns the server the flow belongs to.
    #[inline(always)]
    pub const fn server(self) -> ServerId {
        ServerId((self.0 >> 32) as u16)
    }

    /// Returns state and time.
    #[inline(always)]
    pub const fn stamp(self) -> Stamp {
        Stamp((self.0 >> 48) as u16)
    }

    /// Tells whether this place remembers nothing.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.server().0 == 0
    }

    /// Tells whether this is the flow of `fingerprint`.
    #[inline(always)]
    pub const fn is(self, fingerprint: u32) -> bool {
        self.fingerprint() == fingerprint && !self.is_empty()
    }

    /// Rates how readily this word makes room: 0 never, more is sooner.
    #[inline(always)]
    pub const fn expendable(self, now: u16) -> u32 {
        if self.is_empty() {
            return u32::MAX;
        }
        let idle = self.stamp().idle(now);
        match self.stamp().state() {
            State::New | State::Closing => 0x1_0000 + idle as u32,
            State::Confirmed if idle > IDLE_BEFORE_EVICTION => idle as u32,
            State::Confirmed => 0,
        }
    }
}

/// One cache line of ring slots: the kernel rounds values of arrays up to eight bytes, so slots of four share one.
pub type RingLine = [u32; LINE_SLOTS];

/// One cache line of the flow table.
pub type FlowLine = [u64; FLOW_WAYS];

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{collections::HashMap, net::IpAddr, vec, vec::Vec};

    const KEY: HashKey = HashKey([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

    fn key(source: &str, port: u16) -> FlowKey {
        let source: IpAddr = source.parse().unwrap();
        let destination: IpAddr = if source.is_ipv4() { "10.0.0.10" } else { "fd00::10" }.parse().unwrap();
        FlowKey {
            source: source.into(),
            destination: destination.into(),
            source_port: Port::new(port),
            destination_port: Port::new(80),
            protocol: TCP,
        }
    }

    #[test]
    fn slot_layout_is_current_then_previous() {
        let slot = Slot::settled(ServerId(1)).changed_to(ServerId(2));
        assert_eq!(slot.word(), 0x0001_0002);
    }

    #[test]
    fn a_slot_that_comes_back_stays_tracked() {
        let (a, b) = (ServerId(1), ServerId(2));
        let back = Slot::settled(a).changed_to(b).changed_to(a);
        assert!(!back.is_settled(), "flows that b got meanwhile have entries that must be asked for");
        assert_eq!((back.current(), back.server_without_entry()), (a, a));
    }

    #[test]
    fn a_drained_pool_keeps_its_flows() {
        let (a, none) = (ServerId(1), ServerId::NONE);
        let drained = Slot::settled(a).changed_to(none);
        assert_eq!((drained.current(), drained.server_without_entry(), drained.is_settled()), (none, a, false));
        assert_eq!(drained.changed_to(a).server_without_entry(), a);
        assert_eq!(Slot::settled(none).changed_to(a), Slot::settled(a));
    }

    #[test]
    fn a_dead_server_leaves_nothing_behind() {
        let (a, b) = (ServerId(1), ServerId(2));
        assert_eq!(Slot::settled(a).replaced_by(b), Slot::settled(b));
        let drained = Slot::settled(a).changed_to(b);
        assert_eq!(drained.without(a).server_without_entry(), b);
        assert!(!drained.without(a).is_settled(), "b's flows have entries until the table is clean");
    }

    #[test]
    fn a_source_keeps_its_ring_place_over_ports() {
        for source in ["192.0.2.7", "2001:db8::7"] {
            let places: Vec<_> = (1000..1100).map(|port| key(source, port).place_by_source(&KEY)).collect();
            assert!(places.iter().all(|p| p.ring == places[0].ring && p.fingerprint & SOURCE_BITS == p.ring));
            let lines: std::collections::HashSet<_> = places.iter().map(|p| p.line).collect();
            assert_eq!(lines.len(), places.len());
        }
    }

    #[test]
    fn a_fingerprint_gives_the_ring_slot_back() {
        for port in 0..1000 {
            let by_source = key("192.0.2.9", port).place_by_source(&KEY);
            assert_eq!(scale(by_source.fingerprint & SOURCE_BITS, 65_537), scale(by_source.ring, 65_537));
            let by_tuple = key("192.0.2.9", port).place_by_tuple(&KEY);
            assert_eq!(by_tuple.fingerprint, by_tuple.ring);
        }
    }

    #[test]
    fn hashes_spread_evenly() {
        for family in ["10.1", "2001:db8::"] {
            let mut counts = vec![0u32; 64];
            for n in 0..6400u32 {
                let source = if family == "10.1" { std::format!("10.1.{}.{}", n / 250, n % 250) } else { std::format!("{family}{n:x}") };
                counts[scale(key(&source, 40_000).place_by_source(&KEY).ring, 64) as usize] += 1;
            }
            assert!(counts.iter().all(|count| (50..=160).contains(count)), "{family}: {counts:?}");
        }
    }

    #[test]
    fn another_key_places_elsewhere() {
        let flow = key("192.0.2.7", 4000);
        assert_ne!(flow.place_by_tuple(&KEY), flow.place_by_tuple(&HashKey([1, 2])));
    }

    #[test]
    fn flow_word_keeps_its_parts() {
        let word = FlowWord::new(0xdead_beef, ServerId(0xabcd), Stamp::new(State::Closing, 0x3abc));
        assert_eq!(word.bits(), 0xbabc_abcd_dead_beef);
        assert_eq!((word.fingerprint(), word.server(), word.stamp().state()), (0xdead_beef, ServerId(0xabcd), State::Closing));
        assert_eq!(word.stamp().idle(0x3ac0), 4);
    }

    #[test]
    fn idle_time_wraps() {
        assert_eq!(Stamp::new(State::New, 0x3fff).idle(0x4002), 3);
    }

    #[test]
    fn flows_renewed_since_the_clock_was_read_are_not_idle() {
        for (tick, now, idle) in
            [(1001, 1000, 0), (1060, 1000, 0), (2, 0x3ffe, 0), (1000, 1000, 0), (999, 1000, 1), (1100, 1000, 0x3fff - 99)]
        {
            assert_eq!(Stamp::new(State::Confirmed, tick).idle(now), idle, "{tick} at {now}");
        }
    }

    #[test]
    fn room_is_made_by_empty_then_new_then_idle() {
        let word = |state, tick| FlowWord::new(1, ServerId(1), Stamp::new(state, tick));
        let now = 1000;
        let mut order = vec![
            word(State::Confirmed, 995),
            word(State::Confirmed, 100),
            word(State::New, 999),
            word(State::New, 900),
            FlowWord::default(),
        ];
        order.sort_by_key(|word| word.expendable(now));
        assert_eq!(
            order,
            vec![
                word(State::Confirmed, 995),
                word(State::Confirmed, 100),
                word(State::New, 999),
                word(State::New, 900),
                FlowWord::default()
            ]
        );
        assert_eq!(word(State::Confirmed, 995).expendable(now), 0);
    }

    /// The data plane's rule for one slot, as `choose` in the XDP program applies it with room for every entry.
    fn serve(slot: Slot, entries: &mut HashMap<u32, ServerId>, flow: u32, syn: bool) -> ServerId {
        if slot.is_settled() {
            return slot.current();
        }
        match entries.get(&flow) {
            Some(server) if !syn => *server,
            _ => {
                let server = if syn { slot.current() } else { slot.server_without_entry() };
                entries.insert(flow, server);
                server
            }
        }
    }

    #[test]
    fn no_established_flow_changes_server_whatever_the_ring_does() {
        let mut state = 42u64;
        let mut random = |below: u64| {
            state = mix(state, 0x1234_5678);
            state.wrapping_add(state >> 7) % below
        };
        for _ in 0..2_000 {
            let mut slot = Slot::settled(ServerId(1));
            let (mut entries, mut live) = (HashMap::new(), HashMap::new());
            for step in 0..40u32 {
                match random(4) {
                    0 => slot = slot.changed_to(ServerId(random(5) as u16)),
                    1 if slot.current() != ServerId::NONE => {
                        live.insert(step, serve(slot, &mut entries, step, true));
                    }
                    _ => {
                        for (flow, server) in &live {
                            assert_eq!(serve(slot, &mut entries, *flow, false), *server);
                        }
                    }
                }
                // Every live flow speaks between two changes, as an active flow does: the entry it gets is what later changes rely on.
                for (flow, server) in &live {
                    assert_eq!(serve(slot, &mut entries, *flow, false), *server);
                }
            }
        }
    }
}

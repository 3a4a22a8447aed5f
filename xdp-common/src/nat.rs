//! Full NAT: one exact entry per flow, whose index is the translated source address and port.
//!
//! Because the index is the translation, replies find their entry by one array access and no port is ever allocated or given out twice. An entry is
//! taken by exchanging its control word for a claimed one, filled, and published by exchanging the control word again; readers that meet a claimed word see no
//! entry.

use crate::{
    addr::{Addr, Port},
    flow::{FlowKey, ServerId, Stamp, State, UDP},
    limits::{CLOSING_IDLE, FLOW_IDLE, IDLE_BEFORE_EVICTION},
};

/// One translated flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The client.
    pub client: Addr,
    /// Ports, protocol and service: see [`Entry::pack_name`].
    pub name: u64,
    /// What changes while the flow lives: see [`Control`].
    pub control: u64,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entry {
    /// Packs what names a flow besides its client: client's port, service's port, protocol and the service's id.
    #[inline(always)]
    pub const fn pack_name(flow: &FlowKey, service: u16) -> u64 {
        flow.source_port.word() as u64 | (flow.destination_port.word() as u64) << 16 | (service as u64) << 32 | (flow.protocol as u64) << 48
    }

    /// Returns the client's port.
    #[inline(always)]
    pub const fn client_port(&self) -> Port {
        Port::from_word(self.name as u16)
    }

    /// Returns the service's port.
    #[inline(always)]
    pub const fn service_port(&self) -> Port {
        Port::from_word((self.name >> 16) as u16)
    }

    /// Returns the service's id.
    #[inline(always)]
    pub const fn service(&self) -> u16 {
        (self.name >> 32) as u16
    }

    /// Returns the protocol number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.name >> 48) as u8
    }
}

/// The control word of an entry: server, return hop, stamp and flags; server none is a free entry.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control(pub u64);

impl Control {
    /// Being filled; not to be read.
    const CLAIMED: u64 = 1 << 48;
    /// The client has closed its direction.
    pub const CLIENT_FIN: u64 = 1 << 49;
    /// The server has closed its direction.
    pub const SERVER_FIN: u64 = 1 << 50;
    /// The server has answered.
    pub const ANSWERED: u64 = 1 << 51;
    /// A UDP flow, which is forgotten sooner.
    const UDP: u64 = 1 << 52;

    /// What changes while an entry stays with its flow: return hop, stamp and what has been seen of either side.
    const RENEWED: u64 = 0xffff_ffff << 16 | Self::CLIENT_FIN | Self::SERVER_FIN | Self::ANSWERED;

    const FLAGS: u64 = Self::CLIENT_FIN | Self::SERVER_FIN | Self::ANSWERED | Self::UDP;

    /// Makes the word of a flow that begins.
    #[inline(always)]
    pub const fn begin(server: ServerId, return_hop: u16, protocol: u8, now: u16) -> Self {
        let udp = if protocol == UDP { Self::UDP } else { 0 };
        Self(server.0 as u64 | (return_hop as u64) << 16 | udp).stamped(State::New, now)
    }

    /// Returns the word while its entry is filled.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(self) -> Self {
        Self(self.0 | Self::CLAIMED)
    }

    /// Returns the word with another stamp.
    #[inline(always)]
    #[must_use]
    pub const fn stamped(self, state: State, now: u16) -> Self {
        Self(self.0 & !(0xffff << 32) | (Stamp::new(state, now).bits() as u64) << 32)
    }

    /// Returns the word with more flags.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, flags: u64) -> Self {
        Self(self.0 | flags & Self::FLAGS)
    }

    /// Returns the word with another return hop.
    #[inline(always)]
    #[must_use]
    pub const fn returning_by(self, hop: u16) -> Self {
        Self(self.0 & !(0xffff << 16) | (hop as u64) << 16)
    }

    /// Tells whether all of `flags` are set.
    #[inline(always)]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags == flags
    }

    /// Tells whether the entry can be read and names a flow.
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.server().0 != 0 && self.0 & Self::CLAIMED == 0
    }

    /// Tells whether an entry was one flow's from this reading of its word to a later one; another CPU may have renewed it between them.
    #[inline(always)]
    pub const fn lasted_to(self, later: Self) -> bool {
        self.is_live() && (self.0 ^ later.0) & !Self::RENEWED == 0
    }

    /// Returns the server.
    #[inline(always)]
    pub const fn server(self) -> ServerId {
        ServerId(self.0 as u16)
    }

    /// Returns where replies leave, as an index of the return hops; 0 is unknown.
    #[inline(always)]
    pub const fn return_hop(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Returns state and time.
    #[inline(always)]
    pub const fn stamp(self) -> Stamp {
        Stamp::from_bits((self.0 >> 32) as u16)
    }

    /// Rates how readily this entry makes room for a new flow of `server`: 0 never, more is sooner.
    ///
    /// A closed flow's ports are last given to the same server again while that may still remember them (TIME_WAIT lasts a minute on Linux) and would
    /// take the new connection for a late packet of the old one.
    #[inline(always)]
    pub const fn expendable(self, server: ServerId, now: u16) -> u32 {
        if self.0 & Self::CLAIMED != 0 {
            return 0;
        }
        if self.server().0 == 0 {
            return u32::MAX;
        }
        let idle = self.stamp().idle(now) as u32;
        let patience = if self.has(Self::UDP) { 4 * IDLE_BEFORE_EVICTION } else { FLOW_IDLE };
        match self.stamp().state() {
            State::Closing if self.server().0 == server.0 && idle < CLOSING_IDLE as u32 => 1 + idle,
            State::Closing => 0x2_0000 + idle,
            State::New => 0x1_0000 + idle,
            State::Confirmed if idle > patience as u32 => CLOSING_IDLE as u32 + idle,
            State::Confirmed => 0,
        }
    }
}

/// A place in the table that finds a NAT source address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSlot {
    /// The address; unspecified is a free place.
    pub address: Addr,
    /// Its index.
    pub index: u32,
    /// Fills the word.
    pub spare: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::TCP;

    #[test]
    fn a_renewed_entry_is_still_its_flows_and_one_given_away_is_not() {
        let word = Control::begin(ServerId(7), 3, TCP, 1000);
        let renewed =
            word.returning_by(9).with(Control::ANSWERED | Control::CLIENT_FIN | Control::SERVER_FIN).stamped(State::Closing, 1001);
        assert!(word.lasted_to(word) && word.lasted_to(renewed) && renewed.lasted_to(word));
        for other in
            [word.claimed(), Control::default(), Control::begin(ServerId(8), 3, TCP, 1000), Control::begin(ServerId(7), 3, UDP, 1000)]
        {
            assert!(!word.lasted_to(other) && !other.lasted_to(word), "{other:?}");
        }
        assert!(!Control::default().lasted_to(Control::default()) && !word.claimed().lasted_to(word.claimed()));
    }

    #[test]
    fn control_words_keep_their_parts() {
        let word = Control::begin(ServerId(0xfffe), 0xabcd, UDP, 77).with(Control::ANSWERED).stamped(State::Confirmed, 99);
        assert_eq!((word.server(), word.return_hop()), (ServerId(0xfffe), 0xabcd));
        assert_eq!((word.stamp().state(), word.stamp().idle(100)), (State::Confirmed, 1));
        assert!(word.has(Control::ANSWERED) && !word.has(Control::CLIENT_FIN) && word.is_live());
        assert!(!word.claimed().is_live());
        assert_eq!(word.returning_by(7).return_hop(), 7);
    }

    const OTHER: ServerId = ServerId(2);

    #[test]
    fn confirmed_flows_are_not_pushed_out_before_their_time() {
        let open = |protocol, tick| Control::begin(ServerId(1), 0, protocol, tick).stamped(State::Confirmed, tick);
        assert_eq!(open(TCP, 100).expendable(OTHER, 100 + FLOW_IDLE), 0);
        assert!(open(TCP, 100).expendable(OTHER, 101 + FLOW_IDLE) > 0);
        assert_eq!(open(UDP, 100).expendable(OTHER, 220), 0);
        assert!(open(UDP, 100).expendable(OTHER, 221) > 0);
        assert!(Control::begin(ServerId(1), 0, TCP, 100).expendable(OTHER, 100) > open(TCP, 100).expendable(OTHER, 5000));
    }

    #[test]
    fn ports_return_to_the_same_server_last() {
        let closed = Control::begin(ServerId(1), 0, TCP, 100).stamped(State::Closing, 100);
        let begun = Control::begin(ServerId(1), 0, TCP, 100);
        assert!(closed.expendable(OTHER, 110) > begun.expendable(OTHER, 110));
        assert!(closed.expendable(ServerId(1), 110) < begun.expendable(ServerId(1), 110));
        assert!(closed.expendable(ServerId(1), 110) > 0);
        assert_eq!(closed.expendable(ServerId(1), 160), closed.expendable(OTHER, 160));
    }

    #[test]
    fn a_claimed_entry_is_nobodys() {
        assert_eq!(Control::begin(ServerId(1), 0, TCP, 0).claimed().expendable(OTHER, 9999), 0);
    }
}

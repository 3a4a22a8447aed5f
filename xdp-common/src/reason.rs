//! Why a packet went where it went; also the index of its counter.

macro_rules! reasons {
    ($($(#[doc = $help:literal])* $variant:ident = $name:literal,)*) => {
        /// What became of a packet, and why.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $help])* $variant,)*
        }

        impl Reason {
            /// All reasons, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name that metrics and listings use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns what the counter means to an operator.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help,)*),)* }
            }
        }
    };
}

reasons! {
    /// Sent to a server.
    Forwarded = "forwarded",
    /// A server's reply, sent to its client.
    Returned = "returned",
    /// Answered: too long for the tunnel to its server; its sender was told to send shorter ones.
    TooBig = "too_big",
    /// Answered: an echo request to a service's address.
    Echo = "echo",
    /// Answered: a segment by a reset, because its server or all servers are dead and the service says so.
    Reset = "reset",
    /// Answered: a segment that opens a connection, by a cookie, because more open with a listener of this host than `syn-cookies` says.
    Cookie = "cookie",
    /// Sent on: an ICMP error, to the server or client it concerns.
    Relayed = "relayed",
    /// Passed to the host: neither IPv4 nor IPv6.
    NotIp = "not_ip",
    /// Passed to the host: tagged for a VLAN that no device here belongs to, or with more than one tag.
    Vlan = "vlan",
    /// Passed to the host: neither TCP nor UDP.
    NotTransport = "not_transport",
    /// Passed to the host: no service has this address, port and protocol.
    NoService = "no_service",
    /// Passed to the host: addressed to another station, seen because the interface listens to all.
    NotForUs = "not_for_us",
    /// Passed to the host: a fragment, whose flow cannot be told.
    Fragment = "fragment",
    /// Passed to the host: IPv4 options or IPv6 extension headers, which the fast path does not walk.
    Options = "options",
    /// Dropped: shorter than its headers say.
    Truncated = "truncated",
    /// Dropped: from a denied prefix.
    Denied = "denied",
    /// Dropped: its source sends more packets in a second than it may.
    TooManyPackets = "too_many_packets",
    /// Dropped: its source opens more connections in a second than it may.
    TooManyConnections = "too_many_connections",
    /// Dropped: the service has no server that is up.
    NoServer = "no_server",
    /// Dropped: its server is dead, and there is nobody to be told.
    ServerGone = "server_gone",
    /// Dropped: no free NAT entry for a new flow; add source addresses.
    NatFull = "nat_full",
    /// Dropped: the next hop is not known and the kernel's routing table does not name one.
    NoNextHop = "no_next_hop",
    /// Dropped: the driver leaves no room in front of frames for a tunnel's headers.
    NoHeadroom = "no_headroom",
    /// Dropped: two packets of one flow raced for a NAT entry; the sender repeats it.
    Contended = "contended",
    /// Dropped: a map did not hold what it must; should never be anything except 0.
    Internal = "internal",
}

/// How many reasons there are.
pub const REASONS: u32 = Reason::ALL.len() as u32;

impl Reason {
    /// Tells whether packets with this reason go on to the host's own network stack.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        matches!(self, Self::NotIp | Self::Vlan | Self::NotTransport | Self::NoService | Self::NotForUs | Self::Fragment | Self::Options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_their_counters() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}

//! Names of the maps, as the object file and the pins spell them.

/// Settings of the whole data plane: one [`Settings`](crate::settings::Settings).
pub const SETTINGS: &str = "SETTINGS";
/// Interfaces that take part: [`Link`](crate::settings::Link) by interface index modulo the table's size.
pub const LINKS: &str = "LINKS";
/// VLANs of those interfaces: [`Link`](crate::settings::Link) by [`Lane`](crate::lane::Lane), and by the index of their own device.
pub const VLANS: &str = "VLANS";
/// Services by hash: [`Bucket`](crate::service::Bucket).
pub const SERVICES: &str = "SERVICES";
/// Services of many ports by id: [`RangeService`](crate::service::RangeService).
pub const RANGES: &str = "RANGES";
/// Their ports, by address: [`Segment`](crate::service::Segment).
pub const SEGMENTS: &str = "SEGMENTS";
/// Addresses of services by id, for replies: [`Addr`](crate::addr::Addr).
pub const SERVICE_ADDRESSES: &str = "SERVICE_ADDRESSES";
/// The longest segments of services by id, 0 for any: `u64`.
pub const SEGMENT_SIZES: &str = "SEGMENT_SIZES";
/// Round robin positions by service id: `u64`.
pub const CURSORS: &str = "CURSORS";
/// All rings and sequences, one after another: [`Slot`](crate::flow::Slot).
pub const RINGS: &str = "RINGS";
/// Servers by id: [`Server`](crate::server::Server).
pub const SERVERS: &str = "SERVERS";
/// Packets, bytes and flows by server id, per CPU: [`Counters`](crate::server::Counters).
pub const SERVER_COUNTERS: &str = "SERVER_COUNTERS";
/// The flow table: lines of [`FlowWord`](crate::flow::FlowWord).
pub const FLOWS: &str = "FLOWS";
/// The NAT table: buckets of [`Entry`](crate::nat::Entry).
pub const NAT: &str = "NAT";
/// NAT source addresses by hash: [`PoolSlot`](crate::nat::PoolSlot).
pub const POOL: &str = "POOL";
/// NAT source addresses by index: [`Addr`](crate::addr::Addr).
pub const POOL_ADDRESSES: &str = "POOL_ADDRESSES";
/// Next hops towards clients: [`Hop`](crate::server::Hop).
pub const RETURN_HOPS: &str = "RETURN_HOPS";
/// Which of them is a client's, by the hash of its address: a tag and an index in one `u64`.
pub const CLIENT_HOPS: &str = "CLIENT_HOPS";
/// Loads by server id: [`Load`](crate::server::Load).
pub const LOADS: &str = "LOADS";
/// Counts by [`Reason`](crate::reason::Reason), per CPU: `u64`.
pub const REASONS: &str = "REASONS";
/// Denied and allowed prefixes: [`Addr`](crate::addr::Addr) with its length → the word of a [`Rule`](crate::guard::Rule).
pub const PREFIXES: &str = "PREFIXES";
/// Sources' paces: [`PaceLine`](crate::guard::PaceLine).
pub const PACES: &str = "PACES";
/// Which packets are captured: one [`Watch`](crate::watch::Watch).
pub const WATCH: &str = "WATCH";
/// Captured frames by CPU, each after its [`Event`](crate::watch::Event).
pub const EVENTS: &str = "EVENTS";
/// Programs that go on where the first one ends, by [`Stage`].
pub const STAGES: &str = "STAGES";

/// The name in the object file of the program that sees every packet.
pub const PROGRAM: &str = "l4d";

/// A program that goes on with a packet, so that the kernel can judge it apart from the first one, and packets of other ways do not pay for it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Puts a packet into a tunnel.
    Tunnel,
    /// Answers ICMP or sends it on.
    Icmp,
    /// Admits packets to services.
    Guard,
    /// Does what the first program does: where the guard sends those it has admitted.
    Balance,
    /// Translates the destination of a client's packet, or the source of a server's reply.
    Dnat,
    /// Answers a segment by a reset.
    Reset,
    /// Takes the tag off a frame of a VLAN.
    Untag,
    /// Has both sides of a new connection ask for short segments.
    Shorten,
    /// Looks whether a packet that arrives is one that somebody wants to see.
    Watch,
    /// Shows what became of one.
    Report,
    /// Logs it.
    Log,
    /// Answers a segment that opens one connection of too many.
    Cookie,
}

impl Stage {
    /// All of them, in the order of their places in [`STAGES`].
    pub const ALL: [Self; 12] = [
        Self::Tunnel,
        Self::Icmp,
        Self::Guard,
        Self::Balance,
        Self::Dnat,
        Self::Reset,
        Self::Untag,
        Self::Shorten,
        Self::Watch,
        Self::Report,
        Self::Log,
        Self::Cookie,
    ];

    /// Returns the program's name in the object file.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Tunnel => "l4d_tunnel",
            Self::Icmp => "l4d_icmp",
            Self::Guard => "l4d_guard",
            Self::Balance => PROGRAM,
            Self::Dnat => "l4d_dnat",
            Self::Reset => "l4d_reset",
            Self::Untag => "l4d_untag",
            Self::Shorten => "l4d_shorten",
            Self::Watch => "l4d_watch",
            Self::Report => "l4d_report",
            Self::Log => "l4d_log",
            Self::Cookie => "l4d_cookie",
        }
    }
}

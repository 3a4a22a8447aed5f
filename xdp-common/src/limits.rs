//! Every capacity and fixed size the two sides share.

/// Version of all layouts in this crate; l4d refuses pinned maps of another version.
pub const ABI_VERSION: u32 = 6;

/// Slots of a hash ring; prime, so that every Maglev permutation visits all of them.
pub const RING_SLOTS: u32 = 65_537;
/// Slots in one value of the ring map: a cache line.
pub const LINE_SLOTS: usize = 16;
/// Values of the ring map: room for 64 hash rings.
pub const RING_LINES: u32 = 64 * RING_SLOTS.div_ceil(LINE_SLOTS as u32);
/// The longest round robin sequence of one service.
pub const SEQUENCE_SLOTS: usize = 4_096;

/// Buckets of the service table; a power of two.
pub const SERVICE_BUCKETS: u32 = 4_096;
/// Services in one bucket: two fill a cache line.
pub const BUCKET_SERVICES: usize = 2;
/// Service ids, and so services, that can exist at once; id 0 is none.
pub const SERVICES: u32 = 4_096;

/// Segments of ports of all addresses that have services of many ports.
pub const SEGMENTS: u32 = 16_384;
/// Segments that one address can have for one protocol.
pub const ADDRESS_SEGMENTS: usize = 1_023;
/// As many halvings find one of so many.
pub const SEGMENT_STEPS: usize = 10;

/// Server ids that can exist at once; id 0 is none.
pub const SERVERS: u32 = 65_536;

/// Flow words in one line of the flow table.
pub const FLOW_WAYS: usize = 8;
/// Words of the flow table by default; a power of two.
pub const FLOWS: u32 = 2 * 1024 * 1024;

/// Entries in one bucket of the NAT table.
pub const NAT_WAYS: usize = 4;
/// Slots of the table that finds a NAT source address; a power of two.
pub const POOL_SLOTS: u32 = 256;
/// NAT source addresses that can be used at once; well under the slots, so that probes stay short.
pub const POOL_ADDRESSES: u32 = 128;
/// How many slots of the pool table a lookup looks at.
pub const POOL_PROBES: u32 = 8;

/// Next hops towards clients that are remembered; a power of two.
pub const RETURN_HOPS: u32 = 4_096;
/// How many of them a lookup looks at.
pub const RETURN_HOP_PROBES: u32 = 4;

/// Denied and allowed prefixes that can exist at once.
pub const PREFIXES: u32 = 65_536;
/// How many of them commands may add.
pub const COMMANDED_PREFIXES: u32 = 16_384;
/// Lines of the table of sources' paces, eight in each.
pub const PACE_LINES: u32 = 16_384;

/// Clients whose next hop is remembered for replies of `dnat`; a power of two.
pub const CLIENT_HOPS: u32 = 65_536;

/// Slots of the table of interfaces, found by interface index; a power of two.
pub const LINKS: u32 = 256;

/// Places of the table of VLANs, two for each.
pub const VLANS: u32 = 8_192;

/// Least idle time in ticks before a confirmed flow may make room for another.
pub const IDLE_BEFORE_EVICTION: u16 = 30;
/// Idle time in ticks after which a flow no longer counts, and a confirmed NAT entry may be taken over: longer than most keep-alive probes are apart.
pub const FLOW_IDLE: u16 = 900;
/// Idle time in ticks after which a flow that has begun to close no longer counts; until then its other half may still be open.
pub const CLOSING_IDLE: u16 = 60;

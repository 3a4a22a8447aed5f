//! All maps, behind functions that hand out values and checked references; the only `unsafe` that concerns maps.
//!
//! l4d sets the real sizes when it loads the object (`limits` has the defaults). All arrays but the per-CPU ones are mapped into l4d's memory as well:
//! whatever both sides write is one aligned word.

use crate::{atomic, forward::direct::Work};
use aya_ebpf::{
    bindings::{BPF_F_CURRENT_CPU, bpf_fib_lookup},
    macros::map,
    maps::{
        Array, HashMap, PerCpuArray, ProgramArray,
        lpm_trie::{Key, LpmTrie},
        perf::PerfEventByteArray,
    },
    programs::XdpContext,
};
use xdp_common::{
    addr::Addr,
    flow::{FlowLine, FlowWord, RingLine, Slot},
    guard::{Pace, PaceLine, Ruling},
    limits,
    maps::Stage,
    nat::{Control, Entry, PoolSlot},
    reason::{REASONS as REASON_COUNT, Reason},
    server::{Counters, Hop, Load, Server},
    service::{Bucket, RangeService, Segment},
    settings::{Link, Settings},
    watch::{Event, Sighting, Watch},
};

/// The flag that lets l4d map an array into its memory.
const MMAPABLE: u32 = 1 << 10;

/// The flag of a table whose entries take memory only while they are there.
const ON_DEMAND: u32 = 1;

#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, MMAPABLE);
#[map]
static LINKS: Array<Link> = Array::pinned(limits::LINKS, MMAPABLE);
#[map]
static VLANS: HashMap<u32, Link> = HashMap::pinned(limits::VLANS, ON_DEMAND);
#[map]
static SERVICES: Array<Bucket> = Array::pinned(limits::SERVICE_BUCKETS, MMAPABLE);
#[map]
static RANGES: Array<RangeService> = Array::pinned(limits::SERVICES, MMAPABLE);
#[map]
static SEGMENTS: Array<u64> = Array::pinned(limits::SEGMENTS, MMAPABLE);
#[map]
static SERVICE_ADDRESSES: Array<Addr> = Array::pinned(limits::SERVICES, MMAPABLE);
#[map]
static SEGMENT_SIZES: Array<u64> = Array::pinned(limits::SERVICES, MMAPABLE);
#[map]
static CURSORS: Array<u64> = Array::pinned(limits::SERVICES, MMAPABLE);
#[map]
static RINGS: Array<RingLine> = Array::pinned(limits::RING_LINES, MMAPABLE);
#[map]
static SERVERS: Array<Server> = Array::pinned(limits::SERVERS, MMAPABLE);
#[map]
static SERVER_COUNTERS: PerCpuArray<Counters> = PerCpuArray::pinned(limits::SERVERS, 0);
#[map]
static FLOWS: Array<FlowLine> = Array::pinned(limits::FLOWS / limits::FLOW_WAYS as u32, MMAPABLE);
#[map]
static NAT: Array<[Entry; limits::NAT_WAYS]> = Array::pinned(1, MMAPABLE);
#[map]
static POOL: Array<PoolSlot> = Array::pinned(limits::POOL_SLOTS, MMAPABLE);
#[map]
static POOL_ADDRESSES: Array<Addr> = Array::pinned(limits::POOL_ADDRESSES, MMAPABLE);
#[map]
static RETURN_HOPS: Array<Hop> = Array::pinned(limits::RETURN_HOPS, MMAPABLE);
#[map]
static CLIENT_HOPS: Array<u64> = Array::pinned(limits::CLIENT_HOPS, MMAPABLE);
#[map]
static LOADS: Array<u64> = Array::pinned(limits::SERVERS, MMAPABLE);
#[map]
static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(REASON_COUNT, 0);

#[map]
static PREFIXES: LpmTrie<Addr, u64> = LpmTrie::pinned(limits::PREFIXES, 0);
#[map]
static PACES: Array<PaceLine> = Array::pinned(limits::PACE_LINES, MMAPABLE);

/// Programs by stage; l4d pins it once they run.
#[map]
static STAGES: ProgramArray = ProgramArray::with_max_entries(Stage::ALL.len() as u32, 0);

/// What one stage leaves to the next.
#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// A question to the routing table: too large for the stack of programs that are deep in calls.
#[map]
static QUESTION: PerCpuArray<bpf_fib_lookup> = PerCpuArray::with_max_entries(1, 0);

/// What is noted of the packet under way.
#[map]
static NOTES: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map]
static WATCH: Array<Watch> = Array::pinned(1, 0);
#[map]
static EVENTS: PerfEventByteArray = PerfEventByteArray::pinned(0);

/// What is seen of the watched packet under way.
#[map]
static SIGHTING: PerCpuArray<Sighting> = PerCpuArray::with_max_entries(1, 0);

/// The last jiffies seen on this CPU and the ticks they were.
#[map]
static CLOCK: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// Returns the ticks at some jiffies, asked for once per jiffy and CPU.
#[inline(always)]
pub(crate) fn ticks_at(jiffies: u64, ask: impl Fn() -> u64) -> u64 {
    let Some(clock) = CLOCK.get_ptr_mut(0) else { return ask() };
    // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
    let clock = unsafe { &mut *clock };
    if clock[0] != jiffies {
        *clock = [jiffies, ask()];
    }
    clock[1]
}

/// Goes on with another program; comes back only where that is missing.
#[inline(always)]
pub(crate) fn go_on(context: &XdpContext, stage: Stage) {
    // SAFETY: the context is the program's own; whatever this program holds ends with it.
    unsafe { STAGES.tail_call(context, stage as u32) };
}

/// Leaves what the next stage must know.
#[inline(always)]
pub(crate) fn leave(work: &Work) -> Option<()> {
    let place = WORK.get_ptr_mut(0)?;
    // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
    unsafe { *place = *work };
    Some(())
}

/// Returns what the stage before left.
#[inline(always)]
pub(crate) fn work() -> Option<&'static Work> {
    WORK.get(0)
}

/// Returns the settings.
#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// Returns an interface that takes part.
#[inline(always)]
pub(crate) fn link(interface: u32) -> Option<&'static Link> {
    LINKS.get(interface & (limits::LINKS - 1)).filter(|link| link.interface == interface)
}

/// Returns a VLAN by its lane, or the lane of a VLAN's device by its index.
#[inline(always)]
pub(crate) fn vlan(key: u32) -> Option<&'static Link> {
    // SAFETY: l4d writes a value once, whole, before anything leads to it.
    unsafe { VLANS.get(key) }
}

/// Returns one line of the service table.
#[inline(always)]
pub(crate) fn service_bucket(index: u32) -> Option<&'static Bucket> {
    SERVICES.get(index)
}

/// Returns a segment of ports.
#[inline(always)]
pub(crate) fn segment(index: u32) -> Option<Segment> {
    SEGMENTS.get(index).map(|word| Segment(*word))
}

/// Returns a service of many ports.
#[inline(always)]
pub(crate) fn range(service: u16) -> Option<&'static RangeService> {
    RANGES.get(u32::from(service))
}

/// Returns a service's address.
#[inline(always)]
pub(crate) fn service_address(service: u16) -> Option<&'static Addr> {
    SERVICE_ADDRESSES.get(u32::from(service))
}

/// Returns the longest segment that a service's connections may use; 0 is any.
#[inline(always)]
pub(crate) fn segment_size(service: u16) -> Option<u16> {
    SEGMENT_SIZES.get(u32::from(service)).map(|size| *size as u16)
}

/// Takes the next number of a service's round robin.
#[inline(always)]
pub(crate) fn next_turn(service: u16) -> Option<u64> {
    let cursor = CURSORS.get_ptr_mut(u32::from(service))?;
    // SAFETY: an element of an array map of aligned words, valid while the program runs.
    Some(unsafe { atomic::fetch_add(cursor, 1) })
}

/// Returns a slot of the rings.
#[inline(always)]
pub(crate) fn ring_slot(index: u32) -> Option<Slot> {
    let line = RINGS.get(index / limits::LINE_SLOTS as u32)?;
    Some(Slot::from_word(line[index as usize % limits::LINE_SLOTS]))
}

/// Returns a server.
#[inline(always)]
pub(crate) fn server(id: u16) -> Option<&'static Server> {
    SERVERS.get(u32::from(id))
}

/// Counts a packet to a server.
#[inline(always)]
pub(crate) fn count_server(id: u16, bytes: u64, flows: u64) {
    if let Some(counters) = SERVER_COUNTERS.get_ptr_mut(u32::from(id)) {
        // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
        let counters = unsafe { &mut *counters };
        counters.packets += 1;
        counters.bytes += bytes;
        counters.flows += flows;
    }
}

/// Counts a reason.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(counter) = REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
        unsafe { *counter += 1 };
    }
}

/// Returns the place for a question to the routing table.
#[inline(always)]
pub(crate) fn question() -> Option<&'static mut bpf_fib_lookup> {
    // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU, and one asks a question at a time.
    QUESTION.get_ptr_mut(0).map(|question| unsafe { &mut *question })
}

/// Returns what is noted of the packet under way on this CPU.
#[inline(always)]
pub(crate) fn notes() -> Option<u64> {
    NOTES.get(0).copied()
}

/// Notes something of the packet under way on this CPU.
#[inline(always)]
pub(crate) fn note(word: u64) {
    if let Some(notes) = NOTES.get_ptr_mut(0) {
        // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU.
        unsafe { *notes = word };
    }
}

/// Returns which packets are captured.
#[inline(always)]
pub(crate) fn watch() -> Option<&'static Watch> {
    WATCH.get(0)
}

/// Returns what is seen of the watched packet under way on this CPU.
#[inline(always)]
pub(crate) fn sighting() -> Option<&'static mut Sighting> {
    // SAFETY: this CPU's own copy; XDP programs do not interrupt each other on one CPU, and each asks once.
    SIGHTING.get_ptr_mut(0).map(|sighting| unsafe { &mut *sighting })
}

/// Shows a frame to whoever captures, up to so many of its bytes; nobody may be there any more.
#[inline(always)]
pub(crate) fn show(context: &XdpContext, event: &Event, bytes: u32) {
    EVENTS.output_at_index(context, BPF_F_CURRENT_CPU as u32, &event.bytes(), bytes);
}

/// A key of the prefixes whose address lies aligned on the stack, as the verifier wants it there.
#[repr(C, align(8))]
struct PrefixKey {
    spare: u32,
    length: u32,
    address: [u64; 2],
}

/// Returns the ruling of the longest prefix that holds an address.
#[inline(always)]
pub(crate) fn ruling(address: &Addr) -> Option<Ruling> {
    let key = PrefixKey { spare: 0, length: 128, address: address.words() };
    // SAFETY: `length` and `address` follow each other without padding, which is the packed layout of a key; `key` outlives the call.
    let key = unsafe { &*(&raw const key.length).cast::<Key<Addr>>() };
    PREFIXES.get(key).map(|word| Ruling::from_word(*word))
}

/// One line of sources' paces.
pub(crate) struct Paces(*mut PaceLine);

/// Returns the line at an index.
#[inline(always)]
pub(crate) fn pace_line(index: u32) -> Option<Paces> {
    PACES.get_ptr_mut(index).map(Paces)
}

impl Paces {
    /// Reads one of its words.
    #[inline(always)]
    pub(crate) fn read(&self, way: usize) -> Pace {
        // SAFETY: `way` is reduced to the line's size and the line is an element of the map.
        Pace(unsafe { self.word(way).read_volatile() })
    }

    /// Puts a word where another was; a lost race forgives one packet.
    #[inline(always)]
    pub(crate) fn exchange(&self, way: usize, old: Pace, new: Pace) {
        // SAFETY: as in `read`; paces are only ever exchanged whole.
        let _lost = unsafe { atomic::exchange(self.word(way), old.0, new.0) };
    }

    #[inline(always)]
    fn word(&self, way: usize) -> *mut u64 {
        self.0.cast::<u64>().wrapping_add(way & 7)
    }
}

/// One line of the flow table.
pub(crate) struct Line(*mut FlowLine);

/// Returns the line at an index.
#[inline(always)]
pub(crate) fn flow_line(index: u32) -> Option<Line> {
    FLOWS.get_ptr_mut(index).map(Line)
}

impl Line {
    /// Reads one of its words.
    #[inline(always)]
    pub(crate) fn read(&self, way: usize) -> FlowWord {
        // SAFETY: `way` is reduced to the line's size and the line is an element of the map.
        FlowWord::from_bits(unsafe { self.word(way).read_volatile() })
    }

    /// Puts a word where another was; lost races are lost, the next packet tries again.
    #[inline(always)]
    pub(crate) fn exchange(&self, way: usize, old: FlowWord, new: FlowWord) {
        // SAFETY: as in `read`; flow words are only ever exchanged whole.
        let _lost = unsafe { atomic::exchange(self.word(way), old.bits(), new.bits()) };
    }

    #[inline(always)]
    fn word(&self, way: usize) -> *mut u64 {
        self.0.cast::<u64>().wrapping_add(way & (limits::FLOW_WAYS - 1))
    }
}

/// One bucket of the NAT table.
#[derive(Clone, Copy)]
pub(crate) struct NatBucket(*mut [Entry; limits::NAT_WAYS]);

/// Returns the bucket at an index.
#[inline(always)]
pub(crate) fn nat_bucket(index: u32) -> Option<NatBucket> {
    NAT.get_ptr_mut(index).map(NatBucket)
}

impl NatBucket {
    /// Reads the control word of an entry.
    #[inline(always)]
    pub(crate) fn control(self, way: usize) -> Control {
        // SAFETY: the entry is within the bucket, the bucket an element of the map.
        let control = unsafe { &raw mut (*self.entry(way)).control };
        // SAFETY: as above.
        Control(unsafe { control.read_volatile() })
    }

    /// Reads whom an entry belongs to.
    #[inline(always)]
    pub(crate) fn entry_of(self, way: usize) -> Entry {
        // SAFETY: the entry is within the bucket, the bucket an element of the map; a torn read is caught by the control word.
        unsafe { self.entry(way).read_volatile() }
    }

    /// Names a claimed entry's owner.
    #[inline(always)]
    pub(crate) fn name(self, way: usize, client: Addr, name: u64) {
        let entry = self.entry(way);
        // SAFETY: in bounds as above; only the one who claimed the entry writes these words.
        let client_at = unsafe { &raw mut (*entry).client };
        // SAFETY: as above.
        unsafe { client_at.write_volatile(client) };
        // SAFETY: as above.
        let name_at = unsafe { &raw mut (*entry).name };
        // SAFETY: as above.
        unsafe { name_at.write_volatile(name) };
    }

    /// Puts a control word where another was, and tells whether it did.
    #[inline(always)]
    pub(crate) fn exchange(self, way: usize, old: Control, new: Control) -> bool {
        // SAFETY: in bounds as above.
        let control = unsafe { &raw mut (*self.entry(way)).control };
        // SAFETY: control words are only ever exchanged whole.
        unsafe { atomic::exchange(control, old.0, new.0) }
    }

    #[inline(always)]
    fn entry(self, way: usize) -> *mut Entry {
        self.0.cast::<Entry>().wrapping_add(way & (limits::NAT_WAYS - 1))
    }
}

/// Returns a place of the table that finds source addresses.
#[inline(always)]
pub(crate) fn pool_slot(index: u32) -> Option<&'static PoolSlot> {
    POOL.get(index & (limits::POOL_SLOTS - 1))
}

/// Returns a source address.
#[inline(always)]
pub(crate) fn pool_address(index: u32) -> Option<&'static Addr> {
    POOL_ADDRESSES.get(index)
}

/// Returns which next hop was noted for a client, with the tag it was noted under.
#[inline(always)]
pub(crate) fn client_hop(index: u32) -> Option<u64> {
    CLIENT_HOPS.get(index & (limits::CLIENT_HOPS - 1)).copied()
}

/// Notes which next hop is a client's; what is noted already is not written.
#[inline(always)]
pub(crate) fn note_client_hop(index: u32, word: u64) {
    if let Some(place) = CLIENT_HOPS.get_ptr_mut(index & (limits::CLIENT_HOPS - 1)) {
        // SAFETY: one aligned word of the map.
        if unsafe { place.read_volatile() } != word {
            // SAFETY: as above; whoever writes last is as right as who wrote first.
            unsafe { place.write_volatile(word) };
        }
    }
}

/// Returns a server's load.
#[inline(always)]
pub(crate) fn load(id: u16) -> Load {
    Load(LOADS.get(u32::from(id)).copied().unwrap_or(0))
}

/// Adds a flow to a server's load, until l4d has counted again.
#[inline(always)]
pub(crate) fn add_load(id: u16) {
    if let Some(load) = LOADS.get_ptr_mut(u32::from(id)) {
        // SAFETY: an element of an array map of aligned words, valid while the program runs.
        let _before = unsafe { atomic::fetch_add(load, 1) };
    }
}

/// Returns a next hop towards clients.
#[inline(always)]
pub(crate) fn return_hop(index: u32) -> Option<&'static Hop> {
    RETURN_HOPS.get(index & (limits::RETURN_HOPS - 1))
}

/// Takes a free place for a next hop and fills it; false when another was quicker.
#[inline(always)]
pub(crate) fn put_return_hop(index: u32, hop: &Hop) -> bool {
    let Some(place) = RETURN_HOPS.get_ptr_mut(index & (limits::RETURN_HOPS - 1)) else { return false };
    let words = place.cast::<u64>();
    // SAFETY: a hop is two aligned words of the map; the first decides who fills the second.
    if !unsafe { atomic::exchange(words, 0, hop.first) } {
        return false;
    }
    // SAFETY: within the hop.
    let rest = unsafe { words.add(1) };
    // SAFETY: one aligned word; until it is written readers see interface 0, which is "not known".
    unsafe { rest.write_volatile(u64::from(hop.second) | u64::from(hop.interface) << 32) };
    true
}

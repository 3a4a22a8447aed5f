//! The maps, opened by their pins: what the daemon writes and reads, word by word in mapped memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release},
    },
};

use aya::maps::{
    HashMap, Map, MapData, MapError, PerCpuArray,
    lpm_trie::{Key, LpmTrie},
};
use tracing::warn;
use xdp_common::{
    addr::Addr,
    flow::{FlowWord, HashKey, ServerId, Slot},
    guard::{Guard, Rule},
    lane::Lane,
    limits::{ABI_VERSION, BUCKET_SERVICES, FLOW_WAYS, LINKS, SERVERS},
    maps,
    nat::{Control, Entry},
    reason::Reason,
    server::{Counters, Load, Server},
    service::{Bucket, RangeService, Segment, Service},
    settings::{Link, Settings},
};

use super::{
    Error, Interface, Pins, Rings, Setup, chain,
    memory::{Access, Memory},
};
use crate::{
    plan::WantedGuard,
    tables::{Contents, Counts, MapOp, Tables},
};

/// Which half word of the settings has the counts.
const COUNTS: usize = 7;
/// Which has the features.
const FEATURES: usize = 14;
/// Words of one service.
const SERVICE_WORDS: usize = 4;
/// Words of one service of many ports.
const RANGE_WORDS: usize = 5;
/// Words of one server.
const SERVER_WORDS: usize = 8;
/// Words of one NAT entry.
const ENTRY_WORDS: usize = 4;

/// What all CPUs together have sent to a server.
pub type ServerCounters = Counters;

/// All maps of a data plane.
pub struct Maps {
    pin: std::path::PathBuf,
    settings: Memory,
    links: Memory,
    services: Memory,
    ranges: Memory,
    segments: Memory,
    loads: Memory,
    addresses: Memory,
    segment_sizes: Memory,
    rings: Memory,
    servers: Memory,
    flows: Memory,
    nat: Memory,
    pool: Memory,
    pool_addresses: Memory,
    counters: PerCpuArray<MapData, Counters>,
    reasons: PerCpuArray<MapData, u64>,
    /// Behind a lock for the same reason as the prefixes.
    vlans: Mutex<HashMap<MapData, u32, Link>>,
    /// Behind a lock because a change of it is a call that wants it alone; nothing else waits for it.
    prefixes: Mutex<LpmTrie<MapData, Addr, u64>>,
}

impl Maps {
    /// Opens the maps of a directory this daemon has locked.
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Self::with_access(pins.path(), Access::Write)
    }

    /// Opens the maps of a running data plane for reading.
    ///
    /// # Errors
    /// Maps that are missing or of another make.
    pub fn watch(path: &std::path::Path) -> Result<Self, Error> {
        Self::with_access(path, Access::Read)
    }

    fn with_access(path: &std::path::Path, access: Access) -> Result<Self, Error> {
        Self::check_layout(path)?;
        let array = |name, size| memory(path, name, size, access);
        let opened = Self {
            pin: path.to_owned(),
            settings: array(maps::SETTINGS, size_of::<Settings>())?,
            links: array(maps::LINKS, size_of::<Link>())?,
            services: array(maps::SERVICES, size_of::<Bucket>())?,
            ranges: array(maps::RANGES, size_of::<RangeService>())?,
            segments: array(maps::SEGMENTS, size_of::<Segment>())?,
            loads: array(maps::LOADS, size_of::<Load>())?,
            addresses: array(maps::SERVICE_ADDRESSES, size_of::<Addr>())?,
            segment_sizes: array(maps::SEGMENT_SIZES, size_of::<u64>())?,
            rings: array(maps::RINGS, size_of::<xdp_common::flow::RingLine>())?,
            servers: array(maps::SERVERS, size_of::<Server>())?,
            flows: array(maps::FLOWS, size_of::<xdp_common::flow::FlowLine>())?,
            nat: array(maps::NAT, size_of::<[Entry; xdp_common::limits::NAT_WAYS]>())?,
            pool: array(maps::POOL, size_of::<xdp_common::nat::PoolSlot>())?,
            pool_addresses: array(maps::POOL_ADDRESSES, size_of::<Addr>())?,
            counters: per_cpu(path, maps::SERVER_COUNTERS)?,
            reasons: per_cpu(path, maps::REASONS)?,
            vlans: Mutex::new(vlans(path)?),
            prefixes: Mutex::new(prefixes(path)?),
        };
        // A version of 0 is a map that has just been made.
        if opened.settings().abi_version == 0 && access == Access::Read {
            return Err(Error::Layout { pin: path.to_owned(), found: 0 });
        }
        Ok(opened)
    }

    /// Refuses maps whose layout is another than ours; before anything is loaded that would read them by ours.
    pub(super) fn check_layout(path: &std::path::Path) -> Result<(), Error> {
        let pin = path.join(maps::SETTINGS);
        if !pin.exists() {
            return Ok(());
        }
        let failed = |error: String| Error::Map(maps::SETTINGS, error);
        let map = MapData::from_pin(&pin).map_err(|error| failed(chain(&error)))?;
        let info = map.info().map_err(|error| failed(chain(&error)))?;
        let words = Memory::map(map.fd(), info.max_entries(), info.value_size(), Access::Read).map_err(|error| failed(chain(&error)))?;
        // The version is the first field of every layout.
        let found = words.words().first().map_or(0, |word| word.load(Relaxed) as u32);
        // Settings that were never written belong to a start that failed.
        let same = found == ABI_VERSION || found == 0 && info.value_size() as usize == size_of::<Settings>();
        if same { Ok(()) } else { Err(Error::Layout { pin: path.to_owned(), found }) }
    }

    /// Writes the settings into new maps, or makes sure that adopted ones were made with the same; interfaces are noted in either case.
    pub(super) fn configure(&self, setup: &Setup) -> Result<(), Error> {
        let present = self.settings();
        let fresh = present.abi_version == 0;
        let key = match setup.hash_key {
            Some(key) => hash_key(key),
            None if fresh => HashKey([random_word()?, random_word()?]),
            None => present.key,
        };
        let (v4, v6) = setup.pool.buckets();
        let wanted = Settings {
            abi_version: ABI_VERSION,
            flow_lines: setup.flows / FLOW_WAYS as u32,
            key,
            nat_first_port: setup.pool.ports().first,
            nat_ports_shift: setup.pool.ports().shift as u16,
            ranges: present.ranges,
            returns: present.returns,
            nat_buckets_v4: v4,
            nat_buckets_v6: v6,
            guard: present.guard,
            features: present.features,
        };
        if fresh {
            self.write_pool(setup, &key)?;
            self.write_settings(&wanted);
        } else {
            self.compare(setup, &present, &wanted)?;
        }
        self.write_links(&setup.interfaces)
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> Settings {
        let words: Vec<u64> = self.settings.words().iter().map(|word| word.load(Relaxed)).collect();
        let halves = |word: u64| (word as u32, (word >> 32) as u32);
        let quarters = |word: u64| [0, 16, 32, 48].map(|shift| (word >> shift) as u16);
        let (abi_version, flow_lines) = halves(words[0]);
        let [nat_first_port, nat_ports_shift, ranges, returns] = quarters(words[3]);
        let (nat_buckets_v4, nat_buckets_v6) = halves(words[4]);
        let key = HashKey([words[1], words[2]]);
        let guard = Guard::from_words([words[5], words[6]]);
        Settings {
            abi_version,
            flow_lines,
            key,
            nat_first_port,
            nat_ports_shift,
            ranges,
            returns,
            nat_buckets_v4,
            nat_buckets_v6,
            guard,
            features: words[7],
        }
    }

    fn write_settings(&self, settings: &Settings) {
        let words = [
            join(settings.abi_version, settings.flow_lines),
            settings.key.0[0],
            settings.key.0[1],
            join(
                u32::from(settings.nat_first_port) | u32::from(settings.nat_ports_shift) << 16,
                u32::from(settings.ranges) | u32::from(settings.returns) << 16,
            ),
            join(settings.nat_buckets_v4, settings.nat_buckets_v6),
        ];
        store(self.settings.words(), 0, &words);
    }

    fn write_pool(&self, setup: &Setup, key: &HashKey) -> Result<(), Error> {
        let table = setup.pool.table(key).map_err(|error| Error::Map(maps::POOL, error.to_string()))?;
        for (at, slot) in table.iter().enumerate() {
            let [high, low] = slot.address.words();
            store(self.pool.words(), at * 3, &[high, low, u64::from(slot.index)]);
        }
        for (at, address) in setup.pool.addresses().enumerate() {
            store(self.pool_addresses.words(), at * 2, &Addr::from(address).words());
        }
        Ok(())
    }

    fn compare(&self, setup: &Setup, present: &Settings, wanted: &Settings) -> Result<(), Error> {
        let pool: Vec<IpAddr> = pairs(self.pool_addresses.words()).map(|words| Addr::from_words(words).into()).collect();
        let slots = self.rings.halves().len() as u32;
        let same_pool = setup.pool.addresses().zip(pool).all(|(wanted, present)| wanted == present);
        let difference = if present.flow_lines != wanted.flow_lines {
            let words = |settings: &Settings| settings.flow_lines * FLOW_WAYS as u32;
            format!("flows = {} instead of {}", words(present), words(wanted))
        } else if matches!(setup.rings, Rings::Exactly(wanted) if wanted != slots) {
            format!("rings = {} instead of {slots}", setup.rings.of_new())
        } else if present.key != wanted.key {
            "another hash-key".to_owned()
        } else if !same_pool || present != wanted {
            "other source-addresses or source-ports".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Settings { pin: self.pin.clone(), difference })
    }

    fn write_links(&self, interfaces: &[Interface]) -> Result<(), Error> {
        let mut places: BTreeMap<u32, &Interface> = BTreeMap::new();
        for interface in interfaces {
            if let Some(other) = places.insert(interface.index % LINKS, interface) {
                return Err(Error::Links(other.name.clone(), interface.name.clone()));
            }
        }
        for place in 0..LINKS {
            let link = places.get(&place).map_or_else(Link::default, |interface| Link::new(interface.address, interface.index));
            store(self.links.words(), place as usize * 2, &[link.address, u64::from(link.interface)]);
        }
        Ok(())
    }

    /// Reads back services, servers and rings.
    pub fn tables(&self) -> Tables {
        let places = self.services.words().chunks_exact(SERVICE_WORDS).map(|words| {
            let [high, low, head, ring] = load(words);
            Service { address: Addr::from_words([high, low]), head, ring }
        });
        let places: Vec<Service> = places.collect();
        let buckets = places.chunks_exact(BUCKET_SERVICES).map(|pair| Bucket([pair[0], pair[1]])).collect();
        let servers = self.servers.words().chunks_exact(SERVER_WORDS).map(|words| Server::from_words(load(words)));
        let servers = servers.enumerate().filter(|(_, server)| server.service != 0).map(|(id, server)| (id as u16, server)).collect();
        let slots = self.rings.halves();
        let slot = |index: u32| Slot::from_word(slots.get(index as usize).map_or(0, |slot| slot.load(Relaxed)));
        let ranges = self.ranges.words().chunks_exact(RANGE_WORDS).map(|words| {
            let [high, low, head, ring, last] = load(words);
            RangeService { service: Service { address: Addr::from_words([high, low]), head, ring }, last }
        });
        let ranges = (0..).zip(ranges).filter(|(_, range)| range.service.is_taken()).collect();
        let segments = self.segments.words().iter().map(|word| Segment(word.load(Relaxed))).collect();
        let contents = Contents { buckets, ranges, segments, servers };
        let settings = self.settings();
        Tables::read(settings.key, slots.len() as u32, contents, slot)
            .with_guard(self.guard())
            .with_counts(Counts { ranges: settings.ranges.into(), returns: settings.returns.into() })
            .with_segment_sizes(self.held_segment_sizes())
            .with_features(self.held_vlans(), settings.features as u32)
    }

    /// Reads back the guard.
    fn guard(&self) -> WantedGuard {
        let Guard { connections, packets, .. } = self.settings().guard;
        let held = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let prefixes = held.iter().filter_map(Result::ok).map(|(key, word)| {
            let length = key.prefix_len() as u8;
            ((IpAddr::from(key.data()), length), Rule::from_word(word))
        });
        WantedGuard { prefixes: prefixes.collect(), connections, packets }
    }

    /// Reads back the longest segments of services.
    fn held_segment_sizes(&self) -> BTreeMap<u16, u16> {
        let sizes = (0..).zip(self.segment_sizes.words()).map(|(service, size)| (service, size.load(Relaxed) as u16));
        sizes.filter(|(_, size)| *size != 0).collect()
    }

    /// Reads back the VLANs.
    fn held_vlans(&self) -> BTreeMap<u32, Link> {
        self.vlans.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Result::ok).collect()
    }

    /// Writes or removes a VLAN.
    fn set_vlan(&self, key: u32, link: Option<&Link>) {
        let mut held = self.vlans.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match link {
            Some(link) => held.insert(key, link, 0),
            None => held.remove(&key),
        };
        if let Err(error) = done {
            let lane = Lane(key);
            warn!("VLAN {} of interface {}: {}", lane.vlan(), lane.interface(), chain(&error));
        }
    }

    /// Writes or removes a prefix.
    fn set_prefix(&self, address: IpAddr, length: u8, rule: Option<Rule>) {
        let key = Key::new(length.into(), Addr::from(address));
        let mut held = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match rule {
            Some(rule) => held.insert(&key, rule.word(), 0),
            None => held.remove(&key),
        };
        if let Err(error) = done {
            warn!("prefix {address}/{length} of the guard: {}", chain(&error));
        }
    }

    /// Carries out one operation.
    pub(super) fn apply(&self, op: &MapOp) {
        match op {
            MapOp::Server { id, server } => store(self.servers.words(), usize::from(*id) * SERVER_WORDS, &server.to_words()),
            MapOp::Slots { first, slots } => {
                let places = self.rings.halves().get(*first as usize..).unwrap_or_default();
                places.iter().zip(slots).for_each(|(place, slot)| place.store(slot.word(), Release));
            }
            MapOp::Address { service, address } => {
                store(self.addresses.words(), usize::from(*service) * 2, &Addr::from(*address).words());
            }
            MapOp::Service { bucket, way, service } => {
                let first = (*bucket as usize * BUCKET_SERVICES + way) * SERVICE_WORDS;
                write_service(&self.services.words()[first..first + SERVICE_WORDS], service.as_ref());
            }
            MapOp::Range { id, service } => {
                let first = usize::from(*id) * RANGE_WORDS;
                let words = &self.ranges.words()[first..first + RANGE_WORDS];
                words[4].store(service.map_or(0, |range| range.last), Release);
                write_service(words, service.as_ref().map(|range| &range.service));
            }
            MapOp::Segments { first, segments } => {
                let places = self.segments.words().get(*first as usize..).unwrap_or_default();
                places.iter().zip(segments).for_each(|(place, segment)| place.store(segment.0, Release));
            }
            MapOp::Counts(counts) => {
                let [ranges, returns] = [counts.ranges, counts.returns].map(|count| count.min(u16::MAX.into()));
                self.settings.halves()[COUNTS].store(ranges | returns << 16, Release);
            }
            MapOp::SegmentSize { service, size } => {
                store(self.segment_sizes.words(), usize::from(*service), &[u64::from(*size)]);
            }
            MapOp::Vlan { key, link } => self.set_vlan(*key, link.as_ref()),
            MapOp::Features(features) => self.settings.halves()[FEATURES].store(*features, Release),
            MapOp::Prefix { address, length, rule } => self.set_prefix(*address, *length, *rule),
            MapOp::Guard(guard) => store(self.settings.words(), 5, &guard.words()),
            MapOp::Forget { servers } => self.forget(servers),
        }
    }

    /// Tells the data plane how much a server has to do.
    pub fn set_load(&self, id: u16, load: Load) {
        if let Some(word) = self.loads.words().get(usize::from(id)) {
            // A flow that begins meanwhile is counted the next time.
            word.store(load.0, Release);
        }
    }

    /// Empties all flow words and NAT entries of servers.
    fn forget(&self, servers: &BTreeSet<u16>) {
        let gone = |server: ServerId| servers.contains(&server.0);
        for place in self.flows.words() {
            let word = place.load(Relaxed);
            if gone(FlowWord::from_bits(word).server()) {
                // Lost to a packet that renewed it: that packet found the server unusable and gave the place to another.
                let _lost = place.compare_exchange(word, 0, Relaxed, Relaxed);
            }
        }
        for entry in self.nat.words().chunks_exact(ENTRY_WORDS) {
            let control = entry[3].load(Relaxed);
            if gone(Control(control).server()) {
                let _lost = entry[3].compare_exchange(control, 0, Relaxed, Relaxed);
            }
        }
    }

    /// Returns what one line of the flow table remembers under a fingerprint.
    pub fn flow_word(&self, line: u32, fingerprint: u32) -> Option<FlowWord> {
        let words = self.flows.words().get(line as usize * FLOW_WAYS..)?;
        words.iter().take(FLOW_WAYS).map(|word| FlowWord::from_bits(word.load(Relaxed))).find(|word| word.is(fingerprint))
    }

    /// Returns all remembered flows of the flow table.
    pub fn flow_words(&self) -> impl Iterator<Item = FlowWord> + '_ {
        self.flows.words().iter().map(|word| FlowWord::from_bits(word.load(Relaxed))).filter(|word| !word.is_empty())
    }

    /// Returns all flows of the NAT table with their indices.
    pub fn nat_entries(&self) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let entries = self.nat.words().chunks_exact(ENTRY_WORDS).map(|words| {
            let [high, low, name, control] = load(words);
            Entry { client: Addr::from_words([high, low]), name, control }
        });
        entries.enumerate().map(|(index, entry)| (index as u32, entry)).filter(|(_, entry)| Control(entry.control).is_live())
    }

    /// Returns a server's counters over all CPUs.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn server_counters(&self, id: u16) -> Result<ServerCounters, Error> {
        debug_assert!(u32::from(id) < SERVERS);
        let per_cpu = self.counters.get(&u32::from(id), 0).map_err(|error| Error::Map(maps::SERVER_COUNTERS, chain(&error)))?;
        Ok(per_cpu.iter().fold(Counters::default(), |sum, cpu| Counters {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
            flows: sum.flows + cpu.flows,
        }))
    }

    /// Returns the source addresses of full NAT by their indices.
    pub fn source_addresses(&self) -> Vec<IpAddr> {
        pairs(self.pool_addresses.words()).map(|words| Addr::from_words(words).into()).collect()
    }

    /// Returns what became of packets, by reason.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn reasons(&self) -> Result<Vec<(Reason, u64)>, Error> {
        let counts = Reason::ALL.iter().map(|reason| {
            let per_cpu = self.reasons.get(&(*reason as u32), 0).map_err(|error| Error::Map(maps::REASONS, chain(&error)))?;
            Ok((*reason, per_cpu.iter().sum()))
        });
        counts.collect()
    }
}

pub(super) fn memory(path: &std::path::Path, name: &'static str, size: usize, access: Access) -> Result<Memory, Error> {
    let failed = |error: String| Error::Map(name, error);
    let map = MapData::from_pin(path.join(name)).map_err(|error| failed(chain(&error)))?;
    let info = map.info().map_err(|error| failed(chain(&error)))?;
    if info.value_size() as usize != size {
        return Err(failed(format!("its values have {} bytes, this l4d expects {size}", info.value_size())));
    }
    Memory::map(map.fd(), info.max_entries(), info.value_size(), access).map_err(|error| failed(chain(&error)))
}

fn per_cpu<T: aya::Pod>(path: &std::path::Path, name: &'static str) -> Result<PerCpuArray<MapData, T>, Error> {
    let failed = |error: MapError| Error::Map(name, chain(&error));
    let map = MapData::from_pin(path.join(name)).map_err(failed)?;
    PerCpuArray::try_from(Map::PerCpuArray(map)).map_err(failed)
}

fn vlans(path: &std::path::Path) -> Result<HashMap<MapData, u32, Link>, Error> {
    let failed = |error: MapError| Error::Map(maps::VLANS, chain(&error));
    let map = MapData::from_pin(path.join(maps::VLANS)).map_err(failed)?;
    HashMap::try_from(Map::HashMap(map)).map_err(failed)
}

fn prefixes(path: &std::path::Path) -> Result<LpmTrie<MapData, Addr, u64>, Error> {
    let failed = |error: MapError| Error::Map(maps::PREFIXES, chain(&error));
    let map = MapData::from_pin(path.join(maps::PREFIXES)).map_err(failed)?;
    LpmTrie::try_from(Map::LpmTrie(map)).map_err(failed)
}

/// Writes an entry of a service; none clears it.
fn write_service(words: &[AtomicU64], service: Option<&Service>) {
    let Some(service) = service else { return words[2].store(0, Release) };
    let [high, low] = service.address.words();
    // The head names the service: with it last, nobody finds half of one.
    for (place, word) in [(0, high), (1, low), (3, service.ring), (2, service.head)] {
        words[place].store(word, Release);
    }
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn store(words: &[AtomicU64], first: usize, values: &[u64]) {
    words[first..first + values.len()].iter().zip(values).for_each(|(word, value)| word.store(*value, Release));
}

fn load<const N: usize>(words: &[AtomicU64]) -> [u64; N] {
    std::array::from_fn(|index| words[index].load(Relaxed))
}

fn pairs(words: &[AtomicU64]) -> impl Iterator<Item = [u64; 2]> + '_ {
    words.chunks_exact(2).map(load)
}

/// Reads a configured key: sixteen bytes, the first of them the most significant.
fn hash_key(bytes: [u8; 16]) -> HashKey {
    let whole = u128::from_be_bytes(bytes);
    HashKey([(whole >> 64) as u64, whole as u64])
}

fn random_word() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| std::io::Read::read_exact(&mut source, &mut bytes));
    read.map_err(|error| Error::Map(maps::SETTINGS, format!("no random hash key: {error}")))?;
    Ok(u64::from_ne_bytes(bytes))
}

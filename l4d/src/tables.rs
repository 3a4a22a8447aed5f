//! What the maps hold: services, servers and rings with the ids and places they were given. The daemon's copy, changed by the same [`MapOp`]s as the maps.
//!
//! It is read back from the maps when l4d starts on pinned ones, so ids, and with them established flows, outlive the daemon. Whether what is here
//! is what should be is the business of [`sync`](crate::sync).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use xdp_common::{
    addr::Port,
    flow::{HashKey, Slot, TCP, UDP},
    guard::{Guard, Rule},
    limits::{ADDRESS_SEGMENTS, BUCKET_SERVICES, SEGMENTS, SEQUENCE_SLOTS, SERVERS, SERVICE_BUCKETS, SERVICES},
    server::Server,
    service::{
        Bucket, Choice, Forward, Head, OnDead, OnNone, RangeService, Segment, Service, Tracking, buckets, listened, ranged, returned,
    },
    settings::Link,
    wire::{ICMP, ICMPV6},
};

use crate::plan::{ServiceKey, WantedGuard, WantedService};

/// One change of the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapOp {
    /// Writes a server.
    Server {
        /// Its id.
        id: u16,
        /// The whole entry; all zero frees the id.
        server: Server,
    },
    /// Writes a run of ring slots.
    Slots {
        /// The first of them.
        first: u32,
        /// Their values.
        slots: Vec<Slot>,
    },
    /// Notes a service's address for replies.
    Address {
        /// The service's id.
        service: u16,
        /// Its address.
        address: IpAddr,
    },
    /// Writes a service; none frees the place.
    Service {
        /// Its bucket.
        bucket: u32,
        /// Its place there.
        way: usize,
        /// The entry.
        service: Option<Service>,
    },
    /// Writes a service of many ports; none frees its id.
    Range {
        /// Its id.
        id: u16,
        /// The entry.
        service: Option<RangeService>,
    },
    /// Writes a run of segments.
    Segments {
        /// The first of them.
        first: u32,
        /// Their values.
        segments: Vec<Segment>,
    },
    /// Writes what there is to look for besides services of one port.
    Counts(Counts),
    /// Writes a prefix of the guard; none removes it.
    Prefix {
        /// Its first address.
        address: IpAddr,
        /// Its length; IPv4 is mapped.
        length: u8,
        /// What is done with its packets.
        rule: Option<Rule>,
    },
    /// Writes the rates of the guard and how many prefixes there are.
    Guard(Guard),
    /// Writes a VLAN, or the lane of a VLAN's device; none removes it.
    Vlan {
        /// The lane, or the index of the device.
        key: u32,
        /// What stands there.
        link: Option<Link>,
    },
    /// Writes the longest segment of a service; 0 is any.
    SegmentSize {
        /// Its id.
        service: u16,
        /// Bytes.
        size: u16,
    },
    /// Writes which features are in use.
    Features(u32),
    /// Forgets all flows of servers that are gone, before their ids are given out again.
    Forget {
        /// Their ids.
        servers: BTreeSet<u16>,
    },
}

/// What there is to look for besides services of one port; none of a kind saves packets the search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Addresses that have services of many ports.
    pub ranges: u32,
    /// Servers whose replies are translated.
    pub returns: u32,
}

/// What names a server within its service: equal addresses in one backend are told apart by their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerKey {
    pub(crate) socket: SocketAddr,
    pub(crate) occurrence: u16,
}

impl ServerKey {
    /// Returns what the hash ring knows the server by: the same on every node.
    pub(crate) fn name(&self) -> String {
        format!("{}#{}", self.socket, self.occurrence)
    }
}

/// Where the entry of a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a bucket of the service table.
    Bucket(u32, usize),
    /// Among the services of many ports, by its id.
    ById,
}

/// What leads from an address to its services of many ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    bucket: u32,
    way: usize,
    /// The first of its segments in the map.
    first: u32,
    pub(crate) segments: Vec<Segment>,
}

/// What was read of the maps of services and servers.
#[derive(Debug)]
pub struct Contents {
    /// The service table.
    pub buckets: Vec<Bucket>,
    /// Services of many ports by id.
    pub ranges: BTreeMap<u16, RangeService>,
    /// Segments, all of the map.
    pub segments: Vec<Segment>,
    /// Servers by id.
    pub servers: BTreeMap<u16, Server>,
}

/// A service in the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) head: Head,
    pub(crate) place: Place,
    /// First slot of its region in the ring map, and how many slots the region has.
    pub(crate) region: (u32, u32),
    /// The slots in use.
    pub(crate) slots: Vec<Slot>,
    pub(crate) servers: BTreeMap<ServerKey, u16>,
    /// What it was last brought to; none after it was read back.
    pub(crate) brought_to: Option<Arc<WantedService>>,
}

impl Held {
    /// Returns the operation that writes its entry, or takes it away.
    pub(crate) fn write(&self, key: &ServiceKey, service: Option<Service>) -> MapOp {
        match self.place {
            Place::Bucket(bucket, way) => MapOp::Service { bucket, way, service },
            Place::ById => {
                let service = service.map(|service| RangeService { service, last: key.last.into() });
                MapOp::Range { id: self.head.id, service }
            }
        }
    }
}

/// What the maps hold.
#[derive(Debug)]
pub struct Tables {
    key: HashKey,
    buckets: Vec<Bucket>,
    by_id: BTreeMap<u16, RangeService>,
    /// By address and protocol.
    pub(crate) directories: BTreeMap<(IpAddr, u8), Directory>,
    /// Entries that are no services, by socket and protocol: for replies of servers behind `dnat`, and for listeners of the host. And where they stand.
    pub(crate) entries: BTreeMap<(SocketAddr, u8), (u32, usize)>,
    /// How many of both the data plane knows of.
    pub(crate) counts: Counts,
    pub(crate) services: BTreeMap<ServiceKey, Held>,
    pub(crate) servers: BTreeMap<u16, Server>,
    /// Addresses that answer echo requests, and where that is noted.
    pub(crate) echoes: BTreeMap<IpAddr, (u32, usize)>,
    /// The longest segments of services that have one, by id.
    pub(crate) segment_sizes: BTreeMap<u16, u16>,
    /// VLANs by lane, and the lanes of their devices by index.
    pub(crate) vlans: BTreeMap<u32, Link>,
    /// The features that the data plane knows to be in use.
    pub(crate) features: u32,
    /// The guard, whose prefixes are those of the map.
    pub(crate) guard: WantedGuard,
    ring_capacity: u32,
    last_server: u16,
    last_service: u16,
}

/// Why something found no place in the maps.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Full {
    /// No service id or no bucket is free.
    #[error("more than {SERVICES} services, or too many that hash alike; no room for {0}")]
    Services(SocketAddr),
    /// No server id is free.
    #[error("more than {SERVERS} servers over all services; no room for {0}")]
    Servers(SocketAddr),
    /// No room for the ports of an address.
    #[error(
        "ranges of ports of all addresses make more than {SEGMENTS} pieces, or those of one more than {ADDRESS_SEGMENTS}; no room for {0}"
    )]
    Segments(IpAddr),
    /// No room in the ring map.
    #[error(
        "the rings of all services take more than {capacity} slots; no room for {service}: more `rings` in [xdp], or a shorter `ring` of a frontend"
    )]
    Rings {
        /// All slots.
        capacity: u32,
        /// The service without a ring.
        service: SocketAddr,
    },
}

impl Tables {
    /// Describes empty maps.
    pub fn empty(key: HashKey, ring_capacity: u32) -> Self {
        Self {
            key,
            buckets: vec![Bucket::default(); SERVICE_BUCKETS as usize],
            by_id: BTreeMap::new(),
            directories: BTreeMap::new(),
            entries: BTreeMap::new(),
            counts: Counts::default(),
            services: BTreeMap::new(),
            servers: BTreeMap::new(),
            echoes: BTreeMap::new(),
            segment_sizes: BTreeMap::new(),
            vlans: BTreeMap::new(),
            features: 0,
            guard: WantedGuard::default(),
            ring_capacity,
            last_server: 0,
            last_service: 0,
        }
    }

    /// Reads back what maps hold.
    pub fn read(key: HashKey, ring_capacity: u32, contents: Contents, slot: impl Fn(u32) -> Slot) -> Self {
        let Contents { buckets, ranges, segments, servers } = contents;
        let mut tables = Self { buckets, by_id: ranges, servers, ..Self::empty(key, ring_capacity) };
        let mut taken: Vec<(Service, u16, Place)> = Vec::new();
        for (index, bucket) in (0..).zip(&tables.buckets) {
            for (way, service) in bucket.0.iter().enumerate().filter(|(_, service)| service.is_taken()) {
                let head = service.parts();
                let address: IpAddr = service.address.into();
                if head.protocol == ICMP || head.protocol == ICMPV6 {
                    tables.echoes.insert(address, (index, way));
                } else if let Some(protocol) = [TCP, UDP].into_iter().find(|protocol| ranged(*protocol) == head.protocol) {
                    let (first, count) = service.ring();
                    let segments = segments.iter().skip(first as usize).take(count as usize).copied().collect();
                    tables.directories.insert((address, protocol), Directory { bucket: index, way, first, segments });
                } else if [returned(TCP), returned(UDP), listened(TCP)].contains(&head.protocol) {
                    tables.entries.insert((SocketAddr::new(address, head.port.number()), head.protocol), (index, way));
                } else {
                    taken.push((*service, head.port.number(), Place::Bucket(index, way)));
                }
            }
        }
        taken.extend(tables.by_id.values().map(|range| (range.service, range.last as u16, Place::ById)));
        let keys = keys_by_service(&tables.servers);
        for (service, last, place) in taken {
            let head = service.parts();
            let (first, count) = service.ring();
            let held = Held {
                head,
                place,
                // A hash ring is in use as a whole.
                region: (first, region_size(head.choice, count)),
                slots: (first..first.saturating_add(count).min(ring_capacity)).map(&slot).collect(),
                servers: keys.get(&head.id).cloned().unwrap_or_default(),
                brought_to: None,
            };
            let socket = SocketAddr::new(service.address.into(), head.port.number());
            tables.services.insert(ServiceKey { socket, last, protocol: head.protocol }, held);
        }
        tables
    }

    /// Returns these tables with the guard that maps hold.
    #[must_use]
    pub fn with_guard(self, guard: WantedGuard) -> Self {
        Self { guard, ..self }
    }

    /// Returns these tables with what the data plane knows there is to look for.
    #[must_use]
    pub fn with_counts(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// Returns these tables with the VLANs that maps hold and the features that are in use.
    #[must_use]
    pub fn with_features(self, vlans: BTreeMap<u32, Link>, features: u32) -> Self {
        Self { vlans, features, ..self }
    }

    /// Returns these tables with the longest segments that maps hold.
    #[must_use]
    pub fn with_segment_sizes(self, segment_sizes: BTreeMap<u16, u16>) -> Self {
        Self { segment_sizes, ..self }
    }

    /// Carries out an operation.
    pub fn apply(&mut self, op: &MapOp) {
        match op {
            MapOp::Server { id, server } if *server == Server::default() => {
                self.servers.remove(id);
            }
            MapOp::Server { id, server } => {
                self.servers.insert(*id, *server);
            }
            MapOp::Service { bucket, way, service } => {
                if let Some(place) = self.buckets.get_mut(*bucket as usize).and_then(|bucket| bucket.0.get_mut(*way)) {
                    *place = service.unwrap_or_default();
                }
            }
            MapOp::Range { id, service: None } => {
                self.by_id.remove(id);
            }
            MapOp::Range { id, service: Some(service) } => {
                self.by_id.insert(*id, *service);
            }
            // Slots are kept with their service; the rest is not needed to plan the next change.
            MapOp::Slots { .. }
            | MapOp::Segments { .. }
            | MapOp::Counts(_)
            | MapOp::Address { .. }
            | MapOp::Prefix { .. }
            | MapOp::Guard(_)
            | MapOp::Vlan { .. }
            | MapOp::SegmentSize { .. }
            | MapOp::Features(_)
            | MapOp::Forget { .. } => {}
        }
    }

    /// Tells whether a service's place holds something else.
    pub(crate) fn differs(&self, held: &Held, service: &Service) -> bool {
        match held.place {
            Place::Bucket(bucket, way) => self.buckets[bucket as usize].0[way] != *service,
            Place::ById => self.by_id.get(&held.head.id).is_none_or(|range| range.service != *service),
        }
    }

    /// Returns a free service id and place.
    pub(crate) fn place_service(&mut self, key: &ServiceKey) -> Result<(u16, Place), Full> {
        let taken = |id| self.services.values().any(|held| held.head.id == id);
        let id = next_free(self.last_service, SERVICES, taken).ok_or(Full::Services(key.socket))?;
        let place = if key.is_range() {
            Place::ById
        } else {
            let (bucket, way) = self.free_place(key).ok_or(Full::Services(key.socket))?;
            Place::Bucket(bucket, way)
        };
        self.last_service = id;
        Ok((id, place))
    }

    /// Puts segments in a free place and has an address lead there; returns the operations.
    pub(crate) fn place_directory(&mut self, name: (IpAddr, u8), segments: Vec<Segment>) -> Result<Vec<MapOp>, Full> {
        let (address, protocol) = name;
        let full = Full::Segments(address);
        if segments.len() > ADDRESS_SEGMENTS {
            return Err(full);
        }
        let key = ServiceKey::new(SocketAddr::new(address, 0), ranged(protocol));
        let held = self.directories.get(&name).map(|held| (held.bucket, held.way));
        let Some((bucket, way)) = held.or_else(|| self.free_place(&key)) else { return Err(full) };
        let mut used: Vec<(u32, u32)> = self.directories.values().map(|held| (held.first, held.segments.len() as u32)).collect();
        used.sort_unstable();
        let mut first = 0;
        for (start, length) in used {
            if first + segments.len() as u32 <= start {
                break;
            }
            first = first.max(start + length);
        }
        if first + segments.len() as u32 > SEGMENTS {
            return Err(full);
        }
        let service = Service {
            address: address.into(),
            head: entry_head(0, key.protocol, 0).pack(),
            ring: Service::pack_ring(first, segments.len() as u32),
        };
        let place = MapOp::Service { bucket, way, service: Some(service) };
        self.apply(&place);
        self.directories.insert(name, Directory { bucket, way, first, segments: segments.clone() });
        Ok(vec![MapOp::Segments { first, segments }, place])
    }

    /// Places an entry that is no service; returns the operation where there is something to write.
    pub(crate) fn place_entry(&mut self, name: (SocketAddr, u8), service: Service) -> Result<Option<MapOp>, Full> {
        let (socket, protocol) = name;
        let key = ServiceKey::new(socket, protocol);
        let held = self.entries.get(&name).copied();
        let (bucket, way) = held.or_else(|| self.free_place(&key)).ok_or(Full::Services(socket))?;
        if self.buckets[bucket as usize].0[way] == service {
            return Ok(None);
        }
        let place = MapOp::Service { bucket, way, service: Some(service) };
        self.apply(&place);
        self.entries.insert(name, (bucket, way));
        Ok(Some(place))
    }

    /// Takes away an entry that is no service.
    pub(crate) fn remove_entry(&mut self, name: (SocketAddr, u8)) -> Option<MapOp> {
        let (bucket, way) = self.entries.remove(&name)?;
        let place = MapOp::Service { bucket, way, service: None };
        self.apply(&place);
        Some(place)
    }

    /// Has an address lead to no segments any more.
    pub(crate) fn remove_directory(&mut self, name: (IpAddr, u8)) -> Option<MapOp> {
        let Directory { bucket, way, .. } = self.directories.remove(&name)?;
        let place = MapOp::Service { bucket, way, service: None };
        self.apply(&place);
        Some(place)
    }

    /// Returns a free place for an entry of the service table.
    pub(crate) fn free_place(&self, key: &ServiceKey) -> Option<(u32, usize)> {
        let candidates = buckets(&key.socket.ip().into(), Port::new(key.socket.port()), key.protocol, &self.key);
        let free = |bucket: &u32| {
            let bucket = &self.buckets[*bucket as usize];
            (0..BUCKET_SERVICES).filter(|way| !bucket.0[*way].is_taken()).collect::<Vec<_>>()
        };
        // The emptier of the two, as two choices fill a table most evenly.
        let bucket = candidates.into_iter().max_by_key(|bucket| free(bucket).len()).expect("there are two candidates");
        free(&bucket).first().map(|way| (bucket, *way))
    }

    /// Returns a free server id; ids are given out in turn, so that one is used again as late as possible.
    pub(crate) fn place_server(&mut self, socket: SocketAddr) -> Result<u16, Full> {
        let id = next_free(self.last_server, SERVERS, |id| self.servers.contains_key(&id)).ok_or(Full::Servers(socket))?;
        self.last_server = id;
        Ok(id)
    }

    /// Takes an id out of circulation while its entry waits for the slots to be written.
    pub(crate) fn reserve(&mut self, id: u16) {
        self.servers.entry(id).or_default();
    }

    /// Refuses more servers than there are ids, before any is given out.
    pub(crate) fn check_room(&self, more: usize, wanted: &WantedService) -> Result<(), Full> {
        let room = SERVERS as usize - 1 - self.servers.len();
        match wanted.servers.first() {
            Some(server) if more > room => Err(Full::Servers(server.socket)),
            _ => Ok(()),
        }
    }

    /// Returns a free region of the ring map.
    pub(crate) fn place_ring(&self, key: &ServiceKey, choice: Choice, ring: u32) -> Result<(u32, u32), Full> {
        let size = region_size(choice, ring);
        let mut used: Vec<(u32, u32)> = self.services.values().map(|held| held.region).collect();
        used.sort_unstable();
        let mut first = 0u32;
        for (start, length) in used {
            if first + size <= start {
                break;
            }
            first = first.max(start + length);
        }
        let fits = first.checked_add(size).is_some_and(|end| end <= self.ring_capacity);
        fits.then_some((first, size)).ok_or(Full::Rings { capacity: self.ring_capacity, service: key.socket })
    }

    /// Returns how many slots the rings of all services take.
    pub(crate) fn slots_taken(&self) -> u32 {
        self.services.values().map(|held| held.region.1).sum()
    }

    /// Returns the services with their ids.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, u16)> {
        self.services.iter().map(|(key, held)| (key, held.head.id))
    }

    /// Returns the ids of a service's servers with the weights they should have.
    pub(crate) fn weights(&self, key: &ServiceKey, wanted: &WantedService) -> Vec<(u16, u32)> {
        let Some(held) = self.services.get(key) else { return Vec::new() };
        let keys = server_keys(wanted);
        keys.iter().zip(&wanted.servers).filter_map(|(key, server)| Some((*held.servers.get(key)?, server.weight))).collect()
    }

    /// Returns the entry of a service's server; the first of equal ones.
    pub(crate) fn server_at(&self, key: &ServiceKey, socket: SocketAddr) -> Option<&Server> {
        let id = self.services.get(key)?.servers.get(&ServerKey { socket, occurrence: 0 })?;
        self.servers.get(id)
    }

    /// Returns the servers of a service with their ids and their numbers of ring slots.
    pub fn servers_of(&self, key: &ServiceKey) -> Vec<HeldServer> {
        let Some(held) = self.services.get(key) else { return Vec::new() };
        let mut slots: BTreeMap<u16, usize> = BTreeMap::new();
        for slot in &held.slots {
            *slots.entry(slot.current().0).or_default() += 1;
        }
        let all = held.servers.iter().filter_map(|(key, id)| {
            let server = self.servers.get(id)?;
            Some(HeldServer {
                id: *id,
                socket: key.socket,
                usable: server.is_usable(),
                reachable: server.hop.interface != 0,
                share: slots.get(id).map_or(0.0, |count| *count as f64 / held.slots.len() as f64),
            })
        });
        all.collect()
    }
}

/// A server in the maps, as listings show it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldServer {
    /// Its id.
    pub id: u16,
    /// Where it listens.
    pub socket: SocketAddr,
    /// Whether flows may go to it.
    pub usable: bool,
    /// Whether its next hop is known.
    pub reachable: bool,
    /// Its share of new flows, 0 to 1.
    pub share: f64,
}

/// Returns the keys of a service's servers in the file's order.
pub(crate) fn server_keys(wanted: &WantedService) -> Vec<ServerKey> {
    let mut seen: BTreeMap<SocketAddr, u16> = BTreeMap::new();
    let keys = wanted.servers.iter().map(|server| {
        let count = seen.entry(server.socket).or_default();
        let key = ServerKey { socket: server.socket, occurrence: *count };
        *count += 1;
        key
    });
    keys.collect()
}

/// How many slots a service of a choice reserves.
pub(crate) const fn region_size(choice: Choice, ring: u32) -> u32 {
    match choice {
        Choice::Source | Choice::Tuple => ring,
        Choice::RoundRobin | Choice::LeastConn => SEQUENCE_SLOTS as u32,
    }
}

/// Returns the head of an entry that is no service itself.
pub(crate) const fn entry_head(port: u16, protocol: u8, id: u16) -> Head {
    Head {
        port: Port::new(port),
        protocol,
        forward: Forward::Nat,
        choice: Choice::Source,
        tracking: Tracking::WhereChanged,
        on_dead: OnDead::Move,
        on_none: OnNone::Drop,
        id,
    }
}

/// Returns the servers of each service by what names them.
fn keys_by_service(servers: &BTreeMap<u16, Server>) -> BTreeMap<u16, BTreeMap<ServerKey, u16>> {
    let mut services: BTreeMap<u16, BTreeMap<ServerKey, u16>> = BTreeMap::new();
    for (id, server) in servers {
        let socket = SocketAddr::new(server.address.into(), server.port.number());
        let keys = services.entry(server.service).or_default();
        let all = [0, u16::MAX].map(|occurrence| ServerKey { socket, occurrence });
        let occurrence = keys.range(all[0]..=all[1]).count() as u16;
        keys.insert(ServerKey { socket, occurrence }, *id);
    }
    services
}

/// Returns the next id after `last` that is not taken; 0 is none.
fn next_free(last: u16, limit: u32, taken: impl Fn(u16) -> bool) -> Option<u16> {
    let span = limit - 1;
    (0..span).map(|step| ((u32::from(last) + step) % span + 1) as u16).find(|id| !taken(*id))
}

#[cfg(test)]
mod tests {
    use xdp_common::limits::RING_SLOTS;

    use super::*;

    #[test]
    fn ids_are_given_out_in_turn() {
        assert_eq!(next_free(0, 4, |_| false), Some(1));
        assert_eq!(next_free(1, 4, |_| false), Some(2));
        assert_eq!(next_free(3, 4, |_| false), Some(1));
        assert_eq!(next_free(3, 4, |id| id == 1), Some(2));
        assert_eq!(next_free(0, 4, |_| true), None);
        assert_eq!(next_free(65_535, 65_536, |id| id < 5), Some(5));
    }

    #[test]
    fn regions_do_not_overlap() {
        let mut tables = Tables::empty(HashKey::default(), 2 * RING_SLOTS + SEQUENCE_SLOTS as u32);
        let key = |port| ServiceKey::new(SocketAddr::new(IpAddr::from([10, 0, 0, 1]), port), 6);
        let mut regions = Vec::new();
        for (port, choice) in [(1, Choice::Source), (2, Choice::RoundRobin), (3, Choice::Tuple)] {
            let (id, place) = tables.place_service(&key(port)).unwrap();
            let region = tables.place_ring(&key(port), choice, RING_SLOTS).unwrap();
            let head = Head {
                port: Port::new(port),
                protocol: 6,
                forward: Forward::Nat,
                choice,
                tracking: Tracking::Always,
                on_dead: OnDead::Move,
                on_none: OnNone::Drop,
                id,
            };
            tables.services.insert(key(port), Held { head, place, region, slots: Vec::new(), servers: BTreeMap::new(), brought_to: None });
            regions.push(region);
        }
        assert_eq!(regions, [(0, RING_SLOTS), (RING_SLOTS, SEQUENCE_SLOTS as u32), (RING_SLOTS + SEQUENCE_SLOTS as u32, RING_SLOTS)]);
        assert_eq!(
            tables.place_ring(&key(4), Choice::Source, RING_SLOTS),
            Err(Full::Rings { capacity: 2 * RING_SLOTS + SEQUENCE_SLOTS as u32, service: key(4).socket })
        );
        tables.services.remove(&key(2));
        assert_eq!(tables.place_ring(&key(4), Choice::Tuple, 251), Ok((RING_SLOTS, 251)));
        assert_eq!(tables.place_ring(&key(4), Choice::RoundRobin, RING_SLOTS), Ok((RING_SLOTS, SEQUENCE_SLOTS as u32)));
    }
}

//! What the maps hold: services, servers and rings with the ids and places they were given. The daemon's copy, changed by the same [`MapOp`]s as the maps.
//!
//! It is read back from the maps when l4d starts on pinned ones, so ids, and with them established flows, outlive the daemon. Whether what is here
//! is what should be is the business of [`sync`](crate::sync).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use xdp_common::{
    addr::Port,
    flow::{HashKey, Slot},
    guard::{Guard, Rule},
    limits::{BUCKET_SERVICES, RING_SLOTS, SEQUENCE_SLOTS, SERVERS, SERVICE_BUCKETS, SERVICES},
    server::Server,
    service::{Bucket, Choice, Head, Service, buckets},
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
    /// Forgets all flows of servers that are gone, before their ids are given out again.
    Forget {
        /// Their ids.
        servers: BTreeSet<u16>,
    },
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

/// A service in the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) head: Head,
    pub(crate) bucket: u32,
    pub(crate) way: usize,
    /// First slot of its region in the ring map, and how many slots the region has.
    pub(crate) region: (u32, u32),
    /// The slots in use.
    pub(crate) slots: Vec<Slot>,
    pub(crate) servers: BTreeMap<ServerKey, u16>,
    /// What it was last brought to; none after it was read back.
    pub(crate) brought_to: Option<WantedService>,
}

/// What the maps hold.
#[derive(Debug)]
pub struct Tables {
    key: HashKey,
    buckets: Vec<Bucket>,
    pub(crate) services: BTreeMap<ServiceKey, Held>,
    pub(crate) servers: BTreeMap<u16, Server>,
    /// Addresses that answer echo requests, and where that is noted.
    pub(crate) echoes: BTreeMap<IpAddr, (u32, usize)>,
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
    /// No room in the ring map.
    #[error("the rings of all services take more than {capacity} slots; no room for {service}")]
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
            services: BTreeMap::new(),
            servers: BTreeMap::new(),
            echoes: BTreeMap::new(),
            guard: WantedGuard::default(),
            ring_capacity,
            last_server: 0,
            last_service: 0,
        }
    }

    /// Reads back what maps hold.
    pub fn read(
        key: HashKey,
        ring_capacity: u32,
        buckets: Vec<Bucket>,
        servers: BTreeMap<u16, Server>,
        slot: impl Fn(u32) -> Slot,
    ) -> Self {
        let mut tables = Self { buckets, servers, ..Self::empty(key, ring_capacity) };
        for (index, bucket) in tables.buckets.iter().enumerate() {
            for (way, service) in bucket.0.iter().enumerate().filter(|(_, service)| service.is_taken()) {
                let head = service.parts();
                if head.protocol == ICMP || head.protocol == ICMPV6 {
                    tables.echoes.insert(service.address.into(), (index as u32, way));
                    continue;
                }
                let (first, count) = service.ring();
                let held = Held {
                    head,
                    bucket: index as u32,
                    way,
                    region: (first, region_size(head.choice)),
                    slots: (first..first.saturating_add(count).min(ring_capacity)).map(&slot).collect(),
                    servers: keys_of(&tables.servers, head.id),
                    brought_to: None,
                };
                tables.services.insert(service_key(service), held);
            }
        }
        tables
    }

    /// Returns these tables with the guard that maps hold.
    #[must_use]
    pub fn with_guard(self, guard: WantedGuard) -> Self {
        Self { guard, ..self }
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
            // Slots are kept with their service; the rest is not needed to plan the next change.
            MapOp::Slots { .. } | MapOp::Address { .. } | MapOp::Prefix { .. } | MapOp::Guard(_) | MapOp::Forget { .. } => {}
        }
    }

    /// Tells whether a service's place holds something else.
    pub(crate) fn differs(&self, bucket: u32, way: usize, service: &Service) -> bool {
        self.buckets[bucket as usize].0[way] != *service
    }

    /// Returns a free service id and place.
    pub(crate) fn place_service(&mut self, key: &ServiceKey) -> Result<(u16, u32, usize), Full> {
        let taken: BTreeSet<u16> = self.services.values().map(|held| held.head.id).collect();
        let id = next_free(self.last_service, SERVICES, |id| taken.contains(&id)).ok_or(Full::Services(key.socket))?;
        let (bucket, way) = self.free_place(key).ok_or(Full::Services(key.socket))?;
        self.last_service = id;
        Ok((id, bucket, way))
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
    pub(crate) fn place_ring(&self, key: &ServiceKey, choice: Choice) -> Result<(u32, u32), Full> {
        let size = region_size(choice);
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

    /// Returns the services with their ids.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, u16)> {
        self.services.iter().map(|(key, held)| (key, held.head.id))
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

/// How many slots a service of a choice reserves.
const fn region_size(choice: Choice) -> u32 {
    match choice {
        Choice::Source | Choice::Tuple => RING_SLOTS,
        Choice::RoundRobin => SEQUENCE_SLOTS as u32,
    }
}

fn service_key(service: &Service) -> ServiceKey {
    let head = service.parts();
    ServiceKey { socket: SocketAddr::new(service.address.into(), head.port.number()), protocol: head.protocol }
}

fn keys_of(servers: &BTreeMap<u16, Server>, service: u16) -> BTreeMap<ServerKey, u16> {
    let mut keys = BTreeMap::new();
    for (id, server) in servers.iter().filter(|(_, server)| server.service == service) {
        let socket = SocketAddr::new(server.address.into(), server.port.number());
        let occurrence = keys.keys().filter(|key: &&ServerKey| key.socket == socket).count() as u16;
        keys.insert(ServerKey { socket, occurrence }, *id);
    }
    keys
}

/// Returns the next id after `last` that is not taken; 0 is none.
fn next_free(last: u16, limit: u32, taken: impl Fn(u16) -> bool) -> Option<u16> {
    let span = limit - 1;
    (0..span).map(|step| ((u32::from(last) + step) % span + 1) as u16).find(|id| !taken(*id))
}

#[cfg(test)]
mod tests {
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
        let key = |port| ServiceKey { socket: SocketAddr::new(IpAddr::from([10, 0, 0, 1]), port), protocol: 6 };
        let mut regions = Vec::new();
        for (port, choice) in [(1, Choice::Source), (2, Choice::RoundRobin), (3, Choice::Tuple)] {
            let (id, bucket, way) = tables.place_service(&key(port)).unwrap();
            let region = tables.place_ring(&key(port), choice).unwrap();
            let head = Head {
                port: Port::new(port),
                protocol: 6,
                forward: xdp_common::service::Forward::Nat,
                choice,
                tracking: xdp_common::service::Tracking::Always,
                id,
            };
            tables
                .services
                .insert(key(port), Held { head, bucket, way, region, slots: Vec::new(), servers: BTreeMap::new(), brought_to: None });
            regions.push(region);
        }
        assert_eq!(regions, [(0, RING_SLOTS), (RING_SLOTS, SEQUENCE_SLOTS as u32), (RING_SLOTS + SEQUENCE_SLOTS as u32, RING_SLOTS)]);
        assert_eq!(
            tables.place_ring(&key(4), Choice::Source),
            Err(Full::Rings { capacity: 2 * RING_SLOTS + SEQUENCE_SLOTS as u32, service: key(4).socket })
        );
        tables.services.remove(&key(2));
        assert_eq!(tables.place_ring(&key(4), Choice::RoundRobin), Ok((RING_SLOTS, SEQUENCE_SLOTS as u32)));
    }
}

use std::{net::IpAddr, sync::Arc};

use proptest::prelude::*;
use xdp_common::{
    flow::HashKey,
    limits::{LINE_SLOTS, RING_LINES, RING_SLOTS},
    server::Hop,
    service::{Bucket, Choice, OnNone, RangeService, Segment, ranged},
};

use super::*;
use crate::{
    note::Note,
    plan::{WantedServer, Way},
    tables::{Contents, Counts},
};

const CAPACITY: u32 = RING_LINES * LINE_SLOTS as u32;

/// The maps as a packet sees them, changed by one operation at a time.
struct Kernel {
    buckets: Vec<Bucket>,
    ranges: BTreeMap<u16, RangeService>,
    segments: Vec<Segment>,
    counts: Counts,
    servers: BTreeMap<u16, Server>,
    slots: BTreeMap<u32, Slot>,
}

impl Kernel {
    fn new() -> Self {
        Self {
            buckets: vec![Bucket::default(); xdp_common::limits::SERVICE_BUCKETS as usize],
            ranges: BTreeMap::new(),
            segments: vec![Segment::default(); xdp_common::limits::SEGMENTS as usize],
            counts: Counts::default(),
            servers: BTreeMap::new(),
            slots: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: &MapOp) {
        match op {
            MapOp::Server { id, server } => {
                self.servers.insert(*id, *server);
            }
            MapOp::Slots { first, slots } => self.slots.extend(slots.iter().enumerate().map(|(at, slot)| (first + at as u32, *slot))),
            MapOp::Service { bucket, way, service } => self.buckets[*bucket as usize].0[*way] = service.unwrap_or_default(),
            MapOp::Range { id, service } => {
                self.ranges.insert(*id, service.unwrap_or_default());
            }
            MapOp::Segments { first, segments } => {
                let first = *first as usize;
                self.segments[first..first + segments.len()].copy_from_slice(segments);
            }
            MapOp::Counts(counts) => self.counts = *counts,
            MapOp::Address { .. }
            | MapOp::Prefix { .. }
            | MapOp::Guard(_)
            | MapOp::Vlan { .. }
            | MapOp::SegmentSize { .. }
            | MapOp::Features(_)
            | MapOp::Forget { .. } => {}
        }
    }

    /// Checks what a packet may meet between two operations: every slot in use names a server of its service that may be used.
    fn check(&self, dying: &BTreeSet<SocketAddr>) -> Result<(), TestCaseError> {
        let entries = || self.buckets.iter().flat_map(|bucket| bucket.0).filter(Service::is_taken);
        let exact = entries().filter(|service| service.parts().id != 0);
        let by_id = self.ranges.values().map(|range| range.service).filter(Service::is_taken);
        for directory in entries().filter(|service| service.parts().protocol == ranged(TCP)) {
            let (first, count) = directory.ring();
            for segment in &self.segments[first as usize..(first + count) as usize] {
                let service = self.ranges.get(&segment.service()).copied().unwrap_or_default().service;
                prop_assert!(service.is_taken() && service.address == directory.address, "{:?} leads nowhere", segment);
            }
        }
        for service in exact.chain(by_id) {
            let (first, count) = service.ring();
            let owners: BTreeSet<u16> = (first..first + count).map(|at| self.slots[&at].current().0).filter(|id| *id != 0).collect();
            for id in owners {
                let server = self.servers.get(&id).copied().unwrap_or_default();
                let socket = SocketAddr::new(server.address.into(), server.port.number());
                prop_assert_eq!(server.service, service.parts().id);
                prop_assert!(server.is_usable() || dying.contains(&socket), "{} gets flows and may not be used", socket);
            }
        }
        Ok(())
    }

    fn read_back(&self) -> Tables {
        let servers = self.servers.iter().filter(|(_, server)| server.service != 0).map(|(id, server)| (*id, *server)).collect();
        let ranges = self.ranges.iter().filter(|(_, range)| range.service.is_taken()).map(|(id, range)| (*id, *range)).collect();
        let contents = Contents { buckets: self.buckets.clone(), ranges, segments: self.segments.clone(), servers };
        let slot = |at| self.slots.get(&at).copied().unwrap_or_default();
        Tables::read(HashKey::default(), CAPACITY, contents, slot).with_counts(self.counts)
    }
}

fn key(port: u16) -> ServiceKey {
    ServiceKey::new(SocketAddr::new(IpAddr::from([10, 0, 0, 10]), port), TCP)
}

/// Returns one of a few services: of one port, or of many, some of which lie within others.
fn any_key(number: u16) -> ServiceKey {
    match number {
        0..3 => key(80 + number),
        _ => ServiceKey { last: 1000 * number, ..key(50 + 10 * (number % 3)) },
    }
}

fn server(number: u8, weight: u32) -> WantedServer {
    WantedServer {
        socket: SocketAddr::new(IpAddr::from([10, 0, 1, number]), 80),
        way: Way { hop: Hop::new([2, 0, 0, 0, 0, number], [2, 0, 0, 0, 1, 0], 2), ..Way::default() },
        usable: true,
        note: Note::default(),
        weight,
    }
}

fn service(forward: Forward, choice: Choice, servers: Vec<WantedServer>) -> WantedService {
    let tracking = if choice.is_hash() { Tracking::WhereChanged } else { Tracking::Always };
    let (on_dead, on_none) = (OnDead::Move, OnNone::Drop);
    WantedService {
        frontend: "f".into(),
        backend: "b".into(),
        forward,
        choice,
        tracking,
        on_dead,
        on_none,
        mss: None,
        ring: RING_SLOTS,
        servers,
    }
}

fn wanted(service: WantedService) -> Wanted {
    Wanted { services: BTreeMap::from([(key(80), Arc::new(service))]), ..Wanted::default() }
}

fn hashed(servers: Vec<WantedServer>) -> Wanted {
    wanted(service(Forward::Dsr, Choice::Source, servers))
}

fn dead(number: u8) -> WantedServer {
    WantedServer { usable: false, weight: 0, ..server(number, 0) }
}

fn slots(tables: &Tables) -> &[Slot] {
    &tables.services[&key(80)].slots
}

fn id_of(tables: &Tables, number: u8) -> u16 {
    let socket = server(number, 1).socket;
    tables.services[&key(80)].servers[&ServerKey { socket, occurrence: 0 }]
}

#[test]
fn servers_come_before_slots_and_slots_before_the_service() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    let ops = sync(&mut tables, &hashed(vec![server(1, 1), server(2, 1)])).ops;
    let kinds = ops.iter().map(|op| match op {
        MapOp::Server { .. } => "server",
        MapOp::Slots { .. } => "slots",
        MapOp::Address { .. } => "address",
        MapOp::Service { .. } => "service",
        MapOp::Range { .. } => "range",
        MapOp::Segments { .. } => "segments",
        MapOp::Counts(_) => "counts",
        MapOp::Prefix { .. } => "prefix",
        MapOp::Guard(_) => "guard",
        MapOp::Vlan { .. } => "vlan",
        MapOp::SegmentSize { .. } => "segment size",
        MapOp::Features(_) => "features",
        MapOp::Forget { .. } => "forget",
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        ["server", "server", "slots", "address", "service", "service"],
        "last of all the address answers echo requests"
    );
}

#[test]
fn what_is_there_already_needs_no_operation() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    let wanted = hashed(vec![server(1, 1), dead(2)]);
    sync(&mut tables, &wanted);
    assert_eq!(sync(&mut tables, &wanted).ops, []);
}

#[test]
fn a_change_of_one_service_leaves_the_others_alone() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    let with = |weight| {
        let services = (80..100).map(|port| {
            let weight = if port == 80 { weight } else { 1 };
            (key(port), Arc::new(service(Forward::Nat, Choice::Source, vec![server(1, 1), server(2, weight)])))
        });
        Wanted { services: services.collect(), ..Wanted::default() }
    };
    sync(&mut tables, &with(1));
    let synced = sync(&mut tables, &with(3));
    assert_eq!(synced.changed, [key(80)]);
    assert!(matches!(&synced.ops[..], [MapOp::Slots { .. }]), "{} operations", synced.ops.len());
}

#[test]
fn a_dead_server_is_marked_after_its_slots_have_moved() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    sync(&mut tables, &hashed(vec![server(1, 1), server(2, 1)]));
    let ops = sync(&mut tables, &hashed(vec![server(1, 1), dead(2)])).ops;
    assert!(matches!(&ops[0], MapOp::Slots { .. }), "{:?}", ops[0]);
    assert!(matches!(&ops[1], MapOp::Server { server, .. } if !server.is_usable()));
    assert!(slots(&tables).iter().all(|slot| slot.is_settled() && slot.current().0 == id_of(&tables, 1)));
}

#[test]
fn a_drained_server_keeps_its_flows() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    sync(&mut tables, &hashed(vec![server(1, 1), server(2, 1)]));
    let before = slots(&tables).to_vec();
    sync(&mut tables, &hashed(vec![server(1, 1), server(2, 0)]));
    for (before, after) in before.iter().zip(slots(&tables)) {
        assert_eq!(after.current().0, id_of(&tables, 1));
        assert_eq!(after.server_without_entry(), before.current());
    }
}

#[test]
fn a_server_that_left_goes_when_nothing_belongs_to_it() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    sync(&mut tables, &hashed(vec![server(1, 1), server(2, 1)]));
    let leaving = id_of(&tables, 2);
    let wanted = hashed(vec![server(1, 1)]);
    sync(&mut tables, &wanted);
    assert!(tables.servers[&leaving].is_usable() && has_leaving(&tables, &wanted));
    assert_eq!(retire(&mut tables, &wanted, &BTreeSet::new()), [], "slots still send flows without entry there");
    settle(&mut tables, &key(80), &BTreeSet::new());
    assert_eq!(retire(&mut tables, &wanted, &BTreeSet::from([leaving])), [], "it has flows");
    let ops = retire(&mut tables, &wanted, &BTreeSet::new());
    assert_eq!(ops, [MapOp::Server { id: leaving, server: Server::default() }, MapOp::Forget { servers: BTreeSet::from([leaving]) }]);
    assert!(!tables.servers.contains_key(&leaving));
}

#[test]
fn only_slots_without_open_flows_are_closed() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    sync(&mut tables, &hashed(vec![server(1, 1), server(2, 1)]));
    sync(&mut tables, &hashed(vec![server(1, 1), server(2, 0)]));
    let tracked: Vec<u32> = (0..).zip(slots(&tables)).filter(|(_, slot)| !slot.is_settled()).map(|(at, _)| at).collect();
    settle(&mut tables, &key(80), &BTreeSet::from([tracked[0]]));
    let left: Vec<u32> = (0..).zip(slots(&tables)).filter(|(_, slot)| !slot.is_settled()).map(|(at, _)| at).collect();
    assert_eq!(left, [tracked[0]]);
    assert!(is_tracking(&tables, &key(80)));
}

#[test]
fn a_removed_service_goes_before_its_servers() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    sync(&mut tables, &hashed(vec![server(1, 1)]));
    let ops = sync(&mut tables, &Wanted::default()).ops;
    assert!(matches!(ops[0], MapOp::Service { service: None, .. }));
    assert!(matches!(ops[1], MapOp::Server { server, .. } if server == Server::default()));
    assert!(matches!(&ops[2], MapOp::Forget { .. }));
    assert!(tables.services.is_empty() && tables.servers.is_empty());
}

#[test]
fn more_servers_than_ids_are_refused_without_a_trace() {
    let mut tables = Tables::empty(HashKey::default(), CAPACITY);
    let many = (0..=65_535u32).map(|n| WantedServer { socket: SocketAddr::new(IpAddr::from(n.to_be_bytes()), 80), ..server(1, 1) });
    let synced = sync(&mut tables, &wanted(service(Forward::Nat, Choice::RoundRobin, many.collect())));
    assert_eq!(synced.refused.len(), 1);
    assert!(synced.ops.is_empty() && tables.servers.is_empty() && tables.services.is_empty());
}

fn any_service() -> impl Strategy<Value = WantedService> {
    let forward = prop_oneof![Just(Forward::Nat), Just(Forward::Dsr), Just(Forward::Dnat)];
    let choice = prop_oneof![Just(Choice::Source), Just(Choice::Tuple), Just(Choice::RoundRobin), Just(Choice::LeastConn)];
    let servers = prop::collection::btree_map(1u8..8, (any::<bool>(), 0u32..4), 0..6);
    (forward, choice, servers).prop_map(|(forward, choice, servers)| {
        let servers = servers.into_iter().map(|(number, (alive, weight))| if alive { server(number, weight) } else { dead(number) });
        service(forward, choice, servers.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens to services and servers, no packet between two operations meets a slot that leads nowhere, and a daemon that reads the maps
    /// back finds nothing to do.
    #[test]
    fn every_step_is_safe(history in prop::collection::vec(prop::collection::btree_map(0u16..7, any_service(), 0..4), 1..6)) {
        let (mut tables, mut kernel) = (Tables::empty(HashKey::default(), CAPACITY), Kernel::new());
        for services in history {
            let services = services.into_iter().map(|(number, service)| (any_key(number), Arc::new(service))).collect();
            let wanted = Wanted { services, ..Wanted::default() };
            let all = wanted.services.values().flat_map(|service| &service.servers);
            let dying = all.filter(|server| !server.usable).map(|server| server.socket).collect();
            for op in sync(&mut tables, &wanted).ops {
                kernel.apply(&op);
                kernel.check(&dying)?;
            }
            kernel.check(&BTreeSet::new())?;
            let mut reread = kernel.read_back();
            prop_assert_eq!(sync(&mut reread, &wanted).ops, vec![]);
        }
    }
}

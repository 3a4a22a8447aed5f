//! From what is there to what should be: a pure function that returns the operations in the order in which they must reach the maps.
//!
//! A packet may be under way between any two of them, so: servers before the slots that name them, slots before the service that uses them, and the
//! reverse when something goes. A server that left the file stays usable without new flows until [`retire`] finds that nothing belongs to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use xdp_common::{
    addr::Port,
    flow::{ServerId, Slot, TCP},
    guard::Guard,
    limits::{RING_SLOTS, SEQUENCE_SLOTS},
    server::Server,
    service::{Choice, Forward, Head, Service, Tracking},
    wire::{ICMP, ICMPV6},
};

use crate::{
    maglev::{self, Weighted},
    plan::{ServiceKey, Wanted, WantedGuard, WantedService},
    ring,
    tables::{Full, Held, MapOp, ServerKey, Tables},
};

/// What a synchronisation does to the maps, and what found no room.
#[derive(Debug, Default)]
pub struct Synced {
    /// The operations, in order.
    pub ops: Vec<MapOp>,
    /// Services whose ring changed.
    pub changed: Vec<ServiceKey>,
    /// Services that could not be placed; all others are.
    pub refused: Vec<Full>,
}

/// Brings the tables to what is wanted, and returns the operations that bring the maps there too.
pub fn sync(tables: &mut Tables, wanted: &Wanted) -> Synced {
    let mut synced = Synced::default();
    let gone: Vec<ServiceKey> = tables.services.keys().filter(|key| !wanted.services.contains_key(*key)).copied().collect();
    for key in gone {
        remove_service(tables, &key, &mut synced.ops);
    }
    sync_guard(tables, &wanted.guard, &mut synced);
    for (key, service) in &wanted.services {
        match sync_service(tables, key, service, &mut synced.ops) {
            Ok(Ring::Changed) => synced.changed.push(*key),
            Ok(Ring::Same) => {}
            Err(full) => synced.refused.push(full),
        }
    }
    sync_echoes(tables, &mut synced);
    synced
}

/// Puts the guard up: prefixes that come before those that go, and last of all whether there are any.
fn sync_guard(tables: &mut Tables, wanted: &WantedGuard, synced: &mut Synced) {
    let present = std::mem::replace(&mut tables.guard, wanted.clone());
    let prefix = |(address, length): (IpAddr, u8), rule| MapOp::Prefix { address, length, rule };
    let come = wanted.prefixes.iter().filter(|(key, rule)| present.prefixes.get(*key) != Some(*rule));
    synced.ops.extend(come.map(|(key, rule)| prefix(*key, Some(*rule))));
    let go = present.prefixes.keys().filter(|key| !wanted.prefixes.contains_key(*key));
    synced.ops.extend(go.map(|key| prefix(*key, None)));
    if present != *wanted {
        let prefixes = wanted.prefixes.len() as u32;
        synced.ops.push(MapOp::Guard(Guard { connections: wanted.connections, packets: wanted.packets, prefixes, zero: 0 }));
    }
}

/// Has the address of every service, and no other, answer echo requests.
fn sync_echoes(tables: &mut Tables, synced: &mut Synced) {
    let addresses: BTreeSet<IpAddr> = tables.services.keys().map(|key| key.socket.ip()).collect();
    let gone: Vec<IpAddr> = tables.echoes.keys().filter(|address| !addresses.contains(*address)).copied().collect();
    for address in gone {
        let Some((bucket, way)) = tables.echoes.remove(&address) else { continue };
        let place = MapOp::Service { bucket, way, service: None };
        tables.apply(&place);
        synced.ops.push(place);
    }
    for address in addresses {
        if tables.echoes.contains_key(&address) {
            continue;
        }
        let key = ServiceKey { socket: SocketAddr::new(address, 0), protocol: if address.is_ipv4() { ICMP } else { ICMPV6 } };
        let Some((bucket, way)) = tables.free_place(&key) else {
            synced.refused.push(Full::Services(key.socket));
            continue;
        };
        let (forward, choice, tracking) = (Forward::Nat, Choice::Source, Tracking::WhereChanged);
        let head = Head { port: Port::new(0), protocol: key.protocol, forward, choice, tracking, id: 0 };
        let service = Service { address: address.into(), head: head.pack(), ring: 0 };
        let place = MapOp::Service { bucket, way, service: Some(service) };
        tables.apply(&place);
        tables.echoes.insert(address, (bucket, way));
        synced.ops.push(place);
    }
}

/// Whether a synchronisation moved slots of a service.
enum Ring {
    Changed,
    Same,
}

/// Tells whether any server is left that is no longer wanted.
pub fn has_leaving(tables: &Tables, wanted: &Wanted) -> bool {
    tables.services.iter().any(|(key, held)| held.servers.len() > wanted.services.get(key).map_or(0, |service| service.servers.len()))
}

/// Gives back the ids of servers that are no longer wanted once nothing belongs to them: `busy` are those that still have flows.
pub fn retire(tables: &mut Tables, wanted: &Wanted, busy: &BTreeSet<u16>) -> Vec<MapOp> {
    let mut freed = BTreeSet::new();
    for (key, held) in &mut tables.services {
        let wanted = wanted.services.get(key).map(server_keys).unwrap_or_default();
        let in_ring: BTreeSet<u16> = held.slots.iter().flat_map(|slot| [slot.current().0, slot.former().map_or(0, |id| id.0)]).collect();
        held.servers.retain(|server, id| {
            let stays = wanted.contains(server) || busy.contains(id) || in_ring.contains(id);
            if !stays {
                freed.insert(*id);
            }
            stays
        });
    }
    free(tables, freed)
}

/// Closes the tracked slots of which no remembered flow disagrees with the ring: `open` names those that must stay, by service and slot.
pub fn settle(tables: &mut Tables, key: &ServiceKey, open: &BTreeSet<u32>) -> Vec<MapOp> {
    let Some(held) = tables.services.get_mut(key) else { return Vec::new() };
    let slots = held.slots.iter().enumerate();
    let closed = slots.map(|(index, slot)| if open.contains(&(index as u32)) { *slot } else { slot.closed() }).collect();
    replace_slots(held, closed).into_iter().collect()
}

/// Tells whether any slot of a service is tracked.
pub fn is_tracking(tables: &Tables, key: &ServiceKey) -> bool {
    tables.services.get(key).is_some_and(|held| held.slots.iter().any(|slot| !slot.is_settled()))
}

fn sync_service(tables: &mut Tables, key: &ServiceKey, wanted: &WantedService, ops: &mut Vec<MapOp>) -> Result<Ring, Full> {
    let mut held = match tables.services.get(key) {
        // Most services are untouched by a change, and a ring takes milliseconds.
        Some(held) if held.brought_to.as_ref() == Some(wanted) => return Ok(Ring::Same),
        Some(held) => held.clone(),
        None => new_service(tables, key, wanted)?,
    };
    if is_hash(held.head.choice) != is_hash(wanted.choice) {
        held.region = tables.place_ring(key, wanted.choice)?;
        held.slots.clear();
    }
    held.head = Head { forward: wanted.forward, choice: wanted.choice, tracking: wanted.tracking, ..held.head };
    let dead = sync_servers(tables, &mut held, wanted, ops)?;
    let slots = wanted_slots(&held, key, wanted, &dead);
    let moved = replace_slots(&mut held, slots);
    let ring = if moved.is_some() { Ring::Changed } else { Ring::Same };
    ops.extend(moved);

    let service = Service {
        address: key.socket.ip().into(),
        head: held.head.pack(),
        ring: Service::pack_ring(held.region.0, held.slots.len() as u32),
    };
    if !tables.services.contains_key(key) {
        ops.push(MapOp::Address { service: held.head.id, address: key.socket.ip() });
    }
    if tables.differs(held.bucket, held.way, &service) {
        let place = MapOp::Service { bucket: held.bucket, way: held.way, service: Some(service) };
        tables.apply(&place);
        ops.push(place);
    }
    // Only now does no slot give new flows to a dead server.
    for (id, server) in dead.values() {
        write_server(tables, *id, *server, ops);
    }
    held.brought_to = Some(wanted.clone());
    tables.services.insert(*key, held);
    Ok(ring)
}

fn new_service(tables: &mut Tables, key: &ServiceKey, wanted: &WantedService) -> Result<Held, Full> {
    let region = tables.place_ring(key, wanted.choice)?;
    let (id, bucket, way) = tables.place_service(key)?;
    let head = Head {
        port: Port::new(key.socket.port()),
        protocol: key.protocol,
        forward: wanted.forward,
        choice: wanted.choice,
        tracking: wanted.tracking,
        id,
    };
    Ok(Held { head, bucket, way, region, slots: Vec::new(), servers: BTreeMap::new(), brought_to: None })
}

/// Writes the servers that may be used; returns those that may not, to be written last.
fn sync_servers(
    tables: &mut Tables,
    held: &mut Held,
    wanted: &WantedService,
    ops: &mut Vec<MapOp>,
) -> Result<BTreeMap<ServerKey, (u16, Server)>, Full> {
    tables.check_room(wanted.servers.len().saturating_sub(held.servers.len()), wanted)?;
    let mut dead = BTreeMap::new();
    for (key, server) in server_keys(wanted).into_iter().zip(&wanted.servers) {
        let id = match held.servers.get(&key) {
            Some(id) => *id,
            None => tables.place_server(server.socket)?,
        };
        held.servers.insert(key, id);
        let entry = Server {
            address: server.socket.ip().into(),
            port: Port::new(server.socket.port()),
            service: held.head.id,
            flags: if server.usable { Server::USABLE } else { 0 },
            hop: server.way.hop,
            source: server.way.source.into(),
            mtu: server.way.mtu,
            tunnel_port: Port::new(server.way.tunnel_port),
            note: server.note.0,
        };
        if server.usable {
            write_server(tables, id, entry, ops);
        } else {
            tables.reserve(id);
            dead.insert(key, (id, entry));
        }
    }
    Ok(dead)
}

fn write_server(tables: &mut Tables, id: u16, server: Server, ops: &mut Vec<MapOp>) {
    let op = MapOp::Server { id, server };
    if tables.servers.get(&id) != Some(&server) {
        tables.apply(&op);
        ops.push(op);
    }
}

fn wanted_slots(held: &Held, key: &ServiceKey, wanted: &WantedService, dead: &BTreeMap<ServerKey, (u16, Server)>) -> Vec<Slot> {
    let keys = server_keys(wanted);
    let id_of = |index: usize| ServerId(held.servers[&keys[index]]);
    if wanted.choice == Choice::RoundRobin {
        let weights: Vec<u32> = wanted.servers.iter().map(|server| server.weight).collect();
        return ring::sequence(&weights, SEQUENCE_SLOTS).into_iter().map(|index| Slot::settled(id_of(index))).collect();
    }
    let names: Vec<String> = keys.iter().map(ServerKey::name).collect();
    let weighted: Vec<Weighted<'_>> =
        names.iter().zip(&wanted.servers).map(|(name, server)| Weighted { name, weight: server.weight }).collect();
    let mut owners: Vec<ServerId> =
        maglev::populate(&weighted, RING_SLOTS as usize).into_iter().map(|index| id_of(usize::from(index))).collect();
    owners.resize(RING_SLOTS as usize, ServerId::NONE);
    let dead: BTreeSet<u16> = dead.values().map(|(id, _)| *id).collect();
    let remembers = wanted.forward != Forward::Nat && key.protocol == TCP && wanted.tracking == Tracking::WhereChanged;
    let before = held.slots.iter().copied().chain(std::iter::repeat(Slot::default()));
    before.zip(owners).map(|(slot, owner)| if remembers { follow(slot, owner, &dead) } else { Slot::settled(owner) }).collect()
}

/// Returns a slot given to `owner`, keeping the flows of living servers.
fn follow(slot: Slot, owner: ServerId, dead: &BTreeSet<u16>) -> Slot {
    let slot = if dead.contains(&slot.current().0) { slot.replaced_by(owner) } else { slot.changed_to(owner) };
    match slot.former() {
        Some(former) if dead.contains(&former.0) => slot.without(former),
        _ => slot,
    }
}

/// Puts other slots in place and returns the operation for the run that differs.
fn replace_slots(held: &mut Held, slots: Vec<Slot>) -> Option<MapOp> {
    let differs = |index: &usize| held.slots.get(*index) != Some(&slots[*index]);
    let first = (0..slots.len()).find(differs);
    let op = first.map(|first| {
        let last = (first..slots.len()).rev().find(differs).unwrap_or(first);
        MapOp::Slots { first: held.region.0 + first as u32, slots: slots[first..=last].to_vec() }
    });
    held.slots = slots;
    op
}

fn remove_service(tables: &mut Tables, key: &ServiceKey, ops: &mut Vec<MapOp>) {
    let Some(held) = tables.services.remove(key) else { return };
    let place = MapOp::Service { bucket: held.bucket, way: held.way, service: None };
    tables.apply(&place);
    ops.push(place);
    ops.extend(free(tables, held.servers.values().copied().collect()));
}

fn free(tables: &mut Tables, ids: BTreeSet<u16>) -> Vec<MapOp> {
    if ids.is_empty() {
        return Vec::new();
    }
    let mut ops: Vec<MapOp> = ids.iter().map(|id| MapOp::Server { id: *id, server: Server::default() }).collect();
    ops.iter().for_each(|op| tables.apply(op));
    ops.push(MapOp::Forget { servers: ids });
    ops
}

const fn is_hash(choice: Choice) -> bool {
    match choice {
        Choice::Source | Choice::Tuple => true,
        Choice::RoundRobin => false,
    }
}

/// Returns the keys of a service's servers in the file's order.
fn server_keys(wanted: &WantedService) -> Vec<ServerKey> {
    let mut seen: BTreeMap<SocketAddr, u16> = BTreeMap::new();
    let keys = wanted.servers.iter().map(|server| {
        let count = seen.entry(server.socket).or_default();
        let key = ServerKey { socket: server.socket, occurrence: *count };
        *count += 1;
        key
    });
    keys.collect()
}

#[cfg(test)]
mod tests;

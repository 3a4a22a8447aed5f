//! From what is there to what should be: a pure function that returns the operations in the order in which they must reach the maps.
//!
//! A packet may be under way between any two of them, so: servers before the slots that name them, slots before the service that uses them, and the
//! reverse when something goes. A server that left the file stays usable without new flows until [`retire`] finds that nothing belongs to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use xdp_common::{
    addr::Port,
    flow::{ServerId, Slot, TCP},
    guard::Guard,
    limits::SEQUENCE_SLOTS,
    server::Server,
    service::{Forward, Head, OnDead, Service, Tracking, listened, returned},
    settings::{COOKIES, GUARDED, LOG_SHIFT, LOGGED, Link, SHORTENED, TAGGED},
    wire::{ICMP, ICMPV6},
};

use crate::{
    maglev::{self, Weighted},
    plan::{ServiceKey, Wanted, WantedGuard, WantedService},
    ranges, ring,
    tables::{self, Counts, Full, Held, MapOp, ServerKey, Tables, server_keys},
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
    /// Services whose rings are not as long as they should be, because they are in use.
    pub kept: Vec<ServiceKey>,
}

/// Brings the tables to what is wanted, and returns the operations that bring the maps there too.
pub fn sync(tables: &mut Tables, wanted: &Wanted) -> Synced {
    let mut synced = Synced::default();
    let gone: Vec<ServiceKey> = tables.services.keys().filter(|key| !wanted.services.contains_key(*key)).copied().collect();
    let (ranges, exact): (Vec<_>, Vec<_>) = gone.into_iter().partition(ServiceKey::is_range);
    for key in exact {
        remove_service(tables, &key, &mut synced.ops);
    }
    sync_guard(tables, &wanted.guard, &mut synced);
    sync_vlans(tables, &wanted.vlans, &mut synced);
    for (key, service) in &wanted.services {
        match sync_service(tables, key, service, &mut synced.ops) {
            Ok(Ring::Changed) => synced.changed.push(*key),
            Ok(Ring::Same) => {}
            Err(full) => synced.refused.push(full),
        }
    }
    sync_ranges(tables, wanted, &mut synced);
    // Only now does no segment lead there.
    for key in ranges {
        remove_service(tables, &key, &mut synced.ops);
    }
    sync_entries(tables, &wanted.listeners, &mut synced);
    sync_echoes(tables, &mut synced);
    sync_segment_sizes(tables, wanted, &mut synced);
    sync_features(tables, wanted, &mut synced);
    synced.kept = kept(tables, wanted);
    synced
}

/// Returns the services whose rings are of another size than is wanted by now.
fn kept(tables: &Tables, wanted: &Wanted) -> Vec<ServiceKey> {
    let differs = |key: &ServiceKey, wanted: &WantedService| {
        tables.services.get(key).is_some_and(|held| held.region.1 != tables::region_size(wanted.choice, wanted.ring))
    };
    wanted.services.iter().filter(|(key, wanted)| differs(key, wanted)).map(|(key, _)| *key).collect()
}

/// Has the data plane know what there is to look for, before it goes or after it has come.
fn sync_counts(tables: &mut Tables, counts: Counts, synced: &mut Synced) {
    if tables.counts != counts {
        tables.counts = counts;
        synced.ops.push(MapOp::Counts(counts));
    }
}

/// Has the replies of every server behind `dnat` lead back to its service, and listeners of the host be known that are kept from floods.
fn sync_entries(tables: &mut Tables, listeners: &BTreeMap<SocketAddr, u32>, synced: &mut Synced) {
    let mut wanted: BTreeMap<(SocketAddr, u8), Service> = BTreeMap::new();
    for (key, held) in tables.services.iter().filter(|(_, held)| held.head.forward == Forward::Dnat) {
        for server in held.servers.keys() {
            let head = tables::entry_head(server.socket.port(), returned(key.protocol), held.head.id);
            // A port of many is the server's own.
            let ring = if key.is_range() { 0 } else { u64::from(key.socket.port()) };
            wanted.entry((server.socket, returned(key.protocol))).or_insert(Service {
                address: server.socket.ip().into(),
                head: head.pack(),
                ring,
            });
        }
    }
    let count = wanted.len() as u32;
    for (socket, rate) in listeners {
        let head = tables::entry_head(socket.port(), listened(TCP), 0).pack();
        wanted.insert((*socket, listened(TCP)), Service { address: socket.ip().into(), head, ring: u64::from(*rate) });
    }
    let gone: Vec<_> = tables.entries.keys().filter(|name| !wanted.contains_key(*name)).copied().collect();
    for (name, service) in wanted {
        match tables.place_entry(name, service) {
            Ok(op) => synced.ops.extend(op),
            Err(full) => synced.refused.push(full),
        }
    }
    sync_counts(tables, Counts { returns: count, ..tables.counts }, synced);
    synced.ops.extend(gone.into_iter().filter_map(|name| tables.remove_entry(name)));
}

/// Has every port of a range lead to the narrowest service that has it. New segments are complete before an address leads to them.
fn sync_ranges(tables: &mut Tables, wanted: &Wanted, synced: &mut Synced) {
    let mut directories: BTreeMap<(IpAddr, u8), Vec<(ServiceKey, u16)>> = BTreeMap::new();
    for (key, held) in tables.services.iter().filter(|(key, _)| key.is_range() && wanted.services.contains_key(*key)) {
        directories.entry((key.socket.ip(), key.protocol)).or_default().push((*key, held.head.id));
    }
    let gone: Vec<_> = tables.directories.keys().filter(|name| !directories.contains_key(*name)).copied().collect();
    let count = directories.len();
    for (name, services) in directories {
        let segments = ranges::flatten(&services);
        if tables.directories.get(&name).is_some_and(|held| held.segments == segments) {
            continue;
        }
        match tables.place_directory(name, segments) {
            Ok(ops) => synced.ops.extend(ops),
            Err(full) => synced.refused.push(full),
        }
    }
    sync_counts(tables, Counts { ranges: count as u32, ..tables.counts }, synced);
    synced.ops.extend(gone.into_iter().filter_map(|name| tables.remove_directory(name)));
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

/// Has frames of every VLAN untagged, and frames for it tagged.
fn sync_vlans(tables: &mut Tables, wanted: &BTreeMap<u32, Link>, synced: &mut Synced) {
    let present = std::mem::replace(&mut tables.vlans, wanted.clone());
    let come = wanted.iter().filter(|(key, link)| present.get(*key) != Some(*link));
    synced.ops.extend(come.map(|(key, link)| MapOp::Vlan { key: *key, link: Some(*link) }));
    let go = present.keys().filter(|key| !wanted.contains_key(*key));
    synced.ops.extend(go.map(|key| MapOp::Vlan { key: *key, link: None }));
}

/// Has connections of services use no longer segments than they may.
fn sync_segment_sizes(tables: &mut Tables, wanted: &Wanted, synced: &mut Synced) {
    let sizes = wanted.services.iter().filter_map(|(key, service)| Some((tables.services.get(key)?.head.id, service.mss?)));
    let sizes: BTreeMap<u16, u16> = sizes.collect();
    let present = std::mem::replace(&mut tables.segment_sizes, sizes);
    let sizes = &tables.segment_sizes;
    let go = present.keys().filter(|service| !sizes.contains_key(*service)).map(|service| (*service, 0));
    let come = sizes.iter().filter(|(service, size)| present.get(*service) != Some(*size)).map(|(service, size)| (*service, *size));
    synced.ops.extend(go.chain(come).map(|(service, size)| MapOp::SegmentSize { service, size }));
}

/// Has the data plane know, last of all, what it must look at.
fn sync_features(tables: &mut Tables, wanted: &Wanted, synced: &mut Synced) {
    let guard = &tables.guard;
    let guarded = guard.connections | guard.packets != 0 || !guard.prefixes.is_empty();
    // Once there were VLANs, packets may be under way of which a tag is noted.
    let tagged = !tables.vlans.is_empty() || u64::from(tables.features) & TAGGED != 0;
    let features = [
        (guarded, GUARDED),
        (tagged, TAGGED),
        (!tables.segment_sizes.is_empty(), SHORTENED),
        (wanted.log.is_some(), LOGGED),
        (!wanted.listeners.is_empty(), COOKIES),
    ];
    let features = features.iter().filter(|(used, _)| *used).fold(0, |features, (_, feature)| features | *feature as u32);
    let features = features | wanted.log.unwrap_or_default() << LOG_SHIFT;
    if tables.features != features {
        tables.features = features;
        synced.ops.push(MapOp::Features(features));
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
        let key = ServiceKey::new(SocketAddr::new(address, 0), if address.is_ipv4() { ICMP } else { ICMPV6 });
        let Some((bucket, way)) = tables.free_place(&key) else {
            synced.refused.push(Full::Services(key.socket));
            continue;
        };
        let service = Service { address: address.into(), head: tables::entry_head(0, key.protocol, 0).pack(), ring: 0 };
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
        let wanted = wanted.services.get(key).map(|service| server_keys(service)).unwrap_or_default();
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

fn sync_service(tables: &mut Tables, key: &ServiceKey, wanted: &Arc<WantedService>, ops: &mut Vec<MapOp>) -> Result<Ring, Full> {
    let mut held = match tables.services.get(key) {
        // Most services are untouched by a change, and a ring takes milliseconds.
        Some(held) if held.brought_to.as_ref().is_some_and(|before| Arc::ptr_eq(before, wanted) || before == wanted) => {
            return Ok(Ring::Same);
        }
        Some(held) => held.clone(),
        None => new_service(tables, key, wanted)?,
    };
    if held.head.choice.is_hash() != wanted.choice.is_hash() {
        held.region = tables.place_ring(key, wanted.choice, wanted.ring)?;
        held.slots.clear();
    }
    let WantedService { forward, choice, tracking, on_dead, on_none, .. } = **wanted;
    held.head = Head { forward, choice, tracking, on_dead, on_none, ..held.head };
    let Placed { ids, dead } = sync_servers(tables, &mut held, wanted, ops)?;
    let slots = wanted_slots(&held, key, wanted, &ids, &dead);
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
    if tables.differs(&held, &service) {
        let place = held.write(key, Some(service));
        tables.apply(&place);
        ops.push(place);
    }
    // Only now does no slot give new flows to a dead server.
    for (id, server) in dead {
        write_server(tables, id, server, ops);
    }
    held.brought_to = Some(Arc::clone(wanted));
    tables.services.insert(*key, held);
    Ok(ring)
}

fn new_service(tables: &mut Tables, key: &ServiceKey, wanted: &WantedService) -> Result<Held, Full> {
    let region = tables.place_ring(key, wanted.choice, wanted.ring)?;
    let (id, place) = tables.place_service(key)?;
    let head = Head {
        port: Port::new(key.socket.port()),
        protocol: key.protocol,
        forward: wanted.forward,
        choice: wanted.choice,
        tracking: wanted.tracking,
        on_dead: wanted.on_dead,
        on_none: wanted.on_none,
        id,
    };
    Ok(Held { head, place, region, slots: Vec::new(), servers: BTreeMap::new(), brought_to: None })
}

/// The servers of a service in the maps.
struct Placed {
    /// Their ids, in the file's order.
    ids: Vec<u16>,
    /// Those that may not be used, to be written last.
    dead: Vec<(u16, Server)>,
}

/// Writes the servers that may be used.
fn sync_servers(tables: &mut Tables, held: &mut Held, wanted: &WantedService, ops: &mut Vec<MapOp>) -> Result<Placed, Full> {
    tables.check_room(wanted.servers.len().saturating_sub(held.servers.len()), wanted)?;
    let mut placed = Placed { ids: Vec::with_capacity(wanted.servers.len()), dead: Vec::new() };
    for (key, server) in server_keys(wanted).into_iter().zip(&wanted.servers) {
        let id = match held.servers.get(&key) {
            Some(id) => *id,
            None => tables.place_server(server.socket)?,
        };
        held.servers.insert(key, id);
        placed.ids.push(id);
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
            placed.dead.push((id, entry));
        }
    }
    Ok(placed)
}

fn write_server(tables: &mut Tables, id: u16, server: Server, ops: &mut Vec<MapOp>) {
    let op = MapOp::Server { id, server };
    if tables.servers.get(&id) != Some(&server) {
        tables.apply(&op);
        ops.push(op);
    }
}

fn wanted_slots(held: &Held, key: &ServiceKey, wanted: &WantedService, ids: &[u16], dead: &[(u16, Server)]) -> Vec<Slot> {
    let id_of = |index: usize| ServerId(ids[index]);
    if !wanted.choice.is_hash() {
        let weights: Vec<u32> = wanted.servers.iter().map(|server| server.weight).collect();
        return ring::sequence(&weights, SEQUENCE_SLOTS).into_iter().map(|index| Slot::settled(id_of(index))).collect();
    }
    let names: Vec<String> = server_keys(wanted).iter().map(ServerKey::name).collect();
    let weighted: Vec<Weighted<'_>> =
        names.iter().zip(&wanted.servers).map(|(name, server)| Weighted { name, weight: server.weight }).collect();
    // The size it was made with: another would give most of its flows to other servers.
    let slots = held.region.1 as usize;
    let mut owners: Vec<ServerId> = maglev::populate(&weighted, slots).into_iter().map(|index| id_of(usize::from(index))).collect();
    owners.resize(slots, ServerId::NONE);
    let dead: BTreeSet<u16> = dead.iter().map(|(id, _)| *id).collect();
    let remembers = wanted.forward != Forward::Nat && key.protocol == TCP && wanted.tracking == Tracking::WhereChanged;
    let before = held.slots.iter().copied().chain(std::iter::repeat(Slot::default()));
    before
        .zip(owners)
        .map(|(slot, owner)| if remembers { follow(slot, owner, &dead, wanted.on_dead) } else { Slot::settled(owner) })
        .collect()
}

/// Returns a slot given to `owner`, keeping the flows of living servers, and those of dead ones where they are to be reset.
fn follow(slot: Slot, owner: ServerId, dead: &BTreeSet<u16>, on_dead: OnDead) -> Slot {
    if on_dead == OnDead::Reset {
        return slot.changed_to(owner);
    }
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
    let place = held.write(key, None);
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

#[cfg(test)]
mod tests;

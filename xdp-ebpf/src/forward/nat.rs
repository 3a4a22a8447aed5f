//! Full NAT: the server sees one of our source addresses, so that its replies come back here whatever network it is in.
//!
//! A flow's entry stands in one of two buckets that its hash names; the entry's index is the translated address and port. Replies return by the link they
//! came from, to the station that sent the client's last packet.

use crate::{
    choose::{self, Chosen},
    flows,
    forward::{Sent, neighbor, translation},
    maps::{self, NatBucket},
    packet::Packet,
    parse::Flow,
    stats::{self, Age},
};
use xdp_common::{
    addr::Addr,
    flow::{FlowKey, Place, ServerId, State, UDP, mix, scale},
    limits::{NAT_WAYS, POOL_PROBES},
    nat::{Control, Entry},
    reason::Reason,
    server::Hop,
    service::{Head, Service},
    settings::{Settings, pool_slot},
};

/// An entry and where it stands.
#[derive(Clone, Copy)]
struct Found {
    bucket: NatBucket,
    /// Index of the entry: the translation.
    index: u32,
    way: usize,
    control: Control,
}

/// A server's reply and whom it is for.
pub(crate) struct Reply {
    found: Found,
    entry: Entry,
}

/// Translates a client's packet and sends it to a server.
#[inline(always)]
pub(crate) fn send(packet: &mut Packet<'_>, flow: &Flow, service: &Service, settings: &Settings) -> Result<Sent, Reason> {
    let head = service.parts();
    let place = choose::place(&flow.key, &head, settings);
    let back = neighbor::note(&neighbor::back(packet).ok_or(Reason::Truncated)?);
    let buckets = Buckets::of(&flow.key, &place, settings);
    let name = Entry::pack_name(&flow.key, head.id);
    let (index, chosen, age) = match buckets.find(&flow.key.source, name) {
        Some(found) => continued(flow, &found, service, &head, &place, back)?,
        None => begun(flow, &buckets, name, service, &head, &place, back)?,
    };
    let to = FlowKey {
        source: *maps::pool_address(settings.nat_address_index(index)).ok_or(Reason::Internal)?,
        destination: chosen.server.address,
        source_port: settings.nat_port(index),
        destination_port: chosen.server.port_for(flow.key.destination_port),
        protocol: flow.key.protocol,
    };
    translation::rewrite(packet, &flow.key, &to)?;
    let interface = neighbor::address(packet, &chosen.server.hop, &to)?;
    stats::count_server(chosen.id, flow, age);
    Ok(Sent { interface, reason: Reason::Forwarded })
}

/// Finds out whether a packet is a server's reply to a translated flow.
#[inline(always)]
pub(crate) fn find_reply(flow: &Flow, settings: &Settings) -> Option<Reply> {
    find_reply_of(&flow.key, settings)
}

/// Does as [`find_reply`] for the addresses and ports a reply would have.
#[inline(always)]
pub(crate) fn find_reply_of(key: &FlowKey, settings: &Settings) -> Option<Reply> {
    if !settings.is_nat_port(key.destination_port) {
        return None;
    }
    let index = settings.nat_index(pool_index(&key.destination, settings)?, key.destination_port);
    let bucket = maps::nat_bucket(index / NAT_WAYS as u32)?;
    let way = index as usize % NAT_WAYS;
    let before = bucket.control(way);
    let entry = bucket.entry_of(way);
    let control = Control(entry.control);
    let server = maps::server(control.server().0)?;
    let ours = before.lasted_to(control)
        && entry.protocol() == key.protocol
        && server.port_for(entry.service_port()) == key.source_port
        && server.address == key.source;
    ours.then_some(Reply { found: Found { bucket, index, way, control }, entry })
}

/// Translates a server's reply back and sends it to its client.
#[inline(always)]
pub(crate) fn reply(packet: &mut Packet<'_>, flow: &Flow, reply: &Reply) -> Result<Sent, Reason> {
    let (to, hop) = reply.client()?;
    let found = &reply.found;
    found.renew(answered(flow, found.control));
    translation::rewrite(packet, &flow.key, &to)?;
    let interface = neighbor::address(packet, hop, &to)?;
    Ok(Sent { interface, reason: Reason::Returned })
}

impl Reply {
    /// Returns the service it is from.
    #[inline(always)]
    pub(crate) const fn service(&self) -> u16 {
        self.entry.service()
    }

    /// Returns the addresses and ports it has for its client, and the way there.
    #[inline(always)]
    pub(crate) fn client(&self) -> Result<(FlowKey, &'static Hop), Reason> {
        let Self { found, entry } = self;
        let to = FlowKey {
            source: *maps::service_address(entry.service()).ok_or(Reason::Internal)?,
            destination: entry.client,
            source_port: entry.service_port(),
            destination_port: entry.client_port(),
            protocol: entry.protocol(),
        };
        let hop = maps::return_hop(u32::from(found.control.return_hop())).ok_or(Reason::Internal)?;
        Ok((to, hop))
    }
}

/// Returns the translation of a client's flow, whose destination is left as it was, and its server.
#[inline(always)]
pub(crate) fn known(key: &FlowKey, place: &Place, head: &Head, settings: &Settings) -> Option<(FlowKey, Chosen)> {
    let found = Buckets::of(key, place, settings).find(&key.source, Entry::pack_name(key, head.id))?;
    let chosen = choose::usable(found.control.server(), head)?;
    let source = *maps::pool_address(settings.nat_address_index(found.index))?;
    Some((FlowKey { source, source_port: settings.nat_port(found.index), ..*key }, chosen))
}

/// Handles a packet of a known flow; when its server is gone the flow moves, and the new server's reset tells the client at once.
#[inline(always)]
fn continued(flow: &Flow, found: &Found, service: &Service, head: &Head, place: &Place, back: u16) -> Result<(u32, Chosen, Age), Reason> {
    let reopened = flow.opens() && found.control.stamp().state() == State::Closing;
    if !reopened && let Some(chosen) = choose::usable(found.control.server(), head) {
        found.renew(spoken(flow, found.control, back));
        return Ok((found.index, chosen, Age::Known));
    }
    if !reopened && choose::ends_with_server(flow, head) {
        return Err(Reason::ServerGone);
    }
    let chosen = choose::fresh(service, head, place)?;
    let control = Control::begin(chosen.id, back, flow.key.protocol, flows::now());
    if !found.bucket.exchange(found.way, found.control, control) {
        return Err(Reason::Contended);
    }
    Ok((found.index, chosen, Age::New))
}

/// Begins a flow: takes the entry that can best be spared.
#[inline(always)]
fn begun(
    flow: &Flow,
    buckets: &Buckets<'_>,
    name: u64,
    service: &Service,
    head: &Head,
    place: &Place,
    back: u16,
) -> Result<(u32, Chosen, Age), Reason> {
    let chosen = choose::fresh(service, head, place)?;
    let now = flows::now();
    let found = buckets.victim(chosen.id, now).ok_or(Reason::NatFull)?;
    let control = Control::begin(chosen.id, back, flow.key.protocol, now);
    if !found.bucket.exchange(found.way, found.control, control.claimed()) {
        return Err(Reason::Contended);
    }
    found.bucket.name(found.way, flow.key.source, name);
    if !found.bucket.exchange(found.way, control.claimed(), control) {
        return Err(Reason::Internal);
    }
    // A late packet of a flow that was forgotten takes an entry as well, so that the server's reset finds the way back; it is no new flow.
    let age = if flow.opens() || flow.key.protocol == UDP { Age::New } else { Age::Known };
    Ok((found.index, chosen, age))
}

/// Returns the control word after a packet of the client.
#[inline(always)]
fn spoken(flow: &Flow, control: Control, back: u16) -> Control {
    let control = if flow.finishes() { control.with(Control::CLIENT_FIN) } else { control };
    let known = control.stamp().state();
    let state = if flow.resets() || control.has(Control::CLIENT_FIN | Control::SERVER_FIN) {
        State::Closing
    } else if known == State::New && control.has(Control::ANSWERED) && !flow.opens() {
        State::Confirmed
    } else {
        known
    };
    control.returning_by(back).stamped(state, flows::now())
}

/// Returns the control word after a packet of the server.
#[inline(always)]
fn answered(flow: &Flow, control: Control) -> Control {
    let fin = if flow.finishes() { Control::SERVER_FIN } else { 0 };
    let control = control.with(Control::ANSWERED | fin);
    let known = control.stamp().state();
    let state = if flow.resets() || control.has(Control::CLIENT_FIN | Control::SERVER_FIN) {
        State::Closing
    } else if flow.key.protocol == UDP {
        State::Confirmed
    } else {
        known
    };
    control.stamped(state, flows::now())
}

impl Found {
    /// Puts a new control word; unchanged words are not written, so that a busy flow writes once a tick.
    #[inline(always)]
    fn renew(&self, control: Control) {
        if control != self.control {
            // A lost race is lost: the next packet brings the same news.
            let _lost = self.bucket.exchange(self.way, self.control, control);
        }
    }
}

/// The two buckets a flow may stand in.
struct Buckets<'s> {
    indices: [u32; 2],
    settings: &'s Settings,
}

impl<'s> Buckets<'s> {
    #[inline(always)]
    fn of(key: &FlowKey, place: &Place, settings: &'s Settings) -> Self {
        let (base, count) =
            if key.source.is_v4() { (0, settings.nat_buckets_v4) } else { (settings.nat_buckets_v4, settings.nat_buckets_v6) };
        let second = (mix(u64::from(place.line), settings.key.0[0]) >> 32) as u32;
        Self { indices: [base + scale(place.line, count), base + scale(second, count)], settings }
    }

    /// Returns the flow's own entry.
    #[inline(always)]
    fn find(&self, client: &Addr, name: u64) -> Option<Found> {
        for index in self.indices {
            let bucket = maps::nat_bucket(index)?;
            for way in 0..NAT_WAYS {
                let before = bucket.control(way);
                let entry = bucket.entry_of(way);
                let control = Control(entry.control);
                // Read before and after the name: another CPU may be giving the entry to another flow.
                if before.lasted_to(control) && entry.client == *client && entry.name == name {
                    let way = self.settings.blur(way as u32);
                    return Some(Found { bucket, index: index * NAT_WAYS as u32 + way, way: way as usize, control });
                }
            }
        }
        None
    }

    /// Returns the entry that can best be spared, if one can.
    #[inline(always)]
    fn victim(&self, server: ServerId, now: u16) -> Option<Found> {
        // Plain values, and no pointer among them until one is chosen: the verifier follows each of those by itself.
        let (mut most, mut place, mut control) = (0, 0, Control::default());
        for index in self.indices {
            let bucket = maps::nat_bucket(index)?;
            for way in 0..NAT_WAYS {
                let found = bucket.control(way);
                let expendable = self.settings.blur(found.expendable(server, now));
                if expendable > most {
                    (most, place, control) = (expendable, self.settings.blur(index * NAT_WAYS as u32 + way as u32), found);
                }
            }
        }
        if most == 0 {
            return None;
        }
        let bucket = maps::nat_bucket(place / NAT_WAYS as u32)?;
        Some(Found { bucket, index: place, way: place as usize % NAT_WAYS, control })
    }
}

/// Returns the index of a source address.
#[inline(always)]
fn pool_index(address: &Addr, settings: &Settings) -> Option<u32> {
    let first = pool_slot(address, &settings.key);
    (0..POOL_PROBES).filter_map(|probe| maps::pool_slot(first + probe)).find(|slot| slot.address == *address).map(|slot| slot.index)
}

//! The data plane with the daemon's copy of its tables: brought to what configuration, states, next hops and commands ask for.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::bail;
use control::{
    config::{Config, Server},
    fleet::Fleet,
};
use tracing::{error, warn};
use xdp_common::{
    guard::{Origin, Rule},
    limits::FLOW_IDLE,
    server::{Hop, Load},
    service::Choice,
    settings::Link,
};

use crate::{
    datapath::{Datapath, Pins, Setup},
    flows,
    neighbor::{NextHop, Outcomes, interface::VlanDevice},
    note::Note,
    plan::{self, Basis, ServiceKey, Wanted, WantedGuard, WantedService, Way},
    reach::Obstacles,
    sync::{self, Synced},
    tables::{Full, Tables},
};

/// The data plane with the daemon's copy of its tables.
pub(crate) struct Kernel {
    pub(crate) datapath: Datapath,
    pub(crate) tables: Tables,
    pub(crate) wanted: Wanted,
    /// What that was planned from, unless ways to servers changed since.
    basis: Option<Basis>,
    /// The next hops it was planned with.
    hops: Outcomes,
    /// The guard as the file has it.
    pub(crate) written: WantedGuard,
    /// Prefixes that commands added; they have precedence over those of the file.
    pub(crate) commanded: BTreeMap<(IpAddr, u8), Rule>,
    /// When the ring of a service last changed; flows may be silent since before.
    changed: BTreeMap<ServiceKey, Instant>,
    /// What found no room last time, so that it is said once.
    refused: Vec<Full>,
    /// Services whose rings did not become as long as they should be, said once too.
    kept: Vec<ServiceKey>,
    /// Interfaces whose packets the program sees, and the longest packet each takes.
    pub(crate) interfaces: BTreeMap<u32, u16>,
    /// VLANs of those interfaces.
    pub(crate) vlans: Vec<VlanDevice>,
    /// Addresses of those interfaces, which listeners of all addresses have.
    host: Vec<IpAddr>,
    /// What tunnels come from where the routing table does not say: the first source address of each family.
    sources: Vec<IpAddr>,
    /// Servers that cannot be reached, said once as well.
    obstacles: Obstacles,
}

impl Kernel {
    pub(crate) fn load(pins: Pins, setup: &Setup) -> anyhow::Result<Self> {
        let datapath = Datapath::load_locked(pins, setup)?;
        let tables = datapath.maps().tables();
        let by_command = |rule: &Rule| matches!(rule.origin, Origin::Command { .. });
        let commanded = tables.guard.prefixes.iter().filter(|(_, rule)| by_command(rule)).map(|(key, rule)| (*key, *rule)).collect();
        let changed = tables.services().map(|(key, _)| (*key, Instant::now())).collect();
        let interfaces = setup.interfaces.iter().map(|interface| (interface.index, interface.mtu)).collect();
        let sources = setup.pool.addresses().collect();
        Ok(Self {
            datapath,
            tables,
            wanted: Wanted::default(),
            basis: None,
            hops: Outcomes::default(),
            written: WantedGuard::default(),
            commanded,
            changed,
            refused: Vec::new(),
            kept: Vec::new(),
            interfaces,
            vlans: Vec::new(),
            host: setup.host.clone(),
            sources,
            obstacles: Obstacles::default(),
        })
    }

    /// Refuses cookies that nobody would make.
    ///
    /// # Errors
    /// An old kernel.
    pub(crate) fn require_cookies(&self, config: &Config) -> anyhow::Result<()> {
        let asked = config.xdp().filter(|xdp| xdp.syn_cookies().is_some());
        match asked {
            Some(xdp) if !self.datapath.makes_cookies() => bail!("{}: `syn-cookies` needs Linux 6.0 or later", xdp.location()),
            _ => Ok(()),
        }
    }

    /// Sets of servers again what commands had set before a restart, as the maps have it noted.
    pub(crate) fn recall(&self, fleet: &Fleet) {
        let view = fleet.view();
        let config = view.config();
        for frontend in config.frontends() {
            let Some(xdp) = frontend.xdp() else { continue };
            for key in plan::service_keys(frontend) {
                for server in config.servers_of(xdp.backend()) {
                    let held = plan::socket_for(server, &key).and_then(|socket| self.tables.server_at(&key, socket));
                    if let Some(held) = held {
                        Note(held.note).recall(fleet, &view, server.id());
                    }
                }
            }
        }
    }

    /// Lets go of prefixes whose time is over; tells whether there were any.
    pub(crate) fn expire(&mut self, now: u64) -> bool {
        let before = self.commanded.len();
        self.commanded.retain(|_, rule| match rule.origin {
            Origin::Command { until } => until == 0 || until > now,
            Origin::File => true,
        });
        self.commanded.len() != before
    }

    /// Says what newly stands in the way of forwarding to a server.
    fn note_obstacles(&mut self, hops: &Outcomes) {
        let obstacles = Obstacles::of(hops, &self.interfaces.keys().copied().collect::<Vec<_>>());
        obstacles.news(&self.obstacles).for_each(|(address, text)| warn!("server address {address}: {text}"));
        self.obstacles = obstacles;
    }

    /// Brings the maps to what configuration, states and next hops ask for.
    pub(crate) fn reconcile(&mut self, fleet: &Fleet, hops: &Outcomes) {
        if !Arc::ptr_eq(&self.hops, hops) {
            self.note_obstacles(hops);
            self.hops = Arc::clone(hops);
            self.basis = None;
        }
        let way = |ip| self.way(ip, hops.get(&ip).and_then(|outcome| outcome.next_hop()));
        let view = fleet.view();
        let note = |server: &Server| {
            let settings = fleet.settings(&view, server.id());
            settings.map_or_else(Note::default, |(admin, weight)| Note::of(server, admin, weight))
        };
        let basis = Basis::of(&view);
        self.wanted = plan::replan(&basis, self.basis.as_ref().map(|basis| (basis, &self.wanted)), way, note);
        self.basis = Some(basis);
        self.written = self.wanted.guard.clone();
        self.wanted.guard.prefixes.extend(&self.commanded);
        self.wanted.listeners = plan::listeners(view.config(), &self.host);
        self.wanted.vlans = self.vlans.iter().flat_map(entries_of).collect();
        let Synced { ops, changed, refused, kept } = sync::sync(&mut self.tables, &self.wanted);
        self.datapath.apply(&ops);
        self.publish_loads();
        let now = Instant::now();
        self.changed.extend(changed.into_iter().map(|key| (key, now)));
        if refused != self.refused {
            refused.iter().for_each(|full| error!("{full}"));
            self.refused = refused;
        }
        for key in kept.iter().filter(|key| !self.kept.contains(key)) {
            warn!("service {key}: its ring keeps the size it was made with, for the flows that follow it; `l4d detach` forgets both");
        }
        self.kept = kept;
    }

    /// Tells the data plane how many flows servers have that are chosen by it.
    pub(crate) fn publish_loads(&self) {
        let chosen = |service: &WantedService| service.choice == Choice::LeastConn;
        if !self.wanted.services.values().any(|service| chosen(service)) {
            return;
        }
        let maps = self.datapath.maps();
        let counts = flows::count(maps.flow_words(), maps.nat_entries(), flows::now());
        for (key, service) in self.wanted.services.iter().filter(|(_, service)| chosen(service)) {
            for (id, weight) in self.tables.weights(key, service) {
                let flows = counts.get(&id).copied().unwrap_or(0).try_into().unwrap_or(u32::MAX);
                maps.set_load(id, Load::new(flows, weight));
            }
        }
    }

    /// Returns the way to a server.
    fn way(&self, server: IpAddr, hop: Option<&NextHop>) -> Way {
        let own = self.sources.iter().copied().find(|source| source.is_ipv4() == server.is_ipv4());
        let source = hop.and_then(|hop| hop.prefsrc).or(own);
        let mtu = hop.and_then(|hop| self.mtu(hop));
        Way {
            hop: hop.map_or_else(Hop::default, to_hop),
            source: source.unwrap_or(Way::default().source),
            mtu: mtu.unwrap_or_default(),
            ..Way::default()
        }
    }

    /// Returns the longest packet that the way's first link takes.
    fn mtu(&self, hop: &NextHop) -> Option<u16> {
        let vlan = self.vlans.iter().find(|vlan| vlan.ifindex == hop.ifindex).map(|vlan| vlan.mtu);
        vlan.or_else(|| self.interfaces.get(&hop.lane.interface()).copied())
    }

    /// Tells whether an interface has VLANs.
    pub(crate) fn has_vlans(&self, interface: u32) -> bool {
        self.vlans.iter().any(|vlan| vlan.lane.interface() == interface)
    }

    /// Notes the VLANs there are now; tells whether anything changed.
    pub(crate) fn note_vlans(&mut self, vlans: Vec<VlanDevice>) -> bool {
        let changed = self.vlans != vlans;
        self.vlans = vlans;
        self.forget_basis(changed);
        changed
    }

    /// Notes the addresses of the interfaces; tells whether anything changed.
    pub(crate) fn note_host(&mut self, host: Vec<IpAddr>) -> bool {
        let changed = self.host != host;
        self.host = host;
        changed
    }

    /// Notes what interfaces take now; tells whether anything changed.
    pub(crate) fn note_mtu(&mut self, interface: u32, mtu: u16) -> bool {
        let changed = self.interfaces.insert(interface, mtu) != Some(mtu);
        self.forget_basis(changed);
        changed
    }

    /// Has everything planned anew where ways to servers changed.
    fn forget_basis(&mut self, changed: bool) {
        if changed {
            self.basis = None;
        }
    }

    /// Frees servers that left and closes tracked slots, once no flow needs them.
    pub(crate) fn tidy(&mut self) {
        let maps = self.datapath.maps();
        let now = flows::now();
        let leaving = sync::has_leaving(&self.tables, &self.wanted);
        let settled: Vec<ServiceKey> = self.tables.services().map(|(key, _)| *key).filter(|key| self.may_settle(key)).collect();
        let mut ops = Vec::new();
        for key in settled {
            let Some(held) = self.tables.services.get(&key) else { continue };
            let servers = held.servers.values().copied().collect();
            let open = flows::open_slots(&held.slots, held.head.choice, &servers, maps.flow_words(), now);
            ops.extend(sync::settle(&mut self.tables, &key, &open));
        }
        if leaving {
            let busy = flows::busy(maps.flow_words(), maps.nat_entries(), now);
            ops.extend(sync::retire(&mut self.tables, &self.wanted, &busy));
        }
        self.datapath.apply(&ops);
    }

    /// Tells whether a service tracks slots whose older flows have all been silent too long to count.
    fn may_settle(&self, key: &ServiceKey) -> bool {
        let quiet = self.changed.get(key).is_none_or(|at| at.elapsed() > Duration::from_secs(u64::from(FLOW_IDLE)));
        quiet && sync::is_tracking(&self.tables, key)
    }
}

fn to_hop(hop: &NextHop) -> Hop {
    Hop::new(hop.mac, hop.source_mac, hop.lane.0)
}

/// Returns the two entries of a VLAN: what leads to its device, and what leads back.
fn entries_of(vlan: &VlanDevice) -> [(u32, Link); 2] {
    [(vlan.lane.0, Link::new(vlan.mac, vlan.ifindex)), (vlan.ifindex, Link::new(vlan.mac, vlan.lane.0))]
}

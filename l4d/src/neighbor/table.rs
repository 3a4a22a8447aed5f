//! What is known of links, neighbours and routes, and the outcomes that follow; pure.
//!
//! Facts come in from [`session`](super::session) in any order and as often as the kernel repeats them. A neighbour's MAC outlives
//! its entry until resolution has failed: entries are flushed for reasons that do not concern the server, and frames to the old MAC
//! are worth more meanwhile than none.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use xdp_common::lane::Lane;

use super::{Mac, NextHop, Outcome, Outcomes, Unreachable};

/// Something the kernel told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// The link of this index is so, or is gone.
    Link(u32, Option<Link>),
    /// The entry of this neighbour is so, or is gone.
    Neighbor(Target, Option<Entry>),
    /// A route to this prefix came, went or changed.
    Route(Prefix),
    /// Something that bears on every route changed: an address, a rule, a next hop object.
    AllRoutes,
}

/// A neighbour: an address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// None without a six-byte hardware address.
    pub(super) mac: Option<Mac>,
    pub(super) up: bool,
    pub(super) vlan: Option<Vlan>,
}

/// What a link is a VLAN of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vlan {
    pub(super) parent: u32,
    /// Its number; none where its tags are not those of 802.1Q.
    pub(super) id: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) standing: Standing,
    pub(super) mac: Option<Mac>,
}

/// How far a neighbour's MAC is to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Set by the administrator; not to be probed.
    Fixed,
    /// Confirmed a short time ago.
    Fresh,
    /// Known, and being asked at the moment.
    Probing,
    /// Known, but not confirmed for long.
    Stale,
    /// No entry, or one without an answer yet.
    Unresolved,
    /// Nobody answered.
    Failed,
}

impl Standing {
    /// Returns whether the change to `other` matters to anybody: entries age and are confirmed all the time.
    fn differs(self, other: Self) -> bool {
        let settled = |standing| matches!(standing, Self::Fresh | Self::Probing | Self::Stale);
        self != other && !(settled(self) && settled(other))
    }
}

/// Where the kernel would send a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Local,
    Via { ifindex: u32, gateway: Option<IpAddr>, prefsrc: Option<IpAddr> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) address: IpAddr,
    pub(super) length: u8,
}

impl Prefix {
    fn contains(self, address: IpAddr) -> bool {
        let length = u32::from(self.length);
        match (self.address, address) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= length,
            (IpAddr::V6(prefix), IpAddr::V6(address)) => (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= length,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The facts, and what has to be done about them.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: HashMap<u32, Link>,
    /// All entries of the kernel, and those of targets whose entry is gone but whose MAC is remembered.
    neighbors: HashMap<Target, Entry>,
    /// The watched addresses; None until first looked up.
    routes: HashMap<IpAddr, Option<Result<Route, Unreachable>>>,
    /// The neighbours the routes lead to.
    targets: HashSet<Target>,
    /// Watched addresses whose route is to be looked up.
    doubtful: HashSet<IpAddr>,
    changed: bool,
}

impl Table {
    /// Replaces the watched addresses.
    pub(super) fn watch(&mut self, addresses: &[IpAddr]) {
        let wanted: HashSet<IpAddr> = addresses.iter().copied().collect();
        self.routes.retain(|address, _| wanted.contains(address));
        self.doubtful.retain(|address| wanted.contains(address));
        for address in wanted {
            self.routes.entry(address).or_insert_with(|| {
                self.doubtful.insert(address);
                None
            });
        }
        self.retarget();
        self.changed = true;
    }

    /// Takes in one fact.
    pub(super) fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Link(ifindex, link) => self.set_link(ifindex, link),
            Fact::Neighbor(target, entry) => self.set_neighbor(target, entry),
            Fact::Route(prefix) => self.doubtful.extend(self.routes.keys().filter(|&&address| prefix.contains(address))),
            Fact::AllRoutes => self.doubtful.extend(self.routes.keys()),
        }
    }

    /// Takes in the facts of a complete reading: what they do not mention is gone.
    pub(super) fn replace(&mut self, facts: Vec<Fact>) {
        let (mut links, mut neighbors) = (HashSet::new(), HashSet::new());
        for fact in &facts {
            match fact {
                Fact::Link(ifindex, _) => _ = links.insert(*ifindex),
                Fact::Neighbor(target, _) => _ = neighbors.insert(*target),
                Fact::Route(_) | Fact::AllRoutes => {}
            }
        }
        let lost_links: Vec<u32> = self.links.keys().copied().filter(|ifindex| !links.contains(ifindex)).collect();
        let lost_neighbors: Vec<Target> = self.neighbors.keys().copied().filter(|target| !neighbors.contains(target)).collect();
        let gone = lost_links.into_iter().map(|ifindex| Fact::Link(ifindex, None));
        let gone = gone.chain(lost_neighbors.into_iter().map(|target| Fact::Neighbor(target, None)));
        gone.chain(facts).chain([Fact::AllRoutes]).for_each(|fact| self.apply(fact));
    }

    /// Returns whether routes are to be looked up.
    pub(super) fn has_doubts(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Returns the addresses whose route is to be looked up, once.
    pub(super) fn take_doubtful(&mut self) -> Vec<IpAddr> {
        self.doubtful.drain().collect()
    }

    /// Takes in the answers to route lookups.
    pub(super) fn set_routes(&mut self, answers: Vec<(IpAddr, Result<Route, Unreachable>)>) {
        for (address, answer) in answers {
            if let Some(route) = self.routes.get_mut(&address)
                && route.as_ref() != Some(&answer)
            {
                *route = Some(answer);
                self.changed = true;
            }
        }
        self.retarget();
    }

    /// Returns whether an outcome or a target's standing may have changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Returns the outcome of every watched address.
    pub(super) fn outcomes(&self) -> Outcomes {
        self.routes.iter().map(|(&address, route)| (address, self.outcome(address, route.as_ref()))).collect::<HashMap<_, _>>().into()
    }

    /// Returns the neighbours that watched addresses depend on.
    pub(super) fn targets(&self) -> impl Iterator<Item = (Target, Standing)> {
        self.targets.iter().map(|&target| (target, self.standing(target)))
    }

    /// Returns how far a neighbour is to be trusted.
    pub(super) fn standing(&self, target: Target) -> Standing {
        self.neighbors.get(&target).map_or(Standing::Unresolved, |entry| entry.standing)
    }

    fn set_link(&mut self, ifindex: u32, link: Option<Link>) {
        let before = match link {
            Some(link) => self.links.insert(ifindex, link),
            None => self.links.remove(&ifindex),
        };
        if before != link {
            self.changed = true;
            // A link that goes down takes IPv4 routes along without a word about them.
            self.apply(Fact::AllRoutes);
        }
    }

    fn set_neighbor(&mut self, target: Target, entry: Option<Entry>) {
        let watched = self.targets.contains(&target);
        let before = self.neighbors.get(&target).copied();
        let mut after = entry.unwrap_or(Entry { standing: Standing::Unresolved, mac: None });
        // Deletion by hand passes through the failed state too, but without anybody having been asked.
        let settled = before.is_some_and(|entry| matches!(entry.standing, Standing::Fixed | Standing::Fresh | Standing::Stale));
        if after.standing == Standing::Failed && settled {
            after.standing = Standing::Unresolved;
        }
        if after.standing == Standing::Unresolved {
            after.mac = before.and_then(|entry| entry.mac);
        }
        if entry.is_some() || watched {
            self.neighbors.insert(target, after);
        } else {
            self.neighbors.remove(&target);
        }
        let differs = before.is_none_or(|before| before.mac != after.mac || before.standing.differs(after.standing));
        self.changed |= watched && differs;
    }

    /// Derives the targets from the routes, and forgets the remembered MACs of those that no longer are.
    fn retarget(&mut self) {
        let targets: HashSet<Target> = self.routes.iter().filter_map(|(&address, route)| target(address, route.as_ref()?)).collect();
        for target in self.targets.difference(&targets) {
            if self.standing(*target) == Standing::Unresolved {
                self.neighbors.remove(target);
            }
        }
        self.targets = targets;
    }

    fn outcome(&self, address: IpAddr, route: Option<&Result<Route, Unreachable>>) -> Outcome {
        match route {
            None => Outcome::Resolving,
            Some(Err(reason)) => Outcome::Unreachable(reason.clone()),
            Some(Ok(Route::Local)) => Outcome::Local,
            Some(&Ok(Route::Via { ifindex, gateway, prefsrc })) => self.hop(address, ifindex, gateway, prefsrc),
        }
    }

    fn hop(&self, address: IpAddr, ifindex: u32, gateway: Option<IpAddr>, prefsrc: Option<IpAddr>) -> Outcome {
        let Some(link) = self.links.get(&ifindex) else { return Outcome::Resolving };
        if !link.up {
            return Outcome::Unreachable(Unreachable::LinkDown(ifindex));
        }
        let Some(source_mac) = link.mac else { return Outcome::Unreachable(Unreachable::NotEthernet(ifindex)) };
        let Some(lane) = self.lane(ifindex, link) else { return Outcome::Unreachable(Unreachable::Stacked(ifindex)) };
        let target = Target { ifindex, address: gateway.unwrap_or(address) };
        match self.neighbors.get(&target) {
            Some(Entry { mac: Some(mac), .. }) => Outcome::Found(NextHop { ifindex, lane, source_mac, mac: *mac, gateway, prefsrc }),
            Some(Entry { standing: Standing::Failed, mac: None }) => {
                Outcome::Unreachable(Unreachable::NoAnswer { ifindex, address: target.address })
            }
            Some(_) | None => Outcome::Resolving,
        }
    }
}

impl Table {
    /// Returns where the frames of a link are seen; none where no single tag says it.
    fn lane(&self, ifindex: u32, link: &Link) -> Option<Lane> {
        let Some(vlan) = link.vlan else { return Some(Lane(ifindex)) };
        let stacked = self.links.get(&vlan.parent).is_some_and(|parent| parent.vlan.is_some());
        vlan.id.filter(|_| !stacked).and_then(|id| Lane::tagged(vlan.parent, id))
    }
}

fn target(address: IpAddr, route: &Result<Route, Unreachable>) -> Option<Target> {
    match *route {
        Ok(Route::Via { ifindex, gateway, .. }) => Some(Target { ifindex, address: gateway.unwrap_or(address) }),
        Ok(Route::Local) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = [2, 0, 0, 0, 0, 1];
    const THEIRS: Mac = [2, 0, 0, 0, 0, 2];
    const OTHER: Mac = [2, 0, 0, 0, 0, 3];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn neighbor(address: &str, standing: Standing, mac: Option<Mac>) -> Fact {
        Fact::Neighbor(Target { ifindex: 2, address: ip(address) }, Some(Entry { standing, mac }))
    }

    fn gone(address: &str) -> Fact {
        Fact::Neighbor(Target { ifindex: 2, address: ip(address) }, None)
    }

    fn on_link() -> Result<Route, Unreachable> {
        Ok(Route::Via { ifindex: 2, gateway: None, prefsrc: Some(ip("10.0.0.1")) })
    }

    /// A table that watches 10.0.0.2, on the link of index 2, which is up.
    fn table() -> Table {
        let mut table = Table::default();
        table.watch(&[ip("10.0.0.2")]);
        table.apply(Fact::Link(2, Some(Link { mac: Some(OURS), up: true, vlan: None })));
        assert_eq!(table.take_doubtful(), [ip("10.0.0.2")]);
        table.set_routes(vec![(ip("10.0.0.2"), on_link())]);
        table
    }

    fn resolved() -> Table {
        let mut table = table();
        table.apply(neighbor("10.0.0.2", Standing::Fresh, Some(THEIRS)));
        table.take_changed();
        table
    }

    fn outcome(table: &Table) -> Outcome {
        table.outcomes()[&ip("10.0.0.2")].clone()
    }

    fn mac(table: &Table) -> Option<Mac> {
        outcome(table).next_hop().map(|hop| hop.mac)
    }

    #[test]
    fn resolved_neighbor_is_the_next_hop() {
        let mut table = table();
        assert_eq!(outcome(&table), Outcome::Resolving);
        table.take_changed();
        table.apply(neighbor("10.0.0.2", Standing::Stale, Some(THEIRS)));
        assert!(table.take_changed());
        let hop = NextHop { ifindex: 2, lane: Lane(2), source_mac: OURS, mac: THEIRS, gateway: None, prefsrc: Some(ip("10.0.0.1")) };
        assert_eq!(outcome(&table), Outcome::Found(hop));
    }

    #[test]
    fn gateway_is_resolved_instead_of_the_address() {
        let mut table = resolved();
        let gateway = Some(ip("fe80::1"));
        table.set_routes(vec![(ip("10.0.0.2"), Ok(Route::Via { ifindex: 2, gateway, prefsrc: None }))]);
        assert_eq!(outcome(&table), Outcome::Resolving);
        assert_eq!(table.targets().collect::<Vec<_>>(), [(Target { ifindex: 2, address: ip("fe80::1") }, Standing::Unresolved)]);
        table.apply(neighbor("fe80::1", Standing::Fixed, Some(OTHER)));
        assert_eq!(outcome(&table).next_hop().map(|hop| (hop.mac, hop.gateway)), Some((OTHER, gateway)));
    }

    #[test]
    fn new_mac_is_a_change_and_ageing_is_none() {
        let mut table = resolved();
        for standing in [Standing::Stale, Standing::Probing, Standing::Fresh] {
            table.apply(neighbor("10.0.0.2", standing, Some(THEIRS)));
            assert!(!table.take_changed());
        }
        table.apply(neighbor("10.0.0.2", Standing::Fresh, Some(OTHER)));
        assert!(table.take_changed());
        assert_eq!(mac(&table), Some(OTHER));
    }

    #[test]
    fn strangers_are_no_change() {
        let mut table = resolved();
        table.apply(neighbor("10.0.0.99", Standing::Fresh, Some(OTHER)));
        table.apply(gone("10.0.0.99"));
        assert!(!table.take_changed());
        assert_eq!(table.neighbors.len(), 1);
    }

    #[test]
    fn flushed_neighbor_keeps_its_mac_until_it_fails() {
        let mut table = resolved();
        table.apply(gone("10.0.0.2"));
        assert!(table.take_changed(), "it has to be probed");
        assert_eq!(table.targets().next().map(|(_, standing)| standing), Some(Standing::Unresolved));
        table.apply(neighbor("10.0.0.2", Standing::Unresolved, None));
        assert_eq!(mac(&table), Some(THEIRS));
        table.take_changed();
        table.apply(neighbor("10.0.0.2", Standing::Failed, None));
        assert!(table.take_changed());
        assert_eq!(outcome(&table), Outcome::Unreachable(Unreachable::NoAnswer { ifindex: 2, address: ip("10.0.0.2") }));
        table.apply(gone("10.0.0.2"));
        assert_eq!(outcome(&table), Outcome::Resolving);
    }

    #[test]
    fn failure_counts_only_after_a_probe() {
        for (before, kept) in [(Standing::Fresh, true), (Standing::Stale, true), (Standing::Fixed, true), (Standing::Probing, false)] {
            let mut table = resolved();
            table.apply(neighbor("10.0.0.2", before, Some(THEIRS)));
            table.take_changed();
            table.apply(neighbor("10.0.0.2", Standing::Failed, None));
            assert!(table.take_changed(), "{before:?}");
            assert_eq!(mac(&table).is_some(), kept, "{before:?}");
        }
    }

    #[test]
    fn remembered_mac_goes_with_the_last_address_that_needs_it() {
        let mut table = resolved();
        table.apply(gone("10.0.0.2"));
        table.watch(&[]);
        assert!(table.neighbors.is_empty() && table.outcomes().is_empty());
    }

    #[test]
    fn link_decides_before_the_neighbor() {
        let mut table = resolved();
        for (what, link, expected) in [
            ("down", Some(Link { mac: Some(OURS), up: false, vlan: None }), Outcome::Unreachable(Unreachable::LinkDown(2))),
            ("no Ethernet", Some(Link { mac: None, up: true, vlan: None }), Outcome::Unreachable(Unreachable::NotEthernet(2))),
            ("gone", None, Outcome::Resolving),
        ] {
            table.apply(Fact::Link(2, link));
            assert!(table.take_changed(), "{what}");
            assert_eq!(outcome(&table), expected, "{what}");
            assert_eq!(table.take_doubtful(), [ip("10.0.0.2")], "{what}");
        }
        table.apply(Fact::Link(2, Some(Link { mac: Some(OTHER), up: true, vlan: None })));
        assert_eq!(outcome(&table).next_hop().map(|hop| hop.source_mac), Some(OTHER));
    }

    #[test]
    fn a_vlan_is_seen_on_its_parent() {
        let mut table = resolved();
        let vlan = |parent, id| Some(Link { mac: Some(OURS), up: true, vlan: Some(Vlan { parent, id }) });
        table.apply(Fact::Link(3, Some(Link { mac: Some(OURS), up: true, vlan: None })));
        table.apply(Fact::Link(4, vlan(3, Some(7))));
        for (link, expected) in [(vlan(3, Some(7)), Some((3, 7))), (vlan(3, None), None), (vlan(4, Some(8)), None)] {
            table.apply(Fact::Link(2, link));
            let lane = outcome(&table).next_hop().map(|hop| (hop.lane.interface(), hop.lane.vlan()));
            assert_eq!(lane, expected, "{link:?}");
        }
        assert_eq!(outcome(&table), Outcome::Unreachable(Unreachable::Stacked(2)));
    }

    #[test]
    fn repeated_link_news_are_no_change() {
        let mut table = resolved();
        table.apply(Fact::Link(2, Some(Link { mac: Some(OURS), up: true, vlan: None })));
        assert!(!table.take_changed() && !table.has_doubts());
    }

    #[test]
    fn only_routes_that_cover_an_address_cast_doubt_on_it() {
        let mut table = resolved();
        for (prefix, length, doubt) in [
            ("10.0.0.0", 24, true),
            ("0.0.0.0", 0, true),
            ("10.0.0.2", 32, true),
            ("10.0.1.0", 24, false),
            ("10.0.0.3", 32, false),
            ("::", 0, false),
        ] {
            table.apply(Fact::Route(Prefix { address: ip(prefix), length }));
            assert_eq!(!table.take_doubtful().is_empty(), doubt, "{prefix}/{length}");
        }
        assert!(!table.take_changed());
        table.apply(Fact::AllRoutes);
        assert!(table.has_doubts());
        assert!(mac(&table).is_some(), "the old route holds until the new one is known");
    }

    #[test]
    fn local_and_unroutable_addresses_have_no_target() {
        for (answer, expected) in
            [(Ok(Route::Local), Outcome::Local), (Err(Unreachable::NoRoute), Outcome::Unreachable(Unreachable::NoRoute))]
        {
            let mut table = resolved();
            table.set_routes(vec![(ip("10.0.0.2"), answer)]);
            assert!(table.take_changed());
            assert_eq!(outcome(&table), expected);
            assert_eq!(table.targets().count(), 0);
        }
    }

    #[test]
    fn answer_for_a_forgotten_address_is_dropped() {
        let mut table = table();
        table.set_routes(vec![(ip("10.0.0.77"), on_link())]);
        assert_eq!(table.outcomes().len(), 1);
    }

    #[test]
    fn complete_reading_removes_what_it_leaves_out() {
        let mut table = resolved();
        table.apply(neighbor("10.0.0.99", Standing::Fresh, Some(OTHER)));
        table.replace(vec![Fact::Link(3, Some(Link { mac: Some(OURS), up: true, vlan: None }))]);
        assert_eq!(outcome(&table), Outcome::Resolving);
        assert!(table.has_doubts());
        table.replace(vec![Fact::Link(2, Some(Link { mac: Some(OURS), up: true, vlan: None }))]);
        assert_eq!(mac(&table), Some(THEIRS), "a target's MAC is remembered");
        assert_eq!(table.neighbors.len(), 1);
    }
}

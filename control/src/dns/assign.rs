//! Which server is where, by what is known of its name. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::engine::{Engine, Key, Knowledge};
use super::message::{Kind, Service};
use crate::config::{Backend, Config, Family, Lack, Move, NamedAddress, Prefix, Server, canonical_name};

/// Returns what has to be known for the servers of a configuration.
pub(super) fn wanted(config: &Config) -> Vec<Key> {
    let of_service = |server: &Server| service_key(server);
    config.servers().iter().flat_map(|server| [host_key(server), of_service(server)]).flatten().collect()
}

/// Returns the servers that have to move, and where to.
pub(super) fn moves(config: &Config, engine: &Engine, now: Instant) -> Vec<Move> {
    config.backends().iter().flat_map(|backend| Assignment { config, engine, backend, now, moves: Vec::new() }.run()).collect()
}

fn host_key(server: &Server) -> Option<Key> {
    let kind = match server.naming().prefer() {
        Family::V4 => Kind::A,
        Family::V6 => Kind::Aaaa,
    };
    key(server, server.address().named()?.host()?, kind)
}

fn service_key(server: &Server) -> Option<Key> {
    key(server, server.address().named()?.service()?, Kind::Srv)
}

fn key(server: &Server, name: &str, kind: Kind) -> Option<Key> {
    Some(Key { resolvers: server.naming().resolvers()?.to_owned(), name: canonical_name(name)?, kind })
}

struct Assignment<'a> {
    config: &'a Config,
    engine: &'a Engine,
    backend: &'a Backend,
    now: Instant,
    moves: Vec<Move>,
}

impl<'a> Assignment<'a> {
    fn run(mut self) -> Vec<Move> {
        let (mut hosts, mut services) = (BTreeMap::<String, Vec<&Server>>::new(), BTreeMap::<String, Vec<&Server>>::new());
        for server in self.config.servers_of(self.backend.id()) {
            if let Some(key) = service_key(server) {
                services.entry(key.name).or_default().push(server);
            } else if let Some(key) = host_key(server) {
                hosts.entry(key.name).or_default().push(server);
            }
        }
        hosts.into_values().for_each(|servers| self.spread(&servers));
        services.into_values().for_each(|servers| self.fill(&servers));
        self.moves
    }

    fn knowledge(&self, key: &Key) -> Knowledge<'a> {
        let section = self.config.resolvers().iter().find(|section| section.name() == key.resolvers);
        section.map_or(Knowledge::Nothing, |section| self.engine.knowledge(key, section.hold(), self.now))
    }

    /// Gives servers of one name its addresses: each its own, as far as they go.
    fn spread(&mut self, servers: &[&Server]) {
        let (mut taken, mut homeless) = (Vec::new(), Vec::new());
        for server in servers {
            let Some(key) = host_key(server) else { continue };
            match self.knowledge(&key) {
                Knowledge::Nothing | Knowledge::Services(_) => taken.extend(server.ip()),
                Knowledge::Lack(lack) => self.lose(server, lack),
                Knowledge::Addresses(known) => {
                    let may_stay = |ip: &IpAddr| known.contains(ip) && (may_share(server) || !taken.contains(ip));
                    match server.ip().filter(may_stay) {
                        None => homeless.push((server, key, known)),
                        Some(ip) => {
                            taken.push(ip);
                            self.settle(server, &key, Some(ip));
                        }
                    }
                }
            }
        }
        let mut answered: Option<String> = None;
        for (server, key, known) in homeless {
            let uses = |ip: &IpAddr| taken.iter().filter(|taken| *taken == ip).count();
            let free = known.iter().filter(|ip| fits(server, **ip) && (may_share(server) || uses(ip) == 0));
            let best = free.min_by_key(|ip| (uses(ip), !is_near(server, **ip))).copied();
            taken.extend(best);
            // Only the first takes its address from the answer itself.
            let by = if answered.as_ref() == Some(&key.name) { CACHE.to_owned() } else { self.engine.answered_by(&key).to_owned() };
            answered = Some(key.name);
            self.place(server, NamedAddress { ip: best, lack: None, ..named(server) }, None, by);
        }
    }

    /// Gives servers of one service its machines.
    fn fill(&mut self, servers: &[&Server]) {
        let Some(key) = servers.first().and_then(|server| service_key(server)) else { return };
        let machines = match self.knowledge(&key) {
            Knowledge::Nothing | Knowledge::Addresses(_) => return,
            Knowledge::Lack(lack) => return servers.iter().for_each(|server| self.lose(server, lack)),
            Knowledge::Services(machines) => machines,
        };
        let is_of = |server: &Server, machine: &Service| {
            let named = server.address().named();
            let host = named.and_then(NamedAddress::host).and_then(canonical_name);
            host.as_deref() == Some(machine.host.as_str()) && server.port() == Some(machine.port)
        };
        let free: Vec<_> = machines.iter().filter(|machine| !servers.iter().any(|server| is_of(server, machine))).collect();
        let mut free = free.into_iter();
        for server in servers {
            let own = machines.iter().find(|machine| is_of(server, machine));
            match own.or_else(|| free.next()) {
                Some(machine) => self.follow(server, machine, &key),
                None => {
                    let nowhere = NamedAddress { host: None, ip: None, lack: None, weight: None, ..named(server) };
                    self.place(server, nowhere, None, self.engine.answered_by(&key).to_owned());
                }
            }
        }
    }

    /// Brings a server to a machine of its service.
    fn follow(&mut self, server: &Server, machine: &Service, key: &Key) {
        let before = named(server);
        let is_same = before.host.as_deref().and_then(canonical_name).as_deref() == Some(machine.host.as_str());
        let mut to = NamedAddress { host: Some(machine.host.clone()), port: Some(machine.port), ..before.clone() };
        let mut by = self.engine.answered_by(key).to_owned();
        to.ip = machine.ip.filter(|ip| fits(server, *ip)).or(before.ip.filter(|_| is_same));
        to.lack = None;
        if machine.ip.is_none()
            && let Some(own) = host_key(server).filter(|_| is_same)
        {
            by = self.engine.answered_by(&own).to_owned();
            match self.knowledge(&own) {
                Knowledge::Nothing | Knowledge::Services(_) => {}
                Knowledge::Lack(lack) => (to.ip, to.lack) = (None, Some(lack)),
                Knowledge::Addresses(known) => {
                    let stays = before.ip.filter(|ip| known.contains(ip));
                    to.ip = stays.or_else(|| known.iter().copied().filter(|ip| fits(server, *ip)).min_by_key(|ip| !is_near(server, *ip)));
                }
            }
        }
        let weight = (!server.naming().options().ignore_weight).then_some(machine.weight / 256 + 1);
        to.weight = weight;
        self.place(server, to, weight.filter(|_| weight != before.weight), by);
    }

    /// Takes the address away from a server that has one.
    fn lose(&mut self, server: &Server, lack: Lack) {
        if server.lack().is_none() {
            self.place(server, NamedAddress { ip: None, lack: Some(lack), ..named(server) }, None, String::new());
        }
    }

    /// Takes the address of a server for good.
    fn settle(&mut self, server: &Server, key: &Key, ip: Option<IpAddr>) {
        self.place(server, NamedAddress { ip, lack: None, ..named(server) }, None, self.engine.answered_by(key).to_owned());
    }

    fn place(&mut self, server: &Server, to: NamedAddress, weight: Option<u16>, by: String) {
        if server.address().named() != Some(&to) {
            let (backend, server) = (self.backend.name().to_owned(), server.name().to_owned());
            self.moves.push(Move { backend, server, to, weight, by });
        }
    }
}

fn named(server: &Server) -> NamedAddress {
    server.address().named().cloned().unwrap_or_default()
}

fn may_share(server: &Server) -> bool {
    server.naming().options().allow_duplicates
}

/// Tells whether an address is of the family that connections to a server come from, if that is fixed.
fn fits(server: &Server, ip: IpAddr) -> bool {
    server.source().and_then(|source| source.ip()).is_none_or(|source| source.is_ipv4() == ip.is_ipv4())
}

fn is_near(server: &Server, ip: IpAddr) -> bool {
    server.naming().networks().iter().any(|network| contains(network, ip))
}

fn contains(network: &Prefix, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let differ = bits(network.address()) ^ bits(ip);
    network.address().is_ipv4() == ip.is_ipv4() && differ.checked_shr(128 - u32::from(network.length())).unwrap_or(0) == 0
}

const CACHE: &str = "DNS cache";

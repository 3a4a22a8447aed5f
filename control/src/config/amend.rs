//! Changes at run time: a copy of a configuration with something else in one place.
//!
//! None of them outlives a reload, which reads the files anew.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use super::error::{Diagnostic, Severity};
use super::model::{BackendId, Config, FrontendId, Held, NamedAddress, Server, ServerAddress, ServerId, Target};
use super::{haproxy, resolve};

/// A server whose name leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The name of its backend.
    pub backend: String,
    /// Its own.
    pub server: String,
    /// Where it is now.
    pub to: NamedAddress,
    /// Its weight, where a record says it.
    pub weight: Option<u16>,
    /// Who said so.
    pub by: String,
}

/// What becomes of the dynamic values of a persistence cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// They are made, if there is a key.
    On,
    /// They are not.
    Off,
    /// They are made of this key, if they are made.
    Key(String),
}

impl Config {
    /// Returns a copy with another server at the end of a backend, described by the words that stand behind `server` in a file of
    /// HAProxy's language; what `default-server` says does not concern it.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the description.
    pub fn with_server(&self, backend: BackendId, words: &[String]) -> Result<Self, String> {
        let written = haproxy::server(words).map_err(|found| first(&found))?;
        let mut copy = self.clone();
        resolve::add_server(&mut copy, backend, &written).map_err(|found| first(&found))?;
        let added = copy.backends[backend.index()].servers.end;
        let held = std::mem::take(&mut copy.held);
        copy.servers.get_mut(added).into_iter().for_each(|server| hold(server, &held));
        copy.held = held;
        copy.backends[backend.index()].servers.end += 1;
        copy.renumber(backend, 1);
        Ok(copy)
    }

    /// Returns a copy without a server.
    pub fn without_server(&self, server: ServerId) -> Self {
        let mut copy = self.clone();
        let backend = copy.servers.remove(server.index()).backend();
        copy.backends[backend.index()].servers.end -= 1;
        copy.renumber(backend, -1);
        copy
    }

    /// Returns a copy in which a server has another address; checks and agents that go to the old one follow.
    pub fn with_address(&self, server: ServerId, ip: IpAddr, port: Option<u16>) -> Self {
        self.with(server, |server| match &server.address.value() {
            ServerAddress::Named(named) => {
                server.relocate(ServerAddress::Named(NamedAddress { ip: Some(ip), port, lack: None, ..named.clone() }))
            }
            ServerAddress::Inet(..) | ServerAddress::Unix(_) => server.relocate(ServerAddress::Inet(ip, port)),
        })
    }

    /// Returns a copy in which a server is found by another name; until that leads somewhere, it stays where it is.
    pub fn with_name(&self, server: ServerId, host: &str) -> Self {
        self.with(server, |server| {
            let (ip, port) = (server.ip(), server.port());
            let named = NamedAddress { service: None, host: Some(host.to_owned()), port, ip, ..NamedAddress::default() };
            server.relocate(ServerAddress::Named(named));
        })
    }

    /// Returns a copy in which servers are where their names lead now.
    pub fn with_moves(&self, moves: &[Move]) -> Self {
        let mut copy = self.clone();
        for movement in moves {
            let found = copy.server_named(&movement.backend, &movement.server).map(Server::id);
            if let Some(server) = found.and_then(|id| copy.servers.get_mut(id.index())) {
                server.relocate(ServerAddress::Named(movement.to.clone()));
            }
        }
        copy
    }

    /// Takes over where the servers of another configuration are, as far as they have the same names.
    pub fn with_addresses_of(&self, other: &Self) -> Self {
        let mut copy = self.clone();
        for server in &mut copy.servers {
            let backend = other.backend_named(copy.backends[server.backend.index()].name());
            let known = backend.and_then(|backend| other.servers_of(backend.id()).iter().find(|known| known.name() == server.name()));
            let Some((own, known)) = server.address.named().zip(known.and_then(|known| known.address().named())) else { continue };
            let same_port = own.service.is_some() || own.port == known.port;
            let same_host = own.service.is_some() || own.host == known.host;
            if own.service == known.service && same_host && same_port {
                server.relocate(ServerAddress::Named(known.clone()));
            }
        }
        copy
    }

    /// Returns a copy in which the check of a server goes elsewhere; a part that is not given stays.
    pub fn with_check_target(&self, server: ServerId, ip: Option<IpAddr>, port: Option<u16>) -> Self {
        self.with(server, |server| {
            if let Some(Target::Inet(target)) = server.check.as_mut().map(|check| &mut check.target) {
                target.set_ip(ip.unwrap_or(target.ip()));
                target.set_port(port.unwrap_or(target.port()));
            }
        })
    }

    /// Returns a copy in which a server takes so many connections at a time; none for no limit.
    pub fn with_server_maxconn(&self, server: ServerId, most: Option<u32>) -> Self {
        self.with(server, |server| {
            server.maxconn = most;
            server.minconn = server.minconn.filter(|least| most.is_some_and(|most| *least < most));
        })
    }

    /// Returns a copy in which a frontend serves so many connections at a time; none for no limit.
    pub fn with_frontend_maxconn(&self, frontend: FrontendId, most: Option<u32>) -> Self {
        let mut copy = self.clone();
        copy.frontends[frontend.index()].maxconn = most;
        copy
    }

    /// Returns a copy in which a text of PEM stands in the place of a file of authorities, or of what they have revoked.
    pub fn with_held(&self, file: &Path, text: &Arc<str>) -> Self {
        let mut copy = self.clone();
        let held = Held::from([(file.to_owned(), Arc::clone(text))]);
        for tls in copy.frontends.iter_mut().flat_map(|frontend| &mut frontend.binds).filter_map(|bind| bind.tls.as_mut()) {
            *tls = tls.holding(&held);
        }
        copy.servers.iter_mut().for_each(|server| hold(server, &held));
        copy.held.extend(held);
        copy
    }

    /// Returns a copy in which nothing stands in the place of a file that nobody names.
    pub fn without_held(&self, file: &Path) -> Self {
        let mut copy = self.clone();
        copy.held.remove(file);
        copy
    }

    /// Returns a copy in which servers of a backend that have no value in its cookie get one of their addresses, or do not any more; the same
    /// where it has no cookie.
    pub fn with_dynamic_cookie(&self, backend: BackendId, dynamic: Dynamic) -> Self {
        let mut copy = self.clone();
        if let Some(cookie) = &mut copy.backends[backend.index()].cookie {
            let key = cookie.dynamic_key.take();
            let is_on = key.is_some();
            let key = key.or_else(|| cookie.idle_key.take());
            (cookie.dynamic_key, cookie.idle_key) = match dynamic {
                Dynamic::On => (key, None),
                Dynamic::Off => (None, key),
                Dynamic::Key(key) if is_on => (Some(key), None),
                Dynamic::Key(key) => (None, Some(key)),
            };
        }
        copy
    }

    /// Returns a copy in which the process serves so many connections at a time; none for no limit.
    pub fn with_maxconn(&self, most: Option<u32>) -> Self {
        let mut copy = self.clone();
        copy.global.maxconn = most;
        copy
    }

    fn with(&self, server: ServerId, change: impl FnOnce(&mut Server)) -> Self {
        let mut copy = self.clone();
        change(&mut copy.servers[server.index()]);
        copy
    }

    /// Gives all servers the ids of their places; those of the backends behind `changed` have moved by so many.
    fn renumber(&mut self, changed: BackendId, by: isize) {
        for backend in &mut self.backends[changed.index() + 1..] {
            let moved = |place: usize| place.saturating_add_signed(by);
            backend.servers = moved(backend.servers.start)..moved(backend.servers.end);
        }
        for (place, server) in self.servers.iter_mut().enumerate() {
            server.id = ServerId::from_index(place);
        }
    }
}

impl Server {
    /// Moves to another address; checks and agents that go to the old one follow.
    pub(super) fn relocate(&mut self, address: ServerAddress) {
        let [old_ip, new_ip] = [self.ip(), address.ip()].map(|ip| ip.unwrap_or(NOWHERE));
        let [old_port, new_port] = [self.port(), address.port()].map(|port| port.unwrap_or(0));
        if let Some(Target::Inet(target)) = self.check.as_mut().map(|check| &mut check.target) {
            target.set_ip(if target.ip() == old_ip { new_ip } else { target.ip() });
            target.set_port(if target.port() == old_port { new_port } else { target.port() });
        }
        // The port of an agent is always its own.
        if let Some(Target::Inet(target)) = self.agent.as_mut().map(|agent| &mut agent.check.target) {
            target.set_ip(if target.ip() == old_ip { new_ip } else { target.ip() });
        }
        self.address = self.address.clone().map(|_| address);
    }
}

/// Where checks go that are not made because nobody knows the address of the server.
pub(super) const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Puts texts in the place of files that a server names.
fn hold(server: &mut Server, held: &Held) {
    let check = server.check.as_mut().and_then(|check| check.tls.as_mut());
    for trust in server.tls.iter_mut().chain(check).filter_map(|tls| tls.verify.trust_mut()) {
        held.iter().for_each(|(file, text)| trust.hold(file, text));
    }
}

/// Returns the first error.
fn first(found: &[Diagnostic]) -> String {
    let error = found.iter().find(|found| found.severity() == Severity::Error);
    error.map_or_else(|| "the server is not understood".to_owned(), |error| error.message().to_owned())
}

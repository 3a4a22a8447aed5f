//! Changes at run time: a copy of a configuration with something else in one place.
//!
//! None of them outlives a reload, which reads the files anew.

use std::net::IpAddr;

use super::error::{Diagnostic, Severity};
use super::model::{BackendId, Config, FrontendId, Server, ServerAddress, ServerId, Target};
use super::{haproxy, resolve};

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

    /// Returns a copy in which a server has another address; a check that goes to the old one follows.
    pub fn with_address(&self, server: ServerId, ip: IpAddr, port: Option<u16>) -> Self {
        self.with(server, |server| {
            let old = (server.ip(), server.port());
            if let Some(Target::Inet(target)) = server.check.as_mut().map(|check| &mut check.target) {
                let follows = [old.0 == Some(target.ip()), old.1 == Some(target.port())];
                target.set_ip(if follows[0] { ip } else { target.ip() });
                target.set_port(port.filter(|_| follows[1]).unwrap_or(target.port()));
            }
            server.address = server.address.clone().map(|_| ServerAddress::Inet(ip, port));
        })
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

/// Returns the first error.
fn first(found: &[Diagnostic]) -> String {
    let error = found.iter().find(|found| found.severity() == Severity::Error);
    error.map_or_else(|| "the server is not understood".to_owned(), |error| error.message().to_owned())
}

//! TLS: certificates and what decides about them, handshakes, and the records of a connection.
//!
//! Everything a configuration names is read once, before anything of it is served; a reload reads it all again. Cryptography is
//! rustls' with AWS-LC; the handshake runs on the thread that accepted the connection.

mod acceptor;
mod anchors;
mod certificates;
mod connector;
mod crt_list;
pub(crate) mod handshake;
mod layer;
pub(crate) mod ocsp;
mod pardon;
mod quic;
mod records;
mod session;
mod store;
mod wire;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use control::config::{Backend, Bind, Config, Diagnostic, Frontend, Peer, Peers, Report, Server, Severity};
use control::tls::Client;
use rustls::ServerConfig;

pub(crate) use acceptor::Acceptor;
pub(crate) use anchors::{Anchors, Kind, Listed};
pub(crate) use certificates::{Certificates, Shown};
pub(crate) use connector::Connector;
pub(crate) use layer::{Agreed, Layer, Secured, Wanted};
pub(crate) use quic::Witness;
pub(crate) use session::Session;

/// What all files that a configuration names for TLS amount to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    acceptors: HashMap<String, Arc<Acceptor>>,
    /// By the names of backend and server.
    connectors: HashMap<(String, String), Arc<Connector>>,
    certificates: Arc<Certificates>,
    anchors: Arc<Anchors>,
    /// By the names of a section of peers and of one of them.
    clients: HashMap<(String, String), Arc<Client>>,
    warnings: Report,
}

impl Setup {
    /// Reads everything; sessions go on where a configuration before it trusted the same clients.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub(crate) fn load(config: &Config, before: Option<&Self>) -> Result<Self, Report> {
        let (mut setup, mut findings) = (Self::default(), Vec::new());
        for frontend in config.frontends() {
            for (index, bind) in frontend.binds().iter().enumerate() {
                let Some(model) = bind.tls() else { continue };
                let name = name(frontend.name(), bind);
                let old = before.and_then(|before| before.acceptors.get(&name)).map(|old| &**old);
                if let Some(acceptor) = Acceptor::load(label(bind, index + 1), model, bind.location(), old, &mut findings) {
                    if bind.is_quic() && model.takes_early_data() {
                        let message = format!("bind {}: early data inside QUIC is not supported yet", bind.address());
                        findings.push(Diagnostic::error(bind.location(), message).hint("leave out `allow-0rtt`"));
                    }
                    if bind.is_quic() && acceptor.is_particular() {
                        let message = format!("bind {}: QUIC is spoken on the same terms with everyone", bind.address());
                        let hint = "lists of certificates must not set terms of their own here";
                        findings.push(Diagnostic::error(bind.location(), message).hint(hint));
                    }
                    setup.acceptors.insert(name, Arc::new(acceptor));
                }
            }
        }
        for server in config.servers() {
            let Some(model) = server.tls() else { continue };
            let names = (config.backend(server.backend()).name().to_owned(), server.name().to_owned());
            let old = before.and_then(|before| before.connectors.get(&names));
            if let Some(client) = Client::load(model, server.location(), old.map(|old| old.client()), &mut findings) {
                setup.connectors.insert(names, Connector::new(client, old));
            }
        }
        for peers in config.peers() {
            setup.load_peers(peers, before, &mut findings);
        }
        if findings.iter().any(|finding: &Diagnostic| finding.severity() == Severity::Error) {
            return Err(findings.into());
        }
        setup.certificates = Arc::new(Certificates::new(setup.acceptors.values().map(|acceptor| Arc::clone(acceptor.store())).collect()));
        setup.anchors = Arc::new(Anchors::of(config, setup.acceptors.values().flat_map(|acceptor| acceptor.trusts())));
        setup.warnings = findings.into();
        Ok(setup)
    }

    /// Returns the same for a configuration that may have another server, whose files are read, or other authorities.
    ///
    /// # Errors
    /// What is wrong with one of the files.
    pub(crate) fn amended(&self, config: &Config) -> Result<Self, String> {
        let (mut setup, mut findings) = (self.clone(), Vec::new());
        let names = |server: &Server| (config.backend(server.backend()).name().to_owned(), server.name().to_owned());
        setup.connectors.retain(|known, _| config.server_named(&known.0, &known.1).is_some());
        for server in config.servers() {
            let known = setup.connectors.get(&names(server));
            let Some(model) = server.tls().filter(|model| known.is_none_or(|known| !known.client().is_of(model))) else { continue };
            if let Some(client) = Client::load(model, server.location(), known.map(|known| known.client()), &mut findings) {
                setup.connectors.insert(names(server), Connector::new(client, None));
            }
        }
        for (frontend, bind) in config.frontends().iter().flat_map(|frontend| frontend.binds().iter().map(move |bind| (frontend, bind))) {
            let name = name(frontend.name(), bind);
            let Some((model, old)) = bind.tls().zip(setup.acceptors.get(&name)) else { continue };
            if let Some(acceptor) = old.trusting((model, config.held()), bind.location(), &mut findings) {
                setup.acceptors.insert(name, Arc::new(acceptor));
            }
        }
        match findings.iter().find(|finding| finding.severity() == Severity::Error) {
            Some(error) => Err(error.message().to_owned()),
            None => Ok(setup),
        }
    }

    /// Returns the certificates that clients are shown.
    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Returns whom clients and servers must be trusted by.
    pub(crate) fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Returns how many certificates clients and servers are shown where a file decides about who is trusted.
    pub(crate) fn uses(&self, config: &Config, file: &Path) -> usize {
        let binds: usize =
            self.acceptors.values().filter(|acceptor| acceptor.names(file)).map(|acceptor| acceptor.store().lines().len()).sum();
        let of_server = |server: &&Server| {
            let shown = server.tls().filter(|tls| tls.certificate().is_some());
            shown.and_then(|tls| tls.verify().trust()).is_some_and(|trust| trust.names(file))
        };
        binds + config.servers().iter().filter(of_server).count()
    }

    /// Returns the section of peers in which a file decides about who is trusted, which only a reload changes.
    pub(crate) fn peers_of<'c>(&self, config: &'c Config, file: &Path) -> Option<&'c str> {
        let names = |peers: &&Peers| {
            let members = peers.members();
            let servers = members.iter().filter_map(|member| member.tls()?.verify().trust());
            let binds = members.iter().flat_map(|member| peers.binds(member.name())).filter_map(|bind| bind.tls()?.client().trust());
            servers.chain(binds).any(|trust| trust.names(file))
        };
        config.peers().iter().find(names).map(Peers::name)
    }

    fn load_peers(&mut self, peers: &Peers, before: Option<&Self>, findings: &mut Vec<Diagnostic>) {
        let all = peers.members().iter().flat_map(|member| peers.binds(member.name()));
        for bind in all {
            let name = name(&of_peers(peers), bind);
            if let Some(model) = bind.tls().filter(|_| !self.acceptors.contains_key(&name)) {
                let old = before.and_then(|before| before.acceptors.get(&name)).map(|old| &**old);
                let acceptor = Acceptor::load(label(bind, 1), model, bind.location(), old, findings);
                self.acceptors.extend(acceptor.map(|acceptor| (name, Arc::new(acceptor))));
            }
        }
        for member in peers.members() {
            let Some(model) = member.tls() else { continue };
            let names = (peers.name().to_owned(), member.name().to_owned());
            let old = before.and_then(|before| before.clients.get(&names));
            let client = Client::load(model, member.location(), old, findings);
            self.clients.extend(client.map(|client| (names, client)));
        }
    }

    /// Returns what is valid and will surprise.
    pub(crate) fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// Returns what accepts TLS on a bind.
    pub(crate) fn acceptor(&self, frontend: &Frontend, bind: &Bind) -> Option<&Arc<Acceptor>> {
        bind.tls().and_then(|_| self.acceptors.get(&name(frontend.name(), bind)))
    }

    /// Returns what accepts TLS from peers on a bind.
    pub(crate) fn acceptor_of_peers(&self, peers: &Peers, bind: &Bind) -> Option<Arc<ServerConfig>> {
        bind.tls().and_then(|_| self.acceptors.get(&name(&of_peers(peers), bind))).map(|acceptor| Arc::clone(acceptor.config()))
    }

    /// Returns what decides about TLS with a peer.
    pub(crate) fn client_of_peer(&self, peers: &Peers, peer: &Peer) -> Option<Arc<Client>> {
        peer.tls().and_then(|_| self.clients.get(&(peers.name().to_owned(), peer.name().to_owned()))).map(Arc::clone)
    }

    /// Returns what begins TLS with a server.
    pub(crate) fn connector(&self, backend: &Backend, server: &Server) -> Option<&Arc<Connector>> {
        server.tls().and_then(|_| self.connectors.get(&(backend.name().to_owned(), server.name().to_owned())))
    }
}

/// Stands for the name of a frontend.
fn of_peers(peers: &Peers) -> String {
    format!("peers {}", peers.name())
}

/// Returns what HAProxy's log calls a bind: its name, or its number within its frontend.
fn label(bind: &Bind, number: usize) -> String {
    bind.name().map_or_else(|| number.to_string(), str::to_owned)
}

/// Names a bind so that it is known again after a reload.
fn name(frontend: &str, bind: &Bind) -> String {
    let interface = bind.interface().map_or("", |interface| interface.value());
    format!("{frontend} {} {interface}", bind.address())
}

//! The configuration in force as text: what its files said, with what commands have changed since then.
//!
//! ```text
//! loaded, in force ─► differences ─► haproxy, toml ─► text
//! ```
//! Everything that no command has touched stays as it was written, comments included. Where servers of names are is not written: their
//! names lead there.

mod haproxy;
mod toml;

use std::net::IpAddr;
use std::sync::Arc;

use super::convert::address_text;
use super::location::{Language, Source};
use super::model::{Backend, Config, Frontend, NamedAddress, Origin, Rates, Server, ServerAddress, Target};

/// The texts that a configuration was read from; what it says does not depend on them.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts(pub(super) Vec<Arc<Source>>);

impl PartialEq for Texts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A file of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The name of the file.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Something about a server that a file says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Setting {
    Weight(u16),
    Disabled(bool),
    /// 0 for no limit.
    Maxconn(u32),
    Minconn(u32),
    CheckAddress(IpAddr),
    CheckPort(u16),
}

/// A server that is not as its file says.
#[derive(Debug)]
struct Changed<'c> {
    /// As the file has it.
    server: &'c Server,
    /// The name of its backend.
    backend: &'c str,
    fate: Fate,
}

/// What has become of a server.
#[derive(Debug)]
enum Fate {
    Gone,
    /// It has another address, if any, and other settings.
    Edited(Option<String>, Vec<Setting>),
}

/// A server that no file knows.
#[derive(Debug)]
struct Added<'c> {
    server: &'c Server,
    backend: &'c str,
    /// What has changed since it was added.
    edits: (Option<String>, Vec<Setting>),
}

/// All that is not as the files say.
#[derive(Debug)]
struct Changes<'c> {
    changed: Vec<Changed<'c>>,
    added: Vec<Added<'c>>,
    /// Frontends with another limit; 0 for none.
    frontends: Vec<(&'c Frontend, u32)>,
    /// Numbers of the process, by the words that both languages have for them.
    process: Vec<(&'static str, u32)>,
}

impl Config {
    /// Returns a copy in which servers have these weights, and are out of service or not, in the order of their ids.
    pub fn with_states(&self, states: impl Iterator<Item = (u16, bool)>) -> Self {
        let mut copy = self.clone();
        for (server, (weight, disabled)) in copy.servers.iter_mut().zip(states) {
            // What an answer of the DNS says of its server is not for a file.
            let is_told = server.address.named().is_some_and(|named| named.service().is_some());
            server.weight = if is_told { server.weight } else { weight };
            server.disabled = disabled;
        }
        copy
    }

    /// Returns a copy in which clients are let in at these rates.
    pub fn with_rates(&self, rates: Rates) -> Self {
        let mut copy = self.clone();
        copy.global.rates = rates;
        copy
    }

    /// Returns the files it was read from.
    pub fn texts(&self) -> Vec<Text> {
        self.texts.0.iter().map(|source| Text { name: source.name().to_owned(), text: source.text().to_owned() }).collect()
    }

    /// Returns the files that would make this configuration, which commands have made of `loaded`, in the language of its own files.
    pub fn running(&self, loaded: &Self) -> Vec<Text> {
        let changes = Changes::between(loaded, self);
        let rewrite = |source: &Arc<Source>| match source.language() {
            Language::Haproxy => haproxy::rewrite(source, &changes),
            Language::Toml => toml::rewrite(source, &changes),
        };
        let mut texts: Vec<_> =
            loaded.texts.0.iter().map(|source| Text { name: source.name().to_owned(), text: rewrite(source) }).collect();
        let is_toml = loaded.texts.0.iter().any(|source| source.language() == Language::Toml);
        if let Some(first) = texts.first_mut().filter(|_| !is_toml) {
            haproxy::ensure_global(&loaded.texts.0, &changes, &mut first.text);
        }
        texts
    }
}

impl<'c> Changes<'c> {
    fn between(loaded: &'c Config, now: &'c Config) -> Self {
        let frontends = loaded.frontends.iter().zip(&now.frontends);
        let frontends = frontends.filter(|(old, new)| old.maxconn != new.maxconn).map(|(old, new)| (old, new.maxconn.unwrap_or(0)));
        let numbers = |config: &Config| {
            let Rates { connections, sessions, tls } = config.global.rates;
            let maxconn = config.global.maxconn.unwrap_or(0);
            [("maxconn", maxconn), ("maxconnrate", connections), ("maxsessrate", sessions), ("maxsslrate", tls)]
        };
        let process = numbers(loaded).into_iter().zip(numbers(now)).filter(|(old, new)| old != new).map(|(_, new)| new);
        let mut changes = Self { changed: Vec::new(), added: Vec::new(), frontends: frontends.collect(), process: process.collect() };
        changes.servers(loaded, now);
        changes
    }

    fn servers(&mut self, loaded: &'c Config, now: &'c Config) {
        for (old, new) in loaded.backends.iter().zip(&now.backends) {
            let (before, after) = (&loaded.servers[old.servers.clone()], &now.servers[new.servers.clone()]);
            let backend = old.name();
            for server in before {
                // One that was taken out and put in again is another one.
                let fate = match after.iter().find(|other| other.name == server.name && other.origin == Origin::File) {
                    None => Fate::Gone,
                    Some(new) => {
                        let (address, settings) = edits(server, new);
                        Fate::Edited(address, settings)
                    }
                };
                if !matches!(&fate, Fate::Edited(None, settings) if settings.is_empty()) {
                    self.changed.push(Changed { server, backend, fate });
                }
            }
            for server in after.iter().filter(|server| server.origin == Origin::Command) {
                self.added.push(Added { server, backend, edits: since_added(loaded, old, server) });
            }
        }
    }
}

/// Returns what has changed since a server was added by the words that its name still points at.
fn since_added(loaded: &Config, backend: &Backend, server: &Server) -> (Option<String>, Vec<Setting>) {
    // Whatever else has its name in the files is gone.
    let mut ground = loaded.clone();
    if let Some(other) = ground.server_named(backend.name(), server.name()).map(Server::id) {
        ground = ground.without_server(other);
    }
    let words = haproxy::words(server.name.location());
    let made = ground.with_server(backend.id, &words).ok();
    let made = made.as_ref().and_then(|made| made.server_named(backend.name(), server.name()));
    made.map(|made| edits(made, server)).unwrap_or_default()
}

/// Returns the address of a server, and what else is to be said about it, where one is not as the other.
fn edits(old: &Server, new: &Server) -> (Option<String>, Vec<Setting>) {
    let address = (place(&old.address) != place(&new.address)).then(|| address_text(&new.address));
    let mut settings = Vec::new();
    settings.extend((old.weight != new.weight).then_some(Setting::Weight(new.weight)));
    settings.extend((old.disabled != new.disabled).then_some(Setting::Disabled(new.disabled)));
    settings.extend((old.minconn != new.minconn).then(|| Setting::Minconn(new.minconn.unwrap_or(0))));
    settings.extend((old.maxconn != new.maxconn).then(|| Setting::Maxconn(new.maxconn.unwrap_or(0))));
    // Checks go along to another address, unless they are sent elsewhere.
    let mut moved = old.clone();
    moved.relocate(new.address.value().clone());
    let targets = [&moved, new].map(|server| server.check.as_ref().map(|check| &check.target));
    if let [Some(Target::Inet(old)), Some(Target::Inet(new))] = targets {
        settings.extend((old.ip() != new.ip()).then(|| Setting::CheckAddress(new.ip())));
        settings.extend((old.port() != new.port()).then(|| Setting::CheckPort(new.port())));
    }
    (address, settings)
}

/// Returns what a file says about where a server is.
fn place(address: &ServerAddress) -> ServerAddress {
    match address {
        ServerAddress::Named(named) => {
            // What the names lead to, a file does not say.
            let host = named.service().map_or(named.host(), |_| None);
            let port = if named.service().is_some() { None } else { named.port() };
            ServerAddress::Named(NamedAddress {
                service: named.service().map(str::to_owned),
                host: host.map(str::to_owned),
                port,
                ..NamedAddress::default()
            })
        }
        ServerAddress::Inet(..) | ServerAddress::Unix(_) => address.clone(),
    }
}

//! As written → model: names become ids, defaults are filled in, everything is compared with everything it must agree with.
//!
//! The only maker of a [`Config`]. It goes on after a mistake, to find the others.

mod backend;
mod binds;
mod cache;
mod check;
mod frontend;
mod kernel;
mod limits;
mod log;
mod mail;
mod naming;
mod peers;
mod proxy;
mod rules;
mod tls;
mod track;
mod userlist;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Diagnostic, Report};
use super::location::{Language, Located, Location};
use super::model::{
    AttachMode, BackendId, BindAddress, CommandSocket, Config, External, Global, Held, Mailers, OnStop, Resolvers, StatsSocket, StoredKind,
    Table, TableKey, Xdp,
};
use super::running::Texts;
use super::suggest;
use super::written::{self, Written};

/// Makes the model, given what its parser has already found; one whose report has errors is no use but to find more of them.
pub(super) fn resolve(written: Written, found: Vec<Diagnostic>) -> Config {
    let mut resolver = Resolver::new(&written, found);
    let Written {
        global,
        xdp,
        defaults,
        frontends,
        backends,
        tables,
        peers,
        resolvers: _,
        rings,
        log_profiles,
        mailers,
        log_forwards,
        http_errors,
        userlists,
        caches,
        idle,
        lines: _,
    } = written;
    for defaults in &defaults {
        proxy::sections(&mut resolver, &defaults.proxy);
    }
    let mut pools = backend::backends(&mut resolver, &backends);
    let made = frontend::frontends(&mut resolver, &defaults, &frontends, &pools);
    limits::of_backends(&mut resolver, &mut pools, &made, global.maxconn);
    backend::warnings(&mut resolver, &backends, &pools, &made);
    binds::compare(&mut resolver, &frontends);
    let made = frontend::served(made, &frontends);
    kernel::replies_apart(&mut resolver, &made, &pools.servers);
    sockets_apart(&mut resolver, &global, xdp.as_ref());
    let global = self::global(&mut resolver, global);
    let xdp = xdp.map(|xdp| self::xdp(&mut resolver, xdp));
    let peers = peers.iter().map(|peers| peers::peers(&mut resolver, peers)).collect();
    let tables: Vec<_> = tables.into_iter().map(|table| self::table(&mut resolver, table)).collect();
    tables.iter().for_each(|table| copies(&mut resolver, table, &tables));
    let userlists = userlists.into_iter().map(|list| userlist::userlist(&mut resolver, list)).collect();
    caches.iter().for_each(|cache| cache::check(&mut resolver, cache));
    let resolvers = naming::sections(&mut resolver);
    mail::sections(&mut resolver, &mailers);
    let log_forwards = log_forwards.into_iter().map(|section| log::forward(&mut resolver, section)).collect();
    log::profiles(&mut resolver, &log_profiles, &made);
    let report = Report::from(resolver.found);
    let ground = backend::ground(backends).into();
    let backend::Pools { backends, servers } = pools;
    Config {
        global,
        xdp,
        frontends: made,
        backends,
        servers,
        tables,
        peers,
        resolvers,
        rings,
        log_profiles,
        mailers,
        log_forwards,
        http_errors,
        userlists,
        caches,
        idle,
        warnings: report,
        ground,
        texts: Texts::default(),
        held: Held::default(),
    }
}

pub(super) use backend::add_server;

/// Names on one side, findings on the other.
struct Resolver {
    /// Invariant: the place of a name is the id of its backend.
    backends: Vec<Located<String>>,
    tables: Vec<Located<String>>,
    peers: Vec<Located<String>>,
    http_errors: Vec<Located<String>>,
    /// Those that were written, and that of the system where somebody names it.
    resolvers: Vec<Resolvers>,
    mailers: Vec<Mailers>,
    backend_ids: HashMap<String, BackendId>,
    /// Where lines of the process go.
    log: Vec<Located<String>>,
    log_tag: Option<Located<String>>,
    external: External,
    /// Whether something was written that could not be read, and so only seems to be missing.
    incomplete: bool,
    found: Vec<Diagnostic>,
}

impl Resolver {
    /// Returns one for something that names nothing else.
    fn bare() -> Self {
        Self::new(&Written::default(), Vec::new())
    }

    fn new(written: &Written, found: Vec<Diagnostic>) -> Self {
        let backends: Vec<_> = written.backends.iter().map(|backend| backend.name.clone()).collect();
        let id = |(index, name): (usize, &Located<String>)| (name.value().clone(), BackendId::from_index(index));
        let backend_ids = backends.iter().enumerate().map(id).collect();
        let tables = written.tables.iter().map(|table| table.name.clone()).collect();
        let peers = written.peers.iter().map(|peers| peers.name.clone()).collect();
        let http_errors = written.http_errors.iter().map(|errors| errors.name.clone()).collect();
        let (resolvers, mailers) = (written.resolvers.clone(), written.mailers.clone());
        let (log, log_tag, external) = (written.global.log.clone(), written.global.log_tag.clone(), written.global.process.external);
        let incomplete = !found.is_empty();
        Self { backends, tables, peers, http_errors, resolvers, mailers, backend_ids, log, log_tag, external, incomplete, found }
    }

    fn error(&mut self, location: &Location, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Diagnostic::error(location, message).hint(spoken(location, hint.into())));
    }

    fn warning(&mut self, location: &Location, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Diagnostic::warning(location, message).hint(spoken(location, hint.into())));
    }

    /// Warns of something that is not there, unless it may only have been misread.
    fn absent(&mut self, location: &Location, message: impl Into<String>, hint: impl Into<String>) {
        if !self.incomplete {
            self.warning(location, message, hint);
        }
    }

    /// Finds a backend by name.
    fn backend(&mut self, name: &Located<String>) -> Option<BackendId> {
        let id = self.backend_ids.get(name.value()).copied();
        if id.is_none() {
            let diagnostic = dangling("backend", name, &self.backends);
            self.found.push(diagnostic);
        }
        id
    }

    /// Checks that a section `http-errors` exists.
    fn http_errors(&mut self, name: &Located<String>) {
        if self.http_errors.iter().all(|section| section.value() != name.value()) {
            let diagnostic = dangling("section http-errors", name, &self.http_errors);
            self.found.push(diagnostic);
        }
    }

    /// Checks that a table exists.
    fn table(&mut self, name: &Located<String>) {
        if self.tables.iter().all(|table| table.value() != name.value()) {
            let diagnostic = dangling("table", name, &self.tables);
            self.found.push(diagnostic);
        }
    }

    /// Reports values that stand twice in a list.
    fn unique<T: std::hash::Hash + Eq + std::fmt::Display>(&mut self, values: &[Located<T>]) {
        let mut seen = HashMap::new();
        for value in values {
            match seen.entry(value.value()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(());
                }
                Entry::Occupied(_) => {
                    self.found.push(Diagnostic::error(value.location(), format!("`{value}` is given twice")));
                }
            }
        }
    }
}

/// Says a hint in the language of the file it is about; HAProxy's has the same words without the marks between them.
fn spoken(location: &Location, hint: String) -> String {
    match location.language() {
        Language::Toml => hint,
        Language::Haproxy => {
            let plain = hint.replace("tcp = {}", "").replace("default-backend", "default_backend");
            plain.replace(" = {", "").replace(" }", "").replace(" =", "").replace('"', "").replace("[defaults]", "defaults")
        }
    }
}

/// Describes a name that nothing bears, and the one it was probably meant to be.
fn dangling(what: &str, name: &Located<String>, known: &[Located<String>]) -> Diagnostic {
    let diagnostic = Diagnostic::error(name.location(), format!("no {what} `{}`", name));
    let nearest = suggest::nearest(name, known.iter().map(|name| name.as_str()));
    match nearest.and_then(|nearest| known.iter().find(|name| name.as_str() == nearest)) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}` ({})?", place(meant.location()))),
        None if known.is_empty() => diagnostic.hint(format!("the file has no {}s", what.trim_end_matches('s'))),
        None => diagnostic.hint(format!("known: {}", listed(known))),
    }
}

/// Shows the first names of a list.
fn listed(names: &[Located<String>]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|name| name.as_str()).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Shows where something else is, as `file:line`.
fn place(location: &Location) -> String {
    format!("{}:{}", location.file(), location.line())
}

/// How many known names a hint lists.
const SHOWN: usize = 8;
const DEFAULT_SPREAD: u8 = 0;
const DEFAULT_STATS_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_STATS_MAXCONN: u32 = 10;
const DEFAULT_FLOWS: u32 = 2 << 20;
/// The kernel's table of them has 65,536 places, a quarter of which is left to commands.
const MOST_PREFIXES: usize = 49_152;
const DEFAULT_PIN: &str = "/sys/fs/bpf/l4d";

fn global(resolver: &mut Resolver, written: written::Global) -> Global {
    let addresses: Vec<_> =
        written.stats_sockets.iter().map(|socket| Located::new(socket.address().to_string(), socket.location().clone())).collect();
    resolver.unique(&addresses);
    Global {
        maxconn: written.maxconn,
        rates: written.rates,
        threads: written.threads,
        log: written.log,
        h2: written.h2,
        quic: written.quic,
        cluster_secret: written.cluster_secret,
        ocsp: written.ocsp,
        heads: written.heads,
        log_tag: written.log_tag,
        log_host: written.log_host,
        stats_sockets: written.stats_sockets,
        stats_timeout: written.stats_timeout.unwrap_or(DEFAULT_STATS_TIMEOUT),
        stats_maxconn: written.stats_maxconn.unwrap_or(DEFAULT_STATS_MAXCONN),
        metrics: written.metrics,
        spread_checks: written.spread_checks.unwrap_or(DEFAULT_SPREAD),
        max_spread_checks: written.max_spread_checks,
        localpeer: written.localpeer,
        tables_file: written.tables_file,
        variables: written.variables,
        otlp: written.otlp,
        process: written.process,
    }
}

/// Refuses one file for the sockets of both daemons: the second to start would take it from the first.
fn sockets_apart(resolver: &mut Resolver, global: &written::Global, xdp: Option<&written::Xdp>) {
    let Some(path) = xdp.and_then(|xdp| xdp.stats_socket.as_ref()).map(CommandSocket::path) else { return };
    let is_taken = |socket: &Located<StatsSocket>| matches!(socket.address(), BindAddress::Unix(unix) if unix.path() == Some(path.value()));
    if global.stats_sockets.iter().any(is_taken) {
        let message = format!("`{}` is l7d's socket, too", path.display());
        resolver.error(path.location(), message, "each daemon has its own: for example /run/l4d/admin.sock");
    }
}

fn xdp(resolver: &mut Resolver, written: written::Xdp) -> Xdp {
    resolver.unique(&written.interfaces);
    resolver.unique(&written.source_addresses);
    let prefixes: Vec<_> = written.deny.iter().chain(&written.allow).cloned().collect();
    resolver.unique(&prefixes);
    if let Some(excess) = prefixes.get(MOST_PREFIXES) {
        let message = format!("`deny` and `allow` have {} prefixes together, of which at most {MOST_PREFIXES} can be", prefixes.len());
        resolver.error(excess.location(), message, "shorter prefixes hold more addresses");
    }
    for address in written.source_addresses.iter().filter(|address| address.is_unspecified() || address.is_multicast()) {
        resolver.error(
            address.location(),
            format!("`{address}` cannot be a source address"),
            "an address of this host: for example 10.0.0.5",
        );
    }
    Xdp {
        interfaces: written.interfaces,
        source_addresses: written.source_addresses,
        source_ports: written.source_ports,
        mode: written.mode.unwrap_or(AttachMode::Auto),
        flows: written.flows.unwrap_or(DEFAULT_FLOWS),
        rings: written.rings,
        hash_key: written.hash_key,
        pin: written.pin.unwrap_or_else(|| Located::new(PathBuf::from(DEFAULT_PIN), written.location.clone())),
        on_stop: written.on_stop.unwrap_or(OnStop::Detach),
        metrics: written.metrics,
        deny: written.deny,
        allow: written.allow,
        source_connections: written.source_connections,
        source_packets: written.source_packets,
        packet_log: written.packet_log,
        syn_cookies: written.syn_cookies,
        stats_socket: written.stats_socket,
        location: written.location,
    }
}

fn table(resolver: &mut Resolver, written: written::Table) -> Table {
    let kinds: Vec<_> = written.store.iter().map(|stored| Located::new(stored.kind().name(), stored.location().clone())).collect();
    resolver.unique(&kinds);
    if let Some(peers) = written.peers.as_ref().filter(|peers| resolver.peers.iter().all(|known| known.value() != peers.value())) {
        let diagnostic = dangling("peers section", peers, &resolver.peers);
        resolver.found.push(diagnostic);
    }
    Table {
        name: written.name,
        // Where the parser found none it said so, and the model is dropped.
        key: written.key.unwrap_or(TableKey::Ip),
        size: written.size.unwrap_or(1),
        expire: written.expire,
        nopurge: written.nopurge,
        store: written.store,
        peers: written.peers,
        shared_as: written.shared_as,
        srvkey: written.srvkey,
        write_to: written.write_to,
        recv_only: written.recv_only,
        sum_conn_cur: written.sum_conn_cur,
    }
}

/// Checks the table that is to learn what another one learns from peers.
fn copies(resolver: &mut Resolver, table: &Table, all: &[Table]) {
    if table.recv_only && table.peers.is_none() {
        resolver.error(
            table.location(),
            format!("table `{}` learns from peers only, and has none", table.name()),
            "add `peers`, or leave out `recv-only`",
        );
    }
    let counts = table.store.iter().any(|stored| stored.kind() == StoredKind::ConnCur);
    if table.sum_conn_cur && (table.peers.is_none() || !counts) {
        let message = format!("table `{}` is to sum up `conn_cur` over peers, and lacks one of both", table.name());
        resolver.error(table.location(), message, "add `peers` and store `conn_cur`, or leave out `sum-conn-cur`");
    }
    let Some(name) = &table.write_to else { return };
    let Some(other) = all.iter().find(|other| other.name() == name.as_str()) else {
        let diagnostic = dangling("table", name, &resolver.tables);
        return resolver.found.push(diagnostic);
    };
    if other.name() == table.name() {
        resolver.error(name.location(), format!("table `{name}` is to write to itself"), "name another table");
    } else if other.key() != table.key() {
        let message = format!("table `{name}` has keys of another type or length than `{}`", table.name());
        resolver.error(name.location(), message, "give both the same `type`");
    }
}

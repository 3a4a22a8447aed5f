//! Backends and their servers.

use std::sync::Arc;
use std::time::Duration;

use super::Resolver;
use super::check::{self, Connection};
use super::limits::{self, Limits};
use super::log;
use super::mail;
use super::naming;
use super::proxy;
use super::tls;
use super::track;
use crate::config::error::{Diagnostic, Severity};
use crate::config::location::Located;
use crate::config::model::{
    Backend, BackendId, Balance, Config, Cookie, CookieMode, Frontend, Guise, HashMethod, Mode, Origin, Preset, RetryCause, RetryOn,
    Server, ServerId, ServerPool, ServerSource, Timeout, Timeouts,
};
use crate::config::written::{self, PersistenceCookie, ProxySwitch, ServerSettings, Unnamed};

/// All backends, and the servers of all of them one after the other.
pub(super) struct Pools {
    pub(super) backends: Vec<Backend>,
    pub(super) servers: Vec<Server>,
}

impl Pools {
    /// Returns the servers of a backend.
    pub(super) fn servers_of(&self, backend: &Backend) -> &[Server] {
        &self.servers[backend.servers.clone()]
    }
}

pub(super) fn backends(resolver: &mut Resolver, written: &[written::Backend]) -> Pools {
    let mut pools = Pools { backends: Vec::new(), servers: Vec::new() };
    for (index, written) in written.iter().enumerate() {
        backend(resolver, written, BackendId::from_index(index), &mut pools);
    }
    track::check(resolver, &pools);
    pools
}

fn backend(resolver: &mut Resolver, written: &written::Backend, id: BackendId, pools: &mut Pools) {
    let defaults = &*written.defaults;
    let mode = proxy::mode(&defaults.proxy, &written.proxy);
    let timeouts = proxy::timeouts(&defaults.proxy, &written.proxy);
    let first = pools.servers.len();
    for server in &written.servers {
        let (index, number) = (pools.servers.len(), pools.servers.len() - first + 1);
        let place = Place { backend: id, id: ServerId::from_index(index), number, timeouts: &timeouts };
        pools.servers.extend(self::server(resolver, written, server, &place));
    }
    let balance = written.pool.balance.as_ref().or(defaults.pool.balance.as_ref());
    if let Some(balance) = balance.filter(|balance| mode == Mode::Tcp && reads_requests(balance)) {
        let message = format!("balance `{}` reads requests, backend `{}` has mode tcp", balance.name(), written.name);
        resolver.error(balance.location(), message, "use source or leastconn, or write mode = \"http\"");
    }
    if let Some(cookie) = written.cookie.as_ref().filter(|_| mode == Mode::Tcp) {
        let message = format!("`cookie` needs requests, backend `{}` has mode tcp", written.name);
        resolver.error(cookie.location(), message, "use balance = \"source\", or write mode = \"http\"");
    }
    let factor = written.pool.hash_balance_factor.as_ref().or(defaults.pool.hash_balance_factor.as_ref());
    pools.backends.push(Backend {
        id,
        name: written.name.clone(),
        is_twin: written.is_twin,
        mode,
        balance: balance.map_or(Balance::RoundRobin, |balance| balance.value().clone()),
        hash_type: written.pool.hash_type.as_ref().or(defaults.pool.hash_type.as_ref()).map(|hash| *hash.value()).unwrap_or_default(),
        hash_balance_factor: factor.map(|factor| *factor.value()).filter(|factor| *factor > 0),
        fullconn: written.pool.fullconn.or(defaults.pool.fullconn),
        state_source: written.pool.state_source.or(defaults.pool.state_source).unwrap_or_default(),
        state_name: written.pool.state_name.clone(),
        servers: first..pools.servers.len(),
        cookie: written.cookie.as_ref().map(|cookie| self::cookie(resolver, written, cookie)),
        timeouts,
        retries: written.retries.or(defaults.retries).unwrap_or(DEFAULT_RETRIES),
        retry_on: retry_on(resolver, written, mode),
        http_reuse: written.pool.http_reuse.or(defaults.pool.http_reuse),
        rdp_cookie: written.pool.persist.as_ref().or(defaults.pool.persist.as_ref()).map(|name| name.value().clone()),
        name_header: written.pool.name_header.as_ref().or(defaults.pool.name_header.as_ref()).map(|name| name.value().clone()),
        options: proxy::options(resolver, &defaults.proxy, &written.proxy, mode),
        probes: written.proxy.server_probes.over(defaults.proxy.server_probes),
        compression: proxy::compression(resolver, &defaults.proxy, &written.proxy, mode),
        stats: proxy::stats(&defaults.proxy, &written.proxy, mode),
        errors: proxy::errors(resolver, &defaults.proxy, &written.proxy),
        logging: log::logging(resolver, [&defaults.proxy, &written.proxy], mode),
        alert: mail::alert(resolver, written),
        preset: resolver.preset(&defaults.preset),
        acls: written.acls.clone(),
        rules: resolver.rules(&written.rules),
    });
    if let Some(made) = pools.backends.last_mut().filter(|_| proxy::is_disabled(&defaults.proxy, &written.proxy)) {
        silence(made);
    }
}

/// Leaves a backend nothing to answer by: its servers are down already, and clients are told that there is none.
fn silence(backend: &mut Backend) {
    backend.stats = None;
    backend.preset = Preset::default();
    backend.acls.clear();
    backend.rules.clear();
}

/// Returns what of backends as they were written a server needs that is added later: as in HAProxy, not what `default-server` says.
pub(super) fn ground(written: Vec<written::Backend>) -> Vec<written::Backend> {
    let mut known: Vec<(Arc<written::Defaults>, Arc<written::Defaults>)> = Vec::new();
    let mut plain = |defaults: Arc<written::Defaults>| {
        let found = known.iter().find(|(from, _)| Arc::ptr_eq(from, &defaults)).map(|(_, plain)| Arc::clone(plain));
        found.unwrap_or_else(|| {
            let plain = Arc::new(written::Defaults { default_server: ServerSettings::default(), ..written::Defaults::clone(&defaults) });
            known.push((defaults, Arc::clone(&plain)));
            plain
        })
    };
    let bare = |backend: written::Backend| written::Backend {
        defaults: plain(backend.defaults),
        default_server: ServerSettings::default(),
        servers: Vec::new(),
        acls: Vec::new(),
        rules: Vec::new(),
        ..backend
    };
    written.into_iter().map(bare).collect()
}

/// Adds a server at the end of a backend; the servers behind it get other ids.
///
/// # Errors
///
/// What is wrong with it.
pub(in crate::config) fn add_server(config: &mut Config, id: BackendId, written: &written::Server) -> Result<(), Vec<Diagnostic>> {
    let mut resolver = Resolver::bare();
    let backend = &config.backends[id.index()];
    let end = backend.servers.end;
    let others = &config.servers[backend.servers.clone()];
    let number = (1..).find(|number| others.iter().all(|other| other.number != *number)).unwrap_or(others.len() + 1);
    let place = Place { backend: id, id: ServerId::from_index(end), number, timeouts: &backend.timeouts };
    if let Some(address) = written.address.as_ref().filter(|address| address.named().is_some()) {
        resolver.error(address.location(), "a server that is added at run time has no name", "an IP address");
    }
    resolver.resolvers.clone_from(&config.resolvers);
    let server = server(&mut resolver, &config.ground[id.index()], written, &place);
    if let Some((server, track)) = server.as_ref().and_then(|server| Some((server, server.track.as_ref()?)))
        && let Err(reason) = track::added(config, server, track)
    {
        resolver.error(track.location(), reason, "another server, which is checked");
    }
    let Some(server) = server.filter(|_| resolver.found.iter().all(|found| found.severity() != Severity::Error)) else {
        return Err(resolver.found);
    };
    config.servers.insert(end, Server { origin: Origin::Command, ..server });
    Ok(())
}

/// Makes the persistence cookie of a backend.
fn cookie(resolver: &mut Resolver, backend: &written::Backend, written: &Located<PersistenceCookie>) -> Cookie {
    let key = backend.dynamic_cookie_key.as_ref().map(|key| key.value().clone());
    if written.dynamic && key.is_none() {
        let message = format!("the cookie of backend `{}` is dynamic, which needs a key", backend.name);
        resolver.error(written.location(), message, "for example dynamic-cookie-key = \"a secret\"");
    }
    let Cookie { mode, indirect, preserve, .. } = written.cookie;
    if mode == CookieMode::Rewrite && indirect {
        resolver.error(written.location(), "a cookie of mode `rewrite` cannot be `indirect`", "the server sets it, and needs to see it");
    }
    if preserve && mode != CookieMode::Insert && !indirect {
        resolver.error(written.location(), "`preserve` needs a cookie that is inserted or indirect", "no other is ever taken away");
    }
    let (dynamic_key, idle_key) = if written.dynamic { (key, None) } else { (None, key) };
    Cookie { dynamic_key, idle_key, ..written.cookie.clone() }
}

/// Returns what makes a failed request go again; in mode tcp only what happens before anything was sent.
fn retry_on(resolver: &mut Resolver, written: &written::Backend, mode: Mode) -> RetryOn {
    if let Some(own) = written.retry_on.as_ref().filter(|own| mode == Mode::Tcp && own.repeats_requests()) {
        let message = format!("`retry-on` reads responses, backend `{}` has mode tcp", written.name);
        resolver.warning(own.location(), message, "only conn-failure counts there");
    }
    if let Some(own) = written.retry_on.as_ref().filter(|own| own.awaits_early_data()) {
        let message = "`0rtt-rejected` never happens: servers are sent no early data";
        resolver.warning(own.location(), message, "leave it out; for a server that answers 425, write 425");
    }
    let wanted = written.retry_on.as_ref().or(written.defaults.retry_on.as_ref()).map(|on| *on.value()).unwrap_or_default();
    match mode {
        Mode::Http => wanted,
        Mode::Tcp if wanted.contains(RetryCause::ConnFailure) => RetryOn::default(),
        Mode::Tcp => RetryOn::NEVER,
    }
}

/// Warns of what is valid and does not work out.
pub(super) fn warnings(resolver: &mut Resolver, written: &[written::Backend], pools: &Pools, frontends: &[Frontend]) {
    for (written, backend) in written.iter().zip(&pools.backends) {
        let defaults = &*written.defaults;
        idle_settings(resolver, written, backend);
        let servers = pools.servers_of(backend);
        let location = backend.location();
        if written.servers.is_empty() {
            resolver.absent(
                location,
                format!("backend `{}` has no servers", backend.name()),
                "for example server = { web1 = \"10.0.0.11:8080\" }",
            );
        } else if !servers.is_empty() && servers.iter().all(|server| server.weight() == 0) {
            resolver.warning(location, format!("every server of backend `{}` has weight 0", backend.name()), "none of them takes traffic");
        }
        let mut users = frontends.iter().filter(|frontend| uses(frontend, backend.id())).peekable();
        let kernel_only = users.peek().is_some() && users.all(|frontend| frontend.xdp().is_some());
        // Connections the kernel forwards have no timers in user space.
        if !kernel_only {
            let title = format!("backend `{}`", backend.name());
            let wanted = [Timeout::Connect, Timeout::Server];
            proxy::missing_timeouts(resolver, location, &title, [&defaults.proxy, &written.proxy], &wanted);
        }
        let in_kernel = frontends.iter().filter_map(Frontend::xdp).any(|xdp| xdp.backend() == backend.id());
        let unchecked = !servers.is_empty() && servers.iter().all(|server| server.check().is_none());
        if in_kernel && unchecked && !check::is_declined(written) {
            let hint = "a dead server keeps its share of the traffic: for example check = { tcp = {} }";
            resolver.absent(location, format!("backend `{}` has no check", backend.name()), hint);
        }
    }
}

/// Warns of settings of a backend's own that its way of choosing does not look at.
fn idle_settings(resolver: &mut Resolver, written: &written::Backend, backend: &Backend) {
    let name = backend.balance().name();
    let is_random = matches!(backend.balance(), Balance::Random(_));
    let hashes = is_hashed(backend.balance());
    if let Some(hash) = written.pool.hash_type.as_ref().filter(|_| !hashes) {
        let message = format!("`hash-type` has no effect, because balance `{name}` hashes nothing");
        resolver.warning(hash.location(), message, "leave it out, or use for example balance = \"source\"");
    }
    let bounded = is_random || hashes && backend.hash_type().method() == HashMethod::Consistent;
    if let Some(factor) = written.pool.hash_balance_factor.as_ref().filter(|factor| *factor.value() > 0 && !bounded) {
        let message = "`hash-balance-factor` has no effect, because servers are not found by a consistent hash".to_owned();
        resolver.warning(factor.location(), message, "add hash-type = \"consistent\", or leave it out");
    }
}

fn is_hashed(balance: &Balance) -> bool {
    match balance {
        Balance::Source | Balance::Uri(_) | Balance::UrlParam(_) | Balance::Header(_) | Balance::RdpCookie(_) | Balance::Hash(_) => true,
        Balance::RoundRobin | Balance::StaticRoundRobin | Balance::LeastConn | Balance::First | Balance::Random(_) => false,
    }
}

/// Tells whether a frontend sends some of its traffic to a backend, as far as its keys tell.
fn uses(frontend: &Frontend, backend: BackendId) -> bool {
    frontend.default_backend() == Some(backend) || frontend.sni().iter().any(|route| route.backend() == backend)
}

const DEFAULT_RETRIES: u32 = 3;
const DEFAULT_WEIGHT: u16 = 1;
const DEFAULT_PURGE_DELAY: Duration = Duration::from_secs(5);

fn reads_requests(balance: &Balance) -> bool {
    matches!(balance, Balance::Uri(_) | Balance::UrlParam(_) | Balance::Header(_))
}

/// Where a server belongs.
struct Place<'t> {
    backend: BackendId,
    id: ServerId,
    number: usize,
    timeouts: &'t Timeouts,
}

/// Makes a server; none where its address could not be read.
fn server(resolver: &mut Resolver, backend: &written::Backend, written: &written::Server, place: &Place<'_>) -> Option<Server> {
    let address = written.address.as_ref()?;
    let defaults = &*backend.defaults;
    let layers = [&defaults.default_server, &backend.default_server, &written.settings];
    let Limits { minconn, maxconn, maxqueue } = limits::of_server(resolver, written, &layers);
    let source = last(&layers, |settings| settings.source.as_ref().map(|source| source.value().clone())).or_else(|| backend.source.clone());
    let send_proxy = match last(&layers, |settings| settings.send_proxy) {
        Some(ProxySwitch::On(version)) => Some(version),
        Some(ProxySwitch::Off) | None => None,
    };
    let naming = naming::naming(resolver, written, &layers);
    family(resolver, written, source.as_ref());
    let source = source.filter(|_| address.unix().is_none());
    let protocol = last(&layers, |settings| settings.protocol);
    let tls = tls::tls(resolver, written, &layers, protocol);
    let (timeouts, tls_of) = (place.timeouts, tls.as_ref());
    let connection = Connection { timeouts, source: source.as_ref(), send_proxy, tls: tls_of, protocol, layers: &layers };
    let check = check::check(resolver, backend, written, &connection);
    let agent = check::agent(resolver, written, &connection);
    let track = last(&layers, |settings| settings.track.clone()).map(|track| track::own(track, backend));
    let cookie = last(&layers, |settings| settings.cookie.as_ref().map(|cookie| cookie.value().clone()));
    // Without a value of its own no client would stay with it; the name is one.
    let by_name = backend.cookie.as_ref().filter(|cookie| !cookie.dynamic && cookie.unnamed == Unnamed::Name);
    let cookie = cookie.or_else(|| by_name.map(|_| written.name.value().clone()));
    let is_idle = proxy::is_disabled(&backend.defaults.proxy, &backend.proxy);
    Some(Server {
        id: place.id,
        backend: place.backend,
        number: place.number,
        name: written.name.clone(),
        address: address.clone(),
        weight: last(&layers, |settings| settings.weight).unwrap_or(DEFAULT_WEIGHT),
        backup: last(&layers, |settings| settings.backup).unwrap_or(false),
        disabled: is_idle || last(&layers, |settings| settings.disabled).unwrap_or(false),
        minconn,
        maxconn,
        maxqueue,
        ends_own: last(&layers, |settings| settings.ends_own).unwrap_or_default(),
        ends_spares: last(&layers, |settings| settings.ends_spares).unwrap_or_default(),
        slowstart: last(&layers, |settings| settings.slowstart).filter(|length| !length.is_zero()),
        check,
        agent,
        track,
        cookie,
        protocol,
        tls,
        source,
        send_proxy,
        fast_open: last(&layers, |settings| settings.fast_open).unwrap_or(false),
        non_stick: last(&layers, |settings| settings.non_stick).unwrap_or(false),
        patience: last(&layers, |settings| settings.patience).filter(|patience| !patience.is_zero()),
        naming,
        origin: Origin::File,
        pool: pool(&layers),
    })
}

/// Finds how long connections to a server are kept.
fn pool(layers: &[&ServerSettings]) -> ServerPool {
    ServerPool {
        most_idle: last(layers, |settings| settings.pool.most_idle).flatten(),
        purge_delay: last(layers, |settings| settings.pool.purge_delay).unwrap_or(DEFAULT_PURGE_DELAY),
        most_reuses: last(layers, |settings| settings.pool.most_reuses).flatten(),
    }
}

/// Refuses a source of another family than the server.
fn family(resolver: &mut Resolver, server: &written::Server, source: Option<&ServerSource>) {
    let Some(address) = &server.address else { return };
    let guise = source.and_then(ServerSource::guise).and_then(|guise| match guise {
        Guise::Address(address) => Some(address.ip()),
        Guise::Client | Guise::ClientIp => None,
    });
    let source = guise.or_else(|| source.and_then(ServerSource::ip));
    if let Some((source, _)) = source.zip(address.ip()).filter(|(source, server)| source.is_ipv4() != server.is_ipv4()) {
        let message = format!("server `{}` is of another family than its source {source}", server.name);
        resolver.error(address.location(), message, "write a source of its own for the server");
    }
    if server.settings.source.is_some() && address.unix().is_some() {
        resolver.error(address.location(), format!("server `{}` is a Unix socket, which has no source", server.name), "leave out `source`");
    }
}

/// Returns a setting from the narrowest layer that has it.
pub(super) fn last<T>(layers: &[&ServerSettings], setting: impl Fn(&ServerSettings) -> Option<T>) -> Option<T> {
    layers.iter().rev().find_map(|settings| setting(settings))
}

//! Frontends.

use std::collections::HashMap;
use std::sync::Arc;

use super::backend::Pools;
use super::{Resolver, kernel, log, place, proxy};
use crate::config::location::Located;
use crate::config::model::{BackendId, Bind, Frontend, FrontendId, Mode, SniRoute, Timeout, TlsVersion, Transport};
use crate::config::written::{self, Defaults};

pub(super) fn frontends(
    resolver: &mut Resolver,
    defaults: &[Arc<Defaults>],
    written: &[written::Frontend],
    pools: &Pools,
) -> Vec<Frontend> {
    let mut frontends = Vec::new();
    let of = |defaults: &Arc<Defaults>| (Arc::as_ptr(defaults), defaults.default_backend.as_ref().and_then(|name| resolver.backend(name)));
    let inherited: HashMap<_, _> = defaults.iter().map(of).collect();
    for (index, written) in written.iter().enumerate() {
        let defaults = &*written.defaults;
        let named = written.default_backend.as_ref();
        let backend = match named {
            Some(name) => resolver.backend(name),
            None => inherited.get(&Arc::as_ptr(&written.defaults)).copied().flatten(),
        };
        let nowhere = named.or(defaults.default_backend.as_ref()).is_none() && written.sni.is_empty();
        let id = FrontendId::from_index(index);
        let frontend = frontend(resolver, written, Target { id, backend }, pools);
        if nowhere && written.rules.is_empty() && defaults.preset.rules.is_empty() && written.xdp.is_none() {
            let message = format!("frontend `{}` sends its traffic nowhere", written.name);
            resolver.absent(written.name.location(), message, "for example default-backend = \"app\"");
        }
        if written.xdp.is_none() {
            let title = format!("frontend `{}`", written.name);
            proxy::missing_timeouts(resolver, written.name.location(), &title, [&defaults.proxy, &written.proxy], &[Timeout::Client]);
        }
        frontends.push(frontend);
    }
    frontends
}

/// Leaves out those that are disabled, which were made to find what is wrong with them.
pub(super) fn served(made: Vec<Frontend>, written: &[written::Frontend]) -> Vec<Frontend> {
    let pairs = made.into_iter().zip(written);
    let left = pairs.filter(|(_, written)| !proxy::is_disabled(&written.defaults.proxy, &written.proxy));
    left.enumerate().map(|(index, (frontend, _))| Frontend { id: FrontendId::from_index(index), ..frontend }).collect()
}

/// Which frontend is made, and where its traffic goes.
struct Target {
    id: FrontendId,
    backend: Option<BackendId>,
}

fn frontend(resolver: &mut Resolver, written: &written::Frontend, target: Target, pools: &Pools) -> Frontend {
    let defaults = &*written.defaults;
    let mode = proxy::mode(&defaults.proxy, &written.proxy);
    let backend = target.backend.map(|id| &pools.backends[id.index()]);
    if let Some(backend) = backend.filter(|backend| backend.mode() != mode) {
        let name = written.default_backend.as_ref().or(defaults.default_backend.as_ref());
        mode_mismatch(resolver, name.unwrap_or(&written.name), (&written.name, mode), backend);
    }
    if written.xdp.is_none() {
        for bind in &written.binds {
            if bind.address().inet().is_some_and(|inet| inet.transport() == Transport::Udp) {
                let message = format!("bind {}: UDP is served by the kernel tier only", bind.address());
                resolver.error(bind.location(), message, "add xdp = { forward = \"nat\" }");
            }
        }
    }
    written.binds.iter().filter(|bind| bind.is_quic()).for_each(|bind| quic(resolver, bind, mode));
    let sni = sni(resolver, written, mode, pools);
    let pool = backend.map(|backend| (backend, pools.servers_of(backend)));
    let xdp = kernel::frontend(resolver, written, mode, pool);
    let kernel_obstacles = kernel::obstacles(resolver, written, mode, pool);
    let backlog = written.backlog.or(defaults.backlog);
    let own = |bind: &Bind| Bind { backlog: bind.backlog.or(backlog), ..bind.clone() };
    Frontend {
        id: target.id,
        name: written.name.clone(),
        mode,
        binds: written.binds.iter().map(own).collect(),
        default_backend: target.backend,
        sni,
        monitor_uri: monitor_uri(resolver, written, mode),
        inspect_delay: written.inspect_delay.as_ref().map(|delay| *delay.value()),
        maxconn: written.maxconn.or(defaults.maxconn),
        rate_limit: written.rate_limit.or(defaults.rate_limit).unwrap_or(0),
        timeouts: proxy::timeouts(&defaults.proxy, &written.proxy),
        options: proxy::options(resolver, &defaults.proxy, &written.proxy, mode),
        probes: written.proxy.client_probes.over(defaults.proxy.client_probes),
        compression: proxy::compression(resolver, &defaults.proxy, &written.proxy, mode),
        stats: proxy::stats(&defaults.proxy, &written.proxy, mode),
        errors: proxy::errors(resolver, &defaults.proxy, &written.proxy),
        logging: log::logging(resolver, [&defaults.proxy, &written.proxy], mode),
        unique_id: proxy::unique_id(&defaults.proxy, &written.proxy),
        preset: resolver.preset(&defaults.preset),
        acls: written.acls.clone(),
        rules: resolver.rules(&written.rules),
        xdp,
        kernel_obstacles,
    }
}

/// Checks that an address speaks QUIC, which carries TLS 1.3 and HTTP/3 and nothing else.
fn quic(resolver: &mut Resolver, bind: &Bind, mode: Mode) {
    let mut refuse = |what: &str, hint: &str| resolver.error(bind.location(), format!("bind {}: {what}", bind.address()), hint);
    if mode != Mode::Http {
        refuse("QUIC carries requests, the frontend has mode tcp", "write mode http");
    }
    if bind.accept_proxy() {
        refuse("PROXY headers cannot stand before QUIC", "leave it to addresses of TCP");
    }
    let Some(tls) = bind.tls() else { return refuse("QUIC needs TLS", "add a certificate: ssl crt, or tls = { certificates = … }") };
    if tls.protocol().max() == TlsVersion::V1_2 {
        refuse("QUIC needs TLS 1.3", "raise the newest version that is spoken");
    }
    if tls.alpn().iter().any(|name| name != "h3") {
        refuse("QUIC carries HTTP/3 only", "leave out the names of protocols, or write h3 alone");
    }
}

fn monitor_uri(resolver: &mut Resolver, written: &written::Frontend, mode: Mode) -> Option<String> {
    let uri = written.monitor_uri.as_ref()?;
    if mode == Mode::Tcp {
        let message = format!("`monitor-uri` needs requests, frontend `{}` has mode tcp", written.name);
        resolver.error(uri.location(), message, "leave it out, or write mode = \"http\"");
    }
    Some(uri.value().clone())
}

/// Makes the routes by name.
fn sni(resolver: &mut Resolver, written: &written::Frontend, mode: Mode, pools: &Pools) -> Vec<SniRoute> {
    let names: Vec<_> = written.sni.iter().map(|(name, _)| name.clone()).collect();
    resolver.unique(&names);
    if let Some(name) = names.first().filter(|_| mode == Mode::Http) {
        let message = format!("`sni` routes connections, frontend `{}` has mode http", written.name);
        resolver.error(name.location(), message, "write mode = \"tcp\"");
    }
    let ended = written.binds.iter().find(|bind| bind.tls().is_some());
    if let (Some(name), Some(bind)) = (names.first(), ended) {
        let message = format!("frontend `{}` ends TLS on {}, and the name is not in the bytes it forwards", written.name, bind.address());
        resolver.error(name.location(), message, "leave out either `sni` or `tls`");
    }
    if let Some(delay) = written.inspect_delay.as_ref().filter(|_| names.is_empty() && written.rules.is_empty()) {
        let message = format!("nothing in frontend `{}` waits for first bytes", written.name);
        resolver.warning(delay.location(), message, "leave out `inspect-delay`, or write sni = { … }");
    }
    let mut routes = Vec::new();
    for (name, target) in &written.sni {
        let Some(id) = resolver.backend(target) else { continue };
        let backend = &pools.backends[id.index()];
        if backend.mode() != mode {
            mode_mismatch(resolver, target, (&written.name, mode), backend);
        }
        routes.push(SniRoute { name: name.clone(), backend: id });
    }
    routes
}

fn mode_mismatch(
    resolver: &mut Resolver,
    at: &Located<String>,
    (name, mode): (&Located<String>, Mode),
    backend: &crate::config::model::Backend,
) {
    let message = format!(
        "frontend `{name}` has mode {}, backend `{}` has mode {}",
        proxy::mode_name(mode),
        backend.name(),
        proxy::mode_name(backend.mode())
    );
    resolver.error(at.location(), message, format!("give both the same mode ({})", place(backend.location())));
}

//! What the kernel tier asks of a frontend it is to serve.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Resolver;
use crate::config::model::{
    Backend, Balance, Bind, DEFAULT_RING, DeadServer, Forward, Frontend, Inet, Mode, NoServer, Server, Transport, XdpBalance, XdpFrontend,
};
use crate::config::written;
use crate::config::{Diagnostic, Severity};

/// Makes the kernel part of a frontend, and reports everything the kernel cannot do of it.
pub(super) fn frontend(
    resolver: &mut Resolver,
    written: &written::Frontend,
    mode: Mode,
    pool: Option<(&Backend, &[Server])>,
) -> Option<XdpFrontend> {
    make(resolver, written, written.xdp.as_ref()?, mode, pool)
}

/// Returns what keeps the kernel tier from serving a frontend that is left to user space; nothing of that is wrong with it.
pub(super) fn obstacles(
    resolver: &mut Resolver,
    written: &written::Frontend,
    mode: Mode,
    pool: Option<(&Backend, &[Server])>,
) -> Vec<Diagnostic> {
    if written.xdp.is_some() {
        return Vec::new();
    }
    let before = resolver.found.len();
    make(resolver, written, &written::XdpFrontend::plain(written.name.location().clone()), mode, pool);
    let mut found = resolver.found.split_off(before);
    found.retain(|diagnostic| diagnostic.severity() == Severity::Error);
    found
}

fn make(
    resolver: &mut Resolver,
    written: &written::Frontend,
    xdp: &written::XdpFrontend,
    mode: Mode,
    pool: Option<(&Backend, &[Server])>,
) -> Option<XdpFrontend> {
    let forward = xdp.forward.unwrap_or(Forward::Nat);
    bytes_only(resolver, written, mode, &xdp.location);
    let binds: Vec<Inet> = written.binds.iter().filter_map(|bind| self::bind(resolver, bind)).collect();
    let named = written.default_backend.is_some() || written.defaults.default_backend.is_some();
    if !named {
        let message = format!("frontend `{}` is for the kernel tier and has no default-backend", written.name);
        resolver.error(&xdp.location, message, "for example default-backend = \"db\"");
    }
    let (backend, servers) = pool?;
    for server in servers {
        self::server(resolver, written, server, forward, &binds);
    }
    let balance = xdp.hash.or_else(|| in_kernel(backend.balance()));
    if balance.is_none() {
        let name = backend.balance().name();
        let message = format!("balance `{name}` of backend `{}` is beyond the kernel tier", backend.name());
        resolver.error(
            &xdp.location,
            message,
            "it knows roundrobin, static-rr, leastconn and source; or write xdp = { hash = \"source\" }",
        );
    }
    tunnel_settings(resolver, xdp, forward);
    Some(XdpFrontend {
        location: xdp.location.clone(),
        backend: backend.id(),
        forward,
        balance: balance?,
        track: xdp.track.unwrap_or(true),
        ring: ring_size(resolver, xdp, balance?, servers.len()),
        tunnel_port: xdp.tunnel_port.as_deref().copied().unwrap_or(GUE_PORT),
        tunnel_mtu: xdp.tunnel_mtu.as_deref().copied(),
        mss: xdp.mss.as_deref().copied(),
        dead_server: xdp.dead_server.unwrap_or(DeadServer::Move),
        no_server: xdp.no_server.unwrap_or(NoServer::Drop),
    })
}

/// Returns how many slots a ring has, and says where that is too few or means nothing.
fn ring_size(resolver: &mut Resolver, xdp: &written::XdpFrontend, balance: XdpBalance, servers: usize) -> u32 {
    let Some(ring) = &xdp.ring else { return DEFAULT_RING };
    if !matches!(balance, XdpBalance::Source | XdpBalance::Tuple) {
        resolver.error(ring.location(), "`ring` means nothing where no hash chooses".to_owned(), "write hash = \"source\" or \"tuple\"");
    } else if usize::try_from(**ring).is_ok_and(|slots| slots < servers.saturating_mul(SLOTS_OF_A_SERVER)) {
        let message = format!("a ring of {} slots is short for {servers} servers: shares will differ by more than 1 %", **ring);
        resolver.warning(ring.location(), message, "a hundred slots or more for each server");
    }
    **ring
}

/// How many slots make shares even.
const SLOTS_OF_A_SERVER: usize = 100;

/// The port that IANA gave to Generic UDP Encapsulation.
const GUE_PORT: u16 = 6080;

/// Refuses settings of tunnels where there are none.
fn tunnel_settings(resolver: &mut Resolver, xdp: &written::XdpFrontend, forward: Forward) {
    let (wraps, in_udp) = match forward {
        Forward::Nat | Forward::Dsr | Forward::Dnat => (false, false),
        Forward::Ipip => (true, false),
        Forward::Gue => (true, true),
    };
    if let Some(port) = xdp.tunnel_port.as_ref().filter(|_| !in_udp) {
        resolver.error(port.location(), "`tunnel-port` means nothing without a tunnel over UDP".to_owned(), "write forward = \"gue\"");
    }
    if let Some(mtu) = xdp.tunnel_mtu.as_ref().filter(|_| !wraps) {
        resolver.error(mtu.location(), "`tunnel-mtu` means nothing without a tunnel".to_owned(), "write forward = \"ipip\" or \"gue\"");
    }
    let returns = matches!(forward, Forward::Nat | Forward::Dnat);
    if let Some(mss) = xdp.mss.as_ref().filter(|_| !returns) {
        resolver.warning(
            mss.location(),
            "`mss` limits what servers send, not what clients do: a server's own word on it goes past the balancer",
            "say it on servers: `ip route change … advmss`; or write forward = \"nat\" or \"dnat\"",
        );
    }
}

fn bytes_only(resolver: &mut Resolver, written: &written::Frontend, mode: Mode, location: &crate::config::location::Location) {
    if mode == Mode::Http {
        let message = format!("frontend `{}` has mode http, the kernel tier forwards bytes", written.name);
        resolver.error(location, message, "write mode = \"tcp\", or leave out `xdp`");
    }
    if let Some((name, _)) = written.sni.first() {
        let message = format!("frontend `{}` is for the kernel tier, which cannot read names", written.name);
        resolver.error(name.location(), message, "leave out either `sni` or `xdp`");
    }
    let acls = written.acls.iter().map(|acl| acl.name.location());
    let rules = written.rules.iter().chain(&written.defaults.preset.rules);
    let first = rules.map(|rule| rule.location()).chain(acls).next();
    if let Some(first) = first {
        let message = format!("frontend `{}` is for the kernel tier, which cannot evaluate rules", written.name);
        resolver.error(first, message, "leave out either rules and acls or `xdp`");
    }
}

/// Checks a bind; none where it cannot be compared with servers.
fn bind(resolver: &mut Resolver, bind: &Bind) -> Option<Inet> {
    let ignored = [("backlog", bind.backlog().is_some()), ("maxconn", bind.maxconn().is_some()), ("transparent", bind.transparent())];
    for (key, _) in ignored.into_iter().filter(|(_, is_set)| *is_set) {
        let message = format!("bind {}: `{key}` means nothing to the kernel tier", bind.address());
        resolver.warning(bind.location(), message, "it holds where l7d serves the frontend");
    }
    let mut refuse = |what: &str, hint: &str| {
        let message = format!("bind {}: the kernel tier cannot {what}", bind.address());
        resolver.error(bind.location(), message, hint);
    };
    if bind.tls().is_some() {
        refuse("end TLS", "leave out `tls` or `xdp`");
    }
    if bind.accept_proxy() {
        refuse("read PROXY headers", "leave out `accept-proxy` or `xdp`");
    }
    if bind.interface().is_some() {
        refuse("tell interfaces apart yet", "leave out `interface`");
    }
    let Some(inet) = bind.address().inet() else {
        refuse("serve Unix or inherited sockets", "an address and a port: for example 10.0.0.1:80");
        return None;
    };
    if inet.is_wildcard() {
        refuse("serve every address", "name the virtual address: for example 10.0.0.1:80");
        return None;
    }
    if inet.ip().is_multicast() {
        refuse("serve a multicast address", "a virtual address: for example 10.0.0.1:80");
        return None;
    }
    Some(*inet)
}

fn server(resolver: &mut Resolver, frontend: &written::Frontend, server: &Server, forward: Forward, binds: &[Inet]) {
    let refuse = |resolver: &mut Resolver, what: &str, hint: &str| {
        let message = format!("server `{}` of frontend `{}`: the kernel tier cannot {what}", server.name(), frontend.name);
        resolver.error(server.address_location(), message, hint);
    };
    if server.send_proxy().is_some() {
        refuse(resolver, "send PROXY headers", "leave out `send-proxy` or `xdp`");
    }
    if server.tls().is_some() {
        refuse(resolver, "speak TLS", "leave out `tls` or `xdp`");
    }
    if server.source().is_some() {
        refuse(resolver, "choose a source for each server", "write source-addresses in [xdp], and leave out `source`");
    }
    if server.address().unix().is_some() {
        return refuse(resolver, "reach a Unix socket", "an address and a port: for example 10.0.0.11:8080");
    }
    if server.ip().is_some_and(|ip| ip.is_unspecified()) {
        return refuse(resolver, "send each client where it wanted to go", "the address of one machine: for example 10.0.0.11:8080");
    }
    // Of a name it is not known yet where it leads; the planner takes what is of the right family.
    let family = server.ip().map(|ip| ip.is_ipv4());
    let crosses = matches!(forward, Forward::Ipip | Forward::Gue);
    if let Some(bind) = binds.iter().find(|bind| !crosses && family.is_some_and(|family| bind.ip().is_ipv4() != family)) {
        let message = format!("server `{}` is of another family than bind {bind} of frontend `{}`", server.name(), frontend.name);
        let hint = "the kernel tier cannot translate between IPv4 and IPv6 yet; tunnels carry either: forward = \"ipip\"";
        resolver.error(server.address_location(), message, hint);
    }
    let Some(port) = server.port().filter(|_| !matches!(forward, Forward::Nat | Forward::Dnat)) else { return };
    let mut comparable = binds.iter().filter(|bind| crosses || family.is_none_or(|family| bind.ip().is_ipv4() == family));
    if let Some(bind) = comparable.find(|bind| bind.ports().single() != Some(port)) {
        let message = format!("server `{}` has port {port}, bind {bind} of frontend `{}` has not", server.name(), frontend.name);
        resolver.error(
            server.address_location(),
            message,
            "only nat and dnat rewrite ports: leave the server's out, or use forward = \"nat\"",
        );
    }
}

/// Refuses servers that two services have by `dnat` in such a way that a reply would not say whose it is.
pub(super) fn replies_apart(resolver: &mut Resolver, frontends: &[Frontend], servers: &[Server]) {
    let mut taken: HashMap<(Transport, SocketAddr), (&str, Inet)> = HashMap::new();
    for frontend in frontends {
        let Some(xdp) = frontend.xdp().filter(|xdp| xdp.forward == Forward::Dnat) else { continue };
        for inet in frontend.binds().iter().filter_map(|bind| bind.address().inet()) {
            for server in servers.iter().filter(|server| server.backend() == xdp.backend) {
                // Where servers have the client's port of many, all of their ports are this service's.
                let Some(socket) = server.address_for(inet.ports().single().unwrap_or(0)) else { continue };
                let (owner, other) = *taken.entry((inet.transport(), socket)).or_insert((frontend.name(), *inet));
                if other != *inet {
                    let message = format!("replies of {socket} could be those of bind {inet} or of {other} of frontend `{owner}`");
                    let hint = "with dnat a server has one port for each service: give it another, or write forward = \"nat\"";
                    resolver.error(server.address_location(), message, hint);
                }
            }
        }
    }
}

/// Returns what a balance means in the kernel.
fn in_kernel(balance: &Balance) -> Option<XdpBalance> {
    match balance {
        Balance::RoundRobin | Balance::StaticRoundRobin => Some(XdpBalance::RoundRobin),
        Balance::Source => Some(XdpBalance::Source),
        Balance::LeastConn => Some(XdpBalance::LeastConn),
        Balance::First
        | Balance::Uri(_)
        | Balance::UrlParam(_)
        | Balance::Header(_)
        | Balance::Random(_)
        | Balance::RdpCookie(_)
        | Balance::Hash(_) => None,
    }
}

//! How many connections a server takes, and how many may wait for it.

use super::Resolver;
use super::backend::{Pools, last};
use crate::config::location::Located;
use crate::config::model::{Backend, Frontend};
use crate::config::written::{self, ServerSettings};

/// Limits of one server.
pub(super) struct Limits {
    /// Invariant: less than `maxconn`, which is there if this is.
    pub(super) minconn: Option<u32>,
    pub(super) maxconn: Option<u32>,
    pub(super) maxqueue: Option<u32>,
}

/// Returns the limits of a server; one that cannot have an effect is warned of where it was written for this server.
pub(super) fn of_server(resolver: &mut Resolver, written: &written::Server, layers: &[&ServerSettings]) -> Limits {
    let maxconn = last(layers, |settings| settings.maxconn).filter(|maxconn| *maxconn > 0);
    let minconn = last(layers, |settings| settings.minconn.as_ref().map(|minconn| *minconn.value()));
    let maxqueue = last(layers, |settings| settings.maxqueue.as_ref().map(|maxqueue| *maxqueue.value()));
    // As in HAProxy: a lower bound that leaves no room below the upper one is the limit at any time.
    let bounded = minconn.zip(maxconn).is_some_and(|(minconn, maxconn)| minconn < maxconn);
    let limit = if bounded { maxconn } else { maxconn.max(minconn) };
    let own = |setting: &Option<Located<u32>>| setting.as_ref().map(|setting| setting.location().clone());
    if let Some(location) = own(&written.settings.minconn).filter(|_| !bounded) {
        let message = format!("`minconn` of server `{}` is not below its maxconn", written.name);
        resolver.warning(&location, message, "it takes so many at any time: write maxconn instead");
    }
    if let Some(location) = own(&written.settings.maxqueue).filter(|_| limit.is_none()) {
        let message = format!("nobody waits for server `{}`, which has no maxconn", written.name);
        resolver.warning(&location, message, "leave `maxqueue` out, or add for example maxconn = 200");
    }
    Limits { minconn: minconn.filter(|_| bounded), maxconn: limit, maxqueue }
}

/// Finds at how much load the servers with a `minconn` take their `maxconn`: where a backend does not say, at a tenth of what its
/// frontends admit, as in HAProxy.
pub(super) fn of_backends(resolver: &mut Resolver, pools: &mut Pools, frontends: &[Frontend], process: Option<u32>) {
    for index in 0..pools.backends.len() {
        let backend = &pools.backends[index];
        let Some(server) = pools.servers_of(backend).iter().find(|server| server.minconn().is_some()) else { continue };
        if backend.fullconn().is_some() {
            continue;
        }
        let fullconn = admitted(backend, frontends, process).map(|admitted| u32::try_from(admitted / 10).unwrap_or(u32::MAX).max(1));
        if fullconn.is_none() {
            let message = format!("at how much load server `{}` takes more than its minconn is not known", server.name());
            resolver.error(server.location(), message, "write for example fullconn = 1000 in the backend, or maxconn in its frontends");
        }
        pools.backends[index].fullconn = fullconn;
    }
}

/// Returns how many connections may come to a backend at a time; none if that is not limited.
fn admitted(backend: &Backend, frontends: &[Frontend], process: Option<u32>) -> Option<u64> {
    let users = frontends.iter().filter(|frontend| leads_to(frontend, backend));
    let limits: Option<Vec<u64>> = users.map(|frontend| frontend.maxconn().or(process).map(u64::from)).collect();
    let total = limits?.iter().sum();
    if total > 0 { Some(total) } else { process.map(u64::from) }
}

/// Tells whether a frontend may branch to a backend by a name that stands in the file.
fn leads_to(frontend: &Frontend, backend: &Backend) -> bool {
    let by_rule = |rule: &Located<String>| {
        let mut words = rule.split_ascii_whitespace();
        words.next() == Some("use_backend") && words.next() == Some(backend.name())
    };
    frontend.default_backend() == Some(backend.id()) || frontend.rules().iter().any(by_rule)
}

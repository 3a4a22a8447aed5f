//! Frontends.

use super::backend::Pools;
use super::{Resolver, kernel, place, proxy};
use crate::config::location::Located;
use crate::config::model::{BackendId, Frontend, FrontendId, Mode, Timeout, Transport};
use crate::config::written::{self, Defaults};

pub(super) fn frontends(
    resolver: &mut Resolver,
    defaults: &Defaults,
    default_backend: Option<BackendId>,
    written: &[written::Frontend],
    pools: &Pools,
) -> Vec<Frontend> {
    let mut frontends = Vec::new();
    for (index, written) in written.iter().enumerate() {
        let named = written.default_backend.as_ref();
        let backend = if named.is_some() { named.and_then(|name| resolver.backend(name)) } else { default_backend };
        let nowhere = named.or(defaults.default_backend.as_ref()).is_none();
        let id = FrontendId::from_index(index);
        let frontend = frontend(resolver, defaults, written, Target { id, backend }, pools);
        if nowhere && written.rules.is_empty() && written.xdp.is_none() {
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

/// Which frontend is made, and where its traffic goes.
struct Target {
    id: FrontendId,
    backend: Option<BackendId>,
}

fn frontend(resolver: &mut Resolver, defaults: &Defaults, written: &written::Frontend, target: Target, pools: &Pools) -> Frontend {
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
    let xdp = kernel::frontend(resolver, defaults, written, mode, backend.map(|backend| (backend, pools.servers_of(backend))));
    Frontend {
        id: target.id,
        name: written.name.clone(),
        mode,
        binds: written.binds.clone(),
        default_backend: target.backend,
        maxconn: written.maxconn.or(defaults.maxconn),
        timeouts: proxy::timeouts(&defaults.proxy, &written.proxy),
        options: proxy::options(resolver, &defaults.proxy, &written.proxy, mode),
        acls: written.acls.clone(),
        rules: resolver.rules(&written.rules),
        xdp,
    }
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

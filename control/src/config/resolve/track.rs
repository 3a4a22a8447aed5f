//! Servers whose state is another's, too: whom they name must be there, and at the end of each chain there must be somebody who is checked.

use super::backend::Pools;
use super::{Resolver, dangling};
use crate::config::location::Located;
use crate::config::model::{Config, Origin, Server, Tracked};
use crate::config::written;

/// Fills in the backend of a server that is named without one.
pub(super) fn own(track: Located<Tracked>, backend: &written::Backend) -> Located<Tracked> {
    track.map(|track| if track.backend.is_empty() { Tracked { backend: backend.name.value().clone(), ..track } } else { track })
}

/// Refuses tracking that leads nowhere.
pub(super) fn check(resolver: &mut Resolver, pools: &Pools) {
    for server in &pools.servers {
        let Some(track) = &server.track else { continue };
        if server.check.is_some() {
            let message = format!("server `{}` has a check, and tracks `{}`", server.name, **track);
            resolver.error(track.location(), message, "leave out one of them: a server that tracks another takes its state from that");
        }
        follow(resolver, pools, server, track);
    }
}

/// Looks whether a server that is added at run time may track whom it names, and says it as HAProxy does if not.
pub(super) fn added(config: &Config, server: &Server, track: &Tracked) -> Result<(), String> {
    if server.check.is_some() || server.agent.is_some() {
        return Err("unable to enable checks and tracking at the same time!".to_owned());
    }
    if config.backend_named(&track.backend).is_none() {
        return Err(format!("unable to find required proxy '{}' for tracking.", track.backend));
    }
    // Chains of the file lead somewhere, so that the first of one is all to be looked at.
    let Some(found) = config.server_named(&track.backend, &track.server) else {
        return Err(format!("unable to find required server '{}' for tracking.", track.server));
    };
    let name = format!("unable to use {}/{} for tracking as it", track.backend, track.server);
    if found.origin == Origin::Command {
        return Err(format!("{name} is a dynamic server."));
    }
    if found.check.is_none() && found.agent.is_none() && found.track.is_none() {
        return Err(format!("{name} does not have any check nor agent enabled."));
    }
    Ok(())
}

/// Goes from a server to the one at the end of its chain.
fn follow(resolver: &mut Resolver, pools: &Pools, server: &Server, track: &Located<Tracked>) {
    let mut next = track;
    // A chain without a loop has each server once.
    for _ in 0..pools.servers.len() {
        let Some(found) = find(resolver, pools, next) else { return };
        next = match &found.track {
            Some(track) => track,
            None if found.check.is_some() || found.agent.is_some() => return,
            None => {
                let message = format!("`{}` has neither a check nor an agent, so there is nothing to track", **next);
                return resolver.error(next.location(), message, "write check = { tcp = {} } for it");
            }
        };
    }
    let message = format!("server `{}` tracks `{}`, which tracks itself", server.name, **track);
    resolver.error(track.location(), message, "the last of a chain has a check");
}

fn find<'p>(resolver: &mut Resolver, pools: &'p Pools, track: &Located<Tracked>) -> Option<&'p Server> {
    let name = |text: &str| Located::new(text.to_owned(), track.location().clone());
    let id = resolver.backend(&name(&track.backend))?;
    let servers = pools.servers_of(pools.backends.get(id.index())?);
    let found = servers.iter().find(|server| server.name.value() == &track.server);
    if found.is_none() {
        let known: Vec<_> = servers.iter().map(|server| server.name.clone()).collect();
        let diagnostic = dangling("server", &name(&track.server), &known);
        resolver.found.push(diagnostic);
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn complaints(servers: &str) -> String {
        let text = format!("[backend.a]\nmode = \"tcp\"\n[backend.a.server]\n{servers}");
        Config::parse("test.toml", &text).map_or_else(|report| report.to_string(), |_| String::new())
    }

    #[test]
    fn tracking_that_leads_nowhere_is_refused() {
        let server = |name: &str, words: &str| format!("{name} = {{ address = \"127.0.0.1:1\", {words} }}\n");
        let checked = server("c", "check = { tcp = {} }");
        let cases = [
            (server("s", "track = \"c\"") + &checked, ""),
            (server("s", "track = \"t\"") + &server("t", "track = \"a/c\"") + &checked, ""),
            (server("s", "track = \"a/d\"") + &checked, "no server `d`"),
            (server("s", "track = \"b/c\"") + &checked, "no backend `b`"),
            (server("s", "track = \"s\""), "which tracks itself"),
            (server("s", "track = \"t\"") + &server("t", "track = \"s\""), "which tracks itself"),
            (server("s", "track = \"t\"") + &server("t", "weight = 1"), "neither a check nor an agent"),
            (server("s", "track = \"c\", check = { tcp = {} }") + &checked, "has a check, and tracks"),
            (server("s", "track = \"/c\"") + &checked, "names no server"),
            (server("c", "check = { tcp = {}, observe = \"layer7\" }"), "needs responses"),
        ];
        for (servers, wanted) in cases {
            let found = complaints(&servers);
            assert!(if wanted.is_empty() { found.is_empty() } else { found.contains(wanted) }, "{servers}{found}");
        }
    }
}

//! What follows for sessions when a server is marked down or up: `on-marked-down shutdown-sessions`, `on-marked-up
//! shutdown-backup-sessions`.

use control::fleet::{Changes, Transition};
use control::server_state::Status;

use crate::admin::Engine;
use crate::sessions::{Cause, Mark, Which};
use crate::site::{Backend, Server, Site};

/// Ends sessions as servers change, until nothing can change any more.
pub(crate) async fn follow(mut changes: Changes, engine: Engine) {
    loop {
        let batch = changes.next().await;
        let site = engine.site();
        let mut meant: Vec<_> = batch.transitions.iter().flat_map(|transition| ended_by(&site, transition)).collect();
        if batch.missed > 0 {
            meant.extend(all_down(&site));
        }
        for (server, cause) in meant {
            engine.end_sessions(Which::OfServer(Mark::of(server.meter())), cause).await;
        }
    }
}

/// Returns the servers whose sessions end because of a transition, and why they do.
fn ended_by<'s>(site: &'s Site, transition: &Transition) -> Vec<(&'s Server, Cause)> {
    let Some(pool) = site.backends().iter().find(|pool| pool.name() == transition.backend) else { return Vec::new() };
    let Some(server) = pool.servers().iter().find(|server| server.name() == transition.server) else { return Vec::new() };
    let model = server.model();
    match (transition.from, transition.to) {
        (_, Status::Down | Status::Maint) if model.ends_own() => vec![(server, Cause::Down)],
        (Status::Down | Status::Maint, Status::Up) if model.ends_spares() && !model.backup() => spares(pool).collect(),
        _ => Vec::new(),
    }
}

fn spares(pool: &Backend) -> impl Iterator<Item = (&Server, Cause)> {
    pool.servers().iter().filter(|server| server.model().backup()).map(|server| (server, Cause::Up))
}

/// Returns every server that takes no traffic and takes its sessions with it.
fn all_down(site: &Site) -> impl Iterator<Item = (&Server, Cause)> {
    let places = site.backends().iter().flat_map(|pool| (0..pool.servers().len()).map(move |place| (pool, place)));
    let down = places.filter(|(pool, place)| !pool.is_up(*place)).map(|(pool, place)| &pool.servers()[place]);
    down.filter(|server| server.model().ends_own()).map(|server| (server, Cause::Down))
}

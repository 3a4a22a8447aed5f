//! Peers: what processes on several hosts know of their clients is shared, in HAProxy's protocol, with HAProxy or with each other.
//!
//! A `group` is a section of the configuration at work: it listens, keeps a connection to each of its members, and knows whether it has
//! been taught what others knew before it. A `session` is one connection, once both sides know each other: `talk` is that without the connection: `teach` says what
//! has changed in our tables, `learn` believes what the other side says. Their words are in `codec`, which is pure. All of it runs on the
//! main thread; the threads that serve clients only count what they change, in the tables themselves.

pub mod codec;
mod connect;
mod group;
mod learn;
mod member;
mod resync;
mod session;
mod show;
#[cfg(test)]
mod simulation;
mod talk;
mod teach;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context;
use control::config::{Config, Diagnostic, Report};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::bind::{Sharing, Spec, specs_of_peers};
use crate::site::Site;
use group::Group;
pub(crate) use group::Shared;
pub(crate) use learn::Learner;
pub(crate) use resync::Start;
pub(crate) use show::Roster;
pub(crate) use teach::put_entry;

/// All sections at work.
#[derive(Debug, Default)]
pub(crate) struct Peering {
    groups: Vec<Running>,
    roster: Roster,
}

#[derive(Debug)]
struct Running {
    group: Arc<Group>,
    /// Dropped to end it.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Returns what this process is called among its peers.
pub(crate) fn local_name(config: &Config, named: Option<&str>) -> String {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    named.map(str::to_owned).or_else(|| config.global().localpeer().map(|name| name.value().clone())).unwrap_or_else(host)
}

/// Returns what is wrong with the sections of peers, given what this process is called.
pub(crate) fn check(config: &Config, local: &str) -> Report {
    let mut findings = Vec::new();
    for peers in config.peers().iter().filter(|peers| !peers.disabled()) {
        if peers.member(local).is_none() {
            let message = format!("no peer of section peers `{}` is called `{local}`, which is this process", peers.name());
            findings
                .push(Diagnostic::warning(peers.location(), message).hint("its tables are not shared; localpeer or -L says another name"));
            continue;
        }
        if peers.binds(local).next().is_none() {
            let message = format!("peer `{local}` is this process, and has no address");
            findings.push(Diagnostic::error(peers.location(), message).hint("for example bind 10.0.0.1:1024"));
        }
        for member in peers.members().iter().filter(|member| member.name() != local && member.address().is_none()) {
            let message = format!("peer `{}` has no address, and is not this process, which is called `{local}`", member.name());
            findings.push(Diagnostic::error(member.location(), message).hint("for example 10.0.0.2:1024"));
        }
    }
    findings.into()
}

/// Binds what peers connect to.
///
/// # Errors
/// As binding, with the address named.
pub(crate) fn bind(config: &Config, local: &str, sharing: Sharing<'_>) -> anyhow::Result<HashMap<Spec, OwnedFd>> {
    let mut bound = HashMap::new();
    for spec in config.peers().iter().flat_map(|peers| specs(peers, local)) {
        let socket = bind_one(&spec, sharing)?;
        bound.insert(spec, socket);
    }
    Ok(bound)
}

fn specs(peers: &control::config::Peers, local: &str) -> Vec<Spec> {
    let works = !peers.disabled() && peers.member(local).is_some();
    let binds = peers.binds(local).filter(|_| works);
    binds.flat_map(|bind| specs_of_peers(peers.name(), bind)).collect()
}

fn bind_one(spec: &Spec, sharing: Sharing<'_>) -> anyhow::Result<OwnedFd> {
    let socket = spec.bind(1, sharing)?.publish()?.into_iter().next().context("no socket")?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    info!("listening on {} for peers", spec.address());
    Ok(socket)
}

impl Peering {
    /// Does what the configuration says: sections that are the same as before go on with their connections.
    pub(crate) fn follow(&mut self, (config, local): (&Config, &str), site: &Site, mut bound: HashMap<Spec, OwnedFd>, start: Start) {
        let mut before = std::mem::take(&mut self.groups);
        for peers in config.peers().iter().filter(|peers| !peers.disabled() && peers.member(local).is_some()) {
            let group = Group::new(peers, local, config, site, start);
            let known = before.iter().position(|running| running.group.is_like(&group)).map(|place| before.swap_remove(place));
            if let Some(running) = known {
                running.group.renew(&group);
                self.groups.push(running);
                continue;
            }
            let bind = |spec: Spec| {
                let socket = bound.remove(&spec).map_or_else(|| bind_one(&spec, Sharing::Replacing), Ok);
                socket.map(|socket| (spec, socket)).inspect_err(|error| error!("peers {}: {error:#}", peers.name())).ok()
            };
            let sockets = specs(peers, local).into_iter().filter_map(bind).collect();
            let (group, (stop, stopped)) = (Arc::new(group), oneshot::channel());
            group.begin_lessons();
            let task = tokio::spawn(Arc::clone(&group).run(sockets, stopped));
            self.groups.push(Running { group, stop, task });
        }
        for Running { group, .. } in &before {
            group.members().iter().for_each(|member| group.forget_open(member));
        }
        self.roster.note(self.groups.iter().map(|running| Arc::clone(&running.group)).collect());
    }

    /// Returns what can be shown of it.
    pub(crate) fn roster(&self) -> Roster {
        self.roster.clone()
    }

    /// Lets go of all peers and teaches the process that takes the place of this one, if there is one; returns once that knows everything.
    pub(crate) async fn hand_over(&mut self) {
        for Running { group, stop, task } in std::mem::take(&mut self.groups) {
            drop(stop);
            // Once it is gone, so are its sockets, and who connects meets the new process.
            if task.await.is_ok() {
                group.hand_over().await;
            }
        }
    }
}

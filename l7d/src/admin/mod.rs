//! The commands of the runtime interface, and what they reach.
//!
//! [`control::admin`] holds the dialogs; here are the commands, by what they are about. All of it runs on the main thread, beside the
//! health checks. What changes more than a server's state is left to [`crate::app`].

mod servers;
mod show;
mod tables;

use std::sync::{Arc, Mutex, PoisonError};

use control::admin::{Command, Language, Run};
use control::config::SocketLevel;
use control::fleet::Fleet;
use control::shutdown::Shutdown;
use tokio::sync::watch;

use crate::site::Site;
use crate::stats::Stats;

/// What commands reach; clones reach the same.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// The states of the servers.
    fleet: Fleet,
    /// The site in force.
    site: watch::Receiver<Arc<Site>>,
    /// The numbers.
    stats: Stats,
    shutdown: Shutdown,
    /// Where the interface itself listens, with the level of its clients.
    sockets: Arc<Mutex<Vec<(String, SocketLevel)>>>,
}

impl Engine {
    /// Returns what commands reach.
    pub(crate) fn new(fleet: Fleet, site: watch::Receiver<Arc<Site>>, stats: Stats, shutdown: Shutdown) -> Self {
        Self { fleet, site, stats, shutdown, sockets: Arc::default() }
    }

    /// Says where the interface listens now.
    pub(crate) fn note_sockets(&self, sockets: Vec<(String, SocketLevel)>) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = sockets;
    }

    fn sockets(&self) -> Vec<(String, SocketLevel)> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.borrow())
    }
}

/// Returns all commands.
pub(crate) fn language(engine: Engine) -> Language<Engine> {
    let commands = show::commands().into_iter().chain(servers::commands()).chain(tables::commands());
    Language::new(engine, commands.collect())
}

/// Describes a command that is carried out at once.
const fn now(
    words: &'static str,
    arguments: &'static str,
    help: &'static str,
    level: SocketLevel,
    run: fn(&Engine, &control::admin::Call) -> control::admin::Reply,
) -> Command<Engine> {
    Command { words, arguments, help, level, run: Run::Now(run) }
}

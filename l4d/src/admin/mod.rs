//! The commands of the control socket, and what they reach.
//!
//! [`control::admin`] holds the dialogs; here are the commands, by what they are about. Each is carried out between two rounds of the daemon's loop, and the
//! maps have followed before it is answered.

mod guard;
mod servers;
mod show;
mod socket;
mod stat;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use control::{
    admin::{Call, Command, Language, Listener, Reply, Run, Terms, serve},
    config::{CommandSocket, Config, SocketLevel},
    dns::Book,
    fleet::Fleet,
    shutdown::Shutdown,
};
use tokio::sync::watch;

use crate::{kernel::Kernel, neighbor::Outcomes};

pub(crate) use socket::bind;

/// What commands reach; clones reach the same.
#[derive(Clone)]
pub(crate) struct Desk {
    fleet: Fleet,
    /// Not ours to keep: at the end the daemon takes the data plane away.
    kernel: Weak<Mutex<Kernel>>,
    hops: watch::Receiver<Outcomes>,
    /// What is counted of the servers of the DNS.
    names: Book,
    started: Instant,
}

impl Desk {
    /// Returns what commands reach.
    pub(crate) fn new(fleet: Fleet, kernel: &Arc<Mutex<Kernel>>, hops: watch::Receiver<Outcomes>, names: Book) -> Self {
        Self { fleet, kernel: Arc::downgrade(kernel), hops, names, started: Instant::now() }
    }

    /// Answers from the data plane, while there is one.
    fn with_kernel(&self, answer: impl FnOnce(&mut Kernel) -> Reply) -> Reply {
        let Some(kernel) = self.kernel.upgrade() else { return Reply::error("l4d is stopping.") };
        let mut kernel: MutexGuard<'_, Kernel> = kernel.lock().unwrap_or_else(PoisonError::into_inner);
        answer(&mut kernel)
    }

    /// Brings the maps to what a command has changed.
    fn reconcile(&self) {
        let hops = Arc::clone(&self.hops.borrow());
        let _done = self.with_kernel(|kernel| {
            kernel.reconcile(&self.fleet, &hops);
            Reply::Done
        });
    }
}

/// Serves clients until the daemon stops.
pub(crate) async fn run(listener: Listener, config: &Config, socket: &CommandSocket, desk: Desk, mut shutdown: Shutdown) {
    let global = config.global();
    let terms =
        Terms { level: socket.level(), patience: global.stats_timeout(), clients: global.stats_maxconn() as usize, hands_over: false };
    let commands = show::commands().into_iter().chain(servers::commands()).chain(guard::commands());
    let language = Arc::new(Language::new(desk, commands.collect()));
    tokio::select! {
        () = serve(listener, terms, language) => {}
        () = shutdown.begun() => {}
    }
}

/// Describes a command that is carried out at once.
const fn now(
    words: &'static str,
    arguments: &'static str,
    help: &'static str,
    level: SocketLevel,
    run: fn(&Desk, &Call) -> Reply,
) -> Command<Desk> {
    Command { words, arguments, help, level, run: Run::Now(run) }
}

//! The commands of the runtime interface, and what they reach.
//!
//! [`control::admin`] holds the dialogs; here are the commands, by what they are about. All of it runs on the main thread, beside the
//! health checks. What changes more than a server's state is left to [`crate::app`].

mod anchors;
mod certificates;
mod errors;
mod events;
mod explain;
mod gates;
mod inside;
mod limits;
mod master;
mod patterns;
mod peers;
mod pool;
mod running;
mod servers;
mod sessions;
mod show;
mod tables;
mod trace;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::admin::{Answering, Call, Command, Language, Reply, Run};
use control::config::{Config, SocketLevel};
use control::dns::Book;
use control::fleet::Fleet;
use control::handover::Listening;
use rustix::fs::fstat;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use inside::libraries;
pub(crate) use master::{Reloaded, Reloads, language as master_language};
pub(crate) use running::OnDisk;

use crate::h3;
use crate::life;
use crate::peers::Roster;
use crate::site::Site;
use crate::stats::Stats;
use crate::worker::Order;

/// What commands reach; clones reach the same.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// The states of the servers.
    fleet: Fleet,
    /// The site in force.
    site: watch::Receiver<Arc<Site>>,
    /// The numbers.
    stats: Stats,
    peers: Roster,
    /// What is counted of the servers of the DNS.
    names: Book,
    /// Where the interface itself listens, with the level of its clients.
    sockets: Arc<Mutex<Vec<(String, SocketLevel)>>>,
    /// What the files said when they were read last.
    loaded: Arc<Mutex<Option<Arc<Config>>>>,
    /// What they were warned of, as HAProxy writes it.
    said: Arc<Mutex<String>>,
    /// Where changes of the configuration are carried out.
    app: mpsc::Sender<Errand>,
    reloads: Arc<Reloads>,
    /// The workers, for as long as they serve.
    workers: Arc<[mpsc::WeakSender<Order>]>,
}

/// Where changes that a command wants are carried out.
pub(crate) struct Hands {
    /// Those of the configuration.
    pub(crate) app: mpsc::Sender<Errand>,
    /// Those of what is under way.
    pub(crate) workers: Vec<mpsc::WeakSender<Order>>,
}

/// What a command wants of who holds the configuration.
pub(crate) enum Errand {
    /// To change it.
    Amend(Amendment),
    /// To read it again, and tell what came of that.
    Reload(oneshot::Sender<Reloaded>),
    /// To know what its files and these files of patterns say now.
    Look(Vec<String>, oneshot::Sender<Result<OnDisk, String>>),
}

/// A change of the configuration that a command wants.
pub(crate) struct Amendment {
    /// Makes another configuration of the one in force, and the answer; or only the answer.
    pub(crate) make: Make,
    /// Who waits for the answer.
    pub(crate) done: oneshot::Sender<Reply>,
}

type Make = Box<dyn FnOnce(&Config) -> Result<(Config, Reply), Reply> + Send>;

impl Engine {
    /// Returns what commands reach.
    pub(crate) fn new(fleet: Fleet, site: watch::Receiver<Arc<Site>>, stats: Stats, (hands, peers, names): (Hands, Roster, Book)) -> Self {
        let Hands { app, workers } = hands;
        let (sockets, loaded, said, reloads) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        Self { fleet, site, stats, peers, names, sockets, loaded, said, app, reloads, workers: workers.into() }
    }

    /// Says where the interface listens now.
    pub(crate) fn note_sockets(&self, sockets: Vec<(String, SocketLevel)>) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = sockets;
    }

    fn sockets(&self) -> Vec<(String, SocketLevel)> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the configuration be changed, and returns what is answered.
    fn amend(self, call: Call, act: fn(&Self, &Config, &Call) -> pool::Outcome) -> Answering {
        Box::pin(async move {
            let (done, answered) = oneshot::channel();
            let app = self.app.clone();
            let make: Make = Box::new(move |config| act(&self, config, &call));
            // Who is about to end carries nothing out any more.
            match app.send(Errand::Amend(Amendment { make, done })).await {
                Ok(()) => answered.await.unwrap_or_else(|_| Reply::error("The process is stopping.")),
                Err(_) => Reply::error("The process is stopping."),
            }
        })
    }

    /// Returns what counts reloads.
    pub(crate) fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Tells the service manager again and again that the process lives, which it does if all its threads answer.
    pub(crate) async fn reassure(self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            self.ask_workers(Order::Answer).await;
            life::notify("WATCHDOG=1");
        }
    }

    /// Returns copies of all sockets that accept clients, each once.
    async fn listening(self) -> Vec<Listening> {
        let mut seen = HashSet::new();
        // Threads may share a socket, of which each has a descriptor.
        let mut is_new = |one: &Listening| fstat(&one.socket).is_ok_and(|stat| seen.insert(stat.st_ino));
        let mut all = self.ask_workers(Order::Share).await;
        all.retain(&mut is_new);
        all
    }

    /// Returns the site in force.
    pub(crate) fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.borrow())
    }
}

/// Returns all commands.
pub(crate) fn language(engine: Engine) -> Language<Engine> {
    let looking = [
        show::commands(),
        tables::commands(),
        sessions::commands(),
        patterns::commands(),
        certificates::commands(),
        anchors::commands(),
        errors::commands(),
        events::commands(),
        peers::commands(),
        explain::commands(),
        trace::commands(),
        running::commands(),
        inside::commands(),
    ];
    let changing = [servers::commands(), pool::commands(), limits::commands(), gates::commands()];
    Language::new(engine, looking.into_iter().chain(changing).flatten().collect())
        .handing_over(|engine| Box::pin(engine.listening()), h3::seed)
}

/// Describes a command of administrators that has to wait for others of the process.
const fn later(words: &'static str, arguments: &'static str, help: &'static str, run: fn(Engine, Call) -> Answering) -> Command<Engine> {
    Command { words, arguments, help, level: SocketLevel::Admin, run: Run::Later(run) }
}

/// Describes a command that is carried out at once.
const fn now(
    words: &'static str,
    arguments: &'static str,
    help: &'static str,
    level: SocketLevel,
    run: fn(&Engine, &Call) -> Reply,
) -> Command<Engine> {
    Command { words, arguments, help, level, run: Run::Now(run) }
}

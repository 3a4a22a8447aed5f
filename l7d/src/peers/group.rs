//! One section of peers at work.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control::config::{self, Config, PeerAddress};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info};

use super::codec::hello::MINOR;
use super::connect;
use super::member::{Kinship, Member};
use super::resync::{Resync, Stage, Start};
use super::teach::Portion;
use crate::bind::{Spec, specs_of_peers};
use crate::level::Level;
use crate::log::Log;
use crate::site::Site;
#[cfg(test)]
use crate::stick::Tables;
use crate::stick::{Cursor, Table, now};

/// A section of peers.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    /// What this process is called.
    local: String,
    tables: Vec<Shared>,
    members: Vec<Arc<Member>>,
    acceptors: Mutex<HashMap<Spec, Manners>>,
    resync: Mutex<Resync>,
    shards: u32,
    log: Mutex<Arc<Log>>,
    began: jiff::Zoned,
}

/// How connections begin that come in at an address.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    /// What accepts TLS; none where clear text is spoken.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Whether a PROXY header comes first.
    pub(super) accept_proxy: bool,
}

/// Where peers connect to.
enum Listener {
    Inet(TcpListener),
    Unix(UnixListener),
}

/// A table as peers know it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What this process calls it.
    pub(super) number: u64,
    /// What all call it.
    pub(super) name: String,
    /// The table.
    pub(crate) table: Arc<Table>,
    pub(super) aspect: Aspect,
    /// What this process is called, and the one before it, where that matters.
    pub(super) local: String,
}

/// What of a table is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aspect {
    /// All of it; what is said last holds.
    Whole,
    /// How many connections each process has open itself, which the others add up. HAProxy knows no table of that name.
    Open,
}

impl Group {
    pub(super) fn new(peers: &config::Peers, local: &str, config: &Config, site: &Site, start: Start) -> Self {
        let ours = config.tables().iter().filter(|table| table.peers() == Some(peers.name()));
        let found = ours.filter_map(|model| Some((model.shared_as(), site.tables().named(model.name())?)));
        let tables = share(found, local);
        let member = |(place, model): (usize, &config::Peer)| {
            let kinship = if model.name() == local { Kinship::Local } else { Kinship::Remote };
            Arc::new(Member::new(place, model, kinship, site.tls().client_of_peer(peers, model)))
        };
        let acceptors = peers.binds(local).flat_map(|bind| {
            let manners = Manners { tls: site.tls().acceptor_of_peers(peers, bind), accept_proxy: bind.accept_proxy() };
            specs_of_peers(peers.name(), bind).into_iter().map(move |spec| (spec, manners.clone()))
        });
        Self {
            name: peers.name().to_owned(),
            local: local.to_owned(),
            tables,
            members: peers.members().iter().enumerate().map(member).collect(),
            acceptors: Mutex::new(acceptors.collect()),
            resync: Mutex::new(Resync::new(start, Instant::now())),
            shards: peers.shards(),
            log: Mutex::new(site.log_of_peers(config.peers().iter().position(|known| known.name() == peers.name()).unwrap_or(usize::MAX))),
            began: jiff::Zoned::now(),
        }
    }

    /// Returns a section that listens nowhere.
    #[cfg(test)]
    pub(super) fn of(config: &Config, local: &str, known: &Tables, now: Instant) -> Self {
        let peers = &config.peers()[0];
        let member = |(place, model): (usize, &config::Peer)| {
            let kinship = if model.name() == local { Kinship::Local } else { Kinship::Remote };
            Arc::new(Member::new(place, model, kinship, None))
        };
        Self {
            name: peers.name().to_owned(),
            local: local.to_owned(),
            tables: share(config.tables().iter().filter_map(|model| Some((model.shared_as(), known.named(model.name())?))), local),
            members: peers.members().iter().enumerate().map(member).collect(),
            acceptors: Mutex::default(),
            resync: Mutex::new(Resync::new(Start::Afresh, now)),
            shards: peers.shards(),
            log: Mutex::default(),
            began: jiff::Zoned::now(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn local(&self) -> &str {
        &self.local
    }

    pub(super) fn tables(&self) -> &[Shared] {
        &self.tables
    }

    pub(super) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Returns when it began.
    pub(super) fn began(&self) -> &jiff::Zoned {
        &self.began
    }

    /// Returns the member of a name.
    pub(super) fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.name() == name)
    }

    pub(super) fn resync(&self) -> MutexGuard<'_, Resync> {
        self.resync.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether another is the same section, with the same members, addresses and tables.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let same_table = |(one, other): (&Shared, &Shared)| one.name == other.name && Arc::ptr_eq(&one.table, &other.table);
        let (ours, theirs) = (self.acceptors(), other.acceptors());
        self.name == other.name
            && self.local == other.local
            && self.shards == other.shards
            && self.tables.len() == other.tables.len()
            && self.tables.iter().zip(&other.tables).all(same_table)
            && self.members.len() == other.members.len()
            && self.members.iter().zip(&other.members).all(|(one, other)| one.is_like(other))
            && ours.len() == theirs.len()
            && ours.iter().all(|(spec, manners)| theirs.get(spec).is_some_and(|other| other.tls.is_some() == manners.tls.is_some()))
    }

    /// Takes over what decides about TLS from a newer one.
    pub(super) fn renew(&self, newer: &Self) {
        let acceptors = newer.acceptors().clone();
        *self.acceptors() = acceptors;
        let log = Arc::clone(&newer.log());
        *self.log() = log;
        for (member, newer) in self.members.iter().zip(&newer.members) {
            member.renew(newer);
        }
    }

    /// Returns which part of the keys a member is told of; none for all.
    pub(super) fn portion(&self, member: &Member) -> Option<Portion> {
        (member.shard() > 0).then_some(Portion { number: member.shard(), of: self.shards })
    }

    /// Writes a line about its peers.
    pub(super) fn tell(&self, level: Level, text: &str) {
        self.log().say(level, &format!("Peers {}: {text}", self.name));
    }

    /// Forgets which connections a member had open.
    pub(super) fn forget_open(&self, member: &Member) {
        for shared in self.tables.iter().filter(|shared| shared.aspect == Aspect::Open) {
            for key in shared.table.forget_open(member.name()) {
                if member.kinship() == Kinship::Local {
                    shared.table.restate_open(&key, now());
                }
            }
        }
    }

    fn log(&self) -> MutexGuard<'_, Arc<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acceptors(&self) -> MutexGuard<'_, HashMap<Spec, Manners>> {
        self.acceptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets tables note what is set here, until this process has been taught what others knew before.
    pub(super) fn begin_lessons(&self) {
        self.tables.iter().for_each(|shared| shared.table.begin_lessons());
    }

    /// Tells whether nobody teaches this process any more, be it the one before it, which ends what it has begun.
    fn knows_everything(&self) -> bool {
        let is_local = |member: &&Arc<Member>| member.kinship() == Kinship::Local;
        self.resync().stage(Instant::now()) == Stage::Done && !self.members.iter().filter(is_local).any(|member| member.is_taken())
    }

    /// Listens to all peers and connects to them, until `stopped`.
    pub(super) async fn run(self: Arc<Self>, sockets: Vec<(Spec, OwnedFd)>, stopped: oneshot::Receiver<()>) {
        let mut tasks = JoinSet::new();
        for (spec, socket) in sockets {
            match Listener::new(socket, &spec) {
                Ok(listener) => drop(tasks.spawn(Arc::clone(&self).listen(listener, spec))),
                Err(error) => error!("peers {}: {error}", self.name),
            }
        }
        for member in self.members.iter().filter(|member| member.kinship() == Kinship::Remote) {
            tasks.spawn(connect::keep(Arc::clone(&self), Arc::clone(member)));
        }
        tasks.spawn(Arc::clone(&self).comb());
        // Nothing is ever sent; it ends when the other half is dropped.
        let _ = stopped.await;
        tasks.shutdown().await;
    }

    async fn listen(self: Arc<Self>, listener: Listener, spec: Spec) {
        let mut guests = JoinSet::new();
        let room = Arc::new(Semaphore::new(MOST_GUESTS));
        loop {
            while guests.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept(&self, &spec).await {
                Ok(served) => {
                    guests.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    error!("peers {}: {error}", self.name);
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Removes entries that came from peers and whose time is over before that of others.
    async fn comb(self: Arc<Self>) {
        let mut cursors = vec![Cursor::default(); self.tables.len()];
        let mut is_learning = true;
        loop {
            tokio::time::sleep(COMB).await;
            if is_learning && self.knows_everything() {
                is_learning = false;
                self.tables.iter().for_each(|shared| shared.table.end_lessons());
            }
            for (shared, cursor) in self.tables.iter().zip(&mut cursors) {
                shared.table.comb(cursor, now());
            }
            self.members.iter().filter(|member| member.is_lost()).for_each(|member| self.forget_open(member));
        }
    }

    /// Teaches the process that takes the place of this one, if there is one; returns once that knows everything, and goes on telling it what
    /// changes here. Without one, peers go on hearing what is open here.
    pub(super) async fn hand_over(self: &Arc<Self>) {
        let successor = self.successor().filter(|_| !self.tables.is_empty()).map(Arc::clone);
        let (done, taught) = oneshot::channel();
        let group = Arc::clone(self);
        tokio::spawn(async move {
            // Until the end of the process; if there is no other, the attempt is over at once.
            match successor {
                Some(member) => drop(connect::attempt(&group, &member, MINOR, || done.send(()).unwrap_or_default()).await),
                None => drop(done),
            }
            group.linger().await;
        });
        if taught.await.is_ok() {
            info!("peers {}: the new process knows everything", self.name);
        }
    }

    /// Returns where the process would be that takes the place of this one.
    pub(super) fn successor(&self) -> Option<&Arc<Member>> {
        let local = self.members.iter().find(|member| member.kinship() == Kinship::Local);
        local.filter(|member| member.address().is_some_and(|address| !is_anywhere(address)))
    }

    /// Goes on telling peers which connections are open here, until the end of the process.
    async fn linger(self: Arc<Self>) {
        if !self.tables.iter().any(|shared| shared.aspect == Aspect::Open) {
            return;
        }
        let remote = self.members.iter().filter(|member| member.kinship() == Kinship::Remote);
        let mut tasks: JoinSet<()> = remote.map(|member| connect::linger(Arc::clone(&self), Arc::clone(member))).collect();
        while tasks.join_next().await.is_some() {}
    }
}

impl Listener {
    fn new(socket: OwnedFd, spec: &Spec) -> io::Result<Self> {
        if spec.is_unix() {
            return UnixListener::from_std(socket.into()).map(Self::Unix);
        }
        TcpListener::from_std(socket.into()).map(Self::Inet)
    }

    /// Waits for somebody to connect, and returns what serves them.
    async fn accept(&self, group: &Arc<Group>, spec: &Spec) -> io::Result<Served> {
        let manners = || group.acceptors().get(spec).cloned().unwrap_or(Manners { tls: None, accept_proxy: false });
        Ok(match self {
            Self::Inet(listener) => {
                let (stream, source) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let ends = stream.local_addr().ok().map(|ours| (ours, source));
                Box::pin(connect::accept(Arc::clone(group), stream, ends, manners()))
            }
            Self::Unix(listener) => Box::pin(connect::accept(Arc::clone(group), listener.accept().await?.0, None, manners())),
        })
    }
}

/// What serves one who has connected.
type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes tables known by their names, and those that sum up what is open by a second one.
fn share<'t>(found: impl Iterator<Item = (&'t str, &'t Arc<Table>)>, local: &str) -> Vec<Shared> {
    let mut tables: Vec<_> = (1..).zip(found).map(|(number, (name, table))| Shared::new(number, name, table)).collect();
    let open: Vec<_> = tables.iter().filter(|shared| shared.table.sums()).map(|shared| shared.open(tables.len(), local)).collect();
    tables.extend(open);
    tables
}

fn is_anywhere(address: &PeerAddress) -> bool {
    matches!(address, PeerAddress::Inet(address) if address.ip().is_unspecified() || address.port() == 0)
}

/// As many peers, or strangers, are served at a time.
const MOST_GUESTS: usize = 256;
/// How long nobody is accepted when that has failed.
const REST: Duration = Duration::from_millis(100);
const COMB: Duration = Duration::from_millis(100);

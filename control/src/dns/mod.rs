//! Names of servers, resolved while the daemon runs.
//!
//! [`run`] asks the servers of the `resolvers` sections for the names of the fleet's servers, again and again, and hands what follows
//! to the daemon: [`Moves`], which it puts in force. `engine` knows when to ask and what is known, `assign` which server is where;
//! both are pure. Rules ask for names, too, through an [`Asker`]. `exchange` carries one question, `message` is the form it has.

mod assign;
mod engine;
mod exchange;
mod first;
mod message;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use first::settle;

use crate::config::{Config, Family, Move, Resolvers, canonical_name};
use crate::fleet::Fleet;
use crate::shutdown::Shutdown;
use engine::{Ask, Engine, Key, Progress};
use exchange::{Count, Counters};
pub(crate) use message::query;
use message::{Answer, Fault, Kind};

/// Servers that have to move, and whom to tell that they have.
#[derive(Debug)]
pub struct Moves {
    /// The servers.
    pub moves: Vec<Move>,
    /// Who waits.
    pub done: oneshot::Sender<()>,
}

/// A name that a rule wants an address of.
#[derive(Debug)]
pub(crate) struct Wish {
    resolvers: String,
    name: String,
    prefer: Family,
    answer: oneshot::Sender<Option<IpAddr>>,
}

/// Where rules ask for names.
#[derive(Debug, Clone)]
pub struct Asker(mpsc::Sender<Wish>);

impl Asker {
    /// Returns one, and where its wishes arrive.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, arriving) = mpsc::channel(MOST_WISHES);
        (Self(wishes), arriving)
    }

    /// Returns an address of a name, found by a section of servers; none if there is none.
    pub async fn ask(&self, resolvers: &str, name: &str, prefer: Family) -> Option<IpAddr> {
        let (answer, answered) = oneshot::channel();
        let wish = Wish { resolvers: resolvers.to_owned(), name: canonical_name(name)?, prefer, answer };
        // At the end of the process nobody answers any more.
        self.0.send(wish).await.ok()?;
        answered.await.ok()?
    }
}

/// What is counted of the servers of the DNS; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Book {
    sections: Arc<Mutex<Vec<Page>>>,
}

#[derive(Debug)]
struct Page {
    section: String,
    nameservers: Vec<(String, Arc<Counters>)>,
}

impl Book {
    /// Answers `show resolvers [<section>]`; none if there is no such section.
    pub fn show(&self, wanted: &str) -> Option<String> {
        let sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for page in sections.iter().filter(|page| wanted.is_empty() || page.section == wanted) {
            let _ = writeln!(text, "Resolvers section {}", page.section);
            for (name, counters) in &page.nameservers {
                let _ = writeln!(text, " nameserver {name}:");
                for (name, number) in counters.all() {
                    let _ = writeln!(text, "  {:<12} {number}", format!("{name}:"));
                }
            }
        }
        (wanted.is_empty() || !text.is_empty()).then_some(text)
    }

    /// Takes over the sections of a configuration; who stays keeps its numbers.
    fn follow(&self, config: &Config) {
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *sections);
        let known = |section: &str, name: &str| {
            let page = before.iter().find(|page| page.section == section)?;
            page.nameservers.iter().find(|(known, _)| known == name).map(|(_, counters)| Arc::clone(counters))
        };
        *sections = config
            .resolvers()
            .iter()
            .map(|section| {
                let counters = |name: &str| known(section.name(), name).unwrap_or_default();
                let nameservers = section.nameservers().iter().map(|one| (one.name().to_owned(), counters(one.name()))).collect();
                Page { section: section.name().to_owned(), nameservers }
            })
            .collect();
    }

    fn counters(&self, section: &str, nameserver: &str) -> Arc<Counters> {
        let sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        let page = sections.iter().find(|page| page.section == section);
        let found = page.and_then(|page| page.nameservers.iter().find(|(name, _)| name == nameserver));
        found.map(|(_, counters)| Arc::clone(counters)).unwrap_or_default()
    }
}

/// Resolves the names of a fleet's servers until the drain begins.
pub async fn run(fleet: Fleet, book: Book, out: mpsc::Sender<Moves>, mut shutdown: Shutdown) {
    let mut changes = fleet.subscribe();
    let mut wishes = fleet.take_wishes();
    let mut resolver = Resolver::new(fleet, book, out);
    loop {
        resolver.ask();
        resolver.tell();
        let wake = resolver.next_wake();
        tokio::select! {
            () = shutdown.begun() => return,
            Some(done) = resolver.exchanges.join_next() => {
                resolver.take(done.expect(NO_PANIC));
                // What has come meanwhile is taken in before anything follows from it.
                while let Some(done) = resolver.exchanges.try_join_next() {
                    resolver.take(done.expect(NO_PANIC));
                }
            }
            () = told(&mut resolver.telling) => {
                resolver.telling = None;
                resolver.follow();
            }
            _ = changes.next() => resolver.follow(),
            Some(wish) = wishes.recv() => resolver.wish(wish),
            () = sleep_until(wake) => {}
        }
    }
}

struct Resolver {
    fleet: Fleet,
    config: Arc<Config>,
    engine: Engine,
    book: Book,
    exchanges: JoinSet<Done>,
    /// Questions that wait for room.
    waiting: VecDeque<(Ask, usize)>,
    out: mpsc::Sender<Moves>,
    /// While the last moves are not in force yet.
    telling: Option<oneshot::Receiver<()>>,
    /// Whether servers may have to move.
    is_news: bool,
    /// Rules that wait for a name.
    wishes: HashMap<Key, Vec<oneshot::Sender<Option<IpAddr>>>>,
}

struct Done {
    ask: Ask,
    nameserver: String,
    reply: Result<Answer, Fault>,
}

impl Resolver {
    fn new(fleet: Fleet, book: Book, out: mpsc::Sender<Moves>) -> Self {
        let config = fleet.config();
        let mut resolver = Self {
            fleet,
            config: Arc::clone(&config),
            engine: Engine::default(),
            book,
            exchanges: JoinSet::new(),
            waiting: VecDeque::new(),
            out,
            telling: None,
            is_news: false,
            wishes: HashMap::new(),
        };
        resolver.adopt(config);
        resolver
    }

    fn follow(&mut self) {
        let config = self.fleet.config();
        if !Arc::ptr_eq(&config, &self.config) {
            self.adopt(config);
        }
    }

    fn adopt(&mut self, config: Arc<Config>) {
        self.book.follow(&config);
        self.engine.follow(assign::wanted(&config), Instant::now().into_std());
        // Who waits for a section that is gone waits no longer.
        self.wishes.retain(|key, _| config.resolvers().iter().any(|section| section.name() == key.resolvers));
        self.config = config;
        self.is_news = true;
    }

    /// Asks what is due, as far as there is room.
    fn ask(&mut self) {
        let now = Instant::now().into_std();
        if self.engine.next_at().is_some_and(|at| at <= now) {
            self.engine.tidy(self.config.resolvers(), now);
            for ask in self.engine.due(self.config.resolvers(), now) {
                let count = self.section(&ask).map_or(0, |section| section.nameservers().len());
                self.waiting.extend((0..count).map(|place| (ask.clone(), place)));
            }
        }
        while self.exchanges.len() < MOST_EXCHANGES
            && let Some((ask, place)) = self.waiting.pop_front()
        {
            let Some((section, nameserver)) = self.section(&ask).and_then(|section| Some((section, section.nameservers().get(place)?)))
            else {
                // A reload has taken it away meanwhile.
                self.take(Done { ask, nameserver: String::new(), reply: Err(Fault::Unreachable) });
                continue;
            };
            let (payload, patience, nameserver) = (section.payload(), section.retry(), nameserver.clone());
            let counters = self.book.counters(section.name(), nameserver.name());
            self.exchanges.spawn(async move {
                let question = (ask.key.name.clone(), ask.kind);
                let reply = exchange::ask(&nameserver, question, (payload, patience), &counters).await;
                Done { ask, nameserver: nameserver.name().to_owned(), reply }
            });
        }
    }

    fn section(&self, ask: &Ask) -> Option<&Resolvers> {
        self.config.resolvers().iter().find(|section| section.name() == ask.key.resolvers)
    }

    fn take(&mut self, Done { ask, nameserver, reply }: Done) {
        let config = Arc::clone(&self.config);
        let Some(section) = config.resolvers().iter().find(|section| section.name() == ask.key.resolvers) else {
            return self.engine.forget(&ask);
        };
        let now = Instant::now().into_std();
        let progress = self.engine.on_reply(&ask, section, reply, &nameserver, now);
        self.is_news |= progress == Progress::News;
        if progress != Progress::Open {
            let found = self.engine.first(&ask.key);
            // Who asked may have left.
            for answer in self.wishes.remove(&ask.key).into_iter().flatten() {
                let _ = answer.send(found);
            }
        }
    }

    /// Answers a rule, or has the name asked for.
    fn wish(&mut self, Wish { resolvers, name, prefer, answer }: Wish) {
        let now = Instant::now().into_std();
        let kind = if prefer == Family::V4 { Kind::A } else { Kind::Aaaa };
        let key = Key { resolvers, name, kind };
        let section = self.config.resolvers().iter().find(|section| section.name() == key.resolvers);
        match section.filter(|section| !section.nameservers().is_empty()).map(|section| self.engine.fresh(&key, section, now)) {
            Some(None) if self.engine.ask_once(&key, now) => self.wishes.entry(key).or_default().push(answer),
            found => {
                let _ = answer.send(found.flatten());
            }
        }
    }

    /// Has servers moved, unless the last moves are still under way.
    fn tell(&mut self) {
        if self.telling.is_some() || !std::mem::take(&mut self.is_news) {
            return;
        }
        let moves = assign::moves(&self.config, &self.engine, Instant::now().into_std());
        if moves.is_empty() {
            return;
        }
        for moved in moves.iter().filter(|moved| !moved.by.is_empty()) {
            let (section, nameserver) = moved.by.split_once('/').unwrap_or_default();
            self.book.counters(section, nameserver).add(Count::Update);
        }
        let (done, telling) = oneshot::channel();
        // There is one place, and nobody else who takes it.
        if self.out.try_send(Moves { moves, done }).is_ok() {
            self.telling = Some(telling);
        }
    }

    fn next_wake(&self) -> Instant {
        self.engine.next_at().map_or_else(|| Instant::now() + IDLE, Instant::from_std)
    }
}

/// Waits until the last moves are in force; who lets go of them has seen the end of the process.
async fn told(telling: &mut Option<oneshot::Receiver<()>>) {
    match telling {
        None => std::future::pending().await,
        Some(telling) => drop(telling.await),
    }
}

/// Why there is always something to take.
const NO_PANIC: &str = "exchanges do not panic, and are aborted only with the set";
/// How many questions are under way at a time.
const MOST_EXCHANGES: usize = 512;
/// How many rules may wait to be heard.
const MOST_WISHES: usize = 256;
/// How long to sleep when nothing is planned; any change wakes the task before.
const IDLE: Duration = Duration::from_secs(3600);

//! The loop between the kernel's news, the watched addresses and the published outcomes.
//!
//! A session lasts as long as its sockets. When it fails, the outcomes stand as they were, and a new one starts after a pause and
//! reads everything anew. Work per turn is bounded: news are taken in batches, and lookups wait until [`LOOKUP_GAP`] has passed
//! since the last ones, so that a routing daemon that rewrites its table costs a few lookups per second and address.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Outcomes,
    netlink::{self, Error, News, Requests},
    schedule::Schedule,
    table::Table,
};

/// Follows the kernel until the sender of the addresses is dropped.
pub(super) async fn follow(mut watched: watch::Receiver<Vec<IpAddr>>, outcomes: watch::Sender<Outcomes>) {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let started = Instant::now();
        let Err(error) = session(&mut watched, &outcomes).await else { return };
        if started.elapsed() > LONGEST_PAUSE {
            (pause, told) = (FIRST_PAUSE, String::new());
        }
        let error = error.to_string();
        if error != told {
            tracing::warn!(%error, retry_in = ?pause, "cannot follow routes and neighbours");
            told = error;
        }
        // Nobody is to be served once the sender is gone, so do not wait for the pause to end.
        if timeout(pause, async { while watched.changed().await.is_ok() {} }).await.is_ok() {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Follows the kernel until the sender of the addresses is dropped or a socket fails.
async fn session(watched: &mut watch::Receiver<Vec<IpAddr>>, outcomes: &watch::Sender<Outcomes>) -> Result<(), Error> {
    let mut session = Session::open()?;
    session.table.watch(&watched.borrow_and_update());
    loop {
        session.look_up().await?;
        session.publish(outcomes);
        session.probe().await?;
        let idle = session.idle();
        tokio::select! {
            changed = watched.changed() => match changed {
                Ok(()) => session.table.watch(&watched.borrow_and_update()),
                Err(_) => return Ok(()),
            },
            news = session.news.next() => session.take_in(news.ok_or(Error::Closed)?)?,
            () = sleep(idle) => {}
        }
        // Before any lookup, so that the loss of a link or a MAC is out at once.
        session.publish(outcomes);
    }
}

struct Session {
    news: BoxStream<'static, News>,
    requests: Requests,
    table: Table,
    schedule: Schedule,
    /// Everything is to be read anew.
    lost: bool,
    /// When the next lookups may be made.
    look_up_at: Instant,
}

impl Session {
    fn open() -> Result<Self, Error> {
        // News first: what happens between subscription and reading is told twice rather than never.
        let news = netlink::subscribe()?;
        let requests = Requests::open()?;
        Ok(Self { news, requests, table: Table::default(), schedule: Schedule::default(), lost: true, look_up_at: Instant::now() })
    }

    /// Takes in the first of the news and those already waiting behind it.
    fn take_in(&mut self, first: News) -> Result<(), Error> {
        let mut left = BATCH;
        let mut next = Some(first);
        while let Some(news) = next {
            match news {
                News::Fact(fact) => self.table.apply(fact),
                News::Lost => self.lost = true,
            }
            left -= 1;
            let waiting = if left > 0 { self.news.next().now_or_never() } else { None };
            next = waiting.map(|news| news.ok_or(Error::Closed)).transpose()?;
        }
        Ok(())
    }

    /// Reads what was lost and looks up doubtful routes, unless that was done a moment ago.
    async fn look_up(&mut self) -> Result<(), Error> {
        if !self.has_lookups() || Instant::now() < self.look_up_at {
            return Ok(());
        }
        if self.lost {
            self.table.replace(self.requests.facts().await?);
            self.lost = false;
        }
        let mut answers = Vec::new();
        for address in self.table.take_doubtful() {
            answers.push((address, self.requests.route(address).await?));
        }
        self.table.set_routes(answers);
        self.look_up_at = Instant::now() + LOOKUP_GAP;
        Ok(())
    }

    fn publish(&mut self, outcomes: &watch::Sender<Outcomes>) {
        if !self.table.take_changed() {
            return;
        }
        self.schedule.update(self.table.targets(), Instant::now());
        let now = self.table.outcomes();
        outcomes.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    async fn probe(&mut self) -> Result<(), Error> {
        for (target, probe) in self.schedule.due(Instant::now()) {
            self.requests.probe(target, probe).await?;
        }
        Ok(())
    }

    fn has_lookups(&self) -> bool {
        self.lost || self.table.has_doubts()
    }

    /// Returns how long nothing has to be done unless something happens.
    fn idle(&self) -> Duration {
        let look_up = self.has_lookups().then_some(self.look_up_at);
        let next = look_up.into_iter().chain(self.schedule.next()).min();
        next.map_or(LONGEST_PAUSE, |next| next.saturating_duration_since(Instant::now()))
    }
}

/// Least time between two rounds of lookups.
const LOOKUP_GAP: Duration = Duration::from_millis(100);
const BATCH: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

//! Numbers about frontends, backends, servers and the process: counted by the workers, shown by the metrics endpoint.
//!
//! [`crate::log::Record`] counts into [`Meter`]s at the end of each exchange, the site keeps them, and [`Stats`] puts them beside the
//! states of the fleet: as metrics under the names of HAProxy's exporter, as HAProxy's table of comma-separated values, and as a page.

pub(crate) mod census;
mod counter;
mod csv;
mod dump;
mod entrance;
mod info;
mod kernel;
mod latency;
mod limits;
mod manage;
mod meter;
mod metrics;
mod overview;
mod page;
mod rate;
mod typed;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use control::exposition::{Metrics, Page};
use control::fleet::Fleet;
use control::shutdown::Shutdown;
use tokio::sync::watch;

pub(crate) use counter::{Counter, Times};
pub(crate) use dump::{Form, Health, Scope, Wanted};
pub(crate) use entrance::{Entrance, Visitor, scrape, show};
pub(crate) use info::{Detail, Peers};
pub(crate) use kernel::follow as follow_kernel;
pub(crate) use limits::Depth;
pub(crate) use meter::{Extent, Here, Meter, Presence, enter_thread, thread};

use crate::peers::Roster;
use crate::site::Site;
use info::Life;
use overview::Overview;
pub(crate) use overview::address;

/// Everything there is to show; clones show the same.
#[derive(Debug, Clone)]
pub(crate) struct Stats {
    fleet: Fleet,
    /// The site in force, replaced together with the fleet's configuration.
    site: watch::Receiver<Arc<Site>>,
    start: Start,
    peers: Roster,
    shutdown: Shutdown,
}

/// When the process began to serve, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    date: SystemTime,
    instant: Instant,
}

impl Stats {
    /// Returns the numbers of the sites that `site` brings.
    pub(crate) fn new(fleet: Fleet, site: watch::Receiver<Arc<Site>>, (peers, shutdown): (Roster, Shutdown)) -> Self {
        Self { fleet, site, start: Start { date: SystemTime::now(), instant: Instant::now() }, peers, shutdown }
    }

    /// Writes all metrics.
    pub(crate) fn write(&self, metrics: &mut Metrics) {
        let (site, fleet) = (Arc::clone(&self.site.borrow()), self.fleet.snapshot());
        metrics::write_process(metrics, &info::facts(&site, self.start, self.situation()));
        control::exposition::write_fleet(metrics, &fleet);
        metrics::write(metrics, &Overview::new(&site, &fleet));
    }

    /// Returns the page at a path, if there is one.
    pub(crate) fn page(&self, path: &str) -> Option<Page> {
        let (site, fleet) = (Arc::clone(&self.site.borrow()), self.fleet.snapshot());
        let overview = Overview::new(&site, &fleet);
        match path {
            "/stats" => Some(Page::html(page::write(&overview, self.start, &page::Words::own()))),
            "/stats;csv" => Some(Page::plain(csv::write(&overview))),
            "/stats;json" => Some(Page::plain(dump::json(&overview.rows()))),
            _ => None,
        }
    }

    /// Returns the rows of a scope.
    pub(crate) fn rows(&self, scope: &Scope, form: Form) -> String {
        let (site, fleet) = (Arc::clone(&self.site.borrow()), self.fleet.snapshot());
        dump::write(&Overview::new(&site, &fleet), scope, form)
    }

    /// Returns what is known of the process.
    pub(crate) fn info(&self, detail: Detail, form: Form) -> String {
        info::write(&info::facts(&self.site.borrow(), self.start, self.situation()), detail, form)
    }

    fn situation(&self) -> (Life, Peers) {
        (if self.shutdown.is_draining() { Life::Stopping } else { Life::Serving }, self.peers.count())
    }

    /// Forgets numbers of everything but the process.
    pub(crate) fn forget(&self, extent: Extent) {
        let site = Arc::clone(&self.site.borrow());
        site.meter().forget(Extent::Highs);
        site.frontends().for_each(|frontend| frontend.meter().forget(extent));
        for backend in site.backends() {
            backend.meter().forget(extent);
            backend.servers().iter().for_each(|server| server.meter().forget(extent));
        }
    }

    /// Keeps the rates current for as long as it is polled.
    pub(crate) async fn follow_rates(self) {
        let mut second = tokio::time::interval(SECOND);
        let mut spent = None;
        loop {
            second.tick().await;
            let (site, now) = (Arc::clone(&self.site.borrow()), Instant::now());
            info::note_idleness(site.threads(), now, &mut spent);
            site.meter().tick(now);
            census::tick(now);
            site.frontends().for_each(|frontend| frontend.meter().tick(now));
            for backend in site.backends() {
                backend.meter().tick(now);
                backend.servers().iter().for_each(|server| server.meter().tick(now));
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

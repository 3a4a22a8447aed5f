//! What a record adds to the numbers of [`crate::stats`], by HAProxy's rules of who is to blame for what.

use std::sync::Arc;
use std::time::Instant;

use super::{Maker, Record};
use crate::forward::Progress;
use crate::rules::Memory;
use crate::site::{Backend, Frontend, Server};
use crate::stats::{Counter, Here, Times};
use crate::stick::Event;

impl<'a> Record<'a> {
    /// Counts that a server was chosen, and why if it is not the first.
    pub(super) fn count_choice(&mut self, server: &'a Server, failed: u32) {
        let backend = self.backend.and_then(|backend| backend.meter().here());
        let is_same = self.server.is_some_and(|before| std::ptr::eq(before, server));
        if let Some(before) = self.server.filter(|_| failed > self.retries) {
            let counter = if is_same { Counter::Retries } else { Counter::Redispatches };
            self.redispatched = !is_same;
            [before.meter().here(), backend].into_iter().flatten().for_each(|here| here.add(counter, 1));
        } else if is_same {
            return;
        }
        if let Some(here) = server.meter().here() {
            here.begin_session(self.start);
        }
        server.meter().note_level(server.load().active().into());
        if !is_same {
            [server.meter().here(), backend].into_iter().flatten().for_each(|here| here.add(Counter::Selected, 1));
        }
    }

    /// Counts a connection to the server in hand.
    pub(super) fn count_connection(&self, counter: Counter) {
        self.behind().for_each(|here| here.add(counter, 1));
    }

    /// Counts what a request or connection was for everything that rules track.
    pub(crate) fn account(&self, memory: &Memory) {
        if !memory.is_tracking() {
            return;
        }
        let (who, phase) = self.termination.split_at(1);
        let by_server = self.maker == Maker::Server;
        let is_status = |statuses: std::ops::Range<u16>| by_server && self.status.is_some_and(|status| statuses.contains(&status));
        let is_refused = matches!(phase, "R" | "T") && matches!(who, "P" | "C" | "c");
        let is_error = is_refused || is_status(400..500);
        let is_broken = phase == "H" && matches!(who, "S" | "P");
        let (received, sent) = self.untold();
        let is_failure = is_broken || (is_status(500..600) && !matches!(self.status, Some(501 | 505)));
        memory.note(|record| {
            if is_refused && self.request.is_none() {
                record.count(Event::Request);
            }
            if is_error {
                record.count(Event::Error);
            }
            if is_failure {
                record.count(Event::Failure);
            }
            record.count(Event::BytesIn(received));
            record.count(Event::BytesOut(sent));
        });
    }

    /// Returns how many bytes came and went that were not counted while they did.
    fn untold(&self) -> (u64, u64) {
        let progress = &self.progress;
        let received = (self.head + self.received).saturating_sub(progress.received.told() + progress.tunnel.to_server.told());
        (received, self.sent.saturating_sub(progress.sent.told() + progress.tunnel.to_client.told()))
    }

    /// Lets bytes flow between the client and the server in hand, counted meanwhile where that is wanted.
    pub(crate) fn begin_flow(&mut self, frontend: &Frontend) {
        let behind = || [self.backend.map(Backend::meter), self.server.map(Server::shared_meter)].into_iter().flatten();
        let all = || [frontend.process(), frontend.meter()].into_iter().chain(behind()).map(Arc::clone).collect();
        let meters = frontend.counts_flows().then(all);
        self.progress = Progress { meters, ..Progress::default() };
    }

    /// Counts a request that has ended.
    pub(super) fn count_request(&self, frontend: &Frontend, ended: Instant) {
        let class = Counter::of_status(self.status);
        for here in [frontend.process().here(), frontend.meter().here()].into_iter().flatten() {
            here.add(Counter::Requests, 1);
            here.add(class, 1);
        }
        if let Some(here) = self.backend.and_then(|backend| backend.meter().here()) {
            here.add(Counter::Requests, 1);
            here.add(class, 1);
        }
        // What a server has answered counts for it, also if the client gets another answer.
        let heard = if self.maker == Maker::Server { self.status } else { self.progress.heard };
        if heard.is_some()
            && let Some(here) = self.server.and_then(|server| server.meter().here())
        {
            here.add(Counter::Requests, 1);
            here.add(Counter::of_status(heard), 1);
        }
        if self.termination == "LR" && self.backend.is_none_or(|backend| backend.is_twin_of(frontend)) {
            frontend.meter().add(Counter::Intercepted, 1);
        }
        self.count_pressed(frontend);
        self.count_end(frontend, ended);
    }

    /// Counts what caches had to do with it.
    pub(super) fn count_cache(&self, frontend: &Frontend, memory: &Memory) {
        let cached = &memory.cached;
        if cached.lookups == [0, 0] {
            return;
        }
        let meters = [Some(frontend.meter()), self.backend.map(Backend::meter)];
        for ((meter, lookups), hits) in meters.into_iter().zip(cached.lookups).zip(cached.hits) {
            if let Some(here) = meter.and_then(|meter| meter.here()) {
                here.add(Counter::CacheLookups, lookups.into());
                here.add(Counter::CacheHits, hits.into());
            }
        }
    }

    /// Counts what rules could not do to a request or its response.
    pub(super) fn count_faults(&mut self, frontend: &Frontend, memory: &Memory) {
        let [rewrites, internal] = memory.faults();
        if rewrites == 0 {
            return;
        }
        for here in frontend.meter().here().into_iter().chain(self.behind()) {
            here.add(Counter::FailedRewrites, rewrites.into());
            here.add(Counter::InternalErrors, internal.into());
        }
        if internal > 0 {
            // Nobody has refused it.
            self.denied = None;
        }
    }

    /// Counts what was compressed.
    fn count_pressed(&self, frontend: &Frontend) {
        let Some(pressed) = &self.progress.pressed else { return };
        let backend = self.backend.and_then(|backend| backend.meter().here());
        for here in [frontend.process().here(), frontend.meter().here(), backend].into_iter().flatten() {
            here.add(Counter::CompressedIn, pressed.taken.get());
            here.add(Counter::CompressedOut, pressed.given.get());
            here.add(Counter::CompressedResponses, 1);
        }
    }

    /// Counts what a request and a connection of mode `tcp` have in common.
    pub(super) fn count_end(&self, frontend: &Frontend, ended: Instant) {
        let ahead = [frontend.process().here(), frontend.meter().here()].into_iter().flatten();
        let (received, sent) = match self.progress.meters {
            Some(_) => self.untold(),
            None => (self.head + self.received, self.sent),
        };
        for here in ahead.chain(self.behind()) {
            here.add(Counter::BytesIn, received);
            here.add(Counter::BytesOut, sent);
        }
        if self.connected.is_some() {
            let times = self.times(ended);
            let latency = match (self.method, self.answered) {
                (Some(_), answered) => answered.map(|_| times.response),
                (None, _) => Some(times.total),
            };
            for here in self.behind() {
                here.note(times);
                latency.into_iter().for_each(|latency| here.note_latency(latency));
            }
        }
        if self.status.is_some() || self.connected.is_some() {
            let total = self.times(ended).total;
            frontend.meter().here().into_iter().for_each(|here| here.note_latency(total));
        }
        if self.termination != "--" {
            self.count_failure(frontend);
        }
    }

    fn count_failure(&self, frontend: &Frontend) {
        if let Some(denied) = self.denied {
            let backend = self.backend.and_then(|backend| backend.meter().here());
            let server = self.server.filter(|_| denied == Counter::DeniedResponses).and_then(|server| server.meter().here());
            [frontend.meter().here(), backend, server].into_iter().flatten().for_each(|here| here.add(denied, 1));
            return;
        }
        let (who, phase) = self.termination.split_at(1);
        if who == "L" {
            return;
        }
        let blame = |counter| self.behind().for_each(|here| here.add(counter, 1));
        let by_client = who.eq_ignore_ascii_case("c");
        match phase {
            "R" if who == "s" => blame(Counter::ResponseErrors),
            "R" => frontend.meter().add(Counter::RequestErrors, 1),
            "Q" if by_client => {
                if let Some(here) = self.backend.and_then(|backend| backend.meter().here()) {
                    here.add(Counter::ClientAborts, 1);
                }
            }
            "C" if by_client => blame(Counter::ClientAborts),
            "C" => blame(Counter::ConnectErrors),
            "H" if by_client => blame(Counter::ClientAborts),
            "H" => blame(Counter::ResponseErrors),
            "D" if by_client => blame(Counter::ClientAborts),
            "D" if who.eq_ignore_ascii_case("s") => {
                blame(Counter::ServerAborts);
                if self.status.is_some() {
                    blame(Counter::ResponseErrors);
                }
            }
            _ => {}
        }
    }

    /// Returns what counts behind the frontend: the backend and the server.
    fn behind(&self) -> impl Iterator<Item = Here<'a>> {
        let backend = self.backend.and_then(|backend| backend.meter().here());
        let server = self.server.and_then(|server| server.meter().here());
        [backend, server].into_iter().flatten()
    }

    fn times(&self, ended: Instant) -> Times {
        let step = |from: Option<Instant>, to: Option<Instant>| {
            let step = from.zip(to).map_or(0, |(from, to)| to.saturating_duration_since(from).as_micros());
            u64::try_from(step).unwrap_or(u64::MAX)
        };
        Times {
            queue: step(self.request.or(Some(self.start)), self.queued),
            connect: step(self.queued, self.connected),
            response: step(self.connected, self.answered),
            total: step(Some(self.start), Some(ended)),
        }
    }
}

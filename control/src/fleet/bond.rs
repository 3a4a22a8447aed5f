//! Servers that take over the state of others, and what traffic says of a server.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::outcome::{CheckOutcome, CheckResult};
use super::transition::Reason;
use super::{Core, Fleet, Notice, Probe, View, now};
use crate::config::{Config, OnError, Server, ServerId};

/// Errors of traffic with a server, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    /// How many.
    pub count: u32,
    /// What the last one was, in HAProxy's words.
    pub last: &'static str,
    /// What follows.
    pub action: OnError,
}

impl Fleet {
    /// Takes in that traffic with a server of `view` has failed too often in a row; its next check comes soon.
    ///
    /// Does nothing while its checks rest, or if it is no longer in service.
    pub fn report_errors(&self, view: &View, server: ServerId, errors: Errors) {
        let now = now();
        let mut core = self.shared.core();
        let Some(server) = core.translate(view, server).filter(|server| core.view.is_probed(*server)) else { return };
        let Some(record) = core.records.get_mut(server.index()) else { return };
        record.error_rows += 1;
        let notices = match errors.action {
            OnError::FastInter => Vec::new(),
            OnError::FailCheck | OnError::SuddenDeath | OnError::MarkDown => {
                let detail = format!("Detected {} consecutive errors, last one was: {}", errors.count, errors.last);
                let outcome = CheckOutcome { result: CheckResult::Analyzed, code: None, duration: Duration::ZERO, detail };
                record.note_check(&outcome, now);
                let change = record.state.on_errors(errors.action, now);
                core.tell_check(server, Probe::Health, &outcome);
                core.settle(server, change, Reason::Check(outcome), now)
            }
        };
        core.suspects.push(server);
        core.wake();
        drop(core);
        notices.into_iter().for_each(Notice::log);
    }

    /// Hands out the servers of `view` that are to be checked soon; none where another configuration is in force.
    pub(crate) fn take_suspects(&self, view: &View) -> Vec<ServerId> {
        let mut core = self.shared.core();
        if std::ptr::eq(view, &*core.view) { std::mem::take(&mut core.suspects) } else { Vec::new() }
    }
}

impl Core {
    /// Lets those that track a server follow it, and those that track them.
    pub(super) fn lead(&mut self, server: ServerId, now: Instant) -> Vec<Notice> {
        let Some(followers) = self.followers.get(&server).cloned() else { return Vec::new() };
        let Some(lead) = self.records.get(server.index()).map(|record| record.state.lead()) else { return Vec::new() };
        let mut notices = Vec::new();
        // The last first, as HAProxy goes.
        for follower in followers.into_iter().rev() {
            let Some(record) = self.records.get_mut(follower.index()) else { continue };
            let before = record.state.followed();
            if before == lead {
                continue;
            }
            let change = record.state.follow(lead, now);
            let by_admin = (before.maint, before.drain) != (lead.maint, lead.drain);
            let reason = Reason::Tracked { server: self.view.name_of(server), by_admin };
            notices.extend(self.settle(follower, change, reason, now));
        }
        notices
    }

    /// Lets all servers follow whom they track.
    pub(super) fn lead_all(&mut self, now: Instant) -> Vec<Notice> {
        let leaders: Vec<ServerId> = self.followers.keys().copied().collect();
        leaders.into_iter().flat_map(|leader| self.lead(leader, now)).collect()
    }
}

/// Returns who tracks whom, without those at the end of the chains.
pub(super) fn followers(config: &Config) -> HashMap<ServerId, Vec<ServerId>> {
    let mut followers: HashMap<ServerId, Vec<ServerId>> = HashMap::new();
    for server in config.servers() {
        let tracked = server.track().and_then(|track| config.server_named(track.backend(), track.server()));
        if let Some(tracked) = tracked.map(Server::id) {
            followers.entry(tracked).or_default().push(server.id());
        }
    }
    followers
}

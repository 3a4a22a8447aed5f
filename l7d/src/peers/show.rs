//! What `show peers` tells, in the shape HAProxy has for it.
//!
//! Places in memory are numbers of our own, and flags are those of [`Stage`].

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::group::Group;
use super::member::{Kinship, Member, Status};
use super::resync::Stage;
use crate::stats::Peers;

/// The sections at work, for who asks; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster(Arc<Mutex<Vec<Arc<Group>>>>);

impl Roster {
    pub(super) fn note(&self, groups: Vec<Arc<Group>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    /// Returns how many connections there are.
    pub(crate) fn count(&self) -> Peers {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut count = Peers::default();
        for member in groups.iter().flat_map(|group| group.members()) {
            let is_connected = member.standing().status == Status::Established;
            count.active += u64::from(member.is_taken());
            count.connected += u64::from(is_connected);
        }
        count
    }

    /// Shows all sections, or the one of a name; none where there is no such section.
    pub(crate) fn show(&self, name: Option<&str>) -> Option<String> {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = String::new();
        let wanted = groups.iter().enumerate().filter(|(_, group)| name.is_none_or(|name| name == group.name()));
        for (number, group) in wanted {
            show(number + 1, group, &mut out).expect("a string takes everything");
        }
        (name.is_none() || !out.is_empty()).then_some(out)
    }
}

fn show(number: usize, group: &Group, out: &mut String) -> std::fmt::Result {
    let now = Instant::now();
    let (stage, until) = {
        let mut resync = group.resync();
        (resync.stage(now), resync.until())
    };
    let flags = match stage {
        Stage::Predecessor => 0,
        Stage::Peers => 1,
        Stage::Done => 3,
    };
    let until = if stage == Stage::Done { "<PAST>".to_owned() } else { ahead(Some(until), now) };
    let began = group.began().strftime("%d/%b/%Y:%H:%M:%S");
    writeln!(out, "{number:#x}: [{began}] id={} disabled=0 flags={flags:#x} resync_timeout={until} task_calls=0", group.name())?;
    for member in group.members() {
        show_member((number << 8) + member.place, group, member, now, out)?;
    }
    writeln!(out)
}

fn show_member(number: usize, group: &Group, member: &Member, now: Instant, out: &mut String) -> std::fmt::Result {
    let standing = member.standing();
    let (kinship, activity) =
        (if member.kinship() == Kinship::Local { "local" } else { "remote" }, if member.is_taken() { "active" } else { "inactive" });
    let address = member.address().map_or_else(|| "<none>".to_owned(), |address| address.to_string());
    let status = match standing.status {
        Status::None => "NONE".to_owned(),
        Status::Connecting => "CONN".to_owned(),
        Status::Established => "ESTA".to_owned(),
        Status::Refused(code) => code.to_string(),
        Status::Lost => "CLOS".to_owned(),
    };
    let handshake = standing.handshake.map_or_else(|| "<NEVER>".to_owned(), |then| shown(now - then));
    writeln!(out, "  {number:#x}: id={}({kinship},{activity}) addr={address} last_status={status} last_hdshk={handshake}", member.name())?;
    writeln!(
        out,
        "        reconnect={} heartbeat={} confirm=0 tx_hbt={} rx_hbt={} no_hbt={} new_conn={} proto_err={} coll={}",
        ahead(standing.reconnect, now),
        ahead(standing.heartbeat, now),
        standing.sent,
        standing.heard,
        standing.silences,
        standing.attempts,
        standing.malformed,
        standing.collisions
    )?;
    writeln!(out, "        flags=0x0")?;
    if let Some((ours, theirs)) = standing.ends {
        let transport = if member.client().is_some() { "SSL" } else { "RAW" };
        writeln!(out, "        xprt={transport} src={theirs} addr={ours}")?;
    }
    writeln!(out, "        shared tables:")?;
    for (index, shared) in group.tables().iter().enumerate() {
        let (taught, learnt) = (standing.progress.get(index), standing.learnt.get(index).copied().unwrap_or_default());
        let (acknowledged, pushed) = taught.map_or((0, 0), |taught| (taught.acknowledged, taught.pushed));
        let changes: u64 = (0..shared.table.parts()).map(|part| shared.table.changes(part)).sum();
        writeln!(
            out,
            "          {:#x} local_id={} remote_id={} flags=0x0 remote_data={:#x}",
            shared.number, shared.number, learnt.number, learnt.held
        )?;
        writeln!(
            out,
            "              last_acked={acknowledged} last_pushed={pushed} last_get={} teaching_origin=0 update={pushed}",
            learnt.last
        )?;
        writeln!(
            out,
            "              table:{:#x} id={} update={changes} localupdate={pushed} commitupdate={acknowledged} refcnt=1",
            shared.number,
            shared.table.name()
        )?;
    }
    Ok(())
}

/// Shows how long it is until then.
fn ahead(then: Option<Instant>, now: Instant) -> String {
    match then {
        None => "<NEVER>".to_owned(),
        Some(then) if then <= now => "<PAST>".to_owned(),
        Some(then) => shown(then - now),
    }
}

fn shown(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

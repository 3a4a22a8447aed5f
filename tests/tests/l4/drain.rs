//! Servers that leave without haste: what is established stays, what is new goes elsewhere.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::topology::Family;

use crate::{
    crowd::Crowd,
    file::{File, Server},
    site::{Plan, Site},
    sources,
};

#[test]
fn drained_nat_servers_keep_their_sessions() -> Result<()> {
    ["roundrobin", "source", "tuple"].into_iter().try_for_each(|balance| drained_server_keeps_its_sessions(Plan::NAT.by(balance)))
}

#[test]
fn drained_dsr_servers_keep_their_sessions() -> Result<()> {
    ["roundrobin", "source", "tuple"].into_iter().try_for_each(|balance| drained_server_keeps_its_sessions(Plan::DSR.by(balance)))
}

fn drained_server_keeps_its_sessions(plan: Plan) -> Result<()> {
    let mut site = Site::start_on(File::new(plan).with_fixed_key())?;
    for (family, ports) in Family::BOTH.into_iter().zip([40_000, 41_000]) {
        let vip = site.vip(family);
        let mut crowd = Crowd::default();
        crowd.join(&site.lab, family, vip, 30)?;
        assert_eq!(crowd.servers().len(), 3, "{plan:?}: the sessions are with {:?}", crowd.servers());
        let newcomers = |ports: u16| (0..30).map(move |number| SocketAddr::new(sources::address(family, number), ports));

        site.reload(|file| file.weigh(1, 0))?;
        crowd.talk().with_context(|| format!("{plan:?} {family:?} drained"))?;
        let counts = sources::distribution(&site.lab, newcomers(ports), vip)?;
        assert!(!counts.contains_key("backend2") && counts.len() == 2, "{plan:?} {family:?}: {counts:?}");
        // A second change while the first is still remembered.
        site.reload(|file| file.weigh(2, 7))?;
        crowd.talk().with_context(|| format!("{plan:?} {family:?} weighed"))?;

        site.reload(|file| (file.weigh(1, 1), file.weigh(2, 1)).0)?;
        let counts = sources::distribution(&site.lab, newcomers(ports + 1), vip)?;
        assert_eq!(counts.len(), 3, "{plan:?} {family:?}: {counts:?}");
        crowd.talk().with_context(|| format!("{plan:?} {family:?} filled again"))?;
    }
    Ok(())
}

#[test]
fn dsr_source_hash_sessions_survive_any_sequence_of_changes() -> Result<()> {
    sessions_survive_changes(Plan::DSR.by("source"), 0x5eed_0001)
}

#[test]
fn dsr_tuple_hash_sessions_survive_any_sequence_of_changes() -> Result<()> {
    sessions_survive_changes(Plan::DSR.by("tuple"), 0x5eed_0002)
}

#[test]
fn nat_sessions_survive_any_sequence_of_changes() -> Result<()> {
    sessions_survive_changes(Plan::NAT, 0x5eed_0003)
}

/// Changes weights and order, adds and removes servers, while sessions that joined before, between and after talk on.
fn sessions_survive_changes(plan: Plan, seed: u64) -> Result<()> {
    let mut site = Site::start_on(File::new(plan.with_servers(5)).with_fixed_key())?;
    let everyone = site.file.servers.clone();
    let mut random = Random(seed);
    let mut crowd = Crowd::default();
    for family in Family::BOTH {
        crowd.join(&site.lab, family, site.vip(family), 15)?;
    }
    let mut history = Vec::new();
    let outcome = change_while_they_talk(&mut site, &everyone, &mut random, crowd, &mut history);
    // A server that its checks found dead keeps no sessions: the log tells that from a flow that was lost.
    outcome.with_context(|| format!("seed {seed:#x}, after {}; l4d said:\n{}", history.join("; "), site.l4d.output()))
}

fn change_while_they_talk(
    site: &mut Site,
    everyone: &[Server],
    random: &mut Random,
    mut crowd: Crowd,
    history: &mut Vec<String>,
) -> Result<()> {
    let began = Instant::now();
    // Long enough to meet the daemon's housekeeping.
    while history.len() < CHANGES || began.elapsed() < HOUSEKEEPING {
        let talk = crowd.keep_talking();
        for _ in 0..5 {
            site.reload(|file| shake(file, everyone, random))?;
            history.push(describe(&site.file.servers));
            talk.wait_for_round()?;
            if talk.is_broken() {
                break;
            }
        }
        crowd = talk.stop()?;
        let family = if random.below(2) == 0 { Family::V4 } else { Family::V6 };
        crowd.join(&site.lab, family, site.vip(family), 2)?;
    }
    Ok(())
}

/// Makes one random change; some server always takes new connections.
fn shake(file: &mut File, everyone: &[Server], random: &mut Random) {
    let servers = &mut file.servers;
    match random.below(5) {
        0 => servers.rotate_left(1),
        1 if servers.len() > 2 => drop(servers.remove(random.below(servers.len()))),
        2 => {
            let missing = everyone.iter().find(|server| servers.iter().all(|present| present.index != server.index));
            let place = random.below(servers.len());
            missing.into_iter().for_each(|server| servers.insert(place, *server));
        }
        _ => {
            let which = random.below(servers.len());
            servers[which].weight = [0, 1, 2, 5][random.below(4)];
        }
    }
    if servers.iter().all(|server| server.weight == 0) {
        servers[0].weight = 1;
    }
}

fn describe(servers: &[Server]) -> String {
    servers.iter().map(|server| format!("{}:{}", server.index + 1, server.weight)).collect::<Vec<_>>().join(" ")
}

/// SplitMix64: the same changes for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % bound as u64) as usize
    }
}

const CHANGES: usize = 30;

const HOUSEKEEPING: Duration = Duration::from_secs(6);

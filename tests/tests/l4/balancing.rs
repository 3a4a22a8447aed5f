//! Which server gets what, in every mode and family.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use anyhow::{Context, Result};
use tests::{
    topology::{Arms, Family},
    wait::eventually,
};

use crate::{
    file::File,
    site::{Plan, SOON, Site},
    sources,
};

#[test]
fn nat_spreads_connections_evenly() -> Result<()> {
    spreads_evenly(Plan::NAT)
}

#[test]
fn dsr_spreads_connections_evenly() -> Result<()> {
    spreads_evenly(Plan::DSR)
}

#[test]
fn nat_works_between_two_interfaces() -> Result<()> {
    spreads_evenly(Plan { arms: Arms::Two, ..Plan::NAT })
}

fn spreads_evenly(plan: Plan) -> Result<()> {
    let site = Site::start(plan)?;
    for family in Family::BOTH {
        let counts = site.lab.client().distribution(site.vip(family), 30)?;
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [10, 10, 10], "{family:?}: {counts:?}");
    }
    Ok(())
}

#[test]
fn round_robin_follows_weights_exactly_over_a_cycle() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.servers.iter_mut().zip([1, 2, 4]).for_each(|(server, weight)| server.weight = weight);
        let site = Site::start_on(file)?;
        for family in Family::BOTH {
            for cycle in 0..3 {
                let counts = site.lab.client().distribution(site.vip(family), 7)?;
                assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1, 2, 4], "{plan:?} {family:?} cycle {cycle}: {counts:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn source_hash_gives_an_address_one_server_and_addresses_all() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan.by("source"));
        file.weigh(2, 2);
        let site = Site::start_on(file.with_fixed_key())?;
        for family in Family::BOTH {
            let vip = site.vip(family);
            for number in 0..3 {
                let address = sources::address(family, number);
                let ports = (30_000..30_010).map(|port| SocketAddr::new(address, port));
                let counts = sources::distribution(&site.lab, ports, vip)?;
                assert_eq!(counts.len(), 1, "{plan:?}: {address} was served by {counts:?}");
            }
            let counts = sources::distribution(&site.lab, addresses(family, 200), vip)?;
            assert_shares(&counts, &[50, 50, 100], &format!("{plan:?} {family:?}"));
        }
    }
    Ok(())
}

#[test]
fn tuple_hash_spreads_the_ports_of_one_address() -> Result<()> {
    for plan in Plan::BOTH {
        let site = Site::start_on(File::new(plan.by("tuple")).with_fixed_key())?;
        for family in Family::BOTH {
            let ports = || (30_000..30_150).map(|port| SocketAddr::new(sources::address(family, 1), port));
            let counts = sources::distribution(&site.lab, ports(), site.vip(family))?;
            assert_shares(&counts, &[50, 50, 50], &format!("{plan:?} {family:?}"));
            // The same port meets the same server again: a hash has no memory and needs none.
            for from in ports().take(10) {
                let servers = [(); 2].map(|()| sources::who(&site.lab, from, site.vip(family)));
                let [first, second] = servers;
                assert_eq!(first?, second?, "{plan:?} {from}");
            }
        }
    }
    Ok(())
}

#[test]
fn udp_flows_stay_with_their_server_and_spread() -> Result<()> {
    for plan in [Plan::NAT, Plan::NAT.by("tuple"), Plan::DSR, Plan::DSR.by("source")] {
        let mut site = Site::start_on(File::new(plan).with_fixed_key())?;
        for family in Family::BOTH {
            let from = (0..24).map(|number| SocketAddr::new(sources::address(family, number), 31_000 + number));
            let sockets: Vec<_> = from.map(|from| sources::udp(&site.lab, from, site.vip(family))).collect::<Result<_>>()?;
            let first = sockets.iter().map(|socket| sources::ask(socket, "first"));
            let servers: Vec<_> = first.collect::<Result<_>>().with_context(|| format!("{plan:?} {family:?}: first packets"))?;
            let used: BTreeSet<_> = servers.iter().collect();
            assert_eq!(used.len(), 3, "{plan:?} {family:?}: {servers:?}");
            site.reload(|file| file.weigh(0, 3))?;
            for (socket, server) in sockets.iter().zip(&servers) {
                for round in 0..3 {
                    let context = || format!("{plan:?} {family:?}: packet {round} of a flow of {server}");
                    assert_eq!(&sources::ask(socket, &format!("round {round}")).with_context(context)?, server, "{plan:?} {family:?}");
                }
            }
            site.reload(|file| file.weigh(0, 1))?;
        }
    }
    Ok(())
}

#[test]
fn backups_serve_only_when_all_others_are_down() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.servers[2].backup = true;
        let mut site = Site::start_on(file)?;
        let expect = |site: &Site, expected: &[&str]| {
            Family::BOTH.into_iter().try_for_each(|family| {
                let served_by = || {
                    let counts = site.lab.client().distribution(site.vip(family), 6).ok()?;
                    counts.keys().map(String::as_str).eq(expected.iter().copied()).then_some(())
                };
                eventually(SOON, &format!("{expected:?} to serve {family:?}"), served_by)
            })
        };
        expect(&site, &["backend1", "backend2"])?;
        site.backends[0].kill()?;
        expect(&site, &["backend2"])?;
        site.backends[1].kill()?;
        expect(&site, &["backend3"])?;
        site.backends[0].restart()?;
        expect(&site, &["backend1"])?;
    }
    Ok(())
}

fn addresses(family: Family, count: u16) -> impl Iterator<Item = SocketAddr> + Send {
    (0..count).map(move |number| SocketAddr::new(sources::address(family, number), 32_000))
}

/// Succeeds if each server got what it should, give or take four standard deviations.
fn assert_shares(counts: &BTreeMap<String, usize>, expected: &[usize], what: &str) {
    let total: usize = expected.iter().sum();
    for (index, &expected) in expected.iter().enumerate() {
        let got = counts.get(&format!("backend{}", index + 1)).copied().unwrap_or(0);
        let share = expected as f64 / total as f64;
        let tolerance = 4.0 * (total as f64 * share * (1.0 - share)).sqrt();
        assert!((got as f64 - expected as f64).abs() <= tolerance, "{what}: backend{} got {got}, not {expected}: {counts:?}", index + 1);
    }
}

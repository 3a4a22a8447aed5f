//! The daemon ends and comes back, by plan or not, and traffic does not notice.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use l4d::plan::ServiceKey;
use tests::{load::Pace, topology::Family};
use xdp_common::settings::Settings;

use crate::{
    crowd::Crowd,
    file::File,
    site::{Plan, SOON, Site},
};

/// One plan for each place flows live in: NAT entries, flow words, the ring alone.
const PLANS: [Plan; 3] = [Plan::NAT, Plan::DSR, Plan { balance: "source", ..Plan::DSR }];

fn kept(plan: Plan) -> File {
    let mut file = File::new(plan);
    file.xdp = "on-stop = \"keep\"\n".to_owned();
    file
}

#[test]
fn kept_forwarding_survives_stop_and_start() -> Result<()> {
    for plan in PLANS {
        let mut site = Site::start_on(kept(plan))?;
        let mut crowd = crowd(&site)?;
        let ids = ids(&site)?;
        site.l4d.terminate(SOON)?;
        crowd.talk().with_context(|| format!("{plan:?}: without a daemon"))?;
        for family in Family::BOTH {
            site.lab.client().distribution(site.vip(family), 6).with_context(|| format!("{plan:?}: without a daemon"))?;
        }
        site.restart()?;
        site.l4d.wait_for_line("adopted", SOON)?;
        crowd.talk().with_context(|| format!("{plan:?}: with the next daemon"))?;
        assert_eq!(self::ids(&site)?, ids, "{plan:?}");
        // The next daemon is in charge: what the file says from now on holds, and old flows are still known.
        site.reload(|file| file.weigh(0, 0))?;
        crowd.talk().with_context(|| format!("{plan:?}: after a change by the next daemon"))?;
        let counts = site.lab.client().distribution(site.vip(Family::V4), 6)?;
        assert!(!counts.contains_key("backend1"), "{plan:?}: {counts:?}");
    }
    Ok(())
}

#[test]
fn a_crash_under_load_loses_nothing() -> Result<()> {
    for plan in PLANS {
        let mut site = Site::start(plan)?;
        let crowd = crowd(&site)?;
        let ids = ids(&site)?;
        let talk = crowd.keep_talking();
        // Slower than a lost packet: a connection that needed a second attempt of TCP counts as failed.
        let client = site.lab.client().with_deadline(Duration::from_millis(900));
        let load = client.load(site.vip(Family::V6), Pace::default());
        load.wait_for_answers(50, SOON)?;
        site.l4d.kill()?;
        load.wait_for_answers(50, SOON)?;
        talk.wait_for_round()?;
        site.restart()?;
        load.wait_for_answers(50, SOON)?;
        talk.wait_for_round()?;
        assert_eq!(self::ids(&site)?, ids, "{plan:?}");
        load.stop().expect_no_failure().with_context(|| format!("{plan:?}"))?;
        talk.stop().with_context(|| format!("{plan:?}"))?;
    }
    Ok(())
}

#[test]
fn a_server_that_died_with_the_daemon_is_found_out() -> Result<()> {
    let mut site = Site::start_on(kept(Plan::NAT))?;
    site.l4d.terminate(SOON)?;
    site.backends[0].kill()?;
    site.restart()?;
    site.l4d.wait_for_line("v4/backend1 is DOWN", SOON)?;
    let served = || site.lab.client().distribution(site.vip(Family::V4), 6).ok();
    let counts = tests::wait::eventually(Duration::from_secs(1), "connections that all succeed", served)?;
    assert!(!counts.contains_key("backend1"), "{counts:?}");
    Ok(())
}

#[test]
fn maps_of_other_settings_are_refused_and_untouched() -> Result<()> {
    let mut site = Site::start_on(kept(Plan::NAT))?;
    let mut session = site.lab.client().session(site.vip(Family::V4))?;
    site.l4d.terminate(SOON)?;
    for (line, difference) in [("flows = 4096", "flows = "), ("source-ports = \"4096-8191\"", "other source-addresses or source-ports")] {
        site.file.xdp = format!("on-stop = \"keep\"\n{line}\n");
        site.write_file()?;
        let mut l4d = site.spawn_l4d()?;
        let said = l4d.wait_for_line("made with other settings", SOON)?;
        assert_eq!(l4d.wait(SOON)?.code(), Some(1));
        assert!(said.contains(difference) && said.contains("l4d detach"), "{line}: {said}");
        session.exchange().with_context(|| format!("after a start with {line} was refused"))?;
        site.lab.client().who(site.vip(Family::V6))?;
    }
    site.l4d("detach")?;
    site.restart()?;
    site.lab.client().who(site.vip(Family::V6))?;
    Ok(())
}

#[test]
fn maps_of_another_layout_are_refused_with_the_way_out_and_go_on_forwarding() -> Result<()> {
    let mut site = Site::start_on(kept(Plan::NAT))?;
    site.l4d.terminate(SOON)?;
    let map = aya::maps::MapData::from_pin(site.pin().join(xdp_common::maps::SETTINGS))?;
    let mut settings: aya::maps::Array<_, Settings> = aya::maps::Map::Array(map).try_into()?;
    let present = settings.get(&0, 0)?;
    settings.set(0, Settings { abi_version: 1, ..present }, 0)?;
    let mut l4d = site.spawn_l4d()?;
    let said = l4d.wait_for_line("layout version 1", SOON)?;
    assert_eq!(l4d.wait(SOON)?.code(), Some(1));
    assert!(said.contains("`l4d detach`"), "{said}");
    site.lab.client().who(site.vip(Family::V4)).context("after a start that was refused")?;
    site.l4d("detach")?;
    assert!(!site.pin().exists());
    site.restart()?;
    site.lab.client().who(site.vip(Family::V4))?;
    Ok(())
}

#[test]
fn frontends_and_servers_that_left_the_file_meanwhile_are_gone_after_the_start() -> Result<()> {
    let mut file = kept(Plan::NAT);
    file.more_ports.push(81);
    let mut site = Site::start_on(file)?;
    site.lab.client().who(site.lab.vip(Family::V4, 81))?;
    site.l4d.terminate(SOON)?;
    site.file.more_ports.clear();
    site.file.servers.truncate(2);
    site.write_file()?;
    site.restart()?;
    assert!(site.lab.client().who(site.lab.vip(Family::V4, 81)).is_err());
    let counts = site.lab.client().distribution(site.vip(Family::V4), 6)?;
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("backend1".to_owned(), 3), ("backend2".to_owned(), 3)]);
    Ok(())
}

fn crowd(site: &Site) -> Result<Crowd> {
    let mut crowd = Crowd::default();
    for family in Family::BOTH {
        crowd.join(&site.lab, family, site.vip(family), 12)?;
    }
    Ok(crowd)
}

/// Returns which service, server and id belong together.
fn ids(site: &Site) -> Result<BTreeSet<(ServiceKey, u16, std::net::SocketAddr, u16)>> {
    let tables = site.maps()?.tables();
    let services: Vec<_> = tables.services().map(|(key, id)| (*key, id)).collect();
    let servers = services
        .into_iter()
        .flat_map(|(key, service)| tables.servers_of(&key).into_iter().map(move |server| (key, service, server.socket, server.id)));
    Ok(servers.collect())
}

//! Tunnels under real traffic: `l4d decap` ends them on servers whose kernel has none.

use anyhow::{Context, Result, ensure};
use tests::{
    process::bin,
    protocol::Bulk,
    topology::{Arms, Family},
};

use crate::{
    file::File,
    site::{Plan, Site},
};

/// Has every server of a site end tunnels; taken off again when dropped.
struct Ends<'a>(&'a Site);

impl<'a> Ends<'a> {
    fn open(site: &'a Site) -> Result<Self> {
        for index in 0..site.lab.backends().len() {
            decap(site, index, &[])?;
        }
        Ok(Self(site))
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        (0..self.0.lab.backends().len()).for_each(|index| drop(decap(self.0, index, &["--off"])));
    }
}

/// Runs `l4d decap` on a server and returns what it printed.
fn decap(site: &Site, index: usize, more: &[&str]) -> Result<String> {
    let namespace = site.lab.backends()[index].namespace();
    let mut command = namespace.command(bin("l4d")?);
    let output = command.args(["decap", "eth0", "--pin", &format!("/sys/fs/bpf/{}", namespace.name())]).args(more).output()?;
    ensure!(output.status.success(), "decap: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

const IPIP: Plan = Plan { forward: "ipip", ..Plan::DSR };
const GUE: Plan = Plan { forward: "gue", ..Plan::DSR };

#[test]
fn tunnels_spread_connections_and_keep_the_clients_address() -> Result<()> {
    for plan in [IPIP, GUE, Plan { arms: Arms::Two, ..IPIP }, Plan { arms: Arms::Two, ..GUE }] {
        for crossed in [false, true] {
            let mut file = File::new(plan);
            file.crossed = crossed;
            let site = Site::start_on(file)?;
            let _ends = Ends::open(&site)?;
            for family in Family::BOTH {
                let what = || format!("{plan:?} {family:?} crossed {crossed}");
                let counts = site.lab.client().distribution(site.vip(family), 30).with_context(what)?;
                assert_eq!(counts.values().copied().collect::<Vec<_>>(), [10, 10, 10], "{}: {counts:?}", what());
                let answer = site.lab.client().who(site.vip(family)).with_context(what)?;
                assert_eq!(answer.client.ip(), site.lab.client_host().address(family), "{}", what());
                let answer = site.lab.client().datagram(site.vip(family), b"hello").with_context(what)?;
                assert!(answer.server.starts_with("backend"), "{}", what());
            }
        }
    }
    Ok(())
}

#[test]
fn packets_too_long_for_a_tunnel_are_made_shorter_and_arrive() -> Result<()> {
    for plan in [IPIP, GUE] {
        let site = Site::start(plan)?;
        let _ends = Ends::open(&site)?;
        for (family, seed) in Family::BOTH.into_iter().zip([1, 2]) {
            let bulk = Bulk { length: 20_000_000, seed };
            site.lab.client().upload(site.vip(family), bulk).with_context(|| format!("{plan:?} {family:?} upload"))?;
            site.lab.client().download(site.vip(family), bulk).with_context(|| format!("{plan:?} {family:?} download"))?;
        }
        ensure!(site.packets("too_big")? > 0, "nobody was told to send shorter packets");
        let counted = decap(&site, 0, &["--show"])?;
        let name = plan.forward;
        let count = counted.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.trim().parse::<u64>().ok());
        ensure!(count.is_some_and(|count| count > 0), "{counted}");
    }
    Ok(())
}

#[test]
fn established_connections_survive_changes_and_a_restart() -> Result<()> {
    for plan in [IPIP.by("source"), GUE] {
        let mut file = File::new(plan);
        file.xdp += "on-stop = \"keep\"\n";
        let mut site = Site::start_on(file)?;
        for index in 0..3 {
            decap(&site, index, &[])?;
        }
        let mut sessions = Vec::new();
        for family in Family::BOTH {
            for _ in 0..8 {
                sessions.push(site.lab.client().session(site.vip(family))?);
            }
        }
        for weights in [[1, 0, 0], [0, 0, 1], [0, 1, 0]] {
            site.reload(|file| weights.iter().enumerate().for_each(|(index, weight)| file.weigh(index, *weight)))?;
            sessions.iter_mut().try_for_each(|session| session.exchange().map(drop)).with_context(|| format!("{plan:?} {weights:?}"))?;
        }
        site.l4d.kill()?;
        sessions.iter_mut().try_for_each(|session| session.exchange().map(drop)).context("without the daemon")?;
        site.restart()?;
        sessions.iter_mut().try_for_each(|session| session.exchange().map(drop)).context("after a restart")?;
        let ends = Ends(&site);
        drop(ends);
    }
    Ok(())
}

#[test]
fn ended_tunnels_are_no_longer_opened_after_off() -> Result<()> {
    let site = Site::start(Plan { servers: 1, ..IPIP })?;
    let impatient = site.lab.client().with_deadline(std::time::Duration::from_millis(400));
    ensure!(impatient.who(site.vip(Family::V4)).is_err(), "a server without decap must not answer");
    let said = decap(&site, 0, &[])?;
    ensure!(said.contains("native mode"), "{said}");
    ensure!(decap(&site, 0, &[])?.contains("adopted"), "a second time changes what is there");
    site.lab.client().who(site.vip(Family::V4))?;
    ensure!(decap(&site, 0, &["--off"])?.contains("no longer"));
    ensure!(decap(&site, 0, &["--off"])?.contains("nothing"));
    ensure!(impatient.who(site.vip(Family::V4)).is_err());
    Ok(())
}

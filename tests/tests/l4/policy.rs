//! What clients are told when their server dies, and when all have; and the choice by open connections.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{topology::Family, wait::eventually};

use crate::{
    file::{File, STRICT},
    site::{Plan, SOON, Site},
};

fn is_kind(error: &anyhow::Error, kind: ErrorKind) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(|error| error.kind() == kind)
}

#[test]
fn connections_of_a_dead_server_are_reset_at_once() -> Result<()> {
    for plan in [Plan::NAT, Plan::DSR.by("source"), Plan::DNAT] {
        let mut file = File::new(plan);
        file.frontend_xdp = ", dead-server = \"reset\"";
        file.check = STRICT;
        let site = Site::start_on(file)?;
        let mut session = site.lab.client().session(site.vip(Family::V4))?;
        let index = site.backends.iter().position(|backend| backend.name() == session.server()).context("no such server")?;
        let mark = site.l4d.mark();
        // Nobody tells the client: the machine is gone, not only its program.
        site.lab.unplug(index)?;
        site.l4d.wait_for_line_after(mark, &format!("v4/backend{} is DOWN", index + 1), SOON)?;
        let started = Instant::now();
        let reset = || session.exchange().err().filter(|error| is_kind(error, ErrorKind::ConnectionReset)).map(drop);
        eventually(SOON, "a connection that is reset", reset)?;
        ensure!(started.elapsed() < Duration::from_secs(4), "{plan:?}: after {:?}", started.elapsed());
        ensure!(site.packets("reset")? > 0, "{plan:?}");
        // Others are served meanwhile.
        site.lab.client().distribution(site.vip(Family::V4), 6)?;
    }
    Ok(())
}

#[test]
fn without_servers_clients_are_told_at_once_if_they_are_to_be() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.frontend_xdp = ", no-server = \"reset\"";
        let mut site = Site::start_on(file)?;
        let mark = site.l4d.mark();
        site.backends.iter_mut().try_for_each(|backend| backend.kill())?;
        for name in ["v4", "v6"] {
            site.l4d.wait_for_line_after(mark, &format!("backend {name} has no server up"), SOON)?;
        }
        for family in Family::BOTH {
            let refused = || site.lab.client().connect(site.vip(family)).err().filter(|error| is_kind(error, ErrorKind::ConnectionRefused));
            eventually(SOON, "a connection that is refused", refused)?;
        }
        ensure!(site.packets("reset")? > 0);
    }
    Ok(())
}

#[test]
fn the_least_busy_server_is_chosen_by_open_connections() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan.by("leastconn"));
        file.weigh(2, 0);
        let mut site = Site::start_on(file)?;
        let vip = site.vip(Family::V4);
        let mut sessions = (0..20).map(|_| site.lab.client().session(vip)).collect::<Result<Vec<_>>>()?;
        let busy = sessions.iter().filter(|session| session.server() == "backend1").count();
        ensure!((5..=15).contains(&busy), "{plan:?}: {busy} of 20");
        // Only one server keeps its connections; what comes then goes to the other one, but where both draws are the busy one.
        sessions.retain(|session| session.server() == "backend1");
        let settled = || {
            let stat = site.command("show stat v4 4 2").ok()?;
            let line = stat.lines().find(|line| line.starts_with("v4,backend2,"))?.to_owned();
            (line.split(',').nth(4)? == "0").then_some(())
        };
        eventually(SOON, "closed connections that are counted out", settled)?;
        std::thread::sleep(Duration::from_millis(1200));
        let more = (0..4).map(|_| site.lab.client().session(vip)).collect::<Result<Vec<_>>>()?;
        let other = more.iter().filter(|session| session.server() == "backend2").count();
        ensure!(other >= 2, "{plan:?}: {other} of 4 to the idle server");
        drop(sessions);
        site.reload(|file| file.weigh(2, 1))?;
    }
    Ok(())
}

//! Servers that die, and what becomes of their share and their connections.

use std::{
    io::ErrorKind,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use l4d::plan::ServiceKey;
use tests::{process::Mark, topology::Family, wait::eventually};

use crate::{
    file::{File, STRICT},
    site::{Plan, SOON, Site},
};

#[test]
fn share_of_a_killed_nat_server_moves_within_a_second_and_returns() -> Result<()> {
    share_moves_and_returns(Plan::NAT)
}

#[test]
fn share_of_a_killed_dsr_server_moves_within_a_second_and_returns() -> Result<()> {
    share_moves_and_returns(Plan::DSR)
}

fn share_moves_and_returns(plan: Plan) -> Result<()> {
    let mut site = Site::start(plan)?;
    let impatient = site.lab.client().with_deadline(Duration::from_millis(300));
    let counts = |site: &Site, family, connections| site.lab.client().distribution(site.vip(family), connections);
    for family in Family::BOTH {
        let mark = site.l4d.mark();
        site.backends[1].kill()?;
        let answered_by_all = || impatient.distribution(site.vip(family), 6).ok();
        let moved = eventually(Duration::from_secs(1), "connections that all succeed", answered_by_all)?;
        assert!(!moved.contains_key("backend2"), "{moved:?}");
        let moved = counts(&site, family, 30)?;
        assert_eq!(moved.into_iter().collect::<Vec<_>>(), [("backend1".to_owned(), 15), ("backend3".to_owned(), 15)]);
        wait_for_both(&site, mark, "is DOWN")?;

        let mark = site.l4d.mark();
        site.backends[1].restart()?;
        wait_for_both(&site, mark, "is UP")?;
        let whole = || counts(&site, family, 30).ok().filter(|counts| counts.values().all(|&count| count == 10));
        eventually(SOON, "the share of a server that is back", whole)?;
    }
    Ok(())
}

/// Waits until the second server's check has turned in both families.
fn wait_for_both(site: &Site, mark: Mark, what: &str) -> Result<()> {
    for name in ["v4", "v6"] {
        site.l4d.wait_for_line_after(mark, &format!("{name}/backend2 {what}"), SOON)?;
    }
    Ok(())
}

#[test]
fn a_transition_reaches_the_maps_within_fifty_milliseconds() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let mut reactions = Vec::new();
    for _ in 0..3 {
        let mark = site.l4d.mark();
        site.backends[1].kill()?;
        reactions.push(reaction(&site, mark, "v4/backend2 is DOWN", |share| share == 0.0)?);
        let mark = site.l4d.mark();
        site.backends[1].restart()?;
        reactions.push(reaction(&site, mark, "v4/backend2 is UP", |share| share > 0.0)?);
    }
    // One of them may meet a machine that is busy with other tests; l4d is not slow every time.
    reactions.sort_unstable();
    assert!(reactions[2] <= Duration::from_millis(50), "{reactions:?}");
    Ok(())
}

/// Returns how long after the line in the log the second server's share was as it should.
fn reaction(site: &Site, mark: Mark, line: &str, as_it_should: impl Fn(f64) -> bool + Sync) -> Result<Duration> {
    let maps = site.maps()?;
    let service = ServiceKey::new(site.vip(Family::V4), 6);
    let address = site.lab.backends()[1].at(Family::V4, site.file.server_port());
    thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let end = Instant::now() + SOON;
            while Instant::now() < end {
                let servers = maps.tables().servers_of(&service);
                if servers.iter().any(|server| server.socket == address && as_it_should(server.share)) {
                    return Some(Instant::now());
                }
                thread::sleep(Duration::from_millis(1));
            }
            None
        });
        site.l4d.wait_for_line_after(mark, line, SOON)?;
        let logged = Instant::now();
        let seen = seen.join().expect("reading maps does not panic").context("the map never changed")?;
        Ok(seen.saturating_duration_since(logged))
    })
}

#[test]
fn without_servers_packets_are_dropped_and_counted_until_one_is_back() -> Result<()> {
    for plan in Plan::BOTH {
        let mut site = Site::start(plan)?;
        let mark = site.l4d.mark();
        site.backends.iter_mut().try_for_each(|backend| backend.kill())?;
        for name in ["v4", "v6"] {
            site.l4d.wait_for_line_after(mark, &format!("backend {name} has no server up"), SOON)?;
        }
        let client = site.lab.client().with_deadline(Duration::from_millis(200));
        for family in Family::BOTH {
            let none = || {
                let before = site.packets("no_server").ok()?;
                let error = client.who(site.vip(family)).err()?;
                let dropped = is_kind(&error, ErrorKind::TimedOut) && site.packets("no_server").ok()? > before;
                dropped.then_some(())
            };
            eventually(SOON, "a connection that is dropped for want of servers", none)?;
        }
        site.backends[2].restart()?;
        for family in Family::BOTH {
            let served = || site.lab.client().with_deadline(Duration::from_secs(1)).who(site.vip(family)).ok();
            assert_eq!(eventually(SOON, "the server that is back", served)?.server, "backend3");
        }
    }
    Ok(())
}

#[test]
fn a_session_with_a_silent_server_is_reset_rather_than_left_hanging() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.check = STRICT;
        let site = Site::start_on(file)?;
        for family in Family::BOTH {
            let mut session = site.lab.client().with_deadline(Duration::from_secs(8)).session(site.vip(family))?;
            session.exchange()?;
            let server = session.server().to_owned();
            let index = site.backends.iter().position(|backend| backend.name() == server).context("an unknown server")?;
            let mark = site.l4d.mark();
            site.lab.unplug(index)?;
            let began = Instant::now();
            let error = session.exchange().err().context("a session with an unplugged server went on")?;
            assert!(is_kind(&error, ErrorKind::ConnectionReset), "{plan:?} {family:?} after {:?}: {error:#}", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(5), "{plan:?} {family:?}: reset only after {:?}", began.elapsed());
            site.lab.plug(index)?;
            for name in ["v4", "v6"] {
                site.l4d.wait_for_line_after(mark, &format!("{name}/{server} is UP"), SOON)?;
            }
        }
    }
    Ok(())
}

#[test]
fn an_unplugged_server_is_left_out_and_taken_back() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.check = STRICT;
        let site = Site::start_on(file)?;
        let impatient = site.lab.client().with_deadline(Duration::from_millis(300));
        let mark = site.l4d.mark();
        site.lab.unplug(1)?;
        for family in Family::BOTH {
            // Two checks with their timeouts, a pause between them, and the connections themselves.
            let moved = || impatient.distribution(site.vip(family), 6).ok().filter(|counts| counts.len() == 2);
            let counts = eventually(Duration::from_secs(3), "connections that all succeed", moved)?;
            assert!(!counts.contains_key("backend2"), "{counts:?}");
        }
        site.lab.plug(1)?;
        wait_for_both(&site, mark, "is UP")?;
        for family in Family::BOTH {
            let whole = || impatient.distribution(site.vip(family), 6).ok().filter(|counts| counts.values().all(|&count| count == 2));
            eventually(SOON, "the share of a server that is back", whole)?;
        }
    }
    Ok(())
}

fn is_kind(error: &anyhow::Error, kind: ErrorKind) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(|error| error.kind() == kind)
}

//! A changed file under load: no connection fails, and a broken file changes nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use tests::{load::Pace, topology::Family};

use crate::{
    crowd::Crowd,
    file::{File, Server},
    site::{PORT, Plan, Site},
};

#[test]
fn nat_reloads_without_a_failed_connection() -> Result<()> {
    reloads_under_load(Plan::NAT)
}

#[test]
fn dsr_reloads_without_a_failed_connection() -> Result<()> {
    reloads_under_load(Plan::DSR)?;
    reloads_under_load(Plan::DSR.by("tuple"))
}

fn reloads_under_load(plan: Plan) -> Result<()> {
    let mut site = Site::start(plan)?;
    // Slower than a lost packet: a connection that needed a second attempt of TCP counts as failed.
    let client = site.lab.client().with_deadline(Duration::from_millis(900));
    let loads = Family::BOTH.map(|family| client.load(site.vip(family), Pace { threads: 1, ..Pace::default() }));
    let everyone = site.file.servers.clone();
    for round in 0..8 {
        match round % 4 {
            0 => site.reload(|file| file.servers.truncate(2))?,
            // A dsr server has the frontend's port, and here it listens on one only.
            1 if plan.forward == "dsr" => site.reload(|file| file.weigh(0, 5))?,
            1 => site.reload(|file| file.more_ports.push(PORT + 1))?,
            2 => site.reload(|file| file.servers.insert(0, everyone[2]))?,
            _ => site.reload(|file| {
                file.more_ports.clear();
                file.servers.clone_from(&everyone);
            })?,
        }
        for load in &loads {
            load.wait_for_answers(20, Duration::from_secs(5))?;
        }
    }
    for load in loads {
        let report = load.stop();
        report.expect_no_failure().with_context(|| format!("{plan:?}"))?;
        assert_eq!(report.answers.len(), 3, "{report}");
    }
    Ok(())
}

#[test]
fn added_frontends_serve_and_removed_ones_end() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let client = site.lab.client();
    for family in Family::BOTH {
        let more = site.lab.vip(family, PORT + 1);
        assert!(client.who(more).is_err(), "{family:?}: served before it was configured");
        site.reload(|file| file.more_ports.push(PORT + 1))?;
        let counts = client.distribution(more, 6)?;
        assert!(counts.values().all(|&count| count == 2), "{family:?}: {counts:?}");
        site.reload(|file| file.more_ports.clear())?;
        assert!(client.who(more).is_err(), "{family:?}: served after it was removed");
        client.who(site.vip(family))?;
    }
    Ok(())
}

#[test]
fn a_broken_file_changes_nothing_and_the_log_names_the_line() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let good = site.file.text(&site.lab);
    let before = site.l4d("status")?;
    let broken = good.replacen("balance = \"roundrobin\"", "balance = \"roundrobbin\"", 1);
    let line = 1 + good.lines().position(|line| line.starts_with("balance")).context("the file has no balance")?;
    site.reload_text(&broken, "reload refused, the old configuration stays in force")?;
    let place = format!("l4d.toml:{line}:");
    let said = site.l4d.wait_for_line(&place, Duration::from_secs(1))?;
    assert!(said.contains("roundrobbin"), "{said}");
    // The commands want a file without mistakes too; the daemon is not told of this one.
    site.write_text(&good)?;
    assert_eq!(shares(&site.l4d("status")?), shares(&before));
    site.lab.client().distribution(site.vip(Family::V4), 6)?;
    // The daemon has not lost its ears.
    site.reload(|file| file.weigh(0, 0))?;
    let counts = site.lab.client().distribution(site.vip(Family::V4), 6)?;
    assert!(!counts.contains_key("backend1"), "{counts:?}");
    Ok(())
}

/// Returns names, addresses, states and shares, without what traffic counts up.
fn shares(status: &str) -> Vec<String> {
    let rows = status.lines().filter(|line| line.trim_start().starts_with("backend"));
    rows.map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn other_interfaces_are_refused_by_name() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let text = site.file.text(&site.lab);
    let cases = [
        ("interfaces", text.replacen("interfaces = [\"eth0\"]", "interfaces = [\"lo\"]", 1)),
        ("flows", text.replacen("[xdp]", "[xdp]\nflows = 4096", 1)),
        ("mode", text.replacen("[xdp]", "[xdp]\nmode = \"generic\"", 1)),
    ];
    for (what, changed) in cases {
        assert_ne!(changed, text, "{what}: nothing was changed");
        let line = site.reload_text(&changed, "reload refused")?;
        assert!(line.contains(&format!("`{what}` of [xdp]")) && line.contains("restart"), "{line}");
        site.lab.client().who(site.vip(Family::V6))?;
    }
    Ok(())
}

#[test]
fn a_server_that_left_the_file_keeps_its_sessions() -> Result<()> {
    for plan in [Plan::NAT, Plan::DSR.by("source")] {
        let mut site = Site::start_on(File::new(plan).with_fixed_key())?;
        let mut crowd = Crowd::default();
        for family in Family::BOTH {
            crowd.join(&site.lab, family, site.vip(family), 18)?;
        }
        assert_eq!(crowd.servers().len(), 3, "{plan:?}");
        site.reload(|file| file.servers.retain(|server| server.index != 1))?;
        crowd.talk().with_context(|| format!("{plan:?}, after one server left"))?;
        let counts = site.lab.client().distribution(site.vip(Family::V4), 12)?;
        assert!(!counts.contains_key("backend2"), "{plan:?}: {counts:?}");
        // It comes back while its old sessions still run.
        site.reload(|file| file.servers.push(Server { index: 1, weight: 1, backup: false }))?;
        crowd.talk().with_context(|| format!("{plan:?}, after it came back"))?;
    }
    Ok(())
}

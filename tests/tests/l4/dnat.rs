//! Destination NAT under real traffic: servers see their clients, whose replies come through the balancer.

use anyhow::{Context, Result, ensure};
use tests::{topology::Family, wait::eventually};

use crate::{
    crowd::Crowd,
    file::File,
    site::{Plan, SOON, Site},
};

#[test]
fn servers_see_their_clients_and_every_choice_serves() -> Result<()> {
    for balance in ["roundrobin", "source", "leastconn"] {
        let site = Site::start(Plan::DNAT.by(balance))?;
        for family in Family::BOTH {
            let answer = site.lab.client().who(site.vip(family)).with_context(|| format!("{balance} {family:?}"))?;
            ensure!(answer.client.ip() == site.lab.client_host().address(family), "{balance}: seen as {}", answer.client);
            let counts = site.lab.client().distribution(site.vip(family), 12)?;
            match balance {
                "roundrobin" => ensure!(counts.values().all(|count| *count == 4), "{counts:?}"),
                "source" => ensure!(counts.len() == 1, "{counts:?}"),
                _ => ensure!(counts.values().sum::<usize>() == 12, "{counts:?}"),
            }
        }
        ensure!(site.packets("returned")? > 0 && site.packets("internal")? == 0);
        // Checks are answered to the balancer itself, by the addresses and ports whose replies are translated.
        let checked = || {
            let stat = site.command("show stat v4 4 1").ok()?;
            stat.lines().any(|line| line.starts_with("v4,backend1,") && line.contains(",L4OK,")).then_some(())
        };
        eventually(SOON, "a check that is passed", checked)?;
        ensure!(site.packets("no_next_hop")? == 0);
    }
    Ok(())
}

#[test]
fn established_flows_survive_changes_a_kill_and_a_restart() -> Result<()> {
    for balance in ["roundrobin", "source"] {
        let mut file = File::new(Plan::DNAT.by(balance));
        file.xdp += "on-stop = \"keep\"\n";
        let mut site = Site::start_on(file)?;
        let mut crowd = Crowd::default();
        for family in Family::BOTH {
            crowd.join(&site.lab, family, site.vip(family), 12)?;
        }
        site.reload(|file| file.weigh(1, 0))?;
        crowd.talk().context("drained")?;
        site.l4d.kill()?;
        crowd.talk().context("without a daemon")?;
        site.restart()?;
        crowd.talk().context("after the restart")?;
        site.reload(|file| file.weigh(1, 5))?;
        crowd.talk().context("weighed")?;
    }
    Ok(())
}

#[test]
fn servers_of_two_services_are_refused_where_replies_could_be_either_ones() -> Result<()> {
    let site = Site::start(Plan::DNAT)?;
    let mut file = site.file.clone();
    file.more_ports.push(81);
    site.write_text(&file.text(&site.lab))?;
    let said = site.run_l4d("check")?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.contains("replies of 10.78.0.11:8080 could be those of bind 10.77.0.10:81 or of 10.77.0.10:80"), "{said}");
    Ok(())
}

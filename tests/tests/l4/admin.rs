//! Commands on l4d's socket: what they change is in the maps when they are answered, and outlives reloads and restarts.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};
use tests::topology::Family;

use crate::{
    file::File,
    guard::is_shut_out,
    site::{Plan, SOON, Site},
    sources,
};

/// Returns who serves twelve new connections.
fn servers(site: &Site) -> Result<Vec<String>> {
    Ok(site.lab.client().distribution(site.vip(Family::V4), 12)?.into_keys().collect())
}

fn column(csv: &str, row: &str, name: &str) -> Result<String> {
    let header: Vec<&str> = csv.lines().next().context("no header")?.trim_start_matches("# ").split(',').collect();
    let place = header.iter().position(|column| *column == name).with_context(|| format!("no column {name}"))?;
    let line = csv.lines().find(|line| line.starts_with(row)).with_context(|| format!("no row {row} in {csv}"))?;
    Ok(line.split(',').nth(place).context("a short row")?.to_owned())
}

#[test]
fn a_server_changed_by_command_is_so_at_once_and_stays_so() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.xdp += "on-stop = \"keep\"\n";
        let mut site = Site::start_on(file)?;
        let mut session = site.lab.client().session(site.vip(Family::V4))?;
        let own = session.server().to_owned();
        let others: Vec<String> = ["backend1", "backend2", "backend3"].into_iter().filter(|name| *name != own).map(str::to_owned).collect();
        ensure!(site.command(&format!("set server v4/{own} state drain"))? == "\n");
        ensure!(servers(&site)? == others, "{plan:?}: drained");
        session.exchange().context("a drained server lost what it had")?;
        let stat = site.command("show stat")?;
        ensure!(column(&stat, &format!("v4,{own},"), "status")? == "DRAIN", "{stat}");
        ensure!(column(&stat, "v4,BACKEND,", "act")? == "2" && column(&stat, "v4,FRONTEND,", "status")? == "OPEN", "{stat}");
        ensure!(column(&stat, &format!("v4,{own},"), "scur")?.parse::<u64>()? >= 1, "its session is open: {stat}");

        site.reload(|_| ())?;
        ensure!(servers(&site)? == others, "{plan:?}: forgotten by the reload");
        site.l4d.kill()?;
        site.restart()?;
        ensure!(servers(&site)? == others, "{plan:?}: forgotten by the restart");
        session.exchange()?;

        site.command(&format!(
            "set server v4/{own} state ready; set server v4/{} weight 0; set server v4/{} weight 0",
            others[0], others[1]
        ))?;
        ensure!(servers(&site)? == [own.clone()], "{plan:?}: weights");
        let said = site.command(&format!("get weight v4/{}", others[0]))?;
        ensure!(said == "0 (initial 1)\n\n", "{said}");
        site.l4d.kill()?;
        site.restart()?;
        ensure!(servers(&site)? == [own], "{plan:?}: weights forgotten by the restart");
    }
    Ok(())
}

#[test]
fn prefixes_come_and_go_by_command_and_by_themselves() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.xdp += "on-stop = \"keep\"\nallow = [\"10.99.0.0/28\"]\ndeny = [\"10.99.9.0/24\"]\n";
    let mut site = Site::start_on(file)?;
    for (family, prefix, number) in [(Family::V4, "10.99.1.0/24", 260), (Family::V6, "fd99::104", 260)] {
        ensure!(site.command(&format!("deny add {prefix}"))? == "\n");
        ensure!(is_shut_out(&site, family, number)?, "{prefix}: not at once");
        site.reload(|_| ())?;
        ensure!(is_shut_out(&site, family, number)?, "{prefix}: forgotten by the reload");
        site.l4d.kill()?;
        site.restart()?;
        ensure!(is_shut_out(&site, family, number)?, "{prefix}: forgotten by the restart");
        let listed = site.command("deny show")?;
        ensure!(listed.contains("command never") && listed.contains("10.99.9.0/24 file -"), "{listed}");
        ensure!(site.command(&format!("deny del {prefix}"))? == "\n");
        sources::who(&site.lab, SocketAddr::new(sources::address(family, number), 0), site.vip(family))?;
    }
    ensure!(site.command("deny add 10.99.1.4 for 2s")? == "\n");
    ensure!(site.command("deny show")?.contains("10.99.1.4/32 command "), "{}", site.command("deny show")?);
    ensure!(is_shut_out(&site, Family::V4, 260)?);
    // The client's TCP tries again after one second and after three.
    sources::who(&site.lab, SocketAddr::new(sources::address(Family::V4, 260), 0), site.vip(Family::V4)).context("never let in again")?;
    ensure!(!site.command("deny show")?.contains("10.99.1.4/32"));

    for (command, answer) in [
        ("deny add 10.99.0.3", "The file allows 10.99.0.0/28."),
        ("deny del 10.99.9.0/24", "That is in the file, where it can be deleted."),
        ("deny del 10.99.77.0/24", "No such prefix."),
        ("deny add 10.99.1.1/24", "has bits set after its length"),
        ("deny add 10.99.1.1/33", "has a length that no prefix has"),
        ("deny add", "is not a prefix of addresses"),
        ("deny add 10.99.1.1 for", "Expects a prefix"),
        ("deny add 10.99.1.1 for ever", "`ever`"),
        ("allow del 10.99.1.1", "No such prefix."),
        ("set server v4/nobody state drain", "No such server."),
        ("set server v4/backend1 fqdn x", "usage: set server"),
    ] {
        let said = site.command(command)?;
        ensure!(said.contains(answer), "`{command}`: {said}");
    }
    Ok(())
}

#[test]
fn the_socket_has_its_rights_and_its_level() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    ensure!(std::fs::metadata(site.socket())?.permissions().mode() & 0o777 == 0o600);
    for (command, answer) in [
        ("help", "deny add <prefix> [for <time>]"),
        ("show version", concat!("l4d ", env!("CARGO_PKG_VERSION"))),
        ("show servers state", "v4 1 backend1 10.77.0.11 2 0 1 1 "),
        ("show info", "Name: l4d"),
        ("show backend", "v4\nv6\n"),
        ("show stat v4 4 2 ", "v4,backend2,"),
        ("show stat json", "l4d has no form 'json'"),
        ("nonsense", "Unknown command"),
    ] {
        let said = site.command(command)?;
        ensure!(said.contains(answer), "`{command}`: {said}");
    }
    ensure!(site.command("show stat v4 4 2")?.trim_end().lines().count() == 2);
    site.l4d.terminate(SOON)?;
    let text = site.file.text(&site.lab).replacen("level = \"admin\"", "level = \"user\", mode = \"666\"", 1);
    site.write_text(&text)?;
    site.restart()?;
    ensure!(std::fs::metadata(site.socket())?.permissions().mode() & 0o777 == 0o666);
    ensure!(site.command("deny add 192.0.2.1")?.contains("Permission denied"));
    Ok(())
}

//! `l4d plan`, `l4d flows`, `l4d explain`, `l4d top` and `l4d doctor` on a running site.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tests::{process::bin, topology::Family};

use crate::{
    crowd::Crowd,
    file::File,
    site::{Plan, Site},
    sources,
};

/// Mounts the /sys of the network namespace, keeps the pins, and goes on as another program.
const SYSFS: &str = "mount --bind /sys/fs/bpf /mnt && mount -t sysfs sysfs /sys && mount --bind /mnt /sys/fs/bpf && exec \"$@\"";

/// Runs `l4d` with these arguments in the balancer's namespace; returns whether it succeeded, and what it said.
fn run(site: &Site, arguments: &[&str]) -> Result<(bool, String)> {
    // With the /sys of that namespace, as a machine has it.
    let mut command = site.lab.balancer().namespace().command("unshare");
    command.args(["--mount", "sh", "-c", SYSFS, "sh"]).arg(bin("l4d")?);
    let output = command.args(arguments).output().with_context(|| format!("run l4d {arguments:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), said))
}

#[test]
fn flows_are_listed_with_their_clients_and_servers() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let mut session = site.lab.client().session(site.vip(Family::V4))?;
    session.exchange()?;
    let text = site.l4d("flows")?;
    let line = text.lines().find(|line| line.starts_with("tcp  10.77.0.100:")).with_context(|| format!("no such flow in {text}"))?;
    ensure!(line.contains("10.77.0.10:80") && line.contains(session.server()) && line.contains(" open "), "{line}");
    ensure!(text.ends_with(" flows\n"), "{text}");
    let pin = site.pin();
    let pin = pin.to_str().context("pins have plain names")?;
    let (fine, json) = run(&site, &["flows", "--pin", pin, "--json", "--client", "10.77.0.100"])?;
    ensure!(fine && json.contains("\"state\":\"open\"") && json.contains("\"count\":1"), "{json}");
    let (_, none) = run(&site, &["flows", "--pin", pin, "--server", "10.77.0.99"])?;
    ensure!(none.ends_with("\n0 flows\n"), "{none}");
    Ok(())
}

#[test]
fn remembered_flows_have_a_server_and_no_client() -> Result<()> {
    let site = Site::start(Plan::DSR)?;
    let session = site.lab.client().session(site.vip(Family::V4))?;
    let text = site.l4d("flows")?;
    ensure!(text.lines().any(|line| line.starts_with("tcp  #") && line.contains(session.server())), "{text}");
    Ok(())
}

#[test]
fn a_flow_is_explained_as_it_is_forwarded() -> Result<()> {
    for balance in ["source", "tuple", "roundrobin", "leastconn"] {
        let site = Site::start_on(File::new(Plan::DSR.by(balance)).with_fixed_key())?;
        for family in Family::BOTH {
            let (from, vip) = (SocketAddr::new(sources::address(family, 3), 20_000), site.vip(family));
            let path = site.path().to_str().context("a plain path")?;
            let explain = |service: SocketAddr| run(&site, &["explain", "-f", path, &from.to_string(), &service.to_string()]);
            let (_, before) = explain(vip)?;
            let mut crowd = Crowd::default();
            crowd.join(&site.lab, family, vip, 1)?;
            let server = crowd.servers().into_iter().next().context("one server")?.to_owned();
            // The member's own flow.
            let from = SocketAddr::new(sources::address(family, 0), 20_000);
            let (fine, said) = run(&site, &["explain", "-f", path, &from.to_string(), &vip.to_string()])?;
            let hashes = matches!(balance, "source" | "tuple");
            let line = if hashes { "new       slot " } else { "flow      remembered, " };
            let named = said.lines().any(|found| found.starts_with(line) && found.contains(&format!(": {server} ")));
            ensure!(fine && named, "{balance}: by {server}, but\n{said}");
            ensure!(hashes || before.contains("flow      not remembered\n"), "{balance}: {before}");
            let (_, host) = explain(SocketAddr::new(vip.ip(), 9))?;
            ensure!(host.contains("service   none: its packets are the host's"), "{host}");
        }
    }
    Ok(())
}

#[test]
fn denied_clients_and_translated_flows_are_explained() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.xdp = "deny = [\"192.0.2.0/24\"]\n".to_owned();
    let site = Site::start_on(file)?;
    let path = site.path().to_str().context("a plain path")?;
    let mut crowd = Crowd::default();
    crowd.join(&site.lab, Family::V4, site.vip(Family::V4), 1)?;
    crowd.talk()?;
    let server = crowd.servers().into_iter().next().context("one server")?.to_owned();
    let vip = site.vip(Family::V4).to_string();
    let (_, said) = run(&site, &["explain", "-f", path, &format!("{}:20000", sources::address(Family::V4, 0)), &vip])?;
    ensure!(said.contains("flow      remembered, open, ") && said.contains(&format!("s: {server} ")), "by {server}, but\n{said}");
    let (_, said) = run(&site, &["explain", "-f", path, "192.0.2.7:4000", &vip])?;
    ensure!(said.ends_with("guard     dropped: 192.0.2.0/24 is denied\n"), "{said}");
    let (fine, said) = run(&site, &["explain", "-f", path, "[::1]:1", &vip])?;
    ensure!(!fine && said.contains("two families"), "{said}");
    Ok(())
}

#[test]
fn traffic_is_seen_in_plain_lines_where_no_terminal_looks() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let path = site.path().to_str().context("a plain path")?;
    let mut crowd = Crowd::default();
    crowd.join(&site.lab, Family::V4, site.vip(Family::V4), 6)?;
    let talk = crowd.keep_talking();
    let (fine, said) = run(&site, &["top", "-f", path, "--count", "2"])?;
    talk.stop()?;
    ensure!(fine && !said.contains('\x1b') && said.matches("l4d  4 services  12 servers  ").count() == 2, "{said}");
    ensure!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let busy = said.lines().filter(|line| line.starts_with("  backend1") && line.contains(":8080") && !line.ends_with(" 0"));
    ensure!(busy.count() >= 2 && said.contains("  returned "), "{said}");
    let (fine, said) = run(&site, &["top", "--pin", "/sys/fs/bpf/nothing", "--count", "1"])?;
    ensure!(!fine && said.contains("nothing runs at"), "{said}");
    Ok(())
}

#[test]
fn a_plan_needs_no_rights_and_touches_nothing() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let (services, text) = (site.maps()?.tables().services().count(), site.l4d("plan")?);
    ensure!(text.contains("frontend v4: in the kernel") && text.contains("33.3% of new flows"), "{text}");
    ensure!(text.contains("maps: 4 of "), "{text}");
    ensure!(site.maps()?.tables().services().count() == services);
    Ok(())
}

#[test]
fn a_doctor_names_what_is_wrong_and_the_cure() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.servers.truncate(2);
    let site = Site::start_on(file)?;
    let path = site.path();
    let path = path.to_str().context("a plain path")?;
    let (healthy, said) = run(&site, &["doctor", "eth0", "-f", path])?;
    ensure!(healthy && said.contains("veth runs XDP natively") && said.contains("l4d's is attached, native"), "{said}");
    ensure!(said.contains("next hop: 10.77.0.11 can be reached"), "{said}");
    let text = site.file.text(&site.lab).replace("10.77.0.12:8080", "192.0.2.99:8080");
    site.write_text(&text)?;
    let (healthy, said) = run(&site, &["doctor", "eth0", "-f", path, "--json"])?;
    ensure!(!healthy && said.contains("\"weight\":\"problem\"") && said.contains("ip route get 192.0.2.99"), "{said}");
    let (healthy, said) = run(&site, &["doctor", "eth7"])?;
    ensure!(!healthy && said.contains("eth7"), "{said}");
    Ok(())
}

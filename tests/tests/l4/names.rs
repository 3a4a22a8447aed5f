//! Servers of the kernel tier that have names: they follow them, and sessions stay where they are.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio, time::Instant};

use anyhow::{Context, Result, ensure};
use tests::{
    process::{Process, Signal},
    scratch::Scratch,
    topology::Family,
};

use crate::site::{Plan, SERVER_PORT, SOON, Site};

fn say(directory: &Path, ip: impl std::fmt::Display) -> Result<()> {
    Ok(fs::write(directory.join("hosts"), format!("{ip} app.example\n"))?)
}

/// Waits until new connections are served by this server alone.
fn wait_for(site: &Site, name: &str) -> Result<()> {
    let (end, vip) = (Instant::now() + SOON, site.vip(Family::V4));
    let wanted = BTreeMap::from([(name.to_owned(), 6)]);
    loop {
        let served = site.lab.client().distribution(vip, 6);
        if served.as_ref().is_ok_and(|served| *served == wanted) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{name}: {served:?} {}", site.command("show servers state v4")?);
    }
}

#[test]
fn a_server_follows_its_name_and_its_sessions_stay() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let scratch = Scratch::new("dns")?;
    let [first, second] = [0, 1].map(|index| site.lab.backends()[index].address(Family::V4));
    say(scratch.path(), first)?;
    let conf = "no-resolv\nno-hosts\nlocal=/example/\nport=5353\nlisten-address=127.0.0.1\nbind-interfaces\n";
    let hosts = scratch.path().join("hosts");
    let conf =
        scratch.write("conf", format!("{conf}addn-hosts={}\npid-file={}\n", hosts.display(), scratch.path().join("pid").display()))?;
    let mut command = site.lab.balancer().namespace().command("dnsmasq");
    command.arg("-k").arg("-C").arg(conf).stdin(Stdio::null());
    let mut dns = Process::spawn(command).context("dnsmasq: `cargo xtask setup` installs it")?;

    let text = site.file.text(&site.lab);
    let named = "{ address = \"app.example:8080\", resolvers = \"dns\", init-addr = \"none\" }";
    ensure!(SERVER_PORT == 8080);
    let is_of_v4 = |line: &&str| !line.starts_with("backend") || !line.contains("\"10.");
    let mut text: String = text.lines().filter(is_of_v4).flat_map(|line| [line, "\n"]).collect();
    text = text.replacen("[backend.v4.server]\n", &format!("[backend.v4.server]\napp = {named}\n"), 1);
    text += "[resolvers.dns]\nnameserver = { n1 = \"127.0.0.1:5353\" }\ntimeout = { resolve = \"200ms\", retry = \"500ms\" }\n";
    site.reload_text(&text, "reloaded")?;
    wait_for(&site, "backend1")?;
    let mut session = site.lab.client().session(site.vip(Family::V4))?;

    say(scratch.path(), second)?;
    dns.signal(Signal::HUP)?;
    wait_for(&site, "backend2")?;
    ensure!(session.server() == "backend1");
    session.exchange().context("a session was lost when the name moved")?;
    let said = site.command("show servers state v4")?;
    ensure!(said.contains(&format!("app {second} 2 0 1 1 ")) && said.contains(" app.example 8080 "), "{said}");
    let said = site.command("show resolvers dns")?;
    ensure!(said.starts_with("Resolvers section dns\n nameserver n1:\n  sent: "), "{said}");

    // A reload begins where the server is, and a name that leads nowhere takes it out.
    site.reload_text(&text, "reloaded")?;
    wait_for(&site, "backend2")?;
    dns.kill()?;
    Ok(())
}

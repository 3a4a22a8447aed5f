//! A flood of connections that nobody means, against a listener of l7d: clients that mean theirs are served.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{
    client::Client,
    netns::Netns,
    packet::{Flow, tcp},
    process::{Process, bin},
    scratch::Scratch,
    topology::Family,
};

use crate::{
    file::File,
    site::{Plan, SOON, STARTED, Site},
    sources,
};

/// Where l7d listens.
const PORT: u16 = 8443;
/// What l7d answers by itself.
const ANSWER: &str = "served";

/// How often clients ask amid the flood; the host's own cookies are too few for them.
const REQUESTS: u64 = 20;

/// Returns how many connections the host has accepted by cookies.
fn known(host: &Netns) -> Result<u64> {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let lines: Vec<Vec<&str>> = text.lines().take(2).map(|line| line.split(' ').collect()).collect();
    let place = lines[0].iter().position(|name| *name == "SyncookiesRecv").context("the kernel counts cookies")?;
    Ok(lines[1][place].parse()?)
}

/// Starts l7d in the balancer.
fn l7d(site: &Site, scratch: &Scratch) -> Result<Process> {
    let text = format!(
        "[frontend.site]\nmode = \"http\"\nbind = \"[::]:{PORT}\"\n\
         rules = [\"http-request return status 200 content-type text/plain string {ANSWER}\"]\n\
         [defaults]\ntimeout = {{ connect = \"5s\", client = \"5s\", server = \"5s\" }}\n"
    );
    let mut command = site.lab.balancer().namespace().command(bin("l7d")?);
    command.arg("run").arg("-f").arg(scratch.write("l7d.toml", text)?);
    let l7d = Process::spawn(command)?;
    l7d.wait_for_line("serving", STARTED)?;
    Ok(l7d)
}

/// Opens connections from addresses that are nobody's, as fast as it can, until told to stop; returns how many.
fn flood(client: &Netns, to: SocketAddr, stop: &AtomicBool) -> Result<u64> {
    client.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::RAW, Some(socket2::Protocol::from(255)))?;
        let mut sent = 0u64;
        // A raw socket of IPv6 takes no port.
        let target = SocketAddr::new(to.ip(), 0).into();
        while !stop.load(Ordering::Relaxed) {
            let number = (sent % 60_000) as u16;
            let from = SocketAddr::new(sources::address(if to.is_ipv4() { Family::V4 } else { Family::V6 }, number), 1024 + number);
            let frame = tcp(Flow { from, to }, "S").sequence(sent as u32).build();
            sent += u64::from(socket.send_to(&frame[14..], &target).is_ok());
        }
        Ok(sent)
    })
}

#[test]
fn clients_are_served_in_the_midst_of_a_flood() -> Result<()> {
    let mut site = Site::start_on(File::new(Plan { servers: 1, ..Plan::NAT }))?;
    let balancer = site.lab.balancer().namespace();
    let scratch = Scratch::new("cookies")?;
    let _l7d = l7d(&site, &scratch)?;
    // The host's own cookies, given at need, would not be known for those of others.
    balancer.sysctl("net/ipv4/tcp_syncookies", "1")?;
    let text = site.file.text(&site.lab).replace("[xdp]\n", "[xdp]\nsyn-cookies = 20\n");
    let mut text = text;
    write!(
        text,
        "[frontend.site]\nmode = \"http\"\nbind = \"[::]:{PORT}\"\ndefault-backend = \"site\"\n[backend.site]\nmode = \"http\"\n"
    )?;
    let refused = site.reload_text(&text, "reload refused")?;
    let said = site.l4d.wait_for_line("net.ipv4.tcp_syncookies=2", SOON)?;
    ensure!(said.contains("`syn-cookies` needs a host that takes cookies at any time"), "{refused}\n{said}");
    site.lab.balancer().namespace().sysctl("net/ipv4/tcp_syncookies", "2")?;
    // As many as would leave no room for services.
    site.reload_text(&text.replace(&format!(":{PORT}\""), ":10000-60000\""), "reload refused")?;
    let said = site.l4d.wait_for_line("keeps at most 1024 ports", SOON)?;
    ensure!(said.contains("bind 100002"), "{said}");
    site.reload_text(&text, "reloaded")?;
    let client = site.lab.client();
    for family in Family::BOTH {
        let to = SocketAddr::new(site.lab.balancer().address(family), PORT);
        served(&client, to).context("before the flood")?;
        let (before, stop) = (site.packets("cookie")?, AtomicBool::new(false));
        let known = known(site.lab.balancer().namespace())?;
        let sent = std::thread::scope(|scope| {
            let flooder = scope.spawn(|| flood(site.lab.client_host().namespace(), to, &stop));
            let outcome = amid(&site, &client, to, before);
            stop.store(true, Ordering::Relaxed);
            let sent = flooder.join().expect("the flood ends by itself")?;
            outcome.map(|()| sent)
        })?;
        let answered = site.packets("cookie")? - before;
        // Some are lost before they arrive, and few are believed.
        let known = self::known(site.lab.balancer().namespace())? - known;
        ensure!(known >= REQUESTS / 2, "{family:?}: {known} clients came with cookies");
        ensure!(answered > sent / 4, "{family:?}: {answered} of {sent} were answered by cookies");
    }
    Ok(())
}

/// Waits for cookies, and asks again and again.
fn amid(site: &Site, client: &Client, to: SocketAddr, before: u64) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while site.packets("cookie")? < before + 500 {
        ensure!(Instant::now() < deadline, "the flood is not noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    for number in 0..REQUESTS {
        served(client, to).with_context(|| format!("request {number} amid the flood"))?;
    }
    Ok(())
}

fn served(client: &Client, to: SocketAddr) -> Result<()> {
    let response = client.get(to, "/")?;
    ensure!(response.status == 200 && response.body == ANSWER.as_bytes(), "{response:?}");
    Ok(())
}

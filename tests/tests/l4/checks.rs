//! Services of datagrams whose servers stop answering: checks by text, by the DNS and by QUIC take them out of the maps, and back.

use std::{fs, net::SocketAddr, path::Path, process::Command, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use l4d::plan::ServiceKey;
use tests::{
    client::Client,
    process::{Process, Signal, bin},
    scratch::Scratch,
    topology::{Family, Host},
    wait::eventually,
};

use crate::site::{Plan, SERVER_PORT, SOON, Site};

/// A service of two servers.
struct Service {
    name: &'static str,
    port: u16,
    server_port: u16,
    check: &'static str,
    /// Sends a datagram and returns what tells the servers apart.
    ask: fn(&Client, SocketAddr) -> Result<String>,
}

const TEXT: Service = Service {
    name: "text",
    port: 7,
    server_port: SERVER_PORT,
    check: "udp = { steps = ['send ping', 'expect rstring ^backend[0-9]'] }",
    ask: |client, vip| Ok(client.datagram(vip, b"hello")?.server),
};

const NAMES: Service = Service {
    name: "names",
    port: 53,
    server_port: 53,
    check: "dns = { name = \"www.example\", type = \"A\" }",
    ask: |client, vip| {
        let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
        let reply = exchange(client, vip, question)?;
        ensure!(reply.starts_with(b"\x12\x34"), "not an answer: {}", reply.escape_ascii());
        Ok(format!("backend{}", reply.last().context("an empty answer")?))
    },
};

const QUIC: Service = Service {
    name: "quic",
    port: 443,
    server_port: 443,
    check: "quic = {}",
    ask: |client, vip| {
        // A first packet of a version that nobody speaks, as long as such packets are.
        let mut packet = b"\xc0\x1a\x2a\x3a\x4a\x08abcdefgh\x08ijklmnop".to_vec();
        packet.resize(1200, 0);
        let reply = exchange(client, vip, &packet)?;
        ensure!(reply.get(1..5) == Some(&[0; 4]), "not a list of versions: {}", reply.escape_ascii());
        Ok("one of them".to_owned())
    },
};

fn exchange(client: &Client, vip: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let socket = client.udp(vip)?;
    socket.send(question)?;
    let mut reply = vec![0; 1500];
    let length = socket.recv(&mut reply).with_context(|| format!("an answer of {vip}"))?;
    reply.truncate(length);
    Ok(reply)
}

/// Returns the text of the site's file with these services in place of its own.
fn text(site: &Site, services: &[&Service]) -> Result<String> {
    let whole = site.file.text(&site.lab);
    let (head, _) = whole.split_once("\n[frontend.").context("no frontend")?;
    let section = |service: &&Service| {
        let Service { name, port, server_port, check, .. } = service;
        let servers = [0, 1].map(|index| {
            let address = site.lab.backends()[index].at(Family::V4, *server_port);
            format!("backend{} = \"{address}\"\n", index + 1)
        });
        format!(
            "\n[frontend.{name}]\nmode = \"tcp\"\nbind = \"udp@{}\"\nxdp = {{ forward = \"nat\" }}\ndefault-backend = \"{name}\"\n\
             [backend.{name}]\nmode = \"tcp\"\nbalance = \"roundrobin\"\ncheck = {{ {check}, inter = \"100ms\", fall = 2, rise = 1, \
             timeout = \"500ms\" }}\n[backend.{name}.server]\n{}",
            site.lab.vip(Family::V4, *port),
            servers.concat()
        )
    };
    Ok(head.to_owned() + "\n" + &services.iter().map(section).collect::<String>())
}

/// Starts a server of names that calls everything by its own number.
fn dnsmasq(host: &Host, number: usize, scratch: &Scratch) -> Result<Process> {
    let pid = scratch.path().join(format!("pid{number}"));
    let conf = format!(
        "no-resolv\nno-hosts\naddress=/example/192.0.2.{number}\nport=53\nlisten-address={}\nbind-interfaces\npid-file={}\n",
        host.address(Family::V4),
        pid.display()
    );
    let conf = scratch.write(&format!("conf{number}"), conf)?;
    let mut command = host.namespace().command("dnsmasq");
    command.arg("-k").arg("-C").arg(conf).stdin(Stdio::null());
    Process::spawn(command).context("dnsmasq: `cargo xtask setup` installs it")
}

/// Starts l7d as a server of HTTP/3.
fn web(host: &Host, scratch: &Scratch) -> Result<Process> {
    let certificate = scratch.path().join("site.pem");
    if !certificate.exists() {
        make_certificate(&certificate)?;
    }
    let bind = host.at(Family::V4, QUIC.server_port);
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend f\n bind quic4@{bind} ssl crt {}\n \
         http-request return status 200\n",
        certificate.display()
    );
    let file = scratch.write(&format!("{}.cfg", bind.ip()), text)?;
    let mut command = host.namespace().command(bin("l7d")?);
    command.arg("run").arg("-f").arg(file);
    let process = Process::spawn(command)?;
    process.wait_for_line("serving ", SOON)?;
    Ok(process)
}

fn make_certificate(path: &Path) -> Result<()> {
    let key = path.with_extension("key");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]);
    openssl.args(["-subj", "/CN=a.test", "-out"]).arg(path).arg("-keyout").arg(&key).stderr(Stdio::null());
    ensure!(openssl.status()?.success(), "openssl makes no certificate");
    Ok(fs::write(path, fs::read_to_string(path)? + &fs::read_to_string(key)?)?)
}

/// Waits until the second server of a service has a share of it, or none.
fn wait_for_share(site: &Site, service: &Service, as_it_should: impl Fn(f64) -> bool) -> Result<()> {
    let maps = site.maps()?;
    let key = ServiceKey::new(site.lab.vip(Family::V4, service.port), 17);
    let socket = site.lab.backends()[1].at(Family::V4, service.server_port);
    let share = || maps.tables().servers_of(&key).iter().any(|server| server.socket == socket && as_it_should(server.share)).then_some(());
    eventually(SOON, "the share of the second server", share).with_context(|| service.name)
}

/// Asks often enough to meet every server, and returns who answered; all have to.
fn answered(site: &Site, service: &Service) -> Result<Vec<String>> {
    let client = site.lab.client().with_deadline(Duration::from_secs(5));
    let vip = site.lab.vip(Family::V4, service.port);
    let mut names = (0..8).map(|_| (service.ask)(&client, vip)).collect::<Result<Vec<_>>>().with_context(|| service.name)?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// What becomes of the second server.
enum Fate {
    /// It goes on to hold its port, and is silent.
    Hangs,
    /// Its port tells that nobody is there.
    Dies,
}

fn check_fate(site: &Site, service: &Service, fate: &Fate, take: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = site.l4d.mark();
    take()?;
    let reason = match fate {
        Fate::Hangs => "L7TOUT",
        Fate::Dies => "L4CON",
    };
    let line = site.l4d.wait_for_line_after(mark, &format!("{}/backend2 is DOWN", service.name), SOON)?;
    ensure!(line.contains(reason), "{line}");
    wait_for_share(site, service, |share| share == 0.0)?;
    let names = answered(site, service)?;
    ensure!(names == ["backend1"] || service.name == QUIC.name, "{}: {names:?}", service.name);
    Ok(())
}

fn check_return(site: &Site, service: &Service, give: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = site.l4d.mark();
    give()?;
    site.l4d.wait_for_line_after(mark, &format!("{}/backend2 is UP", service.name), SOON)?;
    wait_for_share(site, service, |share| share > 0.0)?;
    let names = answered(site, service)?;
    ensure!(names == ["backend1", "backend2"] || service.name == QUIC.name, "{}: {names:?}", service.name);
    Ok(())
}

#[test]
fn a_server_of_datagrams_that_stops_answering_leaves_the_maps_and_comes_back() -> Result<()> {
    let mut site = Site::start(Plan::NAT.with_servers(2))?;
    let scratch = Scratch::new("checks")?;
    let mut names = [0, 1].map(|index| dnsmasq(&site.lab.backends()[index], index + 1, &scratch));
    let mut webs = [0, 1].map(|index| web(&site.lab.backends()[index], &scratch));
    let (Ok(second_names), Ok(second_web)) = (&mut names[1], &mut webs[1]) else { anyhow::bail!("{names:?} {webs:?}") };
    let services = [&TEXT, &NAMES, &QUIC];
    let text = text(&site, &services)?;
    site.reload_text(&text, "reloaded")?;
    for service in services {
        wait_for_share(&site, service, |share| share > 0.0)?;
        let names = eventually(SOON, "answers of both", || answered(&site, service).ok())?;
        ensure!(names == ["backend1", "backend2"] || service.name == QUIC.name, "{}: {names:?}", service.name);
    }

    // The backend is a part of the site; it is lent out for the time being.
    let mut backends = std::mem::take(&mut site.backends);
    let own = &mut backends[1];
    check_fate(&site, &TEXT, &Fate::Hangs, || own.process().signal(Signal::STOP))?;
    check_return(&site, &TEXT, || own.process().signal(Signal::CONT))?;
    check_fate(&site, &TEXT, &Fate::Dies, || own.kill())?;
    check_return(&site, &TEXT, || own.restart())?;

    let host = &site.lab.backends()[1];
    check_fate(&site, &NAMES, &Fate::Hangs, || second_names.signal(Signal::STOP))?;
    check_return(&site, &NAMES, || second_names.signal(Signal::CONT))?;
    check_fate(&site, &NAMES, &Fate::Dies, || second_names.kill())?;
    check_return(&site, &NAMES, || dnsmasq(host, 2, &scratch).map(|new| *second_names = new))?;

    check_fate(&site, &QUIC, &Fate::Hangs, || second_web.signal(Signal::STOP))?;
    check_return(&site, &QUIC, || second_web.signal(Signal::CONT))?;
    check_fate(&site, &QUIC, &Fate::Dies, || second_web.kill())?;
    check_return(&site, &QUIC, || web(host, &scratch).map(|new| *second_web = new))
}

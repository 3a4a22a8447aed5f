//! What is not balanced reaches the host as if l4d were not there.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tests::{
    client::Client,
    server::Backend,
    topology::{Arms, Family, Lab},
};

use crate::{
    file::File,
    site::{PORT, Plan, Site},
    sources,
};

#[test]
fn host_answers_pings_to_its_own_and_virtual_addresses() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    for family in Family::BOTH {
        for address in [site.vip(family).ip(), site.lab.balancer().address(family)] {
            let mut ping = site.lab.client_host().namespace().command("ping");
            let output = ping.args(["-c", "2", "-i", "0.05", "-W", "2", &address.to_string()]).output()?;
            assert!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
    Ok(())
}

#[test]
fn other_ports_reach_the_host() -> Result<()> {
    for plan in [Plan::NAT, Plan::DSR, Plan { arms: Arms::Two, ..Plan::NAT }] {
        let site = Site::start(plan)?;
        // The last lies in the range of translated ports, whose packets are looked at as possible replies.
        for port in [22, PORT + 1, 20_000] {
            let mut listen: Vec<SocketAddr> = Family::BOTH.map(|family| site.lab.vip(family, port)).to_vec();
            listen.extend(Family::BOTH.map(|family| site.lab.balancer().at(family, port)));
            let _host = Backend::start(site.lab.balancer().namespace(), "host", listen.clone())?;
            for address in listen {
                let answer = site.lab.client().who(address).with_context(|| format!("{plan:?} {address}"))?;
                assert_eq!(answer.server, "host", "{plan:?} {address}");
                let answer = site.lab.client().datagram(address, b"hello").with_context(|| format!("{plan:?} udp {address}"))?;
                assert_eq!(answer.server, "host", "{plan:?} udp {address}");
            }
            site.lab.client().distribution(site.vip(Family::V4), 3)?;
        }
    }
    Ok(())
}

#[test]
fn connections_of_the_host_itself_are_untouched() -> Result<()> {
    for plan in [Plan::NAT, Plan { arms: Arms::Two, ..Plan::NAT }] {
        let site = Site::start(plan)?;
        let host = Client::new(site.lab.balancer().namespace());
        // Traffic through the same addresses and servers goes on meanwhile.
        let load = site.lab.client().load(site.vip(Family::V4), tests::load::Pace::default());
        for family in Family::BOTH {
            let server = site.lab.backends()[0].at(family, site.file.server_port());
            let own = site.lab.balancer_source(family);
            for _ in 0..20 {
                let answer = host.who(server).with_context(|| format!("{plan:?}: from the host to {server}"))?;
                assert_eq!((answer.server.as_str(), answer.client.ip()), ("backend1", own), "{plan:?}");
            }
            // From a port that translations use too, while no flow owns it.
            let answer = from_host(&site.lab, SocketAddr::new(own, 32_700), server)?;
            assert_eq!(answer, "backend1", "{plan:?}");
        }
        load.stop().expect_no_failure()?;
    }
    Ok(())
}

fn from_host(lab: &Lab, from: SocketAddr, to: SocketAddr) -> Result<String> {
    lab.balancer().namespace().run(|| sources::who_from_here(from, to)).with_context(|| format!("from {from} to {to}"))
}

#[test]
fn pings_to_virtual_addresses_are_answered_by_the_program_even_where_the_host_has_none() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let balancer = &site.lab.balancer();
    for (family, prefix) in [(Family::V4, 32), (Family::V6, 128)] {
        let vip = site.vip(family).ip();
        // Whoever routes the address to the balancer need not give it to the host.
        tests::link::batch(balancer.namespace(), &format!("address del {vip}/{prefix} dev eth0\n"))?;
        let neighbour = format!("neighbour replace {vip} lladdr {} dev eth0\n", balancer.mac());
        tests::link::batch(site.lab.client_host().namespace(), &neighbour)?;
        let mut ping = site.lab.client_host().namespace().command("ping");
        let output = ping.args(["-c", "3", "-i", "0.05", "-W", "2", "-s", "1400", &vip.to_string()]).output()?;
        assert!(output.status.success(), "{vip}: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(site.packets("echo")? >= 6);
    Ok(())
}

#[test]
fn refused_datagrams_are_told_to_clients_through_nat() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    // So patient that nobody is taken out.
    file.check = "inter = \"60s\", fall = 3, rise = 1";
    let mut site = Site::start_on(file)?;
    for backend in &mut site.backends {
        backend.kill()?;
    }
    for family in Family::BOTH {
        let vip = site.vip(family);
        let refused = site.lab.client_host().namespace().run(|| {
            let socket = std::net::UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(vip)?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            let end = Instant::now() + crate::site::SOON;
            // Datagrams are lost, and hosts tell only so many a second what became of them: a client asks again.
            loop {
                let heard = socket.send(b"anyone?").and_then(|_| socket.recv(&mut [0; 16]));
                let is_silent = heard.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
                if !is_silent || Instant::now() > end {
                    return heard;
                }
            }
        });
        assert!(refused.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused), "{family:?}: {refused:?}");
    }
    assert!(site.packets("relayed")? >= 2);
    Ok(())
}

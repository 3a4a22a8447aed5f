//! Services of many ports under real traffic.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use tests::topology::{Family, Lab};

use crate::{
    file::File,
    site::{PORT, Plan, SERVER_PORT, Site},
};

/// Returns a file whose binds have all ports, and within them a few that another server alone has.
fn text(file: &File, lab: &Lab) -> String {
    let mut text = file.text(lab);
    for (name, family) in [("v4", Family::V4), ("v6", Family::V6)] {
        let (old, vip) = (lab.vip(family, PORT).to_string(), lab.vip(family, 1));
        text = text.replace(&format!("[\"{old}\", \"udp@{old}\"]"), &format!("[\"{vip}-65535\"]"));
        let server = lab.backends()[2].at(family, file.server_port());
        text += &format!(
            "[frontend.{name}few]\nmode = \"tcp\"\nbind = [\"{}-8009\"]\nxdp = {{ forward = \"{}\" }}\ndefault-backend = \"{name}few\"\n\
             [backend.{name}few]\nmode = \"tcp\"\nserver = {{ third = \"{server}\" }}\n",
            lab.vip(family, 8000),
            file.plan.forward
        );
    }
    text
}

#[test]
fn all_ports_are_served_and_few_ports_before_them() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let text = text(&site.file, &site.lab);
    site.reload_text(&text, "reloaded")?;
    for family in Family::BOTH {
        for port in [1, 80, 7999, 8010, 65_535] {
            let counts = site.lab.client().distribution(site.lab.vip(family, port), 6).with_context(|| format!("port {port}"))?;
            ensure!(counts.len() == 3, "port {port}: {counts:?}");
        }
        for port in [8000, 8009] {
            let counts = site.lab.client().distribution(site.lab.vip(family, port), 4)?;
            ensure!(counts.keys().eq(["backend3"]), "port {port}: {counts:?}");
        }
    }
    let maps = site.maps()?;
    ensure!(maps.tables().services().count() == 4, "a service for each bind, whatever it holds");
    let mut session = site.lab.client().session(site.lab.vip(Family::V4, 5000))?;
    site.l4d.kill()?;
    site.restart()?;
    session.exchange().context("after a restart")?;
    let status = site.l4d("status")?;
    ensure!(status.contains("tcp 10.77.0.10:1-65535") && status.contains("tcp 10.77.0.10:8000-8009"), "{status}");
    // Back to one port: the others are the host's again.
    site.reload(|_| ())?;
    site.lab.client().who(site.vip(Family::V4))?;
    ensure!(site.lab.client().connect(site.lab.vip(Family::V4, 5000)).is_err());
    Ok(())
}

#[test]
fn servers_without_a_port_have_the_clients_own() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let mut text = text(&site.file, &site.lab);
    for host in site.lab.backends() {
        for family in Family::BOTH {
            let address = host.at(family, SERVER_PORT);
            let bare = match host.address(family) {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            let bare = format!("{{ address = \"{bare}\", check = {{ port = {SERVER_PORT} }}");
            text = text.replace(&format!("{{ address = \"{address}\""), &bare);
        }
    }
    site.reload_text(&text, "reloaded")?;
    for family in Family::BOTH {
        site.lab.client().distribution(site.lab.vip(family, SERVER_PORT), 6).context("where servers listen")?;
        ensure!(site.lab.client().connect(site.lab.vip(family, 9999)).is_err(), "nobody listens there");
    }
    Ok(())
}

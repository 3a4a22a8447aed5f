//! What l4d says about its traffic agrees with the traffic.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tests::{protocol::Bulk, topology::Family};

use crate::{
    site::{Plan, Site},
    sources,
};

#[test]
fn counters_of_servers_match_what_was_sent() -> Result<()> {
    for plan in Plan::BOTH {
        let site = Site::start(plan)?;
        let before = site.metrics()?;
        let vip = site.vip(Family::V4);
        site.lab.client().distribution(vip, 30)?;
        let bulk = Bulk { length: 3_000_000, seed: 3 };
        let uploaded_to = site.lab.client().upload(vip, bulk)?;
        let after = site.metrics()?;

        let of = |metrics: &BTreeMap<String, f64>, name: &str, server: &str| {
            let labels = format!("{{frontend=\"v4\",service=\"{vip}\",protocol=\"tcp\",backend=\"v4\",server=\"{server}\"}}");
            metrics.get(&format!("{name}{labels}")).copied().with_context(|| format!("no {name}{labels}"))
        };
        let (mut packets, mut flows) = (0.0, 0.0);
        for server in ["backend1", "backend2", "backend3"] {
            let grown = |name| Ok::<_, anyhow::Error>(of(&after, name, server)? - of(&before, name, server)?);
            let (new, bytes) = (grown("l4d_server_flows_total")?, grown("l4d_server_bytes_total")?);
            let uploads = f64::from(u8::from(server == uploaded_to));
            assert_eq!(new, 10.0 + uploads, "{plan:?} {server}");
            // At least the data, in frames of 1500 bytes with 40 or 52 bytes of headers, a little more if some came twice.
            let least = uploads * bulk.length as f64 * 1514.0 / 1460.0;
            assert!(bytes >= least && bytes <= 1.1 * least + 20_000.0, "{plan:?} {server}: {bytes} bytes for {uploads} uploads");
            assert_eq!(of(&after, "l4d_server_share_ratio", server)?, 1.0 / 3.0);
            packets += grown("l4d_server_packets_total")?;
            flows += new;
        }
        assert_eq!(flows, 31.0, "{plan:?}");
        let forwarded = reason(&after, "forwarded")? - reason(&before, "forwarded")?;
        assert_eq!(forwarded, packets, "{plan:?}: every forwarded packet has a server");
        let returned = reason(&after, "returned")? - reason(&before, "returned")?;
        assert_eq!(returned > 0.0, plan.forward == "nat", "{plan:?}: {returned} packets returned");
        for impossible in ["internal", "no_server", "no_next_hop", "nat_full"] {
            assert_eq!(reason(&after, impossible)?, 0.0, "{plan:?} {impossible}");
        }
    }
    Ok(())
}

#[test]
fn udp_is_counted_apart_from_tcp() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let vip = site.vip(Family::V6);
    let before = site.metrics()?;
    for number in 0..6 {
        let socket = sources::udp(&site.lab, std::net::SocketAddr::new(sources::address(Family::V6, number), 33_000), vip)?;
        sources::ask(&socket, "one")?;
        sources::ask(&socket, "two")?;
    }
    let after = site.metrics()?;
    let grown = |name: &str, protocol: &str| -> f64 {
        let ours =
            |(label, _): &(&String, &f64)| label.starts_with(name) && label.contains(&format!("service=\"{vip}\",protocol=\"{protocol}\""));
        let sum = |metrics: &BTreeMap<String, f64>| metrics.iter().filter(ours).map(|(_, value)| value).sum::<f64>();
        sum(&after) - sum(&before)
    };
    assert_eq!([grown("l4d_server_flows_total", "udp"), grown("l4d_server_packets_total", "udp")], [6.0, 12.0]);
    assert_eq!(grown("l4d_server_packets_total", "tcp"), 0.0);
    Ok(())
}

#[test]
fn packets_for_the_host_are_counted_by_why() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let client = site.lab.client_host().namespace();
    let (vip, own) = (site.vip(Family::V4), site.lab.balancer().at(Family::V4, 4_000));
    let grown = |name: &str, cause: &dyn Fn() -> Result<()>| {
        let before = reason(&site.metrics()?, name)?;
        cause()?;
        Ok::<_, anyhow::Error>(reason(&site.metrics()?, name)? - before)
    };
    let ping = |arguments: &[&str]| {
        let output =
            client.command("ping").args(["-c", "3", "-i", "0.01", "-W", "2"]).args(arguments).arg(vip.ip().to_string()).output()?;
        anyhow::ensure!(output.status.success(), "ping: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    };
    assert!(grown("echo", &|| ping(&[]))? >= 3.0);
    assert!(grown("fragment", &|| ping(&["-s", "2000"]))? >= 3.0);
    assert!(grown("no_service", &|| site.lab.client().connect(own).map(drop).or(Ok(())))? >= 1.0);
    let foreign = || {
        // A switch that does not know the address floods: the frame arrives, addressed to another station.
        let nobody = "10.77.0.200";
        let add = format!("neighbor replace {nobody} lladdr 02:00:00:00:00:99 dev eth0\n");
        tests::link::batch(client, &add)?;
        let socket = site.lab.client().udp(format!("{nobody}:9").parse()?)?;
        (0..3).try_for_each(|_| socket.send(b"hello").map(drop))?;
        Ok(())
    };
    assert!(grown("not_for_us", &foreign)? >= 3.0);
    Ok(())
}

fn reason(metrics: &BTreeMap<String, f64>, name: &str) -> Result<f64> {
    metrics.get(&format!("l4d_packets_total{{reason=\"{name}\"}}")).copied().with_context(|| format!("no reason {name}"))
}

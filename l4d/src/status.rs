//! `l4d status`: what the kernel holds, read from the pinned maps, with the names of the file.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use anyhow::Context;
use control::config::Config;
use xdp_common::flow::UDP;

use crate::{
    datapath::Maps,
    flows,
    plan::{self, ServiceKey},
    preview,
    tables::{HeldServer, Tables},
};

/// Describes the data plane.
///
/// # Errors
/// No data plane at the configured place.
pub(crate) fn show(config: Option<&Config>, pin: &Path) -> anyhow::Result<String> {
    let maps = Maps::watch(pin).with_context(|| format!("nothing runs at {}", pin.display()))?;
    let tables = maps.tables();
    let counts = flows::count(maps.flow_words(), maps.nat_entries(), flows::now());
    let names = config.map(names).unwrap_or_default();
    let mut text = String::new();
    for (key, _) in tables.services() {
        service(&mut text, &maps, &tables, key, &counts, &names)?;
    }
    packets(&mut text, &maps)?;
    Ok(text)
}

/// The frontend, and the servers by address.
pub(crate) type Names<'a> = BTreeMap<ServiceKey, (&'a str, BTreeMap<std::net::SocketAddr, &'a str>)>;

pub(crate) fn names(config: &Config) -> Names<'_> {
    let mut names = Names::new();
    for frontend in config.frontends() {
        let Some(xdp) = frontend.xdp() else { continue };
        for key in plan::service_keys(frontend) {
            let servers = config.servers_of(xdp.backend()).iter();
            let servers = servers.filter_map(|server| Some((plan::socket_for(server, &key)?, server.name())));
            names.insert(key, (frontend.name(), servers.collect()));
        }
    }
    names
}

fn service(
    text: &mut String,
    maps: &Maps,
    tables: &Tables,
    key: &ServiceKey,
    counts: &BTreeMap<u16, u64>,
    names: &Names<'_>,
) -> anyhow::Result<()> {
    let Some(held) = tables.services.get(key) else { return Ok(()) };
    let protocol = if key.protocol == UDP { "udp" } else { "tcp" };
    let forward = held.head.forward.name();
    let choice = preview::choice(held.head.choice);
    let frontend = names.get(key).map_or("-", |(frontend, _)| frontend);
    writeln!(text, "{protocol} {key}  {forward}, {choice}  frontend {frontend}")?;
    writeln!(
        text,
        "  {:<16} {:<28} {:<9} {:>6} {:>9} {:>10} {:>12} {:>15}",
        "server", "address", "state", "share", "flows", "new", "packets", "bytes"
    )?;
    for server in tables.servers_of(key) {
        let counters = maps.server_counters(server.id)?;
        let name = names.get(key).and_then(|(_, servers)| servers.get(&server.socket)).copied().unwrap_or("-");
        writeln!(
            text,
            "  {name:<16} {:<28} {:<9} {:>5.1}% {:>9} {:>10} {:>12} {:>15}",
            server.socket.to_string(),
            state(&server),
            server.share * 100.0,
            counts.get(&server.id).copied().unwrap_or(0),
            counters.flows,
            counters.packets,
            counters.bytes
        )?;
    }
    writeln!(text)?;
    Ok(())
}

pub(crate) fn state(server: &HeldServer) -> &'static str {
    match (server.usable, server.share > 0.0, server.reachable) {
        (false, _, _) => "down",
        (true, false, _) => "no new",
        (true, true, false) => "no hop",
        (true, true, true) => "serving",
    }
}

fn packets(text: &mut String, maps: &Maps) -> anyhow::Result<()> {
    let counts: Vec<_> = maps.reasons()?.into_iter().filter(|(_, count)| *count > 0).collect();
    writeln!(text, "packets{}", if counts.is_empty() { ": none yet" } else { "" })?;
    for (reason, count) in counts {
        writeln!(text, "  {:<14} {count:>14}  {}", reason.name(), reason.help().trim())?;
    }
    Ok(())
}

//! `l4d explain`: what the data plane would do with a packet of a flow, and why, read from the pinned maps.
//!
//! It goes the program's own way, by the same hashes: guard, service, remembered flow, ring. What chance or the next packet decides is said to be so.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use control::config::Config;
use xdp_common::{
    addr::Port,
    flow::{FlowKey, ServerId, TCP, UDP, scale},
    guard::Ruling,
    nat::{Control, Entry},
    server::Server,
    service::{Choice, Forward, OnDead, OnNone, Tracking},
};

use crate::{
    datapath::Maps,
    flows, listing,
    plan::{self, ServiceKey, WantedGuard},
    preview, status,
    tables::{Held, Tables},
};

/// The flow to explain.
#[derive(Debug, Args)]
pub(crate) struct Tuple {
    /// The client's address and port, for example 192.0.2.7:4000.
    client: SocketAddr,
    /// The virtual address and port it sends to.
    service: SocketAddr,
    /// The protocol.
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    protocol: Protocol,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
}

/// Explains a flow.
///
/// # Errors
/// No data plane there, or addresses of two families.
pub(crate) fn text(config: Option<&Config>, pin: &Path, tuple: &Tuple) -> anyhow::Result<String> {
    let Tuple { client, service, protocol } = tuple;
    ensure!(client.is_ipv4() == service.is_ipv4(), "{client} and {service} are of two families");
    let maps = Maps::watch(pin).with_context(|| format!("nothing runs at {}", pin.display()))?;
    let tables = maps.tables();
    let protocol = match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    let mut text = String::new();
    writeln!(text, "{} {client} > {service}", if protocol == UDP { "udp" } else { "tcp" })?;
    let Some((key, held)) = find(&tables, *service, protocol) else {
        writeln!(text, "service   none: its packets are the host's")?;
        return Ok(text);
    };
    let names = config.map(status::names).unwrap_or_default();
    let frontend = names.get(key).map_or_else(String::new, |(frontend, _)| format!("  frontend {frontend}"));
    writeln!(text, "service   {key}  {}, {}{frontend}", held.head.forward.name(), preview::choice(held.head.choice))?;
    let (admitted, why) = admission(&tables.guard, *client);
    writeln!(text, "guard     {why}")?;
    if !admitted {
        return Ok(text);
    }
    let flow = FlowKey {
        source: client.ip().into(),
        destination: service.ip().into(),
        source_port: Port::new(client.port()),
        destination_port: Port::new(service.port()),
        protocol,
    };
    let name = |id: ServerId| {
        let server = tables.servers_of(key).into_iter().find(|server| server.id == id.0);
        server.map_or_else(
            || "none".to_owned(),
            |server| {
                let name = names.get(key).and_then(|(_, servers)| servers.get(&server.socket)).map_or("", |name| name);
                format!("{name} {} ({})", listens(&server.socket), status::state(&server)).trim_start().to_owned()
            },
        )
    };
    steps(&mut text, &maps, &tables, held, &flow, &name)?;
    Ok(text)
}

/// Shows where a server listens.
fn listens(socket: &SocketAddr) -> String {
    if socket.port() == 0 { format!("{} at the same port", socket.ip()) } else { socket.to_string() }
}

/// Returns the service that takes packets for a port: its own, or else the narrowest of many.
fn find(tables: &Tables, socket: SocketAddr, protocol: u8) -> Option<(&ServiceKey, &Held)> {
    let takes = |key: &ServiceKey| {
        key.protocol == protocol && key.socket.ip() == socket.ip() && (key.socket.port()..=key.last).contains(&socket.port())
    };
    tables.services.iter().filter(|(key, _)| takes(key)).min_by_key(|(key, _)| key.last - key.socket.port())
}

/// Tells whether the guard lets a client in, and why.
fn admission(guard: &WantedGuard, client: SocketAddr) -> (bool, String) {
    let own = (client.ip(), 128);
    let longest = guard.prefixes.iter().filter(|(prefix, _)| plan::holds(**prefix, own)).max_by_key(|((_, length), _)| *length);
    let shown = |(address, length): (IpAddr, u8)| format!("{address}/{}", if address.is_ipv4() { length - 96 } else { length });
    match longest {
        Some((prefix, rule)) if rule.ruling == Ruling::Deny => (false, format!("dropped: {} is denied", shown(*prefix))),
        Some((prefix, _)) => (true, format!("passes whatever its rate: {} is allowed", shown(*prefix))),
        None if guard.connections == 0 && guard.packets == 0 => (true, "passes: no prefix holds it".to_owned()),
        None => (true, "passes within the rates of each source".to_owned()),
    }
}

fn steps(
    text: &mut String,
    maps: &Maps,
    tables: &Tables,
    held: &Held,
    flow: &FlowKey,
    name: &impl Fn(ServerId) -> String,
) -> anyhow::Result<()> {
    let (head, settings, now) = (&held.head, maps.settings(), flows::now());
    let place = if head.choice == Choice::Source { flow.place_by_source(&settings.key) } else { flow.place_by_tuple(&settings.key) };
    let slot_at = scale(place.ring, held.slots.len() as u32);
    let slot = held.slots.get(slot_at as usize).filter(|_| head.choice.is_hash());
    let follows = !head.choice.is_hash() || head.tracking == Tracking::Always || slot.is_some_and(|slot| !slot.is_settled());
    let known = if head.forward == Forward::Nat {
        let entry_name = Entry::pack_name(flow, head.id);
        let entry = maps.nat_entries().find(|(_, entry)| entry.client == flow.source && entry.name == entry_name);
        entry.map(|(_, entry)| Control(entry.control)).map(|control| (control.server(), control.stamp()))
    } else if follows {
        maps.flow_word(scale(place.line, settings.flow_lines), place.fingerprint).map(|word| (word.server(), word.stamp()))
    } else {
        None
    };
    if let Some((server, stamp)) = known {
        let idle = listing::seconds(stamp.idle(now));
        writeln!(text, "flow      remembered, {}, silent for {idle}s: {}", listing::state(stamp), name(server))?;
        if tables.servers.get(&server.0).is_none_or(|server| !server.is_usable()) {
            writeln!(text, "          that server is down: the flow {}", if head.on_dead == OnDead::Reset { "is reset" } else { "moves" })?;
        }
    } else if follows || head.forward == Forward::Nat {
        writeln!(text, "flow      not remembered")?;
    } else {
        writeln!(text, "flow      needs no memory: the ring alone tells")?;
    }
    let usable = held.slots.iter().any(|slot| tables.servers.get(&slot.current().0).is_some_and(Server::is_usable));
    match slot {
        _ if !usable => {
            let end = if head.on_none == OnNone::Reset { "answered by a reset" } else { "dropped" };
            writeln!(text, "new       no server can take it: {end}")?;
        }
        Some(slot) => {
            writeln!(text, "new       slot {slot_at} of {}: {}", held.slots.len(), name(slot.current()))?;
            if let Some(former) = slot.former() {
                writeln!(text, "older     than the last change of that slot: {}", name(former))?;
            }
        }
        None if head.choice == Choice::LeastConn => writeln!(text, "new       the less busy of two servers drawn at random")?,
        None => writeln!(text, "new       the server whose turn it is")?,
    }
    Ok(())
}

//! `l4d flows`: the flows that the data plane remembers, read from the pinned maps.
//!
//! A flow of a `nat` service is known by all its addresses. Other services remember a flow as a fingerprint, which names its server and not its client.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::Context;
use clap::Args;
use control::config::Config;
use serde_json::{Value, json};
use xdp_common::{
    flow::{Stamp, State, UDP},
    nat::Control,
};

use crate::{
    datapath::Maps,
    flows,
    plan::{self, ServiceKey},
    tables::Tables,
};

/// Which flows are listed.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only flows of servers at this address, with its port or without.
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    /// Only flows of clients at this address; only those of nat services have one.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// The most flows that are listed; all are counted.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

/// One remembered flow.
struct Row {
    key: Option<ServiceKey>,
    server: Option<SocketAddr>,
    stamp: Stamp,
    /// What only a translated flow has.
    translated: Option<Translated>,
    fingerprint: Option<u32>,
}

/// The addresses of a translated flow.
struct Translated {
    client: SocketAddr,
    service: SocketAddr,
    /// What its server sees as its client.
    source: SocketAddr,
}

/// Lists flows as text.
///
/// # Errors
/// No data plane there.
pub(crate) fn text(config: Option<&Config>, pin: &Path, selection: &Selection) -> anyhow::Result<String> {
    let (rows, now) = read(pin, selection)?;
    let names = config.map(names).unwrap_or_default();
    let mut text = String::new();
    writeln!(text, "{:<4} {:<28} {:<28} {:<28} {:<8} {:>6}  translated", "", "client", "service", "server", "state", "idle")?;
    for row in rows.iter().take(selection.limit) {
        let protocol = row.key.map_or("-", |key| if key.protocol == UDP { "udp" } else { "tcp" });
        let client = row.client();
        let server = row.server.map_or_else(
            || "-".to_owned(),
            |server| names.get(&server).map_or_else(|| server.to_string(), |name| format!("{name} {server}")),
        );
        let source = row.translated.as_ref().map_or_else(String::new, |flow| flow.source.to_string());
        let idle = seconds(row.stamp.idle(now));
        let line = format!("{protocol:<4} {client:<28} {:<28} {server:<28} {:<8} {idle:>5}s  {source}", row.service(), state(row.stamp));
        writeln!(text, "{}", line.trim_end())?;
    }
    if rows.len() > selection.limit {
        writeln!(text, "and {} more; --limit lists them", rows.len() - selection.limit)?;
    }
    writeln!(text, "{} flows", rows.len())?;
    Ok(text)
}

/// Lists flows for programs.
///
/// # Errors
/// As [`text`].
pub(crate) fn json(pin: &Path, selection: &Selection) -> anyhow::Result<Value> {
    let (rows, now) = read(pin, selection)?;
    let flows = rows.iter().take(selection.limit).map(|row| {
        json!({
            "protocol": row.key.map(|key| if key.protocol == UDP { "udp" } else { "tcp" }),
            "client": row.translated.as_ref().map(|flow| flow.client.to_string()),
            "fingerprint": row.fingerprint.map(|print| format!("{print:08x}")),
            "service": row.service(),
            "server": row.server.map(|server| server.to_string()),
            "translated": row.translated.as_ref().map(|flow| flow.source.to_string()),
            "state": state(row.stamp),
            "idle_seconds": seconds(row.stamp.idle(now)),
        })
    });
    Ok(json!({ "flows": flows.collect::<Vec<_>>(), "count": rows.len() }))
}

fn names(config: &Config) -> BTreeMap<SocketAddr, &str> {
    let mut names = BTreeMap::new();
    for frontend in config.frontends() {
        let Some(xdp) = frontend.xdp() else { continue };
        for key in plan::service_keys(frontend) {
            let servers = config.servers_of(xdp.backend()).iter();
            names.extend(servers.filter_map(|server| Some((plan::socket_for(server, &key)?, server.name()))));
        }
    }
    names
}

fn read(pin: &Path, selection: &Selection) -> anyhow::Result<(Vec<Row>, u16)> {
    let maps = Maps::watch(pin).with_context(|| format!("nothing runs at {}", pin.display()))?;
    let (tables, now) = (maps.tables(), flows::now());
    let owners = owners(&tables);
    let settings = maps.settings();
    let sources = maps.source_addresses();
    let owner = |id: u16| owners.get(&id).copied().map_or((None, None), |(key, socket)| (Some(key), Some(socket)));
    let translated = maps.nat_entries().map(|(index, entry)| {
        let control = Control(entry.control);
        let (key, server) = owner(control.server().0);
        let client = SocketAddr::new(entry.client.into(), entry.client_port().number());
        let address = key.map_or(client.ip(), |key| key.socket.ip());
        let source = sources.get(settings.nat_address_index(index) as usize).copied().unwrap_or(client.ip());
        let source = SocketAddr::new(source, settings.nat_port(index).number());
        let flow = Translated { client, service: SocketAddr::new(address, entry.service_port().number()), source };
        Row { key, server, stamp: control.stamp(), translated: Some(flow), fingerprint: None }
    });
    let remembered = maps.flow_words().map(|word| {
        let (key, server) = owner(word.server().0);
        Row { key, server, stamp: word.stamp(), translated: None, fingerprint: Some(word.fingerprint()) }
    });
    let mut rows: Vec<Row> = translated.chain(remembered).filter(|row| flows::lives(row.stamp, now) && row.is_wanted(selection)).collect();
    rows.sort_by_cached_key(|row| (row.key, row.server, row.client()));
    Ok((rows, now))
}

/// Returns whose an id of a server is.
fn owners(tables: &Tables) -> BTreeMap<u16, (ServiceKey, SocketAddr)> {
    let services = tables.services().map(|(key, _)| *key);
    services.flat_map(|key| tables.servers_of(&key).into_iter().map(move |server| (server.id, (key, server.socket)))).collect()
}

impl Row {
    fn client(&self) -> String {
        match (&self.translated, self.fingerprint) {
            (Some(flow), _) => flow.client.to_string(),
            (None, Some(print)) => format!("#{print:08x}"),
            (None, None) => "-".to_owned(),
        }
    }

    fn service(&self) -> String {
        match (&self.translated, self.key) {
            (Some(flow), _) => flow.service.to_string(),
            (None, Some(key)) => key.to_string(),
            (None, None) => "-".to_owned(),
        }
    }

    fn is_wanted(&self, selection: &Selection) -> bool {
        let client = selection.client.is_none_or(|client| self.translated.as_ref().is_some_and(|flow| flow.client.ip() == client));
        let of = |text: &String| self.server.is_some_and(|server| server.to_string() == *text || server.ip().to_string() == *text);
        client && selection.server.as_ref().is_none_or(of)
    }
}

pub(crate) const fn state(stamp: Stamp) -> &'static str {
    match stamp.state() {
        State::New => "new",
        State::Confirmed => "open",
        State::Closing => "closing",
    }
}

/// Returns ticks of 2^30 nanoseconds as seconds.
pub(crate) fn seconds(ticks: u16) -> u64 {
    (u64::from(ticks) << 30) / 1_000_000_000
}

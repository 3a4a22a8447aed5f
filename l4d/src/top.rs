//! `l4d top`: what goes through the data plane now, by service and server, drawn anew every so often; read from the pinned maps.
//!
//! On a terminal each picture takes the place of the one before and no more lines than there are; elsewhere pictures follow each other, as plain text.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io::{IsTerminal, Write as _, stdout},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use control::config::Config;
use rustix::termios::tcgetwinsize;
use xdp_common::{flow::UDP, reason::Reason, server::Counters};

use crate::{
    datapath::Maps,
    flows,
    plan::ServiceKey,
    preview,
    status::{self, Names},
    tables::{HeldServer, Tables},
};

/// What fits a line.
const COLUMNS: usize = 80;
/// Goes to the upper left corner and takes away what is on the screen.
const CLEAR: &str = "\x1b[H\x1b[J";

/// How it is drawn.
#[derive(Debug, Args)]
pub(crate) struct Pace {
    /// Seconds between pictures.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Ends after so many pictures.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// What the data plane had counted at some time.
struct Sample {
    at: Instant,
    servers: BTreeMap<u16, Counters>,
    reasons: Vec<(Reason, u64)>,
}

/// What happened in a second.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    packets: f64,
    bytes: f64,
    flows: f64,
}

/// Draws until it is stopped, or nobody looks any more.
///
/// # Errors
/// No data plane there, or one that went away.
pub(crate) fn run(config: Option<&Config>, pin: &Path, pace: &Pace) -> anyhow::Result<()> {
    let maps = Maps::watch(pin).with_context(|| format!("nothing runs at {}", pin.display()))?;
    let names = config.map(status::names).unwrap_or_default();
    let mut before = Sample::take(&maps, &maps.tables())?;
    let mut drawn = 0;
    while pace.count.is_none_or(|count| drawn < count) {
        thread::sleep(Duration::from_secs(pace.interval));
        // Those of a data plane that was taken away would never change again.
        anyhow::ensure!(pin.exists(), "{} is gone", pin.display());
        let tables = maps.tables();
        let after = Sample::take(&maps, &tables)?;
        let open = flows::count(maps.flow_words(), maps.nat_entries(), flows::now());
        let picture = draw(&tables, &names, &open, &before, &after);
        if let Err(error) = show(&picture) {
            return if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error.into()) };
        }
        before = after;
        drawn += 1;
    }
    Ok(())
}

/// Puts a picture where the user sees it.
fn show(picture: &str) -> std::io::Result<()> {
    let mut out = stdout();
    if out.is_terminal() {
        // A line is left for the cursor.
        let lines = tcgetwinsize(&out).map_or(usize::MAX, |size| usize::from(size.ws_row).saturating_sub(1).max(1));
        let seen: Vec<&str> = picture.lines().take(lines).collect();
        writeln!(out, "{CLEAR}{}", seen.join("\n"))?;
    } else {
        writeln!(out, "{picture}")?;
    }
    out.flush()
}

impl Sample {
    fn take(maps: &Maps, tables: &Tables) -> anyhow::Result<Self> {
        let ids = tables.services().flat_map(|(key, _)| tables.servers_of(key)).map(|server| server.id);
        let servers = ids.map(|id| Ok((id, maps.server_counters(id)?))).collect::<anyhow::Result<_>>()?;
        Ok(Self { at: Instant::now(), servers, reasons: maps.reasons()? })
    }

    /// Returns what a server was given in a second since an earlier sample.
    fn rate(&self, before: &Self, id: u16) -> Rate {
        let [now, then] = [self, before].map(|sample| sample.servers.get(&id).copied().unwrap_or_default());
        Rate {
            packets: self.per_second(before, now.packets, then.packets),
            bytes: self.per_second(before, now.bytes, then.bytes),
            flows: self.per_second(before, now.flows, then.flows),
        }
    }

    fn per_second(&self, before: &Self, now: u64, then: u64) -> f64 {
        // An id that was given to another server counts from where it was.
        now.saturating_sub(then) as f64 / self.at.duration_since(before.at).as_secs_f64().max(0.001)
    }
}

impl std::iter::Sum for Rate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::default(), |sum, rate| Self {
            packets: sum.packets + rate.packets,
            bytes: sum.bytes + rate.bytes,
            flows: sum.flows + rate.flows,
        })
    }
}

fn draw(tables: &Tables, names: &Names<'_>, open: &BTreeMap<u16, u64>, before: &Sample, after: &Sample) -> String {
    let total: Rate = after.servers.keys().map(|id| after.rate(before, *id)).sum();
    let flows: u64 = open.values().sum();
    let mut lines = vec![format!(
        "l4d  {} services  {} servers  {} flows  {} new/s  {} pkt/s  {} bit/s",
        tables.services().count(),
        after.servers.len(),
        short(flows as f64),
        short(total.flows),
        short(total.packets),
        short(total.bytes * 8.0)
    )];
    // Both are in the order of all reasons.
    let reasons = after.reasons.iter().zip(&before.reasons);
    let reasons = reasons.map(|((reason, count), (_, then))| (reason, after.per_second(before, *count, *then)));
    let reasons = reasons.filter(|(_, rate)| *rate > 0.0).map(|(reason, rate)| format!("{} {}", reason.name(), short(rate)));
    lines.push(format!("pkt/s  {}", reasons.collect::<Vec<_>>().join("  ")));
    for (key, _) in tables.services() {
        lines.push(String::new());
        service(&mut lines, tables, key, names, &|server| (after.rate(before, server.id), open.get(&server.id).copied().unwrap_or(0)));
    }
    let mut text = String::new();
    for line in lines {
        text.extend(line.trim_end().chars().take(COLUMNS));
        text.push('\n');
    }
    text
}

/// Draws a service and its servers, the busiest first.
fn service(lines: &mut Vec<String>, tables: &Tables, key: &ServiceKey, names: &Names<'_>, of: &impl Fn(&HeldServer) -> (Rate, u64)) {
    let Some(held) = tables.services.get(key) else { return };
    let (frontend, own) = names.get(key).map_or(("-", None), |(frontend, servers)| (*frontend, Some(servers)));
    let protocol = if key.protocol == UDP { "udp" } else { "tcp" };
    lines.push(format!("{protocol} {key}  {}, {}  {frontend}", held.head.forward.name(), preview::choice(held.head.choice)));
    lines.push(row(["server", "address", "state", "flows", "new/s", "pkt/s", "bit/s"].map(str::to_owned)));
    let mut servers: Vec<_> = tables.servers_of(key).into_iter().map(|server| (of(&server), server)).collect();
    servers.sort_by(|((one, _), _), ((other, _), _)| other.packets.total_cmp(&one.packets));
    for ((rate, flows), server) in servers {
        let name = own.and_then(|own| own.get(&server.socket)).copied().unwrap_or("-");
        lines.push(row([
            name.to_owned(),
            server.socket.to_string(),
            status::state(&server).to_owned(),
            short(flows as f64),
            short(rate.flows),
            short(rate.packets),
            short(rate.bytes * 8.0),
        ]));
    }
}

/// Puts a line together; of an address that is too long the end is seen.
fn row([name, address, state, flows, new, packets, bits]: [String; 7]) -> String {
    let name: String = name.chars().take(14).collect();
    let skipped = address.chars().count().saturating_sub(24);
    let address: String = if skipped == 0 { address } else { format!("…{}", address.chars().skip(skipped + 1).collect::<String>()) };
    let mut line = String::new();
    let written = write!(line, "  {name:<14} {address:<24} {state:<8} {flows:>6} {new:>6} {packets:>6} {bits:>6}");
    debug_assert!(written.is_ok(), "a string takes all text");
    line
}

/// Writes a number in five places at most.
fn short(number: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) if number < 10.0 * size => format!("{:.1}{unit}", number / size),
        Some((size, unit)) => format!("{:.0}{unit}", number / size),
        None => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [(0.0, "0"), (7.4, "7"), (999.0, "999"), (1000.0, "1.0k"), (12_345.0, "12k"), (2.5e9, "2.5G"), (3e14, "300T")]
        {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn rows_fit_the_line_and_show_the_ports_of_long_addresses() {
        let row = row(["a-rather-long-name", "[2001:db8:1:2:3:4:5:6]:8080", "no new", "999k", "1.2k", "9.9M", "123G"].map(str::to_owned));
        assert!(row.chars().count() <= COLUMNS && row.contains("…1:db8:1:2:3:4:5:6]:8080 ") && row.contains("  a-rather-long- "), "{row}");
    }
}

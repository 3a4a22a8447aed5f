//! What is known of the process, under HAProxy's names.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Start;
use super::census;
use super::counter::Counter;
use super::dump::Form;
use super::typed::{Shown, Tags};
use crate::log;
use crate::pace;
use crate::pipe;
use crate::site::Site;
use crate::version;

/// Whether the process is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It takes new clients.
    Serving,
    /// It waits for the last to leave.
    Stopping,
}

/// How many connections with peers there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peers {
    /// Those that are attempted, and those that are there.
    pub(crate) active: u64,
    /// Those where both sides know each other.
    pub(crate) connected: u64,
}

/// Whether each field is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// It is not.
    Plain,
    /// It is, behind its value.
    Described,
}

/// One fact about the process.
pub(super) struct Fact {
    /// HAProxy's number of the field.
    number: usize,
    pub(super) name: &'static str,
    tags: Tags,
    pub(super) value: String,
    pub(super) help: &'static str,
}

/// Writes everything known.
pub(super) fn write(facts: &[Fact], detail: Detail, form: Form) -> String {
    match (form, detail) {
        (Form::Json, _) => format!("[{}]\n", facts.iter().map(json).collect::<Vec<_>>().join(",")),
        (Form::Table, Detail::Plain) => facts.iter().map(|fact| format!("{}: {}\n", fact.name, fact.value)).collect(),
        (Form::Table, Detail::Described) => facts.iter().map(|fact| format!("{}: {}:\"{}\"\n", fact.name, fact.value, fact.help)).collect(),
        (Form::Typed, Detail::Plain) => facts.iter().map(|fact| format!("{}\n", typed(fact))).collect(),
        (Form::Typed, Detail::Described) => facts.iter().map(|fact| format!("{}:\"{}\"\n", typed(fact), fact.help)).collect(),
    }
}

/// Returns everything known, in HAProxy's order.
pub(super) fn facts(site: &Site, start: Start, (life, peers): (Life, Peers)) -> Vec<Fact> {
    let mut facts = of_process(site, start, life);
    facts.extend(of_tls());
    facts.extend(of_peers(peers));
    facts.sort_by_key(|fact| fact.number);
    facts
}

fn typed(fact: &Fact) -> String {
    format!("{}.{}.1:{}:{}", fact.number, fact.name, fact.tags, fact.value)
}

fn json(fact: &Fact) -> String {
    let mut text = String::new();
    let _ = write!(text, r#"{{"field":{{"pos":{},"name":"{}"}},"#, fact.number, fact.name);
    let value = if fact.tags.is_text() { Shown::Text(&fact.value) } else { Shown::Number(&fact.value) };
    fact.tags.write_json(&mut text, value);
    text
}

fn of_process(site: &Site, start: Start, life: Life) -> Vec<Fact> {
    let now = Instant::now();
    let uptime = now.saturating_duration_since(start.instant);
    let meter = site.meter();
    let (connections, limit) = site.connections();
    let sessions = meter.sum(Counter::Sessions);
    let bytes = meter.sum(Counter::BytesOut);
    let compressed = [Counter::CompressedIn, Counter::CompressedOut].map(|counter| meter.sum(counter));
    let (rate, most, bytes_rate, press_rates) = {
        let rates = meter.rates();
        let press_rates = [0, 1].map(|way| rates.compressed[way].last_second(compressed[way], now));
        let bytes_rate = rates.bytes_out.last_second(bytes, now);
        (rates.sessions.last_second(sessions, now), rates.sessions.most(sessions, now), bytes_rate, press_rates)
    };
    let files = getrlimit(Resource::Nofile).current.unwrap_or(0);
    let maxconn = limit.map_or(files / 2, u64::from);
    let listeners = site.doors().len() as u64;
    let mut facts = Vec::new();
    let mut text = |number, name, letters, value: String, help| {
        facts.push(Fact { number, name, tags: Tags::new(letters, "str"), value, help });
    };
    text(0, "Name", "POS", "HAProxy".to_owned(), "whose language is spoken here");
    text(1, "Version", "POS", version::full(), "level of that language, and the version of this program");
    text(2, "Release_date", "POS", version::RELEASED.to_owned(), "when that level of the language was published");
    text(7, "Uptime", "MDP", days(uptime), "how long the process has served");
    text(66, "Build info", "POS", version::full(), "level of the language, and the version of this program");
    text(71, "Tainted", "SGP", "0".to_owned(), "what may have spoilt the process, always 0");
    text(50, "node", "COS", node(), "name of the host");
    let mut number = |number, name, letters, kind, value: u64, help| {
        facts.push(Fact { number, name, tags: Tags::new(letters, kind), value: value.to_string(), help });
    };
    number(3, "Nbthread", "CGS", "u32", site.threads() as u64, "threads that serve clients");
    number(4, "Nbproc", "CGS", "u32", 1, "processes that serve clients, always 1");
    number(5, "Process_num", "KGP", "u32", 1, "number of this process, always 1");
    number(6, "Pid", "SGP", "u32", std::process::id().into(), "the system's number of this process");
    number(8, "Uptime_sec", "MDP", "u32", uptime.as_secs(), "how many seconds the process has served");
    number(9, "Memmax_MB", "CLP", "u32", 0, "limit of the memory in MB, 0 for none");
    number(10, "PoolAlloc_MB", "MGP", "u32", resident() >> 20, "memory the process has resident, in MB");
    number(11, "PoolUsed_MB", "MGP", "u32", resident() >> 20, "memory the process has resident, in MB");
    number(12, "PoolFailed", "MCP", "u32", 0, "allocations that failed");
    number(13, "Ulimit-n", "CLP", "u32", files, "descriptors the process may open");
    number(14, "Maxsock", "CLP", "u32", files, "descriptors the process may open");
    number(15, "Maxconn", "CLP", "u32", maxconn, "connections from clients allowed at a time");
    number(16, "Hard_maxconn", "CLP", "u32", maxconn, "connections from clients allowed at a time by the configuration");
    number(17, "CurrConns", "MGP", "u32", connections.into(), "connections from clients at present");
    number(18, "CumConns", "MCP", "u32", sessions, "connections from clients so far");
    number(19, "CumReq", "MCP", "u32", meter.sum(Counter::Requests), "requests so far");
    number(23, "Maxpipes", "CLP", "u32", files / 2, "pipes that there are descriptors for");
    number(24, "PipesUsed", "MGP", "u32", pipe::open(), "pipes of connections whose bytes the kernel moves, and those kept for the next");
    number(26, "ConnRate", "MRP", "u32", rate, "connections from clients over the last second");
    number(27, "ConnRateLimit", "CLP", "u32", pace::CONNECTIONS.most().into(), "connections allowed in a second, 0 for any number");
    number(28, "MaxConnRate", "MMP", "u32", most, "most connections from clients in a second");
    number(29, "SessRate", "MRP", "u32", rate, "sessions over the last second");
    number(30, "SessRateLimit", "CLP", "u32", pace::SESSIONS.most().into(), "sessions allowed in a second, 0 for any number");
    number(31, "MaxSessRate", "MRP", "u32", most, "most sessions in a second");
    number(33, "SslRateLimit", "CLP", "u32", pace::HANDSHAKES.most().into(), "sessions with TLS allowed in a second, 0 for any number");
    number(42, "CompressBpsIn", "MRP", "u32", press_rates[0], "bytes that were compressed over the last second");
    number(43, "CompressBpsOut", "MRP", "u32", press_rates[1], "bytes they were after that over the last second");
    number(44, "CompressBpsRateLim", "CLP", "u32", 0, "limit of compression in bytes in a second, 0 as there is none");
    number(47, "Tasks", "MGP", "u32", u64::from(connections) + listeners, "connections and listening sockets");
    number(48, "Run_queue", "MGP", "u32", 0, "tasks that wait for a thread, 0 as none waits for another's");
    number(49, "Idle_pct", "MaP", "u32", idle(), "part of the last second in which the threads had nothing to do");
    number(52, "Stopping", "MGP", "u32", u64::from(life == Life::Stopping), "1 while the process waits for its last clients");
    number(53, "Jobs", "MGP", "u32", u64::from(connections) + listeners, "connections and listening sockets");
    number(54, "Unstoppable Jobs", "MGP", "u32", 0, "jobs that keep a stopping process, beside connections");
    number(55, "Listeners", "MGP", "u32", listeners, "addresses clients can come in by");
    number(58, "DroppedLogs", "MGP", "u32", log::dropped(), "log lines that could not be written");
    number(59, "BusyPolling", "MGP", "u32", 0, "1 if threads spin instead of waiting");
    number(61, "TotalBytesOut", "MGP", "u64", bytes, "bytes sent to clients");
    number(63, "BytesOutRate", "MRP", "u64", bytes_rate, "bytes sent to clients over the last second");
    number(65, "CumRecvLogs", "MCP", "u32", log::taken(), "log messages of others that were taken in");
    number(67, "Memmax_bytes", "CLP", "u32", 0, "limit of the memory in bytes, 0 for none");
    number(68, "PoolAlloc_bytes", "MGP", "u64", resident(), "memory the process has resident, in bytes");
    number(69, "PoolUsed_bytes", "MGP", "u64", resident(), "memory the process has resident, in bytes");
    number(70, "Start_time_sec", "MDP", "u32", seconds(start.date), "when the process started, in seconds of Unix time");
    facts
}

fn of_tls() -> impl Iterator<Item = Fact> {
    let tls = census::report(Instant::now());
    let fact = |(number, name, letters, value, help): (usize, &'static str, &'static str, u64, &'static str)| Fact {
        number,
        name,
        tags: Tags::new(letters, "u32"),
        value: value.to_string(),
        help,
    };
    [
        (20, "MaxSslConns", "MMP", 0, "limit of connections with TLS, 0 as there is none"),
        (21, "CurrSslConns", "MGP", tls.open, "connections with TLS at present, to servers included"),
        (22, "CumSslConns", "MCP", tls.begun, "connections with TLS so far, to servers included"),
        (32, "SslRate", "MRP", tls.clients.now, "connections with TLS from clients over the last second"),
        (34, "MaxSslRate", "MMP", tls.clients.most, "most connections with TLS from clients in a second"),
        (35, "SslFrontendKeyRate", "MGP", tls.client_keys.now, "keys made for clients over the last second"),
        (36, "SslFrontendMaxKeyRate", "MMP", tls.client_keys.most, "most keys made for clients in a second"),
        (37, "SslFrontendSessionReuse_pct", "MGP", tls.reuse(), "part of the clients of the last second that went on with a session"),
        (38, "SslBackendKeyRate", "MRP", tls.server_keys.now, "keys made with servers over the last second"),
        (39, "SslBackendMaxKeyRate", "MMP", tls.server_keys.most, "most keys made with servers in a second"),
        (40, "SslCacheLookups", "MCP", 0, "sessions looked up, always 0 as tickets carry them"),
        (41, "SslCacheMisses", "MCP", 0, "sessions not found, always 0 as tickets carry them"),
    ]
    .into_iter()
    .map(fact)
}

fn of_peers(peers: Peers) -> [Fact; 2] {
    let fact = |number, name, value: u64, help| Fact { number, name, tags: Tags::new("MGP", "u32"), value: value.to_string(), help };
    [
        fact(56, "ActivePeers", peers.active, "connections with peers, attempts to make one included"),
        fact(57, "ConnectedPeers", peers.connected, "peers that are connected"),
    ]
}

fn days(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}d {}h{:02}m{:02}s", seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

fn seconds(date: SystemTime) -> u64 {
    date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns how many descriptors the process has open, and how many it may.
pub(super) fn descriptors() -> (Option<u64>, Option<u64>) {
    let open = std::fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64).ok();
    (open, getrlimit(Resource::Nofile).current)
}

/// Returns how many bytes the process has resident.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Notes how busy the process was since the last call, for so many threads; to be called about once a second.
pub(super) fn note_idleness(threads: usize, now: Instant, before: &mut Option<(Instant, Duration)>) {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let spent = Duration::new(spent.tv_sec.try_into().unwrap_or(0), spent.tv_nsec.try_into().unwrap_or(0));
    if let Some((then, spent_then)) = before.replace((now, spent)) {
        let had = now.saturating_duration_since(then).as_micros() * threads.max(1) as u128;
        let busy = spent.saturating_sub(spent_then).as_micros().min(had);
        let part = (busy * 100).checked_div(had).unwrap_or(0);
        BUSY.store(u64::try_from(part).unwrap_or(100), Relaxed);
    }
}

fn idle() -> u64 {
    100_u64.saturating_sub(BUSY.load(Relaxed))
}

/// How busy the process was lately, in percent.
static BUSY: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_days() {
        assert_eq!(days(Duration::from_secs(2 * 86_400 + 3 * 3600 + 4 * 60 + 5)), "2d 3h04m05s");
    }
}

//! `show stat`: the frontends the kernel tier serves, their backends and servers, in the columns of HAProxy's CSV.
//!
//! What the data plane does not know (bytes of replies, sessions that were refused) stays empty.

use std::collections::BTreeMap;

use control::{
    admin::{Call, Reply, servers::backend_number},
    config::{BackendId, Config, Frontend, XdpFrontend},
    fleet::{ServerSnapshot, Snapshot},
    server_state::{Admin, Status},
};
use xdp_common::server::Counters;

use super::Desk;
use crate::{flows, kernel::Kernel, plan};

/// The columns, by HAProxy's names and in its order.
const COLUMNS: [&str; 77] = [
    "pxname",
    "svname",
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "bin",
    "bout",
    "dreq",
    "dresp",
    "ereq",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "lastchg",
    "downtime",
    "qlimit",
    "pid",
    "iid",
    "sid",
    "throttle",
    "lbtot",
    "tracked",
    "type",
    "rate",
    "rate_lim",
    "rate_max",
    "check_status",
    "check_code",
    "check_duration",
    "hrsp_1xx",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "hrsp_other",
    "hanafail",
    "req_rate",
    "req_rate_max",
    "req_tot",
    "cli_abrt",
    "srv_abrt",
    "comp_in",
    "comp_out",
    "comp_byp",
    "comp_rsp",
    "lastsess",
    "last_chk",
    "last_agt",
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "agent_status",
    "agent_code",
    "agent_duration",
    "check_desc",
    "agent_desc",
    "check_rise",
    "check_fall",
    "check_health",
    "agent_rise",
    "agent_fall",
    "agent_health",
    "addr",
    "cookie",
    "mode",
    "algo",
];

/// What a row is about, by HAProxy's numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Frontend = 0,
    Backend = 1,
    Server = 2,
}

/// A row: what is known, by the name of its column.
struct Row {
    kind: Kind,
    proxy: String,
    /// The server's place in its backend, from 1 on; 0 for others.
    server: usize,
    status: Option<Status>,
    values: BTreeMap<&'static str, String>,
}

/// Packets, bytes and flows of something, with those flows that are open.
#[derive(Clone, Copy, Default)]
struct Load {
    counters: Counters,
    open: u64,
}

impl Load {
    fn and(self, other: Self) -> Self {
        let (one, two) = (self.counters, other.counters);
        let counters = Counters { packets: one.packets + two.packets, bytes: one.bytes + two.bytes, flows: one.flows + two.flows };
        Self { counters, open: self.open + other.open }
    }
}

/// Returns the backends the kernel tier serves, each once, in the file's order.
pub(super) fn backends(config: &Config) -> Vec<BackendId> {
    let mut backends: Vec<_> = config.frontends().iter().filter_map(Frontend::xdp).map(XdpFrontend::backend).collect();
    backends.sort_unstable_by_key(|backend| backend.index());
    backends.dedup();
    backends
}

/// Answers `show stat [<proxy> <kinds> <server>] [no-maint|up]*`.
pub(super) fn rows(desk: &Desk, call: &Call) -> Reply {
    if let Some(form) = call.arguments.iter().find(|word| matches!(word.as_str(), "json" | "typed")) {
        return Reply::error(format!("l4d has no form '{form}', only CSV."));
    }
    desk.with_kernel(|kernel| match all(kernel, &desk.fleet.snapshot()) {
        Ok(rows) => {
            let rows = rows.iter().filter(|row| row.is_wanted(call));
            Reply::Output(format!("# {},\n{}", COLUMNS.join(","), rows.map(Row::line).collect::<String>()))
        }
        Err(error) => Reply::error(format!("The counters cannot be read: {error}")),
    })
}

fn all(kernel: &Kernel, snapshot: &Snapshot) -> Result<Vec<Row>, crate::datapath::Error> {
    let maps = kernel.datapath.maps();
    let open = flows::count(maps.flow_words(), maps.nat_entries(), flows::now());
    let config = &snapshot.config;
    let mut rows = Vec::new();
    // By backend and socket: one server may serve several services.
    let mut loads: BTreeMap<(usize, std::net::SocketAddr), Load> = BTreeMap::new();
    for (number, frontend) in (2..).zip(config.frontends()) {
        let Some(xdp) = frontend.xdp() else { continue };
        let mut whole = Load::default();
        for key in plan::service_keys(frontend) {
            for held in kernel.tables.servers_of(&key) {
                let load = Load { counters: maps.server_counters(held.id)?, open: open.get(&held.id).copied().unwrap_or(0) };
                whole = whole.and(load);
                // A server without a port has the client's; its rows are told apart by address alone.
                let sum = loads.entry((xdp.backend().index(), plan::as_written(config, xdp.backend(), held.socket))).or_default();
                *sum = sum.and(load);
            }
        }
        rows.push(Row::new(Kind::Frontend, frontend.name(), "FRONTEND", number, whole).with([("status", "OPEN".to_owned())]));
    }
    for id in backends(config) {
        let backend = config.backend(id);
        let number = backend_number(snapshot, backend);
        let mut whole = Load::default();
        for (place, state) in (1..).zip(snapshot.servers_of(id)) {
            let server = config.server(state.id);
            let socket = server.address_for(0);
            let load = socket.and_then(|socket| loads.get(&(id.index(), socket))).copied().unwrap_or_default();
            whole = whole.and(load);
            rows.push(server_row(snapshot, backend.name(), number, place, state, load));
        }
        rows.push(backend_row(snapshot, id, number, whole));
    }
    Ok(rows)
}

fn server_row(snapshot: &Snapshot, backend: &str, number: usize, place: usize, state: &ServerSnapshot, load: Load) -> Row {
    let server = snapshot.config.server(state.id);
    let mut row = Row::new(Kind::Server, backend, server.name(), number, load);
    (row.server, row.status) = (place, Some(state.status));
    let since = snapshot.at.saturating_duration_since(state.since).as_secs();
    let spare = usize::from(server.backup());
    let is_lost = server.lack().is_some() && state.admin != Admin::Maint;
    let mut row = row.with([
        ("sid", place.to_string()),
        ("status", if is_lost { "MAINT (resolution)" } else { state.status.as_str() }.to_owned()),
        ("weight", state.weight.to_string()),
        ("act", (1 - spare).to_string()),
        ("bck", spare.to_string()),
        ("lastchg", since.to_string()),
        ("downtime", state.downtime.as_secs().to_string()),
        ("lbtot", load.counters.flows.to_string()),
    ]);
    if server.check().is_some() {
        row = row.with([("chkfail", state.failed_checks.to_string()), ("chkdown", state.downs.to_string())]);
    }
    if let Some(last) = &state.last_check {
        let result = last.outcome.result;
        row = row.with([
            ("check_status", result.name().to_owned()),
            ("check_code", last.outcome.code.map_or_else(String::new, |code| code.to_string())),
            ("check_duration", last.outcome.duration.as_millis().to_string()),
        ]);
    }
    if let Some(socket) = server.address_for(0) {
        row = row.with([("addr", socket.to_string())]);
    }
    row
}

fn backend_row(snapshot: &Snapshot, id: BackendId, number: usize, load: Load) -> Row {
    let backend = snapshot.config.backend(id);
    let up = |backup: bool| {
        let servers = snapshot.servers_of(id).filter(move |state| snapshot.config.server(state.id).backup() == backup);
        servers.filter(|state| state.status == Status::Up)
    };
    let (active, spare) = (up(false).count(), up(true).count());
    let status = if active + spare > 0 || backend.servers().len() == 0 { Status::Up } else { Status::Down };
    let weight: u32 = up(active == 0).map(|state| u32::from(state.weight)).sum();
    let mut row = Row::new(Kind::Backend, backend.name(), "BACKEND", number, load);
    row.status = Some(status);
    row.with([
        ("status", status.as_str().to_owned()),
        ("weight", weight.to_string()),
        ("act", active.to_string()),
        ("bck", spare.to_string()),
        ("lbtot", load.counters.flows.to_string()),
        ("algo", backend.balance().name().to_owned()),
    ])
}

impl Row {
    fn new(kind: Kind, proxy: &str, name: &str, number: usize, load: Load) -> Self {
        let row = Self { kind, proxy: proxy.to_owned(), server: 0, status: None, values: BTreeMap::new() };
        row.with([
            ("pxname", proxy.to_owned()),
            ("svname", name.to_owned()),
            ("scur", load.open.to_string()),
            ("stot", load.counters.flows.to_string()),
            ("bin", load.counters.bytes.to_string()),
            ("pid", "1".to_owned()),
            ("iid", number.to_string()),
            ("sid", "0".to_owned()),
            ("type", (kind as u8).to_string()),
            ("mode", "tcp".to_owned()),
        ])
    }

    fn with<const N: usize>(mut self, values: [(&'static str, String); N]) -> Self {
        self.values.extend(values);
        self
    }

    /// Tells whether the arguments of the command ask for this row.
    fn is_wanted(&self, call: &Call) -> bool {
        let health = call.arguments.iter().all(|word| match word.as_str() {
            "up" => self.status.is_none_or(|status| status != Status::Down && status != Status::Maint),
            "no-maint" => self.status != Some(Status::Maint),
            _ => true,
        });
        let [proxy, kinds, server, ..] = call.arguments.as_slice() else { return health };
        let is_number = proxy.parse::<i64>().map(|number| number < 0 || self.values.get("iid") == Some(&number.to_string()));
        let (kinds, server) = (kinds.parse::<i64>().unwrap_or(-1), server.parse::<i64>().unwrap_or(-1));
        let bit = match self.kind {
            Kind::Frontend => 1,
            Kind::Backend => 2,
            Kind::Server => 4,
        };
        let is_server = self.kind != Kind::Server || server < 0 || usize::try_from(server) == Ok(self.server);
        health && is_number.unwrap_or(*proxy == self.proxy) && (kinds < 0 || kinds & bit != 0) && is_server
    }

    fn line(&self) -> String {
        let values = COLUMNS.iter().map(|column| self.values.get(column).map_or("", String::as_str));
        values.collect::<Vec<_>>().join(",") + ",\n"
    }
}

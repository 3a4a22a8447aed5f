//! One row for each frontend, server and backend, with the columns of HAProxy's statistics.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use control::config::{self, Mode};
use control::fleet::{ServerSnapshot, Snapshot};
use control::server_state::{Admin, Checking, Status, WEIGHT_SCALE};

use super::counter::{Counter, Span};
use super::latency::Lengths;
use super::meter::Meter;
use crate::site::{Backend, Frontend, Gate, Server, Site};
use crate::stick::Table;

/// The site and the states of its servers at one moment.
#[derive(Debug)]
pub(super) struct Overview<'a> {
    site: &'a Site,
    fleet: &'a Snapshot,
    now: Instant,
}

/// One line of the statistics.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// What it is about.
    pub(super) subject: Subject<'a>,
    meter: &'a Meter,
    /// Which proxy it belongs to, counted from 1.
    proxy: u64,
    now: Instant,
}

/// What a row is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A frontend, with the limit of the process, which is its own if it has none.
    Frontend(&'a Frontend, Option<u32>),
    /// A server, with its place in the backend and its state.
    Server(&'a Backend, usize, &'a ServerSnapshot),
    /// A backend, with the fleet its servers are in.
    Backend(&'a Backend, &'a Snapshot),
}

/// What stands in one column.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Count(u64),
    /// A time in microseconds.
    Micros(u64),
    /// A text.
    Text(Cow<'a, str>),
    /// A time that never was.
    Negative,
}

/// Writes the value; times in milliseconds.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Micros(time) => (time / 1000).fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Negative => f.write_str("-1"),
        }
    }
}

impl<'a> Overview<'a> {
    pub(super) fn new(site: &'a Site, fleet: &'a Snapshot) -> Self {
        Self { site, fleet, now: Instant::now() }
    }

    /// Returns the stick tables.
    pub(super) fn tables(&self) -> &'a [Arc<Table>] {
        self.site.tables().all()
    }

    /// Returns the rows in HAProxy's order: frontends as in the file, then each backend behind its servers.
    pub(super) fn rows(&self) -> Vec<Row<'a>> {
        let (_, limit) = self.site.connections();
        let now = self.now;
        let mut rows = Vec::new();
        // The first is that of the runtime interface itself.
        let mut proxy = 1;
        for frontend in self.site.frontends() {
            proxy += 1;
            rows.push(Row { subject: Subject::Frontend(frontend, limit), meter: frontend.meter(), proxy, now });
        }
        for backend in self.site.backends() {
            proxy += 1;
            let states = self.fleet.servers_of(backend.id());
            for ((place, server), state) in backend.servers().iter().enumerate().zip(states) {
                rows.push(Row { subject: Subject::Server(backend, place, state), meter: server.meter(), proxy, now });
            }
            rows.push(Row { subject: Subject::Backend(backend, self.fleet), meter: backend.meter(), proxy, now });
        }
        rows
    }
}

impl<'a> Row<'a> {
    /// Returns the number of the proxy.
    pub(super) fn number(&self) -> u64 {
        self.proxy
    }

    /// Returns the name of the proxy.
    pub(super) fn proxy(&self) -> &'a str {
        match self.subject {
            Subject::Frontend(frontend, _) => frontend.name(),
            Subject::Server(backend, ..) | Subject::Backend(backend, _) => backend.name(),
        }
    }

    /// Returns the name of the server, or which side of the proxy the row is about.
    pub(super) fn name(&self) -> &'a str {
        match self.subject {
            Subject::Frontend(..) => "FRONTEND",
            Subject::Server(backend, place, _) => backend.servers()[place].name(),
            Subject::Backend(..) => "BACKEND",
        }
    }

    /// Returns what stands in a column, which has the name it has in HAProxy's CSV; nothing where it has no meaning.
    pub(super) fn value(&self, column: &str) -> Option<Value<'a>> {
        let specific = match self.subject {
            Subject::Frontend(frontend, limit) => self.of_frontend(frontend, limit, column),
            Subject::Server(backend, place, state) => of_server(backend, &backend.servers()[place], state, column),
            Subject::Backend(backend, fleet) => self.of_backend(backend, fleet, column),
        };
        specific.or_else(|| self.of_any(column))
    }

    fn of_any(&self, column: &str) -> Option<Value<'a>> {
        let sum = |counter| Some(Value::Count(self.meter.sum(counter)));
        match column {
            "pxname" => Some(text(self.proxy())),
            "svname" => Some(text(self.name())),
            "smax" => Some(Value::Count(self.meter.most())),
            "stot" => sum(Counter::Sessions),
            "bin" => sum(Counter::BytesIn),
            "bout" => sum(Counter::BytesOut),
            "hrsp_1xx" => sum(Counter::Status1xx),
            "hrsp_2xx" => sum(Counter::Status2xx),
            "hrsp_3xx" => sum(Counter::Status3xx),
            "hrsp_4xx" => sum(Counter::Status4xx),
            "hrsp_5xx" => sum(Counter::Status5xx),
            "hrsp_other" => sum(Counter::StatusOther),
            "req_tot" => sum(Counter::Requests),
            "pid" => Some(Value::Count(1)),
            "iid" => Some(Value::Count(self.proxy)),
            "sid" => Some(Value::Count(0)),
            "dreq" if !matches!(self.subject, Subject::Server(..)) => sum(Counter::DeniedRequests),
            "dresp" => sum(Counter::DeniedResponses),
            "cache_lookups" if !matches!(self.subject, Subject::Server(..)) => sum(Counter::CacheLookups),
            "cache_hits" if !matches!(self.subject, Subject::Server(..)) => sum(Counter::CacheHits),
            "comp_in" if !matches!(self.subject, Subject::Server(..)) => sum(Counter::CompressedIn),
            "comp_out" if !matches!(self.subject, Subject::Server(..)) => sum(Counter::CompressedOut),
            "comp_rsp" if !matches!(self.subject, Subject::Server(..)) => sum(Counter::CompressedResponses),
            // Nothing is ever too much to be compressed.
            "comp_byp" if !matches!(self.subject, Subject::Server(..)) => Some(Value::Count(0)),
            "wrew" => sum(Counter::FailedRewrites),
            "eint" => sum(Counter::InternalErrors),
            "rate" => Some(self.rates(|rates| &rates.sessions, Counter::Sessions).0),
            "rate_max" => Some(self.rates(|rates| &rates.sessions, Counter::Sessions).1),
            "latency_p50" => self.percentile(50),
            "latency_p95" => self.percentile(95),
            "latency_p99" => self.percentile(99),
            _ if matches!(self.subject, Subject::Frontend(..)) => None,
            "econ" => sum(Counter::ConnectErrors),
            "eresp" => sum(Counter::ResponseErrors),
            "wretr" => sum(Counter::Retries),
            "wredis" => sum(Counter::Redispatches),
            "lbtot" => sum(Counter::Selected),
            "cli_abrt" => sum(Counter::ClientAborts),
            "srv_abrt" => sum(Counter::ServerAborts),
            "lastsess" => Some(self.meter.last_session(self.now).map_or(Value::Negative, Value::Count)),
            "connect" => sum(Counter::Connects),
            "reuse" => sum(Counter::Reuses),
            _ => self.time(column).map(Value::Micros),
        }
    }

    fn percentile(&self, percent: u64) -> Option<Value<'a>> {
        self.meter.percentile(percent).map(Value::Micros)
    }

    /// Returns how long all exchanges took; none where there were none.
    pub(super) fn lengths(&self) -> Option<Lengths> {
        Some(self.meter).filter(|meter| meter.has_counted()).map(Meter::lengths).filter(|lengths| lengths.count() > 0)
    }

    fn time(&self, column: &str) -> Option<u64> {
        let meter = self.meter;
        Some(match column {
            "qtime" => meter.average(Span::Queue),
            "ctime" => meter.average(Span::Connect),
            "rtime" => meter.average(Span::Response),
            "ttime" => meter.average(Span::Total),
            "qtime_max" => meter.longest(Span::Queue),
            "ctime_max" => meter.longest(Span::Connect),
            "rtime_max" => meter.longest(Span::Response),
            "ttime_max" => meter.longest(Span::Total),
            _ => return None,
        })
    }

    /// Returns how fast a counter grew in the last second, and at most.
    fn rates(&self, of: impl Fn(&super::meter::Rates) -> &super::rate::Rate, counter: Counter) -> (Value<'a>, Value<'a>) {
        let count = self.meter.sum(counter);
        let rates = self.meter.rates();
        let rate = of(&rates);
        (Value::Count(rate.last_second(count, self.now)), Value::Count(rate.most(count, self.now)))
    }

    fn of_frontend(&self, frontend: &Frontend, limit: Option<u32>, column: &str) -> Option<Value<'a>> {
        Some(match column {
            "scur" => Value::Count(frontend.connections().1.into()),
            // Who was refused at the door has had none.
            "stot" => {
                let [all, first, later] =
                    [Counter::Sessions, Counter::DeniedConnections, Counter::DeniedSessions].map(|counter| self.meter.sum(counter));
                Value::Count(all.saturating_sub(first + later))
            }
            "slim" => Value::Count(frontend.limit().or(limit)?.into()),
            "ereq" => Value::Count(self.meter.sum(Counter::RequestErrors)),
            "status" => text(if frontend.gate() == Gate::Open { "OPEN" } else { "STOP" }),
            "type" => Value::Count(0),
            "mode" => text(mode(frontend.mode())),
            "req_rate" => self.rates(|rates| &rates.requests, Counter::Requests).0,
            "req_rate_max" => self.rates(|rates| &rates.requests, Counter::Requests).1,
            "conn_rate" => self.rates(|rates| &rates.sessions, Counter::Sessions).0,
            "conn_rate_max" => self.rates(|rates| &rates.sessions, Counter::Sessions).1,
            "conn_tot" => Value::Count(self.meter.sum(Counter::Sessions)),
            "intercepted" => Value::Count(self.meter.sum(Counter::Intercepted)),
            "dcon" => Value::Count(self.meter.sum(Counter::DeniedConnections)),
            "dses" => Value::Count(self.meter.sum(Counter::DeniedSessions)),
            "rate_lim" => Value::Count(frontend.rate_limit().into()),
            _ => return None,
        })
    }

    fn of_backend(&self, backend: &Backend, fleet: &Snapshot, column: &str) -> Option<Value<'a>> {
        let model = fleet.config.backend(backend.id());
        let up = |is_backup: bool| {
            let servers = fleet.servers_of(backend.id()).filter(move |server| server.status == Status::Up);
            servers.filter(|server| fleet.config.server(server.id).backup() == is_backup).count() as u64
        };
        Some(match column {
            "qcur" => Value::Count(backend.queue().waiting(&[]) as u64),
            "qmax" => Value::Count(backend.queue().most_unattached() as u64),
            "scur" => Value::Count(self.meter.sum(Counter::Current)),
            // One without servers has none that fails, as HAProxy sees it.
            "status" => text(if up(false) + up(true) > 0 || backend.servers().is_empty() { "UP" } else { "DOWN" }),
            "weight" => Value::Count(fleet.servers_of(backend.id()).map(whole_weight).sum()),
            "uweight" => {
                let servers = fleet.servers_of(backend.id()).filter(|server| server.status == Status::Up);
                Value::Count(servers.map(|server| u64::from(server.weight)).sum())
            }
            "act" => Value::Count(up(false)),
            "bck" => Value::Count(up(true)),
            "type" => Value::Count(1),
            "chkdown" => Value::Count(self.meter.standing().downs),
            "lastchg" => Value::Count(self.now.saturating_duration_since(self.meter.standing().since).as_secs()),
            "downtime" => Value::Count(self.meter.standing().downtime(self.now).as_secs()),
            "slim" => Value::Count(model.fullconn()?.into()),
            "mode" => text(mode(model.mode())),
            "algo" => text(model.balance().name()),
            "cookie" => Value::Text(Cow::Owned(model.cookie()?.name().to_owned())),
            _ => return None,
        })
    }
}

fn of_server<'a>(backend: &Backend, server: &Server, state: &'a ServerSnapshot, column: &str) -> Option<Value<'a>> {
    let model = server.model();
    Some(match column {
        "qcur" => Value::Count(server.load().waiting().into()),
        "qmax" => Value::Count(server.load().longest().into()),
        "qlimit" => Value::Count(model.maxqueue()?.into()),
        "scur" => Value::Count(server.load().active().into()),
        "slim" => Value::Count(state.maxconn.or(model.maxconn())?.into()),
        "status" if model.check().is_none() && model.track().is_none() && state.status == Status::Up => text("no check"),
        "status" => Value::Text(status(model, state)),
        "tracked" => Value::Text(Cow::Owned(model.track()?.to_string())),
        "mode" => text(mode(backend.mode())),
        "addr" => Value::Text(Cow::Owned(address(model))),
        "cookie" => Value::Text(Cow::Owned(model.cookie()?.to_owned())),
        "weight" if state.effective_weight == 0 => Value::Count(state.weight.into()),
        "weight" => Value::Count(whole_weight(state)),
        "uweight" => Value::Count(state.weight.into()),
        "act" => Value::Count((!model.backup()).into()),
        "bck" => Value::Count(model.backup().into()),
        "lastchg" => Value::Count(state.since.elapsed().as_secs()),
        "throttle" => Value::Count(throttle(model.slowstart().is_some(), state)?),
        "sid" => Value::Count(server.model().number() as u64),
        "type" => Value::Count(2),
        "srv_icur" | "idle_conn_cur" | "safe_conn_cur" | "used_conn_cur" | "need_conn_est" => Value::Count(of_pool(server.meter(), column)),
        "src_ilim" => Value::Count(model.pool().most_idle()?.into()),
        _ => return of_check(server, state, column).or_else(|| of_agent(server, state, column)),
    })
}

/// Returns how many connections to a server are in which state.
fn of_pool(meter: &Meter, column: &str) -> u64 {
    let (new, proven) = (meter.sum(Counter::IdleNew), meter.sum(Counter::IdleProven));
    match column {
        "idle_conn_cur" => new,
        "safe_conn_cur" => proven,
        "used_conn_cur" => meter.sum(Counter::Open).saturating_sub(new + proven + meter.sum(Counter::IdleOwn)),
        "need_conn_est" => meter.needed(),
        _ => new + proven,
    }
}

fn of_check<'a>(server: &Server, state: &'a ServerSnapshot, column: &str) -> Option<Value<'a>> {
    // Nobody is asked at no address.
    let check = server.model().check().filter(|_| server.model().lack().is_none())?;
    let last = || state.last_check.as_ref().map(|last| &last.outcome);
    Some(match column {
        "chkfail" => Value::Count(state.failed_checks),
        "hanafail" => Value::Count(state.error_rows),
        "chkdown" => Value::Count(state.downs),
        "downtime" => Value::Count(state.downtime.as_secs()),
        "check_status" => text(last().map_or("INI", |outcome| outcome.result.name())),
        "check_code" => Value::Count(last()?.code?.into()),
        "check_duration" => {
            Value::Micros(u64::try_from(last().filter(|outcome| outcome.result.has_duration())?.duration.as_micros()).unwrap_or(u64::MAX))
        }
        "last_chk" => text(&last()?.detail),
        "check_desc" => text(last().map_or("Initializing", |outcome| outcome.result.description())),
        "check_health" => Value::Count(state.health.into()),
        "check_rise" => Value::Count(check.rise().into()),
        "check_fall" => Value::Count(check.fall().into()),
        _ => return None,
    })
}

fn of_agent<'a>(server: &Server, state: &'a ServerSnapshot, column: &str) -> Option<Value<'a>> {
    server.model().agent()?;
    let last = || state.last_agent.as_ref().map(|last| &last.outcome);
    Some(match column {
        "agent_status" => text(last().map_or("INI", |outcome| outcome.result.name())),
        "agent_code" => Value::Count(last()?.code?.into()),
        "agent_duration" => Value::Micros(u64::try_from(last()?.duration.as_micros()).unwrap_or(u64::MAX)),
        "last_agt" => text(&last()?.detail),
        "agent_desc" => text(last().map_or("Initializing", |outcome| outcome.result.description())),
        "agent_health" => Value::Count((!state.agent_down).into()),
        "agent_rise" | "agent_fall" => Value::Count(1),
        _ => return None,
    })
}

/// Returns a server's status; on its way up or down with how far it has come.
fn status(model: &config::Server, state: &ServerSnapshot) -> Cow<'static, str> {
    let name = if state.stopping { "NOLB" } else { state.status.as_str() };
    match (state.status, model.agent(), state.asking) {
        (Status::Down, Some(_), Checking::On) if state.agent_down => return Cow::Borrowed("DOWN (agent)"),
        (Status::Drain, Some(_), Checking::On) if state.admin == Admin::Drain => return Cow::Borrowed("DRAIN (agent)"),
        _ => {}
    }
    if model.lack().is_some() && state.admin != Admin::Maint {
        return Cow::Borrowed("MAINT (resolution)");
    }
    if let Some(track) = model.track().filter(|_| state.lead.maint) {
        return Cow::Owned(format!("{name} (via {track})"));
    }
    if let Some((done, all)) = state.lead.progress.filter(|_| state.status != Status::Maint) {
        return Cow::Owned(format!("{name} {done}/{all}"));
    }
    let Some(check) = model.check() else { return Cow::Borrowed(name) };
    match state.status {
        Status::Up | Status::Drain if state.health < check.rise() + check.fall() - 1 => {
            Cow::Owned(format!("{name} {}/{}", state.health + 1 - check.rise().min(state.health), check.fall()))
        }
        Status::Down if state.health > 0 => Cow::Owned(format!("{name} {}/{}", state.health, check.rise())),
        Status::Up | Status::Down | Status::Drain | Status::Maint => Cow::Borrowed(name),
    }
}

/// Returns the address of a server as the statistics show it.
pub(crate) fn address(model: &config::Server) -> String {
    match (model.ip(), model.port()) {
        (Some(IpAddr::V4(ip)), port) => format!("{ip}:{}", port.unwrap_or(0)),
        (Some(IpAddr::V6(ip)), port) => format!("[{ip}]:{}", port.unwrap_or(0)),
        (None, _) if model.address().unix().is_some() => "unix".to_owned(),
        (None, _) => String::new(),
    }
}

/// Returns how far a server's weight has come on its way up, in percent.
fn throttle(starts_slowly: bool, state: &ServerSnapshot) -> Option<u64> {
    let full = u64::from(state.weight) * u64::from(WEIGHT_SCALE);
    let present = u64::from(state.effective_weight);
    (starts_slowly && state.status == Status::Up && present < full).then(|| present * 100 / full)
}

fn whole_weight(server: &ServerSnapshot) -> u64 {
    server.effective_weight.div_ceil(WEIGHT_SCALE).into()
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Http => "http",
        Mode::Tcp => "tcp",
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

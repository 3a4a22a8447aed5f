//! Commands about servers: looking at their states, and changing them.

use std::fmt::Write as _;

use super::command::Call;
use super::reply::Reply;
use crate::config::{Backend, Balance, HashMethod, NamedAddress, Server, ServerId, Target};
use crate::fleet::{CheckResult, Fleet, ServerSnapshot, Snapshot, View};
use crate::server_state::{Admin, Checking, MAX_WEIGHT, Status, Verdict};

/// Finds the server that a word names as `backend/server`.
///
/// # Errors
/// The answer if there is none.
pub fn find(view: &View, word: &str) -> Result<ServerId, Reply> {
    let Some((backend, server)) = word.split_once('/').filter(|(_, server)| !server.is_empty()) else {
        return Err(Reply::error("Require 'backend/server'."));
    };
    if view.config().backend_named(backend).is_none() {
        return Err(Reply::error("No such backend."));
    }
    let server = view.config().server_named(backend, server);
    server.map(Server::id).ok_or_else(|| Reply::error("No such server."))
}

/// Finds the server a command is about, and answers by `act`.
pub fn with_server(fleet: &Fleet, call: &Call, act: impl FnOnce(&View, ServerId) -> Reply) -> Reply {
    let view = fleet.view();
    find(&view, call.word(0)).map_or_else(|answer| answer, |server| act(&view, server))
}

/// Answers `set server <b>/<s> state|weight|health|agent …`; nothing if it is about something else.
pub fn set(fleet: &Fleet, view: &View, server: ServerId, call: &Call) -> Option<Reply> {
    Some(match call.word(1) {
        "state" => match call.word(2) {
            "ready" => set_admin(fleet, view, server, Admin::Ready),
            "drain" => set_admin(fleet, view, server, Admin::Drain),
            "maint" => set_admin(fleet, view, server, Admin::Maint),
            _ => Reply::error("'set server <srv> state' expects 'ready', 'drain' and 'maint'."),
        },
        "weight" => set_weight(fleet, view, server, call.word(2)),
        "health" => match call.word(2) {
            "up" => set_health(fleet, view, server, Verdict::Pass),
            "down" => set_health(fleet, view, server, Verdict::Fail),
            "stopping" => set_health(fleet, view, server, Verdict::PassConditionally),
            _ => Reply::error("'set server <srv> health' expects 'up', 'stopping', or 'down'."),
        },
        "agent" if !is_asked(fleet, view, server) => Reply::error("agent checks are not enabled on this server."),
        "agent" => match call.word(2) {
            "up" => set_agent(fleet, view, server, Verdict::Pass),
            "down" => set_agent(fleet, view, server, Verdict::Fail),
            _ => Reply::error("'set server <srv> agent' expects 'up' or 'down'."),
        },
        _ => return None,
    })
}

/// Sets the administrative state.
pub fn set_admin(fleet: &Fleet, view: &View, server: ServerId, admin: Admin) -> Reply {
    fleet.set_admin(view, server, admin);
    Reply::Done
}

fn set_health(fleet: &Fleet, view: &View, server: ServerId, verdict: Verdict) -> Reply {
    if view.config().server(server).track().is_some() {
        return Reply::error("cannot change health on a tracking server.");
    }
    fleet.set_health(view, server, verdict);
    Reply::Done
}

fn is_asked(fleet: &Fleet, view: &View, server: ServerId) -> bool {
    view.config().server(server).agent().is_some() && fleet.view().is_asked(server)
}

fn set_agent(fleet: &Fleet, view: &View, server: ServerId, verdict: Verdict) -> Reply {
    fleet.set_agent(view, server, verdict);
    Reply::Done
}

/// Lets the agent of a server rest, or go on.
pub fn set_asking(fleet: &Fleet, view: &View, server: ServerId, asking: Checking) -> Reply {
    if view.config().server(server).agent().is_none() && asking == Checking::On {
        return Reply::error("Agent was not configured on this server, cannot enable.");
    }
    fleet.set_asking(view, server, asking);
    Reply::Done
}

/// Lets the checks of a server rest, or go on.
pub fn set_checking(fleet: &Fleet, view: &View, server: ServerId, checking: Checking) -> Reply {
    if view.config().server(server).check().is_none() && checking == Checking::On {
        return Reply::error("Health check was not configured on this server, cannot enable.");
    }
    fleet.set_checking(view, server, checking);
    Reply::Done
}

/// Sets the weight, absolute or in percent of the configured one.
pub fn set_weight(fleet: &Fleet, view: &View, server: ServerId, word: &str) -> Reply {
    let configured = view.config().server(server).weight();
    let (digits, is_relative) = word.strip_suffix('%').map_or((word, false), |digits| (digits, true));
    if word.is_empty() {
        return Reply::error("Require <weight> or <weight%>.");
    }
    let Ok(number) = digits.parse::<u32>() else {
        return Reply::error("Empty weight string empty or preceded by garbage");
    };
    let backend = view.config().backend(view.config().server(server).backend());
    if is_static(backend) && !(is_relative && (number == 0 || number == 100)) {
        return Reply::error("Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.");
    }
    let weight = if is_relative { number.saturating_mul(configured.into()) / 100 } else { number };
    match u16::try_from(weight).ok().filter(|weight| *weight <= MAX_WEIGHT) {
        Some(weight) => {
            fleet.set_weight(view, server, Some(weight));
            Reply::Done
        }
        None if is_relative => Reply::error("Relative weight must not lead to more than 256."),
        None => Reply::error("Absolute weight can only be between 0 and 256 inclusive."),
    }
}

/// Tells whether weights cannot change at run time.
fn is_static(backend: &Backend) -> bool {
    let hashes = matches!(
        backend.balance(),
        Balance::Source | Balance::Uri(_) | Balance::UrlParam(_) | Balance::Header(_) | Balance::RdpCookie(_) | Balance::Hash(_)
    );
    *backend.balance() == Balance::StaticRoundRobin || (hashes && backend.hash_type().method() == HashMethod::MapBased)
}

/// Answers `get weight <b>/<s>`.
pub fn weight(fleet: &Fleet, server: ServerId) -> Reply {
    let snapshot = fleet.snapshot();
    let Some(state) = snapshot.servers.get(server.index()) else { return Reply::error("No such server.") };
    Reply::Output(format!("{} (initial {})\n", state.weight, snapshot.config.server(state.id).weight()))
}

/// Answers `show servers state [<backend>]`, in the form of HAProxy's state files.
pub fn states(fleet: &Fleet, call: &Call) -> Reply {
    let snapshot = fleet.snapshot();
    let wanted = call.word(0);
    if !wanted.is_empty() && snapshot.config.backend_named(wanted).is_none() {
        return Reply::error("Can't find backend.");
    }
    let mut text = format!("1\n{STATE_HEADER}\n");
    for backend in snapshot.config.backends().iter().filter(|backend| wanted.is_empty() || backend.name() == wanted) {
        for state in snapshot.servers_of(backend.id()) {
            write_state(&mut text, &snapshot, backend, state);
        }
    }
    Reply::Output(text)
}

/// Returns HAProxy's number of a backend: they count from 2, frontends first.
pub fn backend_number(snapshot: &Snapshot, backend: &Backend) -> usize {
    snapshot.config.frontends().len() + backend.id().index() + 2
}

fn write_state(text: &mut String, snapshot: &Snapshot, backend: &Backend, state: &ServerSnapshot) {
    let server = snapshot.config.server(state.id);
    let operation = match state.status {
        Status::Drain if state.stopping => 3,
        Status::Up | Status::Drain => 2,
        Status::Down | Status::Maint => 0,
    };
    let own = match state.admin {
        Admin::Ready => 0,
        Admin::Maint if server.disabled() => 5,
        Admin::Maint => 1,
        Admin::Drain => 8,
    };
    let is_lost = server.lack().is_some() && state.admin != Admin::Maint;
    // 64 says that the name is not the one of the file: that of a machine of a service never is.
    let named = server.address().named();
    let (host, service) = (named.and_then(NamedAddress::host), named.and_then(NamedAddress::service));
    let unresolved = u8::from(server.lack().is_some()) << 5 | u8::from(service.and(host).is_some()) << 6;
    let admin = own | unresolved | u8::from(state.lead.maint) << 1 | u8::from(state.lead.drain) << 4;
    let last = state.last_check.as_ref().map(|last| last.outcome.result);
    let (status, result) = last.map_or((1, 0), check_numbers);
    let checks = match (server.check(), state.checking) {
        (Some(_), Checking::On) if state.admin != Admin::Maint && !is_lost => 6,
        (Some(_), Checking::On) => 14,
        (Some(_), Checking::Resting) => 2,
        (None, _) if state.admin == Admin::Maint && server.disabled() => 8,
        (None, _) => 0,
    };
    let agents = match (server.agent(), state.asking) {
        (Some(_), Checking::On) => 22,
        (Some(_), Checking::Resting) => 18,
        (None, _) => 0,
    };
    let health = match (server.check(), state.admin) {
        (None, Admin::Maint) => 0,
        // Begun without an address, it was never up.
        (_, _) if is_lost => 0,
        (None, _) => 2,
        (Some(_), _) => state.health,
    };
    let address = match (server.ip(), server.address().unix()) {
        (Some(ip), _) => ip.to_string(),
        (None, Some(unix)) => unix.to_string(),
        (None, None) => "-".to_owned(),
    };
    let since = snapshot.at.saturating_duration_since(state.since).as_secs();
    let _ = writeln!(
        text,
        "{} {} {} {} {address} {operation} {admin} {} {} {since} {status} {result} {health} {checks} {agents} 0 0 {} {} {} {} 0 - - {}",
        backend_number(snapshot, backend),
        backend.name(),
        server.number(),
        server.name(),
        state.weight,
        server.weight(),
        host.unwrap_or("-"),
        server.port().unwrap_or(0),
        service.unwrap_or("-"),
        u8::from(server.tls().is_some()),
        server.agent().map_or(0, |agent| match agent.check().target() {
            Target::Inet(address) => address.port(),
            Target::Unix(_) => 0,
        }),
    );
}

/// Returns HAProxy's numbers of a result, and of whether it is good.
fn check_numbers(result: CheckResult) -> (u8, u8) {
    let status = match result {
        CheckResult::Unchanged => 3,
        CheckResult::Analyzed => 4,
        CheckResult::SocketError | CheckResult::NotProbed => 5,
        CheckResult::Connected => 6,
        CheckResult::ConnectTimeout => 7,
        CheckResult::ConnectFailed => 8,
        CheckResult::TlsAgreed => 9,
        CheckResult::TlsTimeout => 10,
        CheckResult::TlsFailed => 11,
        CheckResult::ResponseTimeout => 12,
        CheckResult::BadResponse => 13,
        CheckResult::Passed => 14,
        CheckResult::PassedConditionally => 15,
        CheckResult::WrongStatus => 16,
        CheckResult::ProgramFailed => 18,
        CheckResult::ProgramTimeout => 19,
        CheckResult::ProgramPassed => 20,
    };
    let good = match result.verdict() {
        Verdict::PassConditionally => 4,
        Verdict::Pass => 3,
        Verdict::Fail => 2,
        Verdict::Unknown => 1,
    };
    (status, good)
}

const STATE_HEADER: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
    srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id \
    srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port";

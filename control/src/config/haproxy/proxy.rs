//! Keywords of `defaults`, `frontend`, `backend` and `listen`: which there are, where each may stand, and those that stand on both sides.

use super::draft::{Draft, Kind, Kinds};
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use super::{backend, bind, check, frontend, log, mail, refused, reply, rules, server, stats, table};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{Probes, Timeout};
use crate::config::value::{option as value, units, word};

/// Reads the words of a keyword.
type Read = fn(&mut Line, &mut Draft, &mut Reader) -> Result<(), Diagnostic>;

const DEFAULTS_FRONT: Kinds = Kinds::ALL_BUT_BACKEND;
const DEFAULTS_BACK: Kinds = Kinds::ALL_BUT_FRONTEND;
const FRONT: Kinds = Kinds::FRONT;
const BACK: Kinds = Kinds::BACK;
const PROXIES: Kinds = Kinds::PROXIES;
const ALL: Kinds = Kinds::ALL;

/// Keywords by name, where each may stand and what reads it.
pub(super) const KEYWORDS: &[(Kinds, &str, Read)] = &[
    (ALL, "acl", rules::acl),
    (DEFAULTS_FRONT, "backlog", frontend::backlog),
    (DEFAULTS_BACK, "balance", backend::balance),
    (FRONT, "bind", frontend::bind),
    (FRONT, "capture", rules::rule),
    (DEFAULTS_FRONT, "clitcpka-cnt", probes),
    (DEFAULTS_FRONT, "clitcpka-idle", probes),
    (DEFAULTS_FRONT, "clitcpka-intvl", probes),
    (ALL, "compression", reply::compression),
    (DEFAULTS_BACK, "cookie", backend::cookie),
    (ALL, "disabled", disabled),
    (DEFAULTS_BACK, "dynamic-cookie-key", backend::dynamic_cookie_key),
    (DEFAULTS_BACK, "external-check", check::external_check),
    (BACK, "force-persist", rules::rule),
    (BACK, "ignore-persist", rules::rule),
    (DEFAULTS_FRONT, "default_backend", frontend::default_backend),
    (DEFAULTS_BACK, "default-server", server::default_server),
    (ALL, "email-alert", mail::alert),
    (ALL, "enabled", disabled),
    (ALL, "error-log-format", log::error_format),
    (ALL, "errorfile", reply::errorfile),
    (ALL, "errorfiles", reply::errorfiles),
    (ALL, "errorloc", reply::errorloc),
    (ALL, "errorloc302", reply::errorloc),
    (ALL, "errorloc303", reply::errorloc),
    (DEFAULTS_BACK, "fullconn", backend::fullconn),
    (DEFAULTS_BACK, "hash-balance-factor", backend::hash_balance_factor),
    (DEFAULTS_BACK, "hash-type", backend::hash_type),
    (DEFAULTS_BACK, "http-check", check::http_check),
    (ALL, "http-after-response", rules::rule),
    (ALL, "http-error", reply::http_error),
    (ALL, "http-request", rules::rule),
    (ALL, "http-response", rules::rule),
    (DEFAULTS_BACK, "http-send-name-header", backend::name_header),
    (DEFAULTS_BACK, "http-reuse", backend::http_reuse),
    (DEFAULTS_BACK, "load-server-state-from-file", backend::state_source),
    (ALL, "log", log::target),
    (ALL, "log-format", log::format),
    (ALL, "log-format-sd", log::structured),
    (ALL, "log-steps", log::steps),
    (ALL, "log-tag", log::tag),
    (DEFAULTS_FRONT, "maxconn", frontend::maxconn),
    (ALL, "mode", mode),
    (FRONT, "monitor", rules::rule),
    (DEFAULTS_FRONT, "monitor-uri", frontend::monitor_uri),
    (ALL, "option", option),
    (DEFAULTS_BACK, "persist", backend::persist),
    (DEFAULTS_FRONT, "rate-limit", frontend::rate_limit),
    (PROXIES, "filter", rules::rule),
    (PROXIES, "redirect", rules::rule),
    (DEFAULTS_BACK, "retries", backend::retries),
    (BACK, "server-state-file-name", backend::state_name),
    (DEFAULTS_BACK, "retry-on", backend::retry_on),
    (BACK, "server", server::server),
    (BACK, "server-template", server::template),
    (DEFAULTS_BACK, "source", backend::source),
    (FRONT, "declare", rules::rule),
    (FRONT, "ssl-default-bind-options", misplaced_tls),
    (DEFAULTS_BACK, "srvtcpka-cnt", probes),
    (DEFAULTS_BACK, "srvtcpka-idle", probes),
    (DEFAULTS_BACK, "srvtcpka-intvl", probes),
    (ALL, "stats", stats::stats),
    (BACK, "stick", rules::rule),
    (PROXIES, "stick-table", table::stick_table),
    (DEFAULTS_BACK, "tcp-check", check::tcp_check),
    (ALL, "tcp-request", rules::tcp_request),
    (ALL, "tcp-response", rules::rule),
    (ALL, "timeout", timeout),
    (DEFAULTS_FRONT, "unique-id-format", log::unique_id_format),
    (DEFAULTS_FRONT, "unique-id-header", log::unique_id_header),
    (FRONT, "use_backend", rules::rule),
    (BACK, "use-server", rules::rule),
    // Gone from the language; whoever reads rules says what took their place.
    (PROXIES, "block", rules::rule),
    (PROXIES, "reqadd", rules::rule),
    (PROXIES, "reqallow", rules::rule),
    (PROXIES, "reqdel", rules::rule),
    (PROXIES, "reqdeny", rules::rule),
    (PROXIES, "reqiallow", rules::rule),
    (PROXIES, "reqidel", rules::rule),
    (PROXIES, "reqideny", rules::rule),
    (PROXIES, "reqipass", rules::rule),
    (PROXIES, "reqirep", rules::rule),
    (PROXIES, "reqitarpit", rules::rule),
    (PROXIES, "reqpass", rules::rule),
    (PROXIES, "reqrep", rules::rule),
    (PROXIES, "reqtarpit", rules::rule),
    (PROXIES, "rspadd", rules::rule),
    (PROXIES, "rspdel", rules::rule),
    (PROXIES, "rspdeny", rules::rule),
    (PROXIES, "rspidel", rules::rule),
    (PROXIES, "rspirep", rules::rule),
    (PROXIES, "rsprep", rules::rule),
];

/// Keywords that only name or number a proxy for people, bind it to processes, of which there is one, or say when a client's next request
/// goes over another connection, which it may at any time: accepted, and listed by `check -v`.
pub(super) const IDLE: [&str; 4] = ["bind-process", "description", "id", "max-keep-alive-queue"];

/// Options that tell HAProxy how to move bytes: l7d moves them in its own way, so they are accepted, and listed by `check -v`.
pub(super) const IDLE_OPTIONS: [&str; 7] =
    ["http-no-delay", "http-use-htx", "splice-auto", "splice-request", "splice-response", "tcp-smart-accept", "tcp-smart-connect"];

/// Reads one line of a proxy.
pub(super) fn line(keyword: &Located<String>, line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    if IDLE.contains(&keyword.as_str()) {
        let _ = line.joined();
        reader.idle(keyword.clone());
        return Ok(());
    }
    let title = format!("section `{}`", draft.kind.name());
    let Some((kinds, _, read)) = KEYWORDS.iter().find(|(_, name, _)| *name == keyword.as_str()) else {
        let known: Vec<&str> = KEYWORDS.iter().map(|(_, name, _)| *name).collect();
        return Err(unknown(keyword, &title, &known, refused::PROXY));
    };
    if line.is_negated() && !matches!(keyword.as_str(), "option" | "log") {
        return Err(line.error(format!("`no` cannot stand before `{}`", **keyword)));
    }
    if !kinds.contain(draft.kind) {
        if draft.kind == Kind::Defaults || FIRM.contains(&keyword.as_str()) {
            return Err(misplaced(line, *kinds, draft.kind));
        }
        idle(line, reader, &format!("`{}`", **keyword), draft.kind);
        return Ok(());
    }
    read(line, draft, reader)?;
    line.finish()
}

/// Keywords without which a section is not what it was meant to be; HAProxy warns of the others where they do not belong.
const FIRM: [&str; 5] = ["bind", "server", "server-template", "use-server", "use_backend"];

fn misplaced(line: &Line, kinds: Kinds, kind: Kind) -> Diagnostic {
    let all = [Kind::Defaults, Kind::Frontend, Kind::Backend, Kind::Listen];
    let homes: Vec<&str> = all.into_iter().filter(|kind| kinds.contain(*kind)).map(Kind::name).collect();
    let error = line.error(format!("`{}` has no place in section `{}`", line.keyword().value(), kind.name()));
    error.hint(format!("it belongs in {}", homes.join(", ")))
}

/// Tells of a line that has no effect where it stands; HAProxy takes it, too.
pub(super) fn idle(line: &mut Line, reader: &mut Reader, what: &str, kind: Kind) {
    let place = if kind == Kind::Frontend { "backend" } else { "frontend" };
    let message = format!("{what} has no effect in section `{}`", kind.name());
    let rest = line.whole();
    reader.warn(rest.location(), message, format!("it belongs in a {place}"));
}

fn disabled(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.proxy.disabled = Some(line.keyword().as_str() == "disabled");
    Ok(())
}

/// Reads when the kernel asks silent peers: `clitcpka-cnt`, `srvtcpka-idle` and so on.
fn probes(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let keyword = line.keyword();
    let (side, what) = keyword.split_once('-').unwrap_or_default();
    let proxy = &mut draft.settings.proxy;
    let probes = if side == "clitcpka" { &mut proxy.client_probes } else { &mut proxy.server_probes };
    // Nought leaves it to the system.
    if what == "cnt" {
        let count = if line.accept("0") { None } else { Some(*line.integer(Probes::COUNTS)?) };
        probes.count = count;
        return Ok(());
    }
    let time = Some(*line.parse("a time", units::probe)?).filter(|time| !time.is_zero());
    *if what == "idle" { &mut probes.idle } else { &mut probes.interval } = time;
    Ok(())
}

fn mode(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.proxy.mode = Some(line.parse("a mode", |text| word::MODE.read(text))?);
    Ok(())
}

fn timeout(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let name = line.expect("the name of a time-out")?;
    let Some(timeout) = Timeout::ALL.into_iter().find(|timeout| timeout.name() == name.as_str()) else {
        let known: Vec<&str> = Timeout::ALL.into_iter().map(Timeout::name).collect();
        return Err(unknown(&name, "`timeout`", &known, &[]));
    };
    let duration = line.duration()?;
    let (front, back) = timeout.sides();
    let has_effect = match draft.kind {
        Kind::Defaults | Kind::Listen => true,
        Kind::Frontend => front,
        Kind::Backend => back,
    };
    if !has_effect {
        idle(line, reader, &format!("timeout `{}`", timeout.name()), draft.kind);
        return Ok(());
    }
    draft.settings.proxy.timeouts.push(duration.map(|duration| (timeout, duration)));
    Ok(())
}

fn option(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    if check::option(line, draft, reader)? {
        return Ok(());
    }
    match line.peek() {
        Some(word) if IDLE_OPTIONS.contains(&word) => {
            reader.idle(line.expect("its name")?);
            return Ok(());
        }
        Some(_) | None => {}
    }
    let is_on = !line.is_negated();
    let text = line.joined().ok_or_else(|| line.error("`option` lacks its name"))?;
    let switch = parse_word(&text, value::option)?.map(|switch| value::Switch { on: is_on, ..switch });
    if switch.option.is_log_format() {
        // Of a format and an option the last one counts.
        draft.settings.proxy.log.format = None;
    }
    draft.settings.proxy.options.push(switch);
    Ok(())
}

/// Reads what belongs in `global`, as if it stood on each bind line below.
fn misplaced_tls(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let hint = "here it holds for the binds below; haproxy would refuse it";
    reader.warn(&line.location(), "`ssl-default-bind-options` belongs in section `global`", hint);
    let defaults = draft.tls.get_or_insert_with(|| reader.bind_tls().clone());
    bind::default_options(line, defaults, reader)
}

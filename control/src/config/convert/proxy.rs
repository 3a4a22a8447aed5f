//! What frontends, backends and their defaults have in common, and what only one of them has.

use super::errors::errors;
use super::section::Section;
use super::value::{Table, Value, key};
use super::{bind, server, words};
use crate::config::location::Located;
use crate::config::model::{Acl, Cookie, HttpErrors, Preset, Probes, RetryOn, StatsPage, Timeout, UniqueId};
use crate::config::value::word;
use crate::config::written::{
    Alert, Backend, CheckSwitch, Compression, Defaults, Frontend, Logging, PersistenceCookie, Pool, Proxy, Unnamed,
};

/// What a proxy begins from, and what else decides on what is to be written of it.
#[derive(Clone, Copy)]
pub(super) struct Ground<'w> {
    /// Where lines go from there; none where that has to be said.
    pub(super) targets: Option<&'w [Located<String>]>,
    /// The check there.
    pub(super) check: Option<&'w CheckSwitch>,
    pub(super) http_errors: &'w [HttpErrors],
}

/// Writes a section of defaults, and the check that backends have of it.
pub(super) fn defaults(section: &mut Section, defaults: &Defaults, check: Option<&CheckSwitch>, ground: &Ground<'_>) {
    let Defaults {
        name: _,
        place: _,
        proxy,
        maxconn,
        backlog,
        rate_limit,
        default_backend,
        pool,
        check: _,
        checks: _,
        retries,
        retry_on,
        default_server,
        // The proxies have it as their own.
        heritage: _,
        preset,
    } = defaults;
    let mut table = Table::default();
    self::proxy(&mut table, proxy, ground);
    front(&mut table, (*maxconn, *backlog, *rate_limit), default_backend.as_ref());
    self::pool(&mut table, pool);
    repetition(&mut table, *retries, retry_on.as_ref());
    table.maybe("check", check.and_then(server::check));
    let mut settings = Table::default();
    server::settings(&mut settings, default_server);
    table.table("default-server", settings);
    section.keys(&table);
    let Preset { acls, rules } = preset;
    self::acls(section, acls);
    section.lines("rules", &rules.iter().collect::<Vec<_>>());
}

/// Writes a frontend.
pub(super) fn frontend(section: &mut Section, frontend: &Frontend, from: Option<&str>, ground: &Ground<'_>) {
    let mut table = Table::default();
    table.maybe("from", from);
    own_of_frontend(&mut table, frontend, frontend.default_backend.as_ref());
    proxy(&mut table, &frontend.proxy, ground);
    section.keys(&table);
    acls(section, &frontend.acls);
    section.lines("rules", &frontend.rules.iter().collect::<Vec<_>>());
}

/// Writes a section `listen`, both halves of which have the same but for the rules.
pub(super) fn listen(section: &mut Section, halves: (&Frontend, &Backend), from: Option<&str>, ground: &Ground<'_>) {
    let (frontend, backend) = halves;
    let mut table = Table::default();
    table.maybe("from", from);
    // Without any, its clients go to its own servers.
    let other = frontend.default_backend.as_ref().filter(|name| name.value() != frontend.name.value());
    own_of_frontend(&mut table, frontend, other);
    proxy(&mut table, &frontend.proxy, ground);
    own_of_backend(&mut table, backend, ground);
    section.keys(&table);
    acls(section, &frontend.acls);
    let place = |rule: &Located<String>| (rule.location().line(), rule.location().column());
    let mut rules: Vec<_> = frontend.rules.iter().chain(&backend.rules).collect();
    rules.sort_by_key(|rule| place(rule));
    rules.dedup_by_key(|rule| place(rule));
    section.lines("rules", &rules);
    servers(section, backend);
}

/// Writes a backend.
pub(super) fn backend(section: &mut Section, backend: &Backend, from: Option<&str>, ground: &Ground<'_>) {
    let mut table = Table::default();
    table.maybe("from", from);
    proxy(&mut table, &backend.proxy, ground);
    own_of_backend(&mut table, backend, ground);
    section.keys(&table);
    acls(section, &backend.acls);
    section.lines("rules", &backend.rules.iter().collect::<Vec<_>>());
    servers(section, backend);
}

fn own_of_frontend(table: &mut Table, frontend: &Frontend, default_backend: Option<&Located<String>>) {
    // What HAProxy's language has no word for is never there.
    let Frontend { binds, inspect_delay, monitor_uri, maxconn, backlog, rate_limit, .. } = frontend;
    match binds.len() {
        0 => table.put("bind", Value::List(Vec::new())),
        _ => table.some("bind", binds.iter().map(bind::bind)),
    }
    front(table, (*maxconn, *backlog, *rate_limit), default_backend);
    table.maybe("inspect-delay", inspect_delay.as_deref().copied().map(words::duration));
    table.maybe("monitor-uri", monitor_uri.as_ref().map(|uri| uri.value().clone()));
}

fn front(
    table: &mut Table,
    (maxconn, backlog, rate_limit): (Option<u32>, Option<u32>, Option<u32>),
    default_backend: Option<&Located<String>>,
) {
    table.maybe("maxconn", maxconn);
    table.maybe("backlog", backlog);
    if let Some(rate) = rate_limit {
        let mut sessions = Table::default();
        sessions.put("sessions", rate);
        table.put("rate-limit", sessions);
    }
    table.maybe("default-backend", default_backend.map(|name| name.value().clone()));
}

fn own_of_backend(table: &mut Table, backend: &Backend, ground: &Ground<'_>) {
    let Backend {
        name: _,
        defaults: _,
        is_twin: _,
        proxy: _,
        pool,
        check,
        cookie,
        dynamic_cookie_key,
        retries,
        retry_on,
        acls: _,
        rules: _,
        source,
        default_server,
        servers: _,
    } = backend;
    self::pool(table, pool);
    repetition(table, *retries, retry_on.as_ref());
    table.maybe("cookie", cookie.as_ref().map(|cookie| self::cookie(cookie)));
    table.maybe("dynamic-cookie-key", dynamic_cookie_key.as_ref().map(|key| key.value().clone()));
    table.maybe("source", source.as_ref().map(server::source));
    let check = check.as_ref().and_then(server::check);
    table.maybe("check", check.filter(|check| ground.check.and_then(server::check).as_ref() != Some(check)));
    let mut settings = Table::default();
    server::settings(&mut settings, default_server);
    table.table("default-server", settings);
}

fn proxy(table: &mut Table, proxy: &Proxy, ground: &Ground<'_>) {
    let Proxy { disabled, mode, timeouts, options, client_probes, server_probes, compression, errors, log, stats, alert, unique_id } =
        proxy;
    table.maybe("disabled", *disabled);
    table.maybe("mode", mode.as_ref().map(|mode| word::MODE.name(mode)));
    let mut times = Table::default();
    for timeout in Timeout::ALL {
        // Of several the last one counts.
        let written = timeouts.iter().rfind(|written| written.0 == timeout);
        times.maybe(timeout.name(), written.map(|written| words::duration(written.1)));
    }
    table.table("timeout", times);
    table.some("option", options.iter().map(|switch| words::option(switch)));
    probes(table, ["clitcpka-cnt", "clitcpka-idle", "clitcpka-intvl"], *client_probes);
    probes(table, ["srvtcpka-cnt", "srvtcpka-idle", "srvtcpka-intvl"], *server_probes);
    logging(table, log, ground);
    table.maybe("compression", compression.as_ref().map(self::compression));
    self::errors(table, errors, ground.http_errors);
    table.maybe("stats", stats.as_ref().map(self::stats));
    table.table("email-alert", self::alert(alert));
    let UniqueId { format, header } = unique_id;
    table.maybe("unique-id-format", format.as_ref().map(|format| format.value().clone()));
    table.maybe("unique-id-header", header.as_ref().map(|header| header.value().clone()));
}

fn probes(table: &mut Table, [count_key, idle_key, interval_key]: [&str; 3], probes: Probes) {
    let Probes { count, idle, interval } = probes;
    table.maybe(count_key, count.map(u32::from));
    table.maybe(idle_key, idle.map(words::duration));
    table.maybe(interval_key, interval.map(words::duration));
}

fn logging(table: &mut Table, log: &Logging, ground: &Ground<'_>) {
    let Logging { targets, format, error_format, structured, tag, steps } = log;
    let targets = targets.as_deref().unwrap_or_default();
    if Some(targets) != ground.targets {
        table.put("log", Value::List(words::texts(targets).map(Value::from).collect()));
    }
    for (key, text) in [("log-format", format), ("error-log-format", error_format), ("log-format-sd", structured), ("log-tag", tag)] {
        table.maybe(key, text.as_ref().map(|text| text.value().clone()));
    }
    table.some("log-steps", steps.iter().flatten().map(|step| word::LOG_STEP.name(step)));
}

fn compression(compression: &Compression) -> Table {
    let Compression { location: _, codings, types, offload, least } = compression;
    let mut table = Table::default();
    table.some("algo", codings.iter().map(|coding| word::CODING.name(coding)));
    table.some("type", types.iter().cloned());
    table.maybe("offload", *offload);
    table.maybe("minsize-res", *least);
    table
}

fn alert(alert: &Alert) -> Table {
    let Alert { mailers, from, to, host, level } = alert;
    let mut table = Table::default();
    for (key, text) in [("mailers", mailers), ("from", from), ("to", to), ("myhostname", host)] {
        table.maybe(key, text.as_ref().map(|text| text.value().clone()));
    }
    table.maybe("level", level.as_ref().map(|level| word::SYSLOG_LEVEL.name(level)));
    table
}

fn stats(page: &StatsPage) -> Table {
    let StatsPage { uri, realm, accounts, refresh, hides_version, node, description, scope, shows_legends } = page;
    let usual = StatsPage::default();
    let mut table = Table::default();
    table.maybe("uri", Some(uri).filter(|uri| **uri != usual.uri).cloned());
    table.maybe("realm", Some(realm).filter(|realm| **realm != usual.realm).cloned());
    table.some("auth", accounts.iter().cloned());
    table.maybe("refresh", refresh.map(words::duration));
    table.flags([("hide-version", *hides_version), ("show-legends", *shows_legends)]);
    table.maybe("show-node", node.as_ref().map(name_or_own));
    table.maybe("show-desc", description.clone());
    table.some("scope", scope.iter().flatten().cloned());
    table
}

/// Writes the name of a host, or that it is the host's own.
pub(super) fn name_or_own(name: &Option<String>) -> Value {
    name.as_ref().map_or(Value::Switch(true), |name| name.clone().into())
}

fn pool(table: &mut Table, pool: &Pool) {
    let Pool { balance, hash_type, hash_balance_factor, fullconn, http_reuse, persist, name_header, state_source, state_name } = pool;
    table.maybe("balance", balance.as_ref().map(|balance| words::balance(balance)));
    table.maybe("hash-type", hash_type.as_ref().map(|hash| words::hash_type(**hash)));
    table.maybe("hash-balance-factor", hash_balance_factor.as_ref().map(|factor| **factor));
    table.maybe("fullconn", *fullconn);
    table.maybe("http-reuse", http_reuse.as_ref().map(|reuse| word::HTTP_REUSE.name(reuse)));
    table.maybe("persist", persist.as_ref().map(|cookie| format!("rdp-cookie({cookie})")));
    table.maybe("http-send-name-header", name_header.as_ref().map(|name| name.value().clone()));
    table.maybe("load-server-state-from-file", state_source.as_ref().map(|source| word::STATE_SOURCE.name(source)));
    table.maybe("server-state-file-name", state_name.clone());
}

fn repetition(table: &mut Table, retries: Option<u32>, retry_on: Option<&Located<RetryOn>>) {
    table.maybe("retries", retries);
    table.some("retry-on", retry_on.iter().flat_map(|causes| words::retry_on(***causes)));
}

fn cookie(persistence: &PersistenceCookie) -> Table {
    let PersistenceCookie { cookie, dynamic, unnamed } = persistence;
    let Cookie {
        name,
        mode,
        indirect,
        nocache,
        postonly,
        preserve,
        httponly,
        secure,
        domains,
        maxidle,
        maxlife,
        attributes,
        dynamic_key: _,
        idle_key: _,
    } = cookie;
    let mut table = Table::default();
    table.put("name", name.clone());
    table.put("mode", word::COOKIE_MODE.name(mode));
    table.flags([("indirect", *indirect), ("nocache", *nocache), ("postonly", *postonly), ("preserve", *preserve)]);
    table.flags([("httponly", *httponly), ("secure", *secure), ("dynamic", *dynamic), ("named-only", *unnamed == Unnamed::Nothing)]);
    table.some("domain", domains.iter().cloned());
    table.some("attr", attributes.iter().cloned());
    table.maybe("maxidle", maxidle.map(words::duration));
    table.maybe("maxlife", maxlife.map(words::duration));
    table
}

fn acls(section: &mut Section, acls: &[Acl]) {
    for Acl { name, expressions } in acls {
        if let Some(value) = Value::some(words::texts(expressions)) {
            section.entry(&format!("acl.{}", key(name)), name.location(), &value);
        }
    }
}

fn servers(section: &mut Section, backend: &Backend) {
    if !backend.servers.is_empty() {
        section.inner("server");
    }
    for one in &backend.servers {
        if let Some(value) = server::server(one) {
            section.entry(&key(&one.name), one.name.location(), &value);
        }
    }
}

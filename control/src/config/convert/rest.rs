//! Sections that are no proxies.

use super::proxy::name_or_own;
use super::section::Section;
use super::value::{Table, Value};
use super::{bind, errors, server, words};
use crate::config::model::{
    Cache, Carrier, External, Framing, HttpErrors, LogForward, LogProfile, Mailers, Password, Process, ProfileLine, Resolvers, Ring,
    ServerAddress, ServerKey,
};
use crate::config::value::word;
use crate::config::written::{self, Global, Peers, Userlist};

pub(super) fn global(section: &mut Section, global: &Global) {
    let Global {
        maxconn,
        rates,
        h2,
        quic,
        cluster_secret,
        ocsp,
        heads,
        threads,
        log,
        log_tag,
        log_host,
        stats_sockets,
        stats_timeout,
        stats_maxconn,
        metrics,
        spread_checks,
        max_spread_checks,
        localpeer,
        tables_file,
        variables,
        otlp,
        process,
    } = global;
    let mut table = Table::default();
    table.maybe("maxconn", *maxconn);
    for (key, rate) in [("maxconnrate", rates.connections), ("maxsessrate", rates.sessions), ("maxsslrate", rates.tls)] {
        table.maybe(key, Some(rate).filter(|rate| *rate > 0));
    }
    table.maybe("nbthread", *threads);
    self::process(&mut table, process);
    table.some("log", words::texts(log));
    table.maybe("log-tag", log_tag.as_ref().map(|tag| tag.value().clone()));
    table.maybe("log-send-hostname", log_host.as_ref().map(name_or_own));
    table.some("stats-socket", stats_sockets.iter().map(|socket| bind::stats_socket(socket)));
    table.maybe("stats-timeout", stats_timeout.map(words::duration));
    table.maybe("stats-maxconn", *stats_maxconn);
    table.maybe("metrics", metrics.as_ref().map(|address| address.to_string()));
    let of_h2 = [("h2-max-concurrent-streams", h2.streams), ("h2-initial-window-size", h2.window), ("h2-max-frame-size", h2.frame)];
    let of_quic = [("quic-max-streams-bidi", quic.streams), ("quic-retry-threshold", quic.retry_threshold)];
    let of_heads = [("http-maxhdr", heads.lines), ("bufsize", heads.buffer), ("maxrewrite", heads.reserve)];
    for (key, limit) in of_h2.into_iter().chain(of_quic).chain(of_heads) {
        table.maybe(key, limit);
    }
    table.maybe("cluster-secret", cluster_secret.clone());
    table.maybe("ocsp-update-mindelay", ocsp.least.map(words::duration));
    table.maybe("ocsp-update-maxdelay", ocsp.most.map(words::duration));
    table.maybe("quic-max-idle-timeout", quic.idle.map(words::duration));
    table.maybe("spread-checks", *spread_checks);
    table.maybe("max-spread-checks", max_spread_checks.map(words::duration));
    table.maybe("localpeer", localpeer.as_ref().map(|name| name.value().clone()));
    table.maybe("tables-file", tables_file.as_ref().map(|file| file.display().to_string()));
    let mut spans = Table::default();
    spans.maybe("endpoint", otlp.endpoint.as_ref().map(ToString::to_string));
    spans.maybe("service", otlp.service.clone());
    spans.maybe("sample", otlp.sample.map(|sample| sample.to_string()));
    if otlp.endpoint.is_some() {
        table.table("otlp", spans);
    }
    for (key, is_format) in [("set-var", false), ("set-var-fmt", true)] {
        let these = variables.iter().filter(|variable| variable.is_format == is_format);
        table.some(key, these.map(|variable| variable.text.value().clone()));
    }
    section.keys(&table);
}

fn process(table: &mut Table, process: &Process) {
    let Process { user, group, chroot, pidfile, daemon, hard_stop_after, state_file, state_base, external, capabilities } = process;
    bind::account(table, ["user", "uid"], user.as_ref());
    bind::account(table, ["group", "gid"], group.as_ref());
    for (key, path) in [("chroot", chroot), ("pidfile", pidfile), ("server-state-file", state_file), ("server-state-base", state_base)] {
        table.maybe(key, path.as_ref().map(|path| path.display().to_string()));
    }
    let External { allowed, forks, setuid } = *external;
    table.flags([("daemon", *daemon), ("external-check", allowed), ("insecure-fork-wanted", forks), ("insecure-setuid-wanted", setuid)]);
    table.some("setcap", capabilities.iter().map(|capability| word::CAPABILITY.name(capability)));
    table.maybe("hard-stop-after", hard_stop_after.map(words::duration));
}

pub(super) fn http_errors(section: &mut Section, errors: &HttpErrors) {
    let mut table = Table::default();
    let files = errors.files.iter().map(|(status, path)| (*status, path));
    table.table("errorfile", errors::pages(files));
    section.keys(&table);
}

pub(super) fn userlist(section: &mut Section, list: &Userlist) {
    let Userlist { name: _, users, groups } = list;
    let mut table = Table::default();
    let mut members = Table::default();
    for group in groups {
        members.put(group.name.value().clone(), Value::List(words::texts(&group.users).map(Value::from).collect()));
    }
    table.table("group", members);
    section.keys(&table);
    if !users.is_empty() {
        section.inner("user");
    }
    for user in users {
        let mut table = Table::default();
        match &user.password {
            Some(Password::Hashed(hash)) => table.put("password", hash.value().clone()),
            Some(Password::Plain(password)) => table.put("insecure-password", password.clone()),
            None => {}
        }
        table.some("groups", words::texts(&user.groups));
        section.entry(&super::value::key(&user.name), user.name.location(), &Value::Table(table));
    }
}

pub(super) fn peers(section: &mut Section, peers: &Peers) {
    let Peers { name: _, default_server, members, binds, disabled, shards, log } = peers;
    let mut table = Table::default();
    table.some("bind", binds.iter().map(bind::bind));
    let mut settings = Table::default();
    server::settings(&mut settings, default_server);
    table.table("default-server", settings);
    table.flags([("disabled", *disabled)]);
    table.maybe("shards", Some(*shards).filter(|shards| *shards > 0));
    table.some("log", words::texts(log));
    section.keys(&table);
    section.inner("peer");
    for peer in members {
        let address = peer.server.address.as_ref().map(|address| words::address(address));
        let mut table = Table::default();
        table.maybe("address", address.clone());
        let is_named = matches!(peer.server.address.as_deref(), Some(ServerAddress::Named(_)));
        let own = peer
            .bind
            .as_ref()
            .map(bind::bind)
            .filter(|bind| !is_named || !matches!(bind, Value::Text(_)))
            .filter(|bind| Some(bind) != address.clone().map(Value::Text).as_ref());
        table.maybe("bind", own);
        server::settings(&mut table, &peer.server.settings);
        table.maybe("shard", peer.shard.as_ref().map(|shard| **shard));
        let value = match address {
            Some(address) if table.len() == 1 => Value::Text(address),
            Some(_) | None => Value::Table(table),
        };
        section.entry(&super::value::key(&peer.server.name), peer.server.name.location(), &value);
    }
}

pub(super) fn table(section: &mut Section, table: &written::Table) {
    let written::Table { name: _, key, size, expire, nopurge, store, peers, shared_as, srvkey, write_to, recv_only, sum_conn_cur } = table;
    let mut keys = Table::default();
    keys.maybe("type", key.map(words::table_key));
    keys.maybe("size", size.map(Value::Number));
    keys.maybe("expire", expire.map(words::duration));
    keys.flags([("nopurge", *nopurge), ("recv-only", *recv_only), ("sum-conn-cur", *sum_conn_cur)]);
    if !store.is_empty() {
        keys.put("store", Value::List(store.iter().map(|stored| words::stored(**stored).into()).collect()));
    }
    keys.maybe("srvkey", (*srvkey == ServerKey::Address).then(|| "addr".to_owned()));
    keys.maybe("write-to", write_to.as_ref().map(|name| name.value().clone()));
    keys.maybe("peers", peers.as_ref().filter(|_| shared_as.is_none()).map(|peers| peers.value().clone()));
    section.keys(&keys);
}

/// Writes where log lines of others come in.
pub(super) fn log_forward(section: &mut Section, forward: &LogForward) {
    let LogForward { name: _, binds, datagrams, logging, maxconn, backlog, patience } = forward;
    let mut keys = Table::default();
    keys.some("bind", binds.iter().map(|address| address.to_string()));
    keys.some("dgram-bind", datagrams.iter().map(|address| address.to_string()));
    keys.some("log", logging.targets.iter().map(|target| target.value().clone()));
    keys.put("maxconn", *maxconn);
    keys.maybe("backlog", *backlog);
    let mut timeouts = Table::default();
    timeouts.maybe("client", patience.map(words::duration));
    keys.table("timeout", timeouts);
    section.keys(&keys);
}

/// Writes a section of servers of mail.
pub(super) fn mailers(section: &mut Section, mailers: &Mailers) {
    let Mailers { name: _, timeout, list } = mailers;
    let mut timeouts = Table::default();
    timeouts.put("mail", words::duration(*timeout));
    let mut servers = Table::default();
    for mailer in list {
        let host = if mailer.host().contains(':') { format!("[{}]", mailer.host()) } else { mailer.host().to_owned() };
        servers.put(mailer.name(), format!("{host}:{}", mailer.port()));
    }
    let mut keys = Table::default();
    keys.table("timeout", timeouts);
    keys.table("mailer", servers);
    section.keys(&keys);
}

/// Writes a profile of lines.
pub(super) fn log_profile(section: &mut Section, profile: &LogProfile) {
    let LogProfile { name: _, tag, lines } = profile;
    let mut keys = Table::default();
    keys.maybe("log-tag", tag.as_ref().map(|tag| tag.value().clone()));
    let mut all = Table::default();
    for ProfileLine { occasion, dropped, format, structured } in lines {
        let mut one = Table::default();
        one.maybe("drop", dropped.then_some(true));
        one.maybe("format", format.as_ref().map(|format| format.value().clone()));
        one.maybe("sd", structured.as_ref().map(|structured| structured.value().clone()));
        all.put(word::OCCASION.name(occasion), Value::Table(one));
    }
    keys.table("on", all);
    section.keys(&keys);
}

/// Writes a ring.
pub(super) fn ring(section: &mut Section, ring: &Ring) {
    let Ring { name: _, description, format, longest, size, connect, write, servers } = ring;
    let mut keys = Table::default();
    keys.maybe("description", description.clone());
    keys.maybe("format", format.as_ref().map(|format| format.value().clone()));
    keys.put("maxlen", *longest as u64);
    keys.put("size", *size as u64);
    let mut timeouts = Table::default();
    timeouts.put("connect", words::duration(*connect));
    timeouts.put("server", words::duration(*write));
    keys.table("timeout", timeouts);
    let mut all = Table::default();
    for server in servers {
        let mut one = Table::default();
        one.put("address", server.address.to_string());
        one.maybe("log-proto", (server.framing == Framing::Counted).then_some("octet-count"));
        all.put(server.name.as_str(), Value::Table(one));
    }
    keys.table("server", all);
    section.keys(&keys);
}

/// Writes a section of servers of the DNS; those of the system are named one by one.
pub(super) fn resolvers(section: &mut Section, resolvers: &Resolvers) {
    let Resolvers { name: _, nameservers, payload, retries, resolve, retry, hold } = resolvers;
    let mut servers = Table::default();
    for nameserver in nameservers {
        let prefix = if nameserver.carrier() == Carrier::Tcp { "tcp@" } else { "" };
        servers.put(nameserver.name(), format!("{prefix}{}", nameserver.address()));
    }
    let mut keys = Table::default();
    keys.table("nameserver", servers);
    keys.put("accepted-payload-size", u32::from(*payload));
    keys.put("resolve-retries", *retries);
    let mut timeouts = Table::default();
    timeouts.put("resolve", words::duration(*resolve));
    timeouts.put("retry", words::duration(*retry));
    keys.table("timeout", timeouts);
    let mut held = Table::default();
    for (name, period) in [
        ("valid", hold.valid),
        ("nx", hold.nx),
        ("refused", hold.refused),
        ("timeout", hold.timeout),
        ("other", hold.other),
        ("obsolete", hold.obsolete),
    ] {
        held.put(name, words::duration(period));
    }
    keys.table("hold", held);
    section.keys(&keys);
}

/// Writes a cache.
pub(super) fn cache(section: &mut Section, cache: &Cache) {
    let Cache { name: _, size, largest, max_age, varies, variants } = cache;
    let mut keys = Table::default();
    keys.put("total-max-size", format!("{}m", size >> 20));
    keys.maybe("max-object-size", largest.as_ref().map(|largest| Value::Number(*largest.value())));
    keys.put("max-age", words::duration(*max_age));
    keys.flags([("process-vary", *varies)]);
    keys.put("max-secondary-entries", *variants);
    section.keys(&keys);
}

//! Servers, what they have in common, and how they are checked.

use super::value::{Table, Value};
use super::{bind, words};
use crate::config::model::{Family, Guise, InitAddress, Request, SendProxy, ServerSource};
use crate::config::value::word;
use crate::config::written::{
    AgentSettings, CheckOption, CheckSettings, CheckSwitch, External, NamingSettings, ProxySwitch, Recipe, Server, ServerPoolSettings,
    ServerSettings, ServerTlsSettings,
};

/// Writes a server: its address alone where that says it all.
pub(super) fn server(server: &Server) -> Option<Value> {
    let address = words::address(server.address.as_ref()?);
    let mut table = Table::default();
    table.put("address", address.clone());
    settings(&mut table, &server.settings);
    Some(if table.len() == 1 { Value::Text(address) } else { Value::Table(table) })
}

/// Writes what servers and `default-server` have in common.
pub(super) fn settings(table: &mut Table, settings: &ServerSettings) {
    let ServerSettings {
        weight,
        backup,
        disabled,
        minconn,
        maxconn,
        maxqueue,
        slowstart,
        ends_own,
        ends_spares,
        check,
        agent,
        track,
        cookie,
        protocol,
        source,
        send_proxy,
        fast_open,
        non_stick,
        patience,
        tls,
        pool,
        naming,
    } = settings;
    table.maybe("weight", weight.map(u32::from));
    table.maybe("backup", *backup);
    table.maybe("disabled", *disabled);
    table.maybe("minconn", minconn.as_deref().copied());
    table.maybe("maxconn", *maxconn);
    table.maybe("maxqueue", maxqueue.as_deref().copied());
    table.maybe("slowstart", slowstart.map(words::duration));
    table.maybe("on-marked-down", ends_own.as_ref().map(|ends| word::MARKED_DOWN.name(ends)));
    table.maybe("on-marked-up", ends_spares.as_ref().map(|ends| word::MARKED_UP.name(ends)));
    table.maybe("cookie", cookie.as_ref().map(|cookie| cookie.value().clone()));
    table.maybe("proto", protocol.as_ref().map(|protocol| word::PROTOCOL.name(protocol)));
    table.maybe("source", source.as_deref().map(self::source));
    table.maybe("send-proxy", send_proxy.map(self::send_proxy));
    table.maybe("non-stick", *non_stick);
    table.maybe("tfo", *fast_open);
    table.maybe("tcp-ut", patience.map(words::duration));
    table.maybe("tls", self::tls(tls));
    table.maybe("check", check.as_ref().and_then(self::check));
    table.maybe("agent", self::agent(agent));
    table.maybe("track", track.as_ref().map(|track| words::tracked(track)));
    names(table, naming);
    let ServerPoolSettings { most_idle, purge_delay, most_reuses } = pool;
    table.maybe("pool-max-conn", most_idle.map(limit));
    table.maybe("pool-purge-delay", purge_delay.map(words::duration));
    table.maybe("max-reuse", most_reuses.map(limit));
}

/// Writes how a name becomes an address.
fn names(table: &mut Table, naming: &NamingSettings) {
    let NamingSettings { resolvers, init, prefer, networks, options } = naming;
    let place = |place: &InitAddress| match place {
        InitAddress::Last => "last".to_owned(),
        InitAddress::Libc => "libc".to_owned(),
        InitAddress::None => "none".to_owned(),
        InitAddress::Ip(ip) => ip.to_string(),
    };
    table.maybe("resolvers", resolvers.as_ref().map(|name| name.value().clone()));
    table.some("init-addr", init.iter().flatten().map(place));
    table.maybe("resolve-prefer", prefer.map(|family| if family == Family::V4 { "ipv4" } else { "ipv6" }));
    table.some("resolve-net", networks.iter().flatten().map(ToString::to_string));
    let options = options.map(|options| {
        let shared = if options.allow_duplicates { "allow-dup-ip" } else { "prevent-dup-ip" };
        [Some(shared), options.ignore_weight.then_some("ignore-weight")]
    });
    table.some("resolve-opts", options.into_iter().flatten().flatten());
}

fn limit(limit: Option<u32>) -> Value {
    limit.map_or_else(|| "unlimited".into(), Value::from)
}

/// Writes where connections come from.
pub(super) fn source(source: &ServerSource) -> Value {
    let ServerSource { ip, ports, interface, guise } = source;
    let address = match (ip, ports) {
        (None, _) => None,
        (Some(ip), None) => Some(ip.to_string()),
        (Some(ip), Some(ports)) if ip.is_ipv6() => Some(format!("[{ip}]:{ports}")),
        (Some(ip), Some(ports)) => Some(format!("{ip}:{ports}")),
    };
    if let (None, None) = (interface, guise) {
        return address.unwrap_or_else(|| "*".to_owned()).into();
    }
    let mut table = Table::default();
    table.maybe("address", address);
    table.maybe("interface", interface.clone());
    table.maybe("usesrc", guise.map(whose));
    Value::Table(table)
}

fn whose(guise: Guise) -> String {
    match guise {
        Guise::Client => "client".to_owned(),
        Guise::ClientIp => "clientip".to_owned(),
        Guise::Address(address) if address.port() == 0 => address.ip().to_string(),
        Guise::Address(address) => address.to_string(),
    }
}

fn send_proxy(switch: ProxySwitch) -> Value {
    match switch {
        ProxySwitch::Off => Value::Switch(false),
        ProxySwitch::On(SendProxy::V1) => Value::Switch(true),
        ProxySwitch::On(SendProxy::V2 { checksum: false }) => "v2".into(),
        ProxySwitch::On(SendProxy::V2 { checksum: true }) => {
            let mut table = Table::default();
            table.put("version", "v2");
            table.put("options", Value::List(vec!["crc32c".into()]));
            Value::Table(table)
        }
    }
}

fn tls(tls: &ServerTlsSettings) -> Option<Value> {
    let ServerTlsSettings { on, verify, ca, crl, sni, verify_host, certificate, alpn, resumption, tickets, protocol } = tls;
    let mut table = Table::default();
    table.maybe("verify", verify.as_ref().map(|verify| word::SERVER_AUTH.name(verify)));
    table.some("ca", ca.iter().flat_map(|files| bind::paths(files)));
    table.some("crl", crl.iter().flat_map(|files| bind::paths(files)));
    table.maybe("sni", sni.as_ref().map(|sni| sni.value().clone()));
    table.maybe("verify-host", verify_host.as_ref().map(|host| host.value().clone()));
    table.maybe("certificate", certificate.as_ref().map(|file| file.display().to_string()));
    table.some("alpn", alpn.iter().flatten().cloned());
    table.maybe("resumption", *resumption);
    table.maybe("tickets", *tickets);
    bind::protocol(&mut table, protocol);
    switched(*on, table)
}

/// Writes settings that something is switched on or off with, or neither.
fn switched(on: Option<bool>, mut table: Table) -> Option<Value> {
    match (on, table.is_empty()) {
        (None, true) => None,
        (Some(on), true) => Some(Value::Switch(on)),
        (Some(true), false) => Some(Value::Table(table)),
        (on, false) => {
            table.insert("on", on.map_or_else(|| "inherit".into(), Value::from));
            Some(Value::Table(table))
        }
    }
}

fn agent(agent: &AgentSettings) -> Option<Value> {
    let AgentSettings { on, inter, question, address, port } = agent;
    let mut table = Table::default();
    table.maybe("address", address.map(|address| address.to_string()));
    table.maybe("port", *port);
    table.maybe("inter", inter.map(words::duration));
    table.maybe("send", question.clone());
    switched(on.as_deref().copied(), table)
}

/// Writes whether and how something is checked; nothing where that is left to others altogether.
pub(super) fn check(check: &CheckSwitch) -> Option<Value> {
    match check {
        CheckSwitch::Off => Some(Value::Switch(false)),
        CheckSwitch::On(settings) => switched(Some(true), check_settings(settings)),
        CheckSwitch::Ready(settings) => switched(None, check_settings(settings)),
    }
}

fn check_settings(settings: &CheckSettings) -> Table {
    let CheckSettings {
        sequence: _,
        recipe,
        inter,
        fastinter,
        downinter,
        timeout,
        rise,
        fall,
        port,
        address,
        send_proxy,
        tls,
        sni,
        alpn,
        version,
        init_state,
        observe,
        error_limit,
        on_error,
    } = settings;
    let mut table = Table::default();
    if let Some((kind, recipe)) = recipe.as_ref().map(|recipe| self::recipe(recipe)) {
        table.put(kind, recipe);
    }
    for (key, time) in [("inter", inter), ("fastinter", fastinter), ("downinter", downinter), ("timeout", timeout)] {
        table.maybe(key, time.map(words::duration));
    }
    table.maybe("rise", *rise);
    table.maybe("fall", *fall);
    table.maybe("port", *port);
    table.maybe("address", address.map(|address| address.to_string()));
    table.maybe("send-proxy", *send_proxy);
    table.maybe("tls", *tls);
    table.maybe("sni", sni.clone());
    table.some("alpn", alpn.iter().flatten().cloned());
    table.maybe("proto", version.as_ref().map(|version| word::PROTOCOL.name(version)));
    table.maybe("init-state", init_state.as_ref().map(|state| word::INIT_STATE.name(state)));
    table.maybe("observe", observe.as_ref().map(|layer| word::LAYER.name(layer)));
    table.maybe("error-limit", *error_limit);
    table.maybe("on-error", on_error.as_ref().map(|action| word::ON_ERROR.name(action)));
    table
}

/// Writes what a check says and expects: its kind, and the settings of that.
fn recipe(recipe: &Recipe) -> (&'static str, Table) {
    let Recipe { option, steps, disable_on_404, send_state } = recipe;
    let mut table = Table::default();
    let is_step = |text: &&str| !matches!(*text, "disable-on-404" | "send-state");
    let lines: Vec<Value> = words::texts(steps).filter(is_step).map(Value::from).collect();
    match option {
        CheckOption::Http(request) => {
            self::request(&mut table, request);
            if !lines.is_empty() {
                table.put("steps", Value::List(lines));
            }
            table.flags([("disable-on-404", *disable_on_404), ("send-state", *send_state)]);
            ("http", table)
        }
        CheckOption::Tcp => {
            table.put("steps", Value::List(lines));
            ("tcp", table)
        }
        CheckOption::Udp(_) => {
            table.put("steps", Value::List(lines));
            ("udp", table)
        }
        CheckOption::Protocol(_, text) => protocol(text, table),
        CheckOption::External(_, External { command, path }) => {
            table.maybe("command", command.as_ref().map(|command| command.display().to_string()));
            table.maybe("path", path.as_ref().map(|path| path.value().clone()));
            ("external", table)
        }
    }
}

fn request(table: &mut Table, request: &Request) {
    let Request { method: _, target, version: _, headers, body } = request;
    table.put("method", request.method());
    table.maybe("path", target.as_ref().map(words::plain));
    table.put("version", word::HTTP_VERSION.name(&request.version()));
    let mut fields = Table::default();
    for (index, (name, _)) in headers.iter().enumerate() {
        if headers[..index].iter().all(|(other, _)| other != name) {
            fields.some(name, headers.iter().filter(|(other, _)| other == name).map(|(_, value)| words::plain(value)));
        }
    }
    table.table("headers", fields);
    table.maybe("body", body.as_ref().map(words::plain));
}

/// Writes the check of a protocol by the words behind `option`.
fn protocol(text: &str, mut table: Table) -> (&'static str, Table) {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        ["ldap-check", ..] => ("ldap", table),
        ["grpc-check", ..] => {
            table.maybe("service", words.get(2).map(|service| (*service).to_owned()));
            ("grpc", table)
        }
        ["dns-check", ..] => {
            let behind = |word: &str| words.iter().position(|known| *known == word).and_then(|at| words.get(at + 1));
            table.maybe("name", behind("name").map(|name| (*name).to_owned()));
            table.maybe("type", behind("type").map(|kind| (*kind).to_owned()));
            ("dns", table)
        }
        ["quic-check"] => ("quic", table),
        ["mysql-check", ..] => {
            if let Some(user) = words.get(2) {
                table.put("user", *user);
                table.flags([("pre-41", words.get(3) == Some(&"pre-41"))]);
            }
            ("mysql", table)
        }
        ["pgsql-check", _, user, ..] => {
            table.put("user", user);
            ("pgsql", table)
        }
        ["redis-check", ..] => ("redis", table),
        ["smtpchk", hello @ ("HELO" | "EHLO"), domain, ..] => {
            table.put("hello", hello);
            table.put("domain", domain);
            ("smtp", table)
        }
        ["smtpchk", ..] => ("smtp", table),
        _ => ("ssl-hello", table),
    }
}

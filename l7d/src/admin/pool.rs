//! Commands that change which servers a backend has, and where they are.

use std::net::IpAddr;
use std::time::Duration;

use control::admin::{Call, Command, Reply, Urgency, servers};
use control::config::{Config, Dynamic, NamedAddress, ServerId, canonical_name};
use control::server_state::Status;

use super::{Engine, later};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![
        later("add server", "<bk>/<srv> <addr> [<keyword>]*", "create a new server, in maintenance", |engine, call| {
            Box::pin(async move { engine.amend(settled(call).await, add).await })
        }),
        later("del server", "<bk>/<srv>", "remove a server that is in maintenance", |engine, call| engine.amend(call, remove)),
        later("enable dynamic-cookie backend", "<bk>", "make values of a cookie of addresses", |engine, call| {
            engine.amend(call, |_, config, call| set_cookie(config, call, Dynamic::On))
        }),
        later("disable dynamic-cookie backend", "<bk>", "make no values of a cookie of addresses", |engine, call| {
            engine.amend(call, |_, config, call| set_cookie(config, call, Dynamic::Off))
        }),
        later("set dynamic-cookie-key backend", "<bk> <k>", "change what values of a cookie are made of", |engine, call| {
            engine.amend(call, |_, config, call| set_cookie(config, call, Dynamic::Key(call.word(1).to_owned())))
        }),
    ]
}

/// What becomes of the configuration, and what is answered; or only the answer.
pub(super) type Outcome = Result<(Config, Reply), Reply>;

/// Answers in words of HAProxy's that do not end their line.
fn bare(text: &str) -> Reply {
    Reply::Message(Urgency::Error, text.to_owned())
}

fn names(call: &Call) -> Result<(&str, &str), Reply> {
    let names = call.word(0).split_once('/').filter(|(_, server)| !server.is_empty());
    names.ok_or_else(|| bare("Require 'backend/server'."))
}

/// Returns the command with an address of its server in place of a name, which is asked for this once.
async fn settled(mut call: Call) -> Call {
    let Some(word) = call.arguments.get_mut(1) else { return call };
    let (host, port) = word.rsplit_once(':').map_or((word.as_str(), None), |(host, port)| (host, port.parse::<u16>().ok()));
    let is_name = canonical_name(host).is_some() && !host.starts_with('_') && host.parse::<IpAddr>().is_err();
    if !is_name {
        return call;
    }
    let asked = tokio::net::lookup_host((host, port.unwrap_or(0)));
    let found = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok).and_then(|mut all| all.next());
    if let Some(found) = found {
        *word = port.map_or_else(|| found.ip().to_string(), |_| found.to_string());
    }
    call
}

fn add(_: &Engine, config: &Config, call: &Call) -> Outcome {
    let (backend, server) = names(call)?;
    let model = config.backend_named(backend).ok_or_else(|| bare("No such backend."))?;
    if config.server_named(backend, server).is_some() {
        return Err(Reply::error("Already exists a server with the same name in backend."));
    }
    if call.word(1).is_empty() {
        return Err(Reply::error("'server' expects <name> and <addr>[:<port>] as arguments."));
    }
    let words: Vec<String> = [server.to_owned()].into_iter().chain(call.rest(1).iter().cloned()).collect();
    let changed = config.with_server(model.id(), &words).map_err(Reply::error)?;
    let made = changed.server_named(backend, server);
    if made.and_then(|made| made.tls()).is_some_and(|tls| tls.sni().is_some()) {
        return Err(Reply::error("'sni' of a server takes a reload."));
    }
    Ok((changed, Reply::message(Urgency::Info, "New server registered.")))
}

fn remove(engine: &Engine, config: &Config, call: &Call) -> Outcome {
    let (backend, server) = names(call)?;
    config.backend_named(backend).ok_or_else(|| bare("No such backend."))?;
    let id = config.server_named(backend, server).ok_or_else(|| bare("No such server."))?.id();
    if engine.fleet.status(id) != Status::Maint {
        return Err(bare("Only servers in maintenance mode can be deleted."));
    }
    let is_meant = |track: &control::config::Tracked| (track.backend(), track.server()) == (backend, server);
    if config.servers().iter().filter_map(control::config::Server::track).any(is_meant) {
        return Err(bare("This server cannot be removed at runtime due to other configuration elements pointing to it."));
    }
    let site = engine.site();
    let pool = site.backends().iter().find(|pool| pool.name() == backend);
    let machine = pool.and_then(|pool| pool.servers().iter().find(|machine| machine.name() == server));
    if machine.is_some_and(|machine| machine.load().active() > 0) {
        return Err(bare("Server still has connections attached to it, cannot remove it."));
    }
    Ok((config.without_server(id), Reply::Message(Urgency::Info, "Server deleted.".to_owned())))
}

/// Lets a backend's cookie have dynamic values, or have none, or others.
fn set_cookie(config: &Config, call: &Call, dynamic: Dynamic) -> Outcome {
    if call.word(0).is_empty() {
        return Err(Reply::error("A backend name is expected."));
    }
    let backend = config.backend_named(call.word(0)).ok_or_else(|| Reply::error("No such backend."))?;
    if dynamic == Dynamic::Key(String::new()) {
        return Err(Reply::error("String value expected."));
    }
    Ok((config.with_dynamic_cookie(backend.id(), dynamic), Reply::Done))
}

/// Answers `set server <b>/<s> addr <address> [port <port>]`.
pub(super) fn set_address(engine: &Engine, config: &Config, call: &Call) -> Outcome {
    let server = servers::find(&engine.fleet.view(), call.word(0))?;
    if call.word(2).is_empty() {
        return Err(Reply::error("set server <b>/<s> addr requires an address and optionally a port."));
    }
    let ip = address(call.word(2))?;
    let model = config.server(server);
    let mut said = Vec::new();
    match model.ip() {
        Some(old) if old == ip => said.push("no need to change the addr".to_owned()),
        Some(old) => said.push(format!("IP changed from '{old}' to '{ip}'")),
        None if model.address().named().is_some() => said.push(format!("IP changed from '' to '{ip}'")),
        None => return Err(Reply::error("a server on a Unix socket keeps its address.")),
    }
    let mut port = model.port();
    if call.word(3) == "port" {
        match call.word(4) {
            word if word.starts_with(['+', '-']) => said.push(PORT_MAP.to_owned()),
            word => match word.parse::<u16>() {
                Err(_) => said.push(format!("problem converting port '{word}' to an int")),
                Ok(new) if port == Some(new) => said.push("no need to change the port".to_owned()),
                Ok(new) => {
                    said.push(format!("port changed from '{}' to '{new}'", port.unwrap_or(0)));
                    port = Some(new);
                }
            },
        }
    }
    Ok((config.with_address(server, ip, port), Reply::message(Urgency::Info, format!("{} {BY}", said.join(", ")))))
}

/// Answers `set server <b>/<s> fqdn <name>`.
pub(super) fn set_name(engine: &Engine, config: &Config, call: &Call) -> Outcome {
    let server = servers::find(&engine.fleet.view(), call.word(0))?;
    let (model, host) = (config.server(server), call.word(2));
    if host.is_empty() {
        return Err(Reply::error("set server <b>/<s> fqdn requires a FQDN."));
    }
    let named = model.address().named();
    if named.and_then(NamedAddress::service).is_some() {
        return Err(Reply::error("set server <b>/<s> fqdn failed because SRV resolution is configured."));
    }
    if model.naming().resolvers().is_none() || model.address().unix().is_some() {
        return Err(Reply::error("set server <b>/<s> fqdn failed because no resolution is configured."));
    }
    if canonical_name(host).is_none() || host.starts_with('_') {
        return Err(Reply::error(format!("could not update {} FQDN {BY}", call.word(0))));
    }
    let before = named.and_then(NamedAddress::host);
    if before == Some(host) {
        return Err(Reply::error(format!("no need to change the FDQN {BY}")));
    }
    let said = format!("{} changed its FQDN from {} to {host} {BY}", call.word(0), before.unwrap_or("(null)"));
    Ok((config.with_name(server, host), Reply::message(Urgency::Info, said)))
}

/// Answers `set server <b>/<s> check-addr <address> [port <port>]` and `check-port <port>`.
pub(super) fn set_check_target(engine: &Engine, config: &Config, call: &Call) -> Outcome {
    let server = servers::find(&engine.fleet.view(), call.word(0))?;
    if config.server(server).check().is_none() {
        return Err(bare("health checks are not enabled on this server"));
    }
    let (ip, port) = match call.word(1) {
        "check-addr" => (Some(address(call.word(2))?), Some(call.word(4)).filter(|_| call.word(3) == "port")),
        _ => (None, Some(call.word(2))),
    };
    let port = port.map(|port| port.parse::<u16>().map_err(|_| bare("provided port is not valid."))).transpose()?;
    Ok((config.with_check_target(server, ip, port), Reply::Done))
}

fn address(word: &str) -> Result<IpAddr, Reply> {
    word.parse().map_err(|_| Reply::error(format!("Invalid addr '{word}' {BY}")))
}

/// Answers `set maxconn server <b>/<s> <number>`.
pub(super) fn set_maxconn(engine: &Engine, config: &Config, call: &Call) -> Outcome {
    let server: ServerId = servers::find(&engine.fleet.view(), call.word(0))?;
    if call.word(1).is_empty() {
        return Err(Reply::error("Require <maxconn>."));
    }
    let most: u32 = call.word(1).parse().map_err(|_| bare("maxconn string empty or preceded by garbage"))?;
    Ok((config.with_server_maxconn(server, Some(most).filter(|most| *most > 0)), Reply::Done))
}

/// How long the system may look for an address.
const PATIENCE: Duration = Duration::from_secs(5);

const BY: &str = "by 'stats socket command'";
const PORT_MAP: &str = "can't change <port> to port map because it is incompatible with current health check port configuration \
    (use 'port' statement from the 'server' directive.";

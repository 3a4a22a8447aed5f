//! The check of one server: its own settings over those of its backend and of the file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Resolver, proxy};
use crate::config::amend::NOWHERE;
use crate::config::haproxy::sequence;
use crate::config::model::{
    Action, Agent, Check, InitState, Layer, Mode, Observe, Program, Protocol, SendProxy, Sequence, ServerAddress, ServerSource, ServerTls,
    Target, Timeout, Timeouts,
};
use crate::config::written::{self, CheckSettings, CheckSwitch, ServerSettings};

/// How connections to a server are made.
pub(super) struct Connection<'s> {
    pub(super) timeouts: &'s Timeouts,
    pub(super) source: Option<&'s ServerSource>,
    pub(super) send_proxy: Option<SendProxy>,
    pub(super) tls: Option<&'s ServerTls>,
    pub(super) protocol: Option<Protocol>,
    /// All settings of the server, widest first.
    pub(super) layers: &'s [&'s ServerSettings],
}

/// Makes the check of a server; none where it has none.
pub(super) fn check(
    resolver: &mut Resolver,
    backend: &written::Backend,
    server: &written::Server,
    connection: &Connection<'_>,
) -> Option<Check> {
    let defaults = &*backend.defaults;
    let layers = [&defaults.check, &defaults.default_server.check, &backend.check, &backend.default_server.check, &server.settings.check];
    let settings = merged(layers.into_iter().flatten())?;
    let address = server.address.as_ref()?;
    let Some(target) = target(&settings, address) else {
        let message = format!("server `{}` has no port to check", server.name);
        resolver.error(address.location(), message, "give it a port, or write check = { port = … }");
        return None;
    };
    // A check that goes elsewhere is not expected to meet who reads the header.
    let elsewhere = settings.port.is_some() || settings.address.is_some();
    let sends_proxy = settings.send_proxy.unwrap_or(!elsewhere && connection.send_proxy.is_some());
    let secure = settings.tls.unwrap_or(!elsewhere && connection.tls.is_some());
    let sequence = settings.sequence.clone().unwrap_or_else(sequence::plain);
    external(resolver, &sequence);
    let is_program = program(&sequence).is_some();
    let tls = (secure || asks_for_tls(&sequence)).then(|| ServerTls {
        alpn: settings.alpn.clone().unwrap_or_default(),
        sni: None,
        ..connection.tls.cloned().unwrap_or_else(|| super::tls::settings(resolver, server, connection.layers, None))
    });
    let is_inet = matches!(target, Target::Inet(_));
    let interval = settings.inter.unwrap_or(DEFAULT_INTERVAL);
    let (connect_timeout, timeout) = limits(&settings, interval, connection.timeouts);
    // HAProxy gives a program as long as it gives a connection, unless its time is told.
    let timeout = if is_program { settings.timeout.unwrap_or(connect_timeout) } else { timeout };
    let observe = observe(resolver, backend, &settings);
    Some(Check {
        sequence,
        target,
        source: connection.source.filter(|_| is_inet).cloned(),
        send_proxy: sends_proxy.then_some(connection.send_proxy.unwrap_or(SendProxy::V1)),
        secure,
        version: settings.version.or(connection.protocol.filter(|_| !elsewhere)),
        tls,
        sni: settings.sni,
        interval,
        fast_interval: settings.fastinter.unwrap_or(interval),
        down_interval: settings.downinter.unwrap_or(interval),
        connect_timeout,
        timeout,
        rise: settings.rise.unwrap_or(DEFAULT_RISE),
        fall: settings.fall.unwrap_or(DEFAULT_FALL),
        init_state: settings.init_state.unwrap_or_default(),
        observe,
    })
}

/// Returns the program that checks.
fn program(sequence: &Sequence) -> Option<&Program> {
    sequence.steps().iter().find_map(|step| match step.action() {
        Action::Run(program) => Some(program),
        Action::Connect(_)
        | Action::Send(_)
        | Action::Request(_)
        | Action::Expect(_)
        | Action::SetVariable(..)
        | Action::UnsetVariable(_) => None,
    })
}

/// Sees that programs may be started where one checks.
fn external(resolver: &mut Resolver, sequence: &Sequence) {
    let Some(program) = program(sequence) else { return };
    let (allowed, location) = (resolver.external, program.command.location().clone());
    if !allowed.allowed {
        resolver.error(&location, "an external check needs `external-check` in `global`", "add external-check to section global");
    } else if !allowed.forks {
        let message = "a program is started, and `global` does not say `insecure-fork-wanted`";
        resolver.warning(&location, message, "add insecure-fork-wanted to section global");
    }
}

/// Returns how traffic tells of a server's health.
fn observe(resolver: &mut Resolver, backend: &written::Backend, settings: &CheckSettings) -> Option<Observe> {
    let layer = settings.observe.as_ref()?;
    if *layer.value() == Layer::Layer7 && proxy::mode(&backend.defaults.proxy, &backend.proxy) == Mode::Tcp {
        let message = format!("`observe layer7` needs responses, backend `{}` has mode tcp", backend.name);
        resolver.error(layer.location(), message, "observe = \"layer4\", or mode = \"http\"");
    }
    let (limit, on_error) = (settings.error_limit.unwrap_or(DEFAULT_ERROR_LIMIT), settings.on_error.unwrap_or_default());
    Some(Observe { layer: *layer.value(), limit, on_error })
}

/// Makes the agent of a server; none where it has none.
pub(super) fn agent(resolver: &mut Resolver, server: &written::Server, connection: &Connection<'_>) -> Option<Agent> {
    let of = |setting: fn(&ServerSettings) -> bool| {
        connection.layers.iter().rev().find(|settings| setting(settings)).map(|settings| &settings.agent)
    };
    let on = of(|settings| settings.agent.on.is_some()).and_then(|agent| agent.on.clone()).filter(|on| *on.value())?;
    let port = of(|settings| settings.agent.port.is_some()).and_then(|agent| agent.port);
    let own = of(|settings| settings.agent.address.is_some()).and_then(|agent| agent.address);
    let of_server = |address: &ServerAddress| address.ip().or(address.named().map(|_| NOWHERE));
    let Some((ip, port)) = own.or_else(|| of_server(server.address.as_ref()?)).zip(port) else {
        let message = format!("the agent of server `{}` has no port", server.name);
        resolver.error(on.location(), message, "write agent-port, and agent-addr for a Unix socket");
        return None;
    };
    let interval = of(|settings| settings.agent.inter.is_some()).and_then(|agent| agent.inter).unwrap_or(DEFAULT_INTERVAL);
    let (connect_timeout, timeout) = limits(&CheckSettings::default(), interval, connection.timeouts);
    let question = of(|settings| settings.agent.question.is_some()).and_then(|agent| agent.question.clone()).unwrap_or_default();
    let check = Check {
        sequence: sequence::plain(),
        target: Target::Inet(SocketAddr::new(ip, port)),
        source: connection.source.cloned(),
        send_proxy: None,
        secure: false,
        version: None,
        tls: None,
        sni: None,
        interval,
        fast_interval: interval,
        down_interval: interval,
        connect_timeout,
        timeout,
        rise: 1,
        fall: 1,
        init_state: InitState::Up,
        observe: None,
    };
    Some(Agent { check, question: question.into_bytes() })
}

/// Tells whether a step speaks TLS of its own accord.
fn asks_for_tls(sequence: &Sequence) -> bool {
    sequence.steps().iter().any(|step| matches!(step.action(), Action::Connect(connect) if connect.tls()))
}

/// Tells whether every connection goes to a port that a step names.
fn names_ports(sequence: Option<&Arc<Sequence>>) -> bool {
    let mut connects = sequence.iter().flat_map(|sequence| sequence.steps()).filter_map(|step| match step.action() {
        Action::Connect(connect) => Some(connect.port().is_some()),
        Action::Send(_) | Action::Request(_) | Action::Expect(_) | Action::SetVariable(..) | Action::UnsetVariable(_) | Action::Run(_) => {
            None
        }
    });
    sequence.is_some() && connects.all(|has_port| has_port)
}

/// Returns where probes go: the server's own address, but for what the check has of its own.
fn target(settings: &CheckSettings, address: &ServerAddress) -> Option<Target> {
    match (address, settings.address) {
        // Nobody goes to the port of 0 where every step has its own.
        (ServerAddress::Inet(ip, port), own) => settings
            .port
            .or(*port)
            .or(names_ports(settings.sequence.as_ref()).then_some(0))
            .map(|port| Target::Inet(SocketAddr::new(own.unwrap_or(*ip), port))),
        (ServerAddress::Named(named), own) => settings
            .port
            .or(named.port)
            // The records of a service have ports.
            .or((named.service.is_some() || names_ports(settings.sequence.as_ref())).then_some(0))
            .map(|port| Target::Inet(SocketAddr::new(own.unwrap_or(NOWHERE), port))),
        (ServerAddress::Unix(_), Some(own)) => settings.port.map(|port| Target::Inet(SocketAddr::new(own, port))),
        (ServerAddress::Unix(unix), None) => Some(Target::Unix(unix.clone())),
    }
}

/// Tells whether checks were switched off on purpose.
pub(super) fn is_declined(backend: &written::Backend) -> bool {
    let defaults = &*backend.defaults;
    let own = backend.servers.iter().map(|server| &server.settings.check);
    let wider = [&defaults.check, &defaults.default_server.check, &backend.check, &backend.default_server.check];
    own.chain(wider).any(|switch| matches!(switch, Some(CheckSwitch::Off)))
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;
const DEFAULT_ERROR_LIMIT: u32 = 10;

/// Lays narrower settings over wider ones; none where the narrowest word is "off".
fn merged<'s>(layers: impl Iterator<Item = &'s CheckSwitch>) -> Option<CheckSettings> {
    let mut settings = CheckSettings::default();
    let mut on = false;
    for layer in layers {
        let layer = match layer {
            CheckSwitch::Off => {
                on = false;
                continue;
            }
            CheckSwitch::Ready(layer) => layer,
            CheckSwitch::On(layer) => {
                on = true;
                layer
            }
        };
        settings = CheckSettings {
            sequence: layer.sequence.clone().or(settings.sequence),
            recipe: None,
            inter: layer.inter.or(settings.inter),
            fastinter: layer.fastinter.or(settings.fastinter),
            downinter: layer.downinter.or(settings.downinter),
            timeout: layer.timeout.or(settings.timeout),
            rise: layer.rise.or(settings.rise),
            fall: layer.fall.or(settings.fall),
            port: layer.port.or(settings.port),
            address: layer.address.or(settings.address),
            send_proxy: layer.send_proxy.or(settings.send_proxy),
            tls: layer.tls.or(settings.tls),
            sni: layer.sni.clone().or(settings.sni),
            alpn: layer.alpn.clone().or(settings.alpn),
            version: layer.version.or(settings.version),
            init_state: layer.init_state.or(settings.init_state),
            observe: layer.observe.clone().or(settings.observe),
            error_limit: layer.error_limit.or(settings.error_limit),
            on_error: layer.on_error.or(settings.on_error),
        };
    }
    on.then_some(settings)
}

/// Returns how long connecting and the whole probe may take.
///
/// A check's own `timeout` limits the whole probe. A proxy's `timeout check` has HAProxy's meaning: it begins once connected.
/// Without either a probe ends when the next is due.
fn limits(settings: &CheckSettings, interval: Duration, timeouts: &Timeouts) -> (Duration, Duration) {
    let connect = timeouts.of(Timeout::Connect);
    let at_most = |limit: Duration| connect.map_or(limit, |connect| connect.min(limit));
    match (settings.timeout, timeouts.of(Timeout::Check)) {
        (Some(whole), _) => (at_most(whole), whole),
        (None, Some(answer)) => (at_most(interval), at_most(interval) + answer),
        (None, None) => (interval, interval),
    }
}

//! What a configuration may ask for and this daemon does not do yet.
//!
//! Whatever would be ignored is refused at start, with its place in the file: a proxy that silently leaves out a rule is worse than
//! one that does not start. What concerns the kernel tier alone is not ours to judge.

use std::collections::HashSet;

use control::config::{
    Backend, Balance, Bind, Config, Diagnostic, Frontend, Located, LogProfile, Mode, Peers, Report, Ring, Transport, suggest,
};
use tracing::info;

use crate::balance::Expression;
use crate::log::{self, Target};

/// Checks that everything in the configuration is carried out.
///
/// # Errors
/// Everything that is not, in the order of the file.
pub(crate) fn check(config: &Config) -> Result<(), Report> {
    let mut findings = Findings::default();
    findings.global(config);
    config.peers().iter().for_each(|peers| findings.peers(peers));
    config.backends().iter().for_each(|backend| findings.backend(backend));
    if findings.0.is_empty() { Ok(()) } else { Err(findings.0.into()) }
}

/// Returns what is valid and will surprise: frontends that write no log although there is where to write it.
pub(crate) fn advise(config: &Config) -> Report {
    let silent = config.frontends().iter().filter(|frontend| frontend.logging().targets().is_empty());
    let warn = |frontend: &Frontend| {
        Diagnostic::warning(frontend.location(), format!("frontend `{}` writes no log lines, although `log` is set", frontend.name()))
            .hint("add option httplog or tcplog")
    };
    let warnings: Vec<Diagnostic> = if config.global().log().is_empty() { Vec::new() } else { silent.map(warn).collect() };
    warnings.into()
}

/// Tells in the log what is left to the kernel tier.
pub(crate) fn announce(config: &Config) {
    let is_udp = |bind: &Bind| bind.address().inet().is_some_and(|inet| inet.transport() == Transport::Udp);
    for frontend in config.frontends() {
        for bind in frontend.binds().iter().filter(|bind| is_udp(bind)) {
            info!("{} of frontend {} is left to l4d", bind.address(), frontend.name());
        }
    }
}

#[derive(Debug, Default)]
struct Findings(Vec<Diagnostic>);

impl Findings {
    fn refuse(&mut self, location: &control::config::Location, message: impl Into<String>) {
        self.0.push(Diagnostic::error(location, message));
    }

    fn global(&mut self, config: &Config) {
        let of_frontends = config.frontends().iter().map(|frontend| frontend.logging().targets());
        let of_backends = config.backends().iter().map(|backend| backend.logging().targets());
        let of_others = config.log_forwards().iter().map(|section| section.logging().targets());
        let mut seen = HashSet::new();
        for target in std::iter::once(config.global().log()).chain(of_frontends).chain(of_backends).chain(of_others).flatten() {
            if seen.insert(target.location().to_string()) {
                self.target(config, target);
            }
        }
        self.0.extend(config.rings().iter().filter_map(|ring| log::check_format(ring.format()?).err()));
        for socket in config.global().stats_sockets() {
            if socket.address().inet().is_some_and(|inet| inet.transport().is_datagrams()) {
                self.refuse(socket.location(), "the runtime interface is a stream, not datagrams");
            }
        }
    }

    fn target(&mut self, config: &Config, target: &Located<String>) {
        let found = match Target::parse(target.value()) {
            Ok(found) => found,
            Err(fault) => return self.0.push(fault.into_diagnostic(target)),
        };
        let profiles: Vec<&str> = config.log_profiles().iter().map(LogProfile::name).collect();
        if let Some(name) = found.profile().filter(|name| !profiles.contains(name)) {
            self.0.push(Diagnostic::error(target.location(), format!("no log-profile `{name}`")).hint(suggest::hint(name, &profiles)));
        }
        let names: Vec<&str> = config.rings().iter().map(Ring::name).collect();
        if let Some(name) = found.ring().filter(|name| !names.contains(name)) {
            self.0.push(Diagnostic::error(target.location(), format!("no ring `{name}`")).hint(suggest::hint(name, &names)));
        }
    }

    fn peers(&mut self, peers: &Peers) {
        let binds = peers.members().iter().flat_map(|member| peers.binds(member.name()));
        for bind in binds.filter(|bind| bind.address().inet().is_some_and(|inet| inet.transport().is_datagrams())) {
            self.refuse(bind.location(), "peers speak over a stream, not datagrams");
        }
    }

    fn backend(&mut self, backend: &Backend) {
        self.balance(backend);
    }

    fn balance(&mut self, backend: &Backend) {
        match backend.balance() {
            Balance::RoundRobin
            | Balance::StaticRoundRobin
            | Balance::LeastConn
            | Balance::First
            | Balance::Source
            | Balance::Uri(_)
            | Balance::UrlParam(_)
            | Balance::Header(_)
            | Balance::RdpCookie(_)
            | Balance::Random(_) => {}
            Balance::Hash(text) => match Expression::parse(text) {
                None => {
                    let message = format!("l7d cannot balance by `{text}` yet");
                    self.0.push(Diagnostic::error(backend.location(), message).hint(format!("known: {}", Expression::KNOWN)));
                }
                Some(expression) if expression.is_http() && backend.mode() == Mode::Tcp => {
                    self.refuse(
                        backend.location(),
                        format!("`{text}` is a part of requests, and backend `{}` has mode tcp", backend.name()),
                    );
                }
                Some(_) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = r#"
[global]
log = "stdout format raw local0"
[defaults]
timeout = { connect = "1s", client = "1s", server = "1s" }
[frontend.loud]
bind = "127.0.0.1:8080"
option = ["httplog"]
default-backend = "b"
[frontend.silent]
bind = "127.0.0.1:8081"
default-backend = "b"
[backend.b]
server = { s = "127.0.0.1:8082" }
"#;

    #[test]
    fn a_frontend_that_logs_nowhere_is_named() {
        let config = Config::parse("site.toml", SITE).unwrap();
        let report = advise(&config);
        let messages: Vec<_> = report.diagnostics().iter().map(Diagnostic::message).collect();
        assert_eq!(messages, ["frontend `silent` writes no log lines, although `log` is set"]);
        let without = Config::parse("site.toml", &SITE.replace("log = \"stdout format raw local0\"", "")).unwrap();
        assert!(advise(&without).is_empty());
    }
}

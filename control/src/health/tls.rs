//! TLS of probes: the server's own settings, and the host that probes ask for.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::connect::Failure;
use super::connection::Connection;
use crate::config::{Action, Check, Connect, Location, ServerTls};
use crate::fleet::CheckResult;
use crate::tls::{Client, Host};

/// What begins the TLS of probes, or why nothing can.
pub(super) type Secured = Result<Arc<Client>, String>;

/// What begins the TLS of each step of a check, by the protocols it offers.
#[derive(Default)]
pub(super) struct All(BTreeMap<Vec<String>, Arc<Secured>>);

impl All {
    /// Reads what a check names for its TLS; nothing where it is made without.
    pub(super) fn load(check: &Check, location: &Location) -> Self {
        let Some(tls) = check.tls() else { return Self::default() };
        let own = check.sequence().steps().iter().filter_map(|step| match step.action() {
            Action::Connect(connect) => Some(connect.alpn().to_vec()),
            Action::Send(_)
            | Action::Request(_)
            | Action::Expect(_)
            | Action::SetVariable(..)
            | Action::UnsetVariable(_)
            | Action::Run(_) => None,
        });
        let offers = own.chain([Vec::new()]);
        Self(offers.map(|offer| (offer.clone(), Arc::new(load(&tls.offering(offer), location)))).collect())
    }

    /// Returns what begins the TLS of a step.
    pub(super) fn of(&self, step: &Connect) -> Option<Arc<Secured>> {
        self.0.get(step.alpn()).cloned()
    }
}

fn load(tls: &ServerTls, location: &Location) -> Secured {
    let mut findings = Vec::new();
    let client = Client::load(tls, location, None, &mut findings);
    client.ok_or_else(|| findings.first().map_or_else(String::new, |finding| finding.message().to_owned()))
}

/// Shakes hands with the server.
pub(super) async fn begin(connection: Connection, sni: Option<&str>, secured: &Secured, deadline: Instant) -> Result<Connection, Failure> {
    let ours = |reason: String| (CheckResult::NotProbed, reason);
    let client = secured.as_ref().map_err(|reason| ours(reason.clone()))?;
    let host = sni.map_or(Host::Unstated, |host| Host::Named(host.as_bytes()));
    let name = Client::name(host).map_err(ours)?;
    let connector = TlsConnector::from(Arc::clone(client.config()));
    match timeout_at(deadline, connector.connect(name, connection)).await {
        Ok(Ok(stream)) => Ok(Connection::Tls(Box::new(stream))),
        Ok(Err(error)) => Err((CheckResult::TlsFailed, reason(&error))),
        Err(_) => Err((CheckResult::TlsTimeout, String::new())),
    }
}

fn reason(error: &io::Error) -> String {
    match error.get_ref() {
        Some(inner) => inner.to_string(),
        None => super::connect::reason(error),
    }
}

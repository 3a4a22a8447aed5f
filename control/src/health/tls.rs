//! TLS of probes: the server's own settings, and the host that probes ask for.

use std::io;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::tcp::Finding;
use crate::config::{Check, Location};
use crate::fleet::CheckResult;
use crate::tls::{Client, Host};

/// What begins the TLS of probes, or why nothing can.
pub(super) type Secured = Result<Arc<Client>, String>;

/// Reads what a check names for its TLS; none where it is made without.
pub(super) fn load(check: &Check, location: &Location) -> Option<Secured> {
    let tls = check.tls()?;
    let mut findings = Vec::new();
    let client = Client::load(tls, location, None, &mut findings);
    Some(client.ok_or_else(|| findings.first().map_or_else(String::new, |finding| finding.message().to_owned())))
}

/// Shakes hands with the server.
pub(super) async fn begin(connection: Connection, check: &Check, secured: &Secured, deadline: Instant) -> Result<Connection, Finding> {
    let ours = |reason: String| (CheckResult::NotProbed, reason);
    let client = secured.as_ref().map_err(|reason| ours(reason.clone()))?;
    let host = check.sni().map_or(Host::Unstated, |host| Host::Named(host.as_bytes()));
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
        None => error.kind().to_string(),
    }
}

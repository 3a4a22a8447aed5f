//! TLS: certificates and what decides about them, handshakes, and the records of a connection.
//!
//! Everything a configuration names is read once, before anything of it is served; a reload reads it all again. Cryptography is
//! rustls' with AWS-LC; the handshake runs on the thread that accepted the connection.

mod acceptor;
mod crt_list;
pub(crate) mod handshake;
mod identity;
mod layer;
mod records;
mod store;
mod suites;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use control::config::{Bind, Config, Diagnostic, Frontend, Report, Severity};

pub(crate) use acceptor::Acceptor;
pub(crate) use layer::{Agreed, Layer};

/// What all files that a configuration names for TLS amount to.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    acceptors: HashMap<String, Arc<Acceptor>>,
    warnings: Report,
}

impl Setup {
    /// Reads everything; sessions go on where a configuration before it trusted the same clients.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub(crate) fn load(config: &Config, before: Option<&Self>) -> Result<Self, Report> {
        let (mut setup, mut findings) = (Self::default(), Vec::new());
        for frontend in config.frontends() {
            for (index, bind) in frontend.binds().iter().enumerate() {
                let Some(model) = bind.tls() else { continue };
                let name = name(frontend.name(), bind);
                let old = before.and_then(|before| before.acceptors.get(&name)).map(|old| &**old);
                if let Some(acceptor) = Acceptor::load(index + 1, model, bind.location(), old, &mut findings) {
                    setup.acceptors.insert(name, Arc::new(acceptor));
                }
            }
        }
        if findings.iter().any(|finding: &Diagnostic| finding.severity() == Severity::Error) {
            return Err(findings.into());
        }
        setup.warnings = findings.into();
        Ok(setup)
    }

    /// Returns what is valid and will surprise.
    pub(crate) fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// Returns what accepts TLS on a bind.
    pub(crate) fn acceptor(&self, frontend: &Frontend, bind: &Bind) -> Option<&Arc<Acceptor>> {
        bind.tls().and_then(|_| self.acceptors.get(&name(frontend.name(), bind)))
    }
}

/// Names a bind so that it is known again after a reload.
fn name(frontend: &str, bind: &Bind) -> String {
    let interface = bind.interface().map_or("", |interface| interface.value());
    format!("{frontend} {} {interface}", bind.address())
}

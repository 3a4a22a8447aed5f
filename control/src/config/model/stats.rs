//! Where clients of a proxy see its statistics.

use std::time::Duration;

/// Where clients of a proxy see the statistics, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsPage {
    pub(in crate::config) uri: String,
    pub(in crate::config) realm: String,
    pub(in crate::config) accounts: Vec<String>,
    pub(in crate::config) refresh: Option<Duration>,
    pub(in crate::config) hides_version: bool,
    pub(in crate::config) node: Option<Option<String>>,
    pub(in crate::config) description: Option<String>,
    pub(in crate::config) scope: Option<Vec<String>>,
    pub(in crate::config) shows_legends: bool,
}

impl Default for StatsPage {
    fn default() -> Self {
        Self {
            uri: "/haproxy?stats".to_owned(),
            realm: "HAProxy Statistics".to_owned(),
            accounts: Vec::new(),
            refresh: None,
            hides_version: false,
            node: None,
            description: None,
            scope: None,
            shows_legends: false,
        }
    }
}

impl StatsPage {
    /// Returns how the targets of requests for it begin.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns what clients are told that they need a password for.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Returns who may see it, each as `name:password`; everyone may where there is none.
    pub fn accounts(&self) -> &[String] {
        &self.accounts
    }

    /// Returns how often browsers are to load it anew.
    pub fn refresh(&self) -> Option<Duration> {
        self.refresh
    }

    /// Tells whether it keeps the version to itself.
    pub fn hides_version(&self) -> bool {
        self.hides_version
    }

    /// Returns the name of the host it shows: none if it shows none, an inner none for the host's own.
    pub fn node(&self) -> Option<Option<&str>> {
        self.node.as_ref().map(Option::as_deref)
    }

    /// Returns the names of the only proxies it shows, of which `.` is the one it belongs to; it shows all where there is none.
    pub fn scope(&self) -> Option<&[String]> {
        self.scope.as_deref()
    }

    /// Tells whether it says where servers are and how they are chosen.
    pub fn shows_legends(&self) -> bool {
        self.shows_legends
    }

    /// Returns what it says besides.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

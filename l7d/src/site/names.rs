//! Which backend serves the name that a TLS client asks for, where TLS is not ended here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use control::config;

use super::Backend;

/// The backends of the names of a frontend.
#[derive(Debug)]
pub(crate) struct Names {
    exact: HashMap<String, Arc<Backend>>,
    /// By what follows the `*.`.
    wild: HashMap<String, Arc<Backend>>,
    delay: Duration,
}

impl Names {
    /// Returns the names of a frontend; none if it has none.
    pub(super) fn new(model: &config::Frontend, backends: &[Arc<Backend>]) -> Option<Self> {
        if model.sni().is_empty() {
            return None;
        }
        let mut names = Self { exact: HashMap::new(), wild: HashMap::new(), delay: model.inspect_delay().unwrap_or(DELAY) };
        for route in model.sni() {
            let Some(backend) = backends.get(route.backend().index()) else { continue };
            let (map, name) = match route.name().strip_prefix("*.") {
                Some(rest) => (&mut names.wild, rest),
                None => (&mut names.exact, route.name()),
            };
            map.insert(name.to_owned(), Arc::clone(backend));
        }
        Some(names)
    }

    /// Returns how long a client may take to say a name.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// Returns the backend of a name in lower case: its own, else that of the longest wildcard.
    pub(crate) fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        let mut parents = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        self.exact.get(name).or_else(|| parents.find_map(|parent| self.wild.get(parent)))
    }
}

/// How long is waited for a name where nothing else is said.
const DELAY: Duration = Duration::from_secs(5);

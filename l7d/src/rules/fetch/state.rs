//! How busy backends and servers are, and who of them takes traffic.

use crate::rules::view::View;
use crate::site::{Backend, Server};
use crate::stats::Counter;

/// A number that says how busy something is.
#[derive(Debug)]
pub(in crate::rules) enum State {
    /// How many servers of a backend take traffic.
    UsableServers(Option<Box<str>>),
    /// How many requests or connections a backend has.
    BackendConnections(Option<Box<str>>),
    /// How many of them wait.
    BackendQueue(Option<Box<str>>),
    /// How many connections this frontend serves.
    FrontendConnections,
    ServerConnections(ServerName),
    ServerQueue(ServerName),
}

/// A server by name.
#[derive(Debug)]
pub(in crate::rules) struct ServerName {
    pub(in crate::rules) backend: Option<Box<str>>,
    pub(in crate::rules) server: Box<str>,
}

impl State {
    pub(super) fn find(&self, view: &View<'_>) -> Option<i64> {
        let count = match self {
            Self::UsableServers(name) => backend(view, name.as_deref())?.usable_servers(),
            Self::BackendConnections(name) => {
                return i64::try_from(backend(view, name.as_deref())?.meter().sum(Counter::Current)).ok();
            }
            Self::BackendQueue(name) => backend(view, name.as_deref())?.waiting(),
            Self::FrontendConnections => usize::try_from(view.scene.site?.connections().1).ok()?,
            Self::ServerConnections(name) => usize::try_from(name.find(view)?.load().active()).ok()?,
            Self::ServerQueue(name) => usize::try_from(name.find(view)?.load().waiting()).ok()?,
        };
        i64::try_from(count).ok()
    }
}

impl ServerName {
    fn find<'v>(&self, view: &View<'v>) -> Option<&'v Server> {
        let backend = backend(view, self.backend.as_deref())?;
        backend.servers().iter().find(|server| server.name() == &*self.server)
    }
}

/// Returns the backend of that name, or the one at hand.
fn backend<'v>(view: &View<'v>, name: Option<&str>) -> Option<&'v Backend> {
    let name = name.or(view.scene.backend)?;
    view.scene.site?.pool(name.as_bytes())
}

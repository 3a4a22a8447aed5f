//! How busy backends and servers are, and who of them takes traffic.

use crate::queue::Load;
use crate::rules::view::View;
use crate::site::{Backend, Bustle, Server};
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
    /// How many sessions a backend got in the last second.
    BackendSessionRate(Option<Box<str>>),
    /// How many a frontend got.
    FrontendSessionRate(Option<Box<str>>),
    /// How many requests a frontend got in the last second.
    FrontendRequestRate(Option<Box<str>>),
    /// How many sessions a server got in the last second.
    ServerSessionRate(ServerName),
    /// How many connections a frontend serves.
    FrontendConnections(Option<Box<str>>),
    ServerConnections(ServerName),
    ServerQueue(ServerName),
    /// How many wait in a backend for each server that takes traffic.
    AverageQueue(Option<Box<str>>),
    /// How many more connections the servers of a backend take; -1 for any number.
    FreeConnections(Option<Box<str>>),
    /// The same, and how many more may wait for them.
    FreeSlots(Option<Box<str>>),
    /// How many more connections a server takes; -1 for any number.
    FreeOfServer(ServerName),
    /// The weight that the configuration gives a server.
    Weight(ServerName),
    /// The weight that is in force.
    EffectiveWeight(ServerName),
    /// Whether a server is up.
    ServerIsUp(ServerName),
    /// The class of the request or connection where it waits.
    PriorityClass,
    /// By how many milliseconds it counts as later there.
    PriorityOffset,
}

/// A server by name.
#[derive(Debug)]
pub(in crate::rules) struct ServerName {
    pub(in crate::rules) backend: Option<Box<str>>,
    pub(in crate::rules) server: Box<str>,
}

impl State {
    pub(in crate::rules) fn find(&self, view: &View<'_>) -> Option<i64> {
        let count = match self {
            Self::UsableServers(name) => backend(view, name.as_deref())?.usable_servers(),
            Self::BackendConnections(name) => {
                return i64::try_from(backend(view, name.as_deref())?.meter().sum(Counter::Current)).ok();
            }
            Self::BackendSessionRate(name) => return i64::try_from(backend(view, name.as_deref())?.meter().session_rate()).ok(),
            Self::FrontendSessionRate(name) => return i64::try_from(frontend(view, name.as_deref())?.meter.session_rate()).ok(),
            Self::FrontendRequestRate(name) => return i64::try_from(frontend(view, name.as_deref())?.meter.request_rate()).ok(),
            Self::ServerSessionRate(name) => return i64::try_from(name.find(view)?.meter().session_rate()).ok(),
            Self::PriorityClass => return Some(view.memory.wishes.priority.class().into()),
            Self::PriorityOffset => return Some(view.memory.wishes.priority.offset().into()),
            Self::BackendQueue(name) => backend(view, name.as_deref())?.waiting(),
            Self::FrontendConnections(name) => usize::try_from(frontend(view, name.as_deref())?.connections()).ok()?,
            Self::ServerConnections(name) => usize::try_from(name.find(view)?.load().active()).ok()?,
            Self::ServerQueue(name) => usize::try_from(name.find(view)?.load().waiting()).ok()?,
            Self::AverageQueue(name) => {
                let backend = backend(view, name.as_deref())?;
                match backend.usable_servers() {
                    // With nobody to serve them, they wait twice as long.
                    0 => backend.waiting() * 2,
                    servers => backend.waiting().div_ceil(servers),
                }
            }
            Self::FreeConnections(name) => return Some(free(backend(view, name.as_deref())?, |load| load.free())),
            Self::FreeSlots(name) => return Some(free(backend(view, name.as_deref())?, |load| Some(load.free()? + load.free_to_wait()?))),
            Self::FreeOfServer(name) => return Some(name.find(view)?.load().free().map_or(-1, i64::from)),
            Self::Weight(name) => usize::from(name.find(view)?.model().weight()),
            Self::EffectiveWeight(name) => usize::try_from(backend(view, name.backend.as_deref())?.weight(name.place(view)?)).ok()?,
            Self::ServerIsUp(name) => usize::from(name.is_up(view)?),
        };
        i64::try_from(count).ok()
    }
}

impl ServerName {
    fn place(&self, view: &View<'_>) -> Option<usize> {
        backend(view, self.backend.as_deref())?.servers().iter().position(|server| server.name() == &*self.server)
    }

    pub(super) fn is_up(&self, view: &View<'_>) -> Option<bool> {
        Some(backend(view, self.backend.as_deref())?.is_up(self.place(view)?))
    }

    fn find<'v>(&self, view: &View<'v>) -> Option<&'v Server> {
        let backend = backend(view, self.backend.as_deref())?;
        backend.servers().iter().find(|server| server.name() == &*self.server)
    }
}

/// Returns how many more all servers of a backend take that are up; -1 if one of them takes any number.
fn free(backend: &Backend, of: impl Fn(&Load) -> Option<u32>) -> i64 {
    let servers = backend.servers().iter().enumerate();
    let up: Vec<_> = servers.filter(|(place, _)| backend.is_up(*place)).map(|(_, server)| server).collect();
    // The others count while there is nobody else.
    let has_first = up.iter().any(|server| !server.model().backup());
    let counting = up.iter().filter(|server| !has_first || !server.model().backup());
    counting.map(|server| of(server.load()).map(i64::from)).sum::<Option<i64>>().unwrap_or(-1)
}

/// Returns the traffic of the frontend of that name, or of the one at hand.
fn frontend<'v>(view: &View<'v>, name: Option<&str>) -> Option<&'v Bustle> {
    let here = view.scene.site?;
    here.bustle_of(name.unwrap_or_else(|| here.name()))
}

/// Returns the backend of that name, or the one at hand.
fn backend<'v>(view: &View<'v>, name: Option<&str>) -> Option<&'v Backend> {
    let name = name.or(view.scene.backend)?;
    view.scene.site?.pool(name.as_bytes())
}

//! What ties one exchange to a server, from the request to the response.

use std::sync::Arc;

use control::config::{ServerKey, StoredKind};

use super::cookie::{Presented, Served, Weight};
use super::table::{Key, Table, now};
use super::{Given, Returned, date};
use crate::message::head::{RequestHead, ResponseHead};
use crate::rules::View;
use crate::site::{Backend, Server};

/// What a rule says about persistence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    /// A server is taken although it is down.
    Force,
    /// Nothing ties the exchange to a server.
    Ignore,
}

/// The server an exchange belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The place of the server.
    pub(crate) place: usize,
    /// How firmly.
    pub(crate) hold: Hold,
}

/// How firmly an exchange belongs to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// As long as the server is up.
    WhileUp,
    /// Also when it is down, until it cannot be connected to.
    WhileReachable,
    /// Come what may.
    Always,
}

/// What is noted in a table of the server that serves: under which key.
#[derive(Debug)]
pub(crate) struct Tie {
    /// The table.
    pub(crate) table: Arc<Table>,
    /// The key.
    pub(crate) key: Key,
}

/// Which server an entry is tied to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'k> {
    /// Its number, or 0.
    pub(crate) number: u64,
    /// Its name or address, which counts first.
    pub(crate) name: Option<&'k str>,
    /// Which of the two that is.
    pub(crate) by: ServerKey,
}

impl Known<'_> {
    /// Finds the server among those of a backend.
    fn find(self, backend: &Backend) -> Option<usize> {
        let named = |name: &str| backend.servers().iter().position(|server| called(server, self.by) == name);
        let numbered = || backend.servers().iter().position(|server| server.model().number() as u64 == self.number);
        self.name.and_then(named).or_else(numbered)
    }
}

/// Returns what entries call a server.
fn called(server: &Server, by: ServerKey) -> &str {
    match by {
        ServerKey::Name => server.name(),
        ServerKey::Address => server.address_text(),
    }
}

/// How many of them an exchange has, as in HAProxy.
pub(crate) const MOST_TIES: usize = 8;

/// What ties one exchange to a server.
#[derive(Debug, Default)]
pub(crate) struct Affinity<'a> {
    /// None without a persistence cookie.
    cookie: Option<(&'a Backend, Presented)>,
    persist: Option<Persist>,
    pin: Option<Pin>,
    /// Where the server is noted.
    ties: Vec<Tie>,
    /// Who is asked at last, and whether it is the one in `pin`.
    served: Option<(&'a Server, bool)>,
}

impl<'a> Affinity<'a> {
    /// Finds out which server a request belongs to, and takes away what that one is not to see; where rules have `directed` it to one, no
    /// cookie counts.
    pub(crate) fn of(backend: &'a Backend, head: &mut RequestHead, persist: Option<Persist>, directed: Option<Pin>) -> Self {
        if directed.is_some() {
            return Self { pin: directed, ..Self::of(backend, head, Some(Persist::Ignore), None) };
        }
        let hold = hold(backend, persist);
        let Some(cookie) = backend.cookie() else { return Self { persist, ..Self::default() } };
        let weight = if persist == Some(Persist::Ignore) { Weight::Ignored } else { Weight::Counts };
        let presented = cookie.read(&mut head.headers, weight, date::now(), |value| backend.named_by_cookie(value, hold));
        let pin = presented.server.map(|place| Pin { place, hold });
        Self { cookie: Some((backend, presented)), persist, pin, ties: Vec::new(), served: None }
    }

    /// Finds out which server a connection of mode tcp belongs to.
    pub(crate) fn of_connection(backend: &'a Backend, view: &View<'_>) -> Self {
        let persist = backend.rules().persistence(view);
        let told = || {
            let place = backend.named_by_rdp(view.scene.content?.bytes()?)?;
            Some(Pin { place, hold: hold(backend, persist) })
        };
        let mut affinity = Self { persist, pin: Self::directed(backend, persist, view).or_else(told), ..Self::default() };
        affinity.recall(backend, view);
        affinity
    }

    /// Asks the rules which server an exchange belongs to.
    pub(crate) fn directed(backend: &Backend, persist: Option<Persist>, view: &View<'_>) -> Option<Pin> {
        if !backend.rules().names_servers() {
            return None;
        }
        let hold = hold(backend, persist);
        let named = |name: &[u8]| backend.servers().iter().position(|server| server.name().as_bytes() == name);
        let is_usable = |place| hold != Hold::WhileUp || backend.is_up(place);
        backend.rules().server(view, named, is_usable).map(|place| Pin { place, hold })
    }

    /// Asks the tables which server it belongs to, where nothing else has said so; what else they are to learn is kept for later.
    pub(crate) fn recall(&mut self, backend: &Backend, view: &View<'_>) {
        let (hold, pin) = (hold(backend, self.persist), &mut self.pin);
        self.ties = backend.rules().recall(view, |known| {
            let Some(place) = known.find(backend) else { return false };
            let is_usable = hold != Hold::WhileUp || backend.is_up(place);
            if is_usable && pin.is_none() {
                *pin = Some(Pin { place, hold });
            }
            is_usable
        });
    }

    /// Notes the server that serves in the tables; `late` is what its answer adds.
    pub(crate) fn learn(&self, late: &[Tie]) {
        let has_news = !self.ties.is_empty() || !late.is_empty();
        let Some((server, _)) = self.served.filter(|(server, _)| has_news && !server.model().non_stick()) else { return };
        for tie in self.ties.iter().chain(late) {
            let name = tie.table.number_of_server(called(server, tie.table.srvkey()));
            tie.table.update(&tie.key, now(), |record| {
                record.set(StoredKind::ServerId, 0, server.model().number() as u64);
                record.set(StoredKind::ServerKey, 0, name);
            });
        }
    }

    /// Returns the server it belongs to, if there is one.
    pub(crate) fn pin(&self) -> Option<Pin> {
        self.pin
    }

    /// Returns what the client's cookie said; none where there is no such cookie, or the log has no letter for it.
    pub(crate) fn given(&self) -> Option<Given> {
        let (backend, presented) = self.cookie.as_ref()?;
        backend.cookie().filter(|cookie| cookie.is_logged()).map(|_| presented.given)
    }

    /// Notes which server is asked, and whether that is still because the exchange belongs to it.
    pub(crate) fn serve(&mut self, server: &'a Server, as_pinned: bool) {
        self.served = Some((server, as_pinned));
        if let Some((_, presented)) = self.cookie.as_mut().filter(|(_, presented)| !as_pinned && presented.given == Given::Valid) {
            presented.given = Given::Down;
        }
    }

    /// Lets the client know to whom it belongs from now on; returns what became of the cookie.
    pub(crate) fn respond(&self, request: &RequestHead, response: &mut ResponseHead) -> Option<Returned> {
        let (backend, presented) = self.cookie.as_ref()?;
        let (server, as_named) = self.served?;
        if self.persist == Some(Persist::Ignore) {
            return None;
        }
        let served = Served { value: server.cookie(), as_named };
        let cookie = backend.cookie()?;
        let returned = cookie.write(presented, served, request, response, date::now());
        cookie.is_logged().then_some(returned)
    }
}

/// Tells how firmly exchanges belong to the server that a cookie or a table names.
fn hold(backend: &Backend, persist: Option<Persist>) -> Hold {
    match persist {
        Some(Persist::Force) => Hold::Always,
        Some(Persist::Ignore) | None if backend.persists() => Hold::WhileReachable,
        Some(Persist::Ignore) | None => Hold::WhileUp,
    }
}

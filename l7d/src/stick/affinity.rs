//! What ties one exchange to a server, from the request to the response.

use super::cookie::{Presented, Served, Weight};
use super::{Given, Returned, date};
use crate::message::head::{RequestHead, ResponseHead};
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

/// What ties one exchange to a server.
#[derive(Debug, Default)]
pub(crate) struct Affinity<'a> {
    /// None without a persistence cookie.
    cookie: Option<(&'a Backend, Presented)>,
    persist: Option<Persist>,
    pin: Option<Pin>,
    /// Who is asked at last, and whether it is the one in `pin`.
    served: Option<(&'a Server, bool)>,
}

impl<'a> Affinity<'a> {
    /// Finds out which server a request belongs to, and takes away what that one is not to see.
    pub(crate) fn of(backend: &'a Backend, head: &mut RequestHead, persist: Option<Persist>) -> Self {
        let hold = match persist {
            Some(Persist::Force) => Hold::Always,
            Some(Persist::Ignore) | None if backend.persists() => Hold::WhileReachable,
            Some(Persist::Ignore) | None => Hold::WhileUp,
        };
        let Some(cookie) = backend.cookie() else { return Self { persist, ..Self::default() } };
        let weight = if persist == Some(Persist::Ignore) { Weight::Ignored } else { Weight::Counts };
        let presented = cookie.read(&mut head.headers, weight, date::now(), |value| backend.named_by_cookie(value, hold));
        let pin = presented.server.map(|place| Pin { place, hold });
        Self { cookie: Some((backend, presented)), persist, pin, served: None }
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

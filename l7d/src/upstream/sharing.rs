//! Which connections to servers serve more than one request, and whose: `http-reuse`.
//!
//! What an exchange may not share with other clients it may still share with those before and after it on the client's own connection:
//! such connections to servers are the client's [`Own`], and end with it.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use control::config::RetryCause;

use super::Upstream;
use super::pool::{self, Key, Lend, Manner};
use crate::downstream::{Downstream, Wire};
use crate::exchange::Turn;
use crate::message::head::Method;
use crate::site::{Backend, Reuse, Server};
use crate::stats::{Counter, Here, Meter};

/// Connections to servers that serve one client alone; few clients have any, so the list comes with the first.
#[derive(Debug, Default)]
pub(crate) struct Own(OnceCell<Box<RefCell<Vec<Kept>>>>);

#[derive(Debug)]
struct Kept {
    key: Key,
    connection: Upstream,
    _apart: Option<Apart>,
}

/// Counts a connection that waits for its own client while it does.
#[derive(Debug)]
struct Apart(Arc<Meter>);

impl Drop for Apart {
    fn drop(&mut self) {
        self.0.subtract(Counter::IdleOwn, 1);
    }
}

/// What one exchange may do with the connections there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sharing<'a> {
    own: &'a Own,
    reuse: Reuse,
    reach: Reach,
}

/// Where an exchange looks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Nowhere: it needs a new one.
    Nowhere,
    /// Among the client's own.
    Own,
    /// Also among those that have served others.
    Pool(Lend),
}

impl<'a> Sharing<'a> {
    /// Finds out what an exchange may do whose client has these connections of its own.
    pub(crate) fn of(backend: &Backend, client: &Downstream<'a>, turn: Turn, method: Method) -> Self {
        let is_retried = |cause| backend.retry_on().contains(cause);
        let causes = [RetryCause::ConnFailure, RetryCause::EmptyResponse, RetryCause::ResponseTimeout];
        // As in HAProxy: a client can repeat all but the first request of a connection of HTTP/1, and so can who is told to try again.
        let is_safe = turn == Turn::Later || matches!(client.wire, Wire::Stream(_)) || causes.into_iter().all(is_retried);
        let reuse = backend.reuse();
        let reach = match reuse {
            Reuse::Nothing => Reach::Nowhere,
            Reuse::Safe | Reuse::Aggressive | Reuse::Repeatable if is_safe => Reach::Pool(Lend::Any),
            Reuse::Repeatable if method.is_idempotent() => Reach::Pool(Lend::Any),
            Reuse::Own | Reuse::Safe | Reuse::Repeatable => Reach::Own,
            Reuse::Aggressive => Reach::Pool(Lend::Proven),
            Reuse::Always => Reach::Pool(Lend::Any),
        };
        Self { own: client.own, reuse, reach }
    }

    /// Lets the exchange have none but a new connection, because another was useless.
    pub(crate) fn forgo(&mut self) {
        self.reach = Reach::Nowhere;
    }

    /// Returns the place of the server to which the client has used a connection of its own last, where that is preferred to another.
    pub(crate) fn liked(&self, backend: &Backend) -> Option<usize> {
        if !backend.prefers_last() || self.reach == Reach::Nowhere {
            return None;
        }
        let mut all = self.own.0.get()?.borrow_mut();
        all.iter_mut().rev().find_map(|kept| backend.place_of(kept.key.server).filter(|_| kept.connection.is_ready()))
    }

    /// Finds a connection that may serve the exchange.
    pub(crate) fn find(&self, server: &Server, key: Key) -> Option<Upstream> {
        // A connection to a server without an address of its own leads to where one request wanted to go.
        if self.reach == Reach::Nowhere || server.address().is_none() {
            return None;
        }
        if let Some(connection) = self.own.take(key) {
            server.meter().here().inspect(Here::note_use);
            return Some(connection);
        }
        let Reach::Pool(lend) = self.reach else { return None };
        if !server.shares_connections() {
            return None;
        }
        let manner = if self.reuse == Reuse::Safe { Manner::Alone } else { Manner::Shared };
        let connection = pool::take(key, lend, manner)?;
        if manner == Manner::Alone {
            self.own.hold(key, &connection);
        }
        Some(connection)
    }

    /// Lets further exchanges have a part in a connection of HTTP/2 that was opened for this one.
    pub(crate) fn opened(&self, server: &Server, key: Key, connection: &Upstream) {
        let Upstream::H2(sender) = connection else { return };
        if server.address().is_none() {
            return;
        }
        match self.reuse {
            Reuse::Nothing => {}
            Reuse::Own | Reuse::Safe => self.own.hold(key, connection),
            Reuse::Aggressive | Reuse::Repeatable | Reuse::Always if !server.shares_connections() => self.own.hold(key, connection),
            // It is to prove itself first.
            Reuse::Aggressive => {}
            Reuse::Repeatable | Reuse::Always => pool::share(server, key, sender),
        }
    }

    /// Keeps a connection that has served the exchange.
    pub(crate) fn give_back(&self, server: &Server, key: Key, connection: Upstream) {
        if server.address().is_none() {
            return;
        }
        let is_own = self.reuse == Reuse::Own || !server.shares_connections();
        match connection {
            Upstream::H1(mut link) => {
                let may_again = link.serve(server);
                let connection = Upstream::H1(link);
                if may_again && is_own {
                    self.own.put(key, connection, Some(Apart::new(server)));
                } else if may_again {
                    pool::put(server, key, connection);
                }
            }
            // Whoever else has a part in it keeps it.
            Upstream::H2(_) if is_own || self.reuse == Reuse::Nothing => {}
            Upstream::H2(sender) if self.reuse == Reuse::Safe => {
                drop(sender);
                self.own.leave_idle(key).into_iter().for_each(|idle| pool::put(server, key, idle));
            }
            Upstream::H2(sender) => {
                pool::share(server, key, &sender);
                pool::release(server, key, sender);
            }
        }
    }
}

impl Own {
    fn take(&self, key: Key) -> Option<Upstream> {
        let mut all = self.0.get()?.borrow_mut();
        // What was lost meanwhile is of no use.
        all.retain_mut(|kept| kept.key != key || kept.connection.is_busy() || kept.connection.is_ready());
        let place = all.iter_mut().position(|kept| kept.key == key && kept.connection.is_ready())?;
        match &all[place].connection {
            Upstream::H1(_) => Some(all.swap_remove(place).connection),
            Upstream::H2(sender) => Some(Upstream::H2(sender.clone())),
        }
    }

    fn put(&self, key: Key, connection: Upstream, apart: Option<Apart>) {
        let mut all = self.0.get_or_init(Box::default).borrow_mut();
        if all.len() == MOST_OWN {
            all.remove(0);
        }
        all.push(Kept { key, connection, _apart: apart });
    }

    /// Keeps a part in a connection of HTTP/2.
    fn hold(&self, key: Key, connection: &Upstream) {
        if let Upstream::H2(sender) = connection {
            self.put(key, Upstream::H2(sender.clone()), None);
        }
    }

    /// Gives up the connections of a kind that carry nothing.
    fn leave_idle(&self, key: Key) -> Vec<Upstream> {
        let is_idle = |kept: &mut Kept| kept.key == key && !kept.connection.is_busy();
        let Some(all) = self.0.get() else { return Vec::new() };
        all.borrow_mut().extract_if(.., is_idle).map(|kept| kept.connection).collect()
    }
}

impl Apart {
    fn new(server: &Server) -> Self {
        server.meter().add(Counter::IdleOwn, 1);
        Self(Arc::clone(server.shared_meter()))
    }
}

/// Most connections a client has of its own; as in HAProxy.
const MOST_OWN: usize = 5;

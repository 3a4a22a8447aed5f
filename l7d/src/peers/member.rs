//! One peer: where it is, whose turn it is to have the connection with it, and what lasts from one connection to the next.
//!
//! There is one connection with a peer at a time, and the last one wins: whoever takes the [`Turn`] ends who had it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::config::{self, PeerAddress, SendProxy};
use control::tls::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::learn::Told;
use super::teach::Progress;
use crate::upstream::Source;

/// One peer.
#[derive(Debug)]
pub(super) struct Member {
    /// Its place among the members.
    pub(super) place: usize,
    model: config::Peer,
    kinship: Kinship,
    source: Option<Source>,
    client: Mutex<Option<Arc<Client>>>,
    turn: watch::Sender<Holder>,
    standing: Mutex<Standing>,
}

/// Whether a peer is this process itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinship {
    /// It is, or the one before it, or the one after.
    Local,
    /// It is another.
    Remote,
}

/// Who has the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    number: u64,
    is_there: bool,
}

/// What is known of the connections with a peer.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What became of the last attempt.
    pub(super) status: Status,
    /// When both sides knew each other last.
    pub(super) handshake: Option<Instant>,
    /// When the next attempt is made.
    pub(super) reconnect: Option<Instant>,
    /// Attempts to connect.
    pub(super) attempts: u32,
    /// Heartbeats sent.
    pub(super) sent: u32,
    /// Heartbeats heard.
    pub(super) heard: u32,
    /// Connections that ended because nothing was heard.
    pub(super) silences: u32,
    /// Messages that were none.
    pub(super) malformed: u32,
    /// Connections that ended because another took their place.
    pub(super) collisions: u32,
    /// Both ends of the connection, ours first.
    pub(super) ends: Option<(SocketAddr, SocketAddr)>,
    /// Until when it may come back before what it has said of itself is forgotten; none while it is there, and once that has been done.
    pub(super) lost: Option<Instant>,
    /// How many conversations there were.
    pub(super) talks: u64,
    /// When the next sign of life is given, if nothing else is said.
    pub(super) heartbeat: Option<Instant>,
    /// How far each table has been taught.
    pub(super) progress: Vec<Progress>,
    /// What was learnt of each table.
    pub(super) learnt: Vec<Told>,
}

/// What became of the last attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// There was none.
    #[default]
    None,
    /// It is being made.
    Connecting,
    /// Both sides know each other.
    Established,
    /// The other side has refused, with this number.
    Refused(u16),
    /// The other side was not reached, or is gone.
    Lost,
}

impl Member {
    pub(super) fn new(place: usize, model: &config::Peer, kinship: Kinship, client: Option<Arc<Client>>) -> Self {
        let turn = watch::Sender::new(Holder { number: 0, is_there: false });
        let source = model.source().map(Source::new);
        Self { place, model: model.clone(), kinship, source, client: Mutex::new(client), turn, standing: Mutex::default() }
    }

    pub(super) fn name(&self) -> &str {
        self.model.name()
    }

    /// Returns which part of the keys it is told of, from 1; 0 for all.
    pub(super) fn shard(&self) -> u32 {
        self.model.shard()
    }

    /// Returns where connections to it come from; none leaves it to the system.
    pub(super) fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    pub(super) fn kinship(&self) -> Kinship {
        self.kinship
    }

    pub(super) fn address(&self) -> Option<&PeerAddress> {
        self.model.address()
    }

    /// Returns the PROXY header that connections to it begin with.
    pub(super) fn send_proxy(&self) -> Option<SendProxy> {
        self.model.send_proxy()
    }

    /// Tells whether another is the same peer, met in the same way.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.model == other.model && self.kinship == other.kinship
    }

    /// Returns what decides about TLS with it.
    pub(super) fn client(&self) -> Option<Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what decides about TLS from a newer one.
    pub(super) fn renew(&self, newer: &Self) {
        let client = newer.client();
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells, once, that it has been away for so long that nothing it has said of itself can still be so.
    pub(super) fn is_lost(&self) -> bool {
        let mut standing = self.standing();
        let is_lost = standing.lost.is_some_and(|until| Instant::now() >= until);
        if is_lost {
            standing.lost = None;
        }
        is_lost
    }

    /// Takes the connection from whoever has it.
    pub(super) fn take_turn(self: &Arc<Self>) -> Turn {
        let mut number = 0;
        self.turn.send_modify(|holder| {
            if holder.is_there {
                self.standing().collisions += 1;
            }
            *holder = Holder { number: holder.number + 1, is_there: true };
            number = holder.number;
        });
        Turn { member: Arc::clone(self), number, holders: self.turn.subscribe() }
    }

    /// Tells whether there is a connection, or an attempt to make one.
    pub(super) fn is_taken(&self) -> bool {
        self.turn.borrow().is_there
    }

    /// Waits until there is no connection.
    pub(super) async fn free(&self) {
        // The sender is our own, so there always is one.
        let _ = self.turn.subscribe().wait_for(|holder| !holder.is_there).await;
    }
}

/// The right to the connection with a peer.
#[derive(Debug)]
pub(super) struct Turn {
    member: Arc<Member>,
    number: u64,
    holders: watch::Receiver<Holder>,
}

impl Turn {
    /// Waits until another has taken it.
    pub(super) async fn lost(&mut self) {
        let number = self.number;
        let _ = self.holders.wait_for(|holder| holder.number != number).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let number = self.number;
        self.member.turn.send_if_modified(|holder| {
            let is_ours = holder.number == number;
            holder.is_there &= !is_ours;
            is_ours
        });
    }
}

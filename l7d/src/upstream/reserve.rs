//! Finds a server that takes one more connection, waiting for one if all are full.

use std::pin::pin;
use std::time::Duration;

use crate::balance::Choice;
use crate::deadline::Deadline;
use crate::queue::{Queue, Slot};
use crate::site::Backend;

/// Why there is no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoServer {
    /// No server is up.
    #[error("no server is available")]
    NoneUp,
    /// All servers stayed full for too long.
    #[error("no server had a free slot in time")]
    QueueTimeout,
}

/// A slot, and the place of its server in the backend.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// The place.
    pub(crate) place: usize,
    /// The slot.
    pub(crate) slot: Slot,
}

/// Reserves a slot on a server chosen by `hash` where the balance wants one; `avoid` is chosen only if it is the last.
///
/// # Errors
/// Fails if no server is up, or none has room within `limit`.
pub(crate) async fn reserve(
    backend: &Backend,
    hash: u64,
    avoid: Option<usize>,
    deadline: &mut Deadline,
    limit: Option<Duration>,
) -> Result<Reserved, NoServer> {
    let wanted = match attempt(backend, hash, avoid)? {
        Attempt::Reserved(reserved) => return Ok(reserved),
        Attempt::Full(wanted) => wanted,
    };
    let ticket = backend.queue().enter(backend.wants(wanted));
    // A slot may have become free between the first look and entering the queue.
    if let Attempt::Reserved(reserved) = attempt(backend, hash, avoid)? {
        return Ok(reserved);
    }
    let slot = deadline.within(limit, pin!(ticket.wait())).await.map_err(|_| NoServer::QueueTimeout)?.ok_or(NoServer::NoneUp)?;
    let place = backend.servers().iter().position(|server| slot.is_of(server.load())).ok_or(NoServer::NoneUp)?;
    Ok(Reserved { place, slot })
}

enum Attempt {
    Reserved(Reserved),
    /// All are full, or the one that must be taken.
    Full(Option<usize>),
}

fn attempt(backend: &Backend, hash: u64, avoid: Option<usize>) -> Result<Attempt, NoServer> {
    loop {
        let place = match backend.choose(hash, avoid) {
            Choice::None => return Err(NoServer::NoneUp),
            Choice::WaitForAny => return Ok(Attempt::Full(None)),
            Choice::Wait(place) => return Ok(Attempt::Full(Some(place))),
            Choice::Place(place) => place,
        };
        let server = backend.servers().get(place).ok_or(NoServer::NoneUp)?;
        // Another thread may have taken the last slot since the choice; then the server no longer counts as free.
        if let Some(slot) = Queue::take(backend.queue(), server.load()) {
            return Ok(Attempt::Reserved(Reserved { place, slot }));
        }
    }
}

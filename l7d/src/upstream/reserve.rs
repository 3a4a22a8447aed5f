//! Finds a server that takes one more connection, waiting for one if all are full.

use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

use crate::balance::{Choice, Room};
use crate::deadline::Deadline;
use crate::queue::{Entry, Member, Priority, Queue, Slot};
use crate::site::Backend;
use crate::stick::{Hold, Pin};

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
    _slot: Slot,
    _member: Option<Member>,
}

/// Which server is wanted.
pub(super) struct Wish<'a> {
    /// By what one is chosen where the balance goes by a key.
    pub(super) key: Option<u32>,
    /// The one the exchange belongs to; taken away where that one is out of reach and another is chosen.
    pub(super) pin: &'a mut Option<Pin>,
    /// The place of one that is taken if it has room now.
    pub(super) liked: Option<usize>,
    /// How urgent it is where others wait, too.
    pub(super) priority: Priority,
    /// The place of one that is chosen only if it is the last.
    pub(super) avoid: Option<usize>,
}

/// Reserves a slot on the server that is wanted.
///
/// # Errors
/// Fails if no server is up, or none has room within `limit`.
pub(crate) async fn reserve(
    backend: &Backend,
    mut wish: Wish<'_>,
    deadline: &mut Deadline,
    limit: Option<Duration>,
) -> Result<Reserved, NoServer> {
    let member = Queue::join(backend.queue());
    // Both are settled when the queue is entered for the first time.
    let (mut end, mut stamp) = (None, None);
    loop {
        let epoch = backend.queue().epoch();
        let wanted = match attempt(backend, &mut wish)? {
            Attempt::Taken(place, slot) => return Ok(Reserved { place, _slot: slot, _member: member }),
            Attempt::Full(wanted) => wanted,
        };
        let entry = stamp.map_or_else(|| Entry::New(wish.priority, now()), Entry::Again);
        let mut ticket = Queue::enter(backend.queue(), backend.wants(wanted), entry);
        stamp = Some(ticket.stamp());
        let end = *end.get_or_insert_with(|| limit.map(|limit| Instant::now() + limit));
        // Whoever was chosen before the servers changed may not be sent away any more.
        if backend.queue().epoch() != epoch {
            continue;
        }
        let Some(slot) = deadline.until(end, pin!(ticket.wait())).await.map_err(|_| NoServer::QueueTimeout)? else { continue };
        let place = backend.servers().iter().position(|server| slot.is_of(server.load())).ok_or(NoServer::NoneUp)?;
        return Ok(Reserved { place, _slot: slot, _member: member });
    }
}

/// Returns how many milliseconds ago waiting was invented.
fn now() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
}

enum Attempt {
    Taken(usize, Slot),
    /// All are full, or the one that must be taken.
    Full(Option<usize>),
}

fn attempt(backend: &Backend, wish: &mut Wish<'_>) -> Result<Attempt, NoServer> {
    if let Some(attempt) = wish.pin.and_then(|pin| attempt_pinned(backend, pin)) {
        return Ok(attempt);
    }
    *wish.pin = None;
    let liked = wish.liked.take().and_then(|place| Some((place, backend.servers().get(place)?.load())));
    if let Some((place, load)) = liked.filter(|(_, load)| backend.queue().room(load) == Room::Free)
        && let Some(slot) = Queue::take(backend.queue(), load)
    {
        return Ok(Attempt::Taken(place, slot));
    }
    loop {
        let place = match backend.choose(wish.key, wish.avoid) {
            Choice::None => return Err(NoServer::NoneUp),
            Choice::WaitForAny => return Ok(Attempt::Full(None)),
            Choice::Wait(place) => return Ok(Attempt::Full(Some(place))),
            Choice::Place(place) => place,
        };
        let server = backend.servers().get(place).ok_or(NoServer::NoneUp)?;
        // Another thread may have taken the last slot since the choice; then the server no longer counts as free.
        if let Some(slot) = Queue::take(backend.queue(), server.load()) {
            return Ok(Attempt::Taken(place, slot));
        }
    }
}

/// Tries the server that an exchange belongs to; nothing comes of it if that one is down, or too many wait for it already.
fn attempt_pinned(backend: &Backend, Pin { place, hold }: Pin) -> Option<Attempt> {
    let server = backend.servers().get(place).filter(|_| hold != Hold::WhileUp || backend.is_up(place))?;
    match backend.queue().room(server.load()) {
        Room::Free => {
            Some(Queue::take(backend.queue(), server.load()).map_or(Attempt::Full(Some(place)), |slot| Attempt::Taken(place, slot)))
        }
        Room::Shut if hold != Hold::Always => None,
        Room::Full | Room::Queueing | Room::Shut => Some(Attempt::Full(Some(place))),
    }
}

//! Slots of servers, and who waits for one.
//!
//! A [`Slot`] is one connection's place on a server; when it is dropped the first waiter whom the server suits takes its place: of the
//! lowest class, and of those who came first. Nobody overtakes: who comes while others wait for a server is served from the line, too. Which server a newcomer
//! prefers is decided in [`crate::balance`].
//!
//! # Locks
//!
//! A server's count of active connections is one atomic. The line of a backend has a mutex, taken only while someone waits and never
//! across an `.await` or while a slot is handed over. No wake-up is lost because each side publishes before it looks: a waiter enters
//! the line, then looks for free slots; a slot is freed, then its owner looks for waiters (all sequentially consistent).

mod line;
mod load;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::balance::Room;
use line::Line;

pub(crate) use line::{Entry, Priority, Stamp};
pub(crate) use load::{Limits, Load, LoadId};

/// The connections of one backend, and who waits for a slot.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// How many wait for any server, readable without the lock.
    unattached: AtomicUsize,
    /// How many did at most.
    most_unattached: AtomicUsize,
    line: Mutex<Line>,
    /// At how many connections its servers take as many as they can; 0 where they do at any time.
    fullconn: AtomicU32,
    /// How many it has, waiting or served; counted only where there is a `fullconn`.
    members: AtomicU32,
    /// Counts the changes of who may be chosen.
    epoch: AtomicU64,
}

/// Which servers will do for a waiter.
///
/// The queue outlives a reload, so it holds waiters that know different servers.
#[derive(Debug, Clone)]
pub(crate) enum Wants {
    /// Only this one.
    One(Arc<Load>),
    /// Any of these.
    Any(Arc<[Arc<Load>]>),
}

/// A place in the line; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    wants: Wants,
    stamp: Stamp,
    receiver: oneshot::Receiver<Slot>,
}

/// One connection's place on a server.
#[derive(Debug)]
pub(crate) struct Slot {
    load: Arc<Load>,
    queue: Arc<Queue>,
}

/// A connection of a backend, waiting or served, where that makes a difference.
#[derive(Debug)]
pub(crate) struct Member(Arc<Queue>);

impl Queue {
    /// Sets at how many connections the servers take as many as they can; none where they do at any time.
    pub(crate) fn set_fullconn(&self, fullconn: Option<u32>) {
        self.fullconn.store(fullconn.unwrap_or(0), SeqCst);
    }

    /// Counts a connection of this backend until the returned value is dropped.
    pub(crate) fn join(queue: &Arc<Self>) -> Option<Member> {
        (queue.fullconn.load(SeqCst) > 0).then(|| {
            queue.members.fetch_add(1, SeqCst);
            Member(Arc::clone(queue))
        })
    }

    /// Tells whether a server takes a newcomer: not where that one would overtake somebody.
    pub(crate) fn room(&self, load: &Load) -> Room {
        let waiting = load.waiting();
        if waiting == 0 && self.unattached.load(SeqCst) == 0 && self.has_slot(load) {
            return Room::Free;
        }
        match load.most_waiting() {
            None => Room::Full,
            Some(most) if waiting < most => Room::Queueing,
            Some(_) => Room::Shut,
        }
    }

    /// Takes a slot of a server, if it has one.
    pub(crate) fn take(queue: &Arc<Self>, load: &Arc<Load>) -> Option<Slot> {
        load.try_take(queue.limit(load)).then(|| Slot { load: Arc::clone(load), queue: Arc::clone(queue) })
    }

    /// Enters the line, for the first time or again at an earlier place, and hands out what is free.
    pub(crate) fn enter(queue: &Arc<Self>, wants: Wants, entry: Entry) -> Ticket {
        let (hand_over, receiver) = oneshot::channel();
        let mut line = queue.line();
        let stamp = line.enter(&wants, entry, hand_over);
        queue.publish(&line, wants.only());
        drop(line);
        match &wants {
            Wants::One(load) => Self::serve(queue, load),
            Wants::Any(loads) => loads.iter().for_each(|load| Self::serve(queue, load)),
        }
        Ticket { queue: Arc::clone(queue), wants, stamp, receiver }
    }

    /// Returns how many are in the line for any server or one of these.
    pub(crate) fn waiting(&self, loads: &[Arc<Load>]) -> usize {
        self.unattached.load(SeqCst) + loads.iter().map(|load| load.waiting() as usize).sum::<usize>()
    }

    /// Returns how many waited for any server at most.
    pub(crate) fn most_unattached(&self) -> usize {
        self.most_unattached.load(SeqCst)
    }

    /// Returns a number that changes whenever [`admit`](Self::admit) changed something.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(SeqCst)
    }

    /// Sets how much of its full load a server takes, in units of 1/[`WEIGHT_SCALE`](control::server_state::WEIGHT_SCALE), 0 while it is
    /// not to be chosen. Who waits for that one alone is sent away to choose again; new room goes to the oldest waiters.
    pub(crate) fn admit(queue: &Arc<Self>, load: &Arc<Load>, share: u32) {
        let before = load.set_share(share);
        if before != share {
            queue.epoch.fetch_add(1, SeqCst);
        }
        if share == 0 && before > 0 {
            let mut line = queue.line();
            let evicted = line.evict(load);
            queue.publish(&line, Some(load));
            drop(line);
            drop(evicted);
        }
        Self::serve(queue, load);
    }

    /// Hands free slots of a server to the first waiters whom it suits; one that is not to be chosen suits those alone who belong to it.
    fn serve(queue: &Arc<Self>, load: &Arc<Load>) {
        while queue.has_slot(load) && queue.line().has_any_for(load, load.is_admitted()) && load.try_take(queue.limit(load)) {
            let mut line = queue.line();
            let next = line.next_for(load, load.is_admitted());
            queue.publish(&line, Some(load));
            drop(line);
            match next {
                Some(waiter) => waiter.hand_over(Slot { load: Arc::clone(load), queue: Arc::clone(queue) }),
                None => load.give_back(),
            }
        }
    }

    /// Returns how many connections a server may have now.
    fn limit(&self, load: &Load) -> u32 {
        let full = self.fullconn.load(SeqCst);
        let part = if full == 0 { None } else { Some((self.members.load(SeqCst), full)) };
        load.limit(part)
    }

    fn has_slot(&self, load: &Load) -> bool {
        load.active() < self.limit(load)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes lengths readable without the lock: of the line for any server, and of that for one.
    fn publish(&self, line: &Line, load: Option<&Arc<Load>>) {
        let unattached = line.count_unattached();
        self.unattached.store(unattached, SeqCst);
        self.most_unattached.fetch_max(unattached, SeqCst);
        if let Some(load) = load {
            load.set_waiting(line.count_for(load));
        }
    }

    fn has_waiters(&self, load: &Load) -> bool {
        load.waiting() > 0 || self.unattached.load(SeqCst) > 0
    }
}

impl Wants {
    /// Returns the only server that will do.
    fn only(&self) -> Option<&Arc<Load>> {
        match self {
            Self::One(load) => Some(load),
            Self::Any(_) => None,
        }
    }
}

impl Ticket {
    /// Waits for a slot; returns `None` if the server waited for is no longer to be chosen.
    pub(crate) async fn wait(&mut self) -> Option<Slot> {
        (&mut self.receiver).await.ok()
    }

    /// Returns the place in the line, to be kept when another server is chosen.
    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Whom a slot was handed to is no longer in the line.
        if self.receiver.is_terminated() {
            return;
        }
        let mut line = self.queue.line();
        let left = line.leave(&self.wants, self.stamp);
        self.queue.publish(&line, self.wants.only());
        drop(line);
        drop(left);
    }
}

impl Slot {
    /// Tells whether this is a slot of the server with this load.
    pub(crate) fn is_of(&self, load: &Arc<Load>) -> bool {
        Arc::ptr_eq(&self.load, load)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.load.give_back();
        if self.queue.has_waiters(&self.load) {
            Queue::serve(&self.queue, &self.load);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, SeqCst);
    }
}

//! Slots of servers, and who waits for one.
//!
//! A [`Slot`] is one connection's place on a server; dropping it hands it to the oldest waiter whom it suits, or frees it. What a
//! server may carry and which one a newcomer prefers is decided in [`crate::balance`].
//!
//! # Locks
//!
//! A server's count of active connections is one atomic. The list of waiters has a mutex, taken only while someone waits and never
//! across an `.await`. No wake-up is lost because each side publishes before it looks: a waiter enters the list, then looks once more
//! for a free slot; a slot is freed, then its owner looks once more for waiters (all sequentially consistent).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Tells the load of one server from all others the process ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LoadId(u64);

/// How much one server carries.
#[derive(Debug)]
pub(crate) struct Load {
    id: LoadId,
    active: AtomicU32,
    /// Most connections at a time; `u32::MAX` for no limit.
    limit: AtomicU32,
}

/// The waiters of one backend.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Length of the list, readable without the lock.
    waiting: AtomicUsize,
    waiters: Mutex<VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    wants: Wants,
    hand_over: oneshot::Sender<Slot>,
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

/// A place in the queue; dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    receiver: oneshot::Receiver<Slot>,
}

/// One connection's place on a server.
#[derive(Debug)]
pub(crate) struct Slot {
    /// `None` only once given away.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    load: Arc<Load>,
    queue: Arc<Queue>,
}

impl Load {
    /// Returns an idle server with this limit.
    pub(crate) fn new(limit: Option<u32>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = LoadId(NEXT.fetch_add(1, SeqCst));
        Self { id, active: AtomicU32::new(0), limit: AtomicU32::new(limit.unwrap_or(u32::MAX)) }
    }

    /// Returns the id, under which other things of the same server are kept.
    pub(crate) fn id(&self) -> LoadId {
        self.id
    }

    /// Changes the limit; who is already served stays.
    pub(crate) fn set_limit(&self, limit: Option<u32>) {
        self.limit.store(limit.unwrap_or(u32::MAX), SeqCst);
    }

    /// Returns how many connections the server serves.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(SeqCst)
    }

    /// Tells whether the server takes one more.
    pub(crate) fn has_room(&self) -> bool {
        self.active() < self.limit.load(SeqCst)
    }

    fn try_take(&self) -> bool {
        let limit = self.limit.load(SeqCst);
        if limit == u32::MAX {
            self.active.fetch_add(1, SeqCst);
            return true;
        }
        self.active.fetch_update(SeqCst, SeqCst, |active| (active < limit).then_some(active + 1)).is_ok()
    }
}

impl Queue {
    /// Takes a slot of a server, if it has one.
    pub(crate) fn take(queue: &Arc<Self>, load: &Arc<Load>) -> Option<Slot> {
        load.try_take().then(|| Slot { held: Some(Held { load: Arc::clone(load), queue: Arc::clone(queue) }) })
    }

    /// Enters the queue; the caller then looks once more for a free slot before it waits.
    pub(crate) fn enter(&self, wants: Wants) -> Ticket {
        let (hand_over, receiver) = oneshot::channel();
        let mut waiters = self.waiters();
        if waiters.len() == waiters.capacity() {
            // Those who gave up leave their entries behind; without slots becoming free nobody else removes them.
            waiters.retain(|waiter| !waiter.hand_over.is_closed());
        }
        waiters.push_back(Waiter { wants, hand_over });
        self.waiting.store(waiters.len(), SeqCst);
        Ticket { receiver }
    }

    /// Returns how many are in the queue, those included who gave up lately.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    fn waiters(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the oldest waiter whom a slot of this server suits.
    fn next_for(&self, load: &Arc<Load>) -> Option<Waiter> {
        if self.waiting.load(SeqCst) == 0 {
            return None;
        }
        let mut waiters = self.waiters();
        let at = waiters.iter().position(|waiter| waiter.takes(load));
        let next = at.and_then(|at| waiters.remove(at));
        self.waiting.store(waiters.len(), SeqCst);
        next
    }

    /// Tells whether someone waits whom a slot of this server suits.
    fn has_any_for(&self, load: &Arc<Load>) -> bool {
        self.waiting.load(SeqCst) > 0 && self.waiters().iter().any(|waiter| waiter.takes(load))
    }
}

impl Waiter {
    fn takes(&self, load: &Arc<Load>) -> bool {
        let suits = match &self.wants {
            Wants::One(wanted) => Arc::ptr_eq(wanted, load),
            Wants::Any(known) => known.iter().any(|known| Arc::ptr_eq(known, load)),
        };
        suits && !self.hand_over.is_closed()
    }
}

impl Ticket {
    /// Waits for a slot; returns `None` if the queue itself is gone.
    pub(crate) async fn wait(self) -> Option<Slot> {
        self.receiver.await.ok()
    }
}

impl Slot {
    /// Tells whether this is a slot of the server with this load.
    pub(crate) fn is_of(&self, load: &Arc<Load>) -> bool {
        self.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.load, load))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(Held { load, queue }) = self.held.take() else { return };
        let mut slot = Self { held: None };
        loop {
            while let Some(waiter) = queue.next_for(&load) {
                slot.held = Some(Held { load: Arc::clone(&load), queue: Arc::clone(&queue) });
                match waiter.hand_over.send(slot) {
                    Ok(()) => return,
                    Err(returned) => slot = returned,
                }
                // Given up at this very moment: the slot must not be freed by being dropped here.
                slot.held = None;
            }
            load.active.fetch_sub(1, SeqCst);
            if !queue.has_any_for(&load) || !load.try_take() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use proptest::prelude::*;

    use super::*;

    struct Bench {
        queue: Arc<Queue>,
        loads: Arc<[Arc<Load>]>,
    }

    impl Bench {
        fn new(limits: &[u32]) -> Self {
            Self { queue: Arc::default(), loads: limits.iter().map(|limit| Arc::new(Load::new(Some(*limit)))).collect() }
        }

        fn take(&self, place: usize) -> Option<Slot> {
            Queue::take(&self.queue, &self.loads[place])
        }

        fn enter(&self) -> Ticket {
            self.queue.enter(Wants::Any(Arc::clone(&self.loads)))
        }

        fn enter_for(&self, place: usize) -> Ticket {
            self.queue.enter(Wants::One(Arc::clone(&self.loads[place])))
        }

        fn place(&self, slot: &Slot) -> usize {
            self.loads.iter().position(|load| slot.is_of(load)).unwrap()
        }
    }

    fn handed(ticket: &mut Ticket) -> Option<Slot> {
        ticket.receiver.try_recv().ok()
    }

    #[test]
    fn slot_is_freed_while_others_wait_for_another_server() {
        let bench = Bench::new(&[1, 1]);
        let (zero, _one) = (bench.take(0).unwrap(), bench.take(1).unwrap());
        let _picky = bench.enter_for(1);
        drop(zero);
        assert_eq!(bench.loads[0].active(), 0);
    }

    #[test]
    fn freed_slot_goes_to_the_oldest_waiter() {
        let bench = Bench::new(&[1]);
        let slot = bench.take(0).unwrap();
        assert!(bench.take(0).is_none());
        let (mut first, mut second) = (bench.enter(), bench.enter());
        drop(slot);
        assert!(handed(&mut second).is_none());
        let slot = handed(&mut first).unwrap();
        assert_eq!((bench.place(&slot), bench.loads[0].active()), (0, 1));
        drop(slot);
        assert!(handed(&mut second).is_some());
        assert_eq!((bench.loads[0].active(), bench.queue.len()), (0, 0));
    }

    #[test]
    fn slot_of_another_server_is_not_for_who_wants_one() {
        let bench = Bench::new(&[1, 1]);
        let (zero, one) = (bench.take(0).unwrap(), bench.take(1).unwrap());
        let mut picky = bench.enter_for(1);
        let mut easy = bench.enter();
        drop(zero);
        assert!(handed(&mut picky).is_none());
        assert_eq!(bench.place(&handed(&mut easy).unwrap()), 0);
        drop(one);
        assert_eq!(bench.place(&handed(&mut picky).unwrap()), 1);
    }

    #[test]
    fn slot_of_a_server_that_a_waiter_does_not_know_is_not_for_it() {
        let (old, new) = (Bench::new(&[1]), Bench::new(&[1]));
        let slot = old.take(0).unwrap();
        let mut stranger = old.queue.enter(Wants::Any(Arc::clone(&new.loads)));
        let mut friend = old.enter();
        drop(slot);
        assert!(handed(&mut stranger).is_none());
        assert!(handed(&mut friend).is_some());
    }

    #[test]
    fn who_gave_up_is_stepped_over() {
        let bench = Bench::new(&[1]);
        let slot = bench.take(0).unwrap();
        drop(bench.enter());
        let mut patient = bench.enter();
        drop(slot);
        assert!(handed(&mut patient).is_some());
    }

    #[test]
    fn handed_but_not_collected_slot_is_not_lost() {
        let bench = Bench::new(&[1]);
        let slot = bench.take(0).unwrap();
        let ticket = bench.enter();
        drop(slot);
        assert_eq!(bench.loads[0].active(), 1);
        drop(ticket);
        assert_eq!(bench.loads[0].active(), 0);
    }

    #[test]
    fn those_who_gave_up_do_not_pile_up() {
        let bench = Bench::new(&[1]);
        let _slot = bench.take(0).unwrap();
        for _ in 0..10_000 {
            drop(bench.enter());
        }
        assert!(bench.queue.len() < 100, "{}", bench.queue.len());
    }

    #[test]
    fn unlimited_server_always_has_room() {
        let load = Arc::new(Load::new(None));
        let queue = Arc::default();
        let slots: Vec<_> = (0..1000).map(|_| Queue::take(&queue, &load).unwrap()).collect();
        assert_eq!(load.active(), 1000);
        drop(slots);
        assert_eq!(load.active(), 0);
    }

    #[test]
    fn threads_never_exceed_the_limit_or_lose_a_slot() {
        let bench = Arc::new(Bench::new(&[2, 1]));
        let work = |seed: usize| {
            let bench = Arc::clone(&bench);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..2000 {
                    let place = (seed + round) % 2;
                    let slot = bench.take(place).unwrap_or_else(|| {
                        let ticket = if round % 3 == 0 { bench.enter_for(place) } else { bench.enter() };
                        // The second look that `enter` asks for.
                        bench.take(place).unwrap_or_else(|| runtime.block_on(ticket.wait()).unwrap())
                    });
                    assert!(bench.loads[bench.place(&slot)].active() <= 2);
                    std::thread::yield_now();
                }
            }
        };
        let threads: Vec<_> = (0..6).map(|seed| std::thread::spawn(work(seed))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(bench.loads.iter().map(|load| load.active()).sum::<u32>(), 0);
    }

    proptest! {
        #[test]
        fn books_balance_after_any_sequence(steps in prop::collection::vec((0u8..4, 0usize..8), 1..120)) {
            let bench = Bench::new(&[2, 1]);
            let (mut slots, mut tickets) = (Vec::new(), Vec::<Ticket>::new());
            for (step, which) in steps {
                match step {
                    0 => slots.extend(bench.take(which % 2)),
                    1 if !slots.is_empty() => drop(slots.remove(which % slots.len())),
                    2 => tickets.push(if which > 4 { bench.enter_for(which % 2) } else { bench.enter() }),
                    3 if !tickets.is_empty() => drop(tickets.remove(which % tickets.len())),
                    _ => {}
                }
                let mut waiting = Vec::new();
                for mut ticket in tickets.drain(..) {
                    match handed(&mut ticket) {
                        Some(slot) => slots.push(slot),
                        None => waiting.push(ticket),
                    }
                }
                tickets = waiting;
                for (place, load) in bench.loads.iter().enumerate() {
                    let held = slots.iter().filter(|slot| bench.place(slot) == place).count();
                    prop_assert_eq!(load.active() as usize, held);
                }
            }
        }
    }

    #[tokio::test]
    async fn ticket_waits_until_a_slot_is_handed_over() {
        let bench = Bench::new(&[1]);
        let slot = bench.take(0).unwrap();
        let mut wait = std::pin::pin!(bench.enter().wait());
        assert!(std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx).is_pending())).await);
        drop(slot);
        assert!(wait.await.unwrap().is_of(&bench.loads[0]));
    }
}

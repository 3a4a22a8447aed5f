//! Single rules of the line, and threads that break none of them.

use std::task::Poll;

use super::*;
use crate::balance::Room;

/// A backend with servers of these limits.
pub(super) struct Bench {
    pub(super) queue: Arc<Queue>,
    pub(super) loads: Arc<[Arc<Load>]>,
}

impl Bench {
    pub(super) fn new(limits: &[u32]) -> Self {
        let load = |limit: &u32| Arc::new(Load::new(Limits { most: Some(*limit), ..Limits::default() }));
        Self { queue: Arc::default(), loads: limits.iter().map(load).collect() }
    }

    pub(super) fn take(&self, place: usize) -> Option<Slot> {
        (self.queue.room(&self.loads[place]) == Room::Free).then(|| Queue::take(&self.queue, &self.loads[place])).flatten()
    }

    pub(super) fn enter(&self) -> Ticket {
        self.enter_as(None, Priority::default(), 0)
    }

    pub(super) fn enter_for(&self, place: usize) -> Ticket {
        self.enter_as(Some(place), Priority::default(), 0)
    }

    pub(super) fn enter_as(&self, place: Option<usize>, priority: Priority, now: i64) -> Ticket {
        let wants = place.map_or_else(|| Wants::Any(Arc::clone(&self.loads)), |place| Wants::One(Arc::clone(&self.loads[place])));
        Queue::enter(&self.queue, wants, Entry::New(priority, now))
    }

    pub(super) fn place(&self, slot: &Slot) -> usize {
        self.loads.iter().position(|load| slot.is_of(load)).unwrap()
    }

    fn waiting(&self) -> usize {
        self.queue.waiting(&self.loads)
    }
}

pub(super) fn handed(ticket: &mut Ticket) -> Option<Slot> {
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
    let (mut first, mut second, mut third) = (bench.enter(), bench.enter_for(0), bench.enter());
    drop(slot);
    assert!(handed(&mut second).is_none() && handed(&mut third).is_none());
    let slot = handed(&mut first).unwrap();
    assert_eq!((bench.place(&slot), bench.loads[0].active()), (0, 1));
    drop(slot);
    assert!(handed(&mut third).is_none());
    drop(handed(&mut second).unwrap());
    assert!(handed(&mut third).is_some());
    assert_eq!((bench.loads[0].active(), bench.waiting()), (0, 0));
}

#[test]
fn class_counts_before_time_and_offset_moves_the_time() {
    let bench = Bench::new(&[1]);
    let mut slot = bench.take(0).unwrap();
    let priority = |class, offset| {
        let mut priority = Priority::default();
        priority.set_class(class);
        priority.set_offset(offset);
        priority
    };
    let waiters = [(0, 0, 0), (0, 0, 5), (0, -90, 50), (1, -900_000, 0), (-1, 0, 90), (-9_000, 0, 95), (-2_047, -1, 95), (0, 524_287, 0)];
    let mut waiting: Vec<_> = waiters
        .iter()
        .map(|(class, offset, now)| bench.enter_as(Some(0).filter(|_| now % 2 == 0), priority(*class, *offset), *now))
        .collect();
    let mut order = Vec::new();
    for _ in &waiters {
        drop(slot);
        let (place, next) = waiting.iter_mut().enumerate().find_map(|(place, ticket)| Some((place, handed(ticket)?))).unwrap();
        order.push(place);
        slot = next;
    }
    assert_eq!(order, [6, 5, 4, 2, 0, 1, 7, 3]);
}

#[test]
fn newcomer_does_not_overtake() {
    let bench = Bench::new(&[1, 1]);
    let (zero, one) = (bench.take(0).unwrap(), bench.take(1).unwrap());
    let mut early = bench.enter_for(0);
    drop(one);
    assert!(bench.take(1).is_some(), "nobody waits for it");
    assert_eq!(bench.queue.room(&bench.loads[0]), Room::Full);
    let mut late = bench.enter();
    assert_eq!(bench.place(&handed(&mut late).unwrap()), 1, "what is free is handed out at once");
    drop(zero);
    assert!(handed(&mut early).is_some());
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
    let (slot, _other) = (old.take(0).unwrap(), new.take(0).unwrap());
    let mut stranger = Queue::enter(&old.queue, Wants::Any(Arc::clone(&new.loads)), Entry::New(Priority::default(), 0));
    let mut friend = old.enter();
    drop(slot);
    assert!(handed(&mut stranger).is_none());
    assert!(handed(&mut friend).is_some());
}

#[test]
fn who_gave_up_leaves_the_line() {
    let bench = Bench::new(&[1]);
    let slot = bench.take(0).unwrap();
    let (first, second) = (bench.enter(), bench.enter_for(0));
    assert_eq!(bench.waiting(), 2);
    drop((first, second));
    assert_eq!(bench.waiting(), 0);
    let mut patient = bench.enter();
    drop(slot);
    assert!(handed(&mut patient).is_some());
}

#[test]
fn handed_but_not_collected_slot_is_not_lost() {
    let bench = Bench::new(&[1]);
    let slot = bench.take(0).unwrap();
    let (ticket, mut next) = (bench.enter(), bench.enter());
    drop(slot);
    assert_eq!(bench.loads[0].active(), 1);
    drop(ticket);
    drop(handed(&mut next).unwrap());
    assert_eq!(bench.loads[0].active(), 0);
}

#[test]
fn higher_limit_wakes_the_oldest() {
    let bench = Bench::new(&[1]);
    let _slot = bench.take(0).unwrap();
    let (mut first, mut second) = (bench.enter(), bench.enter());
    bench.loads[0].set_limits(Limits { most: Some(2), ..Limits::default() });
    Queue::admit(&bench.queue, &bench.loads[0], 16);
    assert!(handed(&mut second).is_none());
    assert!(handed(&mut first).is_some());
}

#[test]
fn server_that_is_not_to_be_chosen_takes_no_waiter() {
    let bench = Bench::new(&[1, 1]);
    let (zero, _one) = (bench.take(0).unwrap(), bench.take(1).unwrap());
    let (mut easy, mut picky) = (bench.enter(), bench.enter_for(0));
    let epoch = bench.queue.epoch();
    Queue::admit(&bench.queue, &bench.loads[0], 0);
    assert_ne!(bench.queue.epoch(), epoch);
    assert!(picky.receiver.try_recv().is_err() && picky.receiver.is_terminated(), "sent away to choose again");
    drop(zero);
    assert!(handed(&mut easy).is_none());
    let mut again = Queue::enter(&bench.queue, Wants::Any(Arc::clone(&bench.loads)), Entry::Again(picky.stamp()));
    let mut late = bench.enter();
    Queue::admit(&bench.queue, &bench.loads[0], 16);
    drop(handed(&mut easy).unwrap());
    assert!(handed(&mut late).is_none());
    drop(handed(&mut again).expect("it kept its place"));
    assert!(handed(&mut late).is_some());
}

#[test]
fn bounded_queue_says_when_it_is_full() {
    let bench = Bench::new(&[1]);
    bench.loads[0].set_limits(Limits { most: Some(1), waiting: Some(1), least: None });
    assert_eq!(bench.queue.room(&bench.loads[0]), Room::Free);
    let _slot = bench.take(0).unwrap();
    assert_eq!(bench.queue.room(&bench.loads[0]), Room::Queueing);
    let ticket = bench.enter_for(0);
    assert_eq!(bench.queue.room(&bench.loads[0]), Room::Shut);
    drop(ticket);
    assert_eq!(bench.queue.room(&bench.loads[0]), Room::Queueing);
}

#[test]
fn crowd_raises_the_limit() {
    let bench = Bench::new(&[4]);
    bench.loads[0].set_limits(Limits { most: Some(4), least: Some(1), waiting: None });
    bench.queue.set_fullconn(Some(8));
    let mut members: Vec<_> = (0..2).map(|_| Queue::join(&bench.queue).unwrap()).collect();
    let _slot = bench.take(0).unwrap();
    let mut waiter = bench.enter();
    assert!(handed(&mut waiter).is_none());
    members.extend((0..2).map(|_| Queue::join(&bench.queue).unwrap()));
    let mut newcomer = bench.enter();
    assert!(handed(&mut newcomer).is_none() && handed(&mut waiter).is_some(), "four of eight are two of four");
    drop(members);
    assert_eq!(bench.queue.members.load(SeqCst), 0);
}

#[test]
fn unlimited_server_always_has_room() {
    let load = Arc::new(Load::new(Limits::default()));
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
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            for round in 0..2000 {
                let place = (seed + round) % 2;
                if seed == 0 && round % 50 == 0 {
                    Queue::admit(&bench.queue, &bench.loads[1], 0);
                    std::thread::yield_now();
                    Queue::admit(&bench.queue, &bench.loads[1], 16);
                }
                let slot = bench.take(place).or_else(|| {
                    let mut ticket = if round % 3 == 0 { bench.enter_for(place) } else { bench.enter() };
                    let patience = std::time::Duration::from_micros(if round % 7 == 0 { 20 } else { 60_000_000 });
                    let waited = runtime.block_on(async { tokio::time::timeout(patience, ticket.wait()).await });
                    assert!(waited.is_ok() || round % 7 == 0, "a slot was lost");
                    waited.ok().flatten()
                });
                let Some(slot) = slot else { continue };
                let load = &bench.loads[bench.place(&slot)];
                assert!(load.active() <= 2);
                std::thread::yield_now();
            }
        }
    };
    let threads: Vec<_> = (0..6).map(|seed| std::thread::spawn(work(seed))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(bench.loads.iter().map(|load| load.active()).sum::<u32>(), 0);
    assert_eq!(bench.waiting(), 0);
}

#[tokio::test]
async fn ticket_waits_until_a_slot_is_handed_over() {
    let bench = Bench::new(&[1]);
    let slot = bench.take(0).unwrap();
    let mut ticket = bench.enter();
    let mut wait = std::pin::pin!(ticket.wait());
    assert!(std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx).is_pending())).await);
    drop(slot);
    assert!(wait.await.unwrap().is_of(&bench.loads[0]));
}

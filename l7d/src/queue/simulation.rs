//! Any history of arrivals, departures and changes against a plain model of what must hold after each step.

use std::sync::Arc;

use proptest::prelude::*;

use super::tests::{Bench, handed};
use super::{Limits, Priority, Queue, Slot, Stamp, Ticket};

/// What happens; the numbers choose among what is there.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Someone of this class and offset comes for this server, or for any, so long after the one before.
    Arrive(Option<usize>, i64, i64, i64),
    /// Someone served leaves.
    Leave(usize),
    /// Someone who waits gives up.
    GiveUp(usize),
    /// A server gets another limit.
    Limit(usize, u32),
    /// A server may or may not be chosen.
    Admit(usize, u32),
    /// As many connections as are full come and go elsewhere in the backend.
    Crowd(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let place = 0..SERVERS;
    prop_oneof![
        8 => (prop::option::of(place.clone()), 0i64..3, -20i64..20, 0i64..10).prop_map(|(wants, class, offset, later)| {
            Event::Arrive(wants, class / 2, offset, later)
        }),
        6 => (0usize..64).prop_map(Event::Leave),
        2 => (0usize..64).prop_map(Event::GiveUp),
        1 => (place.clone(), 1u32..5).prop_map(|(place, limit)| Event::Limit(place, limit)),
        2 => (place, 0u32..=16).prop_map(|(place, share)| Event::Admit(place, share)),
        1 => (0u32..12).prop_map(Event::Crowd),
    ]
}

struct Waiting {
    ticket: Ticket,
    wants: Option<usize>,
}

struct World {
    bench: Bench,
    served: Vec<(usize, Slot)>,
    waiting: Vec<Waiting>,
    shares: [u32; SERVERS],
    crowd: Vec<super::Member>,
    now: i64,
}

impl World {
    fn new() -> Self {
        let bench = Bench::new(&[2, 1, 3]);
        bench.queue.set_fullconn(Some(10));
        bench.loads[2].set_limits(Limits { most: Some(3), least: Some(1), waiting: None });
        Self { bench, served: Vec::new(), waiting: Vec::new(), shares: [16; SERVERS], crowd: Vec::new(), now: 0 }
    }

    fn enter(&mut self, wants: Option<usize>, priority: Priority) {
        let ticket = self.bench.enter_as(wants, priority, self.now);
        self.waiting.push(Waiting { ticket, wants });
    }

    fn arrive(&mut self, wants: Option<usize>, priority: Priority) {
        let mut places = (0..SERVERS).filter(|place| self.shares[*place] > 0 && wants.is_none_or(|wanted| wanted == *place));
        match places.find_map(|place| self.bench.take(place)) {
            Some(slot) => {
                let place = self.bench.place(&slot);
                assert!(!self.waiting.iter().any(|waiting| waiting.suits(place)), "overtook");
                self.served.push((place, slot));
            }
            // Who waits for a server that is not to be chosen would have chosen another one.
            None if wants.is_some_and(|wanted| self.shares[wanted] == 0) => {}
            None => self.enter(wants, priority),
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive(wants, class, offset, later) => {
                let mut priority = Priority::default();
                priority.set_class(class);
                priority.set_offset(offset);
                self.now += later;
                self.arrive(wants, priority);
            }
            Event::Leave(which) if !self.served.is_empty() => drop(self.served.remove(which % self.served.len())),
            Event::GiveUp(which) if !self.waiting.is_empty() => drop(self.waiting.remove(which % self.waiting.len())),
            Event::Leave(_) | Event::GiveUp(_) => {}
            Event::Limit(place, most) => {
                self.bench.loads[place].set_limits(Limits { most: Some(most), ..Limits::default() });
                Queue::admit(&self.bench.queue, &self.bench.loads[place], self.shares[place]);
            }
            Event::Admit(place, share) => {
                self.shares[place] = share;
                Queue::admit(&self.bench.queue, &self.bench.loads[place], share);
            }
            Event::Crowd(size) => {
                self.crowd = (0..size).filter_map(|_| Queue::join(&self.bench.queue)).collect();
                // A newcomer is what makes a larger crowd count.
                self.enter(None, Priority::default());
            }
        }
        self.collect();
        self.check();
    }

    /// Takes what was handed over; in one step a server's slots must go in the order of the line.
    fn collect(&mut self) {
        let mut newest = [None::<Stamp>; SERVERS];
        let mut still = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            if let Some(slot) = handed(&mut waiting.ticket) {
                let place = self.bench.place(&slot);
                assert!(waiting.suits(place) && self.shares[place] > 0, "handed a slot that does not suit");
                newest[place] = newest[place].max(Some(waiting.ticket.stamp()));
                self.served.push((place, slot));
            } else if waiting.ticket.receiver.is_terminated() {
                assert!(waiting.wants.is_some_and(|place| self.shares[place] == 0), "sent away for no reason");
            } else {
                still.push(waiting);
            }
        }
        for waiting in &still {
            let passed = (0..SERVERS).find(|place| waiting.suits(*place) && newest[*place] > Some(waiting.ticket.stamp()));
            assert_eq!(passed, None, "one behind got the slot");
        }
        self.waiting = still;
    }

    fn check(&self) {
        let Bench { queue, loads } = &self.bench;
        for (place, load) in loads.iter().enumerate() {
            let held = self.served.iter().filter(|(of, _)| *of == place).count();
            assert_eq!(load.active() as usize, held, "the books do not balance");
            let alone = self.waiting.iter().filter(|waiting| waiting.wants == Some(place)).count();
            assert_eq!(load.waiting() as usize, alone);
            let lost = self.shares[place] > 0 && queue.has_slot(load) && self.waiting.iter().any(|waiting| waiting.suits(place));
            assert!(!lost, "someone waits while server {place} has room");
        }
        assert_eq!(queue.waiting(loads), self.waiting.len());
    }
}

impl Waiting {
    fn suits(&self, place: usize) -> bool {
        self.wants.is_none_or(|wanted| wanted == place)
    }
}

const SERVERS: usize = 3;

proptest! {
    #[test]
    fn nobody_waits_in_vain_or_is_overtaken(events in prop::collection::vec(event(), 1..150)) {
        let mut world = World::new();
        for event in events {
            world.step(event);
        }
        let Bench { queue, loads } = &world.bench;
        let (queue, loads) = (Arc::clone(queue), Arc::clone(loads));
        drop(world);
        prop_assert_eq!((queue.waiting(&loads), loads.iter().map(|load| load.active()).sum::<u32>()), (0, 0));
    }
}

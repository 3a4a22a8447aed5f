//! Who waits for a next request on this thread, so that a drain can send them home at once.
//!
//! A connection between two requests takes a [`Seat`]; when the drain begins every seat is woken and told. All of it belongs to one
//! thread, so a wait costs no lock.

use std::cell::RefCell;
use std::task::{Context, Waker};

/// A connection's place among those who wait; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Seat(usize);

impl Seat {
    /// Takes a seat.
    pub(crate) fn take() -> Self {
        let number = ROOM.with_borrow_mut(|room| {
            room.free.pop().unwrap_or_else(|| {
                room.wakers.push(None);
                room.wakers.len() - 1
            })
        });
        Self(number)
    }

    /// Tells whether the drain has begun; if not, the task is woken when it does.
    pub(crate) fn is_draining(&self, cx: &Context<'_>) -> bool {
        ROOM.with_borrow_mut(|room| {
            let seat = &mut room.wakers[self.0];
            if !seat.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *seat = Some(cx.waker().clone());
            }
            room.draining
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A thread that ends may drop connections after the room.
        let _ = ROOM.try_with(|room| {
            let mut room = room.borrow_mut();
            room.wakers[self.0] = None;
            room.free.push(self.0);
        });
    }
}

/// Tells whether the drain has begun on this thread.
pub(crate) fn is_draining() -> bool {
    ROOM.with_borrow(|room| room.draining)
}

/// Begins the drain on this thread and wakes everyone who waits.
pub(crate) fn begin_drain() {
    let wakers: Vec<Waker> = ROOM.with_borrow_mut(|room| {
        room.draining = true;
        room.wakers.iter_mut().filter_map(Option::take).collect()
    });
    wakers.into_iter().for_each(Waker::wake);
}

#[derive(Debug, Default)]
struct Room {
    draining: bool,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn drain_wakes_who_waits_and_is_seen_by_who_comes_later() {
        let left = Seat::take();
        drop(left);
        let waiting = tokio::task::spawn_local(async {
            let seat = Seat::take();
            poll_fn(|cx| if seat.is_draining(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && !is_draining());
        begin_drain();
        waiting.await.unwrap();
        let late = Seat::take();
        assert!(poll_fn(|cx| Poll::Ready(late.is_draining(cx))).await);
    }
}

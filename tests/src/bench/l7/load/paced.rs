//! Requests at a fixed rate, the same for every proxy: how long answers take when a proxy is not driven to its limit.
//!
//! A request that is due while all connections wait for their answers is late, and its time counts from when it was due: a proxy that stalls cannot
//! make the benchmark ask less.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};

use super::http1::{Ask, Buffers, SPREAD, STEP, Then, fetch};
use super::idle;
use super::meter::Meter;
use super::stream::{Client, Stream};

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Connections that are open.
    pub(super) open: usize,
    /// Those of them that are used.
    pub(super) active: usize,
    /// Bytes of an answer.
    pub(super) size: u64,
    /// Requests per second.
    pub(super) rate: u32,
}

/// The requests that are due, the oldest first.
#[derive(Debug, Default)]
struct Queue {
    due: RefCell<VecDeque<Instant>>,
    filled: Notify,
}

impl Queue {
    fn push(&self, count: usize) {
        let now = Instant::now();
        self.due.borrow_mut().extend(std::iter::repeat_n(now, count));
        (0..count).for_each(|_| self.filled.notify_one());
    }

    async fn pop(&self) -> Instant {
        loop {
            // A connection that is free looks itself, so a request never waits for one that was not told.
            if let Some(due) = self.due.borrow_mut().pop_front() {
                return due;
            }
            self.filled.notified().await;
        }
    }
}

/// Opens all connections, then begins to ask.
pub(super) async fn start(client: &Rc<Client>, meter: &Rc<Meter>, plan: Plan) -> Result<()> {
    let mut streams = idle::open(client, plan.open).await?;
    let queue = Rc::new(Queue::default());
    for (number, stream) in streams.drain(..plan.active.min(plan.open)).enumerate() {
        let (client, counter, queue) = (Rc::clone(client), Rc::clone(meter), Rc::clone(&queue));
        meter.start(async move { serve(&client, &counter, &queue, (stream, number as u64 * SPREAD, plan.size)).await });
    }
    drop(spawn_local(async move {
        tick(&queue, plan.rate).await;
        // The others stay open as long as the clock runs, which is to the end.
        drop(streams);
    }));
    Ok(())
}

async fn serve(client: &Client, meter: &Meter, queue: &Queue, (mut stream, first, size): (Stream, u64, u64)) -> Result<()> {
    let (mut buffers, mut offset) = (Buffers::new(size), first);
    loop {
        let due = queue.pop().await;
        fetch(client, meter, &mut stream, &mut buffers, Ask { size, offset, then: Then::Keep }).await?;
        meter.add_answer(due);
        offset += STEP;
    }
}

async fn tick(queue: &Queue, rate: u32) {
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (start, mut sent) = (Instant::now(), 0);
    loop {
        clock.tick().await;
        let due = due(start.elapsed(), rate);
        queue.push(usize::try_from(due - sent).unwrap_or(0));
        sent = due;
    }
}

/// Returns how many requests should have been sent by now.
fn due(elapsed: Duration, rate: u32) -> u64 {
    u64::try_from(elapsed.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(u64::MAX)
}

/// What the clock of the runtime can do.
const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_any_time() {
        assert_eq!(due(Duration::from_secs(3), 10_000), 30_000);
        assert_eq!(due(Duration::from_micros(1_550), 10_000), 15);
        assert_eq!(due(Duration::ZERO, 10_000), 0);
    }
}

//! The timer of one connection.
//!
//! A connection waits thousands of times and times out at most once, so a wait must cost next to nothing: one timer serves all waits
//! of a connection, and is left alone where it would ring no later than needed. When it rings early it is set anew.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is reused from one wait to the next.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    /// Set from the first wait on.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The time was up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub(crate) struct Elapsed;

impl Deadline {
    /// Does `work`, giving it up after `limit`; without a limit it may take forever.
    ///
    /// The caller pins the work, because a future that pins another one inside itself holds the room for it twice.
    ///
    /// # Errors
    /// Fails when the time was up before the work was done.
    pub(crate) fn within<T>(
        &mut self,
        limit: Option<Duration>,
        mut work: impl Future<Output = T> + Unpin,
    ) -> impl Future<Output = Result<T, Elapsed>> {
        let mut end = limit.map_or(End::Never, End::After);
        poll_fn(move |cx| {
            if let Poll::Ready(done) = Pin::new(&mut work).poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let at = match end {
                End::Never => return Poll::Pending,
                // The clock is read only for work that is not done at once.
                End::After(limit) => Instant::now() + limit,
                End::At(at) => at,
            };
            end = End::At(at);
            self.poll_until(at, cx).map(|()| Err(Elapsed))
        })
    }

    /// Does `work` until the moment `end`.
    ///
    /// # Errors
    /// Fails when that moment came before the work was done.
    pub(crate) fn until<T>(
        &mut self,
        end: Option<Instant>,
        mut work: impl Future<Output = T> + Unpin,
    ) -> impl Future<Output = Result<T, Elapsed>> {
        poll_fn(move |cx| match (Pin::new(&mut work).poll(cx), end) {
            (Poll::Ready(done), _) => Poll::Ready(Ok(done)),
            (Poll::Pending, Some(end)) => self.poll_until(end, cx).map(|()| Err(Elapsed)),
            (Poll::Pending, None) => Poll::Pending,
        })
    }

    /// Waits for the moment `end`.
    pub(crate) fn poll_until(&mut self, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if sleep.deadline() > end {
            sleep.as_mut().reset(end);
        }
        while sleep.deadline() < end {
            ready!(sleep.as_mut().poll(cx));
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().poll(cx)
    }
}

/// When a wait ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Never,
    /// So long after it began.
    After(Duration),
    At(Instant),
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn work_that_is_done_sets_no_timer() {
        let mut deadline = Deadline::default();
        assert_eq!(deadline.within(Some(SECOND), ready(7)).await, Ok(7));
        assert!(deadline.sleep.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_has_its_own_length() {
        let mut deadline = Deadline::default();
        for seconds in [1, 5, 2, 10, 1] {
            let start = Instant::now();
            assert_eq!(deadline.within(Some(SECOND * seconds), pending::<()>()).await, Err(Elapsed));
            let taken = start.elapsed();
            assert!(taken >= SECOND * seconds && taken < SECOND * seconds + SECOND / 10, "{taken:?} for {seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn early_ring_does_not_end_a_longer_wait() {
        let mut deadline = Deadline::default();
        let short = pin!(tokio::time::sleep(SECOND / 2));
        deadline.within(Some(SECOND), short).await.unwrap();
        let start = Instant::now();
        assert_eq!(deadline.until(Some(start + SECOND * 3), pending::<()>()).await, Err(Elapsed));
        assert!(start.elapsed() >= SECOND * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_the_timer_of_the_last_wait_does_no_harm() {
        let mut deadline = Deadline::default();
        deadline.within(Some(SECOND), pin!(tokio::time::sleep(SECOND / 2))).await.unwrap();
        assert_eq!(deadline.within(None, pin!(tokio::time::sleep(SECOND * 9))).await, Ok(()));
    }
}

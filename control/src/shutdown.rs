//! The drain signal of a daemon, and the guards by which work in progress holds the daemon open.
//!
//! A daemon owns one [`Trigger`]. Every task that must notice the end holds a [`Shutdown`]; every piece of work that must be
//! finished before the process exits holds a [`Guard`]. What starts the drain (a Unix signal, a command) and how long it may
//! last are the daemon's business.

use tokio::sync::watch;

/// Starts the drain and waits for its end.
#[derive(Debug)]
pub struct Trigger {
    draining: watch::Sender<bool>,
    guards: watch::Sender<()>,
}

/// Tells a task that the drain has begun.
#[derive(Debug, Clone)]
pub struct Shutdown {
    draining: watch::Receiver<bool>,
    guards: watch::Sender<()>,
}

/// Holds the daemon open until dropped.
#[derive(Debug)]
pub struct Guard {
    _held: watch::Receiver<()>,
}

impl Trigger {
    /// Returns a trigger that was not pulled yet.
    pub fn new() -> Self {
        Self { draining: watch::Sender::new(false), guards: watch::Sender::new(()) }
    }

    /// Returns a handle that sees the drain begin.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown { draining: self.draining.subscribe(), guards: self.guards.clone() }
    }

    /// Begins the drain; a second call does nothing.
    pub fn begin(&self) {
        self.draining.send_replace(true);
    }

    /// Returns how many guards are held.
    pub fn guards(&self) -> usize {
        self.guards.receiver_count()
    }

    /// Waits until no guard is held.
    pub async fn drained(&self) {
        self.guards.closed().await;
    }
}

impl Default for Trigger {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Returns whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits for the drain to begin; a dropped trigger counts as one. May be cancelled and called again.
    pub async fn begun(&mut self) {
        // The error says that the trigger is gone, and with it everything worth staying for.
        let _ = self.draining.wait_for(|draining| *draining).await;
    }

    /// Returns a guard that holds the daemon open.
    pub fn guard(&self) -> Guard {
        Guard { _held: self.guards.subscribe() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn drain_is_seen_by_those_who_came_before_and_after() {
        let trigger = Trigger::new();
        let mut early = trigger.shutdown();
        assert!(!early.is_draining());
        assert!(timeout(SOON, early.begun()).await.is_err());
        trigger.begin();
        timeout(SOON, early.begun()).await.unwrap();
        timeout(SOON, trigger.shutdown().begun()).await.unwrap();
        assert!(early.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_trigger_ends_the_wait() {
        let trigger = Trigger::new();
        let mut shutdown = trigger.shutdown();
        drop(trigger);
        timeout(SOON, shutdown.begun()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn only_guards_hold_the_daemon_open() {
        let trigger = Trigger::new();
        let shutdown = trigger.shutdown();
        timeout(SOON, trigger.drained()).await.unwrap();
        let guard = shutdown.guard();
        assert_eq!(trigger.guards(), 1);
        assert!(timeout(SOON, trigger.drained()).await.is_err());
        drop(guard);
        timeout(SOON, trigger.drained()).await.unwrap();
    }
}

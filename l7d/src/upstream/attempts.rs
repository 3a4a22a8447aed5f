//! What follows a failed connection to a server: the same server again, another one, or giving up. Pure.

use std::time::Duration;

/// The attempts of one connection or request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts {
    retries: u32,
    redispatch: Redispatch,
    failed: u32,
}

/// When a failed connection is tried on another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redispatch {
    /// Never.
    Never,
    /// On the last retry.
    Last,
    /// On every so many retries.
    Every(u32),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try the same server again after this pause, which gives one that restarts the time to do so.
    Same(Duration),
    /// Choose again, if possible another server.
    Other,
    /// Fail.
    GiveUp,
}

impl Attempts {
    /// Allows so many attempts beyond the first.
    pub(crate) fn new(retries: u32, redispatch: Redispatch) -> Self {
        Self { retries, redispatch, failed: 0 }
    }

    /// Tells whether a failed attempt may be followed by another.
    pub(crate) fn are_left(&self) -> bool {
        self.failed < self.retries
    }

    /// Counts a failed attempt; `connect_timeout` bounds the pause before the same server is tried again.
    pub(crate) fn after_failure(&mut self, connect_timeout: Option<Duration>) -> Next {
        self.failed += 1;
        let moves_on = match self.redispatch {
            Redispatch::Never => false,
            Redispatch::Last => self.failed == self.retries,
            Redispatch::Every(retries) => self.failed.is_multiple_of(retries.max(1)),
        };
        match moves_on {
            _ if self.failed > self.retries => Next::GiveUp,
            true => Next::Other,
            false => Next::Same(pause(connect_timeout)),
        }
    }
}

/// Returns how long is waited before the same server is tried again.
pub(super) fn pause(connect_timeout: Option<Duration>) -> Duration {
    connect_timeout.map_or(LONGEST_PAUSE, |timeout| timeout.min(LONGEST_PAUSE))
}

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(retries: u32, redispatch: Redispatch) -> Vec<Next> {
        let mut attempts = Attempts::new(retries, redispatch);
        (0..=retries).map(|_| attempts.after_failure(Some(Duration::from_millis(300)))).collect()
    }

    #[test]
    fn redispatch_comes_when_configured() {
        let same = Next::Same(Duration::from_millis(300));
        assert_eq!(steps(0, Redispatch::Last), [Next::GiveUp]);
        assert_eq!(steps(2, Redispatch::Never), [same, same, Next::GiveUp]);
        assert_eq!(steps(3, Redispatch::Last), [same, same, Next::Other, Next::GiveUp]);
        assert_eq!(steps(3, Redispatch::Every(1)), [Next::Other, Next::Other, Next::Other, Next::GiveUp]);
        assert_eq!(steps(3, Redispatch::Every(2)), [same, Next::Other, same, Next::GiveUp]);
    }

    #[test]
    fn pause_is_at_most_a_second() {
        let mut attempts = Attempts::new(1, Redispatch::Never);
        assert_eq!(attempts.after_failure(None), Next::Same(Duration::from_secs(1)));
    }
}

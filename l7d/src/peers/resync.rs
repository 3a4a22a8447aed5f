//! Whether this process knows what its peers knew before it, and who is to teach it.
//!
//! First the process before this one, if there was one; then one peer after the other, until one has taught all it knows and knew everything
//! itself. Whoever finds no teacher for a while goes on with what it has. Pure: `now` is handed in.

use std::time::Duration;

use tokio::time::Instant;

/// How a process begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// In the place of another, which may teach it.
    AsSuccessor,
    /// Without one.
    Afresh,
}

/// What is known, and who teaches.
#[derive(Debug)]
pub(super) struct Resync {
    stage: Stage,
    /// When the search for a teacher of this stage is given up.
    until: Instant,
    /// Who teaches.
    teacher: Option<usize>,
    /// Who did not know everything itself.
    asked: Vec<usize>,
}

/// Who is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The process before this one.
    Predecessor,
    /// A peer.
    Peers,
    /// Nobody.
    Done,
}

/// How long a teacher is looked for.
pub(super) const SEARCH: Duration = Duration::from_secs(5);

impl Resync {
    pub(super) fn new(start: Start, now: Instant) -> Self {
        let stage = if start == Start::AsSuccessor { Stage::Predecessor } else { Stage::Peers };
        Self { stage, until: now + SEARCH, teacher: None, asked: Vec::new() }
    }

    /// Returns who is waited for.
    pub(super) fn stage(&mut self, now: Instant) -> Stage {
        if self.teacher.is_none() && now >= self.until && self.stage != Stage::Done {
            self.stage = if self.stage == Stage::Predecessor { Stage::Peers } else { Stage::Done };
            self.until = now + SEARCH;
        }
        self.stage
    }

    /// Tells whether a peer is teaching.
    pub(super) fn is_taught(&self) -> bool {
        self.teacher.is_some()
    }

    /// Returns when the search ends.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Tells whether a connected peer is to teach from now on.
    pub(super) fn asks(&mut self, peer: usize, now: Instant) -> bool {
        let asks = self.stage(now) == Stage::Peers && self.teacher.is_none() && !self.asked.contains(&peer);
        if asks {
            self.teacher = Some(peer);
        }
        asks
    }

    /// Notes that someone has taught everything there is to know.
    pub(super) fn finish(&mut self) {
        (self.stage, self.teacher) = (Stage::Done, None);
    }

    /// Notes that a peer has taught what it knows, which is not everything, or that it is gone.
    pub(super) fn leave(&mut self, peer: usize, outcome: Outcome, now: Instant) {
        if outcome == Outcome::Partial && !self.asked.contains(&peer) {
            self.asked.push(peer);
        }
        if self.teacher == Some(peer) {
            (self.teacher, self.until) = (None, now + SEARCH);
        }
    }
}

/// Why a teacher is one no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It does not know more.
    Partial,
    /// Its connection is gone.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_after_the_other_is_asked() {
        let now = Instant::now();
        let mut resync = Resync::new(Start::AsSuccessor, now);
        assert!(!resync.asks(1, now), "the process before this one comes first");
        let now = now + SEARCH;
        assert!(resync.asks(1, now) && !resync.asks(2, now));
        resync.leave(1, Outcome::Partial, now);
        assert!(!resync.asks(1, now) && resync.asks(2, now + Duration::from_secs(1)));
        resync.leave(2, Outcome::Lost, now + Duration::from_secs(2));
        assert!(resync.asks(2, now + Duration::from_secs(6)), "it may come back");
        assert_eq!(resync.stage(now + 9 * SEARCH), Stage::Peers, "who teaches takes the time it takes");
        resync.finish();
        assert_eq!(resync.stage(now), Stage::Done);
    }

    #[test]
    fn who_finds_no_teacher_goes_on_alone() {
        let now = Instant::now();
        let mut resync = Resync::new(Start::Afresh, now);
        assert_eq!(resync.stage(now), Stage::Peers);
        assert_eq!(resync.stage(now + SEARCH), Stage::Done);
        assert!(!resync.asks(1, now + SEARCH));
    }
}

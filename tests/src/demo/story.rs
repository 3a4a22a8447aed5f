//! The demo's plot as a pure machine: all is well, a server is killed, its traffic moves, it is started again and serves; then the next.

use std::time::{Duration, Instant};

use super::stage::SERVERS;
use super::traffic::Tally;

/// What the story looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    /// The time.
    pub(super) now: Instant,
    /// What clients saw.
    pub(super) tally: &'a Tally,
    /// Which servers both daemons send connections to.
    pub(super) up: &'a [bool; SERVERS],
}

/// What has to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// Kill this server.
    Kill(usize),
    /// Start it again.
    Start(usize),
    /// Stop the show.
    End,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Killed { server: usize },
    Moved { server: usize, after: Duration, failed: u64 },
    NotMoved { server: usize },
    Started { server: usize },
    Returned { server: usize, after: Duration, failed: u64 },
    NotReturned { server: usize },
}

/// One server lost and, if all went well, won back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) server: usize,
    /// From the kill to the last connection that failed for it.
    pub(super) moved: Option<Duration>,
    /// How many connections failed for it.
    pub(super) failed: u64,
    /// From the start to the first answer.
    pub(super) returned: Option<Duration>,
}

impl Round {
    /// Tells whether the round went as promised.
    pub(super) fn succeeded(&self) -> bool {
        self.moved.is_some_and(|after| after <= PROMISE) && self.returned.is_some()
    }
}

/// Where the story is; times are those of the last change.
#[derive(Clone, Copy, Debug)]
enum Scene {
    Calm {
        until: Instant,
    },
    /// Waits for the traffic to move, then lets it be seen for a while.
    Dead {
        since: Instant,
        before: u64,
        leave: Option<Instant>,
    },
    /// Waits for the server to answer, then lets it be seen for a while.
    Back {
        since: Instant,
        before: u64,
        leave: Option<Instant>,
    },
}

/// The story so far.
#[derive(Debug)]
pub(super) struct Story {
    began: Instant,
    /// How long it goes on at least; for ever without it.
    span: Option<Duration>,
    scene: Scene,
    current: Round,
    rounds: Vec<Round>,
    events: Vec<(Duration, Event)>,
}

impl Story {
    /// Begins a story that ends with the first round that is complete after `span`.
    pub(super) fn new(now: Instant, span: Option<Duration>) -> Self {
        let current = Round { server: FIRST_VICTIM, ..Round::default() };
        Self { began: now, span, scene: Scene::Calm { until: now + FIRST_CALM }, current, rounds: Vec::new(), events: Vec::new() }
    }

    /// Returns the rounds that are complete.
    pub(super) fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// Returns what happened, with the time since the beginning.
    pub(super) fn events(&self) -> &[(Duration, Event)] {
        &self.events
    }

    /// Returns when it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Tells whether there was a round, and every round went as promised.
    pub(super) fn succeeded(&self) -> bool {
        !self.rounds.is_empty() && self.rounds.iter().all(Round::succeeded)
    }

    /// Looks at what is and returns what has to be done.
    pub(super) fn advance(&mut self, sight: &Sight<'_>) -> Option<Cue> {
        let now = sight.now;
        match self.scene {
            Scene::Calm { until } => {
                if now < until {
                    return None;
                }
                self.scene = Scene::Dead { since: now, before: sight.tally.failed(), leave: None };
                self.tell(now, Event::Killed { server: self.current.server });
                Some(Cue::Kill(self.current.server))
            }
            Scene::Dead { since, before, leave: None } => {
                let leave = self.watch_move(sight, since, before).then_some(now + LOOK);
                self.scene = Scene::Dead { since, before, leave };
                None
            }
            Scene::Dead { leave: Some(leave), .. } => {
                if now < leave {
                    return None;
                }
                self.scene = Scene::Back { since: now, before: sight.tally.failed(), leave: None };
                self.tell(now, Event::Started { server: self.current.server });
                Some(Cue::Start(self.current.server))
            }
            Scene::Back { since, before, leave: None } => {
                let leave = self.watch_return(sight, since, before).then_some(now + LOOK);
                self.scene = Scene::Back { since, before, leave };
                None
            }
            Scene::Back { leave: Some(leave), .. } => (now >= leave).then(|| self.close_round(now)).flatten(),
        }
    }

    /// Returns true once it is known whether the traffic moved.
    fn watch_move(&mut self, sight: &Sight<'_>, since: Instant, before: u64) -> bool {
        let server = self.current.server;
        let last = sight.tally.last_failure().filter(|last| *last > since);
        let quiet = sight.now.saturating_duration_since(last.unwrap_or(since)) >= QUIET;
        if !sight.up[server] && quiet {
            let (after, failed) = (last.map_or(Duration::ZERO, |last| last - since), sight.tally.failed() - before);
            (self.current.moved, self.current.failed) = (Some(after), failed);
            self.tell(sight.now, Event::Moved { server, after, failed });
            return true;
        }
        let late = sight.now >= since + PATIENCE;
        if late {
            self.current.failed = sight.tally.failed() - before;
            self.tell(sight.now, Event::NotMoved { server });
        }
        late
    }

    /// Returns true once it is known whether the server serves again.
    fn watch_return(&mut self, sight: &Sight<'_>, since: Instant, before: u64) -> bool {
        let server = self.current.server;
        if let Some(first) = sight.tally.returned(server).filter(|_| sight.up[server]) {
            let (after, failed) = (first.saturating_duration_since(since), sight.tally.failed() - before);
            self.current.returned = Some(after);
            self.tell(sight.now, Event::Returned { server, after, failed });
            return true;
        }
        let late = sight.now >= since + PATIENCE;
        if late {
            self.tell(sight.now, Event::NotReturned { server });
        }
        late
    }

    fn close_round(&mut self, now: Instant) -> Option<Cue> {
        self.rounds.push(self.current);
        self.current = Round { server: (self.current.server + 1) % SERVERS, ..Round::default() };
        self.scene = Scene::Calm { until: now + CALM };
        self.span.is_some_and(|span| now >= self.began + span).then_some(Cue::End)
    }

    fn tell(&mut self, now: Instant, event: Event) {
        self.events.push((now.saturating_duration_since(self.began), event));
    }
}

/// How soon traffic must have left a dead server.
pub(super) const PROMISE: Duration = Duration::from_secs(1);

/// Not the first in the table, so that one sees that it is a choice.
const FIRST_VICTIM: usize = 1;
/// Time to read the screen before anything happens.
const FIRST_CALM: Duration = Duration::from_secs(4);
const CALM: Duration = Duration::from_secs(8);
/// Time to see what became of an event.
const LOOK: Duration = Duration::from_secs(3);
/// So long without a failed connection means there will be none: a dead server would have got a hundred.
const QUIET: Duration = Duration::from_millis(500);
/// How long to wait for what should take a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::traffic::TierTally;

    /// Plays a story in steps of a tenth of a second; `world` says what is to be seen at that time after the beginning.
    fn play(span: Duration, world: impl Fn(Duration, Instant) -> (Tally, [bool; SERVERS])) -> (Story, Vec<(u128, Cue)>) {
        let began = Instant::now();
        let mut story = Story::new(began, Some(span));
        let mut cues = Vec::new();
        for step in 0..1000_u32 {
            let passed = Duration::from_millis(100) * step;
            let (tally, up) = world(passed, began);
            if let Some(cue) = story.advance(&Sight { now: began + passed, tally: &tally, up: &up }) {
                cues.push((passed.as_millis(), cue));
                if cue == Cue::End {
                    return (story, cues);
                }
            }
        }
        (story, cues)
    }

    fn seen(failed: u64, last_failure: Option<Instant>, first: Option<Instant>) -> Tally {
        let mut tally = Tally { tcp: TierTally { failed, last_failure, ..TierTally::default() }, ..Tally::default() };
        tally.tcp.served[FIRST_VICTIM].first = first;
        tally.http.served[FIRST_VICTIM].first = first;
        tally
    }

    /// Killed at 4.0 s: 30 connections fail until 4.2 s, then l4d knows. It is seen to be well at 4.7 s, started at 7.7 s, and answers at 7.9 s.
    fn as_promised(passed: Duration, began: Instant) -> (Tally, [bool; SERVERS]) {
        let at = |millis| began + Duration::from_millis(millis);
        match passed.as_millis() {
            ..=4000 => (seen(2, Some(at(900)), Some(at(5))), [true; SERVERS]),
            4001..=4200 => (seen(20, Some(at(4100)), Some(at(5))), [true; SERVERS]),
            4201..=7800 => (seen(32, Some(at(4200)), None), [true, false, true]),
            _ => (seen(32, Some(at(4200)), Some(at(7900))), [true; SERVERS]),
        }
    }

    #[test]
    fn round_reports_how_long_each_change_took() {
        let (story, cues) = play(Duration::ZERO, as_promised);
        assert_eq!(cues, [(4000, Cue::Kill(1)), (7700, Cue::Start(1)), (10_900, Cue::End)]);
        let round = Round { server: 1, moved: Some(Duration::from_millis(200)), failed: 30, returned: Some(Duration::from_millis(200)) };
        assert_eq!(story.rounds(), [round]);
        assert!(story.succeeded());
    }

    #[test]
    fn span_is_carried_on_to_the_end_of_a_round() {
        let (story, cues) = play(Duration::from_secs(15), as_promised);
        assert_eq!(story.rounds().len(), 2);
        assert!(cues.contains(&(18_900, Cue::Kill(2))), "the next victim is another: {cues:?}");
    }

    #[test]
    fn traffic_that_never_moves_is_a_failure_and_the_server_comes_back_all_the_same() {
        let (story, cues) = play(Duration::ZERO, |passed, began| (seen(9, Some(began + passed), Some(began)), [true; SERVERS]));
        assert_eq!(cues[1], (12_000, Cue::Start(1)));
        assert!(!story.succeeded());
    }

    #[test]
    fn server_that_never_answers_again_is_a_failure() {
        let (story, _) = play(Duration::ZERO, |passed, began| {
            let (tally, up) = as_promised(passed, began);
            if passed.as_millis() > 7700 { (seen(32, tally.last_failure(), None), up) } else { (tally, up) }
        });
        assert!(!story.succeeded());
        assert_eq!(story.rounds()[0].returned, None);
    }

    #[test]
    fn slow_failover_breaks_the_promise() {
        let round = Round { server: 1, moved: Some(PROMISE), failed: 100, returned: Some(PROMISE) };
        assert!(round.succeeded());
        assert!(!Round { moved: Some(PROMISE + Duration::from_millis(1)), ..round }.succeeded());
    }

    #[test]
    fn story_without_a_round_proves_nothing() {
        assert!(!Story::new(Instant::now(), None).succeeded());
    }
}

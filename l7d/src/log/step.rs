//! The lines of exchanges, at each of their steps.

use std::time::Instant;

use control::config::{LogStep, Occasion};

use super::journal::Outcome;
use super::output::Line;
use super::{LINE, Record};
use crate::rules::{Facts, Loudness, View};
use crate::site::Frontend;

/// What a line about the response will say of everything before it.
#[derive(Debug)]
pub(crate) struct Outline<'a> {
    frontend: &'a Frontend,
    facts: Facts<'a>,
    outcome: Outcome,
    start: Instant,
    connected: Option<Instant>,
    /// The request line.
    line: Vec<u8>,
}

impl<'a> Record<'a> {
    /// Writes the line of a step that the exchange has come to, if there is one.
    pub(crate) fn step(&self, frontend: &Frontend, step: LogStep, view: &View<'_>) {
        if frontend.log().is_at(step) {
            self.write_line(frontend, (step, view), Instant::now());
        }
    }

    /// Returns what a line about the response needs, if there is to be one.
    pub(crate) fn outline<'f>(&self, frontend: &'f Frontend, view: &View<'_>) -> Option<Box<Outline<'f>>>
    where
        'a: 'f,
    {
        if !self.wanted || !frontend.log().is_at(LogStep::Response) {
            return None;
        }
        let facts = self.facts((frontend, None), (LogStep::Response, view.memory), Instant::now());
        Some(Box::new(Outline {
            frontend,
            facts,
            outcome: self.outcome(),
            start: self.start,
            connected: self.connected,
            line: self.line.clone(),
        }))
    }

    pub(super) fn write_line(&self, frontend: &Frontend, (step, view): (LogStep, &View<'_>), ended: Instant) {
        if self.wanted && frontend.log().is_at(step) {
            let facts = self.facts((frontend, Some(&self.line)), (step, view.memory), ended);
            tell(frontend, (step, self.outcome()), view, &facts);
        }
    }
}

impl Outline<'_> {
    /// Writes the line about a response of this status, now that it goes to the client.
    pub(crate) fn answered(&self, status: u16, view: &View<'_>) {
        let now = Instant::now();
        let mut facts = Facts { status: Some(status), line: Some(&*self.line).filter(|line| !line.is_empty()), ..self.facts };
        facts.steps.response = self.connected.map(|connected| now.saturating_duration_since(connected));
        facts.steps.active = now.saturating_duration_since(self.start);
        tell(self.frontend, (LogStep::Response, self.outcome), view, &facts);
    }
}

/// Returns what `%OG` calls a step.
pub(super) fn origin(step: LogStep) -> &'static str {
    match step {
        LogStep::Accept => "txn_accept",
        LogStep::Request => "txn_request",
        LogStep::Connect => "txn_connect",
        LogStep::Response => "txn_response",
        LogStep::Close => "txn_close",
    }
}

/// Writes the lines of a step for all targets.
fn tell(frontend: &Frontend, (step, outcome): (LogStep, Outcome), view: &View<'_>, facts: &Facts<'_>) {
    let (log, lines) = (frontend.log(), frontend.rules().lines());
    let level = match view.memory.wishes.loudness {
        Loudness::Usual => log.level(outcome),
        Loudness::At(level) => log.level(outcome).map(|_| level),
        Loudness::Silent => None,
    };
    let Some(level) = level else { return };
    let all = [Occasion::Error, Occasion::At(step), Occasion::Any];
    let occasions = if outcome == Outcome::Failure { &all[..] } else { &all[1..] };
    LINE.with_borrow_mut(|[text, structured, packet]| {
        for audience in log.audiences() {
            let Some((format, of_structured)) = lines.choose(audience.profile, occasions) else { continue };
            text.clear();
            format.write_line(view, facts, text);
            if text.is_empty() {
                continue;
            }
            structured.clear();
            if let Some(format) = of_structured {
                format.write_line(view, facts, structured);
            }
            audience.write(Line { level, text, structured }, packet);
        }
    });
}

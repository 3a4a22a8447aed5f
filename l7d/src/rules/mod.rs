//! The rules of the configuration: compiled once, then asked about every connection, request and response.
//!
//! ```text
//! word ─► argument ─► fetch, converter ─► expr ─► pattern, acl ─► condition ─► directive, action ─► program
//! ```
//! Rule text becomes enums at load; whatever never changes is computed then, and everything wrong with any rule is reported with its
//! place. At run time a rule looks at a [`View`] of the exchange; most need no memory of their own for that. What rules change are
//! the heads of messages; where bodies begin and end, and what becomes of connections, is not for them to say. No I/O happens here.

mod acl;
mod action;
mod argument;
mod auth;
mod capture;
mod condition;
mod converter;
#[cfg(test)]
mod coverage;
mod crypt;
mod directive;
mod errors;
mod expr;
mod fetch;
mod host;
mod lines;
mod log_format;
mod names;
mod observer;
mod pattern;
mod program;
mod refused;
mod replace;
mod sample;
mod start;
mod stick;
mod store;
#[cfg(test)]
mod tests;
mod tie;
mod view;
mod word;

use std::cell::RefCell;
use std::time::Duration;

use control::config::BackendId;

use crate::cache::Hit;
use crate::message::head::{RequestHead, ResponseHead};
use crate::reply::Reply;
use crate::stick::Persist;
use action::{Action, Effect, Message, Passage, Strictness};
pub(crate) use auth::Verification;
use condition::Outcome;
pub(crate) use fetch::{Ingress, ServerLine, hostname};
pub(crate) use host::ServerHost;
pub(crate) use log_format::{Counts, Ends, Facts, Format, Steps};
pub(crate) use observer::{Considered, Note, Observer, Step as Noted};
pub(crate) use program::{Filter, ProxyRules, Rules};
use program::{Rule, ServerTarget, Target};
pub(crate) use store::{Named, PatternKind, Patterns, Refused};
pub(crate) use view::{Content, Keepsake, Lookup, Loudness, Memory, Pause, Repetition, Rest, Scene, Shared, View, Wait, Wishes};

/// What rules decided about a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It goes on.
    Pass,
    /// A rule answers instead.
    Answer(Reply),
    /// A rule has found the answer in a cache.
    Held(Box<Hit>),
    /// A rule refuses it, with this answer.
    Deny(Reply),
    /// A rule refuses it after a while, with this answer.
    Tarpit(Reply),
    /// A rule closes the connection.
    Close,
    /// A rule closes the server's connection, and the client gets what has come from it.
    Cut,
    /// A rule wants to know who the client is first, with this challenge.
    Challenge(Box<[u8]>),
    /// A rule forgets the connection, and the client is not told.
    Vanish,
    /// A rule wants to see more of the body, or an address, and the rules behind it wait for that.
    Wait(Pause),
    /// A rule would have made it something that cannot be sent.
    Fail,
}

impl ProxyRules {
    /// Takes a connection of which nothing has been read yet through the rules.
    pub(crate) fn on_connection(&self, scene: &mut Scene<'_>, memory: &mut Memory) -> Verdict {
        take(&mut 0, scene, memory, Message::NOTHING, &[&self.connection])
    }

    /// Takes a connection through the rules whose PROXY header and handshake are over.
    pub(crate) fn on_session(&self, scene: &mut Scene<'_>, memory: &mut Memory) -> Verdict {
        take(&mut 0, scene, memory, Message::NOTHING, &[&self.session])
    }

    /// Tells whether there is any rule about new connections.
    pub(crate) fn concerns_connections(&self) -> bool {
        !self.connection.is_empty()
    }

    /// Tells whether there is any rule about connections that are ready to be served.
    pub(crate) fn concerns_sessions(&self) -> bool {
        !self.session.is_empty()
    }

    /// Tells whether there is any rule about the first bytes of connections.
    pub(crate) fn concerns_content(&self) -> bool {
        !self.content.is_empty()
    }

    /// Returns how long the first bytes of a connection are waited for.
    pub(crate) fn inspect_delay(&self) -> Option<Duration> {
        self.inspect_delay
    }

    /// Tells whether a rule wants to know which request the first bytes of a connection begin.
    pub(crate) fn reads_requests(&self) -> bool {
        self.reads_requests
    }

    /// Takes the first bytes of a connection, or the request they are, through the rules from the one at `next` on; there is no verdict
    /// yet where more bytes could change it, and `next` is then the rule that waits for them.
    pub(crate) fn on_content(
        &self,
        next: &mut usize,
        request: Option<&RequestHead>,
        scene: &mut Scene<'_>,
        memory: &mut Memory,
    ) -> Option<Verdict> {
        let mut passage = Passage::new(scene, memory, Message::Content { request, response: None });
        let verdict = judge_content(&self.content, next, &mut passage);
        passage.end(scene);
        verdict
    }

    /// Tells whether there is any rule about the first bytes of servers.
    pub(crate) fn concerns_first_answers(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Returns how long the first bytes of servers are waited for.
    pub(crate) fn answer_delay(&self) -> Option<Duration> {
        self.answer_delay
    }

    /// Takes the first bytes of a server, or the response they are, through the rules from the one at `next` on; there is no verdict yet
    /// where more bytes could change it, and `next` is then the rule that waits for them.
    pub(crate) fn on_first_answer(
        &self,
        next: &mut usize,
        (request, response): (Option<&RequestHead>, Option<&ResponseHead>),
        scene: &mut Scene<'_>,
        memory: &mut Memory,
    ) -> Option<Verdict> {
        let mut passage = Passage::new(scene, memory, Message::Content { request, response });
        let verdict = judge_content(&self.answer, next, &mut passage);
        passage.end(scene);
        verdict
    }

    /// Takes a request through the rules from the one at `next` on, which where one waits for the body is the one behind it.
    pub(crate) fn on_request(&self, next: &mut usize, head: &mut RequestHead, scene: &mut Scene<'_>, memory: &mut Memory) -> Verdict {
        if self.request.is_empty() && self.redirects.is_empty() {
            return Verdict::Pass;
        }
        take(next, scene, memory, Message::Request(head), &[&self.request, &self.redirects])
    }

    /// Takes a request for the statistics through the rules about them.
    pub(crate) fn on_statistics(&self, head: &mut RequestHead, scene: &mut Scene<'_>, memory: &mut Memory) -> Verdict {
        if self.statistics.is_empty() {
            return Verdict::Pass;
        }
        take(&mut 0, scene, memory, Message::Request(head), &[&self.statistics])
    }

    /// Returns what must be computed before rules can ask who sent a request; none if that is nothing.
    pub(crate) fn verification(&self, head: &RequestHead) -> Option<Verification> {
        Verification::of(&self.userlists, head)
    }

    /// Takes a response through the rules from the one at `next` on, which where one waits for the body is the one behind it.
    pub(crate) fn on_response(
        &self,
        next: &mut usize,
        request: &RequestHead,
        head: &mut ResponseHead,
        scene: &mut Scene<'_>,
        memory: &mut Memory,
    ) -> Verdict {
        if self.response.is_empty() {
            return Verdict::Pass;
        }
        take(next, scene, memory, Message::Response { request: Some(request), response: head }, &[&self.response])
    }

    /// Tells whether there is any rule about responses on their way out.
    pub(crate) fn concerns_answers(&self) -> bool {
        !self.after_response.is_empty()
    }

    /// Takes a response through the rules that see all of them, our own included; tells whether it may be sent.
    pub(crate) fn after_response(
        &self,
        request: Option<&RequestHead>,
        head: &mut ResponseHead,
        scene: &mut Scene<'_>,
        memory: &mut Memory,
    ) -> Verdict {
        take(&mut 0, scene, memory, Message::Response { request, response: head }, &[&self.after_response])
    }

    /// Returns what the first rule that applies says about persistence.
    pub(crate) fn persistence(&self, view: &View<'_>) -> Option<Persist> {
        self.persistence.iter().find(|rule| rule.applies(view)).map(|rule| rule.action)
    }

    /// Returns the place of the server that the first rule that applies names, passing over those whose server is not usable; `named`
    /// finds the ones whose names are computed, behind which nothing more is asked where nobody bears them.
    pub(crate) fn server(
        &self,
        view: &View<'_>,
        named: impl Fn(&[u8]) -> Option<usize>,
        is_usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        for rule in self.servers.iter().filter(|rule| rule.applies(view)) {
            let place = match &rule.action {
                ServerTarget::Place(place) => *place,
                ServerTarget::Named(format) => {
                    let mut name = Vec::new();
                    format.write(view, &mut name);
                    named(&name)?
                }
            };
            if is_usable(place) {
                return Some(place);
            }
        }
        None
    }

    /// Tells whether any rule names servers.
    pub(crate) fn names_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Returns the backend that the first rule that applies names; `named` finds the ones whose names are computed.
    pub(crate) fn route(&self, view: &View<'_>, named: impl Fn(&[u8]) -> Option<BackendId>) -> Option<BackendId> {
        let rule = self.routes.iter().find(|rule| rule.applies(view))?;
        match &rule.action {
            Target::Backend(id) => Some(*id),
            Target::Named(format) => {
                let mut name = Vec::new();
                format.write(view, &mut name);
                named(&name)
            }
        }
    }
}

/// Takes a message through lists of rules, one after the other, from the one at `next` of all of them on.
fn take(next: &mut usize, scene: &mut Scene<'_>, memory: &mut Memory, message: Message<'_>, lists: &[&[Rule<Action>]]) -> Verdict {
    let mut passage = Passage::new(scene, memory, message);
    let verdict = run(next, &mut passage, lists);
    passage.end(scene);
    verdict
}

impl<'p> Passage<'p> {
    fn new(scene: &Scene<'p>, memory: &'p mut Memory, message: Message<'p>) -> Self {
        Self { scene: *scene, memory, message, strictness: Strictness::On, scratch: SCRATCH.take() }
    }

    /// Keeps what rules said of the connection.
    fn end(self, scene: &mut Scene<'_>) {
        (scene.source, scene.destination) = (self.scene.source, self.scene.destination);
        SCRATCH.set(self.scratch);
    }
}

fn run(next: &mut usize, passage: &mut Passage<'_>, lists: &[&[Rule<Action>]]) -> Verdict {
    let mut before = 0;
    for list in lists {
        while let Some(rule) = list.get(next.saturating_sub(before)) {
            *next += 1;
            if !rule.applies(&passage.view()) {
                continue;
            }
            match carry_out(&rule.action, passage) {
                Step::Next => {}
                Step::Done => {
                    passage.memory.decide(rule.id);
                    break;
                }
                Step::Over(Verdict::Wait(wait)) => return Verdict::Wait(wait),
                Step::Over(verdict) => {
                    passage.memory.decide(rule.id);
                    return verdict;
                }
            }
        }
        before += list.len();
        *next = before;
    }
    *next = 0;
    Verdict::Pass
}

fn judge_content(rules: &[Rule<Action>], next: &mut usize, passage: &mut Passage<'_>) -> Option<Verdict> {
    while let Some(rule) = rules.get(*next) {
        match rule.judge(&passage.view()) {
            Outcome::Unknown => return None,
            Outcome::No => {}
            Outcome::Yes => {
                if let Some(verdict) = carry_out(&rule.action, passage).into_verdict() {
                    passage.memory.decide(rule.id);
                    return Some(verdict);
                }
            }
        }
        *next += 1;
    }
    Some(Verdict::Pass)
}

/// What follows from a rule that applied.
enum Step {
    Next,
    /// No further rule of this list.
    Done,
    Over(Verdict),
}

impl Step {
    fn into_verdict(self) -> Option<Verdict> {
        match self {
            Self::Next => None,
            Self::Done => Some(Verdict::Pass),
            Self::Over(verdict) => Some(verdict),
        }
    }
}

fn carry_out(action: &Action, passage: &mut Passage<'_>) -> Step {
    let effect = action.run(passage);
    if let (Some(observer), Ok(effect)) = (passage.scene.observer, &effect) {
        observer.effect(effect);
    }
    Step::Over(match effect {
        Ok(Effect::Next) => return Step::Next,
        Ok(Effect::Done) => return Step::Done,
        Ok(Effect::Denied(reply)) => Verdict::Deny(reply),
        Ok(Effect::Held(hit)) => Verdict::Held(hit),
        Ok(Effect::Answered(reply)) => Verdict::Answer(reply),
        Ok(Effect::Challenged(challenge)) => Verdict::Challenge(challenge),
        Ok(Effect::Closed) => Verdict::Close,
        Ok(Effect::Cut) => Verdict::Cut,
        Ok(Effect::Tarpitted(reply)) => Verdict::Tarpit(reply),
        Ok(Effect::Vanished) => Verdict::Vanish,
        Ok(Effect::Waits(wait)) => Verdict::Wait(wait),
        Err(_) => {
            passage.memory.fault(passage.strictness);
            match passage.strictness {
                Strictness::Off => return Step::Next,
                Strictness::On => Verdict::Fail,
            }
        }
    })
}

thread_local! {
    /// What texts are printed into before they become part of a head.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
mod condition;
mod converter;
mod directive;
mod errors;
mod expr;
mod fetch;
mod host;
mod log_format;
mod names;
mod pattern;
mod program;
mod replace;
mod sample;
#[cfg(test)]
mod tests;
mod view;
mod word;

use std::cell::RefCell;

use control::config::BackendId;

use crate::message::head::{RequestHead, ResponseHead};
use crate::reply::Reply;
use action::{Action, Effect, Message, Passage};
pub(crate) use host::ServerHost;
use program::{Admission, Rule, Target};
pub(crate) use program::{ProxyRules, Rules};
pub(crate) use view::{Memory, Scene, View};

/// What rules decided about a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It goes on.
    Pass,
    /// A rule answers instead.
    Answer(Reply),
    /// A rule refuses it, with this answer.
    Deny(Reply),
    /// A rule closes the connection.
    Close,
    /// A rule would have made it something that cannot be sent.
    Fail,
}

impl ProxyRules {
    /// Tells whether a connection is served.
    pub(crate) fn admit(&self, view: &View<'_>) -> bool {
        let decided = self.connection.iter().find(|rule| rule.condition.holds(view));
        decided.is_none_or(|rule| rule.action == Admission::Accept)
    }

    /// Tells whether there is any rule about new connections.
    pub(crate) fn concerns_connections(&self) -> bool {
        !self.connection.is_empty()
    }

    /// Takes a request through the rules.
    pub(crate) fn on_request(&self, head: &mut RequestHead, scene: &Scene<'_>, memory: &mut Memory) -> Verdict {
        if self.request.is_empty() && self.redirects.is_empty() {
            return Verdict::Pass;
        }
        take(scene, memory, Message::Request(head), &[&self.request, &self.redirects])
    }

    /// Takes a response through the rules.
    pub(crate) fn on_response(&self, request: &RequestHead, head: &mut ResponseHead, scene: &Scene<'_>, memory: &mut Memory) -> Verdict {
        if self.response.is_empty() {
            return Verdict::Pass;
        }
        take(scene, memory, Message::Response { request, response: head }, &[&self.response])
    }

    /// Returns the backend that the first rule that applies names; `named` finds the ones whose names are computed.
    pub(crate) fn route(&self, view: &View<'_>, named: impl Fn(&[u8]) -> Option<BackendId>) -> Option<BackendId> {
        let rule = self.routes.iter().find(|rule| rule.condition.holds(view))?;
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

/// Takes a message through lists of rules, one after the other.
fn take(scene: &Scene<'_>, memory: &mut Memory, message: Message<'_>, lists: &[&[Rule<Action>]]) -> Verdict {
    let mut passage = Passage { scene, memory, message, scratch: SCRATCH.take() };
    let verdict = run(&mut passage, lists);
    SCRATCH.set(passage.scratch);
    verdict
}

fn run(passage: &mut Passage<'_>, lists: &[&[Rule<Action>]]) -> Verdict {
    for list in lists {
        for rule in *list {
            if !rule.condition.holds(&passage.view()) {
                continue;
            }
            match rule.action.run(passage) {
                Ok(Effect::Next) => {}
                Ok(Effect::Done) => break,
                Ok(Effect::Denied(reply)) => return Verdict::Deny(reply),
                Ok(Effect::Answered(reply)) => return Verdict::Answer(reply),
                Ok(Effect::Closed) => return Verdict::Close,
                Err(_) => return Verdict::Fail,
            }
        }
    }
    Verdict::Pass
}

thread_local! {
    /// What texts are printed into before they become part of a head.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

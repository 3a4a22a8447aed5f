//! A condition that is no part of a configuration: which live requests somebody wants to see.

use std::sync::Arc;

use control::config::{Config, Diagnostic, Located, Mode};

use super::{Compiler, Condition, Needs, ProxyRules, Rules, View, Words, word};
use crate::rules::observer::Observer;
use crate::rules::view::Scene;

/// A condition about the head of a request.
#[derive(Debug)]
pub(crate) struct Filter(Condition);

impl Filter {
    /// Reads a condition, which is asked of requests of these rules.
    ///
    /// # Errors
    /// Names what is not known, and what a request does not tell before its rules are asked.
    pub(crate) fn read(text: &str, config: &Config, rules: &Rules) -> Result<Self, String> {
        let text = Located::elsewhere(text.to_owned(), "trace", text);
        let mut compiler = Compiler::new(config);
        compiler.names.tables = Arc::clone(&rules.tables);
        compiler.names.know(config, &mut Vec::new());
        compiler.enter("", Mode::Http);
        let mut read = || -> Result<Condition, Diagnostic> {
            Condition::parse(&mut Words::new(&word::split(&text)?, &text), &mut compiler, Needs::Request)
        };
        let condition = read().map_err(|fault| fault.message().to_owned())?;
        let (names, known) = (&compiler.names, rules.frontends.first());
        let lacks = |asks: bool, has: fn(&ProxyRules) -> bool| asks && !known.is_some_and(|known| has(known));
        let faults = [
            (condition.needs() > Needs::Request, "a request has no response yet when its rules are asked"),
            (!names.variables.is_empty(), "variables are set by rules, which are asked later"),
            (!names.asked_lists.is_empty(), "hashed passwords are compared later"),
            (names.looks_at_bodies, "bodies come later"),
            (lacks(names.asks_tls, ProxyRules::asks_tls), "nothing is kept of TLS, as no rule asks for it"),
            (lacks(names.asks_destination, ProxyRules::asks_destination), "nobody notes where clients connect to, as no rule asks for it"),
            (lacks(names.asks_lines, |rules| rules.keeps_lines), "first lines are not kept as they came, as no rule asks for them"),
        ];
        match faults.iter().find(|(is_so, _)| *is_so) {
            Some((_, why)) => Err((*why).to_owned()),
            None => Ok(Self(condition)),
        }
    }

    /// Tells whether a request is one of those; nothing changes by that.
    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        let quiet = Observer::default();
        let scene = Scene { observer: Some(&quiet), ..*view.scene };
        self.0.holds(&View { scene: &scene, ..*view })
    }
}

impl ProxyRules {
    /// Tells whether there is any rule about responses.
    pub(crate) fn concerns_responses(&self) -> bool {
        !self.response.is_empty()
    }
}

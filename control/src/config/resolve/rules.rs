//! Names inside rule strings: the only part of the rule language that concerns the configuration as a whole.

use super::{Resolver, place};
use crate::config::location::Located;
use crate::config::model::Preset;

impl Resolver {
    /// Checks what the rules of defaults name, and returns them.
    pub(super) fn preset(&mut self, preset: &Preset) -> Preset {
        Preset { acls: preset.acls.clone(), rules: self.rules(&preset.rules) }
    }

    /// Checks the backends and tables a list of rules names, and returns it.
    pub(super) fn rules(&mut self, rules: &[Located<String>]) -> Vec<Located<String>> {
        let mut last: Option<&Located<String>> = None;
        for rule in rules {
            let words: Vec<&str> = rule.split_ascii_whitespace().collect();
            if let ["use_backend", name, ..] = words.as_slice()
                && is_plain(name)
            {
                self.backend(&part(rule, name));
            }
            if words.first() == Some(&"use_backend") {
                if let Some(last) = last {
                    let hint = format!("the rule in {} takes all that comes to it", place(last.location()));
                    self.warning(rule.location(), "this rule is never reached", hint);
                } else if words.len() == 2 {
                    last = Some(rule);
                }
            }
            let tracked = words.iter().skip_while(|word| !word.starts_with("track-sc"));
            let table = tracked.take_while(|word| !matches!(**word, "if" | "unless")).skip_while(|word| **word != "table").nth(1);
            if let Some(name) = table.filter(|name| is_plain(name)) {
                self.table(&part(rule, name));
            }
        }
        rules.to_vec()
    }
}

/// Tells whether a word is a name as it stands, neither quoted nor computed.
fn is_plain(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
}

/// Returns a word of a rule and where it stands; `word` is a slice of the rule.
fn part(rule: &Located<String>, word: &str) -> Located<String> {
    let start = word.as_ptr().addr() - rule.as_ptr().addr();
    Located::new(word.to_owned(), rule.location().part(rule, start..start + word.len()))
}

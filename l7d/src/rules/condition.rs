//! Conditions: `if` and `unless`, with tests that must all pass, and alternatives of them.

use std::sync::Arc;

use control::config::{Diagnostic, suggest};

use super::acl::{Acl, Test};
use super::fetch::Needs;
use super::program::Compiler;
use super::view::View;
use super::word::Words;

/// When a rule applies.
#[derive(Debug)]
pub(super) enum Condition {
    /// Whatever comes.
    Always,
    /// Whatever comes, not.
    Never,
    /// When all terms of one of these alternatives hold.
    If(Box<[Box<[Term]>]>),
    /// When none of these alternatives has only terms that hold.
    Unless(Box<[Box<[Term]>]>),
}

/// A test, or its contrary.
#[derive(Debug)]
pub(super) struct Term {
    negated: bool,
    acl: Arc<Acl>,
}

impl Condition {
    /// Tells whether the rule applies.
    pub(super) fn holds(&self, view: &View<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::If(alternatives) => any(alternatives, view),
            Self::Unless(alternatives) => !any(alternatives, view),
        }
    }

    /// Returns the most that one of its tests needs.
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Always | Self::Never => Needs::Connection,
            Self::If(alternatives) | Self::Unless(alternatives) => {
                let terms = alternatives.iter().flat_map(|terms| terms.iter());
                terms.map(|term| term.acl.needs()).max().unwrap_or(Needs::Connection)
            }
        }
    }

    /// Tells whether the rule applies, as far as the bytes tell that have come.
    pub(super) fn judge(&self, view: &View<'_>) -> Outcome {
        let (alternatives, is_unless) = match self {
            Self::Always => return Outcome::Yes,
            Self::Never => return Outcome::No,
            Self::If(alternatives) => (alternatives, false),
            Self::Unless(alternatives) => (alternatives, true),
        };
        let all = |terms: &[Term]| worst(terms.iter().map(|term| term.judge(view)), Outcome::No, Outcome::Yes);
        let found = worst(alternatives.iter().map(|terms| all(terms)), Outcome::Yes, Outcome::No);
        if is_unless { found.reversed() } else { found }
    }

    /// Reads what is left of a rule.
    ///
    /// # Errors
    /// Names what is not known, and what stands where a condition should.
    pub(super) fn parse(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, stage: Needs) -> Result<Self, Diagnostic> {
        let Some(word) = words.next() else { return Ok(Self::Always) };
        let is_unless = match word.text() {
            "if" => false,
            "unless" => true,
            other => return Err(word.error(format!("`{other}` stands where the rule should end")).hint("or `if` with a condition")),
        };
        if words.peek().is_none() {
            return Err(word.error(format!("nothing follows `{}`", word.text())));
        }
        let mut alternatives = vec![Vec::new()];
        while let Some(word) = words.peek() {
            if matches!(word.text(), "or" | "||") {
                let empty = alternatives.last().is_some_and(Vec::is_empty);
                words.next();
                if empty || words.peek().is_none() {
                    return Err(word.error(format!("`{}` stands between two conditions", word.text())));
                }
                alternatives.push(Vec::new());
                continue;
            }
            let term = term(words, compiler, stage)?;
            if let Some(last) = alternatives.last_mut() {
                last.push(term);
            }
        }
        Ok(Self::folded(alternatives, is_unless))
    }

    /// Leaves out what never changes.
    fn folded(alternatives: Vec<Vec<Term>>, is_unless: bool) -> Self {
        let mut left: Vec<Box<[Term]>> = Vec::new();
        let mut always = false;
        for terms in alternatives {
            let constant = |term: &Term| term.acl.outcome().map(|outcome| outcome != term.negated);
            if terms.iter().any(|term| constant(term) == Some(false)) {
                continue;
            }
            let open: Box<[Term]> = terms.into_iter().filter(|term| constant(term).is_none()).collect();
            always |= open.is_empty();
            left.push(open);
        }
        match (always, left.is_empty(), is_unless) {
            (true, _, false) | (false, true, true) => Self::Always,
            (true, _, true) | (false, true, false) => Self::Never,
            (false, false, false) => Self::If(left.into()),
            (false, false, true) => Self::Unless(left.into()),
        }
    }
}

/// Whether a rule applies, where that may not be known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Yes,
    No,
    /// More bytes could tell.
    Unknown,
}

impl Outcome {
    pub(super) fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn reversed(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// Joins outcomes: one that is `decisive` decides, otherwise one that is unknown; and without either it is `otherwise`.
fn worst(outcomes: impl Iterator<Item = Outcome>, decisive: Outcome, otherwise: Outcome) -> Outcome {
    let mut joined = otherwise;
    for outcome in outcomes {
        if outcome == decisive {
            return decisive;
        }
        if outcome == Outcome::Unknown {
            joined = Outcome::Unknown;
        }
    }
    joined
}

impl Term {
    fn judge(&self, view: &View<'_>) -> Outcome {
        let Some(content) = view.scene.answer.or(view.scene.content) else { return Outcome::of(self.acl.passes(view) != self.negated) };
        let waits = self.acl.needs() == Needs::Request && view.request.is_none() && content.awaits_request();
        content.take_lack();
        let outcome = match self.acl.passes(view) {
            true => Outcome::Yes,
            false if content.take_lack() || waits => Outcome::Unknown,
            false => Outcome::No,
        };
        if self.negated { outcome.reversed() } else { outcome }
    }
}

fn any(alternatives: &[Box<[Term]>], view: &View<'_>) -> bool {
    alternatives.iter().any(|terms| terms.iter().all(|term| term.acl.passes(view) != term.negated))
}

fn term(words: &mut Words<'_, '_>, compiler: &mut Compiler<'_>, stage: Needs) -> Result<Term, Diagnostic> {
    let mut negated = false;
    while words.accept("!") {
        negated = !negated;
    }
    let word = words.expect("a condition")?;
    let name = word.text().trim_start_matches('!');
    let marks = word.text().len() - name.len();
    if marks % 2 == 1 {
        negated = !negated;
    }
    let acl = if name == "{" {
        let test = Test::parse(words, &mut compiler.names)?;
        if !words.accept("}") {
            return Err(word.error("this brace is not closed").hint("`}` must be a word of its own"));
        }
        Arc::new(Acl::anonymous(test))
    } else {
        compiler.acl(name).ok_or_else(|| {
            let known = compiler.acl_names();
            let meant = suggest::nearest(name, known.iter().map(String::as_str));
            let hint = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if matches!(name.to_ascii_lowercase().as_str(), "and" | "&&") => {
                    "conditions side by side must all hold; `or` or `||` stands between alternatives".to_owned()
                }
                None if name.starts_with('{') => "`{` must be a word of its own".to_owned(),
                None => "declare it, or write the condition in `{ }`".to_owned(),
            };
            word.error_at(marks..word.text().len(), format!("there is no acl `{name}`")).hint(hint)
        })?
    };
    let needs = acl.needs();
    if needs > stage {
        let what = needs.name();
        compiler.names.warn(word.warning(format!("this condition reads {what}, which this rule does not see, and will never hold")));
    }
    Ok(Term { negated, acl })
}

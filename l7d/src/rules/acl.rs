//! Tests: an expression, a way to compare, and the patterns; under a name or written where they are used.

use std::borrow::Cow;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use control::config::{Diagnostic, suggest};

use super::argument::calls;
use super::expr::Expression;
use super::fetch::{self, DERIVING, Needs};
use super::names::Names;
use super::pattern::{Addresses, Case, Comparison, Delimited, Exact, Matcher, Method, Network, Numbers, Prefixes, regex, regexes};
use super::sample::Kind;
use super::store::{FileKind, PatternFile, Way};
use super::view::View;
use super::word::{Word, Words};

/// A test of one expression.
#[derive(Debug)]
pub(super) struct Test {
    expression: Expression,
    /// Several where some of the patterns ignore the letter case.
    matchers: Box<[Matcher]>,
    /// The outcome, where it is always the same.
    outcome: Option<bool>,
    /// As it was written.
    text: Box<str>,
}

/// Tests under one name, of which one must pass.
#[derive(Debug)]
pub(super) struct Acl {
    tests: Box<[Arc<Test>]>,
    /// None where it stands in the condition itself.
    name: Option<Box<str>>,
}

impl Acl {
    /// Returns the tests that were declared under a name.
    pub(super) fn declared(name: &str, tests: Vec<Arc<Test>>) -> Self {
        Self { tests: tests.into(), name: Some(name.into()) }
    }

    /// Returns a test that stands in a condition itself.
    pub(super) fn anonymous(test: Test) -> Self {
        Self { tests: [Arc::new(test)].into(), name: None }
    }

    /// Tells whether one of the tests passes.
    pub(super) fn passes(&self, view: &View<'_>) -> bool {
        let passes = self.tests.iter().any(|test| test.passes(view));
        if let (Some(observer), Some(name)) = (view.scene.observer, &self.name) {
            observer.acl(name, passes);
        }
        passes
    }

    /// Returns the outcome, where it is always the same.
    pub(super) fn outcome(&self) -> Option<bool> {
        if self.tests.iter().any(|test| test.outcome == Some(true)) {
            return Some(true);
        }
        self.tests.iter().all(|test| test.outcome == Some(false)).then_some(false)
    }

    /// Returns the most that one of its tests needs.
    pub(super) fn needs(&self) -> Needs {
        self.tests.iter().map(|test| test.expression.needs()).max().unwrap_or(Needs::Connection)
    }
}

impl Test {
    fn passes(&self, view: &View<'_>) -> bool {
        let passes = match self.outcome {
            Some(outcome) => outcome,
            None => self.expression.any(view, |sample| self.matchers.iter().any(|matcher| matcher.matches(sample))),
        };
        if let Some(observer) = view.scene.observer {
            observer.test(&self.text, passes);
        }
        passes
    }

    /// Reads a test up to the end of `words`, or to `}`.
    ///
    /// # Errors
    /// Names what is not known or does not fit.
    pub(super) fn parse(words: &mut Words<'_, '_>, names: &mut Names) -> Result<Self, Diagnostic> {
        let mut text = words.text_until("}");
        if text.len() > LONGEST_TEXT {
            text.truncate(text.floor_char_boundary(LONGEST_TEXT));
            text.push('…');
        }
        let text = text.into();
        let first = words.expect("a sample fetch")?;
        let (expression, derived) = criterion(first, names)?;
        let (kind, dotted) = (expression.kind(), expression.is_tls_version());
        let mut reader =
            Reader { first, method: None, derived, kind, dotted, case: Case::Kept, is_map: false, lists: Vec::new(), files: Vec::new() };
        reader.read(words, names)?;
        if let Some(list) = expression.membership().filter(|_| reader.method.is_none()) {
            if let Some((_, file, _)) = reader.files.first() {
                return Err(file.error("groups are named in the rule"));
            }
            let groups = reader.lists.into_iter().map(|(_, pattern)| pattern.text).collect();
            return Ok(Self { matchers: [Matcher::Member(list, groups)].into(), expression, outcome: None, text });
        }
        let method = reader.method()?;
        if reader.lists.is_empty() && reader.files.is_empty() && !matches!(method, Method::Found | Method::Bool) {
            let warning = first.warning("there is nothing to compare with, so this will never hold");
            names.warn(warning.hint("-m found asks whether there is a value at all"));
        }
        let mut matchers = reader.matchers(method)?;
        matchers.extend(reader.file_matchers(method)?);
        // What a file holds may change.
        let constant = expression.constant().filter(|_| reader.files.is_empty());
        let outcome = constant.map(|sample| matchers.iter().any(|matcher| matcher.matches(sample)));
        Ok(Self { expression, matchers: matchers.into(), outcome, text })
    }
}

/// Reads the expression of a test, and the way to compare that its name implies: `path_beg`, `hdr_dom(host)`.
fn criterion(word: &Word<'_>, names: &mut Names) -> Result<(Expression, Option<Method>), Diagnostic> {
    let (mut calls, end) = calls(word, 0)?;
    if end < word.text().len() {
        return Err(word.error_at(end..word.text().len(), "nothing can stand behind an expression"));
    }
    let known = fetch::names();
    let mut derived = None;
    if let Some(call) = calls.first_mut()
        && !known.contains(&call.name)
        && let Some((base, suffix)) = call.name.rsplit_once('_')
        && DERIVING.contains(&base)
        && let Some(method) = Method::of(suffix).filter(|method| DERIVED.contains(method))
    {
        call.name = base;
        derived = Some(method);
    }
    let has_converters = calls.len() > 1;
    let expression = Expression::of_calls(&calls, names)?;
    // A converter may have changed the type, so that only its own default still fits.
    Ok((expression, derived.filter(|_| !has_converters)))
}

/// How much of a test is shown to whoever asks why traffic goes where it goes.
const LONGEST_TEXT: usize = 200;

/// The ways to compare that can be part of a name.
const DERIVED: [Method; 7] = [Method::Beg, Method::Dir, Method::Dom, Method::End, Method::Len, Method::Reg, Method::Sub];

/// Reads the numbers of versions, `3.1` or a range of them, as the numbers they are compared by.
fn undotted(text: &str) -> Cow<'_, str> {
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?.checked_mul(0x1_0000)?.checked_add(minor.parse::<u16>().ok()?.into())?).to_string())
    };
    let bound = |text: &str| if text.is_empty() { Some(String::new()) } else { number(text) };
    let read = match text.split_once(':') {
        Some((from, to)) => bound(from).zip(bound(to)).map(|(from, to)| format!("{from}:{to}")),
        None => number(text),
    };
    read.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Reads flags and patterns.
struct Reader<'w, 'r> {
    first: &'w Word<'r>,
    method: Option<Method>,
    derived: Option<Method>,
    kind: Kind,
    /// Whether numbers are written as `3.1`.
    dotted: bool,
    case: Case,
    is_map: bool,
    /// Patterns in the order they came, each with the letter case in force.
    lists: Vec<(Case, Pattern<'w, 'r>)>,
    files: Vec<(Case, &'w Word<'r>, Arc<PatternFile>)>,
}

/// One pattern, and the word it is.
struct Pattern<'w, 'r> {
    text: String,
    word: &'w Word<'r>,
}

impl Pattern<'_, '_> {
    fn error(&self, message: impl std::fmt::Display) -> Diagnostic {
        self.word.error(message.to_string())
    }
}

impl<'w, 'r> Reader<'w, 'r> {
    fn read(&mut self, words: &mut Words<'w, 'r>, names: &mut Names) -> Result<(), Diagnostic> {
        while let Some(word) = words.peek().filter(|word| word.text() != "}") {
            match word.text() {
                "-i" => self.case = Case::Ignored,
                "-n" => {}
                "-M" => self.is_map = true,
                "-m" => {
                    words.next();
                    self.take_method(words.expect("a matching method")?)?;
                    continue;
                }
                "-f" => {
                    words.next();
                    self.take_file(words.expect("the name of a file")?, names)?;
                    continue;
                }
                "-u" => {
                    words.next();
                    let id = words.expect("a number")?;
                    names.acl_id(id)?;
                    continue;
                }
                "--" => {
                    words.next();
                    break;
                }
                flag if flag.len() == 2 && flag.starts_with('-') && !flag.as_bytes()[1].is_ascii_digit() => {
                    return Err(word
                        .error(format!("there is no flag `{flag}`"))
                        .hint("-i -m -f -M -n -u, and -- before a pattern with a dash"));
                }
                _ => break,
            }
            words.next();
        }
        while let Some(word) = words.peek().filter(|word| word.text() != "}") {
            words.next();
            self.lists.push((self.case, Pattern { text: word.text().to_owned(), word }));
        }
        Ok(())
    }

    fn take_method(&mut self, word: &Word<'_>) -> Result<(), Diagnostic> {
        let known: Vec<&str> = Method::NAMED.iter().map(|(name, _)| *name).collect();
        let wrong = || word.error(format!("`{}` is not a matching method", word.text())).hint(suggest::hint(word.text(), &known));
        self.method = Some(Method::of(word.text()).ok_or_else(wrong)?);
        Ok(())
    }

    fn take_file(&mut self, word: &'w Word<'r>, names: &mut Names) -> Result<(), Diagnostic> {
        let kind = if self.is_map { FileKind::Map } else { FileKind::List };
        let file = names.patterns(word.text(), kind).map_err(|message| word.error(message))?;
        self.files.push((self.case, word, file));
        Ok(())
    }

    /// Returns how to compare: as asked for, as the name says, or as is usual for the type.
    fn method(&self) -> Result<Method, Diagnostic> {
        let usual = match self.kind {
            Kind::Bool => Some(Method::Bool),
            Kind::Int => Some(Method::Int),
            Kind::Address => Some(Method::Ip),
            Kind::Text => Some(Method::Str),
            Kind::Any | Kind::Binary => None,
        };
        let method = self.method.or(self.derived).or(usual);
        let message = || format!("`{}` yields {}: say with -m how to compare it", self.first.text(), self.kind.name());
        let method = method.ok_or_else(|| self.first.error(message()).hint("for example -m str, or -m found"))?;
        let fits = match method {
            Method::Bool => !matches!(self.kind, Kind::Address | Kind::Binary),
            Method::Int => !matches!(self.kind, Kind::Binary),
            Method::Ip => !matches!(self.kind, Kind::Bool | Kind::Int),
            Method::Bin => matches!(self.kind, Kind::Any | Kind::Text | Kind::Binary),
            Method::Found
            | Method::Len
            | Method::Str
            | Method::Beg
            | Method::Sub
            | Method::Dir
            | Method::Dom
            | Method::End
            | Method::Reg => true,
        };
        if !fits {
            return Err(self.first.error(format!(
                "`{}` yields {}, which cannot be compared that way",
                self.first.text(),
                self.kind.name()
            )));
        }
        Ok(method)
    }

    fn file_matchers(&self, method: Method) -> Result<Vec<Matcher>, Diagnostic> {
        let way = match method {
            Method::Found | Method::Bool => return Ok(Vec::new()),
            Method::Int => Way::Int,
            Method::Ip => Way::Ip,
            Method::Bin => Way::Bin,
            Method::Len => Way::Len,
            Method::Str => Way::Str,
            Method::Beg => Way::Beg,
            Method::Sub => Way::Sub,
            Method::Dir => Way::Dir,
            Method::Dom => Way::Dom,
            Method::End => Way::End,
            Method::Reg => Way::Reg,
        };
        let matcher = |(case, word, file): &(Case, &Word<'_>, Arc<PatternFile>)| {
            let case = if way == Way::Bin { Case::Kept } else { *case };
            file.index(way, case).map(Matcher::File).map_err(|bad| word.error(bad.to_string()))
        };
        self.files.iter().map(matcher).collect()
    }

    fn matchers(&self, method: Method) -> Result<Vec<Matcher>, Diagnostic> {
        match method {
            Method::Found => Ok(vec![Matcher::Found]),
            Method::Bool => Ok(vec![Matcher::True]),
            Method::Int if self.lists.is_empty() => Ok(Vec::new()),
            Method::Int => Ok(vec![Matcher::Numbers(self.numbers()?)]),
            Method::Len => Ok(vec![Matcher::Length(self.numbers()?)]),
            Method::Ip => Ok(vec![Matcher::Addresses(self.addresses()?)]),
            Method::Bin => {
                let bytes = |(_, pattern): &(Case, Pattern<'_, '_>)| {
                    let wrong = || pattern.error(format!("`{}` is no even number of hexadecimal digits", pattern.text));
                    fetch::hexadecimal(&pattern.text).ok_or_else(wrong)
                };
                let blocks: Vec<_> = self.lists.iter().map(bytes).collect::<Result<_, _>>()?;
                Ok(vec![Matcher::Exact(Exact::new(blocks.into_iter(), Case::Kept))])
            }
            Method::Str | Method::Beg | Method::Sub | Method::Dir | Method::Dom | Method::End | Method::Reg => {
                let mut matchers = Vec::new();
                for case in [Case::Kept, Case::Ignored] {
                    let patterns: Vec<_> = self.lists.iter().filter(|(of, _)| *of == case).map(|(_, pattern)| pattern).collect();
                    if !patterns.is_empty() {
                        matchers.push(self.texts(method, case, &patterns)?);
                    }
                }
                Ok(matchers)
            }
        }
    }

    fn texts(&self, method: Method, case: Case, patterns: &[&Pattern<'_, '_>]) -> Result<Matcher, Diagnostic> {
        let texts = patterns.iter().map(|pattern| pattern.text.clone().into_bytes());
        Ok(match method {
            Method::Beg => Matcher::Begins(Prefixes::new(texts, case)),
            Method::End => Matcher::Ends(Prefixes::backwards(texts, case)),
            Method::Dir => Matcher::Delimited(Delimited::directories(texts, case)),
            Method::Dom => Matcher::Delimited(Delimited::domains(texts, case)),
            Method::Sub => {
                let built = AhoCorasick::builder().ascii_case_insensitive(case == Case::Ignored).build(texts);
                Matcher::Contains(Box::new(built.map_err(|error| self.first.error(error.to_string()))?))
            }
            Method::Reg => match patterns {
                [only] => Matcher::Regex(Box::new(regex(&only.text, case).map_err(|reason| only.error(reason))?)),
                several => {
                    for pattern in several {
                        regex(&pattern.text, case).map_err(|reason| pattern.error(reason))?;
                    }
                    let texts: Vec<String> = several.iter().map(|pattern| pattern.text.clone()).collect();
                    Matcher::Regexes(Box::new(regexes(&texts, case).map_err(|reason| self.first.error(reason))?))
                }
            },
            Method::Str | Method::Found | Method::Bool | Method::Int | Method::Ip | Method::Bin | Method::Len => {
                Matcher::Exact(Exact::new(texts, case))
            }
        })
    }

    fn numbers(&self) -> Result<Numbers, Diagnostic> {
        let mut comparison = Comparison::Equal;
        let mut ranges = Vec::new();
        for (_, pattern) in &self.lists {
            if let Some(named) = Comparison::of(&pattern.text) {
                comparison = named;
                continue;
            }
            let wrong =
                || pattern.error(format!("`{}` is neither a whole number nor a range", pattern.text)).hint("for example 5, 1:9 or gt 5");
            let text = if self.dotted { undotted(&pattern.text) } else { Cow::Borrowed(pattern.text.as_str()) };
            ranges.push(Numbers::parse(&text, comparison).ok_or_else(wrong)?);
        }
        Ok(Numbers::new(ranges))
    }

    fn addresses(&self) -> Result<Addresses, Diagnostic> {
        let network = |(_, pattern): &(Case, Pattern<'_, '_>)| {
            let wrong = || {
                pattern.error(format!("`{}` is neither an address nor a network", pattern.text)).hint("names of hosts are not looked up")
            };
            Network::parse(&pattern.text).ok_or_else(wrong)
        };
        let networks: Vec<_> = self.lists.iter().map(network).collect::<Result<_, _>>()?;
        Ok(Addresses::new(&networks))
    }
}

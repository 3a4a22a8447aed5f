//! What samples are compared with: sets of patterns that stay fast with a hundred thousand members.

mod address;
mod number;
mod text;

use std::sync::Arc;

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

pub(super) use address::{Addresses, Network, embedded, masked};
pub(super) use number::{Comparison, Numbers};
pub(super) use text::{Case, Delimited, Exact, Prefixes};

use super::auth::Userlist;
use super::sample::Sample;
use super::store::Index;

/// How a sample is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Found,
    Bool,
    Int,
    Ip,
    Bin,
    Len,
    Str,
    Beg,
    Sub,
    Dir,
    Dom,
    End,
    Reg,
}

impl Method {
    /// Every method by the name it is asked for.
    pub(super) const NAMED: [(&'static str, Self); 13] = [
        ("found", Self::Found),
        ("bool", Self::Bool),
        ("int", Self::Int),
        ("ip", Self::Ip),
        ("bin", Self::Bin),
        ("len", Self::Len),
        ("str", Self::Str),
        ("beg", Self::Beg),
        ("sub", Self::Sub),
        ("dir", Self::Dir),
        ("dom", Self::Dom),
        ("end", Self::End),
        ("reg", Self::Reg),
    ];

    /// Returns the method of that name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }
}

/// A way to compare, with what is compared with.
#[derive(Debug)]
pub(super) enum Matcher {
    /// There is a sample.
    Found,
    /// The sample is true.
    True,
    /// It is one of these numbers.
    Numbers(Numbers),
    /// Its length is one of these numbers.
    Length(Numbers),
    /// It belongs to one of these networks.
    Addresses(Addresses),
    /// It is one of these texts, or blocks of bytes.
    Exact(Exact),
    /// It begins with one of these texts.
    Begins(Prefixes),
    /// It ends with one of these texts.
    Ends(Prefixes),
    /// It contains one of these texts.
    Contains(Box<AhoCorasick>),
    /// One of these texts stands in it between delimiters.
    Delimited(Delimited),
    /// This expression is found in it.
    Regex(Box<Regex>),
    /// One of these expressions is found in it.
    Regexes(Box<RegexSet>),
    /// It is a user of this list who belongs to one of these groups.
    Member(Arc<Userlist>, Box<[String]>),
    /// A pattern of this file matches.
    File(Arc<Index>),
}

impl Matcher {
    /// Tells whether the sample is one of the patterns.
    pub(super) fn matches(&self, sample: &Sample<'_>) -> bool {
        match self {
            Self::Found => true,
            Self::True => sample.to_bool() == Some(true),
            Self::Numbers(numbers) => sample.to_int().is_some_and(|value| numbers.contain(value)),
            Self::Length(numbers) => i64::try_from(sample.to_bytes().len()).is_ok_and(|length| numbers.contain(length)),
            Self::Addresses(addresses) => sample.to_address().is_some_and(|address| addresses.contain(address)),
            Self::Exact(set) => set.contains(&sample.to_bytes()),
            Self::Begins(set) => set.any_begins(&sample.to_bytes()),
            Self::Ends(set) => set.any_ends(&sample.to_bytes()),
            Self::Contains(set) => set.is_match(sample.to_bytes().as_ref()),
            Self::Delimited(set) => set.any_in(&sample.to_bytes()),
            Self::Regex(regex) => regex.is_match(&sample.to_bytes()),
            Self::Regexes(set) => set.is_match(&sample.to_bytes()),
            Self::Member(list, groups) => list.is_member(&sample.to_bytes(), groups),
            Self::File(index) => index.contains(sample),
        }
    }
}

/// Compiles one regular expression; it runs in linear time whatever it is given.
///
/// # Errors
/// Says in one line what is wrong with it, or what it would need that takes more than linear time.
pub(super) fn regex(text: &str, case: Case) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).unicode(false).case_insensitive(case == Case::Ignored).size_limit(REGEX_SIZE).build();
    built.map_err(|error| reason(&error))
}

/// Compiles several regular expressions into one machine.
///
/// # Errors
/// As [`regex()`].
pub(super) fn regexes(texts: &[String], case: Case) -> Result<RegexSet, String> {
    let built = RegexSetBuilder::new(texts).unicode(false).case_insensitive(case == Case::Ignored).size_limit(REGEX_SIZE).build();
    built.map_err(|error| reason(&error))
}

/// The last line of the message says what; the lines before it draw the expression.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

/// Memory of one compiled expression or set; lists of thousands of expressions fit.
const REGEX_SIZE: usize = 256 << 20;

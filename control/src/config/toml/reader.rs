//! Reads single values of the tree, and remembers what was wrong with them.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use ::toml::de::{DeInteger, DeValue};

use super::section::Section;
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location, Source};
use crate::config::value::{Mistake, units};

/// A key with its value, taken from a section.
#[derive(Clone)]
pub(super) struct Item<'d> {
    pub(super) key: Located<String>,
    pub(super) value: &'d DeValue<'d>,
    /// Where the value stands; inside the quotes of a string.
    pub(super) location: Location,
}

/// Collects what is wrong while values are read.
pub(super) struct Reader {
    source: Arc<Source>,
    diagnostics: Vec<Diagnostic>,
    /// Whether what is missing was really not written.
    complete: bool,
}

impl Reader {
    pub(super) fn new(source: &Arc<Source>, complete: bool) -> Self {
        Self { source: Arc::clone(source), diagnostics: Vec::new(), complete }
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn mistake(&mut self, mistake: Mistake, location: &Location, text: &str) {
        self.push(mistake.into_diagnostic(location, text));
    }

    /// Reports something required that is not there.
    pub(super) fn missing(&mut self, location: &Location, message: impl Into<String>, hint: impl Into<String>) {
        if self.complete {
            self.push(Diagnostic::error(location, message).hint(hint));
        }
    }

    /// Returns where a part of the text stands, without the quotes around it.
    pub(super) fn locate(&self, span: Range<usize>) -> Location {
        let text = self.source.text().get(span.clone()).unwrap_or_default();
        let quotes = ["\"\"\"", "'''", "\"", "'"];
        let quote = quotes.into_iter().find(|quote| text.len() >= 2 * quote.len() && text.starts_with(quote) && text.ends_with(quote));
        let width = quote.map_or(0, str::len);
        // An empty string has nothing inside to point at.
        if text.len() == 2 * width {
            Location::new(&self.source, span)
        } else {
            Location::new(&self.source, span.start + width..span.end - width)
        }
    }

    /// Reports a value of the wrong type.
    pub(super) fn wrong(&mut self, item: &Item<'_>, wanted: &str, example: &str) {
        let message = format!("`{}` wants {wanted}, not {}", *item.key, described(item.value));
        self.push(Diagnostic::error(&item.location, message).hint(format!("for example {example}")));
    }

    pub(super) fn string(&mut self, item: &Item<'_>, example: &str) -> Option<Located<String>> {
        let DeValue::String(text) = item.value else {
            self.wrong(item, "a string", &format!("{} = \"{example}\"", *item.key));
            return None;
        };
        Some(Located::new(text.clone().into_owned(), item.location.clone()))
    }

    /// Reads a string by a parser of its text.
    pub(super) fn text<T>(&mut self, item: &Item<'_>, example: &str, parse: impl FnOnce(&str) -> Result<T, Mistake>) -> Option<Located<T>> {
        let text = self.string(item, example)?;
        self.parse(&text, parse)
    }

    /// Reads a text that is already at hand.
    pub(super) fn parse<T>(&mut self, text: &Located<String>, parse: impl FnOnce(&str) -> Result<T, Mistake>) -> Option<Located<T>> {
        match parse(text) {
            Ok(value) => Some(Located::new(value, text.location().clone())),
            Err(mistake) => {
                self.mistake(mistake, text.location(), text);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, item: &Item<'_>) -> Option<bool> {
        let value = item.value.as_bool();
        if value.is_none() {
            self.wrong(item, "true or false", &format!("{} = true", *item.key));
        }
        value
    }

    /// Reads a whole number within a range.
    pub(super) fn integer<T>(&mut self, item: &Item<'_>, range: RangeInclusive<T>, example: T) -> Option<T>
    where
        T: TryFrom<u64> + PartialOrd + std::fmt::Display,
    {
        let DeValue::Integer(number) = item.value else {
            self.wrong(item, "a whole number", &format!("{} = {example}", *item.key));
            return None;
        };
        let value = unsigned(number).and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number));
        if value.is_none() {
            let message = format!("`{}` is out of range", *item.key);
            self.push(Diagnostic::error(&item.location, message).hint(format!("{} to {}", range.start(), range.end())));
        }
        value
    }

    /// Reads a duration that may be zero.
    pub(super) fn duration(&mut self, item: &Item<'_>) -> Option<Duration> {
        if let DeValue::Integer(number) = item.value {
            let digits = unsigned(number).map_or_else(|| number.to_string(), |number| number.to_string());
            return self.parse(&Located::new(digits, item.location.clone()), units::duration).map(|duration| *duration);
        }
        let DeValue::String(_) = item.value else {
            self.wrong(item, "a duration", &format!("{} = \"30s\"", *item.key));
            return None;
        };
        self.text(item, "30s", units::duration).map(|duration| *duration)
    }

    /// Reads a duration longer than zero.
    pub(super) fn period(&mut self, item: &Item<'_>) -> Option<Duration> {
        let duration = self.duration(item)?;
        if duration.is_zero() {
            self.push(Diagnostic::error(&item.location, format!("`{}` must be longer than zero", *item.key)));
            return None;
        }
        Some(duration)
    }

    /// Reads a number of things, with k, m or g in a string.
    pub(super) fn size(&mut self, item: &Item<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let size = if let DeValue::Integer(number) = item.value {
            unsigned(number)
        } else if let DeValue::String(_) = item.value {
            Some(*self.text(item, "100k", units::size)?)
        } else {
            self.wrong(item, "a size", &format!("{} = \"100k\"", *item.key));
            return None;
        };
        let size = size.filter(|size| range.contains(size));
        if size.is_none() {
            let message = format!("`{}` is out of range", *item.key);
            self.push(Diagnostic::error(&item.location, message).hint(format!("{} to {}", range.start(), range.end())));
        }
        size
    }

    /// Reads one or several values: a list, or its only element alone.
    pub(super) fn list<'d>(&self, item: &Item<'d>) -> Vec<Item<'d>> {
        let DeValue::Array(array) = item.value else { return vec![item.clone()] };
        let element = |value: &'d ::toml::Spanned<DeValue<'d>>| {
            let location = self.locate(value.span());
            // The key is far from an element on another line.
            Item { key: Located::new(item.key.value().clone(), location.clone()), value: value.get_ref(), location }
        };
        array.iter().map(element).collect()
    }

    /// Reads one or several strings by a parser of their text.
    pub(super) fn texts<T>(&mut self, item: &Item<'_>, example: &str, parse: impl Fn(&str) -> Result<T, Mistake>) -> Vec<Located<T>> {
        self.list(item).iter().filter_map(|element| self.text(element, example, &parse)).collect()
    }

    /// Reads a table of settings.
    pub(super) fn section<'d>(&mut self, item: &Item<'d>, title: impl Into<String>, example: &str) -> Option<Section<'d>> {
        let DeValue::Table(table) = item.value else {
            self.wrong(item, "a table", &format!("{} = {example}", *item.key));
            return None;
        };
        Some(Section::new(self, title, item.key.location().clone(), table))
    }
}

fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

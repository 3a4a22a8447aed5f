//! A table of the tree, from which known keys are taken until only unknown ones are left.

use ::toml::de::DeTable;

use super::reader::{Item, Reader};
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location};
use crate::config::suggest;

/// A table being read.
pub(super) struct Section<'d> {
    /// What it is called in messages, such as "frontend `web`".
    title: String,
    location: Location,
    /// Invariant: in the order of the file.
    items: Vec<Item<'d>>,
    /// Every key asked for so far, which is what can be suggested for the others.
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    pub(super) fn root(reader: &Reader, table: &'d DeTable<'d>) -> Self {
        Self::new(reader, "the file", reader.locate(0..0), table)
    }

    pub(super) fn new(reader: &Reader, title: impl Into<String>, location: Location, table: &'d DeTable<'d>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        // The tree is sorted by name, but servers and rules have an order.
        entries.sort_by_key(|(key, _)| key.span().start);
        let item = |(key, value): (&::toml::Spanned<::toml::de::DeString<'d>>, &'d ::toml::Spanned<::toml::de::DeValue<'d>>)| Item {
            key: Located::new(key.get_ref().clone().into_owned(), reader.locate(key.span())),
            value: value.get_ref(),
            location: reader.locate(value.span()),
        };
        Self { title: title.into(), location, items: entries.into_iter().map(item).collect(), known: Vec::new() }
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Returns where the section is named.
    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// Takes the value of a key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'d>> {
        self.known.push(key);
        let index = self.items.iter().position(|item| *item.key == key)?;
        Some(self.items.remove(index))
    }

    /// Takes the value of a key that must be there.
    pub(super) fn require(&mut self, reader: &mut Reader, key: &'static str, example: &str) -> Option<Item<'d>> {
        let item = self.take(key);
        if item.is_none() {
            reader.missing(&self.location, format!("{} has no `{key}`", self.title), format!("for example {key} = {example}"));
        }
        item
    }

    /// Takes all that is left: the keys are names.
    pub(super) fn names(&mut self) -> Vec<Item<'d>> {
        std::mem::take(&mut self.items)
    }

    /// Takes a table that stands alone, such as `[global]`.
    pub(super) fn section(&mut self, reader: &mut Reader, key: &'static str) -> Option<Self> {
        let item = self.take(key)?;
        reader.section(&item, format!("section `{key}`"), "{ … }")
    }

    /// Takes a table of named tables, such as `[frontend.web]`.
    pub(super) fn named(&mut self, reader: &mut Reader, key: &'static str) -> Vec<(Located<String>, Self)> {
        let Some(item) = self.take(key) else { return Vec::new() };
        let Some(mut outer) = reader.section(&item, key, "{ name = { … } }") else { return Vec::new() };
        let mut found = Vec::new();
        for item in outer.names() {
            if reader.name(&item.key, &format!("a {key}"))
                && let Some(section) = reader.section(&item, format!("{key} `{}`", *item.key), "{ … }")
            {
                found.push((item.key, section));
            }
        }
        found
    }

    /// Refuses keys that belong elsewhere, and says where.
    pub(super) fn misplaced(&mut self, reader: &mut Reader, keys: &[&str], hint: impl Fn(&str) -> String) {
        for item in self.items.extract_if(.., |item| keys.contains(&item.key.as_str())) {
            let diagnostic = Diagnostic::error(item.key.location(), format!("`{}` has no place in {}", *item.key, self.title));
            reader.push(diagnostic.hint(hint(&item.key)));
        }
    }

    /// Refuses sections that were not taken: `later` by their name, the rest with a suggestion.
    pub(super) fn finish_file(self, reader: &mut Reader, later: &[&str]) {
        for item in &self.items {
            let location = item.key.location();
            reader.push(match later.contains(&item.key.as_str()) {
                true => Diagnostic::error(location, format!("section `{}` is not supported yet", *item.key)),
                false => {
                    Diagnostic::error(location, format!("unknown section `{}`", *item.key)).hint(suggest::hint(&item.key, &self.known))
                }
            });
        }
    }

    /// Refuses what was not taken: `later` by its name, the rest with a suggestion.
    pub(super) fn finish(self, reader: &mut Reader, later: &[&str]) {
        for item in &self.items {
            let location = item.key.location();
            reader.push(match later.contains(&item.key.as_str()) {
                true => Diagnostic::error(location, format!("`{}` in {} is not supported yet", *item.key, self.title)),
                false => Diagnostic::error(location, format!("unknown key `{}` in {}", *item.key, self.title))
                    .hint(suggest::hint(&item.key, &self.known)),
            });
        }
    }
}

impl Reader {
    /// Tells whether a key can be the name of an object; reports it where it cannot.
    pub(super) fn name(&mut self, key: &Located<String>, what: &str) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        let good = !key.is_empty() && key.chars().all(allowed);
        if !good {
            let message = format!("`{}` cannot be the name of {what}", key);
            self.push(Diagnostic::error(key.location(), message).hint("letters, digits, and any of - _ . :"));
        }
        good
    }
}

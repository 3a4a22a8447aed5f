//! Expressions: a fetch and the converters its sample goes through.

use std::sync::Arc;

use control::config::Diagnostic;

use super::argument::{Call, calls};
use super::auth::Userlist;
use super::converter::{self, Converter};
use super::fetch::{self, Access, Bytes, Fetch, Needs};
use super::names::Names;
use super::observer::Observer;
use super::sample::{Kind, Sample};
use super::view::{Memory, Scene, Shared, View};
use super::word::Word;

/// A fetch and the converters its sample goes through.
#[derive(Debug)]
pub(super) struct Expression {
    fetch: Fetch,
    converters: Box<[Converter]>,
    /// As it was written.
    text: Box<str>,
}

impl Expression {
    /// Reads an expression that is a whole word.
    ///
    /// # Errors
    /// Names what is not known or does not fit.
    pub(super) fn of_word(word: &Word<'_>, names: &mut Names) -> Result<Self, Diagnostic> {
        let (calls, end) = calls(word, 0)?;
        if end < word.text().len() {
            return Err(word.error_at(end..word.text().len(), "nothing can stand behind an expression"));
        }
        Self::of_calls(&calls, names)
    }

    /// Makes an expression of calls, the first of which is a fetch.
    ///
    /// # Errors
    /// Names what is not known or does not fit.
    pub(super) fn of_calls(calls: &[Call<'_, '_>], names: &mut Names) -> Result<Self, Diagnostic> {
        let Some((first, rest)) = calls.split_first() else { unreachable!("every list of calls has one") };
        let fetch = fetch::build(first, names)?;
        let text = calls.iter().map(Call::written).collect::<Vec<_>>().join(",");
        Ok(Self { text: text.into(), ..Self::with(fetch, rest, names)? })
    }

    /// Puts converters behind a fetch.
    ///
    /// # Errors
    /// Names what is not known or does not fit.
    fn with(fetch: Fetch, calls: &[Call<'_, '_>], names: &mut Names) -> Result<Self, Diagnostic> {
        let mut kind = fetch.kind();
        let mut converters = Vec::with_capacity(calls.len());
        for call in calls {
            let converter = converter::build(call, names)?;
            if !is_readable(kind, converter.takes()) {
                let message = format!("`{}` reads {}, and cannot make one of {}", call.name, converter.takes().name(), kind.name());
                return Err(call.error(message));
            }
            kind = converter.makes(kind);
            converters.push(converter);
        }
        Ok(Self { fetch, converters: converters.into(), text: Box::default() }.folded())
    }

    /// Evaluates now what will never change.
    fn folded(self) -> Self {
        if !matches!(self.fetch, Fetch::Constant(_)) || !self.converters.iter().all(Converter::is_pure) {
            return self;
        }
        let (memory, shared) = (Memory::default(), Shared::default());
        let scene = Scene::nowhere(&shared);
        let value = self.value(&View { scene: &scene, request: None, response: None, memory: &memory }).map(Sample::into_owned);
        match value {
            Some(value) => Self { fetch: Fetch::Constant(value), converters: Box::default(), text: Box::default() },
            None => self,
        }
    }

    /// Returns the sample if it is always the same.
    pub(super) fn constant(&self) -> Option<&Sample<'static>> {
        let Fetch::Constant(value) = &self.fetch else { return None };
        self.converters.is_empty().then_some(value)
    }

    /// Returns the type of what it yields.
    pub(super) fn kind(&self) -> Kind {
        self.converters.iter().fold(self.fetch.kind(), |kind, converter| converter.makes(kind))
    }

    /// Returns what must have arrived before it yields anything.
    pub(super) fn needs(&self) -> Needs {
        self.fetch.needs()
    }

    /// Tells whether it yields the version a client of TLS offers.
    pub(super) fn is_tls_version(&self) -> bool {
        matches!(self.fetch, Fetch::Bytes(_, Bytes::TlsVersion)) && self.converters.is_empty()
    }

    /// Returns the list of users that is asked for members, if it yields one.
    pub(super) fn membership(&self) -> Option<Arc<Userlist>> {
        let Fetch::Access(access) = &self.fetch else { return None };
        let Access::Member(list) = &**access else { return None };
        self.converters.is_empty().then(|| Arc::clone(list))
    }

    /// Evaluates it to one sample.
    pub(super) fn value<'v>(&'v self, view: &View<'v>) -> Option<Sample<'v>> {
        let value = self.fetch.one(view).and_then(|sample| self.convert(sample, view));
        if let Some(observer) = view.scene.observer {
            observer.value(&self.text, value.as_ref());
        }
        value
    }

    /// Hands out every sample it yields until `takes` one; tells whether it did.
    pub(super) fn any<'v>(&'v self, view: &View<'v>, mut takes: impl FnMut(&Sample<'v>) -> bool) -> bool {
        if let Some(observer) = view.scene.observer {
            return self.any_observed(view, takes, observer);
        }
        self.fetch.any(view, |sample| self.convert(sample, view).is_some_and(|sample| takes(&sample)))
    }

    #[cold]
    fn any_observed<'v>(&'v self, view: &View<'v>, mut takes: impl FnMut(&Sample<'v>) -> bool, observer: &Observer) -> bool {
        let mut has_value = false;
        let taken = self.fetch.any(view, |sample| {
            let sample = self.convert(sample, view);
            has_value |= sample.is_some();
            sample.is_some_and(|sample| {
                observer.value(&self.text, Some(&sample));
                takes(&sample)
            })
        });
        if !has_value {
            observer.value(&self.text, None);
        }
        taken
    }

    fn convert<'v>(&'v self, sample: Sample<'v>, view: &View<'v>) -> Option<Sample<'v>> {
        self.converters.iter().try_fold(sample, |sample, converter| converter.apply(sample, view))
    }
}

/// Tells whether a sample of one type can be read as another.
fn is_readable(from: Kind, to: Kind) -> bool {
    match (from, to) {
        (Kind::Any, _) | (_, Kind::Any | Kind::Text | Kind::Binary) => true,
        (Kind::Bool, Kind::Bool | Kind::Int) => true,
        (Kind::Int, Kind::Bool | Kind::Int | Kind::Address) => true,
        (Kind::Address, Kind::Int | Kind::Address) => true,
        (Kind::Text, Kind::Bool | Kind::Int | Kind::Address) => true,
        (Kind::Bool, Kind::Address) | (Kind::Address, Kind::Bool) | (Kind::Binary, Kind::Bool | Kind::Int | Kind::Address) => false,
    }
}

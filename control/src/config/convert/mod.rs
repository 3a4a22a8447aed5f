//! HAProxy's language → the native format: the text that makes the same model, and what became of each line.
//!
//! ```text
//! text ─► haproxy ─► written ─► section, proxy, server, bind, rest ─► value ─► text
//! ```
//! The parser is the one that runs a file, so what it takes is what is written; whoever reads the text again gets the same model, which
//! tests compare. What a section of defaults says stays where it is said. Comments stay above sections, servers, named conditions and
//! rules.

mod bind;
mod errors;
mod proxy;
mod report;
mod rest;
mod section;
mod server;
mod value;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use self::proxy::Ground;
use self::section::Section;
use super::error::{Diagnostic, Report};
use super::files;
use super::haproxy;
use super::location::{Language, Located, Location, Source};
use super::written::{CheckSettings, CheckSwitch, Defaults, Written};

pub use report::{ConvertedLine, Fate};
pub(super) use words::address as address_text;

/// What became of files in HAProxy's language.
#[derive(Debug)]
pub struct Conversion {
    text: String,
    lines: Vec<ConvertedLine>,
}

impl Conversion {
    /// Returns the same in the native format.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns what became of each line, in the order of the files.
    pub fn lines(&self) -> &[ConvertedLine] {
        &self.lines
    }
}

/// Writes files in HAProxy's language in the native format; `also` is what others than the parser found to be wrong with them.
///
/// # Errors
///
/// Names the files that cannot be read, or are written in the native format already.
pub fn convert(paths: &[PathBuf], also: &Report) -> Result<Conversion, Report> {
    let sources = files::read(paths)?;
    match sources.iter().find(|source| source.language() == Language::Toml) {
        Some(toml) => {
            let start = Location::new(toml, 0..0);
            Err(Diagnostic::error(&start, "this is the native format already")
                .hint("what is converted is a file in HAProxy's language")
                .into())
        }
        None => Ok(of(&sources, also)),
    }
}

/// Converts a text in HAProxy's language, known by `name` in messages.
#[cfg(test)]
pub(super) fn text(name: &str, text: &str) -> Conversion {
    of(&[Source::of(Language::Haproxy, name, text)], &Report::default())
}

/// Writes a server as the value of its name.
pub(super) fn server_text(server: &super::written::Server) -> Option<String> {
    let mut text = String::new();
    server::server(server)?.write(&mut text);
    Some(text)
}

fn of(sources: &[Arc<Source>], also: &Report) -> Conversion {
    let outcome = haproxy::read(sources);
    let text = write(&outcome.written, sources);
    let found = Report::from(outcome.diagnostics.iter().chain(also.diagnostics()).cloned().collect::<Vec<_>>());
    Conversion { text, lines: report::lines(&outcome.written, found.diagnostics()) }
}

/// Writes all sections in the order of the files.
fn write(written: &Written, sources: &[Arc<Source>]) -> String {
    let mut sections = sections(written);
    let file = |section: &Section| section.file().and_then(|name| sources.iter().position(|source| source.name() == name));
    sections.sort_by_key(|section| (file(section), section.line()));
    let mut out = String::new();
    sections.iter().for_each(|section| section.write(&mut out));
    out
}

/// Makes all sections; those of one line follow each other.
fn sections(written: &Written) -> Vec<Section> {
    let grounds = Grounds::of(written);
    let mut sections = Vec::new();
    let global = written.lines.iter().map(|line| &line.location).find(|location| location.text() == "global");
    sections.extend(Some(Section::filled(&["global"], global, |section| rest::global(section, &written.global))).filter(Section::has_keys));
    for base in &grounds.bases {
        let names = base.name.as_ref().map_or(vec!["defaults"], |name| vec!["preset", name]);
        let section = Section::filled(&names, base.defaults.place.as_ref(), |section| {
            proxy::defaults(section, &base.defaults, base.check.as_ref(), &grounds.bottom);
        });
        sections.extend(Some(section).filter(|section| base.name.is_some() || section.has_keys()));
    }
    proxies(&mut sections, written, &grounds);
    for peers in &written.peers {
        sections.push(Section::filled(&["peers", &peers.name], Some(peers.name.location()), |section| rest::peers(section, peers)));
    }
    for resolvers in &written.resolvers {
        sections.push(Section::filled(&["resolvers", resolvers.name()], Some(resolvers.location()), |section| {
            rest::resolvers(section, resolvers)
        }));
    }
    for forward in &written.log_forwards {
        sections.push(Section::filled(&["log-forward", forward.name()], Some(forward.location()), |section| {
            rest::log_forward(section, forward)
        }));
    }
    for profile in &written.log_profiles {
        sections.push(Section::filled(&["log-profile", profile.name()], Some(profile.location()), |section| {
            rest::log_profile(section, profile)
        }));
    }
    for ring in &written.rings {
        sections.push(Section::filled(&["ring", ring.name()], Some(ring.location()), |section| rest::ring(section, ring)));
    }
    for mailers in &written.mailers {
        sections.push(Section::filled(&["mailers", mailers.name()], Some(mailers.location()), |section| rest::mailers(section, mailers)));
    }
    for table in &written.tables {
        let names = match (&table.peers, &table.shared_as) {
            (Some(peers), Some(own)) => vec!["peers", peers.as_str(), "table", own.trim_start_matches('/')],
            _ => vec!["table", table.name.as_str()],
        };
        // The comments above it are those of its proxy.
        sections.push(Section::filled(&names, Some(table.name.location()), |section| rest::table(section, table)).bare());
    }
    for errors in &written.http_errors {
        sections.push(Section::filled(&["http-errors", &errors.name], Some(errors.name.location()), |section| {
            rest::http_errors(section, errors)
        }));
    }
    for cache in &written.caches {
        sections.push(Section::filled(&["cache", cache.name()], Some(cache.location()), |section| rest::cache(section, cache)));
    }
    for list in &written.userlists {
        sections.push(Section::filled(&["userlist", &list.name], Some(list.name.location()), |section| rest::userlist(section, list)));
    }
    sections
}

fn proxies(sections: &mut Vec<Section>, written: &Written, grounds: &Grounds<'_>) {
    for frontend in &written.frontends {
        let (from, ground) = grounds.under(&frontend.defaults);
        let location = Some(frontend.name.location());
        match written.backends.iter().find(|backend| backend.is_twin && backend.name.value() == frontend.name.value()) {
            Some(twin) => sections.push(Section::filled(&["listen", &frontend.name], location, |section| {
                proxy::listen(section, (frontend, twin), from, &ground);
            })),
            None => sections.push(Section::filled(&["frontend", &frontend.name], location, |section| {
                proxy::frontend(section, frontend, from, &ground);
            })),
        }
    }
    for backend in written.backends.iter().filter(|backend| !backend.is_twin) {
        let (from, ground) = grounds.under(&backend.defaults);
        sections.push(Section::filled(&["backend", &backend.name], Some(backend.name.location()), |section| {
            proxy::backend(section, backend, from, &ground);
        }));
    }
}

/// What proxies begin from.
struct Grounds<'w> {
    bases: Vec<Base>,
    /// What sections of defaults begin from.
    bottom: Ground<'w>,
}

/// A section of defaults.
struct Base {
    defaults: Arc<Defaults>,
    /// None of those that a proxy begins from without asking.
    name: Option<String>,
    /// The check that backends have of it.
    check: Option<CheckSwitch>,
}

impl<'w> Grounds<'w> {
    fn of(written: &'w Written) -> Self {
        let used: Vec<&Arc<Defaults>> = written
            .frontends
            .iter()
            .map(|frontend| &frontend.defaults)
            .chain(written.backends.iter().map(|backend| &backend.defaults))
            .collect();
        let mut all: Vec<&Arc<Defaults>> = written.defaults.iter().collect();
        // Those that nobody wrote, before the first section of defaults.
        all.extend(used.iter().copied().find(|defaults| written.defaults.iter().all(|known| !Arc::ptr_eq(known, defaults))));
        let users = |defaults: &Arc<Defaults>| used.iter().filter(|other| Arc::ptr_eq(other, defaults)).count();
        let is_plain = |defaults: &Defaults| defaults.preset.acls.is_empty() && defaults.preset.rules.is_empty();
        let usual = all.iter().rev().copied().filter(|defaults| is_plain(defaults)).max_by_key(|defaults| users(defaults)).cloned();
        let mut bases: Vec<Base> = Vec::new();
        for defaults in all {
            let is_usual = usual.as_ref().is_some_and(|usual| Arc::ptr_eq(usual, defaults));
            let name = (!is_usual).then(|| name(defaults, &bases));
            bases.push(Base { defaults: Arc::clone(defaults), name, check: check(defaults) });
        }
        // Where the process writes a log, proxies that say nothing would, too.
        let targets = written.global.log.is_empty().then_some(&[][..]);
        Self { bases, bottom: Ground { targets, check: None, http_errors: &written.http_errors } }
    }

    /// Returns the name of what a proxy begins from, where it has to ask for it, and what it has of it.
    fn under(&'w self, defaults: &'w Arc<Defaults>) -> (Option<&'w str>, Ground<'w>) {
        let base = self.bases.iter().find(|base| Arc::ptr_eq(&base.defaults, defaults));
        let targets = Some(defaults.proxy.log.targets.as_deref().unwrap_or_default());
        let ground = Ground { targets, check: base.and_then(|base| base.check.as_ref()), ..self.bottom };
        (base.and_then(|base| base.name.as_deref()), ground)
    }
}

/// Returns the check that backends have of their defaults.
fn check(defaults: &Defaults) -> Option<CheckSwitch> {
    let (sequence, recipe) = haproxy::sequence::of_defaults(&defaults.checks)?;
    let settings = CheckSettings { sequence: Some(sequence), recipe: Some(Arc::new(recipe)), ..CheckSettings::default() };
    Some(CheckSwitch::Ready(Located::new(settings, defaults.place.clone()?)))
}

/// Returns a name for a section of defaults that no other has.
fn name(defaults: &Defaults, others: &[Base]) -> String {
    let own = defaults.name.as_ref().map_or("defaults", |name| name.as_str());
    let is_free = |name: &String| others.iter().all(|other| other.name.as_ref() != Some(name));
    let numbered = (2..).map(|number| format!("{own}-{number}"));
    std::iter::once(own.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

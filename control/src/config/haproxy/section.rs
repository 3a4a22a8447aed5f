//! Which section a line belongs to, and what reads it.

use std::collections::HashMap;
use std::sync::Arc;

use super::condition::Blocks;
use super::draft::{Draft, Kind};
use super::lexer::Lexer;
use super::line::{Line, unknown};
use super::reader::Reader;
use super::{cache, global, log_forward, log_profile, mail, peers, proxy, refused, reply, resolvers, ring, userlist};
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Source};
use crate::config::model::{Cache, HttpErrors, LogForward, LogProfile, Mailers, Resolvers, Ring};
use crate::config::suggest;
use crate::config::written::{self, Defaults, LineState, Outcome, ServerTlsSettings, Userlist, Written};

/// A section being read.
#[derive(Default)]
pub(super) enum Section {
    /// There was none yet.
    #[default]
    None,
    /// One that could not be begun; its lines are skipped, because they would all be wrong for the same reason.
    Unknown,
    Global,
    Cache(Cache),
    HttpErrors(HttpErrors),
    Userlist(Userlist),
    Peers(Box<peers::Draft>),
    Resolvers(Resolvers),
    Ring(Ring),
    LogForward(LogForward),
    LogProfile(LogProfile),
    Mailers(Mailers),
    Proxy(Box<Draft>),
}

/// Sections by their first word, and how one begins.
const SECTIONS: &[(&str, Begin)] = &[
    ("backend", |line, files| files.proxy(Kind::Backend, line)),
    ("cache", |line, files| cache::section(line, &files.written.caches).map(Section::Cache)),
    ("defaults", |line, files| files.proxy(Kind::Defaults, line)),
    ("frontend", |line, files| files.proxy(Kind::Frontend, line)),
    ("global", |_, _| Ok(Section::Global)),
    ("http-errors", |line, files| reply::section(line, &files.written.http_errors).map(Section::HttpErrors)),
    ("listen", |line, files| files.proxy(Kind::Listen, line)),
    ("userlist", |line, _| userlist::section(line).map(Section::Userlist)),
    ("peers", |line, files| peers::section(line, &files.written.peers).map(|draft| Section::Peers(Box::new(draft)))),
    ("resolvers", |line, files| resolvers::section(line, &files.written.resolvers).map(Section::Resolvers)),
    ("log-forward", |line, files| log_forward::section(line, &files.written.log_forwards).map(Section::LogForward)),
    ("log-profile", |line, files| log_profile::section(line, &files.written.log_profiles).map(Section::LogProfile)),
    ("mailers", |line, files| mail::section(line, &files.written.mailers).map(Section::Mailers)),
    ("ring", |line, files| ring::section(line, &files.written.rings).map(Section::Ring)),
];

/// Returns the words that begin sections.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().map(|(name, _)| *name)
}

type Begin = fn(&mut Line, &Files) -> Result<Section, Diagnostic>;

/// Tells whether a text is in this language: its first word is that of a section, or a condition.
pub(in crate::config) fn begins(text: &str) -> bool {
    let first = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let (word, rest) = first.split_at(first.find(|c: char| c.is_ascii_whitespace() || c == '#').unwrap_or(first.len()));
    let is_key = rest.trim_start().starts_with('=');
    !is_key && (is_section(word) || matches!(word, ".if" | ".diag" | ".notice" | ".warning" | ".alert"))
}

/// Tells whether a word begins a section.
pub(in crate::config) fn is_section(word: &str) -> bool {
    SECTIONS.iter().any(|(name, _)| *name == word) || refused::SECTIONS.iter().any(|(name, _)| *name == word)
}

/// Reads texts as far as they can be read, one after the other.
pub(in crate::config) fn read(sources: &[Arc<Source>]) -> Outcome {
    let mut reader = Reader::default();
    let mut files = Files::default();
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    reader.set_environment("HAPROXY_CFGFILES", Some(names.join(";")));
    for source in sources {
        files.file(source, &mut reader);
    }
    let mut written = files.written;
    let (diagnostics, idle) = reader.finish();
    written.idle = idle;
    Outcome { written, diagnostics, well_formed: true }
}

/// What was read so far.
#[derive(Default)]
struct Files {
    section: Section,
    written: Written,
    /// Settings by the name of their `defaults` section.
    named: HashMap<String, Arc<Defaults>>,
    /// Those of the last such section.
    last: Arc<Defaults>,
    /// Where each proxy was named: by its name, and whether it has a frontend and a backend.
    proxies: HashMap<String, Vec<(Kind, Located<String>)>>,
    /// Which kinds of proxies begin from defaults with rules.
    heirs: Vec<(Arc<Defaults>, Kind)>,
    /// What every server with TLS begins from.
    server_tls: ServerTlsSettings,
}

impl Files {
    fn file(&mut self, source: &Arc<Source>, reader: &mut Reader) {
        let mut lexer = Lexer::new(source);
        let mut blocks = Blocks::default();
        while let Some(mut line) = lexer.next(reader) {
            let keyword = line.read_keyword();
            let state = match () {
                () if keyword.starts_with('.') => LineState::Condition,
                () if blocks.skip() => LineState::Skipped,
                () if line.is_plain() => LineState::Read,
                () => LineState::Composed,
            };
            self.written.lines.push(written::Line { location: keyword.location().clone(), state });
            let outcome = match keyword.starts_with('.') {
                true => blocks.read(&keyword, &mut line, reader).and_then(|()| line.finish()),
                false if blocks.skip() => Ok(()),
                false => self.line(&keyword, &mut line, reader),
            };
            if let Err(error) = outcome {
                reader.push(error);
            }
            reader.set_skips(blocks.skip());
        }
        reader.set_skips(false);
        blocks.finish(reader);
        self.close(reader);
    }

    fn line(&mut self, keyword: &Located<String>, line: &mut Line, reader: &mut Reader) -> Result<(), Diagnostic> {
        let named = SECTIONS.iter().find(|(name, _)| *name == keyword.as_str() && !line.is_negated());
        if let Some((_, begin)) = named.or_else(|| self.meant(keyword, reader)) {
            self.close(reader);
            self.section = Section::Unknown;
            self.server_tls.clone_from(&reader.server_tls);
            self.section = begin(line, self)?;
            if let Section::Proxy(draft) = &self.section {
                self.proxies.entry(draft.name.value().clone()).or_default().push((draft.kind, draft.name.clone()));
                let defaults = Arc::clone(&draft.frontend.defaults);
                if draft.kind != Kind::Defaults && !defaults.preset.is_empty() {
                    self.heirs.push((Arc::clone(&defaults), draft.kind));
                    self.check_heirs(&defaults, line)?;
                }
            }
            reader.enter(match &self.section {
                Section::Proxy(draft) if !draft.name.is_empty() => &draft.name,
                Section::Cache(cache) => &cache.name,
                Section::HttpErrors(errors) => &errors.name,
                Section::Userlist(list) => &list.name,
                Section::Peers(draft) => draft.name(),
                Section::Resolvers(section) => section.name(),
                Section::Ring(ring) => ring.name(),
                Section::LogForward(section) => section.name(),
                Section::LogProfile(profile) => profile.name(),
                Section::Mailers(section) => section.name(),
                Section::Proxy(_) | Section::Global | Section::None | Section::Unknown => keyword,
            });
            return line.finish();
        }
        let refused = refused::SECTIONS.iter().find(|(name, _)| *name == keyword.as_str());
        if let Some((_, reason)) = refused.filter(|_| !line.is_negated()) {
            self.close(reader);
            self.section = Section::Unknown;
            return Err(line.error(format!("section `{}` is not supported: {reason}", **keyword)));
        }
        match &mut self.section {
            Section::Unknown => Ok(()),
            Section::None => {
                self.section = Section::Unknown;
                let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
                Err(unknown(keyword, "a file before its first section", &names, &[]))
            }
            Section::Global => global::line(keyword, line, &mut self.written.global, reader),
            Section::Cache(cache) => cache::section_line(keyword, line, cache),
            Section::HttpErrors(errors) => reply::section_line(keyword, line, errors),
            Section::Userlist(list) => userlist::section_line(keyword, line, list, reader),
            Section::Peers(draft) => draft.line(keyword, line, reader),
            Section::Resolvers(section) => resolvers::section_line(keyword, line, section),
            Section::Ring(ring) => ring::section_line(keyword, line, ring),
            Section::LogForward(section) => log_forward::section_line(keyword, line, section),
            Section::LogProfile(profile) => log_profile::section_line(keyword, line, profile),
            Section::Mailers(section) => mail::section_line(keyword, line, section),
            Section::Proxy(draft) => proxy::line(keyword, line, draft, reader),
        }
    }

    /// Returns the section that a misspelt word at the beginning of a line is to begin, so that what follows is read as what it is.
    fn meant(&self, keyword: &Located<String>, reader: &mut Reader) -> Option<&'static (&'static str, Begin)> {
        let known: Vec<&str> = if let Section::Proxy(_) = &self.section {
            proxy::KEYWORDS.iter().map(|(_, name, _)| *name).chain(proxy::IDLE).collect()
        } else if let Section::Global = &self.section {
            global::KEYWORDS.iter().map(|(name, _)| *name).chain(global::IDLE.iter().copied()).collect()
        } else if let Section::None = &self.section {
            Vec::new()
        } else {
            return None;
        };
        if keyword.location().column() > 1 || known.contains(&keyword.as_str()) {
            return None;
        }
        let meant = suggest::nearest(keyword, known.into_iter().chain(SECTIONS.iter().map(|(name, _)| *name)))?;
        let section = SECTIONS.iter().find(|(name, _)| *name == meant)?;
        let error = Diagnostic::error(keyword.location(), format!("`{}` is no section", **keyword));
        reader.push(error.hint(format!("did you mean `{meant}`?")));
        Some(section)
    }

    /// Begins a proxy: `frontend NAME [from DEFAULTS]`.
    fn proxy(&self, kind: Kind, line: &mut Line) -> Result<Section, Diagnostic> {
        let has_name = kind != Kind::Defaults || line.peek().is_some_and(|word| word != "from");
        let name = if has_name { Some(line.expect("its name")?) } else { None };
        if let Some(name) = &name {
            self.check_name(kind, name)?;
        }
        let from = if line.accept("from") { Some(self.defaults(&line.expect("the name of a `defaults` section")?)?) } else { None };
        let defaults = match (from, kind) {
            (Some(defaults), _) => defaults,
            // Such a section begins afresh, whatever stands before it.
            (None, Kind::Defaults) => Arc::default(),
            (None, Kind::Frontend | Kind::Backend | Kind::Listen) => Arc::clone(&self.last),
        };
        if !defaults.preset.is_empty() && matches!(kind, Kind::Defaults | Kind::Listen) {
            let message = format!("section `{}` cannot begin from defaults with rules", kind.name());
            return Err(line.error(message).hint("haproxy lets frontends begin from them, or backends"));
        }
        let name = name.unwrap_or_else(|| line.keyword().map(|_| String::new()));
        let begins_afresh = defaults.place.is_none();
        let mut draft = Draft::new(kind, name, defaults);
        if begins_afresh {
            draft.settings.default_server.tls = self.server_tls.clone();
        }
        Ok(Section::Proxy(Box::new(draft)))
    }

    /// Refuses rules of defaults that would hold on both sides.
    fn check_heirs(&self, defaults: &Arc<Defaults>, line: &Line) -> Result<(), Diagnostic> {
        let mut kinds = self.heirs.iter().filter(|(other, _)| Arc::ptr_eq(other, defaults)).map(|(_, kind)| *kind);
        let first = kinds.next();
        if kinds.all(|kind| Some(kind) == first) {
            return Ok(());
        }
        Err(line.error("frontends and backends cannot begin from the same defaults with rules").hint("write one section for each"))
    }

    fn defaults(&self, name: &Located<String>) -> Result<Arc<Defaults>, Diagnostic> {
        let found = self.named.get(name.as_str()).map(Arc::clone);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
            let error = Diagnostic::error(name.location(), format!("no defaults `{name}` before this line"));
            match suggest::nearest(name, known.iter().copied()) {
                Some(meant) => error.hint(format!("did you mean `{meant}`?")),
                None => error,
            }
        })
    }

    /// Refuses what cannot be a name, and what is one already.
    fn check_name(&self, kind: Kind, name: &Located<String>) -> Result<(), Diagnostic> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if name.is_empty() || !name.chars().all(allowed) {
            let error = Diagnostic::error(name.location(), format!("`{name}` cannot be the name of a section"));
            return Err(error.hint("letters, digits, and any of - _ . :"));
        }
        let others = self.proxies.get(name.as_str()).into_iter().flatten();
        match others.into_iter().find(|(other, _)| kind.overlaps(*other)) {
            Some((other, first)) => {
                let message = format!("`{name}` is the name of a {} already", other.name());
                let first = first.location();
                Err(Diagnostic::error(name.location(), message).hint(format!("{}:{}", first.file(), first.line())))
            }
            None => Ok(()),
        }
    }

    /// Ends the section at hand.
    fn close(&mut self, reader: &mut Reader) {
        match std::mem::take(&mut self.section) {
            Section::None | Section::Unknown | Section::Global => {}
            Section::Cache(cache) => self.written.caches.push(cache),
            Section::HttpErrors(errors) => self.written.http_errors.push(errors),
            Section::Userlist(list) => {
                if self.written.userlists.iter().any(|other| other.name.value() == list.name.value()) {
                    reader.warn(list.name.location(), format!("userlist `{}` is there already", *list.name), "this section is passed over");
                } else {
                    self.written.userlists.push(list);
                }
            }
            Section::Peers(draft) => draft.finish(&mut self.written),
            Section::Resolvers(section) => self.written.resolvers.push(section),
            Section::Ring(ring) => self.written.rings.push(ring),
            Section::LogForward(section) => self.written.log_forwards.push(section),
            Section::LogProfile(profile) => self.written.log_profiles.push(profile),
            Section::Mailers(section) => self.written.mailers.push(section),
            Section::Proxy(draft) if draft.kind == Kind::Defaults => {
                let name = draft.name.value().clone();
                self.last = Arc::new(draft.into_defaults());
                self.written.defaults.push(Arc::clone(&self.last));
                if !name.is_empty() {
                    self.named.insert(name, Arc::clone(&self.last));
                }
            }
            Section::Proxy(draft) => draft.finish(&mut self.written, reader),
        }
    }
}

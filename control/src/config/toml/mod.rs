//! Reads the native format: TOML text into [`Written`].
//!
//! The text is parsed into a tree in which every key and value has its position, and the tree is walked by hand: that way every
//! mistake of a file is found in one run, and each is told with the line it stands on. What is not known here is refused, never
//! dropped.

mod backend;
mod cache;
mod check;
mod compression;
mod connection;
mod frontend;
mod global;
mod listen;
mod log;
mod log_forward;
mod log_profile;
mod mail;
mod peers;
mod pool;
mod proxy;
mod reader;
mod reply;
mod resolvers;
mod ring;
mod section;
mod server;
mod stats;
mod syntax;
mod table;
mod tls;
mod userlist;

use std::sync::Arc;

use ::toml::de::DeTable;

use self::proxy::Presets;
use self::reader::Reader;
use self::section::Section;
use super::error::Diagnostic;
use super::location::Source;
use super::written::{Outcome, Written};

/// Reads a text as far as it can be read.
pub(super) fn read(source: &Arc<Source>) -> Outcome {
    let (tree, errors) = DeTable::parse_recoverable(source.text());
    let tree = tree.into_inner();
    let syntax = syntax::diagnostics(source, &tree, &errors);
    let mut reader = Reader::new(source, syntax.well_formed);
    let written = file(&mut reader, &tree);
    let mut diagnostics = syntax.diagnostics;
    // A line that cannot be parsed is read as something else; what else is wrong with it was not written.
    let unparsed: Vec<usize> = diagnostics.iter().filter_map(|found| Some(found.location()?.line())).collect();
    let parsed = |found: &Diagnostic| found.location().is_none_or(|location| !unparsed.contains(&location.line()));
    diagnostics.extend(reader.into_diagnostics().into_iter().filter(parsed));
    Outcome { written, diagnostics, well_formed: syntax.well_formed }
}

/// Sections HAProxy has and this model has no place for.
const LATER: [&str; 1] = ["crt-store"];

fn file(reader: &mut Reader, tree: &DeTable<'_>) -> Written {
    let mut root = Section::root(reader, tree);
    let mut written = Written::default();
    if let Some(section) = root.section(reader, "global") {
        written.global = global::global(reader, section);
    }
    if let Some(section) = root.section(reader, "xdp") {
        written.xdp = Some(global::xdp(reader, section));
    }
    proxies(reader, &mut root, &mut written);
    written.tables = root.named(reader, "table").into_iter().map(|(name, section)| table::table(reader, name, section)).collect();
    for (name, section) in root.named(reader, "peers") {
        let (peers, tables) = peers::peers(reader, name, section);
        written.peers.push(peers);
        written.tables.extend(tables);
    }
    written.tables.sort_by_key(|table| table.name.location().line());
    written.resolvers =
        root.named(reader, "resolvers").into_iter().map(|(name, section)| resolvers::resolvers(reader, name, section)).collect();
    written.log_forwards =
        root.named(reader, "log-forward").into_iter().map(|(name, section)| log_forward::log_forward(reader, name, section)).collect();
    written.rings = root.named(reader, "ring").into_iter().map(|(name, section)| ring::ring(reader, name, section)).collect();
    written.log_profiles =
        root.named(reader, "log-profile").into_iter().map(|(name, section)| log_profile::log_profile(reader, name, section)).collect();
    written.mailers = root.named(reader, "mailers").into_iter().map(|(name, section)| mail::mailers(reader, name, section)).collect();
    written.http_errors =
        root.named(reader, "http-errors").into_iter().map(|(name, section)| reply::http_errors(reader, name, section)).collect();
    written.userlists =
        root.named(reader, "userlist").into_iter().map(|(name, section)| userlist::userlist(reader, name, section)).collect();
    written.caches = root.named(reader, "cache").into_iter().map(|(name, section)| cache::cache(reader, name, section)).collect();
    root.finish_file(reader, &LATER);
    written
}

/// Reads what proxies begin from, and the proxies in the order of the file.
fn proxies(reader: &mut Reader, root: &mut Section<'_>, written: &mut Written) {
    let mut all = Presets::default();
    if let Some(section) = root.section(reader, "defaults") {
        all.usual = Arc::new(proxy::defaults(reader, section));
    }
    for (name, section) in root.named(reader, "preset") {
        all.named.push(Arc::new(proxy::preset(reader, name, section)));
    }
    for (name, section) in root.named(reader, "frontend") {
        written.frontends.push(frontend::frontend(reader, name, &all, section));
    }
    for (name, section) in root.named(reader, "backend") {
        written.backends.push(backend::backend(reader, name, &all, section));
    }
    for (name, section) in root.named(reader, "listen") {
        let (frontend, backend) = listen::listen(reader, name, &all, section);
        written.frontends.push(frontend);
        written.backends.push(backend);
    }
    listen::apart(reader, written);
    written.frontends.sort_by_key(|frontend| frontend.name.location().line());
    written.backends.sort_by_key(|backend| backend.name.location().line());
    written.defaults.push(all.usual);
    written.defaults.extend(all.named);
}

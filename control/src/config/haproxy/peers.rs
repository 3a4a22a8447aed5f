//! Sections `peers`: processes that share the entries of stick tables.

use super::bind::{Settings, binds_from, default_words};
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use super::server;
use super::table::{self, Home};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::Bind;
use crate::config::value::address;
use crate::config::written::{Peer, Peers, Server, ServerSettings, Table, Written};

/// A section while its lines are read.
pub(super) struct Draft {
    name: Located<String>,
    peers: Vec<Peer>,
    default_server: ServerSettings,
    /// What binds begin from.
    default_bind: Option<Settings>,
    binds: Vec<Bind>,
    tables: Vec<Table>,
    disabled: bool,
    shards: u32,
    log: Vec<Located<String>>,
}

/// Reads the words of a keyword.
pub(super) type Read = fn(&mut Line, &mut Draft, &mut Reader) -> Result<(), Diagnostic>;

/// Keywords by name, and what reads them.
pub(super) const KEYWORDS: &[(&str, Read)] = &[
    ("bind", |line, draft, reader| {
        let binds = binds_from(line, draft.bind_settings(reader), reader)?;
        draft.binds.extend(binds);
        Ok(())
    }),
    ("default-bind", |line, draft, reader| {
        let mut settings = draft.bind_settings(reader);
        default_words(line, &mut settings, reader)?;
        draft.default_bind = Some(settings);
        Ok(())
    }),
    ("default-server", |line, draft, reader| {
        let (settings, shard) = server::transport(line, std::mem::take(&mut draft.default_server), reader)?;
        draft.default_server = settings;
        match shard {
            Some(shard) => {
                Err(Diagnostic::error(shard.location(), "`shard` is about one peer alone").hint("write it into the line of the peer"))
            }
            None => Ok(()),
        }
    }),
    ("disabled", |_, draft, _| {
        draft.disabled = true;
        Ok(())
    }),
    ("enabled", |_, draft, _| {
        draft.disabled = false;
        Ok(())
    }),
    ("log", |line, draft, _| {
        if line.is_negated() {
            draft.log.clear();
            return Ok(());
        }
        let target = line.joined().ok_or_else(|| line.error("`log` lacks its target"))?;
        draft.log.push(target);
        Ok(())
    }),
    ("peer", peer),
    ("server", peer),
    ("shards", |line, draft, _| {
        draft.shards = *line.integer(1..=MOST_SHARDS)?;
        Ok(())
    }),
    ("table", |line, draft, _| {
        let name = line.expect("its name")?;
        let full = Located::new(format!("{}/{}", *draft.name, *name), name.location().clone());
        let table = Table { peers: Some(draft.name.clone()), shared_as: Some(format!("/{}", *name)), ..Table::new(full) };
        draft.tables.push(table::table(line, table, Home::Peers)?);
        Ok(())
    }),
];

/// As many processes surely share no table.
const MOST_SHARDS: u32 = 65_536;

/// Begins a section.
pub(super) fn section(line: &mut Line, others: &[Peers]) -> Result<Draft, Diagnostic> {
    let name = line.expect("its name")?;
    if let Some(other) = others.iter().find(|other| other.name.value() == name.value()) {
        let first = other.name.location();
        let error = Diagnostic::error(name.location(), format!("there is a section peers `{name}` already"));
        return Err(error.hint(format!("{}:{}", first.file(), first.line())));
    }
    Ok(Draft {
        name,
        peers: Vec::new(),
        default_server: ServerSettings::default(),
        default_bind: None,
        binds: Vec::new(),
        tables: Vec::new(),
        disabled: false,
        shards: 0,
        log: Vec::new(),
    })
}

impl Draft {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads one line.
    pub(super) fn line(&mut self, keyword: &Located<String>, line: &mut Line, reader: &mut Reader) -> Result<(), Diagnostic> {
        let Some((_, read)) = KEYWORDS.iter().find(|(name, _)| *name == keyword.as_str()) else {
            let known: Vec<&str> = KEYWORDS.iter().map(|(name, _)| *name).collect();
            return Err(unknown(keyword, "section `peers`", &known, &[]));
        };
        if line.is_negated() && keyword.as_str() != "log" {
            return Err(line.error(format!("`no` cannot stand before `{}`", **keyword)));
        }
        read(line, self, reader)?;
        line.finish()
    }

    /// Moves everything to where it belongs.
    pub(super) fn finish(self, written: &mut Written) {
        let Self { name, peers: members, default_server, default_bind: _, binds, tables, disabled, shards, log } = self;
        written.tables.extend(tables);
        written.peers.push(Peers { name, default_server, members, binds, disabled, shards, log });
    }

    fn bind_settings(&self, reader: &Reader) -> Settings {
        self.default_bind.clone().unwrap_or_else(|| Settings::new(reader.bind_tls().clone()))
    }
}

/// Reads `peer NAME ADDRESS WORDS`, or `server NAME [ADDRESS] WORDS`.
fn peer(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let name = line.expect("its name")?;
    if let Some(other) = draft.peers.iter().find(|other| other.server.name.value() == name.value()) {
        let first = other.server.name.location();
        let error = Diagnostic::error(name.location(), format!("there is a peer `{name}` already"));
        return Err(error.hint(format!("{}:{}", first.file(), first.line())));
    }
    let has_address = line.peek().is_some_and(|word| word.contains([':', '@', '/', '.']));
    let word = if has_address { line.next() } else { None };
    let place = word.as_ref().map(|word| parse_word(word, address::peer)).transpose()?;
    let (settings, shard) = server::transport(line, ServerSettings::default(), reader)?;
    let (address, bind) = match place {
        Some(place) => {
            let at = |address| Located::new(address, place.location().clone());
            let (address, bind) = place.value().clone();
            (Some(at(address)), Some(draft.bind_settings(reader).at(Located::new(bind, place.location().clone()), reader)?))
        }
        None => (None, None),
    };
    draft.peers.push(Peer { server: Server { name, address, settings }, bind, shard });
    Ok(())
}

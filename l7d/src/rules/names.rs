//! What rules name: variables, tables, files, lists of users; and what they ask for, which costs something to know.

use std::collections::HashMap;
use std::sync::Arc;

use control::config::{self, Config, Diagnostic, Located, Mode, suggest};

use super::action::Whose;
use super::auth::Userlist;
use super::observer::RuleId;
use super::store::{FileKind, PatternFile, Patterns};
use super::view::{Lifetime, VariableId};
use super::word::Word;
use crate::cache::Cache;
use crate::stick::{Table, Tables};

/// The names of a configuration that are not backends: variables, and the numbers of acls.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) variables: HashMap<String, u32>,
    pub(super) acl_ids: HashMap<u32, String>,
    pattern_files: HashMap<(String, FileKind), Arc<PatternFile>>,
    pub(super) patterns: Vec<Patterns>,
    /// Where what is read stands.
    pub(super) at: Option<config::Location>,
    /// The servers of every backend.
    servers: HashMap<String, Vec<String>>,
    /// The sections of servers that are asked for names.
    resolvers: Vec<Arc<str>>,
    pub(super) caches: Vec<Arc<Cache>>,
    pub(super) asks_destination: bool,
    /// Whether any rule looks at bodies.
    pub(super) looks_at_bodies: bool,
    pub(super) asks_lines: bool,
    pub(super) asks_tls: bool,
    pub(super) asks_server_tls: bool,
    /// Whether any rule wants the packets to clients to carry something, or to know how they fare.
    pub(super) handles_clients: bool,
    pub(super) asks_entry: bool,
    pub(super) asks_server_line: bool,
    /// The names of frontends.
    frontends: Vec<String>,
    pub(super) tables: Arc<Tables>,
    userlists: HashMap<String, Arc<Userlist>>,
    /// Those with hashed passwords that rules ask.
    pub(super) asked_lists: Vec<Arc<Userlist>>,
    /// Whose rules are read.
    pub(super) proxy: String,
    /// What it understands of its traffic.
    pub(super) mode: Option<Mode>,
    /// What was found that is valid and will surprise.
    pub(super) warnings: Vec<Diagnostic>,
    /// The rules that were read so far; the last is the one at hand.
    pub(super) sources: Vec<Located<String>>,
}

impl Names {
    /// Notes every backend and its servers, and every list of users.
    pub(super) fn know(&mut self, config: &Config, found: &mut Vec<Diagnostic>) {
        for (number, model) in config.userlists().iter().enumerate() {
            self.userlists.insert(model.name().to_owned(), Arc::new(Userlist::new(number, model, found)));
        }
        self.frontends = config.frontends().iter().map(|frontend| frontend.name().to_owned()).collect();
        self.resolvers = config.resolvers().iter().map(|section| section.name().into()).collect();
        for backend in config.backends() {
            let servers = config.servers_of(backend.id()).iter().map(|server| server.name().to_owned()).collect();
            self.servers.insert(backend.name().to_owned(), servers);
        }
    }

    /// Returns the cache of that name.
    ///
    /// # Errors
    /// Says that there is none.
    pub(super) fn cache(&self, name: &str) -> Result<Arc<Cache>, String> {
        self.caches.iter().find(|known| known.name() == name).cloned().ok_or_else(|| {
            let meant = suggest::nearest(name, self.caches.iter().map(|cache| cache.name()));
            meant.map_or_else(|| format!("no cache `{name}`"), |meant| format!("no cache `{name}`: did you mean `{meant}`?"))
        })
    }

    /// Tells whether there is a backend of that name.
    pub(super) fn resolvers(&self, name: &str) -> Result<Arc<str>, String> {
        self.resolvers.iter().find(|known| &***known == name).cloned().ok_or_else(|| format!("no section resolvers `{name}`"))
    }

    /// Tells whether there is a frontend of this name.
    pub(super) fn has_frontend(&self, name: &str) -> bool {
        self.frontends.iter().any(|known| known == name)
    }

    /// Tells whether there is a backend of this name.
    pub(super) fn has_backend(&self, name: &str) -> bool {
        self.servers.contains_key(name)
    }

    /// Tells whether a backend has a server of that name.
    pub(super) fn has_server(&self, backend: &str, name: &str) -> bool {
        self.servers.get(backend).is_some_and(|servers| servers.iter().any(|server| server == name))
    }

    /// Returns the place of a server of that name in the backend at hand.
    ///
    /// # Errors
    /// Says that there is none, and which one was probably meant.
    pub(super) fn place_of_server(&self, name: &str) -> Result<usize, String> {
        let servers = self.servers.get(&self.proxy).map(Vec::as_slice).unwrap_or_default();
        let place = servers.iter().position(|server| server == name);
        place.ok_or_else(|| match suggest::nearest(name, servers.iter().map(String::as_str)) {
            Some(meant) => format!("no server `{name}`: did you mean `{meant}`?"),
            None => format!("no server `{name}` in backend `{}`", self.proxy),
        })
    }

    /// Returns the patterns of a file, which is read when it is named for the first time.
    ///
    /// # Errors
    /// Says why it cannot be read.
    pub(super) fn patterns(&mut self, name: &str, kind: FileKind) -> Result<Arc<PatternFile>, String> {
        let key = (name.to_owned(), kind);
        let (file_name, line) = self.at.as_ref().map_or(("", 0), |at| (at.file(), at.line()));
        let user = if kind == FileKind::Map { "map" } else { "acl" };
        let user = format!("by {user} at file '{file_name}' line {line}");
        if let Some(file) = self.pattern_files.get(&key) {
            if let Some(known) = self.patterns.iter_mut().find(|known| Arc::ptr_eq(&known.file, file)) {
                known.used.push_str(&format!(", {user}"));
            }
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(PatternFile::load(name, kind).map_err(|error| format!("{name}: {error}"))?);
        self.patterns.push(Patterns { name: name.to_owned(), kind: kind.into(), used: user, file: Arc::clone(&file) });
        self.pattern_files.insert(key, Arc::clone(&file));
        Ok(file)
    }

    /// Returns the number of the rule at hand.
    pub(super) fn rule(&self) -> RuleId {
        RuleId(u32::try_from(self.sources.len().saturating_sub(1)).unwrap_or(u32::MAX))
    }

    /// Notes something valid that will surprise.
    pub(super) fn warn(&mut self, diagnostic: Diagnostic) {
        self.warnings.push(diagnostic);
    }

    /// Notes that something wants to know where clients connected to, and returns it.
    pub(super) fn destination<T>(&mut self, asking: T) -> T {
        self.asks_destination = true;
        asking
    }

    /// Notes that something wants to know the first lines of messages as they came, and returns it.
    pub(super) fn line<T>(&mut self, asking: T) -> T {
        self.asks_lines = true;
        asking
    }

    /// Notes that something wants to know the TLS with servers, and returns it.
    pub(super) fn server_tls<T>(&mut self, asking: T) -> T {
        self.asks_server_tls = true;
        asking
    }

    /// Notes whose packets are to carry something, and returns it.
    pub(super) fn branding(&mut self, whose: Whose) -> Whose {
        self.handles_clients |= whose == Whose::Client;
        whose
    }

    /// Notes that something wants to know how the packets of clients fare, and returns it.
    pub(super) fn measuring<T>(&mut self, asking: T) -> T {
        self.handles_clients = true;
        asking
    }

    /// Notes that something wants to know how clients came in, and returns it.
    pub(super) fn entry<T>(&mut self, asking: T) -> T {
        self.asks_entry = true;
        asking
    }

    /// Notes that something wants to know the connections to servers, and returns it.
    pub(super) fn server_line<T>(&mut self, asking: T) -> T {
        self.asks_server_line = true;
        asking
    }

    /// Notes that something wants to know the TLS of clients, and returns it.
    pub(super) fn tls<T>(&mut self, asking: T) -> T {
        self.asks_tls = true;
        asking
    }

    /// Returns the table of that name.
    ///
    /// # Errors
    /// Says that there is none.
    pub(super) fn table(&self, name: &str) -> Result<Arc<Table>, String> {
        self.tables.named(name).map(Arc::clone).ok_or_else(|| format!("no table `{name}`"))
    }

    /// Tells whether the proxy at hand understands HTTP.
    pub(super) fn is_http(&self) -> bool {
        self.mode == Some(Mode::Http)
    }

    /// Returns the name of the proxy at hand.
    pub(super) fn proxy(&self) -> &str {
        &self.proxy
    }

    /// Returns the list of users of that name.
    ///
    /// # Errors
    /// Says that there is none, or that it cannot be asked here.
    pub(super) fn userlist(&mut self, name: &str) -> Result<Arc<Userlist>, String> {
        let Some(list) = self.userlists.get(name) else {
            let meant = suggest::nearest(name, self.userlists.keys().map(String::as_str));
            return Err(meant.map_or_else(|| format!("no userlist `{name}`"), |meant| format!("no userlist `{name}`, but one `{meant}`")));
        };
        if list.is_slow() {
            if self.mode == Some(Mode::Tcp) {
                return Err(format!("userlist `{name}` has hashed passwords, which are compared in mode http only"));
            }
            if !self.asked_lists.iter().any(|asked| Arc::ptr_eq(asked, list)) {
                self.asked_lists.push(Arc::clone(list));
            }
        }
        Ok(Arc::clone(list))
    }

    /// Returns the table that bears the name of the proxy at hand.
    ///
    /// # Errors
    /// Says that there is none.
    pub(super) fn own_table(&self) -> Result<Arc<Table>, String> {
        self.table(&self.proxy).map_err(|_| format!("`{}` has no table of its own, so say which", self.proxy))
    }

    /// Returns the variable of that name.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub(super) fn variable(&mut self, name: &str) -> Result<VariableId, String> {
        let Some((scope, rest)) = name.split_once('.') else {
            return Err(format!("`{name}` does not say where the variable lives: for example txn.{name}"));
        };
        let lifetime = match scope {
            "proc" => Lifetime::Process,
            "sess" => Lifetime::Session,
            "txn" => Lifetime::Transaction,
            "req" => Lifetime::Request,
            "res" => Lifetime::Response,
            "check" => return Err("variables of checks are not supported yet".to_owned()),
            other => return Err(format!("`{other}` is not a scope: proc, sess, txn, req or res")),
        };
        if rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')) {
            return Err(format!("`{name}` cannot be the name of a variable: letters, digits, `_` and `.` can"));
        }
        let next = u32::try_from(self.variables.len()).unwrap_or(u32::MAX);
        let number = *self.variables.entry(name.to_owned()).or_insert(next);
        Ok(VariableId { lifetime, number })
    }

    /// Notes the number of an acl.
    ///
    /// # Errors
    /// Refuses what is no number, and one that is taken.
    pub(super) fn acl_id(&mut self, word: &Word<'_>) -> Result<(), Diagnostic> {
        let Some(id) = word.text().parse::<u32>().ok().filter(|id| *id > 0) else {
            return Err(word.error(format!("`{}` is not a number", word.text())));
        };
        match self.acl_ids.insert(id, word.location().to_string()) {
            Some(before) => Err(word.error(format!("the id {id} is taken by {before}"))),
            None => Ok(()),
        }
    }
}

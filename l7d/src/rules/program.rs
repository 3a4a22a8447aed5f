//! The rules of a configuration, compiled.

mod filter;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use control::config::{self, BackendId, Config, Diagnostic, Located, Mode, Report};

use super::acl::{Acl, Test};
use super::action::{Action, field_name};
use super::auth::Userlist;
use super::capture::Captures;
use super::condition::{Condition, Outcome};
use super::directive;
use super::errors::{Errors, Files};
use super::fetch::Needs;
use super::host::ServerHost;
use super::lines::Lines;
use super::log_format::Format;
use super::names::Names;
use super::observer::{RuleId, Sources};
use super::sample::Sample;
use super::start;
use super::store::Patterns;
use super::tie::{self, Stick};
use super::view::{Lifetime, Shared, VariableId, View};
use super::word::{self, Word, Words};
use crate::cache::Cache;
use crate::reply::Reply;
use crate::stick::{Persist, Tables};
pub(crate) use filter::Filter;

/// What the rules of a configuration became.
#[derive(Debug)]
pub(crate) struct Rules {
    frontends: Vec<Arc<ProxyRules>>,
    backends: Vec<Arc<ProxyRules>>,
    /// By backend and name, which stay when servers come and go.
    hosts: HashMap<(BackendId, String), Arc<ServerHost>>,
    tables: Arc<Tables>,
    patterns: Vec<Patterns>,
    caches: Vec<Arc<Cache>>,
    /// The numbers of variables by their names.
    variables: HashMap<String, u32>,
    shared: Arc<Shared>,
    warnings: Report,
}

/// The rules of one frontend or backend, each list in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct ProxyRules {
    pub(super) connection: Vec<Rule<Action>>,
    pub(super) session: Vec<Rule<Action>>,
    pub(super) content: Vec<Rule<Action>>,
    pub(super) answer: Vec<Rule<Action>>,
    /// How long the first bytes of servers are waited for.
    pub(super) answer_delay: Option<Duration>,
    /// How long the first bytes of a connection are waited for.
    pub(super) inspect_delay: Option<Duration>,
    /// Whether a rule about first bytes wants to know which request they begin.
    pub(super) reads_requests: bool,
    pub(super) request: Vec<Rule<Action>>,
    /// Plain `redirect` rules, which come after the others wherever they stand.
    pub(super) redirects: Vec<Rule<Action>>,
    pub(super) routes: Vec<Rule<Target>>,
    /// When whoever asks whether we are there is told that we are not.
    pub(super) failures: Vec<Condition>,
    /// Who may see the statistics.
    pub(super) statistics: Vec<Rule<Action>>,
    /// Who may change servers by the page of statistics.
    pub(super) administrators: Vec<Rule<()>>,
    pub(super) response: Vec<Rule<Action>>,
    pub(super) persistence: Vec<Rule<Persist>>,
    /// Which server is used.
    pub(super) servers: Vec<Rule<ServerTarget>>,
    /// What ties requests or connections to servers.
    pub(super) sticks: Vec<Rule<Stick>>,
    /// What ties servers to what they answered.
    pub(super) late_sticks: Vec<Rule<Stick>>,
    errors: Errors,
    pub(super) after_response: Vec<Rule<Action>>,
    /// What is written about exchanges that have ended.
    lines: Lines,
    shared: Arc<Shared>,
    asks_destination: bool,
    looks_at_bodies: bool,
    /// What is kept for log lines.
    pub(super) captures: Captures,
    /// What the names of exchanges look like.
    unique_id: Option<Format>,
    /// The header field that tells servers.
    unique_header: Option<Box<[u8]>>,
    /// Whether any rule of the configuration wants to know the TLS of clients.
    asks_tls: bool,
    /// Whether any wants to know that with servers.
    asks_server_tls: bool,
    /// Whether any wants the packets to clients to carry something, or to know how they fare.
    handles_clients: bool,
    /// Whether any wants to know how clients came in.
    asks_entry: bool,
    /// Whether any wants to know the connections to servers.
    asks_server_line: bool,
    /// Whether any rule of the configuration wants to know the first lines of messages as they came.
    pub(super) keeps_lines: bool,
    /// Lists of users whose passwords are hashed, and which rules ask.
    pub(super) userlists: Arc<[Arc<Userlist>]>,
    /// All rules of the configuration, as they were written.
    sources: Sources,
}

impl ProxyRules {
    /// Returns the formats of lines about exchanges.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Returns all rules of the configuration by number, as they were written.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Returns where a rule of the configuration was written.
    pub(super) fn source(&self, rule: RuleId) -> Option<&config::Location> {
        self.sources.get(rule.0 as usize).map(Located::location)
    }

    /// Returns the variables of the process.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns what the names of exchanges look like.
    pub(super) fn unique_id(&self) -> Option<&Format> {
        self.unique_id.as_ref()
    }

    /// Returns the header field that tells servers the name of an exchange.
    pub(crate) fn unique_header(&self) -> Option<&[u8]> {
        self.unique_header.as_deref()
    }

    /// Tells whether whoever asks whether we are there is told that we are not.
    pub(crate) fn fails_monitor(&self, view: &View<'_>) -> bool {
        self.failures.iter().any(|condition| condition.holds(view))
    }

    /// Tells whether the sender of a request may change servers by the page of statistics.
    pub(crate) fn administers(&self, view: &View<'_>) -> bool {
        self.administrators.iter().any(|rule| rule.applies(view))
    }

    /// Returns the answer of this proxy for a status; none where it has none of its own.
    pub(crate) fn page(&self, status: u16, view: View<'_>) -> Option<Reply> {
        self.errors.reply(status, view)
    }

    /// Tells whether any rule of the configuration wants to know the TLS of clients.
    pub(crate) fn asks_tls(&self) -> bool {
        self.asks_tls
    }

    /// Tells whether any rule of the configuration wants to know the TLS with servers.
    pub(crate) fn asks_server_tls(&self) -> bool {
        self.asks_server_tls
    }

    /// Tells whether any rule of the configuration handles the connections of clients themselves.
    pub(crate) fn handles_clients(&self) -> bool {
        self.handles_clients
    }

    /// Tells whether any rule of the configuration wants to know how clients came in.
    pub(crate) fn asks_entry(&self) -> bool {
        self.asks_entry
    }

    /// Tells whether any rule of the configuration wants to know the connections to servers.
    pub(crate) fn asks_server_line(&self) -> bool {
        self.asks_server_line
    }

    /// Tells whether any rule of the configuration looks at bodies.
    pub(crate) fn looks_at_bodies(&self) -> bool {
        self.looks_at_bodies
    }

    /// Tells whether any rule of the configuration wants to know where clients connected to.
    pub(crate) fn asks_destination(&self) -> bool {
        self.asks_destination
    }
}

/// What to do, and when.
#[derive(Debug)]
pub(super) struct Rule<A> {
    pub(super) condition: Condition,
    pub(super) action: A,
    pub(super) id: RuleId,
}

impl<A> Rule<A> {
    /// Tells whether it applies.
    pub(super) fn applies(&self, view: &View<'_>) -> bool {
        match view.scene.observer {
            None => self.condition.holds(view),
            Some(observer) => observer.ask(self.id, || self.condition.holds(view)),
        }
    }

    /// Tells whether it applies, as far as the bytes tell that have come.
    pub(super) fn judge(&self, view: &View<'_>) -> Outcome {
        match view.scene.observer {
            None => self.condition.judge(view),
            Some(observer) => observer.judge(self.id, || self.condition.judge(view)),
        }
    }
}

/// Which backend is used.
#[derive(Debug)]
pub(super) enum Target {
    /// This one.
    Backend(BackendId),
    /// The one of this name, if there is one.
    Named(Format),
}

/// Which server is used.
#[derive(Debug)]
pub(super) enum ServerTarget {
    /// The one at this place of the backend.
    Place(usize),
    /// The one of this name, if there is one.
    Named(Format),
}

impl Rules {
    /// Compiles the rules of a configuration; tables that hold the same as those before go on.
    ///
    /// # Errors
    /// Everything wrong with any of them.
    pub(crate) fn compile(config: &Config, before: Option<&Self>) -> Result<Self, Report> {
        let tables = Arc::new(Tables::new(config, &tie::tables(config), before.map(|before| &*before.tables)));
        let mut compiler = Compiler::new(config);
        compiler.names.tables = Arc::clone(&tables);
        compiler.names.caches = Self::caches_of(config, before);
        compiler.names.know(config, &mut compiler.found);
        let shared = compiler.start();
        compiler.read_sections(config.http_errors());
        let frontends: Vec<_> = config.frontends().iter().map(|model| compiler.frontend(model)).collect();
        let backends: Vec<_> = config.backends().iter().map(|model| compiler.backend(model)).collect();
        let hosts = config.servers().iter().filter_map(|model| compiler.host(model)).collect();
        compiler.found.append(&mut compiler.names.warnings);
        let caches = std::mem::take(&mut compiler.names.caches);
        let patterns = std::mem::take(&mut compiler.names.patterns);
        let report = Report::from(compiler.found);
        if report.has_errors() {
            return Err(report);
        }
        let (asks_destination, looks_at_bodies) = (compiler.names.asks_destination, compiler.names.looks_at_bodies);
        let (keeps_lines, asks_tls, asks_server_tls) = (compiler.names.asks_lines, compiler.names.asks_tls, compiler.names.asks_server_tls);
        let handles_clients = compiler.names.handles_clients;
        let (asks_entry, asks_server_line) = (compiler.names.asks_entry, compiler.names.asks_server_line);
        let variables = compiler.names.variables;
        let userlists: Arc<[_]> = compiler.names.asked_lists.into();
        let sources: Sources = compiler.names.sources.into();
        let complete = |rules: ProxyRules| {
            Arc::new(ProxyRules {
                shared: Arc::clone(&shared),
                asks_destination,
                looks_at_bodies,
                keeps_lines,
                asks_tls,
                asks_server_tls,
                handles_clients,
                asks_entry,
                asks_server_line,
                userlists: Arc::clone(&userlists),
                sources: Arc::clone(&sources),
                ..rules
            })
        };
        Ok(Self {
            variables,
            frontends: frontends.into_iter().map(complete).collect(),
            backends: backends.into_iter().map(complete).collect(),
            hosts,
            tables,
            patterns,
            caches,
            shared,
            warnings: report,
        })
    }

    /// Returns a variable of the process as it is shown: its type, and its value.
    pub(crate) fn shown_variable(&self, name: &str) -> Option<(&'static str, Vec<u8>)> {
        let number = *self.variables.get(name).filter(|_| name.starts_with("proc."))?;
        let value = self.shared.value(VariableId { lifetime: Lifetime::Process, number })?;
        let kind = match &value {
            Sample::Bool(_) => "bool",
            Sample::Int(_) => "sint",
            Sample::Address(IpAddr::V4(_)) => "ipv4",
            Sample::Address(IpAddr::V6(_)) => "ipv6",
            Sample::Text(_) => "str",
            Sample::Binary(_) => "bin",
        };
        let mut text = Vec::new();
        value.write(&mut text);
        Some((kind, text))
    }

    /// Makes the caches of a configuration; one that is as before goes on with what it holds.
    fn caches_of(config: &Config, before: Option<&Self>) -> Vec<Arc<Cache>> {
        let known = |model: &config::Cache| before?.caches.iter().find(|cache| cache.is_like(model)).cloned();
        config.caches().iter().map(|model| known(model).unwrap_or_else(|| Arc::new(Cache::new(model)))).collect()
    }

    /// Returns the caches.
    pub(crate) fn caches(&self) -> &[Arc<Cache>] {
        &self.caches
    }

    /// Returns the stick tables.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Returns the files of patterns, in the order in which they are named first.
    pub(crate) fn patterns(&self) -> &[Patterns] {
        &self.patterns
    }

    /// Returns what is valid and will surprise.
    pub(crate) fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// Returns the rules of a frontend.
    pub(crate) fn of_frontend(&self, model: &config::Frontend) -> Arc<ProxyRules> {
        self.frontends.get(model.id().index()).map_or_else(Arc::default, Arc::clone)
    }

    /// Returns the rules of a backend.
    pub(crate) fn of_backend(&self, model: &config::Backend) -> Arc<ProxyRules> {
        self.backends.get(model.id().index()).map_or_else(Arc::default, Arc::clone)
    }

    /// Returns the host that a server is asked for in the handshake of TLS.
    pub(crate) fn host_of(&self, model: &config::Server) -> Option<Arc<ServerHost>> {
        self.hosts.get(&(model.backend(), model.name().to_owned())).map(Arc::clone)
    }
}

/// Compiles one proxy after the other.
pub(super) struct Compiler<'c> {
    pub(super) config: &'c Config,
    pub(super) names: Names,
    /// Those of the proxy at hand.
    acls: HashMap<String, Arc<Acl>>,
    backends: HashMap<&'c str, BackendId>,
    /// What the frontend at hand keeps; none in a backend.
    pub(super) captures: Option<Captures>,
    /// Whether the frontend at hand is one half of a proxy that has servers, too.
    pub(super) is_twin: bool,
    /// What answers come from.
    pub(super) files: Files,
    found: Vec<Diagnostic>,
}

impl<'c> Compiler<'c> {
    /// Gives the variables of the process their first values.
    fn start(&mut self) -> Arc<Shared> {
        let shared = Arc::new(Shared::default());
        for variable in self.config.global().variables() {
            self.found.extend(start::set(variable, &mut self.names, &shared).err());
        }
        shared
    }

    fn new(config: &'c Config) -> Self {
        let backends = config.backends().iter().map(|backend| (backend.name(), backend.id())).collect();
        Self {
            config,
            names: Names::default(),
            acls: HashMap::new(),
            backends,
            captures: None,
            is_twin: false,
            files: Files::default(),
            found: Vec::new(),
        }
    }

    fn frontend(&mut self, model: &config::Frontend) -> ProxyRules {
        self.enter(model.name(), model.mode());
        self.is_twin = self.config.backend_named(model.name()).is_some_and(config::Backend::is_twin);
        let place = directive::Place { side: directive::Side::Frontend, mode: model.mode() };
        let rules = self.all_rules(model.preset(), (model.acls(), model.rules()), place);
        self.compare_statistics(&rules, model.stats(), model.location());
        let errors = self.errors(model.errors());
        let inspect_delay = model.inspect_delay().or(rules.inspect_delay);
        let (unique_id, unique_header) = self.unique_id(model.unique_id());
        ProxyRules { unique_id, unique_header, errors, inspect_delay, lines: self.lines(model.logging(), model.mode()), ..rules }
    }

    /// Reads what the names of exchanges look like, and the field that tells servers.
    fn unique_id(&mut self, model: &config::UniqueId) -> (Option<Format>, Option<Box<[u8]>>) {
        let format = model.format().map(|text| Format::parse(&Word::whole(text), &mut self.names, Needs::Request)).transpose();
        let header = model.header().map(|name| field_name(&Word::whole(name))).transpose();
        let errors = [format.as_ref().err().cloned(), header.as_ref().err().cloned()];
        errors.into_iter().flatten().for_each(|error| self.push(error));
        (format.ok().flatten(), header.ok().flatten())
    }

    fn enter(&mut self, name: &str, mode: Mode) {
        name.clone_into(&mut self.names.proxy);
        self.names.mode = Some(mode);
    }

    /// Refuses rules about statistics that nobody sees, or that accounts decide about already.
    fn compare_statistics(&mut self, rules: &ProxyRules, page: Option<&config::StatsPage>, location: &config::Location) {
        if rules.statistics.is_empty() {
            return;
        }
        match page {
            None => self
                .push(Diagnostic::error(location, "there are rules about statistics, which this proxy does not show").hint("stats enable")),
            Some(page) if !page.accounts().is_empty() => {
                let error = Diagnostic::error(location, "`stats auth` and `stats http-request` cannot be used at the same time");
                self.push(error.hint("name the accounts in a userlist, and let a rule ask it"));
            }
            Some(_) => {}
        }
    }

    fn lines(&mut self, model: &config::Logging, mode: Mode) -> Lines {
        let (lines, errors) = Lines::of(model, self.config.log_profiles(), (&mut self.names, mode));
        errors.into_iter().for_each(|error| self.push(error));
        lines
    }

    fn backend(&mut self, model: &config::Backend) -> ProxyRules {
        self.enter(model.name(), model.mode());
        let place = directive::Place { side: directive::Side::Backend, mode: model.mode() };
        let rules = self.all_rules(model.preset(), (model.acls(), model.rules()), place);
        let errors = self.errors(model.errors());
        self.compare_statistics(&rules, model.stats(), model.location());
        ProxyRules { errors, ..rules }
    }

    /// Notes something that was found, once for each place: what is wrong in the defaults concerns every proxy.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        let place = |diagnostic: &Diagnostic| diagnostic.location().map(ToString::to_string);
        if !self.found.iter().any(|known| place(known) == place(&diagnostic)) {
            self.found.push(diagnostic);
        }
    }

    fn host(&mut self, model: &config::Server) -> Option<((BackendId, String), Arc<ServerHost>)> {
        let text = model.tls()?.sni()?;
        match ServerHost::compile(text, self.config.backend(model.backend()).mode(), &mut self.names) {
            Ok(host) => Some(((model.backend(), model.name().to_owned()), Arc::new(host))),
            Err(error) => {
                self.found.push(error);
                None
            }
        }
    }

    fn declare(&mut self, models: &[config::Acl]) {
        self.acls.clear();
        for model in models {
            if matches!(model.name().as_str(), "or" | "||" | "{" | "}" | "if" | "unless") {
                self.found.push(Diagnostic::error(model.name().location(), format!("an acl cannot be called `{}`", model.name())));
            }
            self.names.at = Some(model.name().location().clone());
            let tests = model.expressions().iter().filter_map(|text| match test(text, &mut self.names) {
                Ok(test) => Some(Arc::new(test)),
                Err(error) => {
                    self.found.push(error);
                    None
                }
            });
            let acl = Acl::declared(model.name(), tests.collect());
            self.acls.insert(model.name().value().clone(), Arc::new(acl));
        }
    }

    /// Reads the rules of a proxy's defaults and its own, each of which see their own acls.
    fn all_rules(
        &mut self,
        preset: &config::Preset,
        (acls, rules): (&[config::Acl], &[Located<String>]),
        place: directive::Place,
    ) -> ProxyRules {
        let mut proxy = ProxyRules::default();
        self.captures = (place.side == directive::Side::Frontend).then(Captures::default);
        if !preset.rules().is_empty() {
            self.declare(preset.acls());
            self.rules(preset.rules(), place, &mut proxy);
        }
        self.declare(acls);
        self.rules(rules, place, &mut proxy);
        proxy.captures = self.captures.take().unwrap_or_default();
        proxy
    }

    fn rules(&mut self, rules: &[Located<String>], place: directive::Place, proxy: &mut ProxyRules) {
        for rule in rules {
            self.names.at = Some(rule.location().clone());
            self.names.sources.push(rule.clone());
            let words = match word::split(rule) {
                Ok(words) => words,
                Err(error) => {
                    self.found.push(error);
                    continue;
                }
            };
            if let Err(error) = directive::read(&mut Words::new(&words, rule), self, place, proxy) {
                // What is wrong in defaults concerns every proxy.
                self.push(error);
            }
        }
    }

    /// Returns the acl of that name: a declared one, or one that is always there.
    pub(super) fn acl(&mut self, name: &str) -> Option<Arc<Acl>> {
        if let Some(acl) = self.acls.get(name) {
            return Some(Arc::clone(acl));
        }
        let (_, text) = PREDEFINED.iter().find(|(known, _)| *known == name)?;
        let text = Located::elsewhere((*text).to_owned(), "predefined", text);
        let acl = Arc::new(Acl::declared(name, vec![Arc::new(test(&text, &mut self.names).ok()?)]));
        self.acls.insert(name.to_owned(), Arc::clone(&acl));
        Some(acl)
    }

    /// Returns the names of all acls that can be used.
    pub(super) fn acl_names(&self) -> Vec<String> {
        self.acls.keys().cloned().chain(PREDEFINED.iter().map(|(name, _)| (*name).to_owned())).collect()
    }

    /// Returns the backend of that name.
    pub(super) fn backend_named(&self, name: &str) -> Option<(BackendId, Mode)> {
        let id = *self.backends.get(name)?;
        Some((id, self.config.backend(id).mode()))
    }
}

fn test(text: &Located<String>, names: &mut Names) -> Result<Test, Diagnostic> {
    let words = word::split(text)?;
    let mut words = Words::new(&words, text);
    let test = Test::parse(&mut words, names)?;
    match words.next() {
        Some(word) => Err(word.error(format!("`{}` closes nothing", word.text()))),
        None => Ok(test),
    }
}

/// Acls that need no declaration.
const PREDEFINED: [(&str, &str); 22] = [
    ("FALSE", "always_false"),
    ("HTTP", "req.proto_http"),
    ("HTTP_1.0", "req.ver 1.0"),
    ("HTTP_1.1", "req.ver 1.1"),
    ("HTTP_2.0", "req.ver 2.0"),
    ("HTTP_CONTENT", "req.hdr_val(content-length) gt 0"),
    ("HTTP_URL_ABS", "url_reg ^[^/:]*://"),
    ("HTTP_URL_SLASH", "url_beg /"),
    ("HTTP_URL_STAR", "url *"),
    ("LOCALHOST", "src 127.0.0.1/8 ::1"),
    ("METH_CONNECT", "method CONNECT"),
    ("METH_DELETE", "method DELETE"),
    ("METH_GET", "method GET HEAD"),
    ("METH_HEAD", "method HEAD"),
    ("METH_OPTIONS", "method OPTIONS"),
    ("METH_POST", "method POST"),
    ("METH_PUT", "method PUT"),
    ("METH_TRACE", "method TRACE"),
    ("RDP_COOKIE", "req.rdp_cookie_cnt gt 0"),
    ("REQ_CONTENT", "req.len gt 0"),
    ("TRUE", "always_true"),
    ("WAIT_END", "wait_end"),
];

//! A proxy while its lines are read.

use std::sync::Arc;

use super::bind::TlsDefaults;
use super::reader::Reader;
use super::sequence;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{Mode, Preset};
use crate::config::written::{
    Backend, CheckSettings, CheckSwitch, Defaults, Frontend, Heritage, Pool, Proxy, ServerSettings, Table, Written,
};

/// A kind of proxy section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Defaults,
    Frontend,
    Backend,
    /// Both in one.
    Listen,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Defaults => "defaults",
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Listen => "listen",
        }
    }

    /// Tells whether clients arrive here.
    pub(super) fn has_frontend(self) -> bool {
        matches!(self, Self::Frontend | Self::Listen)
    }

    /// Tells whether servers are here.
    pub(super) fn has_backend(self) -> bool {
        matches!(self, Self::Backend | Self::Listen)
    }

    /// Tells whether two of the same name would be in each other's way.
    pub(super) fn overlaps(self, other: Self) -> bool {
        (self.has_frontend() && other.has_frontend()) || (self.has_backend() && other.has_backend())
    }
}

/// Kinds of proxy sections.
#[derive(Clone, Copy)]
pub(super) struct Kinds(u8);

impl Kinds {
    const DEFAULTS: u8 = 1;
    const FRONTEND: u8 = 2;
    const BACKEND: u8 = 4;
    const LISTEN: u8 = 8;
    /// Where clients arrive.
    pub(super) const FRONT: Self = Self(Self::FRONTEND | Self::LISTEN);
    /// Where servers are.
    pub(super) const BACK: Self = Self(Self::BACKEND | Self::LISTEN);
    /// Everywhere but in `defaults`.
    pub(super) const PROXIES: Self = Self(Self::FRONTEND | Self::BACKEND | Self::LISTEN);
    pub(super) const ALL_BUT_BACKEND: Self = Self(Self::DEFAULTS | Self::FRONTEND | Self::LISTEN);
    pub(super) const ALL_BUT_FRONTEND: Self = Self(Self::DEFAULTS | Self::BACKEND | Self::LISTEN);
    pub(super) const ALL: Self = Self(Self::DEFAULTS | Self::FRONTEND | Self::BACKEND | Self::LISTEN);

    pub(super) fn contain(self, kind: Kind) -> bool {
        let one = match kind {
            Kind::Defaults => Self::DEFAULTS,
            Kind::Frontend => Self::FRONTEND,
            Kind::Backend => Self::BACKEND,
            Kind::Listen => Self::LISTEN,
        };
        self.0 & one != 0
    }
}

/// A proxy while its lines are read.
pub(super) struct Draft {
    pub(super) kind: Kind,
    /// Empty for a `defaults` section without one.
    pub(super) name: Located<String>,
    /// What may stand in `defaults` too, wherever it stands.
    pub(super) settings: Defaults,
    /// What may stand only where clients arrive.
    pub(super) frontend: Frontend,
    /// What may stand only where servers are.
    pub(super) backend: Backend,
    pub(super) table: Option<Table>,
    /// What its binds begin from, where that is not what all do.
    pub(super) tls: Option<TlsDefaults>,
}

impl Draft {
    /// Begins a proxy; one of kind `defaults` goes on from `defaults`, the others have them beside their own settings.
    pub(super) fn new(kind: Kind, name: Located<String>, defaults: Arc<Defaults>) -> Self {
        let mut settings = if kind == Kind::Defaults { Defaults::clone(&defaults) } else { Defaults::default() };
        // Rules hold through the defaults they stand in.
        settings.preset = Preset::default();
        settings.place = Some(name.location().clone());
        settings.name = Some(name.clone()).filter(|name| !name.is_empty());
        settings.checks.http.inherited = true;
        settings.checks.tcp.inherited = true;
        // Targets add up, and where none is written nothing is logged.
        settings.proxy.log.targets = Some(defaults.proxy.log.targets.clone().unwrap_or_default());
        let frontend = Frontend {
            name: name.clone(),
            defaults: Arc::clone(&defaults),
            proxy: Proxy::default(),
            binds: Vec::new(),
            default_backend: None,
            sni: Vec::new(),
            inspect_delay: None,
            monitor_uri: None,
            maxconn: None,
            backlog: None,
            rate_limit: None,
            acls: Vec::new(),
            rules: Vec::new(),
            xdp: None,
        };
        let backend = Backend {
            name: name.clone(),
            defaults,
            is_twin: kind == Kind::Listen,
            proxy: Proxy::default(),
            pool: Pool::default(),
            check: None,
            cookie: None,
            dynamic_cookie_key: None,
            retries: None,
            retry_on: None,
            acls: Vec::new(),
            rules: Vec::new(),
            source: None,
            default_server: ServerSettings::default(),
            servers: Vec::new(),
        };
        Self { kind, name, settings, frontend, backend, table: None, tls: None }
    }

    /// Makes what others begin from.
    pub(super) fn into_defaults(self) -> Defaults {
        let Self { settings, frontend, backend, .. } = self;
        let before = settings.heritage;
        let heritage = Heritage {
            monitor_uri: frontend.monitor_uri.or(before.monitor_uri),
            cookie: backend.cookie.or(before.cookie),
            dynamic_cookie_key: backend.dynamic_cookie_key.or(before.dynamic_cookie_key),
            source: backend.source.or(before.source),
        };
        Defaults { heritage, ..settings }
    }

    /// Moves everything to where it belongs.
    pub(super) fn finish(self, written: &mut Written, reader: &mut Reader) {
        let Self { kind, name, settings, frontend, backend, table, tls: _ } = self;
        if let Some(table) = table {
            if let Some(other) = written.tables.iter().find(|other| other.name.value() == table.name.value()) {
                let first = other.name.location();
                let error = Diagnostic::error(table.name.location(), format!("there is a table `{}` already", *table.name));
                reader.push(error.hint(format!("{}:{}", first.file(), first.line())));
            }
            written.tables.push(table);
        }
        let Defaults {
            name: _,
            place: _,
            proxy,
            maxconn,
            backlog,
            rate_limit,
            default_backend,
            pool,
            check,
            checks,
            retries,
            retry_on,
            default_server,
            heritage: _,
            preset: _,
        } = settings;
        let mode = proxy.mode.as_ref().or(frontend.defaults.proxy.mode.as_ref()).map(|mode| *mode.value());
        // What HTTP alone has is not for others.
        let heritage = frontend.defaults.heritage.clone();
        let of_http = if mode == Some(Mode::Http) { heritage.clone() } else { Heritage::default() };
        if kind.has_frontend() {
            if frontend.binds.is_empty() {
                reader.warn(name.location(), format!("{} `{name}` has no bind", kind.name()), "nobody can reach it");
            }
            let own = (kind == Kind::Listen && frontend.defaults.default_backend.is_none()).then(|| name.clone());
            let (proxy, default_backend) = (proxy.clone(), default_backend.or(own));
            let monitor_uri = frontend.monitor_uri.or(of_http.monitor_uri);
            written.frontends.push(Frontend { proxy, maxconn, backlog, rate_limit, default_backend, monitor_uri, ..frontend });
        }
        if kind.has_backend() {
            let sequence = sequence::of_proxy(&checks, &backend.defaults.checks, reader);
            let ready = |(sequence, recipe)| {
                let (sequence, recipe) = (Some(sequence), Some(Arc::new(recipe)));
                CheckSwitch::Ready(Located::new(CheckSettings { sequence, recipe, ..CheckSettings::default() }, name.location().clone()))
            };
            let check = check.or(sequence.map(ready));
            let (cookie, source) = (backend.cookie.or(of_http.cookie), backend.source.or(heritage.source));
            let dynamic_cookie_key = backend.dynamic_cookie_key.or(of_http.dynamic_cookie_key);
            let backend = Backend { cookie, dynamic_cookie_key, source, ..backend };
            written.backends.push(Backend { proxy, pool, check, retries, retry_on, default_server, ..backend });
        }
    }
}

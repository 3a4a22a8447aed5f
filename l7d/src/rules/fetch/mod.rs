//! Where samples come from: every name a rule can ask for, what it needs, and what it finds.

mod about;
mod access;
mod body;
mod connection;
mod content;
mod header;
mod state;
mod table;
mod tls;
mod uri;

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use about::{About, Whole};
pub(super) use access::Access;
pub(super) use body::{Body, BodyPart};
pub(super) use connection::{Connection, End, Measure, Scale};
pub(crate) use connection::{Ingress, ServerLine};
pub(super) use content::{Bytes, Origin};
pub(super) use header::{Cookie, Form, HeaderField, Side, values};
pub(super) use state::{ServerName, State};
pub(super) use table::{DERIVING, build, hexadecimal, names};
pub(super) use tls::Tls;
pub(super) use uri::Parameter;

use super::capture;
use super::sample::{Kind, Sample};
use super::stick::Question;
use super::view::{VariableId, View};
use crate::message::head::RequestHead;
use crate::stick::Table;

/// What must have arrived before a sample can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// Nothing but the connection.
    Connection,
    /// The first bytes of a connection.
    Content,
    /// The head of a request.
    Request,
    /// The head of a response.
    Response,
}

impl Needs {
    /// Returns what messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connection => "connections",
            Self::Content => "bytes of mode tcp",
            Self::Request => "requests",
            Self::Response => "responses",
        }
    }
}

/// A source of samples.
#[derive(Debug)]
pub(super) enum Fetch {
    Constant(Sample<'static>),
    Source,
    SourcePort,
    Destination,
    DestinationPort,
    IsTls,
    IsFirstRequest,
    FrontendName,
    BackendName,
    Method,
    Target(Part),
    RequestVersion,
    ResponseVersion,
    Status,
    Header(HeaderField),
    HeaderCount(HeaderField),
    HeaderNames {
        side: Side,
        delimiter: String,
    },
    Cookie(Cookie),
    CookieCount(Cookie),
    Parameter(Parameter),
    Variable {
        id: VariableId,
        default: Option<Sample<'static>>,
    },
    Date {
        offset: i64,
        unit: Unit,
    },
    Random {
        below: u32,
    },
    Uuid,
    /// What was seen of a body.
    Body(Body),
    /// Something in the first bytes of a connection.
    Bytes(Origin, Bytes),
    /// Something in a stick table.
    Question(Question),
    /// How many entries a table has.
    Entries(Arc<Table>),
    /// How many more it can have.
    FreeEntries(Arc<Table>),
    /// How busy something is.
    State(State),
    /// What is in a slot for log lines.
    Captured(Side, usize),
    /// Something of the first lines as they came.
    CapturedLine(capture::Line),
    /// Something about the TLS of a client's connection.
    Tls(Box<Tls>),
    /// Something about the TLS of a server's.
    ServerTls(Box<Tls>),
    /// Whether the connection of the client has failed, which it has not where rules ask.
    ConnectionError,
    /// Something of the process, a proxy or the connection.
    About(About),
    /// Something of the connections themselves.
    Connection(Connection),
    /// The name of the exchange.
    UniqueId,
    /// Who the sender of a request proves to be.
    Access(Box<Access>),
}

/// A part of a request's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Path,
    PathAndQuery,
    Query,
    Url,
    /// The host and the path.
    Base,
    /// The host, the path and the query.
    BaseAndQuery,
}

/// The unit of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
}

/// Which of several samples are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The one meant where one value is used.
    One,
    /// Each, until one is taken.
    Each,
}

impl Fetch {
    /// Returns the type of what it finds.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Constant(value) => value.kind(),
            Self::Source | Self::Destination => Kind::Address,
            Self::State(State::ServerIsUp(_)) => Kind::Bool,
            Self::State(_)
            | Self::SourcePort
            | Self::DestinationPort
            | Self::Status
            | Self::HeaderCount(_)
            | Self::CookieCount(_)
            | Self::Date { .. }
            | Self::Random { .. } => Kind::Int,
            Self::IsTls | Self::IsFirstRequest => Kind::Bool,
            Self::Header(field) => field.form.kind(),
            Self::Access(access) => access.kind(),
            Self::About(about) => about.kind(),
            Self::Connection(connection) => connection.kind(),
            Self::Tls(tls) | Self::ServerTls(tls) => tls.kind(),
            Self::ConnectionError => Kind::Int,
            Self::Body(body) => body.kind(),
            Self::Bytes(_, bytes) => bytes.kind(),
            Self::Question(question) => question.kind(),
            Self::Entries(_) | Self::FreeEntries(_) => Kind::Int,
            Self::Cookie(Cookie { form, .. }) | Self::Parameter(Parameter { form, .. }) => form.kind(),
            Self::FrontendName
            | Self::BackendName
            | Self::Method
            | Self::Target(_)
            | Self::RequestVersion
            | Self::ResponseVersion
            | Self::HeaderNames { .. }
            | Self::Captured(..)
            | Self::CapturedLine(_)
            | Self::UniqueId
            | Self::Uuid => Kind::Text,
            Self::Variable { .. } => Kind::Any,
        }
    }

    /// Returns what must have arrived before it finds anything.
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Constant(_)
            | Self::Connection(_)
            | Self::Captured(..)
            | Self::CapturedLine(_)
            | Self::UniqueId
            | Self::Tls(_)
            | Self::ServerTls(_)
            | Self::ConnectionError
            | Self::State(_)
            | Self::Source
            | Self::SourcePort
            | Self::Destination
            | Self::DestinationPort
            | Self::IsTls
            | Self::FrontendName
            | Self::BackendName
            | Self::Variable { .. }
            | Self::Date { .. }
            | Self::Random { .. }
            | Self::Uuid => Needs::Connection,
            Self::Access(_) | Self::IsFirstRequest | Self::Method | Self::Target(_) | Self::RequestVersion | Self::Parameter(_) => {
                Needs::Request
            }
            Self::About(about) => about.needs(),
            Self::ResponseVersion | Self::Status => Needs::Response,
            Self::Body(body) => body.side.needs(),
            Self::Bytes(origin, bytes) => bytes.needs(*origin),
            Self::Question(_) | Self::Entries(_) | Self::FreeEntries(_) => Needs::Connection,
            Self::Header(HeaderField { side, .. })
            | Self::HeaderCount(HeaderField { side, .. })
            | Self::HeaderNames { side, .. }
            | Self::Cookie(Cookie { side, .. })
            | Self::CookieCount(Cookie { side, .. }) => side.needs(),
        }
    }

    /// Returns the sample, or of several the one meant where one value is used.
    pub(super) fn one<'v>(&'v self, view: &View<'v>) -> Option<Sample<'v>> {
        let mut found = None;
        self.visit(view, Wanted::One, &mut |sample| {
            found = Some(sample);
            true
        });
        found
    }

    /// Hands out every sample until `takes` one; tells whether it did.
    pub(super) fn any<'v>(&'v self, view: &View<'v>, mut takes: impl FnMut(Sample<'v>) -> bool) -> bool {
        self.visit(view, Wanted::Each, &mut takes)
    }

    fn visit<'v>(&'v self, view: &View<'v>, wanted: Wanted, takes: &mut dyn FnMut(Sample<'v>) -> bool) -> bool {
        if let Self::Header(field) = self {
            return field.visit(view, wanted, takes);
        }
        if let Self::Cookie(cookie) = self {
            return cookie.visit(view, wanted, takes);
        }
        if let Self::Parameter(parameter) = self {
            return parameter.visit(view, wanted, takes);
        }
        if let Self::Body(body) = self {
            return body.visit(view, wanted, takes);
        }
        self.single(view).is_some_and(takes)
    }

    fn single<'v>(&'v self, view: &View<'v>) -> Option<Sample<'v>> {
        let scene = view.scene;
        Some(match self {
            Self::Constant(value) => value.borrowed(),
            Self::Source => Sample::Address(scene.source?.ip().to_canonical()),
            Self::SourcePort => Sample::Int(scene.source?.port().into()),
            Self::Destination => Sample::Address(scene.destination?.ip().to_canonical()),
            Self::DestinationPort => Sample::Int(scene.destination?.port().into()),
            Self::IsTls => Sample::Bool(scene.is_tls),
            Self::IsFirstRequest => Sample::Bool(scene.is_first),
            Self::FrontendName => Sample::text(scene.frontend.as_bytes()),
            Self::BackendName => Sample::text(scene.backend?.as_bytes()),
            Self::Method => Sample::text(view.request?.method_text()),
            Self::RequestVersion => Sample::text(number_of(view.request?.version())),
            Self::ResponseVersion => Sample::text(number_of(view.response?.version())),
            Self::Status => Sample::Int(view.response?.status().into()),
            Self::Variable { id, default } => view.variable(*id).or_else(|| default.as_ref().map(Sample::borrowed))?,
            Self::Date { offset, unit } => Sample::Int(unit.now()?.saturating_add(*offset)),
            Self::Random { below } => Sample::Int(fastrand::u32(..(*below).max(1)).into()),
            Self::Uuid => Sample::own(uuid(fastrand::u128(..)).into_bytes()),
            Self::HeaderCount(field) => Sample::Int(field.count(view)?),
            Self::CookieCount(cookie) => Sample::Int(cookie.count(view)?),
            Self::HeaderNames { side, delimiter } => Sample::own(header::names(side.headers(view)?, delimiter)),
            Self::Target(part) => part.of(view.request?)?,
            Self::Bytes(origin, bytes) => bytes.find(*origin, view)?,
            Self::Question(question) => question.answer(view)?,
            Self::Entries(table) => Sample::Int(i64::try_from(table.used()).ok()?),
            Self::FreeEntries(table) => Sample::Int(i64::try_from(table.size().saturating_sub(table.used())).ok()?),
            Self::State(State::ServerIsUp(name)) => Sample::Bool(name.is_up(view)?),
            Self::State(state) => Sample::Int(state.find(view)?),
            Self::Access(access) => access.find(view)?,
            Self::Tls(tls) if matches!(**tls, Tls::HasEarlyData) => Sample::Bool(view.memory.is_early),
            Self::Tls(tls) => tls.find(view.memory.tls.as_deref())?,
            Self::ServerTls(tls) => tls.find(view.memory.server_tls.as_deref())?,
            Self::ConnectionError => Sample::Int(0),
            Self::UniqueId => Sample::own(view.unique_id()?),
            Self::About(about) => about.find(view)?,
            Self::Connection(connection) => connection.find(view)?,
            Self::Captured(side, number) => capture::of_slot(view, *side, *number)?,
            Self::CapturedLine(part) => capture::of_line(view, *part)?,
            Self::Header(_) | Self::Cookie(_) | Self::Parameter(_) | Self::Body(_) => return None,
        })
    }
}

impl Part {
    fn of(self, head: &RequestHead) -> Option<Sample<'_>> {
        let target = head.target_parts();
        let present = |text: &'_ [u8]| !text.is_empty();
        Some(match self {
            Self::Path => Sample::text(Some(target.path).filter(|path| present(path))?),
            Self::PathAndQuery => Sample::text(Some(target.path_and_query(head.target())).filter(|text| present(text))?),
            Self::Query => Sample::text(target.query?),
            Self::Url => Sample::text(head.target()),
            Self::Base => uri::base(head, target.path),
            Self::BaseAndQuery => uri::base(head, target.path_and_query(head.target())),
        })
    }
}

impl Unit {
    fn now(self) -> Option<i64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        match self {
            Self::Seconds => i64::try_from(now.as_secs()).ok(),
            Self::Milliseconds => i64::try_from(now.as_millis()).ok(),
            Self::Microseconds => i64::try_from(now.as_micros()).ok(),
        }
    }
}

fn number_of(version: crate::message::head::Version) -> &'static [u8] {
    version.as_str().strip_prefix("HTTP/").unwrap_or_default().as_bytes()
}

/// Returns the name of this host.
pub(crate) fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned())
}

/// Prints a random number as an identifier of version 4 (RFC 9562 section 5.4).
fn uuid(random: u128) -> String {
    let value = (random & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let digits = format!("{value:032x}");
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_their_version_and_variant() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}

//! The variables of log formats: values with a short name, such as `%ci`.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::encode;
use super::facts::{Facts, Steps};
use crate::date::{Common, Web, Zone};
use crate::peer::Peer;
use crate::rules::capture;
use crate::rules::converter::hex;
use crate::rules::fetch::{Needs, Side, hostname};
use crate::rules::view::View;

/// A value with a short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Address(End),
    Port(End),
    Frontend,
    /// With a tilde where TLS came in.
    FrontendAndTransport,
    Backend,
    Server,
    Hostname,
    Process,
    Line(Part),
    Date(Moment, Form),
    /// Since the epoch, of when the client came.
    Seconds,
    /// What the seconds leave.
    Milliseconds,
    Origin,
    Step(Step),
    Count(Count),
    Captures(Side, Shape),
    Cookie(Side),
    Status,
    BytesReceived,
    BytesSent,
    Termination,
    TerminationAndCookie,
    TlsVersion,
    TlsCipher,
    UniqueId,
}

/// An end of one of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Frontend,
    Backend,
    Server,
}

/// A part of the request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Method,
    /// All of the target but the query.
    Path,
    /// Without the host, too.
    PathAlone,
    Query,
    Uri,
    Version,
}

/// A moment in an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Accepted,
    Began,
}

/// How a moment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Common,
    Web(Zone),
}

/// How long something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Handshake,
    Idle,
    Request,
    RequestFromAccept,
    Queue,
    Connect,
    Response,
    Data,
    Active,
    User,
    Session,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Process,
    Frontend,
    Backend,
    Server,
    Retries,
    ServerQueue,
    BackendQueue,
    Exchange,
    Lines,
}

/// How captured fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// In braces, bars between them.
    Braces,
    /// Apart from each other.
    List,
}

/// When a value is known, and of which traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// As soon as there is a connection.
    Connection,
    /// With a request.
    Request,
    /// With a response.
    Response,
    /// At the end.
    AtEnd,
    /// At the end of a request.
    RequestEnd,
}

use Known::{AtEnd, Connection, Request, RequestEnd, Response};

/// Every name with its variable and when that is known.
pub(super) const VARIABLES: [(&str, Variable, Known); 64] = [
    ("B", Variable::BytesSent, AtEnd),
    ("CC", Variable::Cookie(Side::Request), RequestEnd),
    ("CS", Variable::Cookie(Side::Response), RequestEnd),
    ("H", Variable::Hostname, Connection),
    ("HM", Variable::Line(Part::Method), Request),
    ("HP", Variable::Line(Part::Path), Request),
    ("HPO", Variable::Line(Part::PathAlone), Request),
    ("HQ", Variable::Line(Part::Query), Request),
    ("HU", Variable::Line(Part::Uri), Request),
    ("HV", Variable::Line(Part::Version), Request),
    ("ID", Variable::UniqueId, Connection),
    ("OG", Variable::Origin, AtEnd),
    ("ST", Variable::Status, Response),
    ("T", Variable::Date(Moment::Accepted, Form::Web(Zone::Utc)), Connection),
    ("TR", Variable::Step(Step::Request), RequestEnd),
    ("Ta", Variable::Step(Step::Active), RequestEnd),
    ("Tc", Variable::Step(Step::Connect), AtEnd),
    ("Td", Variable::Step(Step::Data), AtEnd),
    ("Th", Variable::Step(Step::Handshake), AtEnd),
    ("Ti", Variable::Step(Step::Idle), RequestEnd),
    ("Tl", Variable::Date(Moment::Accepted, Form::Web(Zone::Local)), Connection),
    ("Tq", Variable::Step(Step::RequestFromAccept), RequestEnd),
    ("Tr", Variable::Step(Step::Response), RequestEnd),
    ("Ts", Variable::Seconds, Connection),
    ("Tt", Variable::Step(Step::Session), AtEnd),
    ("Tu", Variable::Step(Step::User), AtEnd),
    ("Tw", Variable::Step(Step::Queue), AtEnd),
    ("U", Variable::BytesReceived, AtEnd),
    ("ac", Variable::Count(Count::Process), AtEnd),
    ("b", Variable::Backend, Connection),
    ("bc", Variable::Count(Count::Backend), AtEnd),
    ("bi", Variable::Address(End::Backend), AtEnd),
    ("bp", Variable::Port(End::Backend), AtEnd),
    ("bq", Variable::Count(Count::BackendQueue), AtEnd),
    ("ci", Variable::Address(End::Client), Connection),
    ("cp", Variable::Port(End::Client), Connection),
    ("f", Variable::Frontend, Connection),
    ("fc", Variable::Count(Count::Frontend), AtEnd),
    ("fi", Variable::Address(End::Frontend), Connection),
    ("fp", Variable::Port(End::Frontend), Connection),
    ("ft", Variable::FrontendAndTransport, Connection),
    ("hr", Variable::Captures(Side::Request, Shape::Braces), AtEnd),
    ("hrl", Variable::Captures(Side::Request, Shape::List), AtEnd),
    ("hs", Variable::Captures(Side::Response, Shape::Braces), AtEnd),
    ("hsl", Variable::Captures(Side::Response, Shape::List), AtEnd),
    ("lc", Variable::Count(Count::Lines), AtEnd),
    ("ms", Variable::Milliseconds, Connection),
    ("pid", Variable::Process, Connection),
    ("r", Variable::Line(Part::Whole), Request),
    ("rc", Variable::Count(Count::Retries), AtEnd),
    ("rt", Variable::Count(Count::Exchange), Connection),
    ("s", Variable::Server, AtEnd),
    ("sc", Variable::Count(Count::Server), AtEnd),
    ("si", Variable::Address(End::Server), AtEnd),
    ("sp", Variable::Port(End::Server), AtEnd),
    ("sq", Variable::Count(Count::ServerQueue), AtEnd),
    ("sslc", Variable::TlsCipher, AtEnd),
    ("sslv", Variable::TlsVersion, AtEnd),
    ("t", Variable::Date(Moment::Accepted, Form::Common), Connection),
    ("tr", Variable::Date(Moment::Began, Form::Common), Request),
    ("trg", Variable::Date(Moment::Began, Form::Web(Zone::Utc)), Request),
    ("trl", Variable::Date(Moment::Began, Form::Web(Zone::Local)), Request),
    ("ts", Variable::Termination, AtEnd),
    ("tsc", Variable::TerminationAndCookie, AtEnd),
];

/// How a value is printed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// Text in quotes.
    pub(super) quote: bool,
    /// Text with a backslash before quotes, backslashes and closing brackets.
    pub(super) escape: bool,
    /// Addresses and some numbers in hexadecimal.
    pub(super) hex: bool,
}

impl Known {
    /// Returns what a rule must have seen to know the value; none if no rule does.
    pub(super) fn needs(self) -> Option<Needs> {
        match self {
            Self::Connection => Some(Needs::Connection),
            Self::Request => Some(Needs::Request),
            Self::Response => Some(Needs::Response),
            Self::AtEnd | Self::RequestEnd => None,
        }
    }

    /// Tells whether the value is one of requests, which mode tcp has not.
    pub(super) fn is_http(self) -> bool {
        matches!(self, Self::Request | Self::Response | Self::RequestEnd)
    }
}

impl Variable {
    /// Tells whether quotes may enclose the value.
    pub(super) fn is_text(self) -> bool {
        match self {
            Self::Address(_) | Self::Backend | Self::Cookie(_) | Self::Frontend | Self::FrontendAndTransport | Self::Hostname => true,
            Self::Line(_) | Self::Server | Self::TlsCipher | Self::TlsVersion | Self::UniqueId => true,
            Self::BytesReceived | Self::BytesSent | Self::Captures(..) | Self::Count(_) | Self::Date(..) | Self::Milliseconds => false,
            Self::Origin | Self::Port(_) | Self::Process | Self::Seconds | Self::Status | Self::Step(_) | Self::Termination => false,
            Self::TerminationAndCookie => false,
        }
    }

    /// Tells whether the value is a whole number.
    pub(super) fn is_number(self) -> bool {
        match self {
            Self::BytesReceived | Self::BytesSent | Self::Count(_) | Self::Milliseconds | Self::Port(_) | Self::Process => true,
            Self::Seconds | Self::Status | Self::Step(_) => true,
            Self::Address(_) | Self::Backend | Self::Cookie(_) | Self::Frontend | Self::FrontendAndTransport | Self::Hostname => false,
            Self::Captures(..) | Self::Date(..) | Self::Line(_) | Self::Server | Self::Termination | Self::TerminationAndCookie => false,
            Self::Origin | Self::TlsCipher | Self::TlsVersion | Self::UniqueId => false,
        }
    }

    /// Tells whether it asks for the addresses of connections beside the client's.
    pub(super) fn asks_ends(self) -> bool {
        matches!(self, Self::Address(end) | Self::Port(end) if end != End::Client)
    }

    /// Tells whether it asks for what costs counting.
    pub(super) fn asks_numbers(self) -> bool {
        matches!(self, Self::Count(Count::Exchange | Count::Lines))
    }

    /// Appends the value as rules know it, while the exchange goes on; nothing where they do not.
    pub(super) fn write_now(self, view: &View<'_>, flags: Flags, out: &mut Vec<u8>) {
        let scene = view.scene;
        match self {
            Self::Address(end) => address(end_now(end, view).map(|end| end.ip()), flags, out),
            Self::Port(end) => port(end_now(end, view).map(|end| end.port()), flags, out),
            Self::Frontend => out.extend_from_slice(scene.frontend.as_bytes()),
            Self::Backend => out.extend_from_slice(scene.backend.unwrap_or(scene.frontend).as_bytes()),
            Self::Hostname => out.extend_from_slice(hostname().as_bytes()),
            Self::Seconds => seconds(SystemTime::now(), flags, out),
            Self::Milliseconds => milliseconds(SystemTime::now(), flags, out),
            Self::Process => number(std::process::id().into(), flags, out),
            Self::Status => {
                if let Some(head) = view.response {
                    put(out, head.status());
                }
            }
            Self::Line(part) => write_request(part, view, out),
            Self::UniqueId => out.extend_from_slice(&view.unique_id().unwrap_or_default()),
            Self::Count(Count::Exchange) => number(view.memory.number().into(), flags, out),
            Self::Date(_, form) => date(SystemTime::now(), form, out),
            Self::FrontendAndTransport => {
                out.extend_from_slice(scene.frontend.as_bytes());
                if scene.is_tls {
                    out.push(b'~');
                }
            }
            Self::BytesReceived | Self::BytesSent | Self::Captures(..) | Self::Cookie(_) | Self::Count(_) | Self::Origin => {}
            Self::Server | Self::Step(_) | Self::Termination | Self::TerminationAndCookie | Self::TlsCipher | Self::TlsVersion => {}
        }
    }

    /// Appends the value as it was in the end.
    pub(super) fn write_end(self, view: &View<'_>, facts: &Facts<'_>, flags: Flags, out: &mut Vec<u8>) {
        match self {
            Self::Address(end) => match (end, facts.client) {
                (End::Client, Peer::Unix(_)) => out.extend_from_slice(b"unix"),
                _ => address(end_of(end, facts).map(|end| end.ip()), flags, out),
            },
            Self::Port(end) => match (end, facts.client) {
                (End::Client, Peer::Unix(number)) => put(out, number),
                _ => port(end_of(end, facts).map(|end| end.port()), flags, out),
            },
            Self::Frontend => out.extend_from_slice(facts.frontend.as_bytes()),
            Self::FrontendAndTransport => {
                out.extend_from_slice(facts.frontend.as_bytes());
                if facts.tls.is_some() {
                    out.push(b'~');
                }
            }
            Self::Backend => out.extend_from_slice(facts.backend.as_bytes()),
            Self::Server => out.extend_from_slice(facts.server.unwrap_or("<NOSRV>").as_bytes()),
            Self::Hostname => out.extend_from_slice(hostname().as_bytes()),
            Self::Process => number(std::process::id().into(), flags, out),
            Self::Origin => out.extend_from_slice(facts.origin.as_bytes()),
            Self::Status => put(out, facts.status.map_or(-1, i32::from)),
            Self::BytesSent => put(out, facts.sent),
            Self::BytesReceived => put(out, facts.received),
            Self::Termination => out.extend_from_slice(facts.termination.as_bytes()),
            Self::TerminationAndCookie => {
                out.extend_from_slice(facts.termination.as_bytes());
                out.extend_from_slice(&facts.cookies);
            }
            Self::Count(count) => write_count(count, facts, flags, out),
            Self::Step(step) => time(step.of(&facts.steps), out),
            Self::Line(part) => write_line(part, facts.line, out),
            Self::Date(moment, form) => write_date(moment, form, facts, out),
            Self::Seconds => seconds(facts.accepted, flags, out),
            Self::Milliseconds => milliseconds(facts.accepted, flags, out),
            Self::TlsVersion => out.extend_from_slice(facts.tls.map_or("", |tls| tls.version).as_bytes()),
            Self::TlsCipher => out.extend_from_slice(facts.tls.map_or("", |tls| tls.cipher).as_bytes()),
            Self::Captures(side, Shape::Braces) => write_braces(side, view, flags, out),
            Self::Captures(side, Shape::List) => write_list(side, view, flags, out),
            Self::Cookie(side) => capture::cookie(view, side, |cookie| encode::plain(cookie, out)),
            Self::UniqueId => encode::sample(&view.unique_id().unwrap_or_default(), out),
        }
    }
}

/// Appends what was kept of a message in braces, with bars between.
fn write_braces(side: Side, view: &View<'_>, flags: Flags, out: &mut Vec<u8>) {
    let (start, mut mark) = (out.len(), b'{');
    let any = capture::each(view, side, |text| {
        out.push(std::mem::replace(&mut mark, b'|'));
        encode::captured(text.unwrap_or_default(), out);
    });
    if any {
        out.push(b'}');
        flags.dress(out, start);
    }
}

/// Appends what was kept of a message, each text by itself.
fn write_list(side: Side, view: &View<'_>, flags: Flags, out: &mut Vec<u8>) {
    let mut is_first = true;
    capture::each(view, side, |text| {
        if !std::mem::replace(&mut is_first, false) {
            out.push(b' ');
        }
        let start = out.len();
        match text {
            Some(text) => encode::captured(text, out),
            None if flags.quote => {}
            None => out.push(b'-'),
        }
        flags.dress(out, start);
    });
}

impl Step {
    /// Returns how long it took.
    fn of(self, steps: &Steps) -> Option<Duration> {
        match self {
            Self::Handshake => Some(steps.handshake),
            Self::Idle => Some(steps.idle),
            Self::Request => steps.request,
            Self::RequestFromAccept => steps.request.map(|request| steps.handshake + steps.idle + request),
            Self::Queue => steps.queue,
            Self::Connect => steps.connect,
            Self::Response => steps.response,
            Self::Data => steps.data,
            Self::Active => Some(steps.active),
            Self::User => Some(steps.handshake + steps.active),
            Self::Session => Some(steps.handshake + steps.idle + steps.active),
        }
    }
}

fn end_now(end: End, view: &View<'_>) -> Option<SocketAddr> {
    match end {
        End::Client => view.scene.source,
        End::Frontend => view.scene.destination,
        End::Backend | End::Server => None,
    }
}

fn end_of(end: End, facts: &Facts<'_>) -> Option<SocketAddr> {
    match end {
        End::Client => facts.client.inet(),
        End::Frontend => facts.ends.frontend,
        End::Backend => facts.ends.backend,
        End::Server => facts.ends.server,
    }
}

fn write_request(part: Part, view: &View<'_>, out: &mut Vec<u8>) {
    let Some(head) = view.request else { return };
    let (method, target, version) = (head.method_text(), head.target(), head.version().as_str().as_bytes());
    match part {
        Part::Method => out.extend_from_slice(method),
        Part::Path | Part::PathAlone => out.extend_from_slice(head.target_parts().path),
        Part::Query => out.extend_from_slice(query(target)),
        Part::Uri => out.extend_from_slice(target),
        Part::Version => out.extend_from_slice(version),
        Part::Whole => [method, b" ", target, b" ", version].iter().for_each(|part| out.extend_from_slice(part)),
    }
}

fn write_count(count: Count, facts: &Facts<'_>, flags: Flags, out: &mut Vec<u8>) {
    let counts = &facts.counts;
    let value = match count {
        Count::Process => counts.process,
        Count::Frontend => counts.frontend,
        Count::Backend => counts.backend,
        Count::Server => counts.server,
        Count::ServerQueue => counts.server_queue,
        Count::BackendQueue => counts.backend_queue,
        Count::Lines => counts.lines,
        Count::Exchange => return number(counts.exchange.into(), flags, out),
        Count::Retries => {
            if counts.redispatched {
                out.push(b'+');
            }
            counts.retries.into()
        }
    };
    put(out, value);
}

fn write_date(moment: Moment, form: Form, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let at = match moment {
        Moment::Accepted => facts.accepted,
        Moment::Began => facts.began,
    };
    date(at, form, out);
}

fn date(at: SystemTime, form: Form, out: &mut Vec<u8>) {
    match form {
        Form::Common => Common(at).append(out),
        Form::Web(zone) => write!(out, "{}", Web(at, zone)).expect("a vector takes everything"),
    }
}

/// Appends a part of the request line.
fn write_line(part: Part, line: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(line) = line else { return out.extend_from_slice(b"<BADREQ>") };
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let [method, target, version] = std::array::from_fn(|_| words.next().unwrap_or_default());
    let path = &target[..target.len() - query(target).len()];
    let text = match part {
        Part::Whole => line,
        Part::Method => method,
        Part::Path => path,
        Part::PathAlone => without_origin(path),
        Part::Query => query(target),
        Part::Uri => target,
        Part::Version => version,
    };
    encode::plain(text, out);
}

/// Returns the query of a target, with its question mark.
fn query(target: &[u8]) -> &[u8] {
    let start = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    &target[start..]
}

/// Returns the path of a target without the scheme and the host before it.
fn without_origin(path: &[u8]) -> &[u8] {
    if path.starts_with(b"/") {
        return path;
    }
    let Some(host) = path.windows(3).position(|window| window == b"://") else { return path };
    let rest = &path[host + 3..];
    rest.iter().position(|byte| *byte == b'/').map_or(&[], |slash| &rest[slash..])
}

fn address(address: Option<IpAddr>, flags: Flags, out: &mut Vec<u8>) {
    match address.map(|address| address.to_canonical()) {
        None => {}
        Some(IpAddr::V4(address)) if !flags.hex => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                put(out, octet);
            }
        }
        Some(IpAddr::V6(address)) if !flags.hex => write!(out, "{address}").expect("a vector takes everything"),
        Some(IpAddr::V4(address)) => out.extend(hex(&address.octets())),
        Some(IpAddr::V6(address)) => out.extend(hex(&address.octets())),
    }
}

fn port(port: Option<u16>, flags: Flags, out: &mut Vec<u8>) {
    if let Some(port) = port {
        number(port.into(), flags, out);
    }
}

fn number(value: u64, flags: Flags, out: &mut Vec<u8>) {
    if flags.hex { write!(out, "{value:04X}").expect("a vector takes everything") } else { put(out, value) }
}

fn seconds(at: SystemTime, flags: Flags, out: &mut Vec<u8>) {
    number(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(), flags, out);
}

fn milliseconds(at: SystemTime, flags: Flags, out: &mut Vec<u8>) {
    let value = at.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    let written = if flags.hex { write!(out, "{value:02X}") } else { write!(out, "{value:03}") };
    written.expect("a vector takes everything");
}

/// Appends a duration in milliseconds, or -1 for what did not happen.
fn time(duration: Option<Duration>, out: &mut Vec<u8>) {
    match duration {
        Some(duration) => put(out, duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis().into())),
        None => out.extend_from_slice(b"-1"),
    }
}

/// Appends a number; a line has twenty of them, for which the machinery of [`std::fmt`] is slow.
fn put(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

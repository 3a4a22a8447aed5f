//! The connections of an exchange themselves: their ends, whatever rules say of these, and how their packets fare.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::about::is_local;
use crate::proxy_header;
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::View;
use crate::site::Door;
use crate::socket::{self, Measures};

/// Something of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Connection {
    Address(End),
    Port(End),
    IsLocal(End),
    /// Whether the client came by another proxy, which said so.
    CameByProxy,
    /// The name of the bind that the client came in by.
    DoorName,
    /// What an extension of the PROXY header says.
    Extension(u8),
    /// The version of HTTP on the wire to the server.
    ServerVersion,
    /// How the packets of the client fare.
    Measured(Measure),
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum End {
    /// The client.
    Source,
    /// Where the client connected to.
    Destination,
    /// Where the connection to the server comes from.
    ServerSource,
    /// The server.
    Server,
}

/// What the system measures of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Measure {
    /// How long an answer of the peer takes.
    RoundTrip(Scale),
    /// How much that varies.
    Variance(Scale),
    Unacknowledged,
    Sacked,
    Lost,
    Retransmitted,
    ForwardAcknowledged,
    Reordering,
}

/// In which unit a time is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Scale {
    Milliseconds,
    Microseconds,
}

/// How a client came in, as long as rules ask.
#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    /// The name of the bind.
    name: Option<Box<str>>,
    /// Both ends of the connection before a PROXY header or a rule said otherwise, once one has.
    origin: Option<(Option<SocketAddr>, Option<SocketAddr>)>,
    by_proxy: bool,
    /// Those of its PROXY header.
    extensions: Box<[u8]>,
}

/// The connection to a server, where rules ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerLine {
    /// This end of it.
    pub(crate) local: Option<SocketAddr>,
    /// The server's end.
    pub(crate) peer: Option<SocketAddr>,
    /// The version of HTTP.
    pub(crate) version: u8,
}

impl Ingress {
    /// Notes by which door a client comes in.
    pub(crate) fn new(door: &Door) -> Self {
        Self { name: door.name().map(Into::into), origin: None, by_proxy: false, extensions: Box::default() }
    }

    /// Notes both ends of the connection, of which something else is going to be said.
    pub(crate) fn keep(&mut self, ends: (Option<SocketAddr>, Option<SocketAddr>)) {
        self.origin.get_or_insert(ends);
    }

    /// Notes both ends of the connection, whose PROXY header was read, with its extensions.
    pub(crate) fn keep_before_proxy(&mut self, ends: (Option<SocketAddr>, Option<SocketAddr>), extensions: Box<[u8]>) {
        (self.by_proxy, self.extensions) = (true, extensions);
        self.keep(ends);
    }
}

impl Connection {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Address(_) => Kind::Address,
            Self::Port(_) | Self::ServerVersion | Self::Measured(_) => Kind::Int,
            Self::IsLocal(_) | Self::CameByProxy => Kind::Bool,
            Self::DoorName | Self::Extension(_) => Kind::Text,
        }
    }

    pub(super) fn find<'v>(self, view: &View<'v>) -> Option<Sample<'v>> {
        let memory = view.memory;
        Some(match self {
            Self::Address(end) => Sample::Address(end.of(view)?.ip().to_canonical()),
            Self::Port(end) => Sample::Int(end.of(view)?.port().into()),
            // A client of a Unix socket is on this host.
            Self::IsLocal(end) => Sample::Bool(end.of(view).is_none_or(|address| is_local(address.ip()))),
            Self::CameByProxy => Sample::Bool(memory.entry.as_ref()?.by_proxy),
            Self::DoorName => Sample::text(memory.entry.as_ref()?.name.as_deref()?.as_bytes()),
            Self::Extension(kind) => Sample::text(proxy_header::extension(&memory.entry.as_ref()?.extensions, kind)?),
            Self::ServerVersion => Sample::Int(memory.server_line?.version.into()),
            Self::Measured(measure) => Sample::Int(measure.of(&socket::measures(memory.line.as_ref()?.as_fd())?)),
        })
    }
}

impl End {
    fn of(self, view: &View<'_>) -> Option<SocketAddr> {
        let origin = view.memory.entry.as_ref().and_then(|entry| entry.origin);
        let (source, destination) = origin.unwrap_or((view.scene.source, view.scene.destination));
        match self {
            Self::Source => source,
            Self::Destination => destination,
            Self::ServerSource => view.memory.server_line?.local,
            Self::Server => view.memory.server_line?.peer,
        }
    }
}

impl Measure {
    fn of(self, measures: &Measures) -> i64 {
        match self {
            Self::RoundTrip(scale) => scale.of(measures.round_trip),
            Self::Variance(scale) => scale.of(measures.variance),
            Self::Unacknowledged => measures.unacknowledged.into(),
            Self::Sacked => measures.sacked.into(),
            Self::Lost => measures.lost.into(),
            Self::Retransmitted => measures.retransmitted.into(),
            Self::ForwardAcknowledged => measures.forward_acknowledged.into(),
            Self::Reordering => measures.reordering.into(),
        }
    }
}

impl Scale {
    fn of(self, microseconds: u32) -> i64 {
        i64::from(match self {
            Self::Milliseconds => microseconds / 1000,
            Self::Microseconds => microseconds,
        })
    }
}

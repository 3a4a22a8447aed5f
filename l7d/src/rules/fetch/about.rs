//! What is known of the process, the proxies and the connection beside their messages.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use control::config::{HashFunction, Location, Timeout};

use super::Part;
use crate::balance::Hasher;
use crate::compress::name_of;
use crate::idle;
use crate::message::head::{RequestHead, Version};
use crate::message::headers::{Headers, Known};
use crate::peers::codec::number;
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::View;
use crate::stats;

/// Something of the process, a proxy or a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum About {
    /// How many connections the process serves.
    Connections,
    Process,
    /// There is one.
    Processes,
    IsStopping,
    /// Whether QUIC may be spoken, which nothing turns off.
    SpeaksQuic,
    /// What the seconds of the date leave, in microseconds.
    Microseconds,
    DefaultBackend,
    /// The name of the server that has answered.
    ServerName,
    ClientTimeout,
    /// Of the backend, whatever rules say.
    BackendTimeout(Timeout),
    /// As it is in force.
    CurrentTimeout(Timeout),
    /// The version of HTTP on the client's wire.
    WireVersion,
    SourceIsLocal,
    DestinationIsLocal,
    /// A number made of the host and the path.
    Hash(Whole),
    /// The same, and the client's address behind it.
    HashAndSource(Whole),
    /// The address that a target names in place of a host.
    TargetAddress,
    /// The port behind it.
    TargetPort,
    /// The file of the last rule that decided.
    LastRuleFile,
    /// The line of it.
    LastRuleLine,
    RequestFields,
    ResponseFields,
    /// Whether a cache has answered.
    IsFromCache,
    /// Which cache has answered.
    CacheName,
    /// The fields, each name and value behind its length.
    RequestPacked,
    ResponsePacked,
    /// Whether the response was compressed on its way.
    IsCompressed,
    /// In which coding.
    Compression,
    /// The place of the server in its backend, counted from 1.
    ServerNumber,
    /// The thread that serves, counted from 0.
    Thread,
}

/// How much of a target is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Whole {
    WithoutQuery,
    WithQuery,
}

impl About {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::IsCompressed
            | Self::IsFromCache
            | Self::IsStopping
            | Self::SpeaksQuic
            | Self::SourceIsLocal
            | Self::DestinationIsLocal => Kind::Bool,
            Self::CacheName
            | Self::Compression
            | Self::DefaultBackend
            | Self::ServerName
            | Self::RequestFields
            | Self::ResponseFields
            | Self::LastRuleFile => Kind::Text,
            Self::HashAndSource(_) | Self::RequestPacked | Self::ResponsePacked => Kind::Binary,
            Self::TargetAddress => Kind::Address,
            Self::Connections
            | Self::Process
            | Self::Processes
            | Self::Microseconds
            | Self::ClientTimeout
            | Self::BackendTimeout(_)
            | Self::CurrentTimeout(_)
            | Self::WireVersion
            | Self::Hash(_)
            | Self::LastRuleLine
            | Self::ServerNumber
            | Self::Thread
            | Self::TargetPort => Kind::Int,
        }
    }

    pub(super) fn needs(self) -> super::Needs {
        match self {
            Self::Hash(_) | Self::HashAndSource(_) | Self::TargetAddress | Self::TargetPort | Self::RequestFields | Self::RequestPacked => {
                super::Needs::Request
            }
            Self::ResponseFields | Self::ResponsePacked => super::Needs::Response,
            Self::Connections
            | Self::Process
            | Self::Processes
            | Self::IsStopping
            | Self::SpeaksQuic
            | Self::Microseconds
            | Self::DefaultBackend
            | Self::ServerName
            | Self::ClientTimeout
            | Self::BackendTimeout(_)
            | Self::CurrentTimeout(_)
            | Self::WireVersion
            | Self::SourceIsLocal
            | Self::ServerNumber
            | Self::Thread
            | Self::LastRuleFile
            | Self::LastRuleLine
            | Self::IsFromCache
            | Self::CacheName
            | Self::IsCompressed
            | Self::Compression
            | Self::DestinationIsLocal => super::Needs::Connection,
        }
    }

    pub(super) fn find<'v>(self, view: &View<'v>) -> Option<Sample<'v>> {
        let scene = view.scene;
        Some(match self {
            Self::Connections => Sample::Int(scene.site?.connections().0.into()),
            Self::Process => Sample::Int(std::process::id().into()),
            Self::Processes => Sample::Int(1),
            Self::IsStopping => Sample::Bool(idle::is_draining()),
            Self::SpeaksQuic => Sample::Bool(true),
            Self::Microseconds => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
                Sample::Int(now.subsec_micros().into())
            }
            Self::DefaultBackend => Sample::text(scene.site?.default_backend()?.name().as_bytes()),
            Self::ServerName => Sample::text(scene.server?.as_bytes()),
            Self::ClientTimeout => milliseconds(scene.site?.timeouts().of(Timeout::Client)?)?,
            Self::BackendTimeout(timeout) => milliseconds(of_backend(view, timeout)?)?,
            Self::CurrentTimeout(timeout) => {
                let wishes = &view.memory.wishes;
                let set = if timeout == Timeout::Tunnel { wishes.tunnel_timeout } else { wishes.server_timeout };
                milliseconds(set.or_else(|| of_backend(view, timeout))?)?
            }
            Self::WireVersion => Sample::Int(match view.request.map(|head| head.version()) {
                Some(Version::Http3) => 3,
                Some(Version::Http2) => 2,
                Some(Version::Http11 | Version::Http10) | None => 1,
            }),
            // A client of a Unix socket is on this host.
            Self::SourceIsLocal => Sample::Bool(scene.source.is_none_or(|source| is_local(source.ip()))),
            Self::DestinationIsLocal => Sample::Bool(scene.destination.is_none_or(|destination| is_local(destination.ip()))),
            Self::Hash(whole) => Sample::Int(hash(view.request?, whole)?.into()),
            Self::HashAndSource(whole) => {
                let number = hash(view.request?, whole)?.to_be_bytes();
                let address = Sample::Address(scene.source?.ip().to_canonical());
                Sample::Binary([&number[..], &address.to_binary()].concat().into())
            }
            Self::TargetAddress => Sample::Address(endpoint(view.request?)?.0),
            Self::TargetPort => Sample::Int(endpoint(view.request?)?.1.into()),
            Self::LastRuleFile => Sample::text(last_rule(view)?.file().as_bytes()),
            Self::LastRuleLine => Sample::Int(i64::try_from(last_rule(view)?.line()).ok()?),
            Self::RequestFields => Sample::own(fields(&view.request?.headers)),
            Self::ResponseFields => Sample::own(fields(&view.response?.headers)),
            Self::RequestPacked => Sample::Binary(packed(&view.request?.headers).into()),
            Self::ResponsePacked => Sample::Binary(packed(&view.response?.headers).into()),
            Self::IsCompressed => Sample::Bool(view.memory.compressed.is_some()),
            Self::Compression => Sample::text(name_of(view.memory.compressed?)),
            Self::ServerNumber => {
                let servers = scene.site?.pool(scene.backend?.as_bytes())?.servers();
                let place = servers.iter().position(|server| Some(server.name()) == scene.server)?;
                Sample::Int(i64::try_from(place + 1).ok()?)
            }
            Self::Thread => Sample::Int(i64::try_from(stats::thread()?).ok()?),
            Self::IsFromCache => Sample::Bool(view.memory.cached.by.is_some()),
            Self::CacheName => Sample::text(view.memory.cached.by.as_ref().map_or(b"", |cache| cache.name().as_bytes())),
        })
    }
}

/// Returns where the last rule that decided was written.
fn last_rule<'v>(view: &View<'v>) -> Option<&'v Location> {
    let rule = view.memory.last_rule()?;
    view.scene.site?.rules().source(rule)
}

fn milliseconds<'v>(time: Duration) -> Option<Sample<'v>> {
    i64::try_from(time.as_millis()).ok().map(Sample::Int)
}

fn of_backend(view: &View<'_>, timeout: Timeout) -> Option<Duration> {
    view.scene.site?.pool(view.scene.backend?.as_bytes())?.timeouts().of(timeout)
}

/// Tells whether an address is one of this host: only then can something be bound to it.
pub(super) fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address.to_canonical(), 0)).is_ok()
}

fn hash(head: &RequestHead, whole: Whole) -> Option<u32> {
    let part = if whole == Whole::WithQuery { Part::BaseAndQuery } else { Part::Base };
    let base = part.of(head)?;
    Some(Hasher::of(HashFunction::Sdbm, true).text(&base.to_bytes()))
}

/// Returns the address and the port that a target names.
fn endpoint(head: &RequestHead) -> Option<(IpAddr, u16)> {
    let authority = head.target_parts().authority()?;
    let text = str::from_utf8(authority).ok()?;
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Some((both.ip(), both.port()));
    }
    Some((text.trim_start_matches('[').trim_end_matches(']').parse().ok()?, 80))
}

/// Prints all fields but what is said of the connection, and the empty line behind them.
fn fields(headers: &Headers) -> Vec<u8> {
    let mut out = Vec::with_capacity(headers.size());
    for field in headers.iter().filter(|field| field.known != Known::Connection) {
        out.extend(field.name.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Writes all fields but what is said of the connection, each name and value behind its length, and two empty ones at the end.
fn packed(headers: &Headers) -> Vec<u8> {
    let mut out = Vec::with_capacity(headers.size());
    let mut put = |text: &[u8]| {
        number::put(text.len() as u64, &mut out);
        out.extend_from_slice(text);
    };
    for field in headers.iter().filter(|field| field.known != Known::Connection) {
        put(&field.name.to_ascii_lowercase());
        put(field.value);
    }
    put(b"");
    put(b"");
    out
}

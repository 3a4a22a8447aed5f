//! Sections `[frontend.NAME]`.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ::toml::de::DeValue;

use super::proxy::{self, Presets, Side};
use super::reader::{Item, Reader};
use super::section::Section;
use super::tls;
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location};
use crate::config::model::{Account, Bind, BindAddress, DEFAULT_RING, Quic, SocketFile, Tcp, Transport, UnixAddress};
use crate::config::value::{address, text, word};
use crate::config::written::{Defaults, Frontend, Proxy, XdpFrontend};

/// Settings HAProxy has in frontends only and this model has no place for.
pub(super) const LATER: [&str; 3] = ["guid", "stick-table", "use-backend"];
const LATER_BIND: [&str; 5] = ["id", "level", "namespace", "nice", "process"];

pub(super) fn frontend(reader: &mut Reader, name: Located<String>, presets: &Presets, mut section: Section<'_>) -> Frontend {
    let defaults = presets.of(reader, &mut section, Side::Frontend);
    let proxy = proxy::proxy(reader, &mut section, Side::Frontend);
    let acls = proxy::acls(reader, &mut section);
    let frontend = own(reader, &mut section, Frontend { acls, ..plain(name, defaults, proxy) });
    let frontend = Frontend { rules: proxy::rules(reader, &mut section), ..frontend };
    section.misplaced(reader, &["server", "balance", "check", "email-alert"], |key| format!("`{key}` belongs in a backend"));
    section.finish(reader, &[&LATER[..], &proxy::LATER].concat());
    frontend
}

/// Makes a frontend of nothing but what it has in common with backends.
pub(super) fn plain(name: Located<String>, defaults: Arc<Defaults>, proxy: Proxy) -> Frontend {
    Frontend {
        name,
        defaults,
        proxy,
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
    }
}

/// Reads what only frontends have.
pub(super) fn own(reader: &mut Reader, section: &mut Section<'_>, plain: Frontend) -> Frontend {
    let binds = section.require(reader, "bind", "[\"*:80\"]");
    if let Some(item) = binds.as_ref().filter(|item| reader.list(item).is_empty()) {
        reader.push(Diagnostic::warning(&item.location, "`bind` is empty").hint("nobody can reach it: for example bind = [\"*:80\"]"));
    }
    let frontend = Frontend {
        binds: binds.map(|item| reader.list(&item).iter().filter_map(|element| bind(reader, element)).collect()).unwrap_or_default(),
        default_backend: proxy::default_backend(reader, section),
        sni: section.take("sni").map(|item| sni(reader, &item)).unwrap_or_default(),
        inspect_delay: section
            .take("inspect-delay")
            .and_then(|item| Some(Located::new(reader.period(&item)?, item.key.location().clone()))),
        monitor_uri: section.take("monitor-uri").and_then(|item| reader.text(&item, "/alive", text::request_target)),
        maxconn: proxy::maxconn(reader, section),
        backlog: proxy::backlog(reader, section),
        rate_limit: proxy::rate_limit(reader, section),
        xdp: section.take("xdp").and_then(|item| xdp(reader, &item)),
        ..plain
    };
    section.misplaced(reader, &["monitor-fail"], |_| "write rules = [\"monitor fail if ...\"]".to_owned());
    section.misplaced(reader, &["capture"], |_| "write rules = [\"capture request header Host len 40\"]".to_owned());
    section.misplaced(reader, &["default_backend"], |_| "write default-backend".to_owned());
    frontend
}

fn sni(reader: &mut Reader, item: &Item<'_>) -> Vec<(Located<String>, Located<String>)> {
    let Some(mut section) = reader.section(item, "`sni`", "{ \"a.example\" = \"app\" }") else { return Vec::new() };
    let mut routes = Vec::new();
    for item in section.names() {
        let name = reader.parse(&item.key, text::host_pattern);
        let backend = reader.string(&item, "app");
        routes.extend(name.zip(backend));
    }
    routes
}

pub(super) fn bind(reader: &mut Reader, item: &Item<'_>) -> Option<Bind> {
    if !matches!(item.value, DeValue::String(_) | DeValue::Table(_)) {
        reader.wrong(item, "an address or a table", "bind = \"*:80\"");
        return None;
    }
    let DeValue::Table(_) = item.value else {
        let address = reader.text(item, "*:80", address::bind)?;
        return Some(plain_bind(address));
    };
    let mut section = reader.section(item, "`bind`", "{ address = \"*:443\" }")?;
    let address = section.require(reader, "address", "\"*:443\"").and_then(|item| reader.text(&item, "*:443", address::bind));
    let name = section.take("name").and_then(|item| reader.text(&item, "public", text::not_empty)).map(|name| (*name).clone());
    let tls = section.take("tls").and_then(|item| tls::bind(reader, &item));
    let accept_proxy = section.take("accept-proxy").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let backlog = proxy::backlog(reader, &mut section);
    let maxconn = proxy::maxconn(reader, &mut section);
    let interface = section.take("interface").and_then(|item| reader.text(&item, "eth0", text::interface));
    let v6only = section.take("v6only").and_then(|item| Some((item.location.clone(), reader.boolean(&item)?)));
    let transparent = section.take("transparent").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let file = socket_file(reader, &mut section, address.as_deref());
    let quic = quic(reader, &mut section, address.as_deref());
    let tcp = tcp(reader, &mut section);
    let protocol = section.take("proto").and_then(|item| reader.text(&item, "h2", |text| word::PROTOCOL.read(text))).map(|word| *word);
    section.misplaced(reader, &["v4v6"], |_| "[::]:443 takes both, unless v6only = true".to_owned());
    section.misplaced(reader, &["certificates", "alpn", "verify", "ciphers", "ciphersuites", "curves", "crt-list"], |key| {
        format!("write tls = {{ {key} = … }}")
    });
    section.misplaced(reader, &["ca-file", "crl-file"], |key| format!("write tls = {{ {} = … }}", key.trim_end_matches("-file")));
    section.misplaced(reader, &["ssl", "crt"], |_| "write tls = { certificates = \"…\" }".to_owned());
    section.finish(reader, &LATER_BIND);
    let address = address?;
    if let Some((location, true)) = &v6only
        && !address.inet().is_some_and(|inet| inet.ip().is_ipv6())
    {
        reader.push(Diagnostic::error(location, format!("`v6only` means nothing for {}", *address)).hint("for example with [::]:443"));
    }
    let v6only = v6only.is_some_and(|(_, v6only)| v6only);
    Some(Bind { name, address, tls, accept_proxy, backlog, maxconn, interface, v6only, transparent, file, quic, tcp, protocol })
}

/// Makes a bind of an address alone.
pub(super) fn plain_bind(address: Located<BindAddress>) -> Bind {
    Bind {
        name: None,
        address,
        tls: None,
        accept_proxy: false,
        backlog: None,
        maxconn: None,
        interface: None,
        v6only: false,
        transparent: false,
        file: SocketFile::default(),
        quic: Quic::default(),
        tcp: Tcp::default(),
        protocol: None,
    }
}

/// Reads what is asked of a listening socket of TCP.
fn tcp(reader: &mut Reader, section: &mut Section<'_>) -> Tcp {
    let mut flag = |key| section.take(key).and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let (fast_open, defers) = (flag("tfo"), flag("defer-accept"));
    let patience = section.take("tcp-ut").and_then(|item| reader.period(&item));
    Tcp { fast_open, defers, patience, segment: section.take("mss").and_then(|item| reader.integer(&item, 1..=u16::MAX, 1360)) }
}

/// Reads how QUIC is spoken.
fn quic(reader: &mut Reader, section: &mut Section<'_>, address: Option<&BindAddress>) -> Quic {
    let is_quic = address.is_none_or(|address| address.inet().is_some_and(|inet| inet.transport() == Transport::Quic));
    let mut take = |reader: &mut Reader, key| {
        let item = section.take(key)?;
        if !is_quic {
            let message = format!("`{key}` means nothing without QUIC");
            reader.push(Diagnostic::error(item.key.location(), message).hint("for example with quic4@:443"));
        }
        Some(item)
    };
    let forces_retry = take(reader, "quic-force-retry").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let congestion = take(reader, "quic-cc-algo").and_then(|item| reader.text(&item, "cubic", |text| word::CONGESTION.read(text)));
    Quic { forces_retry, congestion: congestion.map(|word| *word).unwrap_or_default() }
}

/// Reads who may connect to the file of a Unix socket.
pub(super) fn socket_file(reader: &mut Reader, section: &mut Section<'_>, address: Option<&BindAddress>) -> SocketFile {
    let is_file = address.is_none_or(|address| matches!(address, BindAddress::Unix(UnixAddress::Path(_))));
    let mut take = |reader: &mut Reader, key| {
        let item = section.take(key)?;
        if !is_file {
            let message = format!("`{key}` means nothing without the path of a Unix socket");
            reader.push(Diagnostic::error(item.key.location(), message).hint("for example with unix@/run/site.sock"));
        }
        Some(item)
    };
    let mode = take(reader, "mode").and_then(|item| reader.text(&item, "660", text::permissions)).map(|bits| *bits);
    let user = take(reader, "user").and_then(|item| account(reader, &item));
    let uid = take(reader, "uid").and_then(|item| reader.integer(&item, 0..=MOST_ID, 33)).map(Account::Id);
    let group = take(reader, "group").and_then(|item| account(reader, &item));
    let gid = take(reader, "gid").and_then(|item| reader.integer(&item, 0..=MOST_ID, 33)).map(Account::Id);
    SocketFile { mode, user: user.or(uid), group: group.or(gid) }
}

pub(super) fn account(reader: &mut Reader, item: &Item<'_>) -> Option<Account> {
    reader.text(item, "www-data", text::not_empty).map(|name| Account::Name(name.value().clone()))
}

/// The greatest number of a user or group; the one after it means "leave as it is" to the system.
pub(super) const MOST_ID: u32 = u32::MAX - 1;

fn xdp(reader: &mut Reader, item: &Item<'_>) -> Option<XdpFrontend> {
    let location: Location = item.key.location().clone();
    if let DeValue::Boolean(on) = item.value {
        return on.then_some(XdpFrontend::plain(location));
    }
    let mut section = reader.section(item, "`xdp`", "{ forward = \"nat\" }")?;
    let xdp = XdpFrontend {
        location,
        forward: section.take("forward").and_then(|item| reader.text(&item, "nat", |text| word::FORWARD.read(text))).map(|word| *word),
        hash: section.take("hash").and_then(|item| reader.text(&item, "source", |text| word::FLOW_HASH.read(text))).map(|word| *word),
        track: section.take("track").and_then(|item| reader.boolean(&item)),
        ring: section.take("ring").and_then(|item| ring(reader, &item)),
        tunnel_port: located(reader, &mut section, "tunnel-port", 1..=u16::MAX, 6080),
        tunnel_mtu: located(reader, &mut section, "tunnel-mtu", LEAST_MTU..=u16::MAX, 1400),
        mss: located(reader, &mut section, "mss", LEAST_MSS..=u16::MAX - 40, 1360),
        dead_server: section
            .take("dead-server")
            .and_then(|item| reader.text(&item, "reset", |text| word::DEAD_SERVER.read(text)))
            .map(|word| *word),
        no_server: section
            .take("no-server")
            .and_then(|item| reader.text(&item, "reset", |text| word::NO_SERVER.read(text)))
            .map(|word| *word),
    };
    section.finish(reader, &[]);
    Some(xdp)
}

/// Reads the size of a ring: a prime, so that every server's way around the ring comes to all slots.
fn ring(reader: &mut Reader, item: &Item<'_>) -> Option<Located<u32>> {
    let size = reader.integer(item, RINGS[0]..=RINGS[RINGS.len() - 1], DEFAULT_RING)?;
    if !RINGS.contains(&size) {
        let sizes: Vec<String> = RINGS.iter().map(ToString::to_string).collect();
        reader.push(
            Diagnostic::error(&item.location, format!("a ring cannot have {size} slots")).hint(format!("one of {}", sizes.join(", "))),
        );
        return None;
    }
    Some(Located::new(size, item.key.location().clone()))
}

/// Sizes of rings: primes near powers of two.
const RINGS: [u32; 11] = [127, 251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, DEFAULT_RING, 131_071];

/// The least segment worth asking for: what fits the least packet that every IPv4 host takes.
const LEAST_MSS: u16 = 536;

/// The least MTU a tunnel can need: what every link that carries IPv4 must take.
const LEAST_MTU: u16 = 576;

fn located(
    reader: &mut Reader,
    section: &mut Section<'_>,
    key: &'static str,
    range: RangeInclusive<u16>,
    example: u16,
) -> Option<Located<u16>> {
    let item = section.take(key)?;
    let value = reader.integer(&item, range, example)?;
    Some(Located::new(value, item.key.location().clone()))
}

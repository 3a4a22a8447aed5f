//! Sections `[global]` and `[xdp]`.

use super::frontend;
use super::log;
use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::{
    Account, BindAddress, CommandSocket, External, H2Limits, HeadLimits, OcspDelays, Otlp, OtlpEndpoint, OtlpSample, Process, QuicLimits,
    Rates, SocketLevel, StartVariable, StatsSocket, UnixAddress,
};
use crate::config::value::{address, text, word};
use crate::config::written::{Global, Xdp};

/// Settings HAProxy has and this model has no place for.
const LATER: [&str; 15] = [
    "cpu-map",
    "description",
    "h1-case-adjust",
    "lua-load",
    "master-worker",
    "maxpipes",
    "maxsslconn",
    "nice",
    "node",
    "presetenv",
    "setenv",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-options",
    "tune",
    "ulimit-n",
];

pub(super) fn global(reader: &mut Reader, mut section: Section<'_>) -> Global {
    let global = Global {
        maxconn: section.take("maxconn").and_then(|item| reader.integer(&item, 1..=u32::MAX, 50_000)),
        rates: rates(reader, &mut section),
        h2: h2(reader, &mut section),
        quic: quic(reader, &mut section),
        cluster_secret: section
            .take("cluster-secret")
            .and_then(|item| reader.text(&item, "a long text that all nodes share", text::not_empty))
            .map(|secret| secret.value().clone()),
        ocsp: OcspDelays {
            least: section.take("ocsp-update-mindelay").and_then(|item| reader.period(&item)),
            most: section.take("ocsp-update-maxdelay").and_then(|item| reader.period(&item)),
        },
        heads: heads(reader, &mut section),
        threads: section.take("nbthread").and_then(|item| reader.integer(&item, 1..=1024, 4)),
        log: section.take("log").map(|item| reader.texts(&item, "stdout format raw", text::not_empty)).unwrap_or_default(),
        log_tag: log::tag(reader, &mut section),
        log_host: section.take("log-send-hostname").and_then(|item| log::host(reader, &item)),
        stats_sockets: section.take("stats-socket").map(|item| stats_sockets(reader, &item)).unwrap_or_default(),
        stats_timeout: section.take("stats-timeout").and_then(|item| reader.period(&item)),
        stats_maxconn: section.take("stats-maxconn").and_then(|item| reader.integer(&item, 1..=1000, 10)),
        metrics: section.take("metrics").and_then(|item| reader.text(&item, "127.0.0.1:9101", address::endpoint)),
        max_spread_checks: section.take("max-spread-checks").and_then(|item| reader.duration(&item)),
        spread_checks: section.take("spread-checks").and_then(|item| reader.integer(&item, 0..=50, 5)),
        localpeer: section.take("localpeer").and_then(|item| reader.text(&item, "node1", text::not_empty)),
        tables_file: section
            .take("tables-file")
            .and_then(|item| reader.text(&item, "/var/lib/l7d/tables", text::absolute_path))
            .map(|path| path.value().clone()),
        otlp: section.take("otlp").and_then(|item| otlp(reader, &item)).unwrap_or_default(),
        variables: variables(reader, &mut section),
        process: process(reader, &mut section),
    };
    section.finish(reader, &LATER);
    global
}

fn otlp(reader: &mut Reader, item: &Item<'_>) -> Option<Otlp> {
    let mut section = reader.section(item, "`otlp`", "{ endpoint = \"http://127.0.0.1:4318\", sample = \"10%\" }")?;
    let endpoint = section.require(reader, "endpoint", "\"http://127.0.0.1:4318\"");
    let otlp = Otlp {
        endpoint: endpoint
            .and_then(|item| reader.text(&item, "http://127.0.0.1:4318", OtlpEndpoint::parse))
            .map(|read| read.value().clone()),
        service: section.take("service").and_then(|item| reader.text(&item, "edge", text::not_empty)).map(|read| read.value().clone()),
        sample: section.take("sample").and_then(|item| reader.text(&item, "10%", OtlpSample::parse)).map(|read| *read),
    };
    section.finish(reader, &[]);
    Some(otlp)
}

/// Reads variables that have a value when the process starts: texts with the name and the value of each.
fn variables(reader: &mut Reader, section: &mut Section<'_>) -> Vec<StartVariable> {
    let mut all = Vec::new();
    for (key, example, is_format) in [("set-var", "proc.site str(main)", false), ("set-var-fmt", "proc.boot %pid|%t", true)] {
        let texts = section.take(key).map(|item| reader.texts(&item, example, text::not_empty)).unwrap_or_default();
        all.extend(texts.into_iter().map(|text| StartVariable { text, is_format }));
    }
    all
}

fn h2(reader: &mut Reader, section: &mut Section<'_>) -> H2Limits {
    let mut number = |key, range, example| section.take(key).and_then(|item| reader.integer(&item, range, example));
    H2Limits {
        streams: number("h2-max-concurrent-streams", H2Limits::STREAMS, 100),
        window: number("h2-initial-window-size", H2Limits::WINDOW, 65_536),
        frame: number("h2-max-frame-size", H2Limits::FRAME, 16_384),
    }
}

fn quic(reader: &mut Reader, section: &mut Section<'_>) -> QuicLimits {
    let idle = section.take("quic-max-idle-timeout").and_then(|item| reader.period(&item));
    let mut number = |key, range, example| section.take(key).and_then(|item| reader.integer(&item, range, example));
    QuicLimits {
        streams: number("quic-max-streams-bidi", QuicLimits::STREAMS, 100),
        idle,
        retry_threshold: number("quic-retry-threshold", QuicLimits::HANDSHAKES, 100),
    }
}

fn heads(reader: &mut Reader, section: &mut Section<'_>) -> HeadLimits {
    let mut number = |key, range, example| section.take(key).and_then(|item| reader.integer(&item, range, example));
    HeadLimits {
        lines: number("http-maxhdr", HeadLimits::LINES, 101),
        buffer: number("bufsize", HeadLimits::BUFFER, 16_384),
        reserve: number("maxrewrite", HeadLimits::RESERVE, 1024),
    }
}

fn rates(reader: &mut Reader, section: &mut Section<'_>) -> Rates {
    let mut rate = |key| section.take(key).and_then(|item| reader.integer(&item, 0..=u32::MAX, 1000)).unwrap_or(0);
    Rates { connections: rate("maxconnrate"), sessions: rate("maxsessrate"), tls: rate("maxsslrate") }
}

fn process(reader: &mut Reader, section: &mut Section<'_>) -> Process {
    let mut account = |name, id| {
        let named = section.take(name).and_then(|item| frontend::account(reader, &item));
        let numbered = section.take(id).and_then(|item| reader.integer(&item, 0..=frontend::MOST_ID, 33)).map(Account::Id);
        named.or(numbered)
    };
    let (user, group) = (account("user", "uid"), account("group", "gid"));
    let mut path = |key, example| {
        let path = section.take(key).and_then(|item| reader.text(&item, example, text::absolute_path));
        path.map(|path| path.value().clone())
    };
    let (chroot, pidfile) = (path("chroot", "/var/lib/l7d"), path("pidfile", "/run/l7d.pid"));
    let mut path = |key, example| {
        let path = section.take(key).and_then(|item| reader.text(&item, example, text::path));
        path.map(|path| path.value().clone())
    };
    let (state_file, state_base) = (path("server-state-file", "/var/lib/l7d/state"), path("server-state-base", "/var/lib/l7d"));
    let daemon = section.take("daemon").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let capabilities = section.take("setcap").map(|item| reader.texts(&item, "cap_net_raw", |text| word::CAPABILITY.read(text)));
    let capabilities = capabilities.unwrap_or_default().iter().map(|capability| *capability.value()).collect();
    let hard_stop_after = section.take("hard-stop-after").and_then(|item| reader.period(&item));
    let mut flag = |key| section.take(key).and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let external =
        External { allowed: flag("external-check"), forks: flag("insecure-fork-wanted"), setuid: flag("insecure-setuid-wanted") };
    Process { user, group, chroot, pidfile, daemon, hard_stop_after, state_file, state_base, external, capabilities }
}

fn stats_sockets(reader: &mut Reader, item: &Item<'_>) -> Vec<Located<StatsSocket>> {
    reader.list(item).iter().filter_map(|element| stats_socket(reader, element)).collect()
}

fn stats_socket(reader: &mut Reader, item: &Item<'_>) -> Option<Located<StatsSocket>> {
    let mut section = reader.section(item, "`stats-socket`", "{ path = \"/run/l7d/admin.sock\", level = \"admin\" }")?;
    let address = match section.take("address") {
        Some(item) => reader.text(&item, "127.0.0.1:9999", address::bind),
        None => {
            let path = section.require(reader, "path", "\"/run/l7d/admin.sock\"");
            let path = path.and_then(|item| reader.text(&item, "/run/l7d/admin.sock", text::absolute_path));
            path.map(|path| path.map(|path| BindAddress::Unix(UnixAddress::Path(path))))
        }
    };
    let file = frontend::socket_file(reader, &mut section, address.as_deref());
    let level = section.take("level").and_then(|item| reader.text(&item, "admin", |text| word::SOCKET_LEVEL.read(text)));
    let exposes = section.take("expose-listeners").and_then(|item| reader.boolean(&item)).unwrap_or_default();
    section.misplaced(reader, &["expose-fd"], |_| "write expose-listeners = true".to_owned());
    section.finish(reader, &["interface", "tls"]);
    let level = level.map_or(SocketLevel::Operator, |level| *level);
    address.map(|address| address.map(|address| StatsSocket { address, file, level, exposes }))
}

pub(super) fn xdp(reader: &mut Reader, mut section: Section<'_>) -> Xdp {
    let interfaces = section.require(reader, "interfaces", "[\"eth0\"]");
    if let Some(item) = interfaces.as_ref().filter(|item| reader.list(item).is_empty()) {
        reader.missing(&item.location, "`interfaces` is empty", "for example interfaces = [\"eth0\"]");
    }
    let flows = section.take("flows").and_then(|item| reader.size(&item, FEWEST_FLOWS..=MOST_FLOWS));
    let rings = section.take("rings").and_then(|item| reader.size(&item, FEWEST_SLOTS..=MOST_SLOTS));
    let xdp = Xdp {
        location: section.location().clone(),
        interfaces: interfaces.map(|item| reader.texts(&item, "eth0", text::interface)).unwrap_or_default(),
        source_addresses: section.take("source-addresses").map(|item| reader.texts(&item, "10.0.0.5", address::ip)).unwrap_or_default(),
        source_ports: section.take("source-ports").and_then(|item| reader.text(&item, "32768-65535", text::source_ports)),
        mode: section.take("mode").and_then(|item| reader.text(&item, "auto", |text| word::ATTACH_MODE.read(text))).map(|mode| *mode),
        flows: flows.and_then(|flows| u32::try_from(flows).ok()),
        rings: rings.and_then(|slots| u32::try_from(slots).ok()),
        hash_key: section.take("hash-key").and_then(|item| reader.text(&item, "00…ff", text::key)).map(|key| *key),
        pin: section.take("pin").and_then(|item| reader.text(&item, "/sys/fs/bpf/l4d", text::absolute_path)),
        on_stop: section.take("on-stop").and_then(|item| reader.text(&item, "keep", |text| word::ON_STOP.read(text))).map(|stop| *stop),
        metrics: section.take("metrics").and_then(|item| reader.text(&item, "127.0.0.1:9102", address::endpoint)),
        deny: section.take("deny").map(|item| reader.texts(&item, "192.0.2.0/24", address::prefix)).unwrap_or_default(),
        allow: section.take("allow").map(|item| reader.texts(&item, "192.0.2.0/24", address::prefix)).unwrap_or_default(),
        source_connections: section.take("source-connections").and_then(|item| reader.integer(&item, 1..=FASTEST, 100)),
        source_packets: section.take("source-packets").and_then(|item| reader.integer(&item, 1..=FASTEST, 10_000)),
        packet_log: section.take("packet-log").and_then(|item| reader.integer(&item, 1..=1 << 31, 1000)),
        syn_cookies: section.take("syn-cookies").and_then(|item| reader.integer(&item, 1..=FASTEST, 1000)),
        stats_socket: section.take("stats-socket").and_then(|item| command_socket(reader, &item)),
    };
    section.finish(reader, &[]);
    xdp
}

/// Reads the socket of l4d, which is a file: who may open it is a matter of its permissions.
fn command_socket(reader: &mut Reader, item: &Item<'_>) -> Option<CommandSocket> {
    let mut section = reader.section(item, "`stats-socket`", "{ path = \"/run/l4d/admin.sock\", level = \"admin\" }")?;
    let path = section.require(reader, "path", "\"/run/l4d/admin.sock\"");
    let path = path.and_then(|item| reader.text(&item, "/run/l4d/admin.sock", text::absolute_path));
    let mode = section.take("mode").and_then(|item| reader.text(&item, "660", text::permissions)).map(|bits| *bits);
    let level = section.take("level").and_then(|item| reader.text(&item, "admin", |text| word::SOCKET_LEVEL.read(text)));
    section.finish(reader, &["address", "expose-fd", "gid", "group", "uid", "user"]);
    Some(CommandSocket { path: path?, mode: mode.unwrap_or(0o600), level: level.map_or(SocketLevel::Operator, |level| *level) })
}

const FEWEST_FLOWS: u64 = 1024;
/// Fewest and most slots of all rings.
const FEWEST_SLOTS: u64 = 1 << 16;
const MOST_SLOTS: u64 = 1 << 30;
/// A flow takes tens of bytes of locked kernel memory; more than this is surely a mistake.
const MOST_FLOWS: u64 = 1 << 28;
/// The highest rate of one source: a packet each microsecond is about what the clock can tell apart.
const FASTEST: u32 = 900_000;

//! Section `global`.

use super::bind::{self, MOST_ID};
use super::lexer::Lexer;
use super::line::{Line, parse_word, unknown};
use super::log;
use super::reader::Reader;
use super::{refused, tls};
use std::time::Duration;

use crate::config::error::{Diagnostic, Severity};
use crate::config::location::{Language, Located, Source};
use crate::config::model::{
    Account, H2Limits, HeadLimits, Otlp, OtlpEndpoint, OtlpSample, QuicLimits, SocketFile, SocketLevel, StartVariable, StatsSocket,
};
use crate::config::suggest;
use crate::config::value::{address, text, word};
use crate::config::written::Global;

/// Reads the words of a keyword.
type Read = fn(&mut Line, &mut Global, &mut Reader) -> Result<(), Diagnostic>;

/// Keywords by name, and what reads them.
pub(super) const KEYWORDS: &[(&str, Read)] = &[
    ("ca-base", |line, _, reader| {
        reader.bases.ca = Some(line.parse("a directory", text::path)?.value().clone());
        Ok(())
    }),
    ("cluster-secret", |line, global, _| {
        global.cluster_secret = Some(line.expect("a text that all nodes share")?.value().clone());
        Ok(())
    }),
    ("crt-base", |line, _, reader| {
        reader.bases.crt = Some(line.parse("a directory", text::path)?.value().clone());
        Ok(())
    }),
    ("chroot", |line, global, _| {
        global.process.chroot = Some(line.parse("a directory", text::absolute_path)?.value().clone());
        Ok(())
    }),
    ("daemon", |_, global, _| {
        global.process.daemon = true;
        Ok(())
    }),
    ("external-check", |_, global, _| {
        global.process.external.allowed = true;
        Ok(())
    }),
    ("gid", |line, global, _| {
        global.process.group = Some(Account::Id(*line.integer(0..=MOST_ID)?));
        Ok(())
    }),
    ("group", |line, global, _| {
        global.process.group = Some(Account::Name(line.expect("a group")?.value().clone()));
        Ok(())
    }),
    ("hard-stop-after", |line, global, _| {
        global.process.hard_stop_after = Some(*line.period()?);
        Ok(())
    }),
    ("insecure-fork-wanted", |line, global, _| {
        global.process.external.forks = !line.is_negated();
        Ok(())
    }),
    ("insecure-setuid-wanted", |line, global, _| {
        global.process.external.setuid = !line.is_negated();
        Ok(())
    }),
    ("localpeer", |line, global, reader| {
        let name = line.expect("a name")?;
        reader.set_environment("HAPROXY_LOCALPEER", Some(name.value().clone()));
        global.localpeer = Some(name);
        Ok(())
    }),
    ("server-state-base", |line, global, _| {
        global.process.state_base = Some(line.parse("a directory", text::path)?.value().clone());
        Ok(())
    }),
    ("server-state-file", |line, global, _| {
        global.process.state_file = Some(line.parse("a file", text::path)?.value().clone());
        Ok(())
    }),
    ("log", |line, global, _| {
        let text = line.joined().ok_or_else(|| line.error("`log` lacks its target"))?;
        global.log.push(text);
        Ok(())
    }),
    ("log-send-hostname", log::send_hostname),
    ("log-tag", log::global_tag),
    ("maxconn", |line, global, _| {
        let maxconn = *line.integer(0..=u32::MAX)?;
        global.maxconn = Some(maxconn).filter(|maxconn| *maxconn > 0);
        Ok(())
    }),
    ("maxconnrate", |line, global, _| {
        global.rates.connections = *line.integer(0..=u32::MAX)?;
        Ok(())
    }),
    ("maxsessrate", |line, global, _| {
        global.rates.sessions = *line.integer(0..=u32::MAX)?;
        Ok(())
    }),
    ("maxsslrate", |line, global, _| {
        global.rates.tls = *line.integer(0..=u32::MAX)?;
        Ok(())
    }),
    ("nbthread", |line, global, _| {
        global.threads = Some(*line.integer(1..=1024)?);
        Ok(())
    }),
    ("pidfile", |line, global, _| {
        global.process.pidfile = Some(line.parse("a file", text::absolute_path)?.value().clone());
        Ok(())
    }),
    ("presetenv", |line, _, reader| {
        let (name, value) = (line.expect("the name of a variable")?, line.expect("its value")?);
        if reader.environment(&name).is_none() {
            reader.set_environment(&name, Some(value.value().clone()));
        }
        Ok(())
    }),
    ("resetenv", |line, _, reader| {
        let kept: Vec<_> = std::iter::from_fn(|| line.next()).map(|name| name.value().clone()).collect();
        reader.reset_environment(&kept);
        Ok(())
    }),
    ("setenv", |line, global, reader| {
        let (name, value) = (line.expect("the name of a variable")?, line.expect("its value")?);
        if name.as_str() == TABLES_FILE {
            global.tables_file = Some(parse_word(&value, text::absolute_path)?.value().clone());
        }
        otlp(&name, &value, &mut global.otlp)?;
        reader.set_environment(&name, Some(value.value().clone()));
        Ok(())
    }),
    ("max-spread-checks", |line, global, _| {
        global.max_spread_checks = Some(*line.duration()?);
        Ok(())
    }),
    ("spread-checks", |line, global, _| {
        global.spread_checks = Some(*line.integer(0..=50)?);
        Ok(())
    }),
    ("ssl-server-verify", |line, _, reader| {
        let ask = line.parse("none or required", |text| word::SERVER_AUTH.read(text))?;
        reader.server_tls.verify = Some(ask);
        Ok(())
    }),
    ("ssl-default-bind-ciphers", default_names),
    ("ssl-default-bind-ciphersuites", default_names),
    ("ssl-default-bind-curves", default_names),
    ("ssl-default-bind-options", |line, _, reader| {
        let mut defaults = reader.bind_tls().clone();
        bind::default_options(line, &mut defaults, reader)?;
        reader.set_bind_tls(defaults);
        Ok(())
    }),
    ("ssl-default-server-ciphers", tls::default_names),
    ("ssl-default-server-ciphersuites", tls::default_names),
    ("ssl-default-server-options", tls::default_options),
    ("stats", stats),
    ("uid", |line, global, _| {
        global.process.user = Some(Account::Id(*line.integer(0..=MOST_ID)?));
        Ok(())
    }),
    ("unsetenv", |line, _, reader| {
        let first = line.expect("the name of a variable")?;
        for name in std::iter::once(first).chain(std::iter::from_fn(|| line.next())) {
            reader.set_environment(&name, None);
        }
        Ok(())
    }),
    ("setcap", |line, global, _| {
        global.process.capabilities = line.parse("names of capabilities", text::capabilities)?.value().clone();
        Ok(())
    }),
    ("set-var", variable),
    ("set-var-fmt", variable),
    ("unix-bind", unix_bind),
    ("user", |line, global, _| {
        global.process.user = Some(Account::Name(line.expect("a user")?.value().clone()));
        Ok(())
    }),
];

/// Keywords that tell HAProxy how to go about what it does: l7d goes about it in its own way, so they are accepted, and listed by
/// `check -v`.
pub(super) const IDLE: &[&str] = &[
    "busy-polling",
    "close-spread-time",
    "cpu-map",
    "cpu-policy",
    "description",
    "expose-experimental-directives",
    "fd-hard-limit",
    "h2-workaround-bogus-websocket-clients",
    "master-worker",
    "maxcompcpuusage",
    "maxcomprate",
    "maxpipes",
    "maxzlibmem",
    "mworker-max-reloads",
    "no-memory-trimming",
    "node",
    "noepoll",
    "noevports",
    "nogetaddrinfo",
    "nokqueue",
    "nopoll",
    "noreuseport",
    "nosplice",
    "numa-cpu-mapping",
    "pp2-never-send-local",
    "profiling.memory",
    "profiling.tasks",
    "quiet",
    "set-dumpable",
    "ssl-dh-param-file",
    "ssl-load-extra-files",
    "ssl-mode-async",
    "ssl-skip-self-issued-ca",
    "strict-limits",
    "thread-group",
    "thread-groups",
    "ulimit-n",
];

/// What of `tune.*` sizes buffers, caches and loops of HAProxy's engine: accepted, and listed by `check -v`.
const TUNING: &[&str] = &[
    "applet.zero-copy-forwarding",
    "buffers.limit",
    "buffers.reserve",
    "bufsize.large",
    "bufsize.small",
    "cli.max-payload-size",
    "comp.maxlevel",
    "defaults.purge",
    "disable-fast-forward",
    "disable-zero-copy-forwarding",
    "epoll.mask-events",
    "events.max-events-at-once",
    "fail-alloc",
    "fd.edge-triggered",
    "glitches.kill.cpu-usage",
    "h1.be.glitches-threshold",
    "h1.fe.glitches-threshold",
    "h1.zero-copy-fwd-recv",
    "h1.zero-copy-fwd-send",
    "h2.be.glitches-threshold",
    "h2.be.initial-window-size",
    "h2.be.max-concurrent-streams",
    "h2.be.rxbuf",
    "h2.fe.glitches-threshold",
    "h2.fe.max-total-streams",
    "h2.fe.rxbuf",
    "h2.header-table-size",
    "h2.log-errors",
    "h2.zero-copy-fwd-send",
    "http.cookielen",
    "http.logurilen",
    "idle-pool.shared",
    "idletimer",
    "listener.default-shards",
    "listener.multi-queue",
    "lua.bool-sample-conversion",
    "lua.burst-timeout",
    "lua.forced-yield",
    "lua.log.loggers",
    "lua.log.stderr",
    "lua.maxmem",
    "lua.openlibs",
    "lua.service-timeout",
    "lua.session-timeout",
    "lua.task-timeout",
    "max-checks-per-thread",
    "max-rules-at-once",
    "maxaccept",
    "maxpollevents",
    "memory.hot-size",
    "notsent-lowat.client",
    "notsent-lowat.server",
    "pattern.cache-size",
    "peers.max-updates-at-once",
    "pipesize",
    "pool-high-fd-ratio",
    "pool-low-fd-ratio",
    "pt.zero-copy-forwarding",
    "quic.cc-hystart",
    "quic.disable-tx-pacing",
    "quic.disable-udp-gso",
    "quic.frontend.conn-tx-buffers.limit",
    "quic.frontend.glitches-threshold",
    "quic.frontend.max-data-size",
    "quic.frontend.max-tx-mem",
    "quic.frontend.stream-data-ratio",
    "quic.listen",
    "quic.max-frame-loss",
    "quic.reorder-ratio",
    "quic.socket-owner",
    "quic.zero-copy-fwd-send",
    "rcvbuf.backend",
    "rcvbuf.client",
    "rcvbuf.frontend",
    "rcvbuf.server",
    "recv_enough",
    "renice.runtime",
    "renice.startup",
    "ring.queues",
    "runqueue-depth",
    "sched.low-latency",
    "sndbuf.backend",
    "sndbuf.client",
    "sndbuf.frontend",
    "sndbuf.server",
    "ssl.cachesize",
    "ssl.capture-buffer-size",
    "ssl.capture-cipherlist-size",
    "ssl.certificate-compression",
    "ssl.default-dh-param",
    "ssl.force-private-cache",
    "ssl.hard-maxrecord",
    "ssl.keylog",
    "ssl.keyupdate-rate-limit",
    "ssl.lifetime",
    "ssl.maxrecord",
    "ssl.ssl-ctx-cache-size",
    "stick-counters",
    "streams-elasticity",
    "takeover-other-tg-connections",
    "vars.check-max-size",
    "vars.global-max-size",
    "vars.proc-max-size",
    "vars.reqres-max-size",
    "vars.sess-max-size",
    "vars.txn-max-size",
    "zlib.memlevel",
    "zlib.windowsize",
];

/// What of `tune.*` acts.
const ACTING: [&str; 13] = [
    "bufsize",
    "h2.fe.initial-window-size",
    "h2.fe.max-concurrent-streams",
    "h2.initial-window-size",
    "h2.max-concurrent-streams",
    "h2.max-frame-size",
    "http.maxhdr",
    "maxrewrite",
    "quic.frontend.max-idle-timeout",
    "quic.frontend.max-streams-bidi",
    "quic.retry-threshold",
    "ssl.ocsp-update.maxdelay",
    "ssl.ocsp-update.mindelay",
];

/// HAProxy has no word for the file that keeps tables; a variable means nothing to it, so the file stays valid there.
const TABLES_FILE: &str = "L7D_TABLES_FILE";

/// Reads what OpenTelemetry calls its settings, which HAProxy has no words for either.
fn otlp(name: &Located<String>, value: &Located<String>, otlp: &mut Otlp) -> Result<(), Diagnostic> {
    match name.as_str() {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => otlp.endpoint = Some(parse_word(value, OtlpEndpoint::parse_base)?.value().clone()),
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => otlp.endpoint = Some(parse_word(value, OtlpEndpoint::parse)?.value().clone()),
        "OTEL_SERVICE_NAME" => otlp.service = Some(parse_word(value, text::not_empty)?.value().clone()),
        "OTEL_TRACES_SAMPLER_ARG" => otlp.sample = Some(*parse_word(value, OtlpSample::parse)?),
        other if other.starts_with("OTEL_EXPORTER_OTLP_") || other.starts_with("OTEL_TRACES_") => {
            let error = Diagnostic::error(name.location(), format!("`{other}` is not supported: spans go as JSON over plain HTTP"));
            return Err(error.hint(
                "of these variables OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and OTEL_TRACES_SAMPLER_ARG act",
            ));
        }
        _ => {}
    }
    Ok(())
}

/// Reads one line of `global`.
pub(super) fn line(keyword: &Located<String>, line: &mut Line, global: &mut Global, reader: &mut Reader) -> Result<(), Diagnostic> {
    if let Some(name) = keyword.strip_prefix("tune.") {
        return tune(name, keyword, line, global, reader);
    }
    if IDLE.contains(&keyword.as_str()) {
        let _ = line.joined();
        reader.idle(keyword.clone());
        return Ok(());
    }
    let Some((_, read)) = KEYWORDS.iter().find(|(name, _)| *name == keyword.as_str()) else {
        let known: Vec<&str> = KEYWORDS.iter().map(|(name, _)| *name).collect();
        return Err(unknown(keyword, "section `global`", &known, refused::GLOBAL));
    };
    if line.is_negated() && !keyword.starts_with("insecure-") {
        return Err(line.error(format!("`no` cannot stand before `{}`", **keyword)));
    }
    read(line, global, reader)?;
    line.finish()
}

/// Reads a setting of HAProxy's engine: what its connections of HTTP/2 and QUIC allow holds for ours; the rest sizes what we do not have.
fn tune(name: &str, keyword: &Located<String>, line: &mut Line, global: &mut Global, reader: &mut Reader) -> Result<(), Diagnostic> {
    match name {
        "h2.max-concurrent-streams" | "h2.fe.max-concurrent-streams" => global.h2.streams = Some(*line.integer(H2Limits::STREAMS)?),
        "h2.initial-window-size" | "h2.fe.initial-window-size" => global.h2.window = Some(*line.integer(H2Limits::WINDOW)?),
        "h2.max-frame-size" => global.h2.frame = Some(*line.integer(H2Limits::FRAME)?),
        "quic.frontend.max-streams-bidi" => global.quic.streams = Some(*line.integer(QuicLimits::STREAMS)?),
        "quic.frontend.max-idle-timeout" => global.quic.idle = Some(*line.period()?),
        "quic.retry-threshold" => global.quic.retry_threshold = Some(*line.integer(QuicLimits::HANDSHAKES)?),
        "ssl.ocsp-update.mindelay" | "ssl.ocsp-update.maxdelay" => {
            let delay = Some(Duration::from_secs(*line.integer(1..=31_536_000_u64)?));
            *(if name.ends_with("mindelay") { &mut global.ocsp.least } else { &mut global.ocsp.most }) = delay;
            if global.ocsp.least.is_some() && global.ocsp.most.is_some() && global.ocsp.are_crossed() {
                return Err(line
                    .error("the least delay is longer than the longest")
                    .hint("mindelay is 300 seconds where none is written, maxdelay 3600"));
            }
        }
        "http.maxhdr" => global.heads.lines = Some(*line.integer(HeadLimits::LINES)?),
        "bufsize" => global.heads.buffer = Some(*line.integer(HeadLimits::BUFFER)?),
        "maxrewrite" => global.heads.reserve = Some(*line.integer(HeadLimits::RESERVE)?),
        name if TUNING.contains(&name) => {
            let _ = line.joined();
            reader.idle(keyword.clone());
        }
        name => {
            let error = Diagnostic::error(keyword.location(), format!("unknown keyword `{}` in section `global`", **keyword));
            let known = ACTING.into_iter().chain(TUNING.iter().copied());
            return Err(match suggest::nearest(name, known) {
                Some(meant) => error.hint(format!("did you mean `tune.{meant}`?")),
                None => error,
            });
        }
    }
    line.finish()
}

/// Reads a variable that has a value when the process starts.
fn variable(line: &mut Line, global: &mut Global, _: &mut Reader) -> Result<(), Diagnostic> {
    let is_format = line.keyword().ends_with("-fmt");
    let text = line.rest().ok_or_else(|| line.error("the name of a variable is missing").hint("for example proc.site str(main)"))?;
    global.variables.push(StartVariable { text, is_format });
    Ok(())
}

fn default_names(line: &mut Line, _: &mut Global, reader: &mut Reader) -> Result<(), Diagnostic> {
    let mut defaults = reader.bind_tls().clone();
    bind::default_names(line, &mut defaults, reader)?;
    reader.set_bind_tls(defaults);
    Ok(())
}

fn stats(line: &mut Line, global: &mut Global, _: &mut Reader) -> Result<(), Diagnostic> {
    let what = line.expect("socket")?;
    match what.as_str() {
        "socket" => global.stats_sockets.push(stats_socket(line)?),
        "timeout" => global.stats_timeout = Some(*line.period()?),
        "maxconn" => global.stats_maxconn = Some(*line.integer(1..=1000)?),
        _ => {
            return Err(unknown(
                &what,
                "`stats`",
                &["socket", "timeout", "maxconn"],
                &[("bind-process", "the socket is served by the process there is")],
            ));
        }
    }
    Ok(())
}

/// Reads where a master takes its commands: what stands behind `stats socket`, with commas in place of blanks.
///
/// # Errors
///
/// What is wrong with it.
pub(in crate::config) fn master_socket(text: &str) -> Result<StatsSocket, String> {
    let words = text.split(',').collect::<Vec<_>>();
    let (address, rest) = words.split_first().map_or(("", &[] as &[&str]), |(address, rest)| (*address, rest));
    let source = Source::of(Language::Haproxy, "-S", &format!("socket {address} level admin {}\n", rest.join(" ")));
    let mut reader = Reader::default();
    let line = Lexer::new(&source).next(&mut reader);
    let found = reader.finish().0.into_iter().find(|found| found.severity() == Severity::Error);
    let socket = match (line, found) {
        (Some(mut line), None) => {
            line.next();
            stats_socket(&mut line)
        }
        (_, Some(error)) => Err(error),
        (None, None) => return Err("an address is missing".to_owned()),
    };
    socket.map(|socket| socket.value().clone()).map_err(|error| error.message().to_owned())
}

/// Words that HAProxy has behind `stats socket`, and why they are not here.
const NOT_OF_SOCKETS: &[(&str, &str)] = &[
    ("accept-proxy", "nobody stands before the socket"),
    ("name", "the socket goes by its address"),
    ("severity-output", "`set severity-output` on the socket says it"),
    ("ssl", "the socket is not encrypted"),
];

/// Reads what binds of Unix sockets begin from: `unix-bind [prefix TEXT] [mode BITS] [user NAME] [group NAME]`.
fn unix_bind(line: &mut Line, _: &mut Global, reader: &mut Reader) -> Result<(), Diagnostic> {
    while let Some(word) = line.next() {
        if word.as_str() == "prefix" {
            reader.unix.prefix.clone_from(line.expect("what paths begin with")?.value());
        } else if !file_word(&word, line, &mut reader.unix.file)? {
            return Err(unknown(&word, "`unix-bind`", &["prefix", "mode", "user", "group", "uid", "gid"], &[]));
        }
    }
    Ok(())
}

/// Reads what follows a word about the file of a Unix socket; tells whether it is one.
fn file_word(word: &Located<String>, line: &mut Line, file: &mut SocketFile) -> Result<bool, Diagnostic> {
    match word.as_str() {
        "mode" => file.mode = Some(*line.parse("permissions", text::permissions)?),
        "user" => file.user = Some(Account::Name(line.expect("a user")?.value().clone())),
        "group" => file.group = Some(Account::Name(line.expect("a group")?.value().clone())),
        "uid" => file.user = Some(Account::Id(*line.integer(0..=MOST_ID)?)),
        "gid" => file.group = Some(Account::Id(*line.integer(0..=MOST_ID)?)),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads `stats socket ADDRESS [mode BITS] [user NAME] [group NAME] [level LEVEL] [expose-fd listeners]`.
fn stats_socket(line: &mut Line) -> Result<Located<StatsSocket>, Diagnostic> {
    let address = line.parse("an address", address::bind)?;
    let (mut file, mut level, mut exposes) = (SocketFile::default(), SocketLevel::Operator, false);
    while let Some(word) = line.next() {
        match word.as_str() {
            _ if file_word(&word, line, &mut file)? => {}
            "level" => level = *line.parse("a level", |text| word::SOCKET_LEVEL.read(text))?,
            "expose-fd" if line.accept("listeners") => exposes = true,
            _ => {
                let known = ["mode", "user", "group", "uid", "gid", "level", "expose-fd"];
                return Err(unknown(&word, "`stats socket`", &known, NOT_OF_SOCKETS));
            }
        }
    }
    Ok(address.map(|address| StatsSocket { address, file, level, exposes }))
}

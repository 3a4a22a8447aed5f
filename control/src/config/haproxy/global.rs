//! Section `global`.

use super::bind::MOST_ID;
use super::line::{Line, unknown};
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{Account, Exposed, SocketFile, SocketLevel, StatsSocket};
use crate::config::value::{address, text, word};
use crate::config::written::Global;

/// Reads the words of a keyword.
type Read = fn(&mut Line, &mut Global, &mut Reader) -> Result<(), Diagnostic>;

/// Keywords by name, and what reads them.
pub(super) const KEYWORDS: &[(&str, Read)] = &[
    ("log", |line, global, _| {
        let text = line.joined().ok_or_else(|| line.error("`log` lacks its target"))?;
        global.log.push(text);
        Ok(())
    }),
    ("maxconn", |line, global, _| {
        let maxconn = *line.integer(0..=u32::MAX)?;
        global.maxconn = Some(maxconn).filter(|maxconn| *maxconn > 0);
        Ok(())
    }),
    ("nbthread", |line, global, _| {
        global.threads = Some(*line.integer(1..=1024)?);
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
    ("setenv", |line, _, reader| {
        let (name, value) = (line.expect("the name of a variable")?, line.expect("its value")?);
        reader.set_environment(&name, Some(value.value().clone()));
        Ok(())
    }),
    ("spread-checks", |line, global, _| {
        global.spread_checks = Some(*line.integer(0..=50)?);
        Ok(())
    }),
    ("stats", stats),
    ("unsetenv", |line, _, reader| {
        let first = line.expect("the name of a variable")?;
        for name in std::iter::once(first).chain(std::iter::from_fn(|| line.next())) {
            reader.set_environment(&name, None);
        }
        Ok(())
    }),
];

/// Keywords HAProxy has and this model has no place for.
const LATER: &[&str] = &[
    "51degrees-data-file",
    "ca-base",
    "chroot",
    "cluster-secret",
    "cpu-map",
    "cpu-policy",
    "crt-base",
    "daemon",
    "default-path",
    "description",
    "deviceatlas-json-file",
    "expose-experimental-directives",
    "external-check",
    "fd-hard-limit",
    "gid",
    "grace",
    "group",
    "h1-case-adjust",
    "h1-case-adjust-file",
    "h2-workaround-bogus-websocket-clients",
    "hard-stop-after",
    "harden.reject-privileged-ports.quic",
    "harden.reject-privileged-ports.tcp",
    "http-err-codes",
    "http-fail-codes",
    "insecure-fork-wanted",
    "insecure-setuid-wanted",
    "issuers-chain-path",
    "key-base",
    "limited-quic",
    "localpeer",
    "log-send-hostname",
    "log-tag",
    "lua-load",
    "lua-load-per-thread",
    "lua-prepend-path",
    "master-worker",
    "max-spread-checks",
    "maxcompcpuusage",
    "maxcomprate",
    "maxconnrate",
    "maxpipes",
    "maxsessrate",
    "maxsslconn",
    "maxsslrate",
    "maxzlibmem",
    "mworker-max-reloads",
    "nbproc",
    "node",
    "noepoll",
    "numa-cpu-mapping",
    "pidfile",
    "server-state-base",
    "server-state-file",
    "setcap",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-ciphersuites",
    "ssl-default-bind-curves",
    "ssl-default-bind-options",
    "ssl-default-server-ciphers",
    "ssl-default-server-ciphersuites",
    "ssl-default-server-options",
    "ssl-dh-param-file",
    "ssl-engine",
    "ssl-load-extra-files",
    "ssl-server-verify",
    "strict-limits",
    "uid",
    "ulimit-n",
    "user",
];

/// Reads one line of `global`.
pub(super) fn line(keyword: &Located<String>, line: &mut Line, global: &mut Global, reader: &mut Reader) -> Result<(), Diagnostic> {
    let Some((_, read)) = KEYWORDS.iter().find(|(name, _)| *name == keyword.as_str()) else {
        let known: Vec<&str> = KEYWORDS.iter().map(|(name, _)| *name).collect();
        return Err(unknown(keyword, "section `global`", &known, LATER));
    };
    if line.is_negated() {
        return Err(line.error(format!("`no` cannot stand before `{}`", **keyword)));
    }
    read(line, global, reader)?;
    line.finish()
}

fn stats(line: &mut Line, global: &mut Global, _: &mut Reader) -> Result<(), Diagnostic> {
    let what = line.expect("socket")?;
    match what.as_str() {
        "socket" => global.stats_sockets.push(stats_socket(line)?),
        "timeout" => global.stats_timeout = Some(*line.period()?),
        "maxconn" => global.stats_maxconn = Some(*line.integer(1..=1000)?),
        _ => return Err(unknown(&what, "`stats`", &["socket", "timeout", "maxconn"], &["bind-process"])),
    }
    Ok(())
}

/// Reads `stats socket ADDRESS [mode BITS] [user NAME] [group NAME] [level LEVEL] [expose-fd listeners]`.
fn stats_socket(line: &mut Line) -> Result<Located<StatsSocket>, Diagnostic> {
    let address = line.parse("an address", address::bind)?;
    let (mut file, mut level, mut exposes) = (SocketFile::default(), SocketLevel::Operator, Exposed::Nothing);
    while let Some(word) = line.next() {
        match word.as_str() {
            "mode" => file.mode = Some(*line.parse("permissions", text::permissions)?),
            "user" => file.user = Some(Account::Name(line.expect("a user")?.value().clone())),
            "group" => file.group = Some(Account::Name(line.expect("a group")?.value().clone())),
            "uid" => file.user = Some(Account::Id(*line.integer(0..=MOST_ID)?)),
            "gid" => file.group = Some(Account::Id(*line.integer(0..=MOST_ID)?)),
            "level" => level = *line.parse("a level", |text| word::SOCKET_LEVEL.read(text))?,
            "expose-fd" => exposes = *line.parse("listeners", |text| word::EXPOSED.read(text))?,
            _ => {
                let known = ["mode", "user", "group", "uid", "gid", "level", "expose-fd"];
                return Err(unknown(&word, "`stats socket`", &known, &["accept-proxy", "name", "severity-output", "ssl"]));
            }
        }
    }
    Ok(address.map(|address| StatsSocket { address, file, level, exposes }))
}

//! Servers, and what `default-server` says of all of them.

use std::sync::Arc;

use super::draft::{Draft, Kind};
use super::lexer::Lexer;
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use super::refused;
use super::tls;
use crate::config::error::{Diagnostic, Severity};
use crate::config::location::{Language, Located, Location, Source};
use crate::config::model::{SendProxy, ServerSource};
use crate::config::value::{address, naming, text, word};
use crate::config::written::{CheckSettings, CheckSwitch, ProxySwitch, Server, ServerSettings};

/// The settings of a server while its words are read.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) server: ServerSettings,
    check: CheckSettings,
    /// Whether to check.
    is_checked: Option<bool>,
    /// Where something was said about checks first.
    check_at: Option<Location>,
    checksum: bool,
}

/// Reads what follows a word.
type Read = fn(&mut Line, &mut Settings, &mut Reader) -> Result<(), Diagnostic>;

/// Words of a server but for those about TLS, and what reads what follows them.
pub(super) const WORDS: &[(&str, Read)] = &[
    ("addr", |line, server, _| {
        server.check.address = Some(*line.parse("an address", address::ip)?);
        Ok(())
    }),
    ("agent-addr", |line, server, _| {
        server.server.agent.address = Some(*line.parse("an address", address::ip)?);
        Ok(())
    }),
    ("agent-check", |line, server, _| {
        server.server.agent.on = Some(Located::new(true, line.last_location()));
        Ok(())
    }),
    ("agent-inter", |line, server, _| {
        server.server.agent.inter = Some(*line.period()?);
        Ok(())
    }),
    ("agent-port", |line, server, _| {
        server.server.agent.port = Some(*line.integer(1..=u16::MAX)?);
        Ok(())
    }),
    ("agent-send", |line, server, _| {
        server.server.agent.question = Some(line.expect("what to send")?.value().clone());
        Ok(())
    }),
    ("backup", |_, server, _| {
        server.server.backup = Some(true);
        Ok(())
    }),
    ("check", |_, server, _| {
        server.is_checked = Some(true);
        Ok(())
    }),
    ("check-proto", |line, server, _| {
        server.check.version = Some(*line.parse("h1 or h2", |text| word::PROTOCOL.read(text))?);
        Ok(())
    }),
    ("check-send-proxy", |_, server, _| {
        server.check.send_proxy = Some(true);
        Ok(())
    }),
    ("check-alpn", |line, server, _| {
        server.check.alpn = Some(line.parse("names of protocols", text::protocols)?.value().clone());
        Ok(())
    }),
    ("check-sni", |line, server, _| {
        server.check.sni = Some(line.expect("the name of a host")?.value().clone());
        Ok(())
    }),
    ("check-ssl", |_, server, _| {
        server.check.tls = Some(true);
        Ok(())
    }),
    ("cookie", |line, server, _| {
        server.server.cookie = Some(line.parse("a value", text::cookie)?);
        Ok(())
    }),
    ("disabled", |_, server, _| {
        server.server.disabled = Some(true);
        Ok(())
    }),
    ("downinter", |line, server, _| {
        server.check.downinter = Some(*line.period()?);
        Ok(())
    }),
    ("enabled", |_, server, _| {
        server.server.disabled = Some(false);
        Ok(())
    }),
    ("error-limit", |line, server, _| {
        server.check.error_limit = Some(*line.integer(1..=u32::MAX)?);
        Ok(())
    }),
    ("fall", |line, server, _| {
        server.check.fall = Some(*line.integer(1..=MOST_PROBES)?);
        Ok(())
    }),
    ("fastinter", |line, server, _| {
        server.check.fastinter = Some(*line.period()?);
        Ok(())
    }),
    ("init-addr", |line, server, _| {
        server.server.naming.init = Some(line.parse("where to find an address", |text| naming::list(text, naming::init))?.value().clone());
        Ok(())
    }),
    ("init-state", |line, server, _| {
        server.check.init_state = Some(*line.parse("up, down, fully-up or fully-down", |text| word::INIT_STATE.read(text))?);
        Ok(())
    }),
    ("inter", |line, server, _| {
        server.check.inter = Some(*line.period()?);
        Ok(())
    }),
    ("max-reuse", |line, server, _| {
        server.server.pool.most_reuses = Some(most(line)?);
        Ok(())
    }),
    ("maxconn", |line, server, _| {
        server.server.maxconn = Some(*line.integer(0..=u32::MAX)?);
        Ok(())
    }),
    ("maxqueue", |line, server, _| {
        let most = line.integer(0..=u32::MAX)?;
        server.server.maxqueue = Some(most).filter(|most| *most.value() > 0);
        Ok(())
    }),
    ("minconn", |line, server, _| {
        let least = line.integer(0..=u32::MAX)?;
        server.server.minconn = Some(least).filter(|least| *least.value() > 0);
        Ok(())
    }),
    ("no-agent-check", |line, server, _| {
        server.server.agent.on = Some(Located::new(false, line.last_location()));
        Ok(())
    }),
    ("no-backup", |_, server, _| {
        server.server.backup = Some(false);
        Ok(())
    }),
    ("no-check", |_, server, _| {
        server.is_checked = Some(false);
        Ok(())
    }),
    ("no-check-send-proxy", |_, server, _| {
        server.check.send_proxy = Some(false);
        Ok(())
    }),
    ("no-check-ssl", |_, server, _| {
        server.check.tls = Some(false);
        Ok(())
    }),
    ("no-tfo", |_, server, _| {
        server.server.fast_open = Some(false);
        Ok(())
    }),
    ("no-send-proxy", |_, server, _| {
        server.server.send_proxy = Some(ProxySwitch::Off);
        Ok(())
    }),
    ("no-send-proxy-v2", |_, server, _| {
        server.server.send_proxy = Some(ProxySwitch::Off);
        Ok(())
    }),
    ("non-stick", |_, server, _| {
        server.server.non_stick = Some(true);
        Ok(())
    }),
    ("observe", |line, server, _| {
        server.check.observe = Some(line.parse("layer4 or layer7", |text| word::LAYER.read(text))?);
        Ok(())
    }),
    ("on-error", |line, server, _| {
        server.check.on_error = Some(*line.parse("what to do", |text| word::ON_ERROR.read(text))?);
        Ok(())
    }),
    ("on-marked-down", |line, server, _| {
        server.server.ends_own = Some(*line.parse("what to do", |text| word::MARKED_DOWN.read(text))?);
        Ok(())
    }),
    ("on-marked-up", |line, server, _| {
        server.server.ends_spares = Some(*line.parse("what to do", |text| word::MARKED_UP.read(text))?);
        Ok(())
    }),
    ("pool-max-conn", |line, server, _| {
        server.server.pool.most_idle = Some(most(line)?);
        Ok(())
    }),
    ("pool-purge-delay", |line, server, _| {
        server.server.pool.purge_delay = Some(*line.duration()?);
        Ok(())
    }),
    ("port", |line, server, _| {
        server.check.port = Some(*line.integer(1..=u16::MAX)?);
        Ok(())
    }),
    ("proto", |line, server, _| {
        server.server.protocol = Some(*line.parse("h1 or h2", |text| word::PROTOCOL.read(text))?);
        Ok(())
    }),
    ("proxy-v2-options", proxy_options),
    ("resolve-net", |line, server, _| {
        server.server.naming.networks = Some(line.parse("networks", naming::networks)?.value().clone());
        Ok(())
    }),
    ("resolve-opts", |line, server, _| {
        let start = server.server.naming.options.unwrap_or_default();
        let read = |text: &str| {
            text.split(',').try_fold(start, |options, part| naming::option(options, part).map_err(|mistake| mistake.at(text, part)))
        };
        server.server.naming.options = Some(*line.parse("options", read)?);
        Ok(())
    }),
    ("resolve-prefer", |line, server, _| {
        server.server.naming.prefer = Some(*line.parse("ipv4 or ipv6", naming::family)?);
        Ok(())
    }),
    ("resolvers", |line, server, _| {
        server.server.naming.resolvers = Some(line.expect("a section `resolvers`")?);
        Ok(())
    }),
    ("rise", |line, server, _| {
        server.check.rise = Some(*line.integer(1..=MOST_PROBES)?);
        Ok(())
    }),
    ("send-proxy", |_, server, _| {
        server.server.send_proxy = Some(ProxySwitch::On(SendProxy::V1));
        Ok(())
    }),
    ("send-proxy-v2", |_, server, _| {
        server.server.send_proxy = Some(ProxySwitch::On(SendProxy::V2 { checksum: false }));
        Ok(())
    }),
    ("slowstart", |line, server, _| {
        server.server.slowstart = Some(*line.duration()?);
        Ok(())
    }),
    ("source", |line, server, _| {
        server.server.source = Some(source_words(line)?);
        Ok(())
    }),
    ("stick", |_, server, _| {
        server.server.non_stick = Some(false);
        Ok(())
    }),
    ("tcp-ut", |line, server, _| {
        server.server.patience = Some(*line.duration()?);
        Ok(())
    }),
    ("tfo", |_, server, _| {
        server.server.fast_open = Some(true);
        Ok(())
    }),
    ("track", |line, server, _| {
        server.server.track = Some(line.parse("a server", text::tracked)?);
        Ok(())
    }),
    ("weight", |line, server, _| {
        server.server.weight = Some(*line.integer(0..=256)?);
        Ok(())
    }),
];

/// Words that mean nothing here, and whether a value follows them: nothing is sent to servers before their handshake is over, and threads
/// never take each other's idle connections, however few they are.
pub(super) const IDLE: [(&str, bool); 6] = [
    ("allow-0rtt", false),
    ("id", true),
    ("no-send-proxy-v2-ssl", false),
    ("no-send-proxy-v2-ssl-cn", false),
    ("npn", true),
    ("pool-low-conn", true),
];

/// Words about checks.
const CHECK: [&str; 20] = [
    "addr",
    "check",
    "check-alpn",
    "check-proto",
    "check-send-proxy",
    "check-sni",
    "check-ssl",
    "downinter",
    "error-limit",
    "fall",
    "fastinter",
    "init-state",
    "inter",
    "no-check",
    "no-check-send-proxy",
    "no-check-ssl",
    "observe",
    "on-error",
    "port",
    "rise",
];
const MOST_PROBES: u32 = 1000;
/// Extensions of the PROXY header HAProxy can send and this model has no place for.
const LATER_OPTIONS: [&str; 7] = ["authority", "cert-cn", "cert-key", "cert-sig", "ssl", "ssl-cipher", "unique-id"];

/// Reads `server NAME ADDRESS WORDS`.
pub(super) fn server(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let name = line.expect("its name")?;
    check_name(&name, draft)?;
    add(line, vec![name], draft, reader)
}

/// Reads `server-template PREFIX NUMBER|FIRST-LAST NAME[:PORT] WORDS`: so many servers, called PREFIX1, PREFIX2 and so on.
pub(super) fn template(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let prefix = line.expect("what their names begin with")?;
    let range = line.parse("how many they are", text::count_or_range)?;
    let names: Vec<_> = range.value().clone().map(|number| prefix.clone().map(|prefix| format!("{prefix}{number}"))).collect();
    names.iter().try_for_each(|name| check_name(name, draft))?;
    add(line, names, draft, reader)
}

fn check_name(name: &Located<String>, draft: &Draft) -> Result<(), Diagnostic> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if name.is_empty() || !name.chars().all(allowed) {
        let error = Diagnostic::error(name.location(), format!("`{name}` cannot be the name of a server"));
        return Err(error.hint("letters, digits, and any of - _ . :"));
    }
    if let Some(other) = draft.backend.servers.iter().find(|other| other.name.value() == name.value()) {
        let first = other.name.location();
        let error = Diagnostic::error(name.location(), format!("there is a server `{name}` already"));
        return Err(error.hint(format!("{}:{}", first.file(), first.line())));
    }
    Ok(())
}

/// Reads an address and what follows it, for servers of these names.
fn add(line: &mut Line, names: Vec<Located<String>>, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let word = line.expect("its address")?;
    let address = parse_word(&word, address::server);
    let mut settings = Settings::default();
    let outcome = words(line, &mut settings, reader);
    // A server without an address stays known by its name.
    let address = address.map_err(|error| reader.push(error)).ok();
    let settings = settings.finish();
    draft.backend.servers.extend(names.into_iter().map(|name| Server { name, address: address.clone(), settings: settings.clone() }));
    outcome
}

/// Reads the server that words describe as they would in a file.
///
/// # Errors
///
/// What is wrong with it.
pub(in crate::config) fn alone(words: &[String]) -> Result<Server, Vec<Diagnostic>> {
    let escaped: Vec<String> = words.iter().map(|word| escape(word)).collect();
    let source = Source::of(Language::Haproxy, "stats socket command", &format!("server {}\n", escaped.join(" ")));
    let mut reader = Reader::default();
    let Some(mut line) = Lexer::new(&source).next(&mut reader) else { return Err(reader.finish().0) };
    let mut draft = Draft::new(Kind::Backend, line.read_keyword(), Arc::default());
    if let Err(error) = server(&mut line, &mut draft, &mut reader).and_then(|()| line.finish()) {
        reader.push(error);
    }
    let (found, _) = reader.finish();
    let is_sound = found.iter().all(|found| found.severity() != Severity::Error);
    draft.backend.servers.pop().filter(|_| is_sound).ok_or(found)
}

/// Writes a word so that it is read as it is.
fn escape(word: &str) -> String {
    let mut escaped = String::new();
    for c in word.chars() {
        if c.is_ascii_whitespace() || matches!(c, '\\' | '"' | '\'' | '#') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

pub(super) fn default_server(line: &mut Line, draft: &mut Draft, reader: &mut Reader) -> Result<(), Diagnostic> {
    let mut settings = Settings::of(std::mem::take(&mut draft.settings.default_server));
    let outcome = words(line, &mut settings, reader);
    draft.settings.default_server = settings.finish();
    outcome
}

/// How a peer is connected to, and which part of the keys it is told of.
type Transport = (ServerSettings, Option<Located<u32>>);

/// Reads how a peer is connected to, over `before`: of the words of a server those about TLS, the source and
/// the PROXY header; others mean nothing for peers.
pub(super) fn transport(line: &mut Line, before: ServerSettings, reader: &mut Reader) -> Result<Transport, Diagnostic> {
    let (mut settings, mut shard) = (Settings::of(before), None);
    while let Some(word) = line.next() {
        if tls::OLD_VERSIONS.contains(&word.as_str()) {
            continue;
        }
        if word.as_str() == "id" {
            line.expect("its number")?;
            reader.idle(word);
            continue;
        }
        if word.as_str() == "shard" {
            shard = Some(line.integer(0..=u32::MAX)?);
            continue;
        }
        // The header of checks is none of these: peers are not checked.
        let begins = |name: &str| name.contains("proxy") && !name.contains("check-");
        let acts = |name: &str| name == "source" || begins(name) || tls::SERVER_WORDS.iter().any(|(known, _)| *known == name);
        let all = || WORDS.iter().chain(tls::SERVER_WORDS);
        let Some((name, read)) = all().find(|(name, _)| *name == word.as_str()) else {
            let known: Vec<&str> = all().map(|(name, _)| *name).filter(|name| acts(name)).chain(["shard"]).collect();
            return Err(unknown(&word, &format!("`{}`", line.keyword().value()), &known, refused::SERVER));
        };
        if acts(name) {
            read(line, &mut settings, reader)?;
            continue;
        }
        // It is read so that what follows it is known, and forgotten.
        read(line, &mut Settings::of(ServerSettings::default()), reader)?;
        reader.idle(word);
    }
    Ok((settings.finish(), shard))
}

fn words(line: &mut Line, settings: &mut Settings, reader: &mut Reader) -> Result<(), Diagnostic> {
    while let Some(word) = line.next() {
        if tls::OLD_VERSIONS.contains(&word.as_str()) {
            continue;
        }
        if let Some((_, has_value)) = IDLE.iter().find(|(name, _)| *name == word.as_str()) {
            if *has_value {
                line.expect("its value")?;
            }
            reader.idle(word);
            continue;
        }
        let all = || WORDS.iter().chain(tls::SERVER_WORDS);
        let Some((name, read)) = all().find(|(name, _)| *name == word.as_str()) else {
            let known: Vec<&str> = all().map(|(name, _)| *name).collect();
            return Err(unknown(&word, &format!("`{}`", line.keyword().value()), &known, refused::SERVER));
        };
        read(line, settings, reader)?;
        if CHECK.contains(name) && settings.check_at.is_none() {
            settings.check_at = Some(word.location().clone());
        }
    }
    Ok(())
}

/// Reads a number of things, or -1 for any number of them.
fn most(line: &mut Line) -> Result<Option<u32>, Diagnostic> {
    if line.accept("-1") {
        return Ok(None);
    }
    Ok(Some(*line.integer(0..=i32::MAX.unsigned_abs())?))
}

fn proxy_options(line: &mut Line, settings: &mut Settings, _: &mut Reader) -> Result<(), Diagnostic> {
    let list = line.expect("options")?;
    for option in list.split(',') {
        let start = option.as_ptr().addr() - list.as_ptr().addr();
        let place = list.location().part(&list, start..start + option.len());
        match option {
            "crc32c" => settings.checksum = true,
            known if LATER_OPTIONS.contains(&known) => {
                let error =
                    Diagnostic::error(&place, format!("option `{known}` of PROXY headers is not supported: they carry a checksum alone"));
                return Err(error.hint("known: crc32c"));
            }
            other => return Err(Diagnostic::error(&place, format!("PROXY headers have no option `{other}`")).hint("known: crc32c")),
        }
    }
    Ok(())
}

/// Reads where connections come from: `ADDRESS [usesrc WHOSE] [interface NAME]`.
pub(super) fn source_words(line: &mut Line) -> Result<Located<ServerSource>, Diagnostic> {
    let word = line.expect("an address")?;
    let is_any = matches!(word.as_str(), "0.0.0.0" | "0.0.0.0:0" | "*" | "::" | "[::]");
    let mut source = if is_any { Located::new(ServerSource::ANY, word.location().clone()) } else { parse_word(&word, address::source)? };
    loop {
        if line.accept("usesrc") {
            let guise = line.parse("an address", address::guise)?;
            source = source.map(|source| ServerSource { guise: Some(*guise.value()), ..source });
        } else if line.accept("interface") {
            let interface = line.parse("an interface", text::interface)?;
            source = source.map(|source| ServerSource { interface: Some(interface.value().clone()), ..source });
        } else {
            return Ok(source);
        }
    }
}

impl Settings {
    /// Goes on from settings that are finished.
    pub(super) fn of(mut server: ServerSettings) -> Self {
        let (is_checked, located) = match server.check.take() {
            None => (None, None),
            Some(CheckSwitch::Off) => (Some(false), None),
            Some(CheckSwitch::Ready(check)) => (None, Some(check)),
            Some(CheckSwitch::On(check)) => (Some(true), Some(check)),
        };
        let check_at = located.as_ref().map(|check| check.location().clone());
        let check = located.map(|check| check.value().clone()).unwrap_or_default();
        let checksum = matches!(server.send_proxy, Some(ProxySwitch::On(SendProxy::V2 { checksum: true })));
        Self { server, check, is_checked, check_at, checksum }
    }

    fn finish(self) -> ServerSettings {
        let Self { mut server, check, is_checked, check_at, checksum } = self;
        server.check = match (is_checked, check_at) {
            (Some(false), _) => Some(CheckSwitch::Off),
            (Some(true), Some(at)) => Some(CheckSwitch::On(Located::new(check, at))),
            (None, Some(at)) => Some(CheckSwitch::Ready(Located::new(check, at))),
            (Some(true) | None, None) => None,
        };
        if let Some(ProxySwitch::On(SendProxy::V2 { .. })) = server.send_proxy {
            server.send_proxy = Some(ProxySwitch::On(SendProxy::V2 { checksum }));
        }
        server
    }
}

//! The words of a bind line.

use super::lexer::Lexer;
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use super::refused;
use super::tls::{OLD_VERSIONS, at_least, based, names, version};
use crate::config::error::{Diagnostic, Severity};
use crate::config::location::{Located, Location, Source};
use crate::config::model::{
    Account, Bind, BindAddress, ClientAuth, Held, Pardon, Protocol, Quic, SocketFile, SuiteOrder, Tcp, Tls, TlsVersion, Transport, Trust,
    UnixAddress,
};
use crate::config::value::word::{self, Ask};
use crate::config::value::{address, text};
use crate::config::written::TlsProtocolSettings;

/// The settings of a bind line while its words are read.
#[derive(Clone, Default)]
pub(super) struct Settings {
    name: Option<String>,
    accept_proxy: bool,
    backlog: Option<u32>,
    maxconn: Option<u32>,
    interface: Option<Located<String>>,
    v6only: Option<Located<bool>>,
    transparent: bool,
    file: SocketFile,
    quic: Quic,
    tcp: Tcp,
    protocol: Option<Protocol>,
    /// The first word about QUIC.
    quic_at: Option<Located<String>>,
    /// The first word about the file of a Unix socket.
    file_at: Option<Located<String>>,
    ssl: Option<Location>,
    /// The first word about TLS other than `ssl` itself.
    tls_at: Option<Located<String>>,
    crt: Vec<Located<std::path::PathBuf>>,
    crt_lists: Vec<Located<std::path::PathBuf>>,
    /// Where relative paths in lists begin.
    crt_base: Option<std::path::PathBuf>,
    alpn: Vec<String>,
    verify: Option<Located<Ask>>,
    ca: Vec<Located<std::path::PathBuf>>,
    crl: Vec<Located<std::path::PathBuf>>,
    own_pardon: Pardon,
    pardon_above: Pardon,
    tls: TlsDefaults,
}

/// What binds with TLS can begin from.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsDefaults {
    no_tickets: bool,
    early: bool,
    fetches_ocsp: bool,
    strict_sni: bool,
    order: SuiteOrder,
    protocol: TlsProtocolSettings,
}

/// Reads what follows a word.
type Read = fn(&mut Line, &mut Settings, &mut Reader) -> Result<(), Diagnostic>;

/// Words of a bind line, and what reads what follows them.
pub(super) const WORDS: &[(&str, Read)] = &[
    ("allow-0rtt", |_, bind, _| {
        bind.tls.early = true;
        Ok(())
    }),
    ("ocsp-update", |line, bind, _| {
        bind.tls.fetches_ocsp = *line.parse("on or off", |text| word::SWITCH.read(text))?.value();
        Ok(())
    }),
    ("accept-proxy", |_, bind, _| {
        bind.accept_proxy = true;
        Ok(())
    }),
    ("alpn", |line, bind, _| {
        let names = line.parse("names of protocols", text::protocols)?;
        bind.alpn.clone_from(names.value());
        Ok(())
    }),
    ("backlog", |line, bind, _| {
        bind.backlog = Some(*line.integer(1..=u32::MAX)?);
        Ok(())
    }),
    ("ca-ignore-err", |line, bind, _| {
        bind.pardon_above = line.parse("the errors to overlook", text::pardon)?.value().clone();
        Ok(())
    }),
    ("ca-file", |line, bind, reader| {
        bind.ca.push(based(line.parse("a file", text::path)?, reader.bases.ca.as_ref()));
        Ok(())
    }),
    ("ciphers", |line, bind, reader| {
        bind.tls.protocol.ciphers = names(line, reader, &word::CIPHER)?;
        Ok(())
    }),
    ("ciphersuites", |line, bind, reader| {
        bind.tls.protocol.ciphersuites = names(line, reader, &word::CIPHERSUITE)?;
        Ok(())
    }),
    ("crl-file", |line, bind, reader| {
        bind.crl.push(based(line.parse("a file", text::path)?, reader.bases.ca.as_ref()));
        Ok(())
    }),
    ("crt", |line, bind, reader| {
        bind.crt.push(based(line.parse("a file", text::path)?, reader.bases.crt.as_ref()));
        Ok(())
    }),
    ("crt-ignore-err", |line, bind, _| {
        bind.own_pardon = line.parse("the errors to overlook", text::pardon)?.value().clone();
        Ok(())
    }),
    ("crt-list", |line, bind, reader| {
        bind.crt_base.clone_from(&reader.bases.crt);
        bind.crt_lists.push(based(line.parse("a file", text::path)?, reader.bases.crt.as_ref()));
        Ok(())
    }),
    ("curves", |line, bind, reader| {
        bind.tls.protocol.curves = names(line, reader, &word::CURVE)?;
        Ok(())
    }),
    ("ecdhe", |line, bind, reader| {
        bind.tls.protocol.curves = names(line, reader, &word::CURVE)?;
        Ok(())
    }),
    ("default-crt", |line, bind, reader| {
        bind.crt.insert(0, based(line.parse("a file", text::path)?, reader.bases.crt.as_ref()));
        Ok(())
    }),
    ("defer-accept", |_, bind, _| {
        bind.tcp.defers = true;
        Ok(())
    }),
    ("force-tlsv12", |line, bind, _| {
        bind.tls.protocol.only(TlsVersion::V1_2, &line.last_location());
        Ok(())
    }),
    ("force-tlsv13", |line, bind, _| {
        bind.tls.protocol.only(TlsVersion::V1_3, &line.last_location());
        Ok(())
    }),
    ("gid", |line, bind, _| {
        bind.file.group = Some(Account::Id(*line.integer(0..=MOST_ID)?));
        Ok(())
    }),
    ("group", |line, bind, _| {
        bind.file.group = Some(Account::Name(line.expect("a group")?.value().clone()));
        Ok(())
    }),
    ("interface", |line, bind, _| {
        bind.interface = Some(line.parse("an interface", text::interface)?);
        Ok(())
    }),
    ("maxconn", |line, bind, _| {
        bind.maxconn = Some(*line.integer(1..=u32::MAX)?);
        Ok(())
    }),
    ("mode", |line, bind, _| {
        bind.file.mode = Some(*line.parse("permissions", text::permissions)?);
        Ok(())
    }),
    ("mss", |line, bind, _| {
        bind.tcp.segment = Some(*line.integer(1..=u16::MAX)?);
        Ok(())
    }),
    ("name", |line, bind, _| {
        bind.name = Some(line.expect("a name")?.value().clone());
        Ok(())
    }),
    ("no-alpn", |_, bind, _| {
        bind.alpn.clear();
        Ok(())
    }),
    ("no-tls-tickets", |_, bind, _| {
        bind.tls.no_tickets = true;
        Ok(())
    }),
    ("no-tlsv12", |line, bind, _| {
        bind.tls.protocol.min = Some(Located::new(TlsVersion::V1_3, line.last_location()));
        Ok(())
    }),
    ("no-tlsv13", |line, bind, _| {
        bind.tls.protocol.max = Some(Located::new(TlsVersion::V1_2, line.last_location()));
        Ok(())
    }),
    ("prefer-client-ciphers", |_, bind, _| {
        bind.tls.order = SuiteOrder::Client;
        Ok(())
    }),
    ("proto", |line, bind, _| {
        bind.protocol = Some(*line.parse("h1 or h2", |text| word::PROTOCOL.read(text))?);
        Ok(())
    }),
    ("quic-cc-algo", |line, bind, _| {
        bind.quic.congestion = *line.parse("a congestion controller", |text| word::CONGESTION.read(text))?;
        Ok(())
    }),
    ("quic-force-retry", |_, bind, _| {
        bind.quic.forces_retry = true;
        Ok(())
    }),
    ("ssl", |line, bind, _| {
        bind.ssl = Some(line.last_location());
        Ok(())
    }),
    ("ssl-max-ver", |line, bind, _| {
        bind.tls.protocol.max = Some(version(line)?);
        Ok(())
    }),
    ("ssl-min-ver", |line, bind, reader| {
        bind.tls.protocol.min = at_least(line, reader)?;
        Ok(())
    }),
    ("strict-sni", |_, bind, _| {
        bind.tls.strict_sni = true;
        Ok(())
    }),
    ("tcp-ut", |line, bind, _| {
        bind.tcp.patience = Some(*line.duration()?).filter(|patience| !patience.is_zero());
        Ok(())
    }),
    ("tfo", |_, bind, _| {
        bind.tcp.fast_open = true;
        Ok(())
    }),
    ("tls-tickets", |_, bind, _| {
        bind.tls.no_tickets = false;
        Ok(())
    }),
    ("transparent", |_, bind, _| {
        bind.transparent = true;
        Ok(())
    }),
    ("uid", |line, bind, _| {
        bind.file.user = Some(Account::Id(*line.integer(0..=MOST_ID)?));
        Ok(())
    }),
    ("user", |line, bind, _| {
        bind.file.user = Some(Account::Name(line.expect("a user")?.value().clone()));
        Ok(())
    }),
    ("v4v6", |line, bind, _| {
        bind.v6only = Some(Located::new(false, line.last_location()));
        Ok(())
    }),
    ("v6only", |line, bind, _| {
        bind.v6only = Some(Located::new(true, line.last_location()));
        Ok(())
    }),
    ("verify", |line, bind, _| {
        bind.verify = Some(line.parse("none, optional or required", |text| word::CLIENT_AUTH.read(text))?);
        Ok(())
    }),
];

/// Words that only number a bind or say which thread is to serve it: accepted, and listed by `check -v`; and whether a value
/// follows them.
pub(super) const IDLE: [(&str, bool); 9] = [
    ("expose-fd", true),
    ("id", true),
    ("level", true),
    ("nice", true),
    ("npn", true),
    ("severity-output", true),
    ("process", true),
    ("shards", true),
    ("thread", true),
];

/// Words about TLS, which mean nothing without `ssl`.
const TLS: [&str; 23] = [
    "allow-0rtt",
    "alpn",
    "ca-file",
    "ciphers",
    "ciphersuites",
    "crl-file",
    "crt",
    "crt-list",
    "curves",
    "default-crt",
    "ecdhe",
    "force-tlsv12",
    "force-tlsv13",
    "no-alpn",
    "no-tls-tickets",
    "no-tlsv12",
    "no-tlsv13",
    "ocsp-update",
    "prefer-client-ciphers",
    "ssl-max-ver",
    "ssl-min-ver",
    "strict-sni",
    "verify",
];
/// Words that `ssl-default-bind-options` knows.
const OPTIONS: [&str; 9] = [
    "force-tlsv12",
    "force-tlsv13",
    "no-tls-tickets",
    "no-tlsv12",
    "no-tlsv13",
    "prefer-client-ciphers",
    "ssl-max-ver",
    "ssl-min-ver",
    "strict-sni",
];
/// Words that may stand between the brackets of a list of certificates.
const LISTED: [&str; 16] = [
    "allow-0rtt",
    "alpn",
    "ca-file",
    "ciphers",
    "ciphersuites",
    "crl-file",
    "curves",
    "ecdhe",
    "no-alpn",
    "no-tls-tickets",
    "no-tlsv12",
    "no-tlsv13",
    "ocsp-update",
    "ssl-max-ver",
    "ssl-min-ver",
    "verify",
];
/// Words about the file of a Unix socket.
const FILE: [&str; 5] = ["gid", "group", "mode", "uid", "user"];
/// Words about QUIC.
const QUIC: [&str; 2] = ["quic-cc-algo", "quic-force-retry"];
/// The greatest number of a user or group; the one after it means "leave as it is" to the system.
pub(super) const MOST_ID: u32 = u32::MAX - 1;

/// Reads a bind line: `bind ADDRESS[,ADDRESS]… WORDS`.
pub(super) fn binds(line: &mut Line, defaults: TlsDefaults, reader: &mut Reader) -> Result<Vec<Bind>, Diagnostic> {
    binds_from(line, Settings::new(defaults), reader)
}

/// Reads a bind line whose words begin from others.
pub(super) fn binds_from(line: &mut Line, mut settings: Settings, reader: &mut Reader) -> Result<Vec<Bind>, Diagnostic> {
    let list = line.expect("an address")?;
    let mut addresses = Vec::new();
    for (at, piece) in pieces(&list) {
        let location = list.location().part(&list, at..at + piece.len());
        let address = parse_word(&Located::new(piece.to_owned(), location), address::bind)?;
        addresses.push(address.map(|address| prefixed(address, &reader.unix.prefix)));
    }
    words(line, &mut settings, reader)?;
    let usual = &reader.unix.file;
    let file = &mut settings.file;
    *file = SocketFile {
        mode: file.mode.or(usual.mode),
        user: file.user.take().or_else(|| usual.user.clone()),
        group: file.group.take().or_else(|| usual.group.clone()),
    };
    settings.warn_of_idle_tls(reader);
    settings.warn_of_idle_file(&addresses, reader);
    let tls = settings.tls(reader)?;
    addresses.into_iter().map(|address| settings.bind(address, tls.clone())).collect()
}

/// Reads words that binds begin from: `default-bind WORDS`.
pub(super) fn default_words(line: &mut Line, settings: &mut Settings, reader: &mut Reader) -> Result<(), Diagnostic> {
    words(line, settings, reader)
}

/// Reads the words of `ssl-default-bind-options`.
pub(super) fn default_options(line: &mut Line, defaults: &mut TlsDefaults, reader: &mut Reader) -> Result<(), Diagnostic> {
    let mut settings = Settings { tls: defaults.clone(), ..Settings::default() };
    some_words(line, &mut settings, reader, "`ssl-default-bind-options`", &OPTIONS)?;
    *defaults = settings.tls;
    Ok(())
}

/// Reads the names of suites or curves that binds begin from: `ssl-default-bind-ciphers` and the like.
pub(super) fn default_names(line: &mut Line, defaults: &mut TlsDefaults, reader: &mut Reader) -> Result<(), Diagnostic> {
    let keyword = line.keyword();
    if keyword.ends_with("-ciphers") {
        defaults.protocol.ciphers = names(line, reader, &word::CIPHER)?;
    } else if keyword.ends_with("-ciphersuites") {
        defaults.protocol.ciphersuites = names(line, reader, &word::CIPHERSUITE)?;
    } else {
        defaults.protocol.curves = names(line, reader, &word::CURVE)?;
    }
    Ok(())
}

/// Reads words of which only these are known.
fn some_words(line: &mut Line, settings: &mut Settings, reader: &mut Reader, title: &str, known: &[&str]) -> Result<(), Diagnostic> {
    while let Some(word) = line.next() {
        if OLD_VERSIONS.contains(&word.as_str()) {
            continue;
        }
        let Some((_, read)) = WORDS.iter().find(|(name, _)| known.contains(name) && *name == word.as_str()) else {
            return Err(unknown(&word, title, known, refused::BIND));
        };
        read(line, settings, reader)?;
    }
    Ok(())
}

/// Returns the TLS of one certificate of a list: that of its bind but for what its line says between brackets.
///
/// # Errors
/// Says what is wrong with the words.
pub(in crate::config) fn overrule(tls: &Tls, file: &str, words: &str) -> Result<Tls, String> {
    let source = Source::new(file, words);
    let mut reader = Reader::default();
    let mut settings = Settings::of(tls);
    let outcome = match Lexer::new(&source).next(&mut reader) {
        Some(mut line) => some_words(&mut line, &mut settings, &mut reader, "a list of certificates", &LISTED),
        None => Ok(()),
    };
    let overruled = outcome.and_then(|()| settings.tls(&mut reader)).map_err(|error| error.message().to_owned())?;
    let (found, _) = reader.finish();
    match found.iter().find(|found| found.severity() == Severity::Error) {
        Some(error) => Err(error.message().to_owned()),
        None => overruled.ok_or_else(|| "no TLS".to_owned()),
    }
}

/// Puts what paths begin with before that of a Unix socket.
fn prefixed(address: BindAddress, prefix: &str) -> BindAddress {
    if let BindAddress::Unix(UnixAddress::Path(path)) = &address
        && !prefix.is_empty()
    {
        return BindAddress::Unix(UnixAddress::Path(format!("{prefix}{}", path.display()).into()));
    }
    address
}

/// Cuts a list of addresses at its commas.
fn pieces(list: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = list.as_ptr().addr();
    list.split(',').map(move |piece| (piece.as_ptr().addr() - start, piece))
}

fn words(line: &mut Line, settings: &mut Settings, reader: &mut Reader) -> Result<(), Diagnostic> {
    while let Some(word) = line.next() {
        if OLD_VERSIONS.contains(&word.as_str()) {
            continue;
        }
        if let Some((_, has_value)) = IDLE.iter().find(|(name, _)| *name == word.as_str()) {
            if *has_value {
                line.expect("its value")?;
            }
            reader.idle(word);
            continue;
        }
        let Some((name, read)) = WORDS.iter().find(|(name, _)| *name == word.as_str()) else {
            let known: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
            return Err(unknown(&word, "`bind`", &known, refused::BIND));
        };
        read(line, settings, reader)?;
        if TLS.contains(name) && settings.tls_at.is_none() {
            settings.tls_at = Some(word);
        } else if FILE.contains(name) && settings.file_at.is_none() {
            settings.file_at = Some(word);
        } else if QUIC.contains(name) && settings.quic_at.is_none() {
            settings.quic_at = Some(word);
        }
    }
    Ok(())
}

impl Settings {
    /// Begins with what all binds begin from.
    pub(super) fn new(tls: TlsDefaults) -> Self {
        Self { tls, ..Self::default() }
    }

    /// Makes a bind of one address.
    pub(super) fn at(&self, address: Located<BindAddress>, reader: &mut Reader) -> Result<Bind, Diagnostic> {
        let tls = self.tls(reader)?;
        self.bind(address, tls)
    }

    /// Tells of words about TLS where none is spoken; HAProxy takes them, and speaks clear text.
    fn warn_of_idle_tls(&self, reader: &mut Reader) {
        if let Some(word) = self.tls_at.as_ref().filter(|_| self.ssl.is_none()) {
            reader.warn(word.location(), format!("`{}` has no effect without `ssl`", **word), "clients are served in clear text");
        }
    }

    /// Tells of words about files where there is none; HAProxy takes them, too.
    fn warn_of_idle_file(&self, addresses: &[Located<BindAddress>], reader: &mut Reader) {
        let is_file = |address: &Located<BindAddress>| matches!(**address, BindAddress::Unix(UnixAddress::Path(_)));
        if let Some(word) = self.file_at.as_ref().filter(|_| !addresses.iter().any(is_file)) {
            let message = format!("`{}` means nothing without the path of a Unix socket", **word);
            reader.warn(word.location(), message, "for example with unix@/run/site.sock");
        }
    }

    /// Goes on from the TLS of a bind.
    fn of(tls: &Tls) -> Self {
        let here = tls.certificates.first().or(tls.crt_lists.first()).map(|file| file.location().clone());
        let located = |version| here.as_ref().map(|here| Located::new(version, here.clone()));
        let (ask, trust) = match &tls.client {
            ClientAuth::None => (Ask::Never, None),
            ClientAuth::Optional(trust) => (Ask::Optional, Some(trust)),
            ClientAuth::Required(trust) => (Ask::Required, Some(trust)),
        };
        let protocol = TlsProtocolSettings {
            min: located(tls.protocol.min),
            max: located(tls.protocol.max),
            ciphers: tls.protocol.ciphers.clone(),
            ciphersuites: tls.protocol.ciphersuites.clone(),
            curves: tls.protocol.curves.clone(),
        };
        Self {
            ssl: here.clone(),
            crt: tls.certificates.clone(),
            crt_lists: tls.crt_lists.clone(),
            crt_base: tls.base.clone(),
            alpn: tls.alpn.clone(),
            verify: here.map(|here| Located::new(ask, here)),
            ca: trust.map(|trust| trust.ca.clone()).unwrap_or_default(),
            crl: trust.map(|trust| trust.crl.clone()).unwrap_or_default(),
            own_pardon: trust.map(|trust| trust.own_pardon.clone()).unwrap_or_default(),
            pardon_above: trust.map(|trust| trust.pardon_above.clone()).unwrap_or_default(),
            tls: TlsDefaults {
                no_tickets: !tls.tickets,
                early: tls.early,
                fetches_ocsp: tls.fetches_ocsp,
                strict_sni: tls.strict_sni,
                order: tls.order,
                protocol,
            },
            ..Self::default()
        }
    }

    fn tls(&self, reader: &mut Reader) -> Result<Option<Tls>, Diagnostic> {
        let Some(ssl) = &self.ssl else { return Ok(None) };
        if self.crt.is_empty() && self.crt_lists.is_empty() {
            return Err(Diagnostic::error(ssl, "`ssl` needs a certificate").hint("for example crt /etc/l7d/certs/"));
        }
        let settings = &self.tls.protocol;
        if let (Some(min), Some(max)) = (&settings.min, &settings.max)
            && **min > **max
        {
            return Err(Diagnostic::error(max.location(), "`ssl-max-ver` is older than `ssl-min-ver`"));
        }
        Ok(Some(Tls {
            certificates: self.crt.clone(),
            crt_lists: self.crt_lists.clone(),
            alpn: self.alpn.clone(),
            strict_sni: self.tls.strict_sni,
            tickets: !self.tls.no_tickets,
            early: self.tls.early,
            fetches_ocsp: self.tls.fetches_ocsp,
            order: self.tls.order,
            base: self.crt_base.clone(),
            client: self.client(reader)?,
            protocol: settings.clone().with_defaults(),
        }))
    }

    /// Returns what is asked of clients.
    fn client(&self, reader: &mut Reader) -> Result<ClientAuth, Diagnostic> {
        let (own_pardon, pardon_above) = (self.own_pardon.clone(), self.pardon_above.clone());
        let trust = Trust { ca: self.ca.clone(), crl: self.crl.clone(), own_pardon, pardon_above, held: Held::default() };
        let ask = self.verify.as_ref().map_or(Ask::Never, |ask| *ask.value());
        match (ask, &self.verify) {
            (Ask::Never, _) => {
                if let Some(file) = trust.ca.first().or(trust.crl.first()) {
                    let message = "nobody is asked for a certificate that this could be held against";
                    reader.warn(file.location(), message, "add verify required or verify optional");
                }
                Ok(ClientAuth::None)
            }
            (_, Some(word)) if trust.ca.is_empty() => {
                let error = Diagnostic::error(word.location(), "certificates cannot be verified without `ca-file`");
                Err(error.hint("for example ca-file /etc/l7d/ca.pem"))
            }
            (Ask::Optional, _) => Ok(ClientAuth::Optional(trust)),
            (Ask::Required, _) => Ok(ClientAuth::Required(trust)),
        }
    }

    /// Makes the bind of one of the addresses of the line.
    fn bind(&self, address: Located<BindAddress>, tls: Option<Tls>) -> Result<Bind, Diagnostic> {
        let is_file = matches!(*address, BindAddress::Unix(UnixAddress::Path(_)));
        let is_quic = address.inet().is_some_and(|inet| inet.transport() == Transport::Quic);
        if let Some(word) = self.quic_at.as_ref().filter(|_| !is_quic) {
            return Err(
                Diagnostic::error(word.location(), format!("`{}` means nothing without QUIC", **word)).hint("for example with quic4@:443")
            );
        }
        let is_v6 = address.inet().is_some_and(|inet| inet.ip().is_ipv6());
        Ok(Bind {
            name: self.name.clone(),
            tls,
            accept_proxy: self.accept_proxy,
            backlog: self.backlog,
            maxconn: self.maxconn,
            interface: self.interface.clone(),
            v6only: is_v6 && self.v6only.as_ref().is_some_and(|v6only| *v6only.value()),
            transparent: self.transparent,
            file: if is_file { self.file.clone() } else { SocketFile::default() },
            quic: self.quic,
            tcp: self.tcp,
            protocol: self.protocol,
            address,
        })
    }
}

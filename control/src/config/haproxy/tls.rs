//! Words about TLS: those of servers, and what binds have in common with them.

use std::path::PathBuf;

use super::line::{Line, unknown};
use super::reader::Reader;
use super::refused;
use super::server::Settings;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::TlsVersion;
use crate::config::value::text;
use crate::config::value::word::{self, Words};
use crate::config::written::{Global, ServerSettings};

/// Reads what follows a word.
type Read = fn(&mut Line, &mut Settings, &mut Reader) -> Result<(), Diagnostic>;

/// Words of a server about TLS, and what reads what follows them.
pub(super) const SERVER_WORDS: &[(&str, Read)] = &[
    ("alpn", |line, server, _| {
        server.server.tls.alpn = Some(line.parse("names of protocols", text::protocols)?.value().clone());
        Ok(())
    }),
    ("ca-file", |line, server, reader| {
        server.server.tls.ca = Some(vec![based(line.parse("a file", text::path)?, reader.bases.ca.as_ref())]);
        Ok(())
    }),
    ("ciphers", |line, server, reader| {
        server.server.tls.protocol.ciphers = names(line, reader, &word::CIPHER)?;
        Ok(())
    }),
    ("ciphersuites", |line, server, reader| {
        server.server.tls.protocol.ciphersuites = names(line, reader, &word::CIPHERSUITE)?;
        Ok(())
    }),
    ("crl-file", |line, server, reader| {
        server.server.tls.crl = Some(vec![based(line.parse("a file", text::path)?, reader.bases.ca.as_ref())]);
        Ok(())
    }),
    ("crt", |line, server, reader| {
        server.server.tls.certificate = Some(based(line.parse("a file", text::path)?, reader.bases.crt.as_ref()));
        Ok(())
    }),
    ("curves", |line, server, reader| {
        server.server.tls.protocol.curves = names(line, reader, &word::CURVE)?;
        Ok(())
    }),
    ("force-tlsv12", |line, server, _| {
        server.server.tls.protocol.only(TlsVersion::V1_2, &line.last_location());
        Ok(())
    }),
    ("force-tlsv13", |line, server, _| {
        server.server.tls.protocol.only(TlsVersion::V1_3, &line.last_location());
        Ok(())
    }),
    ("no-ssl", |_, server, _| {
        server.server.tls.on = Some(false);
        Ok(())
    }),
    ("no-ssl-reuse", |_, server, _| {
        server.server.tls.resumption = Some(false);
        Ok(())
    }),
    ("no-tls-tickets", |_, server, _| {
        server.server.tls.tickets = Some(false);
        Ok(())
    }),
    ("no-tlsv12", |line, server, _| {
        server.server.tls.protocol.min = Some(Located::new(TlsVersion::V1_3, line.last_location()));
        Ok(())
    }),
    ("no-tlsv13", |line, server, _| {
        server.server.tls.protocol.max = Some(Located::new(TlsVersion::V1_2, line.last_location()));
        Ok(())
    }),
    ("sni", |line, server, _| {
        server.server.tls.sni = Some(line.parse("an expression", text::not_empty)?);
        Ok(())
    }),
    ("ssl", |_, server, _| {
        server.server.tls.on = Some(true);
        Ok(())
    }),
    ("ssl-max-ver", |line, server, _| {
        server.server.tls.protocol.max = Some(version(line)?);
        Ok(())
    }),
    ("ssl-min-ver", |line, server, reader| {
        server.server.tls.protocol.min = at_least(line, reader)?;
        Ok(())
    }),
    ("ssl-reuse", |_, server, _| {
        server.server.tls.resumption = Some(true);
        Ok(())
    }),
    ("tls-tickets", |_, server, _| {
        server.server.tls.tickets = Some(true);
        Ok(())
    }),
    ("verify", |line, server, _| {
        server.server.tls.verify = Some(line.parse("none or required", |text| word::SERVER_AUTH.read(text))?);
        Ok(())
    }),
    ("verifyhost", |line, server, _| {
        server.server.tls.verify_host = Some(line.parse("a host", text::not_empty)?);
        Ok(())
    }),
];

/// Words that `ssl-default-server-options` knows.
const OPTIONS: [&str; 7] = ["force-tlsv12", "force-tlsv13", "no-tls-tickets", "no-tlsv12", "no-tlsv13", "ssl-max-ver", "ssl-min-ver"];

/// Reads the names of suites that servers begin from: `ssl-default-server-ciphers` and its like.
pub(super) fn default_names(line: &mut Line, _: &mut Global, reader: &mut Reader) -> Result<(), Diagnostic> {
    let name = line.keyword().trim_start_matches("ssl-default-server-").to_owned();
    default_word(line, &name, reader)
}

/// Reads the words that servers begin from: `ssl-default-server-options`.
pub(super) fn default_options(line: &mut Line, _: &mut Global, reader: &mut Reader) -> Result<(), Diagnostic> {
    while let Some(word) = line.next() {
        if OLD_VERSIONS.contains(&word.as_str()) {
            continue;
        }
        if !OPTIONS.contains(&word.as_str()) {
            return Err(unknown(&word, "`ssl-default-server-options`", &OPTIONS, refused::SERVER));
        }
        default_word(line, &word, reader)?;
    }
    Ok(())
}

fn default_word(line: &mut Line, name: &str, reader: &mut Reader) -> Result<(), Diagnostic> {
    let Some((_, read)) = SERVER_WORDS.iter().find(|(known, _)| *known == name) else { return Ok(()) };
    let tls = std::mem::take(&mut reader.server_tls);
    let mut settings = Settings::of(ServerSettings { tls, ..ServerSettings::default() });
    let outcome = read(line, &mut settings, reader);
    reader.server_tls = settings.server.tls;
    outcome
}

/// Words that forbid a version of TLS which is not spoken here anyway.
pub(super) const OLD_VERSIONS: [&str; 3] = ["no-sslv3", "no-tlsv10", "no-tlsv11"];

/// Reads a version of TLS that is spoken here.
pub(super) fn version(line: &mut Line) -> Result<Located<TlsVersion>, Diagnostic> {
    let version = line.expect("a version of TLS")?;
    let text = version.strip_prefix("TLSv").unwrap_or_default();
    let read = word::TLS_VERSION.read(text);
    read.map(|read| Located::new(read, version.location().clone()))
        .map_err(|_| Diagnostic::error(version.location(), format!("`{}` is not spoken here", *version)).hint("TLSv1.2 or TLSv1.3"))
}

/// Reads the oldest version of TLS to be spoken; what is older than all that are spoken here asks for nothing.
pub(super) fn at_least(line: &mut Line, reader: &mut Reader) -> Result<Option<Located<TlsVersion>>, Diagnostic> {
    if line.peek().is_some_and(|version| matches!(version, "SSLv3" | "TLSv1.0" | "TLSv1.1")) {
        let word = line.expect("a version of TLS")?;
        reader.warn(word.location(), format!("{} is not spoken here", *word), "the oldest version is TLSv1.2");
        return Ok(None);
    }
    version(line).map(Some)
}

/// Reads names as OpenSSL lists them, between colons; none if the list leaves the choice to us.
///
/// OpenSSL passes over those it does not know, so what is not spoken here is left out with a warning, but for the last. Words for whole
/// families (`HIGH`, `ECDHE+AESGCM`) leave the choice to us, because all that is spoken here has forward secrecy and authenticated
/// encryption; what a list takes away or reorders (`!aNULL`, `@STRENGTH`) we do not have.
pub(super) fn names<T: Copy>(line: &mut Line, reader: &mut Reader, words: &Words<T>) -> Result<Option<Vec<T>>, Diagnostic> {
    let list = line.expect("names")?;
    let (mut found, mut left_out, mut first, mut is_family) = (Vec::new(), Vec::new(), None, false);
    for name in list.split(':').filter(|name| !name.starts_with(['!', '-', '+', '@'])) {
        match words.read(name) {
            Ok(known) => found.push(known),
            Err(_) if FAMILIES.contains(&name.split('+').next().unwrap_or_default()) => is_family = true,
            Err(mistake) => {
                left_out.push(name);
                first = first.or(Some(mistake.at(&list, name)));
            }
        }
    }
    match first {
        Some(mistake) if found.is_empty() && !is_family => return Err(mistake.into_diagnostic(list.location(), &list)),
        Some(_) => reader.warn(list.location(), format!("not spoken here: {}", left_out.join(", ")), "the others are"),
        None if found.is_empty() && !is_family => return Err(Diagnostic::error(list.location(), "nothing of this is spoken here")),
        None => {}
    }
    Ok(Some(found).filter(|_| !is_family))
}

/// What OpenSSL calls families of suites some of which are spoken here.
const FAMILIES: [&str; 11] = ["ALL", "AESGCM", "CHACHA20", "DEFAULT", "ECDH", "ECDHE", "EECDH", "HIGH", "TLSv1.2", "aECDSA", "kEECDH"];

/// Returns the path of a file that is looked for in a directory, unless it is named by its whole path.
pub(super) fn based(path: Located<PathBuf>, base: Option<&PathBuf>) -> Located<PathBuf> {
    let is_special = path.to_str().is_some_and(|path| path.starts_with('@'));
    match base {
        Some(base) if !is_special => path.map(|path| base.join(path)),
        Some(_) | None => path,
    }
}

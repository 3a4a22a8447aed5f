//! The key `tls` of binds and servers.

use ::toml::de::DeValue;

use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{ClientAuth, Held, SuiteOrder, Tls, TlsVersion, Trust};
use crate::config::value::text;
use crate::config::value::word::{self, Ask, Words};
use crate::config::written::{ServerTlsSettings, TlsProtocolSettings};

/// Settings HAProxy has for TLS with servers and this model has no place for.
const LATER_SERVER: [&str; 1] = ["allow-0rtt"];

pub(super) fn bind(reader: &mut Reader, item: &Item<'_>) -> Option<Tls> {
    let example = "\"/etc/l7d/certs/\"";
    let mut section = reader.section(item, "`tls`", &format!("{{ certificates = {example} }}"))?;
    let crt_lists = section.take("crt-list").map(|item| reader.texts(&item, "/etc/l7d/certs.list", text::path)).unwrap_or_default();
    let certificates = if crt_lists.is_empty() { section.require(reader, "certificates", example) } else { section.take("certificates") };
    if let Some(item) = certificates.as_ref().filter(|item| reader.list(item).is_empty()) {
        reader.missing(&item.location, "`certificates` is empty", format!("for example certificates = {example}"));
    }
    let certificates = certificates.map(|item| reader.texts(&item, "/etc/l7d/certs/", text::path)).unwrap_or_default();
    let tls = Tls {
        certificates,
        crt_lists,
        alpn: section.take("alpn").map(|item| protocol_names(reader, &item)).unwrap_or_default(),
        strict_sni: section.take("strict-sni").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        tickets: section.take("tickets").and_then(|item| reader.boolean(&item)).unwrap_or(true),
        early: section.take("allow-0rtt").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        fetches_ocsp: section.take("ocsp-update").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        order: match section.take("prefer-client-ciphers").and_then(|item| reader.boolean(&item)) {
            Some(true) => SuiteOrder::Client,
            Some(false) | None => SuiteOrder::Server,
        },
        base: section.take("crt-base").and_then(|item| reader.text(&item, "/etc/l7d/certs", text::path)).map(|base| base.value().clone()),
        client: client(reader, &mut section),
        protocol: protocol(reader, &mut section).with_defaults(),
    };
    section.misplaced(reader, &["ca-file", "crl-file"], |key| format!("write {}", key.trim_end_matches("-file")));
    section.misplaced(reader, &["ocsp"], |_| {
        "the response is read from the file beside the certificate, with `.ocsp` behind its name".to_owned()
    });
    section.misplaced(reader, &["no-tickets", "no-tls-tickets"], |_| "write tickets = false".to_owned());
    section.finish(reader, &[]);
    Some(tls)
}

/// Reads what a bind asks of its clients.
fn client(reader: &mut Reader, section: &mut Section<'_>) -> ClientAuth {
    let item = section.take("verify");
    let ask = item.as_ref().and_then(|item| reader.text(item, "required", |text| word::CLIENT_AUTH.read(text)));
    let pardon = |reader: &mut Reader, section: &mut Section<'_>, key| {
        let read = section.take(key).and_then(|item| reader.text(&item, "10,20", text::pardon));
        read.map(|read| read.value().clone()).unwrap_or_default()
    };
    let (own_pardon, pardon_above) = (pardon(reader, section, "crt-ignore-err"), pardon(reader, section, "ca-ignore-err"));
    let trust =
        Trust { ca: files(reader, section, "ca"), crl: files(reader, section, "crl"), own_pardon, pardon_above, held: Held::default() };
    if item.is_some() && ask.is_none() {
        return ClientAuth::None;
    }
    let wanted = ask.as_ref().map_or(Ask::Never, |ask| *ask.value());
    match (wanted, ask) {
        (Ask::Never, _) => {
            if let Some(file) = trust.ca.first().or(trust.crl.first()) {
                let message = "nobody is asked for a certificate that this could be held against";
                reader.push(Diagnostic::error(file.location(), message).hint("add verify = \"required\" or \"optional\""));
            }
            ClientAuth::None
        }
        (_, Some(ask)) if trust.ca.is_empty() => {
            let message = "certificates cannot be verified without `ca`";
            reader.push(Diagnostic::error(ask.location(), message).hint("for example ca = \"/etc/l7d/ca.pem\""));
            ClientAuth::None
        }
        (Ask::Optional, _) => ClientAuth::Optional(trust),
        (Ask::Required, _) => ClientAuth::Required(trust),
    }
}

fn files(reader: &mut Reader, section: &mut Section<'_>, key: &'static str) -> Vec<Located<std::path::PathBuf>> {
    section.take(key).map(|item| reader.texts(&item, "/etc/l7d/ca.pem", text::path)).unwrap_or_default()
}

/// Reads whether and how TLS is spoken with a server.
pub(super) fn server(reader: &mut Reader, section: &mut Section<'_>) -> ServerTlsSettings {
    let Some(item) = section.take("tls") else { return ServerTlsSettings::default() };
    if let DeValue::Boolean(on) = item.value {
        return ServerTlsSettings { on: Some(*on), ..ServerTlsSettings::default() };
    }
    let example = "{ ca = \"/etc/l7d/ca.pem\", sni = \"req.hdr(host)\" }";
    let Some(mut section) = reader.section(&item, "`tls`", example) else { return ServerTlsSettings::default() };
    let some_files =
        |reader: &mut Reader, section: &mut Section<'_>, key| Some(files(reader, section, key)).filter(|files| !files.is_empty());
    let settings = ServerTlsSettings {
        on: super::check::switch(reader, &mut section),
        verify: section.take("verify").and_then(|item| reader.text(&item, "required", |text| word::SERVER_AUTH.read(text))),
        ca: some_files(reader, &mut section, "ca"),
        crl: some_files(reader, &mut section, "crl"),
        sni: section.take("sni").and_then(|item| reader.text(&item, "req.hdr(host)", text::not_empty)),
        verify_host: section.take("verify-host").and_then(|item| reader.text(&item, "app.internal", text::not_empty)),
        certificate: section.take("certificate").and_then(|item| reader.text(&item, "/etc/l7d/client.pem", text::path)),
        alpn: section.take("alpn").map(|item| protocol_names(reader, &item)),
        resumption: section.take("resumption").and_then(|item| reader.boolean(&item)),
        tickets: section.take("tickets").and_then(|item| reader.boolean(&item)),
        protocol: protocol(reader, &mut section),
    };
    section.misplaced(reader, &["ca-file", "crl-file"], |key| format!("write {}", key.trim_end_matches("-file")));
    section.misplaced(reader, &["verifyhost"], |_| "write verify-host".to_owned());
    section.misplaced(reader, &["crt", "certificates"], |_| "write certificate = \"…\"".to_owned());
    section.misplaced(reader, &["no-ssl-reuse"], |_| "write resumption = false".to_owned());
    section.finish(reader, &LATER_SERVER);
    settings
}

/// Reads versions, suites and curves.
fn protocol(reader: &mut Reader, section: &mut Section<'_>) -> TlsProtocolSettings {
    let min = version(reader, section, "min");
    let max = version(reader, section, "max");
    if let (Some(min), Some(max)) = (&min, &max)
        && **min > **max
    {
        reader.push(Diagnostic::error(max.location(), "`max` is older than `min`"));
    }
    TlsProtocolSettings {
        min,
        max,
        ciphers: names(reader, section, "ciphers", &word::CIPHER),
        ciphersuites: names(reader, section, "ciphersuites", &word::CIPHERSUITE),
        curves: names(reader, section, "curves", &word::CURVE),
    }
}

fn version(reader: &mut Reader, section: &mut Section<'_>, key: &'static str) -> Option<Located<TlsVersion>> {
    section.take(key).and_then(|item| reader.text(&item, "1.2", |text| word::TLS_VERSION.read(text)))
}

/// Reads names in a list or, as OpenSSL writes them, between colons.
fn names<T: Copy>(reader: &mut Reader, section: &mut Section<'_>, key: &'static str, words: &Words<T>) -> Option<Vec<T>> {
    let item = section.take(key)?;
    let all =
        |text: &str| text.split(':').map(|name| words.read(name).map_err(|mistake| mistake.at(text, name))).collect::<Result<Vec<_>, _>>();
    if reader.list(&item).is_empty() {
        reader.missing(&item.location, format!("`{key}` is empty"), "leave it out to have all that are known");
    }
    Some(reader.texts(&item, "X25519", all).iter().flat_map(|names| names.value().iter().copied()).collect())
}

/// Reads protocols offered by ALPN.
pub(super) fn protocol_names(reader: &mut Reader, item: &Item<'_>) -> Vec<String> {
    reader.texts(item, "h2", text::protocol).into_iter().map(|name| name.value().clone()).collect()
}

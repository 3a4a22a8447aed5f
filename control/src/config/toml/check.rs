//! The key `check` of backends, servers and defaults.

use std::sync::Arc;

use ::toml::de::DeValue;

use super::reader::{Item, Reader};
use super::section::Section;
use super::tls;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{CheckKind, HttpCheck, HttpVersion};
use crate::config::value::{check as value, text, word};
use crate::config::written::{CheckSettings, CheckSwitch};

/// Settings HAProxy's checks have and this model has no place for.
const LATER: [&str; 11] = ["agent", "grpc", "ldap", "mysql", "pgsql", "proxy", "redis", "send", "smtp", "spop", "ssl-hello"];

pub(super) fn check(reader: &mut Reader, section: &mut Section<'_>) -> Option<CheckSwitch> {
    let title = format!("`check` of {}", section.title());
    let item = section.take("check")?;
    if let DeValue::Boolean(on) = item.value {
        return Some(if *on { CheckSwitch::On(Located::new(CheckSettings::default(), item.location)) } else { CheckSwitch::Off });
    }
    let DeValue::Table(_) = item.value else {
        reader.wrong(&item, "a table, true or false", "check = { tcp = {}, inter = \"2s\" }");
        return None;
    };
    let inner = reader.section(&item, title, "{ … }")?;
    let settings = settings(reader, inner);
    Some(CheckSwitch::On(Located::new(settings, item.key.location().clone())))
}

fn settings(reader: &mut Reader, mut section: Section<'_>) -> CheckSettings {
    let settings = CheckSettings {
        kind: kind(reader, &mut section),
        inter: section.take("inter").and_then(|item| reader.period(&item)),
        fastinter: section.take("fastinter").and_then(|item| reader.period(&item)),
        downinter: section.take("downinter").and_then(|item| reader.period(&item)),
        timeout: section.take("timeout").and_then(|item| reader.period(&item)),
        rise: section.take("rise").and_then(|item| reader.integer(&item, 1..=MOST_PROBES, 2)),
        fall: section.take("fall").and_then(|item| reader.integer(&item, 1..=MOST_PROBES, 3)),
        port: section.take("port").and_then(|item| reader.integer(&item, 1..=u16::MAX, 8080)),
        address: section.take("address").and_then(|item| reader.text(&item, "10.0.0.11", text::check_address)).map(|address| *address),
        send_proxy: section.take("send-proxy").and_then(|item| reader.boolean(&item)),
        tls: section.take("tls").and_then(|item| reader.boolean(&item)),
        sni: section.take("sni").and_then(|item| reader.text(&item, "app.internal", text::not_empty)).map(|sni| sni.value().clone()),
        alpn: section.take("alpn").map(|item| tls::protocol_names(reader, &item)),
    };
    section.misplaced(reader, &["path", "host", "method", "expect", "version"], |key| format!("write http = {{ {key} = … }}"));
    section.finish(reader, &LATER);
    settings
}

const MOST_PROBES: u32 = 1000;

fn kind(reader: &mut Reader, section: &mut Section<'_>) -> Option<CheckKind> {
    let tcp = section.take("tcp");
    let http = section.take("http");
    if let (Some(_), Some(http)) = (&tcp, &http) {
        reader.push(Diagnostic::error(http.key.location(), "a check is either `tcp` or `http`").hint("leave one of them out"));
    }
    if let Some(item) = tcp {
        let inner = reader.section(&item, "`tcp`", "{}")?;
        inner.finish(reader, &["send", "expect"]);
        return Some(CheckKind::Tcp);
    }
    http.and_then(|item| http_check(reader, &item)).map(|http| CheckKind::Http(Arc::new(http)))
}

fn http_check(reader: &mut Reader, item: &Item<'_>) -> Option<HttpCheck> {
    let mut section = reader.section(item, "`http`", "{ path = \"/healthz\" }")?;
    let method = section.take("method").and_then(|item| reader.text(&item, "GET", value::method));
    let path = section.take("path").and_then(|item| reader.text(&item, "/healthz", value::path));
    let host = section.take("host").and_then(|item| reader.text(&item, "app.internal", value::host));
    let version = section.take("version").and_then(|item| reader.text(&item, "1.1", |text| word::HTTP_VERSION.read(text)));
    let expect = section.take("expect").and_then(|item| reader.text(&item, "status 200", value::expect));
    section.finish(reader, &["headers", "body", "uri"]);
    Some(HttpCheck {
        method: method.map_or_else(|| "GET".to_owned(), |method| method.value().clone()),
        path: path.map_or_else(|| "/".to_owned(), |path| path.value().clone()),
        host: host.map(|host| host.value().clone()),
        version: version.map_or(HttpVersion::Http11, |version| *version),
        expect: expect.map_or_else(value::default_expect, |expect| expect.value().clone()),
    })
}

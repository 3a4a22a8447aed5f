//! The key `check` of backends, servers and defaults.

use std::sync::Arc;

use ::toml::de::DeValue;

use super::reader::{Item, Reader};
use super::section::Section;
use super::tls;
use crate::config::error::Diagnostic;
use crate::config::haproxy::{protocol, sequence};
use crate::config::location::Located;
use crate::config::model::{Format, HttpVersion, Request, Script, Sequence};
use crate::config::value::{Mistake, check as value, text, word};
use crate::config::written::{AgentSettings, CheckSettings, CheckSwitch, External, Steps};

/// Settings HAProxy's checks have and this model has no place for.
const LATER: [&str; 1] = ["spop"];

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
    let mut inner = reader.section(&item, title, "{ … }")?;
    let on = switch(reader, &mut inner);
    let settings = Located::new(settings(reader, inner), item.key.location().clone());
    Some(match on {
        Some(true) => CheckSwitch::On(settings),
        Some(false) => CheckSwitch::Off,
        None => CheckSwitch::Ready(settings),
    })
}

/// Reads `on`, which says whether settings switch on what they are about: `"inherit"` leaves that to narrower and wider places.
pub(super) fn switch(reader: &mut Reader, section: &mut Section<'_>) -> Option<bool> {
    let Some(item) = section.take("on") else { return Some(true) };
    let DeValue::String(_) = item.value else { return reader.boolean(&item) };
    let inherit = |text: &str| match text {
        "inherit" => Ok(()),
        _ => Err(Mistake::new(format!("`{text}` is no switch")).hint("true, false or \"inherit\"")),
    };
    reader.text(&item, "inherit", inherit);
    None
}

/// Reads `agent`: false, or where it is and how it is asked.
pub(super) fn agent(reader: &mut Reader, section: &mut Section<'_>) -> AgentSettings {
    let Some(item) = section.take("agent") else { return AgentSettings::default() };
    let location = item.key.location().clone();
    if let DeValue::Boolean(on) = item.value {
        return AgentSettings { on: Some(Located::new(*on, location)), ..AgentSettings::default() };
    }
    let title = format!("`agent` of {}", section.title());
    let Some(mut inner) = reader.section(&item, title, "{ port = 8888 }") else { return AgentSettings::default() };
    let agent = AgentSettings {
        on: switch(reader, &mut inner).map(|on| Located::new(on, location)),
        inter: inner.take("inter").and_then(|item| reader.period(&item)),
        question: inner.take("send").and_then(|item| reader.string(&item, "hello\\n")).map(|text| text.value().clone()),
        address: inner.take("address").and_then(|item| reader.text(&item, "10.0.0.11", text::check_address)).map(|address| *address),
        port: inner.take("port").and_then(|item| reader.integer(&item, 1..=u16::MAX, 8888)),
    };
    inner.finish(reader, &[]);
    agent
}

fn settings(reader: &mut Reader, mut section: Section<'_>) -> CheckSettings {
    let settings = CheckSettings {
        sequence: sequence(reader, &mut section),
        recipe: None,
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
        version: section
            .take("proto")
            .and_then(|item| reader.text(&item, "h2", |text| word::PROTOCOL.read(text)))
            .map(|protocol| *protocol.value()),
        init_state: section
            .take("init-state")
            .and_then(|item| reader.text(&item, "down", |text| word::INIT_STATE.read(text)))
            .map(|state| *state.value()),
        observe: section.take("observe").and_then(|item| reader.text(&item, "layer7", |text| word::LAYER.read(text))),
        error_limit: section.take("error-limit").and_then(|item| reader.integer(&item, 1..=u32::MAX, 10)),
        on_error: section
            .take("on-error")
            .and_then(|item| reader.text(&item, "mark-down", |text| word::ON_ERROR.read(text)))
            .map(|action| *action.value()),
    };
    section.misplaced(reader, &["agent"], |_| "write agent = { port = … } beside check".to_owned());
    section.misplaced(reader, &["path", "host", "method", "expect", "version"], |key| format!("write http = {{ {key} = … }}"));
    section.finish(reader, &LATER);
    settings
}

const MOST_PROBES: u32 = 1000;

fn sequence(reader: &mut Reader, section: &mut Section<'_>) -> Option<Arc<Sequence>> {
    let kinds: Vec<_> = KINDS.iter().filter_map(|(name, read)| Some((section.take(name)?, read))).collect();
    let ((item, read), others) = kinds.split_first()?;
    for (other, _) in others {
        let message = format!("a check is either `{}` or `{}`", *item.key, *other.key);
        reader.push(Diagnostic::error(other.key.location(), message).hint("leave one of them out"));
    }
    read(reader, item)
}

type Read = fn(&mut Reader, &Item<'_>) -> Option<Arc<Sequence>>;

/// What a check can speak, and what reads how.
const KINDS: &[(&str, Read)] = &[
    ("tcp", |reader, item| {
        let mut inner = reader.section(item, "`tcp`", "{}")?;
        let steps = steps(reader, &mut inner, Script::Tcp);
        inner.misplaced(reader, &["send", "expect", "connect"], |key| format!("write steps = [\"{key} …\"]"));
        inner.finish(reader, &[]);
        Some(steps.map_or_else(sequence::plain, sequence::tcp))
    }),
    ("dns", |reader, item| {
        let mut inner = reader.section(item, "`dns`", "{ name = \"www.example.com\" }")?;
        let name = inner.take("name").and_then(|item| reader.text(&item, "www.example.com", value::dns_name));
        let kind = inner.take("type").and_then(|item| reader.text(&item, "AAAA", value::dns_type));
        inner.finish(reader, &[]);
        Some(protocol::dns(name.as_ref().map_or(".", |name| name.as_str()), kind.map(|kind| *kind)))
    }),
    ("grpc", |reader, item| {
        let mut inner = reader.section(item, "`grpc`", "{ service = \"shop.Cart\" }")?;
        let service = inner.take("service").and_then(|item| reader.text(&item, "shop.Cart", value::service));
        inner.finish(reader, &[]);
        Some(protocol::grpc(service.as_ref().map_or("", |service| service.as_str())))
    }),
    ("quic", |reader, item| plain(reader, item, protocol::quic)),
    ("udp", |reader, item| {
        let mut inner = reader.section(item, "`udp`", "{ steps = [\"send ping\", \"expect string pong\"] }")?;
        let steps = steps(reader, &mut inner, Script::Tcp).unwrap_or_default();
        inner.misplaced(reader, &["send", "expect"], |key| format!("write steps = [\"{key} …\"]"));
        inner.finish(reader, &[]);
        sequence::udp(steps, item.key.location()).map_err(|error| reader.push(error)).ok()
    }),
    ("external", |reader, item| {
        let mut inner = reader.section(item, "`external`", "{ command = \"/usr/local/bin/check\" }")?;
        let command = inner.require(reader, "command", "\"/usr/local/bin/check\"");
        let external = External {
            command: command.and_then(|item| reader.text(&item, "/usr/local/bin/check", text::path)),
            path: inner.take("path").and_then(|item| reader.string(&item, "/usr/bin:/bin")),
        };
        inner.finish(reader, &[]);
        sequence::external(&external)
    }),
    ("http", http_check),
    ("ldap", |reader, item| plain(reader, item, protocol::ldap)),
    ("mysql", |reader, item| {
        let mut inner = reader.section(item, "`mysql`", "{ user = \"check\" }")?;
        let user = inner.take("user").and_then(|item| reader.text(&item, "check", value::user));
        let old = inner.take("pre-41").and_then(|item| reader.boolean(&item)).unwrap_or(false);
        inner.finish(reader, &[]);
        let age = if old { protocol::Age::Before41 } else { protocol::Age::Since41 };
        Some(protocol::mysql(user.as_ref().map(|user| (user.as_str(), age))))
    }),
    ("pgsql", |reader, item| {
        let mut inner = reader.section(item, "`pgsql`", "{ user = \"check\" }")?;
        let user = inner.require(reader, "user", "\"check\"").and_then(|item| reader.text(&item, "check", value::user));
        inner.finish(reader, &[]);
        user.map(|user| protocol::pgsql(&user))
    }),
    ("redis", |reader, item| plain(reader, item, protocol::redis)),
    ("smtp", |reader, item| {
        let mut inner = reader.section(item, "`smtp`", "{ hello = \"EHLO\", domain = \"example.com\" }")?;
        let hello = inner.take("hello").and_then(|item| reader.text(&item, "EHLO", |text| word::HELLO.read(text)));
        let domain = inner.take("domain").and_then(|item| reader.text(&item, "example.com", value::host));
        inner.finish(reader, &[]);
        Some(protocol::smtp(hello.map_or("HELO", |hello| *hello), domain.as_ref().map_or("localhost", |domain| domain.as_str())))
    }),
    ("ssl-hello", |reader, item| plain(reader, item, protocol::ssl_hello)),
];

/// Reads a protocol without settings.
fn plain(reader: &mut Reader, item: &Item<'_>, make: fn() -> Arc<Sequence>) -> Option<Arc<Sequence>> {
    let inner = reader.section(item, format!("`{}`", *item.key), "{}")?;
    inner.finish(reader, &[]);
    Some(make())
}

/// Reads `steps`, if there are any: lines as they stand behind `tcp-check` or `http-check` in HAProxy's language.
fn steps(reader: &mut Reader, section: &mut Section<'_>, script: Script) -> Option<Steps> {
    let mut steps = Steps::default();
    let item = section.take("steps")?;
    for line in reader.texts(&item, "expect string +OK", text::not_empty) {
        if let Err(error) = sequence::push_text(&line, &mut steps, script) {
            reader.push(error);
        }
    }
    Some(steps)
}

fn http_check(reader: &mut Reader, item: &Item<'_>) -> Option<Arc<Sequence>> {
    let mut section = reader.section(item, "`http`", "{ path = \"/healthz\" }")?;
    let method = section.take("method").and_then(|item| reader.text(&item, "GET", value::method));
    let path = section.take("path").and_then(|item| reader.text(&item, "/healthz", value::path));
    let host = section.take("host").and_then(|item| reader.text(&item, "app.internal", value::host));
    let version = section.take("version").and_then(|item| reader.text(&item, "1.1", value::version));
    let mut steps = steps(reader, &mut section, Script::Http).unwrap_or_default();
    if let Some(item) = section.take("expect") {
        let text = reader.string(&item, "status 200");
        if let Some(Err(error)) = text.map(|text| sequence::push_expect(&text, &mut steps)) {
            reader.push(error);
        }
    }
    steps.disable_on_404 |= section.take("disable-on-404").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    steps.send_state |= section.take("send-state").and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let headers = section.take("headers").map(|item| headers(reader, &item)).unwrap_or_default();
    let body = section.take("body").and_then(|item| reader.string(&item, "ping"));
    section.misplaced(reader, &["uri"], |_| "write steps = [\"send hdr NAME VALUE body TEXT\"]".to_owned());
    section.finish(reader, &[]);
    let host = host.map(|host| ("host".to_owned(), Format::plain(host.value().as_str())));
    let request = Request {
        method: Some(method.map_or_else(|| "GET".to_owned(), |method| method.value().clone())),
        target: path.map(|path| Format::plain(path.value().as_str())),
        version: Some(version.map_or(HttpVersion::Http11, |version| *version)),
        headers: host.into_iter().chain(headers).collect(),
        body: body.map(|body| Format::plain(body.value().as_str())),
    };
    let mut banners = Vec::new();
    let sequence = sequence::http(&request, steps, &mut |location| banners.push(location.clone()));
    for location in banners {
        let warning = Diagnostic::warning(&location, "nothing is asked for before this is expected");
        reader.push(warning.hint("what the server says by itself is waited for"));
    }
    Some(sequence)
}

/// Reads header fields of the request.
fn headers(reader: &mut Reader, item: &Item<'_>) -> Vec<(String, Format)> {
    let Some(mut section) = reader.section(item, "`headers`", "{ accept = \"text/plain\" }") else { return Vec::new() };
    let mut found = Vec::new();
    for item in section.names() {
        let name = reader.parse(&item.key, value::header_name);
        let texts: Vec<_> = reader.list(&item).iter().filter_map(|element| reader.string(element, "text/plain")).collect();
        found.extend(name.iter().flat_map(|name| texts.iter().map(|text| (name.value().clone(), Format::plain(text.value().as_str())))));
    }
    found
}

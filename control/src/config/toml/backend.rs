//! Sections `[backend.NAME]`.

use std::sync::Arc;

use super::check;
use super::connection;
use super::pool;
use super::proxy::{self, Presets, Side};
use super::reader::{Item, Reader};
use super::section::Section;
use super::server;
use crate::config::location::Located;
use crate::config::model::Cookie;
use crate::config::value::{text, word};
use crate::config::written::{Backend, Defaults, PersistenceCookie, Proxy, Unnamed};

/// Settings HAProxy has in backends only and this model has no place for.
pub(super) const LATER: [&str; 7] =
    ["guid", "hash-preserve-affinity", "http-check", "max-session-srv-conns", "server-template", "tcp-check", "use-server"];

pub(super) fn backend(reader: &mut Reader, name: Located<String>, presets: &Presets, mut section: Section<'_>) -> Backend {
    let defaults = presets.of(reader, &mut section, Side::Backend);
    let proxy = proxy::proxy(reader, &mut section, Side::Backend);
    let (acls, rules) = (proxy::acls(reader, &mut section), proxy::rules(reader, &mut section));
    let backend = Backend { acls, rules, ..own(reader, &mut section, (name, defaults, proxy)) };
    section.misplaced(reader, &["bind", "default-backend", "xdp"], |key| format!("`{key}` belongs in a frontend"));
    section.finish(reader, &[&LATER[..], &proxy::LATER].concat());
    backend
}

/// Reads what only backends have.
pub(super) fn own(reader: &mut Reader, section: &mut Section<'_>, plain: (Located<String>, Arc<Defaults>, Proxy)) -> Backend {
    let (name, defaults, proxy) = plain;
    let mut servers = server::servers(reader, section);
    servers.extend(server::templates(reader, section, &servers));
    let backend = Backend {
        name,
        defaults,
        is_twin: false,
        proxy,
        pool: pool::pool(reader, section),
        check: check::check(reader, section),
        cookie: section.take("cookie").and_then(|item| cookie(reader, &item)),
        dynamic_cookie_key: section.take("dynamic-cookie-key").and_then(|item| reader.text(&item, "a secret", text::not_empty)),
        retries: proxy::retries(reader, section),
        retry_on: proxy::retry_on(reader, section),
        acls: Vec::new(),
        rules: Vec::new(),
        source: connection::source(reader, section).map(|source| source.value().clone()),
        default_server: server::default_server(reader, section),
        servers,
    };
    section.misplaced(reader, &["stick"], |_| "write it as one of the rules, for example \"stick on src table per_ip\"".to_owned());
    section.misplaced(reader, &["stick-table"], |_| {
        "write a section [table.NAME]; without `table`, `stick` uses the one of the backend's name".to_owned()
    });
    section.misplaced(reader, &["servers"], |_| "write server".to_owned());
    backend
}

fn cookie(reader: &mut Reader, item: &Item<'_>) -> Option<Located<PersistenceCookie>> {
    let mut section = reader.section(item, "`cookie`", "{ name = \"SERVERID\", mode = \"insert\" }")?;
    let name = section.require(reader, "name", "\"SERVERID\"").and_then(|item| reader.text(&item, "SERVERID", text::cookie));
    let mode = section.require(reader, "mode", "\"insert\"");
    let mode = mode.and_then(|item| reader.text(&item, "insert", |text| word::COOKIE_MODE.read(text)));
    let mut flag = |key| section.take(key).and_then(|item| reader.boolean(&item)).unwrap_or(false);
    let (indirect, nocache, postonly) = (flag("indirect"), flag("nocache"), flag("postonly"));
    let (preserve, httponly, secure) = (flag("preserve"), flag("httponly"), flag("secure"));
    let dynamic = flag("dynamic");
    let unnamed = if flag("named-only") { Unnamed::Nothing } else { Unnamed::Name };
    let domains = section.take("domain").map(|item| reader.texts(&item, ".example.com", text::cookie_attribute)).unwrap_or_default();
    let attributes = section.take("attr").map(|item| reader.texts(&item, "SameSite=Lax", text::cookie_attribute)).unwrap_or_default();
    let maxidle = section.take("maxidle").and_then(|item| reader.period(&item));
    let maxlife = section.take("maxlife").and_then(|item| reader.period(&item));
    section.finish(reader, &[]);
    let plain = |texts: Vec<Located<String>>| texts.into_iter().map(|text| text.value().clone()).collect();
    let (domains, attributes) = (plain(domains), plain(attributes));
    let (name, mode) = (name?.value().clone(), *mode?);
    let cookie = Cookie {
        name,
        mode,
        indirect,
        nocache,
        postonly,
        preserve,
        httponly,
        secure,
        domains,
        maxidle,
        maxlife,
        attributes,
        dynamic_key: None,
        idle_key: None,
    };
    Some(Located::new(PersistenceCookie { cookie, dynamic, unnamed }, item.key.location().clone()))
}

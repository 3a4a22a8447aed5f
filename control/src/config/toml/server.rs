//! Servers of a backend, and what they have in common.

use std::ops::RangeInclusive;

use ::toml::de::DeValue;

use super::check;
use super::connection::{self, source};
use super::reader::{Item, Reader};
use super::section::Section;
use super::{resolvers, tls};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::ServerAddress;
use crate::config::value::word::Words;
use crate::config::value::{Mistake, address, text, word};
use crate::config::written::{Server, ServerPoolSettings, ServerSettings};

/// Settings HAProxy has for servers and this model has no place for.
const LATER: [&str; 2] = ["id", "redir"];

pub(super) fn servers(reader: &mut Reader, section: &mut Section<'_>) -> Vec<Server> {
    let title = format!("`server` of {}", section.title());
    let Some(item) = section.take("server") else { return Vec::new() };
    let Some(mut inner) = reader.section(&item, title, "{ web1 = \"10.0.0.11:8080\" }") else { return Vec::new() };
    let mut servers = Vec::new();
    for item in inner.names() {
        if reader.name(&item.key, "a server") {
            servers.extend(server(reader, item));
        }
    }
    servers
}

fn server(reader: &mut Reader, item: Item<'_>) -> Option<Server> {
    if let DeValue::String(_) = item.value {
        let address = server_address(reader, &item);
        return Some(Server { name: item.key, address, settings: ServerSettings::default() });
    }
    let example = "10.0.0.11:8080";
    let DeValue::Table(_) = item.value else {
        reader.wrong(&item, "an address or a table", &format!("{} = \"{example}\"", *item.key));
        return None;
    };
    let mut section = reader.section(&item, format!("server `{}`", *item.key), "{ … }")?;
    let address = section.require(reader, "address", &format!("\"{example}\"")).and_then(|item| server_address(reader, &item));
    let settings = settings(reader, &mut section);
    section.finish(reader, &LATER);
    Some(Server { name: item.key, address, settings })
}

/// Reads `server-template`: tables with the address and the number of servers, by what the names of the servers begin with.
pub(super) fn templates(reader: &mut Reader, section: &mut Section<'_>, known: &[Server]) -> Vec<Server> {
    let title = format!("`server-template` of {}", section.title());
    let example = "{ web = { count = 3, address = \"web.example:80\" } }";
    let Some(item) = section.take("server-template") else { return Vec::new() };
    let Some(mut inner) = reader.section(&item, title, example) else { return Vec::new() };
    let mut servers: Vec<Server> = Vec::new();
    for item in inner.names() {
        if !reader.name(&item.key, "servers") {
            continue;
        }
        let Some(mut section) = reader.section(&item, format!("server-template `{}`", *item.key), example) else { continue };
        let range = section.require(reader, "count", "3").and_then(|item| count_of(reader, &item));
        let address = section.require(reader, "address", "\"web.example:80\"").and_then(|item| server_address(reader, &item));
        let settings = settings(reader, &mut section);
        section.finish(reader, &LATER);
        for number in range.into_iter().flatten() {
            let name = item.key.clone().map(|prefix| format!("{prefix}{number}"));
            if known.iter().chain(&servers).any(|other| other.name.value() == name.value()) {
                reader.push(Diagnostic::error(name.location(), format!("there is a server `{name}` already")));
                break;
            }
            servers.push(Server { name, address: address.clone(), settings: settings.clone() });
        }
    }
    servers
}

/// Reads how many servers a template makes: a number, or a text with the first and the last.
fn count_of(reader: &mut Reader, item: &Item<'_>) -> Option<RangeInclusive<u32>> {
    if let DeValue::String(_) = item.value {
        return reader.text(item, "5-8", text::count_or_range).map(|range| range.value().clone());
    }
    reader.integer(item, 1..=text::MOST_SERVERS, 3).map(|count| 1..=count)
}

fn server_address(reader: &mut Reader, item: &Item<'_>) -> Option<Located<ServerAddress>> {
    reader.text(item, "10.0.0.11:8080", address::server)
}

pub(super) fn default_server(reader: &mut Reader, section: &mut Section<'_>) -> ServerSettings {
    let title = format!("`default-server` of {}", section.title());
    let Some(item) = section.take("default-server") else { return ServerSettings::default() };
    let Some(mut inner) = reader.section(&item, title, "{ maxconn = 200 }") else { return ServerSettings::default() };
    let settings = settings(reader, &mut inner);
    inner.finish(reader, &LATER);
    settings
}

/// Reads what servers and `default-server` have in common.
fn settings(reader: &mut Reader, section: &mut Section<'_>) -> ServerSettings {
    let settings = ServerSettings {
        weight: section.take("weight").and_then(|item| reader.integer(&item, 0..=256, 10)),
        backup: section.take("backup").and_then(|item| reader.boolean(&item)),
        disabled: section.take("disabled").and_then(|item| reader.boolean(&item)),
        maxconn: section.take("maxconn").and_then(|item| reader.integer(&item, 0..=u32::MAX, 200)),
        minconn: section.take("minconn").and_then(|item| count(reader, &item)),
        maxqueue: section.take("maxqueue").and_then(|item| count(reader, &item)),
        slowstart: section.take("slowstart").and_then(|item| reader.duration(&item)),
        ends_own: marked(reader, section, ("on-marked-down", "shutdown-sessions"), &word::MARKED_DOWN),
        ends_spares: marked(reader, section, ("on-marked-up", "shutdown-backup-sessions"), &word::MARKED_UP),
        check: check::check(reader, section),
        agent: check::agent(reader, section),
        track: section.take("track").and_then(|item| reader.text(&item, "backend/server", text::tracked)),
        protocol: section
            .take("proto")
            .and_then(|item| reader.text(&item, "h2", |text| word::PROTOCOL.read(text)))
            .map(|protocol| *protocol.value()),
        cookie: section.take("cookie").and_then(|item| reader.text(&item, "s1", text::cookie)),
        source: source(reader, section),
        send_proxy: connection::send_proxy(reader, section),
        fast_open: section.take("tfo").and_then(|item| reader.boolean(&item)),
        non_stick: section.take("non-stick").and_then(|item| reader.boolean(&item)),
        patience: section.take("tcp-ut").and_then(|item| reader.duration(&item)),
        tls: tls::server(reader, section),
        pool: pool(reader, section),
        naming: resolvers::settings(reader, section),
    };
    section.misplaced(reader, &["pool-low-conn"], |_| "leave it out: threads never take each other's connections".to_owned());
    section.misplaced(reader, &["send-proxy-v2"], |_| "write send-proxy = \"v2\"".to_owned());
    section.misplaced(reader, &["proxy-v2-options"], |_| "write send-proxy = { version = \"v2\", options = [\"crc32c\"] }".to_owned());
    section.misplaced(reader, &["check-ssl", "no-check-ssl"], |_| "write check = { tls = … }".to_owned());
    section.misplaced(reader, &["check-sni", "check-alpn"], |key| format!("write check = {{ {} = … }}", key.trim_start_matches("check-")));
    section.misplaced(reader, &["check-send-proxy"], |_| "write check = { send-proxy = true }".to_owned());
    section.misplaced(reader, &CHECK, |key| format!("write check = {{ {key} = … }}"));
    section.misplaced(reader, &["agent-check", "agent-addr", "agent-inter", "agent-port", "agent-send"], |_| {
        "write agent = { port = …, address = …, inter = …, send = … }".to_owned()
    });
    section.misplaced(reader, &["addr"], |_| "write check = { address = … }".to_owned());
    section.misplaced(reader, &["ssl"], |_| "write tls = true, or tls = { … }".to_owned());
    section
        .misplaced(reader, &["alpn", "ciphers", "ciphersuites", "curves", "sni", "verify"], |key| format!("write tls = {{ {key} = … }}"));
    section.misplaced(reader, &["ca-file", "crl-file"], |key| format!("write tls = {{ {} = … }}", key.trim_end_matches("-file")));
    section.misplaced(reader, &["crt"], |_| "write tls = { certificate = … }".to_owned());
    section.misplaced(reader, &["verifyhost"], |_| "write tls = { verify-host = … }".to_owned());
    section.misplaced(reader, &["no-ssl-reuse"], |_| "write tls = { resumption = false }".to_owned());
    settings
}

/// What belongs in `check`.
const CHECK: [&str; 10] = ["inter", "fastinter", "downinter", "rise", "fall", "port", "observe", "error-limit", "on-error", "init-state"];

/// Reads how long connections are kept for further requests.
fn pool(reader: &mut Reader, section: &mut Section<'_>) -> ServerPoolSettings {
    ServerPoolSettings {
        most_idle: section.take("pool-max-conn").and_then(|item| limit(reader, &item, 100)),
        purge_delay: section.take("pool-purge-delay").and_then(|item| reader.duration(&item)),
        most_reuses: section.take("max-reuse").and_then(|item| limit(reader, &item, 1000)),
    }
}

/// Reads what follows a mark.
fn marked(reader: &mut Reader, section: &mut Section<'_>, (key, example): (&'static str, &str), words: &Words<bool>) -> Option<bool> {
    section.take(key).and_then(|item| reader.text(&item, example, |text| words.read(text))).map(|word| *word.value())
}

/// Reads a number of things, or `"unlimited"`.
fn limit(reader: &mut Reader, item: &Item<'_>, example: u32) -> Option<Option<u32>> {
    let DeValue::String(_) = item.value else { return reader.integer(item, 0..=u32::MAX, example).map(Some) };
    let unlimited = |text: &str| match text {
        "unlimited" => Ok(None),
        _ => Err(Mistake::new(format!("`{text}` is no number")).hint("a whole number, or \"unlimited\"")),
    };
    reader.text(item, "unlimited", unlimited).map(|limit| *limit)
}

fn count(reader: &mut Reader, item: &Item<'_>) -> Option<Located<u32>> {
    reader.integer(item, 1..=u32::MAX, 20).map(|count| Located::new(count, item.location.clone()))
}

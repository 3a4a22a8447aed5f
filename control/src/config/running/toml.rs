//! A file in the native format, of which some values are others.

use std::ops::RangeInclusive;
use std::sync::Arc;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{Added, Changed, Changes, Fate, Setting, haproxy};
use crate::config::convert::server_text;
use crate::config::haproxy::server as described;
use crate::config::location::Source;

/// Writes a file as it would have to be.
pub(super) fn rewrite(source: &Arc<Source>, changes: &Changes<'_>) -> String {
    // A configuration was made of it, so it is sound.
    let Ok(mut document) = source.text().parse::<DocumentMut>() else { return source.text().to_owned() };
    for changed in &changes.changed {
        if let Some(backend) = section(&mut document, ["backend", "listen"], changed.backend) {
            server(backend, changed);
        }
    }
    for added in &changes.added {
        if let Some(backend) = section(&mut document, ["backend", "listen"], added.backend) {
            add(backend, added);
        }
    }
    for (frontend, most) in &changes.frontends {
        if let Some(frontend) = section(&mut document, ["frontend", "listen"], frontend.name()) {
            number(frontend, "maxconn", *most);
        }
    }
    if !changes.process.is_empty() {
        let global = document.entry("global").or_insert_with(|| Item::Table(Table::new()));
        for (key, value) in &changes.process {
            global.as_table_like_mut().into_iter().for_each(|global| number(global, key, *value));
        }
    }
    document.to_string()
}

/// Finds the section of a proxy.
fn section<'d>(document: &'d mut DocumentMut, kinds: [&str; 2], name: &str) -> Option<&'d mut dyn TableLike> {
    let kind = kinds.into_iter().find(|kind| document.get(kind).and_then(|all| all.get(name)).is_some())?;
    document.get_mut(kind)?.get_mut(name)?.as_table_like_mut()
}

/// Writes a number of which 0 is what nobody has to say.
fn number(table: &mut dyn TableLike, key: &str, value: u32) {
    if value == 0 {
        table.remove(key);
    } else {
        put(table, key, i64::from(value).into());
    }
}

/// Sets a value; what stands around it stays.
fn put(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => drop(table.insert(key, Item::Value(value))),
    }
}

fn server(backend: &mut dyn TableLike, changed: &Changed<'_>) {
    let name = changed.server.name();
    if servers(backend).is_some_and(|servers| !servers.contains_key(name)) {
        expand(backend, name);
    }
    let Some(servers) = servers(backend) else { return };
    match &changed.fate {
        Fate::Gone => drop(servers.remove(name)),
        Fate::Edited(address, settings) => edit(servers, name, address.as_deref(), settings),
    }
}

/// Returns the servers of a backend, and makes a place for them if there is none.
fn servers(backend: &mut dyn TableLike) -> Option<&mut dyn TableLike> {
    backend.entry("server").or_insert(Item::Table(Table::new())).as_table_like_mut()
}

fn edit(servers: &mut dyn TableLike, name: &str, address: Option<&str>, settings: &[Setting]) {
    let Some(item) = servers.get_mut(name) else { return };
    if let Some(text) = item.as_str().map(str::to_owned) {
        match (address, settings) {
            (Some(address), []) => return put(servers, name, address.into()),
            _ => {
                let mut table = InlineTable::new();
                table.insert("address", text.into());
                put(servers, name, Value::InlineTable(table));
            }
        }
    }
    let Some(table) = servers.get_mut(name).and_then(Item::as_table_like_mut) else { return };
    address.into_iter().for_each(|address| put(table, "address", address.into()));
    for setting in settings {
        match setting {
            Setting::Weight(weight) => put(table, "weight", i64::from(*weight).into()),
            Setting::Disabled(is) => put(table, "disabled", (*is).into()),
            Setting::Maxconn(most) => put(table, "maxconn", i64::from(*most).into()),
            Setting::Minconn(least) => put(table, "minconn", i64::from(*least).into()),
            Setting::CheckAddress(ip) => put(check(table), "address", ip.to_string().into()),
            Setting::CheckPort(port) => put(check(table), "port", i64::from(*port).into()),
        }
    }
}

/// Returns what a server says of its checks.
fn check(server: &mut dyn TableLike) -> &mut dyn TableLike {
    if server.get("check").is_none_or(|check| check.as_table_like().is_none()) {
        put(server, "check", Value::InlineTable(InlineTable::new()));
    }
    server.get_mut("check").and_then(Item::as_table_like_mut).expect("a table from the line above")
}

/// Writes the servers of the template that makes a server of this name one by one.
fn expand(backend: &mut dyn TableLike, name: &str) {
    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let Some(templates) = backend.get_mut("server-template").and_then(Item::as_table_like_mut) else { return };
    // A prefix may end with digits itself.
    let found = (prefix.len()..name.len()).find_map(|length| templates.remove(&name[..length]).map(|item| (&name[..length], item)));
    let is_last = templates.is_empty();
    if is_last {
        backend.remove("server-template");
    }
    let Some((prefix, mut template)) = found else { return };
    let Some(count) = template.as_table_like_mut().and_then(|table| table.remove("count")) else { return };
    let Some(servers) = servers(backend) else { return };
    for number in numbers(&count) {
        servers.insert(&format!("{prefix}{number}"), template.clone());
    }
}

/// Reads how many servers a template makes.
fn numbers(count: &Item) -> RangeInclusive<u32> {
    let text = count.as_str().map_or_else(|| count.as_integer().unwrap_or(0).to_string(), str::to_owned);
    let (first, last) = text.split_once('-').unwrap_or(("1", &text));
    first.trim().parse().unwrap_or(1)..=last.trim().parse().unwrap_or(0)
}

/// Writes a server that was added.
fn add(backend: &mut dyn TableLike, added: &Added<'_>) {
    let words = haproxy::words(added.server.name.location());
    let Some(value) = described(&words).ok().and_then(|server| server_text(&server)?.parse::<Value>().ok()) else { return };
    let Some(servers) = servers(backend) else { return };
    servers.insert(added.server.name(), Item::Value(value));
    let (address, settings) = &added.edits;
    edit(servers, added.server.name(), address.as_deref(), settings);
}

//! States of servers that a process before this one has written down, in the form in which `show servers state` prints them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Backend, Config, NamedAddress, ServerId, StateSource};
use crate::file;
use crate::fleet::Fleet;
use crate::server_state::{Admin, Verdict};

/// What is written down of one server.
struct Saved<'t> {
    backend: &'t str,
    server: &'t str,
    ip: Option<IpAddr>,
    host: Option<&'t str>,
    port: Option<u16>,
    is_stopped: bool,
    admin: u8,
    weight: u16,
    configured_weight: u16,
}

/// Gives servers the states that the files of the configuration say they had, and returns what is wrong with the files.
pub fn restore(fleet: &Fleet) -> Vec<String> {
    let config = fleet.config();
    walk(&config, |server, saved| apply(fleet, server, saved))
}

/// Returns where servers that have names were, by backend and server, as far as the files say.
pub(crate) fn addresses(config: &Config) -> HashMap<(String, String), IpAddr> {
    let mut found = HashMap::new();
    // What is wrong with the files is told when the states are restored.
    let _told_later = walk(config, |server, saved| {
        let host = config.server(server).address().named().and_then(NamedAddress::host);
        if let Some(ip) = saved.ip.filter(|_| host == saved.host) {
            found.insert((saved.backend.to_owned(), saved.server.to_owned()), ip);
        }
    });
    found
}

/// Goes through what the files say of servers that are there, and returns what is wrong with the files.
fn walk(config: &Config, mut visit: impl FnMut(ServerId, &Saved<'_>)) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut known: Option<(PathBuf, String)> = None;
    for backend in config.backends() {
        let Some(path) = place(config, backend) else { continue };
        if known.as_ref().is_none_or(|(known, _)| *known != path) {
            let text = file::read_text(&path, file::LARGEST).unwrap_or_else(|error| {
                complaints.push(format!("server state file {}: {error}", path.display()));
                String::new()
            });
            complaints.extend(strange(&path, &text));
            known = Some((path, text));
        }
        let text = known.as_ref().map_or("", |(_, text)| text);
        for saved in text.lines().skip(1).filter_map(parse).filter(|saved| saved.backend == backend.name()) {
            if let Some(server) = config.server_named(backend.name(), saved.server) {
                visit(server.id(), &saved);
            }
        }
    }
    complaints
}

/// Returns the file that has the states of a backend's servers, if any has.
fn place(config: &Config, backend: &Backend) -> Option<PathBuf> {
    let (global, name) = (
        config.global(),
        match backend.state_source() {
            StateSource::None => return None,
            StateSource::Global => config.global().state_file()?.to_owned(),
            StateSource::Local => PathBuf::from(backend.state_name().unwrap_or(backend.name())),
        },
    );
    Some(global.state_base().map_or(name.clone(), |base| base.join(&name)))
}

fn strange(path: &Path, text: &str) -> Option<String> {
    let first = text.lines().next()?;
    (first.trim() != "1").then(|| format!("server state file {}: version `{first}` is not understood", path.display()))
}

fn parse(line: &str) -> Option<Saved<'_>> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if line.starts_with('#') {
        return None;
    }
    let field = |place: usize| fields.get(place).copied();
    let port = field(18).and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    Some(Saved {
        backend: field(1)?,
        server: field(3)?,
        ip: field(4).and_then(|ip| ip.parse().ok()),
        host: field(17).filter(|host| *host != "-"),
        port,
        is_stopped: field(5)? == "0",
        admin: field(6)?.parse().ok()?,
        weight: field(7)?.parse().ok()?,
        configured_weight: field(8)?.parse().ok()?,
    })
}

fn apply(fleet: &Fleet, server: ServerId, saved: &Saved<'_>) {
    let config = fleet.config();
    let model = config.server(server);
    // An address that stands in the file is that of the file, as in HAProxy.
    if let Some((ip, port)) = model.ip().zip(saved.port).filter(|(_, port)| model.port().is_some_and(|own| own != *port)) {
        fleet.amend(Arc::new(config.with_address(server, ip, Some(port))));
    }
    let view = fleet.view();
    if saved.configured_weight == model.weight() && saved.weight != model.weight() && saved.weight <= 256 {
        fleet.set_weight(&view, server, Some(saved.weight));
    }
    if saved.admin & FORCED_MAINTENANCE != 0 {
        fleet.set_admin(&view, server, Admin::Maint);
    } else if saved.admin & FORCED_DRAIN != 0 {
        fleet.set_admin(&view, server, Admin::Drain);
    }
    if saved.is_stopped && saved.admin & MAINTENANCE == 0 && model.check().is_some() {
        fleet.set_health(&view, server, Verdict::Fail);
    }
}

/// Bits of the administrative state.
const FORCED_MAINTENANCE: u8 = 1;
const MAINTENANCE: u8 = 1 | 2 | 4;
const FORCED_DRAIN: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_state_is_passed_over() {
        let line = "3 app 1 s1 127.0.0.1 2 8 5 1 40 1 0 2 0 0 0 0 - 9001 - 0 0 - - 0";
        let saved = parse(line).unwrap();
        assert_eq!((saved.backend, saved.server, saved.weight, saved.admin), ("app", "s1", 5, 8));
        assert_eq!(saved.port, Some(9001));
        for end in 0..line.len() {
            let _ = parse(&line[..end]);
        }
        assert!(parse("# be_id be_name").is_none() && parse("").is_none() && parse("3 app 1 s1 x y z").is_none());
    }
}

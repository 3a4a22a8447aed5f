//! `l4d plan`: what a file would put into the maps, and why a frontend is not for the kernel; nothing is touched, and nobody need be root.

use std::{fmt::Write, sync::Arc};

use control::{
    config::{BackendId, Config, Diagnostic, Frontend, Server, XdpFrontend},
    fleet::Fleet,
};
use serde_json::{Value, json};
use xdp_common::{
    flow::{HashKey, UDP},
    limits::{SEQUENCE_SLOTS, SERVERS, SERVICES},
    service::{Choice, Forward, OnDead, OnNone, Tracking},
};

use crate::{
    note::Note,
    plan::{self, ServiceKey, Wanted, WantedService, Way},
    setup, sync,
    tables::Tables,
};

/// What would be in the maps with all servers up.
struct Preview {
    wanted: Wanted,
    tables: Tables,
    refused: Vec<String>,
    /// All slots of the rings.
    slots: u32,
}

impl Preview {
    fn of(config: &Arc<Config>) -> Self {
        let wanted = plan::plan(&Fleet::new(Arc::clone(config)).view(), |_| Way::default(), |_| Note::default());
        let slots = setup::rings(config).of_new();
        let mut tables = Tables::empty(HashKey::default(), slots);
        let refused = sync::sync(&mut tables, &wanted).refused.iter().map(ToString::to_string).collect();
        Self { wanted, tables, refused, slots }
    }
}

/// Describes what a file would put into the maps.
pub(crate) fn text(config: &Arc<Config>) -> String {
    let preview = Preview::of(config);
    let mut text = String::new();
    for frontend in config.frontends() {
        // A string takes all text.
        let _ = match frontend.xdp() {
            Some(xdp) => in_kernel(&mut text, config, &preview, frontend, xdp.backend()),
            None => in_user_space(&mut text, frontend),
        };
    }
    for refused in &preview.refused {
        let _ = writeln!(text, "no room: {refused}");
    }
    let guard = &preview.wanted.guard;
    let _ = writeln!(
        text,
        "maps: {} of {} services, {} of {} servers, {} of {} ring slots, {} prefixes",
        preview.tables.services().count(),
        SERVICES - 1,
        preview.tables.servers.len(),
        SERVERS - 1,
        preview.tables.slots_taken(),
        preview.slots,
        guard.prefixes.len(),
    );
    text
}

fn in_kernel(text: &mut String, config: &Config, preview: &Preview, frontend: &Frontend, backend: BackendId) -> std::fmt::Result {
    writeln!(text, "frontend {}: in the kernel", frontend.name())?;
    for key in plan::service_keys(frontend) {
        let Some(service) = preview.wanted.services.get(&key) else { continue };
        writeln!(
            text,
            "  {} {key}  {}, {}; backend {}; {}; {}{}{}",
            protocol(&key),
            service.forward.name(),
            choice(service.choice),
            service.backend,
            remembered(service),
            dead(service),
            if service.on_none == OnNone::Reset { ", and reset where no server is up" } else { "" },
            service.mss.map_or_else(String::new, |mss| format!("; segments of at most {mss} bytes"))
        )?;
        for server in preview.tables.servers_of(&key) {
            let name = plan::server_at(config, backend, &key, server.socket).map_or("-", Server::name);
            writeln!(text, "    {name:<16} {:<28} {:>5.1}% of new flows", address(server.socket), server.share * 100.0)?;
        }
        if service.servers.is_empty() {
            writeln!(text, "    no servers")?;
        }
    }
    writeln!(text)
}

fn in_user_space(text: &mut String, frontend: &Frontend) -> std::fmt::Result {
    let obstacles = frontend.kernel_obstacles();
    if obstacles.is_empty() {
        return writeln!(text, "frontend {}: in user space; the kernel could serve it: xdp = {{ forward = \"nat\" }}\n", frontend.name());
    }
    writeln!(text, "frontend {}: in user space; the kernel cannot serve it", frontend.name())?;
    for obstacle in obstacles {
        writeln!(text, "  {}: {}", place(obstacle), obstacle.message())?;
    }
    writeln!(text)
}

fn place(diagnostic: &Diagnostic) -> String {
    diagnostic.location().map_or_else(|| diagnostic.file().to_owned(), ToString::to_string)
}

fn protocol(key: &ServiceKey) -> &'static str {
    if key.protocol == UDP { "udp" } else { "tcp" }
}

/// Shows where a server listens; without a port it is the client's.
fn address(socket: std::net::SocketAddr) -> String {
    if socket.port() == 0 { format!("{} (the same port)", socket.ip()) } else { socket.to_string() }
}

/// Returns how a server is chosen, in words.
pub(crate) const fn choice(choice: Choice) -> &'static str {
    match choice {
        Choice::Source => "source hash",
        Choice::Tuple => "tuple hash",
        Choice::RoundRobin => "round robin",
        Choice::LeastConn => "least connections",
    }
}

fn remembered(service: &WantedService) -> &'static str {
    match (service.forward, service.tracking) {
        (Forward::Nat, _) => "an entry for every flow",
        (_, Tracking::Always) => "a word for every flow",
        (_, Tracking::WhereChanged) => "a word for flows of changed ring slots",
    }
}

const fn dead(service: &WantedService) -> &'static str {
    match service.on_dead {
        OnDead::Move => "connections of a dead server move",
        OnDead::Reset => "connections of a dead server are reset",
    }
}

/// Does as [`text`] for programs.
pub(crate) fn json(config: &Arc<Config>) -> Value {
    let preview = Preview::of(config);
    let frontends: Vec<Value> = config.frontends().iter().map(|frontend| json_frontend(config, &preview, frontend)).collect();
    json!({
        "frontends": frontends,
        "refused": preview.refused,
        "maps": {
            "services": { "used": preview.tables.services().count(), "size": SERVICES - 1 },
            "servers": { "used": preview.tables.servers.len(), "size": SERVERS - 1 },
            "ring_slots": { "used": preview.tables.slots_taken(), "size": preview.slots, "sequence": SEQUENCE_SLOTS },
            "prefixes": preview.wanted.guard.prefixes.len(),
        },
    })
}

fn json_frontend(config: &Config, preview: &Preview, frontend: &Frontend) -> Value {
    let obstacle = |obstacle: &Diagnostic| json!({ "place": place(obstacle), "message": obstacle.message() });
    let of =
        |xdp: &XdpFrontend| plan::service_keys(frontend).filter_map(|key| json_service(config, preview, xdp.backend(), &key)).collect();
    let services: Vec<Value> = frontend.xdp().map(of).unwrap_or_default();
    json!({
        "name": frontend.name(),
        "in_kernel": frontend.xdp().is_some(),
        "services": services,
        "obstacles": frontend.kernel_obstacles().iter().map(obstacle).collect::<Vec<_>>(),
    })
}

fn json_service(config: &Config, preview: &Preview, backend: BackendId, key: &ServiceKey) -> Option<Value> {
    let service = preview.wanted.services.get(key)?;
    let servers = preview.tables.servers_of(key).into_iter().map(|server| {
        let name = plan::server_at(config, backend, key, server.socket).map(Server::name);
        json!({ "name": name, "address": server.socket.to_string(), "share": server.share })
    });
    Some(json!({
        "protocol": protocol(key),
        "address": key.socket.ip().to_string(),
        "first_port": key.socket.port(),
        "last_port": key.last,
        "forward": service.forward.name(),
        "choice": choice(service.choice),
        "backend": service.backend,
        "mss": service.mss,
        "servers": servers.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[xdp]
interfaces = ["eth0"]
deny = ["192.0.2.0/24"]
[frontend.db]
mode = "tcp"
bind = ["10.0.0.1:5432", "10.0.0.1:6000-6999"]
xdp = { forward = "nat", dead-server = "reset" }
default-backend = "db"
[frontend.web]
mode = "http"
bind = ["*:80"]
rules = ["http-request deny if { path /x }"]
default-backend = "site"
[frontend.could]
mode = "tcp"
bind = ["10.0.0.1:81"]
default-backend = "db"
[backend.db]
mode = "tcp"
balance = "leastconn"
[backend.db.server]
one = { address = "10.0.1.1", weight = 3 }
two = "10.0.1.2"
[backend.site]
mode = "http"
server.one = "10.0.1.3:80"
"#;

    #[test]
    fn a_plan_says_what_is_in_the_kernel_and_why_the_rest_is_not() {
        let config = Arc::new(Config::parse("l4d.toml", FILE).unwrap());
        let text = text(&config);
        for part in [
            "frontend db: in the kernel\n  tcp 10.0.0.1:5432  nat, least connections; backend db; an entry for every flow; connections of a dead",
            "tcp 10.0.0.1:6000-6999",
            "10.0.1.1 (the same port)      75.0% of new flows",
            "10.0.1.2:5432                 25.0% of new flows",
            "frontend web: in user space; the kernel cannot serve it\n",
            "mode http, the kernel tier forwards bytes",
            "l4d.toml:12:10: bind *:80: the kernel tier cannot serve every address",
            "frontend could: in user space; the kernel could serve it",
            "maps: 2 of 4095 services, 4 of 65535 servers, 8192 of ",
            " ring slots, 1 prefixes",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        let json = json(&config);
        assert_eq!(json["frontends"][0]["services"][1]["last_port"], 6999);
        assert_eq!(json["frontends"][1]["in_kernel"], false);
        assert!(json["frontends"][1]["obstacles"].as_array().is_some_and(|list| list.len() >= 3), "{json}");
        assert_eq!(json["frontends"][2]["obstacles"], json!([]));
    }
}

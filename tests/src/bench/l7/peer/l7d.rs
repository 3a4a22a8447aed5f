//! What l7d is told.

use std::fmt::Write as _;

use super::super::case::Face;
use super::{IDLE_SECONDS, MOST_CONNECTIONS, Site};

/// Returns the configuration.
pub(super) fn site(site: &Site<'_>) -> String {
    let Site { front, statistics, servers, .. } = site;
    let mode = if site.is_http() { "http" } else { "tcp" };
    let log = site.log.map_or_else(String::new, |sink| format!("log = \"{sink} local0\"\n"));
    let mut options = Vec::new();
    if site.is_http() {
        options.push("forwardfor");
    }
    if site.log.is_some() {
        options.push(if site.is_http() { "httplog" } else { "tcplog" });
    }
    let rules = if site.has_rules() { RULES } else { "" };
    let mut text = format!(
        "[global]\nnbthread = 1\nmaxconn = {MOST_CONNECTIONS}\nmetrics = \"{statistics}\"\n{log}\n\
         [defaults]\nmode = \"{mode}\"\noption = {options:?}\n\
         timeout = {{ connect = \"5s\", client = \"{IDLE_SECONDS}s\", server = \"{IDLE_SECONDS}s\", tunnel = \"{IDLE_SECONDS}s\", queue = \"5s\", \
         http-request = \"10s\", http-keep-alive = \"{IDLE_SECONDS}s\" }}\n\n\
         [frontend.front]\nmaxconn = {MOST_CONNECTIONS}\nbind = [{}]\ndefault-backend = \"app\"\n{rules}\n",
        bind(site),
    );
    for name in ["app", "other"] {
        writeln!(text, "[backend.{name}]\nbalance = \"roundrobin\"\nserver = {{ s1 = \"{}\", s2 = \"{}\" }}\n", servers[0], servers[1])
            .expect("a string takes all text");
    }
    debug_assert!(text.contains(&front.to_string()), "clients find the frontend");
    text
}

fn bind(site: &Site<'_>) -> String {
    let front = site.front;
    match (site.face, site.certificate()) {
        (Face::Https, Some(certificate)) => {
            let file = certificate.both.display();
            format!("{{ address = \"{front}\", tls = {{ certificates = \"{file}\", alpn = [\"h2\", \"http/1.1\"] }} }}")
        }
        _ => format!("\"{front}\""),
    }
}

/// The same that the peers are told.
const RULES: &str = "rules = [\n  \"http-request deny if { path_beg /private/ }\",\n  \
     \"http-request set-header X-Forwarded-Proto http\",\n  \"use_backend other if { path_beg /other/ }\",\n]\n";

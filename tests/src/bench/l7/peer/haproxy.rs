//! What haproxy is told.

use super::{IDLE_SECONDS, MOST_CONNECTIONS, Site};

/// Returns the configuration.
pub(super) fn site(site: &Site<'_>, splice: bool) -> String {
    let Site { front, statistics, servers, .. } = site;
    let socket = site.directory.join("stats.sock");
    let mode = if site.is_http() { "http" } else { "tcp" };
    let when = |wanted: bool, line: &'static str| if wanted { line } else { "" };
    let log = site.log.map_or_else(String::new, |sink| format!("  log {sink} local0\n"));
    let logs = match (site.log, site.is_http()) {
        (None, _) => "",
        (Some(_), true) => "  log global\n  option httplog\n",
        (Some(_), false) => "  log global\n  option tcplog\n",
    };
    let tls = site
        .certificate()
        .map_or_else(String::new, |certificate| format!(" ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.2", certificate.both.display()));
    let backend = |name: &str| {
        let reuse = when(site.is_http(), "  http-reuse always\n");
        format!("backend {name}\n  balance roundrobin\n{reuse}  server s1 {}\n  server s2 {}\n\n", servers[0], servers[1])
    };
    format!(
        "global\n  nbthread 1\n  maxconn {MOST_CONNECTIONS}\n  no strict-limits\n  stats socket {} mode 600 level admin\n{log}\n\
         defaults\n  mode {mode}\n{}{}{logs}  timeout connect 5s\n  timeout client {IDLE_SECONDS}s\n  timeout server {IDLE_SECONDS}s\n  \
         timeout tunnel {IDLE_SECONDS}s\n  timeout queue 5s\n  timeout http-request 10s\n  timeout http-keep-alive {IDLE_SECONDS}s\n\n\
         frontend front\n  maxconn {MOST_CONNECTIONS}\n  bind {front}{tls}\n{}  default_backend app\n\n{}{}\
         frontend statistics\n  mode http\n  bind {statistics}\n  stats enable\n  stats uri /\n",
        socket.display(),
        when(site.is_http(), "  option forwardfor\n"),
        when(splice, SPLICE),
        when(site.has_rules(), RULES),
        backend("app"),
        backend("other"),
    )
}

/// The same that the others are told.
const RULES: &str = "  http-request deny if { path_beg /private/ }\n  \
     http-request set-header X-Forwarded-Proto http\n  use_backend other if { path_beg /other/ }\n";

/// Not `splice-auto`, with which Debian's haproxy splices nothing over the loopback interface. Pipes have the kernel's size, which nobody has to tune.
const SPLICE: &str = "  option splice-request\n  option splice-response\n";

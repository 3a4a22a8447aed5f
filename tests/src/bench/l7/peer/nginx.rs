//! What nginx is told, and whether it can carry bytes at all.
//!
//! It does without a master process, which would leave its worker behind if this benchmark were killed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::super::case::Face;
use super::{IDLE_SECONDS, MOST_CONNECTIONS, Site};

/// Where the module is that carries bytes.
#[derive(Debug)]
pub(super) enum Stream {
    BuiltIn,
    Module(PathBuf),
    Missing,
}

impl Stream {
    /// Looks where Debian puts it.
    pub(super) fn find(program: &Path) -> Result<Self> {
        let output = Command::new(program).arg("-V").output().with_context(|| format!("run {}", program.display()))?;
        let built = String::from_utf8_lossy(&output.stderr).split_whitespace().any(|option| option == "--with-stream");
        let module = PathBuf::from("/usr/lib/nginx/modules/ngx_stream_module.so");
        Ok(match (built, module.is_file()) {
            (true, _) => Self::BuiltIn,
            (false, true) => Self::Module(module),
            (false, false) => Self::Missing,
        })
    }
}

/// Returns the configuration.
///
/// # Errors
/// Fails if bytes are to be carried and the module for that is not installed.
pub(super) fn site(site: &Site<'_>, stream: &Stream) -> Result<String> {
    let module = match (site.is_http(), stream) {
        (true, _) | (false, Stream::BuiltIn) => String::new(),
        (false, Stream::Module(file)) => format!("load_module {};\n", file.display()),
        (false, Stream::Missing) => bail!("nginx has no stream module (apt-get install libnginx-mod-stream)"),
    };
    let head = format!(
        "{module}daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\nevents {{ worker_connections {MOST_CONNECTIONS}; }}\n"
    );
    let body = if site.is_http() { http(site) } else { bytes(site) };
    Ok(head + &body)
}

fn http(site: &Site<'_>) -> String {
    let Site { front, statistics, servers, .. } = site;
    // Other proxies see from the first bytes whether it is HTTP/2.
    let plain = if site.face == Face::H2c { " http2" } else { "" };
    let (protocols, files) = site.certificate().map_or((plain, String::new()), |certificate| {
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        (" ssl http2", format!("    ssl_certificate {chain};\n    ssl_certificate_key {key};\n    ssl_protocols TLSv1.2 TLSv1.3;\n"))
    });
    let rules =
        if site.has_rules() { "    location /private/ { return 403; }\n    location /other/ { proxy_pass http://other; }\n" } else { "" };
    let proto = if site.has_rules() { "  proxy_set_header X-Forwarded-Proto http;\n" } else { "" };
    let forwarded = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
    format!(
        "http {{\n  access_log {};\n{TEMPORARY}  keepalive_timeout {IDLE_SECONDS}s;\n  keepalive_requests {ENDLESS};\n  client_header_timeout 10s;\n  \
         client_body_timeout {IDLE_SECONDS}s;\n  send_timeout {IDLE_SECONDS}s;\n  proxy_connect_timeout 5s;\n  proxy_read_timeout {IDLE_SECONDS}s;\n  \
         proxy_send_timeout {IDLE_SECONDS}s;\n  proxy_http_version 1.1;\n  proxy_max_temp_file_size 0;\n  proxy_set_header Host $host;\n  \
         proxy_set_header Connection \"\";\n  {forwarded}\n{proto}{}{}\
         \x20 server {{\n    listen {front}{protocols} backlog=4096;\n{files}    location / {{ proxy_pass http://app; }}\n{rules}\
         \x20   location /websocket {{\n      proxy_pass http://app;\n      proxy_set_header Host $host;\n      proxy_set_header Upgrade $http_upgrade;\n      \
         proxy_set_header Connection \"upgrade\";\n      {forwarded}\n    }}\n  }}\n  \
         server {{\n    listen {statistics};\n    location / {{ stub_status; }}\n  }}\n}}\n",
        log(site, "combined"),
        kept("app", servers),
        kept("other", servers),
    )
}

fn bytes(site: &Site<'_>) -> String {
    let Site { front, servers, .. } = site;
    let format = "  log_format bytes '$remote_addr $status $bytes_sent $session_time';\n";
    format!(
        "stream {{\n{format}  access_log {};\n  proxy_connect_timeout 5s;\n  proxy_timeout {IDLE_SECONDS}s;\n  \
         upstream app {{ server {}; server {}; }}\n  server {{ listen {front} backlog=4096; proxy_pass app; }}\n}}\n",
        log(site, "bytes"),
        servers[0],
        servers[1],
    )
}

fn log(site: &Site<'_>, format: &str) -> String {
    site.log.map_or_else(|| "off".to_owned(), |sink| format!("syslog:server={sink} {format}"))
}

/// Returns servers whose connections are kept.
fn kept(name: &str, servers: &[SocketAddr; 2]) -> String {
    let [first, second] = servers;
    format!(
        "  upstream {name} {{\n    server {first};\n    server {second};\n    keepalive 512;\n    keepalive_requests {ENDLESS};\n    \
         keepalive_timeout {IDLE_SECONDS}s;\n  }}\n"
    )
}

/// As many requests as come on a connection.
const ENDLESS: u32 = 1_000_000_000;
/// Below the directory of this process, which alone may be written to.
const TEMPORARY: &str = "  client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  \
     scgi_temp_path scgi;\n";

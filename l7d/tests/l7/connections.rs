//! What rules know of the connections themselves: their ends, whatever rules say of these, how they came in and how they fare.

use std::io::{Read, Write};

use crate::http::server;
use crate::kit::{Daemon, Server, connect, refusal, unused_address};
use crate::twins::Twins;

/// A server that says what rules have told it.
fn mirror() -> Server {
    let (server, _) = server(|head, _| {
        let mut seen: Vec<String> =
            head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-")).map(str::to_ascii_lowercase).collect();
        seen.sort();
        // Not as a body, whose length that of the address of a door would change.
        format!("HTTP/1.1 200 OK\r\nX-Seen: {}\r\nContent-Length: 0\r\n\r\n", seen.join(" ; "))
    });
    server
}

/// What is asked of a request, each in a field of its own.
const ASKED: [&str; 8] = [
    "%[src]|%[fc_src]|%[fc_src_is_local]|%[dst]|%[dst_port]|%[fc_dst]|%[fc_dst_port]|%[fc_dst_is_local]",
    "%[src_port,sub(txn.port)]|%[fc_src_port,bool]",
    "%[fc_rcvd_proxy]|%[so_name]|%[fc_err]|%[fc_err_str]|%[fc_http_major]",
    "%[fc_lost]|%[fc_retrans]|%[fc_sacked]|%[fc_unacked]|%[fc_reordering]",
    "%[fc_rtt(us),bool]|%[fc_rttvar(us),bool]|%[fc_rtt,div(1000)]|%[fc_rtt(ms),div(1000)]|%[fc_rttvar,div(1000)]|%[fc_fackets]",
    "%[fe_conn(f)]|%[fe_conn]|%[fe_conn(g)]|%[fe_req_rate(g)]|%[fe_sess_rate(g)]",
    "%[meth(GET)]|%[meth(post)]|%[meth(FOO)]",
    "%[fc_src,ipmask(8)]|%[src,ipmask(8)]",
];

/// What is asked of a response.
const ANSWERED: &str = "%[bc_dst]:%[bc_dst_port]|%[bc_src]|%[bc_src_port,bool]|%[bc_http_major]|%[fc_src]";

fn site(server: &Server, extra: &str, rules: &str) -> String {
    let asked: String =
        ASKED.iter().enumerate().map(|(number, asked)| format!(" http-request set-header X-{number} '{asked}'\n")).collect();
    format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n log-format \"%ST %[fc_src] %[bc_dst_port] %[so_name]\"\n timeout client 30s\n timeout server 30s\n \
         timeout connect 2s\nfrontend f\n bind @DOOR@ name front {extra}\n http-request set-var(txn.port) src_port\n{rules}{asked} \
         http-response set-header X-Answered \"{ANSWERED}\"\n default_backend b\nbackend b\n server s {}\n\
         frontend g\n bind abns@connections-@DOOR@\n default_backend b\n",
        server.address()
    )
}

#[test]
fn the_ends_of_connections_are_those_of_haproxy() {
    let server = mirror();
    let rules = [
        "",
        " tcp-request connection set-src ipv4(192.0.2.1)\n tcp-request connection set-dst-port int(99)\n",
        " http-request set-src ipv4(192.0.2.1)\n http-request set-dst ipv4(192.0.2.2)\n http-request set-dst-port int(99)\n",
        " tcp-request session set-src ipv4(192.0.2.3)\n",
    ];
    for rules in rules {
        let twins = Twins::start(&site(&server, "", rules));
        for method in ["GET", "POST"] {
            twins.compare(&format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        }
    }
}

#[test]
fn who_came_by_a_proxy_is_known() {
    let server = mirror();
    let twins = Twins::start(&site(&server, "accept-proxy", " http-request set-src ipv4(192.0.2.9)\n"));
    for header in ["PROXY TCP4 198.51.100.7 198.51.100.8 4000 80\r\n", "PROXY UNKNOWN\r\n"] {
        twins.compare(&format!("{header}GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    }
}

#[test]
fn rules_in_toml_and_of_bytes_know_them_too() {
    let (front, bytes) = (unused_address(), unused_address());
    let server = mirror();
    let _daemon = Daemon::start(&format!(
        "[frontend.f]\nbind = {{ address = \"{front}\", name = \"door\" }}\ndefault-backend = \"b\"\n\
         rules = ['http-request return status 200 content-type text/plain lf-string \"%[so_name] %[fc_src] %[fc_rtt(us),bool]\"']\n\
         [frontend.t]\nmode = \"tcp\"\nbind = {{ address = \"{bytes}\", name = \"raw\" }}\ndefault-backend = \"t\"\n\
         rules = ['tcp-request content reject unless {{ so_name raw }} {{ fc_src 127.0.0.1 }} {{ fc_rtt(us) gt 0 }}']\n\
         [backend.b]\nserver.s = \"{0}\"\n[backend.t]\nmode = \"tcp\"\nserver.s = \"{0}\"\n",
        server.address()
    ));
    for (address, expected) in [(front, "door 127.0.0.1 1"), (bytes, "200 OK")] {
        let mut client = connect(address);
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        assert!(answer.contains(expected), "{answer}");
    }
}

#[test]
fn what_does_not_fit_is_told() {
    for (asked, expected) in [
        ("%[fc_rtt(s)]", "`s` is not ms or us"),
        ("%[fe_conn(none)]", "no frontend `none`"),
        ("%[so_id]", "is not supported: proxies, binds and servers go by their names"),
    ] {
        let said = refusal(&format!("[frontend.f]\nbind = \"127.0.0.1:1\"\nrules = ['http-request set-header A \"{asked}\"']\n"));
        assert!(said.contains(expected), "{asked}: {said}");
    }
}

//! The names of the rule language that no other test is about, beside Debian's haproxy where that knows them.

use crate::http::{ask, server};
use crate::kit::{Daemon, Server, connect, unused_address};
use crate::twins::Twins;

const STORED: &str = "gpc0,gpc1,gpc0_rate(10s),gpc1_rate(10s),conn_cnt,conn_cur,conn_rate(10s),sess_cnt,sess_rate(10s),http_req_cnt,http_req_rate(10s),http_err_cnt,\
                      http_err_rate(10s),http_fail_cnt,http_fail_rate(10s),bytes_in_cnt,bytes_in_rate(10s),bytes_out_cnt,bytes_out_rate(10s),server_id";

/// What rules ask of a request.
const OF_REQUESTS: [&str; 12] = [
    "%[always_false]|%[cook_cnt(a)]|%[cook_val(c)]|%[date_us,mul(0)]|%[hdr_ip(x-ip)]|%[hdr_val(x-num)]|%[hostname]|%[http_first_req]",
    "%[ipv4(1.2.3.4)]|%[ipv6(::1)]|%[req.hdr_names(;)]|%[req.proto_http]|%[req_proto_http]|%[req.ver]|%[req_ver]",
    "%[table_avl(t)]|%[table_cnt(t)]|%[int(5),cpl]",
    "%[sc_conn_cnt(0)]|%[sc_conn_cur(0)]|%[sc_conn_rate(0)]|%[sc_sess_cnt(0)]|%[sc_sess_rate(0)]|%[sc_http_req_cnt(0)]|%[sc_http_req_rate(0)]|%[sc_trackers(0)]",
    "%[sc_http_err_cnt(0)]|%[sc_http_err_rate(0)]|%[sc_http_fail_cnt(0)]|%[sc_http_fail_rate(0)]|%[sc0_get_gpc0]|%[sc_get_gpc1(0)]|%[sc_gpc0_rate(0)]|%[sc_gpc1_rate(0)]",
    "%[sc_bytes_in_rate(0),mul(0)]|%[sc_bytes_out_rate(0),mul(0)]|%[sc_kbytes_in(0),mul(0)]|%[sc_kbytes_out(0),mul(0)]",
    "%[sc_inc_gpc(0,1)]|%[sc_inc_gpc(1,1)]|%[sc_gpc_rate(0,1)]|%[sc_get_gpt(1,1)]|%[sc_clr_gpc(1,1)]|%[sc_get_gpc(0,1)]",
    "%[src,table_conn_cur(t)]|%[src,table_conn_rate(t)]|%[src,table_conn_cnt(t)]|%[src,table_sess_cnt(t)]|%[src,table_sess_rate(t)]",
    "%[src,table_http_req_rate(t)]|%[src,table_http_err_cnt(t)]|%[src,table_http_err_rate(t)]|%[src,table_http_fail_cnt(t)]|%[src,table_http_fail_rate(t)]",
    "%[src,table_gpc0(t)]|%[src,table_gpc1(t)]|%[src,table_gpc0_rate(t)]|%[src,table_gpc1_rate(t)]|%[src,table_server_id(t)]",
    "%[src,table_bytes_in_rate(t),mul(0)]|%[src,table_bytes_out_rate(t),mul(0)]|%[src,table_kbytes_out(t),mul(0)]",
    "%[src,table_gpc_rate(0,u)]|%[src,table_gpt(1,u)]|%[src,table_gpc(0,u)]",
];

/// What rules ask of a response.
const OF_RESPONSES: [&str; 3] = [
    "%[res.cook_cnt(s)]|%[res.cook_val(n)]|%[res.fhdr(x-list)]|%[res.fhdr_cnt(x-list)]|%[res.hdr_cnt(x-list)]|%[res.hdr_ip(x-ip)]|%[res.hdr_val(x-num)]",
    "%[res.ver]|%[resp_ver]|%[scook(s)]|%[scook_cnt(s)]|%[scook_val(n)]|%[shdr(x-list)]|%[shdr_cnt(x-list)]|%[shdr_ip(x-ip)]|%[shdr_val(x-num)]",
    "%[res.hdr_names(+)]",
];

/// A server that says what it was asked by rules.
fn talkative() -> Server {
    let (server, _) = server(|head, _| {
        let mut seen: Vec<String> =
            head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-")).map(str::to_ascii_lowercase).collect();
        seen.insert(0, head.lines().next().unwrap_or_default().to_owned());
        seen[1..].sort();
        let seen = seen.join("\n");
        format!(
            "HTTP/1.1 200 OK\r\nX-List: a, b\r\nX-List: c\r\nX-Ip: 10.0.0.9\r\nX-Num: 17\r\nSet-Cookie: s=1; path=/\r\nSet-Cookie: n=23\r\nContent-Length: {}\r\n\r\n{seen}",
            seen.len()
        )
    });
    server
}

fn fields(kind: &str, name: &str, asked: &[&str]) -> String {
    asked.iter().enumerate().map(|(number, asked)| format!(" {kind} set-header {name}-{number} '{asked}'\n")).collect()
}

#[test]
fn requests_and_responses_are_read_as_by_haproxy() {
    let server = talkative();
    let config = format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n log-format \"%ST %tsc %HP\"\n timeout client 30s\n timeout server 30s\n \
         timeout connect 2s\nbackend t\n stick-table type ip size 100 store {STORED}\nbackend u\n stick-table type ip size 100 store gpc(2),gpc_rate(2,10s),gpt(2)\n\
         frontend f\n bind @DOOR@\n monitor-uri /alive\n monitor fail if {{ hdr(x-fail) 1 }}\n http-request track-sc0 src table t\n http-request track-sc1 src table u\n \
         http-request sc-inc-gpc0(0)\n http-request sc-inc-gpc1(0)\n http-request sc-set-gpt(1,1) int(7)\n http-request deny if {{ path /deny }}\n \
         http-request set-pathq /set?q=%[path] if {{ path /pathq }}\n http-request replace-pathq /(a)\\?(.*) /\\2?\\1\n{}{} default_backend b\n\
         backend b\n server s {}\n",
        fields("http-request", "X-Of-Request", &OF_REQUESTS),
        fields("http-response", "X-Of-Response", &OF_RESPONSES),
        server.address()
    );
    let twins = Twins::start(&config);
    for path in ["/", "/pathq", "/a?b=c", "/deny", "/"] {
        let cookies = "Cookie: a=1; c=44\r\nCookie: a=2\r\nX-Ip: 10.1.1.1\r\nX-Num: 5\r\n";
        twins.compare(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n{cookies}Connection: close\r\n\r\n"));
    }
    for (field, expected) in [("", "200"), ("X-Fail: 1\r\n", "503")] {
        for twin in [&twins.ours, &twins.theirs] {
            let (head, _) = ask(&mut connect(twin.door), &format!("GET /alive HTTP/1.1\r\nHost: h\r\n{field}\r\n"));
            assert_eq!(crate::http::status(&head), expected, "{field}");
        }
    }
}

#[test]
fn first_bytes_are_read_as_by_haproxy() {
    let server = Server::echo("s");
    let asked = [
        "payload_lv(2,1)",
        "req.payload_lv(2,1)",
        "req.rdp_cookie",
        "req.rdp_cookie_cnt",
        "rdp_cookie_cnt(mstshash)",
        "req_len",
        "req_ssl_ver",
        "req.ssl_alpn",
    ];
    let rules: String =
        asked.iter().enumerate().map(|(number, asked)| format!(" tcp-request content set-var(txn.a{number}) {asked}\n")).collect();
    let shown: String = (0..asked.len()).map(|number| format!("%[var(txn.a{number}),hex]|")).collect();
    let config = format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode tcp\n log global\n timeout client 30s\n timeout server 30s\n timeout connect 2s\n\
         frontend f\n bind @DOOR@\n log-format '{shown}%ts'\n tcp-request inspect-delay 300ms\n tcp-request content accept if WAIT_END\n{rules} \
         use_backend b if {{ wait_end }}\nbackend b\n server s {}\n",
        server.address()
    )
    .replace(" tcp-request content accept if WAIT_END\n", " tcp-request content reject if { wait_end } { req_len 0 }\n");
    let twins = Twins::start(&config);
    let rdp = b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=ann\r\n\x01\0\x08\0\0\0\0\0";
    for bytes in [&b"ab\x03xyzw"[..], b"0123456789", rdp] {
        let [ours, theirs] = [&twins.ours, &twins.theirs].map(|twin| {
            let mut client = connect(twin.door);
            std::io::Write::write_all(&mut client, bytes).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = std::io::Read::read_to_end(&mut client, &mut Vec::new());
            twin.line()
        });
        assert_eq!(ours, theirs, "{bytes:?}");
    }
}

#[test]
fn what_only_later_versions_of_haproxy_have_works_too() {
    let (front, server) = (unused_address(), talkative());
    let directory = crate::kit::directory();
    std::fs::write(directory.join("lengths.map"), "4 four\n2 two\n").unwrap();
    let map = directory.join("lengths.map");
    let asked = [
        format!("%[str(abcd),map_len({})]|%[str(a.b.c),reverse_dom]|%[str(abc),reverse]", map.display()),
        "%[int(1500000000123),ms_utime(%Y)]|%[int(1500000000123456),us_utime(%Y)]|%[int(1500000000123),ms_ltime(%Y)]|%[int(1500000000123456),us_ltime(%Y)]".to_owned(),
        "%[sc_get_gpc(0,0)]|%[src,table_trackers(u)]|%[act_conn]".to_owned(),
    ];
    let asked: Vec<String> =
        asked.iter().enumerate().map(|(number, asked)| format!("'http-request set-header X-{number} \"{asked}\"', ")).collect();
    let _daemon = Daemon::start(&format!(
        "[defaults]\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n[table.u]\ntype = \"ip\"\nsize = 10\nstore = [\"gpc(2)\"]\n[frontend.f]\nbind = \"{front}\"\n\
         rules = [\"http-request track-sc0 src table u\", \"http-request sc-add-gpc(0,0) 41\", {}]\ndefault-backend = \"b\"\n[backend.b]\nserver = {{ s = \"{}\" }}\n",
        asked.concat(),
        server.address()
    ));
    let (_, body) = ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    std::fs::remove_dir_all(&directory).unwrap();
    for expected in ["x-0: four|c.b.a|cba", "x-1: 2017|2017|2017|2017", "x-2: 41|1|1"] {
        assert!(body.contains(expected), "{expected}: {body}");
    }
}

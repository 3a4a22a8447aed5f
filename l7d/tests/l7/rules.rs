//! Rules: what is routed where, refused, redirected and changed; and that Debian's haproxy does the same with the same rules.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::http::{ask, essence, length_of, ok, read_head, server, status};
use crate::kit::{Daemon, Haproxy, Server, connect, is_at_end, read, unused_address};

/// One proxy's rules, to be written in either format.
#[derive(Default)]
pub(crate) struct Site<'a> {
    pub(crate) acls: &'a [(&'a str, &'a str)],
    pub(crate) rules: &'a [&'a str],
    pub(crate) backend_rules: &'a [&'a str],
}

impl Site<'_> {
    pub(crate) fn toml(&self, front: SocketAddr, servers: [SocketAddr; 2]) -> String {
        let list = |rules: &[&str]| rules.iter().map(|rule| format!("'''{rule}''', ")).collect::<String>();
        let mut names: Vec<&str> = self.acls.iter().map(|(name, _)| *name).collect();
        names.dedup();
        let acls: String = names
            .iter()
            .map(|name| {
                let texts: Vec<&str> = self.acls.iter().filter(|(other, _)| other == name).map(|(_, text)| *text).collect();
                format!("acl.{name} = [{}]\n", list(&texts))
            })
            .collect();
        format!(
            "[global]\nnbthread = 2\n[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n\
             [frontend.front]\nbind = [\"{front}\"]\ndefault-backend = \"back\"\n{acls}rules = [{}]\n[backend.back]\nrules = [{}]\n\
             server = {{ s1 = \"{}\" }}\n[backend.other]\nserver = {{ s1 = \"{}\" }}\n",
            list(self.rules),
            list(self.backend_rules),
            servers[0],
            servers[1]
        )
    }

    pub(crate) fn cfg(&self, front: SocketAddr, servers: [SocketAddr; 2]) -> String {
        let acls: String = self.acls.iter().map(|(name, text)| format!(" acl {name} {text}\n")).collect();
        let list = |rules: &[&str]| rules.iter().map(|rule| format!(" {rule}\n")).collect::<String>();
        format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nfrontend front\n bind {front}\n{acls}{}\
             default_backend back\nbackend back\n{} server s1 {}\nbackend other\n server s1 {}\n",
            list(self.rules),
            list(self.backend_rules),
            servers[0],
            servers[1]
        )
    }
}

/// A server that answers with what it got, and with the status asked for.
pub(crate) fn mirror(name: &'static str) -> Server {
    let (server, _) = server(move |head, body| {
        let status = head.split("/status/").nth(1).and_then(|rest| rest.get(..3)).unwrap_or("200");
        let fields = format!("HTTP/1.1 {status} Fine\r\nX-Server: {name}\r\nSet-Cookie: s=1\r\n");
        if status == "204" {
            return format!("{fields}\r\n");
        }
        let text = format!("{name} {head}{body}");
        format!("{fields}Content-Length: {}\r\n\r\n{text}", text.len())
    });
    server
}

#[test]
fn debian_haproxy_and_l7d_do_the_same_by_the_same_rules() {
    let haproxy = Haproxy::find();
    let servers = [mirror("one"), mirror("two")];
    let addresses = [servers[0].address(), servers[1].address()];
    let site = Site { acls: &ACLS, rules: &RULES, backend_rules: &BACKEND_RULES };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&site.toml(ours, addresses));
    let _peer = haproxy.start(&site.cfg(theirs, addresses), theirs);
    for request in requests() {
        assert_eq!(converse(ours, &request), converse(theirs, &request), "{request:?}");
    }
}

/// Sends a request and returns the answer, and whether the connection serves another.
pub(crate) fn converse(address: SocketAddr, request: &str) -> Vec<String> {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).unwrap();
    let head = read_head(&mut client);
    let body = if request.starts_with("HEAD") { String::new() } else { read(&mut client, length_of(&head)) };
    // Whatever connection is left serves another request.
    client.write_all(b"GET /again HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap_or_default();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    comparable(&format!("{head}{body}"), !rest.is_empty())
}

/// What must be the same: not the words of pages, not the reason phrases, and not the order of fields.
pub(crate) fn comparable(answer: &str, stays: bool) -> Vec<String> {
    let mut lines = essence(answer);
    lines[0].truncate("HTTP/1.1 200".len());
    let body = lines.pop().unwrap_or_default();
    if body.starts_with("<html>") || body.is_empty() {
        lines.retain(|line| !line.starts_with("content-length:"));
    } else if let Some((first, rest)) = body.split_once("HTTP/1.1") {
        // The request as the server saw it: haproxy writes names in lower case.
        let seen = essence(&format!("{first}HTTP/1.1{rest}"));
        lines.extend(seen);
        lines.retain(|line| !line.starts_with("content-length:"));
    } else {
        lines.push(body);
    }
    lines[1..].sort();
    lines.push(format!("stays: {stays}"));
    lines
}

const ACLS: [(&str, &str); 5] = [
    ("api", "path_beg /api/ /v2/"),
    ("static", "path_end -i .css .PNG"),
    ("static", "hdr_beg(host) -i static. img."),
    ("local", "src 127.0.0.0/8 ::1"),
    ("admin", "path_dir admin"),
];

const RULES: [&str; 36] = [
    "http-request deny if { path /deny }",
    "http-request deny deny_status 429 if { path /429 }",
    "http-request deny status 451 content-type text/plain string \"no way\" hdr X-A b if { path /451 }",
    "http-request deny if admin !local || admin METH_POST",
    "http-request redirect location /new if { path /loc }",
    "http-request redirect location /new?x=%[path] code 307 drop-query append-slash set-cookie A=1 if { path /loc2 }",
    "http-request redirect prefix http://o.example if { path_beg /pre }",
    "http-request redirect prefix /x drop-query append-slash if { path_beg /drop }",
    "http-request redirect scheme https code 301 if { path_beg /scheme }",
    "http-request redirect scheme https append-slash clear-cookie A= code 303 if { path_beg /slash }",
    "http-request return status 200 content-type text/plain lf-string \"%[method] %[path] %HQ %ci %f\" hdr X-Z %[query] if { path /return }",
    "http-request return if { path /empty }",
    "http-request set-header X-Values \"%[req.hdr(y)]|%[req.hdr(none)]|%[req.hdr(y,1)]|%[req.hdr(y,-2)]\"",
    "http-request set-header X-Full \"%[req.fhdr(y)]|%[req.fhdr(y,1)]|%[req.hdr_cnt(y)]|%[req.fhdr_cnt(y)]\"",
    "http-request set-header X-Cook \"%[req.cook(a)]|%[req.cook(b)]|%[req.cook_cnt(a)]|%[req.cook_val(c)]\"",
    "http-request set-header X-Url \"%[url]|%[path]|%[pathq]|%[query]|%[base]|%[urlp(a)]|%[url_param(b)]|%[urlp_val(n)]\"",
    "http-request set-header X-Text \"%[path,lower]|%[path,upper]|%[path,length]|%[path,field(2,/)]|%[path,word(-1,/)]|%[path,bytes(1,3)]\"",
    "http-request set-header X-Sub '%[path,regsub(\"^/([a-z]+)/\",\"/<\\1>/\")]|%[path,regsub(a,b,g)]|%[path,regsub(A,x,gi)]'",
    "http-request set-header X-Fields '%[str(f1_f2_f3__f5),field(-2,_,3)]|%[str(f1_f2_f3__f5),word(-2,_,3)]|%[str(f1_f2_f3__f5),field(9,_)]|%[str(a_b),word(9,_)]'",
    "http-request set-header X-Num \"%[int(7),add(3)]|%[int(7),div(0)]|%[int(7),mod(4)]|%[int(-7),neg]|%[int(6),and(3)]|%[int(6),xor(3)]|%[int(1),not]|%[int(3),odd]\"",
    "http-request set-header X-Code '%[path,url_enc]|%[str(a%20b+c),url_dec]|%[str(a+b),url_dec(1)]|%[str(hello),base64]|%[str(aGVsbG8=),b64dec]|%[str(hi),hex]'",
    "http-request set-header X-Trim '%[str(xxabxx),ltrim(x)]|%[str(xxabxx),rtrim(x)]|%[src,ipmask(8)]|%[ssl_fc,iif(https,http)]|%[int(0),http_date]'",
    "http-request set-var(txn.path) path,lower",
    "http-request set-var-fmt(req.text) \"<%[var(txn.path)]>\"",
    "http-request set-header X-Var \"%[var(txn.path)]|%[var(req.text)]|%[var(txn.none)]|%[var(txn.none,or)]|%[str(a),concat(-,txn.path,.)]\"",
    "http-request add-header X-Twice 1",
    "http-request add-header X-Twice 2",
    "http-request del-header X-Gone",
    "http-request del-header x-drop- -m beg",
    "http-request replace-header X-Rep (.*)b(.*) \\2-%[method]-\\1",
    "http-request replace-value X-List b(.) <\\1>",
    "http-request replace-path /old/(.*) /new/\\1",
    "http-request set-path /prefix%[path] if { path_beg /v2/ }",
    "http-request set-query %[query]&more=1 if { query -m found }",
    "http-response set-header X-Status %[status]-%[res.hdr(x-server)]-%[res.cook(s)] if { res.hdr(x-server) -m found }",
    "use_backend other if api !{ path_sub skip } or static",
];

const BACKEND_RULES: [&str; 6] = [
    "http-request deny if { path_end /secret }",
    "http-request set-header X-Back %b",
    "http-response deny if { status 201 }",
    "http-response return status 503 content-type a/b string x if { status 202 }",
    "http-response redirect location /r if { status 203 }",
    "http-response set-status 418 if { status 205 }",
];

fn requests() -> Vec<String> {
    let get = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: h:80\r\nY: 1, 2\r\nY: 3\r\nCookie: a=1; b=2\r\nCookie: a=3; c=44\r\nX-Gone: 1\r\nX-Drop-A: 1\r\n\
             X-Drop-B: 2\r\nX-Rep: abc\r\nX-List: ab, bc,b,bd\r\n\r\n"
        )
    };
    let paths = [
        "/",
        "/deny",
        "/429",
        "/451",
        "/admin/x",
        "/loc",
        "/loc2?q",
        "/pre/a?b",
        "/drop/a?b",
        "/drop/a/",
        "/drop/a/?x",
        "/scheme/a?b",
        "/slash/a?b",
        "/slash/a/",
        "/return?x=1",
        "/empty",
        "/Abc/DEF/abc?a=1&b=2&a=3&n=12",
        "/api/x",
        "/api/skip",
        "/v2/y?z",
        "/a.css",
        "/a.PnG",
        "/old/one/two?x",
        "/status/201",
        "/status/202",
        "/status/203",
        "/status/204",
        "/status/205",
        "/status/404",
        "/status/500",
        "/x/secret",
        "/a%20b?c=%2F",
        "/?",
        "/a?a",
        "/a?a=&b",
        "//double//slash",
        "/a;b?x;a=5",
    ];
    let mut requests: Vec<String> = paths.iter().map(|path| get(path)).collect();
    requests.extend(
        [
            "POST /deny HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
            "POST /deny HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST /admin/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
            "HEAD /deny HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /deny HTTP/1.0\r\nHost: h\r\n\r\n",
            "GET /loc HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
            "GET /loc HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "GET /scheme?x HTTP/1.0\r\n\r\n",
            "GET http://h/pre?x HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: Static.example\r\n\r\n",
        ]
        .map(str::to_owned),
    );
    requests
}

#[test]
fn a_request_goes_where_host_path_method_header_and_source_say() {
    let (one, _) = server(|_, _| ok("one"));
    let (two, _) = server(|_, _| ok("two"));
    let front = unused_address();
    let rules = [
        "use_backend other if { hdr(host) -i two.example }",
        "use_backend other if { path_beg /two/ } METH_POST",
        "use_backend other if { req.hdr(x-to) two } { src 127.0.0.0/8 }",
        "use_backend %[urlp(to)] if { urlp(to) -m found }",
    ];
    let site = Site { rules: &rules, ..Site::default() };
    let _daemon = Daemon::start(&site.toml(front, [one.address(), two.address()]));
    let mut client = connect(front);
    let cases = [
        ("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n", "one"),
        ("GET / HTTP/1.1\r\nHost: TWO.example\r\n\r\n", "two"),
        ("GET /two/ HTTP/1.1\r\nHost: h\r\n\r\n", "one"),
        ("POST /two/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "two"),
        ("GET / HTTP/1.1\r\nHost: h\r\nX-To: two\r\n\r\n", "two"),
        ("GET /?to=other HTTP/1.1\r\nHost: h\r\n\r\n", "two"),
        ("GET /?to=nowhere HTTP/1.1\r\nHost: h\r\n\r\n", "one"),
    ];
    for (request, expected) in cases {
        assert_eq!(ask(&mut client, request).1, expected, "{request}");
    }
}

#[test]
fn connections_of_refused_sources_are_closed_unheard() {
    let (one, _) = server(|_, _| ok("one"));
    let front = unused_address();
    let rules = ["tcp-request connection reject if { src 127.0.0.0/8 } { dst_port 1:65535 }"];
    let site = Site { rules: &rules, ..Site::default() };
    let daemon = Daemon::start(&site.toml(front, [one.address(), one.address()]));
    assert!(is_at_end(&mut connect(front)));
    daemon.reload(&Site::default().toml(front, [one.address(), one.address()]));
    assert_eq!(ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1, "one", "a reload brings other rules");
}

#[test]
fn bytes_are_routed_by_the_connection() {
    let (one, two) = (Server::echo("one"), Server::echo("two"));
    let front = unused_address();
    let site = Site { rules: &["use_backend other if { src 127.0.0.0/8 }"], ..Site::default() };
    let _daemon = Daemon::start(&site.toml(front, [one.address(), two.address()]).replace("mode = \"http\"", "mode = \"tcp\""));
    assert_eq!(read(&mut connect(front), 3), "two");
}

#[test]
fn variables_of_the_session_and_the_process_are_kept() {
    let (one, _) = server(|head, _| ok(head.lines().find_map(|line| line.strip_prefix("X-Seen: ")).unwrap_or("-")));
    let front = unused_address();
    let rules = [
        "http-request set-header X-Seen %[var(sess.a)]/%[var(proc.b)]/%[var(txn.c)]",
        "http-request set-var(sess.a) path if { path_beg /s }",
        "http-request set-var(proc.b) path if { path_beg /p }",
        "http-request set-var(txn.c) path",
    ];
    let site = Site { rules: &rules, ..Site::default() };
    let _daemon = Daemon::start(&site.toml(front, [one.address(), one.address()]));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let (mut first, mut second) = (connect(front), connect(front));
    assert_eq!(ask(&mut first, &get("/s1")).1, "//");
    assert_eq!(ask(&mut first, &get("/p1")).1, "/s1//");
    assert_eq!(ask(&mut first, &get("/x")).1, "/s1//p1/");
    assert_eq!(ask(&mut second, &get("/x")).1, "//p1/");
}

#[test]
fn the_log_says_who_ended_an_exchange() {
    let (one, _) = server(|_, _| ok("one"));
    let (front, log) = (unused_address(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    log.set_read_timeout(Some(crate::kit::PATIENCE)).unwrap();
    let rules = [
        "http-request deny if { path /deny }",
        "http-request redirect location / if { path /go }",
        "http-request return if { path /own }",
        "http-request reject if { path /reject }",
        "http-response deny if { status 200 } { path /late }",
        "http-request set-header A %[path,url_dec]",
    ];
    let site = Site { rules: &rules, ..Site::default() };
    let config = site.toml(front, [one.address(), one.address()]);
    let address = log.local_addr().unwrap();
    let config = config.replace("[defaults]", &format!("log = \"{address} local0\"\n[defaults]\noption = [\"httplog\"]"));
    let _daemon = Daemon::start(&config);
    let cases = [
        ("/deny", "403", "front/<NOSRV>", "PR--"),
        ("/go", "302", "front/<NOSRV>", "LR--"),
        ("/own", "200", "front/<NOSRV>", "LR--"),
        ("/late", "502", "back/s1", "PH--"),
        ("/x%0d%0a", "500", "front/<NOSRV>", "PR--"),
        ("/", "200", "back/s1", "----"),
        ("/reject", "", "front/<NOSRV>", "PR--"),
    ];
    let mut client = connect(front);
    for (path, expected, server, letters) in cases {
        let (head, _) = ask(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(status(&head), expected, "{path}");
        let mut line = [0; 4096];
        let count = log.recv(&mut line).unwrap();
        let line = String::from_utf8_lossy(&line[..count]).into_owned();
        assert!(line.contains(server) && line.contains(&format!(" {letters} ")), "{path}: {line}");
    }
    assert!(is_at_end(&mut client));
}

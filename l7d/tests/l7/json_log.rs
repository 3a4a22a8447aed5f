//! Lines that are objects of JSON, and the rule that decided in them.

use std::net::{SocketAddr, UdpSocket};

use serde_json::Value;

use crate::http::{ask, server};
use crate::kit::{Daemon, Haproxy, connect, refusal, unused_address};
use crate::log::receiver;

/// Receives the text of a line that begins like this.
fn line(log: &UdpSocket, start: &str) -> String {
    loop {
        let mut packet = [0; 4000];
        let count = log.recv(&mut packet).expect("a line");
        let text = String::from_utf8_lossy(&packet[..count]).into_owned();
        if let Some((_, line)) = text.split_once("]: ").filter(|(_, line)| line.starts_with(start)) {
            return line.trim_end().to_owned();
        }
    }
}

fn get(front: SocketAddr, path: &str) -> String {
    ask(&mut connect(front), &format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Text: a\"b\\c\r\nConnection: close\r\n\r\n")).0
}

fn answering() -> crate::kit::Server {
    server(|_: &str, _: &str| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned()).0
}

#[test]
fn native_lines_have_stable_names_and_the_rule_that_decided() {
    let (front, raw, log, server) = (unused_address(), unused_address(), receiver(), answering());
    let config = format!(
        "[global]\nlog = [\"{} len 4096 local0\"]\n[defaults]\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\nlog-format = \"json\"\n\
         [frontend.web]\nmode = \"http\"\nbind = \"{front}\"\nrules = [\n  \"http-request allow if {{ path /fine }}\",\n  \"http-request deny if {{ path /bad }}\",\n]\n\
         default-backend = \"app\"\n[backend.app]\nmode = \"http\"\nserver.s1 = \"{server}\"\n\
         [frontend.raw]\nmode = \"tcp\"\nbind = \"{raw}\"\ndefault-backend = \"bytes\"\n[backend.bytes]\nmode = \"tcp\"\nserver.s1 = \"{server}\"\n",
        log.local_addr().expect("bound"),
        server = server.address(),
    );
    let rules = config.lines().position(|line| line.starts_with("rules")).expect("there are rules") + 1;
    let _daemon = Daemon::start(&config);
    let json = |path: &str| -> Value {
        get(front, path);
        serde_json::from_str(&line(&log, "{")).expect("JSON")
    };
    let plain = json("/some?x=1");
    for (name, value) in
        [("frontend", "web"), ("backend", "app"), ("server", "s1"), ("target", "/some?x=1"), ("method", "GET"), ("termination", "----")]
    {
        assert_eq!(plain[name], value, "{name} in {plain}");
    }
    assert_eq!((&plain["status"], &plain["rule_line"], &plain["client_ip"]), (&200.into(), &Value::Null, &"127.0.0.1".into()), "{plain}");
    assert!(plain["time_active"].is_i64() && plain["epoch"].as_i64() > Some(1_700_000_000), "{plain}");
    let fine = json("/fine");
    assert_eq!((&fine["status"], &fine["rule_line"]), (&200.into(), &(rules + 1).into()), "{fine}");
    let bad = json("/bad");
    assert_eq!((&bad["status"], &bad["rule_line"], &bad["server"]), (&403.into(), &(rules + 2).into(), &"<NOSRV>".into()), "{bad}");
    assert!(bad["rule_file"].as_str().is_some_and(|file| file.ends_with("site.toml")), "{bad}");
    get(raw, "/");
    let bytes: Value = serde_json::from_str(&line(&log, "{")).expect("JSON");
    assert_eq!((&bytes["frontend"], &bytes["termination"]), (&"raw".into(), &"--".into()), "{bytes}");
    assert!(bytes["time_total"].is_i64() && bytes.get("status").is_none(), "{bytes}");
}

#[test]
fn texts_of_ones_own_are_encoded() {
    let (front, log, server) = (unused_address(), receiver(), answering());
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n log {} len 4096 local0\n nbthread 1\ndefaults\n mode http\n log global\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {front}\n http-request set-var(txn.t) req.hdr(x-text)\n http-request set-var(txn.n) int(7)\n \
         http-request return status 200 lf-string '%{{+json}}o %(path)[path] %(n)[var(txn.n)]' content-type text/json if {{ path /answer }}\n \
         log-format '%{{+json}}o dropped %ci %(text)[var(txn.t)] %(number)[var(txn.n)] %(none)[var(txn.none)] %(as_text:str)ST %(as_number:sint)[var(txn.n)] %(request){{+Q}}r %(truth:bool)[var(txn.n)]'\n \
         default_backend back\nbackend back\n server s1 {server}\n",
        log.local_addr().expect("bound"),
        server = server.address(),
    ));
    get(front, "/x");
    let wanted =
        r#"{"text": "a\"b\\c", "number": 7, "none": null, "as_text": "200", "as_number": 7, "request": "GET /x HTTP/1.1", "truth": true}"#;
    assert_eq!(line(&log, "{"), wanted);
    let (_, body) = ask(&mut connect(front), "GET /answer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(body, r#"{"path": "/answer", "n": 7}"#);
}

#[test]
fn the_rule_that_decided_is_haproxys() {
    let server = answering();
    let [ours, theirs] = std::array::from_fn(|_| (unused_address(), receiver()));
    let config = |(front, log): &(SocketAddr, UdpSocket)| {
        format!(
            "global\n log {} local0\n nbthread 1\ndefaults\n mode http\n log global\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
             frontend front\n bind {front}\n tcp-request content accept if {{ path /early }}\n http-request deny if {{ path /deny }}\n \
             http-request allow if {{ path /allow }}\n http-request redirect location / if {{ path /move }}\n http-request return status 204 if {{ path /return }}\n \
             http-response deny if {{ var(txn.bad) -m found }}\n log-format 'rule=%[last_rule_line] %[last_rule_file,word(-1,/)] st=%ST'\n default_backend back\n\
             backend back\n http-request deny deny_status 429 if {{ path /slow }}\n server s1 {}\n",
            log.local_addr().expect("bound"),
            server.address(),
        )
    };
    let _daemon = Daemon::start_haproxy(&config(&ours));
    let _process = Haproxy::find().start(&config(&theirs), theirs.0);
    for path in ["/", "/deny", "/allow", "/move", "/return", "/slow", "/early"] {
        let [ours, theirs] = [&ours, &theirs].map(|(front, log)| {
            get(*front, path);
            line(log, "rule=")
        });
        assert_eq!(ours, theirs, "{path}");
    }
}

#[test]
fn what_no_json_can_be_made_of_is_refused() {
    let text = |format: &str| {
        format!(
            "[frontend.web]\nmode = \"http\"\nbind = \"127.0.0.1:1\"\ndefault-backend = \"b\"\nlog-format = '{format}'\n[backend.b]\nmode = \"http\"\nserver.s1 = \"127.0.0.1:2\"\n"
        )
    };
    for (format, message) in [
        ("%{+cbor}o %(a)ci", "`+cbor` is not supported: lines are text"),
        ("%{+json}ci", "`json` is for the whole text"),
        ("%(a.b)ci", "`a.b` cannot be a name"),
        ("%(a:float)ci", "`float` is not a type"),
        ("%(a", "this parenthesis is not closed"),
    ] {
        assert!(refusal(&text(format)).contains(message), "{format}: {}", refusal(&text(format)));
    }
}

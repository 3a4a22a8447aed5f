//! What packets carry, how fast things come, and what is set of the engine; beside Debian's haproxy.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use crate::http::{ask, ok, server};
use crate::kit::{Daemon, Haproxy, connect, directory, is_at_end, unused_address};
use crate::twins::Twins;

/// Returns what the system says of the mark and the type of service of the connections of one end, in order of what they are.
fn brand(end: &str, address: SocketAddr) -> String {
    let filter = format!("{end} = {address}");
    let output = Command::new("ss").args(["-tnHOe", "--tos", "state", "established", &filter]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = |line: &str| {
        let words = line.split_ascii_whitespace().filter(|word| word.starts_with("fwmark:") || word.starts_with("tos:"));
        words.collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<_> = text.lines().map(told).collect();
    lines.sort();
    lines.dedup();
    lines.join("; ")
}

const FRONT: &str = "global\n nbthread 1\n log @LOG@ local0\ndefaults\n mode http\n log global\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
     frontend f\n bind @DOOR@\n tcp-request connection set-tos 0x08\n tcp-request connection set-mark 7\n\
     \x20http-request set-tos 0x10 if { path /tos }\n http-request set-mark 0x2a if { path /mark }\n\
     \x20http-response set-mark 99 if { res.hdr(x-mark) -m found }\n http-response set-tos 32 if { res.hdr(x-mark) -m found }\n\
     \x20default_backend b\nbackend b\n http-request set-tos 64 if { path /late }\n server s @SERVER@\n";

#[test]
fn packets_to_clients_carry_what_they_carry_with_haproxy() {
    let (named, _) = server(|head: &str, _: &str| match head.starts_with("GET /response ") {
        true => "HTTP/1.1 200 OK\r\nX-Mark: 1\r\nContent-Length: 0\r\n\r\n".to_owned(),
        false => ok(""),
    });
    let twins = Twins::start(&FRONT.replace("@SERVER@", &named.address().to_string()));
    let (mut ours, mut theirs) = (connect(twins.ours.door), connect(twins.theirs.door));
    for path in ["/", "/tos", "/mark", "/response", "/late", "/"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        for client in [&mut ours, &mut theirs] {
            ask(client, &request);
        }
        let seen = [twins.ours.door, twins.theirs.door].map(|door| brand("src", door));
        assert_eq!(seen[0], seen[1], "{path}");
        assert!(seen[0].contains("tos:"), "{seen:?}");
    }
    assert!(brand("src", twins.ours.door).contains("fwmark:0x63"), "the last mark stays");
}

#[test]
fn packets_to_servers_carry_what_rules_say_and_connections_are_shared_by_it() {
    let (named, _) = server(|_: &str, _: &str| ok(""));
    let front = unused_address();
    let config = format!(
        "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n http-reuse always\n\
         frontend f\n bind {front}\n http-request set-bc-tos 0x10 if {{ path /tos }}\n http-request set-bc-mark hdr(x-mark) if {{ hdr(x-mark) -m found }}\n\
         \x20http-request set-fc-tos 0x20\n http-request set-fc-mark 5\n default_backend b\nbackend b\n server s {}\n",
        named.address()
    );
    let _daemon = Daemon::start_haproxy(&config);
    let mut client = connect(front);
    let cases = [
        ("/", "", "tos:0"),
        ("/", "", "tos:0"),
        ("/tos", "", "tos:0; tos:0x10"),
        ("/tos", "X-Mark: 9\r\n", "fwmark:0x9 tos:0x10; tos:0; tos:0x10"),
        ("/", "", "fwmark:0x9 tos:0x10; tos:0; tos:0x10"),
    ];
    for (path, field, expected) in cases {
        ask(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n{field}\r\n"));
        assert_eq!(brand("dst", named.address()), expected, "{path} {field}");
    }
    assert_eq!(named.accepted(), 3, "those who want the same share");
    assert_eq!(brand("src", front), "fwmark:0x5 tos:0x20");
}

#[test]
fn rates_and_weights_are_told_as_by_haproxy() {
    let (named, _) = server(|_: &str, _: &str| ok(""));
    let config = "global\n nbthread 1\n log @LOG@ local0\ndefaults\n mode http\n log global\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         frontend f\n bind @DOOR@\n log-format \"%[be_sess_rate(b),add(0)]\"\n\
         \x20http-after-response set-header x-fe %[fe_sess_rate]/%[fe_req_rate]\n http-after-response set-header x-be %[be_sess_rate(b)]\n\
         \x20http-after-response set-header x-srv %[srv_sess_rate(b/s)]/%[srv_uweight(b/s)]\n default_backend b\nbackend b\n server s @SERVER@ weight 7\n";
    let twins = Twins::start(&config.replace("@SERVER@", &named.address().to_string()));
    let told = |door: SocketAddr| {
        let mut last = String::new();
        for _ in 0..5 {
            last = ask(&mut connect(door), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").0;
        }
        let fields = last.lines().filter_map(|line| line.to_ascii_lowercase().strip_prefix("x-").map(str::to_owned));
        fields.collect::<Vec<_>>().join(" ")
    };
    // What came in the last second depends on when that was asked.
    let theirs: Vec<_> = (0..5).map(|_| told(twins.theirs.door)).collect();
    let ours = told(twins.ours.door);
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    let (ours, first) = (number(&ours), number(&theirs[0]));
    assert_eq!(ours.len(), first.len(), "{ours:?} {theirs:?}");
    assert!(ours.iter().zip(&first).all(|(ours, theirs)| ours.abs_diff(*theirs) <= 1), "{ours:?} {first:?}");
    assert!(ours[0] >= 4 && ours.ends_with(&[7]), "{ours:?}");
}

/// Reads what a server of HTTP/2 allows: its settings, by number.
fn settings(door: SocketAddr) -> Vec<(u16, u32)> {
    let mut client = connect(door);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    std::io::Read::read_exact(&mut client, &mut head).unwrap();
    assert_eq!(head[3], 4, "settings come first");
    let mut payload = vec![0; usize::from(head[2])];
    std::io::Read::read_exact(&mut client, &mut payload).unwrap();
    let pair = |six: &[u8]| (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes([six[2], six[3], six[4], six[5]]));
    payload.chunks(6).map(pair).collect()
}

#[test]
fn what_is_set_of_http2_holds_for_new_connections() {
    let place = |tuning: &str, door: SocketAddr| {
        format!(
            "global\n nbthread 1\n{tuning}\ndefaults\n mode http\n timeout client 20s\n timeout connect 5s\n timeout server 20s\n\
             frontend f\n bind {door}\n"
        )
    };
    let tuning =
        " tune.h2.max-concurrent-streams 37\n tune.h2.initial-window-size 100000\n tune.h2.max-frame-size 20000\n tune.maxaccept 10\n";
    let (ours, theirs) = (unused_address(), unused_address());
    let daemon = Daemon::start_haproxy(&place(tuning, ours));
    let _peer = Haproxy::find().start(&place(tuning, theirs), theirs);
    let of = |door, number| settings(door).into_iter().find(|(known, _)| *known == number).map(|(_, value)| value);
    for (number, value) in [(3, 37), (4, 100_000)] {
        assert_eq!((of(ours, number), of(theirs, number)), (Some(value), Some(value)), "setting {number}");
    }
    assert_eq!(of(ours, 5), Some(20_000), "which haproxy 2.6 limits and does not tell");
    daemon.reload(&place(" tune.h2.max-concurrent-streams 5\n", ours));
    assert_eq!(of(ours, 3), Some(5));
    let directory = directory();
    let check = |line: &str| {
        std::fs::write(directory.join("haproxy.cfg"), place(line, ours)).unwrap();
        let file = directory.join("haproxy.cfg");
        let output = Command::new(env!("CARGO_BIN_EXE_l7d")).arg("check").arg("-f").arg(file).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    assert!(check(" tune.ssl.cachesize 1000\n tune.rcvbuf.client 10000").0);
    for (line, said) in [
        (" tune.bufsiz 16384", "did you mean `tune.bufsize`?"),
        (" tune.h2.max-concurrent-stream 5", "did you mean `tune.h2.max-concurrent-streams`?"),
        (" tune.h2.max-frame-size 5", "16384"),
        (" tune.nonsense.altogether 1", "unknown keyword `tune.nonsense.altogether`"),
    ] {
        let (passes, text) = check(line);
        assert!(!passes && text.contains(said), "{line}: {text}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn metrics_are_scraped_by_a_rule_as_from_haproxy() {
    let (named, _) = server(|_: &str, _: &str| ok("served"));
    let config = format!(
        "global\n nbthread 1\n log @LOG@ local0\ndefaults\n mode http\n log global\n option httplog\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         frontend f\n bind @DOOR@\n log-format \"%b/%s %ST %ts %{{+Q}}r\"\n http-request use-service prometheus-exporter if {{ path /metrics }}\n default_backend b\n\
         backend b\n server s {}\n",
        named.address()
    );
    let twins = Twins::start(&config);
    for (target, wanted, unwanted) in [
        ("/metrics", "haproxy_server_status", "nothing of the kind"),
        ("/metrics?scope=frontend", "haproxy_frontend_status", "haproxy_server_status"),
        ("/metrics?scope=nobody", "", "haproxy_frontend_status"),
        ("/else", "served", "haproxy_"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let [(ours, our_line), (theirs, line)] = [&twins.ours, &twins.theirs].map(|twin| twin.ask(&request));
        assert_eq!((&ours[0], &our_line), (&theirs[0], &line), "{target}");
        for answer in [&ours, &theirs] {
            let text = answer.join("\n");
            assert!(text.contains(wanted) && !text.contains(unwanted), "{target}: {text}");
        }
    }
    for twin in [&twins.ours, &twins.theirs] {
        let mut client = connect(twin.door);
        client.write_all(b"GET /metrics?scope=global HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut client, &mut answer).unwrap();
        assert!(answer.to_lowercase().contains("\r\ncontent-type: text/plain; version=0.0.4"), "{answer}");
    }
}

#[test]
fn idle_clients_stay_until_their_next_response_where_that_is_wished() {
    let (named, _) = server(|_: &str, _: &str| ok("served"));
    for (option, stays) in [(" option idle-close-on-response\n", true), ("", false)] {
        let front = unused_address();
        let config = format!(
            "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n{option}\
             frontend f\n bind {front}\n default_backend b\nbackend b\n server s {}\n",
            named.address()
        );
        let daemon = Daemon::start_haproxy(&config);
        let mut client = connect(front);
        ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        daemon.signal("USR1");
        if stays {
            client.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            assert!(std::io::Read::read(&mut client, &mut [0]).is_err(), "nothing is said, and nothing closes");
            client.set_read_timeout(Some(crate::kit::PATIENCE)).unwrap();
            let (head, body) = ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(head.to_lowercase().contains("connection: close") && body == "served", "{head}");
        }
        assert!(is_at_end(&mut client), "{option}");
    }
}

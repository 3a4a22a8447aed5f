//! Which limits are near, as the command tells it.

use std::io::Write;

use crate::certs::Authority;
use crate::http::server;
use crate::kit::{Daemon, Haproxy, connect, directory, unused_address};
use crate::tables::tell;
use crate::twins::Twins;

/// Asks until an answer has all of these in it.
fn settled(socket: &std::path::Path, command: &str, wanted: &[&str]) -> String {
    let end = std::time::Instant::now() + crate::kit::PATIENCE;
    loop {
        let answer = tell(socket, command);
        if wanted.iter().all(|text| answer.contains(text)) {
            return answer;
        }
        assert!(std::time::Instant::now() < end, "{wanted:?} not in\n{answer}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn limits_that_are_near_are_told_in_words() {
    let (front, tls, directory) = (unused_address(), unused_address(), directory());
    let socket = directory.join("s");
    let authority = Authority::new();
    let issued = authority.issue_with(&["short.example"], "ec -pkeyopt ec_paramgen_curve:P-256", 3);
    let pem = authority.join("short.pem", &[&issued.certificate, &issued.key]);
    let (server, _) = server(|_: &str, _: &str| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned());
    let dead = unused_address();
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n nbthread 1\n maxconn 100\n stats socket {socket}\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {front}\n maxconn 2\n tcp-request connection track-sc0 src table seen\n default_backend back\n\
         frontend sealed\n bind {tls} ssl crt {pem}\n default_backend back\n\
         backend back\n server s1 {server}\nbackend gone\n server g1 {dead} check inter 50ms fall 1\n\
         backend seen\n stick-table type ip size 1 expire 1h store conn_cnt\n",
        socket = socket.display(),
        pem = pem.display(),
        server = server.address(),
    ));
    let calm = settled(&socket, "show health", &["bad   backend gone, servers: none of 1 takes traffic", "near  server gone/g1"]);
    assert!(calm.contains(&format!("near  certificate {}: expires in ", pem.display())), "{calm}");
    assert!(!calm.contains("well  ") && !calm.contains("frontend front"), "{calm}");
    let mut clients = [connect(front), connect(front)];
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n").expect("connected");
    }
    // A connection counts before the rules about it have run.
    let full = "near  table seen, entries: 1 of 1, full: the oldest entries go";
    settled(&socket, "show health", &["bad   frontend front, connections: 2 of 2, full: new clients wait", full]);
    let all = tell(&socket, "show health all");
    assert!(all.contains("well  process, descriptors: ") && all.contains("well  backend back, servers: 1 of 1 take traffic"), "{all}");
    assert!(tell(&socket, "show health some").contains("and not 'some'"));
    drop(clients);
    tell(&socket, "clear table seen");
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn heads_are_as_large_as_haproxy_lets_them_be() {
    let status = |twins: &Twins, request: &str| {
        let said = [&twins.ours, &twins.theirs].map(|twin| {
            let (answer, line) = twin.ask(request);
            (answer.first().cloned().unwrap_or_default(), line)
        });
        assert_eq!(said[0], said[1], "{}", &request[..request.len().min(200)]);
        said[0].0.clone()
    };
    for (settings, fields, bytes) in [
        ("tune.http.maxhdr 20", 19, 15_000),
        ("tune.http.maxhdr 300", 299, 15_000),
        ("tune.bufsize 8192", 100, 7000),
        ("tune.bufsize 8192\n tune.maxrewrite 2048", 100, 6000),
        ("tune.bufsize 40000", 100, 38_500),
    ] {
        let twins = Twins::start(&format!(
            "global\n {settings}\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n log-format \"%ST %tsc\"\n timeout client 30s\n\
             frontend f\n bind @DOOR@\n http-request return status 200 content-type text/plain string x\n"
        ));
        let with_fields = |count: usize| {
            let more: String = (1..count).map(|number| format!("a{number}: x\r\n")).collect();
            format!("GET / HTTP/1.0\r\nHost: h\r\n{more}\r\n")
        };
        let with_bytes = |length: usize| {
            let start = "GET / HTTP/1.0\r\nHost: h\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
        };
        assert_eq!(status(&twins, &with_fields(fields)), "HTTP/1.1 200", "{settings}");
        assert_eq!(status(&twins, &with_fields(fields + 1)), "HTTP/1.1 400", "{settings}");
        assert_eq!(status(&twins, &with_bytes(bytes)), "HTTP/1.1 200", "{settings}");
        if settings.contains("bufsize") {
            assert_eq!(status(&twins, &with_bytes(bytes + 1500)), "HTTP/1.1 400", "{settings}");
        }
    }
}

#[test]
fn clients_of_http2_may_have_heads_as_large_as_the_buffer() {
    let (server, _) = server(|head, _| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", head.len(), " ".repeat(head.len())));
    let curl = |front: std::net::SocketAddr, length: usize| {
        let mut command = std::process::Command::new("curl");
        command.args(["-s", "-m", "20", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-H"]);
        let output = command.arg(format!("X-Long: {}", "a".repeat(length))).arg(format!("http://{front}/")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let site = |front: std::net::SocketAddr, settings: &str, proto: &str| {
        format!(
            "global\n {settings}\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\nlisten l\n bind {front}{proto}\n \
             http-request del-header user-agent\n server s {}\n",
            server.address()
        )
    };
    for (settings, length, fits) in [
        ("tune.bufsize 16384", 10_000, true),
        ("tune.bufsize 16384", 20_000, false),
        ("tune.bufsize 48000", 30_000, true),
        ("tune.bufsize 48000", 50_000, false),
    ] {
        let (ours, theirs) = (unused_address(), unused_address());
        let _daemon = Daemon::start_haproxy(&site(ours, settings, ""));
        let _haproxy = Haproxy::find().start(&site(theirs, settings, " proto h2"), theirs);
        for said in [curl(ours, length), curl(theirs, length)] {
            assert_eq!(said.starts_with("200 "), fits, "{settings} {length}: {said}");
        }
    }
}

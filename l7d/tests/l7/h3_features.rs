//! What HTTP/3 shares with the other versions: limits, tables, certificates, tickets, tunnels, statistics.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::h3::{request, site};
use crate::h3_client::*;
use crate::http::{hello, ok, read_head, server};
use crate::kit::{Daemon, PATIENCE, Server, echo, unused_address};
use crate::runtime::ask;

fn with_global(config: &str, lines: &str) -> String {
    config.replacen("global\n", &format!("global\n{lines}\n"), 1)
}

#[test]
fn websocket_comes_through() {
    let (authority, front) = (Authority::new(), unused_address());
    let server = Server::start(|mut stream| {
        let head = read_head(&mut stream).to_lowercase();
        let is_asked = ["get /chat?x=1 http/1.1\r\n", "upgrade: websocket\r\n", "connection: upgrade\r\n", "sec-websocket-key: "];
        let wrong: Vec<_> = is_asked.iter().filter(|part| !head.contains(**part)).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {head}");
        let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        std::io::Write::write_all(&mut stream, accepted.as_bytes()).unwrap();
        echo("hello", stream);
    });
    let daemon = Daemon::start_haproxy(&site(front, &authority, ("", " timeout tunnel 1h"), server.address()));
    let client = Client::connect(front, &authority);
    let ask = |protocol| {
        [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", "/chat?x=1"),
            ("sec-websocket-version", "13"),
        ]
    };
    let (mut send, mut recv) = client.begin(&headers(&ask("websocket")));
    client.runtime.block_on(async {
        send.write_all(&frame(DATA, b"ping")).await.unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("ping") {
            let chunk = tokio::time::timeout(PATIENCE, recv.read_chunk(1000, true)).await.unwrap().unwrap().unwrap();
            heard.extend_from_slice(&chunk.bytes);
        }
        send.finish().unwrap();
        while tokio::time::timeout(PATIENCE, recv.read_chunk(1000, true)).await.unwrap().unwrap().is_some() {}
        // A head that says 200, then what the server has said and what it has sent back.
        assert_eq!(heard[0], 1, "{heard:?}");
        assert!(String::from_utf8_lossy(&heard).contains("hello"), "{heard:?}");
    });
    let line = daemon.wait_for_log("HTTP/3.0\"");
    assert!(line.contains("/chat?x=1"), "{line}");
    // Nothing else is spoken in a tunnel that a client asks for by name, as over HTTP/2.
    assert_eq!(client.ask(&headers(&ask("connect-udp"))), Heard::Reset(0x10e));
}

#[test]
fn limits_hold() {
    let (authority, front) = (Authority::new(), unused_address());
    let (server, seen) = server(|head, _| {
        if head.contains("/slow") {
            std::thread::sleep(Duration::from_millis(400));
        }
        ok("x")
    });
    let config = site(front, &authority, ("maxconn 1", ""), server.address());
    let config = config.replace(&format!("server s {}", server.address()), &format!("server s {} maxconn 1", server.address()));
    let daemon = Daemon::start_haproxy(&config);
    let first = Client::connect(front, &authority);
    // Requests of one connection wait for each other where the server takes one at a time.
    let slow = headers(&request("GET", "/slow"));
    let began = Instant::now();
    first.runtime.block_on(async { tokio::join!(first.exchange(&slow), first.exchange(&slow), first.exchange(&slow)) });
    assert!(began.elapsed() >= Duration::from_millis(1200), "{:?}", began.elapsed());
    assert_eq!(seen.lock().unwrap().len(), 3);
    // There is room for one connection: the next one is let in when the first has left.
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let client = Client::connect(front, &authority);
            let at = Instant::now();
            assert_eq!(client.get("/").status(), 200);
            at
        });
        first.rest(Duration::from_millis(500));
        assert_eq!(seen.lock().unwrap().len(), 3, "the second client is in");
        let left = Instant::now();
        drop(first);
        (left, second.join().unwrap())
    });
    assert!(second.1 > second.0);
    drop(daemon);
}

#[test]
fn tables_count_connections_and_requests() {
    let (authority, front, server) = (Authority::new(), unused_address(), hello().0);
    let lines = " stick-table type ip size 100 expire 1m store conn_cnt,sess_cnt,http_req_cnt,conn_cur,http_err_cnt\n \
                 tcp-request connection track-sc0 src\n http-request deny deny_status 429 if { sc_http_req_cnt(0) gt 4 }\n \
                 http-response set-header x-of %[sc_conn_cnt(0)]:%[sc_sess_cnt(0)]:%[sc_http_req_cnt(0)]:%[sc_conn_cur(0)]";
    let cli = authority.path("cli");
    let config =
        with_global(&site(front, &authority, ("", lines), server.address()), &format!(" stats socket {} level admin", cli.display()));
    let _daemon = Daemon::start_haproxy(&config);
    let (one, other) = (Client::connect(front, &authority), Client::connect(front, &authority));
    assert_eq!(one.get("/").field("x-of"), Some("2:2:1:2"));
    assert_eq!(other.get("/").field("x-of"), Some("2:2:2:2"));
    assert_eq!(one.get("/").field("x-of"), Some("2:2:3:2"));
    assert_eq!(one.get("/").status(), 200);
    assert_eq!(other.get("/").status(), 429);
    let table = ask(&cli, "show table front\n");
    assert!(table.contains("key=127.0.0.1") && table.contains("http_req_cnt=5"), "{table}");
    let all = ask(&cli, "show stat\n");
    let mut lines = all.lines();
    let names: Vec<&str> = lines.next().unwrap().trim_start_matches("# ").split(',').collect();
    let row: Vec<&str> = lines.find(|line| line.starts_with("front,FRONTEND")).unwrap().split(',').collect();
    let of = |name| names.iter().position(|known| *known == name).map(|at| row[at]);
    let wanted = [("scur", "2"), ("stot", "2"), ("req_tot", "5"), ("hrsp_2xx", "4"), ("hrsp_4xx", "1"), ("dreq", "1")];
    for (name, value) in wanted {
        assert_eq!(of(name), Some(value), "{name} in {all}");
    }
}

#[test]
fn clients_show_certificates() {
    let (authority, front, server) = (Authority::new(), unused_address(), hello().0);
    let lines = " http-response set-header x-who %[ssl_c_used]:%[ssl_c_verify]:%[ssl_c_s_dn(cn)]:%[ssl_fc_has_crt]";
    let words = format!("ca-file {} verify required", authority.root().display());
    let daemon = Daemon::start_haproxy(&site(front, &authority, (&words, lines), server.address()));
    let own = authority.issue(&["me.test"]);
    let client = Client::with(front, &credentials(&authority, Some(&own))).unwrap();
    assert_eq!(client.get("/").field("x-who"), Some("1:0:me.test:1"));
    // In TLS 1.3 a client learns only later that it was not let in.
    let stranger = Authority::named("stranger");
    for (what, shown) in [("nothing", None), ("that of a stranger", Some(stranger.issue(&["me.test"])))] {
        let heard = Client::with(front, &credentials(&authority, shown.as_ref())).map(|client| {
            let end = client.runtime.block_on(async { tokio::time::timeout(PATIENCE, client.connection.closed()).await.unwrap() });
            assert!(matches!(end, quinn::ConnectionError::ConnectionClosed(_)), "{what}: {end}");
        });
        if let Err(error) = heard {
            assert!(matches!(error, quinn::ConnectionError::ConnectionClosed(_)), "{what}: {error}");
        }
    }
    daemon.wait_for_log("SSL handshake failure");
}

#[test]
fn sessions_are_resumed_on_every_thread() {
    let (authority, front, server) = (Authority::new(), unused_address(), hello().0);
    let lines = " http-response set-header x-resumed %[ssl_fc_is_resumed]:%[ssl_fc_has_early]";
    let _daemon = Daemon::start_haproxy(&site(front, &authority, ("", lines), server.address()));
    let tls = credentials(&authority, None);
    for number in 0..6 {
        let client = Client::with(front, &tls).unwrap();
        let wanted = if number == 0 { "0:0" } else { "1:0" };
        assert_eq!(client.get("/").field("x-resumed"), Some(wanted), "connection {number}");
        // Tickets come behind the handshake.
        client.rest(Duration::from_millis(100));
    }
}

/// Makes as many handshakes begin that nobody goes on with.
fn leave_half_open(front: SocketAddr, authority: &Authority, count: usize) -> Vec<UdpSocket> {
    let begin = |_| {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        sink.set_read_timeout(Some(PATIENCE)).unwrap();
        knock(sink.local_addr().unwrap(), &credentials(authority, None));
        let mut first = [0; 2000];
        let length = sink.recv(&mut first).unwrap();
        sink.send_to(&first[..length], front).unwrap();
        sink
    };
    (0..count).map(begin).collect()
}

#[test]
fn addresses_are_proven_while_many_handshakes_are_incomplete() {
    let (authority, front, server) = (Authority::new(), unused_address(), hello().0);
    let config = site(front, &authority, ("", " timeout http-request 3s"), server.address());
    let _daemon = Daemon::start_haproxy(&with_global(&config, " tune.quic.retry-threshold 3"));
    let client = || {
        let mut client = Command::new("gtlsclient");
        client.args(["--exit-on-all-streams-close", "--timeout=5s", &front.ip().to_string(), &front.port().to_string(), "https://a.test/"]);
        let output = client.output().expect("gtlsclient: `cargo xtask setup` installs ngtcp2-client");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains(":status: 200"), "{said}");
        said.contains("type=Retry") || said.contains(" Retry")
    };
    assert!(!client());
    let _half_open = leave_half_open(front, &authority, 3);
    let end = Instant::now() + PATIENCE;
    while !client() {
        assert!(Instant::now() < end, "nobody has to prove an address");
    }
    // What nobody goes on with is given up, and then nobody has to prove anything any more.
    while client() {
        assert!(Instant::now() < end, "everybody has to prove an address");
    }
}

#[test]
fn what_is_set_of_quic_holds() {
    let (authority, front) = (Authority::new(), unused_address());
    let server = Server::start(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let cli = authority.path("cli");
    let more = format!(
        " tune.quic.frontend.max-streams-bidi 2\n tune.quic.frontend.max-idle-timeout 2s\n stats socket {} level admin",
        cli.display()
    );
    let _daemon = Daemon::start_haproxy(&with_global(&site(front, &authority, ("", ""), server.address()), &more));
    let client = Client::connect(front, &authority);
    let _open = [client.begin(&headers(&request("GET", "/"))), client.begin(&headers(&request("GET", "/")))];
    let third = client.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(300), client.connection.open_bi()).await });
    assert!(third.is_err(), "two at a time");
    let connections = || ask(&cli, "show info\n").lines().find_map(|line| line.strip_prefix("CurrConns: ").map(str::to_owned));
    assert_eq!(connections().as_deref(), Some("1"));
    // A client whose engine does not run is not heard.
    let began = Instant::now();
    while connections().as_deref() != Some("0") {
        assert!(began.elapsed() < Duration::from_secs(12), "still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

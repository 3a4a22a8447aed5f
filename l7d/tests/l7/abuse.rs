//! Clients that take too much, or say what is none of the protocol, in every version of it; beside haproxy where that speaks it.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::h3_client::{Client, Heard};
use crate::http::{hello, ok, read_head, server};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, unused_address};
use crate::tables::tell;
use crate::{frames, h3, h3_client};

/// Connects from an address of this host.
fn connect_from(front: SocketAddr, last: u8) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&front.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks for a path, and returns the status of the answer, if there is one, and whether it was late.
fn visit(stream: &mut TcpStream, path: &str) -> String {
    let began = Instant::now();
    let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let mut answer = Vec::new();
    let mut buffer = [0; 65_536];
    let end = |answer: &[u8]| answer.windows(4).position(|part| part == b"\r\n\r\n").map(|at| at + 4);
    let whole = |answer: &[u8]| {
        let head = end(answer)?;
        Some(answer.len() >= head + crate::http::length_of(&String::from_utf8_lossy(&answer[..head])))
    };
    while whole(&answer) != Some(true) {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => answer.extend_from_slice(&buffer[..count]),
            Ok(_) | Err(_) => break,
        }
    }
    let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or(b"cut")).into_owned();
    if began.elapsed() >= TARPIT { format!("{status} late") } else { status }
}

const TARPIT: Duration = Duration::from_millis(600);

/// What clients of each tier see, whatever others do.
fn tiers(front: SocketAddr) -> Vec<Vec<String>> {
    // An address may be taken before anybody listens there.
    wait_until("somebody listens", || TcpStream::connect(front).is_ok());
    let once = |last: u8, path: &str| visit(&mut connect_from(front, last), path);
    let by_rate = (0..8).map(|_| once(11, "/")).collect();
    let mut held: Vec<_> = (0..3).map(|_| connect_from(front, 12)).collect();
    let mut by_concurrency: Vec<_> = held.iter_mut().map(|stream| visit(stream, "/")).collect();
    by_concurrency.push(once(12, "/"));
    // One place is free again as soon as that is noticed.
    held.pop();
    let end = Instant::now() + PATIENCE;
    while connect_from(front, 12).write_all(b"x").is_ok() && once(12, "/free") == "cut" {
        assert!(Instant::now() < end, "no place becomes free");
        thread::sleep(Duration::from_millis(20));
    }
    let by_bytes = ["/", "/big", "/", "/big"].map(|path| once(13, path)).to_vec();
    vec![by_rate, by_concurrency, by_bytes, vec![once(14, "/")]]
}

#[test]
fn tiers_of_limits_act_together_as_with_haproxy() {
    let (server, _) = server(|head, _| ok(&"x".repeat(if head.starts_with("GET /big") { 300_000 } else { 5 })));
    let cfg = |front: SocketAddr| {
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n timeout tarpit 700ms\nfrontend front\n bind {front}\n \
             tcp-request connection track-sc0 src table per_ip\n tcp-request connection reject if {{ sc0_conn_cur gt 3 }}\n \
             http-request deny deny_status 429 if {{ sc0_http_req_rate gt 6 }} !{{ path /free }}\n \
             http-request tarpit deny_status 429 if {{ sc0_http_req_rate gt 4 }} !{{ path /free }}\n \
             http-request deny deny_status 403 if {{ sc0_bytes_out_rate gt 100000 }}\n default_backend back\n\
             backend per_ip\n stick-table type ip size 1k expire 1m store http_req_rate(1m),conn_cur,bytes_out_rate(1m)\n\
             backend back\n server s {}\n",
            server.address()
        )
    };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start_haproxy(&cfg(ours));
    let _haproxy = Haproxy::find().start(&cfg(theirs), theirs);
    let (ours, theirs) = thread::scope(|scope| {
        let [ours, theirs] = [ours, theirs].map(|front| scope.spawn(move || tiers(front)));
        (ours.join().unwrap(), theirs.join().unwrap())
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours[0], ["200", "200", "200", "200", "429 late", "429 late", "429", "429"]);
    assert_eq!(ours[1], ["200", "200", "200", "cut"]);
    assert_eq!(ours[2], ["200", "200", "403", "403"]);
    assert_eq!(ours[3], ["200"]);
}

/// Says one answer that goes on as long as somebody listens.
fn endless() -> Server {
    Server::start(|mut stream| {
        let _ = read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n");
        while stream.write_all(&[7; 16_384]).is_ok() {}
    })
}

/// A client that reads without end; killed when dropped.
struct Download(Child);

impl Download {
    /// Takes some megabytes per second.
    fn start(words: &[&str], front: SocketAddr) -> Self {
        let mut command = Command::new("curl");
        command.args(["-s", "--limit-rate", "8M", "-o", "/dev/null"]).args(words).arg(format!("http://{front}/"));
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("curl: `cargo xtask setup` installs it"))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_download_over_http2_counts_while_it_flows_as_with_haproxy() {
    let (long, (short, _)) = (endless(), hello());
    let cfg = |front: SocketAddr| {
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n option contstats\nfrontend front\n bind {front}\n \
             stick-table type ip size 100 expire 1m store bytes_out_rate(1m)\n http-request track-sc0 src\n \
             http-request deny deny_status 429 if {{ sc0_bytes_out_rate gt 4000000 }}\n use_backend short if {{ path /short }}\n \
             default_backend long\nbackend long\n server s {}\nbackend short\n server s {}\n",
            long.address(),
            short.address()
        )
    };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start_haproxy(&cfg(ours));
    let _haproxy = Haproxy::find().start(&cfg(theirs), theirs);
    for front in [ours, theirs] {
        let _download = Download::start(&["--http2-prior-knowledge"], front);
        wait_until("a download over HTTP/2 is not counted", || visit(&mut connect(front), "/short") == "429");
    }
}

/// A frontend for HTTP/3 that tracks its clients.
fn site_h3(front: SocketAddr, authority: &Authority, socket: &Path, server: SocketAddr) -> String {
    let lines =
        " stick-table type ip size 100 expire 1m store bytes_in_cnt,bytes_out_cnt,glitch_cnt\n tcp-request connection track-sc0 src";
    let site = h3::site(front, authority, ("", lines), server);
    site.replacen("global\n", &format!("global\n stats socket {} level admin\n", socket.display()), 1)
}

fn value(socket: &Path, name: &str) -> u64 {
    let shown = tell(socket, "show table front");
    let found = shown.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.map_or(0, |number| number.parse().unwrap())
}

#[test]
fn a_download_over_http3_counts_while_it_flows() {
    let (authority, front, directory, long) = (Authority::new(), unused_address(), directory(), endless());
    let socket = directory.join("socket");
    let _daemon = Daemon::start_haproxy(&site_h3(front, &authority, &socket, long.address()));
    let client = Client::connect(front, &authority);
    let (_send, mut recv) = client.begin(&h3_client::headers(&h3::request("GET", "/")));
    let mut heard = 0;
    while heard < 8_000_000 {
        let chunk = client.runtime.block_on(async { tokio::time::timeout(PATIENCE, recv.read_chunk(65_536, true)).await });
        heard += chunk.unwrap().unwrap().expect("an answer without end").bytes.len();
    }
    wait_until("a download over HTTP/3 is not counted", || value(&socket, "bytes_out_cnt") > 4_000_000);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_none_of_http3_is_a_glitch() {
    let (authority, front, directory, (server, _)) = (Authority::new(), unused_address(), directory(), hello());
    let socket = directory.join("socket");
    let _daemon = Daemon::start_haproxy(&site_h3(front, &authority, &socket, server.address()));
    let client = Client::connect(front, &authority);
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(value(&socket, "glitch_cnt"), 0);
    // A name in capitals, and a request without a path.
    let wrong = [[&h3::request("GET", "/")[..], &[("Bad", "x")]].concat(), h3::request("GET", "/")[..3].to_vec()];
    for fields in &wrong {
        let heard = client.ask(&h3_client::headers(fields));
        assert!(matches!(heard, Heard::Reset(_)), "{heard:?}");
    }
    wait_until("two glitches are counted", || value(&socket, "glitch_cnt") == 2);
    // A frame that has no place on a stream of a request ends the connection.
    let heard = client.ask(&h3_client::frame(h3_client::SETTINGS, &[]));
    assert!(matches!(heard, Heard::Closed(_)), "{heard:?}");
    wait_until("three glitches are counted", || value(&socket, "glitch_cnt") == 3);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_none_of_http2_is_a_glitch() {
    let (front, directory, (server, _)) = (unused_address(), directory(), hello());
    let socket = directory.join("socket");
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\nfrontend front\n \
         bind {front}\n stick-table type ip size 100 expire 1m store glitch_cnt,glitch_rate(1m)\n tcp-request connection track-sc0 src\n \
         http-request deny deny_status 429 if {{ sc0_glitch_rate gt 3 }}\n default_backend back\nbackend back\n server s {}\n",
        socket.display(),
        server.address()
    ));
    let mut peer = frames::Peer::connect(front);
    peer.send(&frames::get(1));
    assert_eq!(peer.status(), 200);
    // A client may think better of it.
    peer.send(&[frames::get(3), frames::reset(3, 8)].concat());
    let request = frames::request("GET");
    let wrong = [
        // What the engine finds out: a field that has no place here, no path.
        [&request[..], &[("connection", "close")]].concat(),
        request.iter().copied().filter(|(name, _)| *name != ":path").collect(),
        // What only the proxy does: two hosts.
        [&request[..], &[("host", "another")]].concat(),
    ];
    for (stream, fields) in [5, 7, 9].into_iter().zip(&wrong) {
        peer.send(&frames::headers(stream, frames::WHOLE, fields));
        let reset = peer.until(frames::RST_STREAM);
        assert_eq!((reset.stream, frames::code(&reset)), (stream, 1));
    }
    wait_until("three glitches are counted", || value(&socket, "glitch_cnt") == 3);
    peer.send(&frames::get(11));
    assert_eq!(peer.status(), 200);
    // What ends the connection is one, too: a frame for a stream that nobody opened.
    peer.send(&frames::frame(frames::DATA, 0, 101, b"x"));
    peer.until(frames::GOAWAY);
    wait_until("four glitches are counted", || value(&socket, "glitch_cnt") == 4);
    assert_eq!(visit(&mut connect(front), "/"), "429");
    std::fs::remove_dir_all(directory).unwrap();
}

/// Returns how many bytes statistics say that have gone to clients: of a frontend, or of the backend and the server behind it.
fn told(socket: &Path, name: &str) -> Vec<u64> {
    let shown = tell(socket, &format!("show stat {name} 7 -1"));
    let lines = shown.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.split(',').nth(9).unwrap().parse().unwrap()).collect()
}

#[test]
fn statistics_know_of_long_downloads_where_asked_as_with_haproxy() {
    let long = endless();
    let (fronts, directory) = ([(); 4].map(|()| unused_address()), directory());
    let cfg = |fronts: &[SocketAddr], socket: &Path, global: &str| {
        let proxy = |name: &str, option: &str, front: SocketAddr| {
            format!("listen {name}\n bind {front}\n {option}\n server s {}\n", long.address())
        };
        format!(
            "global\n stats socket {} level admin\n{global}defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n{}{}{}",
            socket.display(),
            proxy("with", "option contstats", fronts[0]),
            proxy("tunnel", "mode tcp\n option contstats", fronts[2]),
            proxy("without", "no option contstats", fronts[1])
        )
    };
    let (our_socket, their_socket) = (directory.join("ours"), directory.join("theirs"));
    let ours = [fronts[0], fronts[1], unused_address()];
    let theirs = [fronts[2], fronts[3], unused_address()];
    let _daemon = Daemon::start_haproxy(&cfg(&ours, &our_socket, ""));
    let _haproxy = Haproxy::find().start(&cfg(&theirs, &their_socket, ""), theirs[0]);
    for (fronts, socket) in [(ours, &our_socket), (theirs, &their_socket)] {
        let downloads = fronts.map(|front| Download::start(&[], front));
        for name in ["with", "tunnel"] {
            wait_until("bytes are told while they flow", || {
                let told = told(socket, name);
                told.len() == 3 && told.iter().all(|count| *count > 1_000_000)
            });
        }
        assert_eq!(told(socket, "without"), [0, 0, 0]);
        drop(downloads);
        wait_until("all bytes are told in the end", || told(socket, "without").iter().all(|count| *count > 1_000_000));
        let all = told(socket, "with");
        assert!(all.iter().all(|count| count.abs_diff(all[0]) < 1000), "nothing is counted twice: {all:?}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

//! Small options of a proxy, on the very file that Debian's haproxy gets: what is added to requests, which names of fields go, who is
//! not answered, and how sockets are kept.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{ask, essence, ok, read_head, server, status};
use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, connect, directory, unused_address};

/// Both proxies on one configuration, but for the address clients come to.
struct Pair {
    ours: SocketAddr,
    theirs: SocketAddr,
    _processes: (Daemon, HaproxyProcess),
}

impl Pair {
    fn start(front: &str, back: &str, server: SocketAddr) -> Self {
        let (ours, theirs) = (unused_address(), unused_address());
        let daemon = Daemon::start_haproxy(&cfg(ours, front, back, server));
        let haproxy = Haproxy::find().start(&cfg(theirs, front, back, server), theirs);
        Self { ours, theirs, _processes: (daemon, haproxy) }
    }
}

fn cfg(address: SocketAddr, front: &str, back: &str, server: SocketAddr) -> String {
    let lines = |text: &str| text.lines().map(|line| format!(" {line}\n")).collect::<String>();
    format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n timeout http-request 1s\nfrontend front\n \
         bind {address}\n{} default_backend back\nbackend back\n{} server s1 {server}\n",
        lines(front),
        lines(back)
    )
}

/// A server that answers with the request it got.
fn mirror() -> crate::kit::Server {
    server(|head, _| ok(head)).0
}

#[test]
fn requests_are_changed_as_by_debian_haproxy() {
    let mirror = mirror();
    let cases = [
        ("option originalto", ""),
        ("option originalto header X-To", ""),
        ("option originalto", "option originalto header X-Back"),
        ("option originalto except 127.0.0.0/8", ""),
        ("", "option originalto except 10.0.0.0/8"),
        ("option http-restrict-req-hdr-names delete", ""),
        ("", "option http-restrict-req-hdr-names delete"),
        ("option http-restrict-req-hdr-names reject", ""),
        ("", "option http-restrict-req-hdr-names reject"),
        ("option http-restrict-req-hdr-names preserve", ""),
        ("option http-restrict-req-hdr-names delete\nhttp-request del-header X_a", ""),
        ("", "http-send-name-header X-Server"),
        ("http-request set-header X-Server mine", "http-send-name-header x-server"),
        ("option httpclose", ""),
        ("option httpclose\noption http-pretend-keepalive", ""),
        ("", "option http-server-close"),
        ("", "option http-server-close\noption http-pretend-keepalive\noption http-no-delay"),
    ];
    for (front, back) in cases {
        let pair = Pair::start(front, back, mirror.address());
        for fields in ["", "X_a: 1\r\nX-b: 2\r\n"] {
            let seen = |address: SocketAddr| {
                let (head, body) = ask(&mut connect(address), &format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
                let mut lines = if status(&head) == "200" { essence(&body) } else { Vec::new() };
                lines.iter_mut().for_each(|line| *line = line.replace(&address.ip().to_string(), "<proxy>"));
                lines.sort();
                (status(&head).to_owned(), lines)
            };
            assert_eq!(seen(pair.ours), seen(pair.theirs), "{front:?} {back:?} {fields:?}");
        }
    }
}

#[test]
fn a_client_is_described_in_one_field() {
    let mirror = mirror();
    let cases = [
        ("forwarded", "Forwarded: proto=http;for=127.0.0.1\r\n".to_owned()),
        ("forwarded proto host by for", "Forwarded: proto=http;host=\"h:80\";by=<proxy>;for=127.0.0.1\r\n".to_owned()),
        ("forwarded by by_port", "Forwarded: by=\"<proxy>:7000\"\r\n".to_owned()),
    ];
    for (option, expected) in cases {
        let address = unused_address();
        let _daemon = Daemon::start_haproxy(&cfg(address, &format!("option {option}"), "", mirror.address()));
        let (_, body) = ask(&mut connect(address), "GET / HTTP/1.1\r\nHost: h:80\r\n\r\n");
        let expected = expected.replace("<proxy>", &address.ip().to_string());
        assert!(body.contains(&expected), "{option}: {body}");
    }
}

#[test]
fn a_monitor_is_told_what_its_condition_says() {
    let mirror = mirror();
    let directory = directory();
    for (name, text) in
        [("fine", "HTTP/1.1 200 Fine\r\nContent-Length: 4\r\n\r\nfine"), ("bad", "HTTP/1.1 503 Bad\r\nContent-Length: 3\r\n\r\nbad")]
    {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let mut front =
        "monitor-uri /alive\nacl down hdr(x-down) -m found\nmonitor fail if down\nmonitor fail if { hdr(x-ill) yes }\n".to_owned();
    for own_words in [false, true] {
        if own_words {
            write!(front, "errorfile 200 {0}/fine\nerrorfile 503 {0}/bad\n", directory.display()).unwrap();
        }
        let pair = Pair::start(&front, "", mirror.address());
        for fields in ["", "X-Down: 1\r\n", "X-Ill: no\r\n", "X-Ill: yes\r\n"] {
            let told = |address: SocketAddr| {
                let (head, body) = ask(&mut connect(address), &format!("GET /alive HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
                (status(&head).to_owned(), if own_words { body } else { String::new() })
            };
            assert_eq!(told(pair.ours), told(pair.theirs), "{fields:?}");
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn who_says_nothing_is_not_answered() {
    let mirror = mirror();
    let log = UdpSocket::bind("127.0.0.1:0").unwrap();
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    let front = format!("option httplog\nlog global\n{}", "option http-ignore-probes");
    let pair = Pair::start("option http-ignore-probes", "", mirror.address());
    for address in [pair.ours, pair.theirs] {
        let mut heard = Vec::new();
        connect(address).read_to_end(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), "", "it was told something");
        let mut client = connect(address);
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(status(&read_head(&mut client)), "408", "who says something is");
    }
    let address = unused_address();
    let config = format!("global\n log {} local0\n{}", log.local_addr().unwrap(), cfg(address, &front, "", mirror.address()));
    let _daemon = Daemon::start_haproxy(&config);
    drop(connect(address));
    ask(&mut connect(address), "GET /second HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut line = [0; 4096];
    let count = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..count]).into_owned();
    assert!(line.contains("/second"), "the first line: {line}");
}

/// Returns the states and timers of the connections that have an end here, as the kernel lists them.
fn connections(end: SocketAddr) -> Vec<(String, String)> {
    let std::net::IpAddr::V4(ip) = end.ip() else { unreachable!("loopback addresses of the tests are of version 4") };
    let end = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), end.port());
    let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = list.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mine = lines.filter(|words| words[1] == end && words[3] != "0A");
    mine.map(|words| (words[3].to_owned(), words[5].split(':').next().unwrap_or_default().to_owned())).collect()
}

#[test]
fn the_kernel_probes_silent_clients() {
    let mirror = mirror();
    for (option, timer) in [("option tcpka", "02"), ("option clitcpka", "02"), ("option srvtcpka", "00")] {
        let front = unused_address();
        let _daemon = Daemon::start_haproxy(&cfg(front, option, "", mirror.address()));
        let mut client = connect(front);
        ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let end = Instant::now() + PATIENCE;
        // A timer of the answer just sent may still run.
        while connections(front) != [("01".to_owned(), timer.to_owned())] {
            assert!(Instant::now() < end, "{option}: {:?}", connections(front));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_connection_that_does_not_linger_is_gone_at_once() {
    let mirror = mirror();
    let front = unused_address();
    let _daemon = Daemon::start_haproxy(&cfg(front, "option nolinger", "", mirror.address()));
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(status(&read_head(&mut client)), "200");
    let end = Instant::now() + PATIENCE;
    // Otherwise the kernel waits a minute for a client that does not close.
    while !connections(front).is_empty() {
        assert!(Instant::now() < end, "{:?}", connections(front));
        thread::sleep(Duration::from_millis(20));
    }
}

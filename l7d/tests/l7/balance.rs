//! Who is chosen, who waits, and in which order: the built daemon between real clients and servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, echo, read, tcp_site, unused_address};

/// Starts a server that answers every request with its name.
fn web(name: &'static str) -> Server {
    Server::start(move |mut stream| {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        while read_head(&mut stream).is_some() {
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Reads up to and including the empty line; none at the end of the stream.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !stream.read(&mut byte).is_ok_and(|count| count == 1) {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Sends a request and returns the name of who answered.
fn ask(stream: &mut TcpStream, target: &str, fields: &str) -> String {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes()).unwrap();
    let head = read_head(stream).unwrap_or_else(|| panic!("no answer for {target}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{target}: {head}");
    read(stream, 2)
}

fn http_site(front: SocketAddr, settings: &str, servers: &[SocketAddr]) -> String {
    tcp_site(front, settings, servers).replace("mode = \"tcp\"", "mode = \"http\"")
}

/// One thread serves in the order in which clients come.
fn one_thread(site: &str) -> String {
    site.replace("nbthread = 2", "nbthread = 1")
}

fn names<const N: usize>() -> [&'static str; N] {
    std::array::from_fn(|index| ["s1", "s2", "s3", "s4", "s5"][index])
}

/// Asks for so many targets and returns who answered each.
fn owners(front: SocketAddr, count: usize) -> Vec<String> {
    let mut client = connect(front);
    (0..count).map(|number| ask(&mut client, &format!("/images/{number}.png"), "")).collect()
}

fn tally(answers: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    answers.iter().for_each(|answer| *counts.entry(answer.as_str()).or_default() += 1);
    counts
}

/// Tells whether a client has been sent nothing so far.
fn waits(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// What is balanced by, in both languages.
const BY_CONTENT: [(&str, &str); 14] = [
    ("uri", ""),
    ("uri whole", "map-based djb2"),
    ("uri len 9", "map-based crc32"),
    ("uri depth 1", ""),
    ("uri path-only depth 2 len 12", ""),
    ("url_param id", "map-based crc32"),
    ("hdr(X-Key)", "map-based djb2"),
    ("hdr(x-key) use_domain_only", ""),
    ("source", "map-based crc32"),
    ("hash src", "map-based djb2"),
    ("hash path", ""),
    ("hash query", ""),
    ("hash req.hdr(x-key)", "map-based crc32"),
    ("hash method", ""),
];

/// Requests that have all that is hashed.
fn requests() -> Vec<(String, String, String)> {
    let mut requests = Vec::new();
    for number in 0..24 {
        let client = format!("PROXY TCP4 10.{number}.7.{} 10.0.0.1 1 2\r\n", 250 - number);
        let target = format!("/d{}/e{}/f{number}.png?x=/{number}&id=user{number}&id=2", number % 5, number % 7);
        let value = if number % 2 == 0 { format!("www.site{number}.example, other") } else { format!("Key {number}") };
        requests.push((client, target, format!("X-Key: {value}\r\nx-key: second{number}\r\n")));
    }
    requests
}

#[test]
fn same_request_comes_to_the_same_server_as_with_haproxy() {
    let haproxy = Haproxy::find();
    let servers = names::<5>().map(web);
    let mut site = "[defaults]\ntimeout = { connect = \"5s\", client = \"30s\", server = \"30s\" }\n".to_owned();
    let mut reference = "defaults\nmode http\ntimeout connect 5s\ntimeout client 30s\ntimeout server 30s\n".to_owned();
    let mut fronts = Vec::new();
    for (number, (balance, hash)) in BY_CONTENT.iter().enumerate() {
        let (ours, theirs) = (unused_address(), unused_address());
        writeln!(site, "[frontend.f{number}]\nbind = [{{ address = \"{ours}\", accept-proxy = true }}]\ndefault-backend = \"b{number}\"")
            .unwrap();
        writeln!(site, "[backend.b{number}]\nbalance = \"{balance}\"").unwrap();
        writeln!(
            reference,
            "frontend f{number}\nbind {theirs} accept-proxy\ndefault_backend b{number}\nbackend b{number}\nbalance {balance}"
        )
        .unwrap();
        if !hash.is_empty() {
            writeln!(site, "hash-type = \"{hash}\"").unwrap();
            writeln!(reference, "hash-type {hash}").unwrap();
        }
        writeln!(site, "[backend.b{number}.server]").unwrap();
        for (name, server) in names::<5>().iter().zip(&servers) {
            writeln!(site, "{name} = \"{}\"", server.address()).unwrap();
            writeln!(reference, "server {name} {}", server.address()).unwrap();
        }
        fronts.push((ours, theirs));
    }
    let _daemon = Daemon::start(&site);
    let _haproxy = haproxy.start(&reference, fronts.last().unwrap().1);
    for ((ours, theirs), (balance, hash)) in fronts.into_iter().zip(BY_CONTENT) {
        for (proxied, target, fields) in requests() {
            let [here, there] = [ours, theirs].map(|front| {
                let mut client = connect(front);
                client.write_all(proxied.as_bytes()).unwrap();
                ask(&mut client, &target, &fields)
            });
            assert_eq!(here, there, "balance {balance}, hash-type {hash}: {proxied}{target} {fields}");
        }
    }
}

#[test]
fn requests_without_what_is_hashed_go_round() {
    let servers = names::<3>().map(web);
    let front = unused_address();
    let _daemon = Daemon::start(&http_site(front, "balance = \"url_param id\"", &servers.each_ref().map(Server::address)));
    let counts = owners(front, 30);
    assert_eq!(tally(&counts), BTreeMap::from([("s1", 10), ("s2", 10), ("s3", 10)]));
}

#[test]
fn only_the_share_of_a_dead_server_moves() {
    let [one, two, three, four] = names::<4>().map(web);
    let front = unused_address();
    let settings = "balance = \"uri\"\nhash-type = \"consistent\"\ncheck = { tcp = {}, inter = \"50ms\", fall = 1, rise = 1 }";
    let daemon = Daemon::start(&http_site(front, settings, &[&one, &two, &three, &four].map(Server::address)));
    let before = owners(front, 400);
    assert!(tally(&before).values().all(|count| (50..150).contains(count)), "{:?}", tally(&before));
    assert_eq!(owners(front, 400), before, "nothing has changed");
    drop(two);
    daemon.wait_for_log("back/s2 is DOWN");
    for (before, after) in before.iter().zip(owners(front, 400)) {
        assert!(after != "s2" && (*before == after || before == "s2"), "{before} moved to {after}");
    }
}

#[test]
fn hash_balance_factor_bounds_what_one_client_brings() {
    let servers = names::<3>().map(Server::echo);
    let front = unused_address();
    let settings = "balance = \"source\"\nhash-type = \"consistent\"\nhash-balance-factor = 150";
    let _daemon = Daemon::start(&tcp_site(front, settings, &servers.each_ref().map(Server::address)));
    let mut open = Vec::new();
    for _ in 0..30 {
        let mut client = connect(front);
        read(&mut client, 2);
        open.push(client);
    }
    let accepted = servers.each_ref().map(Server::accepted);
    assert!(accepted.iter().all(|count| *count <= 15) && accepted.iter().sum::<usize>() == 30, "{accepted:?}");
}

#[test]
fn static_turns_follow_weights_and_leave_out_weight_zero() {
    let [one, two, three] = names::<3>().map(web);
    let front = unused_address();
    let mut site = http_site(front, "balance = \"static-rr\"", &[one.address()]);
    writeln!(site, "s2 = {{ address = \"{}\", weight = 3 }}\ns3 = {{ address = \"{}\", weight = 0 }}", two.address(), three.address())
        .unwrap();
    let _daemon = Daemon::start(&site);
    assert_eq!(tally(&owners(front, 40)), BTreeMap::from([("s1", 10), ("s2", 30)]));
}

#[test]
fn all_backups_share_where_the_option_says_so() {
    let [two, three] = ["s2", "s3"].map(web);
    let front = unused_address();
    for (settings, expected) in [("", BTreeMap::from([("s2", 10)])), ("option = [\"allbackups\"]", BTreeMap::from([("s2", 5), ("s3", 5)]))]
    {
        let mut site = http_site(front, settings, &[]);
        writeln!(site, "s1 = {{ address = \"127.0.0.1:1\", disabled = true }}").unwrap();
        for server in [&two, &three] {
            let name = if server.address() == two.address() { "s2" } else { "s3" };
            writeln!(site, "{name} = {{ address = \"{}\", backup = true }}", server.address()).unwrap();
        }
        let _daemon = Daemon::start(&site);
        assert_eq!(tally(&owners(front, 10)), expected, "{settings}");
    }
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let server = Server::echo("s1");
    let front = unused_address();
    let site = tcp_site(front, "default-server = { maxconn = 1 }\ntimeout = { queue = \"60s\" }", &[server.address()]);
    let _daemon = Daemon::start(&one_thread(&site));
    let mut clients: Vec<TcpStream> = (0..6).map(|_| connect(front)).collect();
    while !clients.is_empty() {
        assert_eq!(read(&mut clients[0], 2), "s1");
        assert!(clients[1..].iter().all(waits), "{} left", clients.len());
        clients.remove(0);
    }
    assert_eq!(server.accepted(), 6);
}

#[test]
fn server_that_comes_up_serves_who_waits() {
    let (one, late) = (Server::echo("s1"), unused_address());
    let front = unused_address();
    let settings =
        "default-server = { maxconn = 1 }\ntimeout = { queue = \"60s\" }\ncheck = { tcp = {}, inter = \"50ms\", fall = 1, rise = 1 }";
    let daemon = Daemon::start(&one_thread(&tcp_site(front, settings, &[one.address(), late])));
    daemon.wait_for_log("back/s2 is DOWN");
    let (mut first, mut second) = (connect(front), connect(front));
    assert_eq!(read(&mut first, 2), "s1");
    let _two = Server::at(late, |stream| echo("s2", stream));
    assert_eq!(read(&mut second, 2), "s2");
}

#[test]
fn higher_limit_serves_who_waits() {
    let server = Server::echo("s1");
    let front = unused_address();
    let site = one_thread(&tcp_site(front, "default-server = { maxconn = 1 }\ntimeout = { queue = \"60s\" }", &[server.address()]));
    let daemon = Daemon::start(&site);
    let (mut first, mut second) = (connect(front), connect(front));
    assert_eq!(read(&mut first, 2), "s1");
    assert!(waits(&second));
    daemon.reload(&site.replace("maxconn = 1", "maxconn = 2"));
    assert_eq!(read(&mut second, 2), "s1");
}

#[test]
fn full_queue_sends_to_another_server() {
    let servers = names::<2>().map(Server::echo);
    let front = unused_address();
    let settings = "balance = \"source\"\ndefault-server = { maxconn = 1, maxqueue = 1 }\ntimeout = { queue = \"60s\" }";
    let _daemon = Daemon::start(&one_thread(&tcp_site(front, settings, &servers.each_ref().map(Server::address))));
    let [mut served, mut waiting, mut sent_on] = [connect(front), connect(front), connect(front)];
    let own = read(&mut served, 2);
    let other = read(&mut sent_on, 2);
    assert_ne!(own, other);
    assert!(waits(&waiting));
    drop(served);
    assert_eq!(read(&mut waiting, 2), own);
}

#[test]
fn who_waits_for_a_server_that_dies_chooses_again() {
    let servers = names::<2>().map(Server::echo);
    let front = unused_address();
    let settings = "balance = \"source\"\ndefault-server = { maxconn = 1 }\ntimeout = { queue = \"60s\" }\n\
                    check = { tcp = {}, inter = \"50ms\", fall = 1, rise = 1 }";
    let daemon = Daemon::start(&one_thread(&tcp_site(front, settings, &servers.each_ref().map(Server::address))));
    let [mut served, mut waiting] = [connect(front), connect(front)];
    let own = read(&mut served, 2);
    assert!(waits(&waiting));
    let [one, two] = servers;
    let survivor = if own == "s1" {
        drop(one);
        two
    } else {
        drop(two);
        one
    };
    daemon.wait_for_log(&format!("back/{own} is DOWN"));
    assert_ne!(read(&mut waiting, 2), own);
    drop(survivor);
}

#[test]
fn limit_rises_with_the_load() {
    let server = Server::echo("s1");
    let front = unused_address();
    let settings = "default-server = { minconn = 1, maxconn = 4 }\nfullconn = 8\ntimeout = { queue = \"60s\" }";
    let _daemon = Daemon::start(&one_thread(&tcp_site(front, settings, &[server.address()])));
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect(front)).collect();
    assert_eq!(read(&mut clients[0], 2), "s1");
    assert!(clients[1..].iter().all(waits), "three of eight are one of four");
    clients.push(connect(front));
    assert_eq!(read(&mut clients[1], 2), "s1", "four of eight are two of four");
    assert!(clients[2..].iter().all(waits));
}

#[test]
fn returning_server_starts_slowly() {
    for balance in ["roundrobin", "leastconn"] {
        let (steady, address) = (Server::echo("s1"), unused_address());
        let front = unused_address();
        let settings = format!(
            "balance = \"{balance}\"\ndefault-server = {{ slowstart = \"600s\" }}\ncheck = {{ tcp = {{}}, inter = \"50ms\", fall = 1, rise = 1 }}"
        );
        let site = tcp_site(front, &settings, &[steady.address(), address]);
        let daemon = Daemon::start(&site);
        daemon.wait_for_log("back/s2 is DOWN");
        let _back = Server::at(address, |stream| echo("s2", stream));
        daemon.wait_for_log("back/s2 is UP");
        let mut clients = Vec::new();
        let mut slow = 0;
        for _ in 0..102 {
            let mut client = connect(front);
            slow += usize::from(read(&mut client, 2) == "s2");
            clients.push(client);
        }
        // A sixteenth of the other's share at first, a quarter after more than two minutes.
        assert!((1..=25).contains(&slow), "{balance}: {slow} of 102");
    }
}

#[test]
fn slow_start_ends() {
    let (steady, address) = (web("s1"), unused_address());
    let front = unused_address();
    let settings = "default-server = { slowstart = \"200ms\" }\ncheck = { tcp = {}, inter = \"50ms\", fall = 1, rise = 1 }";
    let daemon = Daemon::start(&http_site(front, settings, &[steady.address(), address]));
    daemon.wait_for_log("back/s2 is DOWN");
    let _back = Server::at(address, |mut stream| {
        while read_head(&mut stream).is_some() && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ns2").is_ok() {}
    });
    let end = Instant::now() + PATIENCE;
    while tally(&owners(front, 20)) != BTreeMap::from([("s1", 10), ("s2", 10)]) {
        assert!(Instant::now() < end, "never at its full share");
    }
}

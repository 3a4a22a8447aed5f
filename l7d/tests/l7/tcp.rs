//! Mode `tcp`: balancing, retries, half-close, bulk, timeouts, PROXY header, limits.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Server, connect, echo, is_at_end, read, tcp_site, unused_address};

/// Connects so many times, one after the other, and counts who answers.
fn ask(front: SocketAddr, times: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..times {
        *answers.entry(read(&mut connect(front), 2)).or_default() += 1;
    }
    answers
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

#[test]
fn round_robin_follows_weights_over_all_threads() {
    let (one, two) = (Server::echo("s1"), Server::echo("s2"));
    let front = unused_address();
    let site = tcp_site(front, "", &[]) + &format!("s1 = \"{}\"\ns2 = {{ address = \"{}\", weight = 3 }}\n", one.address(), two.address());
    let _daemon = Daemon::start(&site);
    assert_eq!(ask(front, 40), counts([("s1", 10), ("s2", 30)]));
}

#[test]
fn least_connections_fill_up_evenly() {
    let servers = [Server::echo("s1"), Server::echo("s2"), Server::echo("s3")];
    let front = unused_address();
    let _daemon = Daemon::start(&tcp_site(front, "balance = \"leastconn\"", &servers.each_ref().map(Server::address)));
    let mut open = Vec::new();
    for _ in 0..30 {
        let mut client = connect(front);
        read(&mut client, 2);
        open.push(client);
    }
    assert_eq!(servers.each_ref().map(Server::accepted), [10, 10, 10]);
}

#[test]
fn one_source_stays_with_one_server() {
    let servers = [Server::echo("s1"), Server::echo("s2"), Server::echo("s3")];
    let front = unused_address();
    let _daemon = Daemon::start(&tcp_site(front, "balance = \"source\"", &servers.each_ref().map(Server::address)));
    assert_eq!(ask(front, 12).len(), 1);
}

#[test]
fn backup_serves_only_when_nobody_else_does() {
    let (main, spare) = (Server::echo("s1"), Server::echo("b1"));
    let front = unused_address();
    let site = tcp_site(front, "check = { tcp = {}, inter = \"50ms\", fall = 1, rise = 1 }", &[main.address()])
        + &format!("spare = {{ address = \"{}\", backup = true }}\n", spare.address());
    let daemon = Daemon::start(&site);
    assert_eq!(ask(front, 3), counts([("s1", 3)]));
    drop(main);
    daemon.wait_for_log("back/s1 is DOWN");
    assert_eq!(ask(front, 3), counts([("b1", 3)]));
}

#[test]
fn failed_server_comes_back() {
    let address = unused_address();
    let (main, other) = (Server::at(address, |stream| echo("s1", stream)), Server::echo("s2"));
    let front = unused_address();
    let daemon = Daemon::start(&tcp_site(front, "check = { tcp = {}, inter = \"50ms\", fall = 1, rise = 1 }", &[address, other.address()]));
    drop(main);
    daemon.wait_for_log("back/s1 is DOWN");
    assert_eq!(ask(front, 4), counts([("s2", 4)]));
    let _main = Server::at(address, |stream| echo("s1", stream));
    daemon.wait_for_log("back/s1 is UP");
    assert_eq!(ask(front, 4), counts([("s1", 2), ("s2", 2)]));
}

#[test]
fn refused_connection_is_redispatched_unseen() {
    let two = Server::echo("s2");
    let front = unused_address();
    let settings = "option = [\"redispatch 1\"]\nretries = 2";
    let _daemon = Daemon::start(&tcp_site(front, settings, &[unused_address(), two.address()]));
    assert_eq!(ask(front, 6), counts([("s2", 6)]));
}

#[test]
fn same_server_is_tried_again_after_a_pause() {
    let address = unused_address();
    let front = unused_address();
    let site = tcp_site(front, "retries = 3", &[address]).replace("connect = \"2s\"", "connect = \"300ms\"");
    let daemon = Daemon::start(&site);
    let mut client = connect(front);
    daemon.wait_for_log("to server back/s1: ");
    let _late = Server::at(address, |stream| echo("s1", stream));
    assert_eq!(read(&mut client, 2), "s1");
}

#[test]
fn client_is_let_go_when_nobody_can_serve() {
    let front = unused_address();
    let daemon = Daemon::start(&tcp_site(front, "retries = 0", &[unused_address()]));
    assert!(is_at_end(&mut connect(front)));
    daemon.wait_for_log("to server back/s1: ");
}

#[test]
fn half_closed_client_gets_the_whole_answer() {
    let server = Server::start(|mut stream| {
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        stream.write_all(format!("{} bytes", question.len()).as_bytes()).unwrap();
    });
    let front = unused_address();
    let _daemon = Daemon::start(&tcp_site(front, "", &[server.address()]));
    let mut client = connect(front);
    client.write_all(&[7; 100_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "100000 bytes");
}

#[test]
fn a_hundred_megabytes_arrive_intact_both_ways() {
    let server = Server::echo("s1");
    let front = unused_address();
    let _daemon = Daemon::start(&tcp_site(front, "", &[server.address()]));
    let mut client = connect(front);
    read(&mut client, 2);
    let byte = |position: usize| u8::try_from((position ^ position >> 8 ^ position >> 16) % 251).unwrap();
    let total = 100 << 20;
    let mut writer = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let mut position = 0;
        while position < total {
            let chunk: Vec<u8> = (position..(position + 100_003).min(total)).map(byte).collect();
            writer.write_all(&chunk).unwrap();
            position += chunk.len();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (mut position, mut buffer) = (0, vec![0; 1 << 18]);
    loop {
        let count = client.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        let wrong = buffer[..count].iter().zip(position..).position(|(found, position)| *found != byte(position));
        assert_eq!(wrong, None, "after {position} bytes");
        position += count;
    }
    sender.join().unwrap();
    assert_eq!(position, total);
}

#[test]
fn quiet_connection_ends_after_the_shorter_timeout() {
    let server = Server::echo("s1");
    let front = unused_address();
    let site = tcp_site(front, "", &[server.address()]).replace("server = \"30s\"", "server = \"300ms\"");
    let _daemon = Daemon::start(&site);
    let mut client = connect(front);
    read(&mut client, 2);
    let start = Instant::now();
    assert!(is_at_end(&mut client));
    let taken = start.elapsed();
    assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&taken), "{taken:?}");
}

#[test]
fn proxy_header_decides_where_a_client_comes_from() {
    let servers = [Server::echo("s1"), Server::echo("s2"), Server::echo("s3"), Server::echo("s4")];
    let front = unused_address();
    let site = tcp_site(front, "balance = \"source\"", &servers.each_ref().map(Server::address))
        .replace(&format!("bind = [\"{front}\"]"), &format!("bind = [{{ address = \"{front}\", accept-proxy = true }}]"));
    let daemon = Daemon::start(&site);
    let ask_as = |source: &str| {
        let mut client = connect(front);
        client.write_all(format!("PROXY TCP4 {source} 192.0.2.1 1000 80\r\nhello").as_bytes()).unwrap();
        let answer = read(&mut client, 7);
        assert_eq!(&answer[2..], "hello", "bytes behind the header reach the server");
        answer[..2].to_owned()
    };
    let sources: Vec<String> = (1..40).map(|host| format!("198.51.100.{host}")).collect();
    let answers: Vec<String> = sources.iter().map(|source| ask_as(source)).collect();
    let mut distinct = answers.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct, ["s1", "s2", "s3", "s4"]);
    assert_eq!(sources.iter().map(|source| ask_as(source)).collect::<Vec<_>>(), answers);
    let mut slow = connect(front);
    for part in ["PRO", "XY TCP4 198.51.100.1 192.0.2.1 1 2\r", "\nhello"] {
        slow.write_all(part.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(read(&mut slow, 7)[..2], answers[0]);
    let mut stranger = connect(front);
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(is_at_end(&mut stranger));
    daemon.wait_for_log("does not begin with a PROXY header");
}

#[test]
fn connection_over_the_limit_waits_for_its_turn() {
    let server = Server::echo("s1");
    let front = unused_address();
    let site = tcp_site(front, "", &[server.address()]).replace("[frontend.front]", "[frontend.front]\nmaxconn = 2");
    let _daemon = Daemon::start(&site);
    let mut first = connect(front);
    let mut second = connect(front);
    read(&mut first, 2);
    read(&mut second, 2);
    let mut third = connect(front);
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.read(&mut [0; 2]).is_err(), "served over the limit");
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(read(&mut third, 2), "s1");
}

#[test]
fn full_server_queues_and_the_queue_times_out() {
    let server = Server::echo("s1");
    let front = unused_address();
    let site = tcp_site(front, "", &[]).replace("connect = \"2s\"", "connect = \"2s\", queue = \"300ms\"")
        + &format!("s1 = {{ address = \"{}\", maxconn = 1 }}\n", server.address());
    let daemon = Daemon::start(&site);
    let mut first = connect(front);
    read(&mut first, 2);
    let mut second = connect(front);
    let release = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        drop(first);
    });
    assert_eq!(read(&mut second, 2), "s1", "the freed slot goes to who waits");
    release.join().unwrap();
    assert!(is_at_end(&mut connect(front)));
    daemon.wait_for_log("no server had a free slot in time");
}

#[test]
fn who_waits_across_a_reload_gets_the_slot_on_its_new_place() {
    let (one, two) = (Server::echo("s1"), Server::echo("s2"));
    let front = unused_address();
    let limited = |name: &str, server: &Server| format!("{name} = {{ address = \"{}\", maxconn = 1 }}\n", server.address());
    let daemon = Daemon::start(&(tcp_site(front, "", &[]) + &limited("s1", &one)));
    let mut first = connect(front);
    assert_eq!(read(&mut first, 2), "s1");
    daemon.reload(&(tcp_site(front, "", &[]) + &limited("s2", &two) + &limited("s1", &one)));
    let mut second = connect(front);
    assert_eq!(read(&mut second, 2), "s2");
    let mut third = connect(front);
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.read(&mut [0; 2]).is_err(), "served over the limit");
    third.set_read_timeout(Some(crate::kit::PATIENCE)).unwrap();
    drop(first);
    assert_eq!(read(&mut third, 2), "s1");
}

#[test]
fn server_that_speaks_first_is_not_kept_waiting() {
    let server = Server::echo("s1");
    let front = unused_address();
    let _daemon = Daemon::start(&tcp_site(front, "", &[server.address()]));
    let start = Instant::now();
    assert_eq!(read(&mut connect(front), 2), "s1");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn debian_haproxy_and_l7d_pass_the_same_bytes() {
    let haproxy = crate::kit::Haproxy::find();
    let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&seen);
    let server = Server::start(move |mut stream: TcpStream| {
        stream.write_all(b"banner").unwrap();
        let mut question = Vec::new();
        let _ = stream.read_to_end(&mut question);
        sink.lock().unwrap().push(question);
        let _ = stream.write_all(b"bye");
    });
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&tcp_site(ours, "", &[server.address()]));
    let _peer = haproxy.start(
        &format!(
            "defaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nlisten l\n bind {theirs}\n server s1 {}\n",
            server.address()
        ),
        theirs,
    );
    let converse = |address| {
        let mut client = connect(address);
        let mut heard = read(&mut client, 6);
        client.write_all(&[b'x'; 70_000]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.read_to_string(&mut heard).unwrap();
        heard
    };
    assert_eq!(converse(ours), converse(theirs));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen[0] == seen[1] && seen[0].len() == 70_000);
}

#[test]
fn occupied_address_is_an_error_at_start() {
    let front = unused_address();
    let _other = TcpListener::bind(front).unwrap();
    let directory = crate::kit::directory();
    let file = directory.join("site.toml");
    std::fs::write(&file, tcp_site(front, "", &[unused_address()])).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_l7d")).arg("run").arg("-f").arg(&file).output().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&format!("bind {front} of frontend front: ")), "{text}");
}

//! What else commands do: counters, limits of speed, what clients did wrong; the client of the socket, completions and manual pages.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, read, unused_address};
use crate::runtime::{Pair, answer, ask, get};

#[test]
fn counters_and_speeds_answer_with_haproxys_words() {
    let server = Server::start(|stream| answer(stream, "one"));
    let pair = Pair::start(server.address());
    let commands = [
        "set rate-limit\n",
        "set rate-limit connections\n",
        "set rate-limit connections global\n",
        "set rate-limit connections global 10\n",
        "set rate-limit connections global 0\n",
        "set rate-limit sessions global 0\n",
        "set rate-limit ssl-sessions global 0\n",
        "set rate-limit connections foo 1\n",
        "clear counters\n",
        "operator;clear counters all\n",
        "user;clear counters\n",
        "show errors\n",
        "show errors zz\n",
        "show errors app\n",
        "user;show errors\n",
    ];
    let undated = |text: String| text.lines().map(|line| line.split(" on [").next().unwrap().to_owned()).collect::<Vec<_>>();
    for command in commands {
        let [ours, theirs] = [&pair.our_socket, &pair.their_socket].map(|socket| undated(ask(socket, command)));
        assert_eq!(ours, theirs, "{command:?}");
    }
    let said = ask(&pair.our_socket, "show pools\n");
    assert!(said.starts_with("'show pools' is not supported: "), "{said}");
    let front = pair.our_front();
    (0..5).for_each(|_| drop(get(front)));
    let column = |name: &str| {
        let table = ask(&pair.our_socket, "show stat web 1 -1\n");
        let mut lines = table.lines();
        let place = lines.next().unwrap().split(',').position(|column| column == name).unwrap();
        lines.next().unwrap().split(',').nth(place).unwrap().parse::<u64>().unwrap()
    };
    let end = Instant::now() + PATIENCE;
    while column("hrsp_2xx") != 5 || column("scur") != 0 {
        assert!(Instant::now() < end, "not counted");
    }
    assert_eq!(ask(&pair.our_socket, "clear counters\n"), "\n");
    assert_eq!((column("stot"), column("smax")), (5, 0));
    assert_eq!(ask(&pair.our_socket, "clear counters all\n"), "\n");
    assert_eq!((column("stot"), column("hrsp_2xx"), column("bin"), column("req_tot")), (0, 0, 0, 0));
    drop(get(front));
    assert_eq!(column("stot"), 1);
}

#[test]
fn connections_are_taken_as_fast_as_is_allowed() {
    let (server, front, directory) = (Server::echo("s1"), unused_address(), directory());
    let socket = directory.join("s");
    let config = format!(
        "global\n nbthread 2\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n\
         timeout server 30s\nlisten l\n bind {front}\n server s1 {}\n",
        socket.display(),
        server.address()
    );
    let _daemon = Daemon::start_haproxy(&config);
    assert_eq!(ask(&socket, "set rate-limit connections global 1\n"), "\n");
    assert!(ask(&socket, "show info\n").contains("ConnRateLimit: 1\n"));
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(read(&mut connect(front), 2), "s1");
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(ask(&socket, "set rate-limit connections global 0\n"), "\n");
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(read(&mut connect(front), 2), "s1");
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
    std::fs::remove_dir_all(directory).unwrap();
}

/// Returns what is said of the last invalid request but for dates, ports, and the inside of the parser.
fn captured(socket: &Path) -> Vec<String> {
    let text = ask(socket, "show errors web request\n");
    let line = |line: &str| {
        let line = line.strip_prefix("  len ").map_or(line, |rest| rest);
        let line = line.replace(" wraps at 16336,", "");
        let is_inner = ["  buffer", "  H1 ", "Total", "  header", "  field"].iter().any(|inner| line.starts_with(inner));
        let line = line.split_once("] ").map_or(&*line, |(_, rest)| rest);
        let line = line.split(", src ").next().unwrap().to_owned();
        (!is_inner && !line.ends_with(" :")).then_some(line)
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn last_invalid_request_is_shown_byte_by_byte() {
    let (ours, theirs, directory) = (unused_address(), unused_address(), directory());
    let config = |name: &str, front: SocketAddr| {
        let socket = directory.join(name);
        format!(
            "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
             frontend web\n bind {front}\n http-request return status 200\n",
            socket.display()
        )
    };
    let _daemon = Daemon::start_haproxy(&config("ours", ours));
    let _peer = Haproxy::find().start(&config("theirs", theirs), theirs);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\nb\"q\"\\\tad\x07 name: \u{e9}\r\n\r\n", "a".repeat(200));
    for request in ["GET / HTTP/1.1\r\nHost: a\r\nbad\x01name: x\r\n\r\n", &long] {
        for front in [ours, theirs] {
            let mut client = connect(front);
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
        let (ours, theirs) = (captured(&directory.join("ours")), captured(&directory.join("theirs")));
        assert!(ours.len() > 5);
        assert_eq!(ours, theirs);
    }
    assert!(!ask(&directory.join("ours"), "show errors web response\n").contains("invalid"));
    std::fs::remove_dir_all(directory).unwrap();
}

fn l7d(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn commands_are_sent_from_the_shell() {
    let (front, directory) = (unused_address(), directory());
    let (socket, map) = (directory.join("s"), directory.join("m"));
    std::fs::write(&map, "a 1\n").unwrap();
    let config = format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend web\n bind {front}\n http-request return status 200 hdr x %[req.hdr(host),map({})]\n default_backend app\n\
         backend app\n server s1 127.0.0.1:9\n",
        socket.display(),
        map.display()
    );
    let _daemon = Daemon::start_haproxy(&config);
    let file = directory.join("copy.cfg");
    std::fs::write(&file, &config).unwrap();
    let (s, m, f) = (socket.display().to_string(), map.display().to_string(), file.display().to_string());
    let said = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let got = l7d(&["ctl", "-s", &s, "get", "weight", "app/s1"], "");
    assert_eq!((got.status.code(), &*said(&got)), (Some(0), "1 (initial 1)\n"));
    let got = l7d(&["ctl", "-f", &f, "get weight app/s1"], "");
    assert_eq!(said(&got), "1 (initial 1)\n");
    let refused = l7d(&["ctl", "-s", &s, "get", "weight", "app/zz"], "");
    assert_eq!((refused.status.code(), &*refused.stderr, &*refused.stdout), (Some(1), &b"No such server.\n"[..], &b""[..]));
    let added = l7d(&["ctl", "-s", &s, "add", "map", &m, "<<"], "b two words\n\nc 3");
    assert_eq!((added.status.code(), &*said(&added)), (Some(0), ""));
    let listed = said(&l7d(&["ctl", "-s", &s, "show", "map", &m], ""));
    assert!(listed.contains(" b two words\n") && listed.contains(" c 3\n"), "{listed}");
    assert_eq!(l7d(&["ctl", "-s", &s, "set", "map", &m, "a", "x;y z"], "").status.code(), Some(0));
    assert!(said(&l7d(&["ctl", "-s", &s, "show", "map", &m], "")).contains(" a x;y z\n"));
    let nobody = l7d(&["ctl", "-s", "/there/is/none", "help"], "");
    assert!(!nobody.status.success() && String::from_utf8_lossy(&nobody.stderr).contains("/there/is/none"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(&l7d(&["completions", shell], "")).contains("ctl"), "{shell}");
    }
    let pages = directory.join("man");
    std::fs::create_dir(&pages).unwrap();
    assert!(l7d(&["man", pages.to_str().unwrap()], "").status.success());
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("l7d.1").contains("l7d") && page("l7d-ctl.1").contains("SOCKET") && page("l7d-check.1").contains("FILE"));
    std::fs::remove_dir_all(directory).unwrap();
}

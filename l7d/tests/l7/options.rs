//! Switches of frontends: what is logged, and who is answered without a server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};

use crate::kit::{Daemon, Server, connect, is_at_end, read, tcp_site, unused_address};

/// Returns a site whose frontend logs to the daemon's standard error and has these settings.
fn logged(mode: &str, front: SocketAddr, settings: &str, server: SocketAddr) -> String {
    tcp_site(front, "", &[server])
        .replace("[global]\n", "[global]\nlog = \"stderr format raw local0\"\n")
        .replace("mode = \"tcp\"", &format!("mode = \"{mode}\""))
        .replace("[frontend.front]\n", &format!("[frontend.front]\n{settings}\n"))
}

/// Asks for a target and returns the head of the answer.
fn ask(front: SocketAddr, method: &str, target: &str) -> String {
    let mut client = connect(front);
    client.write_all(format!("{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn connection_without_a_word_is_logged_unless_told_otherwise() {
    let front = unused_address();
    let site = |option: &str| logged("http", front, &format!("option = [{option}]"), unused_address());
    let daemon = Daemon::start(&site("\"httplog\""));
    connect(front).shutdown(Shutdown::Both).unwrap();
    // As haproxy 2.6 writes it.
    assert!(daemon.wait_for_log(" - - CR-- ").ends_with("0/0 \"<BADREQ>\""));
    daemon.reload(&site("\"httplog\", \"dontlognull\""));
    connect(front).shutdown(Shutdown::Both).unwrap();
    let mut client = connect(front);
    client.write_all(b"GET").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let line = daemon.wait_for_log(&format!("{} [", client.local_addr().unwrap()));
    assert!(line.contains(&format!(" 400 {} - - CR-- ", answer.len())), "{line}");
    assert_eq!(daemon.count("<BADREQ>"), 2, "the one that said something and the one before the reload");
}

#[test]
fn tcp_client_that_said_nothing_is_not_logged_with_dontlognull() {
    let server = Server::echo("s1");
    let front = unused_address();
    let daemon = Daemon::start(&logged("tcp", front, "option = [\"tcplog\", \"dontlognull\"]", server.address()));
    for said in ["", "x"] {
        let mut client = connect(front);
        read(&mut client, 2);
        client.write_all(said.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
    }
    daemon.wait_for_log(" front back/s1 ");
    assert_eq!(daemon.count(" front back/s1 "), 1);
}

#[test]
fn monitor_is_answered_without_a_server_and_without_a_line() {
    let front = unused_address();
    let site = logged("http", front, "option = \"httplog\"\nmonitor-uri = \"/alive?x\"", unused_address());
    let daemon = Daemon::start(&site.replace("[backend.back]", "[backend.back]\nretries = 0"));
    let mut client = connect(front);
    for _ in 0..2 {
        client.write_all(b"GET /alive?x HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let answer = read(&mut client, 60);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 55\r\n"), "{answer}");
        let mut rest = Vec::new();
        while !rest.ends_with(b"</html>\n") {
            rest.push(read(&mut client, 1).as_bytes()[0]);
        }
    }
    assert!(ask(front, "HEAD", "/alive?x").ends_with("\r\n\r\n"));
    let answer = ask(front, "POST", "/alive?x");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"), "{answer}");
    assert!(ask(front, "GET", "/alive").starts_with("HTTP/1.1 503 "), "only the very target");
    daemon.wait_for_log("GET /alive HTTP/1.1");
    assert_eq!(daemon.count("alive?x"), 0);
    drop(client);
    let mut client = connect(front);
    client.write_all(b"POST /alive?x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n").unwrap();
    read(&mut client, 60);
    while !is_at_end(&mut client) {}
}

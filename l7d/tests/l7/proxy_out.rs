//! PROXY headers to servers: who came, in front of traffic and of checks.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, read, tcp_site, unused_address};

/// A server that tells everything it gets on each connection.
fn listener() -> (Server, mpsc::Receiver<Vec<u8>>) {
    let (sender, seen) = mpsc::sync_channel(64);
    let server = Server::start(move |mut stream| {
        let mut bytes = Vec::new();
        // A probe ends with a reset.
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    (server, seen)
}

fn next(seen: &mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    seen.recv_timeout(PATIENCE).unwrap()
}

fn with_server(site: &str, server: SocketAddr, settings: &str) -> String {
    format!("{site}s1 = {{ address = \"{server}\", {settings} }}\n")
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[test]
fn every_connection_begins_with_the_clients_address() {
    let (server, seen) = listener();
    let front = unused_address();
    let site = |settings: &str| with_server(&tcp_site(front, "", &[]), server.address(), settings);
    let daemon = Daemon::start(&site("send-proxy = \"v1\""));
    let talk = || {
        let mut client = connect(front);
        let from = client.local_addr().unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        (from, next(&seen))
    };
    let (from, got) = talk();
    let line = format!("PROXY TCP4 {} {} {} {}\r\nhello", from.ip(), front.ip(), from.port(), front.port());
    assert_eq!(String::from_utf8(got).unwrap(), line);
    for (settings, length) in [("send-proxy = \"v2\"", 12), ("send-proxy = { version = \"v2\", options = [\"crc32c\"] }", 19)] {
        daemon.reload(&site(settings));
        let (from, got) = talk();
        let body = got.strip_prefix(V2).unwrap();
        assert_eq!((body[0], body[1], u16::from_be_bytes([body[2], body[3]])), (0x21, 0x11, length), "{settings}");
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, front) else { panic!("not of IPv4") };
        let addresses = [&from.ip().octets()[..], &to.ip().octets(), &from.port().to_be_bytes(), &to.port().to_be_bytes()].concat();
        assert_eq!(body[4..16], addresses);
        assert_eq!(body[4 + usize::from(length)..], *b"hello");
    }
}

#[test]
fn client_named_by_a_header_is_passed_on_and_one_without_an_address_is_unknown() {
    let (server, seen) = listener();
    let (front, directory) = (unused_address(), directory());
    let path = directory.join("front.sock");
    let site = with_server(&tcp_site(front, "", &[]), server.address(), "send-proxy = true")
        .replace(&format!("\"{front}\""), &format!("{{ address = \"{front}\", accept-proxy = true }}, \"{}\"", path.display()));
    let _daemon = Daemon::start(&site);
    let header = "PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n";
    let mut client = connect(front);
    client.write_all(format!("{header}hello").as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(String::from_utf8(next(&seen)).unwrap(), format!("{header}hello"));
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(String::from_utf8(next(&seen)).unwrap(), "PROXY UNKNOWN\r\nhello");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn connections_that_name_a_client_are_not_shared() {
    let server = Server::start(|mut stream| {
        let mut from = String::new();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if let Some(line) = text.lines().next().filter(|line| line.starts_with("PROXY ")) {
                from = line.to_owned();
            }
            if text.ends_with("\r\n\r\n") {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{from}", from.len());
            }
        }
    });
    let front = unused_address();
    let site = with_server(&tcp_site(front, "", &[]).replace("\"tcp\"", "\"http\""), server.address(), "send-proxy = \"v1\"");
    let _daemon = Daemon::start(&site);
    for _ in 0..3 {
        let mut client = connect(front);
        let from = client.local_addr().unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(&format!(" {} {}", from.port(), front.port())), "{answer} for {from}");
    }
}

#[test]
fn checks_speak_for_themselves() {
    let (server, seen) = listener();
    let front = unused_address();
    let site = |settings: &str| with_server(&tcp_site(front, "check = { inter = \"1h\" }", &[]), server.address(), settings);
    let daemon = Daemon::start(&site("send-proxy = \"v1\""));
    let line = String::from_utf8(next(&seen)).unwrap();
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ") && line.ends_with(&format!(" {}\r\n", server.address().port())), "{line}");
    daemon.reload(&site("send-proxy = \"v2\", check = { rise = 3 }"));
    assert_eq!(next(&seen), [V2, b"\x20\0\0\0"].concat());
    // A check that goes elsewhere announces itself only if told to.
    let port = server.address().port();
    daemon.reload(&site(&format!("send-proxy = \"v2\", check = {{ port = {port}, rise = 4 }}")));
    assert_eq!(next(&seen), b"");
    daemon.reload(&site(&format!("check = {{ port = {port}, send-proxy = true, rise = 5 }}")));
    assert!(next(&seen).starts_with(b"PROXY TCP4 "));
}

#[test]
fn debian_haproxy_understands_the_header() {
    let haproxy = Haproxy::find();
    let (front, peer) = (unused_address(), unused_address());
    let _peer = haproxy.start(
        &format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nfrontend f\n bind {peer} accept-proxy\n \
             http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port]\"\n"
        ),
        peer,
    );
    let site = |mode: &str, settings: &str| with_server(&tcp_site(front, "", &[]).replace("\"tcp\"", mode), peer, settings);
    let daemon = Daemon::start(&site("\"tcp\"", "send-proxy = \"v1\""));
    let settings = ["send-proxy = \"v1\"", "send-proxy = \"v2\"", "send-proxy = { version = \"v2\", options = [\"crc32c\"] }"];
    for (mode, settings) in ["\"tcp\"", "\"http\""].into_iter().flat_map(|mode| settings.map(|settings| (mode, settings))) {
        daemon.reload(&site(mode, &format!("{settings}, check = {{ http = {{ path = \"/\", host = \"h\" }}, inter = \"1h\" }}")));
        let mut client = connect(front);
        let from = client.local_addr().unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = String::new();
        while !answer.contains("\r\n\r\n") {
            answer += &read(&mut client, 1);
        }
        let expected = format!("{from} {front}");
        assert_eq!(read(&mut client, expected.len()), expected, "{mode} {settings}");
    }
    assert_eq!(daemon.count("is DOWN"), 0);
}

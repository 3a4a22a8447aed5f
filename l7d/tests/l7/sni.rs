//! Routing by the name a TLS client asks for, without ending TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Server, connect, refusal, unused_address};

/// The first message of a TLS 1.2 client that asks for `name`.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let block = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let list = block(&[&[0][..], &block(name.as_bytes())].concat());
    let extensions = block(&[&[0, 0][..], &block(&list)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 0x01], &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &block(&body)].concat();
    [&[22, 3, 1][..], &block(&message)].concat()
}

/// A server that says its name once the client has said all.
pub(crate) fn server(name: &'static str) -> Server {
    Server::start(move |mut stream| {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let _ = stream.write_all(format!("{name} {}", heard.len()).as_bytes());
    })
}

fn site(front: SocketAddr, settings: &str, servers: &[(&str, SocketAddr)]) -> String {
    let backends = servers.iter().map(|(name, address)| format!("[backend.{name}]\nserver = {{ s = \"{address}\" }}\n"));
    format!(
        "[defaults]\nmode = \"tcp\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n[frontend.front]\nbind = \
         \"{front}\"\n{settings}\n{}",
        backends.collect::<String>()
    )
}

fn rest(mut client: TcpStream) -> String {
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    answer
}

const NAMES: &str = "sni = { \"a.example\" = \"a\", \"*.b.example\" = \"b\", \"x.b.example\" = \"a\", \"*.deep.b.example\" = \"a\" }\n";

#[test]
fn names_choose_the_backend_and_nothing_is_lost() {
    let (a, b, other) = (server("a"), server("b"), server("other"));
    let servers = [("a", a.address()), ("b", b.address()), ("other", other.address())];
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, &format!("{NAMES}default-backend = \"other\"\ninspect-delay = \"20s\""), &servers));
    for (name, wanted) in [
        ("a.example", "a"),
        ("A.Example", "a"),
        ("www.a.example", "other"),
        ("www.b.example", "b"),
        ("very.far.b.example", "b"),
        ("b.example", "other"),
        ("x.b.example", "a"),
        ("y.deep.b.example", "a"),
        ("else.example", "other"),
    ] {
        let hello = client_hello(name);
        let mut client = connect(front);
        client.set_nodelay(true).unwrap();
        // In two parts, of which the first tells nothing yet.
        let (first, second) = hello.split_at(20);
        client.write_all(first).unwrap();
        client.write_all(second).unwrap();
        client.write_all(b"more").unwrap();
        assert_eq!(rest(client), format!("{wanted} {}", hello.len() + 4), "{name}");
    }
    let start = Instant::now();
    let mut client = connect(front);
    client.write_all(b"SSH-2.0-x\r\n").unwrap();
    assert_eq!(rest(client), "other 11", "what is no TLS has no name");
    assert_eq!(rest(connect(front)), "other 0", "a client that says nothing has none either");
    assert!(start.elapsed() < Duration::from_secs(20), "neither is waited for");
}

#[test]
fn silent_client_goes_to_the_default_when_the_delay_is_over() {
    let (a, other) = (server("a"), Server::echo("hi"));
    let front = unused_address();
    let settings = "sni = { \"a.example\" = \"a\" }\ndefault-backend = \"other\"\ninspect-delay = \"300ms\"";
    let _daemon = Daemon::start(&site(front, settings, &[("a", a.address()), ("other", other.address())]));
    let start = Instant::now();
    let mut client = connect(front);
    assert_eq!(crate::kit::read(&mut client, 2), "hi", "a server that speaks first is heard after the delay");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn unknown_name_without_a_default_is_let_go() {
    let a = server("a");
    let front = unused_address();
    let daemon = Daemon::start(&site(front, "sni = { \"a.example\" = \"a\" }", &[("a", a.address())]));
    let mut client = connect(front);
    client.write_all(&client_hello("b.example")).unwrap();
    assert_eq!(rest(client), "");
    daemon.wait_for_log("on frontend front: no backend");
}

#[test]
fn backend_of_another_mode_or_unknown_is_refused() {
    let said = refusal(&site(unused_address(), "sni = { \"a.example\" = \"nosuch\" }", &[("a", unused_address())]));
    assert!(said.contains("no backend `nosuch`"), "{said}");
}

//! Rules about the first bytes of servers, and what ties clients to servers by them; beside Debian's haproxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::http::server;
use crate::kit::{Daemon, Haproxy, Server, connect, refusal, tcp_site, unused_address};
use crate::sni::client_hello;
use crate::twins::{Twin, Twins};

/// A server that says what its client tells it to say: parts between bars, and a pause of so many milliseconds behind a tilde.
fn obedient() -> Server {
    Server::start(|mut stream| {
        let mut script = [0; 4096];
        let count = stream.read(&mut script).unwrap_or(0);
        for part in script[..count].split(|byte| *byte == b'|') {
            match part.strip_prefix(b"~") {
                Some(pause) => std::thread::sleep(Duration::from_millis(String::from_utf8_lossy(pause).parse().unwrap())),
                None if stream.write_all(part).is_err() => return,
                None => {}
            }
        }
    })
}

/// Has the server say something, and returns what comes of it and what is logged.
fn say(twin: &Twin, script: &[u8]) -> (Vec<u8>, String) {
    let mut client = connect(twin.door);
    client.write_all(script).unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    drop(client);
    (answer, twin.line())
}

/// The type of a handshake's message, whole or in pieces.
fn handshake(kind: u8) -> [Vec<u8>; 2] {
    let whole = vec![0x16, 3, 3, 0, 8, kind, 0, 0, 4, b'd', b'a', b't', b'a'];
    let (first, second) = whole.split_at(7);
    let pieces = [first, b"|~100|", second].concat();
    [whole, pieces]
}

const BYTES: &str = "global\n nbthread 1\n log @LOG@ local0\ndefaults\n mode tcp\n log global\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
     frontend f\n bind @DOOR@\n log-format \"%b/%s %B %ts [%[var(sess.seen)]] [%[var(sess.size)]]\"\n default_backend b\n\
     backend b\n tcp-response inspect-delay 500ms\n\
     \x20acl refused res.payload(0,3) -m str BAD\n\
     \x20tcp-response content set-var(sess.seen) str(yes) if { res.payload(0,1) -m found }\n\
     \x20tcp-response content reject if refused\n\
     \x20tcp-response content close if { res.payload_lv(0,1) -m str CUT }\n\
     \x20tcp-response content reject if { payload(0,3) -m str ANY }\n\
     \x20tcp-response content reject if { rep_ssl_hello_type 1 }\n\
     \x20tcp-response content unset-var(sess.seen) if { res.ssl_hello_type 2 }\n\
     \x20tcp-response content accept if { res.len gt 12 }\n\
     \x20tcp-response content set-var(sess.size) res.len\n\
     \x20tcp-response content accept if WAIT_END\n\
     \x20server s @SERVER@\n";

#[test]
fn first_bytes_of_servers_are_judged_as_haproxy_does() {
    let server = obedient();
    let twins = Twins::start(&BYTES.replace("@SERVER@", &server.address().to_string()));
    let [client_message, client_in_pieces] = handshake(1);
    let [server_message, server_in_pieces] = handshake(2);
    let cases: [(&str, &[u8], &[u8]); 14] = [
        ("what no rule minds", b"hello there and more", b"hello there and more"),
        ("less, to the end of the time", b"hello", b"hello"),
        ("what is refused", b"BAD news", b""),
        ("in pieces", b"B|~100|AD", b""),
        ("too late to be refused", b"B|~900|AD", b"BAD"),
        ("behind a good beginning", b"abc|~100|BAD and long enough", b"abcBAD and long enough"),
        ("what ends the connection", b"\x03CUT|~300|and no more", b"\x03CUT"),
        ("by either name", b"ANYthing", b""),
        ("a message of TLS", &server_message, &server_message),
        ("in pieces", &server_in_pieces, &server_message),
        ("another", &client_message, b""),
        ("in pieces", &client_in_pieces, b""),
        ("what is no message of TLS", b"\x16\x02\x03\0\x08\x01\0\0\x04data", b"\x16\x02\x03\0\x08\x01\0\0\x04data"),
        ("nothing at all", b"~50", b""),
    ];
    for (description, script, expected) in cases {
        let (ours, theirs) = (say(&twins.ours, script), say(&twins.theirs, script));
        assert_eq!(ours, theirs, "{description}");
        assert_eq!(ours.0, expected, "{description}");
    }
    let (_, line) = say(&twins.ours, b"BAD news");
    assert!(line.contains(" PD "), "{line}");
}

#[test]
fn nothing_is_waited_for_without_a_delay_and_what_the_client_says_goes_on_meanwhile() {
    let server = obedient();
    let config = BYTES.replace("@SERVER@", &server.address().to_string());
    let twins = Twins::start(&config.replace(" tcp-response inspect-delay 500ms\n", ""));
    for twin in [&twins.ours, &twins.theirs] {
        assert_eq!(say(twin, b"BAD").0, b"BAD", "it has not come when the rules are asked");
    }
    drop(twins);
    // The server hears its client while its own first bytes are waited for.
    let front = unused_address();
    let rules = "rules = [\"tcp-response inspect-delay 20s\", \"tcp-response content accept if { res.payload(0,4) -m found }\"]";
    let echo = Server::start(|mut stream| {
        let mut bytes = [0; 4];
        for _ in 0..4 {
            stream.read_exact(&mut bytes[..1]).unwrap();
            stream.write_all(&bytes[..1]).unwrap();
        }
    });
    let _daemon = Daemon::start(&tcp_site(front, rules, &[echo.address()]));
    let mut client = connect(front);
    for byte in b"four" {
        client.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "four");
}

#[test]
fn responses_are_judged_before_they_are_known_as_such_as_haproxy_does() {
    let named = server(|head: &str, _: &str| {
        let wanted = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let (status, field) = wanted.split_once('/').unwrap_or((wanted, ""));
        if field == "late" {
            std::thread::sleep(Duration::from_millis(800));
        }
        let field = if field == "x" { "X-Bad: 1\r\n" } else { "" };
        format!("HTTP/1.1 {status} Said\r\n{field}Content-Length: 4\r\n\r\nbody")
    })
    .0;
    let config = format!(
        "global\n nbthread 1\n log @LOG@ local0\ndefaults\n mode http\n log global\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         frontend f\n bind @DOOR@\n log-format \"%b/%s %ST %ts [%[var(txn.code)]]\"\n http-response set-header X-Code %[var(txn.code)]\n \
         use_backend hasty if {{ path_end /hasty }}\n default_backend b\n\
         backend b\n tcp-response inspect-delay 500ms\n tcp-response content set-var(txn.code) status\n\
         \x20tcp-response content reject if {{ status 500 }} or {{ res.hdr(x-bad) -m found }}\n\
         \x20tcp-response content accept if {{ status 404 }}\n tcp-response content set-var(txn.code) str(other)\n\
         \x20http-response deny if {{ status 418 }}\n server s {0}\n\
         backend hasty\n tcp-response content reject if {{ status 500 }}\n server s {0}\n",
        named.address()
    );
    let twins = Twins::start(&config);
    for path in ["200", "404", "500", "200/x", "418", "500/late", "500/hasty"] {
        twins.compare(&format!("GET /{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    }
}

#[test]
fn rules_of_named_defaults_hold_for_the_proxies_they_concern() {
    let server = obedient();
    let config = format!(
        "global\n nbthread 1\n log @LOG@ local0\ndefaults d\n mode tcp\n log global\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n \
         tcp-response content reject if {{ res.payload(0,3) -m str BAD }}\n\
         defaults e\n mode tcp\n log global\n timeout client 20s\n\
         frontend f from e\n bind @DOOR@\n log-format \"%b/%s %B %ts\"\n default_backend b\nbackend b from d\n tcp-response inspect-delay 500ms\n server s {}\n",
        server.address()
    );
    // haproxy 2.6 forgets such rules where the backend has none of its own.
    let twins = Twins::start(&config);
    assert_eq!(say(&twins.ours, b"BAD").0, b"");
    assert_eq!(say(&twins.ours, b"good and long").0, b"good and long");
}

/// Makes the first message of a client or a server whose session has this name.
fn hello(session: &str, name: &str) -> Vec<u8> {
    let mut hello = client_hello(name);
    assert_eq!(hello[43], 0, "it has no session yet");
    let length = u8::try_from(session.len()).unwrap();
    hello.splice(43..44, [&[length], session.as_bytes()].concat());
    let inner = hello.len() - 9;
    hello[3..5].copy_from_slice(&u16::try_from(inner + 4).unwrap().to_be_bytes());
    hello[7..9].copy_from_slice(&u16::try_from(inner).unwrap().to_be_bytes());
    hello
}

/// A server that answers with a message of TLS, whose session bears a new name or the one the client knows.
fn tls_like(name: &'static str) -> Server {
    let count = std::sync::atomic::AtomicU32::new(0);
    Server::start(move |mut stream: TcpStream| {
        let mut first = [0; 1024];
        let read = stream.read(&mut first).unwrap_or(0);
        if read < 44 {
            return;
        }
        let known = &first[44..44 + usize::from(first[43])];
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let session = if known.is_empty() { format!("{name}-session-{number}") } else { String::from_utf8_lossy(known).into_owned() };
        let mut answer = hello(&session, name);
        answer[5] = 2;
        answer[11..14].copy_from_slice(name.as_bytes());
        let _ = stream.write_all(&answer);
    })
}

/// Comes with a session, and returns the name of the server and of the session it gives.
fn resume(door: SocketAddr, session: &str) -> (String, String) {
    let mut client = connect(door);
    client.write_all(&hello(session, "h")).unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&answer[range]).into_owned();
    (text(11..14), text(44..44 + usize::from(answer[43])))
}

#[test]
fn sessions_of_tls_come_back_to_their_servers_as_with_haproxy() {
    let servers = [tls_like("one"), tls_like("two"), tls_like("six")];
    let config = |door: SocketAddr| {
        let lines = servers.iter().zip(1..).map(|(server, number)| format!(" server s{number} {}\n", server.address()));
        format!(
            "global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             listen l\n bind {door}\n balance roundrobin\n stick-table type binary len 32 size 30k expire 30m\n\
             \x20acl clienthello req.ssl_hello_type 1\n acl serverhello rep_ssl_hello_type 2\n\
             \x20tcp-request inspect-delay 5s\n tcp-request content accept if clienthello\n\
             \x20tcp-response inspect-delay 5s\n tcp-response content accept if serverhello\n\
             \x20stick on req.payload_lv(43,1) if clienthello\n stick store-response res.payload_lv(43,1) if serverhello\n{}",
            lines.collect::<String>()
        )
    };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start_haproxy(&config(ours));
    let _peer = Haproxy::find().start(&config(theirs), theirs);
    let mut given = Vec::new();
    for door in [ours, theirs] {
        let fresh: Vec<_> = (0..4).map(|_| resume(door, "")).collect();
        let again: Vec<_> = fresh.iter().chain(&fresh).map(|(_, session)| resume(door, session)).collect();
        for ((name, session), (now, same)) in fresh.iter().chain(&fresh).zip(&again) {
            assert_eq!((name, session), (now, same), "{door}");
        }
        given.push(fresh.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
    assert_eq!(given[0], given[1]);
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let front = unused_address();
    let site = |mode: &str, of: &str, rule: &str| {
        let (front_rules, back_rules) = if of == "frontend" { (rule, "") } else { ("", rule) };
        format!(
            "[defaults]\nmode = \"{mode}\"\n[frontend.f]\nbind = [\"{front}\"]\ndefault-backend = \"b\"\nrules = [\"{front_rules}\"]\n\
             [backend.b]\nrules = [\"{back_rules}\"]\nserver = {{ s = \"127.0.0.1:1\" }}\n"
        )
        .replace("rules = [\"\"]\n", "")
    };
    let cases = [
        ("http", "backend", "tcp-response content close", "`close` needs mode tcp"),
        ("http", "backend", "tcp-response content reject if { res.len gt 3 }", "`res.len` is looked at in mode tcp only"),
        ("tcp", "frontend", "tcp-response content reject", "`tcp-response` belongs in a backend"),
        ("tcp", "backend", "tcp-response contents reject", "there is no `tcp-response contents`"),
        ("tcp", "backend", "tcp-response content deny", "action `deny` cannot stand in these rules"),
        ("tcp", "backend", "tcp-response inspect-delay soon", "soon"),
        ("tcp", "backend", "tcp-request content close", "action `close` cannot stand in these rules"),
    ];
    for (mode, of, rule, expected) in cases {
        let said = refusal(&site(mode, of, rule));
        assert!(said.contains(expected), "{rule}: {said}");
    }
}

//! Requests that come before the handshake is complete (0-RTT), as OpenSSL sends them, beside Debian's haproxy.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::certs::Authority;
use crate::kit::{Daemon, Haproxy, Server, directory, refusal, unused_address};
use crate::tls::s_client;

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
}

/// Asks in a whole handshake, and keeps the session.
fn begin(front: SocketAddr, session: &Path, path: &str) -> String {
    s_client(front, &["-tls1_3", "-ign_eof", "-sess_out", session.to_str().unwrap()], &request(path))
}

/// Asks in the first packets of a session that goes on.
fn go_on(front: SocketAddr, session: &Path, path: &str, more: &[&str]) -> String {
    let early = session.with_extension("request");
    fs::write(&early, request(path)).unwrap();
    let arguments = ["-tls1_3", "-ign_eof", "-sess_in", session.to_str().unwrap(), "-early_data", early.to_str().unwrap()];
    s_client(front, &[&arguments[..], more].concat(), "")
}

/// A server that keeps what it is asked.
fn server() -> (Server, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    let server = Server::start(move |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        kept.lock().unwrap().push(String::from_utf8(head).unwrap());
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone");
    });
    (server, heard)
}

fn config(front: SocketAddr, words: &str, server: SocketAddr) -> String {
    format!(
        "global\n nbthread 2\ndefaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
         frontend f\n bind {front} ssl {words}\n http-request wait-for-handshake if {{ path_beg /wait }}\n \
         http-request return status 200 content-type text/plain lf-string early=%[ssl_fc_has_early]:%[ssl_fc_is_resumed]. if {{ path_end /here }}\n \
         default_backend b\nbackend b\n server s {server}\n"
    )
}

/// Returns what the server was told of early data: for who asks at once, waits, says so himself, and comes anew.
fn told(front: SocketAddr, heard: &Mutex<Vec<String>>, directory: &Path) -> Vec<String> {
    let session = directory.join(front.port().to_string() + ".session");
    let here = |said: &str| said.split("early=").nth(1).map(|rest| rest.split('.').next().unwrap_or_default().to_owned());
    let mut all = Vec::new();
    let first = begin(front, &session, "/now/here");
    all.push(format!("first {:?}", here(&first)));
    for path in ["/now/here", "/wait/here", "/now", "/wait"] {
        begin(front, &session, "/other");
        heard.lock().unwrap().clear();
        let said = go_on(front, &session, path, &[]);
        assert!(said.contains("Early data was accepted"), "{path}: {said}");
        let head = heard.lock().unwrap().pop().unwrap_or_default();
        let field = head.lines().find(|line| line.to_ascii_lowercase().starts_with("early-data")).map(str::to_ascii_lowercase);
        all.push(format!("{path} {:?} {field:?} {}", here(&said), said.contains("done")));
    }
    all
}

#[test]
fn early_requests_are_known_as_such_until_their_client_is() {
    let (authority, directory, (server, heard)) = (Authority::new(), directory(), server());
    let words = format!("crt {} allow-0rtt", authority.pem(&["a.test"]).display());
    let fronts = [unused_address(), unused_address()];
    let _ours = Daemon::start_haproxy(&config(fronts[0], &words, server.address()));
    let _theirs = Haproxy::find().start(&config(fronts[1], &words, server.address()), fronts[1]);
    let [mine, other] = fronts.map(|front| told(front, &heard, &directory));
    // OpenSSL's client ends its handshake at once, and haproxy waits for that even where no rule does; both are agreed on the rest.
    assert_eq!(mine[0], other[0]);
    assert_eq!(mine[2], other[2]);
    assert_eq!(mine[4], other[4]);
    let expected = [
        "first Some(\"0:0\")",
        "/now/here Some(\"1:1\") None false",
        "/wait/here Some(\"0:1\") None false",
        "/now None Some(\"early-data: 1\") true",
        "/wait None None true",
    ];
    assert_eq!(mine, expected);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn nothing_is_taken_twice_or_unasked() {
    let (authority, directory, (server, heard)) = (Authority::new(), directory(), server());
    let pem = authority.pem(&["a.test"]);
    let [open, closed, plain] = [(); 3].map(|()| unused_address());
    let toml = format!(
        "[global]\nnbthread = 2\n[defaults]\ntimeout = {{ connect = \"5s\", client = \"5s\", server = \"5s\" }}\n\
         [frontend.open]\nbind = {{ address = \"{open}\", tls = {{ certificates = \"{0}\", allow-0rtt = true }} }}\ndefault-backend = \"b\"\n\
         [frontend.h2]\nbind = {{ address = \"{plain}\", tls = {{ certificates = \"{0}\", allow-0rtt = true, alpn = [\"h2\"] }} }}\n\
         default-backend = \"b\"\n\
         [frontend.closed]\nbind = {{ address = \"{closed}\", tls = {{ certificates = \"{0}\" }} }}\ndefault-backend = \"b\"\n\
         [backend.b]\nserver = {{ s = \"{1}\" }}\n",
        pem.display(),
        server.address()
    );
    let _daemon = Daemon::start(&toml);
    let session = directory.join("session");
    // Sessions go on on every thread.
    for _ in 0..6 {
        begin(open, &session, "/");
        let said = go_on(open, &session, "/once", &[]);
        assert!(said.contains("Early data was accepted") && said.contains("done"), "{said}");
    }
    let count = || heard.lock().unwrap().iter().filter(|head| head.starts_with("GET /once ")).count();
    assert_eq!(count(), 6);
    let said = go_on(open, &session, "/once", &[]);
    assert!(said.contains("Early data was rejected") && !said.contains("done"), "{said}");
    assert_eq!(count(), 6, "what was heard is not to be said again by others");
    // More than is taken at once.
    begin(open, &session, "/");
    let long = format!("/once?{}", "x".repeat(15_000));
    assert!(go_on(open, &session, &long, &[]).contains("Early data was accepted"));

    begin(closed, &session, "/");
    let said = go_on(closed, &session, "/once", &[]);
    assert!(!said.contains("Early data was accepted"), "{said}");
    // A session of another bind says nothing here.
    begin(open, &session, "/");
    assert!(!go_on(closed, &session, "/once", &[]).contains("Early data was accepted"));
    assert_eq!(count(), 6);

    // A client of HTTP/2 is heard when its handshake is complete: preface, settings, a request, and that it is the last.
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    frames.extend(b"\0\0\x0f\x01\x05\0\0\0\x01\x82\x87\x04\x03/h2\x41\x06a.test");
    frames.extend(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let (early, session) = (directory.join("frames"), directory.join("h2"));
    fs::write(&early, frames).unwrap();
    let session = session.to_str().unwrap();
    // What it says is no HTTP/2, and so the connection ends; the session has come by then.
    s_client(plain, &["-tls1_3", "-alpn", "h2", "-ign_eof", "-sess_out", session], &request("/"));
    let early = ["-tls1_3", "-alpn", "h2", "-ign_eof", "-sess_in", session, "-early_data", early.to_str().unwrap()];
    let said = s_client(plain, &early, "");
    assert!(said.contains("Early data was accepted"), "{said}");
    let heard = heard.lock().unwrap();
    let head = heard.iter().find(|head| head.starts_with("GET /h2 ")).expect("it was heard");
    assert!(!head.to_ascii_lowercase().contains("early-data"), "{head}");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_one_process_has_taken_early_the_next_does_not() {
    let (authority, directory, (server, heard)) = (Authority::new(), directory(), server());
    let words = format!("crt {} allow-0rtt", authority.pem(&["a.test"]).display());
    let front = unused_address();
    let config = config(front, &words, server.address());
    let mut first = Daemon::start_as_haproxy(&config, &[]);
    let [taken, kept] = ["taken", "kept"].map(|name| directory.join(name));
    begin(front, &taken, "/");
    assert!(go_on(front, &taken, "/once", &[]).contains("Early data was accepted"));
    begin(front, &kept, "/");
    let _second = Daemon::start_as_haproxy(&config, &["-sf", &first.pid().to_string()]);
    assert!(first.wait().success());
    let count = || heard.lock().unwrap().iter().filter(|head| head.starts_with("GET /once ")).count();
    for session in [&taken, &kept] {
        let said = go_on(front, session, "/once", &[]);
        assert!(said.contains("Early data was rejected") && !said.contains("done"), "{said}");
        assert_eq!(count(), 1);
        // Whoever comes back without haste is served all the same.
        let said = s_client(front, &["-tls1_3", "-ign_eof", "-sess_in", session.to_str().unwrap()], &request("/"));
        assert!(said.contains("done"), "{said}");
    }
    begin(front, &kept, "/");
    assert!(go_on(front, &kept, "/once", &[]).contains("Early data was accepted"));
    assert_eq!(count(), 2);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn early_data_inside_quic_is_refused() {
    let authority = Authority::new();
    let said = refusal(&format!(
        "[frontend.f]\nbind = {{ address = \"quic4@{}\", tls = {{ certificates = \"{}\", allow-0rtt = true }} }}\n",
        unused_address(),
        authority.pem(&["a.test"]).display()
    ));
    assert!(said.contains("early data inside QUIC is not supported yet"), "{said}");
}

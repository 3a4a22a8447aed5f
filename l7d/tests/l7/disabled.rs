//! Proxies that are switched off: nobody reaches them, they ask and answer nothing, and what names them stays right.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use crate::http::{ask, hello, status};
use crate::kit::{Daemon, Haproxy, PATIENCE, connect, unused_address};

const REQUEST: &str = "Host: h\r\nConnection: close\r\n\r\n";

/// Returns the status of the answer to a request for a path.
fn status_of(front: SocketAddr, path: &str) -> String {
    status(&ask(&mut connect(front), &format!("GET {path} HTTP/1.1\r\n{REQUEST}")).0).to_owned()
}

/// Tells whether nobody listens.
fn is_free(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err() && TcpListener::bind(address).is_ok()
}

#[test]
fn disabled_proxies_serve_nobody_as_in_haproxy() {
    let ((idle, _), (busy, _)) = (hello(), hello());
    let config = |[open, closed, both, inherits, enabled]: [SocketAddr; 5]| {
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             frontend open\n bind {open}\n use_backend app if {{ path /app }}\n use_backend rules if {{ path /rules }}\n\
             use_backend both if {{ path /both }}\n default_backend off\n\
             frontend closed\n disabled\n bind {closed}\n default_backend app\n\
             frontend same-place\n bind {open}\n default_backend app\n disabled\n\
             backend off\n disabled\n server one {idle} check inter 50ms\n\
             backend rules\n disabled\n http-request return status 200\n\
             backend app\n server one {busy}\n\
             listen both\n bind {both}\n disabled\n server one {idle} check inter 50ms\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n disabled\n\
             frontend inherits\n bind {inherits}\n default_backend app\n\
             frontend enabled\n enabled\n bind {enabled}\n default_backend app\n",
            idle = idle.address(),
            busy = busy.address(),
        )
    };
    let places = [(); 2].map(|()| [(); 5].map(|()| unused_address()));
    let _ours = Daemon::start_haproxy(&config(places[0]));
    let _theirs = Haproxy::find().start(&config(places[1]), places[1][4]);
    for [open, closed, both, inherits, enabled] in places {
        assert_eq!(["/app", "/", "/rules", "/both"].map(|path| status_of(open, path)), ["200", "503", "503", "503"]);
        assert_eq!(status_of(enabled, "/"), "200");
        assert_eq!([closed, both, inherits].map(is_free), [true; 3]);
    }
    assert_eq!(idle.accepted(), 0, "servers of disabled backends are not even checked");
}

#[test]
fn proxies_come_and_go_with_the_key_in_toml() {
    let (server, _) = hello();
    let [open, other] = [(); 2].map(|()| unused_address());
    let config = |disabled: bool| {
        format!(
            "[defaults]\ntimeout = {{ connect = \"5s\", client = \"20s\", server = \"20s\" }}\n\
             [frontend.open]\nbind = \"{open}\"\ndefault-backend = \"app\"\n\
             [frontend.other]\ndisabled = {disabled}\nbind = \"{other}\"\ndefault-backend = \"app\"\n\
             [backend.app]\ndisabled = {disabled}\nserver = {{ one = \"{}\" }}\n",
            server.address()
        )
    };
    let daemon = Daemon::start(&config(true));
    assert_eq!((status_of(open, "/").as_str(), is_free(other)), ("503", true));
    daemon.reload(&config(false));
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(other).is_err() {
        assert!(Instant::now() < end, "the frontend does not come back");
        std::thread::yield_now();
    }
    assert_eq!([open, other].map(|front| status_of(front, "/")), ["200", "200"]);
    daemon.reload(&config(true));
    let end = Instant::now() + PATIENCE;
    while !is_free(other) {
        assert!(Instant::now() < end, "the frontend does not go");
        std::thread::yield_now();
    }
    assert_eq!(status_of(open, "/"), "503");
}

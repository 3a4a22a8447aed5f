//! Profiles of log lines, and lines at every step of an exchange; HAProxy has them since 3.1.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};

use crate::http::{ask, hello};
use crate::kit::{Daemon, PATIENCE, Server, connect, is_at_end, read, refusal, unused_address};

/// A server of logs.
struct Collector(UdpSocket);

impl Collector {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// Returns the next lines.
    fn lines(&self, count: usize) -> Vec<String> {
        let mut bytes = [0; 4096];
        let mut line = || self.0.recv(&mut bytes).map(|length| String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned());
        (0..count).map(|place| line().unwrap_or_else(|error| panic!("line {place}: {error}"))).collect()
    }
}

fn get(web: SocketAddr, path: &str) {
    ask(&mut connect(web), &format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
}

/// The addresses of a test: of the web, of a server, of a target as ever and of one with a profile.
type Places = [SocketAddr; 4];

fn cfg([web, server, usual, special]: Places) -> String {
    format!(
        "global\n nbthread 1\nlog-profile steps\n log-tag steps\n on accept format \"accept %OG %HU %ST %s\"\n on connect drop\n \
         on any format \"any %OG %b/%s %ST\" sd '[x@1 b=\"%b\"]'\n on error format \"error %OG %ts %ST\"\n\
         defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n\
         frontend web\n bind {web}\n log {usual} format raw local0\n log {special} format rfc5424 profile steps local0\n log-steps all\n \
         log-format \"usual %HM %HU %ST\"\n http-request deny deny_status 403 if {{ path /no }}\n default_backend app\n\
         backend app\n server s1 {server}\n"
    )
}

fn toml([web, server, usual, special]: Places) -> String {
    format!(
        "[global]\nnbthread = 1\n[log-profile.steps]\nlog-tag = \"steps\"\n[log-profile.steps.on]\naccept = \"accept %OG %HU %ST %s\"\n\
         connect = {{ drop = true }}\nany = {{ format = \"any %OG %b/%s %ST\", sd = '[x@1 b=\"%b\"]' }}\nerror = \"error %OG %ts %ST\"\n\
         [defaults]\nmode = \"http\"\ntimeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n\
         [frontend.web]\nbind = \"{web}\"\nlog = [\"{usual} format raw local0\", \"{special} format rfc5424 profile steps local0\"]\n\
         log-steps = \"all\"\nlog-format = \"usual %HM %HU %ST\"\nrules = [\"http-request deny deny_status 403 if {{ path /no }}\"]\n\
         default-backend = \"app\"\n[backend.app]\nserver = {{ s1 = \"{server}\" }}\n"
    )
}

#[test]
fn targets_with_a_profile_get_other_lines_at_every_step() {
    type Write = fn(Places) -> String;
    for (language, write, start) in
        [("haproxy.cfg", cfg as Write, Daemon::start_haproxy as fn(&str) -> Daemon), ("TOML", toml, Daemon::start)]
    {
        let (web, usual, special, (server, _)) = (unused_address(), Collector::start(), Collector::start(), hello());
        let daemon = start(&write([web, server.address(), usual.address(), special.address()]));
        get(web, "/a");
        let steps = ["usual GET /a -1", "usual GET /a -1", "usual GET /a -1", "usual GET /a 200", "usual GET /a 200"];
        assert_eq!(usual.lines(5), steps, "{language}");
        let lines = special.lines(4);
        let bare: Vec<&str> = lines.iter().map(|line| line.split_once(" steps ").expect("the tag").1).collect();
        let pid = daemon.pid();
        let wanted = [
            format!("{pid} - - accept txn_accept /a -1 <NOSRV>"),
            format!("{pid} - [x@1 b=\"app\"] any txn_request app/<NOSRV> -1"),
            format!("{pid} - [x@1 b=\"app\"] any txn_response app/s1 200"),
            format!("{pid} - [x@1 b=\"app\"] any txn_close app/s1 200"),
        ];
        assert_eq!(bare, wanted, "{language}");
        get(web, "/no");
        assert_eq!(usual.lines(2), ["usual GET /no -1", "usual GET /no 403"], "{language}");
        let lines = special.lines(2);
        assert!(lines[0].ends_with("accept txn_accept /no -1 <NOSRV>"), "{language}: {lines:?}");
        assert!(lines[1].ends_with(" - - error txn_close PR 403"), "{language}: {lines:?}");
    }
}

#[test]
fn connections_have_steps_and_some_of_them_may_do() {
    let (front, some, log, other) = (unused_address(), unused_address(), Collector::start(), Collector::start());
    let server = Server::echo("s1");
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n \
         log-format \"%OG %b/%s %ts %U\"\n log-steps accept,request,connect,response,close\nfrontend all\n bind {front}\n \
         log {} format raw local0\n default_backend app\nfrontend some\n bind {some}\n log {} format raw local0\n log-steps connect,close\n \
         default_backend app\nbackend app\n server s1 {}\n",
        log.address(),
        other.address(),
        server.address()
    ));
    for door in [front, some] {
        let mut client = connect(door);
        let greeting = read(&mut client, 2);
        client.write_all(b"12345").expect("a client writes");
        assert_eq!((&*greeting, &*read(&mut client, 5)), ("s1", "12345"));
        client.shutdown(std::net::Shutdown::Write).expect("an end");
        assert!(is_at_end(&mut client));
    }
    let steps = ["txn_accept all/<NOSRV> -- 0", "txn_request app/<NOSRV> -- 0", "txn_connect app/s1 -- 0", "txn_close app/s1 -- 5"];
    assert_eq!(log.lines(4), steps, "mode tcp has no responses");
    assert_eq!(other.lines(2), steps[2..]);
}

#[test]
fn profiles_that_cannot_be_are_refused() {
    let site = |profile: &str, log: &str| format!("{profile}\n[frontend.web]\nmode = \"http\"\nbind = \"{}\"\n{log}\n", unused_address());
    for (profile, log, message) in [
        ("", "log = \"127.0.0.1:9 profile audti local0\"", "no log-profile `audti`"),
        ("[log-profile.audit]\non = { end = \"%ci\" }", "", "`end` is not an occasion of a line"),
        ("[log-profile.audit]\non = { close = { drop = 1 } }", "", "true or false"),
        ("[log-profile.audit]\non = { close = \"%nix\" }", "log = \"127.0.0.1:9 profile audit local0\"", "nix"),
        ("", "log-steps = [\"accept\", \"end\"]", "`end` is not a step of an exchange"),
    ] {
        let said = refusal(&site(profile, log));
        assert!(said.contains(message), "{profile} {log}: {said}");
    }
}

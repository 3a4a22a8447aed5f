//! What is under way, listed and ended by command, and frontends that close and open.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Instant;

use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, Server, connect, directory, is_at_end, read, unused_address};
use crate::runtime::ask;

/// One of the two programs, with the same configuration.
struct Side {
    socket: PathBuf,
    front: SocketAddr,
    config: String,
}

fn side(name: &str, directory: &std::path::Path, server: SocketAddr) -> Side {
    let (socket, front) = (directory.join(name), unused_address());
    let config = format!(
        "global\n nbthread 2\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n\
         timeout server 30s\nfrontend web\n bind {front}\n default_backend app\nbackend app\n server s1 {server}\n",
        socket.display()
    );
    Side { socket, front, config }
}

struct Sides {
    directory: PathBuf,
    ours: (Side, Daemon),
    theirs: (Side, HaproxyProcess),
    _server: Server,
}

impl Sides {
    fn start() -> Self {
        let (directory, server) = (directory(), Server::echo("s1"));
        let (ours, theirs) = (side("ours", &directory, server.address()), side("theirs", &directory, server.address()));
        let peer = Haproxy::find().start(&theirs.config, theirs.front);
        let daemon = Daemon::start_haproxy(&ours.config);
        Self { directory, ours: (ours, daemon), theirs: (theirs, peer), _server: server }
    }

    fn both(&self) -> [&Side; 2] {
        let _ = &self.theirs.1;
        [&self.ours.0, &self.theirs.0]
    }

    fn same(&self, command: &str) {
        let [ours, theirs] = self.both().map(|side| ask(&side.socket, command));
        assert_eq!(ours, theirs, "{command:?}");
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn open(front: SocketAddr) -> TcpStream {
    let mut client = connect(front);
    assert_eq!(read(&mut client, 2), "s1");
    client
}

/// Returns what is listed of a client, without its id.
fn listed(side: &Side, client: &TcpStream) -> (String, String) {
    let source = format!("src={} ", client.local_addr().unwrap());
    let end = Instant::now() + PATIENCE;
    loop {
        let list = ask(&side.socket, "show sess\n");
        if let Some(line) = list.lines().find(|line| line.contains(&source)) {
            let (id, rest) = line.split_once(": ").unwrap();
            let known = ["proto=", "fe=", "be=", "srv="];
            let fields = rest.split(' ').filter(|field| known.iter().any(|known| field.starts_with(known)));
            return (id.to_owned(), fields.collect::<Vec<_>>().join(" "));
        }
        assert!(Instant::now() < end, "not listed: {list}");
    }
}

#[test]
fn sessions_are_listed_and_ended_as_haproxy_does() {
    let sides = Sides::start();
    let commands = [
        "show sess 0x123\n",
        "shutdown session 0x1\n",
        "shutdown session\n",
        "shutdown sessions server app/zz\n",
        "shutdown sessions server app/s1\n",
        "shutdown sessions server zz\n",
        "user;show sess\n",
        "operator;shutdown session 0x1\n",
    ];
    commands.iter().for_each(|command| sides.same(command));
    let mut fields = Vec::new();
    for side in sides.both() {
        let (mut stays, mut goes) = (open(side.front), open(side.front));
        let (id, listed) = listed(side, &goes);
        fields.push(listed);
        let detail = ask(&side.socket, &format!("show sess {id}\n"));
        for part in ["proto=tcpv4 source=", "frontend=web (", "backend=app (id=3 mode=tcp)", "server=s1 (id=1) addr="] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
        assert!(ask(&side.socket, "show sess all\n").matches("backend=app (").count() == 2);
        assert_eq!(ask(&side.socket, &format!("shutdown session {id}\n")), "\n");
        assert!(is_at_end(&mut goes));
        stays.write_all(b"x").unwrap();
        assert_eq!(read(&mut stays, 1), "x");
        assert_eq!(ask(&side.socket, "shutdown sessions server app/s1\n"), "\n");
        assert!(is_at_end(&mut stays));
    }
    assert_eq!(fields[0], fields[1]);
    let end = Instant::now() + PATIENCE;
    while ask(&sides.ours.0.socket, "show sess\n") != "\n" {
        assert!(Instant::now() < end, "sessions stay");
    }
}

#[test]
fn frontends_close_and_open() {
    let sides = Sides::start();
    let commands = [
        "disable frontend\n",
        "disable frontend zz\n",
        "enable frontend web\n",
        "shutdown frontend\n",
        "shutdown frontend zz\n",
        "disable frontend web\n",
        "disable frontend web\n",
    ];
    let mut kept: Vec<_> = sides.both().iter().map(|side| open(side.front)).collect();
    commands.iter().for_each(|command| sides.same(command));
    for side in sides.both() {
        assert_eq!(TcpStream::connect(side.front).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    }
    sides.same("enable frontend web\n");
    sides.same("enable frontend web\n");
    for side in sides.both() {
        open(side.front);
    }
    sides.same("shutdown frontend web\n");
    for (side, kept) in sides.both().iter().zip(&mut kept) {
        assert!(TcpStream::connect(side.front).is_err());
        kept.write_all(b"x").unwrap();
        assert_eq!(read(kept, 1), "x");
    }
    let (ours, daemon) = &sides.ours;
    assert!(ask(&ours.socket, "enable frontend web\n").contains("cannot enable"));
    assert!(ask(&ours.socket, "show stat web 1 -1\n").contains(",STOP,"));
    // A change of another kind leaves it closed, a reload opens it.
    assert_eq!(ask(&ours.socket, "set maxconn server app/s1 5\n"), "\n");
    assert!(TcpStream::connect(ours.front).is_err());
    daemon.reload(&ours.config);
    open(ours.front);
}

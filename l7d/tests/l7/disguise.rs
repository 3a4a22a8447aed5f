//! Servers that see other addresses than this host's: `usesrc`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::http::{ask, ok, read_head};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, directory};

/// Does something in a network of its own, where addresses of 192.0.2.0/24 lead back to the host without being its own.
fn apart(work: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            for line in [
                "link set lo up",
                "address add 10.77.0.1/24 dev lo",
                "address add 10.77.0.2/24 dev lo",
                "rule add to 192.0.2.0/24 lookup 77",
                "route add local 192.0.2.0/24 dev lo table 77",
            ] {
                assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
            }
            work();
        });
        inside.join().unwrap();
    });
}

fn site(front: SocketAddr, (mode, source): (&str, &str), server: SocketAddr) -> String {
    format!(
        "global\n nbthread 1\ndefaults\n mode {mode}\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         frontend f\n bind {front}\n default_backend b\nbackend b\n http-reuse always\n source {source}\n server s {server}\n"
    )
}

/// A server that answers with whom it sees.
fn witness() -> Server {
    Server::at("10.77.0.2:9000".parse().unwrap(), |mut stream| {
        let peer = stream.peer_addr().unwrap();
        while !read_head(&mut stream).is_empty() {
            if stream.write_all(ok(&peer.to_string()).as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Connects from an address that need not be this host's.
fn client(from: &str, front: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_ip_transparent_v4(true).unwrap();
    // The proxy is to take the same address and port.
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&front.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn seen(client: &mut TcpStream) -> SocketAddr {
    ask(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1.parse().unwrap()
}

#[test]
fn servers_see_whom_they_are_to_see() {
    apart(|| {
        let server = witness();
        let (ours, theirs) = (SocketAddr::from(([10, 77, 0, 1], 8001)), SocketAddr::from(([10, 77, 0, 1], 8002)));
        for (source, wanted) in [
            ("0.0.0.0 usesrc clientip", "192.0.2.9"),
            ("10.77.0.1 usesrc client", "192.0.2.9"),
            ("0.0.0.0 usesrc 192.0.2.77", "192.0.2.77"),
            ("10.77.0.1 usesrc 192.0.2.78:7878", "192.0.2.78"),
            ("10.77.0.2 interface lo", "10.77.0.2"),
        ] {
            for mode in ["tcp", "http"] {
                if mode == "http" && source.ends_with(":7878") {
                    // The port may still be kept for the connection before.
                    continue;
                }
                let _daemon = Daemon::start_haproxy(&site(ours, (mode, source), server.address()));
                let wanted: IpAddr = wanted.parse().unwrap();
                for (who, front) in [("ours", ours), ("theirs", theirs)] {
                    // One after the other: an address with a port is one connection's.
                    let _peer = (front == theirs).then(|| Haproxy::find().start(&site(theirs, (mode, source), server.address()), theirs));
                    let mut client = client("192.0.2.9", front);
                    let found = seen(&mut client);
                    assert_eq!(found.ip(), wanted, "{who}, {mode}, {source}");
                    match source.rsplit(' ').next() {
                        Some("client") => assert_eq!(found, client.local_addr().unwrap(), "{who}, {mode}"),
                        Some("clientip") => assert_ne!(found.port(), client.local_addr().unwrap().port(), "{who}, {mode}"),
                        Some("192.0.2.78:7878") => {
                            assert_eq!(found.port(), 7878, "{who}, {mode}");
                            break;
                        }
                        _ => {}
                    }
                }
            }
        }
    });
}

#[test]
fn connections_are_shared_among_those_of_one_address() {
    apart(|| {
        let server = witness();
        let front = SocketAddr::from(([10, 77, 0, 1], 8001));
        let _daemon = Daemon::start_haproxy(&site(front, ("http", "0.0.0.0 usesrc clientip"), server.address()));
        let (mut one, mut other) = (client("192.0.2.9", front), client("192.0.2.10", front));
        let first = seen(&mut one);
        assert_eq!(first.ip().to_string(), "192.0.2.9");
        assert_eq!(seen(&mut other).ip().to_string(), "192.0.2.10");
        assert_eq!(seen(&mut client("192.0.2.9", front)), first);
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn what_takes_rights_is_refused_without_them() {
    let directory = directory();
    let config = |source: &str| {
        std::fs::write(
            directory.join("haproxy.cfg"),
            site("127.0.0.1:1".parse().unwrap(), ("http", source), "127.0.0.1:2".parse().unwrap()),
        )
        .unwrap();
        directory.join("haproxy.cfg")
    };
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_admin,-net_raw", env!("CARGO_BIN_EXE_l7d"), "run", "-f"]).arg(config("0.0.0.0 usesrc clientip"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("server s: `usesrc` needs CAP_NET_ADMIN"), "{said}");
    }
    for (source, wanted) in [
        ("0.0.0.0 usesrc hdr_ip(x-forwarded-for)", "an address from a header is not supported yet"),
        ("0.0.0.0 usesrc somebody", "only servers may have names"),
        ("0.0.0.0 usesrc [fd00::1]", "is of another family"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_l7d")).arg("check").arg("-f").arg(config(source)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{source}: {said}");
    }
    let peers = "peers p\n bind 127.0.0.1:1\n server local\n server other 127.0.0.1:2 source 127.0.0.1 usesrc 192.0.2.1\n";
    std::fs::write(directory.join("haproxy.cfg"), peers).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-L", "local", "-f"]).arg(directory.join("haproxy.cfg")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("peer `other` is asked on behalf of no client"), "{said}");
    std::fs::remove_dir_all(directory).unwrap();
}

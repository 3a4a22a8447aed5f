//! Where the daemon listens and where it finds servers: Unix sockets, inherited ones, sources, queues of listeners.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, read, refusal, tcp_site, unix_echo, unused_address};

/// Puts another bind in the place of the one of [`tcp_site`].
fn with_bind(site: &str, front: SocketAddr, binds: &str) -> String {
    site.replace(&format!("bind = [\"{front}\"]"), &format!("bind = [{binds}]"))
}

fn dial(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

const LOGGED: &str = "[global]\nlog = \"stderr format raw local0\"\n";

#[test]
fn unix_socket_replaces_a_stale_one_and_stays_at_the_end() {
    let server = Server::echo("s1");
    let (front, directory) = (unused_address(), directory());
    let path = directory.join("front.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(UnixStream::connect(&path).is_err(), "nobody listens any more");
    let bind = format!("\"{front}\", {{ address = \"unix@{}\", mode = \"640\", uid = 12345, group = \"daemon\" }}", path.display());
    let site = with_bind(&tcp_site(front, "", &[server.address()]), front, &bind)
        .replace("[global]\n", LOGGED)
        .replace("[frontend.front]", "[frontend.front]\noption = \"tcplog\"");
    let mut daemon = Daemon::start(&site);
    let metadata = std::fs::metadata(&path).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
    assert_eq!((metadata.permissions().mode() & 0o777, owner, std::os::unix::fs::MetadataExt::gid(&metadata)), (0o640, 12345, 1));
    // Often enough that more than one thread has accepted.
    for _ in 0..20 {
        let mut client = dial(&path);
        client.write_all(b"ping").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "s1ping");
    }
    // The number is that of the socket among those of the frontend, as in HAProxy's lines.
    daemon.wait_for_log("unix:2 [");
    assert_eq!(read(&mut connect(front), 2), "s1");
    let others: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(others, ["front.sock"], "no temporary file is left");
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(path.exists());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn reload_moves_a_unix_socket_to_new_rights_and_loses_nobody() {
    let server = Server::echo("s1");
    let (front, directory) = (unused_address(), directory());
    let path = directory.join("front.sock");
    let bind = |mode: &str| format!("{{ address = \"{}\", mode = \"{mode}\" }}", path.display());
    let site = |mode: &str| with_bind(&tcp_site(front, "", &[server.address()]), front, &bind(mode));
    let daemon = Daemon::start(&site("600"));
    let mut before = dial(&path);
    assert_eq!(read(&mut before, 2), "s1");
    daemon.reload(&site("666"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(read(&mut dial(&path), 2), "s1");
    before.write_all(b"still here").unwrap();
    assert_eq!(read(&mut before, 10), "still here");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_cannot_be_bound_is_named_and_leaves_everything_as_it_was() {
    let (front, directory) = (unused_address(), directory());
    let (path, other) = (directory.join("file"), directory.join("front.sock"));
    std::fs::write(&path, "precious").unwrap();
    let site = |binds: &str| with_bind(&tcp_site(front, "", &[front]), front, binds);
    let said = refusal(&site(&format!("\"{}\", \"{}\"", other.display(), path.display())));
    assert!(said.contains(&format!("bind unix@{} of frontend front: there is a file that is no socket", path.display())), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "the other socket did not take its name");
    let said = refusal(&site(&format!("{{ address = \"{}\", user = \"no-such-user\" }}", other.display())));
    assert!(said.contains("no user `no-such-user` in /etc/passwd"), "{said}");
    let said = refusal(&site(&format!("{{ address = \"{front}\", interface = \"nonesuch0\" }}")));
    assert!(said.contains("interface nonesuch0: No such device"), "{said}");
    let said = refusal(&site("\"fd@999\""));
    assert!(said.contains("bind fd@999 of frontend front: the process was started without it"), "{said}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn abstract_names_are_padded_as_haproxys_or_exact() {
    let server = Server::echo("s1");
    let front = unused_address();
    let name = format!("l7d-test-{front}");
    let site = with_bind(&tcp_site(front, "", &[server.address()]), front, &format!("\"abns@{name}\", \"abnsz@{name}\""));
    let _daemon = Daemon::start(&site);
    let mut padded = name.clone().into_bytes();
    padded.resize(107, 0);
    for name in [padded.as_slice(), name.as_bytes()] {
        let mut client = UnixStream::connect_addr(&UnixAddress::from_abstract_name(name).unwrap()).unwrap();
        assert_eq!(read(&mut client, 2), "s1");
    }
}

#[test]
fn sockets_the_process_was_started_with_are_served() {
    let server = Server::echo("s1");
    let (front, directory) = (unused_address(), directory());
    let path = directory.join("inherited.sock");
    let (inet, unix) = (TcpListener::bind(front).unwrap(), UnixListener::bind(&path).unwrap());
    for flags in
        [rustix::io::fcntl_setfd(&inet, rustix::io::FdFlags::empty()), rustix::io::fcntl_setfd(&unix, rustix::io::FdFlags::empty())]
    {
        flags.unwrap();
    }
    let binds = format!("\"fd@{}\", \"fd@{}\"", inet.as_raw_fd(), unix.as_raw_fd());
    let site = with_bind(&tcp_site(front, "", &[server.address()]), front, &binds);
    // Whoever connects before the daemon runs is served when it does.
    let mut early = connect(front);
    let daemon = Daemon::start(&site);
    drop((inet, unix));
    assert_eq!(read(&mut early, 2), "s1");
    assert_eq!(read(&mut connect(front), 2), "s1");
    assert_eq!(read(&mut dial(&path), 2), "s1");
    daemon.reload(&site.replace("30s", "31s"));
    assert_eq!(read(&mut connect(front), 2), "s1");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn interface_and_transparent_are_set_on_the_socket() {
    let server = Server::echo("s1");
    let front = unused_address();
    let _daemon = Daemon::start(&with_bind(
        &tcp_site(front, "", &[server.address()]),
        front,
        &format!("{{ address = \"{front}\", interface = \"lo\" }}"),
    ));
    assert_eq!(read(&mut connect(front), 2), "s1");
    // An address that is nobody's here can be bound with the right to do so only.
    let foreign = "{ address = \"192.0.2.77:7000\", transparent = true }";
    let site = with_bind(&tcp_site(front, "", &[server.address()]), front, foreign);
    if rustix::process::geteuid().is_root() {
        drop(Daemon::start(&site));
    } else {
        let said = refusal(&site);
        assert!(said.contains("transparent needs CAP_NET_ADMIN"), "{said}");
    }
}

#[test]
fn servers_on_unix_sockets_are_checked_and_served() {
    let (front, directory) = (unused_address(), directory());
    let path = directory.join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    unix_echo(listener.try_clone().unwrap(), "s1");
    let name = format!("l7d-test-server-{front}");
    let mut padded = name.clone().into_bytes();
    padded.resize(107, 0);
    unix_echo(UnixListener::bind_addr(&UnixAddress::from_abstract_name(padded).unwrap()).unwrap(), "s2");
    let site = tcp_site(front, "check = { tcp = {}, inter = \"50ms\", fall = 1, rise = 1 }", &[])
        + &format!("s1 = \"unix@{}\"\ns2 = \"abns@{name}\"\ns3 = \"unix@{}.none\"\n", path.display(), path.display());
    let daemon = Daemon::start(&site);
    daemon.wait_for_log("back/s3 is DOWN");
    let mut answers: Vec<String> = (0..4).map(|_| read(&mut connect(front), 2)).collect();
    answers.sort_unstable();
    assert_eq!(answers, ["s1", "s1", "s2", "s2"]);
    std::fs::remove_file(&path).unwrap();
    daemon.wait_for_log("back/s1 is DOWN");
    assert_eq!(read(&mut connect(front), 2), "s2");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn connections_come_from_the_source_of_the_server() {
    let (sender, seen) = mpsc::sync_channel(64);
    let server = Server::start(move |mut stream| {
        sender.send(stream.peer_addr().unwrap()).unwrap();
        stream.write_all(b"s1").unwrap();
        let _ = stream.read(&mut [0]);
    });
    let (front, source) = (unused_address(), unused_address().ip());
    let target = server.address();
    let site = tcp_site(front, &format!("source = \"{source}\""), &[target]);
    let daemon = Daemon::start(&site);
    assert_eq!(read(&mut connect(front), 2), "s1");
    assert_eq!(seen.recv().unwrap().ip(), source);
    // Three ports for three connections at a time; a fourth has to wait until one is free.
    daemon.reload(&tcp_site(
        front,
        &format!("source = {{ address = \"{source}:41000-41002\", interface = \"lo\" }}\nretries = 0"),
        &[target],
    ));
    let mut clients: Vec<_> = (0..3).map(|_| connect(front)).collect();
    let mut ports: Vec<u16> = Vec::new();
    for client in &mut clients {
        assert_eq!(read(client, 2), "s1");
        let from = seen.recv().unwrap();
        assert_eq!(from.ip(), source);
        ports.push(from.port());
    }
    ports.sort_unstable();
    assert_eq!(ports, [41000, 41001, 41002]);
    assert!(crate::kit::is_at_end(&mut connect(front)));
    daemon.wait_for_log("to server back/s1: ");
}

/// Returns the lengths of the listen queues on an address, as the kernel has them.
fn queues(address: SocketAddr) -> Vec<String> {
    let filter = format!("src {address}");
    let output = Command::new("ss").args(["-tnHl", &filter]).output().expect("ss runs");
    let text = String::from_utf8(output.stdout).expect("ss says text");
    let mut lengths: Vec<_> = text.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)).map(str::to_owned).collect();
    lengths.dedup();
    lengths
}

#[test]
fn binds_have_the_listen_queue_of_their_proxy_as_in_haproxy() {
    let config = |[plain, own, inherits]: [SocketAddr; 3]| {
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n backlog 33\n\
             frontend plain\n backlog 44\n bind {plain}\n bind {own} backlog 55\n default_backend b\n\
             frontend inherits\n bind {inherits}\n default_backend b\nbackend b\n http-request return status 200\n"
        )
    };
    let places = [(); 2].map(|()| [(); 3].map(|()| unused_address()));
    let _ours = Daemon::start_haproxy(&config(places[0]));
    let _theirs = Haproxy::find().start(&config(places[1]), places[1][2]);
    for place in places {
        assert_eq!(place.map(queues), ["44", "55", "33"].map(|length| vec![length.to_owned()]));
    }
    let [plain, own, inherits] = [(); 3].map(|()| unused_address());
    let _toml = Daemon::start(&format!(
        "[defaults]\nbacklog = 33\ntimeout = {{ connect = \"5s\", client = \"20s\", server = \"20s\" }}\n\
         [frontend.plain]\nbacklog = 44\nbind = [\"{plain}\", {{ address = \"{own}\", backlog = 55 }}]\ndefault-backend = \"b\"\n\
         [frontend.inherits]\nbind = \"{inherits}\"\ndefault-backend = \"b\"\n\
         [backend.b]\nserver = {{ one = \"127.0.0.1:9\" }}\n"
    ));
    assert_eq!([plain, own, inherits].map(queues), ["44", "55", "33"].map(|length| vec![length.to_owned()]));
}

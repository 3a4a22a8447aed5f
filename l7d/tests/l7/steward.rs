//! Reloads of a process that gave up its rights: files outside and low ports are still within reach, and nothing else is.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::kit::{Daemon, PATIENCE, Server, connect, directory, unused_address};
use crate::runtime;
use crate::tls::{http_echo, s_client};

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn children(pid: u32) -> Vec<String> {
    let all = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    all.split_whitespace().map(str::to_owned).collect()
}

fn get(address: SocketAddr, head: &str) -> String {
    let mut client = connect(address);
    client.write_all(format!("GET / HTTP/1.1\r\nConnection: close\r\n{head}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn reload_reads_what_root_reads_and_binds_what_root_binds() {
    if !is_root() {
        eprintln!("skipped: only root can give anything up");
        return;
    }
    let (server, authority, outside, jail) = (http_echo(), Authority::new(), directory(), directory());
    let pem = authority.pem(&["a.test"]);
    std::fs::set_permissions(&pem, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (front, secret, list, errors) = (unused_address(), unused_address(), outside.join("hosts.map"), outside.join("503"));
    let low = SocketAddr::new(unused_address().ip(), 81);
    let socket = outside.join("late.sock");
    let global = format!("global\n nbthread 2\n chroot {}\n user nobody\n group nogroup\n", jail.display());
    let rest = format!(
        "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend web\n bind {front}\n default_backend app\nbackend app\n server s {}\n",
        server.address()
    );
    let daemon = Daemon::start_haproxy(&format!("{global}{rest}"));
    assert!(get(front, "Host: h\r\n").ends_with("served"));
    let stewards = children(daemon.pid());
    assert_eq!(stewards.len(), 1);
    assert_eq!(std::fs::metadata(format!("/proc/{}", stewards[0])).unwrap().uid(), 0);
    assert_eq!(std::fs::metadata(format!("/proc/{}", daemon.pid())).unwrap().uid(), 65534);
    // Everything here is outside the new root, and readable for root only.
    private(&list, "h found\n");
    private(&errors, "HTTP/1.0 503 Gone\r\nContent-Length: 4\r\n\r\nsad\n");
    let more = format!(
        " stats socket {} level admin\n{rest} errorfile 503 {}\n\
         frontend more\n bind {low}\n bind {secret} ssl crt {}\n http-request return status 503 if {{ path /x }}\n\
         http-request return status 200 content-type text/plain lf-string %[req.hdr(host),map({},lost)]\n",
        socket.display(),
        errors.display(),
        pem.display(),
        list.display()
    );
    daemon.reload(&format!("{global}{more}"));
    assert_eq!(daemon.count("configuration replaced"), 1);
    assert!(get(low, "Host: h\r\n").ends_with("found"));
    assert!(
        s_client(secret, &["-servername", "a.test", "-quiet"], "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").contains("found")
    );
    assert_eq!(runtime::ask(&socket, "set server app/s state maint\n"), "\n");
    assert!(get(front, "Host: h\r\n").ends_with("sad\n"));
    // A mistake is told as it would be without all this, and changes nothing.
    daemon.reload(&format!("{global}{more} bogus\n"));
    daemon.wait_for_log("unknown keyword `bogus`");
    // So is an address that cannot be had.
    let taken = std::net::TcpListener::bind(unused_address()).unwrap();
    daemon.reload(&format!("{global}{more} bind {}\n", taken.local_addr().unwrap()));
    daemon.wait_for_log(&format!("bind {} of frontend more", taken.local_addr().unwrap()));
    // The same socket goes on, and the file of its list is read anew.
    private(&list, "h again\n");
    daemon.reload(&format!("{global}{more}"));
    assert!(get(low, "Host: h\r\n").ends_with("again"));
    drop(daemon);
    let end = Instant::now() + PATIENCE;
    while Path::new("/proc").join(&stewards[0]).exists() {
        assert!(Instant::now() < end, "the second process stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::remove_dir_all(outside).unwrap();
    std::fs::remove_dir_all(jail).unwrap();
}

#[test]
fn who_keeps_the_rights_is_told_numbers_and_nothing_else() {
    let directory = directory();
    let file = directory.join("haproxy.cfg");
    let front = unused_address();
    let config = format!("defaults\n mode tcp\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nlisten a\n bind {front}\n");
    std::fs::write(&file, config).unwrap();
    let requests: [(&str, &[u8]); 4] = [
        ("a word that is none", b"X"),
        ("addresses before any configuration", b"B\0\0\0\x01\0\0\0\0"),
        ("an address that is not there", b"RB\0\0\0\x01\0\0\0\x01"),
        ("too many addresses", b"RB\xff\xff\xff\xff"),
    ];
    for (what, request) in requests {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
        command.args(["steward", "1", "--"]).arg(&file).stdin(std::os::fd::OwnedFd::from(theirs)).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        drop(command);
        ours.write_all(request).unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        // Who ends with something unread ends with a reset.
        let _ = ours.read_to_end(&mut Vec::new());
        assert!(!child.wait().unwrap().success(), "{what}");
        assert!(std::net::TcpListener::bind(front).is_ok(), "{what}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn whoever_keeps_all_rights_stays_alone() {
    let server = Server::echo("s1");
    let daemon = Daemon::start(&crate::kit::tcp_site(unused_address(), "", &[server.address()]));
    assert_eq!(children(daemon.pid()), [""; 0]);
}

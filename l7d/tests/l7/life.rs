//! Start, reload, drain.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::kit::{Daemon, Server, connect, is_at_end, read, tcp_site, unused_address};

#[test]
fn addresses_are_announced() {
    let front = unused_address();
    let daemon = Daemon::start(&tcp_site(front, "", &[unused_address()]));
    assert!(daemon.wait_for_log("listening on").ends_with(&format!("listening on {front} of frontend front")));
}

#[test]
fn drain_lets_connections_end_and_accepts_no_more() {
    let server = Server::echo("s1");
    let front = unused_address();
    let mut daemon = Daemon::start(&tcp_site(front, "", &[server.address()]));
    let mut client = connect(front);
    read(&mut client, 2);
    daemon.signal("TERM");
    daemon.wait_for_log("draining");
    while TcpStream::connect(front).is_ok_and(|mut stream| !is_at_end(&mut stream)) {}
    client.write_all(b"still here").unwrap();
    assert_eq!(read(&mut client, 10), "still here");
    assert!(daemon.is_running());
    drop(client);
    assert!(daemon.wait().success());
}

#[test]
fn second_signal_does_not_wait() {
    let server = Server::echo("s1");
    let front = unused_address();
    let mut daemon = Daemon::start(&tcp_site(front, "", &[server.address()]));
    let mut client = connect(front);
    read(&mut client, 2);
    daemon.signal("TERM");
    daemon.wait_for_log("draining");
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(is_at_end(&mut client));
}

#[test]
fn reload_changes_new_connections_only() {
    let (one, two) = (Server::echo("s1"), Server::echo("s2"));
    let (front, other) = (unused_address(), unused_address());
    let daemon = Daemon::start(&tcp_site(front, "", &[one.address()]));
    let mut old = connect(front);
    assert_eq!(read(&mut old, 2), "s1");
    daemon.reload(&tcp_site(front, "", &[two.address()]).replace(&format!("\"{front}\""), &format!("\"{front}\", \"{other}\"")));
    assert_eq!(read(&mut connect(front), 2), "s2");
    assert_eq!(read(&mut connect(other), 2), "s2");
    old.write_all(b"old").unwrap();
    assert_eq!(read(&mut old, 3), "old");
    daemon.reload(&tcp_site(other, "", &[two.address()]));
    assert_eq!(read(&mut connect(other), 2), "s2");
    while TcpStream::connect(front).is_ok_and(|mut stream| !is_at_end(&mut stream)) {}
}

#[test]
fn broken_file_changes_nothing() {
    let server = Server::echo("s1");
    let front = unused_address();
    let site = tcp_site(front, "", &[server.address()]);
    let daemon = Daemon::start(&site);
    daemon.reload(&site.replace("default-backend = \"back\"", "default-backend = \"bakc\""));
    assert_eq!(daemon.count("configuration unchanged"), 1);
    daemon.wait_for_log("bakc");
    assert_eq!(read(&mut connect(front), 2), "s1");
}

#[test]
fn reloads_under_load_fail_no_connection() {
    let (one, two) = (Server::echo("s1"), Server::echo("s2"));
    let front = unused_address();
    let sites = [tcp_site(front, "", &[one.address()]), tcp_site(front, "", &[two.address(), one.address()])];
    let daemon = Daemon::start(&sites[0]);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let mut client = connect(front);
                    read(&mut client, 2);
                    client.write_all(b"ping").unwrap();
                    assert_eq!(read(&mut client, 4), "ping");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 1..=30 {
        daemon.reload(&sites[round % 2]);
    }
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(daemon.count("configuration replaced"), 30);
    assert!(served.load(Ordering::SeqCst) > 30);
}

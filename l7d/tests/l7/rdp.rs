//! Clients of the remote desktop protocol come to servers by their cookies; the same as with haproxy.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4};

use crate::kit::{Daemon, Haproxy, Server, connect, refusal, unused_address};

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// Servers that say their names once they have heard something.
fn servers() -> Vec<Server> {
    NAMES
        .iter()
        .map(|name| {
            Server::start(move |mut stream| {
                if stream.read(&mut [0; 200]).is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(name.as_bytes());
                }
            })
        })
        .collect()
}

fn site(front: SocketAddr, servers: &[Server], words: &str) -> String {
    let mut site = format!(
        "global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\nfrontend f\n bind {front}\n \
         tcp-request inspect-delay 5s\n tcp-request content accept if RDP_COOKIE\n tcp-request content accept if WAIT_END\n default_backend b\nbackend b\n{words}"
    );
    for (name, server) in NAMES.iter().zip(servers) {
        site += &format!(" server {name} {}\n", server.address());
    }
    site
}

/// Says what a client of RDP says first, in two parts, and returns who answers.
fn ask(front: SocketAddr, cookie: &str) -> String {
    let mut first = vec![3, 0, 0, 0, 0, 0xe0, 0, 0, 0, 0, 0];
    first.extend_from_slice(format!("Cookie: {cookie}\r\n").as_bytes());
    first.extend_from_slice(&[1, 0, 8, 0, 3, 0, 0, 0]);
    first[3] = u8::try_from(first.len()).unwrap();
    first[4] = first[3] - 5;
    let mut client = connect(front);
    client.write_all(&first[..15]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3));
    client.write_all(&first[15..]).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns what names a server to whoever comes back to it.
fn told(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    let number = |address: SocketAddrV4| u32::from_le_bytes(address.ip().octets());
    format!("msts={}.{}.0000", number(address), address.port().swap_bytes())
}

#[test]
fn cookie_chooses_the_server_it_chooses_with_haproxy() {
    let servers = servers();
    let (front, beside) = (unused_address(), unused_address());
    for words in [" balance rdp-cookie\n", " balance rdp-cookie(Who)\n hash-type consistent djb2\n"] {
        let _daemon = Daemon::start_haproxy(&site(front, &servers, words));
        let _haproxy = Haproxy::find().start(&site(beside, &servers, words), beside);
        let cookies = (0..24).map(|number| format!("{}=user{number}", if words.contains("Who") { "who" } else { "mstshash" }));
        let chosen: Vec<_> = cookies.map(|cookie| (ask(front, &cookie), ask(beside, &cookie))).collect();
        let different: HashSet<_> = chosen.iter().map(|(ours, _)| ours).collect();
        assert!(different.len() > 2, "{chosen:?}");
        // A consistent hash finds other servers than HAProxy's ring does.
        assert!(words.contains("consistent") || chosen.iter().all(|(ours, theirs)| ours == theirs), "{chosen:?}");
        let again = if words.contains("Who") { "who=user7" } else { "mstshash=user7" };
        assert_eq!(ask(front, again), chosen[7].0);
    }
}

#[test]
fn who_was_told_a_server_comes_back_to_it() {
    let servers = servers();
    let (front, beside) = (unused_address(), unused_address());
    let words = " persist rdp-cookie\n balance roundrobin\n";
    let _daemon = Daemon::start_haproxy(&site(front, &servers, words));
    let _haproxy = Haproxy::find().start(&site(beside, &servers, words), beside);
    for (name, server) in NAMES.iter().zip(&servers).rev() {
        let cookie = told(server.address());
        assert_eq!((ask(front, &cookie), ask(beside, &cookie)), ((*name).to_owned(), (*name).to_owned()));
    }
    let ours: HashSet<_> = (0..4).map(|_| ask(front, "msts=1.2.0000")).collect();
    assert_eq!(ours.len(), 4, "nobody is there, so all have their turn");
    let toml =
        format!("[frontend.f]\nbind = \"{front}\"\ndefault-backend = \"b\"\n[backend.b]\npersist = \"cookies\"\nserver.s = \"{beside}\"\n");
    assert!(refusal(&toml).contains("`cookies` keeps no client with its server"));
}

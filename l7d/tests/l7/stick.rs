//! Stickiness by tables: the same traffic goes to the same servers as with Debian's haproxy, and the tables hold the same.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use crate::http::{ask, server};
use crate::kit::{Daemon, Haproxy, Server, connect, directory, read, refusal, tcp_site, unused_address};
use crate::tables::{lasting, tell};

fn cfg(front: SocketAddr, socket: &str, servers: &[SocketAddr]) -> String {
    let mut text = format!(
        "global\n nbthread 1\n stats socket {socket} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {front}\n default_backend back\n\
         backend back\n balance roundrobin\n stick-table type string len 16 size 100 expire 1m\n cookie SRV insert indirect\n\
         acl known hdr(x-user) -m found\n ignore-persist if {{ path /ignore }}\n\
         stick match hdr(x-key) table answers if {{ hdr(x-key) -m found }}\n stick on hdr(x-user) if known\n\
         stick store-request path table paths unless known\n stick store-response res.hdr(x-given) table answers\n"
    );
    for (number, address) in (1..).zip(servers) {
        writeln!(text, " server s{number} {address} cookie s{number}").unwrap();
    }
    text + "backend answers\n stick-table type string len 16 size 100 expire 1m\n\
            backend paths\n stick-table type string len 16 size 100 expire 1m srvkey addr store gpc0,server_key\n"
}

/// Starts servers that say their names, and give what they are told to give.
fn servers() -> Vec<Server> {
    let named = |name: &'static str| {
        let answer = move |head: &str, _: &str| {
            let given = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-give: ").map(str::to_owned));
            let field = given.map(|given| format!("X-Given: {given}\r\n")).unwrap_or_default();
            format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 2\r\n\r\n{name}")
        };
        server(answer).0
    };
    vec![named("s1"), named("s2"), named("s3")]
}

/// Sends `PATH|FIELD|FIELD` and returns the name of the server, and whether it gave a cookie.
fn served(front: SocketAddr, request: &str) -> String {
    let mut parts = request.split('|');
    let mut text = format!("GET {} HTTP/1.1\r\nHost: h\r\n", parts.next().unwrap());
    parts.for_each(|field| write!(text, "{field}\r\n").unwrap());
    let (head, body) = ask(&mut connect(front), &format!("{text}\r\n"));
    let gives = head.to_ascii_lowercase().contains("set-cookie");
    format!("{} {body} {gives}", &head[9..12])
}

#[test]
fn the_same_clients_stick_to_the_same_servers_as_with_haproxy() {
    let servers = servers();
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let directory = directory();
    let (ours, theirs) = (directory.join("ours"), directory.join("theirs"));
    let (our_front, their_front) = (unused_address(), unused_address());
    let daemon = Daemon::start_haproxy(&cfg(our_front, ours.to_str().unwrap(), &addresses));
    let _haproxy = Haproxy::find().start(&cfg(their_front, theirs.to_str().unwrap(), &addresses), their_front);
    let steps = [
        "/|X-User: ann",
        "/|X-User: bob",
        "/|X-User: ann",
        "/|X-User: ann|Cookie: SRV=s3",
        "/|X-User: ann",
        "/ignore|X-User: ann|Cookie: SRV=s2",
        "/|X-User: bob",
        "/other",
        "/other",
        "/|X-User: eve|X-Give: key1",
        "/|X-Key: key1",
        "/|X-Key: nokey",
        "/|X-User: bob|X-Key: key1",
        "/|X-User: bob",
        "! set server back/s1 state maint",
        "! set server back/s2 state drain",
        "/|X-User: ann",
        "/|X-User: bob",
        "/|X-User: eve",
        "/|X-Key: key1",
        "! set server back/s1 state ready",
        "! set server back/s3 state maint",
        "/|X-User: ann",
        "/|X-User: bob",
        "/|X-User: eve",
        "! set server back/s3 state ready",
        "! set server back/s2 state ready",
        "/|X-User: ann",
        "/|X-User: bob",
        "/|X-User: eve",
        "! show table back",
        "! show table answers",
        "! show table paths",
    ];
    for step in steps {
        match step.strip_prefix("! ") {
            Some(line) => assert_eq!(lasting(&tell(&ours, line)), lasting(&tell(&theirs, line)), "{step}"),
            None => assert_eq!(served(our_front, step), served(their_front, step), "{step}"),
        }
    }
    assert!(tell(&ours, "show table back").contains("server_id="), "{}", tell(&ours, "show table back"));
    let before: Vec<_> = ["ann", "bob", "eve"].map(|user| served(our_front, &format!("/|X-User: {user}"))).into();
    daemon.reload(&cfg(our_front, ours.to_str().unwrap(), &addresses).replace("size 100", "size 200"));
    let after: Vec<_> = ["ann", "bob", "eve"].map(|user| served(our_front, &format!("/|X-User: {user}"))).into();
    assert_eq!(before, after);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_server_is_known_by_its_name_or_its_address_whatever_its_number() {
    let servers = servers();
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let (front, directory) = (unused_address(), directory());
    let socket = directory.join("ours");
    // The same servers under the same names or at the same addresses, but the other way round.
    let turned = |cfg: &str, order: [(usize, usize); 3]| {
        let head: String = cfg.lines().filter(|line| !line.contains(" server ")).flat_map(|line| [line, "\n"]).collect();
        order.iter().fold(head, |mut text, (name, address)| {
            writeln!(text, " server s{name} {}", addresses[address - 1]).unwrap();
            text
        })
    };
    for (srvkey, order) in [("name", [(3, 3), (2, 2), (1, 1)]), ("addr", [(1, 3), (2, 1), (3, 2)])] {
        let cfg = format!(
            "global\n nbthread 1\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n \
             timeout server 30s\nfrontend front\n bind {front}\n default_backend back\nbackend back\n balance roundrobin\n \
             stick-table type string len 16 size 100 expire 1m srvkey {srvkey}\n stick on path\n",
            socket.display()
        );
        let before = turned(&cfg, [(1, 1), (2, 2), (3, 3)]);
        let daemon = Daemon::start_haproxy(&before);
        let paths = ["/a", "/b", "/c", "/d"];
        let first: Vec<_> = paths.iter().map(|path| served(front, path)).collect();
        let key = if srvkey == "addr" { format!("server_key={}", addresses[0]) } else { "server_key=s1".to_owned() };
        assert!(tell(&socket, "show table back").contains(&key), "{}", tell(&socket, "show table back"));
        daemon.reload(&turned(&cfg, order));
        let second: Vec<_> = paths.iter().map(|path| served(front, path)).collect();
        assert_eq!(first, second, "{srvkey}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_connection_sticks_by_its_address_until_its_server_dies() {
    let mut servers = vec![Server::echo("1"), Server::echo("2"), Server::echo("3")];
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let (front, directory) = (unused_address(), directory());
    let socket = directory.join("ours");
    let site = tcp_site(front, "rules = [\"stick on src\"]\nretries = 1\noption = [\"redispatch\"]", &addresses)
        .replace("[global]\n", &format!("[global]\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\n", socket.display()));
    let _daemon = Daemon::start(&format!("{site}[table.back]\ntype = \"ip\"\nsize = 10\nexpire = \"1m\"\n"));
    let served = || read(&mut connect(front), 1);
    let first = served();
    assert!((0..5).all(|_| served() == first));
    tell(&socket, &format!("set server back/s{first} state maint"));
    let second = served();
    assert_ne!(first, second);
    tell(&socket, &format!("set server back/s{first} state ready"));
    assert!((0..5).all(|_| served() == second), "who has moved stays");
    let shown = tell(&socket, "show table back");
    assert!(shown.contains("key=127.0.0.1 ") && shown.contains(&format!("server_id={second}")), "{shown}");
    drop(servers.remove(second.parse::<usize>().unwrap() - 1));
    let third = served();
    assert_ne!(second, third, "a server that refuses connections is left");
    assert!(tell(&socket, "show table back").contains(&format!("server_id={third}")));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn both_halves_of_a_listen_section_know_its_table() {
    let servers = [Server::echo("1"), Server::echo("2"), Server::echo("3")];
    let front = unused_address();
    let mut cfg = format!(
        "defaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nlisten front\n bind {front}\n\
         stick-table type ip size 10 expire 1m\n stick match src\n stick store-request src if {{ src 127.0.0.0/8 }}\n"
    );
    for (number, server) in (1..).zip(&servers) {
        writeln!(cfg, " server s{number} {}", server.address()).unwrap();
    }
    let _daemon = Daemon::start_haproxy(&cfg);
    let first = read(&mut connect(front), 1);
    assert!((0..5).all(|_| read(&mut connect(front), 1) == first));
}

#[test]
fn what_is_wrong_with_sticking_is_named() {
    for (rule, said) in [
        ("stick on src", "has no table of its own"),
        ("stick on src table nobody", "no table `nobody`"),
        ("stick with src", "there is no `stick with`"),
        ("stick on path table t", "is not known when this rule runs"),
        ("stick store-response res.hdr(x) table nobody", "no table `nobody`"),
        ("stick on src table t now", "`now` stands where the rule should end"),
    ] {
        let site = tcp_site(unused_address(), &format!("rules = [\"{rule}\"]"), &[unused_address()]);
        let refusal = refusal(&format!("{site}[table.t]\ntype = \"ip\"\nsize = 10\n"));
        assert!(refusal.contains(said), "{rule}: {refusal}");
    }
}

/// What a client of TLS says first, with this session.
fn client_hello(session: u8) -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([session.wrapping_add(1); 32]);
    hello.push(32);
    hello.extend([session; 32]);
    hello.extend([0, 2, 0x13, 1, 1, 0, 0, 0]);
    let mut record = vec![0x16, 3, 1];
    record.extend(u16::try_from(hello.len() + 4).unwrap().to_be_bytes());
    record.extend([1, 0]);
    record.extend(u16::try_from(hello.len()).unwrap().to_be_bytes());
    record.extend(hello);
    record
}

/// What a client of RDP says first, with this cookie.
fn rdp(user: &str) -> Vec<u8> {
    let mut first = vec![3, 0, 0, 0, 0, 0xe0, 0, 0, 0, 0, 0];
    first.extend_from_slice(format!("Cookie: mstshash={user}\r\n").as_bytes());
    first.extend_from_slice(&[1, 0, 8, 0, 3, 0, 0, 0]);
    first[3] = u8::try_from(first.len()).unwrap();
    first[4] = first[3] - 5;
    first
}

#[test]
fn cookies_sessions_of_tls_and_users_of_rdp_stick_as_with_haproxy() {
    let speaker = |name: &'static str| {
        Server::start(move |mut stream| {
            if stream.read(&mut [0; 1000]).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(name.as_bytes());
            }
        })
    };
    let named = |name: &'static str| server(move |_, _| crate::http::ok(name)).0;
    let (bytes, pages) = ([speaker("s1"), speaker("s2"), speaker("s3")], [named("s1"), named("s2"), named("s3")]);
    let directory = directory();
    let cfg = |fronts: [SocketAddr; 3], name: &str| {
        let list = |servers: &[Server]| {
            (1..).zip(servers).map(|(number, server)| format!(" server s{number} {}\n", server.address())).collect::<String>()
        };
        let (bytes, pages) = (list(&bytes), list(&pages));
        format!(
            "global\n nbthread 1\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
             listen tls\n bind {}\n tcp-request inspect-delay 5s\n tcp-request content accept if {{ req.ssl_hello_type 1 }}\n balance roundrobin\n \
             stick-table type binary len 32 size 100 expire 1m\n stick on payload_lv(43,1) if {{ req.ssl_hello_type 1 }}\n{bytes}\
             listen rdp\n bind {}\n tcp-request inspect-delay 5s\n tcp-request content accept if RDP_COOKIE\n balance roundrobin\n \
             stick-table type string len 20 size 100 expire 1m\n stick on rdp_cookie(mstshash)\n{bytes}\
             listen cookie\n mode http\n bind {}\n balance roundrobin\n stick-table type string len 20 size 100 expire 1m\n stick on req.cook(sid)\n{pages}",
            directory.join(name).display(),
            fronts[0],
            fronts[1],
            fronts[2]
        )
    };
    let fronts = [0, 1].map(|_| [0, 1, 2].map(|_| unused_address()));
    let _daemon = Daemon::start_haproxy(&cfg(fronts[0], "ours"));
    let _haproxy = Haproxy::find().start(&cfg(fronts[1], "theirs"), fronts[1][2]);
    let said = |front: SocketAddr, first: &[u8]| {
        let mut client = connect(front);
        client.write_all(first).unwrap();
        read(&mut client, 2)
    };
    let served = fronts.map(|[tls, rdp_front, cookie]| {
        let mut all = Vec::new();
        for number in [1, 2, 3, 1, 4, 3, 2, 1] {
            all.push(said(tls, &client_hello(number)));
            all.push(said(rdp_front, &rdp(&format!("user{number}"))));
            let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; sid=c{number}\r\n\r\n");
            all.push(ask(&mut connect(cookie), &request).1);
        }
        all
    });
    assert_eq!(served[0], served[1]);
    assert_eq!(served[0][0..3], served[0][9..12], "who comes back comes to the same");
    for table in ["tls", "rdp", "cookie"] {
        let shown = ["ours", "theirs"].map(|name| lasting(&tell(&directory.join(name), &format!("show table {table}"))));
        assert_eq!(shown[0], shown[1], "{table}");
        assert_eq!(shown[0].matches("server_key=s").count(), 4, "{}", shown[0]);
    }
    std::fs::remove_dir_all(directory).unwrap();
}

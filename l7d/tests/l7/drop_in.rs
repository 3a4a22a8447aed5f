//! Words that configurations of HAProxy have had for years, each doing the same here: the same file on both programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use crate::http::{ask, ok, server, status};
use crate::kit::{Daemon, Haproxy, HaproxyProcess, Server, connect, unused_address};

const HEAD: &str = "defaults\n mode http\n timeout connect 20s\n timeout client 20s\n timeout server 20s\n";

/// Starts both programs on what `config` makes of an address, and returns where they are.
fn both(config: impl Fn(SocketAddr) -> String) -> ([SocketAddr; 2], (Daemon, HaproxyProcess)) {
    let [ours, theirs] = [unused_address(), unused_address()];
    let daemon = Daemon::start_haproxy(&config(ours));
    ([ours, theirs], (daemon, Haproxy::find().start(&config(theirs), theirs)))
}

/// Servers that answer with their numbers.
fn numbered(count: usize) -> Vec<Server> {
    (1..=count).map(|number| server(move |_, _| ok(&number.to_string())).0).collect()
}

fn lines(servers: &[Server]) -> String {
    servers.iter().enumerate().fold(String::new(), |mut text, (index, server)| {
        writeln!(text, " server s{} {}", index + 1, server.address()).expect("it is a text");
        text
    })
}

/// Returns how many servers answer a client's requests over one connection.
fn spread(front: SocketAddr) -> usize {
    let mut client = connect(front);
    (0..6).map(|count| ask(&mut client, &format!("GET /{count} HTTP/1.1\r\nHost: h\r\n\r\n")).1).collect::<BTreeSet<_>>().len()
}

#[test]
fn clients_stay_where_they_have_a_connection_of_their_own() {
    let servers = numbered(3);
    let cases = [
        ("", 3),
        ("option prefer-last-server", 3),
        ("http-reuse never", 3),
        ("http-reuse never\n option prefer-last-server", 1),
        ("http-reuse never\n option prefer-last-server\n option http-server-close", 3),
    ];
    for (words, expected) in cases {
        let config = |front| {
            format!("global\n nbthread 1\n{HEAD}frontend f\n bind {front}\n default_backend b\nbackend b\n {words}\n{}", lines(&servers))
        };
        let (fronts, _processes) = both(config);
        assert_eq!(fronts.map(spread), [expected; 2], "{words}");
    }
    let front = unused_address();
    let toml = crate::http::site(front, "", &servers.iter().map(Server::address).collect::<Vec<_>>());
    let _daemon = Daemon::start(&toml.replace("[backend.back]", "[backend.back]\nhttp-reuse = \"never\"\noption = \"prefer-last-server\""));
    assert_eq!(spread(front), 1);
}

#[test]
fn every_server_is_told_its_own_name_also_when_another_had_the_request_first() {
    // It takes the request and says nothing.
    let silent = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    });
    let (second, seen) = server(|_, body| ok(body));
    let config = |front| {
        format!(
            "{HEAD}frontend f\n bind {front}\n default_backend b\nbackend b\n balance first\n retry-on empty-response\n option redispatch 1\n \
             http-send-name-header X-Server\n server one {}\n server two {}\n",
            silent.address(),
            second.address()
        )
    };
    let (fronts, _processes) = both(config);
    for front in fronts {
        let (head, body) = ask(&mut connect(front), "POST / HTTP/1.1\r\nHost: h\r\nX-Server: me\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!((status(&head), body.as_str()), ("200", "body"));
    }
    let names = |request: &String| {
        let fields = request.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-server:"));
        fields.map(|line| line.split_once(": ").expect("a field").1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen.lock().expect("no thread died").iter().map(names).collect::<Vec<_>>(), [["two"], ["two"]]);
}

#[test]
fn variables_have_their_first_values() {
    let config = |front| {
        format!(
            "global\n set-var proc.site str(main)\n set-var proc.number int(40),add(2)\n set-var proc.copy var(proc.site),upper\n \
             set-var-fmt proc.text \"<%[var(proc.site)]>\"\n{HEAD}frontend f\n bind {front}\n http-request return status 200 content-type \
             text/plain lf-string \"%[var(proc.site)] %[var(proc.number)] %[var(proc.copy)] %[var(proc.text)]\"\n"
        )
    };
    let (fronts, _processes) = both(config);
    let told = |front| ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1;
    assert_eq!(fronts.map(told), ["main 42 MAIN <main>"; 2]);
    let front = unused_address();
    let _daemon = Daemon::start(&format!(
        "[global]\nset-var = [\"proc.site str(main)\", \"proc.number int(40),add(2)\"]\nset-var-fmt = \"proc.text <%[var(proc.site)]>\"\n\
         [frontend.f]\nmode = \"http\"\nbind = \"{front}\"\ntimeout = {{ client = \"20s\" }}\nrules = [\"http-request return status 200 \
         content-type text/plain lf-string '%[var(proc.number)] %[var(proc.text)]'\"]\n"
    ));
    assert_eq!(told(front), "42 <main>");
}

#[test]
fn what_a_proxy_in_front_says_besides_is_told() {
    let extension = |kind: u8, value: &[u8]| [&[kind, 0, u8::try_from(value.len()).expect("it is short")], value].concat();
    let extensions = [extension(0x20, b"?"), extension(0x02, b"site.example"), extension(0x05, b"id-1")].concat();
    let length = u16::try_from(12 + extensions.len()).expect("it is short").to_be_bytes();
    let header = |extensions: &[u8], length: [u8; 2]| {
        let addresses = [10, 0, 0, 1, 10, 0, 0, 2, 4, 210, 0, 80];
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length, &addresses, extensions].concat()
    };
    let config = |front| {
        format!(
            "{HEAD}frontend f\n bind {front} accept-proxy\n http-request return status 200 content-type text/plain lf-string \
             \"%[src] %[fc_pp_authority] %[fc_pp_unique_id]\"\n"
        )
    };
    let (fronts, _processes) = both(config);
    for (header, expected) in [
        (header(&extensions, length), "10.0.0.1 site.example id-1"),
        (header(&[], [0, 12]), "10.0.0.1  "),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\n".to_vec(), "10.0.0.1  "),
    ] {
        let told = |front| {
            let mut client = connect(front);
            client.write_all(&header).expect("it is taken");
            ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1
        };
        assert_eq!(fronts.map(told), [expected; 2]);
    }
}

#[test]
fn unix_sockets_begin_from_what_global_says() {
    let directory = crate::kit::directory();
    let config = |program: &str, front: SocketAddr| {
        let prefix = directory.join(program);
        std::fs::create_dir(&prefix).expect("it is not there yet");
        format!(
            "global\n unix-bind prefix {} mode 640\n{HEAD}frontend f\n bind {front}\n bind /one.sock\n bind /two.sock mode 606\n \
             http-request return status 200\n",
            prefix.display()
        )
    };
    let modes = |program: &str| {
        let mode = |name: &str| std::fs::metadata(directory.join(program).join(name)).expect("it is bound").permissions().mode() & 0o777;
        ["one.sock", "two.sock"].map(mode)
    };
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start_haproxy(&config("ours", ours));
    let _haproxy = Haproxy::find().start(&config("theirs", theirs), theirs);
    assert_eq!([modes("ours"), modes("theirs")], [[0o640, 0o606]; 2]);
    std::fs::remove_dir_all(&directory).expect("it is ours");
}

#[test]
fn variables_are_set_as_it_depends() {
    let rules = [
        "set-var(txn.a,ifnotset) str(first)",
        "set-var(txn.a,ifnotset) str(second)",
        "set-var(txn.b,ifset) str(never)",
        "set-var(txn.n) int(5)",
        "set-var(txn.n,ifgt) int(9)",
        "set-var(txn.n,iflt) int(7)",
        "set-var(txn.m,ifgt) int(1)",
        "set-var(txn.c) str(kept)",
        "set-var(txn.c,ifnotempty) req.hdr(x-empty)",
        "set-var(txn.c,ifempty) str(lost)",
        "set-var-fmt(txn.d,ifnotempty) %[req.hdr(x-empty)]",
        "set-var-fmt(txn.e,ifnotexists,ifnotempty) <%[var(txn.a)]>",
        "set-var(proc.p,ifnotexists) str(never)",
        "set-var(txn.f) str(gone)",
        "unset-var(txn.f)",
        "set-var(txn.f,ifnotset) str(back)",
    ];
    let rules: String = rules.iter().map(|rule| format!(" http-request {rule}\n")).collect();
    let told =
        ["txn.a", "txn.b", "txn.n", "txn.m", "txn.c", "txn.d", "txn.e", "proc.p", "txn.f"].map(|name| format!("%[var({name})]")).join("|");
    let config = |front| {
        format!("{HEAD}frontend f\n bind {front}\n{rules} http-request return status 200 content-type text/plain lf-string \"{told}\"\n")
    };
    let (fronts, _processes) = both(config);
    let told = |front| ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n").1;
    assert_eq!(fronts.map(told), ["first||7|1|kept||<first>||back"; 2]);
}

#[test]
fn fields_are_counted_by_name_or_all_together() {
    let config = |front| {
        format!(
            "{HEAD}frontend f\n bind {front}\n http-request return status 200 content-type text/plain lf-string \"%[req.hdr_cnt] %[req.fhdr_cnt] \
             %[req.hdr_cnt(a)] %[req.fhdr_cnt(a)] %[hdr_cnt]\"\n"
        )
    };
    let (fronts, _processes) = both(config);
    let told = |front| ask(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\nA: 1, 2\r\nA: 3\r\nB: x,y,z\r\n\r\n").1;
    assert_eq!(fronts.map(told), ["7 4 3 2 7"; 2]);
}

/// Says something and returns what is answered first.
fn first_words(front: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut client = connect(front);
    client.write_all(said).expect("it is taken");
    let mut heard = [0; 12];
    let count = client.read(&mut heard).unwrap_or(0);
    heard[..count].to_vec()
}

#[test]
fn a_bind_speaks_the_version_it_is_told_to() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let is_h2 = |heard: &[u8]| heard.get(3) == Some(&4);
    for (bind, front_words, old, new) in
        [("", "", true, true), ("proto h1", "", true, false), ("proto h2", "", false, true), ("", "option disable-h2-upgrade", true, false)]
    {
        let config = |front| format!("{HEAD}frontend f\n bind {front} {bind}\n {front_words}\n http-request return status 200\n");
        let (fronts, _processes) = both(config);
        for front in fronts {
            assert_eq!(first_words(front, request).starts_with(b"HTTP/1.1 200"), old, "{bind} {front_words}");
            assert_eq!(is_h2(&first_words(front, preface)), new, "{bind} {front_words}");
        }
    }
    let front = unused_address();
    let _daemon = Daemon::start(&format!(
        "[frontend.f]\nmode = \"http\"\nbind = {{ address = \"{front}\", proto = \"h2\" }}\ntimeout = {{ client = \"20s\" }}\n\
         rules = [\"http-request return status 200\"]\n"
    ));
    assert!(is_h2(&first_words(front, preface)) && !first_words(front, request).starts_with(b"HTTP"));
}

#[test]
fn a_server_that_does_not_stick_is_not_remembered() {
    let servers = numbered(2);
    for (words, expected) in [("", 1), ("non-stick", 2), ("non-stick stick", 1)] {
        let config = |front| {
            let lines: String = lines(&servers).lines().map(|line| format!("{line} {words}\n")).collect();
            format!(
                "global\n nbthread 1\n{HEAD}frontend f\n bind {front}\n default_backend b\nbackend b\n balance roundrobin\n stick-table type ip \
                 size 10 expire 1m\n stick on src\n{lines}"
            )
        };
        let (fronts, _processes) = both(config);
        assert_eq!(fronts.map(spread), [expected; 2], "{words}");
    }
}

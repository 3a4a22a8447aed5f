//! The page of statistics for administrators: forms as HAProxy's, answers as HAProxy's, and nothing for other sites.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::kit::{Daemon, Haproxy, Server, connect, directory, is_at_end, read, refusal, unused_address};
use crate::tables::tell;

fn cfg(web: SocketAddr, socket: &Path) -> String {
    format!(
        "global\n nbthread 1\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {web}\n stats enable\n stats uri /st\n stats admin if !{{ req.hdr(x-no) -m found }}\n default_backend app\n\
         backend app\n server s1 127.0.0.1:1\n server s2 127.0.0.1:2 check inter 1h\nbackend other\n server o1 127.0.0.1:3\n",
        socket.display()
    )
}

/// Sends a form and returns the status and where the client is sent.
fn send(web: SocketAddr, path: &str, fields: &str, form: &str) -> String {
    let mut client = connect(web);
    let length = form.len();
    write!(
        client,
        "POST {path} HTTP/1.1\r\nHost: edge:80\r\nContent-Type: application/x-www-form-urlencoded\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{form}"
    )
    .expect("connected");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    let location = answer.lines().find_map(|line| line.to_ascii_lowercase().starts_with("location: ").then(|| line[10..].to_owned()));
    format!("{} {}", &answer[9..12], location.unwrap_or_default())
}

fn states(socket: &Path) -> Vec<String> {
    let state = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        // The names, what an administrator wants, the weight.
        [1, 3, 6, 7].map(|place| words[place]).join(" ")
    };
    tell(socket, "show servers state").lines().skip(2).filter(|line| !line.is_empty()).map(state).collect()
}

#[test]
fn forms_do_what_they_do_in_haproxy() {
    let (ours, theirs, directory) = (unused_address(), unused_address(), directory());
    let (our_socket, their_socket) = (directory.join("ours"), directory.join("theirs"));
    let _daemon = Daemon::start_haproxy(&cfg(ours, &our_socket));
    let _process = Haproxy::find().start(&cfg(theirs, &their_socket), theirs);
    let cases = [
        "s=s1&action=drain&b=%233",
        "s=s1&s=s2&action=maint&b=app",
        "s=s1&action=maint&b=app",
        "s=s1&action=ready&b=app",
        "s=s1&action=enable&b=app",
        "s=s1&action=disable&b=app",
        "s=s%31&s=s2&action=ready&b=app",
        "s=nope&action=ready&b=app",
        "s=o1&s=nope&action=maint&b=other",
        "s=s1&action=what&b=app",
        "s=s1&action=ready&b=none",
        "s=s1&action=ready&b=front",
        "",
        "foo=bar",
        "action=ready&b=app",
        "s=s1&b=app",
        "s=s1&action=dhlth&b=app",
        "s=s2&action=dhlth&b=app",
        "s=s2&action=ehlth&b=app",
        "s=s2&action=hnolb&b=app",
        "s=s2&action=hrunn&b=app",
        "s=s1&action=dagent&b=app",
        "s=s1&action=adown&b=app",
        "b=app&action=drain&s=s1",
        "s=s1&action=shutdown&b=app",
        "s=nope&action=shutdown&b=app",
    ];
    for form in cases {
        assert_eq!(send(ours, "/st", "", form), send(theirs, "/st", "", form), "{form}");
        assert_eq!(states(&our_socket), states(&their_socket), "{form}");
    }
    for (path, fields) in [("/st;up", ""), ("/st", "X-No: 1\r\n")] {
        let form = "s=s1&action=ready&b=app";
        assert_eq!(send(ours, path, fields, form), send(theirs, path, fields, form), "{path} {fields}");
        assert_eq!(states(&our_socket), states(&their_socket), "{path} {fields}");
    }
    let long = format!("s=s1&action=drain&b=app{}", "&s=x".repeat(8000));
    assert_eq!(send(ours, "/st", "", &long), "303 /st;st=EXCD");
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn sessions_with_a_server_end_by_the_page() {
    let (server, directory) = (Server::echo("one"), directory());
    let start = |web: SocketAddr, door: SocketAddr, name: &str| {
        format!("{}listen raw\n bind {door}\n mode tcp\n server t1 {}\n", cfg(web, &directory.join(name)), server.address())
    };
    let [ours, our_door, theirs, their_door] = std::array::from_fn(|_| unused_address());
    let _daemon = Daemon::start_haproxy(&start(ours, our_door, "ours"));
    let _process = Haproxy::find().start(&start(theirs, their_door, "theirs"), theirs);
    for (web, door) in [(ours, our_door), (theirs, their_door)] {
        let mut client = connect(door);
        client.write_all(b"ping").expect("connected");
        assert_eq!(read(&mut client, 7), "oneping", "a session is under way");
        assert_eq!(send(web, "/st", "", "s=t1&action=shutdown&b=raw"), "303 /st;st=DONE");
        assert!(is_at_end(&mut client), "it is over");
    }
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn other_sites_change_nothing() {
    let (web, directory) = (unused_address(), directory());
    let socket = directory.join("s");
    let _daemon = Daemon::start_haproxy(&cfg(web, &socket));
    let drain = "s=s1&action=drain&b=app";
    let cases = [
        ("Sec-Fetch-Site: cross-site\r\n", "DENY"),
        ("Sec-Fetch-Site: same-site\r\n", "DENY"),
        ("Origin: http://evil.example\r\n", "DENY"),
        ("Origin: null\r\n", "DENY"),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: http://edge:80\r\n", "DONE"),
        ("Origin: http://edge:80\r\n", "DONE"),
        ("Sec-Fetch-Site: none\r\n", "DONE"),
    ];
    for (fields, outcome) in cases {
        send(web, "/st", "", "s=s1&action=ready&b=app");
        assert_eq!(send(web, "/st", fields, drain), format!("303 /st;st={outcome}"), "{fields}");
        let is_drained = states(&socket)[0] == "app s1 8 1";
        assert_eq!(is_drained, outcome == "DONE", "{fields} {:?}", states(&socket));
    }
    assert_eq!(send(web, "/st", "", "s=s1&action=weight&weight=7&b=app"), "303 /st;st=DONE");
    assert_eq!(states(&socket)[0], "app s1 8 7");
    assert_eq!(send(web, "/st", "", "s=s1&action=weight&weight=700&b=app"), "303 /st;st=NONE");
    let mut client = connect(web);
    client.write_all(b"GET /st;st=PART HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("connected");
    let mut page = String::new();
    client.read_to_string(&mut page).expect("a page");
    assert!(page.contains("Only a part was done") && page.contains("<option value=\"drain\">"), "{page}");
    let mut client = connect(web);
    client.write_all(b"GET /st HTTP/1.1\r\nHost: h\r\nX-No: 1\r\nConnection: close\r\n\r\n").expect("connected");
    let mut page = String::new();
    client.read_to_string(&mut page).expect("a page");
    assert!(!page.contains("<option"), "who may only look is shown no buttons");
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn the_rule_needs_its_condition() {
    let text = |rule: &str| {
        format!(
            "[frontend.web]\nmode = \"http\"\nbind = \"127.0.0.1:1\"\nstats = {{ uri = \"/st\" }}\nrules = [\"{rule}\"]\ndefault-backend = \"b\"\n[backend.b]\nmode = \"http\"\nserver.s1 = \"127.0.0.1:2\"\n"
        )
    };
    assert!(refusal(&text("stats admin")).contains("`stats admin` lacks its condition"));
    assert!(refusal(&text("stats admin unless nobody")).contains("there is no acl `nobody`"));
}

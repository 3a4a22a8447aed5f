//! What besides its own checks decides on the state of a server: traffic, the server it tracks, and how it begins; beside Debian's haproxy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::checks::fields;
use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, Server, answer, connect, directory, unused_address};
use crate::runtime::ask;

/// The same configuration, run by both; ours first.
struct Pair {
    sockets: [PathBuf; 2],
    logs: [UdpSocket; 2],
    directory: PathBuf,
    _ours: Daemon,
    _theirs: HaproxyProcess,
}

impl Pair {
    fn start(proxies: impl Fn(usize) -> String) -> Self {
        let directory = directory();
        let sockets = [directory.join("ours"), directory.join("theirs")];
        let logs = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
        let ready = [unused_address(), unused_address()];
        let config = |who: usize| {
            format!(
                "global\n stats socket {} level admin\n log {} local0\n max-spread-checks 300\ndefaults\n log global\n timeout connect 2s\n \
                 timeout client 5s\n timeout server 5s\n retries 0\nfrontend ready\n mode tcp\n bind {}\n{}",
                sockets[who].display(),
                logs[who].local_addr().expect("an address"),
                ready[who],
                proxies(who)
            )
        };
        let _theirs = Haproxy::find().start(&config(1), ready[1]);
        let _ours = Daemon::start_haproxy(&config(0));
        Self { sockets, logs, directory, _ours, _theirs }
    }

    /// Waits until both say the same of all servers, and it is as wanted.
    fn agree(&self, columns: &[&str], wanted: impl Fn(&BTreeMap<String, Vec<String>>) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let [ours, theirs] = [0, 1].map(|who| rows(&self.sockets[who], columns));
            if ours == theirs && wanted(&ours) {
                return;
            }
            assert!(Instant::now() < end, "ours: {ours:#?}\ntheirs: {theirs:#?}");
            thread::sleep(Duration::from_millis(30));
        }
    }

    fn tell(&self, command: &str) {
        let [ours, theirs] = [0, 1].map(|who| ask(&self.sockets[who], &format!("{command}\n")));
        assert_eq!(ours, theirs, "{command}");
    }

    /// Returns the next lines about servers, of both.
    fn lines(&self, count: usize) -> [Vec<String>; 2] {
        [0, 1].map(|who| {
            self.logs[who].set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let (mut lines, mut packet) = (Vec::new(), [0; 4096]);
            while lines.len() < count {
                let length = self.logs[who].recv(&mut packet).expect("a line");
                let text = String::from_utf8_lossy(&packet[..length]).trim_end().to_owned();
                lines.extend(text.find(": Server ").map(|at| text[at + 2..].to_owned()));
            }
            lines
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn rows(socket: &Path, columns: &[&str]) -> BTreeMap<String, Vec<String>> {
    let stat = ask(socket, "show stat\n");
    let mut lines = stat.lines();
    let names: Vec<&str> = lines.next().expect("a first line").trim_start_matches("# ").split(',').collect();
    let of = |fields: &[String], name: &str| fields[names.iter().position(|other| *other == name).expect("a known column")].clone();
    let servers = lines.map(fields).filter(|row| row.len() > 1 && !matches!(row[1].as_str(), "FRONTEND" | "BACKEND"));
    servers.map(|row| (format!("{}/{}", row[0], row[1]), columns.iter().map(|name| of(&row, name)).collect())).collect()
}

/// A server of HTTP that answers a target `/STATUS` with that status, and cuts off everything else.
fn obedient() -> Server {
    Server::start(|mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let status = text.split(['/', ' ']).nth(2).and_then(|status| status.parse::<u16>().ok());
            let Some(status) = status else { return };
            let _ = stream.write_all(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes());
        }
    })
}

fn get(front: SocketAddr, target: &str) {
    let mut stream = connect(front);
    stream.write_all(format!("GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("a request sent");
    assert!(answer(&mut stream).starts_with("HTTP/1.1 "), "{target}");
}

const HEALTH: [&str; 8] = ["status", "check_status", "last_chk", "check_desc", "hanafail", "chkfail", "check_health", "chkdown"];

#[test]
fn observed_errors_count_as_haproxy_counts_them() {
    const ACTIONS: [&str; 5] = ["fastinter", "fail-check", "sudden-death", "mark-down", "layer4"];
    let (server, checked) = (obedient(), obedient());
    let fronts = [0, 1].map(|_| ACTIONS.map(|_| unused_address()));
    let dead = unused_address();
    let pair = Pair::start(|who| {
        let proxy = |(action, front): (&str, SocketAddr)| {
            let words = match action {
                "layer4" => format!("{dead} addr 127.0.0.1 port {} observe layer4 on-error mark-down", checked.address().port()),
                action => format!("{} observe layer7 on-error {action}", server.address()),
            };
            format!("listen {action}\n mode http\n bind {front}\n server s {words} check inter 60s error-limit 3\n")
        };
        ACTIONS.into_iter().zip(fronts[who]).map(proxy).collect()
    });
    pair.agree(&HEALTH, |rows| rows.values().all(|row| row[1] == "L4OK"));
    for front in fronts.iter().flatten() {
        // What goes well between errors starts the count anew, and some statuses above 500 are no errors.
        for target in ["500", "404", "500", "501", "503", "cut"] {
            get(*front, target);
        }
    }
    let is_untouched = |rows: &BTreeMap<String, Vec<String>>| {
        ACTIONS[..4].iter().all(|action| rows[&format!("{action}/s")][4] == "0") && rows["layer4/s"][0] == "DOWN"
    };
    pair.agree(&HEALTH, is_untouched);
    for front in fronts.iter().flat_map(|fronts| &fronts[..4]) {
        get(*front, "502");
    }
    pair.agree(&HEALTH, |rows| {
        let state = |action: &str| rows[&format!("{action}/s")][0].as_str();
        ACTIONS.map(state) == ["UP", "UP 2/3", "UP 1/3", "DOWN", "DOWN"]
    });
}

#[test]
fn observed_errors_bring_the_next_check() {
    let (server, checked) = (obedient(), obedient());
    let front = unused_address();
    let _daemon = Daemon::start_haproxy(&format!(
        "defaults\n mode http\n timeout connect 2s\n timeout client 5s\n timeout server 5s\nlisten a\n bind {front}\n server s {} check port {} \
         inter 600s fastinter 50ms observe layer7 error-limit 2 on-error fastinter\n",
        server.address(),
        checked.address().port()
    ));
    let end = Instant::now() + PATIENCE;
    let is_checked = |count: usize| {
        while checked.accepted() < count {
            assert!(Instant::now() < end, "checked {} times", checked.accepted());
            thread::sleep(Duration::from_millis(5));
        }
    };
    is_checked(1);
    get(front, "500");
    get(front, "500");
    is_checked(2);
}

#[test]
fn tracking_servers_follow_as_haproxys_do() {
    let server = obedient();
    let at = server.address();
    let pair = Pair::start(|_| {
        format!(
            "backend root\n mode tcp\n server r {at} check inter 60s\nbackend a\n mode tcp\n server s {at} track root/r weight 5\n \
             server t {at} track s\nbackend b\n mode tcp\n server s {at} track a/s\n"
        )
    });
    let columns = ["status", "tracked", "weight", "check_status", "check_health"];
    pair.agree(&columns, |rows| rows["root/r"][3] == "L4OK" && rows["a/t"][1] == "a/s");
    for (command, status, lines) in [
        ("set server root/r health down", "DOWN", 4),
        ("set server root/r health up", "UP", 4),
        ("set server root/r state drain", "DRAIN", 4),
        ("set server root/r state ready", "UP", 4),
        ("set server root/r state maint", "MAINT (via a/s)", 4),
        ("set server root/r state ready", "UP", 4),
        ("set server a/s state maint", "MAINT (via a/s)", 3),
        ("set server a/s state ready", "UP", 3),
        ("set server root/r health stopping", "NOLB", 4),
        ("set server root/r health up", "UP", 4),
    ] {
        pair.tell(command);
        // Out of maintenance a server is on trial, and `UP 1/3` until its next check; so are those that track it.
        pair.agree(&columns[..2], |rows| rows["a/t"][0].starts_with(status) && rows["b/s"][0].starts_with(status));
        let [ours, theirs] = pair.lines(lines);
        assert_eq!(ours, theirs, "{command}");
    }
    pair.tell("set server a/s health down");
    pair.tell("set server root/r state maint");
    pair.tell("del server root/r");
    pair.agree(&["tracked"], |rows| rows.contains_key("root/r"));
}

#[test]
fn servers_begin_down_where_init_state_says_so() {
    let front = unused_address();
    let (down, fully) = (obedient(), Server::start(|mut stream| drop(stream.read(&mut [0]))));
    let directory = directory();
    let socket = directory.join("admin");
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 5s\n timeout server 5s\nlisten a\n \
         bind {front}\n server one {} check inter 600s init-state down\n server all {} check inter 600s init-state fully-down rise 2\n",
        socket.display(),
        down.address(),
        fully.address()
    ));
    let end = Instant::now() + PATIENCE;
    loop {
        let rows = rows(&socket, &["status", "check_status"]);
        if rows["a/one"] == ["UP", "L4OK"] && rows["a/all"] == ["DOWN 1/2", "L4OK"] {
            break;
        }
        assert!(Instant::now() < end, "{rows:?}");
        thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_dir_all(directory).expect("a directory removed");
}

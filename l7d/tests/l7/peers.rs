//! Peers: what one process knows of a client, the others know, whoever of them is HAProxy and whoever is this one.

mod lessons;
mod open;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::kit::{PATIENCE, Server, directory, unused_address};

/// Which program a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Theirs,
}

/// Where the nodes of a test live: `a` and `b`, with the same tables.
struct Place {
    directory: PathBuf,
    server: Server,
}

/// A running node; killed when dropped.
struct Node {
    child: Child,
    socket: PathBuf,
}

/// Everything that can be shared, in tables of every type.
const TABLES: &str = "backend ip
 stick-table type ip size 20k expire 10m peers cl store server_id,gpt0,gpc0,gpc0_rate(600s),conn_cnt,conn_rate(600s),conn_cur,sess_cnt,\
sess_rate(600s),http_req_cnt,http_req_rate(600s),http_err_cnt,http_err_rate(600s),bytes_in_cnt,bytes_in_rate(600s),bytes_out_cnt,\
bytes_out_rate(600s),gpc1,gpc1_rate(600s),http_fail_cnt,http_fail_rate(600s)
backend str
 stick-table type string len 40 size 1k expire 10m peers cl store gpt(2),gpc(3),gpc_rate(3,600s)
backend num
 stick-table type integer size 50k peers cl store gpc0
backend six
 stick-table type ipv6 size 1k expire 10m peers cl store gpc0
backend bin
 stick-table type binary len 6 size 1k expire 10m peers cl store gpc0
backend alone
 stick-table type ip size 1k expire 10m store gpc0
";

/// Counts paths.
const WEB: &str = " mode http
 http-request track-sc0 path table str
 http-request sc-inc-gpc(0,0)
 http-request sc-inc-gpc(2,0)
 http-request sc-set-gpt(1,0) 7
 http-request track-sc1 req.hdr(x-bytes),sha1 table bin
 http-request sc-inc-gpc0(1)
 http-request return status 200 unless { path_beg /stick }
 default_backend sticky
";

impl Place {
    fn new() -> Self {
        let directory = directory();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_l7d"), directory.join("haproxy")).unwrap();
        Self { directory, server: crate::http::hello().0 }
    }

    /// Writes what a node reads: `peers` is its section of peers.
    fn write(&self, name: &str, peers: &str) {
        let socket = self.directory.join(format!("{name}.sock"));
        let head = format!("global\n stats socket {} mode 600 level admin\n stats timeout 1m\n localpeer {name}\n", socket.display());
        let proxy = "defaults\n mode tcp\n timeout client 1m\n timeout server 1m\n timeout connect 1m\n";
        let web = format!("frontend web\n bind unix@{}\n{WEB}", socket.with_extension("web").display());
        let at = self.server.address();
        let sticky = format!(
            "backend sticky\n mode http\n stick-table type string len 20 size 1k expire 10m peers cl srvkey name store gpc0,gpt0,server_key\n \
             stick on path\n server s1 {at}\n server s2 {at}\n"
        );
        std::fs::write(self.directory.join(format!("{name}.cfg")), format!("{head}{proxy}peers cl\n{peers}{web}{TABLES}{sticky}")).unwrap();
    }

    fn start(&self, kind: Kind, name: &str) -> Node {
        self.start_after(kind, name, None)
    }

    /// Starts a node in the place of another.
    fn start_after(&self, kind: Kind, name: &str, before: Option<&Node>) -> Node {
        let program = if kind == Kind::Ours { self.directory.join("haproxy") } else { PathBuf::from("/usr/sbin/haproxy") };
        let mut command = Command::new(program);
        let files = ["toml", "cfg"].map(|end| self.directory.join(format!("{name}.{end}")));
        command.arg("-db").arg("-f").arg(files.iter().find(|file| file.exists()).unwrap());
        command.args(before.into_iter().flat_map(|before| ["-sf".to_owned(), before.child.id().to_string()]));
        let log = std::fs::File::create(self.directory.join(format!("{name}.log"))).unwrap();
        let child = command.env("RUST_LOG", "debug").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let node = Node { child, socket: self.directory.join(format!("{name}.sock")) };
        let number = format!("Pid: {}", node.child.id());
        wait_until("the node starts", || node.try_ask("show info").is_some_and(|info| info.contains(&number)));
        node
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            for name in ["a.log", "b.log"] {
                eprintln!("{name}:\n{}", std::fs::read_to_string(self.directory.join(name)).unwrap_or_default());
            }
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn try_ask(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut out = String::new();
        stream.read_to_string(&mut out).ok()?;
        Some(out)
    }

    fn ask(&self, command: &str) -> String {
        self.try_ask(command).unwrap()
    }

    /// Sends a request, whose path is tracked and counted.
    fn visit(&self, path: &str) {
        let mut stream = UnixStream::connect(self.socket.with_extension("web")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Bytes: {path}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut out = String::new();
        stream.read_to_string(&mut out).unwrap();
        assert!(out.starts_with("HTTP/1.1 200 "), "{out}");
    }

    /// Sends a request that sticks to a server.
    fn stick(&self, path: &str) {
        let mut stream = UnixStream::connect(self.socket.with_extension("web")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn set(&self, commands: &[&str]) {
        for command in commands {
            assert_eq!(self.ask(&format!("set table {command}")).trim(), "", "{command}");
        }
    }

    /// Returns what a table holds: how long each entry lives, and its values.
    fn table(&self, name: &str) -> BTreeMap<String, (u64, String)> {
        let out = self.ask(&format!("show table {name}"));
        let lines = out.lines().filter(|line| line.contains(" key="));
        lines.map(entry).collect()
    }

    fn values(&self, name: &str) -> BTreeMap<String, String> {
        self.table(name).into_iter().map(|(key, (_, values))| (key, values)).collect()
    }
}

fn entry(line: &str) -> (String, (u64, String)) {
    let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned();
    let at = line.find(" exp=").unwrap() + 1;
    let values = line[at..].split_once(' ').map_or("", |(_, values)| values).split(' ').filter(|value| !value.starts_with("shard="));
    (word("key="), (word("exp=").parse().unwrap(), values.collect::<Vec<_>>().join(" ")))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until one node knows of a table what another does.
fn wait_for_same(from: &Node, to: &Node, table: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let (expected, found) = (from.table(table), to.table(table));
        let values =
            |of: &BTreeMap<String, (u64, String)>| of.iter().map(|(key, (_, values))| (key.clone(), values.clone())).collect::<Vec<_>>();
        if values(&expected) == values(&found) && !expected.is_empty() {
            let near = |key: &String, left: u64| found[key].0.abs_diff(left) < 15_000;
            assert!(expected.iter().all(|(key, (left, _))| near(key, *left)), "{table}: {expected:?} {found:?}");
            return;
        }
        assert!(Instant::now() < end, "{table}: {:?} are not {:?}", values(&found), values(&expected));
        thread::sleep(Duration::from_millis(20));
    }
}

/// Addresses of two nodes in each other's files.
fn plain(place: &Place) -> (SocketAddr, SocketAddr) {
    let (a, b) = (unused_address(), unused_address());
    let peers = format!(" peer a {a}\n peer b {b}\n table own type string len 20 size 1k expire 10m store gpc0\n");
    place.write("a", &peers);
    place.write("b", &peers);
    (a, b)
}

const SHARED: [&str; 7] = ["ip", "str", "num", "six", "bin", "sticky", "cl/own"];

/// Sets entries of all tables on one node, and waits for them on the other.
fn exchange(from: &Node, to: &Node, digit: u8) {
    from.set(&[
        &format!(
            "ip key 10.0.0.{digit} data.server_id 3 data.gpt0 4000000001 data.gpc0 {digit} data.gpc0_rate 11 data.conn_cnt 5 data.conn_rate 6 \
             data.sess_cnt 7 data.sess_rate 8 data.http_req_cnt 300 data.http_req_rate 70000 data.http_err_cnt 9 data.http_err_rate 10 \
             data.bytes_in_cnt 50000000000 data.bytes_in_rate 12 data.bytes_out_cnt 13 data.bytes_out_rate 14 data.gpc1 15 \
             data.gpc1_rate 16 data.http_fail_cnt 17 data.http_fail_rate 18"
        ),
        &format!("num key 400000000{digit} data.gpc0 {digit}"),
        &format!("six key 2001:db8::{digit} data.gpc0 {digit}"),
        &format!("cl/own key own{digit} data.gpc0 {digit}"),
        &format!("alone key 10.0.0.{digit} data.gpc0 {digit}"),
    ]);
    // HAProxy sets no elements of arrays by command, and makes no entries of bytes.
    from.visit(&format!("/a/path/of/{digit}"));
    from.stick(&format!("/stick/{digit}"));
    for table in SHARED {
        wait_for_same(from, to, table);
    }
    let known = &to.values("sticky")[&format!("/stick/{digit}")];
    assert!(known.contains("server_key=s"), "{known}");
    let arrays = to.values("str").remove(&format!("/a/path/of/{digit}")).unwrap();
    assert!(
        arrays.starts_with("gpt0=0 gpt1=7 gpc0=1 gpc1=0 gpc2=1 gpc0_rate(600000)=1 gpc1_rate(600000)=0 gpc2_rate(600000)=1"),
        "{arrays}"
    );
}

fn share(kinds: [Kind; 2]) {
    let place = Place::new();
    plain(&place);
    let (a, b) = (place.start(kinds[0], "a"), place.start(kinds[1], "b"));
    exchange(&a, &b, 1);
    exchange(&b, &a, 2);
    // A second change of what the other side knows already.
    a.set(&["num key 4000000002 data.gpc0 77"]);
    wait_until("the newer value wins", || b.values("num").get("4000000002").is_some_and(|values| values == "gpc0=77"));
    assert_eq!((a.table("alone").len(), b.table("alone").len()), (1, 1), "what is not shared stays where it is");
    // What a process knows that has been away comes from the other.
    let before: Vec<_> = SHARED.iter().map(|table| a.values(table)).collect();
    drop(b);
    a.set(&["num key 5 data.gpc0 5"]);
    let b = place.start(kinds[1], "b");
    for (table, before) in SHARED.iter().zip(before).filter(|(table, _)| **table != "num") {
        wait_for_same(&a, &b, table);
        assert_eq!(a.values(table), before, "{table}");
    }
    wait_for_same(&a, &b, "num");
    drop(a);
    b.set(&["num key 6 data.gpc0 6"]);
    let a = place.start(kinds[0], "a");
    SHARED.iter().for_each(|table| wait_for_same(&b, &a, table));
    assert!(a.values("num").contains_key("6"));
}

#[test]
fn entries_go_both_ways_between_haproxy_and_us_and_outlive_both() {
    share([Kind::Ours, Kind::Theirs]);
}

#[test]
fn entries_go_both_ways_between_two_of_us_and_outlive_both() {
    share([Kind::Ours, Kind::Ours]);
}

/// Carries connections to an address until it is cut.
struct Wire {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(target: SocketAddr) -> Self {
        let address = unused_address();
        let listener = TcpListener::bind(address).unwrap();
        let (open, streams) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let wire = Self { address, open: Arc::clone(&open), streams: Arc::clone(&streams) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), true) = (stream, open.load(Ordering::SeqCst)) else { continue };
                let Ok(other) = TcpStream::connect(target) else { continue };
                for (mut from, mut to) in [(stream.try_clone().unwrap(), other.try_clone().unwrap()), (other, stream)] {
                    streams.lock().unwrap().push(from.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        wire
    }

    fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

/// Sets so many entries over one connection, `per` to a line.
fn flood(node: &Node, range: std::ops::Range<u32>, value: u32) {
    for chunk in range.collect::<Vec<_>>().chunks(200) {
        let mut line = String::new();
        for key in chunk {
            write!(line, "set table num key {key} data.gpc0 {};", key + value).unwrap();
        }
        assert_eq!(node.ask(line.trim_end_matches(';')).trim(), "");
    }
}

fn survive_a_flood_and_a_cut(kinds: [Kind; 2]) {
    let place = Place::new();
    let (a, b) = (unused_address(), unused_address());
    let wire = Wire::to(b);
    // Only a connects, and over the wire.
    place.write("a", &format!(" peer a {a}\n peer b {}\n", wire.address));
    place.write("b", &format!(" peer a {}\n peer b {b}\n", unused_address()));
    let (a, b) = (place.start(kinds[0], "a"), place.start(kinds[1], "b"));
    a.set(&["num key 0 data.gpc0 1"]);
    wait_until("they are connected", || b.values("num").contains_key("0"));
    flood(&a, 0..3000, 1);
    wire.cut();
    flood(&a, 2000..6000, 2);
    flood(&b, 20_000..21_000, 3);
    wire.mend();
    flood(&a, 6000..10_000, 4);
    let used = |node: &Node, table: &str, count: u32| {
        node.ask("show table").lines().any(|line| line.contains(&format!("table: {table},")) && line.ends_with(&format!("used:{count}")))
    };
    wait_until("b knows everything", || used(&b, "num", 11_000));
    wait_until("a knows everything", || used(&a, "num", 11_000));
    wait_for_same(&a, &b, "num");
    assert_eq!(b.values("num")["2500"], "gpc0=2502", "the last value is the one that counts");
}

#[test]
fn floods_and_cuts_lose_nothing_with_haproxy() {
    survive_a_flood_and_a_cut([Kind::Ours, Kind::Theirs]);
}

#[test]
fn floods_and_cuts_lose_nothing_when_haproxy_connects() {
    survive_a_flood_and_a_cut([Kind::Theirs, Kind::Ours]);
}

#[test]
fn floods_and_cuts_lose_nothing_between_us() {
    survive_a_flood_and_a_cut([Kind::Ours, Kind::Ours]);
}

#[test]
fn entries_go_over_tls() {
    let authority = Authority::new();
    let pem = authority.pem(&["peers.example"]);
    for (first, second) in [(Kind::Ours, Kind::Theirs), (Kind::Ours, Kind::Ours)] {
        let place = Place::new();
        let (a, b) = (unused_address(), unused_address());
        let common = format!(" default-server ssl verify required ca-file {}\n", authority.root().display());
        let bind = |address: SocketAddr| format!(" bind {address} ssl crt {}\n", pem.display());
        place.write("a", &format!("{}{common} server a\n server b {b}\n", bind(a)));
        place.write("b", &format!("{}{common} server a {a}\n server b\n", bind(b)));
        let (a, b) = (place.start(first, "a"), place.start(second, "b"));
        a.set(&["num key 1 data.gpc0 1"]);
        b.set(&["num key 2 data.gpc0 2"]);
        wait_for_same(&a, &b, "num");
        wait_until("both are known", || a.values("num").len() == 2);
    }
}

/// Lets two nodes share their entries, `b` being haproxy.
fn share_as(place: &Place, ours: &str, theirs: &str) {
    place.write("a", ours);
    place.write("b", theirs);
    let (a, b) = (place.start(Kind::Ours, "a"), place.start(Kind::Theirs, "b"));
    a.set(&["num key 1 data.gpc0 11"]);
    wait_for_same(&a, &b, "num");
    b.set(&["num key 2 data.gpc0 22"]);
    wait_for_same(&b, &a, "num");
}

#[test]
fn peers_are_met_at_unix_sockets() {
    let place = Place::new();
    let at = |name: &str| place.directory.join(name).display().to_string();
    let peers = format!(" peer a unix@{}\n peer b {}\n", at("a.peer"), at("b.peer"));
    share_as(&place, &peers, &peers);
}

#[test]
fn peers_are_met_by_name() {
    let place = Place::new();
    let [a, b] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let peers = format!(" peer a localhost:{a}\n peer b localhost:{b}\n");
    share_as(&place, &peers, &peers);
}

#[test]
fn peers_say_proxy_headers_and_take_them() {
    let place = Place::new();
    let (a, b) = (unused_address(), unused_address());
    let authority = Authority::new();
    let (pem, ca) = (authority.pem(&["b"]), authority.root());
    let tls = format!("ssl crt {}", pem.display());
    // Over clear text haproxy says none, whatever the line asks for.
    let to = |words: &str| format!("ssl verify required ca-file {} {words}", ca.display());
    for (to_a, to_b) in [("send-proxy", "send-proxy-v2"), ("send-proxy-v2", "send-proxy")] {
        let ours = format!(" bind {a} accept-proxy {tls}\n server a\n server b {b} {}\n", to(to_b));
        let theirs = format!(" bind {b} accept-proxy {tls}\n server b\n server a {a} {}\n", to(to_a));
        share_as(&place, &ours, &theirs);
    }
}

#[test]
fn the_native_format_says_the_same() {
    let place = Place::new();
    let authority = Authority::new();
    let (a, b, pem, root) = (unused_address(), unused_address(), authority.pem(&["peers.example"]), authority.root());
    let table = " table own type string len 20 size 1k expire 10m store gpc0,http_req_rate(600s)\n";
    let tls = format!(" default-server ssl ca-file {}\n bind {a} ssl crt {}\n", root.display(), pem.display());
    place.write("a", &format!("{tls} server a\n server b {b}\n{table}"));
    let toml = format!(
        "[global]\nlocalpeer = \"b\"\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\n[peers.cl]\n\
         bind = {{ address = \"{b}\", tls = {{ certificates = \"{}\" }} }}\ndefault-server = {{ tls = {{ ca = \"{}\" }} }}\n\
         peer = {{ a = \"{a}\", b = {{}} }}\n[peers.cl.table.own]\ntype = \"string(20)\"\nsize = \"1k\"\nexpire = \"10m\"\n\
         store = [\"gpc0\", \"http_req_rate(600s)\"]\n[table.num]\ntype = \"integer\"\nsize = \"50k\"\nstore = [\"gpc0\"]\npeers = \"cl\"\n",
        place.directory.join("b.sock").display(),
        pem.display(),
        root.display()
    );
    std::fs::write(place.directory.join("b.toml"), toml).unwrap();
    let (a, b) = (place.start(Kind::Theirs, "a"), place.start(Kind::Ours, "b"));
    a.set(&["cl/own key x data.gpc0 3 data.http_req_rate 9"]);
    b.set(&["num key 1 data.gpc0 1"]);
    wait_for_same(&a, &b, "cl/own");
    wait_for_same(&b, &a, "num");
}

fn hand_over(kinds: [Kind; 2]) {
    let place = Place::new();
    let address = unused_address();
    place.write("a", &format!(" peer a {address}\n"));
    let mut old = place.start(kinds[0], "a");
    if kinds[0] == Kind::Theirs {
        // As long as it hopes to be taught itself it teaches nobody.
        wait_until("it knows everything", || old.ask("show peers").contains("resync_timeout=<PAST>"));
    }
    flood(&old, 0..5000, 1);
    old.set(&["ip key 10.0.0.1 data.gpc0 5 data.http_req_rate 70"]);
    let (before, rates) = (old.values("num"), old.values("ip"));
    let new = place.start_after(kinds[1], "a", Some(&old));
    wait_until("the old process ends", || old.child.try_wait().unwrap().is_some());
    wait_until("the new process knows all", || new.values("num") == before);
    assert_eq!(new.values("ip"), rates);
}

#[test]
fn the_next_process_is_taught_by_the_one_before() {
    hand_over([Kind::Ours, Kind::Ours]);
}

#[test]
fn haproxy_is_followed_by_us_and_we_by_haproxy() {
    hand_over([Kind::Theirs, Kind::Ours]);
    hand_over([Kind::Ours, Kind::Theirs]);
}

#[test]
fn tables_come_back_after_a_crash() {
    let place = Place::new();
    let file = place.directory.join("tables");
    place.write("a", &format!(" peer a {}\n", unused_address()));
    let cfg = std::fs::read_to_string(place.directory.join("a.cfg")).unwrap();
    let cfg = cfg.replacen("global\n", &format!("global\n setenv L7D_TABLES_FILE {}\n", file.display()), 1);
    std::fs::write(place.directory.join("a.cfg"), cfg).unwrap();
    assert!(Command::new("/usr/sbin/haproxy").args(["-c", "-f"]).arg(place.directory.join("a.cfg")).status().unwrap().success());
    let tables = ["ip", "str", "num", "alone"];
    let all = |node: &Node| tables.map(|table| node.values(table));
    let log = |text: &str| std::fs::read_to_string(place.directory.join("a.log")).unwrap().contains(text);

    let a = place.start(Kind::Ours, "a");
    flood(&a, 0..3000, 1);
    a.set(&["ip key 10.0.0.1 data.gpc0 5 data.http_req_rate 70 data.bytes_in_cnt 50000000000", "alone key 10.0.0.2 data.gpc0 6"]);
    a.visit("/a/path");
    let before = all(&a);
    // The path came last, so a file that has it has everything.
    wait_until("it is written", || std::fs::read(&file).is_ok_and(|bytes| bytes.windows(7).any(|part| part == b"/a/path")));
    let left = a.table("ip")["10.0.0.1"].0;
    drop(a);

    let a = place.start(Kind::Ours, "a");
    assert_eq!(all(&a), before);
    assert!(a.table("ip")["10.0.0.1"].0 <= left, "time has passed");
    // What is written at the end has what came last.
    a.set(&["num key 9000 data.gpc0 1"]);
    let mut a = a;
    assert!(Command::new("kill").args(["-TERM", &a.child.id().to_string()]).status().unwrap().success());
    wait_until("it ends", || a.child.try_wait().unwrap().is_some());
    let a = place.start(Kind::Ours, "a");
    assert!(a.values("num").contains_key("9000"));
    drop(a);

    // A file that is damaged is told of, and left aside.
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    for (bad, reason) in [(bytes.clone(), "it is damaged"), (b"nonsense".to_vec(), "no file of tables"), (bytes[..17].to_vec(), "it is")] {
        std::fs::write(&file, bad).unwrap();
        let a = place.start(Kind::Ours, "a");
        assert!(a.values("num").is_empty() && log(reason) && log("tables begin empty"), "{reason}");
    }
}

#[test]
fn what_is_only_received_is_told_to_nobody_and_copied_where_it_should_be() {
    for first in [Kind::Theirs, Kind::Ours] {
        let place = Place::new();
        let (a, b) = (unused_address(), unused_address());
        let peers = format!(" peer a {a}\n peer b {b}\n table got type string len 20 size 1k expire 10m store gpc0,gpt0,server_id\n");
        place.write("a", &peers);
        let mine = "table mine type string len 20 size 1k expire 10m store gpc0,gpt0,server_id";
        let received = peers.replace("size 1k", "size 1k recv-only write-to cl/mine");
        place.write("b", &format!("{received} {mine}\n"));
        let (a, b) = (place.start(first, "a"), place.start(Kind::Ours, "b"));
        a.set(&["cl/got key far data.gpc0 3 data.gpt0 4 data.server_id 2"]);
        wait_for_same(&a, &b, "cl/got");
        assert_eq!(b.values("cl/mine")["far"], "server_id=2 gpt0=4 gpc0=0", "a counter would be counted twice");
        b.set(&["cl/got key near data.gpc0 1", "num key 1 data.gpc0 1"]);
        wait_for_same(&b, &a, "num");
        a.set(&["num key 2 data.gpc0 2"]);
        wait_for_same(&a, &b, "num");
        assert_eq!((a.table("cl/got").len(), b.table("cl/got").len()), (1, 2));
        // The next process of the same name knows it, too.
        let next = place.start_after(Kind::Ours, "b", Some(&b));
        wait_until("it is handed over", || next.table("cl/got").len() == 2);
    }
}

#[test]
fn keys_are_dealt_out_to_peers_with_a_shard() {
    let place = Place::new();
    let ends = [unused_address(), unused_address(), unused_address()];
    let peers = |shards: [&str; 3]| {
        let line = |(name, (at, shard))| format!(" peer {name} {at}{shard}\n");
        ["a", "b", "c"].into_iter().zip(ends.iter().zip(shards)).map(line).collect::<String>()
    };
    place.write("a", &format!(" shards 2\n{}", peers(["", " shard 1", " shard 2"])));
    // b and c do not know each other, so that what each has is from a.
    place.write("b", &peers(["", "", ""]).replace(" peer c", " # peer c"));
    place.write("c", &peers(["", "", ""]).replace(" peer b", " # peer b"));
    let (a, b, c) = (place.start(Kind::Ours, "a"), place.start(Kind::Theirs, "b"), place.start(Kind::Ours, "c"));
    flood(&a, 0..1000, 1);
    wait_until("all is dealt out", || b.table("num").len() + c.table("num").len() == 1000);
    let (of_b, of_c) = (b.values("num"), c.values("num"));
    assert!(of_b.keys().all(|key| !of_c.contains_key(key)));
    assert!(of_b.len() > 400 && of_c.len() > 400, "{} and {}", of_b.len(), of_c.len());
}

#[test]
fn peers_are_met_from_a_source_and_their_coming_and_going_is_logged() {
    let place = Place::new();
    let (a, b) = (unused_address(), unused_address());
    let log = UdpSocket::bind("127.0.0.1:0").unwrap();
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = log.local_addr().unwrap();
    let peers = format!(" log {target} local0\n default-server source 127.0.0.3\n bind {a}\n server a\n server b {b}\n");
    place.write("a", &peers);
    // It connects to nobody, so that a does.
    place.write("b", &format!(" peer a {}\n peer b {b}\n", unused_address()));
    assert!(Command::new("/usr/sbin/haproxy").args(["-c", "-f"]).arg(place.directory.join("a.cfg")).status().unwrap().success());
    let (a, b) = (place.start(Kind::Ours, "a"), place.start(Kind::Theirs, "b"));
    let line = || {
        let mut packet = [0; 2048];
        let count = log.recv(&mut packet).unwrap();
        String::from_utf8_lossy(&packet[..count]).into_owned()
    };
    let said = line();
    assert!(said.contains("Peers cl: b is there"), "{said}");
    let shown = b.ask("show sess all");
    assert!(shown.contains("127.0.0.3:"), "{shown}");
    drop(b);
    let said = line();
    assert!(said.contains("Peers cl: b is gone: "), "{said}");
    drop(a);
}

#[test]
fn peers_are_shown() {
    let place = Place::new();
    let (_, at) = plain(&place);
    let a = place.start(Kind::Ours, "a");
    let shown = a.ask("show peers cl");
    assert!(shown.contains("id=b(remote,") && shown.contains("id=a(local,inactive)") && shown.contains("last_hdshk=<NEVER>"), "{shown}");
    let b = place.start(Kind::Theirs, "b");
    b.set(&["num key 7 data.gpc0 1"]);
    wait_for_same(&b, &a, "num");
    let fields = |node: &Node| -> Vec<String> {
        let shown = node.ask("show peers cl");
        let of_peer = shown.split("\n  0x").nth(if shown.contains("id=b(remote") { 2 } else { 1 }).unwrap_or_default().to_owned();
        of_peer.split_whitespace().filter_map(|word| word.split_once('=')).map(|(name, _)| name.to_owned()).collect()
    };
    let ours = fields(&a);
    let theirs = fields(&b);
    let missing: Vec<_> = theirs.iter().filter(|name| !ours.contains(name)).collect();
    assert!(missing.iter().all(|name| ["st0", "st1", "task_calls", "state", "shared"].contains(&name.as_str())), "{missing:?}");
    let shown = a.ask("show peers");
    assert!(shown.contains(&format!("addr={at} last_status=ESTA")), "{shown}");
    for node in [&a, &b] {
        let info = node.ask("show info");
        assert!(info.contains("ConnectedPeers: 1\n") && info.contains("ActivePeers: 1\n"), "{info}");
    }
    assert!(shown.contains("id=num update=") && shown.contains("xprt=RAW"), "{shown}");
    // A reload that changes nothing about peers leaves their connections alone.
    let attempts = || a.ask("show peers").split("new_conn=").nth(2).unwrap().split(' ').next().unwrap().to_owned();
    let before = attempts();
    a.signal("-HUP");
    let log = || std::fs::read_to_string(place.directory.join("a.log")).unwrap();
    wait_until("it is reloaded", || log().contains("configuration replaced"));
    a.set(&["num key 8 data.gpc0 1"]);
    wait_for_same(&a, &b, "num");
    assert_eq!((attempts(), a.ask("show peers").matches("last_status=ESTA").count()), (before, 1));
    assert!(a.ask("show peers nobody").contains("No such peers"));
    assert!(b.ask("show peers nobody").contains("No such peers"));
}

#[test]
fn sections_of_peers_are_checked() {
    let place = Place::new();
    let check = |peers: &str| {
        place.write("a", peers);
        let output = Command::new(place.directory.join("haproxy")).args(["-c", "-f"]).arg(place.directory.join("a.cfg")).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (peers, complaint) in [
        (" peer a 127.0.0.1:7000\n peer b\n", "peer `b` has no address, and is not this process"),
        (" server a\n peer b 127.0.0.1:7000\n", "peer `a` is this process, and has no address"),
        (" peer a 127.0.0.1:7000\n peer a 127.0.0.1:7001\n", "there is a peer `a` already"),
        (" peer a 127.0.0.1:7000\n peer b 127.0.0.1:7001 source [::1]\n", "is of another family than its source"),
        (" default-server shard 1\n peer a 127.0.0.1:7000\n", "is about one peer alone"),
        (" shards 0\n peer a 127.0.0.1:7000\n", "is not a number from 1"),
        (" peer a 127.0.0.1:7000\n peer b 127.0.0.1:7000 ssl\n", "cannot be verified without"),
        (" peer a 127.0.0.1:7000\n peer b 127.0.0.1\n", "`127.0.0.1` has no port"),
        (" peer a 127.0.0.1:7000\n peer b no.host.invalid:7001\n", "`no.host.invalid` leads nowhere"),
        (" peer a 127.0.0.1:7000\nbackend x\n stick-table type ip size 1k peers nobody\n", "no peers section `nobody`"),
    ] {
        let (passed, said) = check(peers);
        assert!(!passed && said.contains(complaint), "{peers}: {said}");
    }
    // What means nothing for peers is taken, as HAProxy does.
    let (passed, said) = check(" peer a 127.0.0.1:7000 weight 3 check inter 2s\n no log\n");
    assert!(passed, "{said}");
    let (passed, said) = check(" shards 2\n peer a 127.0.0.1:7000\n peer b 127.0.0.1:7001 shard 3\n");
    assert!(passed && said.contains("shard 3 of peer `b` is none of 2"), "{said}");
    let (passed, said) = check(" peer c 127.0.0.1:7000\n");
    assert!(passed && said.contains("no peer of section peers `cl` is called `a`"), "{said}");
}

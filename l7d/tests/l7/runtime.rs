//! The runtime interface: HAProxy's commands, answered as HAProxy answers them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, Server, connect, directory, unused_address};

/// Sends commands and returns everything that is answered until the other side closes.
pub(crate) fn ask(socket: &Path, commands: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(commands.as_bytes()).unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    assert!(read.is_ok(), "{} to {commands:?}: {read:?} after {answer:?}", socket.display());
    answer
}

/// One configuration, twice.
pub(crate) struct Pair {
    pub(crate) ours: Daemon,
    theirs: HaproxyProcess,
    pub(crate) our_socket: std::path::PathBuf,
    pub(crate) their_socket: std::path::PathBuf,
    our_front: SocketAddr,
    our_tcp: SocketAddr,
    pub(crate) config: String,
    directory: std::path::PathBuf,
}

impl Pair {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let directory = directory();
        let (our_socket, their_socket) = (directory.join("ours.sock"), directory.join("theirs.sock"));
        let (our_front, their_front) = (unused_address(), unused_address());
        let (our_tcp, their_tcp) = (unused_address(), unused_address());
        let config = format!(
            "[global]\nnbthread = 2\nmaxconn = 1000\n\
             stats-socket = [{{ path = \"{}\", level = \"admin\", mode = \"600\" }}, {{ address = \"{our_tcp}\", level = \"user\" }}]\n\
             [defaults]\ntimeout = {{ connect = \"1s\", client = \"30s\", server = \"30s\" }}\n\
             [frontend.web]\nbind = \"{our_front}\"\ndefault-backend = \"app\"\n\
             [backend.app]\nbalance = \"roundrobin\"\n[backend.app.server]\n\
             s1 = {{ address = \"{server}\", maxconn = 10 }}\ns2 = {{ address = \"{server}\", weight = 2 }}\n\
             s3 = {{ address = \"{server}\", backup = true, disabled = true }}\n\
             [backend.fixed]\nbalance = \"static-rr\"\nserver = {{ f1 = \"{server}\" }}\n",
            our_socket.display()
        );
        let their_config = format!(
            "global\n nbthread 2\n maxconn 1000\n stats socket {} level admin mode 600\n stats socket {their_tcp} level user\n\
             defaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n\
             frontend web\n bind {their_front}\n default_backend app\n\
             backend app\n balance roundrobin\n server s1 {server} maxconn 10\n server s2 {server} weight 2\n\
             server s3 {server} backup disabled\nbackend fixed\n balance static-rr\n server f1 {server}\n",
            their_socket.display()
        );
        let theirs = Haproxy::find().start(&their_config, their_front);
        Self { ours: Daemon::start(&config), theirs, our_socket, their_socket, our_front, our_tcp, config, directory }
    }

    /// Returns where ours takes clients.
    pub(crate) fn our_front(&self) -> SocketAddr {
        self.our_front
    }

    /// Asks both and returns what ours said, which must be what theirs said.
    pub(crate) fn same(&self, commands: &str) -> String {
        let (ours, theirs) = (ask(&self.our_socket, commands), ask(&self.their_socket, commands));
        assert_eq!(ours, theirs, "{commands:?}");
        ours
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = (&self.ours, &self.theirs);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Leaves out the times, which pass, and the health, of which HAProxy forgets that of servers without checks when they are drained.
pub(crate) fn without_ages(states: &str) -> String {
    let line = |line: &str| {
        let fields = line.split(' ').enumerate().filter(|(place, _)| ![9, 12].contains(place));
        fields.map(|(_, field)| field).collect::<Vec<_>>().join(" ") + "\n"
    };
    states.lines().map(line).collect()
}

/// Returns the words before the values of all lines.
fn keys(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split(':').next()).collect()
}

#[test]
fn the_process_is_shown_as_the_system_sees_it() {
    let server = Server::echo("a");
    let pair = Pair::start(server.address());
    let client = connect(pair.our_front());
    let listens = format!(": st=RDY fam=ipv4 src={} dst=- fe=web", pair.our_front());
    let serves = format!(": st=EST fam=ipv4 src={} dst={}", pair.our_front(), client.local_addr().expect("a socket"));
    // The client may wait to be accepted.
    let end = Instant::now() + PATIENCE;
    let fd = loop {
        let fd = ask(&pair.our_socket, "show fd\n");
        if fd.lines().any(|line| line.ends_with(&listens)) && fd.contains(&serves) {
            break fd;
        }
        assert!(Instant::now() < end, "{fd}");
    };
    let number = fd.lines().find(|line| line.ends_with(&listens)).and_then(|line| line.split(':').next()).expect("a line").trim();
    assert_eq!(ask(&pair.our_socket, &format!("show fd {number}\n")).lines().count(), 2);
    // Libraries are told as HAProxy tells them: from, to, length, name.
    let form = |text: &str| {
        let line = text.lines().next().expect("a line");
        let fields: Vec<&str> = line.split(['-', ' ']).collect();
        let number = |text: &str| u64::from_str_radix(text.trim_matches(['(', ')']).trim_start_matches("0x"), 16).expect("a number");
        assert_eq!(number(fields[1]) - number(fields[0]) + 1, number(fields[2]), "{line}");
        assert!(fields[3].starts_with('/'), "{line}");
    };
    form(&ask(&pair.our_socket, "show libs\n"));
    let (ours, theirs) = (ask(&pair.our_socket, "show activity\n"), ask(&pair.their_socket, "show activity\n"));
    assert!(keys(&ours).iter().all(|key| keys(&theirs).contains(key) || *key == "cpu_ms_tot"), "{ours}");
    assert!(ask(&pair.our_socket, "show threads\n").starts_with("* Thread 1 : id="));
    for (command, why) in [("show pools", "memory"), ("show profiling", "perf"), ("trace h2", "HAProxy's inside")] {
        let said = ask(&pair.our_socket, &format!("{command}\n"));
        assert!(said.contains("is not supported") && said.contains(why), "{said}");
    }
}

#[test]
fn what_the_configuration_was_warned_of_is_kept() {
    let directory = directory();
    let (socket, front) = (directory.join("s"), unused_address());
    let config = format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 1s\n timeout server 1s\nfrontend web\n bind {front}\n \
         default_backend app\nbackend app\n server s {}\n",
        socket.display(),
        unused_address()
    );
    let daemon = Daemon::start_haproxy(&config);
    let said = ask(&socket, "show startup-logs\n");
    assert!(said.starts_with(&format!("[WARNING]  ({}) : config : ", daemon.pid())) && said.contains("timeout"), "{said}");
    daemon.reload(&config.replace("timeout server 1s", "timeout server 1s\n timeout client 1s"));
    assert_eq!(ask(&socket, "show startup-logs\n"), "\n\n");
    drop(daemon);
    std::fs::remove_dir_all(directory).expect("a directory");
}

#[test]
fn answers_are_haproxys_to_the_byte() {
    let server = Server::echo("a");
    let pair = Pair::start(server.address());
    let mode = std::fs::metadata(&pair.our_socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let commands = [
        "set server app/s1 state foo\n",
        "set server app/s1\n",
        "set server\n",
        "set server app\n",
        "set server app/zz state ready\n",
        "set server zz/zz state ready\n",
        "set server app/s1 state drain\n",
        "set server app/s1 state ready\n",
        "set server app/s1 weight 10\nget weight app/s1\n",
        "set server app/s1 weight 300\n",
        "set server app/s2 weight 50%;get weight app/s2\n",
        "set server app/s2 weight 150%;get weight app/s2\n",
        "set weight app/s1 1\nget weight app/s1\n",
        "set server fixed/f1 weight 7\n",
        "set server fixed/f1 weight 0%\nset server fixed/f1 weight 100%\n",
        "get weight app/xx\n",
        "set server app/s1 health foo\n",
        "set server app/s2 health down;set server app/s2 health up\n",
        "set server app/s1 agent up\n",
        "set server app/s1 fqdn foo.bar\n",
        "set server app/s1 bogus\n",
        "disable server app/s1;enable server app/s1\n",
        "disable server app\n",
        "disable health app/s1\n",
        "enable health app/s2\n",
        "enable agent app/s1\ndisable agent app/s1\n",
        "set timeout cli 10;set timeout cli;set timeout cli abc;set timeout foo\n",
        "operator; set server app/s1 state ready\n",
        "user; show env\n",
        "show cli level;operator;show cli level\n",
        "expert-mode on;expert-mode\n",
        "set severity-output number;set server app/s1 state foo\n",
        "set severity-output string\nset server app/s1\n",
        "prompt\nget weight app/s1\nquit\n",
        "prompt;prompt;get weight app/s1\n",
        "quit;get weight app/s1\n",
        "show env NOBODY_HAS_THIS\n",
        "show servers state zz\n",
        "show servers conn zz\n",
        "show stat zz 1 -1\n",
        "show backend\n",
        "show servers conn\n",
        "show tls-keys\n",
        "show tls-keys 7\n",
        "show startup-logs\n",
        "user; show fd\n",
        "user; show libs\n",
        "user; show startup-logs\n",
    ];
    for command in commands {
        pair.same(command);
    }
    let states = "set server app/s2 state maint;set server app/s1 state drain\n";
    pair.same(states);
    let (ours, theirs) = (ask(&pair.our_socket, "show servers state\n"), ask(&pair.their_socket, "show servers state\n"));
    assert_eq!(without_ages(&ours), without_ages(&theirs));
}

#[test]
fn report_of_the_process_has_haproxys_names_and_tags() {
    let server = Server::echo("a");
    let pair = Pair::start(server.address());
    let facts = |text: &str| -> Vec<String> { text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect() };
    let (ours, theirs) = (facts(&ask(&pair.our_socket, "show info\n")), facts(&ask(&pair.their_socket, "show info\n")));
    assert!(ours.len() > 25 && ours.iter().all(|name| theirs.contains(name)), "{ours:?}");
    // A line but for its value.
    let tagged = |text: &str| -> Vec<String> { text.lines().filter_map(|line| Some(line.rsplit_once(':')?.0.to_owned())).collect() };
    for command in ["show info typed\n", "show stat typed\n", "show stat app 4 2 typed\n"] {
        let (ours, theirs) = (tagged(&ask(&pair.our_socket, command)), tagged(&ask(&pair.their_socket, command)));
        let strange: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
        assert!(!ours.is_empty() && strange.is_empty(), "{command:?}: {strange:?}");
    }
    for command in ["show info json\n", "show stat json\n"] {
        let shape = |text: String| text.chars().take(220).collect::<String>();
        let (ours, theirs) = (shape(ask(&pair.our_socket, command)), shape(ask(&pair.their_socket, command)));
        assert!(ours.starts_with(&theirs[..150]), "{ours}\n{theirs}");
    }
    let names =
        |text: String| -> Vec<String> { text.lines().skip(1).map(|line| line.split(',').take(2).collect::<Vec<_>>().join("/")).collect() };
    for scope in ["-1 1 -1", "-1 2 -1", "-1 4 -1", "app -1 -1", "app 4 2", "2 -1 -1", "-1 7 -1 no-maint", "-1 7 -1 up"] {
        let command = format!("show stat {scope}\n");
        assert_eq!(names(ask(&pair.our_socket, &command)), names(ask(&pair.their_socket, &command)), "{scope}");
    }
}

#[test]
fn states_set_at_run_time_move_traffic_and_outlive_a_reload() {
    let (one, two) = (Server::start(|stream| answer(stream, "one")), Server::start(|stream| answer(stream, "two")));
    let directory = directory();
    let (front, socket) = (unused_address(), directory.join("s"));
    let config = format!(
        "[global]\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\n\
         [defaults]\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n\
         [frontend.web]\nbind = \"{front}\"\ndefault-backend = \"app\"\n\
         [backend.app]\n[backend.app.server]\na = \"{}\"\nb = \"{}\"\n",
        socket.display(),
        one.address(),
        two.address()
    );
    let daemon = Daemon::start(&config);
    assert_eq!(ask(&socket, "set server app/a state maint;set server app/b weight 7\n"), "\n\n");
    assert_eq!((0..6).map(|_| get(front)).collect::<Vec<_>>(), ["two"; 6]);
    daemon.reload(&config.replace("2s", "3s"));
    assert_eq!((0..6).map(|_| get(front)).collect::<Vec<_>>(), ["two"; 6]);
    assert_eq!(ask(&socket, "get weight app/b\n"), "7 (initial 1)\n\n");
    assert_eq!(ask(&socket, "set server app/b health down;set server app/a state ready\n"), "\n\n");
    assert_eq!((0..6).map(|_| get(front)).collect::<Vec<_>>(), ["one"; 6]);
    drop(daemon);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn clients_are_held_to_their_terms() {
    let server = Server::echo("a");
    let pair = Pair::start(server.address());
    let mut reader = connect(pair.our_tcp);
    reader.write_all(b"show cli level;set server app/s1 state maint\n").unwrap();
    let mut answer = String::new();
    reader.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "user\n\nPermission denied\n\n");
    let mut silent = UnixStream::connect(&pair.our_socket).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    silent.write_all(b"prompt\nset timeout cli 1\n").unwrap();
    let begun = Instant::now();
    let mut said = String::new();
    silent.read_to_string(&mut said).unwrap();
    assert_eq!(said, "\n> \n> ");
    assert!(begun.elapsed() >= Duration::from_millis(900));
    // Too long a command ends the connection, and nothing else.
    let mut long = UnixStream::connect(&pair.our_socket).unwrap();
    let _ = long.write_all(&[b'x'; 100_000]);
    let mut nothing = Vec::new();
    let _ = long.read_to_end(&mut nothing);
    assert!(nothing.is_empty());
    // Ten who stay are all there may be; the one after them is served when one leaves.
    let mut crowd: Vec<_> = (0..10).map(|_| UnixStream::connect(&pair.our_socket).unwrap()).collect();
    for client in &mut crowd {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"prompt\n").unwrap();
        client.read_exact(&mut [0; 3]).unwrap();
    }
    let (socket, late) = (pair.our_socket.clone(), Instant::now());
    let waiting = thread::spawn(move || (ask(&socket, "show cli level\n"), late.elapsed()));
    thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_finished());
    crowd[3].shutdown(Shutdown::Both).unwrap();
    assert_eq!(waiting.join().unwrap().0, "admin\n\n");
    // A reload keeps who is talking, and follows the configuration.
    crowd[0].write_all(b"get weight app/s1\n").unwrap();
    pair.ours.reload(&pair.config.replace("[defaults]", "stats-maxconn = 20\n[defaults]"));
    assert_eq!(ask(&pair.our_socket, "show cli level\n"), "admin\n\n");
    let _ = pair.our_front;
}

/// Answers a request with a text.
pub(crate) fn answer(mut stream: TcpStream, text: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
}

/// Sends a request and returns the body of the answer.
pub(crate) fn get(address: SocketAddr) -> String {
    let mut client = connect(address);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

//! Agents that say how their servers are: every word means what it means to Debian's haproxy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::checks::fields;
use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, Server, directory, unused_address};
use crate::runtime::ask;

/// The same agents, asked by both.
struct Pair {
    sockets: [PathBuf; 2],
    directory: PathBuf,
    _ours: Daemon,
    _theirs: HaproxyProcess,
}

impl Pair {
    fn start(agents: &[(String, SocketAddr)], server: SocketAddr) -> Self {
        let directory = directory();
        let sockets = [directory.join("ours"), directory.join("theirs")];
        let fronts = [unused_address(), unused_address()];
        let config = |who: usize| {
            let mut config = format!(
                "global\n stats socket {} level admin\ndefaults\n mode tcp\n balance roundrobin\n timeout connect 2s\n timeout client 5s\n \
                 timeout server 5s\n timeout check 400ms\nfrontend f\n bind {}\n",
                sockets[who].display(),
                fronts[who]
            );
            for (name, agent) in agents {
                config += &format!(
                    "backend {name}\n server s {server} check inter 300ms weight 40 maxconn 99 agent-check agent-inter 1s agent-port {} \
                     agent-addr 127.0.0.1 agent-send \"hello\\n\"\n",
                    agent.port()
                );
            }
            config
        };
        let _theirs = Haproxy::find().start(&config(1), fronts[1]);
        let _ours = Daemon::start_haproxy(&config(0));
        Self { sockets, directory, _ours, _theirs }
    }

    /// Waits until both say the same of every server, and returns that.
    fn agree(&self) -> BTreeMap<String, Vec<String>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let [ours, theirs] = [&self.sockets[0], &self.sockets[1]].map(|socket| rows(socket));
            if ours == theirs && ours.values().all(|row| row[4] != "INI") {
                return ours;
            }
            let differ: Vec<_> = ours.iter().filter(|(name, row)| theirs.get(*name) != Some(row) || row[4] == "INI").collect();
            assert!(Instant::now() < end, "ours: {differ:#?}\ntheirs: {theirs:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn tell(&self, command: &str) {
        let [ours, theirs] = [&self.sockets[0], &self.sockets[1]].map(|socket| ask(socket, command));
        assert_eq!(ours, theirs, "{command}");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns what is said of each server.
fn rows(socket: &Path) -> BTreeMap<String, Vec<String>> {
    const SHOWN: [&str; 9] =
        ["status", "weight", "uweight", "slim", "agent_status", "agent_code", "last_agt", "agent_desc", "agent_health"];
    let stat = ask(socket, "show stat\n");
    let mut lines = stat.lines();
    let names: Vec<&str> = lines.next().unwrap().trim_start_matches("# ").split(',').collect();
    let row = |fields: Vec<String>| {
        let field = |name: &str| fields[names.iter().position(|other| *other == name).unwrap()].clone();
        (field("pxname"), SHOWN.map(field).to_vec())
    };
    lines.map(fields).filter(|fields| fields.get(1).is_some_and(|name| name == "s")).map(row).collect()
}

/// Starts a server that says nothing and an agent that says `line`, which can be changed.
fn agent(line: &Arc<Mutex<Vec<u8>>>) -> Server {
    let line = Arc::clone(line);
    Server::start(move |mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let text = line.lock().unwrap().clone();
        let _ = stream.write_all(&text);
    })
}

fn silent() -> Server {
    Server::start(|mut stream| drop(stream.read(&mut [0])))
}

#[test]
fn every_word_means_what_it_means_to_haproxy() {
    const LINES: [&[u8]; 26] = [
        b"up\n",
        b"down\n",
        b"fail\n",
        b"stopped\n",
        b"down#going home\n",
        b"stopped # x\n",
        b"drain\n",
        b"maint\n",
        b"ready\n",
        b"75%\n",
        b"200%\n",
        b"maxconn:7\n",
        b"up 50% maxconn:3\n",
        b"up,25%\n",
        b"\tup\t30%\r\n",
        b"garbage\n",
        b"up garbage\n",
        b"",
        b"up",
        b"\n",
        b"up ready 10%\ndown\n",
        b"drain up\n",
        b"DOWN\n",
        b"-5%\n",
        b"down up\n",
        b"ready down#x y z\n",
    ];
    let server = silent();
    let agents: Vec<Server> = LINES.iter().map(|line| agent(&Arc::new(Mutex::new(line.to_vec())))).collect();
    let named: Vec<_> = (0..).zip(&agents).map(|(number, agent): (usize, _)| (format!("a{number:02}"), agent.address())).collect();
    let rows = Pair::start(&named, server.address()).agree();
    assert_eq!(rows["a01"][0], "DOWN (agent)");
    assert_eq!(rows["a12"][1..4], ["20", "20", "3"]);
}

#[test]
fn agents_change_their_minds_and_rest_by_command() {
    let line = Arc::new(Mutex::new(b"down\n".to_vec()));
    let (server, agent) = (silent(), agent(&line));
    let pair = Pair::start(&[("a".to_owned(), agent.address())], server.address());
    assert_eq!(pair.agree()["a"][0], "DOWN (agent)");
    *line.lock().unwrap() = b"up 50%\n".to_vec();
    let end = Instant::now() + PATIENCE;
    while pair.agree()["a"][..2] != ["UP", "20"] {
        assert!(Instant::now() < end);
    }
    pair.tell("disable agent a/s\n");
    pair.tell("set server a/s agent up\n");
    pair.tell("enable agent a/s\n");
    pair.tell("set server a/s agent sideways\n");
    *line.lock().unwrap() = b"75%\n".to_vec();
    let end = Instant::now() + PATIENCE;
    while pair.agree()["a"][1] != "30" {
        assert!(Instant::now() < end);
    }
    pair.tell("set server a/s agent down\n");
    assert_eq!(pair.agree()["a"][0], "DOWN (agent)");
}

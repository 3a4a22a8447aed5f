//! Everything that can change, changing at random under load: not one request may fail, and nothing may be left behind.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::http::{ok, server};
use crate::kit::{Daemon, directory, unused_address};
use crate::runtime::ask;

/// A sequence that looks random and is the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

struct Place {
    socket: PathBuf,
    map: PathBuf,
    pem: PathBuf,
    texts: [String; 2],
    servers: [SocketAddr; 3],
    configs: [String; 2],
    /// Whether the added server is there.
    added: bool,
}

impl Place {
    /// Changes something; every command is one that must succeed.
    fn change(&mut self, daemon: &Daemon, dice: &mut Dice) {
        let say = |commands: &str| ask(&self.socket, commands);
        let (map, pem) = (self.map.display(), self.pem.display());
        match dice.roll(7) {
            0 => {
                daemon.reload(&self.configs[dice.roll(2)]);
                self.added = false;
            }
            1 => {
                let text = &self.texts[dice.roll(2)];
                assert!(say(&format!("set ssl cert {pem} <<\n{text}\n")).contains("Transaction created"));
                assert!(say(&format!("commit ssl cert {pem}\n")).contains("Success!"));
            }
            2 => {
                let version = say(&format!("prepare map {map}\n"));
                let version = version.trim().rsplit(' ').next().unwrap();
                let backend = ["app", "other"][dice.roll(2)];
                assert_eq!(say(&format!("add map @{version} {map} / {backend};commit map @{version} {map}\n")), "\n\n");
            }
            3 if !self.added => {
                let address = self.servers[2];
                assert!(say(&format!("add server app/late {address} check inter 50ms\n")).contains("registered"));
                assert_eq!(say("enable health app/late;enable server app/late\n"), "\n\n");
                self.added = true;
            }
            3 => {
                // A server may have clients when it is to go, and stays then.
                let said = say("set server app/late state maint;del server app/late\n");
                self.added = !said.contains("deleted");
                if self.added {
                    assert_eq!(say("enable server app/late\n"), "\n");
                }
            }
            4 => {
                let address = self.servers[1 + dice.roll(2)];
                let said = say(&format!("set server app/b addr {} port {}\n", address.ip(), address.port()));
                assert!(said.contains("no need to change the addr"), "{said}");
            }
            5 => {
                let state = ["ready", "drain", "maint"][dice.roll(3)];
                assert_eq!(say(&format!("set server app/b state {state};set server app/a weight {}\n", 1 + dice.roll(9))), "\n\n");
            }
            _ => {
                assert_eq!(say(&format!("set maxconn frontend web {};set maxconn server app/a {}\n", 500 + dice.roll(9), 400)), "\n\n");
            }
        }
    }
}

/// Returns for how many seconds everything changes: few, unless `L7_TORTURE_SECONDS` wants more.
fn seconds() -> u64 {
    std::env::var("L7_TORTURE_SECONDS").map_or(4, |seconds| seconds.parse().expect("a number of seconds"))
}

fn load(url: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new("h2load");
    command.args(["-t1", "-c6", "-m2", &format!("-D{}", seconds())]).args(arguments).arg(url);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("h2load is there: `cargo xtask setup` installs it")
}

/// Checks that every request was answered well, and tells how many there were.
fn harvest(child: Child) -> u64 {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}")).to_owned();
    let requests = line("requests: ");
    assert!(requests.contains(" 0 failed, 0 errored, 0 timeout"), "{text}");
    let codes = line("status codes: ");
    assert!(codes.contains(" 0 3xx, 0 4xx, 0 5xx"), "{text}");
    let count = |text: &str, word: &str| -> u64 {
        let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let place = words.iter().position(|known| *known == word).unwrap();
        words[place - 1].parse().unwrap()
    };
    assert!(count(&requests, "succeeded") > 0);
    count(&requests, "succeeded")
}

/// Counts the descriptors of the daemon, but for connections to servers, which are kept for a while.
fn descriptors(daemon: &Daemon, servers: &[SocketAddr]) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to_server = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(2)?.split_once(':')?.1, 16).ok()?;
        servers.iter().any(|server| server.port() == port).then(|| format!("socket:[{}]", fields[9]))
    };
    let kept: HashSet<String> = table.lines().filter_map(to_server).collect();
    let all = std::fs::read_dir(Path::new("/proc").join(daemon.pid().to_string()).join("fd")).unwrap();
    let targets = all.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| !kept.contains(&*target.to_string_lossy())).count()
}

#[test]
fn nothing_fails_and_nothing_is_left_behind() {
    let servers = ["one", "two", "three"].map(|body| server(move |_, _| ok(body)).0);
    let addresses = [servers[0].address(), servers[1].address(), servers[2].address()];
    let (authority, directory) = (Authority::new(), directory());
    let (socket, map) = (directory.join("s"), directory.join("m"));
    std::fs::write(&map, "/ app\n").unwrap();
    let pem = authority.pem(&["a.test"]);
    let texts = [std::fs::read_to_string(&pem).unwrap(), std::fs::read_to_string(authority.pem(&["b.test"])).unwrap()];
    let (plain, secure) = (unused_address(), unused_address());
    let config = |balance: &str| {
        format!(
            "global\n nbthread 2\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n\
             timeout server 30s\n option redispatch 1\n retry-on all-retryable-errors\nfrontend web\n bind {plain}\n bind {secure} ssl crt {} alpn h2,http/1.1\n\
             use_backend %[path,map_beg({})]\n default_backend app\nbackend app\n balance {balance}\n option httpchk\n\
             server a {} check inter 50ms\n server b {} check inter 50ms\nbackend other\n server c {}\n",
            socket.display(),
            pem.display(),
            map.display(),
            addresses[0],
            addresses[1],
            addresses[2]
        )
    };
    let configs = [config("roundrobin"), config("leastconn")];
    let daemon = Daemon::start_haproxy(&configs[0]);
    let mut place = Place { socket, map, pem, texts, servers: addresses, configs, added: false };
    let mut dice = Dice(0x5eed_2026);
    // What is made once and kept is made before anything is counted.
    (0..10).for_each(|_| place.change(&daemon, &mut dice));
    daemon.reload(&place.configs[0]);
    let before = (descriptors(&daemon, &addresses), daemon.resident());
    let loads = [
        load(&format!("http://{plain}/"), &["--h1"]),
        load(&format!("https://{secure}/"), &[]),
        load(&format!("https://{secure}/"), &["--h1", "-m1"]),
    ];
    let (begun, mut changes) = (Instant::now(), 0);
    while begun.elapsed() + Duration::from_millis(300) < Duration::from_secs(seconds()) {
        place.change(&daemon, &mut dice);
        changes += 1;
    }
    let requests: u64 = loads.into_iter().map(harvest).sum();
    daemon.reload(&place.configs[0]);
    let end = Instant::now() + crate::kit::PATIENCE;
    // Those of checks come and go, and pipes and epoll's are made at need.
    while descriptors(&daemon, &addresses) > before.0 + 8 {
        assert!(Instant::now() < end, "{} descriptors, {} before", descriptors(&daemon, &addresses), before.0);
        std::thread::sleep(Duration::from_millis(20));
    }
    let grown = daemon.resident().saturating_sub(before.1);
    assert!(grown < 24 << 10, "{grown} KiB more after {changes} changes and {requests} requests");
    assert!(changes > 20, "{changes} changes");
    println!("{changes} changes, {requests} requests, {grown} KiB more");
    std::fs::remove_dir_all(directory).unwrap();
}

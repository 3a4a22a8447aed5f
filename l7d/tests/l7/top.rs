//! `l7d top`: what it shows of traffic, and what its keys do, in a terminal of 80 columns.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, PATIENCE, Server, directory, unused_address};
use crate::runtime::{answer, ask, get};

struct Place {
    front: SocketAddr,
    socket: PathBuf,
    directory: PathBuf,
    _server: Server,
    _daemon: Daemon,
}

impl Place {
    fn new() -> Self {
        let (front, directory, server) = (unused_address(), directory(), Server::start(|stream| answer(stream, "one")));
        let socket = directory.join("s");
        let address = server.address();
        let config = format!(
            "[global]\nnbthread = 2\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\n[defaults]\nmode = \"http\"\n\
             timeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n[frontend.web]\nbind = \"{front}\"\n\
             default-backend = \"app\"\n[backend.app]\ncheck = {{ inter = \"1s\" }}\nserver = {{ s1 = \"{address}\", s2 = \"{address}\" }}\n",
            socket.display()
        );
        let daemon = Daemon::start(&config);
        Self { front, socket, directory, _server: server, _daemon: daemon }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A terminal with the program in it.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let terminal = Self { socket: directory.join("tmux") };
        let program = env!("CARGO_BIN_EXE_l7d");
        terminal.tmux(&[&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", program, "top"], arguments].concat());
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").arg("-S").arg(&self.socket).args(arguments).output();
        let output = output.expect("tmux is missing: `cargo xtask setup` installs it");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen is as it should be.
    fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if is_so(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "{what}:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn shows(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Returns the words of the line of a row.
fn row<'s>(screen: &'s str, name: &str) -> Vec<&'s str> {
    let words = screen.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    words.into_iter().find(|words| words.contains(&name)).unwrap_or_default()
}

#[test]
fn traffic_is_seen_and_servers_are_changed_by_keys() {
    let place = Place::new();
    let socket = place.socket.to_str().unwrap();
    let terminal = Terminal::start(&place.directory, &["-s", socket]);
    terminal.shows("q quit");
    let (over, front) = (Arc::new(AtomicBool::new(false)), place.front);
    let traffic = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            while !over.load(SeqCst) {
                drop(get(front));
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    // Sessions, queue, requests a second, the two latencies, errors, weight, bytes a second.
    let is_busy = |screen: &str| {
        let words = row(screen, "s1");
        words.get(4).is_some_and(|rate| rate.parse::<u64>().is_ok_and(|rate| rate > 0))
            && words.get(6).is_some_and(|time| time.parse::<f64>().is_ok())
            && words.last().is_some_and(|rate| *rate != "0")
    };
    let screen = terminal.wait_for("a server with traffic", is_busy);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    assert_eq!(row(&screen, "s1")[1], "UP", "{screen}");
    assert!(screen.contains("> web") && screen.contains("= app"), "{screen}");
    // The frontend is chosen at first; what is asked is asked about a server.
    terminal.press(&["d"]);
    terminal.shows("choose a server first");
    terminal.press(&["j", "j", "d"]);
    terminal.shows("app/s1: drain? y/n");
    terminal.press(&["n"]);
    terminal.shows("left as it was");
    assert!(ask(&place.socket, "show servers state app\n").contains("s1"), "still there");
    terminal.press(&["d", "y"]);
    terminal.wait_for("s1 is drained", |screen| row(screen, "s1").get(1) == Some(&"DRAIN"));
    terminal.press(&["r", "y"]);
    terminal.wait_for("s1 is ready", |screen| row(screen, "s1").get(1) == Some(&"UP"));
    terminal.press(&["Down", "w", "7", "Enter"]);
    terminal.shows("app/s2: weight 7? y/n");
    terminal.press(&["y"]);
    terminal.wait_for("s2 has its weight", |screen| row(screen, "s2").iter().rev().nth(1) == Some(&"7"));
    assert!(ask(&place.socket, "get weight app/s2\n").starts_with("7 "));
    terminal.press(&["/", "s", "2", "Enter"]);
    terminal.wait_for("only s2", |screen| row(screen, "s1").is_empty() && !row(screen, "s2").is_empty());
    terminal.press(&["q"]);
    over.store(true, SeqCst);
    traffic.join().unwrap();
}

#[test]
fn one_look_is_printed_where_there_is_no_terminal() {
    let place = Place::new();
    let output = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["top", "-s"]).arg(&place.socket).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains('\x1b'), "{text}");
    assert!(text.lines().nth(1).unwrap().starts_with("NAME") && row(&text, "s2").len() > 8, "{text}");
    let nowhere = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["top", "-s", "/nonexistent/s"]).output().unwrap();
    assert!(!nowhere.status.success() && String::from_utf8_lossy(&nowhere.stderr).contains("/nonexistent/s"));
}

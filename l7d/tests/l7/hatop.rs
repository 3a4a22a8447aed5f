//! Debian's hatop, whose screen and keys are driven through a terminal.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, PATIENCE, Server, directory, unused_address};
use crate::runtime::ask;

/// A terminal in which a program runs; it is of a server of this test's own.
struct Terminal {
    name: String,
}

impl Terminal {
    fn run(command: &str) -> Self {
        let terminal = Self { name: format!("l7d-test-{}", std::process::id()) };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "180", "-y", "50", command]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.name]).args(arguments).output().expect("tmux is there: `cargo xtask setup`");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Waits until the screen shows all of these texts.
    fn until(&self, texts: &[&str]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if texts.iter().all(|text| screen.contains(text)) {
                return;
            }
            assert!(Instant::now() < end, "no {texts:?} on\n{screen}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

fn hatop(socket: &Path) -> Terminal {
    // The program is written for Debian's interpreter, which may not be the first of the path.
    Terminal::run(&format!("TERM=screen /usr/bin/python3 /usr/bin/hatop -i 1 -s {}; sleep 60", socket.display()))
}

#[test]
fn hatop_shows_what_there_is_and_its_keys_change_it() {
    let server = Server::echo("a");
    let directory = directory();
    let (socket, front) = (directory.join("s"), unused_address());
    let config = format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend web-entrance\n bind {front}\n default_backend machines\nbackend machines\n server only-one {}\n",
        socket.display(),
        server.address()
    );
    let daemon = Daemon::start_haproxy(&config);
    let terminal = hatop(&socket);
    terminal.until(&["HAProxy Version: 3.2", "web-entrance", "machines", "only-one"]);
    // F10 takes a server out of service, F9 puts it in again, wherever the cursor stands by then.
    let is_out = || ask(&socket, "show servers state machines\n").contains(" only-one 127.0.0.1 0 1 ");
    let press = |(key, next): (&str, &str), wanted: bool| {
        let end = Instant::now() + PATIENCE;
        while is_out() != wanted {
            assert!(Instant::now() < end, "{key} does nothing:\n{}", terminal.tmux(&["capture-pane", "-p"]));
            terminal.tmux(&["send-keys", key]);
            std::thread::sleep(Duration::from_millis(300));
            terminal.tmux(&["send-keys", next]);
        }
    };
    press(("F10", "Down"), true);
    terminal.until(&["MAINT"]);
    press(("F9", "Up"), false);
    // Its command line sends what is typed to the socket.
    terminal.tmux(&["send-keys", "5"]);
    terminal.until(&["embedded interactive"]);
    terminal.tmux(&["send-keys", "show backend", "Enter"]);
    terminal.until(&["# name", "machines"]);
    drop((terminal, daemon));
    std::fs::remove_dir_all(directory).expect("a directory");
}

//! `show config` and `show diff`: what is in force, as text that both programs read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::{Daemon, Haproxy, Server, directory, unused_address};
use crate::runtime::{ask, without_ages};

/// A configuration with a map, where commands are taken on a socket of a directory.
struct Site {
    directory: PathBuf,
    front: SocketAddr,
    text: String,
}

impl Site {
    fn new(server: SocketAddr) -> Self {
        let (directory, front) = (directory(), unused_address());
        std::fs::write(directory.join("hosts.map"), "# hosts\na.example app\nb.example   app\n").expect("a file");
        let text = format!(
            "global\n  stats socket {0}/s level admin\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n\
             frontend web\n  bind {front} # for all\n  use_backend %[req.hdr(host),map({0}/hosts.map,app)]\n\
             backend app\n  balance roundrobin\n  server a {server} weight 4 check inter 1h # the first\n  server b {server} backup\n\
             backend pool\n  server-template t 1-3 {server} maxconn 9\n",
            directory.display()
        );
        Self { directory, front, text }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("s")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Checks a file with a program, and returns what it says.
fn checked(program: &str, arguments: &[&str], file: &Path) {
    let output = Command::new(program).args(arguments).arg(file).output().expect("a program");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_commands_have_changed_is_a_configuration_that_both_start_from() {
    let server = Server::echo("a");
    let site = Site::new(server.address());
    let daemon = Daemon::start_haproxy(&site.text);
    // Nothing has changed yet.
    assert_eq!(ask(&site.socket(), "show config\n"), format!("{}\n", site.text));
    assert_eq!(ask(&site.socket(), "show diff\n"), "\n");
    let commands = "set weight app/a 9;set server app/b state maint;add server app/c 127.0.0.9:91 weight 3 maxconn 7;\
        set server app/c addr 127.0.0.8 port 92;enable server app/c;set maxconn server app/a 5;set server pool/t2 state maint;\
        del server pool/t2;set server pool/t3 state drain;set maxconn frontend web 66;set rate-limit sessions global 900\n";
    let answers = ask(&site.socket(), commands);
    assert!(!answers.contains("No such") && !answers.contains("nknown"), "{answers}");
    let running = ask(&site.socket(), "show config\n");
    assert!(running.contains("  bind ") && running.contains(" # the first\n"), "{running}");
    assert!(running.contains("server c 127.0.0.8:92 weight 3 maxconn 7\n"), "{running}");
    let states = without_ages(&ask(&site.socket(), "show servers state\n"));
    // Both take it, and have the same servers then.
    let file = site.directory.join("running.cfg");
    std::fs::write(&file, &running).expect("a file");
    checked(env!("CARGO_BIN_EXE_l7d"), &["check", "-f"], &file);
    checked("/usr/sbin/haproxy", &["-c", "-f"], &file);
    drop(daemon);
    let again = Daemon::start_haproxy(&running);
    let columns = |states: &str| {
        // Names, addresses, and weights; a file writes a server that drains as one of weight 0.
        let line = |line: &str| line.split(' ').take(5).map(str::to_owned).collect::<Vec<_>>().join(" ");
        states.lines().map(line).filter(|line| !line.contains(" t")).collect::<Vec<_>>()
    };
    assert_eq!(columns(&without_ages(&ask(&site.socket(), "show servers state\n"))), columns(&states));
    let weights = "get weight app/a;get weight app/c;get weight pool/t3;get weight pool/t2;show info\n";
    let ours = ask(&site.socket(), weights);
    assert!(ours.starts_with("9 (initial 9)\n\n3 (initial 3)\n\n0 (initial 0)\n\nNo such server.\n\n"), "{ours}");
    assert!(ours.contains("SessRateLimit: 900\n"), "{ours}");
    drop(again);
    let theirs = Haproxy::find().start(&running, site.front);
    let words = "get weight app/a;get weight app/c;get weight pool/t3;get weight pool/t2\n";
    assert!(ours.starts_with(ask(&site.socket(), words).trim_end_matches('\n')));
    assert_eq!(columns(&without_ages(&ask(&site.socket(), "show servers state\n"))), columns(&states));
    drop(theirs);
}

#[test]
fn differences_from_the_files_are_told_line_by_line() {
    let server = Server::echo("a");
    let site = Site::new(server.address());
    let daemon = Daemon::start_haproxy(&site.text);
    let map = site.directory.join("hosts.map");
    let commands = format!("set weight app/a 9;add map {0} c.example pool;del map {0} a.example\n", map.display());
    ask(&site.socket(), &commands);
    let diff = ask(&site.socket(), "show diff\n");
    let lines: Vec<&str> = diff.lines().filter(|line| line.starts_with(['+', '-']) && !line[1..].starts_with(['+', '-'])).collect();
    let old = format!("-  server a {} weight 4 check inter 1h # the first", server.address());
    let new = format!("+  server a {} weight 4 check inter 1h weight 9 # the first", server.address());
    assert_eq!(lines, [old.as_str(), new.as_str(), "-a.example app", "+c.example pool"], "{diff}");
    // What a file says by now that nobody has loaded is a difference, too; one that cannot be read is told.
    std::fs::write(&map, "b.example app\nc.example pool\n").expect("a file");
    ask(&site.socket(), "set weight app/a 4\n");
    assert_eq!(ask(&site.socket(), "show diff\n"), "\n");
    daemon.put(&site.text.replace("balance roundrobin", "balance leastconn"));
    let diff = ask(&site.socket(), "show diff\n");
    assert!(diff.contains("\n-  balance leastconn\n+  balance roundrobin\n"), "{diff}");
    assert!(ask(&site.socket(), "operator;show config\n").contains("Permission denied"));
}

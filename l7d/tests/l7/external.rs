//! Checks by programs: what they are told, what becomes of what they say, and what becomes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::checks::{Row, settled};
use crate::kit::{Daemon, Haproxy, PATIENCE, directory, unused_address};

/// Writes a script of the shell.
fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Returns what is in a file as soon as its last line is there.
fn text_of(path: &Path) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with("END\n") => return text,
            _ => assert!(Instant::now() < end, "{}", path.display()),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

const GLOBAL: &str = "external-check\n insecure-fork-wanted\n";
const DEFAULTS: &str = "defaults\n mode tcp\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n timeout check 400ms\n";

#[test]
fn programs_end_as_with_haproxy() {
    let directory = directory();
    let good = script(&directory, "good", "exit 0");
    let bad = script(&directory, "bad", "exit 3");
    let slow = script(&directory, "slow", "sleep 30");
    let killed = script(&directory, "killed", "kill -9 $$");
    let plain = directory.join("plain");
    fs::write(&plain, "no program").unwrap();
    let cases =
        [("good", &good), ("bad", &bad), ("slow", &slow), ("killed", &killed), ("plain", &plain), ("none", &directory.join("none"))];
    let config = |front, socket: &Path| {
        let backends = cases.map(|(name, command)| {
            format!(
                "backend b-{name}\n option external-check\n external-check command {}\n external-check path /usr/bin:/bin\n \
                 server s 127.0.0.1:9 check inter 500ms downinter 10s\n",
                command.display()
            )
        });
        let socket = socket.display();
        format!("global\n stats socket {socket} level admin\n {GLOBAL}{DEFAULTS}frontend f\n bind {front}\n{}", backends.concat())
    };
    let fronts = [unused_address(), unused_address()];
    let sockets = ["ours", "theirs"].map(|name| directory.join(name));
    let ours = Daemon::start_haproxy(&config(fronts[0], &sockets[0]));
    let theirs = Haproxy::find().start(&config(fronts[1], &sockets[1]), fronts[1]);
    let [mine, other] = [0, 1].map(|who| settled(&sockets[who]));
    for name in ["b-good", "b-bad", "b-slow"] {
        assert_eq!(mine[name], other[name], "{name}");
    }
    let row = |texts: [&str; 5]| Row(texts.map(str::to_owned));
    // What haproxy has no words for, and no number but -1.
    assert_eq!(mine["b-killed"], row(["DOWN", "PROCERR", "137", "ended by signal 9", "External check error"]));
    assert_eq!(other["b-killed"].0[..2], ["DOWN", "PROCERR"]);
    for (name, reason) in [("b-plain", "Permission denied"), ("b-none", "No such file or directory")] {
        assert_eq!(mine[name], row(["DOWN", "PROCERR", "255", reason, "External check error"]));
        assert_eq!(other[name].0[..3], ["DOWN", "PROCERR", "255"]);
    }
    drop((ours, theirs));
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_program_is_told_what_haproxy_tells() {
    let directory = directory();
    let tell = "{ echo \"$#: $*\"; env | grep -v ^PWD= | sort; ls /proc/self/fd; grep NoNewPrivs /proc/self/status; echo END; }";
    let told = |name: &str| directory.join(format!("told-{name}"));
    let program =
        script(&directory, "tell", &format!("{tell} > {0}.$$ && mv {0}.$$ {0}-$HAPROXY_PROXY_NAME", directory.join("told").display()));
    let fronts = [unused_address(), unused_address(), unused_address()];
    let unix = directory.join("listening");
    let config = format!(
        "global\n {GLOBAL}{DEFAULTS} option external-check\n external-check command {}\n external-check path /usr/bin:/bin\n\
         frontend f\n bind {}\n\
         backend plain\n server a 127.0.0.1:9 check port 77 addr 127.0.0.3 maxconn 12 inter 200ms\n\
         backend tls\n server x 127.0.0.1:7\n server a 127.0.0.1:9 check ssl verify none inter 200ms\n\
         backend web\n mode http\n server a 127.0.0.1:9 check inter 200ms\n\
         backend h2\n mode http\n server a 127.0.0.1:9 check proto h2 inter 200ms\n\
         backend six\n server a [::1]:9 check inter 200ms\n\
         backend unix\n server a unix@/nowhere/sock check inter 200ms\n\
         listen both\n bind {}\n bind {}\n server a 127.0.0.1:9 check inter 200ms\n\
         listen file\n bind unix@{}\n server a 127.0.0.1:9 check inter 200ms\n",
        program.display(),
        fronts[0],
        fronts[1],
        fronts[2],
        unix.display(),
    );
    let names = ["plain", "tls", "web", "h2", "six", "unix", "both", "file"];
    let gather = || {
        names.map(|name| {
            let text = text_of(&told(name));
            // They count proxies as they stand in the file.
            let lines = text.lines().filter(|line| !line.starts_with("HAPROXY_PROXY_ID="));
            lines.collect::<Vec<_>>().join("\n")
        })
    };
    let theirs = Haproxy::find().start(&config, fronts[0]);
    let expected = gather();
    drop(theirs);
    for name in names {
        fs::remove_file(told(name)).unwrap();
    }
    let daemon = Daemon::start_haproxy(&config);
    for (name, (mine, theirs)) in names.iter().zip(gather().iter().zip(&expected)) {
        assert_eq!(mine, theirs, "{name}");
    }
    assert!(text_of(&told("plain")).contains("HAPROXY_PROXY_ID=5\n"));
    assert!(expected[0].contains("NoNewPrivs:\t1"), "{}", expected[0]);
    let config = config.replace("insecure-fork-wanted\n", "insecure-fork-wanted\n insecure-setuid-wanted\n");
    daemon.reload(&config);
    daemon.wait_for_log("insecure-setuid-wanted acts from the next start on");
    drop(daemon);
    fs::remove_file(told("plain")).unwrap();
    let daemon = Daemon::start_haproxy(&config);
    let end = Instant::now() + PATIENCE;
    while !fs::read_to_string(told("plain")).unwrap_or_default().contains("NoNewPrivs:\t0") {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(20));
    }
    drop(daemon);
    // A program may still be writing down what it was told.
    let _ = fs::remove_dir_all(&directory);
}

#[test]
fn a_program_ends_with_all_it_started() {
    let directory = directory();
    let program = script(&directory, "hang", "sleep 300 & echo $$ $! > $0.new; mv $0.new $0.pids; echo END >> $0.pids; wait");
    let config = format!(
        "global\n {GLOBAL}{DEFAULTS}frontend f\n bind {}\nbackend b\n option external-check\n external-check command {}\n \
         external-check path /usr/bin:/bin\n server s 127.0.0.1:9 check inter 300ms downinter 1m fall 1\n",
        unused_address(),
        program.display(),
    );
    let daemon = Daemon::start_haproxy(&config);
    daemon.wait_for_log("server b/s is DOWN");
    let pids = text_of(&directory.join("hang.pids"));
    let lives = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let end = Instant::now() + PATIENCE;
    for pid in pids.lines().next().unwrap().split(' ') {
        while lives(pid) {
            assert!(Instant::now() < end, "{pid}");
            thread::sleep(Duration::from_millis(10));
        }
    }
    drop(daemon);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_native_format_starts_programs_too() {
    let directory = directory();
    let program = script(&directory, "tell", "[ \"$HAPROXY_SERVER_NAME\" = good ] && command -v true");
    let config = |allowed: bool| {
        format!(
            "[global]\nexternal-check = {allowed}\ninsecure-fork-wanted = true\n\
             [defaults]\nmode = \"tcp\"\ntimeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n\
             [frontend.f]\nbind = \"{}\"\ndefault-backend = \"b\"\n\
             [backend.b]\ncheck = {{ inter = \"100ms\", timeout = \"5s\", external = {{ command = \"{}\", path = \"/bin\" }} }}\n\
             server = {{ good = \"127.0.0.1:9\", bad = \"127.0.0.1:9\" }}\n",
            unused_address(),
            program.display(),
        )
    };
    let daemon = Daemon::start(&config(true));
    daemon.wait_for_log("server b/bad is DOWN");
    assert_eq!(daemon.count("server b/good is"), 0);
    let refused = crate::kit::refusal(&config(false));
    assert!(refused.contains("an external check needs `external-check` in `global`"), "{refused}");
    fs::remove_dir_all(&directory).unwrap();
}

//! The program called by the name of HAProxy: its options, exit codes, messages and signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{PATIENCE, Server, connect, directory, is_at_end, unused_address};

/// A directory with the program under its other name, and whatever runs from it.
struct Place {
    directory: PathBuf,
    front: SocketAddr,
    _server: Server,
}

impl Place {
    fn new(global: &str) -> Self {
        let (directory, front, server) = (directory(), unused_address(), Server::echo("here"));
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_l7d"), directory.join("haproxy")).unwrap();
        let place = Self { directory, front, _server: server };
        place.write("good.cfg", &place.config(global));
        place
    }

    fn config(&self, global: &str) -> String {
        format!(
            "global\n    nbthread 2\n{global}\ndefaults\n    mode tcp\n    timeout connect 2s\n    timeout client 30s\n    timeout server 30s\n\
             frontend front\n    bind {}\n    default_backend back\nbackend back\n    server s1 {}\n",
            self.front,
            self._server.address()
        )
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(self.directory.join("haproxy"));
        command.current_dir(&self.directory).args(arguments.split_whitespace());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.directory.join("pid")).unwrap().trim().to_owned()
    }

    fn signal(&self, name: &str, pid: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), pid]).status().unwrap().success());
    }

    fn greeting(&self) -> String {
        let mut client = connect(self.front);
        let mut text = [0; 4];
        client.read_exact(&mut text).unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.directory.join("pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).stderr(Stdio::null()).status();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Tells whether a process has ended; a zombie that nobody waits for has.
fn has_ended(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    status.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn end_of(child: &mut Child) -> Option<i32> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < end, "still running");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn checks_end_as_haproxys_do() {
    let place = Place::new("");
    place.write("bad.cfg", "global\n    bogus 1\n");
    let haproxy = |arguments: &str| {
        Command::new("/usr/sbin/haproxy").current_dir(&place.directory).args(arguments.split_whitespace()).output().unwrap()
    };
    for arguments in
        ["-c -f good.cfg", "-c -V -f good.cfg", "-c -q -f good.cfg", "-q -c -- good.cfg", "-c -f bad.cfg", "-c -f none.cfg", "-c", "-Z"]
    {
        let (ours, theirs) = (place.run(arguments), haproxy(arguments));
        assert_eq!(ours.status.code(), theirs.status.code(), "{arguments}");
        if theirs.status.success() {
            assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{arguments}");
        }
        assert_eq!(text(&ours.stderr).contains("[ALERT] "), !theirs.status.success(), "{arguments}: {}", text(&ours.stderr));
    }
    let said = text(&place.run("-c -f bad.cfg").stderr);
    assert!(said.contains("bad.cfg:2:5") && said.contains("config : Fatal errors found in configuration."), "{said}");
    for condition in ["", "version_atleast(2.6)", "feature(OPENSSL)", "defined(NOBODY_HAS_THIS)", "true", "1 && !0", "streq(a,b) || 1"] {
        let theirs = Command::new("/usr/sbin/haproxy").args(["-cc", condition]).output().unwrap();
        let ours = place.command("-cc").arg(condition).output().unwrap();
        assert_eq!(ours.status.code(), theirs.status.code(), "{condition:?}");
        let alert = "config : Failed to evaluate condition: ";
        assert_eq!(text(&ours.stderr).contains(alert), text(&theirs.stderr).contains(alert), "{condition:?}");
    }
    for (arguments, why) in [("-S /x,level,nobody", "-S: "), ("-dr", "init-addr"), ("-dK", "not supported"), ("-m some", "no number")] {
        let refused = place.run(&format!("-c -f good.cfg {arguments}"));
        assert_eq!(refused.status.code(), Some(1), "{arguments}");
        assert!(text(&refused.stderr).contains(why), "{arguments}: {}", text(&refused.stderr));
    }
    place.write("idle.cfg", &place.config("    tune.maxpollevents 100\n"));
    assert!(text(&place.run("-c -dD -f idle.cfg").stderr).contains("`tune.maxpollevents` means nothing here"));
    let version = text(&place.run("-v").stdout);
    assert!(version.starts_with("HAProxy version 3.2.0"), "{version}");
    let build = text(&place.run("-vv").stdout);
    let known = text(&haproxy("-vv").stdout);
    let words = |text: &str| -> Vec<String> {
        let list = text.lines().find_map(|line| line.strip_prefix("Feature list : ")).unwrap();
        list.split_whitespace().map(str::to_owned).collect()
    };
    let (ours, theirs) = (words(&build), words(&known));
    let newer = ["LINUX_CAP", "OPENSSL_AWSLC", "SSL"];
    for word in &ours {
        let (mark, name) = word.split_at(1);
        assert!(newer.contains(&name) || theirs.iter().any(|their| their[1..] == *name), "{word}");
        let asked = place.command("-cc").arg(format!("feature({name})")).status().unwrap();
        assert_eq!(asked.success(), mark == "+", "{word}");
    }
}

#[test]
fn goes_to_the_background_and_hands_over() {
    let place = Place::new("");
    let started = place.command("-D -f good.cfg -p pid").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(started.success());
    let first = place.pid();
    assert_eq!(place.greeting(), "here");
    let mut kept = connect(place.front);
    kept.read_exact(&mut [0; 4]).unwrap();
    assert!(
        place
            .command(&format!("-D -f good.cfg -p pid -sf {first}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let second = place.pid();
    assert_ne!(first, second);
    assert_eq!(place.greeting(), "here");
    // Who was there before is served to the end.
    kept.write_all(b"still").unwrap();
    kept.read_exact(&mut [0; 5]).unwrap();
    assert!(!has_ended(&first));
    drop(kept);
    wait_until("the first stays", || has_ended(&first));
    let occupied = place.command("-D -f good.cfg -p other").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(occupied.code(), Some(1), "the address is taken");
    // SIGTERM does not wait for anybody.
    let mut cut = connect(place.front);
    cut.read_exact(&mut [0; 4]).unwrap();
    place.signal("TERM", &second);
    wait_until("the second stays", || has_ended(&second));
    assert!(is_at_end(&mut cut));
}

#[test]
fn service_manager_is_told_and_signals_are_followed() {
    let place = Place::new("    hard-stop-after 200ms\n");
    let manager = UnixDatagram::bind(place.directory.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let count = manager.recv(&mut bytes).unwrap();
        text(&bytes[..count])
    };
    let mut child = place
        .command("-Ws -f good.cfg -p pid")
        .env("NOTIFY_SOCKET", place.directory.join("notify"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(hear(), "READY=1");
    assert_eq!(place.pid(), child.id().to_string());
    let mut kept = connect(place.front);
    kept.read_exact(&mut [0; 4]).unwrap();
    place.write(
        "good.cfg",
        &place.config("    hard-stop-after 300ms\n").replace("default_backend back", "default_backend back\n    maxconn 100"),
    );
    place.signal("USR2", &place.pid());
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hear(), "READY=1");
    assert_eq!(place.greeting(), "here");
    kept.write_all(b"on").unwrap();
    kept.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(place.pid(), child.id().to_string(), "a reload is of the same process");
    place.signal("USR1", &place.pid());
    assert_eq!(hear(), "STOPPING=1");
    // The connection would stay, but for the limit.
    assert_eq!(end_of(&mut child), Some(0));
    assert!(is_at_end(&mut kept));
}

#[test]
fn service_manager_hears_who_takes_the_place_of_another() {
    let place = Place::new("");
    let manager = UnixDatagram::bind(place.directory.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let start = |arguments: &str| {
        let mut command = place.command(arguments);
        command.env("NOTIFY_SOCKET", place.directory.join("notify")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let hear = || {
        let mut bytes = [0; 256];
        let count = manager.recv(&mut bytes).unwrap();
        text(&bytes[..count])
    };
    let mut first = start("-Ws -f good.cfg -p pid");
    assert_eq!(hear(), "READY=1");
    let mut second = start(&format!("-Ws -f good.cfg -p pid -sf {}", first.id()));
    let heard = [hear(), hear()];
    assert!(heard.contains(&format!("READY=1\nMAINPID={}", second.id())) && heard.contains(&"STOPPING=1".to_owned()), "{heard:?}");
    assert_eq!(end_of(&mut first), Some(0));
    assert_eq!(place.greeting(), "here");
    place.signal("TERM", &place.pid());
    assert_eq!(end_of(&mut second), Some(0));
}

#[test]
fn a_socket_that_the_service_manager_holds_loses_nobody_over_a_restart() {
    let place = Place::new("");
    place.write("good.cfg", &place.config("").replace(&format!("bind {}", place.front), "bind fd@3"));
    let listener = std::net::TcpListener::bind(place.front).unwrap();
    // What systemd does for a unit with a socket: it is the third descriptor, and the environment says so.
    let start = || {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec ./haproxy -Ws -f good.cfg -p pid"]);
        command.current_dir(&place.directory).stdin(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut child = start();
    assert_eq!(place.greeting(), "here");
    for _ in 0..3 {
        place.signal("USR2", &child.id().to_string());
        assert_eq!(place.greeting(), "here");
    }
    place.signal("TERM", &child.id().to_string());
    assert_eq!(end_of(&mut child), Some(0));
    // Nobody accepts now, and nobody is refused.
    let mut waiting = connect(place.front);
    let mut child = start();
    let mut bytes = [0; 4];
    waiting.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"here");
    place.signal("TERM", &child.id().to_string());
    assert_eq!(end_of(&mut child), Some(0));
}

#[test]
fn service_manager_hears_that_all_threads_live() {
    let place = Place::new("");
    let manager = UnixDatagram::bind(place.directory.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = place.command("-Ws -f good.cfg -p pid");
    command.env("NOTIFY_SOCKET", place.directory.join("notify")).env("WATCHDOG_USEC", "200000");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let heard: Vec<String> = (0..4)
        .map(|_| {
            let mut bytes = [0; 256];
            let count = manager.recv(&mut bytes).unwrap();
            text(&bytes[..count])
        })
        .collect();
    assert_eq!(heard, ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
    place.signal("TERM", &place.pid());
    assert_eq!(end_of(&mut child), Some(0));
}

#[test]
fn limits_of_the_command_line_hold_whatever_the_file_says() {
    let place = Place::new("");
    let socket = place.directory.join("s");
    place.write("good.cfg", &place.config(&format!("    maxconn 100\n    stats socket {} level admin\n", socket.display())));
    let mut child = place.command("-db -f good.cfg -p pid -n 77 -m 4000 -dL").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("0x") && first.contains(") /") && first.contains("l7d"), "{first}");
    wait_until("it does not serve", || socket.exists());
    assert_eq!(place.greeting(), "here");
    let maxconn = |text: String| text.lines().find_map(|line| line.strip_prefix("Maxconn: ")).unwrap().to_owned();
    assert_eq!(maxconn(crate::runtime::ask(&socket, "show info\n")), "77");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max data size") && line.contains("4194304000")), "{limits}");
    place.signal("HUP", &place.pid());
    // A reload keeps it.
    assert_eq!(maxconn(crate::runtime::ask(&socket, "show info\n")), "77");
    place.signal("TERM", &place.pid());
    assert_eq!(end_of(&mut child), Some(0));
}

#[test]
fn rights_are_given_up_once_everything_is_bound() {
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0) {
        eprintln!("skipped: only root can give anything up");
        return;
    }
    let jail = directory();
    let place = Place::new(&format!("    chroot {}\n    user nobody\n    group nogroup\n    daemon\n", jail.display()));
    let rights = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
        names.map(|name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start_matches([':', '\t']).to_owned())
    };
    assert!(place.command("-f good.cfg -p pid").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid = place.pid();
    assert_eq!(place.greeting(), "here");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\n"), "{status}");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/root")).unwrap(), jail);
    let nothing = "0000000000000000";
    assert_eq!(rights(&pid), [nothing, nothing, nothing, nothing, nothing, "1"]);
    // What is named is kept, and no more.
    place.signal("TERM", &pid);
    place.write("good.cfg", &place.config("    user nobody\n    setcap cap_net_bind_service,cap_net_raw\n    daemon\n"));
    assert!(place.command("-f good.cfg -p pid").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let kept = "0000000000002400";
    assert_eq!(rights(&place.pid()), [nothing, kept, kept, kept, nothing, "1"]);
    assert_eq!(place.greeting(), "here");
    place.write("bad.cfg", &place.config("    setcap cap_everything\n"));
    assert!(text(&place.run("-c -f bad.cfg").stderr).contains("`cap_everything`"));
    place.write("good.cfg", &place.config("    user there-is-no-such-user\n"));
    let refused = place.run("-db -f good.cfg");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("no user `there-is-no-such-user` on this host"));
    std::fs::remove_dir_all(jail).unwrap();
}

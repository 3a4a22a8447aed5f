//! Sockets that go from one process to the next: `-x`, between ours and Debian's haproxy in all directions.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kit::{PATIENCE, Server, connect, directory, read, unused_address};
use crate::runtime::ask;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Ours,
    Theirs,
}

struct Place {
    directory: PathBuf,
    fronts: [SocketAddr; 2],
    _server: Server,
}

impl Place {
    fn new(exposure: &str) -> Self {
        let (directory, server) = (directory(), Server::echo("s1"));
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_l7d"), directory.join("haproxy")).unwrap();
        let fronts = [unused_address(), unused_address()];
        let config = format!(
            "global\n nbthread 2\n stats socket {} level admin {exposure}\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n \
             timeout server 30s\nfrontend f\n bind {}\n bind {} interface lo\n bind abns@{}\n default_backend b\nbackend b\n server s {}\n",
            directory.join("cli").display(),
            fronts[0],
            fronts[1],
            directory.display(),
            server.address()
        );
        std::fs::write(directory.join("cfg"), config).unwrap();
        Self { directory, fronts, _server: server }
    }

    fn cli(&self) -> PathBuf {
        self.directory.join("cli")
    }

    fn start(&self, program: Program, arguments: &[&str]) -> Process {
        let path = match program {
            Program::Ours => self.directory.join("haproxy"),
            Program::Theirs => PathBuf::from("/usr/sbin/haproxy"),
        };
        let mut command = Command::new(path);
        command.args(["-db", "-f"]).arg(self.directory.join("cfg")).args(arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = Process(child);
        let end = Instant::now() + PATIENCE;
        while process.listening().len() < 3 || !self.is_served_by(&process) {
            assert!(Instant::now() < end, "{program:?} does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        process
    }

    /// Tells whether the runtime interface is a process's.
    fn is_served_by(&self, process: &Process) -> bool {
        let answers = || UnixStream::connect(self.cli()).is_ok().then(|| ask(&self.cli(), "show info\n"));
        answers().is_some_and(|info| info.contains(&format!("Pid: {}\n", process.0.id())))
    }
}

struct Process(Child);

impl Process {
    /// Returns the numbers of the sockets that listen.
    fn listening(&self) -> HashSet<String> {
        let tables = ["tcp", "unix"].map(|kind| std::fs::read_to_string(Path::new("/proc/net").join(kind)).unwrap());
        let tcp = tables[0].lines().filter(|line| line.split_whitespace().nth(3) == Some("0A"));
        let unix = tables[1].lines().filter(|line| line.split_whitespace().nth(3) == Some("00010000") && line.contains('@'));
        let numbers = tcp.filter_map(|line| line.split_whitespace().nth(9)).chain(unix.filter_map(|line| line.split_whitespace().nth(6)));
        let all: HashSet<String> = numbers.map(|number| format!("socket:[{number}]")).collect();
        let Ok(own) = std::fs::read_dir(format!("/proc/{}/fd", self.0.id())) else { return HashSet::new() };
        let own = own.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()?.into_os_string().into_string().ok());
        own.filter(|name| all.contains(name)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sockets_go_from_process_to_process() {
    use Program::{Ours, Theirs};
    for (before, after) in [(Theirs, Ours), (Ours, Theirs), (Ours, Ours)] {
        let place = Place::new("expose-fd listeners");
        let mut first = place.start(before, &[]);
        let mut kept = connect(place.fronts[0]);
        assert_eq!(read(&mut kept, 2), "s1");
        let pid = first.0.id().to_string();
        let sockets = first.listening();
        let second = place.start(after, &["-x", place.cli().to_str().unwrap(), "-sf", &pid]);
        let shared = second.listening().intersection(&sockets).count();
        // One for each address at least; the file of the runtime interface is not among them.
        assert!(shared >= 3, "{before:?} to {after:?}: {shared} of {sockets:?}");
        for front in place.fronts {
            assert_eq!(read(&mut connect(front), 2), "s1", "{before:?} to {after:?}");
        }
        kept.write_all(b"still").unwrap();
        assert_eq!(read(&mut kept, 5), "still", "{before:?} to {after:?}");
        drop(kept);
        let end = Instant::now() + PATIENCE;
        while first.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "{before:?} stays");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(second);
        std::fs::remove_dir_all(&place.directory).unwrap();
    }
}

#[test]
fn sockets_are_kept_from_who_may_not_have_them() {
    for program in [Program::Theirs, Program::Ours] {
        let place = Place::new("");
        let _first = place.start(program, &[]);
        let mut successor = Command::new(place.directory.join("haproxy"));
        successor.args(["-db", "-f"]).arg(place.directory.join("cfg")).arg("-x").arg(place.cli());
        let ended = successor.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains("hands over nothing"), "{program:?}: {said}");
        let mut client = UnixStream::connect(place.cli()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"_getsocks\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"", "{program:?}");
        std::fs::remove_dir_all(&place.directory).unwrap();
    }
}

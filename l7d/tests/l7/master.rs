//! The socket of a master (`-S`): its commands, and those of the worker behind it, beside Debian's haproxy.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::kit::{PATIENCE, Server, directory, unused_address};

/// Sends all there is to say, as haproxy's master expects it, and returns what is answered.
fn ask(socket: &Path, commands: &str) -> String {
    try_ask(socket, commands).unwrap_or_else(|error| panic!("{commands:?}: {error}"))
}

fn try_ask(socket: &Path, commands: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(commands.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

struct Process {
    child: Child,
    socket: PathBuf,
    file: PathBuf,
    good: String,
    _server: Server,
    directory: PathBuf,
}

impl Process {
    fn start(program: Option<&Path>) -> Self {
        Self::of(|(socket, file)| {
            let own = socket.with_file_name("haproxy");
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_l7d"), &own).unwrap();
            let mut command = Command::new(program.unwrap_or(&own));
            command.args(["-W", "-S", &format!("{},mode,600", socket.display()), "-f"]).arg(file);
            command
        })
    }

    /// Starts what takes commands on a socket, with a configuration file.
    fn of(command: impl FnOnce((&Path, &Path)) -> Command) -> Self {
        let (directory, server) = (directory(), Server::echo("s1"));
        let (socket, file) = (directory.join("master"), directory.join("cfg"));
        let good = format!(
            "defaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n timeout server 30s\nlisten f\n bind {}\n server s {}\n",
            unused_address(),
            server.address()
        );
        std::fs::write(&file, &good).unwrap();
        let child = command((&socket, &file)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = Self { child, socket, file, good, _server: server, directory };
        process.until("show proc\n", "worker");
        process
    }

    /// Asks until the answer contains a text.
    fn until(&self, commands: &str, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            // While haproxy's master starts, its socket may be there, take a client and leave it.
            if let Ok(answer) = try_ask(&self.socket, commands)
                && answer.contains(text)
            {
                return answer;
            }
            assert!(Instant::now() < end, "no {text:?} to {commands:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Returns an answer without what differs between programs and runs.
    fn say(&self, commands: &str) -> String {
        let worker = self.worker();
        let answer = ask(&self.socket, &commands.replace("WORKER", &worker));
        let own = answer.lines().filter(|line| !line.starts_with("  "));
        own.map(|line| format!("{}\n", stripped(line).replace(&worker, "WORKER"))).collect()
    }

    fn worker(&self) -> String {
        let list = ask(&self.socket, "show proc\n");
        let line = list.lines().find(|line| line.contains(" worker ")).unwrap().to_owned();
        line.split_whitespace().next().unwrap().to_owned()
    }

    fn reloads(&self) -> Vec<String> {
        let list = ask(&self.socket, "show proc\n");
        list.lines().filter(|line| line.contains("0d00h")).map(|line| line[16..48].trim().to_owned()).collect()
    }
}

/// Returns a line of a list of processes without its number, its time and its version.
fn stripped(line: &str) -> String {
    if line.contains("0d00h") { line.get(16..48).unwrap_or_default().to_owned() } else { line.to_owned() }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn commands_of_a_master_are_answered_as_haproxys_are() {
    let sides = [Process::start(None), Process::start(Some(Path::new("/usr/sbin/haproxy")))];
    for commands in [
        "show proc\n",
        "@master show proc\n",
        "@0 show proc\n",
        "@2 show info\n",
        "@!99999999 show info\n",
        "@!WORKER show cli level\n",
        "@1;show cli level;@;show proc\n",
        "@1 set server f/s state maint;@1 get weight f/s\n",
        "@1 get weight f/zz\n",
        "operator;show cli level\n",
        "user;reload\n",
        "expert-mode on;show proc\n",
        "prompt;show proc;@1;get weight f/s;@\n",
        "prompt;@1 get weight f/s;show cli level\n",
        "help show\n",
    ] {
        let [ours, theirs] = sides.each_ref().map(|side| side.say(commands));
        assert_eq!(ours, theirs, "{commands:?}");
    }
}

#[test]
fn reloads_are_counted_and_tell_what_came_of_them() {
    let process = Process::start(None);
    let answer = ask(&process.socket, "reload\n");
    assert!(answer.starts_with("Success=1\n--\n"), "{answer}");
    assert_eq!(process.reloads(), ["master          1 [failed: 0]", "worker          0"]);
    std::fs::write(&process.file, format!("{} bogus\n", process.good)).unwrap();
    let answer = ask(&process.socket, "reload\n");
    assert!(answer.starts_with("Success=0\n--\n") && answer.contains("bogus"), "{answer}");
    assert_eq!(process.reloads(), ["master          2 [failed: 1]", "worker          1"]);
    std::fs::write(&process.file, &process.good).unwrap();
    // A reload by signal is one, too.
    assert!(Command::new("kill").args(["-USR2", &process.child.id().to_string()]).status().unwrap().success());
    process.until("show proc\n", "master          3 [failed: 1]");
    assert_eq!(process.reloads()[1], "worker          0");
}

#[test]
fn a_thousand_reloads_leave_nothing_behind() {
    let process = Process::start(None);
    let proc = PathBuf::from(format!("/proc/{}", process.child.id()));
    let held = || {
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
        (std::fs::read_dir(proc.join("fd")).unwrap().count(), kilobytes)
    };
    let reload = |times: usize| {
        for _ in 0..times {
            let answer = ask(&process.socket, "reload\n");
            assert!(answer.starts_with("Success=1\n"), "{answer}");
        }
    };
    reload(200);
    let before = held();
    reload(800);
    // The dialog that ended last may not be closed yet.
    let end = Instant::now() + PATIENCE;
    while held().0 > before.0 {
        assert!(Instant::now() < end, "{:?} after {before:?}", held());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let after = held();
    assert!(after.1 < before.1 + 2048, "{after:?} after {before:?}");
}

#[test]
fn the_program_by_its_own_name_has_a_master_too() {
    let mut process = Process::of(|(socket, file)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
        command.args(["run", "--master-socket", &format!("{},mode,600", socket.display()), "-f"]).arg(file);
        command
    });
    let first = |text: &str| text.lines().nth(1).and_then(|line| line.split(' ').next()).map(str::to_owned);
    let list = ask(&process.socket, "show proc\n");
    assert_eq!(list.lines().filter(|line| line.starts_with(&process.child.id().to_string())).count(), 2, "{list}");
    assert!(ask(&process.socket, "@1 show info\n").contains("Name: HAProxy\n"));
    assert!(ask(&process.socket, "reload\n").starts_with("Success=1\n"));
    assert_eq!(first(&ask(&process.socket, "show proc\n")), first(&list));
    assert!(process.child.try_wait().expect("a child").is_none());
}

//! Checks of protocols against the servers they were made for, from Debian: alive, of another kind, hanging, back, and dead, as Debian's
//! haproxy sees them at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::checks::{Trial, rows};
use crate::kit::{Daemon, Haproxy, PATIENCE, directory, unused_address};
use crate::runtime::ask;

/// A server from Debian; killed when dropped.
struct Program {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Program {
    /// Starts what `make` makes in a directory of its own, and waits until it accepts.
    fn start(make: impl Fn(&Path, SocketAddr) -> Command) -> Self {
        let (directory, address) = (directory(), unused_address());
        let mut command = make(&directory, address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(directory.join("log")).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}: `cargo xtask setup` installs it"));
        let program = Self { child, directory, address };
        let end = Instant::now() + 4 * PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "{command:?}: {}", fs::read_to_string(program.directory.join("log")).unwrap());
            thread::sleep(Duration::from_millis(50));
        }
        program
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), pid]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn run(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: `cargo xtask setup` installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A database with one user, who has no password.
fn mariadb(directory: &Path, address: SocketAddr) -> Command {
    let data = directory.join("data");
    fs::create_dir_all(data.join("mysql")).unwrap();
    let server = || {
        let mut command = Command::new("/usr/sbin/mariadbd");
        command.args(["--no-defaults", "--user=root"]).arg(format!("--datadir={}", data.display()));
        command
    };
    let tables = fs::read_to_string("/usr/share/mysql/mysql_system_tables.sql").expect("`cargo xtask setup` installs it");
    let user = "INSERT INTO global_priv VALUES ('%','check','{\"access\":0,\"plugin\":\"mysql_native_password\",\"authentication_string\":\"\"}');";
    let mut bootstrap = server().arg("--bootstrap").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    bootstrap.stdin.take().unwrap().write_all(format!("use mysql;\n{tables}\n{user}\n").as_bytes()).unwrap();
    assert!(bootstrap.wait().unwrap().success());
    let mut command = server();
    command.arg(format!("--socket={}", directory.join("s").display())).arg(format!("--pid-file={}", directory.join("pid").display()));
    command.args([format!("--port={}", address.port()), format!("--bind-address={}", address.ip())]);
    command.args(["--skip-name-resolve", "--max-connect-errors=1000000"]);
    command
}

fn postgresql(directory: &Path, address: SocketAddr) -> Command {
    const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
    let data = directory.join("data");
    // It does not serve root.
    let nobody = |program: &str| {
        let mut command = Command::new(format!("{PROGRAMS}/{program}"));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        command.arg("-D").arg(&data);
        command
    };
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut initdb = nobody("initdb");
    initdb.args(["-A", "trust", "-U", "check", "--no-sync"]);
    run(initdb);
    let mut command = nobody("postgres");
    command.args(["-p", &address.port().to_string(), "-h", &address.ip().to_string()]).arg("-k").arg(directory);
    command
}

fn slapd(directory: &Path, address: SocketAddr) -> Command {
    let (database, config) = (directory.join("db"), directory.join("conf"));
    fs::create_dir(&database).unwrap();
    let lines = format!(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {}\ndatabase mdb\nsuffix \"dc=x\"\n\
         directory {}\n",
        directory.join("pid").display(),
        database.display()
    );
    fs::write(&config, lines).unwrap();
    let mut command = Command::new("/usr/sbin/slapd");
    command.args(["-d", "0", "-h", &format!("ldap://{address}")]).arg("-f").arg(config);
    command
}

fn redis(directory: &Path, address: SocketAddr) -> Command {
    // One program under three names; the package with this one starts no service.
    let mut command = Command::new("/usr/bin/redis-check-rdb");
    command.arg0("redis-server").args(["--save", "", "--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.arg("--dir").arg(directory);
    command
}

fn mail(_: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-l", &address.to_string()]);
    command
}

const NOBODY: u32 = 65_534;

/// What is said of each server: its status, the result of its check, and the code.
type Seen = BTreeMap<String, [String; 3]>;

fn seen(socket: &Path) -> Seen {
    let (rows, _) = rows(&ask(socket, "show stat\n"));
    let brief = |row: crate::checks::Row| {
        let [status, check, code, ..] = row.0;
        // A star marks a check under way.
        [status, check.trim_start_matches("* ").to_owned(), code]
    };
    rows.into_iter().map(|(name, row)| (name, brief(row))).collect()
}

/// Waits until ours and haproxy say of every server what is expected, and the same.
fn wait_for(sockets: &[PathBuf; 2], what: &str, expected: &[(&str, &str, &str)]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let [ours, theirs] = [0, 1].map(|who| seen(&sockets[who]));
        let is_so = |seen: &Seen| expected.iter().all(|(name, status, check)| seen[*name][..2] == [*status, *check]);
        if is_so(&ours) && is_so(&theirs) && ours == theirs {
            return;
        }
        assert!(Instant::now() < end, "{what}: ours {ours:#?}\ntheirs {theirs:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn real_servers_are_seen_as_haproxy_sees_them() {
    let servers = [Program::start(mariadb), Program::start(postgresql), Program::start(slapd), Program::start(redis), Program::start(mail)];
    let [database, postgres, directory_server, cache, mails] = &servers;
    let cases = [
        ("mysql", "mysql-check user check", database),
        ("mysql-old", "mysql-check user check pre-41", database),
        ("mysql-plain", "mysql-check", database),
        ("mysql-denied", "mysql-check user nobody", database),
        ("pgsql", "pgsql-check user check", postgres),
        ("ldap", "ldap-check", directory_server),
        ("redis", "redis-check", cache),
        ("smtp", "smtpchk EHLO a.test", mails),
        ("smtp-plain", "smtpchk", mails),
        ("mysql-of-pgsql", "mysql-check user check", postgres),
        ("mysql-of-redis", "mysql-check user check", cache),
        ("pgsql-of-smtp", "pgsql-check user check", mails),
        ("pgsql-of-redis", "pgsql-check user check", cache),
        ("ldap-of-pgsql", "ldap-check", postgres),
        ("ldap-of-smtp", "ldap-check", mails),
        ("redis-of-pgsql", "redis-check", postgres),
        ("redis-of-smtp", "redis-check", mails),
        ("smtp-of-mysql", "smtpchk", database),
        ("smtp-of-redis", "smtpchk", cache),
    ];
    let backend =
        |(name, option, server): &(&str, &str, &Program)| ((*name).to_owned(), format!(" option {option}"), server.address.to_string());
    let trial = Trial { defaults: String::new(), backends: cases.iter().map(backend).collect() };
    let directory = directory();
    let sockets = ["ours", "theirs"].map(|name| directory.join(name));
    let fronts = [unused_address(), unused_address()];
    let config = |who: usize| trial.config(fronts[who], &sockets[who]).replace(" downinter 10s", "");
    let ours = Daemon::start_haproxy(&config(0));
    let theirs = Haproxy::find().start(&config(1), fronts[1]);
    let of_all = |right: &[&'static str], status: &'static str, check: &'static str| -> Vec<_> {
        right.iter().map(|name| (*name, status, check)).collect()
    };
    let right = ["mysql", "mysql-plain", "pgsql", "ldap", "redis", "smtp", "smtp-plain"];
    let healthy = of_all(&right, "UP", "L7OK");
    let foreign = [("mysql-denied", "DOWN", "L7STS"), ("mysql-of-pgsql", "DOWN", "L7RSP"), ("redis-of-smtp", "DOWN", "L7TOUT")];
    wait_for(&sockets, "alive", &[&healthy[..], &foreign].concat());
    servers.iter().for_each(|server| server.signal("STOP"));
    wait_for(&sockets, "hanging", &of_all(&right, "DOWN", "L7TOUT"));
    servers.iter().for_each(|server| server.signal("CONT"));
    wait_for(&sockets, "back", &healthy);
    drop(servers);
    wait_for(&sockets, "dead", &of_all(&right, "DOWN", "L4CON"));
    drop((ours, theirs));
    fs::remove_dir_all(&directory).unwrap();
}

//! What the tests are made of: the daemon as a process, and servers that do as they are told.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for anything that must happen; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Returns an address of the loopback network that no other test uses, also not one of another run.
pub(crate) fn unused_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let host = (std::process::id() % 30_000) * 256 + 1 + NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, a, b, c] = host.to_be_bytes();
    SocketAddr::from(([127, a.wrapping_add(1), b, c], 7000))
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Log>,
    directory: PathBuf,
    /// The name of the configuration file in it.
    name: &'static str,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    ended: AtomicBool,
    grown: Condvar,
}

impl Daemon {
    /// Starts the daemon on a configuration and waits until it serves.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// Starts the daemon with these variables in its environment.
    pub(crate) fn start_with(config: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_file("site.toml", config, variables)
    }

    /// Starts the daemon on a configuration in HAProxy's language.
    pub(crate) fn start_haproxy(config: &str) -> Self {
        Self::start_file("haproxy.cfg", config, &[])
    }

    /// Starts the daemon on a file of this name.
    pub(crate) fn start_file(name: &'static str, config: &str, variables: &[(&str, &str)]) -> Self {
        let directory = directory();
        std::fs::write(directory.join(name), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
        command.arg("run").arg("-f").arg(directory.join(name)).envs(variables.iter().copied());
        Self::launch(command, directory, name)
    }

    /// Starts the daemon where this file stands in the place of another.
    pub(crate) fn start_seeing(file: &Path, place: &str, config: &str) -> Self {
        const SCRIPT: &str = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        let (directory, name) = (directory(), "haproxy.cfg");
        std::fs::write(directory.join(name), config).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]).arg(file).arg(place);
        command.arg(env!("CARGO_BIN_EXE_l7d")).arg("run").arg("-f").arg(directory.join(name));
        Self::launch(command, directory, name)
    }

    /// Starts the daemon by the name and the arguments of HAProxy, beside its file.
    pub(crate) fn start_as_haproxy(config: &str, arguments: &[&str]) -> Self {
        let (directory, name) = (directory(), "haproxy.cfg");
        std::fs::write(directory.join(name), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
        command.arg0("haproxy").args(["-db", "-f"]).arg(directory.join(name)).args(arguments);
        Self::launch(command, directory, name)
    }

    fn launch(mut command: Command, directory: PathBuf, name: &'static str) -> Self {
        let mut child = command.env("RUST_LOG", "debug").stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (stderr, sink) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sink.lines.lock().unwrap().push(line);
                sink.grown.notify_all();
            }
            sink.ended.store(true, Ordering::SeqCst);
            sink.grown.notify_all();
        });
        let daemon = Self { child, log, directory, name };
        daemon.wait_for_log("serving ");
        daemon
    }

    /// Waits until a line of the log contains `text` and returns it.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !self.log.ended.load(Ordering::SeqCst), "no {text:?} in the log:\n{}", lines.join("\n"));
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Puts another configuration in place of the first, which nobody tells the daemon.
    pub(crate) fn put(&self, config: &str) {
        std::fs::write(self.directory.join(self.name), config).unwrap();
    }

    /// Puts another configuration in place of the first and waits until the daemon has looked at it.
    pub(crate) fn reload(&self, config: &str) {
        self.put(config);
        let before = self.count("configuration replaced") + self.count("configuration unchanged");
        self.signal("HUP");
        let end = Instant::now() + PATIENCE;
        while self.count("configuration replaced") + self.count("configuration unchanged") == before {
            assert!(Instant::now() < end, "not reloaded");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns how many lines of the log contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// Returns how much memory the process has resident, in KiB.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// Returns how much memory the process has had resident at most, in KiB.
    pub(crate) fn resident_peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Returns the number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the daemon to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells whether the daemon still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Starts the daemon on a configuration it cannot serve, and returns what it said.
pub(crate) fn refusal(config: &str) -> String {
    let directory = directory();
    std::fs::write(directory.join("site.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_l7d")).arg("run").arg("-f").arg(directory.join("site.toml")).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(!output.status.success(), "it started");
    String::from_utf8(output.stderr).unwrap()
}

/// Makes a directory of this test's own.
pub(crate) fn directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("l7d-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A server that treats every connection alike; stops accepting when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server that hands each connection to `serve` on a thread of its own.
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), serve)
    }

    /// Starts a server on a given address.
    pub(crate) fn at(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped, serve) = (Arc::clone(&accepted), Arc::clone(&stop), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream.unwrap()));
            }
        });
        Self { address, accepted, stop }
    }

    /// Starts a server that says its name and then returns what it gets.
    pub(crate) fn echo(name: &'static str) -> Self {
        Self::start(move |stream| echo(name, stream))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many connections came in.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept loop, which then closes the socket; who comes before it has would not be refused.
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_ok() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Says a name, then returns what comes.
pub(crate) fn echo(name: &str, mut stream: TcpStream) {
    let mut buffer = [0; 65536];
    if stream.write_all(name.as_bytes()).is_err() {
        return;
    }
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// Starts a server on a Unix socket that says its name and then returns what it gets.
pub(crate) fn unix_echo(listener: UnixListener, name: &'static str) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                stream.write_all(name.as_bytes()).unwrap();
                let mut copy = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut copy, &mut stream);
            });
        }
    });
}

/// Connects, with a deadline on every read.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads exactly `count` bytes as text.
pub(crate) fn read(stream: &mut impl Read, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads an answer whose head tells its length, or that ends with the connection, and whatever else comes at once.
pub(crate) fn answer(stream: &mut TcpStream) -> String {
    let (mut bytes, mut more) = (Vec::new(), [0; 4096]);
    while !is_whole(&bytes)
        && let Ok(count @ 1..) = stream.read(&mut more)
    {
        bytes.extend_from_slice(&more[..count]);
    }
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    while let Ok(count @ 1..) = stream.read(&mut more) {
        bytes.extend_from_slice(&more[..count]);
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// Tells whether the stream ends without another byte; a reset is an end, too.
pub(crate) fn is_at_end(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Returns a configuration with one tcp frontend, one backend with these settings, and servers named `s1`, `s2`, ….
pub(crate) fn tcp_site(front: SocketAddr, settings: &str, servers: &[SocketAddr]) -> String {
    let mut site = format!(
        "[global]\nnbthread = 2\n[defaults]\nmode = \"tcp\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n\
         [frontend.front]\nbind = [\"{front}\"]\ndefault-backend = \"back\"\n[backend.back]\n{settings}\n[backend.back.server]\n"
    );
    for (number, address) in (1..).zip(servers) {
        writeln!(site, "s{number} = \"{address}\"").unwrap();
    }
    site
}

/// Debian's haproxy, to compare with.
pub(crate) struct Haproxy {
    program: PathBuf,
}

/// A running haproxy; killed when dropped.
pub(crate) struct HaproxyProcess {
    child: Child,
    directory: PathBuf,
}

impl Haproxy {
    /// Finds the program, without which nothing here can be compared.
    pub(crate) fn find() -> Self {
        let program = PathBuf::from("/usr/sbin/haproxy");
        assert!(program.exists(), "{} is missing: `cargo xtask setup` installs it", program.display());
        Self { program }
    }

    /// Starts it and waits until it accepts on `address`.
    pub(crate) fn start(&self, config: &str, address: SocketAddr) -> HaproxyProcess {
        let directory = directory();
        let file = directory.join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).stdout(Stdio::null());
        let mut process = HaproxyProcess { child: command.spawn().unwrap(), directory };
        // Trying to bind rather than to connect leaves no trace in what the server counts.
        let end = Instant::now() + PATIENCE;
        while TcpListener::bind(address).is_ok() {
            assert!(Instant::now() < end, "haproxy does not start");
            // The address may have been ours just when it wanted to have it.
            if process.child.try_wait().unwrap().is_some() {
                process.child = command.spawn().unwrap();
            }
            thread::sleep(Duration::from_millis(20));
        }
        process
    }
}

impl HaproxyProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for HaproxyProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

//! A lab with l4d running in its balancer, and the configuration it runs on.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Output,
    sync::Once,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use l4d::datapath::Maps;
use tests::{
    netns::Netns,
    process::{Process, Signal, bin},
    scratch::Scratch,
    server::Backend,
    topology::{Arms, Family, Lab, Return},
};

use crate::{
    file::{File, METRICS},
    sources,
};

/// The virtual port.
pub(crate) const PORT: u16 = 80;
/// Where servers listen behind nat.
pub(crate) const SERVER_PORT: u16 = 8080;
/// A deadline for what should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A deadline for starts and changes: the kernel judges every way through the program, and rings are made anew, beside all that a busy machine does.
pub(crate) const STARTED: Duration = Duration::from_secs(60);

/// How a site balances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// `nat` or `dsr`.
    pub(crate) forward: &'static str,
    /// A balance that the kernel tier knows: `roundrobin`, `source` or `tuple`.
    pub(crate) balance: &'static str,
    /// One or two interfaces.
    pub(crate) arms: Arms,
    /// How many servers.
    pub(crate) servers: u8,
}

impl Plan {
    pub(crate) const NAT: Self = Self { forward: "nat", balance: "roundrobin", arms: Arms::One, servers: 3 };
    pub(crate) const DSR: Self = Self { forward: "dsr", balance: "roundrobin", arms: Arms::One, servers: 3 };
    /// Servers see their clients, and are behind the balancer.
    pub(crate) const DNAT: Self = Self { forward: "dnat", balance: "roundrobin", arms: Arms::Two, servers: 3 };
    /// Both ways to reach a server.
    pub(crate) const BOTH: [Self; 2] = [Self::NAT, Self::DSR];

    /// Tells whether packets are rewritten, and replies come back through the balancer.
    pub(crate) fn is_translated(self) -> bool {
        matches!(self.forward, "nat" | "dnat")
    }

    /// Returns the plan with another balance.
    pub(crate) fn by(self, balance: &'static str) -> Self {
        Self { balance, ..self }
    }

    /// Returns the plan with so many servers.
    pub(crate) fn with_servers(self, servers: u8) -> Self {
        Self { servers, ..self }
    }
}

/// A running lab; dropped in the order of its fields, after the data plane was taken away.
pub(crate) struct Site {
    pub(crate) l4d: Process,
    pub(crate) backends: Vec<Backend>,
    pub(crate) file: File,
    pub(crate) lab: Lab,
    path: PathBuf,
    scratch: Scratch,
}

impl Site {
    /// Starts servers and l4d for a plan.
    pub(crate) fn start(plan: Plan) -> Result<Self> {
        Self::start_on(File::new(plan))
    }

    /// Starts servers and l4d on a file.
    pub(crate) fn start_on(file: File) -> Result<Self> {
        remove_abandoned_pins();
        let returning = if file.plan.is_translated() { Return::ThroughBalancer } else { Return::Direct };
        let lab = Lab::new(file.plan.servers, file.plan.arms, returning)?;
        sources::add(&lab)?;
        let backends = lab.start_backends(file.server_port())?;
        let scratch = Scratch::new("l4d")?;
        let mut file = file;
        file.xdp += &format!("stats-socket = {{ path = \"{}\", level = \"admin\" }}\n", scratch.path().join("l4d.sock").display());
        let path = scratch.write(FILE, file.text(&lab))?;
        let l4d = spawn(lab.balancer().namespace(), &path)?;
        l4d.wait_for_line("ready:", STARTED)?;
        Ok(Self { l4d, backends, file, lab, path, scratch })
    }

    /// Changes the file and has l4d read it.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut File)) -> Result<()> {
        change(&mut self.file);
        let text = self.file.text(&self.lab);
        self.reload_text(&text, "reloaded").map(drop)
    }

    /// Has l4d read this text and returns the line of its log that contains `expected`.
    pub(crate) fn reload_text(&mut self, text: &str, expected: &str) -> Result<String> {
        self.write_text(text)?;
        let mark = self.l4d.mark();
        self.l4d.signal(Signal::HUP)?;
        self.l4d.wait_for_line_after(mark, expected, STARTED)
    }

    /// Writes the file as it is now, for the next start.
    pub(crate) fn write_file(&self) -> Result<()> {
        self.write_text(&self.file.text(&self.lab))
    }

    /// Writes another text in place of the file, for the next start.
    pub(crate) fn write_text(&self, text: &str) -> Result<()> {
        self.scratch.write(FILE, text).map(drop)
    }

    /// Starts l4d once more, without waiting for anything.
    pub(crate) fn spawn_l4d(&self) -> Result<Process> {
        spawn(self.lab.balancer().namespace(), &self.path)
    }

    /// Starts l4d again after it ended.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.l4d = self.spawn_l4d()?;
        self.l4d.wait_for_line("ready:", STARTED).map(drop)
    }

    /// Runs `l4d COMMAND -f FILE` to its end.
    pub(crate) fn run_l4d(&self, command: &str) -> Result<Output> {
        run(self.lab.balancer().namespace(), command, &self.path)
    }

    /// Runs `l4d COMMAND -f FILE` and returns what it printed.
    pub(crate) fn l4d(&self, command: &str) -> Result<String> {
        let output = self.run_l4d(command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "l4d {command}: {text}");
        Ok(text)
    }

    /// Sends a command to l4d's socket and returns the answer.
    pub(crate) fn command(&self, command: &str) -> Result<String> {
        let mut socket = UnixStream::connect(self.socket()).context("connect to l4d's socket")?;
        socket.set_read_timeout(Some(SOON))?;
        writeln!(socket, "{command}")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).with_context(|| format!("answer to `{command}`"))?;
        Ok(answer)
    }

    /// Returns the path of l4d's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.path().join("l4d.sock")
    }

    /// Opens the data plane's maps for reading.
    pub(crate) fn maps(&self) -> Result<Maps> {
        Maps::watch(&self.pin()).context("open the maps")
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory of pins.
    pub(crate) fn pin(&self) -> PathBuf {
        Path::new(PINS).join(self.lab.balancer().namespace().name())
    }

    /// Returns how many packets met this reason.
    pub(crate) fn packets(&self, reason: &str) -> Result<u64> {
        let reasons = self.maps()?.reasons()?;
        let count = reasons.iter().find(|(known, _)| known.name() == reason).map(|(_, count)| *count);
        count.with_context(|| format!("no reason `{reason}`"))
    }

    /// Returns l4d's metrics by their names and labels.
    pub(crate) fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let client = tests::client::Client::new(self.lab.balancer().namespace());
        let response = client.get(METRICS.parse()?, "/metrics")?;
        ensure!(response.status == 200, "metrics: status {}", response.status);
        let text = String::from_utf8(response.body)?;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let parsed = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("not a sample: `{line}`"))?;
            Ok((name.to_owned(), value.parse().with_context(|| format!("not a number in `{line}`"))?))
        });
        parsed.collect()
    }

    pub(crate) fn vip(&self, family: Family) -> SocketAddr {
        self.lab.vip(family, PORT)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Whatever is still pinned would outlive the lab; a test that failed has better news than a failure here.
        drop(self.l4d.terminate(Duration::from_secs(3)).or_else(|_| self.l4d.kill().map(|()| Default::default())));
        if self.pin().exists() {
            drop(self.run_l4d("detach"));
            remove_pins(&self.pin());
        }
    }
}

fn spawn(namespace: &Netns, path: &Path) -> Result<Process> {
    let mut command = namespace.command(bin("l4d")?);
    command.arg("run").arg("-f").arg(path);
    Process::spawn(command)
}

fn run(namespace: &Netns, command: &str, path: &Path) -> Result<Output> {
    let mut l4d = namespace.command(bin("l4d")?);
    l4d.arg(command).arg("-f").arg(path).output().with_context(|| format!("run l4d {command}"))
}

/// Removes what killed test runs left pinned.
fn remove_abandoned_pins() {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| {
        for entry in fs::read_dir(PINS).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix("lab-").and_then(|rest| rest.split('-').next()).and_then(|id| id.parse::<u32>().ok());
            if owner.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
                remove_pins(&entry.path());
            }
        }
    });
}

fn remove_pins(directory: &Path) {
    for pin in fs::read_dir(directory).into_iter().flatten().flatten() {
        drop(fs::remove_file(pin.path()));
    }
    drop(fs::remove_dir(directory));
}

const FILE: &str = "l4d.toml";

/// Where a bpf file system is mounted.
const PINS: &str = "/sys/fs/bpf";

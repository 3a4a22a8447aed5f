//! What there is: read from sysfs, procfs, netlink and `ethtool`; nothing is changed.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use control::config::{Config, Forward, Xdp};
use rustix::fs::statfs;

use crate::{
    neighbor::{Neighbors, Outcome, Outcomes, interface::interface_index},
    plan,
    reach::Obstacles,
};

/// What kind of device it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// With its parent.
    Vlan(String),
    Bond,
    Bridge,
}

/// What the device does by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Features {
    /// Those that are on.
    Known(Vec<String>),
    Unknown,
}

/// Tunnels of a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub(super) frontend: String,
    /// Bytes it puts before a packet, at most.
    pub(super) overhead: u32,
    /// As configured.
    pub(super) mtu: Option<u32>,
}

/// All that is judged.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) kernel: (u32, u32),
    pub(super) jit: Option<String>,
    pub(super) pin: PathBuf,
    pub(super) bpffs: bool,
    pub(super) up: bool,
    pub(super) ethernet: bool,
    pub(super) kind: Kind,
    pub(super) master: Option<(String, Kind)>,
    pub(super) driver: Option<String>,
    /// How a program is attached, if one is.
    pub(super) program: Option<String>,
    /// Whether that is l4d's.
    pub(super) ours: bool,
    pub(super) mtu: u32,
    pub(super) features: Features,
    /// Whether there are VLAN devices on it.
    pub(super) has_vlans: bool,
    pub(super) receive_queues: usize,
    pub(super) send_queues: usize,
    pub(super) processors: usize,
    pub(super) forwarding_v4: Option<String>,
    pub(super) forwarding_v6: Option<String>,
    /// Servers, and what is in the way with the command that mends it.
    pub(super) hops: Vec<(IpAddr, Option<(String, String)>)>,
    pub(super) tunnels: Vec<Tunnel>,
}

/// The offload that takes VLAN tags off before a program sees them.
pub(super) const HIDES_TAGS: &str = "rx-vlan-offload";
/// How long the next hops may take.
const RESOLUTION: Duration = Duration::from_secs(2);
/// Magic number of a bpf file system.
const BPF_FS: i64 = 0xcafe_4a11;

/// Looks at everything.
///
/// # Errors
/// No such interface.
pub(super) async fn gather(name: &str, config: Option<&Config>) -> anyhow::Result<Facts> {
    // A name is part of paths below.
    ensure!(!name.is_empty() && !name.contains('/') && name != "." && name != "..", "`{name}` is not the name of an interface");
    let device = Path::new("/sys/class/net").join(name);
    let index = interface_index(name).await.with_context(|| format!("interface {name}"))?;
    // What a plain `nsenter --net` does not change would be read of a stranger.
    ensure!(
        text(&device.join("ifindex")).as_deref() == Some(index.to_string().as_str()),
        "interface {name}: the /sys mounted here is that of another network namespace; `mount -t sysfs sysfs /sys` there, in a mount namespace of its own"
    );
    let pin = config.and_then(Config::xdp).map_or_else(|| PathBuf::from("/sys/fs/bpf/l4d"), |xdp| (**xdp.pin()).clone());
    let master = link_name(&device.join("master"));
    let master_kind = master.as_ref().map(|master| kind(&Path::new("/sys/class/net").join(master)));
    Ok(Facts {
        name: name.to_owned(),
        kernel: kernel(),
        jit: text(Path::new("/proc/sys/net/core/bpf_jit_enable")),
        bpffs: pin.parent().and_then(|parent| statfs(parent).ok()).is_some_and(|found| found.f_type == BPF_FS),
        up: text(&device.join("carrier")).as_deref() == Some("1"),
        ethernet: text(&device.join("type")).as_deref() == Some("1"),
        kind: kind(&device),
        master: master.zip(master_kind),
        driver: driver(name, &device),
        program: program(name),
        ours: pin.join(format!("link-{index}")).exists(),
        pin,
        mtu: text(&device.join("mtu")).and_then(|mtu| mtu.parse().ok()).unwrap_or(1500),
        features: features(name),
        has_vlans: has_vlans(name),
        receive_queues: queues(&device, "rx-"),
        send_queues: queues(&device, "tx-"),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        forwarding_v4: text(Path::new("/proc/sys/net/ipv4/conf/all/forwarding")),
        forwarding_v6: text(Path::new("/proc/sys/net/ipv6/conf/all/forwarding")),
        hops: match config {
            Some(config) => hops(config, index).await,
            None => Vec::new(),
        },
        tunnels: config.map(tunnels).unwrap_or_default(),
    })
}

/// Returns what a small file holds.
fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Returns the name a symbolic link leads to.
fn link_name(path: &Path) -> Option<String> {
    fs::read_link(path).ok()?.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn kernel() -> (u32, u32) {
    let release = text(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kind(device: &Path) -> Kind {
    if device.join("bonding").exists() {
        return Kind::Bond;
    }
    if device.join("bridge").exists() {
        return Kind::Bridge;
    }
    let is_vlan = text(&device.join("uevent")).is_some_and(|text| text.lines().any(|line| line == "DEVTYPE=vlan"));
    let lower = fs::read_dir(device)
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|entry| entry.file_name().to_string_lossy().strip_prefix("lower_").map(str::to_owned));
    match lower {
        Some(parent) if is_vlan => Kind::Vlan(parent),
        Some(_) | None => Kind::Plain,
    }
}

/// Returns the driver's name; of devices without hardware, which have none in sysfs, `ethtool` knows it.
fn driver(name: &str, device: &Path) -> Option<String> {
    if let Some(driver) = link_name(&device.join("device/driver")) {
        return Some(driver);
    }
    let said = ethtool(&["-i", name])?;
    said.lines().find_map(|line| line.strip_prefix("driver: ")).map(str::to_owned)
}

/// Returns what `ethtool` says; none if there is none, or the device refuses.
fn ethtool(arguments: &[&str]) -> Option<String> {
    let output = Command::new("ethtool").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn features(name: &str) -> Features {
    let Some(said) = ethtool(&["-k", name]) else { return Features::Unknown };
    let on = said.lines().filter_map(|line| line.trim().split_once(": ")).filter(|(_, state)| state.starts_with("on"));
    Features::Known(on.map(|(feature, _)| feature.to_owned()).collect())
}

/// Tells whether a device takes VLAN tags off before a program sees them, as far as can be known.
pub(crate) fn hides_tags(name: &str) -> bool {
    matches!(features(name), Features::Known(on) if on.iter().any(|feature| feature == HIDES_TAGS))
}

/// Returns how a program is attached to an interface, as `ip` tells.
fn program(name: &str) -> Option<String> {
    let output = Command::new("ip").args(["-o", "link", "show", "dev", name]).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let modes = [(" xdpgeneric", "generic"), (" xdpoffload", "in hardware"), (" xdp", "native")];
    modes.into_iter().find(|(mark, _)| said.contains(mark)).map(|(_, mode)| mode.to_owned())
}

fn has_vlans(name: &str) -> bool {
    let upper = |path: PathBuf| matches!(kind(&path), Kind::Vlan(parent) if parent == name);
    fs::read_dir("/sys/class/net").into_iter().flatten().flatten().any(|entry| upper(entry.path()))
}

fn queues(device: &Path, prefix: &str) -> usize {
    let entries = fs::read_dir(device.join("queues")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count()
}

/// Asks for the next hop of every server.
async fn hops(config: &Config, index: u32) -> Vec<(IpAddr, Option<(String, String)>)> {
    let servers = plan::server_addresses(config);
    let neighbors = Neighbors::spawn();
    neighbors.watch(servers.clone());
    let known = |outcomes: &Outcomes| servers.iter().all(|ip| outcomes.get(ip).is_some_and(|outcome| *outcome != Outcome::Resolving));
    let mut changes = neighbors.subscribe();
    // What is not known by then is not reachable.
    let _in_time = tokio::time::timeout(RESOLUTION, changes.wait_for(known)).await;
    let mut attached = vec![index];
    for name in config.xdp().map(Xdp::interfaces).unwrap_or_default() {
        attached.extend(interface_index(name).await.ok());
    }
    let outcomes = neighbors.snapshot();
    neighbors.stop().await;
    let obstacles = Obstacles::of(&outcomes, &attached);
    servers.into_iter().map(|server| (server, obstacle(server, &outcomes, &obstacles))).collect()
}

fn obstacle(server: IpAddr, outcomes: &Outcomes, obstacles: &Obstacles) -> Option<(String, String)> {
    let mend = match outcomes.get(&server) {
        Some(Outcome::Found(hop)) => format!("add the interface of index {} to `interfaces` in [xdp]: `ip link` names it", hop.ifindex),
        Some(Outcome::Local) => "put the server on another machine, or in a namespace of its own".to_owned(),
        Some(Outcome::Unreachable(_)) => format!("ip route get {server}; ip neighbour show {server}"),
        Some(Outcome::Resolving) | None => return Some(("nobody answers for it".to_owned(), format!("ping -c 1 {server}"))),
    };
    obstacles.text(server).map(|text| (text.to_owned(), mend))
}

fn tunnels(config: &Config) -> Vec<Tunnel> {
    let mut tunnels = Vec::new();
    for frontend in config.frontends() {
        let Some(xdp) = frontend.xdp().filter(|xdp| matches!(xdp.forward(), Forward::Ipip | Forward::Gue)) else { continue };
        let servers = config.servers_of(xdp.backend()).iter().filter_map(control::config::Server::ip);
        let overhead = servers.map(|ip| plan::forward(xdp.forward()).overhead(ip.is_ipv4()).into()).max();
        let mtu = xdp.tunnel_mtu().map(u32::from);
        tunnels.extend(overhead.map(|overhead| Tunnel { frontend: frontend.name().to_owned(), overhead, mtu }));
    }
    tunnels
}

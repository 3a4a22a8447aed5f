//! Virtual Ethernet cables between namespaces, and the commands that configure them.
//!
//! Offloads are off at both ends: a local TCP stack otherwise leaves checksums unfinished and packets larger than the wire, which an
//! XDP program would see and pass on.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::netns::Netns;
use crate::pass;
use crate::requirements::output_of;
use crate::scratch::Scratch;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// How a device takes packets from its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// As veth does by default, one packet at a time.
    Plain,
    /// Through an XDP program that passes everything, which the peer needs for `XDP_TX` and `XDP_REDIRECT` to reach this device.
    Xdp,
}

/// One end of a cable: a device in a namespace.
#[derive(Clone, Debug)]
pub struct End<'a> {
    namespace: &'a Netns,
    device: &'a str,
    mac: Option<Mac>,
    mtu: u16,
    receive: Receive,
    addresses: Vec<(IpAddr, u8)>,
}

impl<'a> End<'a> {
    /// Describes a device without addresses.
    #[must_use]
    pub fn new(namespace: &'a Netns, device: &'a str) -> Self {
        Self { namespace, device, mac: None, mtu: 1500, receive: Receive::Plain, addresses: Vec::new() }
    }

    /// Gives it a hardware address; otherwise the kernel picks one.
    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets its largest packet, 1500 otherwise.
    #[must_use]
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes;
        self
    }

    /// Chooses how it receives.
    #[must_use]
    pub fn receive(mut self, receive: Receive) -> Self {
        self.receive = receive;
        self
    }

    /// Adds an address with its prefix length.
    #[must_use]
    pub fn address(mut self, address: impl Into<IpAddr>, prefix: u8) -> Self {
        self.addresses.push((address.into(), prefix));
        self
    }

    /// Returns the commands that configure the device once it exists.
    fn commands(&self) -> String {
        let mut commands = String::new();
        for (address, prefix) in &self.addresses {
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            writeln!(commands, "address add {address}/{prefix} dev {}{nodad}", self.device).expect("a string takes all text");
        }
        writeln!(commands, "link set {} up", self.device).expect("a string takes all text");
        commands
    }

    fn creation(&self) -> String {
        let mac = self.mac.map_or_else(String::new, |mac| format!(" address {mac}"));
        format!("{} mtu {}{mac}", self.device, self.mtu)
    }

    fn set_offloads(&self) -> Result<()> {
        let mut command = self.namespace.command("ethtool");
        command.args(["-K", self.device, "tx", "off", "tso", "off", "gso", "off", "sg", "off", "gro", "off"]);
        output_of(&mut command).map(drop)
    }

    fn attach_pass(&self) -> Result<()> {
        let scratch = Scratch::new("pass")?;
        let object = scratch.write("pass.o", pass::object())?;
        let mut command = self.namespace.command("ip");
        command.args(["link", "set", "dev", self.device, "xdpdrv", "object"]).arg(object).args(["section", pass::SECTION]);
        output_of(&mut command).map(drop)
    }
}

/// Joins two ends by a cable and brings both up.
///
/// # Errors
/// Fails with the message of `ip` or `ethtool`, for example if a device of that name exists.
pub fn connect(left: &End<'_>, right: &End<'_>) -> Result<()> {
    let create = format!("link add {} type veth peer name {} netns {}\n", left.creation(), right.creation(), right.namespace.name());
    // The cable is made inside the left namespace: elsewhere the device name could be taken.
    batch(left.namespace, &create)?;
    for end in [left, right] {
        end.set_offloads()?;
        if end.receive == Receive::Xdp {
            end.attach_pass()?;
        }
        batch(end.namespace, &end.commands())?;
    }
    Ok(())
}

/// Runs commands of `ip`, one a line, inside a namespace.
///
/// # Errors
/// Fails at the first command that does, with the message of `ip`.
pub fn batch(namespace: &Netns, commands: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-n", namespace.name(), "-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start ip")?;
    let mut stdin = child.stdin.take().expect("standard input was asked for above");
    // A broken pipe means that `ip` gave up early; what it says about that is the better message.
    drop(stdin.write_all(commands.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().context("wait for ip")?;
    if !output.status.success() {
        bail!("{}: ip: {} in\n{commands}", namespace.name(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

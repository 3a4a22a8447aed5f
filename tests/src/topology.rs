//! The standard lab: a client, a balancer and backends, each in a namespace, around switches that are bridges in one more.
//!
//! With [`Arms::One`] all share one subnet and the balancer sends packets back through the device they came from; with [`Arms::Two`]
//! the backends have a subnet of their own behind the balancer's second device. Addresses and hardware addresses are always the same,
//! because every lab has its own namespaces; the table is at the constants below.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};

use crate::client::Client;
use crate::link::{self, End, Mac, Receive};
use crate::netns::Netns;
use crate::server::Backend;

/// How the balancer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// One device, one subnet.
    One,
    /// `eth0` towards the client, `eth1` towards the backends.
    Two,
}

/// Who answers to the virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Only the balancer; replies go through it.
    ThroughBalancer,
    /// The backends accept them too, without announcing them, and reply to the client themselves.
    Direct,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both of them, for tests that do everything twice.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// A machine of the lab: a namespace with one device towards a switch, and the balancer perhaps with two.
#[derive(Debug)]
pub struct Host {
    namespace: Netns,
    number: u8,
    subnet: Subnet,
}

impl Host {
    /// Returns its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Netns {
        &self.namespace
    }

    /// Returns its own address.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.subnet.host(self.number, family)
    }

    /// Returns its own address with a port.
    #[must_use]
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(family), port)
    }

    /// Returns the hardware address of its device.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.subnet.mac(self.number)
    }
}

/// The whole lab; its namespaces, links and addresses vanish when dropped.
#[derive(Debug)]
pub struct Lab {
    client: Host,
    balancer: Host,
    backends: Vec<Host>,
    switch: Netns,
    arms: Arms,
    reply: Return,
}

impl Lab {
    /// Builds a lab with `backends` backends, at most 100.
    ///
    /// # Errors
    /// Fails if the machine lacks what the lab needs, or the kernel refuses.
    pub fn new(backends: u8, arms: Arms, reply: Return) -> Result<Self> {
        let far = far_side(arms);
        anyhow::ensure!(backends <= 100, "a lab has room for 100 backends, not {backends}");
        let switch = Netns::new("switch")?;
        let client = host("client", FRONT, CLIENT)?;
        let balancer = host("balancer", FRONT, BALANCER)?;
        let servers = (0..backends).map(|index| host(&format!("backend{}", index + 1), far, FIRST_BACKEND + index));
        let lab = Self { client, balancer, backends: servers.collect::<Result<_>>()?, switch, arms, reply };

        lab.add_switch(FRONT)?;
        lab.plug_in(&lab.client, "eth0", FRONT, Receive::Plain)?;
        lab.plug_in(&lab.balancer, "eth0", FRONT, Receive::Xdp)?;
        if arms == Arms::Two {
            lab.add_switch(BACK)?;
            lab.plug_in(&lab.balancer, "eth1", BACK, Receive::Xdp)?;
            lab.add_routes_between_subnets()?;
        }
        for backend in &lab.backends {
            lab.plug_in(backend, "eth0", far, Receive::Plain)?;
        }
        lab.set_up_balancer()?;
        lab.set_up_backends()?;
        Ok(lab)
    }

    /// Returns the machine whose traffic is balanced.
    #[must_use]
    pub fn client_host(&self) -> &Host {
        &self.client
    }

    /// Returns the machine the program under test runs on.
    #[must_use]
    pub fn balancer(&self) -> &Host {
        &self.balancer
    }

    /// Returns the names of the balancer's devices, first the one towards the client.
    #[must_use]
    pub fn balancer_devices(&self) -> &'static [&'static str] {
        match self.arms {
            Arms::One => &["eth0"],
            Arms::Two => &["eth0", "eth1"],
        }
    }

    /// Returns the balancer's own address on the side of the backends, from which it reaches them.
    #[must_use]
    pub fn balancer_source(&self, family: Family) -> IpAddr {
        far_side(self.arms).host(BALANCER, family)
    }

    /// Returns the machines that serve.
    #[must_use]
    pub fn backends(&self) -> &[Host] {
        &self.backends
    }

    /// Returns the virtual address with a port.
    #[must_use]
    pub fn vip(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(FRONT.host(VIP, family), port)
    }

    /// Returns a client that connects from the client's machine.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.client.namespace)
    }

    /// Starts a server on every backend, named after its machine.
    ///
    /// # Errors
    /// Fails if one does not start.
    pub fn start_backends(&self, port: u16) -> Result<Vec<Backend>> {
        (0..self.backends.len()).map(|index| self.start_backend(index, port)).collect()
    }

    /// Starts a server on one backend, listening on its own addresses and, where it replies directly, on the virtual ones.
    ///
    /// # Errors
    /// Fails if it does not start.
    pub fn start_backend(&self, index: usize, port: u16) -> Result<Backend> {
        let host = self.backends.get(index).with_context(|| format!("the lab has no backend {index}"))?;
        let mut listen = Family::BOTH.map(|family| host.at(family, port)).to_vec();
        if self.reply == Return::Direct {
            listen.extend(Family::BOTH.map(|family| self.vip(family, port)));
        }
        Backend::start(&host.namespace, format!("backend{}", index + 1), listen)
    }

    /// Cuts a backend off: packets from and to it are lost, and no one is told.
    ///
    /// # Errors
    /// Fails if there is no such backend.
    pub fn unplug(&self, index: usize) -> Result<()> {
        self.set_port(index, "nomaster")
    }

    /// Has the cable to a backend carry no longer packets than these: what is longer is lost, and no one is told.
    ///
    /// # Errors
    /// Fails if there is no such backend.
    pub fn narrow(&self, index: usize, mtu: u16) -> Result<()> {
        self.set_port(index, &format!("mtu {mtu}"))
    }

    /// Connects a backend again.
    ///
    /// # Errors
    /// Fails if there is no such backend.
    pub fn plug(&self, index: usize) -> Result<()> {
        let host = self.backends.get(index).with_context(|| format!("the lab has no backend {index}"))?;
        self.set_port(index, &format!("master {}", host.subnet.bridge))
    }

    fn set_port(&self, index: usize, change: &str) -> Result<()> {
        let host = self.backends.get(index).with_context(|| format!("the lab has no backend {index}"))?;
        link::batch(&self.switch, &format!("link set {} {change}\n", host.subnet.port(host.number)))
    }

    fn add_switch(&self, subnet: Subnet) -> Result<()> {
        // A switch has no addresses of its own and passes all multicast.
        self.switch.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        let bridge = subnet.bridge;
        let create = format!("link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set {bridge} up\n");
        link::batch(&self.switch, &create)
    }

    /// Connects a device of a host to a switch; `at_switch` is how the switch takes packets from it.
    fn plug_in(&self, host: &Host, device: &str, subnet: Subnet, at_switch: Receive) -> Result<()> {
        let end = End::new(&host.namespace, device).mac(subnet.mac(host.number));
        let end = Family::BOTH.iter().fold(end, |end, &family| end.address(subnet.host(host.number, family), subnet.prefix(family)));
        let port = subnet.port(host.number);
        link::connect(&End::new(&self.switch, &port).receive(at_switch), &end)?;
        link::batch(&self.switch, &format!("link set {port} master {}\n", subnet.bridge))
    }

    fn add_routes_between_subnets(&self) -> Result<()> {
        let [v4, v6] = Family::BOTH.map(|family| (BACK.network(family), FRONT.host(BALANCER, family)));
        link::batch(&self.client.namespace, &format!("route add {} via {}\nroute add {} via {}\n", v4.0, v4.1, v6.0, v6.1))
    }

    fn set_up_balancer(&self) -> Result<()> {
        let namespace = &self.balancer.namespace;
        // The FIB helper of XDP answers only where the kernel itself would forward.
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        namespace.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
        namespace.sysctl("net/ipv4/conf/eth0/send_redirects", "0")?;
        if self.reply == Return::Direct {
            // With two arms the replies come back through the balancer, from an address that is its own too.
            namespace.sysctl("net/ipv4/conf/all/accept_local", "1")?;
        }
        let [v4, v6] = Family::BOTH.map(|family| FRONT.host(VIP, family));
        // Outgoing connections, health checks among them, prefer the balancer's own address to the virtual one.
        link::batch(namespace, &format!("address add {v4}/32 dev eth0\naddress add {v6}/128 dev eth0 nodad preferred_lft 0\n"))
    }

    fn set_up_backends(&self) -> Result<()> {
        let mut commands = String::new();
        if self.arms == Arms::Two {
            for gateway in Family::BOTH.map(|family| BACK.host(BALANCER, family)) {
                commands.push_str(&format!("route add default via {gateway}\n"));
            }
        }
        if self.reply == Return::Direct {
            for (family, length) in [(Family::V4, 32), (Family::V6, 128)] {
                commands.push_str(&format!("address add {}/{length} dev lo\n", FRONT.host(VIP, family)));
            }
        }
        for backend in &self.backends {
            // ARP answers for every local address of the machine unless told to look at the device; IPv6 always looks at the device.
            backend.namespace.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
            backend.namespace.sysctl("net/ipv4/conf/all/arp_announce", "2")?;
            link::batch(&backend.namespace, &commands)?;
        }
        Ok(())
    }
}

fn far_side(arms: Arms) -> Subnet {
    match arms {
        Arms::One => FRONT,
        Arms::Two => BACK,
    }
}

fn host(label: &str, subnet: Subnet, number: u8) -> Result<Host> {
    Ok(Host { namespace: Netns::new(label)?, number, subnet })
}

/// A switch and the addresses behind it: `10.N.0.0/24` and `fdN::/64`, N read as text in both.
#[derive(Clone, Copy, Debug)]
struct Subnet {
    bridge: &'static str,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Subnet {
    fn host(self, number: u8, family: Family) -> IpAddr {
        match family {
            Family::V4 => {
                let [a, b, c, _] = self.v4.octets();
                Ipv4Addr::new(a, b, c, number).into()
            }
            Family::V6 => {
                // The last group reads like the last number of the IPv4 address.
                let digits = u16::from(number / 100) << 8 | u16::from(number / 10 % 10) << 4 | u16::from(number % 10);
                let [a, b, c, d, e, f, g, _] = self.v6.segments();
                Ipv6Addr::new(a, b, c, d, e, f, g, digits).into()
            }
        }
    }

    fn prefix(self, family: Family) -> u8 {
        match family {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }

    fn network(self, family: Family) -> String {
        match family {
            Family::V4 => format!("{}/24", self.v4),
            Family::V6 => format!("{}/64", self.v6),
        }
    }

    fn mac(self, number: u8) -> Mac {
        let [_, subnet, ..] = self.v4.octets();
        Mac([0x02, 0x4c, 0x41, 0x42, subnet, number])
    }

    fn port(self, number: u8) -> String {
        format!("{}p{number}", self.bridge)
    }
}

const FRONT: Subnet = Subnet { bridge: "front", v4: Ipv4Addr::new(10, 77, 0, 0), v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0) };
const BACK: Subnet = Subnet { bridge: "back", v4: Ipv4Addr::new(10, 78, 0, 0), v6: Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0) };

// Host numbers: `.1`, `.10` and so on in IPv4, `::1`, `::10` in IPv6.
const BALANCER: u8 = 1;
const VIP: u8 = 10;
const FIRST_BACKEND: u8 = 11;
const CLIENT: u8 = 100;

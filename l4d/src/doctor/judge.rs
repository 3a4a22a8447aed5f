//! From facts to findings. Pure.

use super::facts::{Facts, Features, HIDES_TAGS, Kind};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As it should be.
    Fine,
    /// Works, but slower or with a limit worth knowing.
    Note,
    /// Does not work.
    Problem,
}

impl Weight {
    /// Returns the word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    pub(crate) topic: &'static str,
    pub(crate) what: String,
    /// The command that mends it.
    pub(crate) mend: Option<String>,
}

fn fine(topic: &'static str, what: impl Into<String>) -> Finding {
    Finding { weight: Weight::Fine, topic, what: what.into(), mend: None }
}

fn note(topic: &'static str, what: impl Into<String>, mend: Option<String>) -> Finding {
    Finding { weight: Weight::Note, topic, what: what.into(), mend }
}

fn problem(topic: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { weight: Weight::Problem, topic, what: what.into(), mend: Some(mend.into()) }
}

/// Drivers that run XDP themselves, by the names the kernel gives them.
const NATIVE: [&str; 34] = [
    "atlantic",
    "bnxt_en",
    "bonding",
    "cpsw",
    "dpaa2-eth",
    "ena",
    "enetc",
    "fec",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "fsl_enetc_vf",
    "gve",
    "hv_netvsc",
    "i40e",
    "iavf",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "sfc",
    "stmmac",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
];

/// The first kernel on which all of it works.
const OLDEST_KERNEL: (u32, u32) = (5, 15);
/// The longest frame that fits a page beside what XDP keeps there; longer ones need a driver that takes frames in pieces.
const LONGEST_IN_A_PAGE: u32 = 3_498;

/// Says what is the matter, in the order in which a packet would meet it.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![kernel(facts), jit(facts), pins(facts)];
    findings.extend(link(facts));
    findings.push(driver(facts));
    findings.extend(program(facts));
    findings.push(mtu(facts));
    findings.extend(offloads(facts));
    findings.push(queues(facts));
    findings.extend(forwarding(facts));
    findings.extend(facts.hops.iter().map(|(server, obstacle)| match obstacle {
        None => fine("next hop", format!("{server} can be reached")),
        Some((why, mend)) => problem("next hop", format!("{server}: {why}"), mend.clone()),
    }));
    findings.extend(tunnels(facts));
    findings
}

fn kernel(facts: &Facts) -> Finding {
    let (major, minor) = facts.kernel;
    if (major, minor) >= OLDEST_KERNEL {
        return fine("kernel", format!("{major}.{minor}"));
    }
    let (oldest_major, oldest_minor) = OLDEST_KERNEL;
    problem("kernel", format!("{major}.{minor} is older than {oldest_major}.{oldest_minor}"), "boot a later kernel")
}

fn jit(facts: &Facts) -> Finding {
    match facts.jit.as_deref() {
        Some("0") => note("jit", "programs are interpreted, several times slower", Some("sysctl net.core.bpf_jit_enable=1".into())),
        Some(_) => fine("jit", "programs are compiled"),
        None => fine("jit", "the kernel always compiles programs, or does not say"),
    }
}

fn pins(facts: &Facts) -> Finding {
    if facts.bpffs {
        fine("pins", "there is a bpf file system")
    } else {
        problem("pins", format!("{} is not on a bpf file system", facts.pin.display()), "mount -t bpf bpf /sys/fs/bpf")
    }
}

fn link(facts: &Facts) -> Vec<Finding> {
    let name = &facts.name;
    let mut findings = Vec::new();
    findings.push(if facts.up {
        fine("link", "up, with a carrier")
    } else {
        problem("link", "down, or without a carrier", format!("ip link set dev {name} up"))
    });
    if !facts.ethernet {
        findings.push(problem("link", "not an Ethernet device, whose frames the program could read", "choose another interface"));
    }
    match &facts.kind {
        Kind::Plain | Kind::Bond => {}
        Kind::Vlan(parent) => findings.push(problem(
            "link",
            format!("a VLAN device: it cannot send what a program redirects, and sees tagged frames late; its parent is {parent}"),
            format!("interfaces = [\"{parent}\"] in [xdp]"),
        )),
        Kind::Bridge => findings.push(note("link", "a bridge: only generic mode; its ports are quicker", None)),
    }
    match &facts.master {
        Some((master, Kind::Bond)) => findings.push(problem(
            "link",
            format!("a port of bond {master}: a program belongs on the bond, which puts it on all of its ports"),
            format!("interfaces = [\"{master}\"] in [xdp]"),
        )),
        Some((master, _)) => findings.push(note("link", format!("a port of {master}, which does not see what the program forwards"), None)),
        None => {}
    }
    findings
}

fn driver(facts: &Facts) -> Finding {
    let Some(driver) = &facts.driver else {
        return note("driver", "the device has no driver of its own: generic mode, several times slower", None);
    };
    if NATIVE.contains(&driver.as_str()) {
        return fine("driver", format!("{driver} runs XDP natively"));
    }
    let what =
        format!("{driver} is not known to run XDP natively; `mode = \"auto\"` finds out, and takes generic mode, several times slower");
    note("driver", what, None)
}

fn program(facts: &Facts) -> Option<Finding> {
    let name = &facts.name;
    match (facts.program.as_deref(), facts.ours) {
        (None, _) => None,
        (Some(mode), true) => Some(fine("program", format!("l4d's is attached, {mode}"))),
        (Some(mode), false) => {
            let what = format!("a program is attached already, {mode}, and not by this l4d");
            Some(problem("program", what, format!("ip link set dev {name} xdp off")))
        }
    }
}

fn mtu(facts: &Facts) -> Finding {
    if facts.mtu > LONGEST_IN_A_PAGE {
        let what = format!("{} is more than fits a page, {LONGEST_IN_A_PAGE}: most drivers refuse native mode", facts.mtu);
        return note("mtu", what, Some(format!("ip link set dev {} mtu {LONGEST_IN_A_PAGE}", facts.name)));
    }
    fine("mtu", facts.mtu.to_string())
}

fn offloads(facts: &Facts) -> Vec<Finding> {
    let name = &facts.name;
    let Features::Known(on) = &facts.features else {
        return vec![note("offloads", "not looked at: there is no `ethtool`", Some("apt-get install ethtool".into()))];
    };
    let has = |feature: &str| on.iter().any(|known| known == feature);
    let mut findings = Vec::new();
    for feature in ["large-receive-offload", "rx-gro-hw"].into_iter().filter(|feature| has(feature)) {
        let short = if feature == "rx-gro-hw" { feature } else { "lro" };
        let what = format!("{feature} joins packets before the program sees them; drivers refuse native mode with it");
        findings.push(problem("offloads", what, format!("ethtool -K {name} {short} off")));
    }
    if facts.has_vlans && has(HIDES_TAGS) {
        let what = "the device takes VLAN tags off before the program sees them: tagged packets look untagged";
        findings.push(problem("offloads", what, format!("ethtool -K {name} rxvlan off")));
    } else if facts.has_vlans {
        findings.push(fine(
            "vlans",
            "tags are in the frames: those of VLANs that have a device are balanced, and put on where a server's VLAN has one",
        ));
    }
    if facts.driver.as_deref() == Some("veth") && has("tx-checksumming") {
        let what = "packets of a local peer carry unfinished checksums, which do not survive a rewrite: its offloads must be off";
        findings.push(note("offloads", what, Some("ethtool -K PEER tx off, in the namespace of the other end".into())));
    }
    if findings.iter().all(|finding| finding.weight == Weight::Fine) {
        findings.push(fine("offloads", "none in the way"));
    }
    findings
}

fn queues(facts: &Facts) -> Finding {
    let (receive, send, processors) = (facts.receive_queues, facts.send_queues, facts.processors);
    let name = &facts.name;
    if facts.driver.as_deref() == Some("virtio_net") && send < receive + processors {
        let what = format!(
            "{send} queues to send; virtio_net wants one for each of {processors} processors besides its {receive} own, or shares them with a lock"
        );
        return note("queues", what, Some(format!("ethtool -L {name} combined {}, or give the machine more queues", (send / 2).max(1))));
    }
    if receive < processors && facts.driver.as_deref() != Some("veth") {
        let what = format!("{receive} queues to receive, {processors} processors: some have nothing to do");
        return note("queues", what, Some(format!("ethtool -L {name} combined {processors}")));
    }
    fine("queues", format!("{receive} to receive, {send} to send, {processors} processors"))
}

/// The routing table answers a program only where the host itself would forward.
fn forwarding(facts: &Facts) -> Vec<Finding> {
    let off = |value: &Option<String>| value.as_deref() == Some("0");
    let mut findings = Vec::new();
    for (family, value, key) in
        [("IPv4", &facts.forwarding_v4, "net.ipv4.conf.all.forwarding"), ("IPv6", &facts.forwarding_v6, "net.ipv6.conf.all.forwarding")]
    {
        if off(value) {
            let what = format!(
                "{family} is not forwarded, so that the routing table does not answer for servers and clients without a known next hop"
            );
            findings.push(note("forwarding", what, Some(format!("sysctl {key}=1"))));
        }
    }
    if findings.is_empty() {
        findings.push(fine("forwarding", "on"));
    }
    findings
}

fn tunnels(facts: &Facts) -> Vec<Finding> {
    let tunnels = facts.tunnels.iter().map(|tunnel| {
        let fits = facts.mtu.min(tunnel.mtu.unwrap_or(facts.mtu)).saturating_sub(tunnel.overhead);
        let frontend = &tunnel.frontend;
        if fits >= facts.mtu.min(1500) {
            return fine("tunnel mtu", format!("packets of up to {fits} bytes fit the tunnels of frontend {frontend}"));
        }
        let what =
            format!("clients of frontend {frontend} are told by ICMP to send at most {fits} bytes: the tunnel takes {}", tunnel.overhead);
        note(
            "tunnel mtu",
            what,
            Some(format!("ip link set dev {} mtu {}, there and on the way to the servers", facts.name, 1500 + tunnel.overhead)),
        )
    });
    tunnels.collect()
}

#[cfg(test)]
mod tests {
    use super::super::facts::Tunnel;
    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "eth0".into(),
            kernel: (6, 1),
            jit: Some("1".into()),
            pin: "/sys/fs/bpf/l4d".into(),
            bpffs: true,
            up: true,
            ethernet: true,
            kind: Kind::Plain,
            master: None,
            driver: Some("ice".into()),
            program: None,
            ours: false,
            mtu: 1500,
            features: Features::Known(vec!["generic-receive-offload".into()]),
            has_vlans: false,
            receive_queues: 4,
            send_queues: 4,
            processors: 4,
            forwarding_v4: Some("1".into()),
            forwarding_v6: Some("1".into()),
            hops: Vec::new(),
            tunnels: Vec::new(),
        }
    }

    fn mends(facts: &Facts) -> Vec<(Weight, String)> {
        let bad = judge(facts).into_iter().filter(|finding| finding.weight != Weight::Fine);
        bad.map(|finding| (finding.weight, finding.mend.unwrap_or_default())).collect()
    }

    #[test]
    fn a_healthy_interface_has_nothing_to_mend() {
        assert_eq!(mends(&facts()), []);
    }

    /// What it is called, what makes it of healthy facts, how much it matters, and its cure.
    type Case = (&'static str, fn(&mut Facts), Weight, &'static str);

    #[test]
    fn each_ill_has_its_own_cure() {
        use Weight::{Note, Problem};
        let cases: Vec<Case> = vec![
            ("an old kernel", |facts| facts.kernel = (5, 10), Problem, "boot a later kernel"),
            ("no compiler", |facts| facts.jit = Some("0".into()), Note, "sysctl net.core.bpf_jit_enable=1"),
            ("no bpffs", |facts| facts.bpffs = false, Problem, "mount -t bpf bpf /sys/fs/bpf"),
            ("down", |facts| facts.up = false, Problem, "ip link set dev eth0 up"),
            ("a VLAN", |facts| facts.kind = Kind::Vlan("eth9".into()), Problem, "interfaces = [\"eth9\"] in [xdp]"),
            ("a port of a bond", |facts| facts.master = Some(("bond0".into(), Kind::Bond)), Problem, "interfaces = [\"bond0\"] in [xdp]"),
            ("another driver", |facts| facts.driver = Some("r8169".into()), Note, ""),
            ("another's program", |facts| facts.program = Some("native".into()), Problem, "ip link set dev eth0 xdp off"),
            ("giants", |facts| facts.mtu = 9000, Note, "ip link set dev eth0 mtu 3498"),
            ("LRO", |facts| facts.features = Features::Known(vec!["large-receive-offload".into()]), Problem, "ethtool -K eth0 lro off"),
            ("few queues", |facts| facts.receive_queues = 1, Note, "ethtool -L eth0 combined 4"),
            ("no forwarding", |facts| facts.forwarding_v6 = Some("0".into()), Note, "sysctl net.ipv6.conf.all.forwarding=1"),
            (
                "no way",
                |facts| facts.hops = vec![("10.0.0.2".parse().unwrap(), Some(("no route".into(), "ip route add …".into())))],
                Problem,
                "ip route add …",
            ),
            (
                "tunnels",
                |facts| facts.tunnels = vec![Tunnel { frontend: "f".into(), overhead: 28, mtu: None }],
                Note,
                "ip link set dev eth0 mtu 1528, there and on the way to the servers",
            ),
        ];
        for (what, change, weight, mend) in cases {
            let mut facts = facts();
            change(&mut facts);
            assert_eq!(mends(&facts), [(weight, mend.to_owned())], "{what}");
        }
    }

    #[test]
    fn our_own_program_and_roomy_links_are_fine() {
        let mut facts = facts();
        (facts.program, facts.ours) = (Some("native".into()), true);
        facts.mtu = 1600;
        facts.tunnels = vec![Tunnel { frontend: "f".into(), overhead: 48, mtu: None }];
        assert_eq!(mends(&facts), []);
    }
}

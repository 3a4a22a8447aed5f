//! The balancer under test: l4d's own data plane, set up as l4d does it, with one service and a hundred servers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, Result};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use control::config::AttachMode;
use l4d::datapath::{self, Datapath, Interface, Rings, Setup};
use l4d::note::Note;
use l4d::plan::{ServiceKey, Wanted, WantedServer, WantedService, Way};
use l4d::pool::{Pool, Ports};
use l4d::sync::{self, Synced};
use l4d::tables::Tables;
use xdp_common::flow::{TCP, mix};
use xdp_common::limits;
use xdp_common::nat::Control;
use xdp_common::reason::Reason;
use xdp_common::server::Hop;
use xdp_common::service::{Forward, OnDead, OnNone, Tracking};

use super::case::{Case, Ring};
use super::pattern::Reply;
use super::rig::{Cable, Rig, Usage};
use super::traffic::{BALANCER_MAC, BEFORE_SERVERS, GENERATOR_MAC, VIP};
use crate::scratch;

/// A balancer at the far end of its own cable; everything is removed when dropped.
pub(super) struct Balancer {
    /// Taken when dropped.
    datapath: Option<Datapath>,
    tables: Tables,
    program: u32,
    pub(super) cable: Cable,
}

impl Balancer {
    /// Sets up a case.
    pub(super) fn start(rig: &mut Rig, case: &Case) -> Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| scratch::for_each_abandoned(Path::new(PINS), |path| drop(datapath::detach(path))));
        let cable = rig.lay_cable()?;
        let setup = setup(case, &cable)?;
        let datapath = Datapath::load(&setup)?;
        let tables = datapath.maps().tables();
        let mut balancer = Self { datapath: Some(datapath), tables, program: 0, cable };
        balancer.fill(case, 0);
        if case.ring == Ring::Changed {
            balancer.fill(case, SERVERS);
        }
        rig.at_far_end(|| balancer.attach(&setup))?;
        Ok(balancer)
    }

    /// Returns what became of all packets so far.
    pub(super) fn reasons(&self) -> Result<Vec<(Reason, u64)>> {
        Ok(self.datapath().maps().reasons()?)
    }

    /// Returns where servers answer the flows that are translated now, in no order that a cache could like.
    pub(super) fn replies(&self) -> Result<Vec<Reply>> {
        let maps = self.datapath().maps();
        let settings = maps.settings();
        let numbers: Vec<(u16, u16)> =
            self.tables.servers_of(&service_key()).iter().map(|server| Ok((server.id, number(server.socket)?))).collect::<Result<_>>()?;
        let mut replies = Vec::new();
        for (index, entry) in maps.nat_entries() {
            let id = Control(entry.control).server().0;
            let (_, server) = *numbers.iter().find(|(known, _)| *known == id).context("a flow belongs to no server")?;
            let address = nth_address(POOL_BASE, settings.nat_address_index(index) + 1);
            let destination = u32::from_ne_bytes(address.octets());
            replies.push((mix(0, index.into()), Reply { destination, port: settings.nat_port(index).word(), server }));
        }
        replies.sort_unstable_by_key(|(order, _)| *order);
        Ok(replies.into_iter().map(|(_, reply)| reply).collect())
    }

    /// Returns what the kernel's clock of programs says.
    pub(super) fn usage(&self) -> Result<Usage> {
        let programs = loaded_programs().filter_map(Result::ok);
        let info = programs.into_iter().find(|info| info.id() == self.program).context("find the balancer's program")?;
        Ok(Usage { time: info.run_time(), runs: info.run_count() })
    }

    /// Gives the ring to a hundred servers and takes it from all others, which stay.
    fn fill(&mut self, case: &Case, first_active: u32) {
        let servers = (0..first_active + SERVERS).map(|index| WantedServer {
            socket: SocketAddr::new(nth_address(BEFORE_SERVERS.0, index + 1).into(), BEFORE_SERVERS.1),
            way: Way { hop: Hop::new(GENERATOR_MAC.0, BALANCER_MAC.0, self.cable.far), ..Way::default() },
            usable: true,
            note: Note::default(),
            weight: u32::from(index >= first_active),
        });
        let service = WantedService {
            frontend: case.name.to_owned(),
            backend: case.name.to_owned(),
            forward: case.forward,
            choice: case.choice,
            tracking: if case.choice.is_hash() { Tracking::WhereChanged } else { Tracking::Always },
            on_dead: OnDead::Move,
            on_none: OnNone::Drop,
            mss: None,
            ring: limits::RING_SLOTS,
            servers: servers.collect(),
        };
        let Synced { ops, .. } =
            sync::sync(&mut self.tables, &Wanted { services: [(service_key(), service.into())].into(), ..Wanted::default() });
        self.datapath().apply(&ops);
    }

    fn attach(&mut self, setup: &Setup) -> Result<()> {
        self.datapath.as_mut().expect("there until dropped").attach(setup)?;
        let pin = setup.pin.join(format!("link-{}", self.cable.far));
        let link = FdLink::from(PinnedLink::from_pin(&pin).with_context(|| format!("open {}", pin.display()))?);
        self.program = link.info()?.program_id();
        Ok(())
    }

    fn datapath(&self) -> &Datapath {
        self.datapath.as_ref().expect("there until dropped")
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(datapath) = self.datapath.take() {
            // What is left is swept by the next run.
            drop(datapath.remove());
        }
    }
}

/// Where pins are made.
const PINS: &str = "/sys/fs/bpf";
/// How many servers take new flows.
const SERVERS: u32 = 100;
/// The address before the first source address of full NAT.
const POOL_BASE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 0);
/// The same in every run, so that figures differ for better reasons.
const HASH_KEY: [u8; 16] = *b"bench of layer 4";

fn setup(case: &Case, cable: &Cable) -> Result<Setup> {
    let addresses = match case.forward {
        Forward::Nat => limits::POOL_ADDRESSES,
        Forward::Dsr | Forward::Ipip | Forward::Gue | Forward::Dnat => 0,
    };
    let addresses = (1..=addresses).map(|number| IpAddr::from(nth_address(POOL_BASE, number)));
    Ok(Setup {
        pin: PathBuf::from(PINS).join(scratch::unique_name("bench")),
        interfaces: vec![Interface { name: cable.name.clone(), index: cable.far, address: BALANCER_MAC.0, mtu: 1500 }],
        mode: AttachMode::Native,
        rings: Rings::AtFirst(limits::RING_LINES * limits::LINE_SLOTS as u32),
        flows: limits::FLOWS,
        hash_key: Some(HASH_KEY),
        host: Vec::new(),
        pool: Pool::new(addresses, Ports::DEDICATED)?,
    })
}

fn service_key() -> ServiceKey {
    ServiceKey::new(SocketAddr::new(VIP.0.into(), VIP.1), TCP)
}

fn nth_address(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(base.to_bits() + number)
}

/// Returns what is added to the address before the servers to get this one.
fn number(server: SocketAddr) -> Result<u16> {
    let IpAddr::V4(address) = server.ip() else { anyhow::bail!("{server} is not of IPv4") };
    Ok(u16::try_from(address.to_bits() - BEFORE_SERVERS.0.to_bits())?)
}

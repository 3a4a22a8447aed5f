//! The test stand: two namespaces, cables between them, and the generator, floors and sink of the second BPF object.
//!
//! A frame is born in `generate` on the calling thread, crosses a cable to whoever stands at its far end, comes back by `XDP_TX` and ends in `sink`: all on
//! one CPU, all within the time that thread is charged for. What stands there is a floor, or a [`balancer`](super::balancer).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::util::nr_cpus;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::time::{ClockId, clock_gettime};

use super::pattern::{FRAME_WORDS, Pattern, REPLIES, Reply};
use super::traffic::{BALANCER_MAC, GENERATOR_MAC, Traffic};
use crate::link::{self, End};
use crate::netns::Netns;

/// The stand.
pub(super) struct Rig {
    programs: Ebpf,
    patterns: Array<MapData, PatternWords>,
    next: PerCpuArray<MapData, u32>,
    replies: Array<MapData, u64>,
    received: PerCpuArray<MapData, u64>,
    near: Netns,
    far: Netns,
    cables: u32,
}

/// A cable, by the interfaces at its ends.
#[derive(Debug, Clone)]
pub(super) struct Cable {
    /// The generator's.
    pub(super) near: u32,
    /// That of the balancer or floor.
    pub(super) far: u32,
    /// Name of the far one.
    pub(super) name: String,
}

/// The cheapest programs in the balancer's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Floor {
    /// Ends every frame.
    Drop,
    /// Swaps the link addresses and sends it back.
    Tx,
}

impl Floor {
    fn program(self) -> &'static str {
        match self {
            Self::Drop => "floor_drop",
            Self::Tx => "floor_tx",
        }
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) sent: u64,
    /// Frames that reached the sink.
    pub(super) received: u64,
    /// CPU time of the thread.
    pub(super) time: Duration,
}

impl Run {
    /// Returns nanoseconds per frame.
    pub(super) fn nanoseconds(&self) -> f64 {
        self.time.as_nanos() as f64 / self.sent as f64
    }
}

/// Time in a program and how often it ran, since it was loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) time: Duration,
    pub(super) runs: u64,
}

impl Rig {
    /// Makes namespaces and loads the object; the calling thread moves to the generator's namespace for good.
    ///
    /// # Errors
    /// What the machine lacks or the kernel refuses.
    pub(super) fn new(object: &Path) -> Result<Self> {
        let (near, far) = (Netns::new("generator")?, Netns::new("balancer")?);
        for namespace in [&near, &far] {
            // Nothing but the generator may send.
            namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        near.entrance().enter().context("enter the generator's namespace")?;
        let mut programs = Ebpf::load_file(object).with_context(|| format!("load {}", object.display()))?;
        for name in ["generate", "sink", Floor::Drop.program(), Floor::Tx.program()] {
            xdp(&mut programs, name)?.load().with_context(|| format!("load program {name}"))?;
        }
        let patterns = Array::try_from(map(&mut programs, "PATTERN")?)?;
        let next = PerCpuArray::try_from(map(&mut programs, "NEXT")?)?;
        let replies = Array::try_from(map(&mut programs, "REPLIES")?)?;
        let received = PerCpuArray::try_from(map(&mut programs, "RECEIVED")?)?;
        Ok(Self { programs, patterns, next, replies, received, near, far, cables: 0 })
    }

    /// Lays another cable; its near end leads to the sink.
    pub(super) fn lay_cable(&mut self) -> Result<Cable> {
        let (near, far) = (format!("gen{}", self.cables), format!("bal{}", self.cables));
        self.cables += 1;
        link::connect(&End::new(&self.near, &near).mac(GENERATOR_MAC), &End::new(&self.far, &far).mac(BALANCER_MAC))?;
        let cable = Cable { near: self.near.run(|| interface(&near))?, far: self.far.run(|| interface(&far))?, name: far };
        xdp(&mut self.programs, "sink")?.attach_to_if_index(cable.near, XdpMode::Driver).context("attach the sink")?;
        Ok(cable)
    }

    /// Lays a cable with a floor at its far end.
    pub(super) fn lay_floor(&mut self, floor: Floor) -> Result<Cable> {
        let cable = self.lay_cable()?;
        let program = xdp(&mut self.programs, floor.program())?;
        self.far.run(|| program.attach_to_if_index(cable.far, XdpMode::Driver)).context("attach a floor")?;
        Ok(cable)
    }

    /// Does something in the balancer's namespace.
    pub(super) fn at_far_end<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.far.run(action)
    }

    /// Says where replies go: the flows of traffic from servers are numbered in this order.
    pub(super) fn set_replies<'a>(&mut self, replies: impl Iterator<Item = &'a Reply>) -> Result<()> {
        for (number, reply) in (0..REPLIES).zip(replies) {
            let word = u64::from(reply.destination) | u64::from(reply.port) << 32 | u64::from(reply.server) << 48;
            self.replies.set(number, word, 0).context("set a reply")?;
        }
        Ok(())
    }

    /// Sends frames, beginning with the flow of a number, and returns once all have met their end.
    pub(super) fn send(&mut self, cable: &Cable, traffic: Traffic, first: u32, frames: u32) -> Result<Run> {
        self.patterns.set(0, to_words(&traffic.pattern(cable.near)), 0).context("set the pattern")?;
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        self.next.set(0, PerCpuValues::try_from(vec![first; cpus])?, 0).context("set the first flow")?;
        let before = self.received()?;
        let start = thread_time();
        let generate: &Xdp = self.programs.program("generate").context("the object has no generator")?.try_into()?;
        let options = TestRunOptions {
            data_in: Some(&[0; FRAME_WORDS * 8]),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        generate.test_run(options).context("generate frames (BPF_PROG_TEST_RUN with live frames, Linux 5.18)")?;
        let time = thread_time() - start;
        Ok(Run { sent: frames.into(), received: self.received()? - before, time })
    }

    /// Returns what the kernel's clock of programs says of a floor.
    pub(super) fn usage(&mut self, floor: Floor) -> Result<Usage> {
        let info = xdp(&mut self.programs, floor.program())?.info()?;
        Ok(Usage { time: info.run_time(), runs: info.run_count() })
    }

    fn received(&self) -> Result<u64> {
        Ok(self.received.get(&0, 0).context("read the sink")?.iter().sum())
    }
}

/// Frames that are generated before the balancer sees the first of them; the ring of a veth holds four times as many.
const BATCH: u32 = 64;

/// A pattern as it lies in the map.
type PatternWords = [u64; size_of::<Pattern>() / 8];

fn to_words(pattern: &Pattern) -> PatternWords {
    let rest = [u64::from(pattern.interface) | u64::from(pattern.flows) << 32, pattern.replies];
    let mut words = pattern.template.into_iter().chain(rest);
    std::array::from_fn(|_| words.next().expect("a pattern is its template and two words"))
}

fn xdp<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(programs.program_mut(name).with_context(|| format!("the object has no program {name}"))?.try_into()?)
}

fn map(programs: &mut Ebpf, name: &str) -> Result<Map> {
    programs.take_map(name).with_context(|| format!("the object has no map {name}"))
}

fn interface(name: &str) -> Result<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).context("open a socket")?;
    name_to_index(socket, name).with_context(|| format!("find interface {name}"))
}

/// Returns the CPU time of this thread; the kernel's work on the frames is part of it, what other threads do meanwhile is not.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

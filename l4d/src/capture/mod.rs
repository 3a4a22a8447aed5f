//! `l4d capture`: chosen packets as they arrive and as they leave, with the verdict and its reason.
//!
//! The kernel's side shows each chosen frame twice, when it arrives and when its way ends ([`Watcher`]); here the two become one [`Packet`], which is said in a
//! line ([`words`]) or written for wireshark and tcpdump ([`pcapng`]). Reasons are known only at the end, so that packets are chosen by them here.

mod packet;
mod pcapng;
mod words;

use std::{
    fs::File,
    io::{self, BufWriter, Write, stdout},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use control::config;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use xdp_common::{
    flow::{TCP, UDP},
    reason::Reason,
    watch::{HOSTS, PORTS, Prefix, Watch},
    wire::ICMP,
};

use crate::datapath::{SNAP, Shown, Watcher};
use packet::{Joined, Packet};

/// How often what the kernel has shown is fetched.
const FETCH: Duration = Duration::from_millis(20);
/// How often the data plane is told again to show packets.
const INSIST: Duration = Duration::from_secs(1);
/// Longer than anybody waits.
const EVER: Duration = Duration::from_secs(86_400 * 365);

/// Which packets are captured, and what is done with them.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Only packets from or to this address or prefix; up to four.
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    host: Vec<(IpAddr, u8)>,
    /// Only packets from or to this port; up to four.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Only packets of this protocol.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,
    /// Only packets that ended for this reason, by its name in `l4d status`; may be repeated.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Vec<Reason>,
    /// The most bytes of each frame that are kept.
    #[arg(long, value_name = "BYTES", default_value_t = 262, value_parser = clap::value_parser!(u32).range(i64::from(SNAP.start)..i64::from(SNAP.end)))]
    snap: u32,
    /// Ends after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Ends after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=EVER.as_secs()))]
    seconds: Option<u64>,
    /// Writes frames to a file, as pcapng; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Says each packet for programs, a line of JSON.
    #[arg(long, conflicts_with = "write")]
    json: bool,
}

/// What can be told apart without looking into packets.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

impl Wish {
    /// Returns what the kernel looks for.
    fn watch(&self) -> anyhow::Result<Watch> {
        ensure!(self.host.len() <= HOSTS, "--host: at most {HOSTS} can be given");
        ensure!(self.port.len() <= PORTS, "--port: at most {PORTS} can be given");
        let mut hosts = if self.host.is_empty() { [Prefix::ANY; HOSTS] } else { [Prefix::NONE; HOSTS] };
        hosts.iter_mut().zip(&self.host).for_each(|(place, (address, length))| *place = Prefix::new(*address, *length));
        let mut ports = [0; PORTS];
        ports.iter_mut().zip(&self.port).for_each(|(place, port)| *place = u32::from(*port));
        let protocol = self.protocol.map_or(0, |protocol| match protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
            Protocol::Icmp => ICMP,
        });
        Ok(Watch { hosts, ports, protocol: protocol.into(), snap: self.snap })
    }

    /// Tells whether a packet is one of those that were asked for.
    fn wants(&self, packet: &Packet) -> bool {
        self.reason.is_empty() || self.reason.contains(&packet.reason)
    }
}

fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    config::prefix(text).map(|prefix| (prefix.address(), prefix.length()))
}

fn reason(text: &str) -> Result<Reason, String> {
    let names = || Reason::ALL.iter().map(|reason| reason.name()).collect::<Vec<_>>().join(", ");
    Reason::ALL.iter().copied().find(|reason| reason.name() == text).ok_or_else(|| format!("one of {}", names()))
}

/// Captures until enough is captured, or somebody says so.
///
/// # Errors
/// No data plane there, or a file that cannot be written.
pub(crate) fn run(pin: &Path, wish: &Wish) -> anyhow::Result<()> {
    let watch = wish.watch()?;
    ensure!(pin.exists(), "nothing runs at {}", pin.display());
    let watcher = Watcher::start(pin, &watch)?;
    let mut out = Output::open(wish)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let Tally { packets, lost } = match runtime.block_on(capture(watcher, wish, &mut out)) {
        // Whoever closed the pipe has read enough.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) => return Ok(()),
        tally => tally?,
    };
    let plural = if packets == 1 { "" } else { "s" };
    eprintln!("{packets} packet{plural} captured; {lost} frames found no room and are missing");
    Ok(())
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    packets: u64,
    lost: u64,
}

async fn capture(mut watcher: Watcher, wish: &Wish, out: &mut Output) -> anyhow::Result<Tally> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let [mut fetch, mut insist] = [FETCH, INSIST].map(interval);
    fetch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + wish.seconds.map_or(EVER, Duration::from_secs);
    let (mut joined, mut tally) = (Joined::new(), Tally::default());
    eprintln!("capturing; the first packets may come now");
    loop {
        let is_over = tokio::select! {
            _ = fetch.tick() => false,
            _ = insist.tick() => { watcher.insist(); false }
            () = sleep_until(end) => true,
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
        };
        watcher.read(|cpu, shown| match shown {
            Shown::Frame(event, frame) => joined.add(cpu, &event, frame),
            Shown::Lost(count) => tally.lost += count,
        });
        for packet in joined.take().iter().filter(|packet| wish.wants(packet)) {
            out.write(packet)?;
            tally.packets += 1;
            if wish.count == Some(tally.packets) {
                out.flush()?;
                return Ok(tally);
            }
        }
        out.flush()?;
        if is_over {
            return Ok(tally);
        }
    }
}

/// Where packets go.
enum Output {
    Words(Box<dyn Write>),
    Json(Box<dyn Write>),
    File(pcapng::Writer<Box<dyn Write>>),
}

impl Output {
    fn open(wish: &Wish) -> anyhow::Result<Self> {
        let standard = || -> Box<dyn Write> { Box::new(BufWriter::new(stdout())) };
        let Some(path) = &wish.write else {
            return Ok(if wish.json { Self::Json(standard()) } else { Self::Words(standard()) });
        };
        let file = if path.as_os_str() == "-" {
            standard()
        } else {
            Box::new(BufWriter::new(File::create(path).with_context(|| path.display().to_string())?))
        };
        Ok(Self::File(pcapng::Writer::new(file, wish.snap)?))
    }

    fn write(&mut self, packet: &Packet) -> io::Result<()> {
        match self {
            Self::Words(out) => writeln!(out, "{}", words::line(packet)),
            Self::Json(out) => writeln!(out, "{}", words::json(packet)),
            Self::File(file) => file.write(packet),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Words(out) | Self::Json(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

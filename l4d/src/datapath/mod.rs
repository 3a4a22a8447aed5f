//! The kernel's side: the program, its links and its maps. The only place that knows aya, and the only `unsafe` of l4d.
//!
//! Everything is pinned: maps and links live in one directory of a bpf file system, so forwarding outlives the daemon and the next one finds all flows where
//! they were. [`Datapath::load`] loads or adopts them, [`Datapath::apply`] carries out what `sync` decided, [`detach`] takes everything away.

pub(crate) mod decap;
mod load;
mod maps;
mod memory;
mod packet_log;
mod pin;
mod trial;
mod watch;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

pub use control::config::AttachMode;
pub use load::{Attached, Mode};
pub use maps::{Maps, ServerCounters};
pub use packet_log::Lines;
pub(crate) use packet_log::protocol_name;
pub use pin::{Pins, detach};
pub use trial::{Outcome, Trial, Verdict};
pub use watch::{SNAP, Shown, Watcher};
use xdp_common::settings::Settings;

use crate::{pool::Pool, tables::MapOp};

/// What the data plane is made with; none of it changes while the program is attached.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where maps and links are pinned.
    pub pin: PathBuf,
    /// Interfaces by name, with index and link address.
    pub interfaces: Vec<Interface>,
    /// How to attach.
    pub mode: AttachMode,
    /// Words of the flow table.
    pub flows: u32,
    /// Slots of the rings of all services.
    pub rings: Rings,
    /// Secret of the hashes; none: that of the pinned maps, or a new one.
    pub hash_key: Option<[u8; 16]>,
    /// Addresses of the interfaces.
    pub host: Vec<IpAddr>,
    /// Source addresses and ports of full NAT.
    pub pool: Pool,
}

/// How many slots there are for the rings of all services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rings {
    /// So many, or whatever maps that are pinned already have.
    AtFirst(u32),
    /// So many and no other number.
    Exactly(u32),
}

impl Rings {
    /// Returns how many a new map gets.
    pub const fn of_new(self) -> u32 {
        match self {
            Self::AtFirst(slots) | Self::Exactly(slots) => slots,
        }
    }
}

/// An interface to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its link address.
    pub address: [u8; 6],
    /// The longest packet it takes.
    pub mtu: u16,
}

/// Why the data plane could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system for pins is not there.
    #[error("{0} is not on a bpf file system: `mount -t bpf bpf /sys/fs/bpf`, or set `pin` in [xdp]")]
    NotBpffs(PathBuf),
    /// A file operation on a pin failed.
    #[error("{0}: {1}")]
    Pin(PathBuf, std::io::Error),
    /// Another daemon has it.
    #[error("{0} is in use by another l4d")]
    InUse(PathBuf),
    /// The kernel refused the object.
    #[error("loading the XDP program: {0}")]
    Load(#[from] Box<aya::EbpfError>),
    /// The kernel refused the program.
    #[error("loading the XDP program: {0}")]
    Program(#[from] Box<aya::programs::ProgramError>),
    /// The program could not be attached.
    #[error("attaching to {interface} in {mode} mode: {error}{hint}")]
    Attach {
        /// The interface.
        interface: String,
        /// How it was tried.
        mode: Mode,
        /// What the kernel said.
        error: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A map is missing or of another make.
    #[error("map {0}: {1}")]
    Map(&'static str, String),
    /// The pinned maps belong to other settings.
    #[error("the maps pinned in {pin} were made with other settings: {difference}; `l4d detach` removes them and ends the flows they hold")]
    Settings {
        /// Where they are.
        pin: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The pinned maps are laid out as another version of l4d does.
    #[error(
        "the maps pinned in {pin} have layout version {found}, this l4d has {}; `l4d detach` removes them and ends the flows they hold",
        xdp_common::limits::ABI_VERSION
    )]
    Layout {
        /// Where they are.
        pin: PathBuf,
        /// Their version.
        found: u32,
    },
    /// The object logs nothing.
    #[error("the packet log: {0}")]
    Log(#[from] Box<aya_log::Error>),
    /// The kernel refused a trial.
    #[error("trying a frame of {length} bytes on interface {interface}: {reason}")]
    Trial {
        /// Bytes of the frame.
        length: usize,
        /// The interface it was to arrive on.
        interface: u32,
        /// What the kernel said.
        reason: String,
    },
    /// Two interfaces share a place.
    #[error("interfaces {0} and {1} have indices that differ by a multiple of 256, which the interface table cannot tell apart")]
    Links(String, String),
}

/// The running data plane.
pub struct Datapath {
    program: load::Program,
    maps: Maps,
    pins: Pins,
}

impl Datapath {
    /// Loads the program and makes or adopts the maps; nothing runs yet that did not run before.
    ///
    /// # Errors
    /// Whatever the kernel refuses, and maps of other settings.
    pub fn load(setup: &Setup) -> Result<Self, Error> {
        Self::load_locked(Pins::open(&setup.pin)?, setup)
    }

    /// Does as [`load`](Self::load) in a directory of pins that is locked already.
    ///
    /// # Errors
    /// As there.
    pub fn load_locked(pins: Pins, setup: &Setup) -> Result<Self, Error> {
        Maps::check_layout(pins.path())?;
        let program = load::Program::load(&pins, setup)?;
        let maps = Maps::open(&pins)?;
        maps.configure(setup)?;
        Ok(Self { program, maps, pins })
    }

    /// Attaches the program to every interface; where a former daemon's runs, it is replaced without a gap.
    ///
    /// # Errors
    /// An interface that does not take it.
    pub fn attach(&mut self, setup: &Setup) -> Result<BTreeMap<String, Attached>, Error> {
        self.program.attach(&self.pins, setup)
    }

    /// Tells whether this kernel makes SYN cookies for the program.
    pub fn makes_cookies(&self) -> bool {
        self.program.makes_cookies
    }

    /// Returns the maps.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Returns the program to try frames on.
    ///
    /// # Errors
    /// None while the object holds the program it was loaded with.
    pub fn trial(&self) -> Result<Trial<'_>, Error> {
        self.program.trial()
    }

    /// Takes the lines that the program logs of some packets.
    pub fn take_lines(&mut self) -> Option<Lines> {
        self.program.lines.take()
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> Settings {
        self.maps.settings()
    }

    /// Carries out operations in their order.
    pub fn apply(&self, ops: &[MapOp]) {
        ops.iter().for_each(|op| self.maps.apply(op));
    }

    /// Takes the program off the interfaces and removes the maps.
    ///
    /// # Errors
    /// Pins that cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        self.pins.remove()
    }
}

/// Returns an error with its causes, which aya's messages leave out.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

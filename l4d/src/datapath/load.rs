//! Loading the embedded object and attaching its program to interfaces.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{MapData, ProgramArray},
    programs::{
        Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use control::config::AttachMode;
use tracing::{debug, warn};
use xdp_common::{limits, maps, reason::REASONS};

use super::{Error, Interface, Lines, Pins, Setup, Trial, chain};

/// The object that `cargo xtask build-ebpf` made of `xdp-ebpf`, aligned as an ELF reader wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/xdp.o"));

/// How the program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// As a running program already was.
    Adopted,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Adopted => "adopted",
        })
    }
}

/// An interface the program is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The interface's index.
    pub index: u32,
    /// How.
    pub mode: Mode,
}

/// The loaded object.
pub(super) struct Program {
    ebpf: Ebpf,
    /// Programs the first one leads to, until they are pinned: the kernel empties the array when nobody holds it.
    stages: Option<ProgramArray<MapData>>,
    /// Whether this kernel makes SYN cookies for it.
    pub(super) makes_cookies: bool,
    /// What the program logs, until somebody takes it.
    pub(super) lines: Option<Lines>,
}

impl Program {
    /// Loads the object; maps that are pinned already are taken as they are.
    pub(super) fn load(pins: &Pins, setup: &Setup) -> Result<Self, Error> {
        let (v4, v6) = setup.pool.buckets();
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(maps::FLOWS, setup.flows / limits::FLOW_WAYS as u32)
            .map_max_entries(maps::NAT, (v4 + v6).max(1))
            .map_max_entries(maps::RINGS, setup.rings.of_new() / limits::LINE_SLOTS as u32)
            .map_max_entries(maps::REASONS, REASONS)
            .default_map_pin_directory(pins.path())
            .verifier_log_level(verifier_log())
            .load(OBJECT)
            .map_err(Box::new)?;
        xdp(&mut ebpf, maps::PROGRAM)?.load().map_err(Box::new)?;
        let map = ebpf.take_map(maps::STAGES).ok_or(Error::Map(maps::STAGES, "not in the object".into()))?;
        let failed = |error: aya::maps::MapError| Error::Map(maps::STAGES, chain(&error));
        let mut stages = ProgramArray::try_from(map).map_err(failed)?;
        let mut makes_cookies = true;
        for stage in maps::Stage::ALL {
            let program = xdp(&mut ebpf, stage.program())?;
            // One stage is the first program itself.
            if stage.program() != maps::PROGRAM {
                match program.load() {
                    // Before Linux 6.0 there is nothing that makes cookies, and all else goes without.
                    Err(error) if stage == maps::Stage::Cookie => {
                        debug!("no SYN cookies: {}", chain(&error));
                        makes_cookies = false;
                        continue;
                    }
                    loaded => loaded.map_err(Box::new)?,
                }
            }
            stages.set(stage as u32, program.fd().map_err(Box::new)?, 0).map_err(failed)?;
        }
        let lines = Lines::of(&mut ebpf).map_err(Box::new)?;
        Ok(Self { ebpf, stages: Some(stages), makes_cookies, lines: Some(lines) })
    }

    /// Returns the program to try frames on.
    pub(super) fn trial(&self) -> Result<Trial<'_>, Error> {
        let program = self.ebpf.program(maps::PROGRAM).ok_or(Error::Map(maps::PROGRAM, "not in the object".into()))?;
        Ok(Trial::new(program.try_into().map_err(Box::new)?))
    }

    /// Attaches to every interface; one that a former daemon attached to gets the new program in a single step, one no longer wanted is let go.
    pub(super) fn attach(&mut self, pins: &Pins, setup: &Setup) -> Result<BTreeMap<String, Attached>, Error> {
        let mut attached = BTreeMap::new();
        for interface in &setup.interfaces {
            let mode = match self.adopt(&pins.link(interface.index)) {
                true => Mode::Adopted,
                false => self.attach_anew(pins, interface, setup.mode)?,
            };
            attached.insert(interface.name.clone(), Attached { index: interface.index, mode });
        }
        // Only now does no interface run a former program, which went on by the array that was pinned before.
        if let Some(stages) = self.stages.take() {
            let pin = pins.path().join(maps::STAGES);
            pins.remove_file(&pin)?;
            stages.pin(&pin).map_err(|error| Error::Pin(pin, std::io::Error::other(error)))?;
        }
        for index in pins.linked()? {
            if !setup.interfaces.iter().any(|interface| interface.index == index) {
                pins.remove_file(&pins.link(index))?;
            }
        }
        Ok(attached)
    }

    /// Puts the program into a pinned link, if that still holds an interface.
    fn adopt(&mut self, pin: &PathBuf) -> bool {
        let Ok(link) = PinnedLink::from_pin(pin) else { return false };
        let Ok(link) = XdpLink::try_from(FdLink::from(link)) else { return false };
        let Ok(program) = xdp(&mut self.ebpf, maps::PROGRAM) else { return false };
        let adopted = program.attach_to_link(link).and_then(|id| program.take_link(id));
        adopted.is_ok()
    }

    fn attach_anew(&mut self, pins: &Pins, interface: &Interface, mode: AttachMode) -> Result<Mode, Error> {
        let modes: &[Mode] = match mode {
            AttachMode::Auto => &[Mode::Native, Mode::Generic],
            AttachMode::Native => &[Mode::Native],
            AttachMode::Generic => &[Mode::Generic],
        };
        let mut failure = None;
        for mode in modes {
            match self.attach_in_mode(pins, interface, *mode) {
                Ok(()) => {
                    if let (Mode::Generic, Some(error)) = (mode, &failure) {
                        let name = &interface.name;
                        warn!("{name}: the driver cannot run XDP ({error}); running in generic mode, several times slower");
                    }
                    return Ok(*mode);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.expect("at least one mode is tried"))
    }

    fn attach_in_mode(&mut self, pins: &Pins, interface: &Interface, mode: Mode) -> Result<(), Error> {
        let failed = |error: aya::programs::ProgramError| Error::Attach {
            interface: interface.name.clone(),
            mode,
            hint: hint(&error),
            error: chain(&error),
        };
        let xdp_mode = if mode == Mode::Generic { XdpMode::Skb } else { XdpMode::Driver };
        let program = xdp(&mut self.ebpf, maps::PROGRAM)?;
        let id = program.attach_to_if_index(interface.index, xdp_mode).map_err(failed)?;
        let link: FdLink = program.take_link(id).map_err(failed)?.try_into().map_err(|_| Error::Map("link", "not a bpf link".into()))?;
        let pin = pins.link(interface.index);
        pins.remove_file(&pin)?;
        link.pin(&pin).map_err(|error| Error::Pin(pin, std::io::Error::other(error)))?;
        Ok(())
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, Error> {
    let program = ebpf.program_mut(name).ok_or(Error::Map(name, "not in the object".into()))?;
    Ok(program.try_into().map_err(Box::new)?)
}

fn hint(error: &aya::programs::ProgramError) -> &'static str {
    let errno = if let aya::programs::ProgramError::SyscallError(error) = error { error.io_error.raw_os_error() } else { None };
    match errno.map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::BUSY) => "; another XDP program is attached: `ip link set dev NAME xdp off` removes it",
        Some(rustix::io::Errno::PERM) => "; needs root, or CAP_BPF and CAP_NET_ADMIN",
        _ => "",
    }
}

/// Returns what the kernel says of a program it does not take at once.
///
/// A signal sends it back from its work, and to do that over with every instruction written down takes ten times as long; so that is only done for whoever
/// asked for details.
fn verifier_log() -> VerifierLogLevel {
    if tracing::enabled!(tracing::Level::DEBUG) { VerifierLogLevel::DEBUG | VerifierLogLevel::STATS } else { VerifierLogLevel::STATS }
}

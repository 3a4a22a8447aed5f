//! The decapsulating program: attached to an interface of a server and left there, since it needs no daemon.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::{
    EbpfLoader,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::{
        Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use xdp_common::{
    addr::{Addr, Port},
    decap::{ENDS, FATES, Fate, PROGRAM, SETTINGS, Settings},
};

use super::{Error, Interface, Mode, chain};

/// The object that `cargo xtask build-ebpf` made of `xdp-ebpf`, aligned as an ELF reader wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/decap.o"));

/// The pin of the link, beside the maps.
const LINK: &str = "link";

/// Attaches the program; where it is attached already it gets the new settings, and the new program in a single step.
///
/// # Errors
/// Whatever the kernel refuses.
pub(crate) fn attach(pin: &Path, interface: &Interface, ends: &[IpAddr], port: u16) -> Result<Mode, Error> {
    std::fs::create_dir_all(pin).map_err(|error| Error::Pin(pin.to_owned(), error))?;
    let mut ebpf = EbpfLoader::new().default_map_pin_directory(pin).load(OBJECT).map_err(Box::new)?;
    fill(pin, ends, port)?;
    let program: &mut Xdp =
        ebpf.program_mut(PROGRAM).ok_or(Error::Map(PROGRAM, "not in the object".into()))?.try_into().map_err(Box::new)?;
    program.load().map_err(Box::new)?;
    if adopt(program, &pin.join(LINK)) {
        return Ok(Mode::Adopted);
    }
    let mut refused = None;
    for (mode, flag) in [(Mode::Native, XdpMode::Driver), (Mode::Generic, XdpMode::Skb)] {
        match program.attach_to_if_index(interface.index, flag) {
            Ok(id) => {
                let link: FdLink =
                    program.take_link(id).map_err(Box::new)?.try_into().map_err(|_| Error::Map("link", "not a bpf link".into()))?;
                let path = pin.join(LINK);
                drop(std::fs::remove_file(&path));
                link.pin(&path).map_err(|error| Error::Pin(path, std::io::Error::other(error)))?;
                return Ok(mode);
            }
            Err(error) => refused = Some((mode, chain(&error))),
        }
    }
    let (mode, error) = refused.expect("two modes were tried");
    Err(Error::Attach { interface: interface.name.clone(), mode, error, hint: "" })
}

fn adopt(program: &mut Xdp, pin: &PathBuf) -> bool {
    let Ok(link) = PinnedLink::from_pin(pin) else { return false };
    let Ok(link) = XdpLink::try_from(FdLink::from(link)) else { return false };
    program.attach_to_link(link).and_then(|id| program.take_link(id)).is_ok()
}

fn fill(pin: &Path, ends: &[IpAddr], port: u16) -> Result<(), Error> {
    let failed = |name, error: aya::maps::MapError| Error::Map(name, chain(&error));
    let settings = open(pin, SETTINGS)?;
    let mut settings: Array<_, Settings> = Array::try_from(Map::Array(settings)).map_err(|error| failed(SETTINGS, error))?;
    settings.set(0, Settings { port: Port::new(port), spare: [0; 3] }, 0).map_err(|error| failed(SETTINGS, error))?;
    let mut present: HashMap<_, Addr, u32> = HashMap::try_from(Map::HashMap(open(pin, ENDS)?)).map_err(|error| failed(ENDS, error))?;
    let gone: Vec<Addr> = present.keys().filter_map(Result::ok).filter(|addr| !ends.contains(&IpAddr::from(*addr))).collect();
    for end in ends {
        present.insert(Addr::from(*end), 1, 0).map_err(|error| failed(ENDS, error))?;
    }
    for addr in gone {
        present.remove(&addr).map_err(|error| failed(ENDS, error))?;
    }
    Ok(())
}

/// Returns how many packets came by tunnels, by what became of them.
///
/// # Errors
/// No program at this place.
pub(crate) fn counts(pin: &Path) -> Result<Vec<(Fate, u64)>, Error> {
    let failed = |error: aya::maps::MapError| Error::Map(FATES, chain(&error));
    let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(Map::PerCpuArray(open(pin, FATES)?)).map_err(failed)?;
    Fate::ALL.iter().map(|fate| Ok((*fate, counters.get(&(*fate as u32), 0).map_err(failed)?.iter().sum()))).collect()
}

/// Takes the program off and forgets its counts; tells whether there was one.
///
/// # Errors
/// Pins that cannot be removed.
pub(crate) fn detach(pin: &Path) -> Result<bool, Error> {
    if !pin.exists() {
        return Ok(false);
    }
    // The kernel takes the program off some time after the last pin is gone; until then it ends no tunnel any more. Without its maps it ends none either.
    let _ = fill(pin, &[], 0);
    for name in [LINK, SETTINGS, ENDS, FATES] {
        match std::fs::remove_file(pin.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::Pin(pin.join(name), error)),
            _ => {}
        }
    }
    std::fs::remove_dir(pin).map_err(|error| Error::Pin(pin.to_owned(), error))?;
    Ok(true)
}

fn open(pin: &Path, name: &'static str) -> Result<MapData, Error> {
    MapData::from_pin(pin.join(name)).map_err(|error| Error::Map(name, chain(&error)))
}

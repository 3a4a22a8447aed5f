//! Watching packets: the frames that programs show to whoever captures, and the lines they log.

use std::{
    ops::Range,
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixListener},
    path::Path,
    sync::atomic::Ordering::Relaxed,
};

use aya::{
    maps::{
        Array, Map, MapData, PerfEventArray,
        perf::{PerfEvent, PerfEventArrayBuffer},
    },
    util::online_cpus,
};
use xdp_common::{
    maps,
    settings::{CAPTURED, Settings},
    watch::{Event, Watch},
};

use super::{
    Error, Maps, chain,
    maps::memory,
    memory::{Access, Memory},
};

/// Which half of the settings' features is not the daemon's.
const FEATURES: usize = 15;
/// Pages of the buffer of one CPU; a power of two.
const PAGES: usize = 256;
/// As many bytes of a frame can be captured: what the kernel puts into one event, less what else is in it.
pub const SNAP: Range<u32> = 16..32_768;

/// Somebody who captures packets of a data plane; no longer once this is dropped.
pub struct Watcher {
    settings: Memory,
    cpus: Vec<PerfEventArrayBuffer<MapData>>,
    /// Held so that nobody else captures here at the same time.
    _alone: UnixListener,
}

/// What a CPU has shown.
#[derive(Debug)]
pub enum Shown<'a> {
    /// A frame.
    Frame(Event, &'a [u8]),
    /// So many frames found no room.
    Lost(u64),
}

impl Watcher {
    /// Begins to capture what is wanted from the data plane that is pinned there.
    ///
    /// # Errors
    /// No data plane there, one of an l4d that could not capture, or somebody else who captures.
    pub fn start(pin: &Path, watch: &Watch) -> Result<Self, Error> {
        let settings = memory_of_settings(pin)?;
        let alone = alone(pin)?;
        let failed = |name| move |error: aya::maps::MapError| Error::Map(name, chain(&error));
        if !pin.join(maps::WATCH).exists() {
            return Err(Error::Map(
                maps::WATCH,
                "the program that runs is of an l4d that could not capture; a restart replaces it".to_owned(),
            ));
        }
        let map = MapData::from_pin(pin.join(maps::WATCH)).map_err(failed(maps::WATCH))?;
        let mut wanted: Array<MapData, Watch> = Array::try_from(Map::Array(map)).map_err(failed(maps::WATCH))?;
        let map = MapData::from_pin(pin.join(maps::EVENTS)).map_err(failed(maps::EVENTS))?;
        let mut events = PerfEventArray::try_from(Map::PerfEventArray(map)).map_err(failed(maps::EVENTS))?;
        let cpus = online_cpus().map_err(|(what, error)| Error::Map(maps::EVENTS, format!("{what}: {error}")))?;
        let cpus = cpus.into_iter().map(|cpu| events.open(cpu, Some(PAGES)).map_err(|error| Error::Map(maps::EVENTS, chain(&error))));
        let watcher = Self { settings, cpus: cpus.collect::<Result<_, _>>()?, _alone: alone };
        wanted.set(0, watch, 0).map_err(failed(maps::WATCH))?;
        watcher.insist();
        Ok(watcher)
    }

    /// Has the data plane look out; a daemon that starts anew would have it stop.
    pub fn insist(&self) {
        self.settings.halves()[FEATURES].fetch_or((CAPTURED >> 32) as u32, Relaxed);
    }

    /// Hands out what has been shown since the last time, each CPU in its order.
    pub fn read(&mut self, mut each: impl FnMut(usize, Shown<'_>)) {
        let mut whole = Vec::new();
        for (cpu, buffer) in self.cpus.iter_mut().enumerate() {
            buffer.for_each(|event| match event {
                PerfEvent::Sample { head, tail } => {
                    whole.clear();
                    whole.extend_from_slice(head);
                    whole.extend_from_slice(tail);
                    if let Some((event, frame)) = whole.split_first_chunk() {
                        let event = Event::read(event);
                        // The kernel fills up to whole words.
                        each(cpu, Shown::Frame(event, &frame[..frame.len().min(event.length as usize)]));
                    }
                }
                PerfEvent::Lost { count } => each(cpu, Shown::Lost(count)),
            });
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.settings.halves()[FEATURES].fetch_and(!((CAPTURED >> 32) as u32), Relaxed);
    }
}

fn memory_of_settings(pin: &Path) -> Result<Memory, Error> {
    Maps::check_layout(pin)?;
    memory(pin, maps::SETTINGS, size_of::<Settings>(), Access::Write)
}

/// Makes sure that nobody else captures: the kernel forgets a name of this kind with whoever held it.
fn alone(pin: &Path) -> Result<UnixListener, Error> {
    let name = format!("l4d-capture:{}", pin.display());
    let failed = |error: std::io::Error| {
        let is_taken = error.kind() == std::io::ErrorKind::AddrInUse;
        Error::Map(maps::EVENTS, if is_taken { "somebody else captures here".to_owned() } else { error.to_string() })
    };
    SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name)).map_err(failed)
}

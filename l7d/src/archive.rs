//! Stick tables in a file, so that what is known of clients comes back after a crash.
//!
//! The file says what peers say ([`crate::peers::codec`]): each table, and behind it its entries with the time they have left. A line before
//! all that names the format, the time of writing follows, and a checksum ends it. It is written beside its place and moved there in one step;
//! one that is damaged is left aside as a whole.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::{debug, info, warn};
use twox_hash::XxHash64;

use crate::peers::codec::{Frame, Message, read};
use crate::peers::{Learner, Shared, put_entry};
use crate::site::Site;
use crate::stick::{Tables, now};

/// Fills tables from the file, if there is one that is whole; tables that it does not know, or that have changed, begin empty.
pub(crate) fn restore(path: &Path, tables: &Tables) {
    let begun =
        fs::metadata(path).and_then(|known| if known.len() > LARGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { fs::read(path) });
    match begun {
        Ok(bytes) => match decode(&bytes, &shared(tables), SystemTime::now()) {
            Ok(count) => info!("{count} entries of tables are back from {}", path.display()),
            Err(reason) => warn!("{}: {reason}; tables begin empty", path.display()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => debug!("{}: there is none yet", path.display()),
        Err(error) => warn!("{}: {error}; tables begin empty", path.display()),
    }
}

/// Writes the file again and again, for as long as there is a site; it is not written while nothing changes.
pub(crate) async fn keep(path: PathBuf, mut site: watch::Receiver<Arc<Site>>) {
    let (mut written, mut is_well, mut pause) = (None, true, PAUSE);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            end = site.wait_for(|_| false) => if end.is_err() { return },
        }
        let tables = shared(site.borrow().tables());
        let changes: Vec<u64> =
            tables.iter().map(|shared| (0..shared.table.parts()).map(|part| shared.table.changes(part)).sum()).collect();
        if written.as_ref() == Some(&changes) {
            continue;
        }
        let (place, began) = (path.clone(), Instant::now());
        let outcome =
            tokio::task::spawn_blocking(move || write(&place, ".new", &tables)).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = &outcome
            && is_well
        {
            warn!("{}: {error}; tables are not kept", path.display());
        }
        // Large tables are not all the machine has to do.
        pause = PAUSE.max(began.elapsed() * 20);
        is_well = outcome.is_ok();
        written = is_well.then_some(changes);
    }
}

/// Writes the file once more, at the end, whatever is being written.
pub(crate) fn close(path: &Path, tables: &Tables) {
    if let Err(error) = write(path, ".last", &shared(tables)) {
        warn!("{}: {error}; tables are not kept", path.display());
    }
}

fn shared(tables: &Tables) -> Vec<Shared> {
    (1..).zip(tables.all()).map(|(number, table)| Shared::new(number, table.name(), table)).collect()
}

/// Learns all entries, and returns how many there were.
fn decode(bytes: &[u8], tables: &[Shared], now: SystemTime) -> Result<u64, &'static str> {
    let rest = bytes.strip_prefix(FORMAT).ok_or("this is no file of tables")?;
    let (rest, sum) = rest.split_last_chunk::<8>().ok_or("it is cut off")?;
    if XxHash64::oneshot(0, &bytes[..bytes.len() - 8]) != u64::from_be_bytes(*sum) {
        return Err("it is damaged");
    }
    let (time, mut rest) = rest.split_first_chunk::<8>().ok_or("it is cut off")?;
    let written = UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(*time));
    let age = now.duration_since(written).unwrap_or_default().as_millis();
    let mut learner = Learner::of_past(tables, "the file of tables", u32::try_from(age).unwrap_or(u32::MAX));
    let mut count = 0;
    while !rest.is_empty() {
        let Ok(Frame::Whole(message, size)) = read(rest) else { return Err("a part of it is none of this format") };
        let understood = match message {
            Message::Define(definition) => learner.define(definition),
            Message::Update(update) => {
                count += 1;
                learner.update(&update)
            }
            Message::ResyncRequest
            | Message::ResyncFinished
            | Message::ResyncPartial
            | Message::ResyncConfirm
            | Message::Heartbeat
            | Message::ProtocolError
            | Message::SizeLimit
            | Message::Switch(_)
            | Message::Acknowledge(..)
            | Message::Unknown => Ok(()),
        };
        understood.map_err(|_| "an entry of it is none")?;
        rest = &rest[size..];
    }
    Ok(count)
}

/// Writes the file, at first under a name with this end.
fn write(path: &Path, end: &str, tables: &[Shared]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    let fresh = PathBuf::from(name);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let mut sink = Sink { out: BufWriter::new(file), hash: XxHash64::with_seed(0) };
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    sink.write(FORMAT)?;
    sink.write(&u64::try_from(time).unwrap_or_default().to_be_bytes())?;
    for shared in tables {
        write_table(shared, &mut sink)?;
    }
    let Sink { mut out, hash } = sink;
    out.write_all(&hash.finish().to_be_bytes())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&fresh, path)?;
    // The name is on disk only once its directory is.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn write_table(shared: &Shared, sink: &mut Sink) -> io::Result<()> {
    let (mut page, mut entry) = (Vec::new(), Vec::new());
    Message::Define(shared.definition()).write(&mut page);
    for part in 0..shared.table.parts() {
        let mut place = 0;
        loop {
            let is_more = shared.table.scan(part, &mut place, None, now(), |content| put_entry(shared, &content, &mut entry, &mut page));
            // Outside of the lock of the part.
            sink.write(&page)?;
            page.clear();
            if !is_more {
                break;
            }
        }
    }
    sink.write(&page)
}

/// The file, and the checksum of what is in it.
struct Sink {
    out: BufWriter<File>,
    hash: XxHash64,
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.write(bytes);
        self.out.write_all(bytes)
    }
}

const FORMAT: &[u8] = b"l7d tables 1\n";
/// How often the file is written.
const PAUSE: Duration = Duration::from_secs(2);
/// Larger files are not read.
const LARGEST: u64 = 4 << 30;

//! Live requests that somebody watches: what their rules were asked and what came of them, as they end.
//!
//! `trace` of the runtime interface starts a watch; each request looks at one number whether there is any. The requests that match its
//! condition get an [`Observer`], which tells the watch what `explain` tells of a request that never was. Whoever
//! watches is never waited for: what it does not take in time is left out and counted.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use control::admin::Feed;
use tokio::sync::mpsc;

use crate::date;
use crate::explain::write_steps;
use crate::log::Ending;
use crate::message::head::RequestHead;
use crate::rules::{Filter, Observer, View};
use crate::site::Frontend;

/// What somebody wants to see.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Of which requests; all where there is none.
    pub(crate) filter: Option<Filter>,
    /// By which frontend alone.
    pub(crate) frontend: Option<String>,
    /// How many.
    pub(crate) most: u32,
    /// For how long.
    pub(crate) time: Duration,
    /// The command in its own words.
    pub(crate) words: String,
}

/// Somebody who watches.
#[derive(Debug)]
struct Watch {
    number: u64,
    wanted: Wanted,
    end: Instant,
    left: AtomicU32,
    told: AtomicU32,
    missed: AtomicU32,
    feed: mpsc::Sender<String>,
}

static WATCHES: Mutex<Vec<Arc<Watch>>> = Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How many may watch at a time.
const MOST: usize = 16;
/// How many requests wait to be read by who watches.
const WAITING: usize = 64;

/// How often is looked whether anybody still reads.
const LOOK: Duration = Duration::from_millis(200);

/// Begins a watch.
///
/// # Errors
/// Says that too many watch already.
pub(crate) fn start(wanted: Wanted) -> Result<Feed, String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (feed, told) = mpsc::channel(WAITING);
    let end = Instant::now() + wanted.time;
    let left = AtomicU32::new(wanted.most);
    let number = NEXT.fetch_add(1, Relaxed);
    let watch = Watch { number, end, left, told: AtomicU32::new(0), missed: AtomicU32::new(0), feed: feed.clone(), wanted };
    change(|watches| {
        if watches.len() >= MOST {
            return Err(format!("{MOST} traces are under way already; 'trace 0' ends them"));
        }
        watches.push(Arc::new(watch));
        Ok(())
    })?;
    let feed = feed.downgrade();
    tokio::spawn(async move {
        // Ends with its time, with its last request, or when nobody reads any more.
        while Instant::now() < end && feed.upgrade().is_some_and(|feed| !feed.is_closed()) {
            tokio::time::sleep(LOOK.min(end.saturating_duration_since(Instant::now()))).await;
        }
        stop(|watch| watch.number == number);
    });
    Ok(told)
}

/// Ends all watches, and tells how many that were.
pub(crate) fn stop_all() -> usize {
    stop(|_| true)
}

/// Lists who watches.
pub(crate) fn list() -> String {
    let mut text = String::new();
    change(|watches| {
        for watch in watches.iter() {
            let left = watch.end.saturating_duration_since(Instant::now()).as_secs();
            let [told, missed] = [&watch.told, &watch.missed].map(|count| count.load(Relaxed));
            let _ = writeln!(text, "{}: trace {}, told {told}, missed {missed}, {left} s left", watch.number, watch.wanted.words);
        }
    });
    if text.is_empty() { "Nothing is traced.\n".to_owned() } else { text }
}

fn stop(which: impl Fn(&Watch) -> bool) -> usize {
    change(|watches| {
        let before = watches.len();
        watches.retain(|watch| !which(watch));
        before - watches.len()
    })
}

fn change<T>(act: impl FnOnce(&mut Vec<Arc<Watch>>) -> T) -> T {
    let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let result = act(&mut watches);
    COUNT.store(watches.len(), Relaxed);
    result
}

/// A request that may be watched.
#[derive(Debug)]
pub(crate) struct Trail {
    watches: Vec<Arc<Watch>>,
    observer: Observer,
    seen: OnceCell<Seen>,
}

/// A request that is watched.
#[derive(Debug)]
struct Seen {
    by: Vec<Arc<Watch>>,
    title: String,
}

impl Trail {
    /// Returns one if anybody watches requests of this frontend.
    pub(crate) fn begin(frontend: &Frontend) -> Option<Box<Self>> {
        if COUNT.load(Relaxed) == 0 { None } else { Self::of(frontend) }
    }

    #[cold]
    fn of(frontend: &Frontend) -> Option<Box<Self>> {
        let now = Instant::now();
        let concerns = |watch: &&Arc<Watch>| now < watch.end && watch.wanted.frontend.as_ref().is_none_or(|name| name == frontend.name());
        let watches: Vec<_> = change(|watches| watches.iter().filter(concerns).map(Arc::clone).collect());
        if watches.is_empty() {
            return None;
        }
        Some(Box::new(Self { watches, observer: Observer::live(frontend.rules().sources()), seen: OnceCell::new() }))
    }

    /// Returns who is to be told what rules are asked about a request, if anybody wants to see it.
    #[cold]
    pub(crate) fn meet(&self, head: &RequestHead, view: &View<'_>) -> Option<&Observer> {
        let matches = |watch: &&Arc<Watch>| watch.wanted.filter.as_ref().is_none_or(|filter| filter.holds(view));
        let takes = |watch: &&Arc<Watch>| watch.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        let by: Vec<_> = self.watches.iter().filter(matches).filter(takes).map(Arc::clone).collect();
        if by.is_empty() {
            return None;
        }
        let _ = self.seen.set(Seen { by, title: title(head, view) });
        Some(&self.observer)
    }

    /// Tells who watches what became of the request.
    #[cold]
    pub(crate) fn end(self, ending: &Ending) {
        let Some(Seen { by, title }) = self.seen.into_inner() else { return };
        let mut text = format!("{title}\n");
        write_steps(&mut text, &self.observer.into_steps());
        if text.len() > LONGEST {
            text.truncate((0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
            text.push_str("\n  ... and more\n");
        }
        let _ = writeln!(text, "\n-> {ending}\n");
        for watch in by {
            match watch.feed.try_send(text.clone()) {
                Ok(()) => watch.told.fetch_add(1, Relaxed),
                Err(_) => watch.missed.fetch_add(1, Relaxed),
            };
            if watch.told.load(Relaxed) + watch.missed.load(Relaxed) >= watch.wanted.most {
                stop(|other| other.number == watch.number);
            }
        }
    }
}

/// How many bytes are told of a request at most.
const LONGEST: usize = 256 << 10;

/// Says which request it is.
fn title(head: &RequestHead, view: &View<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = text(head.headers.all("host").next().unwrap_or_default());
    let scheme = if view.scene.is_tls { "https" } else { "http" };
    let (method, target) = (text(head.method_text()), text(head.target()));
    let place = if target.starts_with('/') { format!("{scheme}://{host}{target}") } else { target };
    let client = view.scene.source.map_or_else(|| "a socket".to_owned(), |source| source.to_string());
    format!("[{}] {method} {place} from {client} to frontend {}", date::Common(SystemTime::now()), view.scene.frontend)
}

//! The numbers of one frontend, backend or server: a part for each thread, summed when somebody asks.
//!
//! A thread writes only its own part, with plain loads and stores of atomics, so counting costs no more than adding to memory that
//! the core has already. A meter outlives reloads: whoever has the same name goes on counting where the one before it was.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::counter::{Counter, Span, Times};
use super::latency::{Latency, Lengths, Recent};
use super::rate::Rate;

/// The numbers of one frontend, backend or server, or of the process.
#[derive(Debug)]
pub(crate) struct Meter {
    born: Instant,
    /// One for each thread; made when the thread first has something to count.
    parts: Box<[OnceLock<Box<Part>>]>,
    /// Most exchanges or connections at a time.
    most: AtomicU64,
    /// Locked by the main thread, and by rules that ask.
    rates: Mutex<Rates>,
    /// Locked by who tells of the servers, and by who asks.
    standing: Mutex<Standing>,
    /// What the counters were when they were last forgotten; only the main thread writes it.
    forgotten: OnceLock<Box<Part>>,
}

/// How much is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The highest numbers.
    Highs,
    /// All that is counted.
    All,
}

/// What one thread has counted; whole cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Part {
    counters: [AtomicU64; Counter::COUNT],
    latency: Latency,
}

/// The part of a meter that the present thread writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here<'a> {
    born: Instant,
    part: &'a Part,
}

/// An exchange that counts as under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Presence<'a>(Option<Here<'a>>);

/// How a backend stands: whether any of its servers is up, and how that was before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    is_up: bool,
    /// The last change.
    pub(super) since: Instant,
    /// How often the last server went.
    pub(super) downs: u64,
    /// Of the times before this one.
    downtime: Duration,
}

impl Standing {
    /// Returns how long it was down so far.
    pub(super) fn downtime(self, now: Instant) -> Duration {
        self.downtime + if self.is_up { Duration::ZERO } else { now.saturating_duration_since(self.since) }
    }
}

/// How fast sessions and requests come.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Sessions.
    pub(super) sessions: Rate,
    /// Requests.
    pub(super) requests: Rate,
    /// Bytes to clients.
    pub(super) bytes_out: Rate,
    /// Bytes of bodies before and after they were compressed.
    pub(super) compressed: [Rate; 2],
    recent: Recent,
}

/// Says which part of every meter the present thread writes; to be called once by each worker.
pub(crate) fn enter_thread(number: usize) {
    THREAD.set(number);
}

/// Returns the number of the present thread; none if it is no worker.
pub(crate) fn thread() -> Option<usize> {
    Some(THREAD.get()).filter(|number| *number != usize::MAX)
}

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl Meter {
    /// Returns a meter for so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            born: Instant::now(),
            parts: (0..threads).map(|_| OnceLock::new()).collect(),
            most: AtomicU64::new(0),
            rates: Mutex::default(),
            standing: Mutex::new(Standing { is_up: true, since: Instant::now(), downs: 0, downtime: Duration::ZERO }),
            forgotten: OnceLock::new(),
        }
    }

    /// Returns the part of the present thread; a thread that is no worker has none.
    pub(crate) fn here(&self) -> Option<Here<'_>> {
        let part = self.parts.get(THREAD.get())?;
        Some(Here { born: self.born, part: part.get_or_init(Part::fresh) })
    }

    /// Adds to a counter.
    pub(crate) fn add(&self, counter: Counter, count: u64) {
        if let Some(here) = self.here() {
            here.add(counter, count);
        }
    }

    /// Subtracts from a counter that is a level.
    pub(crate) fn subtract(&self, counter: Counter, count: u64) {
        self.add(counter, count.wrapping_neg());
    }

    /// Returns how many connections to a server the threads together are reckoned to need.
    pub(super) fn needed(&self) -> u64 {
        self.parts.iter().filter_map(OnceLock::get).map(|part| part.needed()).sum()
    }

    /// Counts an exchange as under way.
    pub(crate) fn enter(&self) -> Presence<'_> {
        let here = self.here();
        // A new high of all threads together is, but for rare coincidences, also one of some thread.
        if here.is_some_and(|here| here.part.enter()) {
            self.note_level(self.total(Counter::Current));
        }
        Presence(here)
    }

    /// Notes that so many are under way.
    pub(crate) fn note_level(&self, count: u64) {
        if count > self.most.load(Relaxed) {
            self.most.fetch_max(count, Relaxed);
        }
    }

    /// Notes whether any server is up.
    pub(crate) fn stand(&self, is_up: bool) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.is_up != is_up {
            let now = Instant::now();
            *standing = Standing { is_up, since: now, downs: standing.downs + u64::from(!is_up), downtime: standing.downtime(now) };
        }
    }

    /// Returns how its servers stand.
    pub(super) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many were under way at most.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Relaxed)
    }

    /// Returns a counter summed over all threads, without what was forgotten.
    pub(crate) fn sum(&self, counter: Counter) -> u64 {
        let forgotten = self.forgotten.get().map_or(0, |forgotten| forgotten.load(counter));
        self.total(counter).wrapping_sub(forgotten)
    }

    fn total(&self, counter: Counter) -> u64 {
        self.values(counter).fold(0, u64::wrapping_add)
    }

    /// Forgets what was counted.
    pub(super) fn forget(&self, extent: Extent) {
        self.most.store(self.total(Counter::Current), Relaxed);
        {
            let mut rates = self.rates();
            let recent = if extent == Extent::All { Recent::default() } else { std::mem::take(&mut rates.recent) };
            *rates = Rates { recent, ..Rates::default() };
        }
        for part in self.parts.iter().filter_map(OnceLock::get) {
            // A thread that writes one at this moment only makes the old number last.
            Counter::HIGHS.iter().for_each(|high| part.store(*high, 0));
        }
        if extent == Extent::All {
            let forgotten = self.forgotten.get_or_init(Part::fresh);
            Counter::SUMS.iter().for_each(|counter| forgotten.store(*counter, self.total(*counter)));
            forgotten.latency.set(&self.all_lengths());
        }
    }

    /// Returns the average of the times of the last exchanges, in microseconds.
    pub(crate) fn average(&self, span: Span) -> u64 {
        let exchanges: u64 = self.values(Counter::Timed).map(|timed| timed.min(WINDOW)).sum();
        self.total(span.counters().0).checked_div(exchanges).unwrap_or(0)
    }

    /// Returns the longest time, in microseconds.
    pub(crate) fn longest(&self, span: Span) -> u64 {
        self.highest(span.counters().1)
    }

    /// Returns how long all exchanges took, without what was forgotten.
    pub(super) fn lengths(&self) -> Lengths {
        let mut forgotten = Lengths::none();
        if let Some(part) = self.forgotten.get() {
            part.latency.add_to(&mut forgotten);
        }
        self.all_lengths().since(&forgotten)
    }

    fn all_lengths(&self) -> Lengths {
        let mut all = Lengths::none();
        self.parts.iter().filter_map(OnceLock::get).for_each(|part| part.latency.add_to(&mut all));
        all
    }

    /// Tells whether any thread has ever counted anything.
    pub(super) fn has_counted(&self) -> bool {
        self.parts.iter().any(|part| part.get().is_some())
    }

    /// Returns the time in microseconds that so many of a hundred exchanges of the last minute did not exceed, if there were any.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        if !self.has_counted() {
            return None;
        }
        let all = self.lengths();
        self.rates().recent.of(all).percentile(percent)
    }

    /// Returns how many seconds ago the last exchange began, if there was any.
    pub(crate) fn last_session(&self, now: Instant) -> Option<u64> {
        let last = self.highest(Counter::LastSession).checked_sub(1)?;
        Some(now.saturating_duration_since(self.born).as_secs().saturating_sub(last))
    }

    fn values(&self, counter: Counter) -> impl Iterator<Item = u64> {
        self.parts.iter().filter_map(OnceLock::get).map(move |part| part.load(counter))
    }

    fn highest(&self, counter: Counter) -> u64 {
        self.values(counter).max().unwrap_or(0)
    }

    /// Takes note of a moment from which rates are reckoned; the main thread calls this about once a second.
    pub(super) fn tick(&self, now: Instant) {
        let [sessions, requests, bytes_out] = [Counter::Sessions, Counter::Requests, Counter::BytesOut].map(|counter| self.sum(counter));
        let mut rates = self.rates();
        rates.sessions.tick(sessions, now);
        rates.requests.tick(requests, now);
        rates.bytes_out.tick(bytes_out, now);
        let compressed = [Counter::CompressedIn, Counter::CompressedOut].map(|counter| self.sum(counter));
        rates.compressed.iter_mut().zip(compressed).for_each(|(rate, count)| rate.tick(count, now));
        if self.has_counted() {
            rates.recent.tick(now, || self.lengths());
        }
    }

    /// Returns how many sessions came in the last second.
    pub(crate) fn session_rate(&self) -> u64 {
        self.rates().sessions.last_second(self.sum(Counter::Sessions), Instant::now())
    }

    /// Returns how many requests came in the last second.
    pub(crate) fn request_rate(&self) -> u64 {
        self.rates().requests.last_second(self.sum(Counter::Requests), Instant::now())
    }

    /// Returns how fast sessions and requests come.
    pub(super) fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Here<'_> {
    /// Adds to a counter.
    pub(crate) fn add(self, counter: Counter, count: u64) {
        self.part.store(counter, self.part.load(counter).wrapping_add(count));
    }

    /// Notes that a connection to the server has something to do now.
    pub(crate) fn note_use(&self) {
        let used = self.part.used();
        if used > self.part.load(Counter::UsedMost) {
            self.part.store(Counter::UsedMost, used);
        }
    }

    /// Tells whether more connections are open than are needed.
    pub(crate) fn has_surplus(self) -> bool {
        self.part.open() > self.part.needed()
    }

    /// Ends an interval of the pool, and returns how many connections more were open in it than are needed: by HAProxy's reckoning, in
    /// which a need that was there fades by half with each interval.
    pub(crate) fn end_interval(self) -> u64 {
        let (part, needed, most) = (self.part, self.part.needed(), self.part.load(Counter::UsedMost));
        let excess = part.open().saturating_sub(needed);
        part.store(Counter::Needed, needed.midpoint(most).max(most));
        part.store(Counter::UsedMost, part.used());
        excess
    }

    /// Notes how long an exchange took, in microseconds.
    pub(crate) fn note_latency(self, length: u64) {
        self.part.latency.note(length);
    }

    /// Notes that an exchange began.
    pub(crate) fn begin_session(self, began: Instant) {
        self.add(Counter::Sessions, 1);
        self.part.store(Counter::LastSession, began.saturating_duration_since(self.born).as_secs() + 1);
    }

    /// Notes how long an exchange took.
    pub(crate) fn note(self, times: Times) {
        let part = self.part;
        let is_full = part.load(Counter::Timed) >= WINDOW;
        for span in Span::ALL {
            let (sum, longest) = span.counters();
            let before = part.load(sum);
            let kept = if is_full { before - before / WINDOW } else { before };
            let time = times.of(span);
            part.store(sum, kept.saturating_add(time));
            if time > part.load(longest) {
                part.store(longest, time);
            }
        }
        self.add(Counter::Timed, 1);
    }
}

impl Part {
    fn fresh() -> Box<Self> {
        Box::new(Self { counters: [const { AtomicU64::new(0) }; Counter::COUNT], latency: Latency::new() })
    }

    fn load(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }

    fn store(&self, counter: Counter, value: u64) {
        self.counters[counter as usize].store(value, Relaxed);
    }

    /// Returns how many connections are open, but for those that wait for their own client.
    fn open(&self) -> u64 {
        self.load(Counter::Open).saturating_sub(self.load(Counter::IdleOwn))
    }

    /// Returns how many of them do not wait.
    fn used(&self) -> u64 {
        self.open().saturating_sub(self.load(Counter::IdleNew) + self.load(Counter::IdleProven))
    }

    fn needed(&self) -> u64 {
        self.load(Counter::Needed).max(self.load(Counter::UsedMost))
    }

    /// Counts an exchange as under way, and tells whether there were never more.
    fn enter(&self) -> bool {
        let current = self.load(Counter::Current) + 1;
        self.store(Counter::Current, current);
        let is_high = current > self.load(Counter::CurrentMost);
        if is_high {
            self.store(Counter::CurrentMost, current);
        }
        is_high
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if let Some(here) = self.0 {
            here.part.store(Counter::Current, here.part.load(Counter::Current).wrapping_sub(1));
        }
    }
}

/// How many exchanges of a thread an average is made of: the sums are those of the last so many, older ones fading out.
const WINDOW: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_apart_and_are_summed() {
        let meter = Meter::new(3);
        meter.add(Counter::Requests, 5);
        assert_eq!(meter.sum(Counter::Requests), 0, "no worker, no count");
        std::thread::scope(|scope| {
            for number in 0..3 {
                let meter = &meter;
                scope.spawn(move || {
                    enter_thread(number);
                    for _ in 0..1000 {
                        meter.add(Counter::Requests, 1);
                    }
                });
            }
        });
        assert_eq!(meter.sum(Counter::Requests), 3000);
    }

    #[test]
    fn level_falls_again_and_its_high_stays() {
        enter_thread(0);
        let meter = Meter::new(1);
        let (one, two) = (meter.enter(), meter.enter());
        assert_eq!((meter.sum(Counter::Current), meter.most()), (2, 2));
        drop((one, two));
        let _again = meter.enter();
        assert_eq!((meter.sum(Counter::Current), meter.most()), (1, 2));
    }

    #[test]
    fn average_is_that_of_the_last_exchanges() {
        enter_thread(0);
        let meter = Meter::new(1);
        let here = meter.here().unwrap();
        assert_eq!(meter.average(Span::Total), 0);
        for total in [100, 300] {
            here.note(Times { total, ..Times::default() });
        }
        assert_eq!((meter.average(Span::Total), meter.longest(Span::Total), meter.average(Span::Queue)), (200, 300, 0));
        for _ in 0..20 * WINDOW {
            here.note(Times { total: 5000, ..Times::default() });
        }
        assert!((4990..=5000).contains(&meter.average(Span::Total)), "{}", meter.average(Span::Total));
    }
}

//! Writes lines to standard output and error without ever holding up who has them to write.
//!
//! Each of the two has a thread of its own behind a bounded queue. A pipe whose reader is slow fills the queue; what comes then is
//! dropped, counted, and told in the log of the daemon itself.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, warn};

/// One of the process's own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

enum Work {
    Line(String),
    /// Answered when everything before it was written.
    Flush(SyncSender<()>),
}

static WRITERS: [OnceLock<Option<SyncSender<Work>>>; 2] = [const { OnceLock::new() }; 2];
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines could not be written, wherever they were meant to go.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Counts a line that could not be written.
pub(super) fn drop_line() {
    DROPPED.fetch_add(1, Relaxed);
}

/// Hands over a line.
pub(super) fn write(stream: Stream, line: String) {
    let writer = WRITERS[stream as usize].get_or_init(|| start(stream));
    if writer.as_ref().is_none_or(|writer| writer.try_send(Work::Line(line)).is_err()) {
        drop_line();
    }
}

/// Waits until the lines handed over are written, unless that takes too long.
pub(crate) fn flush() {
    let end = Instant::now() + PARTING;
    for writer in WRITERS.iter().filter_map(|writer| writer.get()?.as_ref()) {
        let (done, written) = sync_channel(1);
        let mut work = Work::Flush(done);
        while let Err(TrySendError::Full(returned)) = writer.try_send(work) {
            if Instant::now() > end {
                return;
            }
            thread::sleep(PAUSE);
            work = returned;
        }
        let _ = written.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn start(stream: Stream) -> Option<SyncSender<Work>> {
    let (sender, receiver) = sync_channel(QUEUE);
    let name = "l7d-log".to_owned();
    match thread::Builder::new().name(name).spawn(move || run(stream, &receiver)) {
        Ok(_) => Some(sender),
        Err(error) => {
            error!("no thread for log lines: {error}");
            None
        }
    }
}

fn run(stream: Stream, work: &Receiver<Work>) {
    let mut reported = 0;
    while let Ok(first) = work.recv() {
        let mut text = String::new();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(work_in_hand) = next {
            match work_in_hand {
                Work::Line(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Work::Flush(done) => waiting.push(done),
            }
            next = if text.len() < AT_ONCE { work.try_recv().ok() } else { None };
        }
        if print(stream, text.as_bytes()).is_err() {
            text.lines().for_each(|_| drop_line());
        }
        for done in waiting {
            // Who asked may have stopped waiting.
            let _ = done.send(());
        }
        let lost = dropped();
        if lost > reported {
            warn!("{} log lines were dropped", lost - reported);
            reported = lost;
        }
    }
}

fn print(stream: Stream, text: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(text)?;
            out.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(text),
    }
}

/// Lines that wait for a slow reader.
const QUEUE: usize = 4096;
/// Bytes written with one call.
const AT_ONCE: usize = 32 * 1024;
/// How long the end of the daemon waits for its last lines.
const PARTING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

//! Sends spans to a collector.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use control::config::OtlpEndpoint;
use control::fleet::Fleet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::{Ended, encode};

static SENT: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);
static QUEUE: OnceLock<mpsc::Sender<Ended>> = OnceLock::new();

/// How many exchanges wait to be sent.
const ROOM: usize = 4096;
/// How many exchanges go at a time.
const BATCH: usize = 512;
/// How long the first of them waits.
const WAIT: Duration = Duration::from_millis(500);
/// How long the collector has.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the process waits at its end for the last spans to be taken.
const LAST: Duration = Duration::from_secs(2);

/// Returns how many spans a collector has taken, and how many were lost, where there have been any.
pub(crate) fn counts() -> Option<(u64, u64)> {
    let counts = (SENT.load(Relaxed), LOST.load(Relaxed));
    (counts != (0, 0) || super::SAMPLE.load(Relaxed) > 0).then_some(counts)
}

/// Hands over a request that has ended, without waiting.
pub(super) fn queue(ended: Ended) {
    let spans = ended.spans();
    if QUEUE.get().is_none_or(|queue| queue.try_send(ended).is_err()) {
        LOST.fetch_add(spans, Relaxed);
    }
}

/// The task that sends spans, to where the configuration in force says.
pub(crate) struct Exporter {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Exporter {
    /// Starts it.
    pub(crate) fn start(fleet: Fleet) -> Self {
        let (queue, ended) = mpsc::channel(ROOM);
        let _ = QUEUE.set(queue);
        let (stop, stopped) = oneshot::channel();
        Self { task: tokio::spawn(run(fleet, ended, stopped)), stop }
    }

    /// Sends what is left, as far as there is somebody who takes it.
    pub(crate) async fn close(self) {
        drop(self.stop);
        let task = self.task.abort_handle();
        if timeout(LAST, self.task).await.is_err() {
            task.abort();
        }
    }
}

async fn run(fleet: Fleet, mut ended: mpsc::Receiver<Ended>, mut stopped: oneshot::Receiver<()>) {
    let mut is_well = true;
    let mut batch = Vec::new();
    loop {
        let is_last = tokio::select! {
            biased;
            _ = &mut stopped => true,
            () = gather(&mut ended, &mut batch) => false,
        };
        if is_last {
            ended.close();
            while let Ok(more) = ended.try_recv() {
                batch.push(more);
            }
        }
        for part in batch.chunks(BATCH) {
            deliver(&fleet, part, &mut is_well).await;
        }
        if is_last {
            return;
        }
        batch.clear();
    }
}

/// Waits for exchanges, and then a little for more.
async fn gather(ended: &mut mpsc::Receiver<Ended>, batch: &mut Vec<Ended>) {
    // The sender is never dropped, so there is something.
    ended.recv_many(batch, BATCH).await;
    let end = Instant::now() + WAIT;
    while batch.len() < BATCH && timeout_at(end, ended.recv_many(batch, BATCH - batch.len())).await.is_ok_and(|more| more > 0) {}
}

/// Sends some of them, and counts what became of them.
async fn deliver(fleet: &Fleet, part: &[Ended], is_well: &mut bool) {
    let config = fleet.config();
    let otlp = config.global().otlp();
    let spans = part.iter().map(Ended::spans).sum();
    let sent = match otlp.endpoint() {
        Some(endpoint) => {
            let body = encode::request(part, otlp.service());
            timeout(PATIENCE, send(endpoint, &body)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
        None => Err(io::Error::other("the configuration names no collector any more")),
    };
    match sent {
        Ok(()) => {
            SENT.fetch_add(spans, Relaxed);
            if !std::mem::replace(is_well, true) {
                info!("spans are taken again");
            }
        }
        Err(error) => {
            LOST.fetch_add(spans, Relaxed);
            // Said once, until it is over.
            if std::mem::replace(is_well, false) {
                warn!("{spans} spans are lost: {error}");
            }
        }
    }
}

/// Sends a body over a connection of its own.
async fn send(endpoint: &OtlpEndpoint, body: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(endpoint.authority()).await?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nUser-Agent: l7d/{}\r\nConnection: close\r\n\r\n",
        endpoint.path(),
        endpoint.authority(),
        body.len(),
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    let mut taken = (&mut stream).take(4096);
    while !answer.contains(&b'\n') && taken.read_buf(&mut answer).await? > 0 {}
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    if line.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
        return Ok(());
    }
    Err(io::Error::other(format!("the collector answers `{line}`")))
}

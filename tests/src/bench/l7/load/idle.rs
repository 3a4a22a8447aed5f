//! Connections that have made a request and stay, and what they take of the proxy's memory.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::case::SMALL;
use super::super::measure::Sample;
use super::super::proc;
use super::http1::{Ask, Buffers, STEP, Then, fetch};
use super::meter::Meter;
use super::stream::{Client, Stream};

/// Opens connections and returns what they took.
pub(super) async fn measure(client: &Rc<Client>, connections: usize, process: u32) -> Result<Sample> {
    // What the first connections take is the program's, not theirs.
    drop(open(client, OPENERS).await?);
    let before = settled(process).await?;
    let mut held = open(client, connections).await?;
    let after = settled(process).await?;
    let connections = held.len() as u64;
    // Memory that was saved by closing them would be no merit.
    let (meter, mut buffers) = (Meter::default(), Buffers::new(SMALL));
    for (number, stream) in held.iter_mut().enumerate() {
        let ask = Ask { size: SMALL, offset: number as u64 * STEP, then: Then::Keep };
        fetch(client, &meter, stream, &mut buffers, ask).await.context("a connection that was idle")?;
    }
    Ok(Sample { requests: connections, bytes: connections * SMALL, memory: after.saturating_sub(before), connections, ..Sample::default() })
}

/// Opens connections, some at a time, and makes a request on each.
///
/// # Errors
/// Fails with the first that fails.
pub(super) async fn open(client: &Rc<Client>, connections: usize) -> Result<Vec<Stream>> {
    let left = Rc::new(Cell::new(connections));
    let mut openers = JoinSet::new();
    for _ in 0..OPENERS.min(connections) {
        let (client, left) = (Rc::clone(client), Rc::clone(&left));
        openers.spawn_local(async move {
            let (mut streams, meter, mut buffers) = (Vec::new(), Meter::default(), Buffers::new(SMALL));
            while left.get() > 0 {
                left.set(left.get() - 1);
                let mut stream = client.connect().await?;
                let ask = Ask { size: SMALL, offset: left.get() as u64 * STEP, then: Then::Keep };
                fetch(&client, &meter, &mut stream, &mut buffers, ask).await?;
                streams.push(stream);
            }
            Ok(streams)
        });
    }
    let mut streams = Vec::new();
    while let Some(opened) = openers.join_next().await {
        let opened: Result<Vec<Stream>> = opened.context("open connections")?;
        streams.extend(opened?);
    }
    Ok(streams)
}

/// Returns the resident memory of the proxy once it no longer changes, or what it is after a while.
async fn settled(process: u32) -> Result<u64> {
    let mut last = proc::resident(process)?;
    for _ in 0..LOOKS {
        sleep(PAUSE).await;
        let now = proc::resident(process)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

/// How many connections are opened at a time.
const OPENERS: usize = 64;
/// How often memory is looked at, and how long after each other.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(200);

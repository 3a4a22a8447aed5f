//! The numbers of the kernel tier, for the page: asked of l4d by its own socket, in the background, for as long as the configuration names one.
//!
//! No client of the page waits for l4d; what is shown is what it said last, at most half a minute ago, or why it says nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::config::{CommandSocket, Xdp};
use control::fleet::Fleet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What l4d said last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Rows of its table.
    Rows(Vec<Line>),
    /// It says nothing, for this reason.
    Silent(String),
}

/// A row of its table, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line(Vec<(String, String)>);

impl Line {
    /// Returns what stands in a column; nothing where it is empty.
    pub(super) fn value(&self, column: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

static LAST: Mutex<Option<Arc<Tier>>> = Mutex::new(None);
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// Returns what l4d said last, if it is asked at all.
pub(super) fn last() -> Option<Arc<Tier>> {
    IS_WATCHED.store(true, Ordering::Relaxed);
    LAST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Asks l4d again and again for as long as it is polled, more often where somebody looks.
pub(crate) async fn follow(fleet: Fleet) {
    let mut looks = tokio::time::interval(OFTEN);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut passed = SELDOM;
    loop {
        looks.tick().await;
        let config = fleet.config();
        let Some(socket) = config.xdp().and_then(Xdp::stats_socket) else {
            put(None);
            continue;
        };
        if !IS_WATCHED.swap(false, Ordering::Relaxed) && passed < SELDOM {
            passed += 1;
            continue;
        }
        passed = 0;
        let path = socket.path().value().display();
        let answer = tokio::time::timeout(PATIENCE, ask(socket)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        put(Some(match answer.map(|text| read(&text)) {
            Ok(Some(rows)) => Tier::Rows(rows),
            Ok(None) => Tier::Silent(format!("what answers at {path} is not l4d")),
            Err(error) => Tier::Silent(format!("l4d does not answer at {path}: {error}")),
        }));
    }
}

/// How long a look takes at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked where somebody looks.
const OFTEN: Duration = Duration::from_secs(2);
/// How many looks are left out where nobody does.
const SELDOM: u32 = 14;
/// What is read of an answer at most.
const LONGEST: u64 = 4 << 20;

fn put(tier: Option<Tier>) {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = tier.map(Arc::new);
}

async fn ask(socket: &CommandSocket) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket.path().value()).await?;
    stream.write_all(b"show stat\n").await?;
    let mut text = Vec::new();
    stream.take(LONGEST).read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads a table of comma-separated values; nothing if it is none.
fn read(text: &str) -> Option<Vec<Line>> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.strip_prefix("# ")?.trim_end_matches(',').split(',').collect();
    if !names.starts_with(&["pxname", "svname"]) {
        return None;
    }
    let line = |line: &str| Line(names.iter().map(|name| (*name).to_owned()).zip(values(line)).collect());
    Some(lines.filter(|line| !line.is_empty()).map(line).collect())
}

/// Takes a line apart; values with commas or quotes stand in quotes, which are doubled inside.
fn values(line: &str) -> Vec<String> {
    let (mut all, mut value, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => value.extend(characters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => all.push(std::mem::take(&mut value)),
            other => value.push(other),
        }
    }
    all.push(value);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables_are_read() {
        let rows = read("# pxname,svname,status,last_chk,\nweb,FRONTEND,OPEN,,\napp,s1,UP,\"a \"\"b\"\", c\",\n\n").unwrap();
        let shown: Vec<_> =
            rows.iter().map(|row| ["pxname", "svname", "status", "last_chk", "none"].map(|column| row.value(column))).collect();
        assert_eq!(
            shown,
            [[Some("web"), Some("FRONTEND"), Some("OPEN"), None, None], [Some("app"), Some("s1"), Some("UP"), Some("a \"b\", c"), None],]
        );
        assert_eq!(read("Unknown command.\n"), None);
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(text in "(# pxname,svname,)?[a,\"\n ]{0,60}") {
            prop_assert!(read(&text).unwrap_or_default().iter().all(|row| row.0.len() <= 60));
        }
    }
}

//! Waiting for something to become true, with a deadline instead of a guess.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` until it returns a value, at short and slowly growing intervals.
///
/// # Errors
/// Fails, naming `what`, if there is still no value when `deadline` has passed.
pub fn eventually<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("still waiting after {deadline:?} for {what}");
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Repeats a system call that was interrupted; those on sockets with a timeout are not restarted when the process was paused.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_returned_as_soon_as_there_is_one() {
        let mut asked = 0;
        let value = eventually(Duration::from_secs(5), "the third question", || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn deadline_ends_the_wait_and_names_what_was_missing() {
        let error = eventually(Duration::from_millis(5), "a miracle", || None::<()>).unwrap_err();
        assert!(error.to_string().ends_with("for a miracle"), "{error}");
    }

    #[test]
    fn interruption_is_not_an_outcome() {
        let mut interruptions = 2;
        let outcome = uninterrupted(|| match interruptions {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => {
                interruptions -= 1;
                Err::<(), _>(io::ErrorKind::Interrupted.into())
            }
        });
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn probe_is_asked_even_when_the_deadline_is_zero() {
        assert_eq!(eventually(Duration::ZERO, "now", || Some(1)).unwrap(), 1);
    }
}

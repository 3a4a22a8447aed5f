//! What the kernel says of a process: CPU time and resident memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Returns the CPU time of a process with all its threads, user and system together.
///
/// # Errors
/// Fails if it has ended.
pub(super) fn cpu_time(process: u32) -> Result<Duration> {
    let stat = read(process, "stat")?;
    let ticks = ticks(&stat).with_context(|| format!("no times in `{stat}`"))?;
    Ok(Duration::from_nanos(ticks * NANOS / rustix::param::clock_ticks_per_second()))
}

/// Returns the resident bytes of a process.
///
/// # Errors
/// Fails if it has ended.
pub(super) fn resident(process: u32) -> Result<u64> {
    resident_bytes(&read(process, "status")?).context("no resident memory")
}

fn read(process: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{process}/{file}")).with_context(|| format!("read {file} of process {process}, which may have ended"))
}

/// Returns user and system time from `/proc/PID/stat`; the name before them may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let rest = "S 1 42 42 0 -1 4194560 900 0 3 0 120 34 7 8 20 0 1 0 5000 9000 300";
        for name in ["l7d", "a b", "(x) 1 2 3 4 5 6 7 8 9 10 11 12 13)"] {
            assert_eq!(ticks(&format!("42 ({name}) {rest}")), Some(154), "{name}");
        }
        assert_eq!(ticks("42 (l7d) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    1540 kB\nThreads:\t1\n"), Some(1_576_960));
        assert_eq!(resident_bytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn a_process_knows_its_own_figures() {
        let own = std::process::id();
        assert!(resident(own).unwrap() > 0);
        let before = cpu_time(own).unwrap();
        let mut rounds = 0_u64;
        while cpu_time(own).unwrap() == before {
            rounds += 1;
            assert!(rounds < 100_000_000, "the clock of the process stands still");
        }
    }
}

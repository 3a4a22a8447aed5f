//! Adds up what the test runner printed.

use std::fmt;

/// The counts of every test binary that ran, with the runner's own lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    passed: u64,
    failed: u64,
    /// The runner's line for each binary that had tests, below the line that names the binary.
    results: Vec<String>,
    /// Names of tests that failed.
    failures: Vec<String>,
    /// Names of tests that failed beside others and passed when run again alone.
    unsteady: Vec<String>,
    /// The binary whose tests run now.
    current: String,
}

impl Summary {
    /// Takes in one line of the runner's output.
    pub(crate) fn observe(&mut self, line: &str) {
        let text = line.trim();
        // Not matched as words: on a terminal cargo colours them.
        if text.contains("Running") && text.ends_with(')') || text.contains("Doc-tests") {
            self.current = line.to_owned();
        } else if let Some(name) = text.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        } else if let Some(counts) = text.strip_prefix("test result: ") {
            self.result(text, counts);
        }
    }

    /// Returns the tests that failed since `mark`, a former number of failures.
    pub(crate) fn failures_since(&self, mark: usize) -> &[String] {
        &self.failures[mark..]
    }

    /// Returns how many tests failed so far.
    pub(crate) fn mark(&self) -> usize {
        self.failures.len()
    }

    /// Tells whether at least so many tests ran and none failed.
    pub(crate) fn covers(&self, tests: usize) -> bool {
        self.failed == 0 && self.passed >= tests as u64
    }

    /// Notes that all that failed since `mark` passed when run again.
    pub(crate) fn forgive_since(&mut self, mark: usize) {
        let forgiven = self.failures.split_off(mark);
        self.failed -= forgiven.len() as u64;
        self.passed += forgiven.len() as u64;
        self.unsteady.extend(forgiven);
    }

    fn result(&mut self, text: &str, counts: &str) {
        let count = |what: &str| {
            let part = counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        let (passed, failed) = (count("passed"), count("failed"));
        self.passed += passed;
        self.failed += failed;
        if passed + failed + count("ignored") > 0 {
            self.results.push(format!("{}\n{text}", self.current));
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in &self.results {
            writeln!(f, "{result}")?;
        }
        for name in &self.failures {
            writeln!(f, "FAILED: {name}")?;
        }
        for name in &self.unsteady {
            writeln!(f, "UNSTEADY, passed only when run again alone: {name}")?;
        }
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_try_is_told_apart() {
        let mut summary = Summary::default();
        for line in ["test steady ... ok", "test shaky ... FAILED", "test result: FAILED. 1 passed; 1 failed; 0 ignored"] {
            summary.observe(line);
        }
        assert_eq!((summary.failures_since(0), summary.covers(1)), (&["shaky".to_owned()][..], false));
        summary.forgive_since(0);
        let text = summary.to_string();
        assert!(text.ends_with("UNSTEADY, passed only when run again alone: shaky\n2 passed, 0 failed"), "{text}");
    }

    const OUTPUT: &str = "
     Running unittests src/lib.rs (target/debug/deps/control-1)

running 3 tests
test a::works ... ok
test a::breaks ... FAILED
test a::waits ... ignored, needs a disk

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running unittests src/main.rs (target/debug/deps/l4d-1)

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests control

running 2 tests
test control/src/lib.rs - (line 3) ... ok
test control/src/lib.rs - (line 9) ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";

    #[test]
    fn results_of_all_binaries_add_up() {
        let mut summary = Summary::default();
        OUTPUT.lines().for_each(|line| summary.observe(line));
        let text = summary.to_string();
        assert!(text.ends_with("\n3 passed, 1 failed"), "{text}");
        assert!(text.contains("FAILED: a::breaks"), "{text}");
    }

    #[test]
    fn binaries_without_tests_are_left_out() {
        let mut summary = Summary::default();
        OUTPUT.lines().for_each(|line| summary.observe(line));
        assert_eq!(summary.results.len(), 2);
        assert!(summary.results[0].contains("Running unittests src/lib.rs"), "{summary:?}");
        assert!(summary.results[1].starts_with("   Doc-tests control\ntest result: ok. 2 passed"), "{summary:?}");
    }

    #[test]
    fn without_tests_the_closing_line_is_all() {
        assert_eq!(Summary::default().to_string(), "0 passed, 0 failed");
    }
}

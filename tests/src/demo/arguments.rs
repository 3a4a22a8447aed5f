//! What the demo can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Help,
    Run(Arguments),
}

/// How to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// The file both daemons run on.
    pub(super) config: PathBuf,
    /// How long to go on at least; without it, what suits the output.
    pub(super) span: Option<Duration>,
}

/// Reads the arguments after the program's name.
pub(super) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Request> {
    let (mut config, mut span) = (PathBuf::from("tests/demo/site.toml"), None);
    while let Some(argument) = arguments.next() {
        if matches!(argument.as_str(), "-h" | "--help") {
            return Ok(Request::Help);
        }
        let value = arguments.next().with_context(|| format!("{argument} needs a value; {USAGE}"))?;
        match argument.as_str() {
            "--config" => config = PathBuf::from(value),
            "--seconds" => span = Some(Duration::from_secs(value.parse().with_context(|| format!("{value}: not a number of seconds"))?)),
            _ => bail!("{argument}: unknown; {USAGE}"),
        }
    }
    Ok(Request::Run(Arguments { config, span }))
}

/// How the program is called; what it is for is in the help of `cargo xtask demo`.
pub(super) const USAGE: &str = "usage: lab-demo [--config FILE] [--seconds N]   (as root; see `cargo xtask demo --help`)";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read_in_any_order() {
        let expected = Arguments { config: "a.toml".into(), span: Some(Duration::from_secs(20)) };
        assert_eq!(parsed("--seconds 20 --config a.toml").unwrap(), Request::Run(expected));
        assert_eq!(parsed("--help").unwrap(), Request::Help);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [("--seconds", "--seconds"), ("--seconds soon", "soon"), ("--fast 1", "--fast")] {
            assert!(parsed(line).unwrap_err().to_string().starts_with(named), "{line}");
        }
    }
}

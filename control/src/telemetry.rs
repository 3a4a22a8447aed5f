//! Logging of both daemons: `tracing` to standard error, filtered by `RUST_LOG`.
//!
//! Numbers are not here: each owner keeps its own counters and writes them through [`crate::exposition`].

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `RUST_LOG` is not a filter.
    #[error("RUST_LOG {value:?} is not a filter")]
    Filter {
        /// What the variable holds.
        value: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has a subscriber already.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Sends the process's logs to standard error, in colour on a terminal.
///
/// # Errors
///
/// Fails if `RUST_LOG` cannot be parsed or logging is set up already.
pub fn init() -> Result<(), Error> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = filter(std::env::var("RUST_LOG").ok().as_deref())?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .finish();
    Ok(subscriber.try_init()?)
}

fn filter(variable: Option<&str>) -> Result<EnvFilter, Error> {
    let value = variable.filter(|value| !value.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    EnvFilter::try_new(value).map_err(|source| Error::Filter { value: value.to_owned(), source })
}

const DEFAULT_FILTER: &str = "info";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_or_empty_variable_means_info() {
        for variable in [None, Some(""), Some("  ")] {
            assert_eq!(filter(variable).unwrap().to_string(), "info", "{variable:?}");
        }
        assert_eq!(filter(Some("warn,control=debug")).unwrap().to_string(), "control=debug,warn");
    }

    #[test]
    fn bad_variable_is_named() {
        let error = filter(Some("control=loud")).unwrap_err();
        assert_eq!(error.to_string(), "RUST_LOG \"control=loud\" is not a filter");
    }
}

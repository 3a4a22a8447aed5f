//! The configuration as its users meet it: a text goes in, a model or a report comes out.

mod convert;
mod haproxy;
mod messages;
mod model;
mod robust;
mod running;

use super::Config;

/// The file of the manual.
const EXAMPLE: &str = include_str!("example.toml");

/// Reads a text that must be usable.
fn config(text: &str) -> Config {
    Config::parse("site.toml", text).unwrap_or_else(|report| panic!("{report}"))
}

/// Returns what is said about a text, usable or not.
fn said(text: &str) -> String {
    match Config::parse("site.toml", text) {
        Ok(config) => config.warnings().to_string(),
        Err(report) => report.to_string(),
    }
}

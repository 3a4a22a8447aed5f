//! `l4d doctor`: what about an interface, and the machine around it, keeps the kernel tier from working, or from working well.
//!
//! [`facts`] reads the system and changes nothing; [`judge`] is pure and says what is the matter, each time with the command that mends it.

mod facts;
mod judge;

use std::{fmt::Write, path::PathBuf};

use anyhow::Context;
use clap::Args;
use control::config::Config;
use serde_json::json;

pub(crate) use facts::hides_tags;
pub(crate) use judge::{Finding, Weight};

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The interface packets arrive on.
    #[arg(value_name = "IFACE")]
    interface: String,
    /// The configuration file, for its servers, tunnels and pins.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Says it for programs.
    #[arg(long)]
    json: bool,
}

/// What is said, and whether anything must be mended.
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) healthy: bool,
}

/// Looks at an interface.
///
/// # Errors
/// No such interface, or a file that is not valid.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<Report> {
    let config = args.file.as_ref().map(|file| Config::load(file));
    let config = config.transpose().map_err(|report| anyhow::anyhow!("{}", report.to_string().trim_end()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let facts = runtime.block_on(facts::gather(&args.interface, config.as_ref()))?;
    let findings = judge::judge(&facts);
    let healthy = findings.iter().all(|finding| finding.weight != Weight::Problem);
    Ok(Report { text: if args.json { as_json(&args.interface, &findings) } else { as_text(&findings)? }, healthy })
}

fn as_text(findings: &[Finding]) -> anyhow::Result<String> {
    let mut text = String::new();
    for finding in findings {
        writeln!(text, "{:<8} {}: {}", finding.weight.word(), finding.topic, finding.what)?;
        if let Some(mend) = &finding.mend {
            writeln!(text, "         mend it: {mend}")?;
        }
    }
    Ok(text)
}

fn as_json(interface: &str, findings: &[Finding]) -> String {
    let list: Vec<_> = findings
        .iter()
        .map(|finding| json!({ "weight": finding.weight.word(), "topic": finding.topic, "what": finding.what, "mend": finding.mend }))
        .collect();
    format!("{}\n", json!({ "interface": interface, "findings": list }))
}

//! `l7d convert`: HAProxy's language → the native format.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use control::config::{self, Config, Conversion, Fate, Report};

use crate::rules::Rules;
use crate::support;

/// What is converted, and where that goes.
#[derive(Debug, Args)]
pub(super) struct Convert {
    /// The configuration: any number of files and directories in HAProxy's language.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where the native format goes, in place of standard output.
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where it is told what became of each line, in place of standard error.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Does what the arguments ask for.
pub(super) fn run(convert: &Convert) -> anyhow::Result<ExitCode> {
    let Convert { files, output, report } = convert;
    let conversion = match config::convert(files, &found(files)) {
        Ok(conversion) => conversion,
        Err(report) => {
            writeln!(io::stderr(), "{report}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    for path in [output, report].into_iter().flatten() {
        keep(files, path)?;
    }
    into(output.as_deref(), io::stdout(), |out| out.write_all(conversion.text().as_bytes()))?;
    into(report.as_deref(), io::stderr(), |out| conversion.lines().iter().try_for_each(|line| writeln!(out, "{line}")))?;
    Ok(if is_whole(&conversion) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns what is wrong with rules and with what they name, which the parser leaves to us.
fn found(files: &[PathBuf]) -> Report {
    let Ok(config) = Config::draft(files) else { return Report::default() };
    let reports = [Rules::compile(&config, None).err(), support::check(&config).err()];
    reports.iter().flatten().flat_map(Report::diagnostics).chain(config.warnings().diagnostics()).cloned().collect::<Vec<_>>().into()
}

/// Refuses to write over what is read.
fn keep(files: &[PathBuf], path: &Path) -> anyhow::Result<()> {
    let Ok(place) = fs::canonicalize(path) else { return Ok(()) };
    let is_read = |file: &PathBuf| fs::canonicalize(file).is_ok_and(|file| place.starts_with(file));
    if files.iter().any(is_read) {
        bail!("{} is what is converted", path.display());
    }
    Ok(())
}

/// Writes to a file, or else to a stream.
fn into(path: Option<&Path>, stream: impl Write, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let Some(path) = path else {
        let mut out = BufWriter::new(stream);
        write(&mut out)?;
        return Ok(out.flush()?);
    };
    let failed = || path.display().to_string();
    let mut out = BufWriter::new(File::create(path).with_context(failed)?);
    write(&mut out).with_context(failed)?;
    out.flush().with_context(failed)
}

/// Tells whether no line was refused.
fn is_whole(conversion: &Conversion) -> bool {
    conversion.lines().iter().all(|line| !matches!(line.fate(), Fate::Refused(_)))
}

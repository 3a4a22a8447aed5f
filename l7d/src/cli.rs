//! The command line and the exit code.

mod convert;
mod ctl;
mod haproxy;
mod top;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use control::config::StatsSocket;
use tracing::warn;

use crate::app;
use crate::explain::Question;
use crate::life::Launch;
use crate::steward;

/// The user-space tier of the load balancer.
///
/// Reads one configuration file, listens on the addresses of its frontends, and spreads connections over the servers of its backends.
/// It needs no privileges beyond those of the ports it listens on; the kernel tier, l4d, may run beside it on the same file.
#[derive(Debug, Parser)]
#[command(name = "l7d", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration and print everything wrong with it.
    ///
    /// The exit status is 0 if the file can be served, warnings or not, and 1 if it cannot.
    Check {
        /// The configuration file; any number of files and directories in HAProxy's language.
        #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// What this process is called among its peers, in place of `localpeer` or the name of the host.
        #[arg(short = 'L', long, value_name = "NAME")]
        local_peer: Option<String>,
        /// Also list the words that are accepted and mean nothing here.
        #[arg(short = 'v', long)]
        verbose: bool,
    },
    /// Serve a configuration in the foreground, logging to standard error.
    ///
    /// SIGHUP or SIGUSR2 reads the file again: connections go on, new ones see the new configuration; a file with errors changes nothing.
    /// SIGTERM, SIGINT and SIGUSR1 stop accepting and wait for the connections to end; a second SIGTERM or SIGINT does not wait.
    /// The variable RUST_LOG sets what is logged: error, warn, info (the default), debug.
    Run {
        /// The configuration file; any number of files and directories in HAProxy's language.
        #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// What this process is called among its peers, in place of `localpeer` or the name of the host.
        #[arg(short = 'L', long, value_name = "NAME")]
        local_peer: Option<String>,
        /// Where the commands of a master are taken too, `ADDRESS[,WORD…]`: the words are those of a `stats socket`.
        #[arg(short = 'S', long, value_name = "ADDRESS", value_parser = control::config::master_socket)]
        master_socket: Option<StatsSocket>,
    },
    /// Tell why a request would go where it would go: every rule that is asked, what it looks at, and the servers to choose from.
    ///
    /// All servers are as they are when the file begins to be served; `l7d ctl explain` asks a running process instead.
    Explain {
        /// The configuration file; any number of files and directories in HAProxy's language.
        #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        question: Question,
    },
    /// Write a configuration in HAProxy's language in the native format: `l7d convert haproxy.cfg -o l7d.toml`.
    ///
    /// What is written means the same; what became of each line is told on standard error: it is exact, approximated or refused, and why.
    /// Comments stay above sections, servers, named conditions and rules. The exit status is 0 unless a line was refused.
    Convert(convert::Convert),
    /// Send a command to a running process: `l7d ctl -s /run/l7d/admin.sock show info`.
    ///
    /// The exit status is 0 if it was carried out, and 1 if it was refused; what was answered is printed.
    Ctl(ctl::Ctl),
    /// Show what a running process does: `l7d top -s /run/l7d/admin.sock`.
    ///
    /// Frontends, backends and servers with their sessions, queues, rates, latencies (of the last minute), errors and weights. Keys choose a
    /// server and drain it, take it out of service, make it ready again or change its weight, each after a question.
    Top(top::Top),
    /// Print what lets a shell complete commands and options.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages: one of the program and one of each of its commands.
    Man {
        /// The directory they are written to.
        directory: PathBuf,
    },
    /// Keep the rights that the process on standard input gives up.
    #[command(name = steward::COMMAND, hide = true)]
    Steward {
        /// How many threads that process has.
        threads: usize,
        /// What it is called among its peers.
        #[arg(long)]
        local_peer: Option<String>,
        /// Its configuration files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    if haproxy::is_called_so() {
        return haproxy::run();
    }
    let outcome = match Arguments::parse().command {
        Command::Check { files, local_peer, verbose } => {
            check(&files, local_peer.as_deref(), if verbose { Idle::Listed } else { Idle::Untold })
        }
        Command::Run { files, local_peer, master_socket } => {
            serve(&files, Launch { local_peer, master: master_socket, ..Launch::default() })
        }
        Command::Explain { files, question } => explain(&files, &question),
        Command::Convert(convert) => convert::run(&convert),
        Command::Ctl(ctl) => ctl::run(&ctl),
        Command::Top(top) => top::run(&top),
        Command::Completions { shell } => complete(shell),
        Command::Man { directory } => {
            clap_mangen::generate_to(Arguments::command(), directory).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Steward { threads, local_peer, files } => {
            steward::serve(&files, threads, local_peer.as_deref()).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        // Nothing is left to be done if standard error is gone.
        let _ = writeln!(io::stderr(), "l7d: {error:#}");
        ExitCode::FAILURE
    })
}

fn explain(files: &[PathBuf], question: &Question) -> anyhow::Result<ExitCode> {
    match app::load(files, None, None) {
        Ok(loaded) => {
            let explanation = app::explain(loaded, question)?;
            let text = if question.json { explanation.json() } else { explanation.text() };
            io::stdout().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(report) => {
            writeln!(io::stderr(), "{report}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn complete(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "l7d", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// What is said of words that are accepted and mean nothing here.
enum Idle {
    Untold,
    Listed,
}

fn check(files: &[PathBuf], local_peer: Option<&str>, idle: Idle) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let loaded = match app::load(files, local_peer, None) {
        Ok(loaded) => app::check_names(&loaded.config)?.map(|()| loaded),
        Err(report) => Err(report),
    };
    match loaded {
        Ok(loaded) => {
            if let Idle::Listed = idle {
                for word in loaded.config.idle() {
                    writeln!(out, "{}: `{word}` means nothing here", word.location())?;
                }
            }
            for warning in loaded.warnings() {
                writeln!(out, "{warning}")?;
            }
            writeln!(out, "{}: valid", app::shown(files))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(report) => {
            writeln!(out, "{report}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn serve(files: &[PathBuf], launch: Launch) -> anyhow::Result<ExitCode> {
    let loaded = match app::load(files, launch.local_peer.as_deref(), None) {
        Ok(loaded) => loaded,
        Err(report) => {
            writeln!(io::stderr(), "{report}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    control::telemetry::init()?;
    for warning in loaded.warnings() {
        warn!("{warning}");
    }
    app::run(files, loaded, launch)?;
    Ok(ExitCode::SUCCESS)
}

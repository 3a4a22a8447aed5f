//! The command line: one function per command.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use control::{config::Config, telemetry};

use crate::{
    advice, app,
    capture::{self, Wish},
    datapath,
    decap::{self, DecapArgs},
    doctor::{self, DoctorArgs},
    explain::{self, Tuple},
    listing::{self, Selection},
    plan, preview, status,
    top::{self, Pace},
};

/// Layer 4 load balancer in the kernel: forwards TCP and UDP to servers from an XDP program, and keeps it true from health checks.
#[derive(Debug, Parser)]
#[command(name = "l4d", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attaches the XDP program to the interfaces of the section xdp and serves until SIGTERM.
    ///
    /// SIGHUP reads the file again: servers, weights, frontends and checks change without touching established flows; a file with
    /// mistakes changes nothing. A frontend is served when it has an `xdp` key. On SIGTERM the program is taken off the interfaces,
    /// unless that section says `on-stop = "keep"`; after a crash it keeps forwarding, and the next start carries on with all flows.
    ///
    /// RUST_LOG sets what is logged, for example RUST_LOG=debug.
    Run(FileArgs),
    /// Checks the file and reports everything wrong with it at once; exit status 1 if there is an error.
    Check(FileArgs),
    /// Shows interfaces, services, servers and packet counts as the kernel has them, whether or not a daemon runs.
    Status(PinArgs),
    /// Shows what goes through now, by service and server, again and again; plain text where no terminal looks.
    Top(TopArgs),
    /// Says what a file would put into the maps, and why the kernel cannot serve the other frontends; touches nothing, needs no rights.
    Plan(PlanArgs),
    /// Lists the flows the kernel remembers, with their servers and how long they have been silent.
    Flows(FlowsArgs),
    /// Says which service and server packets of a flow go to, and why: guard, remembered flow, ring slot.
    Explain(ExplainArgs),
    /// Shows packets as they arrive and as they leave, with what became of each and why; `-w` writes them for wireshark and tcpdump.
    ///
    /// Nothing is changed and nothing is lost: the program shows chosen frames on their way, whether or not a daemon runs. Conditions narrow down what it shows
    /// and are looked for in packets as they arrive; those of one kind are alternatives. While nobody captures, it costs nothing.
    Capture(CaptureArgs),
    /// Looks at an interface and the machine around it; exit status 1 if something must be mended.
    ///
    /// Driver and mode, MTU, offloads, VLANs and bonds, queues, helpers of the kernel, and with a file next hops and tunnels. Each finding comes with the command
    /// that mends it; nothing is changed.
    Doctor(DoctorArgs),
    /// Takes the program off all interfaces and forgets its flows, after a daemon that left it running.
    Detach(PinArgs),
    /// Makes this machine the other end of tunnels by ipip and gue, where its kernel has none: on servers, not on the balancer.
    ///
    /// The program stays attached until `--off`; nothing has to run.
    Decap(DecapArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/l4d/l4d.toml")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct PlanArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Says it for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FlowsArgs {
    #[command(flatten)]
    pin: PinArgs,
    #[command(flatten)]
    selection: Selection,
    /// Says it for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TopArgs {
    #[command(flatten)]
    pin: PinArgs,
    #[command(flatten)]
    pace: Pace,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    #[command(flatten)]
    pin: PinArgs,
    #[command(flatten)]
    tuple: Tuple,
}

#[derive(Debug, Args)]
struct CaptureArgs {
    #[command(flatten)]
    pin: PinArgs,
    #[command(flatten)]
    wish: Wish,
}

#[derive(Debug, Args)]
struct PinArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The directory of pins, instead of what the file says; for when there is no valid file, servers then have no names.
    #[arg(short, long, value_name = "DIR", conflicts_with = "file")]
    pin: Option<PathBuf>,
}

impl PinArgs {
    /// Returns the configuration, if there is one, and where its data plane is pinned.
    fn resolve(&self) -> anyhow::Result<(Option<Config>, PathBuf)> {
        if let Some(pin) = &self.pin {
            return Ok((None, pin.clone()));
        }
        let config = load(&self.file.file)?;
        let pin = config.xdp().map(|xdp| (**xdp.pin()).clone());
        let pin = pin.context("the configuration has no [xdp] section: there is nothing for l4d to do")?;
        Ok((Some(config), pin))
    }
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// Why it could not be.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(args) => run(&args.file),
            Command::Check(args) => check(&args.file),
            Command::Status(args) => {
                let (config, pin) = args.resolve()?;
                print(&status::show(config.as_ref(), &pin)?)
            }
            Command::Plan(args) => {
                let config = Arc::new(load(&args.file.file)?);
                print(&if args.json { format!("{}\n", preview::json(&config)) } else { preview::text(&config) })
            }
            Command::Flows(args) => {
                let (config, pin) = args.pin.resolve()?;
                let selection = &args.selection;
                print(&if args.json {
                    format!("{}\n", listing::json(&pin, selection)?)
                } else {
                    listing::text(config.as_ref(), &pin, selection)?
                })
            }
            Command::Top(args) => {
                let (config, pin) = args.pin.resolve()?;
                top::run(config.as_ref(), &pin, &args.pace)
            }
            Command::Explain(args) => {
                let (config, pin) = args.pin.resolve()?;
                print(&explain::text(config.as_ref(), &pin, &args.tuple)?)
            }
            Command::Capture(args) => capture::run(&args.pin.resolve()?.1, &args.wish),
            Command::Doctor(args) => {
                let report = doctor::run(&args)?;
                print(&report.text)?;
                if report.healthy { Ok(()) } else { std::process::exit(1) }
            }
            Command::Detach(args) => detach(&args.resolve()?.1),
            Command::Decap(args) => print(&decap::run(&args)?),
        }
    }
}

fn run(file: &Path) -> anyhow::Result<()> {
    telemetry::init()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(app::run(file))
}

fn check(file: &Path) -> anyhow::Result<()> {
    let config = load(file)?;
    for warnings in [config.warnings(), &advice::unenforced(&config)] {
        if !warnings.is_empty() {
            eprintln!("{warnings}");
        }
    }
    let services = config.frontends().iter().filter(|frontend| frontend.xdp().is_some()).flat_map(plan::service_keys).count();
    print(&format!("{}: valid; services for the kernel tier: {services}, frontends in all: {}\n", file.display(), config.frontends().len()))
}

fn detach(pin: &Path) -> anyhow::Result<()> {
    let found = datapath::detach(pin)?;
    print(&if found { format!("detached; {} removed\n", pin.display()) } else { format!("nothing to detach at {}\n", pin.display()) })
}

fn load(file: &Path) -> anyhow::Result<Config> {
    Config::load(file).map_err(|report| anyhow::anyhow!("{}", report.to_string().trim_end()))
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

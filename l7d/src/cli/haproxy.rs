//! The command line of HAProxy, for when the program is called `haproxy`: init scripts, units and checks made for that go on working.
//!
//! One process does what master and workers do there: it stays in the foreground or not, and reloads inside itself.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use control::config::{Report, master_socket};
use rustix::process::Pid;
use tracing::warn;

use crate::admin::libraries;
use crate::app::{self, Loaded};
use crate::life::{Farewell, Launch, Parent, Terminate};
use crate::version;

/// What the arguments ask for.
#[derive(Debug, Default)]
struct Wanted {
    files: Vec<PathBuf>,
    task: Task,
    volume: Volume,
    background: bool,
    /// Not to go to the background, whatever else says so.
    foreground: bool,
    directory: Option<PathBuf>,
    /// Whether warnings are errors.
    strict: bool,
    /// Whether words that mean nothing here are told.
    diagnostic: bool,
    condition: String,
    /// Whether the libraries are told once the configuration is read.
    libraries: bool,
    launch: Launch,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Task {
    #[default]
    Serve,
    Check,
    Condition,
    Version,
    Build,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Volume {
    #[default]
    Normal,
    Quiet,
}

/// Tells whether the program was called by that name.
pub(super) fn is_called_so() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_name).is_some_and(|name| name.as_bytes().starts_with(b"haproxy"))
}

/// Does what the arguments ask for.
pub(super) fn run() -> ExitCode {
    let wanted = match parse(std::env::args_os().skip(1)) {
        Ok(wanted) => wanted,
        Err(reason) => {
            alert(&reason);
            return usage();
        }
    };
    let outcome = match wanted.task {
        Task::Version => write_out(&version::banner()),
        Task::Build => write_out(&format!("{}{}", version::banner(), version::build())),
        Task::Condition => Ok(ask(&wanted.condition)),
        Task::Check | Task::Serve => work(wanted),
    };
    outcome.unwrap_or_else(|error| {
        alert(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    wanted.launch.terminate = Terminate::Now;
    let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned()).peekable();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` lacks its value"));
        match argument.as_str() {
            "-f" => wanted.files.push(value()?.into()),
            "-c" => wanted.task = Task::Check,
            "-cc" => {
                wanted.condition = value()?;
                wanted.task = Task::Condition;
            }
            "-v" => wanted.task = Task::Version,
            "-vv" => wanted.task = Task::Build,
            "-q" => wanted.volume = Volume::Quiet,
            "-D" => wanted.background = true,
            "-db" | "-d" => wanted.foreground = true,
            "-W" => {}
            "-Ws" => wanted.foreground = true,
            "-n" => wanted.launch.maxconn = Some(number(&argument, &value()?)?).filter(|most| *most > 0),
            "-m" => wanted.launch.memory = Some(u64::from(number(&argument, &value()?)?)).filter(|most| *most > 0),
            "-dL" => wanted.libraries = true,
            "-L" => wanted.launch.local_peer = Some(value()?),
            "-C" => wanted.directory = Some(value()?.into()),
            "-S" => wanted.launch.master = Some(master_socket(&value()?).map_err(|reason| format!("-S: {reason}"))?),
            "-x" => wanted.launch.ancestor = Some(value()?.into()),
            "-p" => wanted.launch.pidfile = Some(value()?.into()),
            "-dW" => wanted.strict = true,
            // Nothing here is so quiet that it had to be asked to speak, and there is no such poller or check of memory to leave out.
            "-V" | "-de" | "-dp" | "-dk" | "-dv" | "-dG" => {}
            "-dD" => wanted.diagnostic = true,
            memory if memory.starts_with("-dM") => {}
            "-sf" | "-st" => {
                wanted.launch.farewell = if argument == "-sf" { Farewell::Finish } else { Farewell::Stop };
                while let Some(number) = arguments.peek().and_then(|word| word.parse().ok()) {
                    let pid = Pid::from_raw(number).ok_or_else(|| format!("`{number}` is no process"))?;
                    wanted.launch.predecessors.push(pid);
                    arguments.next();
                }
            }
            "--" => wanted.files.extend(arguments.by_ref().map(PathBuf::from)),
            other => return Err(refusal(other)),
        }
    }
    if wanted.files.is_empty() && matches!(wanted.task, Task::Check | Task::Serve) {
        return Err("no configuration file is named: -f FILE".to_owned());
    }
    Ok(wanted)
}

fn number(option: &str, value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("{option}: `{value}` is no number"))
}

/// Says why an option is not taken.
fn refusal(option: &str) -> String {
    let why = match option {
        "-N" => ": write maxconn into the defaults",
        "-dK" => ": `l7d man` and the README have the words",
        "-dR" => ": threads share addresses by SO_REUSEPORT alone",
        "-dS" => ": nothing but a kernel that is broken would need it",
        "-dV" => ": write `verify none` where it is meant",
        "-dr" => ": `init-addr last,libc,none` lets a server begin without an address",
        _ => "",
    };
    format!("option `{option}` is not supported{why}")
}

/// Tells by the exit code whether a condition holds.
fn ask(condition: &str) -> ExitCode {
    match control::config::condition(condition) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            alert(&format!("config : Failed to evaluate condition: {reason}"));
            ExitCode::from(2)
        }
    }
}

fn work(mut wanted: Wanted) -> anyhow::Result<ExitCode> {
    if let Some(directory) = &wanted.directory {
        std::env::set_current_dir(directory)?;
    }
    let files = std::mem::take(&mut wanted.files);
    let loaded = match app::load(&files, wanted.launch.local_peer.as_deref(), None) {
        Ok(loaded) => loaded,
        Err(report) => return Ok(refuse(&report)),
    };
    let warnings: Vec<_> = loaded.warnings().collect();
    if wanted.volume == Volume::Normal {
        warnings.iter().for_each(|warning| say("WARNING", &warning.to_string()));
    }
    if wanted.diagnostic {
        loaded.config.idle().iter().for_each(|word| say("DIAG", &format!("config : {}: `{word}` means nothing here", word.location())));
    }
    if wanted.strict && !warnings.is_empty() {
        alert("config : there are warnings, and -dW makes them errors");
        return Ok(ExitCode::FAILURE);
    }
    if wanted.libraries {
        write_out(&libraries().unwrap_or_default())?;
    }
    if wanted.task == Task::Check {
        if let Err(report) = app::check_names(&loaded.config)? {
            return Ok(refuse(&report));
        }
        return if wanted.volume == Volume::Quiet { Ok(ExitCode::SUCCESS) } else { write_out("Configuration file is valid\n") };
    }
    let background = (wanted.background || loaded.config.global().daemon()) && !wanted.foreground;
    if background && std::env::var_os(BACKGROUND).is_none() {
        return spawn();
    }
    if background {
        // A terminal that closes must not end it.
        let _ = rustix::process::setsid();
        wanted.launch.parent = Parent::Waiting;
    }
    serve(&files, loaded, wanted.launch)
}

fn serve(files: &[PathBuf], loaded: Loaded, launch: Launch) -> anyhow::Result<ExitCode> {
    control::telemetry::init()?;
    app::run(files, loaded, launch)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the program once more, and waits until that one serves or has failed.
fn spawn() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(arguments.next().unwrap_or_else(|| "haproxy".into())).args(arguments);
    let mut child = command.env(BACKGROUND, "1").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let Some(mut out) = child.stdout.take() else { anyhow::bail!("no word from the background") };
    let is_serving = out.read(&mut [0])? == 1;
    if is_serving {
        return Ok(ExitCode::SUCCESS);
    }
    child.wait()?;
    Ok(ExitCode::FAILURE)
}

fn refuse(report: &Report) -> ExitCode {
    for diagnostic in report.diagnostics() {
        let tag = match diagnostic.severity() {
            control::config::Severity::Error => "ALERT",
            control::config::Severity::Warning => "WARNING",
        };
        say(tag, &format!("config : {diagnostic}"));
    }
    alert("config : Fatal errors found in configuration.");
    ExitCode::FAILURE
}

fn alert(text: &str) {
    say("ALERT", text);
}

/// Writes a message with the mark HAProxy's have.
fn say(tag: &str, text: &str) {
    // Nothing is left to be done if standard error is gone.
    let _ = writeln!(io::stderr(), "{:<10} ({}) : {text}", format!("[{tag}]"), std::process::id());
}

fn write_out(text: &str) -> anyhow::Result<ExitCode> {
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        warn!("standard output: {error}");
    }
    Ok(ExitCode::SUCCESS)
}

fn usage() -> ExitCode {
    let _ = write_out(&version::banner());
    let _ = io::stderr().write_all(USAGE.as_bytes());
    ExitCode::FAILURE
}

/// Tells the program that it is the one in the background.
const BACKGROUND: &str = "L7D_BACKGROUND";

const USAGE: &str = "\
Usage : haproxy -f FILE [options]
        -c             check the configuration and end
        -cc CONDITION  end with 0 if the condition holds, with 1 if it does not
        -v, -vv        show the version; also what is built in
        -D             go to the background
        -W, -Ws, -db   stay in the foreground; one process does it all
        -p FILE        write the number of the process to FILE
        -n NUMBER      serve so many connections at a time, whatever the configuration says
        -m MEGABYTES   let the system refuse memory beyond that
        -dL            list the libraries once the configuration is read
        -L NAME        call this process so among its peers
        -C DIR         change to DIR first
        -q             say less
        -dW            take warnings for errors
        -dD            tell which words mean nothing here
        -sf|-st PID…   take over from these processes, which finish or stop
        -S ADDRESS[,WORD…]  take a master's commands there; the words are those of a `stats socket`
        -x SOCKET      take over what the process listens on that has this stats socket with `expose-fd listeners`
";

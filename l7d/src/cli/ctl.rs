//! A client of the runtime interface: one command, its answer, and an exit code.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use control::config::{BindAddress, Config};

/// Sends a command to a running process and prints the answer.
#[derive(Debug, clap::Args)]
pub(super) struct Ctl {
    /// Where the process takes commands: the path of a socket, or ADDRESS:PORT.
    #[arg(short, long, value_name = "SOCKET", required_unless_present = "files")]
    socket: Option<String>,
    /// The configuration of the process, whose first socket is asked.
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with = "socket")]
    files: Vec<PathBuf>,
    /// The command; with << at its end standard input is its payload.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    words: Vec<String>,
}

/// Sends the command, prints the answer, and tells by the exit code whether it is a refusal.
pub(super) fn run(ctl: &Ctl) -> anyhow::Result<ExitCode> {
    let place = match &ctl.socket {
        Some(socket) => socket.clone(),
        None => of_config(&ctl.files)?,
    };
    if follows(&ctl.words) {
        follow(&place, &request(&ctl.words)?).with_context(|| format!("socket {place}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = ask(&place, &request(&ctl.words)?).with_context(|| format!("socket {place}"))?;
    // The first line answers the wish for marked messages.
    let answer = answer.strip_prefix('\n').unwrap_or(&answer);
    let answer = answer.strip_suffix('\n').unwrap_or(answer);
    match answer.strip_prefix(REFUSED) {
        Some(refusal) => {
            io::stderr().write_all(refusal.as_bytes())?;
            Ok(ExitCode::FAILURE)
        }
        None => {
            let is_marked = answer.starts_with('[') && answer.get(2..5) == Some("]: ");
            io::stdout().write_all(if is_marked { &answer.as_bytes()[5..] } else { answer.as_bytes() })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns where the process of a configuration takes commands.
pub(super) fn of_config(files: &[PathBuf]) -> anyhow::Result<String> {
    let config = Config::load_all(files).map_err(|report| anyhow::anyhow!("{report}"))?;
    let Some(socket) = config.global().stats_sockets().first() else { bail!("the configuration has no stats socket") };
    match socket.address() {
        BindAddress::Unix(address) => match address.path() {
            Some(path) => Ok(path.display().to_string()),
            None => Ok(address.to_string()),
        },
        BindAddress::Inet(addresses) => {
            addresses.sockets().next().map(|address| address.to_string()).context("the stats socket has no address")
        }
        BindAddress::Inherited(number) => bail!("the stats socket is fd@{number}, which only the process has; say --socket"),
    }
}

fn request(words: &[String]) -> io::Result<String> {
    let escape = |word: &String| {
        let special = |c: char| matches!(c, ' ' | '\\' | ';' | '\t');
        word.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect::<String>()
    };
    // What the shell took apart is put together as it was; one word may hold a whole command.
    let mut text = match words {
        [line] => line.clone(),
        _ => words.iter().map(escape).collect::<Vec<_>>().join(" "),
    };
    if text.trim_end().ends_with("<<") {
        text.push('\n');
        let mut payload = String::new();
        io::stdin().read_to_string(&mut payload)?;
        // An empty line would end it early.
        payload.lines().filter(|line| !line.trim().is_empty()).for_each(|line| {
            text.push_str(line);
            text.push('\n');
        });
    }
    Ok(format!("set severity-output number;{text}\n"))
}

/// Sends a command and returns the whole answer.
pub(super) fn ask(place: &str, request: &str) -> io::Result<String> {
    if !place.contains('/') && place.contains(':') {
        let mut stream = TcpStream::connect(place)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        return read(stream);
    }
    let mut stream = UnixStream::connect(place)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    read(stream)
}

/// Tells whether the answer goes on for as long as it is listened to.
fn follows(words: &[String]) -> bool {
    let mut words = words.iter().flat_map(|word| word.split_ascii_whitespace()).peekable();
    words.peek() == Some(&"trace") || words.any(|word| matches!(word, "-w" | "-wn" | "-nw"))
}

/// Prints an answer as it comes.
fn follow(place: &str, request: &str) -> io::Result<()> {
    // A client that ends its side of the connection is taken for one that has left.
    if !place.contains('/') && place.contains(':') {
        let mut stream = TcpStream::connect(place)?;
        stream.write_all(request.as_bytes())?;
        return print(stream);
    }
    let mut stream = UnixStream::connect(place)?;
    stream.write_all(request.as_bytes())?;
    print(stream)
}

fn print(mut stream: impl Read) -> io::Result<()> {
    let (mut bytes, mut out) = ([0; 4096], io::stdout());
    // The first line answers the wish for marked messages.
    stream.read_exact(&mut bytes[..1])?;
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            count => out.write_all(&bytes[..count]).and_then(|()| out.flush())?,
        }
    }
}

fn read(mut stream: impl Read) -> io::Result<String> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// How the refusal of a command is marked.
const REFUSED: &str = "[3]: ";
/// Longer than any command takes.
const PATIENCE: Duration = Duration::from_secs(60);

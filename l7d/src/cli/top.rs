//! `l7d top`: what a running process does, in a terminal, and the keys that change its servers.
//!
//! All of it comes over the runtime interface, so it shows a process on another host as well. [`sample`] is what was heard, [`screen`]
//! what is drawn of it; here are the terminal and the keys.

mod sample;
mod screen;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::ctl;
use sample::{Kind, Sample};
use screen::{Asking, Screen, Size};

/// Shows frontends, backends and servers of a running process: rates, latencies, errors and queues.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// Where the process takes commands: the path of a socket, or ADDRESS:PORT.
    #[arg(short, long, value_name = "SOCKET", required_unless_present = "files")]
    socket: Option<String>,
    /// The configuration of the process, whose first socket is asked.
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with = "socket")]
    files: Vec<PathBuf>,
    /// Seconds from one look to the next.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    delay: u64,
    /// Print one look and end; so it is also where standard output is no terminal.
    #[arg(long)]
    once: bool,
}

/// Shows the process until a key ends it.
pub(super) fn run(top: &Top) -> anyhow::Result<ExitCode> {
    let place = match &top.socket {
        Some(socket) => socket.clone(),
        None => ctl::of_config(&top.files)?,
    };
    let delay = Duration::from_secs(top.delay);
    let mut screen = Screen::new(look(&place)?);
    if top.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        // A rate takes two looks.
        thread::sleep(delay);
        screen.take(look(&place)?);
        let lines = screen.draw(Size { columns: 80, rows: usize::MAX });
        io::stdout().write_all(format!("{}\n", screen::plain(&lines)).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = Terminal::enter()?;
    watch(&mut screen, &place, (delay, &keys()))?;
    drop(terminal);
    Ok(ExitCode::SUCCESS)
}

/// Draws what there is and follows keys until one of them ends it.
fn watch(screen: &mut Screen, place: &str, (delay, keys): (Duration, &mpsc::Receiver<Key>)) -> anyhow::Result<()> {
    let mut next = Instant::now() + delay;
    loop {
        paint(screen)?;
        match keys.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(key) => {
                let Some(wish) = follow(screen, key) else { return Ok(()) };
                if let Some(command) = wish {
                    let answer = ctl::ask(place, &format!("{command}\n"))?;
                    let answer = answer.trim();
                    screen.say(if answer.is_empty() { format!("done: {command}") } else { answer.to_owned() });
                    next = Instant::now();
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                match look(place) {
                    Ok(sample) => screen.take(sample),
                    Err(error) => screen.say(format!("these numbers are old: {error:#}")),
                }
                next = Instant::now() + delay;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn look(place: &str) -> anyhow::Result<Sample> {
    let ask = |command: &str| ctl::ask(place, &format!("{command}\n")).with_context(|| format!("socket {place}"));
    Sample::read(&ask("show info json")?, &ask("show stat json")?)
}

/// Something a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Up,
    Down,
    Letter(char),
    Enter,
    Erase,
    /// Whoever pressed it changes their mind.
    Escape,
    End,
}

/// Carries out a key; returns the command that it wants, or nothing at all if it ends everything.
fn follow(screen: &mut Screen, key: Key) -> Option<Option<String>> {
    if key == Key::End {
        return None;
    }
    match screen.asking() {
        Some(_) => return Some(screen.answer(key)),
        None => screen.say(String::new()),
    }
    match key {
        Key::Letter('q') => return None,
        Key::Up | Key::Letter('k') => screen.step(-1),
        Key::Down | Key::Letter('j') => screen.step(1),
        Key::Letter('/') => screen.ask(Asking::Filter(String::new())),
        Key::Escape => screen.filter(""),
        Key::Letter(letter @ ('d' | 'r' | 'm')) => {
            let state = match letter {
                'd' => "drain",
                'r' => "ready",
                _ => "maint",
            };
            screen.about_server(|server| Asking::Sure {
                what: format!("{server}: {state}"),
                command: format!("set server {server} state {state}"),
            });
        }
        Key::Letter('w') => screen.about_server(|server| Asking::Weight { server: server.to_owned(), typed: String::new() }),
        Key::Letter(_) | Key::Enter | Key::Erase | Key::End => {}
    }
    Some(None)
}

impl Screen {
    /// Carries out a key that belongs to the answer of a question; returns the command that is wanted, if that is one.
    fn answer(&mut self, key: Key) -> Option<String> {
        let mut asking = self.end_asking()?;
        match (&mut asking, key) {
            (_, Key::Escape) => {}
            (Asking::Sure { command, .. }, Key::Letter('y')) => return Some(std::mem::take(command)),
            (Asking::Sure { .. }, _) => self.say("left as it was".to_owned()),
            (Asking::Weight { server, typed }, Key::Enter) => match typed.parse::<u16>() {
                Ok(weight @ 0..=256) => {
                    let command = format!("set server {server} weight {weight}");
                    let what = format!("{server}: weight {weight}");
                    self.ask(Asking::Sure { what, command });
                }
                _ => self.say("a weight is a number from 0 to 256".to_owned()),
            },
            (Asking::Filter(_), Key::Enter) => {}
            (Asking::Weight { typed, .. } | Asking::Filter(typed), key) => {
                match key {
                    Key::Letter(letter) if typed.len() < LONGEST => typed.push(letter),
                    Key::Erase => drop(typed.pop()),
                    Key::Letter(_) | Key::Up | Key::Down | Key::Enter | Key::Escape | Key::End => {}
                }
                if let Asking::Filter(text) = &asking {
                    self.filter(text);
                }
                self.ask(asking);
            }
        }
        None
    }

    /// Asks something about the server that is chosen.
    fn about_server(&mut self, ask: impl FnOnce(&str) -> Asking) {
        match self.chosen() {
            Some(row) if row.kind == Kind::Server => {
                let asking = ask(&format!("{}/{}", row.proxy, row.name));
                self.ask(asking);
            }
            _ => self.say("choose a server first".to_owned()),
        }
    }
}

/// Hears keys on a thread of its own, which ends with the process.
fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut input, mut bytes) = (io::stdin(), [0; 64]);
        while let Ok(count @ 1..) = input.read(&mut bytes) {
            if read_keys(&bytes[..count]).into_iter().any(|key| sender.send(key).is_err()) {
                return;
            }
        }
    });
    receiver
}

/// Reads what a terminal sends, which may be several keys at once; the sequence of one comes in one piece.
fn read_keys(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        bytes = match bytes {
            [0x1b, b'[' | b'O', letter, rest @ ..] => {
                keys.extend(match letter {
                    b'A' => Some(Key::Up),
                    b'B' => Some(Key::Down),
                    _ => None,
                });
                rest
            }
            [0x1b, rest @ ..] => {
                keys.push(Key::Escape);
                rest
            }
            _ => {
                let end = bytes.iter().position(|byte| *byte == 0x1b).unwrap_or(bytes.len());
                keys.extend(String::from_utf8_lossy(&bytes[..end]).chars().filter_map(key_of));
                &bytes[end..]
            }
        };
    }
    keys
}

fn key_of(c: char) -> Option<Key> {
    match c {
        '\x03' | '\x04' => Some(Key::End),
        '\r' | '\n' => Some(Key::Enter),
        '\x7f' | '\x08' => Some(Key::Erase),
        c if c.is_control() => None,
        c => Some(Key::Letter(c)),
    }
}

fn paint(screen: &mut Screen) -> io::Result<()> {
    let size = tcgetwinsize(io::stdout()).map_or((80, 24), |size| (size.ws_col, size.ws_row));
    // One that does not know its size says nothing.
    let known = |count: u16, usual: usize| if count == 0 { usual } else { usize::from(count) };
    let lines = screen.draw(Size { columns: known(size.0, 80), rows: known(size.1, 24) });
    let mut out = io::stdout().lock();
    out.write_all(screen::painted(&lines).as_bytes())?;
    out.flush()
}

/// A terminal that sends every key at once and shows another page; as it was when this is dropped.
struct Terminal(Termios);

impl Terminal {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let terminal = Self(before);
        io::stdout().write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody to tell that it did not work.
        let _ = io::stdout().write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| io::stdout().flush());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// How long a text may be that is typed.
const LONGEST: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_their_bytes() {
        assert_eq!(read_keys(b"\x1b[A"), [Key::Up]);
        assert_eq!(read_keys(b"\x1b"), [Key::Escape]);
        assert_eq!(read_keys(b"12\r"), [Key::Letter('1'), Key::Letter('2'), Key::Enter]);
        assert_eq!(read_keys(b"j\x1b[Bw7\r"), [Key::Letter('j'), Key::Down, Key::Letter('w'), Key::Letter('7'), Key::Enter]);
        assert_eq!(read_keys(b"\x03"), [Key::End]);
        assert_eq!(read_keys(b"\x01"), []);
    }
}

//! Conversations: what a client says, what a server says to each request, and what both heard.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::message::{self, Request};
use crate::kit::{PATIENCE, Server};

/// One thing a side of a conversation does.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends bytes.
    Say(Vec<u8>),
    /// Sends bytes one at a time.
    Drip(Vec<u8>),
    /// Receives until this text has come.
    Hear(&'static str),
    /// Receives until the other side has closed.
    HearEnd,
    /// Server: receives the body that the request's head announces.
    Body,
    /// Server: returns what comes until the end.
    Echo,
    /// Client: waits until a server has so many request heads.
    Met(usize),
    /// Server: waits until the client is gone.
    Gone,
    /// Closes the sending half.
    Shut,
    /// Closes.
    Leave,
    /// Closes with a reset.
    Reset,
}

/// What one request looked like to the server that got it, and what followed it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    /// Bytes received beside the request: those of a tunnel.
    pub(super) rest: Vec<u8>,
}

/// What the servers do in one conversation, request by request, and what they saw.
#[derive(Debug, Default)]
pub(super) struct Part {
    turns: Mutex<VecDeque<Vec<Step>>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    busy: usize,
    client_gone: bool,
}

impl Part {
    /// Begins a conversation.
    pub(super) fn new(turns: Vec<Vec<Step>>) -> Arc<Self> {
        Arc::new(Self { turns: Mutex::new(turns.into()), ..Self::default() })
    }

    fn wait(&self, what: &str, ready: impl Fn(&State) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap();
        while !ready(&state) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: {state:?}");
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    /// Notes that the client is gone, waits until no server is busy, and returns what the servers saw.
    pub(super) fn finish(&self) -> Vec<Seen> {
        self.change(|state| state.client_gone = true);
        self.wait("a server is still busy", |state| state.busy == 0);
        self.state.lock().unwrap().seen.clone()
    }
}

/// A server that plays its part in whatever conversation is going on.
pub(super) struct Stage {
    server: Server,
    part: Arc<Mutex<Arc<Part>>>,
}

impl Stage {
    /// Opens with an empty part.
    pub(super) fn open() -> Self {
        let part = Arc::new(Mutex::new(Part::new(Vec::new())));
        let current = Arc::clone(&part);
        let server = Server::start(move |stream| {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.head() {
                let part = Arc::clone(&current.lock().unwrap());
                if perform(&mut wire, &part, head) == Afterwards::Over {
                    return;
                }
            }
        });
        Self { server, part }
    }

    /// Returns where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Puts on the next conversation.
    pub(super) fn play(&self, part: &Arc<Part>) {
        *self.part.lock().unwrap() = Arc::clone(part);
    }
}

#[derive(PartialEq, Eq)]
enum Afterwards {
    Continues,
    Over,
}

/// Answers one request.
fn perform(wire: &mut Wire, part: &Part, head: Vec<u8>) -> Afterwards {
    let request = Request::parse(&head);
    let mut place = 0;
    part.change(|state| {
        place = state.seen.len();
        state.seen.push(Seen { head, ..Seen::default() });
        state.busy += 1;
    });
    let turn = part.turns.lock().unwrap().pop_front();
    let steps = turn.unwrap_or_else(|| vec![Step::Body, Step::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nextra".to_vec())]);
    let mut afterwards = Afterwards::Continues;
    for step in steps {
        let outcome = match step {
            Step::Body => {
                let body = wire.body(&request);
                part.change(|state| state.seen[place].body = body);
                Some(())
            }
            Step::Gone => {
                part.wait("the client stays", |state| state.client_gone);
                Some(())
            }
            Step::Leave | Step::Reset => {
                if matches!(step, Step::Reset) {
                    wire.reset_on_close();
                }
                afterwards = Afterwards::Over;
                break;
            }
            Step::Met(_) => panic!("a server does not wait for servers"),
            Step::Say(_) | Step::Drip(_) | Step::Hear(_) | Step::HearEnd | Step::Echo | Step::Shut => wire.perform(&step),
        };
        if outcome.is_none() {
            afterwards = Afterwards::Over;
            break;
        }
    }
    let rest = std::mem::take(&mut wire.rest);
    part.change(|state| {
        state.seen[place].rest = rest;
        state.busy -= 1;
    });
    afterwards
}

/// Plays the client's part and returns everything it heard.
pub(super) fn converse(address: SocketAddr, steps: &[Step], part: &Part) -> Vec<u8> {
    let said: Vec<u8> = steps
        .iter()
        .filter_map(|step| if let Step::Say(bytes) | Step::Drip(bytes) = step { Some(&bytes[..]) } else { None })
        .collect::<Vec<_>>()
        .concat();
    let methods = message::methods(&said);
    let mut wire = Wire::new(TcpStream::connect(address).unwrap());
    for step in steps {
        match step {
            Step::Met(count) => part.wait("no server met", |state| state.seen.len() >= *count),
            Step::Leave => return wire.heard,
            Step::Reset => {
                wire.reset_on_close();
                return wire.heard;
            }
            Step::Say(_) | Step::Drip(_) | Step::Hear(_) | Step::HearEnd | Step::Shut => {
                if wire.perform(step).is_none() {
                    break;
                }
            }
            Step::Body | Step::Echo | Step::Gone => panic!("only a server does that"),
        }
    }
    while message::responses(&wire.heard, &methods).missing > 0 && wire.fill() {}
    let _ = wire.stream.shutdown(Shutdown::Write);
    while wire.fill() {}
    wire.heard
}

/// One connection with what came over it.
struct Wire {
    stream: TcpStream,
    /// Everything received.
    heard: Vec<u8>,
    /// How much of it was used.
    used: usize,
    /// What was received outside of heads and bodies.
    rest: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, heard: Vec::new(), used: 0, rest: Vec::new() }
    }

    fn reset_on_close(&self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Receives more; `false` at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 1 << 18];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.heard.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                self.heard.extend_from_slice(b"<nothing came any more>");
                false
            }
            Err(_) => false,
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let end = (self.used + count).min(self.heard.len());
        let taken = self.heard[self.used..end].to_vec();
        self.used = end;
        taken
    }

    fn up_to(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = message::find(&self.heard[self.used..], text) {
                return Some(self.take(at + text.len()));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn head(&mut self) -> Option<Vec<u8>> {
        self.up_to(b"\r\n\r\n")
    }

    /// Receives a body, or as much of it as comes.
    fn body(&mut self, request: &Request) -> Vec<u8> {
        loop {
            let length = request.body_length(&self.heard[self.used..]);
            if let Some(length) = length {
                return self.take(length);
            }
            if !self.fill() {
                return self.take(usize::MAX >> 1);
            }
        }
    }

    /// Does what either side may do; `None` if the other side is gone.
    fn perform(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Say(bytes) => self.stream.write_all(bytes).ok(),
            Step::Drip(bytes) => bytes.iter().try_for_each(|byte| self.stream.write_all(&[*byte]).ok()),
            Step::Hear(text) => {
                let heard = self.up_to(text.as_bytes());
                self.rest.extend(heard.clone().unwrap_or_default());
                heard.map(|_| ())
            }
            Step::HearEnd => {
                while self.fill() {}
                let taken = self.take(usize::MAX >> 1);
                self.rest.extend(taken);
                Some(())
            }
            Step::Echo => loop {
                let bytes = self.take(usize::MAX >> 1);
                self.rest.extend_from_slice(&bytes);
                self.stream.write_all(&bytes).ok()?;
                if !self.fill() {
                    return Some(());
                }
            },
            Step::Shut => self.stream.shutdown(Shutdown::Write).ok(),
            Step::Body | Step::Met(_) | Step::Gone | Step::Leave | Step::Reset => unreachable!("done by whoever plays the part"),
        }
    }
}

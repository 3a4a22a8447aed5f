//! Many sessions from many addresses that talk all the time: none may break, move or be answered wrongly.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tests::{
    topology::{Family, Lab},
    wait::eventually,
};

use crate::{site::SOON, sources};

/// Sessions that are all spoken to in turn.
#[derive(Default)]
pub(crate) struct Crowd {
    members: Vec<Member>,
}

struct Member {
    from: SocketAddr,
    input: BufReader<TcpStream>,
    server: String,
    lines: u64,
}

impl Crowd {
    /// Opens sessions, each from an address and port of its own: every address serves three of them.
    pub(crate) fn join(&mut self, lab: &Lab, family: Family, to: SocketAddr, count: u16) -> Result<()> {
        for _ in 0..count {
            let number = u16::try_from(self.members.len()).context("a crowd is small")?;
            let from = SocketAddr::new(sources::address(family, number / 3), 20_000 + number);
            let mut member = Member::new(from, sources::connect(lab, from, to)?)?;
            member.speak()?;
            member.server = member.listen()?;
            self.members.push(member);
        }
        Ok(())
    }

    /// Returns who serves the members.
    pub(crate) fn servers(&self) -> BTreeSet<&str> {
        self.members.iter().map(|member| member.server.as_str()).collect()
    }

    /// Exchanges a line over every session.
    pub(crate) fn talk(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::speak)?;
        self.members.iter_mut().try_for_each(|member| {
            let server = member.listen()?;
            ensure!(server == member.server, "{} was moved from {} to {server}", member.from, member.server);
            Ok(())
        })
    }

    /// Goes on talking in the background.
    pub(crate) fn keep_talking(mut self) -> Talk {
        let shared = Arc::new(Shared::default());
        let progress = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !progress.stop.load(Ordering::Relaxed) {
                self.talk()?;
                progress.rounds.fetch_add(1, Ordering::Relaxed);
                thread::park_timeout(Duration::from_millis(5));
            }
            Ok(self)
        });
        Talk { shared, thread }
    }
}

impl Member {
    fn new(from: SocketAddr, mut stream: TcpStream) -> Result<Self> {
        stream.write_all(b"session\n")?;
        Ok(Self { from, input: BufReader::new(stream), server: String::new(), lines: 0 })
    }

    fn speak(&mut self) -> Result<()> {
        self.lines += 1;
        let line = format!("line {}\n", self.lines);
        self.input.get_mut().write_all(line.as_bytes()).with_context(|| format!("{}: session with {} broke", self.from, self.server))
    }

    fn listen(&mut self) -> Result<String> {
        let mut reply = String::new();
        let broke = || format!("{}: session with {} broke at line {}", self.from, self.server, self.lines);
        self.input.read_line(&mut reply).with_context(broke)?;
        let server = reply.trim_end().strip_suffix(&format!(" line {}", self.lines));
        Ok(server.with_context(broke)?.to_owned())
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    rounds: AtomicU64,
}

/// A crowd that talks in the background.
pub(crate) struct Talk {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Crowd>>,
}

impl Talk {
    /// Waits until every session has talked once more from its first byte to its last.
    ///
    /// Returns also when one broke; [`Talk::stop`] says which.
    pub(crate) fn wait_for_round(&self) -> Result<()> {
        let before = self.shared.rounds.load(Ordering::Relaxed);
        let enough = || (self.shared.rounds.load(Ordering::Relaxed) >= before + 2 || self.thread.is_finished()).then_some(());
        eventually(SOON, "a round of the crowd", enough)
    }

    /// Tells whether a session broke already.
    pub(crate) fn is_broken(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends talking and returns the sessions, unless one broke.
    pub(crate) fn stop(self) -> Result<Crowd> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a crowd does not panic")
    }
}

//! A long-lived connection that notices when it is moved, cut or corrupted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::protocol::Request;

/// An open connection to one server, over which numbered lines go to and fro.
#[derive(Debug)]
pub struct Session {
    input: BufReader<TcpStream>,
    output: TcpStream,
    server: String,
    exchanged: u64,
}

impl Session {
    /// Starts a session on an open connection and learns who serves it.
    pub(crate) fn open(stream: TcpStream) -> Result<Self> {
        let mut session = Self { output: stream.try_clone()?, input: BufReader::new(stream), server: String::new(), exchanged: 0 };
        session.output.write_all(format!("{}\n", Request::Session).as_bytes()).context("start the session")?;
        session.server = session.send_line()?;
        Ok(session)
    }

    /// Returns the name of the server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends the next line and waits for it to come back.
    ///
    /// # Errors
    /// Fails if the connection breaks, or another server or another line answers.
    pub fn exchange(&mut self) -> Result<()> {
        let server = self.send_line()?;
        ensure!(server == self.server, "line {} was answered by {server} instead of {}", self.exchanged, self.server);
        Ok(())
    }

    /// Goes on exchanging lines in the background, with a pause after each, until stopped.
    #[must_use]
    pub fn keep_talking(mut self, pause: Duration) -> Talk {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                self.exchange().with_context(|| format!("session with {}", self.server))?;
                thread::park_timeout(pause);
            }
            Ok(self)
        });
        Talk { stop, thread }
    }

    /// Returns how many lines came back.
    #[must_use]
    pub fn exchanged(&self) -> u64 {
        self.exchanged
    }

    fn send_line(&mut self) -> Result<String> {
        let number = self.exchanged + 1;
        self.output.write_all(format!("line {number}\n").as_bytes()).with_context(|| format!("send line {number}"))?;
        let mut reply = String::new();
        self.input.read_line(&mut reply).with_context(|| format!("wait for line {number}"))?;
        let server = reply.trim_end().strip_suffix(&format!(" line {number}"));
        let server = server.with_context(|| format!("line {number} came back as `{}`", reply.trim_end()))?.to_owned();
        self.exchanged = number;
        Ok(server)
    }
}

/// A session that goes on in the background.
#[derive(Debug)]
pub struct Talk {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Session>>,
}

impl Talk {
    /// Ends it and returns the session, still open.
    ///
    /// # Errors
    /// Fails if the session broke at any time.
    pub fn stop(self) -> Result<Session> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().expect("a session does not panic")
    }

    /// Tells whether the session broke already.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.thread.is_finished()
    }
}

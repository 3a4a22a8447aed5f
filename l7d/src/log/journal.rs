//! The log of one frontend or backend: its targets, and which lines go to them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use control::config::{BackendId, Config, FrontendId, Located, LogStep, Logging, ProxyOption};

use super::message::Message;
use super::output::{Line, Output, Sender};
use super::ring::Rings;
use super::target::Target;
use crate::level::Level;
use crate::rules::hostname;

/// The logs of all frontends, backends and sections of peers of a configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs {
    frontends: Vec<Arc<Log>>,
    backends: Vec<Arc<Log>>,
    /// Those of lines of others, in the order of their sections.
    forwards: Vec<Arc<Log>>,
    rings: Rings,
    peers: Vec<Arc<Log>>,
}

/// The log of one frontend or backend, or of one section of peers.
#[derive(Debug, Default)]
pub(crate) struct Log {
    audiences: Vec<Audience>,
    /// Invariant: in the order of [`LogStep::ALL`].
    steps: [bool; LogStep::ALL.len()],
    skips_normal: bool,
    separates_errors: bool,
    lines: AtomicU64,
}

/// The targets that get the same lines.
#[derive(Debug)]
pub(super) struct Audience {
    /// The place of their profile in the configuration.
    pub(super) profile: Option<usize>,
    outputs: Vec<Arc<Output>>,
    sender: Sender,
}

impl Logs {
    /// Opens the targets of a configuration, of which one it does not understand was refused before; rings that were there go on.
    ///
    /// # Errors
    /// Fails if the system has no socket or thread for one.
    pub(crate) fn of(config: &Config, before: &Self) -> io::Result<Self> {
        let rings = Rings::of(config, &before.rings)?;
        let mut opened = HashMap::new();
        let mut open =
            |logging: &Logging, options: &[Located<ProxyOption>]| Log::open(config, logging, options, (&mut opened, &rings)).map(Arc::new);
        let frontends: io::Result<_> = config.frontends().iter().map(|model| open(model.logging(), model.options())).collect();
        let backends: io::Result<_> = config.backends().iter().map(|model| open(model.logging(), model.options())).collect();
        let peers: io::Result<_> = config.peers().iter().map(|model| open(model.logging(), &[])).collect();
        let forwards: io::Result<_> = config.log_forwards().iter().map(|model| open(model.logging(), &[])).collect();
        let (frontends, backends, peers, forwards) = (frontends?, backends?, peers?, forwards?);
        Ok(Self { frontends, backends, forwards, rings, peers })
    }

    /// Returns logs that say nothing.
    pub(crate) fn silent(config: &Config) -> Self {
        let silent = || Arc::<Log>::default();
        Self {
            frontends: config.frontends().iter().map(|_| silent()).collect(),
            backends: config.backends().iter().map(|_| silent()).collect(),
            forwards: config.log_forwards().iter().map(|_| silent()).collect(),
            rings: Rings::default(),
            peers: config.peers().iter().map(|_| silent()).collect(),
        }
    }

    /// Returns where lines of others go, in the order of their sections.
    pub(super) fn forwards(&self) -> &[Arc<Log>] {
        &self.forwards
    }

    /// Returns the rings.
    pub(crate) fn rings(&self) -> &Rings {
        &self.rings
    }

    /// Returns everything that lines go to; what several logs share comes several times.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &Output> {
        let logs = self.frontends.iter().chain(&self.backends).chain(&self.forwards).chain(&self.peers);
        logs.flat_map(|log| &log.audiences).flat_map(|audience| &audience.outputs).map(|output| &**output)
    }

    /// Returns the log of a frontend.
    ///
    /// # Panics
    /// If the frontend is not of the configuration the logs were opened for.
    pub(crate) fn of_frontend(&self, id: FrontendId) -> Arc<Log> {
        Arc::clone(&self.frontends[id.index()])
    }

    /// Returns the log of a backend, which is about its servers.
    ///
    /// # Panics
    /// If the backend is not of the configuration the logs were opened for.
    pub(crate) fn of_backend(&self, id: BackendId) -> Arc<Log> {
        Arc::clone(&self.backends[id.index()])
    }

    /// Returns the log of a section of peers, by its place among them.
    pub(crate) fn of_peers(&self, place: usize) -> Arc<Log> {
        self.peers.get(place).map(Arc::clone).unwrap_or_default()
    }
}

impl Log {
    fn open(
        config: &Config,
        logging: &Logging,
        options: &[Located<ProxyOption>],
        (opened, rings): (&mut HashMap<String, Arc<Output>>, &Rings),
    ) -> io::Result<Self> {
        let host = config.global().log_host().map(|name| name.unwrap_or_else(|| hostname()).to_owned());
        let tag = logging.tag().map_or("l7d", |tag| tag.as_str());
        let mut audiences: Vec<Audience> = Vec::new();
        for text in logging.targets() {
            let output = match opened.get(text.as_str()) {
                Some(output) => Arc::clone(output),
                None => {
                    let Ok(target) = Target::parse(text) else { continue };
                    let output = Arc::new(Output::open(target, rings)?);
                    opened.insert(text.value().clone(), Arc::clone(&output));
                    output
                }
            };
            let profile = output.profile().and_then(|name| config.log_profiles().iter().position(|profile| profile.name() == name));
            match audiences.iter_mut().find(|audience| audience.profile == profile) {
                Some(audience) => audience.outputs.push(output),
                None => {
                    let tag = profile.and_then(|place| config.log_profiles()[place].tag()).unwrap_or(tag);
                    audiences.push(Audience { profile, outputs: vec![output], sender: Sender::new(tag, host.clone()) });
                }
            }
        }
        let has = |wanted: ProxyOption| options.iter().any(|option| *option.value() == wanted);
        Ok(Self {
            audiences,
            steps: LogStep::ALL.map(|step| logging.is_at(step)),
            skips_normal: has(ProxyOption::DontLogNormal),
            separates_errors: has(ProxyOption::LogSeparateErrors),
            lines: AtomicU64::new(0),
        })
    }

    /// Tells whether there is any target.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.audiences.is_empty()
    }

    /// Tells whether lines are written at a step.
    pub(crate) fn is_at(&self, step: LogStep) -> bool {
        self.steps[step as usize]
    }

    /// Returns the targets, those that get the same lines together.
    pub(super) fn audiences(&self) -> &[Audience] {
        &self.audiences
    }

    /// Returns how much a line about an exchange matters; none if it is not to be written.
    pub(super) fn level(&self, outcome: Outcome) -> Option<Level> {
        match outcome {
            Outcome::Normal if self.skips_normal => None,
            Outcome::Failure if self.separates_errors => Some(Level::Error),
            Outcome::Normal | Outcome::Failure => Some(Level::Information),
        }
    }

    /// Counts a line, and returns how many there were before it.
    pub(super) fn number(&self) -> u64 {
        self.lines.fetch_add(1, Relaxed)
    }

    /// Writes a line that is about no exchange.
    pub(crate) fn say(&self, level: Level, text: &str) {
        if self.is_wanted() {
            self.write(Line { level, text: text.as_bytes(), structured: b"" }, &mut Vec::new());
        }
    }

    /// Writes a line of somebody else's log to every target; `packet` is what each is put together in.
    pub(super) fn pass_on(&self, line: &[u8], packet: &mut Vec<u8>) {
        let message = Message::parse(line);
        for output in self.audiences.iter().flat_map(|audience| &audience.outputs) {
            output.pass_on(&message, packet);
        }
    }

    /// Writes a line to every target; `packet` is what each is put together in.
    pub(super) fn write(&self, line: Line<'_>, packet: &mut Vec<u8>) {
        self.audiences.iter().for_each(|audience| audience.write(line, packet));
    }
}

impl Audience {
    /// Writes a line to every target; `packet` is what each is put together in.
    pub(super) fn write(&self, line: Line<'_>, packet: &mut Vec<u8>) {
        for output in &self.outputs {
            output.write(line, &self.sender, packet);
        }
    }
}

/// How an exchange ended, as far as logs make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As it should, or as a rule wanted it.
    Normal,
    /// Not as it should, or not at the first attempt.
    Failure,
}

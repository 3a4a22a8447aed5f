//! Commands: their words, who may use them, and what they do.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc;

use super::dialog::Rights;
use super::reply::Reply;
use crate::config::SocketLevel;
use crate::handover::{Listening, Seed};

/// The answer of a command that has to wait for something.
pub type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Pieces of an answer that goes on until its client or its source has enough; dropping it tells the source.
pub type Feed = mpsc::Receiver<String>;

/// The answer of a command that may go on.
#[derive(Debug)]
pub enum Answer {
    /// There is no more.
    Once(Reply),
    /// More comes as it happens.
    Feed(Feed),
}

/// All that a process listens on, once it is gathered.
pub type Gathering = Pin<Box<dyn Future<Output = Vec<Listening>> + Send>>;

/// A command; `C` is what the daemon lets it reach.
#[derive(Debug)]
pub struct Command<C: 'static> {
    /// Its words, such as "show info".
    pub words: &'static str,
    /// What may stand behind them.
    pub arguments: &'static str,
    /// What it does, in a few words.
    pub help: &'static str,
    /// The least level that may use it.
    pub level: SocketLevel,
    /// How it is carried out.
    pub run: Run<C>,
}

/// How a command is carried out.
#[derive(Debug)]
pub enum Run<C: 'static> {
    /// At once.
    Now(fn(&C, &Call) -> Reply),
    /// Waiting for others of the process.
    Later(fn(C, Call) -> Answering),
    /// At once, and perhaps for as long as the client listens.
    Feed(fn(&C, &Call) -> Answer),
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The words behind those of the command.
    pub arguments: Vec<String>,
    /// The lines that were sent with it.
    pub payload: Option<String>,
    /// What the client may do.
    pub rights: Rights,
}

impl Call {
    /// Returns the word at a place behind those of the command; empty if there is none.
    pub fn word(&self, place: usize) -> &str {
        self.arguments.get(place).map_or("", String::as_str)
    }

    /// Returns the words from a place on.
    pub fn rest(&self, place: usize) -> &[String] {
        self.arguments.get(place..).unwrap_or_default()
    }
}

/// The commands of a daemon, and what they reach.
#[derive(Debug)]
pub struct Language<C: 'static> {
    context: C,
    /// Invariant: in the order of their words.
    commands: Vec<Command<C>>,
    listening: Option<fn(C) -> Gathering>,
    seed: Option<fn() -> Seed>,
    /// The language of a worker, where this is the one of its master.
    behind: Option<Box<Self>>,
}

impl<C> Language<C> {
    /// Returns a language of these commands.
    pub fn new(context: C, mut commands: Vec<Command<C>>) -> Self {
        commands.sort_by_key(|command| command.words);
        Self { context, commands, listening: None, seed: None, behind: None }
    }

    /// Returns it with what gathers all that the process listens on, for who takes over, and what its secrets are made from.
    #[must_use]
    pub fn handing_over(self, listening: fn(C) -> Gathering, seed: fn() -> Seed) -> Self {
        Self { listening: Some(listening), seed: Some(seed), ..self }
    }

    /// Returns it as the language of a master, whose worker understands another.
    #[must_use]
    pub fn in_front_of(self, worker: Self) -> Self {
        Self { behind: Some(Box::new(worker)), ..self }
    }

    /// Returns the language of the worker, if this is the one of a master.
    pub(super) fn behind(&self) -> Option<&Self> {
        self.behind.as_deref()
    }

    /// Returns all that the process listens on.
    pub(super) async fn listening(&self) -> Vec<Listening>
    where
        C: Clone,
    {
        match self.listening {
            Some(gather) => gather(self.context.clone()).await,
            None => Vec::new(),
        }
    }

    /// Returns what the secrets are made from that the next process has to know.
    pub(super) fn seed(&self) -> Option<Seed> {
        self.seed.map(|seed| seed())
    }

    /// Returns what the commands reach.
    pub(super) fn context(&self) -> &C {
        &self.context
    }

    /// Returns the command that begins with these words, and how many of them are its own; the longest wins.
    pub(super) fn find(&self, words: &[String]) -> Option<(&Command<C>, usize)> {
        let own = |command: &Command<C>| command.words.split(' ').count();
        let begins = |command: &&Command<C>| {
            let mut wanted = command.words.split(' ');
            own(command) <= words.len() && words.iter().all(|word| wanted.next().is_none_or(|wanted| wanted == word))
        };
        self.commands.iter().filter(begins).map(|command| (command, own(command))).max_by_key(|(_, own)| *own)
    }

    fn own(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        if self.behind.is_some() { &OF_MASTER } else { &OWN }
    }

    /// Lists what a client of this level may use: all, or those that begin with as many of these words as any does.
    pub(super) fn list(&self, level: SocketLevel, words: &[String]) -> Listing {
        let allowed = self.commands.iter().filter(|command| command.level <= level);
        let mut all: Vec<_> =
            allowed.map(|command| (command.words, command.arguments, command.help)).chain(self.own().iter().copied()).collect();
        all.sort_unstable();
        let common = |known: &str| known.split(' ').zip(words).take_while(|(own, word)| own == word).count();
        let most = all.iter().map(|(known, ..)| common(known)).max().unwrap_or(0);
        all.retain(|(known, ..)| common(known) == most && !ALWAYS.iter().any(|(always, ..)| always == known));
        let lines = all.into_iter().chain(ALWAYS).map(|(words, arguments, help)| line(words, arguments, help)).collect();
        if most == 0 { Listing::All(lines) } else { Listing::Near(lines) }
    }
}

/// A list of commands, a line each.
#[derive(Debug)]
pub(super) enum Listing {
    /// All there are.
    All(String),
    /// Those that resemble what was asked for.
    Near(String),
}

fn line(words: &str, arguments: &str, help: &str) -> String {
    let usage = format!("{words} {arguments}");
    format!("  {:<40}: {help}\n", usage.trim_end())
}

/// The commands of every dialog.
const OWN: [(&str, &str, &str); 6] = [
    ("expert-mode", "[on|off]", "tell or set whether commands for developers are allowed"),
    ("operator", "", "give up the rights of an administrator"),
    ("set severity-output", "[none|number|string]", "mark messages with their urgency"),
    ("set timeout cli", "<delay>", "set how many seconds of silence end the connection"),
    ("show cli level", "", "tell what this client may do"),
    ("user", "", "give up all rights but to look"),
];

/// Those of every dialog with a master.
const OF_MASTER: [(&str, &str, &str); 6] = [
    ("@!<pid>", "", "send a command to the process of this number"),
    ("@<relative pid>", "", "send a command to a worker"),
    ("@master", "", "send a command to the master"),
    ("operator", "", "give up the rights of an administrator"),
    ("show cli level", "", "tell what this client may do"),
    ("user", "", "give up all rights but to look"),
];

/// Those that stand at the end of every list.
const ALWAYS: [(&str, &str, &str); 3] = [
    ("help", "[<command>]", "list all commands, or those that begin alike"),
    ("prompt", "", "begin or end a dialog with a prompt"),
    ("quit", "", "end the connection"),
];

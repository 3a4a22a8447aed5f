//! One client's dialog: what it may do, how it is answered, and the commands that change that.

use std::time::Duration;

use super::command::{Answer, Call, Feed, Language, Listing, Run};
use super::line::Sentence;
use super::reply::{Marking, Reply};
use crate::config::{self, SocketLevel};

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// The level of the socket, or less.
    pub level: SocketLevel,
    /// Whether the client asked for commands that are not meant for everyday use.
    pub expert: bool,
}

impl Rights {
    /// Those of an administrator.
    pub const ALL: Self = Self { level: SocketLevel::Admin, expert: true };
}

/// One client's dialog.
#[derive(Debug)]
pub(super) struct Dialog {
    rights: Rights,
    manner: Manner,
    marking: Marking,
    pub(super) patience: Duration,
    pub(super) ended: bool,
    /// Who is spoken to, where there is a choice.
    target: Target,
}

/// What is sent for a command.
#[derive(Debug)]
pub(super) enum Spoken {
    /// All of it.
    Whole(String),
    /// What comes from here, and in the end this.
    Begun(Feed, String),
}

/// One of two who may be spoken to over one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Master,
    Worker,
}

impl Target {
    /// Reads what stands behind `@`: one process is both here, and is the worker by its number.
    fn named(name: &str) -> Option<Self> {
        match name {
            "" | "0" | "!0" | "master" => Some(Self::Master),
            "1" => Some(Self::Worker),
            other => (other.strip_prefix('!')?.parse() == Ok(std::process::id())).then_some(Self::Worker),
        }
    }
}

/// How long a dialog lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// For as many commands as come at once.
    Brief,
    /// Until somebody ends it; there is a prompt.
    Interactive,
}

impl Dialog {
    pub(super) fn new(level: SocketLevel, patience: Duration) -> Self {
        let rights = Rights { level, expert: false };
        Self { rights, manner: Manner::Brief, marking: Marking::None, patience, ended: false, target: Target::Master }
    }

    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    /// Carries out a command and returns what is sent for it.
    pub(super) async fn answer<C: Clone>(&mut self, language: &Language<C>, sentence: Sentence) -> Spoken {
        match language.behind() {
            Some(worker) => self.pass_on(language, worker, sentence).await,
            None => match self.reply(language, sentence).await {
                Answer::Once(reply) => Spoken::Whole(self.finish(reply, self.end())),
                Answer::Feed(feed) => Spoken::Begun(feed, self.end().to_owned()),
            },
        }
    }

    /// Lets the master or its worker carry out a command, as the word before it says, which alone says it of all that follow.
    async fn pass_on<C: Clone>(&mut self, master: &Language<C>, worker: &Language<C>, mut sentence: Sentence) -> Spoken {
        let mut target = self.target;
        if let Some(name) = sentence.words.first().and_then(|word| word.strip_prefix('@')) {
            let Some(named) = Target::named(name) else {
                self.ended = true;
                return Spoken::Whole(format!("Can't find the target PID matching the prefix '@{name}'\n"));
            };
            target = named;
            sentence.words.remove(0);
            if sentence.words.is_empty() {
                self.target = target;
                return Spoken::Whole(self.prompt());
            }
        }
        match self.reply(if target == Target::Master { master } else { worker }, sentence).await {
            Answer::Once(Reply::Done) if target == Target::Master => Spoken::Whole(self.finish(Reply::Done, &self.prompt())),
            Answer::Once(reply) => Spoken::Whole(self.finish(reply, &format!("\n{}", self.prompt()))),
            Answer::Feed(feed) => Spoken::Begun(feed, format!("\n{}", self.prompt())),
        }
    }

    fn prompt(&self) -> String {
        match (self.manner, self.target) {
            (Manner::Brief, _) => String::new(),
            (Manner::Interactive, Target::Master) => "master> ".to_owned(),
            (Manner::Interactive, Target::Worker) => format!("{}> ", std::process::id()),
        }
    }

    async fn reply<C: Clone>(&mut self, language: &Language<C>, sentence: Sentence) -> Answer {
        let Sentence { words, payload } = sentence;
        match self.own(language, &words) {
            Some(reply) => Answer::Once(reply),
            None => self.carry_out(language, words, payload).await,
        }
    }

    fn finish(&self, reply: Reply, end: &str) -> String {
        if self.ended { String::new() } else { reply.print(self.marking) + end }
    }

    /// Returns what ends an answer.
    fn end(&self) -> &'static str {
        match self.manner {
            Manner::Brief => "\n",
            Manner::Interactive => "\n> ",
        }
    }

    /// Returns what is sent for a line of a payload.
    pub(super) fn on_part(&self) -> &'static str {
        match self.manner {
            Manner::Brief => "",
            Manner::Interactive => "+ ",
        }
    }

    /// Carries out a command about the dialog itself.
    fn own<C>(&mut self, language: &Language<C>, words: &[String]) -> Option<Reply> {
        let text: Vec<&str> = words.iter().map(String::as_str).collect();
        Some(match text.as_slice() {
            [] if self.manner == Manner::Interactive => Reply::Done,
            ["help", rest @ ..] => Reply::Output(self.help(language, &words[words.len() - rest.len()..])),
            ["prompt", ..] => {
                self.manner = if self.manner == Manner::Brief { Manner::Interactive } else { Manner::Brief };
                Reply::Done
            }
            ["quit", ..] => {
                self.ended = true;
                Reply::Done
            }
            ["operator", ..] => self.lower(SocketLevel::Operator),
            ["user", ..] => self.lower(SocketLevel::User),
            ["expert-mode"] => Reply::Output(format!("expert-mode is {}\n", if self.rights.expert { "ON" } else { "OFF" })),
            ["expert-mode", wanted, ..] => {
                if self.rights.level < SocketLevel::Admin {
                    return Some(denied());
                }
                self.rights.expert = *wanted == "on";
                Reply::Done
            }
            ["show", "cli", "level", ..] => Reply::Output(format!("{}\n", name(self.rights.level))),
            ["set", "timeout", rest @ ..] => self.set_timeout(rest),
            ["set", "severity-output", rest @ ..] => self.set_marking(rest),
            _ => return None,
        })
    }

    fn help<C>(&self, language: &Language<C>, words: &[String]) -> String {
        let (Listing::All(lines) | Listing::Near(lines)) = language.list(self.rights.level, words);
        format!("The following commands are valid at this level:\n{lines}")
    }

    fn lower(&mut self, level: SocketLevel) -> Reply {
        self.rights.level = self.rights.level.min(level);
        Reply::Done
    }

    fn set_timeout(&mut self, words: &[&str]) -> Reply {
        match words {
            ["cli"] => Reply::error("Expects an integer value."),
            ["cli", delay, ..] => match seconds(delay).filter(|delay| !delay.is_zero()) {
                Some(delay) => {
                    self.patience = delay;
                    Reply::Done
                }
                None => Reply::error("Invalid timeout value."),
            },
            _ => Reply::error("'set timeout' only supports 'cli'."),
        }
    }

    fn set_marking(&mut self, words: &[&str]) -> Reply {
        self.marking = match words {
            ["none", ..] => Marking::None,
            ["number", ..] => Marking::Number,
            ["string", ..] => Marking::Word,
            _ => return Reply::error("one of 'none', 'number', 'string' is a required argument"),
        };
        Reply::Done
    }

    async fn carry_out<C: Clone>(&self, language: &Language<C>, words: Vec<String>, payload: Option<String>) -> Answer {
        let Some((command, own)) = language.find(&words) else { return Answer::Once(self.unknown(language, &words)) };
        if self.rights.level < command.level {
            return Answer::Once(denied());
        }
        let call = Call { arguments: words.into_iter().skip(own).collect(), payload, rights: self.rights };
        match command.run {
            Run::Now(run) => Answer::Once(run(language.context(), &call)),
            Run::Later(run) => Answer::Once(run(language.context().clone(), call).await),
            Run::Feed(run) => run(language.context(), &call),
        }
    }

    fn unknown<C>(&self, language: &Language<C>, words: &[String]) -> Reply {
        let (begin, lines) = match language.list(self.rights.level, words) {
            Listing::All(lines) => ("Unknown command. Please enter one of the following commands only:", lines),
            Listing::Near(lines) => ("Unknown command, but maybe one of the following ones is a better match:", lines),
        };
        Reply::Output(format!("{begin}\n{lines}"))
    }
}

/// Reads a delay in which a number without a unit counts seconds.
fn seconds(text: &str) -> Option<Duration> {
    let is_bare = text.bytes().all(|byte| byte.is_ascii_digit());
    config::duration(&if is_bare { format!("{text}s") } else { text.to_owned() }).ok()
}

fn denied() -> Reply {
    Reply::error("Permission denied")
}

fn name(level: SocketLevel) -> &'static str {
    match level {
        SocketLevel::User => "user",
        SocketLevel::Operator => "operator",
        SocketLevel::Admin => "admin",
    }
}

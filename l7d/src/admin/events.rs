//! The command that shows what rings hold, and what comes to them.

use std::fmt::Write as _;

use control::admin::{Answer, Call, Command, Reply, Run, Urgency};
use control::config::SocketLevel;

use super::Engine;
use crate::log::{self, Since};

/// Returns the command.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![Command {
        words: "show events",
        arguments: "[<ring>] [-w] [-n]",
        help: "list the rings, or show the lines of one, and what comes to it",
        level: SocketLevel::User,
        run: Run::Feed(events),
    }]
}

fn events(engine: &Engine, call: &Call) -> Answer {
    let site = engine.site();
    let name = call.word(0);
    if name.is_empty() {
        return Answer::Once(Reply::Output(list(site.logs().rings())));
    }
    let Some(ring) = site.logs().rings().get(name) else { return Answer::Once(refuse("No such event sink")) };
    let (mut waits, mut since) = (false, Since::Oldest);
    for letter in call.rest(1).iter().flat_map(|word| letters(word)) {
        match letter {
            'w' => waits = true,
            'n' => since = Since::Next,
            _ => return Answer::Once(refuse("unknown option")),
        }
    }
    match (waits, since) {
        (true, _) => Answer::Feed(ring.watch(since)),
        (false, Since::Oldest) => Answer::Once(Reply::Output(ring.lines())),
        (false, Since::Next) => Answer::Once(Reply::Done),
    }
}

/// Refuses as haproxy does, which ends these lines but once.
fn refuse(why: &str) -> Reply {
    Reply::Message(Urgency::Error, why.to_owned())
}

/// Returns the options of a word; something that is none if it has not their form.
fn letters(word: &str) -> Vec<char> {
    word.strip_prefix('-').filter(|letters| !letters.is_empty()).map_or_else(|| vec!['?'], |letters| letters.chars().collect())
}

fn list(rings: &log::Rings) -> String {
    let mut out = "Supported events sinks are listed below. Add -w(wait), -n(new). Any key to stop\n".to_owned();
    for ring in rings.all() {
        let (name, missed, description) = (ring.name(), ring.missed(), ring.description());
        writeln!(out, "    {name:<10} : type=buffer, {missed} dropped, {description}").expect("a string takes everything");
    }
    out
}

//! The commands that watch live requests.

use std::time::Duration;

use control::admin::{Answer, Call, Command, Reply, Run};
use control::config::{SocketLevel, duration};

use super::{Engine, now};
use crate::rules::Filter;
use crate::trace::{self, Wanted};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![
        Command {
            words: "trace",
            arguments: "[frontend <name>] [limit <n>] [for <time>] [if|unless <condition>] | 0",
            help: "tell every rule that live requests meet and what becomes of them, as they end; 0 ends all traces",
            level: SocketLevel::Admin,
            run: Run::Feed(follow),
        },
        now("show trace", "", "list the traces that are under way", SocketLevel::Admin, |_, call| match call.word(0) {
            "" => Reply::Output(trace::list()),
            source => Reply::error(format!("'show trace {source}' is not supported: {SOURCES}.")),
        }),
    ]
}

fn follow(engine: &Engine, call: &Call) -> Answer {
    Answer::Once(match call.arguments.as_slice() {
        [] => Reply::error(USAGE),
        [zero] if zero == "0" => {
            trace::stop_all();
            Reply::Done
        }
        words => match wanted(engine, words).and_then(trace::start) {
            Ok(feed) => return Answer::Feed(feed),
            Err(why) => Reply::error(why),
        },
    })
}

/// Reads what is to be seen.
fn wanted(engine: &Engine, words: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted { filter: None, frontend: None, most: 10, time: Duration::from_secs(60), words: words.join(" ") };
    let mut rest = words;
    while let [word, more @ ..] = rest {
        if matches!(word.as_str(), "if" | "unless") {
            let (config, site) = (engine.fleet.config(), engine.site());
            // The words are read once more, as those of a rule.
            let text: Vec<String> = rest.iter().map(|word| word.replace('\\', "\\\\").replace(' ', "\\ ")).collect();
            wanted.filter = Some(Filter::read(&text.join(" "), &config, site.rules())?);
            return Ok(wanted);
        }
        if !matches!(word.as_str(), "frontend" | "limit" | "for") {
            return Err(format!("'trace {word}' is not supported: {SOURCES}."));
        }
        let [value, behind @ ..] = more else { return Err(format!("something is missing behind '{word}': {USAGE}")) };
        match word.as_str() {
            "frontend" if engine.site().frontends().any(|frontend| frontend.name() == value) => wanted.frontend = Some(value.clone()),
            "frontend" => return Err(format!("No frontend '{value}'.")),
            "limit" => match value.parse() {
                Ok(most @ 1..=MOST) => wanted.most = most,
                _ => return Err(format!("'limit' takes a number from 1 to {MOST}, not '{value}'.")),
            },
            _ => match duration(value) {
                Ok(time) if !time.is_zero() && time <= LONGEST => wanted.time = time,
                Ok(_) => return Err(format!("'for' takes a time up to an hour, not '{value}'.")),
                Err(why) => return Err(format!("'for {value}': {why}.")),
            },
        }
        rest = behind;
    }
    Ok(wanted)
}

const USAGE: &str =
    "trace [frontend <name>] [limit <n>] [for <time>] [if|unless <condition>], for example: trace limit 3 if { path_beg /api }";
const SOURCES: &str =
    "events of HAProxy's inside (h1, h2, stream, ...) have no like here; 'trace if { ... }' tells what rules make of requests";
const MOST: u32 = 10_000;
const LONGEST: Duration = Duration::from_secs(3600);

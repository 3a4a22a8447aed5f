//! Commands that tell the configuration in force as text, and what the files say otherwise by now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use control::admin::{Answering, Call, Command, Reply};
use control::config::{self, Config, Rates, Text};
use control::server_state::Admin;
use control::{file, fleet::Fleet};
use similar::TextDiff;
use tokio::sync::oneshot;

use super::{Engine, Errand, later};
use crate::pace;
use crate::rules::{PatternKind, Patterns};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![
        later("show config", "", "write the configuration in force as a file would have it", show),
        later("show diff", "", "tell in what the files differ from what is in force", differ),
    ]
}

/// What the files say that the configuration names.
#[derive(Debug)]
pub(crate) struct OnDisk {
    /// Those it was read from, or why they cannot be read.
    texts: Result<Vec<Text>, String>,
    /// The patterns of maps and lists that can be read, by their files.
    patterns: BTreeMap<String, String>,
}

impl OnDisk {
    /// Reads the files of a configuration, and those of maps and lists.
    pub(crate) fn read(files: &[PathBuf], patterns: &[String]) -> Self {
        let read = |name: &String| Some((name.clone(), file::read_text(name.as_ref(), file::LARGEST).ok()?));
        let texts = config::texts(files).map_err(|report| report.to_string().trim_end().to_owned());
        Self { texts, patterns: patterns.iter().filter_map(read).collect() }
    }
}

impl Engine {
    /// Notes what the files said when they were read last.
    pub(crate) fn note_loaded(&self, config: Arc<Config>) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }

    /// Writes the files that would make what is in force.
    fn running(&self) -> Vec<Text> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        loaded.map(|loaded| in_force(&self.fleet).running(&loaded)).unwrap_or_default()
    }
}

/// Returns the configuration in which everything is as commands have set it.
fn in_force(fleet: &Fleet) -> Config {
    let snapshot = fleet.snapshot();
    let states = snapshot.servers.iter().map(|server| match server.admin {
        Admin::Ready => (server.weight, false),
        // No file knows more than that no new traffic comes.
        Admin::Drain => (0, false),
        Admin::Maint => (server.weight, true),
    });
    let rates = Rates { connections: pace::CONNECTIONS.most(), sessions: pace::SESSIONS.most(), tls: pace::HANDSHAKES.most() };
    snapshot.config.with_states(states).with_rates(rates)
}

fn show(engine: Engine, _: Call) -> Answering {
    Box::pin(async move {
        let texts = engine.running();
        let is_one = texts.len() == 1;
        let of = |text: &Text| if is_one { text.text.clone() } else { format!("# {}\n{}\n", text.name, text.text) };
        Reply::Output(texts.iter().map(of).collect())
    })
}

fn differ(engine: Engine, _: Call) -> Answering {
    Box::pin(async move {
        let (done, answered) = oneshot::channel();
        let patterns = engine.site().patterns().iter().map(|patterns| patterns.name.clone()).collect();
        if engine.app.send(Errand::Look(patterns, done)).await.is_err() {
            return Reply::error("The process is stopping.");
        }
        let disk = match answered.await {
            Ok(Ok(disk)) => disk,
            Ok(Err(reason)) => return Reply::error(format!("{reason}.")),
            Err(_) => return Reply::error("The process is stopping."),
        };
        // Long texts take their time, in which checks must go on.
        let compared = tokio::task::spawn_blocking(move || compare(&engine, &disk)).await;
        compared.unwrap_or_else(|_| Reply::error("The texts could not be compared."))
    })
}

fn compare(engine: &Engine, disk: &OnDisk) -> Reply {
    let texts = match &disk.texts {
        Ok(texts) => texts,
        Err(reason) => return Reply::error(format!("{reason}.")),
    };
    let running = engine.running();
    let mut names: Vec<&str> = texts.iter().chain(&running).map(|text| text.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let find = |all: &'_ [Text], name: &str| all.iter().find(|text| text.name == name).map_or_else(String::new, |text| text.text.clone());
    let mut out: String = names.into_iter().map(|name| difference(name, &find(texts, name), &find(&running, name))).collect();
    for patterns in engine.site().patterns().iter() {
        if let Some(text) = disk.patterns.get(&patterns.name) {
            out.push_str(&difference(&patterns.name, &plain(text), &listed(patterns)));
        }
    }
    Reply::Output(out)
}

/// Returns the lines of a file of patterns as they are listed.
fn plain(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let squeeze = |line: &str| match line.split_once([' ', '\t']) {
        Some((key, value)) => format!("{key} {}\n", value.trim_start()),
        None => format!("{line}\n"),
    };
    lines.map(squeeze).collect()
}

fn listed(patterns: &Patterns) -> String {
    let line = |key: &[u8], value: &[u8]| match patterns.kind {
        PatternKind::Map => format!("{} {}\n", String::from_utf8_lossy(key), String::from_utf8_lossy(value)),
        PatternKind::Acl => format!("{}\n", String::from_utf8_lossy(key)),
    };
    patterns.list(None).iter().map(|listed| line(&listed.key, &listed.value)).collect()
}

/// Tells how what is in force differs from a file; nothing if it does not.
fn difference(name: &str, file: &str, running: &str) -> String {
    if file == running {
        return String::new();
    }
    let mut diff = TextDiff::configure();
    diff.timeout(PATIENCE);
    let diff = diff.diff_lines(file, running);
    diff.unified_diff().header(name, &format!("{name} (in force)")).to_string()
}

/// How long the shortest difference is looked for; after that, any will do.
const PATIENCE: Duration = Duration::from_secs(2);

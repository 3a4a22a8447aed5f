//! Where the demo shows itself: a table that is drawn over itself on a terminal, plain lines anywhere else.

use std::collections::VecDeque;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::termios::tcgetwinsize;

use super::stage::View;
use super::story::Story;
use super::traffic::Tally;
use super::view::{self, Rates, TABLE_LINES};

/// Standard output, and what stands on it.
#[derive(Debug)]
pub(super) struct Screen {
    mode: Mode,
    /// Tallies of about the last second, the oldest first.
    recent: VecDeque<(Instant, Tally)>,
}

#[derive(Debug)]
enum Mode {
    Live {
        colour: bool,
        /// The width the table was last drawn with, once it was.
        drawn: Option<usize>,
    },
    Lines {
        next_second: Duration,
        events_told: usize,
    },
}

impl Screen {
    /// Takes standard output; a terminal too small for the table gets lines.
    pub(super) fn new() -> Self {
        let fits = size().is_some_and(|(columns, rows)| columns >= LEAST_COLUMNS && rows > TABLE_LINES);
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let mode = if fits && !dumb {
            Mode::Live { colour: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()), drawn: None }
        } else {
            Mode::Lines { next_second: Duration::ZERO, events_told: 0 }
        };
        Self { mode, recent: VecDeque::new() }
    }

    /// Tells whether a person watches a table.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.mode, Mode::Live { .. })
    }

    /// Prints text that stays.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        put(&format!("{text}\n"))
    }

    /// Says what will be seen.
    pub(super) fn introduce(&self, config: &Path) -> Result<()> {
        self.say(&view::introduction(config))
    }

    /// Shows how things are now.
    pub(super) fn show(&mut self, story: &Story, tally: &Tally, seen: &View) -> Result<()> {
        let now = Instant::now();
        let rates = self.rates(now, tally);
        let text = match &mut self.mode {
            Mode::Live { colour, drawn } => {
                let columns = size().map_or(LEAST_COLUMNS, |(columns, _)| columns);
                let table = view::table(story, tally, &rates, seen, columns);
                let lines = table.iter().map(|line| format!("{}{CLEAR_TO_END_OF_LINE}\r\n", line.for_terminal(columns, *colour)));
                let start = match drawn {
                    None => HIDE_CURSOR.to_owned(),
                    // Another width has folded what stands there, nobody knows how.
                    Some(before) if *before != columns => CLEAR_ALL.to_owned(),
                    Some(_) => format!("\x1b[{TABLE_LINES}A"),
                };
                *drawn = Some(columns);
                format!("{start}{}", lines.collect::<String>())
            }
            Mode::Lines { next_second, events_told } => {
                let mut text = String::new();
                for event in &story.events()[*events_told..] {
                    text += &format!("{}\n", view::event(event).plain());
                }
                *events_told = story.events().len();
                let passed = now.saturating_duration_since(story.began());
                if passed >= *next_second {
                    *next_second = Duration::from_secs(passed.as_secs() + 1);
                    let lines = view::second(passed, tally, &rates, seen);
                    text.extend(lines.iter().map(|line| format!("{}\n", line.plain())));
                }
                text
            }
        };
        if text.is_empty() { Ok(()) } else { put(&text) }
    }

    /// Leaves the terminal as it was, with the last table on it.
    pub(super) fn leave(&mut self) -> Result<()> {
        if let Mode::Live { drawn, .. } = &mut self.mode
            && drawn.take().is_some()
        {
            put(SHOW_CURSOR)?;
        }
        Ok(())
    }

    fn rates(&mut self, now: Instant, tally: &Tally) -> Rates {
        while self.recent.len() > 1 && now.duration_since(self.recent[1].0) >= WINDOW {
            self.recent.pop_front();
        }
        let rates = self.recent.front().map(|(then, before)| Rates::between(before, tally, now.duration_since(*then)));
        self.recent.push_back((now, tally.clone()));
        rates.unwrap_or_default()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic must not leave the terminal without its cursor; there is nobody to tell if that fails.
        drop(self.leave());
    }
}

/// Returns columns and rows if standard output is a terminal.
fn size() -> Option<(usize, usize)> {
    let out = io::stdout();
    let size = out.is_terminal().then(|| tcgetwinsize(&out).ok()).flatten()?;
    Some((size.ws_col.into(), size.ws_row.into()))
}

fn put(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Over how long rates are taken.
const WINDOW: Duration = Duration::from_secs(1);
/// Below this the table says too little.
const LEAST_COLUMNS: usize = 60;

const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
const CLEAR_ALL: &str = "\x1b[2J\x1b[H";
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

//! The demo: l4d and l7d balance real traffic from one file before one's eyes, lose a server and get it back.
//!
//! At the end l4d is stopped, and l7d carries the TCP connections too.
//!
//! One loop ties the parts together. The `stage` is lab, servers and both daemons; `traffic` is what clients do and see; the `story` decides
//! when a server is killed and judges what follows; the `screen` shows it, in the words of `view`. Whatever ends the loop, be it the
//! story's end, a signal or an error, everything on the stage is gone afterwards.

mod arguments;
mod screen;
mod stage;
mod story;
mod traffic;
mod view;

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::arguments::{Arguments, Request};
use self::screen::Screen;
use self::stage::Stage;
use self::story::{Cue, Sight, Story};
use self::traffic::Traffic;
use crate::requirements;

/// Runs the program `lab-demo`.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let outcome = arguments::parse(arguments).and_then(|request| match request {
        Request::Help => Screen::new().say(arguments::USAGE).map(|()| ExitCode::SUCCESS),
        Request::Run(arguments) => run(&arguments),
    });
    outcome.unwrap_or_else(|error| {
        // Whoever closed the pipe has seen enough, and cannot be told anything more.
        let closed = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        if !closed {
            eprintln!("error: {error:#}");
        }
        ExitCode::FAILURE
    })
}

/// How the show ended.
enum End {
    Story,
    Signal(i32),
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    requirements::check()?;
    let signals = watch_signals()?;
    let mut screen = Screen::new();
    screen.introduce(&arguments.config)?;
    let mut stage = match (Stage::set(&arguments.config), signals.try_recv()) {
        (Ok(stage), Err(_)) => stage,
        // What the signal broke is no news.
        (_, Ok(signal)) => return Ok(died_of(signal)),
        (Err(error), Err(_)) => return Err(error),
    };
    if screen.is_live() {
        screen.say(&stage.invitation())?;
    }
    let mut story = Story::new(Instant::now(), arguments.span.or((!screen.is_live()).then_some(Duration::ZERO)));
    let traffic = Traffic::start(&stage.client(), stage.tcp(), stage.http());

    let shown = show(&mut screen, &mut stage, &mut story, &traffic, &signals);
    let seen = traffic.tally();
    let left = screen.leave();
    let carried = if matches!(shown, Ok(End::Story)) { fall_back(&screen, &mut stage).map(Some) } else { Ok(None) };
    drop(traffic);
    let cleared = stage.clear();
    let end = shown?;
    left?;
    let carried = carried?;
    cleared?;
    screen.say(&view::summary(&story, &seen, carried))?;
    Ok(exit_code(&end, &story))
}

/// Takes the kernel tier away, and returns how many connections the other has carried since.
fn fall_back(screen: &Screen, stage: &mut Stage) -> Result<u64> {
    screen.say("\nl4d is stopped now; its program leaves the kernel, and l7d is asked to carry the TCP connections")?;
    stage.fall_back()
}

/// Plays the story until it ends or a signal comes.
fn show(screen: &mut Screen, stage: &mut Stage, story: &mut Story, traffic: &Traffic, signals: &Receiver<i32>) -> Result<End> {
    loop {
        let view = stage.observe()?;
        let tally = traffic.tally();
        let cue = story.advance(&Sight { now: Instant::now(), tally: &tally, up: &view.up() });
        screen.show(story, &tally, &view)?;
        match cue {
            Some(Cue::Kill(server)) => stage.kill(server)?,
            Some(Cue::Start(server)) => {
                traffic.expect_return(server);
                stage.start(server)?;
            }
            Some(Cue::End) => return Ok(End::Story),
            None => {}
        }
        match signals.recv_timeout(TICK) {
            Ok(signal) => return Ok(End::Signal(signal)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the thread that watches for signals ended"),
        }
    }
}

/// Sends the signals that ask the demo to end, instead of dying of them.
fn watch_signals() -> Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("watch for signals")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
    Ok(receiver)
}

/// Success is what was seen, not merely shown; a signal before anything was seen shows as the shell shows it.
fn exit_code(end: &End, story: &Story) -> ExitCode {
    match end {
        End::Signal(signal) if story.rounds().is_empty() => died_of(*signal),
        End::Story | End::Signal(_) if story.succeeded() => ExitCode::SUCCESS,
        End::Story | End::Signal(_) => ExitCode::FAILURE,
    }
}

/// Returns what a shell reports for a process that a signal ended.
fn died_of(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

/// How often everything is looked at; failover takes longer than that.
const TICK: Duration = Duration::from_millis(100);

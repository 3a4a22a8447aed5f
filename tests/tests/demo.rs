//! The demo, as a newcomer runs it and as an impatient one ends it: it shows what it promises, and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::process::{Process, Signal};
use tests::scratch::Scratch;
use tests::wait::eventually;

/// A demo on a copy of its configuration, with a pin of its own so that several can run.
struct Demo {
    process: Process,
    pin: PathBuf,
    _scratch: Scratch,
}

impl Demo {
    fn start() -> Result<Self> {
        let scratch = Scratch::new("demo")?;
        let name = scratch.path().file_name().context("a scratch directory has a name")?;
        let pin = Path::new("/sys/fs/bpf").join(name);
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/site.toml"))?;
        let copy = text.replace("/sys/fs/bpf/l4d-demo", &pin.to_string_lossy());
        ensure!(copy != text, "the demo's configuration names no pin");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab-demo"));
        command.arg("--config").arg(scratch.write("site.toml", copy)?);
        Ok(Self { process: Process::spawn(command)?, pin, _scratch: scratch })
    }

    /// Returns the names of its namespaces.
    fn namespaces(&self) -> Vec<String> {
        let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&format!("lab-{}-", self.process.id()))).collect()
    }

    /// Returns the ids of the processes it started.
    fn children(&self) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
    }

    fn expect_nothing_left(&self, children: &[u32]) -> Result<()> {
        ensure!(self.namespaces().is_empty(), "namespaces remain: {:?}", self.namespaces());
        ensure!(!self.pin.exists(), "{} remains", self.pin.display());
        let gone = || children.iter().all(|id| !Path::new("/proc").join(id.to_string()).exists()).then_some(());
        eventually(Duration::from_secs(1), "the demo's processes to be gone", gone)
    }
}

#[test]
fn demo_shows_failover_and_recovery_and_ends_by_itself() {
    let mut demo = Demo::start().unwrap();
    let status = demo.process.wait(Duration::from_secs(60)).unwrap();
    let shown = demo.process.whole_output(Duration::from_secs(20)).unwrap();
    assert!(status.success(), "{status}\n{shown}");
    let told = ["backend2 was killed", "all traffic left backend2", "backend2 was started", "backend2 serves again"];
    let mut rest = shown.as_str();
    for text in told.into_iter().chain([
        "l4d is stopped",
        "What you saw",
        "backend2 killed",
        "backend2 started",
        ": ok",
        "l7d carried",
        ": ok",
        "Try next",
    ]) {
        let found = rest.find(text).unwrap_or_else(|| panic!("no `{text}`, or too early, in\n{shown}"));
        rest = &rest[found..];
    }
    for tier in [" s TCP  backend1 UP", "  HTTP backend1 UP"] {
        assert!(shown.contains(tier), "no `{tier}` in\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "escape sequences where no terminal is\n{shown}");
    demo.expect_nothing_left(&[]).unwrap();
}

#[test]
fn interrupted_demo_removes_everything() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut demo = Demo::start().unwrap();
        demo.process.wait_for_line("was killed", Duration::from_secs(30)).unwrap();
        let children = demo.children();
        assert!(children.len() >= 4 && demo.namespaces().len() >= 5 && demo.pin.exists(), "{}", demo.process.output());
        demo.process.signal(signal).unwrap();
        let status = demo.process.wait(Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(code), "{}", demo.process.output());
        assert!(demo.process.output().contains("What you saw"), "{}", demo.process.output());
        demo.expect_nothing_left(&children).unwrap();
    }
}

#[test]
fn wrong_configuration_is_explained_and_leaves_nothing() {
    let scratch = Scratch::new("demo").unwrap();
    let config = scratch.write("site.toml", "[xdp]\ninterfaces = [\"eth0\"]\n[frontend.web]\nmood = \"tcp\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab-demo"));
    command.arg("--config").arg(&config);
    let mut demo = Demo { process: Process::spawn(command).unwrap(), pin: PathBuf::from("/nowhere"), _scratch: scratch };
    let status = demo.process.wait(Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(1));
    let shown = demo.process.whole_output(Duration::from_secs(20)).unwrap();
    assert!(shown.contains("site.toml:4:1") && shown.contains("mood"), "{shown}");
    demo.expect_nothing_left(&[]).unwrap();
}

//! Chromium, as a person in front of it drives it: over a pipe in the language of its developer tools.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kit::directory;

/// A browser takes its time on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(90);

/// A browser with one page; closed when dropped.
pub(crate) struct Browser {
    process: Child,
    orders: File,
    answers: Receiver<Value>,
    /// What happened and was not asked for yet.
    events: Vec<Value>,
    session: Option<String>,
    last: u64,
    directory: PathBuf,
}

impl Browser {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let directory = directory();
        let pipes = ["orders", "answers"].map(|name| directory.join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().expect("mkfifo").success());
        // No name leads anywhere: nothing is asked of the world.
        let command = format!(
            "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking \
             --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.*' --remote-debugging-pipe --user-data-dir='{}' about:blank 3<'{}' 4>'{}'",
            directory.join("profile").display(),
            pipes[0].display(),
            pipes[1].display()
        );
        let process = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("a shell");
        let open = |path: &Path, is_written: bool| File::options().read(!is_written).write(is_written).open(path).expect("a pipe");
        let (orders, told) = (open(&pipes[0], true), open(&pipes[1], false));
        let (sender, answers) = channel();
        thread::spawn(move || {
            let messages = BufReader::new(told).split(0).map_while(Result::ok);
            messages.filter_map(|message| serde_json::from_slice(&message).ok()).all(|message| sender.send(message).is_ok())
        });
        let mut browser = Self { process, orders, answers, events: Vec::new(), session: None, last: 0, directory };
        let targets = browser.tell("Target.getTargets", &json!({}));
        let pages = targets["targetInfos"].as_array().expect("targets");
        let page = pages.iter().find(|target| target["type"] == "page").expect("a page")["targetId"].clone();
        let session = browser.tell("Target.attachToTarget", &json!({ "targetId": page, "flatten": true }));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        browser.tell("Page.enable", &json!({}));
        browser
    }

    /// Has it do something, and returns the answer.
    pub(crate) fn tell(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let sent = self.orders.write_all(format!("{order}\0").as_bytes());
        sent.expect("chromium is missing or has ended: `cargo xtask setup` installs it");
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(end, method);
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn receive(&self, end: Instant, what: &str) -> Value {
        let left = end.saturating_duration_since(Instant::now());
        self.answers.recv_timeout(left).unwrap_or_else(|error| panic!("chromium says nothing of {what}: {error}"))
    }

    /// Waits until something happens, and returns what is said of it.
    pub(crate) fn wait(&mut self, event: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.events.iter().position(|message| message["method"] == event) {
                return self.events.remove(place)["params"].clone();
            }
            let message = self.receive(end, event);
            self.events.push(message);
        }
    }

    /// Goes to a page and waits until it is there, all of it.
    pub(crate) fn go(&mut self, address: &str) {
        self.events.clear();
        self.tell("Page.navigate", &json!({ "url": address }));
        self.wait("Page.loadEventFired");
    }

    /// Returns what an expression of the page's language comes to.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let answer = self.tell("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(expression) != json!(true) {
            assert!(Instant::now() < end, "never true: {expression}\n{}", self.value("document.body.innerText.slice(0, 4000)"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // What it started ends with it, and writes until then.
        let end = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir_all(&self.directory).is_err() && self.directory.exists() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

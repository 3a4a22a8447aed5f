//! The same conversations through Debian's haproxy and through l7d: what the server sees, what the client sees, and what is logged.
//!
//! Where the two differ, the table of cases says on which ground; a difference that is not in the table is a failure, and so is one
//! in the table that is none any more. Not compared, because both ways are right:
//!
//! * the letter case of field names (haproxy writes them in lower case, l7d as they came) and white space around values;
//! * how a connection says that it stays open, which HTTP/1.1 need not say; whether it stays open is compared;
//! * where chunks begin and their extensions (haproxy makes its own chunks), not their content or the trailers;
//! * a proxy's own error pages beyond their status: the text, and that haproxy keeps the client's connection after some of them;
//! * more of the log line of a refused request than that the proxy refused it: l7d still knows the request line where haproxy writes
//!   `<BADREQ>`, and has chosen the backend by the time it reads the first chunk;
//! * whether a connection that ends does so by FIN or RST;
//! * the lines about connections on which nothing was said, which are nobody's (`options` has them).

mod bodies;
mod ends;
mod heads;
mod message;
mod responses;
mod script;
mod streams;
mod times;
mod tunnels;

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use script::{Part, Stage, Step};

use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, unused_address};

/// One conversation.
struct Case {
    name: &'static str,
    client: Vec<Step>,
    /// What a server does, request by request.
    server: Vec<Vec<Step>>,
    verdict: Verdict,
    /// Lines each proxy logs, where that is not one for each response.
    lines: Option<usize>,
}

/// What the comparison must find.
enum Verdict {
    /// Both do the same.
    Same,
    /// They differ: what each of them must have done, as parts of the rendered outcome, and why ours is right.
    Differs { ours: Vec<&'static str>, theirs: Vec<&'static str>, why: &'static str },
}

impl Case {
    /// A client that says one thing and a server that answers once, or not at all.
    fn new(name: &'static str, says: impl AsRef<[u8]>) -> Self {
        Self { name, client: vec![say(says)], server: Vec::new(), verdict: Verdict::Same, lines: None }
    }

    fn client(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.client.extend(steps);
        self
    }

    /// Adds a server's answer to the next request: it reads the body, then does this.
    fn answer(self, says: impl AsRef<[u8]>) -> Self {
        self.turn([Step::Body, say(says)])
    }

    fn turn(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.server.push(steps.into_iter().collect());
        self
    }

    fn lines(mut self, count: usize) -> Self {
        self.lines = Some(count);
        self
    }

    /// l7d refuses what haproxy passes: a request with 400, a response with 502.
    fn refused(self, why: &'static str) -> Self {
        self.differs([" from the proxy", " P"], ["client saw HTTP/1.1 200"], why)
    }

    fn differs<const O: usize, const T: usize>(mut self, ours: [&'static str; O], theirs: [&'static str; T], why: &'static str) -> Self {
        self.verdict = Verdict::Differs { ours: ours.into(), theirs: theirs.into(), why };
        self
    }
}

/// Grounds on which l7d refuses what haproxy passes, each in more than one place.
const LINES: &str = "RFC 9112 section 2.2: a recipient that takes a bare line feed sees other lines than one that does not";
const VALUES: &str = "RFC 9110 section 5.5: control bytes in values are dangerous, and refused";
const LENGTHS: &str = "RFC 9112 section 6.3: one length, once";
const CHUNKS: &str = "RFC 9112 section 7.1: chunks are framed by CR LF, and extensions are text";
const TRAILERS: &str = "RFC 9110 section 6.5.1: trailers do not frame messages";
const VERSION: &str = "RFC 9110 section 6.2: a message goes on with the version of who sends it on";
const ANSWERED: &str = "the answer is complete and the server has closed: what the client still sends has nowhere to go";

fn say(bytes: impl AsRef<[u8]>) -> Step {
    Step::Say(bytes.as_ref().to_vec())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Both proxies, each with a server and a log of its own.
struct Theatre {
    ours: Proxy<Daemon>,
    theirs: Proxy<HaproxyProcess>,
}

struct Proxy<P> {
    address: SocketAddr,
    stage: Stage,
    log: Receiver<String>,
    _process: P,
}

impl Theatre {
    /// Starts both with these time-outs and options, which both spell alike: `[("http-request", "2s")]`, `["forwardfor"]`.
    fn open(timeouts: &[(&str, &str)], options: &[&str], server_settings: &str) -> Self {
        Self::open_mode("http", timeouts, options, server_settings)
    }

    fn open_mode(mode: &str, timeouts: &[(&str, &str)], options: &[&str], server_settings: &str) -> Self {
        let (ours, theirs) = (Stage::open(), Stage::open());
        let ((our_log, our_lines), (their_log, their_lines)) = (log(), log());
        let (our_address, their_address) = (unused_address(), unused_address());
        let mut times = vec![("connect", "5s"), ("client", "30s"), ("server", "30s")];
        for (name, value) in timeouts {
            times.retain(|(other, _)| other != name);
            times.push((name, value));
        }
        let table: Vec<String> = times.iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
        let listed: Vec<String> = options.iter().copied().chain([&*format!("{mode}log")]).map(|option| format!("{option:?}")).collect();
        let max = if server_settings.is_empty() { String::new() } else { format!(", {}", server_settings.replace(' ', " = ")) };
        let site = format!(
            "[global]\nnbthread = 1\nlog = [\"{our_log} local0\"]\n[defaults]\nmode = \"{mode}\"\ntimeout = {{ {} }}\noption = [{}]\n\
             [frontend.front]\nbind = [\"{our_address}\"]\ndefault-backend = \"back\"\n\
             [backend.back.server]\ns1 = {{ address = \"{}\"{max} }}\n",
            table.join(", "),
            listed.join(", "),
            ours.address()
        );
        let lines: String = times.iter().map(|(name, value)| format!(" timeout {name} {value}\n")).collect();
        let options: String = options.iter().map(|option| format!(" option {option}\n")).collect();
        let cfg = format!(
            "global\n nbthread 1\n log {their_log} local0\ndefaults\n mode {mode}\n log global\n option {mode}log\n{lines}{options}\
             frontend front\n bind {their_address}\n default_backend back\nbackend back\n server s1 {} {server_settings}\n",
            theirs.address()
        );
        let haproxy = Haproxy::find().start(&cfg, their_address);
        Self {
            ours: Proxy { address: our_address, stage: ours, log: our_lines, _process: Daemon::start(&site) },
            theirs: Proxy { address: their_address, stage: theirs, log: their_lines, _process: haproxy },
        }
    }

    /// Plays every case on both and collects what went wrong.
    fn play(&self, cases: Vec<Case>) {
        assert!(cases.iter().all(|case| cases.iter().filter(|other| other.name == case.name).count() == 1), "names must differ");
        let failures: Vec<String> = cases.iter().filter_map(|case| self.judge(case)).collect();
        assert!(failures.is_empty(), "{} of {} cases\n{}", failures.len(), cases.len(), failures.join("\n"));
    }

    fn judge(&self, case: &Case) -> Option<String> {
        let (ours, theirs) = (self.ours.play(case), self.theirs.play(case));
        let complaint = match &case.verdict {
            Verdict::Same if ours == theirs => return None,
            Verdict::Same => "differ".to_owned(),
            Verdict::Differs { .. } if ours == theirs => "do not differ any more".to_owned(),
            Verdict::Differs { ours: wanted, theirs: known, why } => {
                let missing =
                    |texts: &[&str], outcome: &str| texts.iter().find(|text| !outcome.contains(**text)).map(|text| (*text).to_owned());
                let found = missing(wanted, &ours).map(|text| format!("ours lacks {text:?}"));
                let found = found.or_else(|| missing(known, &theirs).map(|text| format!("theirs lacks {text:?}")));
                format!("{} ({why})", found?)
            }
        };
        Some(format!("=== {}: {complaint}\n--- l7d\n{ours}--- haproxy\n{theirs}", case.name))
    }
}

impl<P> Proxy<P> {
    /// Plays one conversation and renders what happened.
    fn play(&self, case: &Case) -> String {
        while self.log.try_recv().is_ok() {}
        let part = Part::new(case.server.clone());
        self.stage.play(&part);
        let heard = script::converse(self.address, &case.client, &part);
        let seen = part.finish();
        let said: Vec<u8> = case
            .client
            .iter()
            .filter_map(|step| if let Step::Say(bytes) | Step::Drip(bytes) = step { Some(&bytes[..]) } else { None })
            .collect::<Vec<_>>()
            .concat();
        let responses = message::responses(&heard, &message::methods(&said));
        let mut text = String::new();
        for seen in seen {
            text += &format!("server saw {}\n", message::request(&seen.head, &seen.body, &seen.rest));
        }
        for response in &responses.rendered {
            text += &format!("client saw {response}\n");
        }
        for _ in 0..case.lines.unwrap_or(responses.complete.max(1)) {
            text += &format!("log {}\n", self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| "has no line".to_owned()));
        }
        text
    }
}

/// Opens a log target and returns its address and what of each line is compared: server, status, termination and request.
fn log() -> (SocketAddr, Receiver<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut packet = [0; 32_768];
        while let Ok(count) = socket.recv(&mut packet) {
            let line = String::from_utf8_lossy(&packet[..count]).into_owned();
            if let Some(essence) = essence(&line)
                && send.send(essence).is_err()
            {
                return;
            }
        }
    });
    (address, receive)
}

/// Returns the parts of a line of httplog or tcplog that both proxies must agree on.
fn essence(line: &str) -> Option<String> {
    let (_, line) = line.split_once("]: ")?;
    let words: Vec<&str> = line.split(' ').collect();
    if let [_, _, _, server, _, _, termination, _, _] = words[..] {
        return Some(format!("{server} {termination}"));
    }
    let [_, _, _, server, _, status, _, _, _, termination, ..] = words[..] else { return None };
    if status == "400" && termination.starts_with('P') {
        return Some("400 P".to_owned());
    }
    let request = line.split_once('"').map_or("", |(_, rest)| rest.trim_end());
    let request = if request.len() > 200 { "<long>" } else { request };
    Some(format!("{server} {status} {termination} {request}"))
}

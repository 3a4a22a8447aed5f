//! Configurations as people have them, in HAProxy's language: `tests/corpus`.
//!
//! Each is valid to Debian's haproxy, and is served here, but for lines that end with `# refused`: what stands there is not supported
//! yet, and is refused where it stands and nowhere else. Lines that end with `# newer` are not for Debian's haproxy, which does not know
//! them. Most of those that serve HTTP are then run on both programs, which must answer and log alike.

mod bytes;
mod generated;
mod requests;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use self::requests::REQUESTS;
use self::requests::{Log, line, random, said};
use crate::certs::Authority;
use crate::http::{ask, essence, server};
use crate::kit::{Daemon, Haproxy, Server, connect, directory, unused_address};

/// Returns the files of the corpus by their names.
pub(crate) fn corpus() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap());
    files.into_iter().map(read).collect()
}

/// Makes a directory of everything the corpus names.
pub(crate) fn furnished() -> PathBuf {
    let directory = directory();
    let authority = Authority::new();
    fs::copy(authority.root(), directory.join("ca.pem")).unwrap();
    fs::copy(authority.pem(&["a.example.org"]), directory.join("site.pem")).unwrap();
    fs::write(directory.join("hosts.map"), "a.example.org blue\nb.example.org green\n").unwrap();
    fs::write(directory.join("paths.lst"), "/in/file\n/also\n").unwrap();
    fs::write(directory.join("blocked.lst"), "192.0.2.0/24\n").unwrap();
    let page = "HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/html\r\nConnection: close\r\n\r\nsorry\n";
    fs::write(directory.join("503.http"), page).unwrap();
    let files = [
        ("sorry.html", "sorry\n"),
        ("tenants.map", "a blue\nb green\nwww red\n"),
        ("plans.map", "blue gold\ngreen suspended\n"),
        ("half.map", "www green\n"),
        ("closed.map", "a.example.org yes\n"),
        ("geo.map", "127.0.0.0/8 DE\n198.51.100.0/24 XX\n203.0.113.0/24 FR\n"),
        ("dh.pem", FFDHE2048),
    ];
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
    directory
}

/// A group of RFC 7919.
const FFDHE2048: &str = "-----BEGIN DH PARAMETERS-----\n\
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz\n\
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a\n\
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7\n\
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi\n\
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD\n\
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==\n\
-----END DH PARAMETERS-----\n";

/// Returns a text without what the version of haproxy here does not know.
fn known(text: &str) -> String {
    text.lines().filter(|line| !line.ends_with("# newer")).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn every_configuration_is_valid_to_haproxy_and_served_here() {
    let directory = furnished();
    let mut failures = Vec::new();
    let all = corpus();
    assert!(all.len() >= 60, "the corpus is gone");
    for (name, text) in &all {
        let text = text.replace("@DIR@", &directory.display().to_string());
        let file = directory.join(format!("{name}.cfg"));
        fs::write(&file, &text).unwrap();
        let known = directory.join(format!("{name}.known.cfg"));
        fs::write(&known, self::known(&text)).unwrap();
        let theirs = Command::new("/usr/sbin/haproxy").arg("-c").arg("-f").arg(&known).output().unwrap();
        if !theirs.status.success() {
            failures.push(format!("{name}: haproxy says {}", String::from_utf8_lossy(&theirs.stderr)));
        }
        let ours = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-f"]).arg(&file).output().unwrap();
        let said = String::from_utf8(ours.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let prefix = format!("{}:", file.display());
        let errors = said.lines().filter_map(|line| line.strip_prefix(&prefix)).filter(|rest| !rest.contains(": warning: "));
        for error in errors.filter(|error| *error != " valid") {
            let number: usize = error.split(':').next().unwrap().parse().unwrap();
            if !lines[number - 1].ends_with("# refused") {
                failures.push(format!("{name}:{error}\n    {}", lines[number - 1]));
            }
        }
        if ours.status.success() == text.contains("# refused") {
            failures.push(format!("{name}: {said}"));
        }
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| line.ends_with("# refused")) {
            if !said.contains(&format!("{prefix}{}:", index + 1)) {
                failures.push(format!("{name}:{}: is not refused any more", index + 1));
            }
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(failures.is_empty(), "{} of {}\n{}", failures.len(), all.len(), failures.join("\n"));
}

/// Configurations that are run, all of whose parts work.
pub(crate) const RUN: [&str; 30] = [
    "ab-random",
    "acl-kinds",
    "api-gateway",
    "basic-auth",
    "blue-green-map",
    "blue-green-switch",
    "bots",
    "canary",
    "canary-cookie",
    "cdn-origin",
    "compression",
    "conditions",
    "defaults-named",
    "error-pages",
    "external-auth",
    "geo",
    "jwt-gateway",
    "legacy-app",
    "long-polling",
    "maintenance-map",
    "monitoring",
    "old-redirects",
    "quoting",
    "session-caches",
    "tenants-map",
    "tiered-limits",
    "uploads",
    "variables",
    "websocket",
    "websocket-tunnels",
];

/// Puts addresses of this host in place of those of a configuration, and returns where it listens in clear text first.
pub(crate) fn local(text: &str, directory: &Path, server: SocketAddr) -> (String, SocketAddr) {
    let (mut lines, mut first) = (Vec::new(), None);
    for line in text.replace("@DIR@", &directory.display().to_string()).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        lines.push(match words[..] {
            ["bind", address, ..] => {
                let own = unused_address();
                if !words.contains(&"ssl") && first.is_none() {
                    first = Some(own);
                }
                line.replace(address, &own.to_string())
            }
            // More descriptors than a test may have.
            ["maxconn", "20000"] => String::new(),
            ["server", _, address, ..] => line.replace(address, &server.to_string()),
            _ => line.to_owned(),
        });
    }
    (lines.join("\n") + "\n", first.unwrap())
}

/// A server that answers with what it was asked.
pub(crate) fn mirror() -> Server {
    let (server, _) = server(move |head, body| {
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        for line in lines.iter_mut().skip(1) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            *line = format!("{}:{value}", name.to_ascii_lowercase());
        }
        lines[1..].sort();
        // What differs from one run to the next.
        lines.retain(|line| !line.is_empty() && !line.starts_with("x-request-id:") && !line.starts_with("connection:"));
        let text = format!("{}\n{body}", lines.join("\n"));
        format!("HTTP/1.1 200 OK\r\nServer: mirror\r\nContent-Type: text/x-mirror\r\nContent-Length: {}\r\n\r\n{text}", text.len())
    });
    server
}

pub(crate) fn answer(address: SocketAddr, request: &str) -> Vec<String> {
    let body = if request.contains("Content-Length") { "{}" } else { "" };
    let (head, body) = ask(&mut connect(address), &format!("{request}\r\n{body}"));
    // A page of the proxy's own has a text of its own.
    let is_own = !head.contains("mirror") && !head.contains("application/json") && !head.contains("text/plain");
    let mut lines = essence(&format!("{head}{}", if is_own { "" } else { &body }));
    if is_own {
        // The words behind the status are for people, and the version of a file is that of whoever wrote it.
        lines[0].truncate("HTTP/1.1 200".len());
        lines[0] = lines[0].replace("HTTP/1.0", "HTTP/1.1");
    }
    lines.retain(|line| {
        let is_random = line.starts_with("x-id:");
        let is_kept = !is_own || line.starts_with("HTTP/") || line.starts_with("location:") || line.starts_with("set-cookie:");
        is_kept && !is_random
    });
    lines.sort();
    lines
}

#[test]
fn both_programs_answer_alike_whatever_the_configuration() {
    compare_all(|name| REQUESTS.into_iter().map(str::to_owned).chain(random(name)).collect());
}

#[test]
fn both_programs_answer_odd_requests_alike() {
    let (seed, count) = (generated::seed(), generated::count());
    // Told where the test fails.
    println!("L7D_SEED={seed} L7D_REQUESTS={count}");
    compare_all(|name| generated::requests(seed, name, count));
}

/// Asks both programs the same of each configuration that is run.
fn compare_all(requests: impl Fn(&str) -> Vec<String>) {
    let (directory, server) = (furnished(), mirror());
    let mut failures = Vec::new();
    for (name, text) in corpus().iter().filter(|(name, _)| RUN.contains(&name.as_str())) {
        let text = known(text);
        let (our_log, their_log) = (Log::new(), Log::new());
        let (ours, our_address) = local(&our_log.instead_of("127.0.0.1:514", &text), &directory, server.address());
        let (theirs, their_address) = local(&their_log.instead_of("127.0.0.1:514", &text), &directory, server.address());
        let _daemon = Daemon::start_haproxy(&ours);
        let _haproxy = Haproxy::find().start(&theirs, their_address);
        for request in requests(name) {
            let (ours, theirs) = (answer(our_address, &request), answer(their_address, &request));
            if ours != theirs {
                failures.push(format!("=== {name}: {request}--- l7d\n{}\n--- haproxy\n{}", ours.join("\n"), theirs.join("\n")));
            }
        }
        let [ours, theirs] = said([(&our_log, our_address), (&their_log, their_address)], line);
        let is_silent = ours.is_empty() && text.contains("option httplog") && text.contains("127.0.0.1:514");
        let differing: Vec<_> = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
        if is_silent || !differing.is_empty() || ours.len() != theirs.len() {
            let count = format!("{} lines of l7d, {} of haproxy", ours.len(), theirs.len());
            let lines: String = differing.iter().map(|(ours, theirs)| format!("l7d     {ours}\nhaproxy {theirs}\n")).collect();
            failures.push(format!("=== {name}: {count}\n{lines}"));
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(failures.is_empty(), "{}\n{}", failures.len(), failures.join("\n"));
}
